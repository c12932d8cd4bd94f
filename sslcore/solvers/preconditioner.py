r"""A low-rank factor of a positive semi-definite matrix of which only columns are ever made, as a preconditioner.

Randomly pivoted Cholesky (Chen, Epperly, Tropp and Webber 2025), by blocks of proposals of which some are rejected
(Epperly, Tropp and Webber 2024): pivots are drawn with probabilities proportional to the diagonal of what is left of C.
The factor F, C ~ F F^T, does not depend on reg; with D of any reg and delta the mean of what the diagonal has left,

    (F F^T + E)^-1 = E^-1 - E^-1 F (I + F^T E^-1 F)^-1 F^T E^-1,    E = D + delta I,

is near the inverse of S = C + D: where the rank is near the effective dimension tr C S^-1, conjugate gradients gain a
digit in one or two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend

__all__ = ["PivotedFactor", "Preconditioner"]


class PivotedFactor:
    """The factor F (n, rank), in the type of ``out``, of a matrix C; it grows when it is asked to.

    Parameters
    ----------
    diagonal : (n,) floats on the host
    out : array (n, most), Fortran order
        Holds the factor: ``most`` is the largest rank, until `move_to` finds other room.
    seed : int
        Of the pivots: the factor is a function of it and of C alone.

    Attributes
    ----------
    rank : int
    left : (n,) floats on the host
        The diagonal of C - F F^T.
    """

    def __init__(self, diagonal: np.ndarray, out: Array, backend: Backend, seed: int = 0) -> None:
        self.out, self.backend = out, backend
        self.left, self.rank, self.trace = np.maximum(diagonal, 0.0), 0, float(np.maximum(diagonal, 0.0).sum())
        self.rng = np.random.default_rng(seed)
        self.largest = float(self.left.max(initial=0.0))

    @property
    def factor(self) -> Array:
        """F, (n, rank)."""
        out: Array = self.out[:, : self.rank]
        return out

    @property
    def floor(self) -> float:
        """The trace that rounding leaves where nothing else is left."""
        return len(self.left) * float(np.finfo(self.out.dtype).eps) * self.largest

    def reaches(self, level: float) -> bool:
        """Tell whether `extend` would have nothing to do."""
        return bool(self.left.sum() <= max(level * self.rank, self.floor))

    def move_to(self, out: Array) -> None:
        """Go on in an array of a smaller type, which may begin in the same memory."""
        for j in range(self.rank):
            out[:, j] = self.out[:, j].astype(out.dtype)
        self.out = out

    @property
    def full(self) -> bool:
        """Whether there is no room for a higher rank."""
        return self.rank >= int(self.out.shape[1])

    def extend(self, columns: Callable[[np.ndarray], Array], level: float, most: float = math.inf) -> PivotedFactor:
        """Raise the rank until the mean of what eigenvalues as many as the rank can have left is at most ``level``.

        That is trace (C - F F^T) / rank; for eigenvalues that decay like a power the largest one left is near it.
        From a rank of ``most`` on, no columns are added.  ``columns`` returns those of C, (n, b) in float, of b
        increasing indices, (b,) on the host; it is not kept: an operator that holds the factor would hold itself.
        """
        while not self.full and self.rank < most and not self.reaches(level):
            if not self._add(columns):
                break
        return self

    def _add(self, columns_of: Callable[[np.ndarray], Array]) -> bool:
        """Add a block of columns, at most as many as there is room for; False where rounding leaves none."""
        backend, xp, left = self.backend, self.backend.xp, self.left
        count = min(tunables.PIVOTED_BLOCK_COLUMNS, self.out.shape[1] - self.rank)
        drawn = self.rng.choice(len(left), count, p=left / left.sum())
        chosen, first = np.unique(drawn, return_index=True)
        columns = columns_of(chosen).astype(self.out.dtype, copy=False)
        if self.rank:
            rows = self.factor[xp.asarray(chosen)]
            columns = backend.matmul(self.factor, xp.asfortranarray(rows.T), out=columns, alpha=-1.0, beta=1.0)
        core = backend.to_host(columns[xp.asarray(chosen)]).astype(float)
        core = 0.5 * (core + core.T)
        kept = np.sort(_accepted(core, np.argsort(first), self.rng))
        values, vectors = np.linalg.eigh(core[np.ix_(kept, kept)])
        good = values > 30 * len(core) * float(np.finfo(self.out.dtype).eps) * max(float(core.diagonal().max()), 0.0)
        if not good.any():
            self.left[chosen] = 0.0  # never drawn again
            return bool(self.left.sum() > self.floor)
        turn = np.zeros((len(chosen), int(good.sum())))
        turn[kept] = vectors[:, good] / np.sqrt(values[good])
        new = backend.matmul(columns, xp.asarray(np.asfortranarray(turn, dtype=self.out.dtype)))
        self.out[:, self.rank : self.rank + new.shape[1]] = new
        self.rank += new.shape[1]
        self.left = np.maximum(left - backend.to_host((new * new).sum(axis=1, dtype=float)), 0.0)
        self.left[chosen[kept]] = 0.0
        return True


def _accepted(core: np.ndarray, order: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Choose among proposals as if each had been drawn after those before it had been eliminated."""
    rest, first = core.copy(), core.diagonal().copy()
    chosen = []
    for i in order:
        if rest[i, i] > 0 and rng.random() * first[i] < rest[i, i]:
            chosen.append(int(i))
            rest -= np.outer(rest[:, i], rest[i] / rest[i, i])
    return chosen


class Preconditioner:
    """(F F^T + E)^-1 of the module's docstring, applied to columns.

    Parameters
    ----------
    pivoted : PivotedFactor
    noise : array (n, 1)
        D, in the units of C.
    dtype : dtype
        In which it works, if that of the factor is not larger: float32 is enough where D is not far below C.
    """

    def __init__(self, pivoted: PivotedFactor, noise: Array, backend: Backend, dtype: Any = np.float32) -> None:
        self.backend, self.factor = backend, pivoted.factor
        xp, self.shift = backend.xp, noise + float(pivoted.left.mean())
        rank, dtype = pivoted.rank, np.result_type(pivoted.out.dtype, dtype)
        self.dtype = dtype
        self.small: Any = None
        if not rank:
            return
        small = xp.zeros((rank, rank), dtype, order="F")
        step = tunables.PIVOTED_BLOCK_COLUMNS
        for start in range(0, rank, step):  # the upper triangle
            stop = min(start + step, rank)
            scaled = xp.asfortranarray(self.factor[:, start:stop] / self.shift, dtype=dtype)
            for first, part in self._parts(stop):
                small[first : first + part.shape[1], start:stop] = backend.matmul(part.T, scaled)
        index = xp.arange(rank)
        small[index, index] += dtype.type(1.0)
        if not backend.cholesky(small):  # I and a positive semi-definite matrix: float32 has lost the I
            raise ArithmeticError("the preconditioner is singular to rounding")
        self.small = small

    def _parts(self, rank: int) -> Iterator[tuple[int, Array]]:
        """Yield the first columns of F, with their place, in the type at work: all of them, or as many as are cast."""
        step = rank if self.factor.dtype == self.dtype else tunables.PIVOTED_CAST_COLUMNS
        for first in range(0, rank, step):
            yield first, self.factor[:, first : min(first + step, rank)].astype(self.dtype, copy=False)

    def __call__(self, residual: Array) -> Array:
        """Return (F F^T + E)^-1 times ``residual`` (n, b), in its type."""
        backend, xp = self.backend, self.backend.xp
        scaled = xp.asfortranarray(residual / self.shift)
        if self.small is None:
            return scaled  # type: ignore[no-any-return]
        rank, right = self.factor.shape[1], scaled.astype(self.dtype, copy=False)
        product = xp.empty((rank, right.shape[1]), self.dtype, order="F")
        for first, part in self._parts(rank):
            product[first : first + part.shape[1]] = backend.matmul(part.T, right)
        solved = backend.cholesky_solve(self.small, product)
        found = xp.zeros_like(right, order="F")
        for first, part in self._parts(rank):
            rows = xp.asfortranarray(solved[first : first + part.shape[1]])
            found = backend.matmul(part, rows, out=found, beta=1.0)
        out: Array = scaled - found / self.shift
        return out
