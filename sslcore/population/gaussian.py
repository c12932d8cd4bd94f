"""Gaussian space: T is diagonal in Hermite functions, and the Gaussian kernel is not: an interplay without lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import kernels
from ..arrays import Array, as_array, check_integer, check_scalar
from ..augmentations import Compose, GaussianNoise
from ..declarations.parameters import integer, positive
from ..declarations.registries import has_law
from ..kernels import Kernel, Nugget, Product, Scaled, Sum, as_kernel
from .fitted import FittedDomain
from .laws import OrnsteinUhlenbeck
from .lines import MOST_DEGREE, TIE, Label, Lines, check_components
from .mehler import LARGEST, Pair, Sector, gaussian_kernel_eigenvalues, hermite, sector
from .zonal import hermite_multiplicities, multiplicities

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian(FittedDomain):
    r"""Samples x ~ N(0, scale^2 I) of R^d, seen through Gaussian noise.

    Views have the law N(0, sigma^2 I), which differs from that of x: with `GaussianNoise(e)`, sigma^2 = s^2 + e^2.  The
    correlation of two views of one sample is rho = s^2 / (s^2 + e^2), and T = rho^l on the Hermite functions of degree
    l of xi / sigma (Mehler), C(l+d-1, d-1) of them.  `OrnsteinUhlenbeck(t)` has sigma = s and rho = exp(-2t).

    **The Gaussian kernel does not commute with T**: its eigenfunctions under N(0, sigma^2 I) are Hermite functions of
    another width.  So mu is no line in reg, but a curve; the spectrum at each reg is computed to rounding by the
    conditioned form, on each angular degree, with the kernel's Cholesky factor in the Hermite basis in closed form
    (``sslcore.population.mehler``); the number of basis functions is doubled until nothing changes.

    Parameters
    ----------
    d : int
        Number of coordinates; >= 1.
    scale : float
        Standard deviation s of the samples along each coordinate; > 0.

    Notes
    -----
    Labels are (j, p): the p-th eigenfunction, from 0, of angular degree j, with the multiplicity of the harmonics of
    degree j on the sphere.  For d = 1, j = 0 are the even functions and j = 1 the odd ones.  In the spectrum,
    ``augmentation`` is <f, T f> and ``kernel`` is 1 / ||f||_H^2 for the eigenfunction f, so that
    mu = 1 - beta + beta t - reg / kappa holds as ever.  For reg = 0 these are Hermite functions, outside of the RKHS.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774; Rasmussen and Williams, *Gaussian Processes for
    Machine Learning*, 2006, section 4.3.1.

    Examples
    --------
    >>> import sslcore
    >>> from sslcore.population import Gaussian
    >>> space, noise = Gaussian(1, scale=1.0), sslcore.augmentations.GaussianNoise(0.5)
    >>> space.augmentation_eigenvalues(noise, 3).round(6)
    array([1.   , 0.8  , 0.64 , 0.512])
    >>> s = space.spectrum(noise, sslcore.kernels.Gaussian(1.0), reg=1e-3, n_components=3)
    >>> s.eigenvalues.round(9), s.labels
    (array([0.99673237, 0.78541932, 0.59542267]), ((0, 0), (1, 0), (0, 1)))
    """

    d: int = integer("number of coordinates", minimum=1)
    scale: float = positive("standard deviation s of the samples along each coordinate")

    def multiplicities(self, degree: int) -> list[int]:
        """Return C(l+d-1, d-1), the number of Hermite functions of degree l = 0..degree.

        Examples
        --------
        >>> from sslcore.population import Gaussian
        >>> Gaussian(5, 1.0).multiplicities(3)
        [1, 5, 15, 35]
        """
        degree = check_integer(degree, "degree", minimum=0, maximum=MOST_DEGREE)
        return hermite_multiplicities(self.d, degree)

    def views(self, augmentation: Any) -> tuple[float, float]:
        """Return the standard deviation sigma of a view, and the correlation rho of two views of one sample.

        Examples
        --------
        >>> from sslcore.augmentations import GaussianNoise
        >>> from sslcore.population import Gaussian
        >>> Gaussian(1, 2.0).views(GaussianNoise(1.5))
        (2.5, 0.64)
        """
        factor, variance = self._channel(augmentation)
        signal = (factor * self.scale) ** 2
        return math.sqrt(signal + variance), signal / (signal + variance)

    def _channel(self, augmentation: Any) -> tuple[float, float]:
        """Return (a, v) of the law xi = a x + sqrt(v) z."""
        if has_law(augmentation, GaussianNoise):
            return 1.0, augmentation.scale**2
        if has_law(augmentation, OrnsteinUhlenbeck):
            return math.exp(-augmentation.time), -math.expm1(-2.0 * augmentation.time) * self.scale**2
        if has_law(augmentation, Compose):
            factor, variance = 1.0, 0.0
            for part in augmentation.parts:
                a, v = self._channel(part)
                factor, variance = factor * a, variance * a * a + v
            return factor, variance
        raise TypeError(
            f"on Gaussian space, GaussianNoise, OrnsteinUhlenbeck and Compose have closed forms, found {augmentation!r}"
        )

    # ------------------------------------------------------------ eigenvalues

    def augmentation_eigenvalues(self, augmentation: Any, degree: int = 8) -> np.ndarray:
        """Return the eigenvalues of T by degree 0..degree of the Hermite functions, (degree + 1,)."""
        degree = check_integer(degree, "degree", minimum=0, maximum=MOST_DEGREE)
        return self.views(augmentation)[1] ** np.arange(degree + 1.0)

    def kernel_eigenvalues(self, kernel: Any, augmentation: Any, degree: int = 8) -> np.ndarray:
        """Return the eigenvalues of K in L2 of the views' law by degree 0..degree, each `multiplicities` times.

        Its eigenfunctions are not those of T; the augmentation is needed for the law of the views.

        Examples
        --------
        >>> import sslcore
        >>> from sslcore.population import Gaussian
        >>> noise, kernel = sslcore.augmentations.GaussianNoise(0.5), sslcore.kernels.Gaussian(1.0)
        >>> Gaussian(1, 1.0).kernel_eigenvalues(kernel, noise, 2).round(6)
        array([0.579796, 0.243633, 0.102375])
        """
        degree = check_integer(degree, "degree", minimum=0, maximum=MOST_DEGREE)
        factor, width = _one_gaussian(as_kernel(kernel))
        return factor * gaussian_kernel_eigenvalues(width, self.views(augmentation)[0], self.d, degree)

    # ------------------------------------------------------------ spectrum

    def lines(  # noqa: D102
        self, augmentation: Any, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0
    ) -> Lines:
        sectors = self._sectors(augmentation, kernel, n, reg, beta)
        rows = [
            (1.0 - invariance, 1.0 / norm if norm < math.inf else 0.0, multiplicities(self.d, j)[j], (j, p))
            for j, (found, _) in sectors.items()
            for p, (invariance, norm) in enumerate(zip(found.invariance, found.norms, strict=True))
        ]
        t, kappa, sizes, labels = zip(*rows, strict=True)
        return Lines(np.array(t), np.array(kappa), np.array(sizes, object), labels)

    def canonical(self, label: Label) -> tuple[int, int]:
        """Return (j, p) as a tuple of integers."""
        if not isinstance(label, list | tuple | np.ndarray) or len(label) != 2:
            raise ValueError(f"a label on Gaussian space is a pair (angular degree, number), found {label!r}")
        degree = check_integer(label[0], "the angular degree", minimum=0, maximum=1 if self.d == 1 else None)
        return degree, check_integer(label[1], "the number of the function", minimum=0)

    def _sectors(
        self, augmentation: Any, kernel: Any, n: int, reg: float | None, beta: float
    ) -> dict[int, tuple[Sector, float]]:
        """Return the eigenfunctions of each angular degree that may be among the first n, and the views' scale."""
        sigma, rho = self.views(augmentation)
        if reg == 0:  # without a penalty no kernel is needed
            return self._hermite_sectors(sigma, rho, n, beta)
        factor, width = _one_gaussian(as_kernel(kernel))
        if reg is None:
            raise ValueError(
                "T and the kernel do not commute on Gaussian space: mu is a curve in reg, not a line, and has no exact "
                "crossings; look at spectrum(..., reg=...) over a range of reg"
            )
        found: dict[int, tuple[Sector, float]] = {}
        top = factor * gaussian_kernel_eigenvalues(width, sigma, self.d, 4096)
        pair = Pair(width, sigma, rho, self.d, reg / factor, beta)
        for j in range(2 if self.d == 1 else 4096):
            size = multiplicities(self.d, j)[j]
            best = (1.0 - beta) + beta * rho**j - (reg / top[j] if top[j] > 0 else math.inf)
            above = sum(
                multiplicities(self.d, i)[i] * int((1.0 - part.gamma > best + TIE * (1.0 + beta)).sum())
                for i, (part, _) in found.items()
            )
            if above >= n:
                break
            if -(-n // size) > LARGEST:
                raise _too_many(n)
            part = sector(pair, j, -(-n // size))
            found[j] = part._replace(norms=part.norms / factor), sigma
        return found

    def _hermite_sectors(self, sigma: float, rho: float, n: int, beta: float) -> dict[int, tuple[Sector, float]]:
        """Return the Hermite functions up to the degree that holds the n-th: the case reg = 0."""
        if rho == 1.0 or beta == 0.0:
            raise ValueError(
                "without a penalty (reg=0) and without noise, all functions are equally good; take reg > 0"
            )
        degree = next(m for m in itertools.count() if math.comb(m + self.d, self.d) >= n)
        found = {}
        for j in range(min(degree, 1 if self.d == 1 else degree) + 1):
            count = (degree - j) // 2 + 1
            if count > _MOST_RADIAL:
                raise _too_many(n)
            loss = 1.0 - rho ** (j + 2.0 * np.arange(count))
            found[j] = Sector(beta * loss, loss, np.full(count, math.inf), np.eye(count), 0.0), sigma
        return found

    def eigenfunctions(
        self, augmentation: Any, kernel: Any, *, reg: float, beta: float = 1.0, n_components: int
    ) -> Callable[[Array], Array]:
        """Make the unit eigenfunctions of the first components of `spectrum` on the line (d = 1): x (n, 1) -> (n, k).

        Signs are such that the largest coefficient in the Hermite basis is positive.

        Examples
        --------
        >>> import sslcore
        >>> from sslcore.population import Gaussian
        >>> space, noise = Gaussian(1, 1.0), sslcore.augmentations.GaussianNoise(0.5)
        >>> f = space.eigenfunctions(noise, sslcore.kernels.Gaussian(1.0), reg=1e-3, n_components=2)
        >>> f([[0.0], [1.0]]).round(4)
        array([[1.0088, 0.    ],
               [1.0039, 0.9459]])
        """
        if self.d != 1:
            raise ValueError(f"eigenfunctions are offered on the line, d = 1, found d = {self.d}")
        k = check_components(n_components)
        reg, beta = check_scalar(reg, "reg", minimum=0.0), check_scalar(beta, "beta", minimum=0.0)
        labels = self.spectrum(augmentation, kernel, reg=reg, beta=beta, n_components=k).labels
        sectors = self._sectors(augmentation, kernel, k, reg, beta)
        sigma = self.views(augmentation)[0]

        def function(x: Array) -> Array:
            x = as_array(x, "x", ndim=2, shape_hint="(n, 1)").astype(np.float64)
            if x.shape[1] != 1:
                raise ValueError(f"x must be points of the line (n, 1), found shape {x.shape}")
            size = max(2 * len(part.functions) for part, _ in sectors.values())
            values = hermite(x[:, 0] / sigma, size)
            columns = []
            for j, p in labels:
                coefficients = sectors[j][0].functions[:, p]
                columns.append(coefficients @ values[j::2][: len(coefficients)])
            return np.stack(columns, axis=1)

        return function

    # ------------------------------------------------------------ fitted representations

    def _grams(self, kernel: Kernel, augmentation: Any, centres: np.ndarray) -> tuple[Any, Any, Any]:
        sigma, rho = self.views(augmentation)
        inner = centres @ centres.T
        squares = np.diag(inner)
        gram = smooth = np.zeros_like(inner)
        mean = np.zeros(len(centres))
        terms = _gaussians(kernel)
        for a, u in terms:  # weight and squared scale
            mean += a * (u / (u + sigma**2)) ** (self.d / 2) * np.exp(-0.5 * squares / (u + sigma**2))
        for (a, u), (b, v) in itertools.product(terms, repeat=2):
            gram = gram + a * b * self._overlap(u, v, sigma**2, 1.0, inner, squares)
            smooth = smooth + a * b * self._overlap(u, v, sigma**2, rho, inner, squares)
        return gram, smooth, mean

    def _overlap(self, u: float, v: float, s: float, rho: float, inner: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Return E exp(-|xi - c_i|^2 / 2u) exp(-|xi' - c_j|^2 / 2v), views of variance s and correlation rho."""
        determinant = (u + s) * (v + s) - (rho * s) ** 2
        exponent = (v + s) * squares[:, None] + (u + s) * squares - 2 * rho * s * inner
        out: np.ndarray = (u * v / determinant) ** (self.d / 2) * np.exp(-0.5 * exponent / determinant)
        return out


_MOST_RADIAL = 4096


def _too_many(n: int) -> ValueError:
    return ValueError(
        f"the first {n} components on Gaussian space need more radial functions of one angular degree than are "
        f"computed ({LARGEST} with a penalty, {_MOST_RADIAL} without); take fewer components"
    )


def _gaussians(kernel: Kernel) -> list[tuple[float, float]]:
    """List (weight, squared scale) of the terms of a kernel that is a sum of Gaussians."""
    if has_law(kernel, Nugget):
        return []
    if has_law(kernel, kernels.Gaussian):
        return [(1.0, kernel.scale**2)]
    if has_law(kernel, Scaled):
        return [(kernel.factor * a, u) for a, u in _gaussians(kernel.base)]
    if has_law(kernel, Sum):
        return _gaussians(kernel.first) + _gaussians(kernel.second)
    if has_law(kernel, Product):
        pairs = itertools.product(_gaussians(kernel.first), _gaussians(kernel.second))
        return [(a * b, u * v / (u + v)) for (a, u), (b, v) in pairs]
    raise TypeError(
        f"on Gaussian space, the Gaussian kernel and its multiples and products have closed forms, found {kernel!r}"
    )


def _one_gaussian(kernel: Kernel) -> tuple[float, float]:
    """Return factor and scale of a multiple of one Gaussian kernel."""
    terms = _gaussians(kernel)
    if not terms:
        raise TypeError(f"the operator of {kernel!r} is zero on Gaussian space; add a Gaussian kernel to it")
    if len(terms) > 1:
        raise TypeError(f"the spectrum on Gaussian space is there for one Gaussian kernel, found the sum {kernel!r}")
    return terms[0][0], math.sqrt(terms[0][1])
