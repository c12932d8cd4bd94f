"""Moments E psi psi^T and <psi, T psi> of representations on the cube: by enumeration, and without it by identities.

By enumeration: the coefficients c_S = <psi, chi_S> are a Walsh-Hadamard transform of the values, and A acts on them.

Without, for psi = sum_a alpha_a k(., xi_a) + b and k(x, y) = sum_S nu_|S| chi_S(x y): c_S = nu_|S| sum_a alpha_a
chi_S(xi_a) + b 1{S empty}.  Where t depends on h = |S| alone, sum_S nu_h^2 t_h chi_S(x y) is a function of the Hamming
distance j, sum_h nu_h^2 t_h Kr_h(j), hence <psi, T psi> = alpha^T table[j(xi_a, xi_b)] alpha.  A crop changes t only
for
those S that lie in a window: the c_S of all S inside of one window are the transform, of size 2^w, of the sums of alpha
over the centres with equal bits there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import as_array, on_host
from ..augmentations import Augmentation
from ..backends import get_backend
from ..kernels import Kernel
from ..representation import Representation
from .cube_augmentations import crop_widths, eigenvalues, needs
from .cube_kernels import NotZonalError, zonal_eigenvalues
from .cube_sets import Masks, Space, reversals, rotations
from .cube_values import ENUMERATED, points

__all__ = ["moments"]

WINDOW = 16
"""Widest crop of which the 2^w parities of each window are summed."""
TILE = 256, 2048
"""Pairs of centres at a time: their distances stay in the cache."""


def moments(d: int, psi: Any, augmentation: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    """E psi psi^T and <psi, T psi>, (k, k), of values (2^d, k), a `Representation`, or a function of points."""
    if isinstance(psi, Representation):
        if psi.centres is not None and psi.centres.shape[1] != d:
            raise ValueError(
                f"the representation takes points of {psi.centres.shape[1]} coordinates, this is the cube of "
                f"dimension {d}"
            )
        reason = _obstacle(d, psi, augmentation)
        if reason is None:
            return _by_identities(d, psi, augmentation)
        if d > ENUMERATED:
            raise ValueError(f"the exact risk for d = {d} > {ENUMERATED} has no closed form here: {reason}")
    if d > ENUMERATED:
        raise ValueError(f"values at all 2^d points are enumerated up to d = {ENUMERATED} only, found d = {d}")
    if callable(psi):
        step = 1 << 14
        psi = np.concatenate([on_host(psi(points(d, s, min(s + step, 1 << d)))) for s in range(0, 1 << d, step)])
    values = as_array(psi, "psi", ndim=(1, 2), shape_hint="(2^d, k)")
    if len(values) != 1 << d:
        raise ValueError(f"psi must have values at all 2^{d} = {1 << d} points of the cube, found shape {values.shape}")
    c = np.array(values.reshape(len(values), -1), np.float64, order="C")
    get_backend(c).walsh_hadamard(c)
    c /= len(c)
    smooth = _apply(augmentation, c, d)
    return c.T @ c, smooth.T @ smooth


# ---------------------------------------------------------------- by enumeration


def _apply(augmentation: Any, c: np.ndarray, d: int) -> np.ndarray:
    """Coefficients of A f on all parities, for those of f."""
    name = type(augmentation).__name__
    if needs(augmentation) == "parities":
        return eigenvalues(augmentation, Masks(d))[:, None] * c
    masks = np.arange(1 << d, dtype=np.uint32)
    if name == "Compose":  # A1 A2 f
        for part in reversed(augmentation.parts):
            c = _apply(part, c, d)
        return c
    if name == "Mixture":
        parts = zip(augmentation.weights, augmentation.parts, strict=True)
        return sum(w * _apply(part, c, d) for w, part in parts)
    if name == "Reversal":
        return (1.0 - augmentation.p) * c + augmentation.p * c[reversals(masks, d)]
    # Shift: A chi_S = sum_a p_a chi_(S - a), so that chi_S gets the coefficients of S + a
    return sum(p * c[rotations(masks, a, d)] for a, p in enumerate(augmentation.law) if p)


# ---------------------------------------------------------------- by identities


def _obstacle(d: int, psi: Representation, augmentation: Any) -> str | None:
    """Why the identities do not apply; None if they do."""
    if psi.centres is None or not isinstance(psi.model, Kernel):
        return "the model is not a kernel of points"
    try:
        zonal_eigenvalues(psi.model, d)
    except NotZonalError as error:
        return str(error)
    if needs(augmentation) != "parities":
        return f"parities are not eigenfunctions of {augmentation!r}"
    wide = [w for w, _ in crop_widths(augmentation) if WINDOW < w < d]
    return f"the crop's window of {wide[0]} coordinates is wider than {WINDOW}" if wide else None


def _by_identities(d: int, psi: Representation, augmentation: Any) -> tuple[np.ndarray, np.ndarray]:
    x = np.ascontiguousarray(on_host(psi.centres), np.float64)
    if not (np.abs(x) == 1.0).all():
        raise ValueError("the centres of the representation must be points of the cube, with coordinates -1 and 1")
    scale = psi._scale()
    alpha = np.ascontiguousarray(on_host(psi.coefficients) * scale, np.float64)
    intercept = on_host(psi.intercept).astype(np.float64) * scale
    model = psi.model
    assert isinstance(model, Kernel)
    nu = zonal_eigenvalues(model, d)
    every = _Outside(d)
    t = eigenvalues(augmentation, every) ** 2  # of sets in no window: of each size
    second, smooth = _pair_sums(x, alpha, np.stack([_table(nu * nu, d), _table(nu * nu * t, d)]))
    widths = [(w, cyclic) for w, cyclic in crop_widths(augmentation) if w < d]
    if widths:
        smooth += _window_sums(d, x, alpha, nu, augmentation, max(w for w, _ in widths), t)
    mean = nu[0] * alpha.sum(axis=0)
    shift = np.outer(mean, intercept) + np.outer(intercept, mean) + np.outer(intercept, intercept)
    return second + shift, smooth + shift  # constants are invariant


class _Outside(Space):
    """One set of each size that lies in no window of a crop (but the empty one does, and all are in that of d)."""

    def __init__(self, d: int) -> None:
        self.d, self.sizes = d, np.arange(d + 1)

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        starts = self.d if cyclic else self.d - width + 1
        found = np.full(self.d + 1, starts if width == self.d else 0)
        found[0] = starts
        return found


def _table(weights: np.ndarray, d: int) -> np.ndarray:
    """sum_h weights[h] Kr_h(j), j = 0..d."""
    j = np.arange(d + 1)
    signs = np.where(j % 2 == 0, 1.0, -1.0)
    scaled = [math.comb(d, h) * w if w else 0.0 for h, w in enumerate(weights.tolist())]
    out = np.zeros(d + 1)
    before, now = np.zeros(d + 1), np.ones(d + 1)  # Kr_h(j) / C(d, h)
    for h in range(d // 2 + 1):
        out += scaled[h] * now
        if 2 * h != d:
            out += scaled[d - h] * signs * now
        if h < d:
            before, now = now, ((d - 2 * j) * now - h * before) / (d - h)
    return out


def _pair_sums(x: np.ndarray, alpha: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """sum_ab alpha_a table[j(x_a, x_b)] alpha_b^T for each table, (len(tables), k, k)."""
    n, d = x.shape
    signs = x.astype(np.float32)  # scalar products are integers: exact
    same = np.all(tables == tables[0])
    out = np.zeros((len(tables), alpha.shape[1], alpha.shape[1]))
    flipped = [np.ascontiguousarray(table[(d - np.arange(-d, d + 1)) // 2]) for table in tables]  # by <x, y> + d
    height, width = TILE
    for top in range(0, n, height):
        rows = slice(top, top + height)
        for left in range(top, n, width):
            columns = slice(left, left + width)
            index = (signs[rows] @ signs[columns].T + np.float32(d)).astype(np.int32)
            inner = max(0, min(top + height, n) - left)  # columns that are rows too: counted once, others twice
            for i, table in enumerate(flipped[: 1 if same else None]):
                values = table.take(index)
                values[:, inner:] *= 2.0
                out[i] += alpha[rows].T @ (values @ alpha[columns])
    if same:
        out[:] = out[0]
    return (out + out.transpose(0, 2, 1)) / 2


def _window_sums(
    d: int, x: np.ndarray, alpha: np.ndarray, nu: np.ndarray, augmentation: Any, width: int, outside: np.ndarray
) -> np.ndarray:
    """sum over the sets S inside of some window of (t_S - t of a set in none) c_S c_S^T."""
    bits = (x < 0).astype(np.int64)
    sizes = Masks(width).sizes.astype(np.intp)
    fixed = any(not cyclic for _, cyclic in crop_widths(augmentation))
    total = np.zeros((alpha.shape[1], alpha.shape[1]))
    weights = None
    for start in range(d):
        window = (start + np.arange(width)) % d
        if weights is None or fixed:
            space = _Inside(d, window)
            t = eigenvalues(augmentation, space) ** 2
            # each set is met once in every cyclic window that holds it
            weights = (t - outside[sizes]) * nu[sizes] ** 2 / space.windows(width, True)
        place = bits[:, window] @ (1 << np.arange(width))
        sums = np.stack([np.bincount(place, column, 1 << width) for column in alpha.T], axis=1)
        get_backend(sums).walsh_hadamard(sums)
        total += (sums * weights[:, None]).T @ sums
    return total


class _Inside(Space):
    """All sets inside of one window, in the order of their masks there."""

    def __init__(self, d: int, window: np.ndarray) -> None:
        self.d, self.window = d, window
        self.sizes = Masks(len(window)).sizes

    def windows(self, width: int, cyclic: bool) -> np.ndarray:
        d = self.d
        masks = np.arange(1 << len(self.window), dtype=np.uint32)
        restricted: dict[int, int] = {}
        for start in range(d if cyclic else d - width + 1):
            inside = (
                ((self.window - start) % d < width)
                if cyclic
                else (self.window >= start) & (self.window < start + width)
            )
            key = int(inside @ (1 << np.arange(len(self.window))))
            restricted[key] = restricted.get(key, 0) + 1
        found = np.zeros(len(masks), np.intp)
        full = (1 << len(self.window)) - 1
        for key, count in restricted.items():
            found += count * ((masks & np.uint32(full ^ key)) == 0)
        return found
