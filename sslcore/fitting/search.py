"""The search for reg on held-out samples: `sslcore.selection` hands it on, and has the formulas."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, as_seed, check_integer, check_scalar
from ..backends import Backend
from ..errors import CertificateError, NotPositiveSemidefiniteError, SelectionWarning
from ..kernels import Kernel, Precomputed
from ..kernels._rows import block_height
from ..solvers.certificate import TOLERANCE, Spectrum
from ..solvers.exact import ConditionedKernel, solve_exact
from ..solvers.groups import Samples
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.rotated_gram import rotated_gram
from ..solvers.selection import Selection
from ..solvers.sums import Sums, add_block
from .data import Data
from .held_out import _GROUPS, HeldOutRisk, training_risk
from .moments import Moments

__all__ = ["AutoReg"]


_DECADES = {np.dtype(np.float64): 8, np.dtype(np.float32): 6}
"""Decades of the default grid, from the trace of the kernel's operator downwards: rounding ends below."""

_SMALL = 500
"""Samples up to which the default is five folds: one split of few samples is noisy, and five are cheap."""

_MOST_HELD_OUT = 10_000
"""Samples that one split holds out at most: the risk is known well enough then."""

_FLAT = 1e-4
"""Risks as close as this, in units of k, count as equal."""


@dataclass(frozen=True)
class AutoReg:
    """How `sslcore.pretrain` looks for reg; ``reg="auto"`` is ``reg=AutoReg()``.

    Parameters
    ----------
    regs : sequence of float, optional
        The grid.  By default nine decades down from the trace of the kernel's operator (seven in float32), rounded to a
        power of ten, then the half decades beside the best of them.
    n_folds : int, optional
        Every sample is held out once in n_folds >= 2 parts; 1: one split, which holds out a quarter of the samples (at
        most 10,000).  By default 5 up to 500 samples, else 1.
    max_samples : int, optional
        Search on that many samples, drawn at random (then reg is the best for that many: a little larger).
    seed : int
        Of the folds.

    Examples
    --------
    >>> import sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(100, seed=0), 2, seed=0)
    >>> search = sslcore.selection.AutoReg(regs=(1.0, 1e-1, 1e-2, 1e-3), n_folds=4)
    >>> sslcore.pretrain(views, sslcore.features.Identity(), 2, reg=search).reg
    0.01
    """

    regs: tuple[float, ...] | None = None
    n_folds: int | None = None
    max_samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.regs is not None:
            values = [self.regs] if np.ndim(self.regs) == 0 else list(self.regs)
            regs = {check_scalar(reg, "regs", minimum=0.0, strict=True) for reg in values}
            if len(regs) < 2:
                raise ValueError(f"regs must hold at least two different numbers to choose from, found {self.regs!r}")
            object.__setattr__(self, "regs", tuple(sorted(regs, reverse=True)))
        if self.n_folds is not None:
            object.__setattr__(self, "n_folds", check_integer(self.n_folds, "n_folds", minimum=1))
        if self.max_samples is not None:
            object.__setattr__(self, "max_samples", check_integer(self.max_samples, "max_samples", minimum=4))
        object.__setattr__(self, "seed", as_seed(self.seed))


def as_search(reg: Any) -> AutoReg | None:
    """The search that ``reg`` asks for, if it does."""
    if isinstance(reg, str) and reg == "auto":
        return AutoReg()
    return reg if isinstance(reg, AutoReg) else None


# ---------------------------------------------------------------- the folds


def moments_bytes(search: AutoReg, r: int) -> int:
    """What the moments of all folds, and those of one training part, take besides the final ones."""
    return 16 * r * r * (2 + (5 if search.n_folds is None else search.n_folds))


@dataclass(frozen=True)
class Folds:
    """``part`` (n,): the fold 0..count-1 in which a sample is held out, ``count`` if in none, -1 if it is not used."""

    part: np.ndarray
    count: int

    @property
    def used(self) -> int:
        """Samples that are in some fold."""
        return int((self.part >= 0).sum())

    @property
    def held_out(self) -> int:
        """Samples held out in the first fold."""
        return int((self.part == 0).sum())


def make_folds(sizes: np.ndarray, search: AutoReg, single_views: bool) -> Folds:
    """Split samples with these numbers of views; every part gets its share of those with one view only.

    ``single_views``: samples of one view do as well (beta = 0).
    """
    rng = np.random.default_rng(search.seed)
    useful = np.ones(len(sizes), bool) if single_views else sizes > 1
    order = rng.permutation(len(sizes))[: search.max_samples]
    order = order[np.argsort(~useful[order], kind="stable")]  # those with contrasts first
    n, n_useful = len(order), int(useful[order].sum())
    count = search.n_folds
    if count is None:
        count = 1 if n > _SMALL else max(1, min(5, n_useful // 2))
    least = 4 if count == 1 else 2 * count
    if n_useful < least:
        what = "samples" if single_views else "samples with 2 or more views"
        raise ValueError(
            f"reg='auto' with {count} fold{'s' * (count > 1)} needs at least {least} {what}, found {n_useful}: every "
            f"fold holds out two; use fewer folds, AutoReg(n_folds=...), or give reg as a number"
        )
    part = np.full(len(sizes), -1)
    if count > 1:
        part[order] = np.arange(n) % count
    else:
        part[order] = 1
        held = max(2, min(round(n_useful / 4), _MOST_HELD_OUT))
        part[order[:held]] = 0
        part[order[n_useful : n_useful + min(round((n - n_useful) / 4), _MOST_HELD_OUT)]] = 0
    return Folds(part, count)


# ---------------------------------------------------------------- the search


_REFUSALS = (CertificateError, NotPositiveSemidefiniteError)
"""What a fit raises whose reg is below the rounding of the matrix."""


def _search(
    search: AutoReg,
    folds: Folds,
    scale: float,
    dtype: np.dtype,
    evaluate: Callable[[np.ndarray], np.ndarray],
    k: int,
) -> Selection:
    """Evaluate the grid; ``evaluate(regs)`` gives an array (L, folds, 3): held-out risk, its error, training risk.

    They are NaN where a fit was refused.  ``scale`` is where the default grid begins.
    """
    started = time.perf_counter()
    if search.regs is not None:
        regs = np.array(search.regs)
        found = evaluate(regs)
    else:
        top = round(math.log10(scale))
        exponents = np.arange(top, top - _DECADES[dtype] - 1, -1).astype(float)
        found = evaluate(10.0**exponents)
        best = exponents[_least(found[:, :, 0].mean(axis=1), k)]
        more = np.array([best + 0.5, best - 0.5])
        more = more[(more < exponents[0]) & (more > exponents[-1])]
        exponents = np.concatenate([exponents, more])
        order = np.argsort(-exponents)
        found = np.concatenate([found, evaluate(10.0**more)])[order]
        # written as people do: 3.16e-05
        regs = np.array([float(f"{10.0**e:.3g}") for e in exponents[order]])
    risks = found[:, :, 0].mean(axis=1)
    selection = Selection(
        reg=float(regs[_least(risks, k)]),
        regs=regs,
        risks=risks,
        standard_errors=np.sqrt((found[:, :, 1] ** 2).sum(axis=1)) / folds.count,
        training_risks=found[:, :, 2].mean(axis=1),
        n_samples=folds.used,
        n_held_out=folds.held_out,
        n_folds=folds.count,
        seconds=time.perf_counter() - started,
    )
    _warn(selection, k)
    return selection


def _least(risks: np.ndarray, k: int) -> int:
    """Index of the least risk; where it is flat, of the largest reg: the better conditioned problem."""
    return int(np.flatnonzero(risks <= np.nanmin(risks) + _FLAT * k)[0])


def _warn(selection: Selection, k: int) -> None:
    """Say so when the minimum is at an end of the grid."""
    risks, i = selection.risks, selection.chosen
    good = np.flatnonzero(np.isfinite(risks))
    advice = "give a grid that goes further, reg=sslcore.selection.AutoReg(regs=...)"
    if selection.risk >= k * (1 - 1e-9):
        message = (
            "no reg does better on held-out samples than a representation that has collapsed to zero: these views, "
            "with this model, have nothing in common that generalises; use milder augmentations, more samples or "
            "another kernel"
        )
    elif i not in (good[0], good[-1]):
        return
    elif i == good[0]:
        message = f"the held-out risk still falls at the largest reg of the grid, {selection.reg:g}; {advice}"
    elif good[-1] < len(risks) - 1:
        message = (
            f"the held-out risk still falls at the smallest reg that rounding allows, {selection.reg:g}; use float64, "
            f"or a feature model"
        )
    else:
        message = f"the held-out risk still falls at the smallest reg of the grid, {selection.reg:g}; {advice}"
    warnings.warn(message, SelectionWarning, stacklevel=2)


def _require_some(found: np.ndarray, errors: list[Exception]) -> np.ndarray:
    if not np.isfinite(found[:, :, 0].mean(axis=1)).any():
        raise errors[-1]
    return found


def select_exact(
    search: AutoReg, kernel: Kernel, points: Array, data: Data, numbers: Objective, engine: Backend, room: int
) -> Selection:
    """The search for a kernel, on checked points (N, d) in the caller's order (or a Gram matrix, for `Precomputed`).

    At most ``room`` folds are kept; of others the Gram matrix is computed again for the half decades.
    """
    xp, single = engine.xp, numbers.beta == 0
    groups = np.repeat(np.arange(data.n), data.shape[-1]) if data.groups is None else data.groups
    folds = make_folds(np.bincount(groups), search, single)
    part = folds.part[groups]
    jackknife = _jackknife_groups(folds)
    errors: list[Exception] = []

    def fold(f: int) -> tuple[ConditionedKernel, Callable[[float], tuple[float, float, float]]]:
        training, held = np.flatnonzero((part >= 0) & (part != f)), np.flatnonzero(part == f)
        if numbers.k > len(training):
            raise ValueError(
                f"reg='auto' trains on {len(training)} of the {data.n_views} views, and n_components must be at most "
                f"that, found {numbers.k}; give reg as a number, or use more folds"
            )
        names = np.arange(len(training)) if single else np.unique(groups[training], return_inverse=True)[1]
        samples = Samples.from_groups(names, engine, _part(data.weight, training))
        x = points[xp.asarray(training)]
        # rows in the order of the samples; a given matrix is read in that order
        ordered = x[:, xp.asarray(training)] if isinstance(kernel, Precomputed) else x[samples.order]
        operator = ConditionedKernel(
            rotated_gram(kernel, ordered, samples, engine),
            kernel,
            engine,
            unbiased=numbers.unbiased,
            center=numbers.center,
        )
        labels, names = np.unique(groups[held], return_inverse=True)
        theirs = Samples.from_groups(names, engine, _part(data.weight, held))
        rows = points[xp.asarray(held[engine.to_host(theirs.order)])]
        cross = rows[:, xp.asarray(training)] if isinstance(kernel, Precomputed) else _values(kernel, rows, x, engine)
        members = jackknife[labels][engine.to_host(theirs.labels)]
        weight = float(len(held)) if data.weight is None else float(data.weight[held].sum())

        def evaluate(reg: float) -> tuple[float, float, float]:
            here = dataclasses.replace(numbers, reg=reg)
            spectrum = solve_exact(operator, here, tolerance=TOLERANCE[data.dtype], planned_bytes=0).spectrum
            risk = HeldOutRisk(numbers.k, numbers.beta, numbers.unbiased, engine)
            risk.add(_embed(spectrum, cross, engine), theirs, weight, members)
            return *risk.value(), training_risk(spectrum, numbers.beta)

        return operator, evaluate

    kept = [fold(f) for f in range(folds.count)] if folds.count <= max(room, 1) else []
    scale = kept[0][0].trace if kept else fold(0)[0].trace

    def evaluate(regs: np.ndarray) -> np.ndarray:
        found = np.full((len(regs), folds.count, 3), math.nan)
        for f in range(folds.count):
            _, solve = kept[f] if kept else fold(f)
            for i, reg in enumerate(regs):
                try:
                    found[i, f] = solve(float(reg))
                except _REFUSALS as error:
                    errors.append(error.with_traceback(None))  # which would keep the fold alive
            del solve, _  # before the next fold is made
        return _require_some(found, errors)

    return _search(search, folds, scale, data.dtype, evaluate, numbers.k)


def _values(kernel: Kernel, x: Array, y: Array, engine: Backend) -> Array:
    """Kernel values (n_x, n_y), by blocks of rows."""
    source = kernel.rows(y, engine)
    out = engine.xp.empty((len(x), len(y)), x.dtype)
    height = block_height(len(y), x.dtype.itemsize, engine)
    for start in range(0, len(x), height):
        rows = slice(start, start + height)
        source.fill(x[rows], 0, out[rows])
    return out


def _embed(spectrum: Spectrum, phi: Array, engine: Backend) -> Array:
    """psi from the values phi of features, or of the kernel."""
    scale = engine.xp.asarray(np.clip(1.0 - spectrum.gamma, 0.0, None) ** 0.5)
    coefficients = engine.xp.asfortranarray(spectrum.coefficients)
    values = engine.matmul(phi.astype(coefficients.dtype, copy=False), coefficients)
    return (values.astype(float) + spectrum.intercept) * scale


def _part(weight: np.ndarray | None, index: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[index]


def _jackknife_groups(folds: Folds) -> np.ndarray:
    """The group of each sample: those of every part in turn, so that groups are of equal size."""
    groups = np.zeros(len(folds.part), int)
    for f in range(folds.count):
        held = np.flatnonzero(folds.part == f)
        groups[held] = np.arange(len(held)) % _GROUPS
    return groups


def select_features(
    search: AutoReg, moments: Moments, data: Data, numbers: Objective, engine: Backend, rows: int
) -> Selection:
    """The search for features, by blocks of about ``rows`` views; ``moments`` gets the sums over all samples.

    Landmarks were chosen from all views, without harm: a penalised function is a combination of the features of the
    views that it was fitted to, wherever the landmarks lie.
    """
    xp = engine.xp
    sizes = np.full(data.n, data.shape[-1]) if data.groups is None else np.bincount(data.groups)
    folds = make_folds(sizes, search, numbers.beta == 0)
    jackknife = _jackknife_groups(folds)
    phi = moments.features.prepare(data.d, data.dtype, engine)
    errors: list[Exception] = []

    parts = {int(p): Sums.zero(moments.features.n_kept(data.d), xp) for p in np.unique(folds.part)}
    buffer = xp.empty(0, data.dtype)
    for x, samples, weight, index in _indexed_blocks(data, rows, engine):
        values = phi(x)
        if buffer.size < values.size:
            buffer = xp.empty(values.size, values.dtype)
        for p in np.unique(folds.part[index]):
            chosen, some, share = _take(samples, weight, folds.part[index] == p, engine, data.weight is None)
            add_block(parts[int(p)], values[chosen], some, share, buffer, engine)
    moments.take(parts.values(), data, engine)

    def training(f: int) -> Sums:
        total = Sums.zero(len(parts[f].mean), xp)
        for p, part in parts.items():
            total = total.merged(part) if p not in (f, -1) else total
        return total

    def posed(sums: Sums) -> Pencil:
        finest, unbiased, center = moments.features.finest, numbers.unbiased, numbers.center
        return Pencil(sums, engine, finest=finest, unbiased=unbiased, center=center)

    def evaluate(regs: np.ndarray) -> np.ndarray:
        found = np.full((len(regs), folds.count, 3), math.nan)
        solved: dict[tuple[int, int], Spectrum] = {}
        for f in range(folds.count):
            pencil = posed(training(f))
            for i, reg in enumerate(regs):
                try:
                    solved[i, f] = pencil.solve(dataclasses.replace(numbers, reg=float(reg)))
                except _REFUSALS as error:
                    errors.append(error)
        risks = {key: HeldOutRisk(numbers.k, numbers.beta, numbers.unbiased, engine) for key in solved}
        for x, samples, weight, index in _indexed_blocks(data, rows, engine):
            for f in np.unique(folds.part[index]):
                if not 0 <= f < folds.count:
                    continue
                held = folds.part[index] == f
                chosen, some, share = _take(samples, weight, held, engine, data.weight is None)
                values = phi(x[chosen])
                for i in range(len(regs)):
                    if (i, int(f)) in solved:
                        z = _embed(solved[i, int(f)], values, engine)
                        risks[i, int(f)].add(z, some, share, jackknife[index[held]])
        for (i, f), risk in risks.items():
            found[i, f] = *risk.value(), training_risk(solved[i, f], numbers.beta)
        return _require_some(found, errors)

    scale = posed(training(0)).unit
    return _search(search, folds, scale, np.dtype(float), evaluate, numbers.k)


def _indexed_blocks(data: Data, rows: int, engine: Backend) -> Iterator[tuple[Array, Samples, float, np.ndarray]]:
    """`Data.blocks` with the index of each sample, in the order of the block's samples."""
    first = 0
    for x, samples, weight in data.blocks(rows, engine):
        yield x, samples, weight, first + engine.to_host(samples.labels)
        first += samples.n


def _take(
    samples: Samples, weight: float, chosen: np.ndarray, engine: Backend, equal: bool
) -> tuple[Array, Samples, float]:
    """Rows, samples and total weight of those ``chosen`` (n,) of a block."""
    sizes = np.concatenate([np.full(c.count, c.m) for c in samples.classes])
    rows = np.flatnonzero(np.repeat(chosen, sizes))
    names = np.repeat(np.arange(int(chosen.sum())), sizes[chosen])
    p = engine.to_host(samples.weight)[rows]
    some = Samples.from_groups(names, engine, None if equal else p)
    return engine.xp.asarray(rows), some, weight * float(p.sum())
