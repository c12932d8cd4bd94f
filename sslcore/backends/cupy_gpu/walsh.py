"""The Walsh-Hadamard transform on the device: a launch does some of the distances, inside tiles (walsh.cu)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import tunables
from . import sources
from .loader import blocks_of, kernel

__all__ = ["walsh_hadamard"]


def tile_size() -> int:
    """Return the most numbers of a tile: the kernel has room for as many."""
    return sources.numbers("walsh")["TILE"]


def walsh_hadamard(values: Any) -> Any:
    """Replace ``values``, (2^d,) or (2^d, c) and contiguous, by sum_x (-1)^popcount(x & S) values[x] at each S.

    Unnormalised: twice gives 2^d values.  Returns ``values``.
    """
    size, columns, most = len(values), values[:1].size, tile_size()
    left = size.bit_length() - 1
    inside = max(0, min(left, (most // columns).bit_length() - 1))
    distance = columns
    if inside:
        _launch(values, distance, inside, columns)
        left, distance = left - inside, distance << inside
    while left:
        levels = -(-left // -(-left // tunables.CUDA_WALSH_LEVELS))  # of launches that share the levels evenly
        _launch(values, distance, levels, min(most >> levels, distance))
        left, distance = left - levels, distance << levels
    return values


def _launch(values: Any, distance: int, levels: int, width: int) -> None:
    n_tiles = values.size // (distance << levels) * blocks_of(distance, width)
    block = (sources.numbers("walsh")["THREADS"],)
    arguments = values, np.int64(distance), np.int32(levels), np.int32(width)
    kernel("walsh", "walsh_hadamard", values.dtype)((n_tiles,), block, arguments)
