"""The search for reg on held-out samples: `sslcore.selection` hands it on, and has the formulas."""

from __future__ import annotations

import math
import sys
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_seed, check_scalar
from ..declarations.parameters import Declared, converted, integer, nonnegative
from ..errors import SelectionWarning
from ..positives import Law
from ..solvers.selection import Selection
from .folds import Folds, Restricted
from .paired_folds import LawFolds
from .sizes import MOST_HELD_OUT, held_out_samples

if TYPE_CHECKING:
    from ..arrays import Array
    from .following import Searching
    from .problem import Problem

__all__ = ["AutoReg", "as_search", "choose", "law_folds", "make_folds", "most_folds", "select"]


_DECADES = {np.dtype(np.float64): 8, np.dtype(np.float32): 6}
"""Decades of the default grid, from the trace of the kernel's operator downwards: rounding ends below."""

_FOLDS, _SMALL = 5, 500
"""Default number of folds, and samples up to which it is: one split of few samples is noisy, and five are cheap."""

_MANY_CUT = 0.2
"""Share of the edges of a law of pairs, left out as they are between parts, from which on a search warns."""

_FLAT = 1e-4
"""Risks as close as this, in units of k, count as equal."""

_COLLAPSED = 1 - 1e-9
"""Risk, in units of k, from which on a representation is no better than one that is zero."""

_HARDLY = 0.1
"""Share of what a fit is better than zero, below which a search warns if no more of it is so on held-out samples."""

_LEARNT = 0.5
"""Share of k by which a fit has to be better than zero for that: of one that learns little, little can generalise."""

_FURTHER = "give a grid that goes further, reg=sslcore.selection.AutoReg(regs=...)"


def _as_seed(value: Any, name: str) -> int:
    return as_seed(value)


def _as_regs(value: Any, name: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    given = [value] if np.ndim(value) == 0 else list(value)
    regs = {check_scalar(reg, name, minimum=0.0, strict=True) for reg in given}
    if len(regs) < 2:
        raise ValueError(f"{name} must hold at least two different numbers to choose from, found {value!r}")
    return tuple(sorted(regs, reverse=True))


@dataclass(frozen=True)
class AutoReg(Declared):
    """The way in which `sslcore.pretrain` looks for reg; ``reg="auto"`` is ``reg=AutoReg()``.

    Parameters
    ----------
    regs : sequence of float, optional
        Grid of at least two numbers > 0.  By default nine decades down from the trace of the kernel's operator (seven
        in float32), rounded to a power of ten, then the half decades beside the one that is taken of these.
    n_folds : int, optional
        Number of parts, each of which is held out once; >= 1.  1: one split, which holds out a quarter of the samples
        (at most 10,000).  By default 5 up to 500 samples, else 1.
    max_samples : int, optional
        Number of samples to search on, drawn at random; >= 4.  Then reg is the best for that many: a little larger.
    seed : int
        Seed of the folds, in [0, 2**64).
    standard_errors : float
        Standard errors by which the risk may exceed the least; >= 0.  Takes the largest such reg, but none at which all
        components vanish.  1 is the rule of Breiman, Friedman, Olshen and Stone, *Classification and regression
        trees*, 1984, section 3.4.3.  Risks within 1e-4 k of the least count as equal to it in any case.

    Examples
    --------
    >>> import sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(100, seed=0), 2, seed=0)
    >>> search = sslcore.selection.AutoReg(regs=(1.0, 1e-1, 1e-2, 1e-3), n_folds=4)
    >>> sslcore.pretrain(views, sslcore.features.Identity(), 2, reg=search).reg
    0.01
    """

    regs: tuple[float, ...] | None = converted("grid of at least two numbers > 0", _as_regs, default=None)
    n_folds: int | None = integer("number of parts, each of which is held out once", minimum=1, default=None)
    max_samples: int | None = integer("number of samples to search on, drawn at random", minimum=4, default=None)
    seed: int = converted("seed of the folds, in [0, 2**64)", _as_seed, default=0)
    standard_errors: float = nonnegative("standard errors by which the risk may exceed the least", default=0.0)


def as_search(reg: Any) -> AutoReg | None:
    """Return the search that ``reg`` asks for, if it does."""
    if isinstance(reg, str) and reg == "auto":
        return AutoReg()
    return reg if isinstance(reg, AutoReg) else None


def most_folds(search: AutoReg | None) -> int:
    """Return how many folds the search may have, whatever the number of samples; none if there is no search."""
    if search is None:
        return 0
    return _FOLDS if search.n_folds is None else search.n_folds


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
        count = 1 if n > _SMALL else max(1, min(_FOLDS, n_useful // 2))
    held = held_out_samples(n_useful, n - n_useful)
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
        part[order[: held[0]]] = 0
        part[order[n_useful : n_useful + held[1]]] = 0
    return Folds(part, count)


def law_folds(law: Law, search: AutoReg) -> LawFolds:
    """Split the points of a law of pairs; warn if that leaves out many pairs."""
    if law.matrix is not None:
        raise ValueError(
            "reg='auto' holds out points, and of an Operator nothing says how pairs of the others are drawn: give reg "
            "as a number, or a law of pairs"
        )
    n, count = min(len(law.support), search.max_samples or sys.maxsize), search.n_folds
    if count is None:
        count = 1 if n > _SMALL else max(1, min(_FOLDS, n // 4))
    if n < 4 * count:
        raise ValueError(
            f"reg='auto' with {count} fold{'s' * (count > 1)} needs at least {4 * count} points in pairs, found {n}; "
            f"use fewer folds, AutoReg(n_folds=...), or give reg as a number"
        )
    folds = LawFolds.of(law, count, MOST_HELD_OUT, search.max_samples, search.seed)
    if folds.n_cut > _MANY_CUT * folds.n_edges:
        found = (
            f"the search for reg leaves out {folds.n_cut} of {folds.n_edges} edges, whose ends lie in different parts "
            f"of the data: its risks are those of fewer pairs"
        )
        advice = "use fewer folds, AutoReg(n_folds=...), or give reg as a number"
        warnings.warn(SelectionWarning(found, advice, reason="cut"), stacklevel=2)
    return folds


def choose(search: AutoReg, problem: Problem, searching: Searching | None = None) -> tuple[Selection, Array | None]:
    """Choose the reg of least risk on held-out samples, at the problem's k and beta; ``searching`` hears of each fit.

    Also returns vectors near the solution there, for `Problem.at`, if the search knows some.
    """
    law = problem.data.law
    if law is None:
        folds = make_folds(problem.data.sizes, search, problem.objective.beta == 0)
    else:
        folds = law_folds(law, search)
    parts = problem.restrict(folds)
    parts.searching = searching
    selection = select(search, parts, problem.dtype)
    return selection, parts.near(selection.reg)


def select(search: AutoReg, parts: Restricted, dtype: np.dtype) -> Selection:
    """Choose the reg of least risk on the samples that ``parts`` hold out; warn where the grid ends too early."""
    selection = _search(search, parts, dtype)
    if parts.unsolved:
        reg, error = parts.unsolved
        found = f"reg = {reg:g} and smaller ones were left out: {error}"
        warnings.warn(SelectionWarning(found, reason="left out", reg=reg), stacklevel=2)
    _warn(selection, parts)
    return selection


def _search(search: AutoReg, parts: Restricted, dtype: np.dtype) -> Selection:
    """Evaluate the grid; the default one begins at the trace, and ends at the rounding of ``dtype``."""
    started, folds, k = time.perf_counter(), parts.folds, parts.objective.k
    n_regs = len(search.regs) if search.regs is not None else _DECADES[dtype] + 3
    if parts.searching:
        parts.searching.expect(n_regs, folds.count)
    if search.regs is not None:
        regs = np.array(search.regs)
        found = parts.risks(regs)
    else:
        top = round(math.log10(parts.trace))
        exponents = np.arange(top, top - _DECADES[dtype] - 1, -1).astype(float)
        found = parts.risks(10.0**exponents)
        best = exponents[_within(*_averaged(found), k, search.standard_errors)]
        more = np.array([best + 0.5, best - 0.5])
        more = more[(more < exponents[0]) & (more > exponents[-1])]
        exponents = np.concatenate([exponents, more])
        order = np.argsort(-exponents)
        if parts.searching:
            parts.searching.expect(len(exponents), folds.count)
        found = np.concatenate([found, parts.risks(10.0**more)])[order]
        # written as people do: 3.16e-05
        regs = np.array([float(f"{10.0**e:.3g}") for e in exponents[order]])
    risks, errors = _averaged(found)
    return Selection(
        reg=float(regs[_within(risks, errors, k, search.standard_errors)]),
        regs=regs,
        risks=risks,
        standard_errors=errors,
        training_risks=found[:, :, 2].mean(axis=1),
        n_samples=folds.used,
        n_held_out=folds.held_out,
        n_folds=folds.count,
        seconds=time.perf_counter() - started,
        n_cut=folds.n_cut,
        within=search.standard_errors,
    )


def _averaged(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the risk of each reg, mean over the folds, and its standard error."""
    return found[:, :, 0].mean(axis=1), np.sqrt((found[:, :, 1] ** 2).sum(axis=1)) / found.shape[1]


def _least(risks: np.ndarray, k: int) -> int:
    """Return the index of the least risk; where it is flat, of the largest reg: the better conditioned problem."""
    return int(np.flatnonzero(risks <= np.nanmin(risks) + _FLAT * k)[0])


def _within(risks: np.ndarray, errors: np.ndarray, k: int, count: float) -> int:
    """Return the index of the largest reg whose risk is within ``count`` standard errors of the least."""
    least = _least(risks, k)
    if count == 0.0:
        return least
    close = (risks <= np.nanmin(risks) + count * errors[np.nanargmin(risks)]) & (risks < k * _COLLAPSED)
    return min(least, int(close.argmax())) if close.any() else least


def _warn(selection: Selection, parts: Restricted) -> None:
    """Say so when the risk still falls at an end of the grid, or hardly anything generalises."""
    regs, risks, k = selection.regs, selection.risks, parts.objective.k
    i = _least(risks, k)
    good = np.flatnonzero(np.isfinite(risks))
    reg, advice = float(regs[i]), ""
    if risks[i] >= k * _COLLAPSED:
        reason = "collapsed"
        found = (
            "no reg does better on held-out samples than a representation that has collapsed to zero: these views, "
            "with this model, have nothing in common that generalises"
        )
        advice = "use milder augmentations, more samples or another kernel"
    elif not (i in (good[0], good[-1]) and _falls(selection, i, good)):
        if _generalises(selection, k) >= _HARDLY:
            return
        reason, reg = "overfitted", selection.reg
        found = (
            f"hardly anything generalises: at reg {reg:g} the risk is {selection.risk:.3g} on held-out samples, "
            f"where that of zero is {k}, and {selection.risk - selection.gap:.2g} on those of the fit"
        )
        advice = "use more samples, another kernel, milder augmentations or fewer components"
    elif i == good[0]:
        reason, found = "largest", f"the held-out risk still falls at the largest reg of the grid, {reg:g}"
        advice = _FURTHER
    elif parts.unsolved:
        reason = "unsolved"
        found = f"the held-out risk still falls at the smallest reg for which all fits converge, {reg:g}"
    elif good[-1] < len(risks) - 1:
        reason, found = "rounding", f"the held-out risk still falls at the smallest reg that rounding allows, {reg:g}"
        advice = "use float64, or a feature model"
    else:
        reason, found = "smallest", f"the held-out risk still falls at the smallest reg of the grid, {reg:g}"
        advice = _FURTHER
    warnings.warn(SelectionWarning(found, advice, reason=reason, reg=reg), stacklevel=2)


def _falls(selection: Selection, end: int, good: np.ndarray) -> bool:
    """Tell whether the risk falls towards an end of the grid, over a decade, by more than its standard error."""
    regs, risks = selection.regs, selection.risks
    if len(good) == 1:
        return True  # for all that is known
    inner = good if end == good[-1] else good[::-1]  # from the other end on
    away = [i for i in inner if not 0.101 < regs[i] / regs[end] < 9.9]  # regs are rounded to three digits
    fall = risks[away[-1] if away else inner[0]] - risks[end]
    return not fall <= selection.standard_errors[end]  # which may be unknown


def _generalises(selection: Selection, k: int) -> float:
    """Return which share of what the fit is better than zero it is on held-out samples too; 1 where that is little."""
    trained = k - float(selection.training_risks[selection.chosen])
    return (k - selection.risk) / trained if trained > _LEARNT * k else 1.0
