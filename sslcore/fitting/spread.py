"""Differences between views of one sample, beside those between samples."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import tunables
from ..arrays import on_host
from ..augmentations import Views

__all__ = ["ALIKE", "FAR", "Spread", "spread_of"]

ALIKE = 1e-4
"""Views whose variance is a smaller share of that between samples differ by less than a hundredth of their distance."""

FAR = 3.0
"""Times the distance between samples from which on views differ too much: up to there noise may help, see the guide."""


class Spread(NamedTuple):
    """Traces of covariances: of views of one sample, and of samples; in a unit that both share.

    Attributes
    ----------
    within : float
        E |v - v'|^2 / 2 over two views v, v' of one sample.
    between : float
        E |v - v'|^2 / 2 over views of two samples, less ``within``.
    """

    within: float
    between: float

    def words(self) -> str | None:
        """Say what is wrong with such views; None where nothing is."""
        distance = math.sqrt(self.within / self.between) if self.between > 0 else math.inf
        if self.within < ALIKE * self.between:
            return (
                f"views hardly differ from their samples: their distance is {distance:.2g} of that between samples "
                f"(normal: 0.05 to 2), so there is nothing to be invariant to; make the law of the views stronger, or "
                f"bring the columns to one scale"
            )
        if self.within > FAR**2 * self.between:
            seen = f"{distance:.2g} of" if distance < math.inf else "far beyond"
            return (
                f"views of one sample differ far more than samples do: their distance is {seen} that between samples "
                f"(normal: 0.05 to 2); make the law of the views milder"
            )
        return None


def spread_of(views: Any) -> Spread | None:
    """Return the spread of views (n, m, d), from some blocks of samples; None where each sample has one view."""
    n, m, _ = views.shape
    if n < 2 or m < 2:
        return None
    each = max(1, tunables.SPREAD_SAMPLES // tunables.SPREAD_BLOCKS)
    starts = np.unique(np.linspace(0, max(n - each, 0), tunables.SPREAD_BLOCKS).astype(int))
    first, seen, exponent, within = 0, 0, None, 0.0  # block by block: of long samples all views are a memory's worth
    mean: Any = 0.0
    apart: Any = 0.0
    for start in starts:
        start, stop = max(int(start), first), min(int(start) + each, n)
        v = on_host(views.block(start, stop) if isinstance(views, Views) else views[start:stop]).astype(float)
        first = stop
        largest = float(np.abs(v).max(initial=0.0))
        if not math.isfinite(largest):
            return None  # what is not finite is refused by the fit, with its place
        unit = math.frexp(largest)[1]
        if exponent is None or unit > exponent:
            less = 0 if exponent is None else exponent - unit
            mean, apart, within = np.ldexp(mean, less), np.ldexp(apart, 2 * less), math.ldexp(within, 2 * less)
            exponent = unit
        v = np.ldexp(v, -exponent)
        means = v.mean(axis=1)
        within += float(((v - means[:, None]) ** 2).sum())
        centre, count = means.mean(axis=0), stop - start
        shift, seen = centre - mean, seen + count
        apart = apart + ((means - centre) ** 2).sum(axis=0) + shift**2 * (count * (seen - count) / seen)
        mean = mean + shift * (count / seen)
    if seen < 2:
        return None
    within /= seen * (m - 1)
    between = float(apart.sum()) / (seen - 1) - within / m
    return Spread(within, max(between, 0.0))
