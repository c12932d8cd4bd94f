"""The plan of the exact solver without the kernel matrix, and the choice between it and the one with."""

from __future__ import annotations

import bisect
import math
from dataclasses import replace
from typing import Any

from .. import tunables
from ..arrays import shown
from ..features import Features
from ..kernels import Kernel, Precomputed
from ..kernels._rows import block_rows
from ..solvers.krylov import block_width, krylov_capacity
from .machine_rates import Work
from .plan import _OBJECTS_BYTES, _STEPS, Plan, _alternatives, _at_work, _exact_bytes, exact_plan, judging_bytes
from .sizes import Sizes

__all__ = ["as_solver", "kernel_plan", "matrix_free_plan"]

_PRODUCTS = 100
"""Products with the kernel of a fit without its matrix, for the estimate of time, as reg is not known: 4,000 views of
half-moons took 43 and 59 with a Gaussian, 129 and 188 with the exponential kernel, at reg = 1e-5 and 1e-7."""

SOLVERS = ("dense", "matrix-free")
"""The ways in which a kernel is solved exactly."""


def as_solver(value: Any, model: Any, *, law: bool = False) -> str | None:
    """Return the name of a solver of kernels, or None; refuse one where ``model``, or a law of pairs, has but one."""
    if value is None:
        return None
    if not (isinstance(value, str) and value in SOLVERS):
        raise ValueError(f"solver must be None, {SOLVERS[0]!r} or {SOLVERS[1]!r}, found {shown(value)}")
    models = model if isinstance(model, tuple) else (model,)
    if any(isinstance(part, Features) for part in models):
        found = "features, solved by their moments"
    elif law:
        found = "a law of positive pairs, whose matrix is always made"
    elif value == "matrix-free" and any(isinstance(part, Precomputed) for part in models):
        found = "Precomputed, whose matrix is there already"
    else:
        return value
    raise ValueError(f"solver={value!r} is for kernels, found {found}; leave solver alone")


def kernel_plan(sizes: Sizes, kernel: Kernel, budget: int, block_factor: int = 1, solver: str | None = None) -> Plan:
    """Plan the solver that is asked for, or chosen: with the matrix if the budget has room, else with less memory."""
    if solver == "matrix-free":
        return matrix_free_plan(sizes, kernel, budget, block_factor)
    dense = exact_plan(sizes, kernel, block_factor)
    if dense.bytes <= budget or solver == "dense" or isinstance(kernel, Precomputed):
        return dense
    without = matrix_free_plan(sizes, kernel, budget, block_factor)
    return without if without.bytes < dense.bytes else dense


def matrix_free_plan(sizes: Sizes, kernel: Kernel, budget: int, block_factor: int = 1) -> Plan:
    """Plan the solver without the kernel matrix, its preconditioner as large as helps and as ``budget`` allows."""
    n, total, k, n_points = sizes.n, sizes.n_views, sizes.k, sizes.n_points
    contrasts, width = total - n, block_width(k, total)
    helpful = min(2 * contrasts, int(tunables.MATRIX_FREE_RANK_COLUMNS * math.sqrt(total)))
    rank = bisect.bisect_right(
        range(1, helpful + 1), budget, key=lambda r: _matrix_free_bytes(sizes, kernel, r, block_factor)
    )
    rank = max(rank, min(helpful, tunables.PIVOTED_BLOCK_COLUMNS))  # less would hardly help
    products = n_points * (_PRODUCTS if contrasts else _STEPS)
    columns = min(rank, contrasts)
    work = Work(
        values=products * total * total / 2,
        products=products * 2.0 * total * total * width + products * 4.0 * contrasts * columns * width,
        factors=3.0 * contrasts * columns**2,
    )

    def smaller(samples: int) -> int:
        few = sizes.with_samples(samples)
        return _matrix_free_bytes(few, kernel, min(rank, 2 * (few.n_views - few.n)), block_factor)

    size = _matrix_free_bytes(sizes, kernel, rank, block_factor)
    advice, others = "use fewer samples", _alternatives(sizes, kernel)
    known = None if sizes.grouped.uneven else smaller
    return Plan("matrix-free", size, work, advice, others, known, sizes.grouped.n, products=products, rank=rank)


def _matrix_free_bytes(sizes: Sizes, kernel: Kernel, rank: int, block_factor: int) -> int:
    """Count what the solver without the matrix takes: the preconditioner, and the largest of its phases.

    ``rank`` columns of the preconditioner are float32, or half as many float64; its small factor may be float64.

    * The diagonal of Khat, of the blocks of K that belong to some samples, and rows of the means.
    * Columns of C for the preconditioner, as they are combined of rows of K, and rotated; then its small matrix.
    * A fit of some of the samples, dense, and its functions at all points.
    * The Krylov basis, and the blocks of conjugate gradients on their way through products.
    """
    n, total, k, itemsize, n_points = sizes.n, sizes.n_views, sizes.k, sizes.itemsize, sizes.n_points
    contrasts, width = total - n, block_width(k, total)
    needs = kernel._needs(total, sizes.d, itemsize)

    def filling(most: int) -> float:
        height = min(total, block_factor * block_rows(total, itemsize), most)
        return itemsize * needs.blocks * total * height + _at_work(needs, sizes, height, block_factor)

    multiplied = filling(max(256, total // 12))  # rows of K that products with it take at a time
    fixed = sizes.points_bytes * (1 + sizes.made) + sizes.rotations_bytes() + 64 * total
    fixed += itemsize * 3 * total * k * (n_points - 1) + 8 * n_points * k * k * (n_points > 1)
    fixed += 4 * rank * contrasts
    # the factor of the preconditioner's small matrix; in float64 where a factor of another reg goes on at a low one
    square = 8 if itemsize > 4 and (n_points > 1 or sizes.n_folds) else 4
    small = max(square * min(rank, contrasts) ** 2, 2 * rank**2)
    if itemsize > 4:  # points in float32, for products that need not be exact
        fixed += 4 * sizes.d * total + int(kernel._needs(total, sizes.d, 4).kept)
    fixed += 3 * sizes.points_bytes * (sizes.n_folds > 0)  # of the parts
    views = min(tunables.MATRIX_FREE_COARSE_VIEWS, total // 4)
    coarse = 0.0
    if views * n // total:
        some = replace(sizes, apart=None).with_samples(max(1, views * n // total))
        some = replace(some, n_folds=0, n_points=1, made=False)
        coarse = small + _exact_bytes(some, kernel, block_factor) + 3 * itemsize * total * width
        coarse += needs.row * total  # all points prepared, for their values with those of the fit
        if sizes.d > tunables.CPU_PRODUCT_MOST_COORDINATES:  # which are blocks then, and else tiles
            coarse += itemsize * needs.blocks * views * min(total, block_rows(views, itemsize))
    columns = min(rank, contrasts, tunables.PIVOTED_BLOCK_COLUMNS)
    combined = min(columns, tunables.MATRIX_FREE_COMBINED_COLUMNS)
    adding = filling(combined * sizes.largest) + itemsize * (3 * contrasts * columns + 4 * total * combined)
    factoring = small + 2 * itemsize * contrasts * columns
    capacity = max(krylov_capacity(width, total), min(total, 3 * width))
    iterating = small + multiplied + itemsize * total * (capacity + 14 * width)
    iterating += 8 * (2 * capacity**2 + 5 * capacity * (k + 2) + contrasts * min(rank, tunables.PIVOTED_CAST_COLUMNS))
    components = small + multiplied + max(itemsize, 6) * total * 16 * min(k, total)
    rows = max(sizes.largest, min(total, tunables.MATRIX_FREE_DIAGONAL_ROWS))
    diagonal = itemsize * needs.blocks * rows**2 + _at_work(needs, sizes, rows, block_factor)
    diagonal += (8 + 8 * (itemsize < 8)) * rows * sizes.largest  # those in float64, and turned
    means = filling(sizes.largest) + 5 * itemsize * total * -(-n // max(1, n // 64))
    phases = [needs.preparing, diagonal, means, adding, factoring, coarse, iterating, components]
    folds = max(*phases, small + filling(total) + judging_bytes(sizes)) if sizes.n_folds else 0.0
    if sizes.apart:  # the samples' pairs are measured after the fit; a fold has those that it holds out beside it
        phases.append(components + sizes.apart.rotations_bytes())
        folds += sizes.apart.held_rotations_bytes() if sizes.n_folds else 0
    phases.append(folds)
    return _OBJECTS_BYTES + int(fixed + max(phases))
