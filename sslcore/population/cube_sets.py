"""Sets of coordinates of the cube, all of them or some: sizes, windows that contain them, orbits under shifts.

A set S of {0, ..., d - 1} is a tuple of increasing integers, or the mask sum_{i in S} 2^i where all 2^d are enumerated.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from .ramanujan import ramanujan_sum

__all__ = [
    "Masks",
    "OrbitLabels",
    "Orbits",
    "Sets",
    "Space",
    "SubsetLabels",
    "characters",
    "count_cyclic",
    "count_frequency",
    "count_gaps",
    "count_linear",
    "crop_windows",
    "members",
    "reversals",
    "rotations",
]


def members(mask: int) -> tuple[int, ...]:
    """Return the set of a mask."""
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)


def crop_windows(subset: Sequence[int], d: int, width: int, cyclic: bool = True) -> int:
    """Count the windows of ``width`` coordinates that contain ``subset``, over all starts.

    Cyclic: sum_i (g_i - (d - width))_+ over the gaps g_i between cyclic neighbours, since the complement of a window is
    a run of d - width coordinates without elements of S.  Not cyclic: of the d - width + 1 starts.
    """
    free = d - width
    if not subset:
        return d if cyclic else free + 1
    if not cyclic:
        return max(0, min(subset[0], free) - max(subset[-1] - width + 1, 0) + 1)
    gaps = [b - a for a, b in itertools.pairwise(subset)] + [subset[0] + d - subset[-1]]
    return sum(max(g - free, 0) for g in gaps)


class SubsetLabels(Sequence[Any]):
    """The sets of given masks, made when asked for."""

    def __init__(self, masks: np.ndarray) -> None:
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, i: Any) -> Any:
        return members(int(self.masks[i]))


class Space(ABC):
    """Functions on which diagonal operators act; what their eigenvalues may depend on."""

    d: int
    sizes: np.ndarray
    """h = |S|, (b,)."""

    @abstractmethod
    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        """Count the windows that contain S, (b,)."""

    def character(self, law: Sequence[float]) -> np.ndarray:
        """Return the eigenvalue sum_a law[a] exp(-2 pi i a w/d) of the shifts, (b,)."""
        raise TypeError("parities are not eigenfunctions of shifts")


class Sets(Space):
    """The parities of a few sets, at any d."""

    def __init__(self, d: int, sets: Sequence[tuple[int, ...]]) -> None:
        self.d, self.sets = d, sets
        self.sizes = np.array([len(s) for s in sets], dtype=np.intp)

    def windows(self, width: int, cyclic: bool) -> np.ndarray:  # noqa: D102
        return np.array([crop_windows(s, self.d, width, cyclic) for s in self.sets], dtype=np.intp)


class Masks(Space):
    """The parities of all 2^d sets (or of given masks), in the order of their masks."""

    def __init__(self, d: int, masks: np.ndarray | None = None) -> None:
        self.d = d
        self.masks = np.arange(1 << d, dtype=np.uint32) if masks is None else masks
        self.sizes = popcounts(self.masks, d)

    def windows(self, width: int, cyclic: bool) -> np.ndarray:  # noqa: D102
        d, full = self.d, (1 << self.d) - 1
        window = (1 << width) - 1
        starts = range(d if cyclic else d - width + 1)
        found = np.zeros(len(self.masks), np.uint8)
        for start in starts:
            moved = (window << start | window >> (d - start)) & full
            found += (self.masks & np.uint32(full ^ moved)) == 0
        return found


class Orbits(Space):
    """Fourier functions psi_j = sum_t exp(-2 pi i j t / r) chi_(S + t), j < r, on the orbits of S under shifts.

    ``frequency`` is w = j d/r: a shift by a multiplies psi_j by exp(-2 pi i a w / d).
    """

    def __init__(self, d: int, masks: np.ndarray | None = None) -> None:
        self.d = d
        every = np.arange(1 << d, dtype=np.uint32) if masks is None else masks
        least = every.copy()
        period = np.full(len(every), d, np.uint8)
        for shift in range(d - 1, 0, -1):
            moved = rotations(every, shift, d)
            np.minimum(least, moved, out=least)
            if d % shift == 0:
                period[moved == every] = shift
        first = every == least
        self.masks = np.repeat(every[first], period[first])
        self.periods = np.repeat(period[first], period[first]).astype(np.intp)
        starts = np.cumsum(period[first], dtype=np.intp) - period[first]
        self.index = np.arange(len(self.masks)) - np.repeat(starts, period[first])  # j
        self.frequency = self.index * (d // self.periods)
        self.sizes = popcounts(self.masks, d)

    def windows(self, width: int, cyclic: bool) -> np.ndarray:  # noqa: D102
        return Masks(self.d, self.masks).windows(width, cyclic)

    def character(self, law: Sequence[float]) -> np.ndarray:  # noqa: D102
        out: np.ndarray = characters(tuple(law), self.d)[self.frequency]
        return out


class OrbitLabels(Sequence[Any]):
    """(S, j): the least set of an orbit and the number of its Fourier function."""

    def __init__(self, masks: np.ndarray, index: np.ndarray) -> None:
        self.masks, self.numbers = masks, index

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, i: Any) -> Any:
        return members(int(self.masks[i])), int(self.numbers[i])


def popcounts(masks: np.ndarray, d: int) -> np.ndarray:
    """Count the elements of each set."""
    found = np.zeros(len(masks), np.uint8)
    for i in range(d):
        found += ((masks >> np.uint32(i)) & np.uint32(1)).astype(np.uint8)
    return found


def rotations(masks: np.ndarray, shift: int, d: int) -> np.ndarray:
    """Return the masks of S + shift."""
    shift %= d
    full = np.uint32((1 << d) - 1)
    return ((masks << np.uint32(shift)) | (masks >> np.uint32(d - shift))) & full if shift else masks


def reversals(masks: np.ndarray, d: int) -> np.ndarray:
    """Return the masks of {d - 1 - i: i in S}."""
    out = np.zeros_like(masks)
    for i in range(d):
        out |= ((masks >> np.uint32(i)) & np.uint32(1)) << np.uint32(d - 1 - i)
    return out


@functools.lru_cache(maxsize=8)
def characters(law: tuple[float, ...], d: int) -> np.ndarray:
    """Return sum_a law[a] exp(-2 pi i a w/d), w = 0..d-1; phases are reduced exactly before they are rounded."""
    a, w = np.arange(len(law)), np.arange(d)
    found: np.ndarray = np.exp(-2j * np.pi * (np.outer(w, a) % d) / d) @ np.asarray(law, np.float64)
    found.setflags(write=False)
    return found


def restricted_compositions(parts: int, total: int, largest: int) -> int:
    """Count the ways to write ``total`` as an ordered sum of ``parts`` integers in 1..largest."""
    if parts == 0:
        return int(total == 0)
    if not parts <= total <= parts * largest:
        return 0
    return sum(
        (-1) ** i * math.comb(parts, i) * math.comb(total - i * largest - 1, parts - 1)
        for i in range((total - parts) // largest + 1)
    )


def count_gaps(d: int, free: int, size: int, excess: int) -> int:
    """Count the sets of ``size`` elements on a circle of d whose gaps exceed ``free`` by ``excess`` in all.

    Up to the place of the first element (a factor d/h) a set is the sequence of its h gaps, of sum d.  j of them exceed
    ``free``, by amounts >= 1 that add up to ``excess``; the others are in 1..free.
    """
    if size == 0:
        return int(excess == d)
    if free == 0:  # every gap exceeds 0 by itself
        return math.comb(d, size) if excess == d else 0
    if free == 1:  # by itself less 1
        return math.comb(d, size) if excess == d - size else 0
    total = 0
    for j in range(min(size, excess, d // free) + 1):
        ways = math.comb(excess - 1, j - 1) if j else int(excess == 0)
        if ways:
            total += math.comb(size, j) * ways * restricted_compositions(size - j, d - j * free - excess, free)
    return total * d // size


def count_cyclic(d: int, width: int, size: int, windows: int) -> int:
    """Count the sets of ``size`` elements that lie in exactly ``windows`` cyclic windows of ``width``."""
    return count_gaps(d, d - width, size, windows)


def count_frequency(d: int, free: int, size: int, excess: int, frequency: int) -> int:
    """Count the Fourier functions of this frequency w (`Orbits`) on the orbits of the sets of `count_gaps`.

    The shifts act on these sets; the functions of one frequency are as many as the average of exp(-2 pi i a w/d) times
    the number of sets that a shift by a leaves alone.  Those are d/g times a pattern on a circle of g = gcd(a, d), with
    g/d of the elements and of the excess, and the sum of the phases over all a of one g is Ramanujan's sum.
    """
    total = 0
    for g in range(1, d + 1):
        n = d // g
        if d % g == 0 and size % n == 0 and excess % n == 0:
            total += ramanujan_sum(n, frequency) * count_gaps(g, free, size // n, excess // n)
    return total // d


@functools.lru_cache(maxsize=8)
def _linear_spans(d: int, width: int) -> np.ndarray:
    """Count, as [c, s], the pairs of first and last element, s apart, in c windows that do not wrap around."""
    first, last = np.triu_indices(d)
    count = np.maximum(0, np.minimum(first, d - width) - np.maximum(last - width + 1, 0) + 1)
    table = np.zeros((d - width + 2, d), np.int64)
    np.add.at(table, (count, last - first), 1)
    return table


def count_linear(d: int, width: int, size: int, windows: int) -> int:
    """Count as `count_cyclic` for windows that do not wrap around; there are d - width + 1 of them."""
    starts = d - width + 1
    if size == 0:
        return int(windows == starts)
    spans = _linear_spans(d, width)[windows]
    if size == 1:
        return int(spans[0])
    return sum(int(spans[s]) * math.comb(s - 1, size - 2) for s in range(size - 1, d) if spans[s])
