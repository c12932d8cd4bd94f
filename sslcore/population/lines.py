"""Lines in lambda, and the spectrum of the first of them: eigenvalues, degenerate blocks, risks of what is selected."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import check_integer, check_scalar, shown
from ..declarations.reprs import brief

__all__ = ["CutBlockWarning", "Lines", "PopulationSpectrum"]

TIE = 1e-12
"""Lines closer than this, relative to the terms of mu, are one degenerate block: their difference is rounding."""

MOST_COMPONENTS = 1_000_000
"""Most components of a spectrum: each of them has an eigenvalue and a label in memory."""
MOST_DEGREE = 10_000
"""Largest degree of which multiplicities are listed, exact integers of thousands of digits."""

Label = Any
"""The name of an eigenfunction or of a class of them: hashable; each domain says what its labels mean."""


class CutBlockWarning(UserWarning):
    """Warns that the number of components cuts a degenerate block: only the risk and complete blocks are defined.

    Examples
    --------
    >>> import numpy as np, warnings
    >>> from sslcore.population import CutBlockWarning, Lines, PopulationSpectrum
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     s = PopulationSpectrum.of(Lines([1.0, 0.5], [1.0, 0.5], [1, 3], ["a", "b"]), 2, reg=0.0, beta=1.0)
    >>> caught[0].category is CutBlockWarning, s.block_ends
    (True, (1, 4))
    """


@dataclass(frozen=True, repr=False)
class Lines:
    """Eigenvalues of T and K on common eigenspaces: line i is mu = 1 - beta + beta t_i - lambda / kappa_i.

    Parameters
    ----------
    augmentation : (b,)
        t, eigenvalues of T in [0, 1].
    kernel : (b,)
        kappa >= 0, eigenvalues of K.  Structural zeros must be exactly 0: mu is -inf there for every lambda > 0.
    multiplicity : (b,)
        Dimensions of the eigenspaces, integers >= 1 of any size.
    labels : sequence of b hashable values
        What the eigenfunctions are called; may be computed when asked (any object with ``[i]`` and ``len``).
    spelling : function, optional
        From any spelling of a label of these lines, listed or not, to the one in ``labels``; it refuses what is no such
        label.  By default, `Domain.canonical` of the domain.

    Examples
    --------
    >>> from sslcore.population import Lines
    >>> lines = Lines([1.0, 0.25], [0.5, 0.0], [1, 3], ["constant", "linear"])
    >>> lines.values(reg=0.1, beta=1.0)
    array([ 0.8, -inf])
    """

    augmentation: np.ndarray
    kernel: np.ndarray
    multiplicity: np.ndarray
    labels: Sequence[Label]
    spelling: Callable[[Label], Label] | None = field(default=None, repr=False)

    __repr__ = brief

    def __post_init__(self) -> None:
        t = np.ascontiguousarray(self.augmentation, np.float64)
        kappa = np.ascontiguousarray(self.kernel, np.float64)
        if not (t.shape == kappa.shape == (len(self.labels),) == (len(self.multiplicity),)):
            raise ValueError(
                f"lines need as many values of T, of K, multiplicities and labels, found {t.shape}, {kappa.shape}, "
                f"{len(self.multiplicity)} and {len(self.labels)}"
            )
        if not (np.isfinite(t).all() and np.isfinite(kappa).all() and (kappa >= 0).all()):
            raise ValueError("lines need finite eigenvalues, and those of K must be >= 0")
        multiplicity = _multiplicities(self.multiplicity)
        for name, value in (("augmentation", t), ("kernel", kappa), ("multiplicity", multiplicity)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.augmentation)

    @property
    def total(self) -> int:
        """Number of functions: the sum of the multiplicities."""
        return int(self.multiplicity.sum())

    def penalty(self, reg: float) -> np.ndarray:
        """Return lambda / kappa, (b,): inf where kappa = 0 and lambda > 0; 0 everywhere for lambda = 0."""
        if reg == 0.0:
            return np.zeros(len(self))
        with np.errstate(divide="ignore", over="ignore"):
            return reg / self.kernel

    def values(self, reg: float, beta: float) -> np.ndarray:
        """Return mu, (b,), at lambda = ``reg``; for ``reg`` = 0 the kernel does not matter (no term in K at all)."""
        out: np.ndarray = (1.0 - beta) + beta * self.augmentation - self.penalty(reg)
        return out

    def at(self, indices: Any) -> Lines:
        """Return the lines of these indices, in this order."""
        indices = np.asarray(indices, dtype=np.intp)
        return Lines(
            self.augmentation[indices],
            self.kernel[indices],
            self.multiplicity[indices],
            [self.labels[int(i)] for i in indices],
            self.spelling,
        )


@dataclass(frozen=True)
class PopulationSpectrum:
    """The first k eigenvalues of T_lambda = (1 - beta) I + beta T - lambda K^-1, and what they are made of.

    Attributes
    ----------
    eigenvalues : (k,)
        mu, decreasing; -inf for functions outside of the RKHS when lambda > 0.
    augmentation, kernel : (k,)
        t and kappa: mu = 1 - beta + beta t - lambda / kappa.
    labels : tuple of k
        The eigenfunction of each component, or its class where a line has several functions.
    block_ends : tuple of int
        Ends of the degenerate blocks, in components: ``(1, 9)`` says that the first eigenvalue is simple and the next
        eight are equal.  The last end is that of the whole block even if it exceeds k (`cuts_block`).
    reg, beta : float
    spelling : function or None
        As in `Lines`: what `projection_error` and `ridge_risk` read the labels of a target with.

    Examples
    --------
    >>> from sslcore.population import Lines, PopulationSpectrum
    >>> lines = Lines([1.0, 0.5, 0.25], [0.5, 0.25, 0.125], [1, 2, 3], ["constant", "linear", "quadratic"])
    >>> s = PopulationSpectrum.of(lines, 3, reg=0.05, beta=1.0)
    >>> s.eigenvalues, s.labels
    (array([0.9, 0.3, 0.3]), ('constant', 'linear', 'linear'))
    >>> s.multiplicities, s.n_active, round(s.minimum_risk(), 6)
    ((1, 2), 3, 2.01)
    >>> round(s.projection_error({"constant": 1.0, "linear": 0.5, "quadratic": 0.1}), 6)  # norms of projections
    0.01
    """

    eigenvalues: np.ndarray
    augmentation: np.ndarray
    kernel: np.ndarray
    labels: tuple[Label, ...] = field(repr=False)
    block_ends: tuple[int, ...]
    reg: float
    beta: float
    spelling: Callable[[Label], Label] | None = field(default=None, repr=False, compare=False)

    __repr__ = brief

    @classmethod
    def of(cls, lines: Lines, n_components: int, *, reg: float, beta: float) -> PopulationSpectrum:
        """Take the first ``n_components`` of ``lines``; equal values keep the order in which the lines are given.

        Warns
        -----
        CutBlockWarning
            If they end inside a degenerate block; the message names it.
        """
        reg, beta = check_numbers(reg, beta)
        k = check_components(n_components)
        order, ends = ordered(lines, k, reg, beta)
        chosen = first_components(order, lines.multiplicity, k)
        labels = tuple(lines.labels[int(i)] for i in chosen)
        found = cls(
            lines.values(reg, beta)[chosen],
            lines.augmentation[chosen],
            lines.kernel[chosen],
            labels,
            tuple(ends),
            reg,
            beta,
            lines.spelling,
        )
        if found.cuts_block:
            start, stop = (0, *ends)[-2:]
            last = shown(stop)  # of thousands of digits, perhaps
            whole = f"{start} or {last}" if start else last
            warnings.warn(
                f"n_components={k} ends inside the degenerate block of components {start + 1} to {last} "
                f"(mu = {found.eigenvalues[-1]:.6g}, {labels[-1]!r} and {shown(stop - start - 1)} more): only the risk "
                f"and the span of complete blocks are defined; take n_components={whole}",
                CutBlockWarning,
                stacklevel=3,
            )
        return found

    @property
    def n_components(self) -> int:
        """Number k of components."""
        return len(self.eigenvalues)

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """Sizes of the degenerate blocks."""
        return tuple(stop - start for start, stop in zip((0, *self.block_ends), self.block_ends, strict=False))

    @property
    def cuts_block(self) -> bool:
        """True if the last block goes on beyond k."""
        return self.block_ends[-1] > self.n_components

    @property
    def n_active(self) -> int:
        """Number of components with mu > 0; the others are zero (collapsed)."""
        return int((self.eigenvalues > 0).sum())

    def minimum_risk(self, n_components: int | None = None) -> float:
        """Return k - sum_{i <= k} max(mu_i, 0)^2, the least L(psi; beta) + 2 lambda ||Theta||^2 of k components.

        Defined, and the same, whether or not k cuts a block.
        """
        k = self.n_components
        if n_components is not None:
            k = check_integer(n_components, "n_components", minimum=1, maximum=k)
        return float(k - (np.maximum(self.eigenvalues[:k], 0.0) ** 2).sum())

    def effective_dimension(self, reg: float) -> float:
        """Return tr((S + g)^-1 S) for S = E psi psi^T = diag(max(mu, 0)) and the penalty g = ``reg`` > 0 of a probe."""
        g = check_scalar(reg, "reg", minimum=0.0, strict=True)
        mu = np.maximum(self.eigenvalues, 0.0)
        return float((mu / (mu + g)).sum())

    def projection_error(self, target: Mapping[Label, float]) -> float:
        """Return the squared distance of f* to the active components, ||f*||^2 - sum_{mu_i > 0} <f*, f_i>^2.

        Parameters
        ----------
        target : mapping
            Coefficient of f* on each eigenfunction, by label; where a label stands for several functions, the norm of
            the projection of f* on their span.  Any spelling of a label that the domain knows will do, such as sets in
            place of tuples.  Labels beyond the spectrum's add to the error.

        Raises
        ------
        ValueError
            If f* has a part in the block that k cuts: the answer would depend on a choice of basis.  If two keys name
            one eigenfunction, or one names none of the domain.
        """
        return self._split(target)[0]

    def ridge_risk(self, target: Mapping[Label, float], reg: float) -> float:
        """Return the population risk of the ridge probe: projection error + sum_i (g / (mu_i + g))^2 <f*, f_i>^2.

        min_w E(w^T psi - f*)^2 + g ||w||^2 has w_i = sqrt(mu_i) <f*, f_i> / (mu_i + g); g = ``reg`` >= 0.  ``target``
        as for `projection_error`.
        """
        g = check_scalar(reg, "reg", minimum=0.0)
        error, kept = self._split(target)
        return float(error + sum((g / (mu + g)) ** 2 * energy for mu, energy in kept))

    def _energies(self, target: Mapping[Label, float]) -> dict[Label, float]:
        """Return the squared coefficients, by labels in the spelling of the spectrum."""
        if not isinstance(target, Mapping):
            raise TypeError(f"a target is a mapping from labels to coefficients, found {type(target).__name__}")
        energies: dict[Label, float] = {}
        for label, coefficient in target.items():
            name = label if self.spelling is None else self.spelling(label)
            if name in energies:
                raise ValueError(f"the target names {name!r} twice, here as {label!r}; give one coefficient for it")
            energies[name] = check_scalar(coefficient, f"the coefficient of {label!r}") ** 2
        return energies

    def _split(self, target: Mapping[Label, float]) -> tuple[float, list[tuple[float, float]]]:
        """Return the energy outside of the active components, and the pairs (mu, energy) inside."""
        place = {label: i for i, label in reversed(list(enumerate(self.labels)))}
        cut_from = (0, *self.block_ends)[-2] if self.cuts_block else self.n_components
        energies = self._energies(target)
        outside, kept = 0.0, []
        for label, energy in energies.items():
            i = place.get(label)
            mu = -math.inf if i is None else float(self.eigenvalues[i])
            if i is not None and i >= cut_from and energy > 0 and mu > 0:
                raise ValueError(
                    f"the target has a part in {label!r}, of the block of components {cut_from + 1} to "
                    f"{self.block_ends[-1]} that n_components={self.n_components} cuts; take complete blocks"
                )
            if mu > 0:
                kept.append((mu, energy))
            else:
                outside += energy
        return outside, kept


# ---------------------------------------------------------------- order


def _multiplicities(given: Any) -> np.ndarray:
    """Return integers >= 1, in int64 if their sum fits, else as Python's: cubes have classes of 10^300 sets."""
    if not (isinstance(given, np.ndarray) and given.dtype.kind in "iu"):
        given = np.array([check_integer(m, "a multiplicity", minimum=1) for m in given], dtype=object)
    if len(given) and given.min() < 1:
        raise ValueError(f"multiplicities must be at least 1, found {given.min()}")
    small = len(given) == 0 or float(min(given.max(), 2**62)) * len(given) < 2**62 or sum(map(int, given)) < 2**62
    out: np.ndarray = given.astype(np.int64, copy=False) if small else given.astype(object)
    return out


def check_components(n_components: Any) -> int:
    """Return the number k of components that are asked for, or refuse it."""
    return check_integer(n_components, "n_components", minimum=1, maximum=MOST_COMPONENTS)


def first_components(order: np.ndarray, multiplicity: np.ndarray, k: int) -> np.ndarray:
    """Return the line of each of the first k components: those of ``order``, each once for every function it has."""
    found: list[np.ndarray] = []
    left = k
    for i in order.tolist():
        count = min(int(multiplicity[i]), left)
        found.append(np.full(count, i, np.intp))
        left -= count
        if not left:
            break
    return np.concatenate(found)


def check_numbers(reg: Any, beta: Any) -> tuple[float, float]:
    """Return lambda and beta, both finite and >= 0, or refuse them."""
    return check_scalar(reg, "reg", minimum=0.0), check_scalar(beta, "beta", minimum=0.0)


def ordered(lines: Lines, k: int, reg: float, beta: float) -> tuple[np.ndarray, list[int]]:
    """Return the lines of the blocks that the first k components touch, best first, and the ends of the blocks.

    Inside a block the lines keep their own order, whatever the rounding of their values.
    """
    mu = lines.values(reg, beta)
    penalty = lines.penalty(reg)
    scale = abs(1.0 - beta) + beta * np.abs(lines.augmentation) + np.where(np.isfinite(penalty), penalty, 0.0)
    if lines.total < k:
        raise ValueError(f"n_components must be at most {lines.total}, the number of eigenfunctions here, found {k}")
    candidates = np.arange(len(mu))
    if len(mu) > 4 * k + 1000:
        # a line of multiplicity >= 1 each: the k-th best line bounds the k-th best component from below
        worst = np.partition(mu, len(mu) - k)[len(mu) - k]
        margin = 4 * TIE * float(scale[mu >= worst].max()) if worst > -math.inf else 0.0
        candidates = np.flatnonzero(mu >= worst - margin)
    order = candidates[np.argsort(-mu[candidates], kind="stable")]
    values, tolerance = mu[order], TIE * scale[order]
    with np.errstate(invalid="ignore"):
        gaps = values[:-1] - values[1:]  # NaN between two that are -inf: no gap
    breaks = np.flatnonzero(gaps > np.maximum(tolerance[:-1], tolerance[1:])) + 1
    found: list[np.ndarray] = []
    ends: list[int] = []
    start, count = 0, 0
    for stop in [*breaks.tolist(), len(order)]:
        members = np.sort(order[start:stop])
        found.append(members)
        count += int(lines.multiplicity[members].sum())
        ends.append(count)
        if count >= k:
            break
        start = stop
    return np.concatenate(found), ends
