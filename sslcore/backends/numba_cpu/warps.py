"""Stages of views that resample or rescale: laws of series and of images, in float64 rows (`views` converts others).

A view of a series holds its channels one after the other, one of an image its pixels, with all channels of each.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, Matrix
from .philox import (
    LANES,
    Stream,
    cos_sin,
    exp2,
    inline,
    kernel,
    n_blocks,
    normal_pair,
    normals_for,
    uniform,
    words_of_block,
    words_of_view,
)

__all__ = [
    "Size",
    "Strengths",
    "blur",
    "color_jitter",
    "jitter",
    "magnitude_warp",
    "resized_crop",
    "scale_channels",
    "time_warp",
    "window",
]

_PARTS = 32  # of sums over a channel, of every 32nd term each, as a warp of the GPU adds them


class Size(NamedTuple):
    """The size of an image, whose values a view holds in this order."""

    height: int
    width: int
    channels: int


@inline
def _fill_normals(z: Array, first: int, sample: int, view: int, stream: Stream) -> None:
    """Write standard normals: number i is on lane i % 4 of draw block first + i // 4."""
    for block in range(n_blocks(z.size)):
        w0, w1, w2, w3 = words_of_block(first + block, sample, view, stream)
        a, b = normal_pair(w0, w1)
        c, d = normal_pair(w2, w3)
        for lane, normal in enumerate((a, b, c, d)):
            i = LANES * block + lane
            if i < z.size:
                z[i] = normal


@inline
def _total(sums: Array) -> Any:
    """Add partial sums by halves; ``sums`` is lost."""
    half = _PARTS // 2
    while half > 0:
        for j in range(half):
            sums[j] += sums[j + half]
        half //= 2
    return sums[0]


@inline
def _mean(x: Array, sums: Array) -> Any:
    sums[:] = 0.0
    for start in range(0, x.size, _PARTS):
        for j in range(min(_PARTS, x.size - start)):
            sums[j] += x[start + j]
    return _total(sums) / x.size


# ---------------------------------------------------------------- series


@kernel
def jitter(views: Matrix, rows: Matrix, stream: Stream, channels: int, scale: float) -> None:
    """Add noise of ``scale`` standard deviations of each channel."""
    normals = normals_for(rows, views.shape[1], stream)
    times, sums = views.shape[1] // channels, np.empty(_PARTS)
    for i in range(rows.shape[1]):
        for c in range(channels):
            x, z = views[rows[0, i], c * times : (c + 1) * times], normals[i, c * times : (c + 1) * times]
            mean = _mean(x, sums)
            largest = 0.0
            for j in range(times):
                largest = max(largest, abs(x[j] - mean))
            unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)  # so that squares neither overflow nor vanish
            sums[:] = 0.0
            for start in range(0, times, _PARTS):
                for j in range(min(_PARTS, times - start)):
                    deviation = (x[start + j] - mean) / unit
                    sums[j] += deviation * deviation
            spread = scale * (unit * np.sqrt(_total(sums) / times))
            for j in range(times):
                x[j] += spread * z[j]


@kernel
def scale_channels(views: Matrix, rows: Matrix, stream: Stream, channels: int, scale: float) -> None:
    """Multiply each channel by a normal factor of mean 1."""
    times, z = views.shape[1] // channels, np.empty(channels)
    for i in range(rows.shape[1]):
        _fill_normals(z, 0, rows[1, i], rows[2, i], stream)
        for c in range(channels):
            x, change = views[rows[0, i], c * times : (c + 1) * times], scale * z[c]
            for j in range(times):
                x[j] += change * x[j]


@kernel
def magnitude_warp(views: Matrix, rows: Matrix, stream: Stream, channels: int, knots: int, scale: float) -> None:
    """Multiply each channel by a smooth factor of mean 1."""
    times, z = views.shape[1] // channels, np.empty(knots + 4)
    pieces, last = np.float64(knots + 1), np.float64(max(times - 1, 1))
    for i in range(rows.shape[1]):
        for c in range(channels):
            _fill_normals(z, c * n_blocks(knots + 4), rows[1, i], rows[2, i], stream)
            x = views[rows[0, i], c * times : (c + 1) * times]
            for j in range(times):
                place = j * pieces / last
                k = min(int(place), knots)
                f = place - k
                z0, z1, z2, z3 = z[k], z[k + 1], z[k + 2], z[k + 3]
                cubic = (3.0 * (z1 - z2) + z3) - z0
                square = ((2.0 * z0 - 5.0 * z1) + 4.0 * z2) - z3
                curve = z1 + 0.5 * f * ((z2 - z0) + f * (square + f * cubic))
                x[j] += scale * curve * x[j]


@inline
def _at(place: float, last: float) -> Any:
    """Split a place, moved to [0, last], into the entry before it, the one after it, and the share of the latter."""
    place = place if place > 0.0 else 0.0
    place = place if place < last else last
    before = int(place)
    return before, min(before + 1, int(last)), place - before


@inline
def _resample(x: Array, kept: Array, before: Array, after: Array, share: Array) -> None:
    """Interpolate every channel of a view at the same times."""
    times = before.size
    for c in range(x.size // times):
        for j in range(times):
            kept[j] = x[c * times + j]
        for j in range(times):
            left = kept[before[j]]
            x[c * times + j] = left + share[j] * (kept[after[j]] - left)


@kernel
def time_warp(views: Matrix, rows: Matrix, stream: Stream, channels: int, knots: int, scale: float) -> None:
    """Let time run with piecewise constant speeds 2^(scale z)."""
    times = views.shape[1] // channels
    pieces, last = np.float64(knots + 1), np.float64(max(times - 1, 1))
    end = np.float64(times - 1)
    speed, passed = np.empty(knots + 1), np.empty(knots + 1)
    kept, before, after, share = np.empty(times), np.empty(times, np.int64), np.empty(times, np.int64), np.empty(times)
    for i in range(rows.shape[1]):
        _fill_normals(speed, 0, rows[1, i], rows[2, i], stream)
        total = 0.0
        for k in range(knots + 1):
            speed[k] = exp2(scale * speed[k])
            passed[k] = total
            total += speed[k]
        for j in range(times):
            place = j * pieces / last
            k = min(int(place), knots)
            moved = (passed[k] + (place - k) * speed[k]) / total - place / pieces
            before[j], after[j], share[j] = _at(j + end * moved, end)
        _resample(views[rows[0, i]], kept, before, after, share)


@kernel
def window(views: Matrix, rows: Matrix, stream: Stream, channels: int, part: float) -> None:
    """Stretch a window of the series to its full length."""
    times = views.shape[1] // channels
    end = np.float64(times - 1)
    kept, before, after, share = np.empty(times), np.empty(times, np.int64), np.empty(times, np.int64), np.empty(times)
    for i in range(rows.shape[1]):
        start = uniform(words_of_view(rows[1, i], rows[2, i], stream)[0]) * ((1.0 - part) * end)
        for j in range(times):
            before[j], after[j], share[j] = _at(start + part * j, end)
        _resample(views[rows[0, i]], kept, before, after, share)


# ---------------------------------------------------------------- images

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_BLUE_TO_RED = 0.877 / 0.492  # of the units of the colour differences


class Strengths(NamedTuple):
    """The largest changes of brightness, contrast, saturation, and of the hue in turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@inline
def _channel_mean(x: Array, c: int, channels: int, sums: Array) -> Any:
    sums[:] = 0.0
    pixels = x.size // channels
    for start in range(0, pixels, _PARTS):
        for j in range(min(_PARTS, pixels - start)):
            sums[j] += x[(start + j) * channels + c]
    return _total(sums) / pixels


@inline
def _change_colours(x: Array, saturation: float, cos: float, sin: float) -> None:
    for p in range(x.size // 3):
        red, green, blue = x[3 * p], x[3 * p + 1], x[3 * p + 2]
        grey = (_RED * red + _GREEN * green) + _BLUE * blue
        red += saturation * (red - grey)
        green += saturation * (green - grey)
        blue += saturation * (blue - grey)
        to_red, to_blue = red - grey, blue - grey
        more_red = (cos - 1.0) * to_red + sin / _BLUE_TO_RED * to_blue
        more_blue = (cos - 1.0) * to_blue - sin * _BLUE_TO_RED * to_red
        x[3 * p] = red + more_red
        x[3 * p + 1] = green - (_RED * more_red + _BLUE * more_blue) / _GREEN
        x[3 * p + 2] = blue + more_blue


@kernel
def color_jitter(views: Matrix, rows: Matrix, stream: Stream, size: Size, most: Strengths) -> None:
    """Change brightness, contrast, saturation and hue of images."""
    channels, sums = size.channels, np.empty(_PARTS)
    for i in range(rows.shape[1]):
        w0, w1, w2, w3 = words_of_view(rows[1, i], rows[2, i], stream)
        brightness = most.brightness * (2.0 * uniform(w0) - 1.0)
        contrast = most.contrast * (2.0 * uniform(w1) - 1.0)
        x = views[rows[0, i]]
        for c in range(channels):
            mean = _channel_mean(x, c, channels, sums)
            mean += brightness * mean
            for p in range(x.size // channels):
                value = x[p * channels + c]
                value += brightness * value
                x[p * channels + c] = value + contrast * (value - mean)
        if channels == 3:
            cos, sin = cos_sin(most.hue * (2.0 * uniform(w3) - 1.0))
            _change_colours(x, most.saturation * (2.0 * uniform(w2) - 1.0), cos, sin)


@kernel
def resized_crop(views: Matrix, rows: Matrix, stream: Stream, size: Size, smallest: float, log2_ratio: float) -> None:
    """Stretch a section of each image to its full size."""
    height, width, channels = size
    kept = np.empty(views.shape[1])
    before, after, share = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width)
    for i in range(rows.shape[1]):
        w0, w1, w2, w3 = words_of_view(rows[1, i], rows[2, i], stream)
        area = smallest + (1.0 - smallest) * uniform(w0)
        taller = exp2(log2_ratio * (2.0 * uniform(w1) - 1.0))
        tall, wide = min(1.0, np.sqrt(area * taller)), min(1.0, np.sqrt(area / taller))
        top = uniform(w2) * (height - tall * height)
        left = uniform(w3) * (width - wide * width)
        for q in range(width):
            before[q], after[q], share[q] = _at((left + wide * (q + 0.5)) - 0.5, width - 1.0)
        x = views[rows[0, i]]
        for j in range(x.size):
            kept[j] = x[j]
        for r in range(height):
            above, below, lower_share = _at((top + tall * (r + 0.5)) - 0.5, height - 1.0)
            first, second = above * width, below * width
            for q in range(width):
                for c in range(channels):
                    v00 = kept[(first + before[q]) * channels + c]
                    v10 = kept[(second + before[q]) * channels + c]
                    upper = v00 + share[q] * (kept[(first + after[q]) * channels + c] - v00)
                    lower = v10 + share[q] * (kept[(second + after[q]) * channels + c] - v10)
                    x[(r * width + q) * channels + c] = upper + lower_share * (lower - upper)


@inline
def _add_pair(out: Array, weight: float, first: Array, second: Array) -> None:
    for j in range(out.size):
        out[j] += weight * (first[j] + second[j])


@kernel
def blur(views: Matrix, rows: Matrix, stream: Stream, size: Size, scale: float, reach: int) -> None:
    """Smooth images by Gaussian weights, along their rows and then along their columns."""
    height, width, channels = size
    length = width * channels
    weights = np.empty(reach + 1)
    padded = np.empty((width + 2 * reach) * channels)
    smooth, sums = np.empty((height, length)), np.empty(length)
    for i in range(rows.shape[1]):
        sigma = scale * uniform(words_of_view(rows[1, i], rows[2, i], stream)[0])
        weights[0] = total = 1.0
        for k in range(1, reach + 1):
            ratio = k / sigma
            exponent = -0.7213475204444817 * (ratio * ratio)  # log2(e) / 2
            weights[k] = exp2(exponent if exponent > -1000.0 else -1000.0)
            total += 2.0 * weights[k]
        image = views[rows[0, i]].reshape(height, length)
        for r in range(height):
            for q in range(width + 2 * reach):
                at = min(max(q - reach, 0), width - 1)
                for c in range(channels):
                    padded[q * channels + c] = image[r, at * channels + c]
            middle = reach * channels
            for j in range(length):
                sums[j] = padded[middle + j]
            for k in range(1, reach + 1):
                _add_pair(sums, weights[k], padded[middle - k * channels :], padded[middle + k * channels :])
            for j in range(length):
                smooth[r, j] = sums[j] / total
        for r in range(height):
            for j in range(length):
                sums[j] = smooth[r, j]
            for k in range(1, reach + 1):
                _add_pair(sums, weights[k], smooth[max(r - k, 0)], smooth[min(r + k, height - 1)])
            for j in range(length):
                image[r, j] = sums[j] / total
