"""Sums and gradient of the variance-invariance-covariance risk: products by cuBLAS, the rest in one pass over z.

Sums and products are in float64.  Where z is float64 in C order it is read as it is, and nothing is allocated but
results and some second moments; otherwise one block of samples at a time is put in order and converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cupy as xp
import numpy as np

from ... import tunables
from . import blas, sources
from .dense import LARGEST
from .device import free_memory, to_host
from .loader import blocks_of, kernel

__all__ = ["view_gradient", "view_sums"]


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
    n, m, k = z.shape
    step = _samples(z)
    moments = xp.zeros((_chunks(min(n, step) * m, k), k, k))
    scalars = xp.zeros(2)
    for _, block, copy in _blocks(z, step):
        _add_sums(block, copy, products, scalars)
        _add_moments(copy.reshape(-1, k), moments)
    upper = moments.sum(axis=0).T
    within, fourth = to_host(scalars).tolist()
    return xp.triu(upper) + xp.triu(upper, 1).T, within, fourth


def view_gradient(z: Any, weight: Any, spread: float, outer: float, out: Any) -> None:
    """Write z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib (z_ib . z_ia) into ``out``, like z (n, m, k)."""
    step, k = _samples(z), z.shape[2]
    scratch = None if z.dtype == np.float64 else xp.empty((min(len(z), step), *z.shape[1:]))
    for place, block, copy in _blocks(z, step):
        if copy is not block:
            copy[...] = block
        product = out[place] if scratch is None else scratch[: len(block)]
        blas.gemm(weight.T, copy.reshape(-1, k).T, product.reshape(-1, k).T)
        _finish(block, product, spread, outer, out[place])


def _add_sums(block: Any, copy: Any, products: bool, scalars: Any) -> None:
    """Add the sums over the views of each sample to ``scalars`` (2,), and convert the block if there is a copy."""
    n, m, k = block.shape
    grid, block_shape = _launch_shape(n)
    partial = xp.empty((*grid, 2))
    kernel("risk", "sample_sums", block.dtype)(
        grid,
        block_shape,
        (block, np.int64(n), np.int64(m), np.int64(k), np.int32(products), copy, partial),
    )
    scalars += partial.sum(axis=0)


def _add_moments(rows: Any, moments: Any) -> None:
    """Add rows^T rows of each chunk to ``moments`` (chunks, k, k): lower triangles, and some of the upper ones."""
    chunks, k, _ = moments.shape
    each = len(rows) // chunks
    first = moments[0].T
    # with few columns the whole costs no more than a triangle; with many, blocks of columns down to the diagonal do
    tile = tunables.CUDA_RISK_TILE_COLUMNS
    width = k if k < 2 * tile else tile * blocks_of(k, 4 * tile)
    for start in range(0, k, width):
        stop = min(start + width, k)
        if each:
            left, right, out = rows[:each, :stop].T, rows[:each, start:stop], first[:stop, start:stop]
            blas.gemm_batched(left, right, out, (each * k, each * k, k * k), chunks, beta=1.0)
        if len(rows) > each * chunks:
            rest = rows[each * chunks :]
            blas.gemm(rest[:, :stop].T, rest[:, start:stop], first[:stop, start:stop], beta=1.0)


def _finish(block: Any, product: Any, spread: float, outer: float, gradient: Any) -> None:
    """Write the gradient; ``product`` holds z_ia times the weight: an array to write over, or the gradient itself."""
    n, m, k = block.shape
    kernel("risk", "finish_gradient", block.dtype)(
        *_launch_shape(n),
        (block, product, np.int64(n), np.int64(m), np.int64(k), np.float64(spread), np.float64(outer), gradient),
    )


def _launch_shape(n: int) -> tuple[tuple[int], tuple[int]]:
    """Return how many blocks serve ``n`` samples, a warp each, and how many threads a block has."""
    numbers = sources.numbers("risk")
    blocks = min(blocks_of(n, numbers["WARPS"]), tunables.CUDA_RISK_MOST_BLOCKS)
    return (blocks,), (numbers["WARPS"] * numbers["LANES"],)


def _chunks(rows: int, k: int) -> int:
    """Choose the number of chunks into which so many rows are divided for second moments."""
    most = tunables.CUDA_RISK_MOMENT_ENTRIES // k**2
    return max(1, min(_multiprocessors(), rows // tunables.CUDA_RISK_CHUNK_ROWS, most))


def _multiprocessors() -> int:
    return int(xp.cuda.Device().attributes["MultiProcessorCount"])


def _samples(z: Any) -> int:
    """Choose the number of samples of a block, by the memory that is left."""
    entries = tunables.CUDA_RISK_BLOCK_ENTRIES
    if z.dtype == np.float64 and z.flags.c_contiguous:
        entries = LARGEST
    elif z.size > tunables.CUDA_RISK_LEAST_ENTRIES:  # up to three arrays of a block, of which two in float64
        entries = min(entries, max(tunables.CUDA_RISK_LEAST_ENTRIES, free_memory() // 64))
    return max(1, entries // int(z.shape[1] * z.shape[2]))


def _blocks(z: Any, step: int) -> Iterator[tuple[slice, Any, Any]]:
    """Yield blocks of samples with their places, in C order, and for each an array of its float64 values.

    That is the block itself, or to be filled by the caller.  All copies share their memory: use one at a time.
    """
    ordered, double = z.flags.c_contiguous, z.dtype == np.float64
    shape = (min(len(z), step), *z.shape[1:])
    own = None if ordered else xp.empty(shape, z.dtype)
    copies = None if double else xp.empty(shape)
    for start in range(0, len(z), step):
        place = slice(start, min(start + step, len(z)))
        block = z[place]
        if own is not None:
            own[: len(block)] = block
            block = own[: len(block)]
        yield place, block, block if copies is None else copies[: len(block)]
