"""The beginning of an iteration without the kernel matrix: functions of a dense fit to some of the samples."""

from __future__ import annotations

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Kernel
from .exact import ConditionedKernel
from .groups import Samples
from .krylov import Accuracy, krylov_capacity, top_eigenpairs
from .objective import Objective
from .rotated_gram import rotated_gram

__all__ = ["coarse_functions"]

_COARSE = 1e-3
"""Residuals of a fit to some of the samples, whose functions have errors of some hundredths anyway."""


def coarse_functions(
    kernel: Kernel, points: Array, samples: Samples, backend: Backend, objective: Objective
) -> Array | None:
    """Return vectors near the leading k, in the rotated basis: functions of a fit for this objective, at all points.

    None where there are few views anyway, or where that fit is refused.  The values at all points take one product of a
    narrow part of K; the iteration begins a step or two later.
    """
    chosen = _some_samples(samples)
    if chosen is None:
        return None
    xp = backend.xp
    views, names = chosen
    few = points[xp.asarray(views)]
    some = Samples.from_groups(names, backend, backend.to_host(samples.weight)[views])
    try:
        blocks = rotated_gram(kernel, few, some, backend)
        coarse = ConditionedKernel(blocks, kernel, backend, unbiased=objective.unbiased, center=objective.center)
        coarse = coarse.condition(objective.reg, objective.beta)
    except (NotPositiveSemidefiniteError, ValueError):  # constant there, or below its rounding
        if not kernel.trusted:
            raise
        return None
    width = min(objective.k, len(views))
    start = backend.reference_normals(len(views), min(width + 4, len(views)), 0).astype(few.dtype, copy=False)
    pairs = top_eigenpairs(
        coarse.apply,
        coarse.centre(xp.asfortranarray(start)),
        width,
        backend,
        accuracy=Accuracy(_COARSE),
        max_basis=krylov_capacity(start.shape[1], len(views)),
    )
    z, _ = coarse.corrections(pairs.vectors)
    turned = some.rotate_back(coarse.halves(pairs.vectors)[0], -z)
    weights = turned * xp.sqrt(some.weight).astype(few.dtype)[:, None]
    values = xp.empty((samples.n_views, weights.shape[1]), few.dtype)
    kernel.rows(few, backend).product(points, weights, values, backend)
    values *= xp.sqrt(samples.weight).astype(few.dtype)[:, None]
    found: Array = xp.concatenate(samples.rotate(values))
    found /= xp.sqrt((found.astype(float) ** 2).sum(axis=0)).astype(few.dtype)
    return found


def _some_samples(samples: Samples) -> tuple[np.ndarray, np.ndarray] | None:
    """Draw samples, and return their views and the sample of each; None where there are few views anyway."""
    total, n = samples.n_views, samples.n
    count = int(min(tunables.MATRIX_FREE_COARSE_VIEWS, total // 4) * n / total)
    if count < 16:
        return None
    chosen = np.sort(np.random.default_rng(0).choice(n, count, replace=False))
    views, sizes = [], []
    for part in samples.classes:
        mine = chosen[(chosen >= part.sample_start) & (chosen < part.sample_stop)] - part.sample_start
        views.append((part.row_start + mine[:, None] * part.m + np.arange(part.m)).reshape(-1))
        sizes += [part.m] * len(mine)
    return np.concatenate(views), np.repeat(np.arange(count), sizes)
