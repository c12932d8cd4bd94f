"""The memory and the time that a computation takes: what each solver allocates, and the work of its leading terms."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .. import tunables
from ..arrays import check_integer
from ..backends import Backend, get_backend
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from ..features import Features, Identity, Nystrom, RandomFourier
from ..kernels import Kernel, Precomputed
from ..kernels._rows import Needs, block_rows
from ..positives import Law
from ..solvers.edges import by_edges
from ..solvers.krylov import block_width, krylov_capacity
from ..solvers.sweep import LEAST_SHARED, basis_columns, places_together, rounds
from .machine_rates import Work, measured_rates
from .sizes import Sizes

__all__ = [
    "Plan",
    "exact_plan",
    "features_plan",
    "fitting_rows",
    "memory_budget",
    "paired_plan",
]


_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([KMGT]I?|)B?\s*", re.IGNORECASE)
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Plan:
    """The memory and the time that a fit, or a path, will take.

    Attributes
    ----------
    algorithm : {"exact", "matrix-free", "features"}
    bytes : int
        Peak memory besides the data handed over, of all that is allocated at once.  Not in it: what a process keeps
        once and for all (code, stacks of threads, buffers of BLAS) and what the C library keeps of memory freed.
    flops : float
        Floating-point operations of the leading terms.
    seconds : float
        Expected at the rates of this machine: products, Cholesky factorisations, kernel values and copies, measured for
        about a tenth of a second when this is first asked for in a process.  The leading terms alone,
        each at its full rate: fits of 0.1 to 1.5 s took 2 to 4 times as long on an idle machine.
    products : int
        Products with the kernel of a typical fit without its matrix, which takes from a third (smooth kernels) to twice
        (rough ones, a small reg) as many; 0 for other solvers.
    rank : int
        Columns of the preconditioner of such a fit, at most: in float32, or half as many in float64.
    advice : str
        What to change if that is too much; `fitting` says what would do.

    Examples
    --------
    >>> import sslcore
    >>> plan = sslcore.plan(10**6, 2, 32, sslcore.features.Nystrom(sslcore.kernels.Gaussian(1.0), 1024), 16)
    >>> plan.algorithm, plan.bytes < 1e9, plan.seconds > 0
    ('features', True, True)
    """

    algorithm: str
    bytes: int
    work: Work
    advice: str
    # numbers of features, and bytes; made when a plan is refused
    alternatives: Callable[[], list[tuple[int, int]]] = field(default=list, repr=False, compare=False)
    smaller: Callable[[int], int] | None = field(default=None, repr=False, compare=False)  # bytes of a smaller one
    size: int = field(default=0, repr=False)  # samples, or features: what `smaller` takes
    backend: str | None = field(default=None, repr=False)
    products: int = 0
    rank: int = field(default=0, repr=False)  # columns of the preconditioner, at most

    @property
    def flops(self) -> float:
        """Floating-point operations of the leading terms."""
        return self.work.flops

    @property
    def seconds(self) -> float:
        """Expected time, from measured rates."""
        return self.work.seconds(measured_rates(get_backend(backend=self.backend)))

    def fitting(self, memory: int | str) -> str:
        """Say what would keep a budget of ``memory``, in words."""
        return self._fitting(memory_budget(memory))

    def _fitting(self, budget: int) -> str:
        if self.bytes <= budget:
            return "this keeps it"
        fitting = [r for r, size in self.alternatives() if size <= budget]
        option = f"use features, such as sslcore.features.Nystrom(kernel, {fitting[0]}), or " if fitting else ""
        largest = bisect.bisect_right(range(1, self.size + 1), budget, key=self.smaller) if self.smaller else 0
        return f"{option}{self.advice}" + (f" (at most {largest:,} fit)" if largest else "")

    def require(self, budget: int) -> None:
        """Raise `MemoryBudgetError`, with the numbers, if the plan exceeds ``budget`` bytes."""
        if self.bytes > budget:
            raise MemoryBudgetError(
                f"this {self.algorithm} fit needs {_show(self.bytes)} of memory, the budget is {_show(budget)} "
                f"(nothing was allocated); {self._fitting(budget)}",
                self.bytes,
            )


def _prepared_rows(row_bytes: int, block_factor: int = 1) -> int:
    """Return how many rows of the first argument a backend prepares at a time."""
    return max(tunables.KERNEL_PREPARED_ROWS, tunables.KERNEL_PREPARED_BYTES * block_factor // row_bytes)


_STEPS = 10
"""Block iterations of a typical fit, for the estimate of time."""


SEARCHED_TOGETHER = 16
"""Values of reg of a search that are solved for beside each other."""

_OBJECTS_BYTES = 1 << 17
"""The interpreter's own objects of a fit: records, tasks of threads, results in small arrays."""


def exact_plan(sizes: Sizes, kernel: Kernel, block_factor: int = 1) -> Plan:
    """Plan the exact solver: `_exact_bytes`, and the work of its leading terms."""
    n, total, d, k, n_points = sizes.n, sizes.n_views, sizes.d, sizes.k, sizes.n_points
    contrasts, width, grouped = total - n, block_width(k, total), sizes.grouped
    shared = sizes.places >= LEAST_SHARED and block_factor == 1
    # a step reads A, B twice and the triangle of the factor twice, and orthogonalises its block twice
    entries = n_points * _STEPS * (n * n + 2 * n * contrasts + contrasts * contrasts)
    work = Work(
        values=total * total / 2,
        products=float(total) ** 2 * d,
        # shared factors take four times as long as one
        factors=(4 if shared else n_points) * contrasts**3 / 3 + (0 if kernel.trusted else total**3 / 3),
        steps_flops=2.0 * width * entries + n_points * 4 * _STEPS**2 * total * width**2,
        steps_bytes=float(sizes.itemsize * entries),
    )

    def smaller(samples: int) -> int:
        return _exact_bytes(sizes.with_samples(samples), kernel, block_factor)

    size = _exact_bytes(sizes, kernel, block_factor)
    known = None if grouped.uneven else smaller  # else it depends on which samples are left out
    return Plan("exact", size, work, "use fewer samples", _alternatives(sizes, kernel), known, grouped.n)


def _alternatives(sizes: Sizes, kernel: Kernel) -> Callable[[], list[tuple[int, int]]]:
    """Make a function that lists numbers of Nystrom features in place of a kernel, and bytes."""

    def alternatives() -> list[tuple[int, int]]:
        if isinstance(kernel, Precomputed):  # no features are made of a given matrix
            return []
        numbers = [r for r in (1024 >> i for i in range(8)) if sizes.k <= r <= sizes.n_views]
        of_features = replace(sizes.grouped, n_folds=0, made=False)
        return [(r, _features_bytes(of_features, r, Nystrom(kernel, r), None)) for r in numbers]

    return alternatives


def _exact_bytes(sizes: Sizes, kernel: Kernel, block_factor: int) -> int:
    """Count what the exact solver takes: A, B, C and the points, if they are made, and the largest of its phases.

    A path keeps coefficients, values and eigenvectors of each point, and functions of the reduced basis with their
    coefficients.
    """
    total, k, itemsize = sizes.n_views, sizes.k, sizes.itemsize
    given = isinstance(kernel, Precomputed)
    rotated = _rotated_bytes(sizes)
    points = 0 if given else sizes.points_bytes
    fixed = points * sizes.made + sizes.rotations_bytes() + 48 * total  # and order and weights of the samples
    fixed += _places_bytes(sizes)
    filling = rotated + _filling_bytes(sizes, kernel, block_factor)
    # a kernel that is not known to be positive semi-definite: Khat once more
    checking = rotated + itemsize * total * total * (not kernel.trusted)
    solving = _solving_bytes(sizes)
    components = max(itemsize, 6) * total * 16 * min(k, total)  # vectors, coefficients, values, residuals
    components += _lanes_bytes(sizes, k)
    kept = points * (not sizes.made)  # the copy that the result has
    phases = [filling, checking, rotated + kept + max(solving, components)]
    if sizes.apart:
        phases.append(rotated + kept + _shared_bytes(sizes) + components + sizes.apart.rotations_bytes())
    if sizes.n_folds:
        phases.append(_fold_bytes(sizes, kernel, block_factor))
    return _OBJECTS_BYTES + int(fixed + max(phases))


def _iterating_bytes(sizes: Sizes) -> int:
    """Count the Krylov basis, and blocks on their way through G."""
    total, k, width = sizes.n_views, sizes.k, block_width(sizes.k, sizes.n_views)
    capacity = max(krylov_capacity(width, total), min(total, 3 * width))
    small = 8 * (2 * capacity**2 + 5 * capacity * (k + 2))  # the projected problem
    return sizes.itemsize * total * (capacity + 7 * width) + small + _lanes_bytes(sizes, width)


def _lanes_bytes(sizes: Sizes, columns: int) -> int:
    """Count the sums of each task in a thin product with C, in float64: `multiply_symmetric` of the CPU's backend."""
    contrasts = sizes.n_views - sizes.n
    columns = min(tunables.CPU_THIN_MOST_COLUMNS, columns if sizes.places < LEAST_SHARED else sizes.n_views)
    tasks = 1 + contrasts * contrasts * columns // 2 // tunables.CPU_THIN_TASK_PRODUCTS
    return 8 * min(tasks, tunables.CPU_THIN_MOST_PARTS) * columns * (contrasts + 16)


def _solving_bytes(sizes: Sizes) -> int:
    """Count the iteration of one place, or those of several at once, what they share, and blocks in float32."""
    alone = _iterating_bytes(sizes)
    if sizes.places < LEAST_SHARED:
        return alone
    total, k, width = sizes.n_views, sizes.k, block_width(sizes.k, sizes.n_views)
    together = min(max(map(len, rounds(sizes.places))), places_together(width, total))
    capacity = min(total, basis_columns(width))
    small = 8 * (2 * capacity**2 + 5 * capacity * (k + 2))
    each = sizes.itemsize * total * (capacity + 10 * width) + small
    # places that are refused are solved alone afterwards
    return _shared_bytes(sizes) + max(alone, together * each + _lanes_bytes(sizes, width))


def _shared_bytes(sizes: Sizes) -> int:
    """Count what places share, from `LEAST_SHARED` on: B and C once more, in the factors' basis, A and B in float32."""
    if sizes.places < LEAST_SHARED:
        return 0
    total, contrasts = sizes.n_views, sizes.n_views - sizes.n
    turned = sizes.itemsize * sizes.n * contrasts
    short = 0
    if sizes.itemsize > 4:  # A and B; and where B is not turned, the reflectors
        short, turned = 4 * sizes.n * total, max(turned, 4 * contrasts * contrasts)
    return sizes.itemsize * contrasts * contrasts + turned + short


def _places_bytes(sizes: Sizes) -> int:
    """Count what is kept of each place: coefficients, values, vectors, and functions of the reduced basis."""
    k, wide = sizes.k, min(sizes.n_views, sizes.k + 2)
    return sizes.places * (sizes.itemsize * sizes.n_views * (2 * k + wide) + 8 * k * k + _known_bytes(sizes))


def _known_bytes(sizes: Sizes) -> int:
    """Count the functions of one place in the reduced basis, with their coefficients and products."""
    wide = min(sizes.n_views, sizes.k + 2)
    return 2 * sizes.itemsize * sizes.n_views * wide + 8 * 21 * wide * wide


def _rotated_bytes(sizes: Sizes) -> int:
    """Count A, B and C."""
    n, contrasts = sizes.n, sizes.n_views - sizes.n
    return sizes.itemsize * (n * n + n * contrasts + contrasts * contrasts)


def _filling_bytes(sizes: Sizes, kernel: Kernel, block_factor: int) -> float:
    """Count blocks of kernel values between all points, and what the kernel keeps meanwhile."""
    total, itemsize = sizes.n_views, sizes.itemsize
    needs = kernel._needs(total, sizes.d, itemsize)
    height = min(total, max(sizes.largest, block_factor * block_rows(total, itemsize)))
    return max(needs.preparing, itemsize * needs.blocks * total * height + _at_work(needs, sizes, height, block_factor))


def _at_work(needs: Needs, sizes: Sizes, height: int, block_factor: int = 1) -> float:
    """Count what rows keep and use while they fill blocks of this height."""
    rows = min(height, _prepared_rows(sizes.d * sizes.itemsize, block_factor))
    return needs.kept + needs.working + needs.row * rows


def _fold_bytes(sizes: Sizes, kernel: Kernel, block_factor: int) -> float:
    """Count one fold of a search: A, B, C, values between its parts, its points in two orders and those held out.

    For a given matrix, its rows and then their columns take the place of points.
    """
    total, inner = sizes.n_views, sizes.training_part()
    share = inner.n_views / total
    cross = sizes.itemsize * share * (1 - share) * total**2
    if isinstance(kernel, Precomputed):
        points = sizes.itemsize * total**2 * (share + share**2 + (1 - share))
    else:
        points = sizes.points_bytes * (2 * share + (1 - share))
    some = replace(inner, n_points=1 + SEARCHED_TOGETHER)
    solving = _solving_bytes(some) + _places_bytes(some)
    known = some.places * _known_bytes(some)  # of each fold, kept while the others are made, and made again
    filling = _filling_bytes(inner, kernel, block_factor) + known * (sizes.n_folds > 1)
    judging = known + judging_bytes(sizes)
    held = sizes.apart.held_rotations_bytes() if sizes.apart else 0  # else they are among those of all samples
    kept = cross + points + (sizes.n_folds - 1) * known + held
    return _rotated_bytes(inner) + kept + max(filling, solving, judging)


def judging_bytes(sizes: Sizes) -> int:
    """Count what the risk on held-out samples takes: rotations of some once more, and products between their views."""
    grouped = sizes.grouped
    views = max(grouped.largest, min(tunables.HELD_OUT_PRODUCT_VIEWS, sizes.n_views))
    return grouped.held_rotations_bytes() // 2 + 8 * views**2


def paired_plan(sizes: Sizes, law: Law, kernel: Kernel, block_factor: int = 1) -> Plan:
    """Plan the exact solver of a law of positive pairs: `_paired_bytes`, and the work of its leading terms."""
    law = law.on_support()
    total, k, n_points = law.n_points, sizes.k, sizes.n_points
    edges, width = by_edges(law), block_width(k, total)
    count = len(law.weight) if edges else total
    # a step reads Khat twice and the triangle of the factor twice; a triangle Q is dense, and read twice
    entries = n_points * _STEPS * (2 * total * total + count * count + 2 * total * total * (not edges))
    work = Work(
        values=total * total / 2,
        products=float(total) ** 2 * (sizes.d + (0 if edges else 4 * total)),
        factors=n_points * count**3 / 3 + (0 if edges else total**3 / 3) + (0 if kernel.trusted else total**3 / 3),
        steps_flops=2.0 * width * entries + n_points * 4 * _STEPS**2 * total * width**2,
        steps_bytes=float(sizes.itemsize * entries),
    )

    def size(some: int) -> int:
        n = max(1, round(sizes.n_views * some / total))
        of_some = replace(sizes, n=n, n_views=n)
        share = some / total
        n_edges = len(law.weight) * share
        fit = _paired_bytes(of_some, some, count * share, edges, n_edges, kernel, block_factor)
        return fit if law.matrix is None else fit + 8 * some * some

    return Plan("exact", size(total), work, "use fewer points", list, size, total)


def _paired_bytes(
    sizes: Sizes, total: int, count: float, edges: bool, n_edges: float, kernel: Kernel, block_factor: int
) -> int:
    """Count the law, Khat and S; of edges blocks of rows, of a triangle itself and products on the way to S."""
    k, itemsize, width = sizes.k, sizes.itemsize, block_width(sizes.k, total)
    khat, factor = itemsize * total * total, itemsize * count * count
    height = min(total, block_factor * block_rows(total, itemsize))
    if edges:
        making = khat + factor + 2 * itemsize * height * (total + count) + 200 * count
        solving = khat + factor + 100 * count
    else:
        making = max(khat + 16 * total * total, 4 * khat, khat + 8 * total * total + 24 * n_edges)
        solving = 3 * khat
    capacity = max(krylov_capacity(width, total), min(total, 3 * width))
    small = 8 * (2 * capacity**2 + 5 * capacity * (k + 2))
    iterating = itemsize * (total * (capacity + 9 * width) + 3 * count * width) + small
    filling = khat + _filling_bytes(sizes, kernel, block_factor)
    checking = khat * (1 + (not kernel.trusted)) + (making - khat)
    kept = 3 * sizes.points_bytes + sizes.itemsize * sizes.n_views * 3 * k + _places_bytes(sizes)
    kept += int(24 * n_edges) * (1 + 3 * (sizes.n_folds > 0))  # and those within parts
    kept += sizes.n_folds * SEARCHED_TOGETHER * _known_bytes(sizes)  # functions of each fold
    graph = 32 * (n_edges or total * total * (not edges))  # before the others
    phases = (graph, filling, checking, making, solving + iterating)
    return _OBJECTS_BYTES + int(kept + 60 * sizes.n_views + max(phases))


def features_plan(sizes: Sizes, r: int, model: Features | None = None, rows: int | None = None) -> Plan:
    """Plan the feature solver, by blocks of ``rows`` views: `_features_bytes`, and the work of leading terms.

    By default features are kernel values, whitened; cosines take about as long.
    """
    n_points, n_views, width = sizes.n_points, sizes.n_views, block_width(sizes.k, r)
    values = not isinstance(model, Identity)
    entries = n_points * 2 * _STEPS * r * r
    work = Work(
        values=float(n_views) * r if values else 0.0,
        products=n_views * (2.0 * r * sizes.d + r * r if values else 0.0) + float(n_views) * r * r,
        # a symmetric eigenproblem takes as long as some 30 factorisations
        factors=r**3 / 3 + (10.0 * r**3 if n_points > 1 else 0.0),
        steps_flops=2.0 * width * entries + n_points * 4.0 * _STEPS**2 * r * width**2,
        steps_bytes=8.0 * entries,
    )

    def smaller(r: int) -> int:
        return _features_bytes(sizes, r, model, rows)

    return Plan("features", smaller(r), work, f"use fewer features than {r}", list, smaller, r)


def _features_bytes(sizes: Sizes, r: int, model: Features | None, rows: int | None) -> int:
    """Count what the feature solver takes: what the features are made of, moments, and the larger of two phases.

    * Blocks: views that are made, features and what they are made through, and the rows that are rotated.
    * The eigenproblem: Sigma, Delta, their copies and factors, and its Krylov basis.

    A path also takes the eigenbasis of Delta, and keeps coefficients of each point.  A search has the moments of each
    fold, of no fold and of one training part, and takes the features of a fold out of a block.
    """
    n_views, d, k, itemsize, n_points = sizes.n_views, sizes.d, sizes.k, sizes.itemsize, sizes.n_points
    height = min(n_views, max(sizes.largest, rows or feature_rows(r, d)))
    second = min(n_views - height, height)  # what a block needs of its own while the buffers of the first are kept
    square = 8 * r * r
    if isinstance(model, RandomFourier):
        # frequencies, as they are drawn and scaled, and as float32; such points about one of them
        preparing, kept = 8.0 * r * d, 0.5 * (8 + itemsize * (itemsize < 8)) * r * d
        working = float(itemsize * height * d) if itemsize < 8 else 0.0
        block = max(2.0 * height, height + 1.5 * second)  # features and phases; what is rotated
    elif isinstance(model, Identity):
        preparing = kept = working = 0.0
        block = 1.0 * height  # what is rotated; the features are the views themselves
    else:
        kernel = model.kernel if isinstance(model, Nystrom) else None
        needs = Needs() if kernel is None else kernel._needs(r, d, itemsize)
        factoring = 5 * square if kernel is None else max(5 * square, square + kernel._needs(r, d, 8).preparing)
        kept = square + 2 * itemsize * r * d  # the factor; landmarks as chosen, and as they were pivoted
        preparing = max((itemsize + 8) * r * d + factoring, kept + needs.preparing)
        working, block = _at_work(needs, sizes, height), max(2.0 * height, needs.blocks * height)
        block = max(block, 2.0 * height + (needs.blocks - 1) * second)
    if sizes.pairs:  # the features of ends beyond a block, and both ends of edges where they are gathered
        block += {"time": 1.0, "graph": 3.0}[sizes.pairs] * height - height * isinstance(model, Identity)
        kept *= 2
    taken = 0.0
    if sizes.n_folds and not sizes.pairs:
        taken = sizes.trained / sizes.n if sizes.n_folds == 1 else 1.0 / sizes.n_folds
        taken = 1.0 if sizes.uneven else taken  # all views may be of one sample
        block += height * taken
    # rotations of the samples, with and without weights, their order and weights; those of a fold once more, a copy of
    # them, and products between its views
    adding = max(1.5, 1.0 + 2.0 * taken) * sizes.rotations_bytes(height) + 48.0 * height
    adding += 3 * square + 1.5 * square * (itemsize < 8)  # two moments, a third of unequal weights; a product
    adding += working + itemsize * (block * r + sizes.made * height * d)
    width = block_width(k, r)
    capacity = max(krylov_capacity(width, r), min(r, 3 * width))
    iterating = 8 * (r * (capacity + 7 * width) + 2 * capacity**2 + 5 * capacity * (k + 2))
    solving = max(8 * square, 6 * square + iterating)  # made of the moments, or with factors or an eigenbasis
    if n_points > 1:
        kept += 8 * (3 * n_points * r * k + n_points * k * k)
    if sizes.n_folds:
        kept += 2 * square * (2 + sizes.n_folds)
    return _OBJECTS_BYTES + int(max(preparing, kept + max(adding, solving)))


def feature_rows(r: int, d: int) -> int:
    """Count the views in a block of the feature solver."""
    least, most = tunables.MOMENTS_BLOCK_ROWS
    return int(min(most, max(least, tunables.MOMENTS_BLOCK_BYTES // (8 * max(r, d)))))


def fitting_rows(rows: int, sizes: Sizes, r: int, budget: int | None, backend: Backend) -> int:
    """Return ``rows`` on a CPU; on a GPU, which has no such cache, up to four times as many if the budget is kept."""
    if backend.BLOCK_FACTOR == 1:
        return rows
    budget = memory_budget(None, backend) if budget is None else budget
    factors = [f for f in (4, 2) if features_plan(sizes, r, rows=f * rows).bytes <= budget]
    return max([1, *factors]) * rows


def memory_budget(memory: int | str | None, backend: Backend | None = None) -> int:
    """Return the budget in bytes; by default 90 % of what the machine (or its container), or the device, has left."""
    if memory is None:
        return int(0.9 * (free_memory() if backend is None else backend.free_memory()))
    if isinstance(memory, str):
        match = _BYTES.fullmatch(memory)
        size = float(match[1]) * _UNITS[match[2].upper()] if match else math.nan
        if not 1 <= size < math.inf:
            raise ValueError(
                f"memory must be a number of bytes, at least 1, or a string such as '8GB' or '500MiB', "
                f"found {memory!r:.60}"
            )
        return int(size)
    return check_integer(memory, "memory", minimum=1)


def _show(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"
