"""Lines of cubes of any dimension: classes of sets of equal size and equally many windows, counted, not listed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays import check_integer
from ..augmentations import Compose, Shift
from ..declarations.registries import has_law
from ..kernels import Kernel
from .cube_augmentations import crop_widths, eigenvalues, needs
from .cube_sets import Space, characters, count_cyclic, count_frequency, count_linear
from .cube_values import convolutional_parts, is_pooled, kernel_values
from .lines import TIE, Lines

__all__ = ["SubsetClass", "class_lines"]


class SubsetClass(NamedTuple):
    """Sets of one size that lie in the same number of windows: they stand for a set where d > 24.

    ``windows`` is None without crops.  With shifts it is the class of the Fourier functions of the orbits of these sets
    of one ``frequency`` w: a shift by a multiplies them by exp(-2 pi i a w / d).

    Examples
    --------
    >>> from sslcore.population import SubsetClass
    >>> SubsetClass(size=2, windows=7)
    SubsetClass(size=2, windows=7, frequency=None)
    """

    size: int
    windows: int | None
    frequency: int | None = None


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
        most = [min(starts, max(width - h + 1, 0)) for h in range(1, d + 1)]
        self.sizes = np.repeat(np.arange(d + 1), [1, *(m + 1 for m in most)])
        self.counts = np.concatenate([[starts], *(np.arange(m, -1, -1) for m in most)])

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        if width == self.d:
            return np.full(len(self.sizes), self.d if cyclic else 1)
        return self.counts

    def multiplicity(self, i: int, frequency: int | None = None) -> int:
        """Count the sets in class i, or the Fourier functions of their orbits; 0 for some."""
        size, count = int(self.sizes[i]), int(self.counts[i])
        if frequency is not None:
            if size == 0:
                return int(frequency % self.d == 0 and (self.crop is None or count == self.d))
            free = self.d if self.crop is None else self.d - self.crop[0]
            return count_frequency(self.d, free, size, count, math.gcd(frequency, self.d) % self.d)
        if self.crop is None:
            return math.comb(self.d, size)
        counted = count_cyclic if self.crop[1] else count_linear
        return counted(self.d, self.crop[0], size, count)

    def label(self, i: int, frequency: int | None) -> SubsetClass:
        """Return the name of class i."""
        return SubsetClass(int(self.sizes[i]), None if self.crop is None else int(self.counts[i]), frequency)


@dataclass(frozen=True)
class ClassNames:
    """Labels that are classes of sets: `SubsetClass`, or a tuple of its three entries."""

    d: int
    crop: tuple[int, bool] | None
    frequencies: bool

    def __call__(self, label: Any) -> SubsetClass:
        """Return the class, if there is a set in it."""
        if not (isinstance(label, tuple) and len(label) == 3):
            raise ValueError(
                f"for d = {self.d} labels are classes of sets, such as {SubsetClass(0, *self._entries(self.d, 0))}, "
                f"found {label!r}"
            )
        size, windows, frequency = label
        size = check_integer(size, "the size of a class", minimum=0, maximum=self.d)
        if (windows is None) != (self.crop is None) or (frequency is None) == self.frequencies:
            raise ValueError(
                f"classes of sets are named here like {SubsetClass(size, *self._entries(self.d, 0))}, found {label!r}"
            )
        classes = Classes(self.d, self.crop)
        inside = classes.sizes == size
        if self.crop is not None:
            windows = check_integer(windows, "the number of windows", minimum=0, maximum=self.d)
            inside &= classes.counts == windows
        if self.frequencies:
            frequency = check_integer(frequency, "a frequency", minimum=0, maximum=self.d - 1)
        if not any(classes.multiplicity(int(i), frequency) for i in inside.nonzero()[0]):
            raise ValueError(f"no set is in the class {label!r} for d = {self.d}")
        return SubsetClass(size, windows, frequency)

    def _entries(self, windows: int, frequency: int) -> tuple[int | None, int | None]:
        return None if self.crop is None else windows, frequency if self.frequencies else None


class Frequencies(Space):
    """The Fourier functions of all frequencies of one class."""

    def __init__(self, classes: Classes, i: int) -> None:
        self.d, self.classes, self.i = classes.d, classes, i
        self.sizes = np.full(self.d, classes.sizes[i])

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        return np.full(self.d, self.classes.windows(width, cyclic)[self.i])

    def character(self, law: Any) -> np.ndarray:
        return characters(tuple(law), self.d)


Member = tuple[float, int, int | None]
"""t, multiplicity and frequency of a part of a class."""


def class_lines(d: int, augmentation: Any, kernel: Kernel, n: int, reg: float | None, beta: float) -> Lines:
    """Return the lines that can be among the first n at ``reg`` and ``beta``; at any lambda for ``reg`` = None."""
    need = needs(augmentation)
    if need == "blocks":
        raise ValueError(
            f"for d = {d} sets are counted by size and windows, which {augmentation!r} does not keep apart: its "
            f"eigenfunctions are combinations of reversed parities, listed up to d = 24 only"
        )
    patches = convolutional_parts(kernel)
    if is_pooled(kernel):
        raise ValueError(f"{kernel!r} pools: its eigenfunctions are listed up to d = 24 only, found d = {d}")
    crops = (crop_widths(augmentation) | {(part.patch, True) for part in patches}) - {(d, True), (d, False)}
    if len(crops) > 1:
        raise ValueError(
            f"for d = {d} sets are counted by the windows of one width, {augmentation!r} and {kernel!r} have "
            f"{len(crops)}: "
            f"they are enumerated up to d = 24 only"
        )
    space = Classes(d, next(iter(crops), None))
    kappa = kernel_values(kernel, space)
    bound = _bounds(augmentation, space) ** 2

    def parts(i: int) -> list[Member]:
        if need == "parities":
            return [(float(bound[i]), space.multiplicity(i), None)]
        a = eigenvalues(augmentation, Frequencies(space, i))
        known = {g: space.multiplicity(i, g) for g in {math.gcd(w, d) for w in range(d)}}
        every = [(abs(complex(a[w])) ** 2, known[math.gcd(w, d)], w) for w in range(d)]
        return sorted(every, key=lambda member: (-member[0], member[2]))

    if reg is None:
        found = _undominated(space, bound, kappa, n, parts)
    else:
        mu = Lines(bound, kappa, np.ones(len(bound), np.int64), range(len(bound))).values(reg, beta)
        found = _first(mu, bound, n, beta, parts)
    found.sort(key=lambda entry: (entry[0], -1 if entry[1][2] is None else entry[1][2]))
    return Lines(
        np.array([t for _, (t, _, _) in found]),
        kappa[[i for i, _ in found]],
        np.array([count for _, (_, count, _) in found], dtype=object),
        [space.label(i, frequency) for i, (_, _, frequency) in found],
        ClassNames(d, space.crop, need != "parities"),
    )


def _bounds(augmentation: Any, space: Space) -> np.ndarray:
    """Return an upper bound of |A| on each class, whatever the frequency; exactly |A| without shifts."""
    if needs(augmentation) == "parities":
        out: np.ndarray = np.abs(eigenvalues(augmentation, space))
        return out
    if has_law(augmentation, Shift):
        return np.ones(len(space.sizes))
    bounds = [_bounds(part, space) for part in augmentation.parts]
    if has_law(augmentation, Compose):
        out = np.prod(bounds, axis=0)
        return out
    out = np.asarray(augmentation.weights) @ np.array(bounds)
    return out


def _first(
    mu: np.ndarray, bound: np.ndarray, n: int, beta: float, parts: Callable[[int], list[Member]]
) -> list[tuple[int, Member]]:
    """Keep the first n components at this lambda, and what ties with the last; ``mu`` has ``bound`` for t.

    Classes are opened by decreasing bound, until n components are known to lie above the next one.
    """
    found: list[tuple[int, Member]] = []
    values: list[float] = []
    last = -math.inf  # of the n-th component known
    for i in np.argsort(-mu, kind="stable").tolist():
        if last > -math.inf and not mu[i] >= last - 4 * TIE * (1.0 + beta + abs(last)):
            break
        if mu[i] == -math.inf and sum(member[1] for _, member in found) >= n:
            break  # outside of the RKHS: nobody wants to know all of those
        opened = [member for member in parts(i) if member[1]]
        if not opened:
            continue
        found += [(i, member) for member in opened]
        values += [float(mu[i]) - beta * (float(bound[i]) - member[0]) for member in opened]
        last = _nth(values, [member[1] for _, member in found], n)
    return found


def _nth(values: list[float], counts: list[int], n: int) -> float:
    """Return the n-th largest of ``values``, each repeated by its count; -inf if there are fewer."""
    total = 0
    order: list[int] = np.argsort(-np.array(values), kind="stable").tolist()
    for i in order:
        total += counts[i]
        if total >= n:
            return values[i]
    return -math.inf


def _undominated(
    space: Classes, bound: np.ndarray, kappa: np.ndarray, n: int, parts: Callable[[int], list[Member]]
) -> list[tuple[int, Member]]:
    """Leave out what has n components above it in both t and kappa.

    Sizes are taken by decreasing kappa, in each size classes by decreasing t (and kappa, where it grows with t).
    """
    by_size = [np.flatnonzero(space.sizes == size) for size in range(space.d + 1)]
    by_size.sort(key=lambda inside: -float(kappa[inside].max()))
    found: list[tuple[int, Member]] = []
    levels = np.zeros((0, 3))  # t, kappa and count of those found
    for inside in by_size:
        inside = inside[np.lexsort((-kappa[inside], -bound[inside]))]
        falling = bool((np.diff(kappa[inside]) <= 0).all())
        for i in inside.tolist():
            if _above(levels, bound[i], kappa[i]) >= n:
                if falling:
                    break  # so have all that follow
                continue
            for member in parts(i):
                if member[1] and _above(levels, member[0], kappa[i]) < n:
                    found.append((i, member))
                    levels = np.vstack([levels, [member[0], kappa[i], min(member[1], n)]])
    return found


def _above(levels: np.ndarray, t: float, kappa: float) -> float:
    """Count the components that lie above in both t and kappa."""
    return float(levels[(levels[:, 0] >= t) & (levels[:, 1] >= kappa), 2].sum())
