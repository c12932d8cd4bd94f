"""Rows of Gram matrices: which tile loop serves which kernel, and how the work is shared out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ... import tunables
from ..contract import Array, Matrix
from ..pairing import Points, in_units, prepare, recompute_below, squared_norms, wrapped
from . import angles, pairs
from .angles import Rays, Recursion
from .pairs import Bounds, Centred, CompiledProfile
from .parallel import parallel_for, parts_for_threads
from .vectors import ROWS, VECTOR

__all__ = [
    "columns_of",
    "empty_matrix",
    "gram_contrasts",
    "gram_rows",
    "gram_symmetric",
    "mirror",
    "points",
    "whole_rows",
]

_RECURSIONS = {"step": 0, "quadratic": 1, "nngp": 2, "ntk": 3}  # what `angles.angle_strip` does with an angle


def points(kernel: Any, y: Matrix) -> Points:
    """Prepare ``y`` (n_y, d) as second argument of the profile kernel ``kernel``.

    For sums over coordinates the points lie as columns.
    """
    prepared = prepare(kernel, y, tunables.CPU_DIFFERENCES_COORDINATES)
    mirrored, address = kernel.pair not in ("sqdist", "l1"), 0
    if kernel.pair != "angle" and kernel.formula != "t":
        address = pairs.profile_address(kernel.formula, kernel.source_file, type(kernel).__name__, prepared.y.dtype)
    laid = prepared.y
    if prepared.direct:
        laid = columns_of(laid)
    elif kernel.pair == "torus":
        laid = np.ascontiguousarray(laid.T)
    return replace(prepared, y=laid, address=address, mirrored=mirrored)


def _profile(prepared: Points) -> CompiledProfile:
    return CompiledProfile(prepared.address, prepared.constants)


def gram_rows(prepared: Points, x: Array, first: int, out: Array) -> None:
    """Set out[i, j] = k(x_i, y_{first + j}); ``out`` has unit stride along its rows."""
    fitting = tunables.KERNEL_PREPARED_BYTES // max(1, x.shape[1] * x.itemsize)
    high = max(tunables.KERNEL_PREPARED_ROWS, fitting)
    for start in range(0, len(x), high):
        _fill_rows(prepared, x[start : start + high], first, out[start : start + high])


def _fill_rows(prepared: Points, x: Array, first: int, out: Array) -> None:
    columns = slice(first, first + out.shape[1])
    x = prepared.kernel.coordinates(x)
    height = min(64, ROWS * -(-tunables.CPU_TASK_PAIRS // (ROWS * max(1, out.shape[1]))))
    n_strips = -(-len(x) // height)
    profile = _profile(prepared)
    if prepared.kernel.pair == "torus":
        around = wrapped(x)

        def strip(s: int) -> None:
            rows = slice(s * height, (s + 1) * height)
            pairs.torus_strip(around[rows], prepared.y, first, profile, out[rows])

    elif prepared.direct:
        scaled = whole_rows(in_units(x, prepared.exponent))
        l1 = prepared.kernel.pair == "l1"
        pieces = parts_for_threads(n_strips)  # rows of very many points are few in a block
        width = VECTOR * -(-out.shape[1] // (VECTOR * pieces))
        n_strips *= pieces

        def strip(s: int) -> None:
            s, piece = divmod(s, pieces)
            rows, start = slice(s * height, (s + 1) * height), piece * width
            part = out[rows, start : start + width]
            pairs.direct_strip(scaled[rows], prepared.y, first + start, l1, profile, part)

    elif prepared.kernel.pair == "angle":
        kernel = prepared.kernel
        directions, lengths = kernel.directions(x)
        against = Rays(prepared.y[columns], prepared.lengths, first)
        np.matmul(directions, against.directions.T, out=out)
        near = recompute_below(kernel.length, directions.shape[1], x.dtype)
        recursion = Recursion(_RECURSIONS[kernel.recursion], kernel.bias, kernel.gain)

        def strip(s: int) -> None:
            rows = slice(s * height, (s + 1) * height)
            angles.angle_strip(Rays(directions[rows], lengths, s * height), against, near, recursion, out[rows])

    elif prepared.kernel.pair == "dot":
        with np.errstate(over="ignore", invalid="ignore"):  # the caller looks for values that are not finite
            np.matmul(x, prepared.y[columns].T, out=out)
        if prepared.address == 0:
            return

        def strip(s: int) -> None:
            pairs.apply_profile(profile, out[s * height : (s + 1) * height])

    else:
        uncentred = in_units(x, prepared.exponent)
        scaled = uncentred - prepared.centre
        others = Centred(prepared.uncentred[columns], prepared.norms[columns])
        norms = squared_norms(scaled)
        np.matmul(scaled, prepared.y[columns].T, out=out)
        bounds = Bounds(*prepared.bounds())

        def strip(s: int) -> None:
            rows = slice(s * height, (s + 1) * height)
            pairs.correct_distances(Centred(uncentred[rows], norms[rows]), others, bounds, profile, out[rows])

    parallel_for(strip, n_strips)


def empty_matrix(rows: int, columns: int, dtype: np.dtype[Any]) -> Array:
    """Make an array that begins at the width of a vector, so that `gram_symmetric` may write past the caches."""
    dtype = np.dtype(dtype)
    size = rows * columns * dtype.itemsize
    raw = np.empty(size + VECTOR, np.uint8)
    start = -raw.ctypes.data % VECTOR
    return raw[start : start + size].view(dtype).reshape(rows, columns)


def gram_symmetric(prepared: Points, x: Array, out: Array) -> None:
    """Set out[i, j] = k(x_i, x_j), exactly symmetric; ``prepared`` was made of ``x``, for a kernel of distances."""
    n = len(x)
    if prepared.centre is not None:
        _symmetric_from_products(prepared, out)
        return
    scaled = whole_rows(in_units(prepared.kernel.coordinates(x), prepared.exponent))
    l1, profile = prepared.kernel.pair == "l1", _profile(prepared)
    height = min(64, ROWS * -(-2 * tunables.CPU_TASK_PAIRS // (ROWS * max(1, n))))

    def strip(s: int) -> None:
        start, stop = s * height, min((s + 1) * height, n)
        pairs.symmetric_strip(scaled, start, stop, prepared.y, l1, profile, out)

    parallel_for(strip, -(-n // height))


def _symmetric_from_products(prepared: Points, out: Array) -> None:
    """Make all products first, then all values: BLAS threads wait busily, in the way of ours, after each product."""
    n = len(out)
    height = 64  # a tile of `pairs.correct_symmetric` stays in L2
    high = max(256, n // 16 // height * height)  # enough for matrix products, and not much beyond the diagonal
    for start in range(0, n, high):
        np.matmul(prepared.y[start : start + high], prepared.y[start:].T, out=out[start : start + high, start:])
    mine, bounds = Centred(prepared.uncentred, prepared.norms), Bounds(*prepared.bounds())
    profile = _profile(prepared)

    def strip(s: int) -> None:
        start, stop = s * height, min((s + 1) * height, n)
        pairs.correct_symmetric(mine, start, stop, bounds, profile, out)

    parallel_for(strip, -(-n // height))


def mirror(matrix: Array) -> None:
    """Copy the upper triangle of a square matrix in C order onto the lower one."""
    n = len(matrix)
    height = max(32, min(256, n // 4))
    parallel_for(lambda s: pairs.mirror_strip(matrix, s * height, min((s + 1) * height, n)), -(-n // height))


def whole_rows(x: Array) -> Array:
    """Add zeros below, to a multiple of the points that are worked on at once."""
    missing = -len(x) % ROWS
    return np.concatenate([x, np.zeros((missing, x.shape[1]), x.dtype)]) if missing else x


def columns_of(y: Array) -> Array:
    """Return points as columns, with zeros on the right: a vector may begin at the last point.

    The rows are an odd number of vectors long, else those of 512 columns would share one set of the cache.
    """
    step = VECTOR // y.itemsize
    vectors = -(-(len(y) + step) // step) | 1
    padded = np.zeros((y.shape[1], vectors * step), y.dtype)
    padded[:, : len(y)] = y.T
    return padded


def gram_contrasts(prepared: Points, samples: Any, mean: Array, cross_t: Array, contrast: Array) -> bool:
    """Return False: rows of the Gram matrix are rotated by `rotate_rows` while they are in the cache."""
    return False
