"""Least-squares probes on growing prefixes: running sums, a small Cholesky factorisation and one pass over test points.

A draw is a task, so results do not depend on the number of threads.  The test points lie in the last axis, where loops
over them are vectorised; a prediction, its error and the class it chooses stay in the cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..contract import Array, Matrix
from .compiling import compiled
from .elementary import wide_vectors
from .parallel import parallel_for
from .vectors import add_scaled, put_scaled

__all__ = ["prefix_probes"]

# Neither "nnan" nor "ninf": what is not finite must stay visible in the errors.
FAST = {"contract", "reassoc", "nsz", "arcp"}


class _Tests(NamedTuple):
    """The test points, in the last axis."""

    columns: Matrix  # (k, t) embedding
    wanted: Matrix  # (q, t) target
    highest: Array  # (t,) the largest value of the target


class _Ridge(NamedTuple):
    """The penalty of each weight, a point, and the share of itself that a pivot must keep."""

    penalty: Array
    tolerance: float


def prefix_probes(
    z: Array, y: Array, sizes: Array, test: Matrix, target: Matrix, penalty: Array, tolerance: float
) -> tuple[Matrix, Matrix]:
    """Fit least squares on the first s points of each draw, s in ``sizes``, and return errors on test points.

    ``sslcore.backends.contract.Backend.prefix_probes`` has the formulas.
    """
    z, y = np.ascontiguousarray(z, np.float64), np.ascontiguousarray(y, np.float64)
    columns, wanted = np.ascontiguousarray(test.T, np.float64), np.ascontiguousarray(target.T, np.float64)
    tests, ridge = _Tests(columns, wanted, wanted.max(axis=0)), _Ridge(penalty, tolerance)
    squared, zero_one = np.empty((2, len(z), len(sizes)))

    def draw(r: int) -> None:
        _draw(z[r], y[r], sizes, tests, ridge, squared[r], zero_one[r])

    parallel_for(draw, len(z))
    return squared, zero_one


@compiled(nogil=True, fastmath=FAST)
def _add_four(out: Array, x: Matrix, a: float, b: float, c: float, d: float) -> None:
    """Add four rows of x at once: ``out`` is read and written a quarter as often."""
    wide_vectors()
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    for p in range(out.size):
        out[p] += a * x0[p] + b * x1[p] + c * x2[p] + d * x3[p]


@compiled(nogil=True, fastmath=FAST)
def _judge_first(prediction: Array, values: Array, best: Array, chosen: Array) -> float:
    """Return the squared error for the first class, which all points choose to begin with."""
    wide_vectors()
    total = 0.0
    for p in range(prediction.size):
        total += (prediction[p] - values[p]) ** 2
        best[p], chosen[p] = prediction[p], values[p]
    return total


@compiled(nogil=True, fastmath=FAST)
def _judge(prediction: Array, values: Array, best: Array, chosen: Array) -> float:
    """Return the squared error for a class, and let the points for which it is predicted above those before choose it.

    ``chosen`` is the true value of the class that a point has chosen.
    """
    wide_vectors()
    total = 0.0
    for p in range(prediction.size):
        new, old = prediction[p], best[p]
        value, kept = values[p], chosen[p]
        total += (new - value) ** 2
        chosen[p] = value if new > old else kept
        best[p] = max(new, old)
    return total


@compiled(nogil=True, fastmath=FAST)
def _sum_of_differences(x: Array, y: Array) -> float:
    wide_vectors()
    total = 0.0
    for p in range(x.size):
        total += x[p] - y[p]
    return total


@compiled(nogil=True)
def _solve(second: Matrix, cross: Matrix, ridge: Array, tolerance: float, factor: Matrix, w: Matrix) -> bool:
    """Solve (second + diag(ridge)) w = cross by Cholesky; False if a pivot lost more than ``tolerance`` of itself.

    A row of zeros has weight zero: the solution of least norm.
    """
    k, q = cross.shape
    for i in range(k):
        for j in range(i):
            value = second[i, j]
            for m in range(j):
                value -= factor[i, m] * factor[j, m]
            factor[i, j] = value * factor[j, j]
        diagonal = second[i, i] + ridge[i]
        value = diagonal
        for m in range(i):
            value -= factor[i, m] ** 2
        if diagonal == 0.0:
            factor[i, i] = 0.0
        elif value > tolerance * diagonal:
            factor[i, i] = 1.0 / math.sqrt(value)  # the inverse: there is one division a row
        else:
            return False
    for c in range(q):
        for i in range(k):
            value = cross[i, c]
            for m in range(i):
                value -= factor[i, m] * w[m, c]
            w[i, c] = value * factor[i, i]
        for i in range(k - 1, -1, -1):
            value = w[i, c]
            for m in range(i + 1, k):
                value -= factor[m, i] * w[m, c]
            w[i, c] = value * factor[i, i]
    return True


@compiled(nogil=True)
def _errors(tests: _Tests, w: Matrix, prediction: Array, best: Array, chosen: Array) -> tuple[float, float]:
    """Return the squared and the 0-1 error of the weights w on the test points."""
    columns, wanted = tests.columns, tests.wanted
    k, n = columns.shape
    squared = 0.0
    for c in range(wanted.shape[0]):
        put_scaled(w[0, c], columns[0], prediction)
        j = 1
        while j + 4 <= k:
            _add_four(prediction, columns[j : j + 4], w[j, c], w[j + 1, c], w[j + 2, c], w[j + 3, c])
            j += 4
        while j < k:
            add_scaled(w[j, c], columns[j], prediction)
            j += 1
        if c == 0:
            squared += _judge_first(prediction, wanted[c], best, chosen)
        else:
            squared += _judge(prediction, wanted[c], best, chosen)
    return squared / n, _sum_of_differences(tests.highest, chosen) / n


@compiled(nogil=True)
def _draw(z: Matrix, y: Matrix, sizes: Array, tests: _Tests, ridge: _Ridge, squared: Array, zero_one: Array) -> None:
    """Set the errors of one draw, for each of the sizes."""
    k, q = z.shape[1], y.shape[1]
    second, cross = np.zeros((k, k)), np.zeros((k, q))
    factor, w = np.zeros((k, k)), np.zeros((k, q))
    n = tests.columns.shape[1]
    # rows of one array would count as strided; apart from all others, since machine code that finds two short arrays
    # within a few vectors of each other adds in another order
    prediction, best, chosen = np.empty(n + 128)[64:-64], np.empty(n + 128)[64:-64], np.empty(n + 128)[64:-64]
    start = 0
    for s in range(sizes.size):
        for i in range(start, sizes[s]):
            for a in range(k):
                for b in range(a + 1):
                    second[a, b] += z[i, a] * z[i, b]
                for c in range(q):
                    cross[a, c] += z[i, a] * y[i, c]
        start = sizes[s]
        if _solve(second, cross, start * ridge.penalty, ridge.tolerance, factor, w):
            squared[s], zero_one[s] = _errors(tests, w, prediction, best, chosen)
        else:
            squared[s] = zero_one[s] = np.nan
