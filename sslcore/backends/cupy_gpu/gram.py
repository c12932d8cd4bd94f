"""Gram matrices by the kernels of gram.cu and angles.cu: which of them serves which pair value."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import cupy as xp
import numpy as np

from ... import tunables
from ..contract import Matrix
from ..pairing import Points, in_units, prepare, recompute_below, squared_norms, wrapped
from . import blas, sources
from .device import to_host
from .loader import THREADS, blocks_of, kernel

__all__ = ["empty_matrix", "gram_contrasts", "gram_rows", "gram_symmetric", "points"]


_WIDE = "distances", "products"  # tiles of products of coordinates


def points(kernel: Any, y: Matrix) -> Points:
    """Prepare ``y`` (n_y, d) as second argument of the profile kernel ``kernel``."""
    prepared = prepare(kernel, y, tunables.CUDA_DIFFERENCES_COORDINATES)
    lengths = None if prepared.lengths is None else prepared.lengths.astype(prepared.y.dtype)
    return replace(prepared, lengths=lengths, mirrored=_tile(prepared) is None)


def gram_rows(prepared: Points, x: Any, first: int, out: Any) -> None:
    """Set out[i, j] = k(x_i, y_{first + j}); ``out`` has unit stride along its rows."""
    rows, columns = out.shape
    if not out.size:
        return
    x = prepared.kernel.coordinates(x)
    ld = out.strides[0] // x.dtype.itemsize if rows > 1 else columns
    y = slice(first, first + columns)
    if _tile(prepared) is None:
        _angle_rows(prepared, x, y, ld, out)
        return
    if prepared.kernel.pair == "dot" and prepared.kernel.formula == "t":
        blas.gemm(prepared.y[y], xp.ascontiguousarray(x).T, out.T)
        return
    if prepared.kernel.pair == "dot":
        x = exact = xp.ascontiguousarray(x)
    else:
        x = exact = wrapped(x) if prepared.kernel.pair == "torus" else in_units(x, prepared.exponent)
    norms_x = norms_y = x  # what a kernel does not look at
    if prepared.centre is not None:
        x = x - prepared.centre
        norms_x, norms_y = squared_norms(x), prepared.norms[y]
    exact_y = (prepared.y if prepared.uncentred is None else prepared.uncentred)[y]
    others = prepared.y[y], norms_y, exact_y
    _launch(prepared, "rows", (x, norms_x, exact), others, out.data, np.int64(ld), _paired(out, ld))


def gram_symmetric(prepared: Points, x: Any, out: Any) -> None:
    """Set out[i, j] = k(x_i, x_j), exactly symmetric; ``prepared`` was made of ``x``."""
    if len(x):
        _launch(prepared, "both", None, None, out, np.int64(len(x)), _paired(out, len(x)))


def gram_contrasts(prepared: Points, samples: Any, mean: Any, cross_t: Any, contrast: Any) -> bool:
    """Write the Gram matrix of the points in the rotated basis; return False where `rotate_rows` must.

    For samples of two views all: a thread has the four values of a pair of samples, and writes their rotation alone.
    """
    if _tile(prepared) is None or len(samples.classes) != 1 or samples.classes[0].m != 2:
        return False
    weighted = xp.ascontiguousarray(samples.classes[0].weighted.reshape(4, -1).T, dtype=prepared.y.dtype)
    paired = all(block.data.ptr % 16 == 0 for block in (mean, cross_t, contrast)) and samples.n % 4 == 0
    _launch(prepared, "contrasts", None, None, mean, cross_t, contrast, weighted, np.int32(paired))
    return True


def _launch(prepared: Points, what: str, left: Any, right: Any, *target: Any) -> None:
    """Call kernels of gram.cu: points, norms and uncentred points of rows and columns, or None for those prepared."""
    y = prepared.y
    own = y, y if prepared.norms is None else prepared.norms, y if prepared.uncentred is None else prepared.uncentred
    upper = left is None
    (x, norms, exact), (y, norms_y, exact_y) = left or own, right or own
    rows, columns, d = len(x), len(y), x.shape[1]
    arguments = (x, np.int64(rows), np.int64(d), norms, exact, *prepared.bounds(), *prepared.constants)
    if not upper:
        arguments += (y, np.int64(columns), norms_y, exact_y)
    tile = _tile(prepared)
    from_products = tile in _WIDE and d >= tunables.CUDA_CUBLAS_COORDINATES and what != "contrasts"
    numbers, compiled = sources.numbers("gram"), (y.dtype, prepared.kernel.formula, tile)
    height, width = _tile_shapes(*compiled)[numbers[what.upper()]][from_products]
    launch = kernel("gram", f"finish_{what}" if from_products else f"gram_{what}", *compiled)
    block = (numbers["THREADS"],)
    if not from_products:
        side = numbers["CLUSTER"]
        clusters, per_row = blocks_of(rows, side), side // width
        if upper:
            clusters, per_column = clusters * (clusters + 1) // 2, side // height
        else:
            clusters, per_column = clusters * blocks_of(columns, side), min(side, rows + height - 1) // height
        launch((clusters * per_column * per_row,), block, (*arguments, *target))
        return
    tall = min(rows, max(1, tunables.CUDA_PRODUCT_ROWS // height) * height)
    wide = min(columns, max(1, tunables.CUDA_PRODUCT_BYTES // y.dtype.itemsize // tall // width) * width)
    products = xp.empty(tall * wide, y.dtype)
    for top in range(0, rows, tall):
        for first in range(top if upper else 0, columns, wide):
            part_x, part_y = x[top : top + tall], y[first : first + wide]
            product = products[: len(part_x) * len(part_y)].reshape(len(part_x), len(part_y))
            blas.gemm(part_y, part_x.T, product.T)
            grid = blocks_of(len(part_y), width), blocks_of(len(part_x), height)
            place = product, np.int64(len(part_y)), np.int64(top), np.int64(first)
            launch(grid, block, (*place, *arguments, *target))


def _tile(prepared: Points) -> str | None:
    """Choose the way in which gram.cu forms pair values; None for kernels of angles, which have their own source."""
    tiles = sources.TILES.get(prepared.kernel.pair, (None,))
    return tiles[0] if prepared.centre is None else tiles[-1]


@functools.cache
def _tile_shapes(dtype: Any, formula: str, tile: str) -> Any:
    """Ask gram.cu, as it was compiled, for rows and columns of a tile: [what][from products][axis]."""
    shapes = xp.empty((3, 2, 2), np.int32)
    kernel("gram", "tile_shapes", dtype, formula, tile)((1,), (1,), (shapes,))
    return to_host(shapes).tolist()


def _paired(out: Any, ld: int) -> np.int32:
    """Tell whether two values that begin at an even column can be stored at once."""
    return np.int32(ld % 2 == 0 and out.data.ptr % (2 * out.dtype.itemsize) == 0)


def _angle_rows(prepared: Points, x: Any, columns: slice, ld: int, out: Any) -> None:
    directions, lengths = prepared.kernel.directions(x)
    directions, y, dtype = xp.ascontiguousarray(directions), prepared.y[columns], x.dtype
    blas.gemm(y, directions.T, out.T)
    kernel("angles", "finish_angles", dtype)(
        (blocks_of(out.shape[1], THREADS), min(out.shape[0], tunables.CUDA_COLUMN_BLOCKS)),
        (THREADS,),
        (
            *(out.data, np.int64(out.shape[0]), np.int64(out.shape[1]), np.int64(ld)),
            *(directions, y, np.int64(y.shape[1]), lengths.astype(dtype)),
            *(xp.ascontiguousarray(prepared.lengths[:, columns]), np.int64(len(lengths))),
            dtype.type(recompute_below(prepared.kernel.length, y.shape[1], dtype)),
            np.int32(sources.numbers("angles")[prepared.kernel.recursion.upper()]),
            *(dtype.type(prepared.kernel.bias), dtype.type(prepared.kernel.gain)),
        ),
    )


def empty_matrix(rows: int, columns: int, dtype: Any) -> Any:
    """Make an array, which begins at a multiple of 512 bytes as all of CuPy's do."""
    return xp.empty((rows, columns), dtype)
