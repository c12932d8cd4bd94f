"""Sums and gradient of the variance-invariance-covariance risk, one block of samples at a time.

A block is made contiguous and float64 (at no cost where it is), so one code serves float32 and float64 and any strides,
and sums are accumulated in float64.  Products are cuBLAS's.
"""

from __future__ import annotations

from typing import Any

import cupy as xp
import numpy as np

from . import blas
from .device import to_host
from .loader import blocks_of, kernel

__all__ = ["view_gradient", "view_sums"]

BLOCK_ENTRIES = 1 << 24
"""Entries of z in one block: 128 MiB in float64."""

_WARPS, _LANES = 4, 32  # of a block of threads; a warp owns a sample (risk.cu)
_MOST_BLOCKS = 4096  # of threads: enough for any device


def view_sums(z: Any, products: bool) -> tuple[Any, float, float]:
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
    upper = xp.zeros((k, k), order="F")
    scalars = xp.zeros(2)
    for _, block in _blocks(z):
        n, m, _ = block.shape
        blas.syrk(block.reshape(n * m, k).T, upper)
        grid = _grid(n)
        partial = xp.empty((grid, 2))
        kernel("risk", "sample_sums")(
            (grid,),
            (_WARPS * _LANES,),
            (block, np.int64(n), np.int64(m), np.int64(k), np.int32(products), partial),
        )
        scalars += partial.sum(axis=0)
    within, fourth = to_host(scalars).tolist()
    return xp.triu(upper) + xp.triu(upper, 1).T, within, fourth


def view_gradient(z: Any, weight: Any, spread: float, outer: float) -> Any:
    """Return z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib (z_ib . z_ia), in the dtype of ``z`` (n, m, k)."""
    gradient = xp.empty(z.shape, z.dtype)
    finish = kernel("risk", "finish_gradient", z.dtype)
    for place, block in _blocks(z):
        n, m, k = block.shape
        product = xp.empty((n * m, k))
        blas.gemm(weight.T, block.reshape(n * m, k).T, product.T)
        finish(
            (_grid(n),),
            (_WARPS * _LANES,),
            (
                block,
                product,
                np.int64(n),
                np.int64(m),
                np.int64(k),
                np.float64(spread),
                np.float64(outer),
                gradient[place],
            ),
        )
    return gradient


def _grid(n: int) -> int:
    return min(blocks_of(n, _WARPS), _MOST_BLOCKS)


def _blocks(z: Any) -> Any:
    step = max(1, BLOCK_ENTRIES // (z.shape[1] * z.shape[2]))
    for start in range(0, len(z), step):
        place = slice(start, min(start + step, len(z)))
        yield place, xp.ascontiguousarray(z[place], dtype=np.float64)
