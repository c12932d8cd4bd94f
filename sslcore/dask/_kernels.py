"""A kernel's exact fit whose products run on a cluster: rows of K by strips, each the work of a task.

The points are sent to the workers once, the vectors for each product.  All else, of size N times a few columns or the
rank of the preconditioner, is done where the client is.  Strips are the same for any number of workers, and so are the
bits.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.delayed import delayed

from .. import tunables
from ..arrays import Array
from ..backends import Backend, get_backend
from ..fitting.data import as_data
from ..fitting.matrix_free import MatrixFreeProblem
from ..fitting.plan import memory_budget
from ..fitting.representation import Representation
from ..fitting.search import choose, most_folds
from ..kernels import Kernel, as_kernel
from ..kernels._rows import Rows
from ..solvers.groups import Samples
from ..solvers.matrix_free import MatrixFreeKernel
from ..solvers.objective import Objective
from ._cluster import Cluster, sent
from ._work import one_thread

__all__ = ["fit_kernel", "multiply_strip"]

_names = itertools.count()
_prepared = threading.local()
"""The last rows of each thread, with the name of their points: preparing them takes N coordinates."""


@dataclass(frozen=True)
class Points:
    """Points of a kernel on their way to workers, with a name for both."""

    name: str
    kernel: Kernel
    values: np.ndarray


def multiply_strip(points: Points, coefficients: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return rows start, ..., stop - 1 of K @ coefficients."""
    backend = get_backend(points.values)
    if getattr(_prepared, "name", None) != points.name:
        _prepared.rows, _prepared.name = points.kernel.rows(points.values, backend), points.name
    out = np.empty((stop - start, coefficients.shape[1]), points.values.dtype)
    with one_thread():
        _prepared.rows.product(points.values[start:stop], coefficients, out, backend)
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
        named = Points(f"points-{id(self)}-{next(_names)}", self.model, points)
        operator.rows = ClusterRows(operator.rows, named, self.cluster)
        return operator


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
