"""Views of samples on the CPU: one Numba function for each kind of stage, over blocks of samples.

A stage works in place on ``rows`` of ``views`` (number, d), C-ordered: :mod:`.philox` tells what rows are, and who
draws what.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import tunables
from ..contract import Array, Matrix, ViewLaw
from ..stages import names, overflow, run, with_arrays
from .parallel import parallel_for
from .philox import (
    LANES,
    TILE,
    Stream,
    Tile,
    add_normals,
    cos_sin,
    draw,
    exp2,
    inline,
    kernel,
    key_of_seed,
    minus_two_log,
    n_blocks,
    n_lanes,
    n_tiles,
    normals_for,
    rows_of_views,
    tile_of,
    uniform,
    words_of_block,
    words_of_view,
)
from .warps import (
    Size,
    Strengths,
    blur,
    color_jitter,
    jitter,
    magnitude_warp,
    resized_crop,
    scale_channels,
    time_warp,
    window,
)

__all__ = ["views"]


def views(x: Matrix, augmentation: ViewLaw, n_views: int, seed: int, first: int, out: Array | None = None) -> Array:
    """Make views (n, n_views, d) of the samples x (n, d), of float32 or float64; arguments are trusted.

    ``out`` receives them, if given: C-ordered, of the type of ``x``.  Raises `OverflowError` where one is not finite.
    """
    n, d = x.shape
    if out is None:
        out = np.empty((n, n_views, d), dtype=x.dtype)
    stages = with_arrays(augmentation.stages(), np.asarray)
    key = key_of_seed(seed)
    step = max(1, tunables.CPU_VIEW_COORDINATES // (n_views * d))

    def make(i: int) -> None:
        start = i * step
        block = out[start : start + step]
        block[...] = x[start : start + step, None]
        flat = block.reshape(-1, d)

        def apply(rows: Matrix, place: int, name: str, arguments: tuple[Any, ...]) -> None:
            if rows.size:
                if name in _OF_IMAGES:
                    arguments = (Size(*arguments[:3]), *arguments[3:])
                if name == "color_jitter":
                    arguments = (arguments[0], Strengths(*arguments[1:]))
                stage = _STAGES[name] if name not in _IN_FLOAT64 else _in_float64(_STAGES[name])
                stage(flat, rows, Stream(place, *key), *arguments)

        def choose(rows: Matrix, place: int, thresholds: Array, count: int) -> list[Matrix]:
            choice = _choose(rows, Stream(place, *key), thresholds)
            return [np.ascontiguousarray(rows[:, choice == i]) for i in range(count)]

        run(stages, rows_of_views(len(block), n_views, first + start), apply, choose)
        if not _all_finite(block):
            raise overflow(augmentation, block, first + start, np)

    tasks = range(-(-n // step))
    if "call" in names(stages):  # functions of Python are called in one thread
        for i in tasks:
            make(i)
    else:
        parallel_for(make, len(tasks))
    return out


@kernel
def _all_finite(views: Array) -> bool:
    flat = views.reshape(-1)
    strange = 0
    for j in range(flat.size):
        strange += flat[j] - flat[j] != 0.0  # counted, not left at the first: eight at once
    return strange == 0


def _in_float64(stage: Callable[..., None]) -> Callable[..., None]:
    """Compute in float64, and round once to the type of the views: one compilation serves both types."""

    def apply(views: Matrix, rows: Matrix, stream: Stream, *arguments: Any) -> None:
        if views.dtype == np.float64:
            stage(views, rows, stream, *arguments)
            return
        wide, own = views[rows[0]].astype(np.float64), rows.copy()
        own[0] = np.arange(len(wide))
        stage(wide, own, stream, *arguments)
        with np.errstate(over="ignore"):  # what is infinite is refused
            views[rows[0]] = wide

    return apply


def _call(views: Matrix, rows: Matrix, stream: Stream, function: Callable[..., None]) -> None:
    function(views, rows, int(stream.k0) | int(stream.k1) << 32, stream.stage)


# ---------------------------------------------------------------- a draw for each coordinate


@inline
def _flip_row(y: Array, words: Array, threshold: int) -> None:
    for j in range(y.size):
        y[j] = -y[j] if np.int64(words[j]) < threshold else y[j]


@kernel
def _flip_signs(views: Matrix, rows: Matrix, stream: Stream, threshold: int) -> None:
    d, blocks, count = views.shape[1], n_blocks(views.shape[1]), rows.shape[1]
    words = np.empty((LANES, TILE), np.uint32)
    for number in range(n_tiles(count, blocks)):
        tile = tile_of(number, count, blocks)
        draw(words, rows, tile, stream)
        row, height, block, width = tile
        for i in range(height):
            view = views[rows[0, row + i]]
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _flip_row(view[start : start + width], words[lane, i * width :], threshold)


@inline
def _resample_row(y: Array, words: Array, threshold: int) -> None:
    for j in range(y.size):
        w = np.int64(words[j])
        sign = 1.0 - 2.0 * (w & 1)
        y[j] = sign if (w >> 1) < threshold else y[j]


@kernel
def _resample_signs(views: Matrix, rows: Matrix, stream: Stream, threshold: int) -> None:
    d, blocks, count = views.shape[1], n_blocks(views.shape[1]), rows.shape[1]
    words = np.empty((LANES, TILE), np.uint32)
    for number in range(n_tiles(count, blocks)):
        tile = tile_of(number, count, blocks)
        draw(words, rows, tile, stream)
        row, height, block, width = tile
        for i in range(height):
            view = views[rows[0, row + i]]
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _resample_row(view[start : start + width], words[lane, i * width :], threshold)


@inline
def _keep_row(y: Array, words: Array, place: int, start: int, width: int, d: int) -> None:
    for j in range(y.size):
        t = place + j - start
        t = t if t >= 0 else t + d
        sign = 1.0 - 2.0 * (np.int64(words[j]) & 1)
        y[j] = y[j] if t < width else sign


@kernel
def _keep_window(views: Matrix, rows: Matrix, stream: Stream, width_kept: int, cyclic: int) -> None:
    d, blocks, count = views.shape[1], n_blocks(views.shape[1]), rows.shape[1]
    starts = d if cyclic else d - width_kept + 1
    words = np.empty((LANES, TILE), np.uint32)
    for number in range(n_tiles(count, blocks)):
        tile = tile_of(number, count, blocks)
        draw(words, rows, tile, stream)
        row, height, block, width = tile
        for i in range(height):
            w = np.uint64(words[0, i * width])
            if block > 0:
                w = words_of_view(rows[1, row + i], rows[2, row + i], stream)[0]
            first_kept = (np.int64(w) >> 1) * starts >> 31
            view = views[rows[0, row + i]]
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _keep_row(view[start : start + width], words[lane, i * width :], start, first_kept, width_kept, d)


@kernel
def _draw_from_columns(views: Matrix, rows: Matrix, stream: Stream, threshold: int, table: Matrix) -> None:
    d, blocks, count = views.shape[1], n_blocks(views.shape[1]), rows.shape[1]
    words, places = np.empty((LANES, TILE), np.uint32), np.empty((LANES, TILE), np.uint32)
    for number in range(n_tiles(count, blocks)):
        tile = tile_of(number, count, blocks)
        row, height, block, width = tile
        draw(words, rows, tile, stream)
        draw(places, rows, Tile(row, height, blocks + block, width), stream)
        for i in range(height):
            view = views[rows[0, row + i]]
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                for j in range(min(width, d - start)):
                    if np.int64(words[lane, i * width + j]) < threshold:
                        drawn = (np.int64(places[lane, i * width + j]) * table.shape[0]) >> 32
                        view[start + j] = table[drawn, start + j]


# ---------------------------------------------------------------- a draw for each view


@inline
def _copy_row(y: Array, x: Array) -> None:
    for j in range(x.size):  # y[:n] = x would compile Numba's error message, for three seconds
        y[j] = x[j]


@inline
def _pick(word: Any, thresholds: Array) -> int:
    """Return the index of the first threshold above the word; the last one is 2^32."""
    low, high = 0, thresholds.size - 1
    while low < high:
        middle = (low + high) // 2
        if np.int64(word) < thresholds[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _choose(rows: Matrix, stream: Stream, thresholds: Array) -> Array:
    choice = np.empty(rows.shape[1], np.int64)
    for i in range(choice.size):
        choice[i] = _pick(words_of_view(rows[1, i], rows[2, i], stream)[0], thresholds)
    return choice


@kernel
def _flip_all_signs(views: Matrix, rows: Matrix, stream: Stream, threshold: int) -> None:
    for i in range(rows.shape[1]):
        if np.int64(words_of_view(rows[1, i], rows[2, i], stream)[0]) < threshold:
            view = views[rows[0, i]]
            for j in range(view.size):
                view[j] = -view[j]


@kernel
def _roll(views: Matrix, rows: Matrix, stream: Stream, thresholds: Array) -> None:
    d = views.shape[1]
    kept = np.empty(d, views.dtype)
    for i in range(rows.shape[1]):
        a = _pick(words_of_view(rows[1, i], rows[2, i], stream)[0], thresholds)
        if a > 0:
            view = views[rows[0, i]]
            _copy_row(kept, view)
            _copy_row(view[a:], kept[: d - a])
            _copy_row(view[:a], kept[d - a :])


def _reverse(views: Matrix, rows: Matrix, stream: Stream, threshold: int) -> None:
    _flip_columns(views, rows, stream, Size(1, views.shape[1], 1), threshold)


# ---------------------------------------------------------------- steps on the sphere

_WIDTH = 32  # sums have as many partial ones, of every 32nd term each: a warp's on the GPU, and vector registers' here


@inline
def _unit(x: Array) -> Any:
    """Return the power of two above the largest entry, a unit in which squares can be formed, and its inverse."""
    largest = 0.0
    for j in range(x.size):
        largest = max(largest, abs(np.float64(x[j])))
    exponent = min(max(math.frexp(largest)[1], -1000), 1000)
    return math.ldexp(1.0, exponent), math.ldexp(1.0, -exponent)


@inline
def _add_products(sums: Matrix, x: Array, inverse: float, g: Array) -> None:
    for j in range(x.size):
        xj, gj = np.float64(x[j]) * inverse, g[j]
        sums[0, j] += xj * xj
        sums[1, j] += xj * gj
        sums[2, j] += gj * gj


@inline
def _move_row(x: Array, g: Array, cos: float, a: float, b: float) -> None:
    for j in range(x.size):
        xj = np.float64(x[j])
        x[j] = cos * xj + (a * g[j] - b * xj)


@kernel
def _step_on_sphere(views: Matrix, rows: Matrix, stream: Stream, drop: float, of_plane: int) -> None:
    d = views.shape[1]
    normals = normals_for(rows, d, stream)
    sums = np.empty((3, _WIDTH))
    for i in range(rows.shape[1]):
        x, g = views[rows[0, i]], normals[i]
        g[0] = 0.0
        unit = inverse = 1.0
        for again in range(2):
            sums[:] = 0.0
            for start in range(0, d, _WIDTH):
                _add_products(sums, x[start : start + _WIDTH], inverse, g[start : start + _WIDTH])
            half = _WIDTH // 2
            while half > 0:
                for j in range(half):
                    for c in range(3):
                        sums[c, j] += sums[c, j + half]
                half //= 2
            if again or 1e-280 < sums[0, 0] < 1e300:
                break
            unit, inverse = _unit(x)
        norm, along, length = np.sqrt(sums[0, 0]), sums[1, 0], np.sqrt(sums[2, 0])
        share = 1.0
        if of_plane and d > 2:
            w = words_of_block(n_blocks(d), rows[1, i], rows[2, i], stream)[0]
            share = 1.0 - exp2(-minus_two_log(w) / ((d - 2) * 0.6931471805599453))
        lost = drop * share
        cos, sin = 1.0 - lost, np.sqrt(lost * (2.0 - lost))
        first = np.float64(x[0])
        q = along / (norm + abs(first * inverse)) if norm > 0.0 else 0.0
        _move_row(x, g, cos, sin * norm / length * unit, sin * q / length)
        step = sin * along / length * unit
        x[0] = cos * first - (step if first >= 0.0 else -step)


# ---------------------------------------------------------------- a few draws for each image


class _Line(NamedTuple):
    """The straight line in the padded image that a row of pixels of a view comes from."""

    row: float  # of the first pixel
    column: float
    down: float  # from each pixel to the next
    right: float


@kernel
def _flip_columns(views: Matrix, rows: Matrix, stream: Stream, size: Size, threshold: int) -> None:
    height, width, channels = size
    images = views.reshape(len(views), height, width, channels)
    for i in range(rows.shape[1]):
        if np.int64(words_of_view(rows[1, i], rows[2, i], stream)[0]) >= threshold:
            continue
        image = images[rows[0, i]]
        for r in range(height):
            for q in range(width // 2):
                for c in range(channels):
                    left, right = image[r, q, c], image[r, width - 1 - q, c]
                    image[r, q, c], image[r, width - 1 - q, c] = right, left


@kernel
def _erase_square(views: Matrix, rows: Matrix, stream: Stream, size: Size, side: int) -> None:
    images = views.reshape(len(views), size.height, size.width, size.channels)
    for i in range(rows.shape[1]):
        w0, w1, _, _ = words_of_view(rows[1, i], rows[2, i], stream)
        top = (np.int64(w0) * (size.height - side + 1)) >> 32
        left = (np.int64(w1) * (size.width - side + 1)) >> 32
        images[rows[0, i], top : top + side, left : left + side] = 0.0


@inline
def _clip(t: float, upper: float) -> float:
    t = t if t > 0.0 else 0.0
    return t if t < upper else upper


@inline
def _locate(origin: Array, weights: Matrix, line: _Line, size: Size) -> None:
    """Find, for one row of a view, where in the padded image each pixel comes from.

    ``origin[q]`` is the flat index of the upper left of the four neighbours, ``weights[:, q]`` the shares
    of the lower and of the right ones.  Places further out are moved into the frame, where all is zero.
    """
    for q in range(weights.shape[1]):
        y = _clip(line.row + line.down * q, size.height + 1.0)
        x = _clip(line.column + line.right * q, size.width + 1.0)
        i, j = int(y), int(x)
        weights[0, q], weights[1, q] = y - i, x - j
        origin[q] = (i * (size.width + 3) + j) * size.channels


@inline
def _interpolate(
    out: Array, padded: Array, below: Any, origin: Array, down: Array, right: Array, channels: Any
) -> None:
    for q in range(origin.size):  # unsigned indices, which cannot count from the end: a third faster
        for c in range(channels):
            t = origin[q] + c
            upper = padded[t] + right[q] * (padded[t + channels] - padded[t])
            t += below
            lower = padded[t] + right[q] * (padded[t + channels] - padded[t])
            out[np.uint64(q) * channels + c] = upper + down[q] * (lower - upper)


@kernel
def _affine(
    views: Matrix, rows: Matrix, stream: Stream, size: Size, turns: float, log2_zoom: float, shift: float
) -> None:
    height, width, channels = size
    images = views.reshape(len(views), height, width * channels)
    # The image in float64 within a frame of zeros, one pixel before and two after
    padded = np.zeros((height + 3, (width + 3) * channels))
    flat, below = padded.reshape(-1), np.uint64((width + 3) * channels)
    origin, weights = np.empty(width, np.uint64), np.empty((2, width))
    middle_row, middle_column = 0.5 * (height - 1), 0.5 * (width - 1)
    for i in range(rows.shape[1]):
        w0, w1, w2, w3 = words_of_view(rows[1, i], rows[2, i], stream)
        cos, sin = cos_sin(turns * (2.0 * uniform(w0) - 1.0))
        inverse_zoom = exp2(log2_zoom * (2.0 * uniform(w1) - 1.0))
        a, b = cos * inverse_zoom, sin * inverse_zoom
        down = -middle_row - shift * (2.0 * uniform(w2) - 1.0)
        right = -middle_column - shift * (2.0 * uniform(w3) - 1.0)
        image = images[rows[0, i]]
        for r in range(height):
            _copy_row(padded[r + 1, channels:], image[r])
        for r in range(height):
            row = 1.0 + middle_row + (a * (down + r) + b * right)
            column = 1.0 + middle_column + (a * right - b * (down + r))
            _locate(origin, weights, _Line(row, column, b, a), size)
            _interpolate(image[r], flat, below, origin, weights[0], weights[1], np.uint64(channels))


_STAGES: dict[str, Callable[..., None]] = {
    "add_normals": add_normals,
    "affine": _affine,
    "blur": blur,
    "call": _call,
    "color_jitter": color_jitter,
    "draw_from_columns": _draw_from_columns,
    "erase_square": _erase_square,
    "flip_all_signs": _flip_all_signs,
    "flip_columns": _flip_columns,
    "flip_signs": _flip_signs,
    "jitter": jitter,
    "keep_window": _keep_window,
    "magnitude_warp": magnitude_warp,
    "resample_signs": _resample_signs,
    "resized_crop": resized_crop,
    "reverse": _reverse,
    "roll": _roll,
    "scale_channels": scale_channels,
    "step_on_sphere": _step_on_sphere,
    "time_warp": time_warp,
    "window": window,
}

_OF_IMAGES = frozenset({"affine", "blur", "color_jitter", "erase_square", "flip_columns", "resized_crop"})
"""Stages whose first three numbers are the `Size` of an image."""

_IN_FLOAT64 = frozenset(
    {
        "blur",
        "color_jitter",
        "draw_from_columns",
        "jitter",
        "magnitude_warp",
        "resized_crop",
        "scale_channels",
        "time_warp",
        "window",
    }
)
"""Stages whose kernels are compiled for views of float64 alone."""
