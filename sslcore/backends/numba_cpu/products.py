"""Products of kernel values with a thin block, multiplied while the values are in the cache; no more are ever stored.

Sums have a fixed order: the results are the same bits on any number of threads, unless a BLAS has made the values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ... import tunables
from ...tunables import CPU_PRODUCT_STRIP_ROWS as STRIP
from ...tunables import CPU_PRODUCT_TILE_PAIRS
from ..contract import Array, Matrix
from ..pairing import Points, in_units, squared_norms, wrapped
from .compiling import compiled
from .gram import columns_of, whole_rows
from .pairs import Block, Bounds, Centred, CompiledProfile, correct_distances, fill_block, torus_strip
from .parallel import parallel_for
from .thin import Part, add_lanes, grid, multiply_columns, multiply_rows, rows_of, thin
from .vectors import ROWS, VECTOR, Rows, dot_products

__all__ = ["add_products", "product_rows", "product_symmetric"]

HIGH, WIDE = CPU_PRODUCT_TILE_PAIRS

_PAIRS = {"sqdist": 0, "l1": 1, "torus": 2}
_CORRECTED = 3  # squared distances from products


class _Values(NamedTuple):
    """Points y, prepared, from which tiles of values are made."""

    y: Matrix  # as columns
    n: int
    pair: int  # of _PAIRS
    profile: CompiledProfile
    centred: Centred  # what distances from products are corrected by
    bounds: Bounds


class _Points(NamedTuple):
    """Points x, with zeros below to a whole number of those that are worked on at once."""

    x: Matrix
    centred: Centred


@compiled(nogil=True)
def _fill_tile(points: _Points, values: _Values, first: tuple[int, int], shape: tuple[int, int], tile: Matrix) -> None:
    """Fill the upper left part of a tile; what lies right of it, in the same vector, is finite."""
    i0, j = first
    height, width = shape
    x = points.x[i0:]
    if values.pair == 2:
        torus_strip(x[:height], values.y, j, values.profile, tile[:height, :width])
        return
    for i in range(0, height, ROWS):
        place = Block(rows_of(tile[i:]), min(ROWS, height - i), width)
        if values.pair == _CORRECTED:
            dot_products(x[i : i + ROWS], values.y, j, place.rows, width)
        else:
            fill_block(x[i : i + ROWS], values.y, j, values.pair == 1, values.profile, place)
    if values.pair == _CORRECTED:
        mine, others = points.centred, values.centred
        mine = Centred(mine.original[i0 : i0 + height], mine.norms[i0 : i0 + height])
        others = Centred(others.original[j : j + width], others.norms[j : j + width])
        correct_distances(mine, others, values.bounds, values.profile, tile[:height, :width])


@compiled(nogil=True)
def _strip(points: _Points, start: int, stop: int, values: _Values, right: Matrix, total: Matrix) -> None:
    """Add the product of the values of some points x and ``right`` (columns, n) to ``total``."""
    lanes = VECTOR // right.itemsize
    tile = np.zeros((HIGH, WIDE + lanes), right.dtype)
    sums = np.zeros((stop - start, right.shape[0], lanes))
    for k0 in range(0, values.n, WIDE):
        width = min(WIDE, values.n - k0)
        for i in range(start, stop, HIGH):
            high = min(HIGH, stop - i)
            _fill_tile(points, values, (i, k0), (high, width), tile)
            multiply_rows(rows_of(tile), high, -(-width // lanes), thin(right, k0), sums[i - start :], right[0])
    add_lanes(sums, stop - start, total)


@compiled(nogil=True)
def _blocks(points: _Points, pair: Part, values: _Values, right: Matrix, total: Matrix) -> None:
    """Add the products of the values of two blocks of points x to both of their parts of ``total`` (columns, n).

    The factors of the points are ``right`` (columns, n).  Of a block with itself the values on and right of the
    diagonal are used, in strips whose squares on the diagonal are computed whole.
    """
    lanes = VECTOR // right.itemsize
    tile = np.zeros((HIGH, max(WIDE, STRIP) + lanes), right.dtype)
    sums = np.zeros((STRIP, right.shape[0], lanes))
    for i0 in range(pair.i0, pair.i1, STRIP):
        height = min(STRIP, pair.i1 - i0)
        first = pair.j0
        if pair.i0 == pair.j0:
            for i in range(0, height, HIGH):
                high = min(HIGH, height - i)
                _fill_tile(points, values, (i0 + i, i0), (high, height), tile)
                multiply_rows(rows_of(tile), high, -(-height // lanes), thin(right, i0), sums[i:], right[0])
            first = i0 + height
        for k0 in range(first, pair.j1, WIDE):
            width = min(WIDE, pair.j1 - k0)
            vectors = -(-width // lanes)
            for i in range(0, height, HIGH):
                high = min(HIGH, height - i)
                _fill_tile(points, values, (i0 + i, k0), (high, width), tile)
                multiply_rows(rows_of(tile), high, vectors, thin(right, k0), sums[i:], right[0])
                multiply_columns(rows_of(tile), high, vectors, grid(right, i0 + i), thin(total, k0), right[0])
        add_lanes(sums, height, total.T[i0 : i0 + height])


@compiled(nogil=True)
def _given(values: Matrix, part: Part, right: Matrix, left: Matrix, total: Matrix, total_t: Matrix) -> None:
    """Add the products of a part of a matrix of values: of its columns to ``total``, of its rows to ``total_t``.

    ``right`` (columns of the block, columns of values) and ``left`` (columns of the block, rows of values), which is
    empty where ``total_t`` is not wanted; ``total`` (i1 - i0, columns) and ``total_t`` (columns, j1 - j0 and a vector).
    """
    size = values.itemsize
    lanes = VECTOR // size
    sums = np.zeros((STRIP, right.shape[0], lanes))
    rest = (part.j1 - part.j0) % lanes
    tail = np.zeros((STRIP, lanes), values.dtype)  # the columns that are no whole vector
    for i0 in range(part.i0, part.i1, STRIP):
        height = min(STRIP, part.i1 - i0)
        rows = rows_of(values[i0:])
        for k0 in range(part.j0, part.j1, WIDE):
            vectors = min(WIDE, part.j1 - k0) // lanes
            here = Rows(rows.address + k0 * size, rows.stride)
            multiply_rows(here, height, vectors, thin(right, k0), sums, right[0])
            if left.size:
                multiply_columns(here, height, vectors, grid(left, i0), thin(total_t, k0 - part.j0), right[0])
        if rest:
            first = part.j1 - rest
            for i in range(height):
                for j in range(rest):
                    tail[i, j] = values[i0 + i, first + j]
            multiply_rows(rows_of(tail), height, 1, thin(right, first), sums, right[0])
            if left.size:
                multiply_columns(rows_of(tail), height, 1, grid(left, i0), thin(total_t, first - part.j0), right[0])
        add_lanes(sums, height, total[i0 - part.i0 : i0 - part.i0 + height])


def _values(prepared: Points, n: int) -> _Values | None:
    """Return the points for tiles, or None where values come from products of many coordinates, or of other kinds."""
    kind = _PAIRS.get(prepared.kernel.pair)
    profile = CompiledProfile(prepared.address, prepared.constants)
    y, zero = prepared.y, prepared.y.dtype.type(0)
    if prepared.centre is not None and y.shape[1] <= tunables.CPU_PRODUCT_MOST_COORDINATES:
        centred = Centred(prepared.uncentred, prepared.norms)
        return _Values(columns_of(y), n, _CORRECTED, profile, centred, Bounds(*prepared.bounds()))
    if kind is None or prepared.centre is not None:
        return None
    return _Values(y, n, kind, profile, Centred(y[:0], y[0, :0]), Bounds(zero, zero, zero))


def _points(prepared: Points, x: Array) -> _Points:
    """Return the points x as tiles want them."""
    x = prepared.kernel.coordinates(x)
    if prepared.kernel.pair == "torus":
        x = wrapped(x)
        return _Points(x, Centred(x[:0], x[0, :0]))
    x = in_units(x, prepared.exponent)
    if prepared.centre is None:
        return _Points(whole_rows(x), Centred(x[:0], x[0, :0]))
    about = x - prepared.centre
    return _Points(whole_rows(about), Centred(x, squared_norms(about)))


def product_rows(prepared: Points, x: Array, coefficients: Array, out: Array) -> bool:
    """Set out = k(x, y) @ coefficients from tiles of values; return False where there are none for this kernel.

    Also for a few rows, which would not make up for laying out the coefficients.
    """
    n, n_y = len(x), len(coefficients)
    values = _values(prepared, n_y) if coefficients.size and n >= tunables.CPU_PRODUCT_LEAST_ROWS else None
    if values is None:
        return False
    points, right = _points(prepared, x), columns_of(coefficients)
    total = np.zeros(out.shape)
    least = max(-(-tunables.CPU_TASK_PAIRS // n_y), n // tunables.CPU_PRODUCT_MOST_BLOCKS)
    height = min(STRIP, HIGH * -(-least // HIGH))  # high, so that y and the coefficients are read less often

    def strip(s: int) -> None:
        start, stop = s * height, min((s + 1) * height, n)
        _strip(points, start, stop, values, right, total[start:stop])

    parallel_for(strip, -(-n // height))
    out[...] = total
    return True


def product_symmetric(prepared: Points, x: Array, coefficients: Array, out: Array) -> bool:
    """Set out = k(x, x) @ coefficients, each pair once; return False where `product_rows` does.

    Blocks of points are paired in rounds, i + j = r (mod the number of blocks) in round r: no two pairs of a round have
    a block in common, so that threads never meet.
    """
    n = len(x)
    values = _values(prepared, n) if coefficients.size else None
    if values is None:
        return False
    points, right = _points(prepared, x), columns_of(coefficients)
    total = np.zeros(right.shape)
    size = max(tunables.CPU_PRODUCT_BLOCK_POINTS, -(-n // tunables.CPU_PRODUCT_MOST_BLOCKS))
    size = STRIP * -(-size // STRIP)  # whole vectors: what lies right of a block is another's
    count = -(-n // size)
    for r in range(count):
        pairs = [(i, (r - i) % count) for i in range(count) if i <= (r - i) % count]

        def pair(s: int, pairs: list[tuple[int, int]] = pairs) -> None:
            i, j = (size * block for block in pairs[s])
            _blocks(points, Part(i, min(i + size, n), j, min(j + size, n)), values, right, total)

        parallel_for(pair, len(pairs))
    out[...] = total[:, :n].T
    return True


def add_products(
    values: Matrix, right: Matrix, total: Matrix, left: Matrix | None = None, total_t: Matrix | None = None
) -> None:
    """Add values @ right to ``total``, and values^T @ left to ``total_t`` if these are given."""
    rows, columns = values.shape
    if not values.size or not right.size:
        return
    if rows < tunables.CPU_PRODUCT_LEAST_ROWS and left is None:
        total += values @ right
        return
    across = columns_of(right)
    if left is None or total_t is None:
        height = min(STRIP, HIGH * -(-tunables.CPU_TASK_PAIRS // (HIGH * columns)))
        nothing = across[:0], np.empty((0, 0))

        def strip(s: int) -> None:
            start, stop = s * height, min((s + 1) * height, rows)
            _given(values, Part(start, stop, 0, columns), across, nothing[0], total[start:stop], nothing[1])

        parallel_for(strip, -(-rows // height))
        return
    width = WIDE * max(1, tunables.CPU_TASK_PAIRS // (WIDE * rows))
    down = columns_of(left)
    partial = np.zeros((-(-columns // width), *total.shape))

    def chunk(s: int) -> None:
        start, stop = s * width, min((s + 1) * width, columns)
        sums = np.zeros((right.shape[1], stop - start + VECTOR // values.itemsize))
        _given(values, Part(0, rows, start, stop), across, down, partial[s], sums)
        total_t[start:stop] += sums[:, : stop - start].T

    parallel_for(chunk, len(partial))
    for part in partial:
        total += part
