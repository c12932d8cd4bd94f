"""The plans of two modalities: what their solvers allocate, and the work of the leading terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .. import tunables
from ..features import Features, Identity
from ..kernels import Kernel, Precomputed
from ..solvers.krylov import block_width
from .machine_rates import Work
from .plan import (
    _OBJECTS_BYTES,
    _STEPS,
    SEARCHED_TOGETHER,
    Plan,
    _filling_bytes,
    _iterating_bytes,
    _places_bytes,
    feature_rows,
    features_plan,
)
from .plan_matrix_free import matrix_free_plan
from .sizes import Sizes

__all__ = ["joined_plan", "kernels_plan", "pair_features_plan", "pairs_plan"]


def pairs_plan(
    sizes: Sizes, widths: Sequence[int], models: Any, budget: int, block_factor: int = 1, solver: str | None = None
) -> Plan:
    """Plan the fit of two kernels, by the solver that is asked for, or chosen, or of two features."""
    features, given = isinstance(models[0], Features), any(isinstance(kernel, Precomputed) for kernel in models)
    if not features:
        dense = kernels_plan(sizes, widths, models, block_factor)
        if solver == "dense" or given or (solver is None and dense.bytes <= budget):
            return dense
        without = joined_plan(replace(sizes, d=sizes.d + 2, made=True), models, budget, block_factor)
        return without if solver or without.bytes < dense.bytes else dense
    r = sum(model.n_features(d) for model, d in zip(models, widths, strict=True))
    return pair_features_plan(replace(sizes, n_views=sizes.n), r, models)


def kernels_plan(sizes: Sizes, widths: Sequence[int], kernels: Sequence[Kernel], block_factor: int = 1) -> Plan:
    """Plan the exact solver of n pairs: two Gram matrices, one of which the factor takes, and a Krylov basis."""
    n, total, n_points, width = sizes.n, sizes.n_views, sizes.n_points, block_width(sizes.k, sizes.n_views)
    # a step reads the second matrix twice, the triangle of the mean, and the factor twice
    entries = n_points * _STEPS * 4 * n * n
    untrusted = sum(not kernel.trusted for kernel in kernels)
    work = Work(
        values=float(n * n),
        products=float(n) ** 2 * sizes.d,
        factors=n_points * n**3 / 3 + untrusted * n**3 / 3,
        steps_flops=2.0 * width * entries + n_points * 4 * _STEPS**2 * total * width**2,
        steps_bytes=float(sizes.itemsize * entries),
    )

    def smaller(pairs: int) -> int:
        return _kernels_bytes(replace(sizes, n=pairs, n_views=2 * pairs), widths, kernels, block_factor)

    return Plan("exact", smaller(n), work, "use fewer pairs, or features of both modalities", list, smaller, n)


def _kernels_bytes(sizes: Sizes, widths: Sequence[int], kernels: Sequence[Kernel], block_factor: int) -> int:
    """Count both matrices, the points (of a search also those of its parts), and the largest of the phases."""
    n, total, itemsize = sizes.n, sizes.n_views, sizes.itemsize
    square = itemsize * n * n
    points = (
        itemsize * n * sum(d for d, kernel in zip(widths, kernels, strict=True) if not isinstance(kernel, Precomputed))
    )
    filling = max(
        _filling_bytes(replace(sizes, n=n, n_views=n, d=d), kernel, block_factor) + square * (not kernel.trusted)
        for d, kernel in zip(widths, kernels, strict=True)
    )
    filling = max(filling, 3 * itemsize * max(n, tunables.GRAM_CENTRING_BLOCK_ENTRIES))
    components = max(itemsize, 6) * total * 16 * min(sizes.k, total)
    iterating = _iterating_bytes(sizes)
    if sizes.places or sizes.n_folds:  # functions of the reduced basis
        least = 1 + SEARCHED_TOGETHER if sizes.n_folds else 12
        iterating += _places_bytes(replace(sizes, n_points=max(sizes.n_points, least)))
    phases = [2 * square + filling, 2 * square + max(iterating, components)]
    fixed = points * (1 + sizes.made + 2 * (sizes.n_folds > 0)) + 8 * 12 * total
    if sizes.n_folds:  # the rows of a training part, and what is chosen of them, and those of what is held out
        fixed += 2 * square * sum(isinstance(kernel, Precomputed) for kernel in kernels)
    return _OBJECTS_BYTES + int(fixed + max(phases))


def joined_plan(sizes: Sizes, kernels: tuple[Kernel, Kernel], budget: int, block_factor: int = 1) -> Plan:
    """Plan the solver without matrices, for joined points: as if each kernel had all of them."""
    plan = matrix_free_plan(sizes, kernels[0] + kernels[1], budget, block_factor)
    return replace(plan, advice="use fewer pairs, or features of both modalities", alternatives=list)


def pair_features_plan(sizes: Sizes, r: int, models: Sequence[Features]) -> Plan:
    """Plan the feature solver of n pairs with r features of both modalities together."""
    model = models[0] if all(isinstance(part, Identity) for part in models) else None
    plan = features_plan(sizes, r, model)
    joint = 8 * 3 * r * r  # sums of the joined features, and two of their blocks
    height = min(sizes.n, feature_rows(r, sizes.d))
    joint += sizes.itemsize * r * min(sizes.n - height, height)  # each modality's, beside the buffer of the first block
    joint += sizes.itemsize * sizes.n * sizes.d * (sizes.n_folds > 0)  # the pairs of a training part
    return replace(plan, bytes=plan.bytes + joint, smaller=None)
