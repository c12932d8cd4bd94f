"""Augmentations: laws of a view given its sample, as values.

A view is a pure function of (seed, sample index, view index): neither blocks, nor their order, nor
threads, nor a division of the data change it.  So views need not be stored; they can be made again.

An augmentation is declared in one place, its class here: the law, the parameters and their ranges, the
source, and in :meth:`Augmentation.stages` what a backend has to do.  The declaration enters it into
:data:`registry`.
"""

from __future__ import annotations

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from .arrays import (
    Array,
    as_array,
    as_entries,
    as_float_dtype,
    as_seed,
    brought,
    check_integer,
    check_scalar,
    require_finite,
    shown,
)
from .backends import get_backend
from .backends.stages import PRIMITIVES, n_places
from .declarations import Declared, boolean, converted, integer, nonnegative, probability, real
from .interchange import home_of, same_kind
from .registries import register

__all__ = [
    "Affine",
    "Augmentation",
    "BitFlip",
    "Choice",
    "Compose",
    "Crop",
    "Cutout",
    "GaussianNoise",
    "HorizontalFlip",
    "Mixture",
    "RandomRotation",
    "Resample",
    "Reversal",
    "Shift",
    "SignFlip",
    "Stage",
    "TangentStep",
    "Views",
    "registry",
]

_MAX_SAMPLES = 2**56  # the sample index has 56 bits in the counter of the random numbers,
_MAX_VIEWS = 2**32  # the view index 32
_MAX_STAGES = 2**8  # and the place of a stage 8

registry: dict[str, type[Augmentation]] = {}
"""Every augmentation by its name; tests iterate over it."""


class Stage(NamedTuple):
    """One step of a pipeline in the words of the backends: the name of a primitive and its numbers.

    Examples
    --------
    >>> from sslcore.augmentations import BitFlip
    >>> BitFlip(0.25).stages()
    (Stage(primitive='flip_signs', arguments=(1073741824,)),)
    """

    primitive: str
    arguments: tuple[float | int | tuple[int, ...], ...]


class Choice(NamedTuple):
    """A step that is one of several: the branch of the first threshold above the word of a view.

    Examples
    --------
    >>> from sslcore.augmentations import BitFlip, Mixture, SignFlip
    >>> Mixture([0.25, 0.75], [BitFlip(0.5), SignFlip(0.5)]).stages()[0].thresholds
    (1073741824, 4294967296)
    """

    thresholds: tuple[int, ...]
    branches: tuple[tuple[Stage | Choice, ...], ...]


class Augmentation(Declared, ABC):
    """The law of a view given its sample; views of one sample are conditionally independent.

    Subclasses are frozen dataclasses that implement :meth:`stages` with stages that the backends have.  One that makes
    its views otherwise implements :meth:`views` (and lets :meth:`stages` return ``()``): it works alone, for arrays and
    in :class:`Views`, but is no part of a :class:`Compose` or a :class:`Mixture`.

    Examples
    --------
    >>> from sslcore.augmentations import Augmentation, BitFlip
    >>> isinstance(BitFlip(0.1), Augmentation), BitFlip(0.1).views([[1.0, -1.0]], 3, seed=0).shape
    (True, (1, 3, 2))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            register(registry, cls, home=__name__, names=__all__)

    @abstractmethod
    def stages(self) -> tuple[Stage | Choice, ...]:
        """List what a backend does to the copies of a sample, in this order."""

    @property
    def n_coordinates(self) -> int | None:
        """The number of coordinates that a sample must have; None if any will do."""
        return None

    @same_kind("x")
    def views(self, x: Array, n_views: int, *, seed: int, first: int = 0, backend: str | None = None) -> Array:
        """Make views of each sample.

        Parameters
        ----------
        x : array of shape (n, d)
            Samples; for a law of images also (n, height, width) or (n, height, width, channels), its ``image_shape``.
            float32 and float64 are kept, float16 becomes float32, integers float64.
        n_views : int
            Number m >= 1 of views of each sample.
        seed : int
            Seed, in [0, 2**64).
        first : int
            Index of ``x[0]`` in the whole data set; the last sample's index must be below 2**56.
        backend : {"numba", "cupy"}, optional
            By default, the one that the array belongs to.  ``"cupy"`` takes NumPy arrays to the GPU and the views back.

        Returns
        -------
        array of shape (n, n_views, d)
            ``views(x, m, seed=s)[a:b]`` and ``views(x[a:b], m, seed=s, first=a)`` are equal to the bit,
            and so are view j of 3 and view j of 5.
        """
        x = as_array(flattened(as_entries(x, "x"), self), "x", ndim=2, shape_hint="(n, d)")
        self._check_coordinates(x.shape[1])
        n_views = _check_n_views(n_views)
        seed = as_seed(seed)
        first = check_integer(first, "first", minimum=0)
        if first + len(x) > _MAX_SAMPLES:
            raise ValueError(f"sample indices must be below 2**56, found first={first} with {len(x)} samples")
        _check_stages(self)
        return get_backend(x, backend=backend).views(x, self, n_views, seed, first)

    def _check_coordinates(self, d: int) -> None:
        if self.n_coordinates not in (None, d):
            raise ValueError(
                f"{self!r} takes samples of {self.n_coordinates} coordinates (the product of image_shape), "
                f"found {d}; flatten the images to x of shape (n, {self.n_coordinates}), or change image_shape"
            )

    @property
    def _makes_its_views(self) -> bool:
        """Whether a subclass has a method `views` of its own, in place of stages."""
        return type(self).views is not Augmentation.views


def _check_stages(augmentation: Augmentation, stages: Any = None) -> None:
    """Refuse stages that no backend has; those of the library are known."""
    if stages is None:
        if augmentation._makes_its_views:
            return
        stages = augmentation.stages()
    if not isinstance(stages, tuple):
        raise TypeError(f"stages() of {augmentation!r} must return a tuple of Stage and Choice, found {stages!r}")
    for stage in stages:
        if isinstance(stage, Choice):
            for branch in stage.branches:
                _check_stages(augmentation, branch)
            continue
        types = PRIMITIVES.get(stage.primitive) if isinstance(stage, Stage) else None
        if types is None:
            raise TypeError(
                f"{type(augmentation).__name__} has a stage that no backend has: {stage!r}; there are "
                f"{', '.join(PRIMITIVES)}. To make views in another way, implement the method "
                f"views(x, n_views, *, seed, first=0, backend=None), and let stages() return ()"
            )
        if len(types) != len(stage.arguments) or not all(map(isinstance, stage.arguments, types)):
            names = ", ".join(t.__name__.lower() for t in types)
            raise TypeError(f"the numbers of the stage {stage.primitive!r} are ({names}), found {stage!r}")


def flattened(x: Array, augmentation: Augmentation) -> Array:
    """Images (n, *image_shape) of a law of such images as samples (n, d); what else there is stays as it is."""
    return x.reshape(len(x), -1) if x.ndim > 2 and x.shape[1:] in image_shapes(augmentation) else x


def image_shapes(augmentation: Augmentation) -> set[tuple[int, ...]]:
    """The shapes of the images that a law, or a part of it, is declared on."""
    parts = (image_shapes(part) for part in getattr(augmentation, "parts", ()))
    own = getattr(augmentation, "image_shape", None)
    return set().union(*parts) if own is None else {own}


def _check_n_views(n_views: Any) -> int:
    return check_integer(n_views, "n_views", minimum=1, maximum=_MAX_VIEWS)


def _check_law(law: Any, name: str) -> tuple[float, ...]:
    if not isinstance(law, Iterable) or isinstance(law, (str, bytes)) or getattr(law, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a sequence of probabilities, found {shown(law)}")
    values = [check_scalar(p, f"{name}[{i}]", minimum=0.0, maximum=1.0) for i, p in enumerate(law)]
    total = math.fsum(values)
    if abs(total - 1.0) > 1e-6:
        raise ValueError(f"{name} must sum to 1, found {len(values)} probabilities that sum to {total:g}")
    return tuple(values) if total == 1.0 else tuple(p / total for p in values)


def _check_parts(parts: Any, name: str) -> tuple[Augmentation, ...]:
    if not isinstance(parts, Iterable):
        raise TypeError(f"parts of {name} must be a sequence of augmentations, found {shown(parts)}")
    parts = tuple(parts)
    if not parts:
        raise ValueError(f"{name} needs at least one augmentation, found none")
    for part in parts:
        if not isinstance(part, Augmentation):
            how = "one argument each" if name == "Compose" else "in one sequence"
            raise TypeError(f"{name} takes augmentations, {how}, found {shown(part)}")
        if part._makes_its_views:
            raise TypeError(
                f"{part!r} makes its views by a method of its own, so it cannot be a part of {name}, whose parts give "
                f"stages to the backends; apply one after the other to the arrays"
            )
        _check_stages(part)
    if len({part.n_coordinates for part in parts} - {None}) > 1:
        raise ValueError(f"the parts of {name} take samples of different numbers of coordinates, found {parts!r}")
    return parts


# ---------------------------------------------------------------- vectors


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Additive Gaussian noise, ``xi = x + scale z`` with ``z ~ N(0, I)``.

    On the torus, the operator ``A f(x) = E[f(xi) | x]`` has the eigenvalue ``exp(-2 pi^2 scale^2 |w|^2)`` on
    the Fourier function w; under ``x ~ N(0, s^2 I)``, T has ``(s^2 / (s^2 + scale^2))^l`` on the Hermite functions of
    degree l.  Normals are computed in float64, the sum is rounded once to the type of x.

    Parameters
    ----------
    scale : float
        Standard deviation; >= 0.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import GaussianNoise
    >>> x = np.zeros((1000, 2))
    >>> noise = GaussianNoise(0.5).views(x, 3, seed=0)
    >>> noise.shape, bool(abs(noise.std() - 0.5) < 0.02)
    ((1000, 3, 2), True)
    """

    scale: float = nonnegative("standard deviation")

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("add_normals", (self.scale,)),)


@dataclass(frozen=True)
class BitFlip(Augmentation):
    """Independent sign flips: ``xi_j = -x_j`` with probability p, else ``x_j``.

    On {-1, 1}^d, ``A chi_S = (1 - 2p)^|S| chi_S`` on the parities ``chi_S(x) = prod_{j in S} x_j``.

    Parameters
    ----------
    p : float
        Probability of each flip, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import BitFlip
    >>> xi = BitFlip(0.2).views(np.ones((1000, 8)), 2, seed=0)
    >>> bool(abs(xi.mean() - (1 - 2 * 0.2)) < 0.03)
    True
    """

    p: float = probability("probability of each flip, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("flip_signs", (round(self.p * 2**32),)),)


@dataclass(frozen=True)
class Resample(Augmentation):
    """Independent resampling: ``xi_j`` uniform on {-1, 1} with probability p, else ``x_j``.

    On {-1, 1}^d this masks information, ``A chi_S = (1 - p)^|S| chi_S``: the law of ``BitFlip(p / 2)``.
    Of the word of a coordinate, bit 0 is the sign (set: -1); bits 1 to 31, if less than ``round(2^31 p)``,
    call for it.

    Parameters
    ----------
    p : float
        Probability for each coordinate, used to 2^-32; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Resample
    >>> xi = Resample(0.4).views(np.ones((1000, 8)), 2, seed=0)
    >>> bool(abs(xi.mean() - (1 - 0.4)) < 0.03)
    True
    """

    p: float = probability("probability for each coordinate, used to 2^-32")

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("resample_signs", (round(self.p * 2**31),)),)


@dataclass(frozen=True)
class Crop(Augmentation):
    """A window of ``width`` neighbouring coordinates is kept; the others are uniform on {-1, 1}.

    The window begins at a coordinate that is uniform on {0, ..., d - 1} and wraps around (cyclic), or on
    {0, ..., d - width} (not cyclic).  On {-1, 1}^d, A has on the parity ``chi_S`` the eigenvalue

        ``sum_i max(g_i - (d - width), 0) / d``   (cyclic; the gaps g_i between cyclic neighbours of S sum to d),

        ``max(0, min(min S, d - width) - max(max S - width + 1, 0) + 1) / (d - width + 1)``   (not cyclic),

    the share of the windows that contain S; and 1 for the empty S.  Of the word of a coordinate, bit 0 is the sign
    (set: -1); bits 1 to 31 of the first one, v, choose the start ``floor(v s / 2^31)`` among the s possible ones.

    Parameters
    ----------
    width : int
        Number of coordinates that are kept; >= 1.  At most d.
    cyclic : bool, default True
        Whether windows wrap around.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774 (crops, for windows no wider than half the
    coordinates; the counts above are exact for all).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Crop
    >>> xi = Crop(3, cyclic=False).views(np.full((2000, 4), 7.0), 2, seed=0)
    >>> np.unique((xi == 7).sum(axis=-1)), bool(abs((xi[..., 0] == 7).mean() - 1 / 2) < 0.05)
    (array([3]), True)
    """

    width: int = integer("number of coordinates that are kept", minimum=1)
    cyclic: bool = boolean("whether windows wrap around", default=True)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("keep_window", (self.width, int(self.cyclic))),)

    def _check_coordinates(self, d: int) -> None:
        if self.width > d:
            raise ValueError(f"{self!r} keeps {self.width} coordinates, found samples of {d}; take a width <= {d}")


@dataclass(frozen=True, repr=False)
class Shift(Augmentation):
    """Cyclic shift of the coordinates: ``xi_j = x_(j - a mod d)``, a random with ``P(a) = law[a]``.

    On {-1, 1}^d, let the translates ``chi_(S + t)`` of a parity be r different ones: A has the eigenvalue
    ``sum_a law[a] exp(-2 pi i a j / r)`` on their Fourier sum ``sum_t exp(-2 pi i j t / r) chi_(S + t)``,
    ``0 <= j < r``.

    Parameters
    ----------
    law : sequence of float
        The probabilities of the shifts 0, 1, ..., used to 2^-32.  At most d, later ones are 0.  A shift by -1 is
        one by d - 1.  They must sum to 1 within 1e-6, and are divided by their sum.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Shift
    >>> Shift([0, 1]).views([[1.0, 2.0, 3.0]], 1, seed=0)
    array([[[3., 1., 2.]]])
    >>> both_ways = Shift([1/3, 1/3, 0, 0, 1/3])  # by -1, 0 or 1, of five coordinates
    >>> np.unique(both_ways.views(np.tile(np.eye(5)[2], (100, 1)), 1, seed=0).argmax(axis=-1))
    array([1, 2, 3])
    """

    law: tuple[float, ...] = converted("the probabilities of the shifts 0, 1, ..., used to 2^-32", _check_law)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("roll", (_thresholds(self.law),)),)

    def _check_coordinates(self, d: int) -> None:
        if len(self.law) > d:
            raise ValueError(
                f"the law of Shift has {len(self.law)} shifts, 0 to {len(self.law) - 1}, found samples of {d} "
                f"coordinates, which have {d}; add up the probabilities of shifts that differ by {d}"
            )


@dataclass(frozen=True)
class Reversal(Augmentation):
    """The coordinates in reverse, ``xi_j = x_(d - 1 - j)``, all of them with probability p, else ``xi = x``.

    A has the eigenvalue 1 on functions that are even under reversal, such as ``chi_S + chi_S'`` on {-1, 1}^d with
    S' = {d - 1 - j: j in S}, and ``1 - 2p`` on the odd ones, such as ``chi_S - chi_S'``.

    Parameters
    ----------
    p : float
        Probability of the reversal, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> from sslcore.augmentations import Reversal
    >>> Reversal(1).views([[1.0, 2.0, 3.0]], 1, seed=0)
    array([[[3., 2., 1.]]])
    """

    p: float = probability("probability of the reversal, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("reverse", (round(self.p * 2**32),)),)


@dataclass(frozen=True)
class SignFlip(Augmentation):
    """All signs at once: ``xi = -x`` with probability p, else ``x``.

    A has the eigenvalue 1 on even functions, ``chi_S`` with even ``|S|`` on {-1, 1}^d, and ``1 - 2p`` on odd ones.

    Parameters
    ----------
    p : float
        Probability of the flip, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> from sslcore.augmentations import SignFlip
    >>> SignFlip(1).views([[1.0, -2.0]], 1, seed=0)
    array([[[-1.,  2.]]])
    """

    p: float = probability("probability of the flip, used to 2^-33")

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("flip_all_signs", (round(self.p * 2**32),)),)


# ---------------------------------------------------------------- the sphere


@dataclass(frozen=True)
class _OnSphere(Augmentation):
    """The view is as long as the sample, at an angle to it; its direction is uniform given that angle."""

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
    type of x; squares of norms must not overflow.

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


# ---------------------------------------------------------------- images


def _as_image_shape(value: Any, name: str) -> tuple[int, ...]:
    named = "(height, width) or (height, width, channels)"
    try:
        shape = tuple(operator.index(s) for s in value)
    except TypeError:
        raise TypeError(f"{name} must be integers {named}, found {shown(value)}") from None
    if any(isinstance(s, bool | np.bool_) for s in value):
        raise TypeError(f"{name} must be integers {named}, found {shown(value)}")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"{name} must be positive integers {named}, found {shown(value)}")
    return shape


@dataclass(frozen=True)
class _OnImages(Augmentation):
    """Samples are images (height, width) or (height, width, channels), flattened in C order."""

    image_shape: tuple[int, ...] = converted("(height, width) or (height, width, channels)", _as_image_shape)

    @property
    def n_coordinates(self) -> int:
        return math.prod(self.image_shape)

    @property
    def _height_width_channels(self) -> tuple[int, ...]:
        return (*self.image_shape, 1)[:3]


@dataclass(frozen=True)
class Affine(_OnImages):
    """Random rotation, zoom and shift of an image, with bilinear interpolation and zeros outside.

    The pixel q = (row, column) of the view shows the image, which is interpolated linearly in either
    direction and 0 at all pixels outside, at

        ``c + R(-theta) (q - c - s) / zeta``,   ``c = ((height - 1)/2, (width - 1)/2)``:

    the content turns by theta (counter-clockwise as displayed, rows downwards) and grows by zeta about the
    centre c, then moves by s.  The four draws are independent: theta uniform on [-rotation, rotation],
    zeta log-uniform on [1/zoom, zoom] (``zeta = zoom^(1 - 2u)``), and the two shifts, down and to the right,
    uniform on [-shift, shift].  Computed in float64, rounded once to the type of x.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    rotation : float
        Largest angle in degrees; in [0, 180].
    zoom : float
        Largest magnification; in [1, 1024].
    shift : float
        Largest shift in pixels along each axis; >= 0.

    References
    ----------
    Simard, Steinkraus and Platt, *Best practices for convolutional neural networks applied to visual
    document analysis*, ICDAR 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Affine
    >>> x = np.arange(12.0).reshape(1, 12)
    >>> Affine((3, 4)).views(x, 2, seed=0).shape
    (1, 2, 12)
    >>> still = Affine((3, 4), rotation=0, zoom=1, shift=0)
    >>> np.array_equal(still.views(x, 1, seed=0)[:, 0], x)
    True
    """

    rotation: float = real("largest angle in degrees", minimum=0.0, maximum=180.0, default=10.0)
    zoom: float = real("largest magnification", minimum=1.0, maximum=1024.0, default=1.1)
    shift: float = nonnegative("largest shift in pixels along each axis", default=1.0)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        law = (self.rotation / 360.0, math.log2(self.zoom), self.shift)
        return (Stage("affine", (*self._height_width_channels, *law)),)


@dataclass(frozen=True)
class HorizontalFlip(_OnImages):
    """Mirror image: with probability p, the columns of the view are those of the image from right to left.

    On functions of the image, A has the eigenvalue 1 on the even and ``1 - 2p`` on the odd ones.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    p : float
        Probability of the mirror image, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import HorizontalFlip
    >>> HorizontalFlip((2, 3), p=1).views(np.arange(6.0).reshape(1, 6), 1, seed=0)
    array([[[2., 1., 0., 5., 4., 3.]]])
    """

    p: float = probability("probability of the mirror image, used to 2^-33", default=0.5)

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("flip_columns", (*self._height_width_channels, round(self.p * 2**32))),)


@dataclass(frozen=True)
class Cutout(_OnImages):
    """A square of ``size`` x ``size`` pixels set to 0, in all channels.

    Its upper row is uniform on {0, ..., height - size}, its left column on {0, ..., width - size}: the square
    lies wholly inside.  The places are ``floor(w (height - size + 1) / 2^32)`` for a word w, and likewise.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    size : int
        Side of the square, in pixels; >= 1.  At most min(height, width).

    References
    ----------
    DeVries and Taylor, *Improved regularization of convolutional neural networks with Cutout*,
    arXiv:1708.04552 (there, squares may stick out of the image).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Cutout
    >>> xi = Cutout((8, 8), 3).views(np.ones((5, 64)), 2, seed=0)
    >>> np.unique(xi.sum(axis=-1))
    array([55.])
    """

    size: int = integer("side of the square, in pixels", minimum=1)

    def _complete(self) -> None:
        check_integer(self.size, "size", minimum=1, maximum=min(self.image_shape[:2]))

    def stages(self) -> tuple[Stage, ...]:  # noqa: D102
        return (Stage("erase_square", (*self._height_width_channels, self.size)),)


# ---------------------------------------------------------------- composition


@dataclass(frozen=True, init=False, repr=False)
class Compose(Augmentation):
    """One augmentation after the other, the first part first, with independent draws.

    If "a1 then a2" have the operators A1 and A2, the composition has ``A1 A2``.  Nested compositions are
    flattened, and the place of a part in the flat sequence numbers its draws (a mixture takes a place for the choice,
    and those of all its parts): ``Compose(a)`` makes the views of ``a``, and ``Compose(a, a)`` draws twice.

    Parameters
    ----------
    *parts : Augmentation
        At least one, at most 256 after flattening; those on images must agree in the number of coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Affine, Compose, GaussianNoise
    >>> augmentation = Compose(Affine((8, 8)), GaussianNoise(0.1))
    >>> augmentation.views(np.ones((5, 64)), 2, seed=0).shape
    (5, 2, 64)
    """

    parts: tuple[Augmentation, ...] = converted(
        "the parts, first to last", lambda parts, _: _check_parts(parts, "Compose")
    )

    def __init__(self, *parts: Augmentation) -> None:
        object.__setattr__(self, "parts", parts)
        self.__post_init__()

    def _complete(self) -> None:
        _check_places(self)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.parts))})"

    @property
    def n_coordinates(self) -> int | None:  # noqa: D102
        return _common_width(self.parts)

    def stages(self) -> tuple[Stage | Choice, ...]:  # noqa: D102
        return tuple(stage for part in self.parts for stage in part.stages())

    def _check_coordinates(self, d: int) -> None:
        for part in self.parts:
            part._check_coordinates(d)


@dataclass(frozen=True, repr=False)
class Mixture(Augmentation):
    """One of several augmentations, chosen at random for each view.

    If the parts have the operators A_i, the mixture has ``A = sum_i weights[i] A_i``; T = A* A has products of
    different parts too.  The choice takes a place among the draws, and then each part its own ones, whether it is
    chosen or not.

    Parameters
    ----------
    weights : sequence of float
        The probability of each part, used to 2^-32.  They must sum to 1 within 1e-6, and are divided by their sum.
    parts : sequence of Augmentation
        As many; those on images must agree in the number of coordinates.

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import BitFlip, Compose, Mixture, Resample
    >>> xi = Mixture([0.3, 0.7], [BitFlip(1), Resample(1)]).views(np.ones((1000, 8)), 2, seed=0)
    >>> bool(abs((xi == -1).all(axis=-1).mean() - 0.3) < 0.05)
    True
    >>> at_times = Mixture([0.5, 0.5], [Compose(BitFlip(0.1), Resample(0.1)), BitFlip(0)])
    """

    weights: tuple[float, ...] = converted("the probability of each part, used to 2^-32", _check_law)
    parts: tuple[Augmentation, ...] = converted("as many", lambda parts, _: _check_parts(parts, "Mixture"))

    def _complete(self) -> None:
        if len(self.weights) != len(self.parts):
            raise ValueError(
                f"Mixture takes one weight for each part, found {len(self.weights)} weights and {len(self.parts)} parts"
            )
        _check_places(self)

    @property
    def n_coordinates(self) -> int | None:  # noqa: D102
        return _common_width(self.parts)

    def stages(self) -> tuple[Choice, ...]:  # noqa: D102
        return (Choice(_thresholds(self.weights), tuple(part.stages() for part in self.parts)),)

    def _check_coordinates(self, d: int) -> None:
        for part in self.parts:
            part._check_coordinates(d)


def _check_places(augmentation: Compose | Mixture) -> None:
    places = n_places(augmentation.stages())
    if places > _MAX_STAGES:
        name = type(augmentation).__name__
        raise ValueError(f"{name} takes at most {_MAX_STAGES} parts in all, found {places}")


def _common_width(parts: tuple[Augmentation, ...]) -> int | None:
    return next((part.n_coordinates for part in parts if part.n_coordinates is not None), None)


def _thresholds(law: Sequence[float]) -> tuple[int, ...]:
    """2^32 times the cumulated probabilities, rounded: exactly 2^32 from the last one that is not 0 on."""
    return tuple(round(total * 2**32) for total in itertools.accumulate(law))


# ---------------------------------------------------------------- views that are not stored


class Views:
    """Views of a data set, an array (n, m, d) whose entries are made when needed and never stored.

    Parameters
    ----------
    x : array of shape (n, d)
        Samples, of NumPy, CuPy or any library with DLPack.  A ``np.memmap`` is read block by block, and checked for
        NaN and infinities then.
    augmentation : Augmentation
        The law of the views.
    n_views : int
        Number m of views of each sample.
    seed : int
        Seed, in [0, 2**64).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import GaussianNoise, Views
    >>> views = Views(np.zeros((10, 3), np.float32), GaussianNoise(1.0), n_views=2, seed=0)
    >>> views
    Views(x: (10, 3) float32, GaussianNoise(scale=1.0), n_views=2, seed=0)
    >>> views.shape, views[4:6].shape, np.array_equal(views[4:6], np.asarray(views)[4:6])
    ((10, 2, 3), (2, 2, 3), True)
    """

    ndim = 3

    def __init__(self, x: Array, augmentation: Augmentation, n_views: int, seed: int) -> None:
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation must be an augmentation of sslcore, found {augmentation!r}")
        self.home = home_of(x)
        x = flattened(as_entries(x, "x"), augmentation)
        on_disk = isinstance(x, np.memmap) and x.ndim == 2 and x.size > 0
        self.x = x if on_disk else as_array(x, "x", ndim=2, shape_hint="(n, d)")
        self.dtype = as_float_dtype(self.x.dtype, "x")
        self.augmentation = augmentation
        self.n_views = _check_n_views(n_views)
        self.seed = as_seed(seed)
        augmentation._check_coordinates(self.x.shape[1])
        _check_stages(augmentation)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, m, d)."""
        n, d = self.x.shape
        return n, self.n_views, d

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return (
            f"Views(x: {self.x.shape} {self.x.dtype}, {self.augmentation!r}, n_views={self.n_views}, seed={self.seed})"
        )

    def samples(self, start: int, stop: int) -> Array:
        """Read the samples start, ..., stop - 1, checked."""
        start = check_integer(start, "start", minimum=0, maximum=len(self))
        stop = check_integer(stop, "stop", minimum=start, maximum=len(self))
        x = as_array(self.x[start:stop], "x", ndim=2, allow_empty=True, finite=False)
        return require_finite(x, "x", offset=start)

    def block(self, start: int, stop: int) -> Array:
        """Make the views (stop - start, m, d) of the samples start, ..., stop - 1; ``0 <= start <= stop <= n``.

        Arrays of NumPy or CuPy, as ``x`` is; indexing gives arrays of the library that ``x`` came from.
        """
        return self.make(self.samples(start, stop), start)

    def make(self, x: Array, start: int, engine: Any = None) -> Array:
        """Make the views of the samples ``x`` (b, d), read and checked, the first of which has the index ``start``."""
        engine = get_backend(x) if engine is None else engine
        if not self.augmentation._makes_its_views:
            return engine.views(x, self.augmentation, self.n_views, self.seed, start)
        made = self.augmentation.views(x, self.n_views, seed=self.seed, first=start)
        views = brought(as_array(made, "the views", ndim=3, shape_hint="(n, m, d)", allow_empty=True), engine)
        if views.shape != (len(x), self.n_views, x.shape[1]):
            raise ValueError(
                f"{self.augmentation!r} must make views of shape {(len(x), self.n_views, x.shape[1])}, "
                f"found {views.shape}"
            )
        return views.astype(self.dtype, copy=False)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Array: ...
    def __getitem__(self, index: int | slice) -> Array:
        """``views[i]`` is (m, d), ``views[a:b]`` is (b - a, m, d); slices have step 1."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"slices of Views must have step 1, found {step}; slice np.asarray(views) instead")
            return self.home.bring(self.block(start, max(start, stop)))
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(f"Views takes an integer or a slice over samples, found {index!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} is out of range for {len(self)} samples")
        i %= len(self)
        return self.home.bring(self.block(i, i + 1)[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All views in memory, n m d numbers."""
        if copy is False:
            raise ValueError("views are made when needed: an array of them is always a new one; leave out copy=False")
        return np.asarray(self.block(0, len(self)), dtype=dtype)
