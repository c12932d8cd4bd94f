"""Nearest neighbours by blocks of distances, refined by differences, at any scale of the points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import tunables
from ..arrays import Array, exponent_of, rescaled
from ..backends import get_backend
from ..backends.pairing import TOLERANCE
from ..kernels import Profile

__all__ = ["nearest"]


LARGEST = 490
"""Coordinates are below 2^490: squares of them do not overflow, those of differences down to 2^-537 do not vanish."""


@dataclass(frozen=True)
class _Distance(Profile):
    """|x - y|: no kernel, but a formula of one pair value as theirs, and so as safe from cancellation as they are."""

    pair = "sqdist"
    formula = "sqrt(t)"
    bounded = True


def nearest(z: Array, points: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices (n, k) of the nearest ``points``, by (distance, index), on the host.

    Distances too large for float64 are infinite; their order is right all the same.
    """
    backend = get_backend(z, points)
    xp, d = backend.xp, z.shape[1]
    unit = max(exponent_of(z, "z"), exponent_of(points, "the labelled points"))
    squares = np.full((len(z), k), np.inf)
    index = np.zeros((len(z), k), np.int64)
    side = backend.BLOCK_FACTOR**0.5 * tunables.NEAREST_BLOCK_ENTRIES**0.5
    height, width = min(len(z), max(1, int(side / 2))), min(len(points), max(1, int(2 * side)))
    step = max(1, tunables.NEAREST_BLOCK_ENTRIES // d)
    slack = _error(d)
    block = backend.empty_matrix(height, width, np.dtype(float))
    for first in range(0, len(points), width):
        y = points[first : first + width]
        distances, exact_y = _Distance().rows(rescaled(y, -unit), backend), rescaled(y, LARGEST - unit)
        for start in range(0, len(z), height):
            x = z[start : start + height]
            exact_x, near = rescaled(x, LARGEST - unit), block[: len(x), : len(y)]
            distances.fill(rescaled(x, -unit), 0, near)
            rows = slice(start, start + len(x))
            reach = xp.asarray(rescaled(np.sqrt(squares[rows, -1]), -LARGEST))
            if len(y) >= k:
                reach = xp.minimum(reach, xp.partition(near, k - 1, axis=1)[:, k - 1] + slack)
            i, j = xp.nonzero(near <= (reach + slack)[:, None])
            found = xp.empty(len(i))
            for s in range(0, len(i), step):
                part = slice(s, s + step)
                found[part] = ((exact_x[i[part]] - exact_y[j[part]]) ** 2).sum(axis=1)
            _merge(squares[rows], index[rows], backend.to_host(i), backend.to_host(j) + first, backend.to_host(found))
    return rescaled(np.sqrt(squares), unit - LARGEST), index


def _error(d: int) -> float:
    """Return a bound of the errors of distances between points whose d coordinates are at most 1.

    A squared distance s - 2 <x, y>, s = |x|^2 + |y|^2, is off by (2 d + 6) eps s at most; it is made of differences
    instead where its root r is below eps s / tolerance, so that r is off by (d + 3) tolerance.  Differences, and the
    root, are off by (d / 2 + 2) eps r, and r is at most 2 sqrt(d).
    """
    epsilon = float(np.finfo(float).eps)
    return (d + 8) * (TOLERANCE[np.dtype(float)] + 4 * epsilon * math.sqrt(d))


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
