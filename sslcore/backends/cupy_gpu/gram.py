"""Gram matrices: which kernel serves which pair value, after the same rules as on the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cupy as xp
import numpy as np

from ..pairing import RECURSIONS, TOLERANCE, near_versine, require_in_range, unit_of
from . import blas, sources
from .loader import THREADS, blocks_of, kernel

__all__ = ["Points", "empty_matrix", "gram_contrasts", "gram_rows", "gram_symmetric", "points"]

FEW = 8
"""Up to so many coordinates squared distances are sums of differences; above, products take less time."""

MANY = 512
"""From so many coordinates on, cuBLAS multiplies, block by block, but for contrasts."""

_WIDE = "distances", "products"  # tiles of products of coordinates

_CLUSTER = 1024  # points along a side of a square of tiles that follow each other (gram.cu)
_BLOCK = 2048, 256 << 20  # rows, and bytes, of a block of products: large enough for their full rate
_LINES = 1024  # blocks along the rows where each thread goes down a column


@dataclass(frozen=True)
class Points:
    """The second argument of a profile kernel, prepared once for many blocks of the first."""

    kernel: Any
    exponent: int  # coordinates are stored times 2^-exponent, which is exact: the kernel's length is then near 1
    constants: tuple[Any, ...]  # c0..c3, of the type of the points
    centre: Any  # subtracted from the coordinates (distances from matrix products only)
    y: Any  # (n_y, d) for matrix products; (d, n_y) for direct sums
    norms: Any = None  # |y|^2, for distances from matrix products
    uncentred: Any = None  # y before the centre is subtracted, which rounds: for differences
    lengths: Any = None  # of the points in each layer, for kernels of angles

    @property
    def tile(self) -> str | None:
        """The kernels of gram.cu that serve, if they do: kernels of angles have their own."""
        tiles = sources.TILES.get(self.kernel.pair, (None,))
        return tiles[0] if self.centre is None else tiles[-1]

    @property
    def mirrored(self) -> bool:
        """True if a symmetric matrix is made of rows from the diagonal on and `mirror`, not by `gram_symmetric`."""
        return self.tile is None

    def near(self) -> tuple[Any, ...]:
        """Return factor, reach and rounding, which tell the distances to compute again; then the constants."""
        dtype, d = self.y.dtype, self.y.shape[1]
        epsilon = float(np.finfo(dtype).eps)
        length, _ = unit_of(self.kernel.length) if self.centre is not None else (1.0, 0)
        bounds = epsilon / TOLERANCE[dtype] / length, self.kernel.reach * length, 8 * math.sqrt(d) * epsilon
        return (*(dtype.type(min(b, np.finfo(dtype).max)) for b in bounds), *self.constants)


def points(kernel: Any, y: Any) -> Points:
    """Prepare ``y`` (n_y, d) as second argument of the profile kernel ``kernel``."""
    distance = kernel.pair in ("sqdist", "l1")
    length, exponent = unit_of(kernel.length) if distance else (kernel.length, 0)
    y = kernel.coordinates(y)
    if kernel.pair == "angle":
        directions, lengths = kernel.directions(y)
        return Points(kernel, 0, (), None, xp.ascontiguousarray(directions), lengths=lengths.astype(y.dtype))
    values = (*kernel.constants(length), 0.0, 0.0, 0.0, 0.0)[:4]
    constants = tuple(y.dtype.type(c) for c in values)
    if kernel.pair == "dot":
        return Points(kernel, 0, constants, None, xp.ascontiguousarray(y))
    if kernel.pair == "torus":
        return Points(kernel, 0, constants, None, _wrapped(y))
    scaled = _in_units(y, exponent)
    if kernel.pair == "l1" or y.shape[1] <= FEW:
        return Points(kernel, exponent, constants, None, scaled)
    centre = scaled.mean(axis=0)
    centred = scaled - centre
    return Points(kernel, exponent, constants, centre, centred, _squared_norms(centred), scaled)


def gram_rows(prepared: Points, x: Any, first: int, out: Any) -> None:
    """Set out[i, j] = k(x_i, y_{first + j}); ``out`` has unit stride along its rows."""
    rows, columns = out.shape
    if not out.size:
        return
    x = prepared.kernel.coordinates(x)
    ld = out.strides[0] // x.dtype.itemsize if rows > 1 else columns
    y = slice(first, first + columns)
    if prepared.tile is None:
        _angle_rows(prepared, x, y, ld, out)
        return
    if prepared.kernel.pair == "dot" and prepared.kernel.formula == "t":
        blas.gemm(prepared.y[y], xp.ascontiguousarray(x).T, out.T)
        return
    if prepared.kernel.pair == "dot":
        x = exact = xp.ascontiguousarray(x)
    else:
        x = exact = _wrapped(x) if prepared.kernel.pair == "torus" else _in_units(x, prepared.exponent)
    norms_x = norms_y = x  # what a kernel does not look at
    if prepared.centre is not None:
        x = x - prepared.centre
        norms_x, norms_y = _squared_norms(x), prepared.norms[y]
    exact_y = (prepared.y if prepared.uncentred is None else prepared.uncentred)[y]
    others = prepared.y[y], norms_y, exact_y
    _launch(prepared, "rows", (x, norms_x, exact), others, out.data, np.int64(ld), _paired(out, ld))


def gram_symmetric(prepared: Points, x: Any, out: Any) -> None:
    """Set out[i, j] = k(x_i, x_j), exactly symmetric; ``prepared`` was made of ``x``."""
    if len(x):
        _launch(prepared, "both", None, None, out, np.int64(len(x)), _paired(out, len(x)))


def gram_contrasts(prepared: Points, samples: Any, mean: Any, cross_t: Any, contrast: Any) -> bool:
    """Make the Gram matrix of the points in the rotated basis; False for what `rotate_rows` must do.

    For samples of two views all: a thread has the four values of a pair of samples, and writes their rotation alone.
    """
    if prepared.tile is None or len(samples.classes) != 1 or samples.classes[0].m != 2:
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
    arguments = (x, np.int64(rows), np.int64(d), norms, exact, *prepared.near())
    if not upper:
        arguments += (y, np.int64(columns), norms_y, exact_y)
    from_products = prepared.tile in _WIDE and d >= MANY and what != "contrasts"
    height, width = _tile_shape(prepared, from_products)
    name = f"finish_{what}" if from_products else f"gram_{what}"
    launch = kernel("gram", name, y.dtype, prepared.kernel.formula, prepared.tile)
    if not from_products:
        clusters, per_row = blocks_of(rows, _CLUSTER), _CLUSTER // width
        if upper:
            clusters, per_column = clusters * (clusters + 1) // 2, _CLUSTER // height
        else:
            clusters, per_column = clusters * blocks_of(columns, _CLUSTER), min(_CLUSTER, rows + height - 1) // height
        launch((clusters * per_column * per_row,), (THREADS,), (*arguments, *target))
        return
    tall = min(rows, _BLOCK[0])  # a multiple of the tile's height, or all
    wide = min(columns, max(1, _BLOCK[1] // y.dtype.itemsize // tall // width) * width)
    products = xp.empty(tall * wide, y.dtype)
    for top in range(0, rows, tall):
        for first in range(top if upper else 0, columns, wide):
            part_x, part_y = x[top : top + tall], y[first : first + wide]
            block = products[: len(part_x) * len(part_y)].reshape(len(part_x), len(part_y))
            blas.gemm(part_y, part_x.T, block.T)
            grid = blocks_of(len(part_y), width), blocks_of(len(part_x), height)
            place = block, np.int64(len(part_y)), np.int64(top), np.int64(first)
            launch(grid, (THREADS,), (*place, *arguments, *target))


def _tile_shape(prepared: Points, from_products: bool) -> tuple[int, int]:
    """Return rows and columns of a block's tile: `Shape` of gram.cu."""
    double = prepared.y.dtype == np.float64
    if from_products:
        return (64, 64) if double else (64, 128)
    if prepared.tile in _WIDE:
        return (128, 64) if double else (128, 128)
    return 64, 64


def _paired(out: Any, ld: int) -> np.int32:
    """Tell whether two values that begin at an even column can be stored at once."""
    return np.int32(ld % 2 == 0 and out.data.ptr % (2 * out.dtype.itemsize) == 0)


def _angle_rows(prepared: Points, x: Any, columns: slice, ld: int, out: Any) -> None:
    directions, lengths = prepared.kernel.directions(x)
    directions, y, dtype = xp.ascontiguousarray(directions), prepared.y[columns], x.dtype
    blas.gemm(y, directions.T, out.T)
    kernel("angles", "finish_angles", dtype)(
        (blocks_of(out.shape[1], THREADS), min(out.shape[0], _LINES)),
        (THREADS,),
        (
            *(out.data, np.int64(out.shape[0]), np.int64(out.shape[1]), np.int64(ld)),
            *(directions, y, np.int64(y.shape[1]), lengths.astype(dtype)),
            *(xp.ascontiguousarray(prepared.lengths[:, columns]), np.int64(len(lengths))),
            dtype.type(near_versine(prepared.kernel.length, y.shape[1], dtype)),
            np.int32(RECURSIONS[prepared.kernel.recursion]),
            *(dtype.type(prepared.kernel.bias), dtype.type(prepared.kernel.gain)),
        ),
    )


def empty_matrix(rows: int, columns: int, dtype: Any) -> Any:
    """Make an array; CuPy's begin at multiples of 512 bytes anyway."""
    return xp.empty((rows, columns), dtype)


def _in_units(x: Any, exponent: int) -> Any:
    """Return coordinates times 2^-exponent, exactly; refuse them where squared distances in this unit overflow."""
    scaled = xp.ldexp(xp.ascontiguousarray(x), np.int32(-exponent))
    require_in_range(float(xp.abs(scaled).max()) if scaled.size else 0.0, x)
    return scaled


def _wrapped(x: Any) -> Any:
    """Return coordinates modulo 1, in [-1/2, 1/2], without rounding; in C order."""
    return xp.ascontiguousarray(x - xp.rint(x))


def _squared_norms(x: Any) -> Any:
    return (x * x).sum(axis=1)  # einsum would be as many products of one row each
