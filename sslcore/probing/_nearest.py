"""Nearest neighbours by blocks of products, refined by differences, at any scale of the points."""

from __future__ import annotations

import math

import numpy as np

from .. import tunables
from ..arrays import Array, exponent_of, require_finite, rescaled
from ..backends import get_backend

__all__ = ["nearest"]


LARGEST = 490
"""Coordinates are below 2^490: squares of them do not overflow, those of differences down to 2^-537 do not vanish."""


def nearest(z: Array, points: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices (n, k) of the nearest ``points``, by (distance, index), on the host.

    Distances too large for float64 are infinite; their order is right all the same.
    """
    backend = get_backend(z, points)
    xp = backend.xp
    shift = LARGEST - max(exponent_of(z, "z"), exponent_of(points, "the labelled points"))
    squares = np.full((len(z), k), np.inf)
    index = np.zeros((len(z), k), np.int64)
    side = backend.BLOCK_FACTOR**0.5 * tunables.NEAREST_BLOCK_ENTRIES**0.5
    height, width = max(1, int(side / 2)), max(1, int(2 * side))
    starts = range(0, len(points), width)
    # products cancel less about the centre; of parts, so that a block is all that is held
    centre = sum(rescaled(points[s : s + width], shift).sum(axis=0) / len(points) for s in starts)
    epsilon = float(np.finfo(float).eps)
    for start in range(0, len(z), height):
        x = rescaled(require_finite(z[start : start + height], "z", offset=start), shift)
        x_centred = x - centre
        x_norms = (x_centred**2).sum(axis=1)
        rows = slice(start, start + len(x))
        for first in starts:
            y = rescaled(points[first : first + width], shift)
            y_centred = y - centre
            y_norms = (y_centred**2).sum(axis=1)
            size = x_norms + y_norms.max()
            # of the products, and of what subtracting the centre has rounded
            raw = max(float(xp.abs(x).max()), float(xp.abs(y).max())) * math.sqrt(x.shape[1])
            rounding = epsilon * (4 * (x.shape[1] + 4) * size + 16 * raw * xp.sqrt(size))
            near = x_norms[:, None] + y_norms - 2.0 * (x_centred @ y_centred.T)
            reach = xp.asarray(squares[rows, -1])
            if len(y) >= k:
                reach = xp.minimum(reach, xp.partition(near, k - 1, axis=1)[:, k - 1] + rounding)
            i, j = xp.nonzero(near <= (reach + rounding)[:, None])
            found = xp.empty(len(i))
            step = max(1, tunables.NEAREST_BLOCK_ENTRIES // x.shape[1])
            for s in range(0, len(i), step):
                part = slice(s, s + step)
                found[part] = ((x[i[part]] - y[j[part]]) ** 2).sum(axis=1)
            _merge(squares[rows], index[rows], backend.to_host(i), backend.to_host(j) + first, backend.to_host(found))
    return rescaled(np.sqrt(squares), -shift), index


def _merge(squares: np.ndarray, index: np.ndarray, i: np.ndarray, j: np.ndarray, found: np.ndarray) -> None:
    """Put the pairs (i, j) at squared distances ``found`` among the nearest of each row, in place."""
    n, k = squares.shape
    old = np.repeat(np.arange(n), k)
    row = np.concatenate([old, i])
    values = np.concatenate([squares.ravel(), found])
    names = np.concatenate([index.ravel(), j])
    order = np.lexsort((names, values, row))
    starts = np.searchsorted(row[order], np.arange(n))
    best = order[starts[:, None] + np.arange(k)]
    squares[...], index[...] = values[best], names[best]
