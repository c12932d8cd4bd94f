"""Sums and gradient of the variance-invariance-covariance risk.

For up to 256 columns and 8 views both are one kernel each, which converts to float64 what it reads.  Others go one
block of samples at a time: it is made contiguous and float64 (at no cost where it is), so one code serves float32 and
float64 and any strides; products are cuBLAS's.  Sums are accumulated in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_MOST_VIEWS, _MOST_COLUMNS = (
    8,
    256,
)  # of the kernels with products of their own, whose stages and tiles have so many rows
_STAGE, _TILE = 8, 64
_MOST_WARPS = 12  # of a block of threads for sums
_STAGES = 16  # of rows that a part of the sums is worth


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
    if _is_small(z):
        return _small_sums(z, products)
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
    if _is_small(z):
        _small_gradient(z, weight, spread, outer, gradient)
        return gradient
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


def _blocks(z: Any) -> Iterator[tuple[slice, Any]]:
    step = max(1, BLOCK_ENTRIES // (z.shape[1] * z.shape[2]))
    for start in range(0, len(z), step):
        place = slice(start, min(start + step, len(z)))
        yield place, xp.ascontiguousarray(z[place], dtype=np.float64)


def _is_small(z: Any) -> bool:
    """Whether the kernels of few columns serve ``z`` here: they need tensor cores for double, and shared memory."""
    if not (z.shape[1] <= _MOST_VIEWS and z.shape[2] <= _MOST_COLUMNS):
        return False
    device = xp.cuda.Device()
    shared = device.attributes["MaxSharedMemoryPerBlockOptin"]
    return int(device.compute_capability) >= 80 and shared >= _shared_bytes(_width(z.shape[2]))


def _count() -> int:
    """Multiprocessors of the device."""
    return int(xp.cuda.Device().attributes["MultiProcessorCount"])


def _width(k: int) -> int:
    """Columns of a tile of gradients."""
    return 64 * blocks_of(k, 64)


def _shared_bytes(width: int) -> int:
    """A tile and two stages of rows."""
    return 8 * (_TILE + 2 * _STAGE) * (width + 4)


def _parts(z: Any) -> Iterator[tuple[slice, Any]]:
    """Parts of ``z`` in C order with their places: all of it if it is."""
    step = len(z) if z.flags.c_contiguous else max(1, BLOCK_ENTRIES // (z.shape[1] * z.shape[2]))
    for start in range(0, len(z), step):
        place = slice(start, min(start + step, len(z)))
        yield place, xp.ascontiguousarray(z[place])


def _small_sums(z: Any, products: bool) -> tuple[Any, float, float]:
    """`view_sums`: every block of threads sums up its share of the samples, and some of the second moments."""
    m, k = z.shape[1:]
    squares = blocks_of(k, _LANES)
    groups = blocks_of(squares * (squares + 1) // 2, _MOST_WARPS)  # of 32 x 32 entries, a warp's each
    warps = max(blocks_of(squares * (squares + 1) // 2, groups), blocks_of(4 * squares, 3))  # which also bring the rows
    most = _count() * (_MOST_WARPS // warps) // groups
    second, scalars = xp.zeros((k, k)), xp.zeros(2)
    for _, part in _parts(z):
        shares = max(1, min(most, len(part) // (_STAGES * (_STAGE // m))))
        moments, partial = xp.zeros((shares, k, k)), xp.empty((shares * groups, 2))
        kernel("risk", "second_moments", z.dtype)(
            (shares, groups),
            (warps * _LANES,),
            (part, np.int64(len(part)), np.int32(m), np.int32(k), np.int32(products), moments, partial),
        )
        second += moments.sum(axis=0)
        scalars += partial.sum(axis=0)
    within, fourth = to_host(scalars).tolist()
    return xp.triu(second) + xp.triu(second, 1).T, within, fourth


def _small_gradient(z: Any, weight: Any, spread: float, outer: float, gradient: Any) -> None:
    """`view_gradient`: a block of threads takes one tile of rows after the other."""
    m, k = z.shape[1:]
    width = _width(k)
    padded = xp.zeros((width, width))
    padded[:k, :k] = weight
    function, shared = kernel("risk", f"view_gradients_{width}", z.dtype), _shared_bytes(width)
    function.max_dynamic_shared_size_bytes = shared
    resident = _count() * (_MOST_COLUMNS // width)
    for place, part in _parts(z):
        tiles = blocks_of(len(part), _TILE // m)
        function(
            (min(tiles, resident),),
            (2 * width,),
            (
                part,
                np.int64(len(part)),
                np.int32(m),
                np.int32(k),
                padded,
                np.float64(spread),
                np.float64(outer),
                gradient[place],
            ),
            shared_mem=shared,
        )
