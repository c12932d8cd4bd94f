"""The data, and the dense method of the paper's scripts, written by us with NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
from scipy.spatial.distance import cdist

__all__ = ["LAMBDA_REF", "SCALE", "authors_dense_method", "half_moon_views", "matched_basis_error"]

LAMBDA_REF, SCALE, NOISE = 1e-3, 0.2, 0.1


def half_moon_views(n: int, m: int = 2, seed: int = 0) -> np.ndarray:
    """Half-moons and their views (n, m, 2) with the paper's parameters.

    Angles uniform, points on the unit circle, the right half raised by 1, normal noise; then m noisy views of each.
    """
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x[:, 1] += x[:, 0] > 0
    x += NOISE * rng.standard_normal(x.shape)
    return x[:, None] + NOISE * rng.standard_normal((n, m, 2))


def authors_dense_method(views: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Top k eigenvalues mu and eigenvectors (N, k) of T - lambda K^-1, dense: pseudo-inverse, then all eigenpairs.

    T_ref = kron(I, ones(m, m)) = m T, so T_ref - lambda_ref K^-1 has the eigenvalues m mu at
    lambda = lambda_ref / (m N) (Cabannes et al. 2023 and their scripts' conventions).
    """
    n, m, d = views.shape
    points = views.reshape(n * m, d)
    kernel = np.exp(cdist(points, points) / -SCALE)
    operator = np.kron(np.eye(n), np.ones((m, m))) - LAMBDA_REF * sl.pinvh(kernel)
    values, vectors = sl.eigh(operator)
    return values[::-1][:k] / m, vectors[:, ::-1][:, :k]


def matched_basis_error(a: np.ndarray, b: np.ndarray) -> float:
    """Spectral norm of the difference of the projectors on the columns of a and of b."""
    qa, qb = np.linalg.qr(a)[0], np.linalg.qr(b)[0]
    return float(np.linalg.norm(qa - qb @ (qb.T @ qa), 2))
