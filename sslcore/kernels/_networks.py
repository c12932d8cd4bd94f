"""Kernels of wide networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..arrays import Array, ignore_overflow, namespace
from ..declarations.parameters import integer, nonnegative, positive
from ._base import Profile
from ._cosines import check_profile, functions_of
from ._rows import Needs

__all__ = ["NNGP", "NTK", "ArcCosine"]


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
        """Return the divisor of inner products of points with ``width`` coordinates, before the first layer."""
        return 1.0

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: unit vectors are made in float64, and a coordinate is added for the biases."""
        vectors = 8 * d * (2 if itemsize < 8 or self.bias else 1) + 8 * (self.layers + 6)
        kept = itemsize * (d + (self.bias > 0)) + 8 * self.layers
        return Needs(preparing=vectors * n, kept=kept * n, row=vectors)

    def directions(self, x: Array) -> tuple[Array, Array]:
        """Return unit vectors (n, d), with biases (n, d + 1), of x (n, d), and float64 lengths (layers, n).

        The first layer's covariance is that of the points (sqrt(gain / divisor) x, sqrt(bias)): these are made unit
        vectors (0 stays 0); the l-th length is sqrt(gain) times the norm that they have after l layers.
        """
        xp = namespace(x)
        with ignore_overflow():  # lengths that overflow are found out in the values
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
        """Evaluate as in `Kernel.profile`; near u = 1 and u = -1 to rounding of 1 - u and 1 + u."""
        check_profile(u, width, squared_norm)
        f = functions_of(u)
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
    """The parameters that `NNGP` and `NTK` share."""

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
        """Return ``fan_in``, by default the number of coordinates."""
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
