"""Views of samples on the CPU: one Numba function for each kind of stage, over blocks of samples.

A stage works in place on ``views`` (n, m, d), C-ordered, whose sample 0 has index ``first`` in the data
set.  ``stage`` is its place in the pipeline, (k0, k1) the key: see :mod:`.philox` for who draws what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .parallel import parallel_for
from .philox import (
    LANES,
    TILE,
    add_normals,
    cos_sin,
    draw,
    exp2,
    inline,
    kernel,
    key_of_seed,
    n_blocks,
    n_lanes,
    n_tiles,
    tile_bounds,
    uniform,
    words_of_view,
)

if TYPE_CHECKING:
    from ...augmentations import Augmentation

__all__ = ["views"]

_BLOCK = 2**15  # coordinates made at a time on one thread: they stay in the second-level cache


def views(
    x: np.ndarray, augmentation: Augmentation, n_views: int, seed: int, first: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Make views (n, n_views, d) of the samples x (n, d), of float32 or float64; arguments are trusted.

    ``out`` receives them, if given: C-ordered, of the type of ``x``.
    """
    n, d = x.shape
    if out is None:
        out = np.empty((n, n_views, d), dtype=x.dtype)
    stages = augmentation.stages()
    k0, k1 = key_of_seed(seed)
    step = max(1, _BLOCK // (n_views * d))

    def make(i: int) -> None:
        start = i * step
        block = out[start : start + step]
        block[...] = x[start : start + step, None]
        for place, (name, arguments) in enumerate(stages):
            _STAGES[name](block, first + start, place, k0, k1, *arguments)

    parallel_for(make, -(-n // step))
    return out


# ---------------------------------------------------------------- a draw for each coordinate


@inline
def _flip_row(y, words, threshold):
    for j in range(y.size):
        y[j] = -y[j] if np.int64(words[j]) < threshold else y[j]


@kernel
def _flip_signs(views, first, stage, k0, k1, threshold):
    n, m, d = views.shape
    rows, blocks = views.reshape(n * m, d), n_blocks(d)
    words = np.empty((LANES, TILE), np.uint32)
    for tile in range(n_tiles(n * m, blocks)):
        row, height, block, width = tile_bounds(tile, n * m, blocks)
        draw(words, row, height, block, width, m, first, stage, k0, k1)
        for i in range(height):
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _flip_row(rows[row + i, start : start + width], words[lane, i * width :], threshold)


@inline
def _resample_row(y, words, threshold):
    for j in range(y.size):
        w = np.int64(words[j])
        sign = 1.0 - 2.0 * (w & 1)
        y[j] = sign if (w >> 1) < threshold else y[j]


@kernel
def _resample_signs(views, first, stage, k0, k1, threshold):
    n, m, d = views.shape
    rows, blocks = views.reshape(n * m, d), n_blocks(d)
    words = np.empty((LANES, TILE), np.uint32)
    for tile in range(n_tiles(n * m, blocks)):
        row, height, block, width = tile_bounds(tile, n * m, blocks)
        draw(words, row, height, block, width, m, first, stage, k0, k1)
        for i in range(height):
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _resample_row(rows[row + i, start : start + width], words[lane, i * width :], threshold)


# ---------------------------------------------------------------- a few draws for each image


@kernel
def _flip_columns(views, first, stage, k0, k1, height, width, channels, threshold):
    n, m, _ = views.shape
    images = views.reshape(n, m, height, width, channels)
    for i in range(n):
        for v in range(m):
            if np.int64(words_of_view(first + i, v, stage, k0, k1)[0]) >= threshold:
                continue
            image = images[i, v]
            for r in range(height):
                for q in range(width // 2):
                    for c in range(channels):
                        left, right = image[r, q, c], image[r, width - 1 - q, c]
                        image[r, q, c], image[r, width - 1 - q, c] = right, left


@kernel
def _erase_square(views, first, stage, k0, k1, height, width, channels, size):
    n, m, _ = views.shape
    images = views.reshape(n, m, height, width, channels)
    for i in range(n):
        for v in range(m):
            w0, w1, _, _ = words_of_view(first + i, v, stage, k0, k1)
            top = (np.int64(w0) * (height - size + 1)) >> 32
            left = (np.int64(w1) * (width - size + 1)) >> 32
            images[i, v, top : top + size, left : left + size] = 0.0


@inline
def _copy_row(y, x):
    for j in range(x.size):  # y[:n] = x would compile Numba's error message, for three seconds
        y[j] = x[j]


@inline
def _clip(t, upper):
    t = t if t > 0.0 else 0.0
    return t if t < upper else upper


@inline
def _locate(origin, weights, row, column, a, b, height, width, channels):
    """For one row of a view, where in the padded image each pixel comes from.

    ``origin[q]`` is the flat index of the upper left of the four neighbours, ``weights[:, q]`` the shares
    of the lower and of the right ones.  Places further out are moved into the frame, where all is zero.
    """
    for q in range(weights.shape[1]):
        y = _clip(row + b * q, height + 1.0)
        x = _clip(column + a * q, width + 1.0)
        i, j = int(y), int(x)
        weights[0, q], weights[1, q] = y - i, x - j
        origin[q] = (i * (width + 3) + j) * channels


@inline
def _interpolate(out, padded, below, origin, down, right, channels):
    for q in range(origin.size):  # unsigned indices, which cannot count from the end: a third faster
        for c in range(channels):
            t = origin[q] + c
            upper = padded[t] + right[q] * (padded[t + channels] - padded[t])
            t += below
            lower = padded[t] + right[q] * (padded[t + channels] - padded[t])
            out[np.uint64(q) * channels + c] = upper + down[q] * (lower - upper)


@kernel
def _affine(views, first, stage, k0, k1, height, width, channels, turns, log2_zoom, shift):
    n, m, _ = views.shape
    images = views.reshape(n, m, height, width * channels)
    # The image in float64 within a frame of zeros, one pixel before and two after
    padded = np.zeros((height + 3, (width + 3) * channels))
    flat, below = padded.reshape(-1), np.uint64((width + 3) * channels)
    origin, weights = np.empty(width, np.uint64), np.empty((2, width))
    middle_row, middle_column = 0.5 * (height - 1), 0.5 * (width - 1)
    for i in range(n):
        for v in range(m):
            w0, w1, w2, w3 = words_of_view(first + i, v, stage, k0, k1)
            cos, sin = cos_sin(turns * (2.0 * uniform(w0) - 1.0))
            inverse_zoom = exp2(log2_zoom * (2.0 * uniform(w1) - 1.0))
            a, b = cos * inverse_zoom, sin * inverse_zoom
            down = -middle_row - shift * (2.0 * uniform(w2) - 1.0)
            right = -middle_column - shift * (2.0 * uniform(w3) - 1.0)
            image = images[i, v]
            for r in range(height):
                _copy_row(padded[r + 1, channels:], image[r])
            for r in range(height):
                row = 1.0 + middle_row + (a * (down + r) + b * right)
                column = 1.0 + middle_column + (a * right - b * (down + r))
                _locate(origin, weights, row, column, a, b, height, width, channels)
                _interpolate(image[r], flat, below, origin, weights[0], weights[1], np.uint64(channels))


_STAGES: dict[str, Callable[..., None]] = {
    "add_normals": add_normals,
    "affine": _affine,
    "erase_square": _erase_square,
    "flip_columns": _flip_columns,
    "flip_signs": _flip_signs,
    "resample_signs": _resample_signs,
}
