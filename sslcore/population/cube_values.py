"""Eigenvalues of any kernel of the cube on given functions: by size, by windows, or by enumeration."""

from __future__ import annotations

import numpy as np

from ..arrays import require_finite
from ..backends import get_backend
from ..errors import NotPositiveSemidefiniteError
from ..gram import gram
from ..kernels import Kernel, Precomputed, Scaled, Sum
from .cube_kernels import NotZonalError, zonal_eigenvalues
from .cube_sets import Masks, Orbits, Sets, Space, rotations

__all__ = ["ENUMERATED", "enumerated_eigenvalues", "kernel_values", "points"]

ENUMERATED = 24
"""Largest d of which all 2^d points are listed."""
CHECKED = 4096
"""Random pairs on which a callable must depend on x y alone."""


def kernel_values(kernel: Kernel, space: Space, *, zonal: bool = False) -> np.ndarray:
    """The eigenvalue of K on each function of ``space``; ``zonal``: refuse unless it depends on |S| alone."""
    if isinstance(kernel, Sum):
        return kernel_values(kernel.first, space, zonal=zonal) + kernel_values(kernel.second, space, zonal=zonal)
    if isinstance(kernel, Scaled):
        return kernel.factor * kernel_values(kernel.base, space, zonal=zonal)
    try:
        return zonal_eigenvalues(kernel, space.d)[space.sizes]
    except NotZonalError as error:
        if isinstance(kernel, Precomputed):  # has no values at points
            raise
        if space.d > ENUMERATED:
            raise NotZonalError(
                f"{error}; whether it is one is found out by enumerating the 2^d points, up to d = {ENUMERATED} only "
                f"(d = {space.d} here)"
            ) from None
    every = enumerated_eigenvalues(kernel, space.d)
    sizes = Masks(space.d).sizes
    means = np.bincount(sizes, every) / np.bincount(sizes)
    if np.abs(every - means[sizes]).max() <= 1e-13 * every.max():
        return means[space.sizes]
    if zonal:
        raise NotZonalError(f"{kernel!r} is not a function of the Hamming distance; give the sets")
    if isinstance(space, Sets):
        return every[[sum(1 << i for i in s) for s in space.sets]]
    if isinstance(space, Orbits):
        moved = every[rotations(np.arange(len(every), dtype=np.uint32), 1, space.d)]
        if np.abs(moved - every).max() > 1e-13 * every.max():
            raise ValueError(
                f"{kernel!r} is not invariant under shifts: it does not commute with this augmentation, so the "
                "eigenvalues "
                f"are no lines in lambda; solve it empirically with sslcore.pretrain"
            )
    return every[space.masks]  # type: ignore[attr-defined]


def points(d: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """The points of the cube number start..stop - 1: x_i = 1 - 2 (bit i of the number), float64."""
    numbers = np.arange(start, 1 << d if stop is None else stop, dtype=np.uint32)
    return 1.0 - 2.0 * ((numbers[:, None] >> np.arange(d, dtype=np.uint32)) & np.uint32(1))


def enumerated_eigenvalues(kernel: Kernel, d: int) -> np.ndarray:
    """Eigenvalues on all chi_S, in the order of masks, of a kernel k(x, y) = g(x y): the transform of g / 2^d.

    That k depends on the product x y alone is checked on random pairs.
    """
    rng = np.random.default_rng(0)
    x, y, z = 1.0 - 2.0 * rng.integers(0, 2, (3, min(CHECKED, 1 << d), d))
    ones = np.ones((1, d))
    g = np.empty(1 << d)
    step = 1 << 16
    for start in range(0, len(g), step):
        g[start : start + step] = gram(kernel, points(d, start, min(start + step, len(g))), ones)[:, 0]
    require_finite(g, "the values of the kernel on the cube")
    number = ((1 - x * y) / 2) @ (1 << np.arange(d))
    one, other = _pairs(kernel, x, y), _pairs(kernel, x * z, y * z)
    scale = 1e-12 * np.abs(g).max()
    if max(np.abs(one - other).max(), np.abs(one - g[number.astype(np.intp)]).max()) > scale:
        raise NotZonalError(
            f"{kernel!r} is not a function of the product of its points on the cube (nor of the Hamming distance): "
            f"parities are not its eigenfunctions; solve it empirically with sslcore.pretrain"
        )
    values = get_backend(g).walsh_hadamard(g) / len(g)
    if values.min() < -1e-12 * np.abs(values).max():
        raise NotPositiveSemidefiniteError(
            f"{kernel!r} is not positive semi-definite on the cube: it has the eigenvalue {values.min():.3g}",
            float(values.min()),
        )
    values[values < 1e-15 * values.max()] = 0.0
    return values


def _pairs(kernel: Kernel, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """k(x_i, y_i), by small Gram matrices."""
    step = 64
    return np.concatenate([gram(kernel, x[i : i + step], y[i : i + step]).diagonal() for i in range(0, len(x), step)])
