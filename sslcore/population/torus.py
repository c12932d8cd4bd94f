"""The uniform torus [0, 1]^d: everything that is invariant to translations is diagonal in the Fourier functions."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, as_array, check_integer
from ..augmentations import Compose, GaussianNoise, Mixture
from ..declarations.parameters import integer
from ..declarations.registries import has_law
from ..kernels import Kernel, Nugget, PeriodicGaussian, Product, Scaled, Sum, VonMises, as_kernel
from .base import functions_of_classes
from .fitted import FittedDomain
from .fourier import Coefficients, Convolved, ProductKernel, VonMisesSeries, WrappedGaussian, class_size, walk
from .given import Eigenvalues, lines_of, select_of
from .lines import TIE, Label, Lines

__all__ = ["Torus"]

_MOST_CLASSES = 200_000
_MOST_UNORDERED = 20_000


@dataclass(frozen=True)
class Torus(FittedDomain):
    r"""The uniform distribution on the torus [0, 1]^d; coordinates count modulo 1.

    On the Fourier function of frequency w in Z^d,

    ==================================  ==========================================================
    `GaussianNoise(e)`                  A = exp(-2 pi^2 e^2 |w|^2), T = A^2
    `PeriodicGaussian(s)` kernel        prod_c sqrt(2 pi) s exp(-2 pi^2 s^2 w_c^2)
    `VonMises(s)` kernel                prod_c exp(-1/s^2) I_{w_c}(1/s^2)
    ==================================  ==========================================================

    `Compose` multiplies the A and `Mixture` averages them; sums, products and multiples of kernels are what they are.

    Parameters
    ----------
    d : int
        Number of coordinates; >= 1.

    Notes
    -----
    Permutations and signs of a frequency have one eigenvalue.  Labels are these classes: the nonzero |w_c| in
    decreasing order, so ``()`` is the constant, ``(1,)`` the 2 d functions of one coordinate with frequency 1, and
    ``(2, 1)`` is met from d = 2 on.  Z^d is enumerated lazily in decreasing order of bounds, in any dimension.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> from sslcore.augmentations import GaussianNoise
    >>> from sslcore.kernels import PeriodicGaussian
    >>> from sslcore.population import Torus
    >>> s = Torus(1).spectrum(GaussianNoise(0.1), PeriodicGaussian(0.1), reg=1e-3, n_components=5)
    >>> s.labels, s.eigenvalues.round(6)
    (((), (1,), (1,), (2,), (2,)), array([0.996011, 0.668965, 0.668965, 0.197367, 0.197367]))
    """

    d: int = integer("number of coordinates", minimum=1)

    # ------------------------------------------------------------ eigenvalues

    def augmentation_eigenvalues(self, augmentation: Any, frequencies: Any) -> np.ndarray:
        """Return the eigenvalues of T on the frequencies (n, d), or (n,) for d = 1.

        Examples
        --------
        >>> from sslcore.augmentations import GaussianNoise
        >>> from sslcore.population import Torus
        >>> Torus(2).augmentation_eigenvalues(GaussianNoise(0.1), [[0, 0], [1, 0], [-1, 1]]).round(4)
        array([1.    , 0.6738, 0.454 ])
        """
        noises = _noises(augmentation)
        return np.array([_smoothing(noises, label) for label in self._classes(frequencies)])

    def kernel_eigenvalues(self, kernel: Any, frequencies: Any) -> np.ndarray:
        """Return the eigenvalues of K on the frequencies (n, d), or (n,) for d = 1.

        Examples
        --------
        >>> from sslcore.kernels import VonMises
        >>> from sslcore.population import Torus
        >>> Torus(1).kernel_eigenvalues(VonMises(1.0), [0, 1, -1]).round(6)
        array([0.46576, 0.20791, 0.20791])
        """
        product = self._product(kernel)
        return np.array([product.eigenvalue(label) for label in self._classes(frequencies)])

    def _classes(self, frequencies: Any) -> list[tuple[int, ...]]:
        rows = np.asarray(frequencies)
        if rows.ndim == 1 and self.d == 1:
            rows = rows[:, None]
        if rows.ndim != 2 or rows.shape[1] != self.d or rows.dtype.kind not in "iu":
            raise ValueError(
                f"frequencies must be integers of shape (n, {self.d}), found {rows.dtype} of shape {rows.shape}"
            )
        return [self.canonical(tuple(row)) for row in rows.tolist()]

    def _product(self, kernel: Any) -> ProductKernel:
        terms = tuple(_terms(as_kernel(kernel), self.d))
        if not terms:
            raise TypeError(f"the operator of {kernel!r} is zero on the torus; add another kernel to it")
        return ProductKernel(self.d, terms)

    # ------------------------------------------------------------ lines

    def lines(  # noqa: D102
        self, augmentation: Any, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0
    ) -> Lines:
        if kernel is None and reg == 0:  # without a penalty none is needed, and any will do
            kernel = PeriodicGaussian(1.0)
        if isinstance(augmentation, Eigenvalues):
            return lines_of(self, GaussianNoise(0.0), augmentation, kernel, n, reg)
        noises, product = _noises(augmentation), self._product(kernel)
        if not reg and (beta == 0 or all(variance == 0 for _, variance in noises)):
            raise ValueError(
                f"without a penalty (reg=0{'' if reg is not None else ', or for all values of reg at once'}) and "
                f"without noise, all frequencies are equally good; take reg > 0, or name the labels"
            )
        classes = self._first(noises, product, n, reg, beta) if reg is not None else self._kept(noises, product, n)
        return self._lines_of(noises, product, classes)

    def _first(self, noises: Noises, product: ProductKernel, n: int, reg: float, beta: float) -> list[tuple[int, ...]]:
        """Collect classes until n components are above all that is left."""

        def value(t: float, kappa: float) -> float:
            if reg == 0:  # the order of T, whatever is added to it
                return t
            return (1.0 - beta) + beta * t - (reg / kappa if kappa > 0 else math.inf)

        largest = math.factorial(min(self.d, 20)) << min(self.d, 64)  # functions of one class
        if n > _MOST_CLASSES * largest:
            raise self._too_many(n)
        margin = 4 * TIE * (abs(1.0 - beta) + beta) if reg > 0 else 0.0
        found: list[tuple[int, ...]] = []
        waiting: list[tuple[float, int]] = []
        settled = met = unordered = 0
        for bound, label, expand in walk(self.d, lambda c: value(_smoothing(noises, c), product.bound(c))):
            while waiting and -waiting[0][0] > bound + margin:
                settled += heapq.heappop(waiting)[1]
            if settled >= n or (bound == -math.inf and met >= n):
                break
            # classes that are outside of the RKHS, or all equal to rounding, have no order
            unordered += bound == -math.inf or (reg == 0 and bound == 0.0)
            if len(found) == _MOST_CLASSES or unordered > _MOST_UNORDERED:
                raise self._too_many(n)
            found.append(label)
            mu = value(_smoothing(noises, label), product.eigenvalue(label))
            size = class_size(self.d, label)
            met += size
            heapq.heappush(waiting, (-mu, size))
            expand()
        return found

    def _kept(self, noises: Noises, product: ProductKernel, n: int) -> list[tuple[int, ...]]:
        """Keep the classes that have fewer than n components above them in both T and K."""
        found: list[tuple[int, ...]] = []
        smoothing = np.empty(1024)
        kernel = np.empty(1024)
        sizes = np.empty(1024)
        for t, label, expand in walk(self.d, lambda c: _smoothing(noises, c)):
            count = len(found)
            above = (smoothing[:count] > t) & (kernel[:count] > product.bound(label))
            if sizes[:count][above].sum() >= n:
                continue  # and so are all its children
            if count == len(sizes):
                smoothing, kernel, sizes = (np.concatenate([a, np.empty_like(a)]) for a in (smoothing, kernel, sizes))
            if count == _MOST_CLASSES // 10:
                raise self._too_many(n)
            found.append(label)
            smoothing[count], kernel[count], sizes[count] = (
                t,
                product.eigenvalue(label),
                min(n, class_size(self.d, label)),
            )
            expand()
        return found

    def _too_many(self, n: int) -> ValueError:
        return ValueError(
            f"the first {n} components on the torus of dimension {self.d} are not among the first {_MOST_CLASSES} "
            f"classes of frequencies, or there is no order among them: too many are outside of the RKHS, or equal, up "
            f"to rounding; take a larger reg, fewer components, or name the labels"
        )

    def _lines_of(self, noises: Noises, product: ProductKernel, classes: list[tuple[int, ...]]) -> Lines:
        return Lines(
            np.array([_smoothing(noises, label) for label in classes]),
            np.array([product.eigenvalue(label) for label in classes]),
            np.array([class_size(self.d, label) for label in classes], object),
            classes,
        )

    def select(self, augmentation: Any, kernel: Any, labels: Iterable[Label]) -> Lines:
        """Return the lines of the given labels, in this order."""
        if isinstance(augmentation, Eigenvalues):
            return select_of(self, GaussianNoise(0.0), augmentation, kernel, labels)
        return self._lines_of(_noises(augmentation), self._product(kernel), [self.canonical(label) for label in labels])

    def canonical(self, label: Label) -> tuple[int, ...]:
        """Return the class of a frequency: its nonzero |w_c| in decreasing order; w stands for (w,)."""
        entries = label if isinstance(label, list | tuple | np.ndarray) else [label]
        found = [abs(check_integer(w, "a frequency", minimum=-(2**40), maximum=2**40)) for w in entries]
        found = sorted((w for w in found if w), reverse=True)
        if len(found) > self.d:
            raise ValueError(f"a frequency on this torus has {self.d} entries, found {label!r}")
        return tuple(found)

    def harmonics(self, label: Label) -> Callable[[Array], Array]:
        """Make an orthonormal basis of a class: x (n, d) -> (n, size), sqrt(2) cos(2 pi w.x) and sqrt(2) sin(2 pi w.x).

        Examples
        --------
        >>> from sslcore.population import Torus
        >>> Torus(1).harmonics(1)([[0.0], [0.25]]).round(4) + 0.0
        array([[1.4142, 0.    ],
               [0.    , 1.4142]])
        """
        name = self.canonical(label)
        if class_size(self.d, name) > 4096:
            raise ValueError(f"the class {name} has {class_size(self.d, name)} functions, more than 4096")
        entries = [*name, *[0] * (self.d - len(name))]
        signed = {
            tuple(sign * w for sign, w in zip(signs, order, strict=True))
            for order in set(itertools.permutations(entries))
            for signs in itertools.product((1, -1), repeat=self.d)
        }
        half = sorted((w for w in signed if w > tuple(-v for v in w)), reverse=True)  # one of w and -w

        def function(x: Array) -> Array:
            x = as_array(x, "x", ndim=2, shape_hint=f"(n, {self.d})").astype(np.float64)
            if not half:
                return np.ones((len(x), 1))
            angle = 2 * np.pi * ((x - np.rint(x)) @ np.array(half, float).T)
            return math.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=2).reshape(len(x), -1)

        return function

    def eigenfunctions(
        self, augmentation: Any, kernel: Any, *, reg: float, beta: float = 1.0, n_components: int
    ) -> Callable[[Array], Array]:
        """Make the first eigenfunctions of T_lambda, orthonormal: x (n, d) -> (n, k), in the order of `spectrum`.

        For each class the first functions of `harmonics`, as many as ``n_components`` takes of it.

        Examples
        --------
        >>> from sslcore.augmentations import GaussianNoise
        >>> from sslcore.kernels import PeriodicGaussian
        >>> from sslcore.population import Torus
        >>> f = Torus(1).eigenfunctions(GaussianNoise(0.1), PeriodicGaussian(0.1), reg=1e-3, n_components=3)
        >>> f([[0.0], [0.25]]).round(4) + 0.0
        array([[1.    , 1.4142, 0.    ],
               [1.    , 0.    , 1.4142]])
        """
        spectrum = self.spectrum(augmentation, kernel, reg=reg, beta=beta, n_components=n_components)
        return functions_of_classes(spectrum.labels, self.harmonics)

    # ------------------------------------------------------------ fitted representations

    def _grams(self, kernel: Kernel, augmentation: Any, centres: np.ndarray) -> tuple[Any, Any, Any]:
        noises, product = _noises(augmentation), self._product(kernel)
        gram = smooth = np.zeros((len(centres), len(centres)))
        for (a, first), (b, second) in itertools.product(product.terms, repeat=2):
            pair = _series(first, second)
            gram = gram + a * b * _products(pair, centres)
            for (p, v), (q, u) in itertools.product(noises, repeat=2):
                decay = np.exp(-2 * (np.pi * np.arange(len(pair))) ** 2 * (v + u))
                smooth = smooth + a * b * p * q * _products(pair * decay, centres)
        return gram, smooth, np.full(len(centres), product.eigenvalue(()))


Noises = list[tuple[float, float]]
"""A = sum_i weight_i exp(-2 pi^2 variance_i |w|^2)."""


def _noises(augmentation: Any) -> Noises:
    if has_law(augmentation, GaussianNoise):
        return [(1.0, augmentation.scale**2)]
    if has_law(augmentation, Compose):
        found = [(1.0, 0.0)]
        for part in augmentation.parts:
            found = [(p * q, v + u) for (p, v), (q, u) in itertools.product(found, _noises(part))]
        return found
    if has_law(augmentation, Mixture):
        parts = zip(augmentation.weights, augmentation.parts, strict=True)
        return [(weight * p, v) for weight, part in parts for p, v in _noises(part)]
    raise TypeError(f"on the torus, GaussianNoise, Compose and Mixture have closed forms, found {augmentation!r}")


def _smoothing(noises: Noises, label: tuple[int, ...]) -> float:
    """Return the eigenvalue of T on a class."""
    square = 2 * math.pi**2 * sum(w * w for w in label)
    return sum(weight * math.exp(-square * variance) for weight, variance in noises) ** 2


def _terms(kernel: Kernel, d: int) -> list[tuple[float, Coefficients]]:
    if has_law(kernel, Nugget):
        return []
    if has_law(kernel, PeriodicGaussian):
        return [(1.0, WrappedGaussian(kernel.scale))]
    if has_law(kernel, VonMises):
        return [(1.0, VonMisesSeries(kernel.scale))]
    if has_law(kernel, Scaled):
        return [(kernel.factor * weight, series) for weight, series in _terms(kernel.base, d)]
    if has_law(kernel, Sum):
        return _terms(kernel.first, d) + _terms(kernel.second, d)
    if has_law(kernel, Product):
        pairs = itertools.product(_terms(kernel.first, d), _terms(kernel.second, d))
        return [(a * b, Convolved(f, g)) for (a, f), (b, g) in pairs]
    raise TypeError(
        f"{kernel!r} has no closed form on the torus: it must be a function of the differences modulo 1. Take "
        f"PeriodicGaussian or VonMises (a Gaussian of the periodic distance is not positive semi-definite)"
    )


def _series(first: Coefficients, second: Coefficients) -> np.ndarray:
    """Return the products of the coefficients 0, 1, ..., as far as they matter."""
    count = 16
    while count < 2**14 and first.bound(count) * second.bound(count) > 1e-18 * first[0] * second[0]:
        count *= 2
    out: np.ndarray = first.first(count) * second.first(count)
    return out


def _products(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return prod_c sum_w coefficients[|w|] exp(2 pi i w (x_ic - x_jc)), by Clenshaw's recurrence in cos."""
    out = np.ones((len(x), len(x)))
    last = int(np.flatnonzero(np.abs(coefficients) > 1e-18 * np.abs(coefficients[0])).max(initial=0))
    for column in x.T:
        difference = column[:, None] - column
        double = 2 * np.cos(2 * np.pi * (difference - np.rint(difference)))
        after = now = np.zeros_like(double)
        for w in range(last, 0, -1):
            after, now = now, 2 * coefficients[w] + double * now - after
        out *= coefficients[0] + 0.5 * double * now - after
    return out
