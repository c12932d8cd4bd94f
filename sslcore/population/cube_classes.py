"""Lines of cubes of any dimension: classes of sets of equal size and equally many windows, counted, not listed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..kernels import Kernel
from .base import TIE, Lines
from .cube_augmentations import crop_widths, eigenvalues, needs
from .cube_sets import Space, count_cyclic, count_linear
from .cube_values import kernel_values

__all__ = ["SubsetClass", "class_lines"]


class SubsetClass(NamedTuple):
    """All sets of a size that lie in the same number of windows: what stands for a set where d > 24.

    Examples
    --------
    >>> from sslcore.population import SubsetClass
    >>> SubsetClass(size=2, windows=7)
    SubsetClass(size=2, windows=7)
    """

    size: int
    windows: int | None


class Classes(Space):
    """Classes (size, windows) for crops of one width: all those that may have a set in them."""

    def __init__(self, d: int, crop: tuple[int, bool] | None) -> None:
        self.d, self.crop = d, crop
        if crop is None:
            self.sizes, self.counts = np.arange(d + 1), np.zeros(d + 1, np.intp)
            return
        width, cyclic = crop
        starts = d if cyclic else d - width + 1
        # the windows that contain h >= 1 elements are at most those that contain h neighbours
        most = [starts] + [min(starts, max(width - h + 1, 0)) for h in range(1, d + 1)]
        self.sizes = np.repeat(np.arange(d + 1), np.array(most) + 1)
        self.counts = np.concatenate([np.arange(m, -1, -1) for m in most])

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        if width == self.d:
            return np.full(len(self.sizes), self.d if cyclic else 1)
        return self.counts

    def multiplicity(self, i: int) -> int:
        """The number of sets in class i; 0 for some."""
        size = int(self.sizes[i])
        if self.crop is None:
            return math.comb(self.d, size)
        count = count_cyclic if self.crop[1] else count_linear
        return count(self.d, self.crop[0], size, int(self.counts[i]))

    def label(self, i: int) -> SubsetClass:
        """Its name."""
        return SubsetClass(int(self.sizes[i]), None if self.crop is None else int(self.counts[i]))


def class_lines(d: int, augmentation: Any, kernel: Kernel, n: int, reg: float | None, beta: float) -> Lines:
    """Those lines that can be among the first n: at ``reg`` and ``beta``, or (None) at any."""
    if needs(augmentation) != "parities":
        raise ValueError(
            f"for d = {d} sets are counted by size and windows, which {augmentation!r} does not keep apart: its "
            f"eigenfunctions are combinations of shifted or reversed parities, listed up to d = 24 only"
        )
    crops = crop_widths(augmentation) - {(d, True), (d, False)}
    if len(crops) > 1:
        raise ValueError(
            f"for d = {d} sets are counted by the windows of one crop; {augmentation!r} has {len(crops)} different "
            "ones, "
            f"which are enumerated up to d = 24 only"
        )
    space = Classes(d, next(iter(crops), None))
    a = eigenvalues(augmentation, space)
    t, kappa = a * a, kernel_values(kernel, space)
    if reg is None:
        found = _columns(space, t, kappa, n)
    else:
        found = _first(space, Lines(t, kappa, np.ones(len(t), np.int64), range(len(t))), n, reg, beta)
    order = sorted(found)
    counts = np.array([found[i] for i in order], dtype=object)
    return Lines(t[order], kappa[order], counts, [space.label(i) for i in order])


def _first(space: Classes, lines: Lines, n: int, reg: float, beta: float) -> dict[int, int]:
    """The classes of the first n components at this lambda, those that tie with the last included, and their counts."""
    mu = lines.values(reg, beta)
    order = np.argsort(-mu, kind="stable")
    found: dict[int, int] = {}
    total, last = 0, math.inf
    for i in order.tolist():
        if total >= n and not mu[i] >= last - 4 * TIE * (1.0 + beta + abs(last)):
            break
        if total >= n and last == -math.inf:
            break  # outside of the RKHS: nobody wants to know all of those
        count = space.multiplicity(i)
        if count:
            found[i] = count
            total, last = total + count, float(mu[i])
    return found


def _columns(space: Classes, t: np.ndarray, kappa: np.ndarray, n: int) -> dict[int, int]:
    """Leave out the classes that have n components above them in both t and kappa.

    Sizes are taken by decreasing kappa, in each size classes by decreasing t (and kappa, where it grows with t).
    """
    by_size = [np.flatnonzero(space.sizes == size) for size in range(space.d + 1)]
    by_size.sort(key=lambda inside: -float(kappa[inside].max()))
    found: dict[int, int] = {}
    levels = np.zeros((0, 3))  # t, kappa and count of those found
    for inside in by_size:
        inside = inside[np.lexsort((-kappa[inside], -t[inside]))]
        falling = bool((np.diff(kappa[inside]) <= 0).all())
        for i in inside.tolist():
            above = (levels[:, 0] >= t[i]) & (levels[:, 1] >= kappa[i])
            if levels[above, 2].sum() >= n:
                if falling:
                    break  # so have all that follow
                continue
            count = space.multiplicity(i)
            if count:
                found[i] = count
                levels = np.vstack([levels, [t[i], kappa[i], min(count, n)]])
    return found
