"""Sums and gradient of the variance-invariance-covariance risk, one mini-block of samples at a time.

A mini-block is copied to float64 rows that begin at whole vectors and stay in the cache, so that one code serves all
types and strides, sums are accumulated in float64, and no bit depends on where z lies.  Products are our own
(`sslcore.backends.numba_cpu.vectors`): for blocks of this size OpenBLAS starts threads of its own, which fight with
ours for the cores and take three times as long, from a size on that differs from processor to processor.
"""

from __future__ import annotations

import numpy as np

from ... import tunables
from ..contract import Array, Matrix
from .compiling import compiled
from .parallel import parallel_for
from .vectors import add_squares, aligned_zeros, product

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
    seconds = [aligned_zeros(k, k) for _ in parts]
    scalars = np.zeros((len(parts), 2))

    def part(i: int) -> None:
        for block in parts[i]:
            _sums(np.ascontiguousarray(z[block]), samples, products, seconds[i], scalars[i])

    parallel_for(part, len(parts))
    within, fourth = scalars.sum(axis=0)
    second: Matrix = np.triu(np.sum(seconds, axis=0)[:k, :k])
    return second + np.triu(second, 1).T, float(within), float(fourth)


def view_gradient(z: Array, weight: Matrix, spread: float, outer: float, out: Array) -> None:
    """Write z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib (z_ib . z_ia) into ``out``, like z (n, m, k)."""
    k = z.shape[2]
    parts, samples = _parts(z.shape)
    padded = aligned_zeros(k, k)
    padded[:k, :k] = weight

    def part(i: int) -> None:
        for block in parts[i]:
            _gradient(np.ascontiguousarray(z[block]), samples, padded, spread, outer, out[block])

    parallel_for(part, len(parts))


def _parts(shape: tuple[int, ...]) -> tuple[list[list[slice]], int]:
    """Return parts of the samples, each a list of blocks (slices), and the number of samples in a mini-block.

    They depend on the shape alone, so that results do not depend on the number of threads.
    """
    n, m = shape[:2]
    step = max(1, tunables.CPU_RISK_BLOCK_ROWS // m)
    blocks = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    n_parts = min(len(blocks), tunables.CPU_RISK_MOST_PARTS)
    cuts = [len(blocks) * i // n_parts for i in range(n_parts + 1)]
    parts = [blocks[cuts[i] : cuts[i + 1]] for i in range(n_parts)]
    return parts, min(step, n, max(1, tunables.CPU_RISK_MINI_ROWS // m))


# Loops over parts of an array take the array and where to begin: a slice costs as much as a row of a few dozen numbers.


@compiled(nogil=True, fastmath=FAST)
def _load(z: Array, start: int, stop: int, rows: Matrix) -> None:
    """Copy the views of the samples start, ..., stop - 1 to ``rows``, whose further columns stay 0."""
    m, k = z.shape[1:]
    for i in range(start, stop):
        for a in range(m):
            r = (i - start) * m + a
            for c in range(k):
                rows[r, c] = z[i, a, c]


@compiled(nogil=True, fastmath=FAST)
def _mean(rows: Matrix, first: int, m: int, mean: Array) -> None:
    """Set ``mean`` (k,) to the mean of m rows: the views of one sample."""
    for c in range(mean.size):
        mean[c] = rows[first, c]
    for a in range(first + 1, first + m):
        for c in range(mean.size):
            mean[c] += rows[a, c]
    for c in range(mean.size):
        mean[c] *= 1.0 / m


@compiled(nogil=True, fastmath=FAST)
def _squared_distance(rows: Matrix, a: int, mean: Array) -> float:
    total = 0.0
    for c in range(mean.size):
        total += (rows[a, c] - mean[c]) ** 2
    return total


@compiled(nogil=True, fastmath=FAST)
def _dot(rows: Matrix, a: int, b: int, k: int) -> float:
    total = 0.0
    for c in range(k):
        total += rows[a, c] * rows[b, c]
    return total


@compiled(nogil=True)
def _sums(z: Array, samples: int, products: bool, second: Matrix, scalars: Array) -> None:
    n, m, k = z.shape
    rows, mean = aligned_zeros(samples * m, k), np.empty(k)
    within = fourth = 0.0
    for start in range(0, n, samples):
        stop = min(start + samples, n)
        _load(z, start, stop, rows)
        add_squares(rows, (stop - start) * m, k, second)
        for first in range(0, (stop - start) * m, m):
            _mean(rows, first, m, mean)
            for a in range(first, first + m):
                within += _squared_distance(rows, a, mean)
                if products:
                    fourth += _dot(rows, a, a, k) ** 2
                    for b in range(first, a):
                        fourth += 2.0 * _dot(rows, a, b, k) ** 2
    scalars[0] += within
    scalars[1] += fourth


@compiled(nogil=True, fastmath=FAST)
def _subtract(result: Matrix, r: int, factor: float, rows: Matrix, b: int, k: int) -> None:
    for c in range(k):
        result[r, c] -= factor * rows[b, c]


@compiled(nogil=True, fastmath=FAST)
def _finish(result: Matrix, rows: Matrix, first: int, mean: Array, spread: float, out: Array, i: int) -> None:
    """Store the gradient of the views of sample i, which begin at the row ``first``."""
    for a in range(out.shape[1]):
        for c in range(mean.size):
            out[i, a, c] = result[first + a, c] + spread * (rows[first + a, c] - mean[c])


@compiled(nogil=True)
def _gradient(z: Array, samples: int, weight: Matrix, spread: float, outer: float, gradient: Array) -> None:
    n, m, k = z.shape
    rows, result, mean = aligned_zeros(samples * m, k), aligned_zeros(samples * m, k), np.empty(k)
    for start in range(0, n, samples):
        stop = min(start + samples, n)
        _load(z, start, stop, rows)
        product(rows, (stop - start) * m, weight, k, k, result)
        for i in range(start, stop):
            first = (i - start) * m
            if outer != 0.0:
                for a in range(first, first + m):
                    for b in range(first, first + m):
                        _subtract(result, a, outer * _dot(rows, a, b, k), rows, b, k)
            _mean(rows, first, m, mean)
            _finish(result, rows, first, mean, spread, gradient, i)
