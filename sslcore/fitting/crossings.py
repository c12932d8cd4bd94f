"""Avoided crossings of levels that are known, with their slopes, at some points of a path."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["crossings", "least"]

_EXCHANGED = 0.5
"""sin^2 of the angle from which on two functions count as exchanged."""


def crossings(
    x: np.ndarray, gamma: np.ndarray, slopes: np.ndarray, overlaps: np.ndarray
) -> Iterator[tuple[int, float, float, float]]:
    """Return (component, place, gap, exchange) along x, for gamma (n, k) and its derivatives."""
    last = len(x) - 1
    for i in range(gamma.shape[1] - 1):
        with np.errstate(invalid="ignore"):  # infinite beyond the rank
            gaps, rates = gamma[:, i + 1] - gamma[:, i], slopes[:, i + 1] - slopes[:, i]
        # copies of one eigenvalue part by rounding only
        apart = (gaps > 1e-8 * np.abs(gamma[:, i])) | (np.abs(rates) > 1e-6 * np.abs(slopes[:, i]))
        apart &= np.isfinite(gaps)
        closing, opening = apart & (rates < 0), apart & (rates > 0)
        stay = overlaps[:, i, i] + overlaps[:, i + 1, i + 1]
        turns = np.arctan2(np.sqrt(overlaps[:, i, i + 1] + overlaps[:, i + 1, i]), np.sqrt(stay))
        for a in np.flatnonzero(closing[:-1] & opening[1:]):
            start, stop = a, a + 1
            while start > 0 and closing[start - 1]:
                start -= 1
            while stop < last and opening[stop + 1]:
                stop += 1
            exchange = np.sin(min(float(turns[start:stop].sum()), np.pi / 2)) ** 2
            if exchange >= _EXCHANGED:
                step = x[a + 1] - x[a]
                t, square = least(gaps[a : a + 2] ** 2, 2 * (gaps * rates)[a : a + 2] * step)
                yield i, float(x[a] + t * step), float(np.sqrt(max(square, 0.0))), float(exchange)


def least(values: np.ndarray, slopes: np.ndarray) -> tuple[float, float]:
    """Minimise on [0, 1] the cubic with these values and slopes (<= 0, >= 0) at the ends: its place and its value."""
    (p, q), (u, v) = values, slopes
    cubic, square = 2 * (p - q) + u + v, 3 * (q - p) - 2 * u - v
    roots = np.roots([3 * cubic, 2 * square, u]) if cubic != 0 else np.array([-u / (2 * square)] if square else [0.0])
    inside = [0.0, 1.0, *(float(t.real) for t in roots if abs(t.imag) < 1e-9 and 0 <= t.real <= 1)]
    heights = [p + t * (u + t * (square + t * cubic)) for t in inside]
    best = int(np.argmin(heights))
    return inside[best], float(heights[best])
