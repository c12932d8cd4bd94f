"""Hermite functions of Gaussian space, sector by sector: T is diagonal, the Gaussian kernel triangular.

Let u = xi / sigma be a standard normal of R^d.  Hermite functions of degree l are l quanta of a harmonic oscillator;
rotations split degree l into one copy of the harmonics of each degree j = l, l - 2, ...  What commutes with rotations
acts on the radial index p alone (l = j + 2 p), once for each of the N(d, j) harmonics: every dimension is a set of
one-dimensional problems.

**The kernel.**  With m = (sigma / scale)^2, ``E[exp(s.u - s^2/2) exp(t.v - t^2/2) k(u, v)]`` over independent u, v is
``C^d exp(A s.s/2 + B s.t + A t.t/2)``, C = (1 + 2m)^(-1/2), B = -A = m / (1 + 2m) (a Gaussian integral).  So

    ``K = C^d exp(A a+.a+ / 2)  B^N  exp(A a.a / 2) = F F*``,  F lower triangular:

a Cholesky factor in closed form, whose entries are single products: nothing is integrated, nothing cancels.  On the
sector j, with ``a+.a+ / 2 |p> = sqrt((p+1)(p+j+d/2)) |p+1>``.

**The pair.**  For f = F w, ``<f, (beta (I - T) + lambda K^-1) f> = w* (beta F*(I - T) F + lambda I) w = |L* w|^2`` and
``||f||^2 = |F w|^2``; hence 1/gamma = 1/(1 - mu) are the squared singular values of ``F L^-*``: the conditioned form.
``T - lambda K^-1`` itself is never made: its entries overflow where the kernel's eigenvalues underflow.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Pair", "Sector", "gaussian_kernel_eigenvalues", "hermite", "kernel_factor", "sector"]

LARGEST = 512
"""Most radial functions of a sector before we give up."""


class Pair(NamedTuple):
    """The Gaussian kernel of width ``scale`` and the noise of correlation ``rho`` under N(0, sigma^2 I) in R^d."""

    scale: float
    sigma: float
    rho: float
    d: int
    reg: float
    beta: float


class Sector(NamedTuple):
    """The first eigenfunctions of one angular degree: radial coefficients in columns, in the Hermite basis."""

    gamma: np.ndarray  # (k,) increasing
    invariance: np.ndarray  # (k,) <f, (I - T) f>
    norms: np.ndarray  # (k,) ||f||_H^2
    functions: np.ndarray  # (size, k) of unit norm
    change: float  # the largest relative change of gamma when the size was last doubled


def gaussian_kernel_eigenvalues(scale: float, sigma: float, d: int, degree: int) -> np.ndarray:
    """Return the Gaussian kernel's eigenvalues under N(0, sigma^2 I) by degree 0..degree, each C(l+d-1, d-1) times.

    With m = (sigma/scale)^2 and s = 1 + 2 m + sqrt(1 + 4 m): ``kappa_l = (2 / s)^(d/2) (2 m / s)^l`` (Rasmussen and
    Williams 2006, section 4.3.1); the eigenfunctions are Hermite's, but of another width than T's.

    Examples
    --------
    >>> from sslcore.population.mehler import gaussian_kernel_eigenvalues
    >>> gaussian_kernel_eigenvalues(1.0, 1.0, 1, 2).round(6)
    array([0.618034, 0.236068, 0.09017 ])
    """
    two = 2.0 * (sigma / scale) ** 2
    whole = 1.0 + two + math.sqrt(1.0 + 2.0 * two)
    out: np.ndarray = (2.0 / whole) ** (d / 2) * (two / whole) ** np.arange(degree + 1)
    return out


def kernel_factor(scale: float, sigma: float, d: int, angular: int, size: int) -> np.ndarray:
    """Return F, lower triangular (size, size), with K = F F^T on the radial functions p < size of the angular degree.

    Examples
    --------
    >>> from sslcore.population.mehler import kernel_factor
    >>> F = kernel_factor(1.0, 1.0, 1, 0, 3)
    >>> round(float((F @ F.T)[0, 0]), 6), round(3**-0.5, 6)  # E k(xi, xi')
    (0.57735, 0.57735)
    """
    from scipy.special import gammaln

    m = (sigma / scale) ** 2
    # B = -A; below the diagonal A^(q-p) (product of the steps p..q-1) / (q-p)!, by logarithms: entries are at most 1
    log_b = math.log(m) - math.log1p(2.0 * m)
    p = np.arange(size)
    half = 0.5 * (gammaln(p + 1.0) + gammaln(p + angular + d / 2))
    q = p[:, None]
    gap = np.maximum(q - p, 0)
    log = half[:, None] - half - gammaln(gap + 1.0) + log_b * (gap + p + angular / 2) - 0.25 * d * math.log1p(2.0 * m)
    with np.errstate(under="ignore"):
        return np.where(q >= p, np.where(gap % 2, -1.0, 1.0) * np.exp(log), 0.0)


def sector(pair: Pair, angular: int, k: int) -> Sector:
    """Return the first k eigenfunctions of (1 - beta) I + beta T - reg K^-1 of one angular degree; reg > 0.

    The number of radial functions is doubled until gamma no longer changes, or by no less than at the doubling before:
    then it is rounding that changes it.

    Raises
    ------
    ArithmeticError
        If `LARGEST` functions do not suffice (a kernel much narrower than the data).
    """
    from scipy.linalg import qr, solve_triangular

    scale, sigma, rho, d, reg, beta = pair
    size = max(32, 1 << (2 * k - 1).bit_length())
    before, change = None, math.inf
    while True:
        factor = kernel_factor(scale, sigma, d, angular, size)
        loss = -np.expm1((angular + 2 * np.arange(size)) * math.log(rho)) if rho > 0 else np.ones(size)
        if rho == 0.0 and angular == 0:
            loss[0] = 0.0
        contrast = np.sqrt(beta * loss)[:, None] * factor
        # R^T R = C^T C + reg I by QR: a Cholesky factor of the sum would round by eps / reg
        lower = qr(np.vstack([contrast, math.sqrt(reg) * np.eye(size)]), mode="r")[0][:size].T
        # the large rows come first, of which small singular values keep their digits; those of the transpose do not
        left, s, _ = np.linalg.svd(solve_triangular(lower, factor.T, lower=True))
        gamma = s[:k] ** -2.0
        if before is not None:
            last, change = change, float(np.max(np.abs(gamma - before) / gamma))
            # what rounding allows; a change may be as small and still be of what is cut off
            small = change <= 1e-12 + np.finfo(float).eps * float((factor**2).sum(axis=1).max()) / reg
            if change <= 1e-12 or (small and (change > 0.1 * last or size >= LARGEST)):
                break
            if size >= LARGEST:
                raise ArithmeticError(
                    f"{size} radial functions do not resolve the kernel of scale {scale:g} under a Gaussian of "
                    f"standard deviation {sigma:g} (the last doubling changed gamma by {change:.1e}); take a larger "
                    f"kernel scale or reg, or fewer components"
                )
        before, size = gamma, 2 * size
    weights = solve_triangular(lower, left[:, :k], lower=True, trans="T")
    functions = factor @ weights / s[:k]
    signs = np.sign(functions[np.abs(functions).argmax(axis=0), np.arange(k)])
    invariance = loss @ functions**2
    return Sector(gamma, invariance, (weights**2).sum(axis=0) / s[:k] ** 2, functions * signs, change)


def hermite(x: np.ndarray, count: int) -> np.ndarray:
    """Return the Hermite functions 0..count-1, orthonormal under N(0, 1), at the points x; (count, len(x)).

    ``h_{l+1} = (x h_l - sqrt(l) h_{l-1}) / sqrt(l+1)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.population.mehler import hermite
    >>> hermite(np.array([2.0]), 3)[:, 0].round(6)
    array([1.     , 2.     , 2.12132])
    """
    values = np.empty((count, *np.shape(x)))
    values[0] = 1.0
    if count > 1:
        values[1] = x
    for n in range(1, count - 1):
        values[n + 1] = (x * values[n] - math.sqrt(n) * values[n - 1]) / math.sqrt(n + 1)
    return values
