"""Eigenvalues of any kernel of the cube on given functions: by size, by windows, or by enumeration."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import tunables
from ..arrays import require_finite
from ..backends import get_backend
from ..declarations.registries import has_law
from ..errors import NotPositiveSemidefiniteError
from ..gram import gram
from ..kernels import Convolutional, Kernel, Precomputed, Scaled, Sum
from .cube_kernels import NotZonalError, zonal_eigenvalues
from .cube_sets import Masks, Orbits, Sets, Space, rotations

__all__ = [
    "ENUMERATED",
    "convolutional_parts",
    "enumerated_eigenvalues",
    "is_pooled",
    "kernel_values",
    "points",
]

ENUMERATED = 24
"""Largest d of which all 2^d points are listed."""
CHECKED = 4096
"""Random pairs on which a callable must depend on x y alone."""


def kernel_values(kernel: Kernel, space: Space, *, zonal: bool = False) -> np.ndarray:
    """Return the eigenvalue of K on each function of ``space``; ``zonal``: refuse unless it depends on |S| alone."""
    if has_law(kernel, Sum):
        out: np.ndarray = kernel_values(kernel.first, space, zonal=zonal) + kernel_values(
            kernel.second, space, zonal=zonal
        )
        return out
    if has_law(kernel, Scaled):
        return kernel.factor * kernel_values(kernel.base, space, zonal=zonal)
    if has_law(kernel, Convolutional):
        if zonal:
            raise NotZonalError(f"{kernel!r} is not a function of the Hamming distance; give the sets")
        try:
            return _convolutional(kernel, space)
        except NotZonalError:
            if is_pooled(kernel) or space.d > ENUMERATED:
                raise
    try:
        out = zonal_eigenvalues(kernel, space.d)[space.sizes]
        return out
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
        out = means[space.sizes]
        return out
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


def _convolutional(kernel: Any, space: Space) -> np.ndarray:
    """Return (N_q(S) / d) nu_|S| of the base kernel on the cube of a patch, times |fhat|^2 of the pooling filter.

    With patches p_i of q coordinates, (1/d) sum_i kappa(p_i(x), p_i(y)) = (1/d) sum_i sum_{S in patch i} nu_|S|
    chi_S(x y).  Pooling by f multiplies the Fourier functions of an orbit by sum_a f(a) exp(-2 pi i a w/d), squared.
    """
    q = kernel.patch
    check_patches(kernel, space.d)
    nu = zonal_eigenvalues(kernel.base, q)
    sizes = np.minimum(space.sizes, q)  # larger sets lie in no patch
    values: np.ndarray = nu[sizes] * (space.windows(q, True) / space.d)
    if kernel.pooling is None:
        return values
    law = pooling_filter(kernel, space.d)
    out: np.ndarray = values * np.abs(space.character(law)) ** 2
    return out


def check_patches(kernel: Any, d: int) -> None:
    """Refuse patches and filters that are too wide."""
    if kernel.patch > d:
        raise ValueError(f"the patch of a convolutional kernel must be at most d = {d}, found {kernel!r}")


def pooling_filter(kernel: Any, d: int) -> tuple[float, ...]:
    """Return f(0), f(1), ...; 1/d for global averages."""
    if isinstance(kernel.pooling, str):
        return (1.0 / d,) * d
    law = tuple(float(f) for f in kernel.pooling)
    if len(law) > d:
        raise ValueError(f"the pooling filter must have at most d = {d} entries, found {len(law)}")
    return law


def convolutional_parts(kernel: Any) -> list[Any]:
    """List the convolutional kernels of which it is a sum of multiples."""
    if has_law(kernel, Sum):
        return convolutional_parts(kernel.first) + convolutional_parts(kernel.second)
    if has_law(kernel, Scaled):
        return convolutional_parts(kernel.base)
    return [kernel] if has_law(kernel, Convolutional) else []


def is_pooled(kernel: Any) -> bool:
    """Tell whether its eigenfunctions are the Fourier functions of orbits, and not all parities."""
    return any(part.pooling is not None for part in convolutional_parts(kernel))


def points(d: int, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Make the points start..stop - 1 of the cube: x_i = 1 - 2 (bit i of the number), float64."""
    numbers = np.arange(start, 1 << d if stop is None else stop, dtype=np.uint32)
    return 1.0 - 2.0 * ((numbers[:, None] >> np.arange(d, dtype=np.uint32)) & np.uint32(1))


def enumerated_eigenvalues(kernel: Kernel, d: int) -> np.ndarray:
    """Return the eigenvalues on all chi_S, in the order of masks, of a kernel k(x, y) = g(x y): g's transform / 2^d.

    That k depends on the product x y alone is checked on random pairs.
    """
    rng = np.random.default_rng(0)
    x, y, z = 1.0 - 2.0 * rng.integers(0, 2, (3, min(CHECKED, 1 << d), d))
    ones = np.ones((1, d))
    g = np.empty(1 << d)
    step = tunables.CUBE_ENUMERATED_POINTS
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
    """Return k(x_i, y_i), by small Gram matrices."""
    step = 64
    return np.concatenate([gram(kernel, x[i : i + step], y[i : i + step]).diagonal() for i in range(0, len(x), step)])
