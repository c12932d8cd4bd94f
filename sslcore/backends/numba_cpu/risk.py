"""Sums and gradient of the variance-invariance-covariance risk, one mini-block of samples at a time.

A block is first made contiguous and float64 (at no cost where it is), so one code serves float32 and
float64 and any strides, and sums are accumulated in float64.  Inside, mini-blocks stay in cache; their
products go through BLAS (Numba's ``np.dot``).
"""

from __future__ import annotations

import numpy as np

from ... import tunables
from ..contract import Array, Matrix
from .compiling import compiled
from .parallel import parallel_for

__all__ = ["view_gradient", "view_sums"]


# Neither "nnan" nor "ninf": an overflow must stay visible in the sums.
FAST = {"contract", "reassoc", "nsz", "arcp"}


def view_sums(z: Array, products: bool) -> tuple[Matrix, float, float]:
    """Accumulate the sums that the risk is made of, for ``z`` (n, m, k), all in float64.

    Returns
    -------
    second : (k, k) array
        sum_ia z_ia z_ia^T.
    within : float
        sum_ia ||z_ia - zbar_i||^2, zbar_i the mean over the views of sample i.
    fourth : float
        sum_iab (z_ia . z_ib)^2, or 0 unless ``products``.
    """
    k = z.shape[2]
    parts, samples = _parts(z.shape)
    seconds = np.zeros((len(parts), k, k))
    scalars = np.zeros((len(parts), 2))

    def part(i: int) -> None:
        for block in parts[i]:
            _sums(np.ascontiguousarray(z[block], np.float64), samples, products, seconds[i], scalars[i])

    parallel_for(part, len(parts))
    within, fourth = scalars.sum(axis=0)
    return seconds.sum(axis=0), float(within), float(fourth)


def view_gradient(z: Array, weight: Matrix, spread: float, outer: float) -> Array:
    """Return z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib (z_ib . z_ia), in the dtype of ``z`` (n, m, k)."""
    parts, samples = _parts(z.shape)
    gradient = np.empty(z.shape, z.dtype)

    def part(i: int) -> None:
        for block in parts[i]:
            _gradient(np.ascontiguousarray(z[block], np.float64), samples, weight, spread, outer, gradient[block])

    parallel_for(part, len(parts))
    return gradient


def _parts(shape: tuple[int, ...]) -> tuple[list[list[slice]], int]:
    """Return parts of the samples, each a list of blocks (slices), and the number of samples in a mini-block.

    They depend on the shape alone, so that results do not depend on the number of threads.
    """
    n, m, k = shape
    step = max(1, tunables.CPU_RISK_BLOCK_ROWS // m)
    blocks = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    n_parts = min(len(blocks), tunables.CPU_RISK_MOST_PARTS)
    cuts = [len(blocks) * i // n_parts for i in range(n_parts + 1)]
    parts = [blocks[cuts[i] : cuts[i + 1]] for i in range(n_parts)]
    rows = tunables.CPU_RISK_SERIAL_FLOPS // k**2
    if rows < 32:  # too few for a good product: larger ones then, on BLAS's threads
        rows = max(256, k)
    return parts, min(step, n, max(1, min(rows, max(tunables.CPU_RISK_MINI_ROWS, k)) // m))


@compiled(nogil=True, fastmath=FAST)
def _dot(x: Array, y: Array) -> float:
    total = 0.0
    for c in range(x.size):
        total += x[c] * y[c]
    return total


@compiled(nogil=True, fastmath=FAST)
def _mean(views: Matrix, mean: Array) -> None:
    """Set ``mean`` (k,) to the mean over the views (m, k) of one sample."""
    m = views.shape[0]
    for c in range(mean.size):
        mean[c] = views[0, c]
    for a in range(1, m):
        view = views[a]
        for c in range(mean.size):
            mean[c] += view[c]
    for c in range(mean.size):
        mean[c] /= m


@compiled(nogil=True, fastmath=FAST)
def _squared_distance(x: Array, y: Array) -> float:
    total = 0.0
    for c in range(x.size):
        total += (x[c] - y[c]) ** 2
    return total


@compiled(nogil=True)
def _sums(z: Array, samples: int, products: bool, second: Matrix, scalars: Array) -> None:
    n, m, k = z.shape
    rows = z.reshape(n * m, k)
    product = np.empty((k, k))
    mean = np.empty(k)
    within = fourth = 0.0
    for start in range(0, n, samples):
        stop = min(start + samples, n)
        mini = rows[start * m : stop * m]
        np.dot(mini.T, mini, product)
        second += product
        for i in range(start, stop):
            views = z[i]
            _mean(views, mean)
            for a in range(m):
                within += _squared_distance(views[a], mean)
                if products:
                    fourth += _dot(views[a], views[a]) ** 2
                    for b in range(a):
                        fourth += 2.0 * _dot(views[a], views[b]) ** 2
    scalars[0] += within
    scalars[1] += fourth


@compiled(nogil=True, fastmath=FAST)
def _finish_row(row: Array, view: Array, mean: Array, spread: float, out: Array) -> None:
    for c in range(row.size):
        out[c] = row[c] + spread * (view[c] - mean[c])


@compiled(nogil=True, fastmath=FAST)
def _subtract(row: Array, factor: float, view: Array) -> None:
    for c in range(row.size):
        row[c] -= factor * view[c]


@compiled(nogil=True)
def _gradient(z: Array, samples: int, weight: Matrix, spread: float, outer: float, gradient: Array) -> None:
    n, m, k = z.shape
    rows = z.reshape(n * m, k)
    result = np.empty((samples * m, k))
    mean = np.empty(k)
    for start in range(0, n, samples):
        stop = min(start + samples, n)
        np.dot(rows[start * m : stop * m], weight, result[: (stop - start) * m])
        for i in range(start, stop):
            views = z[i]
            _mean(views, mean)
            for a in range(m):
                row = result[(i - start) * m + a]
                if outer != 0.0:
                    for b in range(m):
                        _subtract(row, outer * _dot(views[b], views[a]), views[b])
                _finish_row(row, views[a], mean, spread, gradient[i, a])
