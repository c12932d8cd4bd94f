"""Laws on the sphere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..declarations.parameters import real
from ._base import Augmentation, Stage

__all__ = ["RandomRotation", "TangentStep"]


# ---------------------------------------------------------------- the sphere


@dataclass(frozen=True)
class _OnSphere(Augmentation):
    """Law of a view as long as the sample, at an angle to it; its direction is uniform given that angle."""

    angle: float = real("in radians", minimum=0.0, maximum=math.pi)
    _of_plane: ClassVar[int]

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("step_on_sphere", (2.0 * math.sin(0.5 * self.angle) ** 2, self._of_plane)),)

    def _check_coordinates(self, d: int) -> None:
        if d < 2:
            raise ValueError(f"{self!r} takes points of a sphere in two dimensions or more, found samples of {d}")


@dataclass(frozen=True)
class TangentStep(_OnSphere):
    """A step of a given angle along a great circle, in a uniformly random direction.

    ``xi = cos(angle) x + sin(angle) |x| v``, with v uniform on the unit vectors orthogonal to x.  On the sphere
    S^(d-1), A has the eigenvalue ``P_l(cos(angle))`` on the spherical harmonics of degree l, where P_0 = 1, P_1(u) = u
    and ``(l + d - 2) P_(l+1)(u) = (2l + d - 2) u P_l(u) - l P_(l-1)(u)`` (Legendre polynomials for d = 3, and
    ``cos(l angle)`` for d = 2).

    Samples need not have norm 1: the view has the norm of its sample, and that of 0 is 0.  The direction v is
    ``H (0, g) / |g|``, with the normals g of the coordinates 1 to d - 1 of :class:`GaussianNoise`, and the reflection H
    that takes x to a multiple of the first unit vector: nothing cancels.  Computed in float64 and rounded once to the
    type of x.

    Parameters
    ----------
    angle : float
        In radians; in [0, pi].

    References
    ----------
    Dai and Xu, *Approximation Theory and Harmonic Analysis on Spheres and Balls*, Springer 2013, section 2.1
    (this A is the translation operator there).

    Examples
    --------
    >>> import math
    >>> from sslcore.augmentations import TangentStep
    >>> from sslcore.datasets import sphere
    >>> x = sphere(100, 5, seed=0)
    >>> xi = TangentStep(math.pi / 3).views(x, 2, seed=0)
    >>> bool(abs((xi * x[:, None]).sum(axis=-1) - 0.5).max() < 1e-14), bool(abs((xi**2).sum(axis=-1) - 1).max() < 1e-14)
    (True, True)
    """

    _of_plane: ClassVar[int] = 0


@dataclass(frozen=True)
class RandomRotation(_OnSphere):
    """Rotation by a given angle in a uniformly random plane (with a random orientation).

    On the sphere S^(d-1), A has on the spherical harmonics of degree l the eigenvalue

        ``[z^l] (1 - z^2) / ((1 - z)^(d-2) (1 - 2 z cos(angle) + z^2)) / N(d, l)``,

    the normalised character of the rotation; ``N(d, l) = C(l + d - 1, d - 1) - C(l + d - 3, d - 1)``.

    A view depends on the rotation through the share b of |x|^2 that lies in the plane: it is a
    :class:`TangentStep` by the random angle of cosine ``1 - (1 - cos(angle)) b``.  ``b = 1 - u^(2/(d-2))`` has the law
    Beta(1, (d - 2)/2) of that share; b = 1 for d = 2.  The uniform u is word 0 of draw block ceil(d / 4), the next one
    after those of the normals.  Norms are kept, as there; views of one sample are rotated independently.

    Parameters
    ----------
    angle : float
        In radians; in [0, pi].

    References
    ----------
    Rosenthal, *Random rotations: characters and random walks on SO(N)*, Annals of Probability 1994 (these rotations).

    Examples
    --------
    >>> import math
    >>> from sslcore.augmentations import RandomRotation
    >>> from sslcore.datasets import sphere
    >>> x = sphere(5000, 4, seed=0)
    >>> xi = RandomRotation(math.pi).views(x, 2, seed=0)
    >>> bool(abs((xi * x[:, None]).sum(axis=-1).mean()) < 0.05)  # (d - 2 + 2 cos(angle)) / d
    True
    """

    _of_plane: ClassVar[int] = 1
