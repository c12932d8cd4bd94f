"""One repetition of pretraining in a learning curve: fits of all sizes, then probes on many downstream draws.

The kernel values between centres and points are computed once for all sizes, block by block; the coefficients of the
functions of all sizes stand side by side, and rows that a size does not have are not multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..augmentations import Augmentation, Views
from ..backends import get_backend
from ..features import Features
from ..fitting.codec import same_features
from ..fitting.nested import nested_fits
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..kernels import Kernel
from ..kernels._rows import block_height
from ..solvers.objective import Objective
from ._prefixes import Probe, prefix_errors, prefix_errors_of
from ._sources import VIEWS, Repetition, Source

__all__ = ["Design", "compute", "constant"]

Values = Callable[[np.ndarray, list[int]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Design:
    """The design of a study, which is all that a cell needs; `learning_curves` says what each field is."""

    source: Source
    model: Kernel | Features
    augmentation: Augmentation
    n_views: int
    objective: Objective
    regs: tuple[float, ...]
    sizes: tuple[int, ...]
    downstream: tuple[int, ...]
    draws: int
    shared: bool
    risk_scale: bool
    probe_reg: float
    fit_intercept: bool
    probe: Probe | None
    keep: bool


def compute(design: Design, settings: dict[str, Any], repetition: int) -> dict[str, np.ndarray]:
    """Return errors (P, D) of one repetition, averaged over its draws; with ``keep``, (P, D, draws)."""
    drawn = Repetition(design.source, repetition)
    values = _functions(_fitted(design, drawn), design.risk_scale)
    everything = list(range(len(design.sizes)))
    test, truth = drawn.test()
    test_z = values(test, everything)
    at_pool = None if drawn.pool is None else values(drawn.pool, everything)
    found = np.empty((2, len(design.sizes), len(design.downstream), design.draws))
    for group in [everything] if design.shared else [[p] for p in everything]:
        key = () if design.shared else (group[0],)
        height = tunables.CURVES_BLOCK_BYTES // (8 * design.downstream[-1] * design.objective.k * len(group)) or 1
        for start in range(0, design.draws, height):
            draws = range(start, min(start + height, design.draws))
            x, y = (np.stack(part) for part in zip(*(drawn.downstream(j, *key) for j in draws), strict=True))
            if at_pool is None:
                z = values(x.reshape(-1, x.shape[2]), group).reshape(len(group), len(draws), x.shape[1], -1)
            else:
                z = at_pool[np.array(group)[:, None, None], np.stack([drawn.places(j, *key) for j in draws])]
            for p, own in zip(group, z, strict=True):
                given = own, y, np.array(design.downstream), test_z[p], truth
                if design.probe is not None:
                    squared, zero_one = prefix_errors_of(design.probe, *given)
                else:
                    numbers: Any = {"reg": design.probe_reg, "fit_intercept": design.fit_intercept}
                    squared, zero_one = prefix_errors(*given, **numbers)
                found[:, p, :, draws.start : draws.stop] = squared.T, zero_one.T
    errors = {"squared": found[0], "relative": found[0] / np.mean(np.sum(truth**2, axis=1))}
    if design.source.kind != "values":
        errors["zero_one"] = found[1]
    averages = {name: error.mean(axis=2) for name, error in errors.items()}
    return averages | ({f"{name}-single": error for name, error in errors.items()} if design.keep else {})


def constant(regs: tuple[float, ...], sizes: tuple[int, ...]) -> bool:
    """Tell whether n reg(n) is the same for all sizes, to rounding, so that one factor serves all of them."""
    products = np.multiply(regs, sizes)
    return len(sizes) > 1 and bool(np.ptp(products) <= 1e-12 * products.max()) and min(regs) > 0


def _fitted(design: Design, drawn: Repetition) -> list[Representation]:
    """Fit the first points of one pretraining sample, for each size."""
    own, m = design.objective, design.n_views
    views = Views(drawn.pretraining(), design.augmentation, m, drawn.seed(VIEWS))
    numbers: dict[str, Any] = {"beta": own.beta, "unbiased": own.unbiased, "center": own.center}
    if isinstance(design.model, Kernel) and constant(design.regs, design.sizes):
        product = design.regs[-1] * design.sizes[-1] * m
        fits = nested_fits(views, design.model, own.k, design.sizes, reg_times_n=product, **numbers)
        return [fit.representation for fit in fits]
    made = views[: len(views)]
    return [
        pretrain(made[:n], design.model, own.k, reg=reg, **numbers)
        for n, reg in zip(design.sizes, design.regs, strict=True)
    ]


def _functions(reps: list[Representation], risk_scale: bool) -> Values:
    """Return a function from points (n, d) and places of sizes to the values (sizes, n, k) of the learnt functions."""
    if isinstance(reps[0].model, Kernel):
        return _of_kernel(reps, risk_scale)
    models = [rep.model for rep in reps if isinstance(rep.model, Features)]
    if all(same_features(model, models[0]) for model in models[1:]):
        return _of_features(reps, risk_scale)
    return lambda x, group: np.stack([reps[p].transform(x, scale="risk" if risk_scale else "unit") for p in group])


def _of_kernel(reps: list[Representation], risk_scale: bool) -> Values:
    """Multiply the kernel values of centres with points, a block of points at a time, by all coefficients."""
    largest = reps[-1]
    assert isinstance(largest.model, Kernel)
    assert largest.centres is not None
    kernel, centres, backend, k = largest.model, largest.centres, get_backend(largest.centres), largest.n_components
    factors = [_scale(rep, risk_scale) for rep in reps]
    weights = [(rep.coefficients * factor).T for rep, factor in zip(reps, factors, strict=True)]
    intercepts = [rep.intercept * factor for rep, factor in zip(reps, factors, strict=True)]

    def values(x: np.ndarray, group: list[int]) -> np.ndarray:
        parts = []
        for start in range(0, len(group), tunables.CURVES_PARTS):
            part = group[start : start + tunables.CURVES_PARTS]
            stacked = np.zeros((len(part), k, weights[part[-1]].shape[1]), centres.dtype)
            for place, p in enumerate(part):
                stacked[place, :, : weights[p].shape[1]] = weights[p]
            parts.append((part, stacked.reshape(len(part) * k, -1)))
        used = weights[group[-1]].shape[1]
        out = np.empty((len(group), len(x), k), np.result_type(x.dtype, centres.dtype))
        height = min(block_height(used, centres.dtype.itemsize, backend), len(x))
        block = np.empty((used, height), centres.dtype)
        for start in range(0, len(x), height):
            points = np.ascontiguousarray(x[start : start + height], centres.dtype)
            rows = block[:, : len(points)]
            kernel.rows(points, backend).fill(centres[:used], 0, rows)
            for first, (part, stacked) in zip(range(0, len(group), tunables.CURVES_PARTS), parts, strict=True):
                product = (stacked @ rows[: stacked.shape[1]]).reshape(len(part), k, len(points))
                for place, p in enumerate(part):
                    out[first + place, start : start + height] = product[place].T + intercepts[p]
        return out

    return values


def _of_features(reps: list[Representation], risk_scale: bool) -> Values:
    """Compute the features of a block of points once, and multiply them by all coefficients."""
    model, k = reps[0].model, reps[0].n_components
    assert isinstance(model, Features)
    factors = [_scale(rep, risk_scale) for rep in reps]
    weights = [np.asarray(rep.coefficients * f, np.float64) for rep, f in zip(reps, factors, strict=True)]
    intercepts = np.stack([rep.intercept * f for rep, f in zip(reps, factors, strict=True)])

    def values(x: np.ndarray, group: list[int]) -> np.ndarray:
        phi = model.prepare(x.shape[1], x.dtype, get_backend(x))
        stacked = np.concatenate([weights[p] for p in group], axis=1)
        out = np.empty((len(group), len(x), k))
        height = max(64, tunables.KERNEL_BLOCK_BYTES // (8 * len(stacked)))
        for start in range(0, len(x), height):
            product = phi(x[start : start + height]).astype(np.float64, copy=False) @ stacked
            out[:, start : start + height] = product.reshape(-1, len(group), k).transpose(1, 0, 2)
        out += intercepts[group][:, None]
        return out

    return values


def _scale(rep: Representation, risk_scale: bool) -> np.ndarray:
    return np.sqrt(np.clip(1.0 - rep.gamma, 0.0, None)) if risk_scale else np.ones(rep.n_components)
