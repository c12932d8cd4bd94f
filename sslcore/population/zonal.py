"""Functions of the angle on the sphere S^(d-1): multiplicities, Legendre polynomials of dimension d, Funk-Hecke.

On the uniform sphere an operator that commutes with rotations multiplies the harmonics of degree l by one number.  For
the integral operator of a zonal kernel ``k(x, y) = kappa(angle)`` it is (Funk-Hecke)

    ``kappa_l = E[kappa(theta) P_l(cos theta)]``,  theta of density proportional to ``sin^(d-2) theta`` on [0, pi],

with ``P_l(1) = 1`` and ``P_{l+1} = ((2l+d-2) t P_l - l P_{l-1}) / (l+d-2)`` (``P_1 = t``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .ramanujan import ramanujan_sum

__all__ = [
    "bessel_ratios",
    "cyclic_multiplicities",
    "funk_hecke",
    "gaussian_coefficients",
    "hermite_multiplicities",
    "legendre",
    "multiplicities",
    "power_coefficients",
    "rotation_eigenvalues",
]

_PANEL = 48
_MAX_PANELS = 1024
TOLERANCE = 1e-12
"""Absolute error of a Funk-Hecke coefficient, relative to the largest value of the kernel."""


def multiplicities(d: int, degree: int) -> list[int]:
    """Count the harmonics of degree l = 0..degree: N(d, l) = C(l+d-1, d-1) - C(l+d-3, d-1); exact integers.

    Examples
    --------
    >>> from sslcore.population.zonal import multiplicities
    >>> multiplicities(3, 4), multiplicities(2, 3)
    ([1, 3, 5, 7, 9], [1, 2, 2, 2])
    """
    monomials = hermite_multiplicities(d, degree)
    return [count - (monomials[n - 2] if n >= 2 else 0) for n, count in enumerate(monomials)]


def hermite_multiplicities(d: int, degree: int) -> list[int]:
    """Count the monomials of degree l = 0..degree: C(l+d-1, d-1), exact integers, each from the one before.

    Examples
    --------
    >>> from sslcore.population.zonal import hermite_multiplicities
    >>> hermite_multiplicities(3, 4)
    [1, 3, 6, 10, 15]
    """
    counts = [1]
    for n in range(degree):
        counts.append(counts[-1] * (n + d) // (n + 1))
    return counts


def legendre(d: int, degree: int, t: np.ndarray) -> np.ndarray:
    """Return P_0..P_degree of dimension d at the points t of [-1, 1], (degree + 1, len(t)); |P_l| <= 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.population.zonal import legendre
    >>> legendre(3, 2, np.array([0.5]))[:, 0]
    array([ 1.   ,  0.5  , -0.125])
    """
    t = np.asarray(t, float)
    values = np.empty((degree + 1, *t.shape))
    values[0] = 1.0
    if degree:
        values[1] = t
    for n in range(1, degree):
        values[n + 1] = ((2 * n + d - 2) * t * values[n] - n * values[n - 1]) / (n + d - 2)
    return values


@lru_cache(maxsize=1)
def _panel() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_PANEL)


def angles(d: int, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes theta and weights (sum 1) of a composite Gauss rule for the density of angles on S^(d-1).

    In the angle, kernels of distances and of rectifiers are analytic up to both ends: the rule converges geometrically,
    where one in ``t = cos theta`` meets square roots.
    """
    x, w = _panel()
    edges = np.linspace(0.0, np.pi, panels + 1)
    theta = (edges[:-1, None] + (x + 1.0) * (np.pi / (2 * panels))).ravel()
    with np.errstate(under="ignore"):
        weight = np.tile(w, panels) * np.sin(theta) ** (d - 2)
    return theta, weight / weight.sum()


def funk_hecke(profile: Callable[[np.ndarray], np.ndarray], d: int, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients kappa_0..kappa_degree of ``profile(theta)``, and bounds of their errors.

    The rule is refined until two successive ones agree to rounding, or to `TOLERANCE` where refining is no help.  The
    error of rounding is eps times the integral of absolute values (a degree's polynomial has the mean square 1/N(d, l):
    below eps max|kappa| / sqrt(N)).  Coefficients within their error are set to exactly 0.

    Raises
    ------
    ArithmeticError
        If the profile is too rough for the finest rule.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.population.zonal import funk_hecke
    >>> funk_hecke(np.cos, 3, 3)[0].round(12)
    array([0.        , 0.33333333, 0.        , 0.        ])
    """
    panels = max(1, math.ceil((degree + math.sqrt(d)) / 24))
    before: np.ndarray | None = None
    last = math.inf
    steps = np.arange(degree + 1)  # of the recurrence, each of which rounds
    while True:
        theta, weight = angles(d, panels)
        values = np.asarray(profile(theta), float)
        largest = float(np.abs(values).max())
        basis = legendre(d, degree, np.cos(theta))
        found = basis @ (weight * values)
        rounding = (16 + steps) * np.finfo(float).eps * (np.abs(basis) @ (weight * np.abs(values)))
        if before is not None:
            change = np.abs(found - before)
            worst = float(change.max())
            settled = worst <= TOLERANCE * largest and (worst > last / 4 or panels >= _MAX_PANELS)
            if settled or (change <= rounding).all():
                error = np.maximum(change, rounding)
                return np.where(np.abs(found) <= error, 0.0, found), error
            if panels >= _MAX_PANELS:
                raise ArithmeticError(
                    f"the kernel's coefficients on the sphere are known to {worst:.1e} only, "
                    f"{TOLERANCE:.0e} is asked for: as a function of the angle it is not smooth enough (a very small "
                    f"scale, or a jump?)"
                )
            last = worst
        before, panels = found, 2 * panels


def power_coefficients(d: int, power: int) -> np.ndarray:
    """Return E[t^n P_l(t)], n, l = 0..power, (n, l): the coefficients of the powers of <x, y>; all are >= 0.

    By the recurrence of P_l, read as ``t P_l = (l P_{l-1} + (l+d-2) P_{l+1}) / (2l+d-2)``: sums of positive terms, so
    every digit holds, and the zeros (l > n, or l - n odd) are exact.

    Examples
    --------
    >>> from sslcore.population.zonal import power_coefficients
    >>> power_coefficients(3, 2).round(4)
    array([[1.    , 0.    , 0.    ],
           [0.    , 0.3333, 0.    ],
           [0.3333, 0.    , 0.1333]])
    """
    degree = np.arange(power + 1)
    total = np.maximum(2 * degree + d - 2, 1)
    down, up = degree / total, (degree + d - 2) / total
    if d == 2:
        up[0] = 1.0  # t P_0 = P_1
    values = np.zeros((power + 1, power + 2))
    values[0, 0] = 1.0
    for n in range(power):
        values[n + 1, :-1] = up * values[n, 1:]
        values[n + 1, 1:-1] += down[1:] * values[n, :-2]
    return values[:, :-1]


def bessel_ratios(order: float, z: float, count: int) -> np.ndarray:
    """Return I_{order+i}(z) / I_{order+i-1}(z), i = 1..count, for z > 0: numbers in (0, 1), to rounding.

    By the continued fraction ``r_v = 1 / (2 v / z + r_{v+1})``, downwards, where it forgets its start.

    Examples
    --------
    >>> from sslcore.population.zonal import bessel_ratios
    >>> bessel_ratios(0.0, 1.0, 2).round(6)
    array([0.44639 , 0.240194])
    """
    # each step divides the error by (2 v / z + r)^2 >= 1 + 2 v / z, which past v = z is over 3, and below it is
    # about exp(2 v / z): sqrt(40 z) steps do
    start = count + 60 + math.ceil(7.0 * math.sqrt(z))
    v = order + start
    ratio = z / (v + math.hypot(v, z))  # the right size already
    found = np.empty(count)
    for i in range(start - 1, 0, -1):
        ratio = 1.0 / (2.0 * (order + i) / z + ratio)
        if i <= count:
            found[i - 1] = ratio
    return found


def gaussian_coefficients(scale: float, d: int, degree: int) -> np.ndarray:
    """Return the coefficients of exp(-|x - y|^2 / (2 scale^2)), every one to its digits.

    ``exp(-z) Gamma(d/2) (2/z)^(d/2-1) I_{l+d/2-1}(z)`` with z = 1/scale^2: the first by its positive series, or by the
    scaled Bessel function where z is large, the others by ratios.

    Examples
    --------
    >>> from sslcore.population.zonal import gaussian_coefficients
    >>> gaussian_coefficients(1.0, 3, 2).round(12)
    array([0.43233236, 0.13533528, 0.02632651])
    """
    from scipy.special import gammaln, ive

    z, order = 1.0 / scale**2, d / 2 - 1
    if z <= 600.0:
        first = term = 1.0
        n = 0
        while term > 1e-18 * first:
            n += 1
            term *= (z / 2) ** 2 / (n * (n + order))
            first += term
        first *= math.exp(-z)
    else:
        first = math.exp(float(gammaln(d / 2)) + order * math.log(2.0 / z) + math.log(float(ive(order, z))))
    return first * np.concatenate([[1.0], np.cumprod(bessel_ratios(order, z, degree))])


def rotation_eigenvalues(angle: float, d: int, degree: int) -> np.ndarray:
    """Return A on degree l = 0..degree for a rotation by ``angle`` in a uniformly random plane.

    The mean of a rotation's matrix over its conjugates is its normalised trace, whose generating function (Molien) is
    ``(1 - z^2) / ((1-z)^(d-2) (1 - 2 z cos t + z^2)) = (1 + 2 sum_m z^m cos(m t)) / (1-z)^(d-2)``.

    Examples
    --------
    >>> from sslcore.population.zonal import rotation_eigenvalues
    >>> rotation_eigenvalues(0.7, 3, 2).round(6)
    array([1.      , 0.843228, 0.573924])
    """
    cosines = [1.0] + [2.0 * math.cos(m * angle) for m in range(1, degree + 1)]
    if d == 2:
        return np.array([cosines[0]] + [c / 2.0 for c in cosines[1:]])
    count = multiplicities(d, degree)
    ways = [math.comb(n + d - 3, d - 3) for n in range(degree + 1)]
    # ratios of integers, each rounded once
    return np.array([math.fsum(cosines[m] * (ways[n - m] / count[n]) for m in range(n + 1)) for n in range(degree + 1)])


def cyclic_multiplicities(d: int, degree: int) -> list[list[int]]:
    """Return m_l(w), how often the character w of the cyclic shifts occurs in degree l; rows l = 0..degree, columns w.

    ``(1/d) sum_a exp(-2 pi i a w / d) tr_l(shift by a)``; a shift by a has g = gcd(a, d) cycles of length d/g, so that
    its traces are generated by ``(1 - z^2) / (1 - z^(d/g))^g``; the shifts with one g sum to a Ramanujan sum.

    Examples
    --------
    >>> from sslcore.population.zonal import cyclic_multiplicities
    >>> cyclic_multiplicities(3, 3)
    [[1, 0, 0], [1, 1, 1], [1, 2, 2], [3, 2, 2]]
    """
    found = [[0] * d for _ in range(degree + 1)]
    for g in (g for g in range(1, d + 1) if d % g == 0):
        length = d // g
        powers = [math.comb(n // length + g - 1, g - 1) if n % length == 0 else 0 for n in range(degree + 1)]
        traces = [powers[n] - (powers[n - 2] if n >= 2 else 0) for n in range(degree + 1)]
        sums = [ramanujan_sum(length, w) for w in range(d)]
        for row, trace in zip(found, traces, strict=True):
            for w in range(d):
                row[w] += sums[w] * trace
    return [[value // d for value in row] for row in found]
