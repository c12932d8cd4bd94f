"""Augmentations that no known basis diagonalises: exact blocks of T on the orbits of sets.

Shifts and the reversal permute the parities of an orbit {S + t} (and of its reversed sets); all other parts multiply
each parity by a number.  So A maps the span of an orbit, of at most 2d sets, to itself: T = A^T A is a small symmetric
matrix there.  Kernels that have one eigenvalue on the orbit commute with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import tunables
from ..augmentations import Compose, Mixture, Reversal
from ..declarations.registries import has_law
from ..kernels import Kernel
from .cube_augmentations import eigenvalues, moves, needs
from .cube_labels import OrbitNames
from .cube_sets import Masks, OrbitLabels, reversals, rotations
from .cube_values import is_pooled, kernel_values
from .lines import Lines

__all__ = ["block_lines", "orbit_blocks"]

LARGEST = 20
"""Largest d: 2^20 sets are 26,000 matrices of 40 x 40."""


def orbit_blocks(d: int, augmentation: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield masks (b, r) of orbits of r sets, least first, and the matrices (b, r, r) of T on them."""
    if d > LARGEST:
        raise ValueError(
            f"{augmentation!r} is diagonalised orbit by orbit, over all 2^d sets, up to d = {LARGEST} only, found d "
            f"= {d}"
        )
    shifted, reversed_too = moves(augmentation)
    every = np.arange(1 << d, dtype=np.uint32)
    images = [every, reversals(every, d)] if reversed_too else [every]
    least = every.copy()
    for image in images:
        for shift in range(d if shifted else 1):
            np.minimum(least, rotations(image, shift, d), out=least)
    order = np.argsort(least, kind="stable")  # by orbit, in each by mask
    starts = np.flatnonzero(np.diff(least[order], prepend=np.uint32(1 << d)))
    lengths = np.diff([*starts, len(order)])
    place = np.empty(len(every), np.intp)  # of a set in its orbit
    place[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    for r in np.unique(lengths):
        of_length = starts[lengths == r]
        step = max(1, tunables.CUBE_CHUNK_ENTRIES // int(r) ** 2)
        for first in range(0, len(of_length), step):
            members = order[of_length[first : first + step, None] + np.arange(r)].astype(np.uint32)
            a = _matrix(augmentation, members, place, d)
            yield members, a.transpose(0, 2, 1) @ a


def _matrix(augmentation: Any, members: np.ndarray, place: np.ndarray, d: int) -> np.ndarray:
    """Return the matrix of A on the parities of each orbit: column S holds the coefficients of A chi_S."""
    b, r = members.shape
    if needs(augmentation) == "parities":
        out = np.zeros((b, r, r))
        out[:, np.arange(r), np.arange(r)] = eigenvalues(augmentation, Masks(d, members.ravel())).reshape(b, r)
        return out
    if has_law(augmentation, Compose):
        out = _matrix(augmentation.parts[0], members, place, d)
        for part in augmentation.parts[1:]:
            out = out @ _matrix(part, members, place, d)
        return out
    if has_law(augmentation, Mixture):
        parts = zip(augmentation.weights, augmentation.parts, strict=True)
        return sum((w * _matrix(part, members, place, d) for w, part in parts), np.zeros((b, r, r)))
    if has_law(augmentation, Reversal):
        moves = [(1.0 - augmentation.p, members), (augmentation.p, reversals(members, d))]
    else:  # Shift: chi_S(xi) = chi_(S - a)(x)
        moves = [(p, rotations(members, d - a, d)) for a, p in enumerate(augmentation.law) if p]
    out = np.zeros((b, r, r))
    rows, columns = np.arange(b)[:, None], np.arange(r)[None, :]
    for p, moved in moves:
        out[rows, place[moved], columns] += p  # a permutation: no entry twice
    return out


def block_lines(d: int, augmentation: Any, kernel: Kernel) -> Lines:
    """Return all 2^d lines, labelled (S, i): least set of the orbit, number of the eigenfunction (T decreasing)."""
    if is_pooled(kernel):
        raise ValueError(
            f"{kernel!r} pools: its eigenfunctions are combinations of shifted parities, which {augmentation!r} does "
            "not keep; the two do not commute, so the eigenvalues are no lines in lambda; solve it with "
            "sslcore.pretrain"
        )
    t = np.empty(1 << d)
    kappa, masks, index = np.empty(1 << d), np.empty(1 << d, np.uint32), np.empty(1 << d, np.intp)
    done = 0
    for members, matrix in orbit_blocks(d, augmentation):
        b, r = members.shape
        values = kernel_values(kernel, Masks(d, members.ravel())).reshape(b, r)
        if np.ptp(values, axis=1).max() > 1e-13 * values.max():
            raise ValueError(
                f"{kernel!r} has several eigenvalues on an orbit of sets: it does not commute with {augmentation!r}, "
                "so the eigenvalues are no lines in lambda; solve it empirically with sslcore.pretrain"
            )
        part = slice(done, done + b * r)
        t[part] = np.clip(np.linalg.eigvalsh(matrix)[:, ::-1], 0.0, 1.0).ravel()
        kappa[part] = np.repeat(values[:, 0], r)
        masks[part], index[part] = np.repeat(members[:, 0], r), np.tile(np.arange(r), b)
        done += b * r
    order = np.lexsort((index, masks))
    labels = OrbitLabels(masks[order], index[order])
    return Lines(
        t[order], kappa[order], np.broadcast_to(np.int64(1), len(t)), labels, OrbitNames(d, *moves(augmentation))
    )
