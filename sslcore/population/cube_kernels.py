"""Eigenvalues of kernels on the cube {-1, 1}^d that are functions of the Hamming distance.

There k(x, y) = f(u) with u = <x, y> / d = 1 - 2j/d at the Hamming distance j (|x - y|^2 = 2d(1 - u), |x - y|_1 =
d(1 - u)), and K chi_S = nu_h chi_S, h = |S|:

    nu_h = 2^-d sum_j C(d, j) f(1 - 2j/d) Kr_h(j) / C(d, h).

Summed in float64 this is exact to about 1e-16 f(1), and nu_h may be 10^-100 of that.  So it is done in three other
ways, which keep relative digits; the sum is the last resort (`direct`).

* f = sum_n a_n u^n with all a_n >= 0: nu_h = sum_n a_n p_n(h), where u^n = sum_S p_n(|S|) chi_S(x y).  Multiplying by
  u = mean_i x_i y_i adds or takes away one coordinate, hence p_0(h) = 1{h = 0} and
  p_{n+1}(h) = (h/d) p_n(h-1) + (1 - h/d) p_n(h+1): positive terms only, nothing cancels.
* exponentials of u (Gaussian, l1-Laplace: C q^j): the coordinates are independent, nu_h =
  f(1) ((1-q)/2)^h ((1+q)/2)^(d-h).
* coefficients a_n that are not known in closed form (deep networks, Matern) come from f on the complex circle of radius
  r < 1, a_n r^n = the Fourier coefficient: an absolute error near 1e-18 max|f|.

Structural zeros (even or odd f) are exactly 0 wherever the coefficients are known in closed form.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..backends.formulas import evaluate_formula
from ..declarations.registries import ByLaw, has_law
from ..errors import NotPositiveSemidefiniteError
from ..kernels import (
    NNGP,
    NTK,
    ArcCosine,
    Gaussian,
    Kernel,
    L1Exponential,
    Linear,
    Nugget,
    Polynomial,
    Product,
    Profile,
    Scaled,
    Sum,
)

__all__ = ["NotZonalError", "compute_zonal_eigenvalues", "dot_profile", "forget", "zonal_eigenvalues"]


class NotZonalError(ValueError):
    """Raised where a kernel is not known to be a function of the Hamming distance."""


@dataclass(frozen=True)
class DotProfile:
    """f on [-1, 1]: its values (complex ones too), and what is known of its series."""

    value: Callable[[Any], Any]
    series: Callable[[int], np.ndarray] | None = None
    """n -> a_0..a_n to full relative precision, or None: from values."""
    degree: int | None = None
    """Degree of a polynomial; None if f is none."""
    exponential: tuple[float, float] | None = None
    """(f(1), b) if f(u) = f(1) exp(b (u - 1))."""


def zonal_eigenvalues(kernel: Kernel, d: int) -> np.ndarray:
    """Return `compute_zonal_eigenvalues`, kept for the next question (every lambda asks the same); read-only."""
    try:
        return _kept(kernel, d)
    except TypeError:  # a kernel of the user's that is not hashable
        return compute_zonal_eigenvalues(kernel, d)


@functools.lru_cache(maxsize=64)
def _kept(kernel: Kernel, d: int) -> np.ndarray:
    found = compute_zonal_eigenvalues(kernel, d)
    found.setflags(write=False)
    return found


def compute_zonal_eigenvalues(kernel: Kernel, d: int) -> np.ndarray:
    """Return nu_h, h = 0..d, of a kernel that is a function of <x, y> on {-1, 1}^d; others raise `NotZonalError`.

    Relative accuracy is kept down to about 1e-300 for Gaussian, l1-Laplace, polynomial, arc-cosine and one-layer
    kernels, and to about 1e-18 max|f| 2^(1-d) for those of deep networks and Matern kernels; what is below is 0.
    """
    if has_law(kernel, Sum):
        out: np.ndarray = zonal_eigenvalues(kernel.first, d) + zonal_eigenvalues(kernel.second, d)
        return out
    if has_law(kernel, Scaled):
        return kernel.factor * zonal_eigenvalues(kernel.base, d)
    if has_law(kernel, Nugget):
        return np.full(d + 1, math.ldexp(kernel.variance, -d))
    profile = dot_profile(kernel, d)
    if profile.exponential is not None:
        top, rate = profile.exponential
        step = -2.0 * rate / d  # log q
        h = np.arange(d + 1)
        with np.errstate(divide="ignore"):
            odd = np.where(h > 0, h * np.log(-math.expm1(step) / 2), 0.0) if rate > 0 else np.where(h > 0, -np.inf, 0.0)
        out = top * np.exp(odd + (d - h) * math.log1p(math.expm1(step) / 2))
        return out
    found = _by_series(profile, d)
    return _direct(profile, d, repr(kernel)) if found is None else found


# ---------------------------------------------------------------- the profile of a kernel


@ByLaw
def dot_profile(kernel: Any, d: int) -> DotProfile:
    """Return the f with k(x, y) = f(<x, y>/d) on {-1, 1}^d."""
    # of the coordinates themselves, not of angles or of other points made from them
    plain = getattr(type(kernel), "coordinates", None) is Profile.coordinates
    if isinstance(kernel, Profile) and plain and kernel.pair in ("dot", "sqdist", "l1"):
        return _formula(kernel, d)
    raise NotZonalError(
        f"{kernel!r} is not known to be a function of the Hamming distance (dot-product and distance kernels, their "
        f"sums, products and multiples are)"
    )


@dot_profile.register(Scaled)
def _(kernel: Scaled, d: int) -> DotProfile:
    return _scaled(dot_profile(kernel.base, d), kernel.factor)


@dot_profile.register(Sum)
def _(kernel: Sum, d: int) -> DotProfile:
    first, second = dot_profile(kernel.first, d), dot_profile(kernel.second, d)
    series, other = first.series, second.series
    both = None if series is None or other is None else lambda n: series(n) + other(n)
    degree = None if first.degree is None or second.degree is None else max(first.degree, second.degree)
    return DotProfile(lambda u: first.value(u) + second.value(u), both, degree)


@dot_profile.register(Product)
def _(kernel: Product, d: int) -> DotProfile:
    return _product(dot_profile(kernel.first, d), dot_profile(kernel.second, d))


@dot_profile.register(Gaussian)
def _(kernel: Gaussian, d: int) -> DotProfile:
    return _exponential(d / kernel.scale**2)


@dot_profile.register(L1Exponential)
def _(kernel: L1Exponential, d: int) -> DotProfile:
    return _exponential(d / kernel.scale)


@dot_profile.register(Linear)
def _(kernel: Linear, d: int) -> DotProfile:
    return _power(1, 0.0, d)


@dot_profile.register(Polynomial)
def _(kernel: Polynomial, d: int) -> DotProfile:
    return _power(kernel.degree, kernel.offset, d)


def _exponential(rate: float) -> DotProfile:
    return DotProfile(lambda u: np.exp(rate * (u - 1.0)), exponential=(1.0, rate))


def _power(degree: int, offset: float, d: int) -> DotProfile:
    known = [math.comb(degree, n) * float(d) ** n * offset ** (degree - n) for n in range(degree + 1)]
    return DotProfile(lambda u: (d * u + offset) ** degree, lambda n: _padded(known, n), degree)


def _formula(kernel: Profile, d: int) -> DotProfile:
    """Read a declared profile: its expression is Python, and is evaluated on complex numbers too."""
    scale = {"sqdist": 2.0 * d, "l1": float(d)}
    formula, names = kernel.formula, {"exp": np.exp, "sqrt": np.sqrt, "cos2pi": _cos2pi, "real": float}
    names |= kernel._named_constants(kernel.length)

    def value(u: Any) -> Any:
        t = d * u if kernel.pair == "dot" else scale[kernel.pair] * (1.0 - u)
        return evaluate_formula(formula, names | {"t": t})

    return DotProfile(value)


def _cos2pi(t: Any) -> Any:
    return np.cos(2.0 * np.pi * t)


def _scaled(profile: DotProfile, factor: float) -> DotProfile:
    series, exponential = profile.series, profile.exponential
    return replace(
        profile,
        value=lambda u: factor * profile.value(u),
        series=None if series is None else lambda n: factor * series(n),
        exponential=None if exponential is None else (factor * exponential[0], exponential[1]),
    )


def _product(first: DotProfile, second: DotProfile) -> DotProfile:
    def value(u: Any) -> Any:
        return first.value(u) * second.value(u)

    if first.exponential is not None and second.exponential is not None:
        (a, b), (c, e) = first.exponential, second.exponential
        return DotProfile(value, exponential=(a * c, b + e))
    one, other = first.series, second.series
    if one is None or other is None:
        return DotProfile(value)
    degree = None if first.degree is None or second.degree is None else first.degree + second.degree
    return DotProfile(value, lambda n: np.convolve(one(n), other(n))[: n + 1], degree)


def _padded(values: Any, n: int) -> np.ndarray:
    out = np.zeros(n + 1)
    out[: min(len(values), n + 1)] = values[: n + 1]
    return out


# ---------------------------------------------------------------- networks


def _acos(u: Any) -> Any:
    return np.arccos(u if np.iscomplexobj(u) else np.clip(u, -1.0, 1.0))


def _kappa0(u: Any) -> Any:
    return (np.pi - _acos(u)) / np.pi


def _kappa1(u: Any) -> Any:
    square = 1.0 - u * u
    return (np.sqrt(square if np.iscomplexobj(u) else np.maximum(square, 0.0)) + u * (np.pi - _acos(u))) / np.pi


def _arcsine(n: int) -> np.ndarray:
    """Return the coefficients 0..n of asin u: (2k)! / (4^k k!^2 (2k+1)) at 2k+1."""
    out = np.zeros(n + 1)
    k = np.arange(max(0, (n + 1) // 2))
    central = np.cumprod(np.concatenate([[1.0], (2 * k[1:] - 1.0) / (2 * k[1:])])) if len(k) else k.astype(float)
    out[1::2] = central / (2 * k + 1)
    return out


def _kappa0_series(n: int) -> np.ndarray:
    """Return the coefficients 0..n of kappa0(u) = 1/2 + asin(u)/pi."""
    out = _arcsine(n) / np.pi
    out[0] = 0.5
    return out


def _kappa1_series(n: int) -> np.ndarray:
    """Return the coefficients 0..n of kappa1, whose derivative is kappa0, and kappa1(0) = 1/pi."""
    out = np.zeros(n + 1)
    out[1:] = _kappa0_series(n)[:-1] / np.arange(1, n + 1)
    out[0] = 1.0 / np.pi
    return out


def _kappa2_series(n: int) -> np.ndarray:
    """Return the coefficients 0..n of `_kappa2`, whose derivative is 4 kappa1 (Cho and Saul 2009, order 2)."""
    out = np.zeros(n + 1)
    out[1:] = 4.0 * _kappa1_series(n)[:-1] / np.arange(1, n + 1)
    out[0] = 0.5
    return out


def _kappa2(u: Any) -> Any:
    square = 1.0 - u * u
    root = np.sqrt(square if np.iscomplexobj(u) else np.maximum(square, 0.0))
    return (3.0 * root * u + (np.pi - _acos(u)) * (1.0 + 2.0 * u * u)) / np.pi


_ARC_COSINE = {0: (_kappa0, _kappa0_series), 1: (_kappa1, _kappa1_series), 2: (_kappa2, _kappa2_series)}


@dot_profile.register(ArcCosine)
def _(kernel: ArcCosine, d: int) -> DotProfile:
    value, series = _ARC_COSINE[kernel.order]
    return _scaled(DotProfile(value, series), float(d) ** kernel.order)


@dot_profile.register(NNGP)
def _(kernel: NNGP, d: int) -> DotProfile:
    return _network(kernel, d, tangent=False)


@dot_profile.register(NTK)
def _(kernel: NTK, d: int) -> DotProfile:
    return _network(kernel, d, tangent=True)


def _network(kernel: NNGP | NTK, d: int, *, tangent: bool) -> DotProfile:
    """Return the profile of a network on points of squared norm d, u = <x, y>/d, layer by layer (`NTK`)."""
    length = d / kernel.divisor(d)  # <x, x> as the first layer sees it
    half, bias = kernel.weight_variance / 2.0, kernel.bias_variance
    if kernel.depth == 1 and bias == 0.0:

        def shallow(u: Any) -> Any:
            return half * half * length * (_kappa1(u) + (u * _kappa0(u) if tangent else 0.0))

        def shallow_series(n: int) -> np.ndarray:
            out = _kappa1_series(n)
            if tangent:
                out[1:] += _kappa0_series(n)[:-1]
            return half * half * length * out

        return DotProfile(shallow, shallow_series)

    def deep(u: Any) -> Any:
        sigma, diagonal = bias + half * length * u, bias + half * length
        theta = sigma
        for _ in range(kernel.depth):
            rho = sigma / diagonal
            sigma = bias + half * diagonal * _kappa1(rho)
            if tangent:
                theta = sigma + theta * half * _kappa0(rho)
            diagonal = bias + half * diagonal
        return theta if tangent else sigma

    return DotProfile(deep)


# ---------------------------------------------------------------- sums


def _by_series(profile: DotProfile, d: int) -> np.ndarray | None:
    """Return sum_n a_n p_n(h), or None if some a_n is negative, or f has a pole."""
    # beyond n terms only u = +-1 counts: (1 - 2/d)^n d < 1e-17
    n = profile.degree if profile.degree is not None else math.ceil(d / 2 * (40 + math.log(d))) + 64
    if profile.series is None:
        with np.errstate(all="ignore"):
            found = _circle_coefficients(profile, n)
        if found is None:
            return None
        a, floor = found
    else:
        a, floor = profile.series(n), 0.0
    if (a < 0).any():
        return None
    with np.errstate(all="ignore"):
        ends = [float(profile.value(np.float64(u))) for u in (1.0, -1.0)]
    if not np.isfinite(ends).all():
        return None
    h = np.arange(d + 1)
    up, down = h / d, 1.0 - h / d
    p = np.zeros(d + 3)  # p[h + 1]: one zero at either end
    p[1] = 1.0
    nu, weight = np.zeros(d + 1), np.zeros(d + 1)
    for coefficient in a:
        nu += coefficient * p[1:-1]
        if floor:
            weight += p[1:-1]
        p[1:-1] = up * p[:-2] + down * p[2:]
    if profile.degree is None:
        for parity in (0, 1):
            rest = (ends[0] + (-1) ** parity * ends[1]) / 2 - math.fsum(a[parity::2])
            noise = 4e-16 * abs(ends[0])
            if rest > noise:  # sum over n > N of a_n, on the functions of this parity
                nu[parity::2] += math.ldexp(rest, 1 - d)
            elif floor:
                weight[parity::2] += math.ldexp(noise / floor, 1 - d)
    if floor:
        nu[nu < 8 * floor * weight] = 0.0
    return nu


def _circle_coefficients(profile: DotProfile, n: int) -> tuple[np.ndarray, float] | None:
    """Return a_0..a_n and their absolute error from values on a circle; None if one is negative or f not analytic."""
    points = 1 << max(13, (8 * n).bit_length())
    decay = 36.0 / points  # r = exp(-decay): aliases are e^-36 smaller
    angles = 2 * np.pi * np.arange(points // 2 + 1) / points
    u = np.exp(-decay + 1j * angles)
    f = np.asarray(profile.value(u), dtype=np.complex128) * np.ones_like(u)
    if not np.isfinite(f).all():
        return None
    a = np.fft.irfft(f.conj(), points)[: n + 1] * np.exp(decay * np.arange(n + 1))
    top = float(np.abs(f).max())
    floor = 8e-16 * top / math.sqrt(points) * math.exp(decay * n)
    check = float(np.asarray(profile.value(np.float64(0.5))))
    if (a < -8 * floor).any() or abs(np.polynomial.polynomial.polyval(0.5, a) - check) > 1e-10 * top:
        return None
    return np.maximum(a, 0.0), floor


def _direct(profile: DotProfile, d: int, what: str) -> np.ndarray:
    """Sum over distances in float64: the accuracy is absolute, and what is below it is 0."""
    j = np.arange(d + 1)
    log_count = np.array([math.lgamma(d + 1) - math.lgamma(i + 1) - math.lgamma(d - i + 1) for i in j])
    with np.errstate(all="ignore"):
        f = np.asarray(profile.value(1.0 - 2.0 * j / d), dtype=np.float64) * np.ones(d + 1)
    if not np.isfinite(f).all():
        raise ValueError(f"the values of {what} on the cube are not finite")
    weights = np.exp(log_count - d * math.log(2.0)) * f
    nu = np.empty(d + 1)
    before, now = np.zeros(d + 1), np.ones(d + 1)  # Kr_h(j) / C(d, h), h = -1 and 0
    signs = np.where(j % 2 == 0, 1.0, -1.0)
    for h in range(d // 2 + 1):  # beyond, by symmetry: the recurrence loses digits there
        nu[h], nu[d - h] = weights @ now, weights @ (signs * now)
        if h < d:
            before, now = now, ((d - 2 * j) * now - h * before) / (d - h)
    limit = 1e-15 * float(np.abs(weights).sum()) * max(1.0, math.log2(d))
    if nu.min() < -8 * limit:
        raise NotPositiveSemidefiniteError(
            f"{what} is not positive semi-definite on the cube of dimension {d}: the parities of "
            f"{int(nu.argmin())} coordinates have the eigenvalue {nu.min():.3g}",
            float(nu.min()),
        )
    nu[nu < limit] = 0.0
    return nu


def forget() -> None:
    """Empty the store of eigenvalues, for measurements."""
    _kept.cache_clear()
