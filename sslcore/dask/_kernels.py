"""A kernel's exact fit whose products run on a cluster: rows of K by strips, each the work of a task.

The points are sent to the workers once, the vectors for each product.  All else, of size N times a few columns or the
rank of the preconditioner, is done where the client is.  Strips are the same for any number of workers, and so are the
bits.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.delayed import delayed

from .. import tunables
from ..arrays import Array, as_float_dtype
from ..backends import Backend, get_backend
from ..fitting.data import as_data
from ..fitting.matrix_free import MatrixFreeProblem
from ..fitting.plan import memory_budget
from ..fitting.plan_matrix_free import matrix_free_plan
from ..fitting.representation import Representation
from ..fitting.search import choose, most_folds
from ..fitting.sizes import Sizes
from ..kernels import Kernel, as_kernel
from ..kernels._rows import Rows
from ..solvers.groups import Samples
from ..solvers.matrix_free import MatrixFreeKernel
from ..solvers.objective import Objective
from ._cluster import Cluster, sent
from ._work import one_thread

__all__ = ["fit_kernel", "multiply_strip", "require_room"]

_prepared = threading.local()
"""The last rows of each thread by the names of their points, those in float32 too: preparing takes N coordinates."""


@dataclass(frozen=True)
class Points:
    """Points of a kernel on their way to workers, with a name for both."""

    name: str
    kernel: Kernel
    values: np.ndarray


def multiply_strip(points: Points, coefficients: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return rows start, ..., stop - 1 of K @ coefficients."""
    backend = get_backend(points.values)
    if not hasattr(_prepared, "rows"):
        _prepared.rows = OrderedDict()
    kept: OrderedDict[str, Rows] = _prepared.rows
    if points.name not in kept:
        while len(kept) > 1:
            kept.popitem(last=False)
        kept[points.name] = points.kernel.rows(points.values, backend)
    kept.move_to_end(points.name)
    out = np.empty((stop - start, coefficients.shape[1]), points.values.dtype)
    with one_thread():
        kept[points.name].product(points.values[start:stop], coefficients, out, backend)
    return out


class ClusterRows(Rows):
    """Rows whose products with all points run on a cluster; single rows are made here."""

    def __init__(self, base: Rows, points: Points, cluster: Cluster) -> None:
        self._base, self._points, self._cluster = base, points, cluster
        self._sent: Any = None
        n = len(points.values)
        height = max(tunables.DASK_STRIP_ROWS, -(-n // tunables.DASK_PRODUCT_STRIPS))
        self._strips = [(start, min(start + height, n)) for start in range(0, n, height)]

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`."""
        self._base.fill(x, first, out)

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply by strips of rows; what was lost with a worker is sent and multiplied again."""
        for left in reversed(range(self._cluster.retries + 1)):
            try:
                parts = self._multiplied(np.ascontiguousarray(coefficients))
                break
            except (CancelledError, ConnectionError):
                self._sent = None
                if not left or not self._cluster.alive():
                    raise
        for (start, stop), part in zip(self._strips, parts, strict=True):
            out[start:stop] = part

    def _multiplied(self, coefficients: np.ndarray) -> list[np.ndarray]:
        if self._sent is None:
            self._sent = self._cluster.send(self._points)
        vectors = self._cluster.send(coefficients)
        multiply = delayed(multiply_strip, pure=False)
        return self._cluster.compute([multiply(self._sent, vectors, start, stop) for start, stop in self._strips])


class ClusterProblem(MatrixFreeProblem):
    """`MatrixFreeProblem` with products on a cluster."""

    cluster: Cluster

    def operator_on(self, points: Array, samples: Samples) -> MatrixFreeKernel:
        """Make the operator of some points; their products run elsewhere from now on."""
        operator = super().operator_on(points, samples)
        operator.rows = self._on_cluster(operator.rows, points)
        if operator.single:
            rows, rounded = operator.single
            operator.single = self._on_cluster(rows, rounded), rounded
        return operator

    def _on_cluster(self, rows: Rows, points: Array) -> ClusterRows:
        # a name that no other client has, forked ones included: workers keep rows by it
        return ClusterRows(rows, Points(f"points-{uuid.uuid4().hex}", self.model, points), self.cluster)


def require_room(cluster: Cluster, views: Any, model: Any, objective: Objective, search: Any) -> None:
    """Refuse a Dask array of views whose fit has no room, here or on a worker, before any of it is made."""
    kernel, (n, m, d) = as_kernel(model), views.shape
    itemsize, backend = as_float_dtype(views.dtype, "views").itemsize, get_backend(backend="numba")
    objective.within(n * m, "views")
    sizes = Sizes(n, n * m, d, objective.k, itemsize, n_folds=most_folds(search))
    sizes = sizes if objective.beta > 0 else sizes.single_views()
    budget = memory_budget(None, backend)
    matrix_free_plan(sizes, kernel, budget, backend.BLOCK_FACTOR).require(budget)
    chunk = max(views.chunks[0]) * m * d * views.dtype.itemsize
    cluster.require(
        chunk, 0, "a chunk of views", "take smaller chunks (views.rechunk({0: rows}))", len(views.chunks[0])
    )
    needs = [kernel._needs(n * m, d, size) for size in {4, itemsize}]
    prepared = sum(int(max(need.preparing, need.kept)) for need in needs)
    points = sizes.points_bytes + (itemsize > 4) * 4 * d * n * m
    strips = -(-n * m // tunables.DASK_STRIP_ROWS)
    remedy = "take workers with fewer threads, or with more memory, or features"
    cluster.require(prepared, points, "points as the kernel prepares them", remedy, strips)


def fit_kernel(cluster: Cluster, views: np.ndarray, model: Any, objective: Objective, search: Any) -> Representation:
    """Fit a kernel to views in memory, as `sslcore.pretrain` with ``solver="matrix-free"`` does."""
    kernel = as_kernel(model)
    sent(kernel)
    backend = get_backend(views)
    data = as_data(views, None, None, single_views=objective.beta == 0)
    problem = ClusterProblem(kernel, data, objective, backend, memory_budget(None, backend), n_folds=most_folds(search))
    problem.cluster = cluster
    selection, near = choose(search, problem) if search else (None, None)
    if selection:
        objective = replace(objective, reg=selection.reg)
    return replace(problem.represent(objective, problem.at(objective, near)), selection=selection)
