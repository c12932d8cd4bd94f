"""Eigenvalues of one's own T on the cube: by sets of coordinates, and by their sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import check_integer
from ..augmentations import BitFlip
from ..kernels import Kernel
from .base import Domain
from .cube_classes import ClassNames, SubsetClass
from .cube_labels import OrbitNames, SetNames, is_pair, subset_of
from .cube_sets import Masks, OrbitLabels, Orbits, Sets, SubsetLabels
from .cube_values import ENUMERATED, is_pooled, kernel_values
from .given import Eigenvalues
from .lines import Label, Lines

__all__ = ["lines_given", "select_given"]

NEUTRAL = BitFlip(0.0)
"""T = I."""


def _read(given: Eigenvalues, d: int) -> tuple[np.ndarray, dict[tuple[int, ...], float]]:
    """Return the eigenvalue of each size (d + 1,), and those of the sets that are named."""

    def spelled(label: Label) -> Label:
        if isinstance(label, tuple | list | frozenset):
            return subset_of(label, d)
        return check_integer(label, "the size of sets", minimum=0, maximum=d)

    named = given.named(spelled)
    sizes = np.full(d + 1, given.rest)
    for label, value in named.items():
        if isinstance(label, int):
            sizes[label] = value
    return sizes, {label: value for label, value in named.items() if isinstance(label, tuple)}


def lines_given(d: int, given: Eigenvalues, kernel: Kernel) -> Lines:
    """Return the lines of all sets, or of the classes of sets of one size beyond `ENUMERATED` dimensions."""
    by_size, by_set = _read(given, d)
    pooled = is_pooled(kernel)
    if by_set and (pooled or d > ENUMERATED):
        first = next(iter(by_set))
        why = "pooling mixes the sets of an orbit" if pooled else f"d = {d} has classes of sets only"
        raise ValueError(f"eigenvalues must be given by the sizes of sets here, found one for {first}: {why}")
    if d > ENUMERATED:
        space = Sets(d, [tuple(range(h)) for h in range(d + 1)])
        counts = np.array([math.comb(d, h) for h in range(d + 1)], object)
        labels = [SubsetClass(h, None) for h in range(d + 1)]
        return Lines(by_size, kernel_values(kernel, space, zonal=True), counts, labels, ClassNames(d, None, False))
    masks = Orbits(d) if pooled else Masks(d)
    t = by_size[masks.sizes]
    for label, value in by_set.items():
        t[sum(1 << i for i in label)] = value
    names = OrbitLabels(masks.masks, masks.index) if isinstance(masks, Orbits) else SubsetLabels(masks.masks)
    spelling = OrbitNames(d, True, False) if pooled else SetNames(d)
    return Lines(t, kernel_values(kernel, masks), np.broadcast_to(np.int64(1), len(t)), names, spelling)


def select_given(domain: Domain, given: Eigenvalues, kernel: Any, labels: list[Label]) -> Lines:
    """Return the lines of the given labels, in this order."""
    found = domain.select(NEUTRAL, kernel, labels)
    by_size, by_set = _read(given, domain.d)  # type: ignore[attr-defined]

    def value(label: Label) -> float:
        if isinstance(label, SubsetClass):
            return float(by_size[label.size])
        members = label[0] if is_pair(label) else label
        return by_set.get(members, float(by_size[len(members)]))

    t = np.array([value(label) for label in found.labels])
    return Lines(t, found.kernel, found.multiplicity, found.labels, found.spelling)
