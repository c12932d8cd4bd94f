"""Labels of eigenfunctions on the cube: from any spelling to the one that the lines have.

A set of coordinates may be given as a tuple, list, set or array in any order; an orbit under shifts and reversal by any
of its sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..arrays import check_integer
from .cube_classes import SubsetClass

__all__ = ["OrbitNames", "SetNames", "canonical", "is_pair", "subset_of"]


def subset_of(subset: Any, d: int) -> tuple[int, ...]:
    """Return a set of coordinates as an increasing tuple."""
    if isinstance(subset, str | bytes) or not isinstance(subset, Iterable):
        raise TypeError(f"a set of coordinates was expected, found {subset!r}")
    try:
        found = sorted(check_integer(i, "a coordinate", minimum=0, maximum=d - 1) for i in subset)
    except TypeError:
        raise TypeError(f"a set of coordinates was expected, found {subset!r}") from None
    if len(set(found)) < len(found):
        raise ValueError(f"a set names each coordinate once, found {subset!r}")
    return tuple(found)


def is_pair(label: Any) -> bool:
    """Tell whether a label looks like (set, j)."""
    return isinstance(label, list | tuple) and len(label) == 2 and isinstance(label[0], Iterable)


def canonical(label: Any, d: int) -> Any:
    """Return a set as an increasing tuple, (set, j) likewise, a class of sets as it is."""
    if isinstance(label, SubsetClass):
        return label
    if is_pair(label):
        return subset_of(label[0], d), check_integer(label[1], "the function's number", minimum=0)
    return subset_of(label, d)


@dataclass(frozen=True)
class SetNames:
    """Labels that are sets."""

    d: int

    def __call__(self, label: Any) -> tuple[int, ...]:
        """Return the set as an increasing tuple."""
        if is_pair(label) or isinstance(label, SubsetClass):
            raise ValueError(f"labels are sets of coordinates here, such as (0,), found {label!r}")
        return subset_of(label, self.d)


@dataclass(frozen=True)
class OrbitNames:
    """Labels (S, j): the least set of an orbit, and the number of one of its functions."""

    d: int
    shifts: bool
    reversals: bool

    def __call__(self, label: Any) -> tuple[tuple[int, ...], int]:
        """Return the least set of the orbit, and j."""
        if not is_pair(label):
            raise ValueError(
                f"labels are pairs (S, j) here, a set and the number of a function of its orbit, such as ((0,), 0), "
                f"found {label!r}"
            )
        first = subset_of(label[0], self.d)
        starts = [first, tuple(sorted(self.d - 1 - i for i in first))] if self.reversals else [first]
        steps = range(self.d if self.shifts else 1)
        orbit = {tuple(sorted((i + step) % self.d for i in start)) for start in starts for step in steps}
        number = check_integer(label[1], f"the number of a function of {first}", minimum=0, maximum=len(orbit) - 1)
        return min(orbit, key=lambda s: sum(1 << i for i in s)), number
