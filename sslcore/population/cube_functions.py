"""Eigenfunctions on the cube, evaluated at points: combinations of a few parities."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..arrays import as_array
from .cube_augmentations import crop_widths, needs
from .cube_blocks import orbit_blocks
from .cube_classes import SubsetClass
from .cube_sets import crop_windows, members
from .lines import PopulationSpectrum

__all__ = ["Eigenfunctions"]

EXAMINED = 1_000_000
"""Most sets that are looked at to find those of a class."""


class Eigenfunctions:
    """Orthonormal eigenfunctions; calling it with points (n, d) of the cube gives (n, k) values.

    Attributes
    ----------
    spectrum : PopulationSpectrum
        Their eigenvalues and labels.
    terms : list of k lists of (set, coefficient)
        Each function as a combination of parities.
    """

    def __init__(self, d: int, augmentation: Any, spectrum: PopulationSpectrum) -> None:
        self.d, self.spectrum = d, spectrum
        labels = spectrum.labels
        if d > 24:
            self.terms = [[(s, 1.0)] for s in _of_classes(d, augmentation, labels)]
        elif needs(augmentation) == "blocks":
            self.terms = _of_blocks(d, augmentation, labels)
        elif len(labels[0]) == 2 and isinstance(labels[0][0], tuple):
            self.terms = [_fourier(d, s, j) for s, j in labels]
        else:
            self.terms = [[(s, 1.0)] for s in labels]

    def __call__(self, x: Any) -> np.ndarray:
        """Return the values f_i(x), (n, k)."""
        x = as_array(x, "x", ndim=2, shape_hint="(n, d)")
        if x.shape[1] != self.d:
            raise ValueError(f"x must have {self.d} coordinates, found shape {x.shape}")
        if not (np.abs(x) == 1).all():
            raise ValueError("x must be points of the cube, with coordinates -1 and 1")
        known: dict[tuple[int, ...], np.ndarray] = {}
        out = np.zeros((len(x), len(self.terms)))
        for i, terms in enumerate(self.terms):
            for subset, coefficient in terms:
                if subset not in known:
                    known[subset] = x[:, list(subset)].prod(axis=1)
                out[:, i] += coefficient * known[subset]
        return out


def _fourier(d: int, subset: tuple[int, ...], j: int) -> list[tuple[tuple[int, ...], float]]:
    """Return sum_t exp(-2 pi i j t / r) chi_(S + t) / sqrt(r), made real."""
    orbit = [subset]
    while (moved := tuple(sorted((i + 1) % d for i in orbit[-1]))) != subset:
        orbit.append(moved)
    r = len(orbit)
    phase = 2 * np.pi * ((j * np.arange(r)) % r) / r
    if 2 * j % r == 0:
        values = np.cos(phase) / np.sqrt(r)
    else:  # sin for j > r/2: the imaginary part of psi_(r - j), up to sign
        values = (np.cos(phase) if 2 * j < r else np.sin(phase)) * np.sqrt(2 / r)
    return list(zip(orbit, values.tolist(), strict=True))


def _of_blocks(d: int, augmentation: Any, labels: tuple[Any, ...]) -> list[list[tuple[tuple[int, ...], float]]]:
    wanted = {s for s, _ in labels}
    vectors: dict[tuple[int, ...], tuple[list[tuple[int, ...]], np.ndarray]] = {}
    masks = {sum(1 << i for i in s): s for s in wanted}
    for sets, t in orbit_blocks(d, augmentation):
        for row in np.flatnonzero(np.isin(sets[:, 0], list(masks))):
            v = np.linalg.eigh(t[row])[1][:, ::-1]
            large = np.argmax(np.abs(v) > 0.5 * np.abs(v).max(axis=0), axis=0)
            v = v * np.sign(v[large, np.arange(v.shape[1])])
            vectors[masks[int(sets[row, 0])]] = [members(int(m)) for m in sets[row]], v
    return [list(zip(vectors[s][0], vectors[s][1][:, i].tolist(), strict=True)) for s, i in labels]


def _of_classes(d: int, augmentation: Any, labels: tuple[SubsetClass, ...]) -> list[tuple[int, ...]]:
    """List as many sets of each class as there are components of it."""
    if any(label.frequency is not None for label in labels):
        raise ValueError("eigenfunctions of shifts are made from enumerated orbits, up to d = 24 only")
    crop = next(iter(crop_widths(augmentation) - {(d, True), (d, False)}), None)
    found: dict[SubsetClass, list[tuple[int, ...]]] = {}
    for label in dict.fromkeys(labels):
        needed = labels.count(label)
        sets = itertools.islice(itertools.combinations(range(d), label.size), EXAMINED)
        fitting = (s for s in sets if crop is None or crop_windows(s, d, *crop) == label.windows)
        found[label] = list(itertools.islice(fitting, needed))
        if len(found[label]) < needed:
            raise ValueError(f"the first {EXAMINED:,} sets of {label} hold too few; ask for fewer components")
    places = {label: iter(sets) for label, sets in found.items()}
    return [next(places[label]) for label in labels]
