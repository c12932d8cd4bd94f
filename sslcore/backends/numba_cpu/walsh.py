"""The Walsh-Hadamard transform in place: passes over blocks that stay in the cache, then over packed strips.

A transform of (2^d, c) numbers is, in memory, d butterflies at the distances c, 2c, 4c, ...  All those inside a
contiguous block are done while it is in the level-2 cache.  The others come next, up to 9 at a time: strips of
columns are packed into a buffer, transformed there, and put back.  So 2^24 doubles cross the memory bus twice.
"""

from __future__ import annotations

import numpy as np

from ... import tunables
from ..contract import Array, Matrix
from .compiling import compiled
from .parallel import parallel_for

__all__ = ["walsh_hadamard"]


FAST = {"contract", "nsz"}


def walsh_hadamard(values: Array) -> Array:
    """Replace ``values``, (2^d,) or (2^d, c) and contiguous, by sum_x (-1)^popcount(x & S) values[x] at each S.

    Unnormalised: twice gives 2^d values.  Returns ``values``.
    """
    block, inner, task = (
        tunables.CPU_WALSH_BLOCK_NUMBERS,
        tunables.CPU_WALSH_INNER_NUMBERS,
        tunables.CPU_WALSH_TASK_STRIPS,
    )
    size, columns = len(values), values[:1].size
    flat = values.reshape(-1)
    inside = 1  # rows of a block
    while inside < size and 2 * inside * columns <= block:
        inside *= 2
    if inside > 1:
        width = inside * columns
        per_task = max(1, 4 * block // width)
        n_blocks = size // inside

        def blocks(i: int) -> None:
            first, last = i * per_task, min((i + 1) * per_task, n_blocks)
            _blocks(flat[first * width : last * width], columns, width, inner)

        parallel_for(blocks, -(-n_blocks // per_task))
    distance = inside * columns
    while inside < size:
        rows = min(tunables.CPU_WALSH_BUFFER_ROWS, size // inside)
        strip = max(1, min(block // rows, distance))
        n_strips = -(-distance // strip)
        per_row = -(-n_strips // task)
        packs = flat.reshape(-1, rows, distance)

        def strips(
            i: int, packs: Array = packs, strip: int = strip, n_strips: int = n_strips, per_row: int = per_row
        ) -> None:
            pack, part = divmod(i, per_row)
            stop = min((part + 1) * task, n_strips) * strip
            _strips(packs[pack], part * task * strip, min(stop, packs.shape[2]), strip, inner)

        parallel_for(strips, len(packs) * per_row)
        inside, distance = inside * rows, distance * rows
    return values


@compiled(nogil=True, fastmath=FAST)
def _eights(x: Array) -> None:
    """Do the butterflies at the distances 1, 2 and 4."""
    for i in range(0, x.size, 8):
        a0, a1, a2, a3 = x[i] + x[i + 1], x[i] - x[i + 1], x[i + 2] + x[i + 3], x[i + 2] - x[i + 3]
        a4, a5, a6, a7 = x[i + 4] + x[i + 5], x[i + 4] - x[i + 5], x[i + 6] + x[i + 7], x[i + 6] - x[i + 7]
        b0, b1, b2, b3 = a0 + a2, a1 + a3, a0 - a2, a1 - a3
        b4, b5, b6, b7 = a4 + a6, a5 + a7, a4 - a6, a5 - a7
        x[i], x[i + 1], x[i + 2], x[i + 3] = b0 + b4, b1 + b5, b2 + b6, b3 + b7
        x[i + 4], x[i + 5], x[i + 6], x[i + 7] = b0 - b4, b1 - b5, b2 - b6, b3 - b7


@compiled(nogil=True, fastmath=FAST)
def _two(a: Array, b: Array) -> None:
    for j in range(a.size):
        s, t = a[j], b[j]
        a[j], b[j] = s + t, s - t


@compiled(nogil=True, fastmath=FAST)
def _four(a: Array, b: Array, c: Array, e: Array) -> None:
    for j in range(a.size):
        s, t, u, v = a[j] + b[j], a[j] - b[j], c[j] + e[j], c[j] - e[j]
        a[j], b[j], c[j], e[j] = s + u, t + v, s - u, t - v


@compiled(nogil=True, fastmath=FAST)
def _butterflies(x: Array, distance: int, stop: int) -> None:
    """Do all butterflies of x at ``distance``, 2 ``distance``, ... below ``stop``."""
    while 2 * distance < stop:
        for i in range(0, x.size, 4 * distance):
            _four(
                x[i : i + distance],
                x[i + distance : i + 2 * distance],
                x[i + 2 * distance : i + 3 * distance],
                x[i + 3 * distance : i + 4 * distance],
            )
        distance *= 4
    if distance < stop:
        for i in range(0, x.size, 2 * distance):
            _two(x[i : i + distance], x[i + distance : i + 2 * distance])


@compiled(nogil=True, fastmath=FAST)
def _transform(x: Array, distance: int, inner: int) -> None:
    """Do all butterflies of x from ``distance`` on; those inside of ``inner`` numbers first, block by block."""
    if distance == 1 and x.size >= 8:
        small = 8
        while 2 * small <= min(inner, x.size):
            small *= 2
        for i in range(0, x.size, small):
            _eights(x[i : i + small])
            _butterflies(x[i : i + small], 8, small)
    else:
        small = distance
        while 2 * small <= min(inner, x.size):
            small *= 2
        if small > distance:
            for i in range(0, x.size, small):
                _butterflies(x[i : i + small], distance, small)
    _butterflies(x, small, x.size)


@compiled(nogil=True)
def _blocks(flat: Array, columns: int, width: int, inner: int) -> None:
    for i in range(0, flat.size, width):
        _transform(flat[i : i + width], columns, inner)


@compiled(nogil=True)
def _copy(a: Array, b: Array) -> None:
    for j in range(a.size):
        b[j] = a[j]


@compiled(nogil=True)
def _strips(pack: Matrix, start: int, stop: int, strip: int, inner: int) -> None:
    """Transform pack, (rows, distance), along its rows, for the columns start..stop - 1."""
    rows = pack.shape[0]
    buffer = np.empty(rows * strip, pack.dtype)
    for first in range(start, stop, strip):
        wide = min(strip, stop - first)
        for r in range(rows):
            _copy(pack[r, first : first + wide], buffer[r * wide : (r + 1) * wide])
        _transform(buffer[: rows * wide], wide, inner)
        for r in range(rows):
            _copy(buffer[r * wide : (r + 1) * wide], pack[r, first : first + wide])
