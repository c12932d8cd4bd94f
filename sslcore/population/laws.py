"""Laws of views that only the population knows: there is a closed form of T, and no sampler."""

from __future__ import annotations

from dataclasses import dataclass

from ..declarations.parameters import Declared, nonnegative

__all__ = ["HeatKernel", "OrnsteinUhlenbeck"]


@dataclass(frozen=True)
class HeatKernel(Declared):
    """Brownian motion on the sphere for a time t: A = exp(t Laplacian), exp(-t l (l + d - 2)) on degree l.

    Parameters
    ----------
    time : float
        Time; >= 0.

    Examples
    --------
    >>> from sslcore.population import HeatKernel, Sphere
    >>> Sphere(3).augmentation_eigenvalues(HeatKernel(0.1), 2).round(4)  # T = A^2
    array([1.    , 0.6703, 0.3012])
    """

    time: float = nonnegative("time")


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Declared):
    """Under x ~ N(0, s^2 I): xi = exp(-t) x + sqrt(1 - exp(-2t)) s z, z ~ N(0, I), of the same law as x.

    A = exp(-t l) on the Hermite functions of degree l of x / s (Mehler).

    Parameters
    ----------
    time : float
        Time; >= 0.

    Examples
    --------
    >>> from sslcore.population import Gaussian, OrnsteinUhlenbeck
    >>> Gaussian(1, 2.0).augmentation_eigenvalues(OrnsteinUhlenbeck(0.5), 2).round(4)
    array([1.    , 0.3679, 0.1353])
    """

    time: float = nonnegative("time")
