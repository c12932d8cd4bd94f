"""Fourier series on the torus [0, 1]^d: coefficients of kernels that are products over coordinates, and their order.

A frequency w of Z^d and all its permutations and changes of signs have one eigenvalue, since the kernels here treat
all coordinates alike and are even.  Such a *class* is named by the nonzero |w_c| in decreasing order: ``()`` the
constant, ``(1,)`` the 2 d functions of one coordinate and frequency 1, ``(2, 1)``, and so on, in any dimension.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .zonal import bessel_ratios

__all__ = ["Coefficients", "ProductKernel", "class_size", "walk"]

Class = tuple[int, ...]


class Coefficients:
    """Fourier coefficients of an even function of one circle: ``self[w]``, w >= 0; nonnegative.

    ``self.bound(w)`` is at least every coefficient from w on; it does not increase.
    """

    def __getitem__(self, w: int) -> float:
        raise NotImplementedError

    def bound(self, w: int) -> float:
        """Return a bound of all coefficients from w on: the coefficient itself, as the sequence decreases."""
        return self[w]

    def first(self, count: int) -> np.ndarray:
        """Return the coefficients 0..count-1."""
        return np.array([self[w] for w in range(count)])


@dataclass(frozen=True)
class WrappedGaussian(Coefficients):
    """Coefficients of sum_n exp(-(x + n)^2 / (2 s^2)): sqrt(2 pi) s exp(-2 pi^2 s^2 w^2), by Poisson's formula.

    Examples
    --------
    >>> from sslcore.population.fourier import WrappedGaussian
    >>> round(WrappedGaussian(0.1)[1], 12)
    0.205761273683
    """

    scale: float

    def __getitem__(self, w: int) -> float:
        return math.sqrt(2 * math.pi) * self.scale * math.exp(-2 * (math.pi * self.scale * w) ** 2)


@dataclass(frozen=True)
class VonMisesSeries(Coefficients):
    """Coefficients of exp((cos 2 pi x - 1) / s^2): exp(-z) I_w(z), z = 1 / s^2, scaled so that nothing overflows.

    Examples
    --------
    >>> from sslcore.population.fourier import VonMisesSeries
    >>> round(VonMisesSeries(1.0)[2], 12), round(VonMisesSeries(1e-4)[0] / 1e-4, 6)  # -> scale / sqrt(2 pi)
    (0.049938776894, 0.398942)
    """

    scale: float

    def __getitem__(self, w: int) -> float:
        if math.hypot(w, 1.0 / self.scale**2) > _LARGE:
            return _debye(w, 1.0 / self.scale**2)
        return float(_von_mises(self.scale, max(64, 1 << w.bit_length()))[w])


_LARGE = 2.0**16
"""sqrt(w^2 + z^2) from which Debye's expansion has all digits but one or two."""


def _debye(w: int, z: float) -> float:
    """Return exp(-z) I_w(z) for large p = sqrt(w^2 + z^2), uniformly in w and z.

    exp(p - z - w asinh(w / z)) / sqrt(2 pi p) (1 + u_1 + u_2 + O(p^-3)), with t = w / p, u_1 = (3 - 5 t^2) / (24 p) and
    u_2 = (81 - 462 t^2 + 385 t^4) / (1152 p^2) (DLMF 10.41.3).
    """
    p = math.hypot(w, z)
    square = (w / p) ** 2
    exponent = w * (w / (p + z) - math.asinh(w / z))
    series = 1.0 + (3 - 5 * square) / (24 * p) + (81 - 462 * square + 385 * square**2) / (1152 * p**2)
    return math.exp(exponent) / math.sqrt(2 * math.pi * p) * series


@lru_cache(maxsize=64)
def _von_mises(scale: float, count: int) -> np.ndarray:
    from scipy.special import ive

    z = 1.0 / scale**2
    with np.errstate(under="ignore"):
        return float(ive(0, z)) * np.concatenate([[1.0], np.cumprod(bessel_ratios(0.0, z, count))])


@dataclass(frozen=True)
class ExponentialSeries(Coefficients):
    """Coefficients of exp(-|x| / s), |x| <= 1/2: 2 s (1 - (-1)^w exp(-1/(2s))) / (1 + 4 pi^2 s^2 w^2).

    Examples
    --------
    >>> from sslcore.population.fourier import ExponentialSeries
    >>> ExponentialSeries(0.1).first(3).round(12)
    array([0.19865241, 0.14435752, 0.07702283])
    """

    scale: float

    def __getitem__(self, w: int) -> float:
        edge = -0.5 / self.scale  # 1 - exp(edge) by expm1: no digit is lost where the circle is short
        top = 1.0 + math.exp(edge) if w % 2 else -math.expm1(edge)
        return 2 * self.scale * top / (1.0 + (2 * math.pi * self.scale * w) ** 2)

    def bound(self, w: int) -> float:
        return max(self[w], self[w + 1])  # each parity decreases


@dataclass(frozen=True)
class Constant(Coefficients):
    """Coefficients of a constant function."""

    value: float

    def __getitem__(self, w: int) -> float:
        return self.value if w == 0 else 0.0


@dataclass(frozen=True)
class Convolved(Coefficients):
    """Coefficients of a product of two functions: the convolution of theirs, which decreases where both do."""

    a: Coefficients
    b: Coefficients

    def __getitem__(self, w: int) -> float:
        if w > _WIDEST:
            raise ValueError(f"products of kernels have closed forms up to the frequency {_WIDEST}, found {w}")
        return float(_convolved(self.a, self.b, max(64, 1 << w.bit_length()))[w])

    def bound(self, w: int) -> float:
        return max(self[v] for v in range(w, w + 2))


_WIDEST = 2**13


@lru_cache(maxsize=64)
def _convolved(a: Coefficients, b: Coefficients, count: int) -> np.ndarray:
    reach = count  # beyond the last nonzero coefficient of either, or as far as the tails matter
    while reach < 2**14 and min(a.bound(reach), b.bound(reach)) > 1e-17 * a[0] * b[0]:
        reach *= 2
    wide = np.concatenate([a.first(reach + count)[:0:-1], a.first(reach + count)])
    narrow = np.concatenate([b.first(reach)[:0:-1], b.first(reach)])
    centre = reach + count - 1
    return np.array([narrow @ wide[centre + w - reach + 1 : centre + w + reach] for w in range(count + 1)])


@dataclass(frozen=True)
class ProductKernel:
    """A kernel sum_i weight_i prod_c g_i(x_c - y_c): on the frequency w, sum_i weight_i prod_c ghat_i(w_c)."""

    d: int
    terms: tuple[tuple[float, Coefficients], ...]

    def eigenvalue(self, label: Class) -> float:
        """Return the eigenvalue on a class of frequencies."""
        return self._sum(label, lambda series, w: series[w])

    def bound(self, label: Class) -> float:
        """Bound the eigenvalues of all classes whose sorted entries are all at least those of ``label``."""
        return self._sum(label, lambda series, w: series.bound(w))

    def _sum(self, label: Class, value: Any) -> float:
        total = 0.0
        for weight, series in self.terms:
            rest = self.d - len(label)
            total += weight * value(series, 0) ** rest * math.prod(value(series, w) for w in label)
        return total


def class_size(d: int, label: Class) -> int:
    """Count the frequencies of a class: permutations and signs.

    Examples
    --------
    >>> from sslcore.population.fourier import class_size
    >>> class_size(3, ()), class_size(3, (1,)), class_size(3, (2, 1))
    (1, 6, 24)
    """
    size, left = 1 << len(label), d
    for w in set(label):
        size *= math.comb(left, label.count(w))
        left -= label.count(w)
    return size


def walk(d: int, score: Any) -> Iterator[tuple[float, Class, Any]]:
    """Yield classes lazily, by decreasing score: (score, class, function that queues the class's children).

    ``score(label)`` must not grow when entries do.  Only classes whose parents (last entry less by one) were expanded
    are met, each once.
    """
    heap: list[tuple[float, Class]] = [(-score(()), ())]
    while heap:
        negative, label = heapq.heappop(heap)

        def expand(label: Class = label) -> None:
            if len(label) < d:
                child = (*label, 1)
                heapq.heappush(heap, (-score(child), child))
            if label and (len(label) == 1 or label[-1] < label[-2]):
                child = (*label[:-1], label[-1] + 1)
                heapq.heappush(heap, (-score(child), child))

        yield -negative, label, expand
