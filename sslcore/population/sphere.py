"""The uniform sphere S^(d-1): zonal kernels by Funk-Hecke, rotations and steps, cyclic shifts by their characters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, as_array, check_integer
from ..augmentations import TangentStep
from ..declarations.parameters import integer
from ..declarations.registries import has_law
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Gaussian, Kernel, L1Exponential, Linear, Nugget, Polynomial, Precomputed, Scaled, Sum, as_kernel
from .base import functions_of_classes
from .cyclic_harmonics import cyclic_basis
from .fitted import FittedDomain
from .given import Eigenvalues, lines_of, select_of
from .lines import MOST_DEGREE, TIE, Label, Lines
from .sphere_operators import Operator
from .zonal import (
    cyclic_multiplicities,
    funk_hecke,
    gaussian_coefficients,
    legendre,
    multiplicities,
    power_coefficients,
)

__all__ = ["Sphere"]

_LARGEST_DEGREE = 1024
_MOST_CHARACTERS = 1 << 19


@dataclass(frozen=True)
class Sphere(FittedDomain):
    r"""The uniform distribution on the unit sphere S^(d-1) of R^d.

    Functions of the angle act on the harmonics of degree l, a space of dimension
    N(d, l) = C(l+d-1, d-1) - C(l+d-3, d-1), by one number each (Funk-Hecke):

    ================================================  ==========================================================
    kernel k(x, y) = kappa(<x, y>)                    E[kappa(t) P_l(t)], t a coordinate of a uniform point
    `Gaussian(s)` kernel                              exp(-1/s^2) Gamma(d/2) (2 s^2)^(d/2-1) I_{l+d/2-1}(1/s^2)
    `TangentStep` by an angle t                       A = P_l(cos t)
    `RandomRotation` by t, in a random plane          A = [z^l] (1-z^2) / ((1-z)^(d-2) (1 - 2 z cos t + z^2)) / N
    `HeatKernel(t)`                                   A = exp(-t l (l+d-2))
    `SignFlip(p)`                                     A = 1 (l even), 1 - 2p (l odd)
    `Shift(law)` of the coordinates                   A = sum_a law[a] exp(-2 pi i a w / d), on the character w of Z_d
    ================================================  ==========================================================

    and T = |A|^2.  Shifts commute with every zonal operator: lines are then indexed by (l, |w|), with the multiplicity
    of the characters w and -w of Z_d in degree l.  `Compose` multiplies the A, `Mixture` averages them.

    Parameters
    ----------
    d : int
        Number of coordinates; >= 2.
    max_degree : int, optional
        The largest degree that is looked at; from 0 to 1024.  By default as many as are needed for the answer to be
        that of the whole sphere, which bounds of all further degrees certify.

    Notes
    -----
    Labels are the degree l, with shifts the pair (l, |w|).

    Coefficients are in closed form and keep all digits for Gaussian, linear and polynomial kernels, their sums and
    multiples; for all others the integral is computed to rounding (absolutely, at worst to 1e-12 of the kernel's
    largest value), and what lies within its error is set to 0: such degrees are outside of the RKHS.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774; Mueller, *Analysis of Spherical Symmetries in
    Euclidean Spaces*, 1998 (Funk-Hecke).

    Examples
    --------
    >>> import sslcore
    >>> from sslcore.population import HeatKernel, Sphere
    >>> sphere, kernel = Sphere(3), sslcore.kernels.Gaussian(1.0)
    >>> sphere.kernel_eigenvalues(kernel, 3).round(6)
    array([0.432332, 0.135335, 0.026327, 0.003703])
    >>> s = sphere.spectrum(HeatKernel(0.1), kernel, reg=1e-3, n_components=4)
    >>> s.labels, s.block_ends, s.eigenvalues.round(4)
    ((0, 1, 1, 1), (1, 4), array([0.9977, 0.6629, 0.6629, 0.6629]))
    """

    d: int = integer("number of coordinates", minimum=2)
    max_degree: int | None = integer(
        "the largest degree that is looked at", minimum=0, maximum=_LARGEST_DEGREE, default=None
    )

    # ------------------------------------------------------------ eigenvalues

    def multiplicities(self, degree: int) -> list[int]:
        """Return N(d, l), l = 0..degree: exact integers.

        Examples
        --------
        >>> from sslcore.population import Sphere
        >>> Sphere(8).multiplicities(3)
        [1, 8, 35, 112]
        """
        return multiplicities(self.d, check_integer(degree, "degree", minimum=0, maximum=MOST_DEGREE))

    def augmentation_eigenvalues(self, augmentation: Any, degree: int = 8) -> np.ndarray:
        """Return the eigenvalues of T by degree, (degree + 1,); with shifts by degree and character, (degree + 1, d).

        Examples
        --------
        >>> from sslcore.augmentations import Shift
        >>> from sslcore.population import Sphere
        >>> Sphere(4).augmentation_eigenvalues(Shift([0.5, 0.5]), 1).round(12)
        array([[1. , 0.5, 0. , 0.5],
               [1. , 0.5, 0. , 0.5]])
        """
        degree = check_integer(degree, "degree", minimum=0, maximum=_LARGEST_DEGREE)
        values = np.abs(Operator.of(augmentation, self.d).values(degree)) ** 2
        out: np.ndarray = values[:, 0] if values.shape[1] == 1 else values
        return out

    def kernel_eigenvalues(self, kernel: Any, degree: int = 8) -> np.ndarray:
        """Return the eigenvalues of K by degree 0..degree: the Funk-Hecke coefficients, (degree + 1,).

        Examples
        --------
        >>> from sslcore.kernels import Polynomial
        >>> from sslcore.population import Sphere
        >>> Sphere(3).kernel_eigenvalues(Polynomial(2, offset=1.0), 3).round(6)
        array([1.333333, 0.666667, 0.133333, 0.      ])
        """
        degree = check_integer(degree, "degree", minimum=0, maximum=_LARGEST_DEGREE)
        return _coefficients(as_kernel(kernel), self.d, degree)

    # ------------------------------------------------------------ lines

    def lines(  # noqa: D102
        self, augmentation: Any, kernel: Any, n: int, *, reg: float | None = None, beta: float = 1.0
    ) -> Lines:
        kernel = _any_kernel(kernel, reg)
        if isinstance(augmentation, Eigenvalues):
            return lines_of(self, TangentStep(0.0), augmentation, kernel, n, reg)
        operator = Operator.of(augmentation, self.d)
        if self.max_degree is not None:
            return self._up_to(operator, kernel, self.max_degree)
        trace = _trace(kernel, self.d)
        degree = 8
        while True:
            lines = self._up_to(operator, kernel, degree)
            t, kappa = operator.bound(degree + 1) ** 2, _bound(kernel, self.d, degree + 1)
            if kappa is None:
                # a further degree has N >= N(d, degree + 1) functions, and all of them share the rest of the trace
                rest = trace - float((lines.kernel * lines.multiplicity.astype(float)).sum())
                kappa = max(rest, 1e-15 * trace * degree) / float(multiplicities(self.d, degree + 1)[-1])
            sure = (lines.augmentation > t) & (lines.kernel > kappa if reg != 0.0 else True)
            if reg is not None and reg > 0 and kappa == 0:
                sure |= True  # all others are -inf
            elif reg is not None:
                bound = (1.0 - beta) + beta * t - (reg / kappa if reg else 0.0)
                sure |= lines.values(reg, beta) > bound + TIE * (abs(1.0 - beta) + beta)
            if lines.multiplicity[sure].sum() >= n:
                return lines
            degree *= 2
            if degree > _LARGEST_DEGREE:
                raise ValueError(
                    f"the first {n} components are not among the degrees up to {_LARGEST_DEGREE}: "
                    f"{'without a penalty (reg=0), or for all values of reg at once, ' if not reg else ''}"
                    f"further ones may be as good for {augmentation!r}; take a larger reg, name the labels, or "
                    f"look at few degrees only: Sphere({self.d}, max_degree=...)"
                )

    def select(self, augmentation: Any, kernel: Any, labels: Iterable[Label]) -> Lines:
        """Return the lines of the given labels, in this order."""
        if isinstance(augmentation, Eigenvalues):
            return select_of(self, TangentStep(0.0), augmentation, kernel, labels)
        operator = Operator.of(augmentation, self.d)
        wanted = [self._spelled(operator.by_character, label) for label in labels]
        degree = max((label if isinstance(label, int) else label[0] for label in wanted), default=0)
        lines = self._up_to(operator, as_kernel(kernel), degree)
        place = {label: i for i, label in enumerate(lines.labels)}
        return lines.at([place[label] for label in wanted])

    def canonical(self, label: Label) -> Label:
        """Return the degree as an ``int``, or (degree, |w|) with the smaller of the characters w and -w."""
        if isinstance(label, list | tuple):
            if len(label) != 2:
                raise ValueError(f"a label on the sphere is a degree, or a pair (degree, character), found {label!r}")
            w = check_integer(label[1], "the character", minimum=1 - self.d, maximum=self.d - 1) % self.d
            return self._degree(label[0]), min(w, self.d - w)
        return self._degree(label)

    def _spelled(self, by_character: bool, label: Label) -> Label:
        """Return `canonical` of a label; refuse another kind than the lines have, and functions that do not exist."""
        name = self.canonical(label)
        if isinstance(name, int) == by_character:
            kind = "pairs (l, |w|) of a degree and a character of the shifts" if by_character else "degrees l"
            raise ValueError(f"no line has the label {label!r}: labels are {kind} here")
        if by_character and not cyclic_multiplicities(self.d, name[0])[name[0]][name[1]]:
            raise ValueError(f"no line has the label {name!r}: the character {name[1]} is not in degree {name[0]}")
        return name

    def _degree(self, value: Any) -> int:
        return check_integer(value, "the degree", minimum=0, maximum=_LARGEST_DEGREE)

    def _up_to(self, operator: Operator, kernel: Kernel, degree: int) -> Lines:
        if operator.by_character and self.d * (degree + 1) > _MOST_CHARACTERS:
            raise ValueError(
                f"the characters of the shifts of {self.d} coordinates in the degrees up to {degree} are more than "
                f"{_MOST_CHARACTERS}; take fewer coordinates, a larger reg, or a smaller max_degree"
            )
        t = np.abs(operator.values(degree)) ** 2
        kappa = _coefficients(kernel, self.d, degree)
        spelling = functools.partial(self._spelled, operator.by_character)
        if not operator.by_character:
            return Lines(t[:, 0], kappa, np.array(multiplicities(self.d, degree), object), range(degree + 1), spelling)
        counts = cyclic_multiplicities(self.d, degree)
        found = []
        for n in range(degree + 1):
            for w in range(self.d // 2 + 1):
                count = counts[n][w] * (1 if 2 * w in (0, self.d) else 2)
                if count:
                    found.append((t[n, w], kappa[n], count, (n, w)))
        values, kernels, sizes, labels = zip(*found, strict=True)
        return Lines(np.array(values), np.array(kernels), np.array(sizes, object), labels, spelling)

    # ------------------------------------------------------------ functions

    def zonal(self, degree: int, pole: Any) -> Callable[[Array], Array]:
        """Make the harmonic of this degree about a pole, of norm 1: x (n, d) -> sqrt(N(d, l)) P_l(<pole, x>).

        Examples
        --------
        >>> from sslcore.population import Sphere
        >>> Sphere(3).zonal(1, [0.0, 0.0, 1.0])([[0.0, 0.6, 0.8]]).round(4)  # sqrt(3) x_3
        array([1.3856])
        """
        degree = self._degree(degree)
        pole = self._points(as_array(pole, "pole", ndim=1, shape_hint="(d,)")[None], "pole")[0]
        size = math.sqrt(multiplicities(self.d, degree)[-1])

        def function(x: Array) -> Array:
            out: Array = size * legendre(self.d, degree, np.clip(self._points(x, "x") @ pole, -1.0, 1.0))[-1]
            return out

        return function

    def harmonics(self, degree: int, character: int | None = None) -> Callable[[Array], Array]:
        """Make an orthonormal basis of the harmonics of one degree, for d = 2 and 3: x (n, d) -> (n, N(d, l)).

        With a ``character`` w, of those on which cyclic shifts of the coordinates act by w and -w, for any d: the
        functions of the label (l, |w|), in a basis that is fixed, and else any.

        Real; on the circle cos and sin of l theta, on S^2 the spherical harmonics of order -l..l (orders m < 0 with
        sin |m| phi).  Orthonormal for the uniform probability measure: the mean of each square is 1.

        Examples
        --------
        >>> from sslcore.population import Sphere
        >>> Sphere(3).harmonics(1)([[0.0, 0.6, 0.8]]).round(4)  # sqrt(3) (y, z, x)
        array([[1.0392, 1.3856, 0.    ]])
        >>> abs(Sphere(3).harmonics(1, character=0)([[0.0, 0.6, 0.8]])).round(4)  # x + y + z
        array([[1.4]])
        """
        degree = self._degree(degree)
        if character is not None:
            return self._of_character(degree, character)
        if self.d > 3:
            raise ValueError(
                f"bases of harmonics are there for d = 2 and 3, found d = {self.d}; zonal(...) is for any d"
            )

        def function(x: Array) -> Array:
            x = self._points(x, "x")
            phi = np.arctan2(x[:, 1], x[:, 0])
            if self.d == 2:
                if degree == 0:
                    return np.ones((len(x), 1))
                return math.sqrt(2) * np.stack([np.cos(degree * phi), np.sin(degree * phi)], axis=1)
            theta = np.arctan2(np.hypot(x[:, 0], x[:, 1]), x[:, 2])
            columns = []
            for order in range(-degree, degree + 1):
                value = _sph_harm(degree, abs(order), theta, phi)
                part = value.imag if order < 0 else value.real
                # without the phase (-1)^m of Condon and Shortley
                columns.append(part * (math.sqrt(2) * (-1) ** order if order else 1.0))
            return math.sqrt(4 * math.pi) * np.stack(columns, axis=1)

        return function

    def _of_character(self, degree: int, character: Any) -> Callable[[Array], Array]:
        degree, w = self._spelled(True, (degree, character))
        count = cyclic_multiplicities(self.d, degree)[degree][w] * (1 if 2 * w in (0, self.d) else 2)
        poles, coefficients = cyclic_basis(self.d, degree, w, count)
        size = math.sqrt(multiplicities(self.d, degree)[-1])

        def function(x: Array) -> Array:
            t = np.clip(self._points(x, "x") @ poles.T, -1.0, 1.0)
            out: Array = (size * legendre(self.d, degree, t)[-1]) @ coefficients
            return out

        return function

    def eigenfunctions(
        self, augmentation: Any, kernel: Any, *, reg: float, beta: float = 1.0, n_components: int
    ) -> Callable[[Array], Array]:
        """Make the first eigenfunctions of T_lambda, orthonormal: x (n, d) -> (n, k), as in `spectrum`.

        For each degree, for d = 2 and 3, the first functions of `harmonics`, as many as ``n_components`` takes of it;
        with laws of shifts, for any d, for each degree and character.

        Examples
        --------
        >>> from sslcore.kernels import Gaussian
        >>> from sslcore.population import HeatKernel, Sphere
        >>> f = Sphere(3).eigenfunctions(HeatKernel(0.1), Gaussian(1.0), reg=1e-3, n_components=4)
        >>> f([[0.0, 0.6, 0.8]]).round(4)  # 1, then sqrt(3) (y, z, x)
        array([[1.    , 1.0392, 1.3856, 0.    ]])
        """
        spectrum = self.spectrum(augmentation, kernel, reg=reg, beta=beta, n_components=n_components)
        return functions_of_classes(
            spectrum.labels, lambda label: self.harmonics(*(label if isinstance(label, tuple) else (label,)))
        )

    # ------------------------------------------------------------ fitted representations

    def _points(self, x: Any, name: str) -> np.ndarray:
        x = as_array(x, name, ndim=2, shape_hint=f"(n, {self.d})").astype(np.float64)
        norms = np.linalg.norm(x, axis=1)
        if x.shape[1] != self.d or not np.allclose(norms, 1.0, rtol=0, atol=1e-5):
            raise ValueError(
                f"{name} must be points of the unit sphere in R^{self.d}, found shape {x.shape} and norms from "
                f"{norms.min():.6g} to {norms.max():.6g}"
            )
        out: np.ndarray = x / norms[:, None]
        return out

    def _grams(self, kernel: Kernel, augmentation: Any, centres: np.ndarray) -> tuple[Any, Any, Any]:
        centres = self._points(centres, "the representation's training views")
        operator = Operator.of(augmentation, self.d)
        degree = 16
        trace = _trace(kernel, self.d)
        while True:
            kappa = _coefficients(kernel, self.d, degree)
            count = np.array([float(n) for n in multiplicities(self.d, degree)])
            rest = max(trace - float(kappa @ count), 0.0)
            # what is left out of sum_l N kappa_l^2 is at most its largest kappa times the rest of the trace
            if rest * kappa[degree // 2 :].max() <= 1e-14 * trace**2 or degree >= _LARGEST_DEGREE:
                break
            degree *= 2
        weights = count * kappa**2
        eigenvalues = operator.values(degree)
        if not operator.by_character:
            gram, smooth = self._zonal_sums([weights, weights * eigenvalues[:, 0] ** 2], centres, centres)
            return gram, smooth, np.full(len(centres), kappa[0])
        # T on degree l is sum_a q_l(a) (shift by a), q the inverse transform of |A|^2 over the characters
        powers = np.fft.ifft(np.abs(eigenvalues) ** 2, axis=1).real
        (gram,) = self._zonal_sums([weights], centres, centres)
        smooth = np.zeros_like(gram)
        for a in np.flatnonzero(np.abs(powers).max(axis=0) > 1e-18):
            smooth += self._zonal_sums([weights * powers[:, a]], np.roll(centres, a, axis=1), centres)[0]
        return gram, smooth, np.full(len(centres), kappa[0])

    def _zonal_sums(self, weights: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """Return sum_l w_l P_l(<x_i, y_j>) for each list of weights, in blocks that stay in the cache."""
        sums = [np.empty((len(x), len(y))) for _ in weights]
        rows = max(1, tunables.SPHERE_BLOCK_ENTRIES // len(y))
        last = max(int(np.flatnonzero(w).max(initial=0)) for w in weights)
        for start in range(0, len(x), rows):
            t = np.clip(x[start : start + rows] @ y.T, -1.0, 1.0)
            before, now = np.ones_like(t), t.copy()
            totals = [w[0] * before + (w[1] * now if last else 0.0) for w in weights]
            for n in range(1, last):
                before *= -n / (n + self.d - 2)
                before += (2 * n + self.d - 2) / (n + self.d - 2) * t * now
                before, now = now, before
                for total, w in zip(totals, weights, strict=True):
                    total += w[n + 1] * now
            for out, total in zip(sums, totals, strict=True):
                out[start : start + rows] = total
        return sums


def _sph_harm(degree: int, order: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    from scipy import special

    if hasattr(special, "sph_harm_y"):
        out: np.ndarray = special.sph_harm_y(degree, order, theta, phi)
        return out
    out = special.sph_harm(order, degree, phi, theta)  # SciPy < 1.15
    return out


# ---------------------------------------------------------------- kernels


def _any_kernel(kernel: Any, reg: float | None) -> Kernel:
    """Return the kernel, or any one in place of None: without a penalty none is needed."""
    return Linear() if kernel is None and reg == 0 else as_kernel(kernel)


def _profile(kernel: Kernel, d: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return kappa as a function of the angle: the kernel's own values along a great circle."""

    def profile(theta: np.ndarray) -> np.ndarray:
        found = np.empty(len(theta))
        step = max(1, tunables.SPHERE_PROFILE_ENTRIES // d)
        for start in range(0, len(theta), step):
            angle = theta[start : start + step]
            points = np.zeros((len(angle), d))
            points[:, 0], points[:, 1] = np.cos(angle), np.sin(angle)
            found[start : start + step] = kernel(np.eye(1, d), points)[0]
        return found

    return profile


def _trace(kernel: Kernel, d: int) -> float:
    """Return sum_l N(d, l) kappa_l: k(x, x), without nuggets, whose operator is zero."""
    if has_law(kernel, Nugget):
        return 0.0
    if has_law(kernel, Scaled):
        return kernel.factor * _trace(kernel.base, d)
    if has_law(kernel, Sum):
        return _trace(kernel.first, d) + _trace(kernel.second, d)
    return float(_profile(kernel, d)(np.zeros(1))[0])


def _coefficients(kernel: Kernel, d: int, degree: int) -> np.ndarray:
    if has_law(kernel, Nugget):
        return np.zeros(degree + 1)
    if has_law(kernel, Gaussian):
        return gaussian_coefficients(kernel.scale, d, degree)
    if has_law(kernel, Scaled):
        return kernel.factor * _coefficients(kernel.base, d, degree)
    if has_law(kernel, Sum):
        out: np.ndarray = _coefficients(kernel.first, d, degree) + _coefficients(kernel.second, d, degree)
        return out
    if has_law(kernel, Linear, Polynomial):
        power, offset = (kernel.degree, kernel.offset) if has_law(kernel, Polynomial) else (1, 0.0)
        terms = np.array([math.comb(power, n) * offset ** (power - n) for n in range(power + 1)])
        found = np.zeros(max(power, degree) + 1)
        found[: power + 1] = terms @ power_coefficients(d, power)
        return found[: degree + 1]
    _check_zonal(kernel, d)
    found, error = funk_hecke(_profile(kernel, d), d, degree)
    if (found < 0).any():
        worst = int((found + error).argmin())
        raise NotPositiveSemidefiniteError(
            f"{kernel!r} is not positive semi-definite on the sphere in R^{d}: its coefficient of degree {worst} is "
            f"{found[worst]:.3g}",
            float(found[worst]),
        )
    return found


def _check_zonal(kernel: Kernel, d: int) -> None:
    """Refuse kernels that are not functions of <x, y> on the sphere."""
    if has_law(kernel, Precomputed, L1Exponential):
        raise TypeError(f"{kernel!r} is not a function of <x, y> on the sphere: there is no closed form for it")
    x = np.random.default_rng(0).standard_normal((12, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x, y = x[:6], x[6:]
    values = kernel(x, y)
    same_angles = _profile(kernel, d)(np.arccos(np.clip(x @ y.T, -1.0, 1.0)).ravel()).reshape(values.shape)
    if np.abs(values - same_angles).max() > 1e-8 * np.abs(values).max():
        raise TypeError(f"{kernel!r} is not a function of <x, y> on the sphere: there is no closed form for it")


def _bound(kernel: Kernel, d: int, degree: int) -> float | None:
    """Return the largest coefficient from this degree on, where it is known."""
    if has_law(kernel, Gaussian):  # they decrease
        return float(gaussian_coefficients(kernel.scale, d, degree)[-1])
    if has_law(kernel, Nugget) or (has_law(kernel, Linear, Polynomial) and degree > getattr(kernel, "degree", 1)):
        return 0.0
    if has_law(kernel, Scaled):
        base = _bound(kernel.base, d, degree)
        return None if base is None else kernel.factor * base
    if has_law(kernel, Sum):
        parts = _bound(kernel.first, d, degree), _bound(kernel.second, d, degree)
        return None if None in parts else sum(parts)  # type: ignore[arg-type]
    return None
