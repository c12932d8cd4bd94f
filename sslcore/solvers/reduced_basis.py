r"""Functions found at some reg and beta, and what they tell about others: the reduced-basis method.

The eigenproblem beta (I - T) + lambda Khat^+ is affine in beta and lambda (Machiels, Maday, Oliveira, Patera and Rovas
2000; Horger, Wohlmuth and Dickopf 2017).  On the span of functions w_i = Khat a_i, whose coefficients a_i are known,

    minimise beta w^T (I - T) w + lambda a^T w  over |H w| = 1

takes matrices of the number of functions for any beta and lambda, and no factorisation.  Its minimisers are where the
iteration of the exact solver begins: what it ends with owes them its speed, not its accuracy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import namespace
from ..backends.host_linalg import eigh

if TYPE_CHECKING:
    from .exact import ConditionedKernel

__all__ = ["ReducedBasis", "lowest"]

NEAREST = 6
"""Places whose functions are combined, at most: those closest in log(reg / beta)."""

_DEPENDENT = 1e-10
"""Squared energy, relative, of what a function adds to others, below which it is left out: rounding beyond."""


class ReducedBasis:
    """Functions at several places rho = reg / beta, by values w and coefficients a in the rotated basis.

    It holds no operator, whose matrices may be made anew meanwhile: all functions belong to equal ones.
    """

    def __init__(self) -> None:
        self.places: list[float] = []
        self.pairs: list[tuple[Array, Array]] = []
        self.products: dict[tuple[int, int], np.ndarray] = {}  # what `_forms` has returned

    def add(self, ratio: float, w: Array, a: Array) -> None:
        """Add functions found at reg / beta = ``ratio`` (inf for beta = 0)."""
        self.places.append(ratio)
        xp = namespace(w)
        self.pairs.append((xp.asfortranarray(w), xp.asfortranarray(a)))

    def nearest(self, ratio: float) -> tuple[Array, Array] | None:
        """Return the functions found closest to this reg / beta, values and coefficients, or None."""
        order = self._order(ratio)
        return self.pairs[order[0]] if order else None

    def _order(self, ratio: float) -> list[int]:
        """List the places, the closest first."""
        return sorted(range(len(self.places)), key=lambda i: (_distance(self.places[i], ratio), i))

    def near(self, operator: ConditionedKernel, ratio: float, count: int) -> Array | None:
        """Return the values of the best ``count`` combinations at this reg / beta, or fewer; None if there are none."""
        xp, backend, unit = operator.xp, operator.backend, operator.unit
        chosen = self._order(ratio)
        if not chosen:
            return None
        columns = max(1, self.pairs[chosen[0]][0].shape[1])
        chosen = chosen[: min(NEAREST, max(2, tunables.REDUCED_BASIS_COLUMNS // columns))]
        rows = [np.concatenate([self._between(operator, i, j) for j in chosen], axis=2) for i in chosen]
        contrasts, norms, masses = np.concatenate(rows, axis=1)
        energies = norms if math.isinf(ratio) else contrasts + (ratio / unit) * norms
        combinations = lowest(energies, masses, count)
        if not combinations.shape[1]:
            return None
        out: Array = xp.zeros((operator.samples.n_views, combinations.shape[1]), operator.dtype, order="F")
        start = 0
        for i in chosen:
            w, _ = self.pairs[i]
            part = combinations[start : start + w.shape[1]]
            out = backend.matmul(w, xp.asarray(np.asfortranarray(part, dtype=out.dtype)), out=out, beta=1.0)
            start += w.shape[1]
        return out

    def _between(self, operator: ConditionedKernel, i: int, j: int) -> np.ndarray:
        """Return w^T (I - T) w', a^T w' = a^T Khat a' and (H w)^T (H w') of the functions of two places, (3, p, p')."""
        if i > j:
            return self._between(operator, j, i).transpose(0, 2, 1)
        if (i, j) not in self.products:
            xp, backend = operator.xp, operator.backend
            (w, a), (other, _) = self.pairs[i], self.pairs[j]
            products = [operator.energies(w, other)]
            products += [backend.matmul(a.T, other), backend.matmul(operator.centre(w).T, operator.centre(other))]
            found = backend.to_host(xp.stack(products)).astype(float)
            self.products[i, j] = 0.5 * (found + found.transpose(0, 2, 1)) if i == j else found
        return self.products[i, j]


def _distance(place: float, ratio: float) -> float:
    """Return the distance of logarithms; that from inf is longer than any other."""
    if math.isinf(place) or math.isinf(ratio):
        return 0.0 if place == ratio else 1e6 - math.log(min(place, ratio))
    return abs(math.log(place / ratio))


def lowest(energies: np.ndarray, masses: np.ndarray, count: int) -> np.ndarray:
    """Return combinations x (p, count') of least x^T energies x beside x^T masses x, best first, of unit mass."""
    size = np.sqrt(np.maximum(energies.diagonal(), 0.0))
    good = size > 0
    scale = np.where(good, 1.0 / np.where(good, size, 1.0), 0.0)
    values, vectors = eigh(energies * (scale[:, None] * scale))
    kept = values > _DEPENDENT * max(float(values[-1]), 1e-300)
    basis = scale[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    masses = basis.T @ masses @ basis
    heights, turns = eigh(0.5 * (masses + masses.T))
    best = slice(None, -count - 1, -1)
    heights, turns = heights[best], turns[:, best]
    real = heights > 1e-12 * max(float(heights[0]), 1e-300) if len(heights) else np.zeros(0, bool)
    out: np.ndarray = basis @ (turns[:, real] / np.sqrt(heights[real]))
    return out
