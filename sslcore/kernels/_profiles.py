"""Kernels of one pair value: distances, inner products and circles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .. import tunables
from ..arrays import Array, namespace
from ..declarations.parameters import integer, nonnegative, one_of, positive, real
from ._base import Profile
from ._rows import Needs

__all__ = ["Exponential", "Gaussian", "L1Exponential", "Linear", "Matern", "PeriodicGaussian", "Polynomial", "VonMises"]


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
    bounded: ClassVar[bool] = True

    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """Return -1 / (2 scale^2)."""
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
    bounded: ClassVar[bool] = True

    formula = "exp(c0 * sqrt(t))"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """Return -1 / scale."""
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
    bounded: ClassVar[bool] = True

    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """Return -1 / scale."""
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
    bounded: ClassVar[bool] = True
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
        """Return -sqrt(2 nu) / scale and its square over 3."""
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
        """Return the offset."""
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
        """Return -1/(2 scale^2) and exp(-1/scale^2); or sqrt(2 pi) scale, q = exp(-2 pi^2 scale^2), q^3 and q^5."""
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
    bounded: ClassVar[bool] = True
    formula = "exp(c0 * t)"

    @property
    def length(self) -> float:
        """The scale."""
        return self.scale

    def constants(self, length: float) -> tuple[float, ...]:
        """Return -1 / (2 scale^2)."""
        return (-0.5 / length**2,)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: angles and a function of them in float64 beside both coordinates, then these."""
        both = 2 * itemsize * d
        needs, making = self._needs_of_coordinates(n, 2 * d, itemsize), 16 * d + both
        direct = 2 * d <= tunables.CPU_DIFFERENCES_COORDINATES  # then these are not given back meanwhile
        preparing = needs.preparing + both * n * direct
        return Needs(max(making * n, preparing), needs.kept, 0.0, max(making, needs.row + both))

    def coordinates(self, x: Array) -> Array:
        """Return the circles' points, all cosines first, (n, 2 d); angles are reduced before they are rounded."""
        xp = namespace(x)
        angle = (x - xp.rint(x)).astype(xp.float64, copy=False)
        angle *= 2.0 * math.pi
        both: Array = xp.empty((len(x), 2 * x.shape[1]), x.dtype)
        both[:, : x.shape[1]] = xp.cos(angle)
        both[:, x.shape[1] :] = xp.sin(angle)
        return both
