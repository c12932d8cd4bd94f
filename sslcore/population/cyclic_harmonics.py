"""Harmonics of one degree and one character of the cyclic shifts, orthonormal, in any dimension."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from .zonal import legendre

__all__ = ["cyclic_basis"]


def cyclic_basis(d: int, degree: int, w: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return poles (R, d) and coefficients (R, count): Z(x) @ coefficients are ``count`` orthonormal harmonics.

    Z are the zonal functions of norm 1 about the poles, sqrt(N(d, l)) P_l(<pole, x>).  Those about the shifts of one
    pole, summed with cos(2 pi a w / d) and with sin(2 pi a w / d), belong to the characters w and -w; these of some
    poles span all ``count`` functions, and a pivoted Cholesky factor of their Gram matrix, which has
    <Z_u, Z_v> = P_l(<u, v>) in it, makes them orthonormal.

    Examples
    --------
    >>> from sslcore.population.cyclic_harmonics import cyclic_basis
    >>> poles, coefficients = cyclic_basis(3, 1, 1, 2)  # of x, y and z those orthogonal to x + y + z
    >>> float(abs(coefficients.T @ poles @ [1.0, 1.0, 1.0]).max()) < 1e-14
    True
    """
    chosen = 2 * count + 4  # more than are needed: the best of them are well apart
    poles = np.random.default_rng([d, degree, w]).standard_normal((chosen, d))
    poles /= np.linalg.norm(poles, axis=1, keepdims=True)
    moved = np.stack([np.roll(poles, a, axis=1) for a in range(d)], axis=1)  # (poles, shifts, d)
    angle = 2 * math.pi * w * np.arange(d) / d
    waves = [np.cos(angle)] if 2 * w in (0, d) else [np.cos(angle), np.sin(angle)]
    gram = legendre(d, degree, np.clip(poles @ moved.reshape(-1, d).T, -1.0, 1.0))[-1].reshape(chosen, chosen, d)
    # <sum_a f(a) Z_{p, a}, sum_b g(b) Z_{q, b}> depends on b - a alone
    turned = np.array([[[f @ np.roll(g, -c) for c in range(d)] for g in waves] for f in waves])
    products = np.einsum("pqc,fgc->pfqg", gram, turned).reshape(chosen * len(waves), -1)
    size = float(np.trace(products)) / len(products)
    factor, pivots, rank, _ = lapack.dpstrf(products / size, tol=1e-10)
    if rank != count:
        raise ArithmeticError(f"degree {degree} has {count} functions of the character {w}, found {rank}")
    best = pivots[:count] - 1
    turn = np.linalg.solve(np.triu(factor[:count, :count]), np.eye(count)) / math.sqrt(size)
    used = np.array([waves[i % len(waves)] for i in best])  # (count, d)
    places = best // len(waves)
    coefficients = (used[:, :, None] * turn[:, None, :]).reshape(count * d, count)
    return moved[places].reshape(count * d, d), coefficients
