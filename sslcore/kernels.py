"""Positive semi-definite kernels as values: frozen dataclasses that any backend can evaluate.

A kernel of the registry is one declaration: a profile k(x, y) = f(t) of one pair value t, where ``pair``
is ``"sqdist"`` (t = |x - y|^2), ``"l1"`` (t = |x - y|_1), ``"dot"`` (t = <x, y>) or ``"torus"`` (the product over the
coordinates of f(t_c), t_c <= 1/2 the distance of x_c and y_c on the circle of length 1), and ``formula`` is f as
an expression valid both in Python and in C++: the constants c0..c3, ``exp``, ``sqrt``, ``cos2pi`` (cos(2 pi t) for
0 <= t <= 1/2) and ``real(1)`` for a literal, no ``**`` and no ``a if b else c``.  Backends compile the formula; nothing
else has to be written.

Calling a kernel gives a Gram matrix; kernels add and multiply, and are scaled by positive numbers:

>>> import numpy as np
>>> from sslcore.kernels import Gaussian, Linear
>>> k = Gaussian(scale=1.0) + 0.5 * Linear()
>>> k(np.array([[0.0, 0.0], [1.0, 0.0]])).round(4)
array([[1.    , 0.6065],
       [0.6065, 1.5   ]])
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import Array, check_integer, check_scalar, namespace, quiet, shown
from .declarations import Declared, converted, integer, nonnegative, one_of, positive, real
from .formulas import check_formula, evaluate_formula
from .registries import register

__all__ = [
    "NNGP",
    "NTK",
    "ArcCosine",
    "Convolutional",
    "Exponential",
    "Function",
    "Gaussian",
    "Kernel",
    "L1Exponential",
    "Linear",
    "Matern",
    "PeriodicGaussian",
    "Polynomial",
    "Precomputed",
    "Product",
    "Profile",
    "Scaled",
    "Sum",
    "VonMises",
    "as_kernel",
    "check_formula",
    "constant_profiles",
    "registry",
]


class Kernel(Declared):
    """Base class of all kernels.

    Examples
    --------
    >>> from sslcore.kernels import Exponential, Kernel
    >>> k = Exponential(1.0)
    >>> isinstance(k, Kernel), k([[0.0]], [[0.0], [1.0]]).round(4)
    (True, array([[1.    , 0.3679]]))
    """

    trusted: ClassVar[bool] = True
    """Whether the kernel is positive semi-definite by construction (else solvers check the matrix)."""

    def __call__(self, x: Array, y: Array | None = None, *, backend: str | None = None) -> Array:
        """Gram matrix k(x_i, y_j), shape (n_x, n_y); with ``y=None`` that of x with itself, exactly symmetric."""
        from .gram import gram

        return gram(self, x, y, backend=backend)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """k(x, y) as a function of the cosine u of x and y, for points of one length: all that matters on a sphere.

        Parameters
        ----------
        u : float, array or mpmath.mpf
            From -1 to 1; numbers of mpmath are worked on to its precision.
        width : int
            Number of coordinates d.
        squared_norm : float, optional
            |x|^2 = |y|^2; default: d, as on the hypercube {-1, 1}^d, where u = 1 - 2 j / d for j differing signs.

        Returns
        -------
        float, array or mpmath.mpf
            Of the same kind as ``u``.

        Raises
        ------
        TypeError
            The kernel is not a function of u.

        Examples
        --------
        >>> import sslcore
        >>> float(sslcore.kernels.Polynomial(2).profile(0.5, width=4))
        9.0
        """
        raise TypeError(f"{self} is not a function of the inner product of points of one length")

    def __add__(self, other: Kernel | Callable[..., Array]) -> Kernel:
        return Sum(self, as_kernel(other)) if callable(other) else NotImplemented

    def __radd__(self, other: Callable[..., Array]) -> Kernel:
        return Sum(as_kernel(other), self) if callable(other) else NotImplemented

    def __mul__(self, other: Kernel | Callable[..., Array] | float) -> Kernel:
        return Product(self, as_kernel(other)) if callable(other) else Scaled(self, other)

    def __rmul__(self, other: Callable[..., Array] | float) -> Kernel:
        return Product(as_kernel(other), self) if callable(other) else Scaled(self, other)


registry: dict[str, type[Kernel]] = {}
"""Every declared kernel by name, of which files and command lines speak; tests iterate over it."""


def constant_profiles() -> list[tuple[str, str]]:
    """The pair values and formulas that declared kernels have whatever their parameters: what can be compiled ahead.

    Examples
    --------
    >>> from sslcore.kernels import constant_profiles
    >>> ("sqdist", "exp(c0 * t)") in constant_profiles()
    True
    """
    found = set()
    for kernel in registry.values():
        fixed = vars(kernel).get("formula")
        formulas = [fixed] if isinstance(fixed, str) else list(vars(kernel).get("_formulas", {}).values())
        found |= {(getattr(kernel, "pair", ""), formula) for formula in formulas}  # only profiles have formulas
    return sorted(found)


class Profile(Kernel):
    """A kernel f(t) of one pair value; see the module's docstring for what a declaration contains.

    Examples
    --------
    A kernel of one's own is a class.  It runs as fast as those of the library; declare ``length`` and ``constants`` too
    if it has a scale:

    >>> from dataclasses import dataclass
    >>> from sslcore.kernels import Profile, registry
    >>> @dataclass(frozen=True)
    ... class Cauchy(Profile):
    ...     pair = "sqdist"
    ...     formula = "real(1) / (real(1) + t)"
    >>> Cauchy()([[0.0], [1.0]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> _ = registry.pop("Cauchy")  # over which the library's tests iterate
    """

    pair: ClassVar[str]
    reach: ClassVar[float] = math.inf
    """Lengths beyond which a distance kernel is below rounding: where it need not be computed with care."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        formula, several = vars(cls).get("formula"), vars(cls).get("_formulas", {})
        for declared in (formula, *several.values()):
            if isinstance(declared, str):  # else it is made when asked for, and checked then
                check_formula(declared)
        if not cls.__name__.startswith("_"):  # bases of others
            register(registry, cls, home=__name__, names=__all__)

    @property
    def formula(self) -> str:
        """The profile f as an expression in t and c0..c3."""
        raise NotImplementedError

    @property
    def length(self) -> float:
        """A length on which the kernel varies: |d k / d r| <= 1 / length for distance kernels, 1 for dot products."""
        return 1.0

    def constants(self, length: float) -> tuple[float, ...]:
        """c0, c1, ... for points measured in a unit in which ``self.length`` reads ``length``."""
        return ()

    def coordinates(self, x: Array) -> Array:
        """The points between which pair values are taken, made from ``x`` (n, d); x itself unless overridden."""
        return x

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """As in `Kernel.profile`: f at |x - y|^2 = 2 |x|^2 (1 - u), or at <x, y> = |x|^2 u."""
        if self.pair not in ("sqdist", "dot") or type(self).coordinates is not Profile.coordinates:
            return super().profile(u, width=width, squared_norm=squared_norm)
        _check_profile(u, width, squared_norm)
        functions = _functions(u)
        number = functions.mpf if hasattr(functions, "mpf") else float
        squared_norm = number(width if squared_norm is None else squared_norm)
        t = squared_norm * u if self.pair == "dot" else 2 * squared_norm * (1 - u)
        names = {"t": t, "exp": functions.exp, "sqrt": functions.sqrt, "real": number}
        return evaluate_formula(self.formula, names | self._named_constants(number(self.length)))

    def _named_constants(self, length: Any) -> dict[str, Any]:
        """c0 to c3 by name; those that the kernel does not have are 0."""
        values = self.constants(length)
        return {f"c{i}": values[i] if i < len(values) else 0.0 for i in range(4)}

    @property
    def source_file(self) -> str:
        """The file that declares the kernel, to which backends tie their compiled code."""
        return getattr(sys.modules.get(type(self).__module__), "__file__", None) or "<none>"


@dataclass(frozen=True)
class Gaussian(Profile):
    """Gaussian kernel k(x, y) = exp(-|x - y|^2 / (2 scale^2)).

    Parameters
    ----------
    scale : float
        Standard deviation, in the unit of the data; > 0.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Gaussian(2.0)([[0.0], [2.0]]).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """

    scale: float = positive("standard deviation, in the unit of the data")
    pair: ClassVar[str] = "sqdist"
    reach: ClassVar[float] = 40.0  # exp(-40) = 4e-18

    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """-1 / (2 scale^2)."""
        return (-0.5 / length**2,)


@dataclass(frozen=True)
class Exponential(Profile):
    """Exponential kernel k(x, y) = exp(-|x - y| / scale) (Matern with nu = 1/2; the paper's half-moons).

    Parameters
    ----------
    scale : float
        Decay length, in the unit of the data; > 0.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Exponential(1.0)([[0.0], [1.0]]).round(4)
    array([[1.    , 0.3679],
           [0.3679, 1.    ]])
    """

    scale: float = positive("decay length, in the unit of the data")
    pair: ClassVar[str] = "sqdist"
    reach: ClassVar[float] = 40.0  # exp(-40) = 4e-18

    formula = "exp(c0 * sqrt(t))"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """-1 / scale."""
        return (-1.0 / length,)


@dataclass(frozen=True)
class L1Exponential(Profile):
    """Laplace kernel of the l1 distance, k(x, y) = exp(-sum_c |x_c - y_c| / scale).

    Parameters
    ----------
    scale : float
        Decay length, in the unit of the data; > 0.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.L1Exponential(2.0)([[0.0, 0.0], [1.0, 1.0]]).round(4)
    array([[1.    , 0.3679],
           [0.3679, 1.    ]])
    """

    scale: float = positive("decay length, in the unit of the data")
    pair: ClassVar[str] = "l1"

    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """-1 / scale."""
        return (-1.0 / length,)


@dataclass(frozen=True)
class Matern(Profile):
    r"""Matern kernel of half-integer smoothness (Rasmussen and Williams 2006, eq. 4.16).

    With s = sqrt(2 nu) |x - y| / scale it is exp(-s) for nu = 1/2, (1 + s) exp(-s) for nu = 3/2 and
    (1 + s + s^2/3) exp(-s) for nu = 5/2.

    Parameters
    ----------
    nu : float
        Smoothness; 0.5, 1.5 or 2.5.  The limit of large nu is `Gaussian`.
    scale : float
        Length, in the unit of the data; > 0.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Matern(1.5, scale=1.0)([[0.0], [1.0]]).round(4)
    array([[1.    , 0.4834],
           [0.4834, 1.    ]])
    """

    nu: float = one_of("smoothness", (0.5, 1.5, 2.5), hint="; for large nu use Gaussian(scale)")
    scale: float = positive("length, in the unit of the data")
    pair: ClassVar[str] = "sqdist"
    reach: ClassVar[float] = 40.0  # exp(-40) = 4e-18
    _formulas: ClassVar[dict[float, str]] = {
        0.5: "exp(c0 * sqrt(t))",
        1.5: "(real(1) - c0 * sqrt(t)) * exp(c0 * sqrt(t))",
        2.5: "(real(1) - c0 * sqrt(t) + c1 * t) * exp(c0 * sqrt(t))",
    }

    @property
    def formula(self) -> str:
        """A polynomial times an exponential, by nu."""
        return self._formulas[self.nu]

    @property
    def length(self) -> float:
        """The scale over sqrt(2 nu)."""
        return self.scale / math.sqrt(2 * self.nu)

    def constants(self, length: float) -> tuple[float, ...]:
        """-sqrt(2 nu) / scale and its square over 3."""
        return (-1.0 / length, 1.0 / (3.0 * length**2))


@dataclass(frozen=True)
class Polynomial(Profile):
    """Polynomial kernel k(x, y) = (<x, y> + offset)^degree.

    Parameters
    ----------
    degree : int
        Exponent; from 1 to 64.
    offset : float
        What is added to the inner product; >= 0.  Kernels with negative offsets are not positive semi-definite.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Polynomial(2, offset=1.0)([[1.0], [2.0]])
    array([[ 4.,  9.],
           [ 9., 25.]])
    """

    degree: int = integer("exponent", minimum=1, maximum=64)
    offset: float = nonnegative("what is added to the inner product", default=1.0)
    pair: ClassVar[str] = "dot"

    @property
    def formula(self) -> str:
        """A product of ``degree`` factors, by repeated squaring."""
        power, factors = "(t + c0)", []
        for bit in reversed(f"{self.degree:b}"):
            if bit == "1":
                factors.append(power)
            power = f"({power} * {power})"
        return " * ".join(factors)

    def constants(self, length: float) -> tuple[float, ...]:
        """The offset."""
        return (self.offset,)


@dataclass(frozen=True)
class Linear(Profile):
    """Linear kernel k(x, y) = <x, y>; of rank d, so that `sslcore.features.Identity` does the same faster.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Linear()([[1.0, 0.0], [1.0, 2.0]])
    array([[1., 1.],
           [1., 5.]])
    """

    pair: ClassVar[str] = "dot"
    formula = "t"


@dataclass(frozen=True)
class PeriodicGaussian(Profile):
    r"""Wrapped Gaussian kernel on the torus [0, 1)^d, k(x, y) = prod_c sum_n exp(-(x_c - y_c + n)^2 / (2 scale^2)).

    The sum is over all integers n, so that the kernel is positive semi-definite: its Fourier coefficients are
    (sqrt(2 pi) scale)^d exp(-2 pi^2 scale^2 |w|^2) (Poisson's formula).  The Gaussian of the distance on the circle
    alone, without the other n, has negative ones.

    Parameters
    ----------
    scale : float
        Standard deviation, on circles of length 1; >= 1e-12.

    Notes
    -----
    Coordinates are taken modulo 1.  k(x, x) is 1 for small scales and (sqrt(2 pi) scale)^d for large ones.

    Computed with the two (scale <= 0.11) or four (< 0.23) largest terms n, two or three exponentials a coordinate, and
    from 0.23 on with the Fourier terms |w| <= 5; what is left out is below 1e-16 of the largest value (cf. the wrapped
    normal density, Mardia and Jupp 2000, section 3.5.7).

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.PeriodicGaussian(0.1)([[0.05], [0.95]]).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """

    scale: float = real("standard deviation, on circles of length 1", minimum=1e-12)
    pair: ClassVar[str] = "torus"
    _formulas: ClassVar[dict[str, str]] = {
        # terms n = 0 and the next, whose difference of exponents is (1 - 2 t) / (2 scale^2)
        "narrow": "exp(c0 * t * t) * (real(1) + exp(c0 * (real(1) - t - t)))",
        # with p the ratio of these two, those of n = -1 and 2 are c1 / p and c1 p^2, c1 = exp(-1 / scale^2)
        "middle": (
            "exp(c0 * t * t) * (real(1) + exp(c0 * (real(1) - t - t))"
            " * (real(1) + c1 * exp(c0 * (real(1) - t - t))) + c1 * exp(-c0 * (real(1) - t - t)))"
        ),
        # sum_w c1^(w^2) cos(2 pi w t), |w| <= 5, by Chebyshev polynomials; c2 = c1^3, c3 = c1^5
        "wide": (
            "c0 * (real(1) + real(2) * c1 * (cos2pi(t)"
            " + c2 * (real(2) * cos2pi(t) * cos2pi(t) - real(1)"
            " + c3 * (cos2pi(t) * (real(4) * cos2pi(t) * cos2pi(t) - real(3))"
            " + c1 * c1 * c3 * (real(8) * cos2pi(t) * cos2pi(t) * (cos2pi(t) * cos2pi(t) - real(1)) + real(1)"
            " + c1 * c2 * c3 * (cos2pi(t) * (cos2pi(t) * cos2pi(t)"
            " * (real(16) * cos2pi(t) * cos2pi(t) - real(20)) + real(5))))))))"
        ),
    }

    @property
    def _regime(self) -> str:
        return "narrow" if self.scale <= 0.11 else "middle" if self.scale < 0.23 else "wide"

    @property
    def formula(self) -> str:
        """The factor of one coordinate; see Notes."""
        return self._formulas[self._regime]

    @property
    def length(self) -> float:
        """The scale.  Coordinates stay as they are: the circle already has length 1."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """-1 / (2 scale^2) and exp(-1 / scale^2); or sqrt(2 pi) scale, q = exp(-2 pi^2 scale^2), q^3 and q^5."""
        if self._regime != "wide":
            return (-0.5 / length**2, math.exp(-1.0 / length**2))
        power = -2.0 * math.pi**2 * length * length
        return (math.sqrt(2.0 * math.pi) * length, *(math.exp(n * power) for n in (1, 3, 5)))


@dataclass(frozen=True)
class VonMises(Profile):
    r"""Von Mises kernel on the torus [0, 1)^d, k(x, y) = exp(sum_c (cos(2 pi (x_c - y_c)) - 1) / scale^2).

    That is the Gaussian kernel of this scale between the points (cos 2 pi x_c, sin 2 pi x_c)_c of a product of unit
    circles, hence positive semi-definite; its Fourier coefficients are prod_c exp(-1 / scale^2) I_{w_c}(1 / scale^2)
    (Mardia and Jupp 2000, section 3.5.4, for the density, whose concentration is 1 / scale^2).

    Parameters
    ----------
    scale : float
        Of the Gaussian between points of unit circles; > 0.  For small scales the kernel is a Gaussian of standard
        deviation scale / (2 pi) in x.

    Notes
    -----
    Coordinates are taken modulo 1.  The absolute error is of order eps / scale, that of rounding the circles' points.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.VonMises(1.0)([[0.0], [0.25], [1.0]]).round(4)
    array([[1.    , 0.3679, 1.    ],
           [0.3679, 1.    , 0.3679],
           [1.    , 0.3679, 1.    ]])
    """

    scale: float = positive("of the Gaussian between points of unit circles")
    pair: ClassVar[str] = "sqdist"
    reach: ClassVar[float] = 40.0
    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """-1 / (2 scale^2)."""
        return (-0.5 / length**2,)

    def coordinates(self, x: Array) -> Array:
        """The circles' points, all cosines first, (n, 2 d); angles are reduced before they are rounded."""
        xp = namespace(x)
        angle = (x - xp.rint(x)).astype(xp.float64, copy=False)
        angle *= 2.0 * math.pi
        both = xp.empty((len(x), 2 * x.shape[1]), x.dtype)
        both[:, : x.shape[1]] = xp.cos(angle)
        both[:, x.shape[1] :] = xp.sin(angle)
        return both


@dataclass(frozen=True)
class _Angular(Profile):
    """Kernels of wide networks of rectifiers: functions of the angle of two points and of their lengths."""

    pair: ClassVar[str] = "angle"
    formula = "t"  # there is none: the backends have the recursion
    recursion: ClassVar[str]
    """``"step"``, ``"quadratic"``, ``"nngp"`` or ``"ntk"``: what is done with the angle."""

    @property
    def bias(self) -> float:
        """Variance of the biases."""
        return 0.0

    @property
    def gain(self) -> float:
        """By what a layer multiplies squared lengths: half the variance of the weights times the number of inputs."""
        return 1.0

    @property
    def layers(self) -> int:
        """Number of hidden layers."""
        return 1

    def divisor(self, width: int) -> float:
        """What the inner products of points with ``width`` coordinates are divided by before the first layer."""
        return 1.0

    def directions(self, x: Array) -> tuple[Array, Array]:
        """Unit vectors (n, d), with biases (n, d + 1), of the points x (n, d), and lengths (layers, n) in float64.

        The first layer's covariance is that of the points (sqrt(gain / divisor) x, sqrt(bias)): these are made unit
        vectors (0 stays 0); the l-th length is sqrt(gain) times the norm that they have after l layers.
        """
        xp = namespace(x)
        with quiet():  # lengths that overflow are found out in the values
            wide = x.astype(xp.float64, copy=False)
            largest = xp.abs(wide).max(axis=1, keepdims=True)
            unit = xp.where(largest > 0, largest, 1.0)  # else squares may overflow, or vanish
            wide = wide / unit
            inner = xp.sqrt(xp.einsum("ij,ij->i", wide, wide))
            scale = math.sqrt(self.gain / self.divisor(x.shape[1]))
            root, gain = math.sqrt(self.bias), math.sqrt(self.gain)
            points = scale * unit[:, 0] * inner
            norm = xp.hypot(points, root)
            safe = xp.where(norm > 0, norm, 1.0)
            wide *= (points / safe / xp.where(inner > 0, inner, 1.0))[:, None]
            if self.bias:
                wide = xp.concatenate([wide, (root / safe)[:, None]], axis=1)
            lengths = xp.empty((self.layers, len(x)))
            for layer in range(self.layers):
                lengths[layer] = gain * norm
                norm = xp.hypot(lengths[layer], root)
        return wide.astype(x.dtype, copy=False), lengths

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """As in `Kernel.profile`; near u = 1 and u = -1 to rounding of 1 - u and 1 + u."""
        _check_profile(u, width, squared_norm)
        f = _functions(u)
        squared = self.gain / self.divisor(width) * (width if squared_norm is None else squared_norm)
        norm = self.bias + squared  # the squared norm in this layer
        versine = squared * (1 - u) / norm
        rest = (2 * self.bias + squared * (1 + u)) / norm  # 2 - versine
        cosine = 1 - versine
        tangent = norm * cosine
        for _ in range(self.layers):
            angle, sine = 2 * f.atan2(f.sqrt(versine), f.sqrt(rest)), f.sqrt(versine * rest)
            if self.recursion == "step":
                return 1 - angle / f.pi
            if self.recursion == "quadratic":
                twice = 1 + 2 * cosine * cosine
                return norm * norm * (3 * sine * cosine + (f.pi - angle) * twice) / f.pi
            product = self.gain * norm
            norm = self.bias + product
            kappa1 = (sine + (f.pi - angle) * cosine) / f.pi
            covariance = self.bias + product * kappa1
            tangent = covariance + self.gain * tangent * (1 - angle / f.pi)
            versine = product * abs(versine - (sine - angle * cosine) / f.pi) / norm  # < 0 when an angle is rounding
            rest, cosine = 2 - versine, 1 - versine
        return tangent if self.recursion == "ntk" else covariance


@dataclass(frozen=True)
class ArcCosine(_Angular):
    r"""Arc-cosine kernel of order n (Cho and Saul 2009): 2 E[(<w, x>)_+^n (<w, y>)_+^n], w standard normal.

    With theta the angle of x and y: order 0 is (pi - theta) / pi, order 1 is
    |x| |y| (sin theta + (pi - theta) cos theta) / pi, and order 2 is
    |x|^2 |y|^2 (3 sin theta cos theta + (pi - theta) (1 + 2 cos^2 theta)) / pi.

    Parameters
    ----------
    order : int
        Power of the inner products; from 0 to 2.

    Notes
    -----
    Angles are exact near 0 and near pi too, where <x, y> alone knows them to the square root of rounding only.  With
    a step that is 1/2 at 0, order 0 has k(0, y) = 1/2.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.ArcCosine(1)([[1.0, 0.0], [0.0, 2.0]]).round(4)
    array([[1.    , 0.6366],
           [0.6366, 4.    ]])
    """

    order: int = integer("power of the inner products", minimum=0, maximum=2)

    @property
    def recursion(self) -> str:  # type: ignore[override]
        """That of one layer, without the variances."""
        return ("step", "nngp", "quadratic")[self.order]

    @property
    def length(self) -> float:
        """Angle on which the kernel varies; only order 0 has a slope at 0."""
        return 1.0 if self.order == 0 else 100.0


@dataclass(frozen=True)
class _Network(_Angular):
    """What `NNGP` and `NTK` share: their parameters."""

    depth: int = integer("number of hidden layers", minimum=1, maximum=1000)
    weight_variance: float = positive("variance of the weights times the number of inputs", default=2.0)
    bias_variance: float = nonnegative("variance of the biases", default=0.0)
    fan_in: float | None = positive("what <x, y> is divided by", default=None)

    @property
    def bias(self) -> float:
        """Variance of the biases."""
        return self.bias_variance

    @property
    def gain(self) -> float:
        """Half the variance of the weights."""
        return 0.5 * self.weight_variance

    @property
    def layers(self) -> int:
        """The depth."""
        return self.depth

    def divisor(self, width: int) -> float:
        """``fan_in``, by default the number of coordinates."""
        return float(width) if self.fan_in is None else self.fan_in


@dataclass(frozen=True)
class NNGP(_Network):
    r"""Covariance of the outputs of a random network of rectifiers as its layers become wide (Lee et al. 2018).

    With u = <x, y> / fan_in, sw2 = weight_variance and sb2 = bias_variance,
    Sigma_0 = sb2 + (sw2 / 2) u, and for each of ``depth`` hidden layers
    Sigma <- sb2 + (sw2 / 2) q kappa1(rho), q^2 = Sigma(x, x) Sigma(y, y), rho = Sigma(x, y) / q,
    kappa1(r) = (sqrt(1 - r^2) + r (pi - acos r)) / pi.

    Parameters
    ----------
    depth : int
        Number of hidden layers; from 1 to 1000.
    weight_variance : float
        Variance of the weights times the number of inputs; > 0.  2 keeps lengths through the layers (He et al. 2015).
        That of the first layer, whose inputs are not rectified, is half of it.
    bias_variance : float
        Variance of the biases; >= 0.
    fan_in : float, optional
        What <x, y> is divided by; > 0.  By default the number of coordinates, so that u = 1 for a point of the
        hypercube and itself.  1 is for unit vectors.

    Notes
    -----
    The recursion runs on 1 - rho, in which nothing cancels: nearly equal points keep their digits through the layers.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.NNGP(2)([[1.0, 1.0], [1.0, -1.0]]).round(4)
    array([[1.    , 0.4937],
           [0.4937, 1.    ]])
    """

    recursion: ClassVar[str] = "nngp"

    @property
    def length(self) -> float:
        """It varies like the square of the angle near 0."""
        return 100.0


@dataclass(frozen=True)
class NTK(_Network):
    r"""Neural tangent kernel of a network of rectifiers as its layers become wide (Jacot et al. 2018).

    The inner product of the gradients of the output by all weights and biases, in the parametrisation in which these
    are standard normals times the square roots of the variances: with the Sigma of `NNGP`, Theta_0 = Sigma_0 and
    Theta <- Sigma_new + Theta (sw2 / 2) kappa0(rho), kappa0(r) = (pi - acos r) / pi, for each of ``depth`` hidden
    layers.

    Parameters
    ----------
    depth : int
        Number of hidden layers; from 1 to 1000.
    weight_variance : float
        Variance of the weights times the number of inputs; > 0.  As in `NNGP`.
    bias_variance : float
        Variance of the biases; >= 0.
    fan_in : float, optional
        What <x, y> is divided by; > 0.  As in `NNGP`.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.NTK(2)([[1.0, 1.0], [1.0, -1.0]]).round(4)
    array([[3.    , 0.6857],
           [0.6857, 3.    ]])
    """

    recursion: ClassVar[str] = "ntk"

    @property
    def length(self) -> float:
        """Angle on which it varies: the slopes of the layers add up."""
        return min(1.0, 3.0 / self.depth)


def _as_part(value: Any, name: str) -> Kernel:
    if not isinstance(value, Kernel):
        raise TypeError(f"a kernel was expected, found {type(value).__name__}; wrap a callable in Function")
    if isinstance(value, Precomputed):
        raise TypeError("Precomputed() cannot be a part of another kernel; combine the matrices themselves")
    return value


def _as_filter(value: Any, name: str) -> str | tuple[float, ...] | None:
    if value is None or (isinstance(value, str) and value == "global"):
        return value
    if isinstance(value, str) or np.ndim(value) != 1 or not len(value):
        raise ValueError(f"{name} must be None, 'global' or the values of a filter, found {shown(value)}")
    values = tuple(check_scalar(entry, f"a value of the {name} filter") for entry in value)
    if not any(values):
        raise ValueError(f"the {name} filter must not be 0 everywhere")
    return values


def _as_function(value: Any, name: str) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"{name} must be callable, found {type(value).__name__}")
    return value


@dataclass(frozen=True)
class Sum(Kernel):
    """k(x, y) = first(x, y) + second(x, y); written ``first + second``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (Linear() + Linear())([[3.0]])
    array([[18.]])
    """

    first: Kernel = converted("a kernel", _as_part)
    second: Kernel = converted("a kernel", _as_part)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """As in `Kernel.profile`, if both parts have one."""
        at = {"width": width, "squared_norm": squared_norm}
        return self.first.profile(u, **at) + self.second.profile(u, **at)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether both parts are."""
        return self.first.trusted and self.second.trusted


@dataclass(frozen=True)
class Product(Kernel):
    """k(x, y) = first(x, y) second(x, y), positive semi-definite by Schur; written ``first * second``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (Linear() * Linear())([[3.0]])
    array([[81.]])
    """

    first: Kernel = converted("a kernel", _as_part)
    second: Kernel = converted("a kernel", _as_part)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """As in `Kernel.profile`, if both parts have one."""
        at = {"width": width, "squared_norm": squared_norm}
        return self.first.profile(u, **at) * self.second.profile(u, **at)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether both parts are."""
        return self.first.trusted and self.second.trusted


@dataclass(frozen=True)
class Scaled(Kernel):
    """k(x, y) = factor base(x, y), factor > 0; written ``factor * base``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (0.5 * Linear())([[3.0]])
    array([[4.5]])
    """

    base: Kernel = converted("a kernel", _as_part)
    factor: float = positive("what the values are multiplied by", label="the factor of a kernel")

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """As in `Kernel.profile`, if the base has one."""
        return self.factor * self.base.profile(u, width=width, squared_norm=squared_norm)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether the base is."""
        return self.base.trusted


@dataclass(frozen=True, repr=False)
class Convolutional(Kernel):
    r"""Kernel of a convolutional layer, k(x, y) = (1/d) sum_i <Phi_i(x), Phi_i(y)>, Phi_i = sum_a f(a) phi(P_{i+a}).

    P_i x = (x_i, ..., x_{i+q-1}) are the patches of ``patch`` = q coordinates, all indices modulo d, and phi is the
    feature map of ``base``, a kernel of points with q coordinates (Misiakiewicz and Mei 2022, with its pooling).  With
    r(s) = sum_a f(a) f(a + s), the correlation of the filter with itself, it is computed as

        k(x, y) = (1/d) sum_s r(s) sum_i base(P_i x, P_{i+s} y).

    Parameters
    ----------
    base : Kernel or callable
        With its own conventions: `NNGP` and `NTK` divide <P x, P y> by q unless told otherwise.
    patch : int
        Number of coordinates of a patch; >= 1.  q above; the points must have at least as many coordinates.
    pooling : None, "global" or array (at most d,)
        The filter f: none (f(0) = 1), the mean over all d positions, or f(0), f(1), ... as they are.

    Notes
    -----
    d Gram matrices of ``base``; times as many shifts as r(s) is not 0 for, which are all d with ``"global"``.

    Examples
    --------
    >>> import sslcore
    >>> k = sslcore.kernels.Convolutional(sslcore.kernels.Linear(), 2)
    >>> k([[1.0, 2.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).round(4)  # each coordinate lies in two patches
    array([[0.6667, 1.3333]])
    >>> pooled = sslcore.kernels.Convolutional(sslcore.kernels.NNGP(1), 2, pooling="global")
    >>> x = [[1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0]]  # the second is a shift of the first
    >>> pooled(x).round(4)
    array([[0.5342, 0.5342],
           [0.5342, 0.5342]])
    """

    base: Kernel = converted("a kernel of patches", lambda value, name: _as_part(as_kernel(value), name))
    patch: int = integer("number of coordinates of a patch", minimum=1)
    pooling: str | tuple[float, ...] | None = converted("the filter f", _as_filter, default=None)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether the base is."""
        return self.base.trusted

    def shifts(self, width: int) -> dict[int, float]:
        """The weight r(s) / d of each shift s that has one, for points with ``width`` = d coordinates.

        Raises
        ------
        ValueError
            If d is less than the patch, or than the filter.
        """
        length = len(self.pooling) if isinstance(self.pooling, tuple) else 1
        if width < max(self.patch, length):
            raise ValueError(
                f"points with {width} coordinates have no patches of {self.patch}, or are shorter than the pooling "
                f"filter (length {length}); choose a smaller patch or filter"
            )
        if self.pooling is None:
            return {0: 1.0 / width}
        if isinstance(self.pooling, str):
            return dict.fromkeys(range(width), 1.0 / width**2)
        weights: dict[int, float] = {}
        for a, first in enumerate(self.pooling):
            for b, second in enumerate(self.pooling):
                weights[(b - a) % width] = weights.get((b - a) % width, 0.0) + first * second / width
        return {s: weight for s, weight in weights.items() if weight}


registry["Convolutional"] = Convolutional


@dataclass(frozen=True)
class Function(Kernel):
    """Any callable ``function(x, y) -> (n_x, n_y)`` as a kernel; solvers check that it is positive semi-definite.

    Wherever a kernel is expected a plain callable may be given instead; it is wrapped into this class.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Function(lambda x, y: 1.0 / (1.0 + (x - y.T) ** 2))([[0.0], [1.0]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """

    function: Callable[[Array, Array], Array] = converted("values of a kernel", _as_function)
    trusted: ClassVar[bool] = False


@dataclass(frozen=True)
class Precomputed(Kernel):
    """A kernel given by its values: "points" are then rows of kernel values against the N training views.

    For `sslcore.pretrain` the views are the Gram matrix itself, as (n, m, n m) or, with groups, (N, N);
    for `Representation.transform` they are k(new points, training views), shape (n_new, N).

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Precomputed()([[2.0, 1.0], [1.0, 2.0]])
    array([[2., 1.],
           [1., 2.]])
    """

    trusted: ClassVar[bool] = False


def _check_profile(u: Any, width: Any, squared_norm: Any) -> None:
    """Refuse what is no cosine, no number of coordinates or no squared norm; numbers of mpmath are numbers."""
    check_integer(width, "width", minimum=1)
    if squared_norm is not None:
        check_scalar(_plain(squared_norm), "squared_norm", minimum=0.0)
    values = np.asarray(_plain(u))
    if values.dtype.kind not in "iuf":
        raise TypeError(f"u must be the cosine of an angle, a real number or an array, found {shown(u)}")
    if not (np.abs(values) <= 1.0 + 1e-9).all():  # beyond by rounding at most; NaN is no cosine
        raise ValueError(f"u must be the cosine of an angle, from -1 to 1, found {shown(u)}")


def _plain(value: Any) -> Any:
    return float(value) if type(value).__module__.startswith("mpmath") else value


class _Numpy:
    """The functions of NumPy under the names that mpmath has for them."""

    exp, sqrt, atan2, pi = np.exp, np.sqrt, np.arctan2, math.pi


def _functions(u: Any) -> Any:
    """What computes with numbers like ``u``: mpmath, which is then there, or NumPy."""
    return sys.modules["mpmath"].mp if type(u).__module__.startswith("mpmath") else _Numpy


def as_kernel(value: Any) -> Kernel:
    """``value`` if it is a kernel; a plain callable is wrapped into `Function`.

    Examples
    --------
    >>> from sslcore.kernels import Linear, as_kernel
    >>> as_kernel(Linear()), type(as_kernel(lambda x, y: x @ y.T)).__name__
    (Linear(), 'Function')
    """
    if isinstance(value, Kernel):
        return value
    if isinstance(value, type) and issubclass(value, Kernel):
        raise TypeError(f"a kernel was expected, found the class {value.__name__}; write {value.__name__}(...)")
    if callable(value):
        return Function(value)
    raise TypeError(f"a kernel of sslcore.kernels or a callable was expected, found {type(value).__name__}")
