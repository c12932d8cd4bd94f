"""The class that every augmentation is; `sslcore.augmentations` says what a declaration contains."""

from __future__ import annotations

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_entries,
    as_seed,
    check_integer,
    check_scalar,
    same_kind,
    shown,
)
from ..backends import get_backend
from ..backends.stages import PRIMITIVES
from ..declarations.parameters import Declared
from ..declarations.registries import register

__all__ = ["Augmentation", "Choice", "Stage", "registry"]


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
    arguments: tuple[float | int | tuple[int, ...] | np.ndarray | Callable[..., None], ...]


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
            register(registry, cls, home=__package__ or "")

    @abstractmethod
    def stages(self) -> tuple[Stage | Choice, ...]:
        """List what a backend does to the copies of a sample, in this order."""

    def fitted(self, x: ArrayLike) -> Augmentation:
        """Return the law with what it takes from data, all samples or those of training; most laws take nothing.

        Parameters
        ----------
        x : array of shape (n, d)

        Returns
        -------
        Augmentation
            The law itself where there is nothing to take, or it has been taken before.
        """
        return self

    @property
    def n_coordinates(self) -> int | None:
        """Number of coordinates that a sample must have; None if any will do."""
        return None

    @same_kind("x")
    def views(self, x: ArrayLike, n_views: int, *, seed: int, first: int = 0, backend: str | None = None) -> Array:
        """Make views of each sample.

        Parameters
        ----------
        x : array of shape (n, d)
            Samples; for a law of images also (n, height, width) or (n, height, width, channels), its ``image_shape``,
            for one of series (n, channels, time).
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

        Raises
        ------
        ValueError, TypeError
            Samples, numbers of views or seeds that are not as described.
        OverflowError
            A view is too large for its type.
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

    def _takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether samples may have this shape, of two dimensions or more; they are flattened then."""
        return False

    def _check_coordinates(self, d: int) -> None:
        if self.n_coordinates not in (None, d):
            raise ValueError(
                f"{self!r} takes samples of {self.n_coordinates} coordinates (the product of {self._shape_name}), "
                f"found {d}; flatten the images to x of shape (n, {self.n_coordinates}), or change {self._shape_name}"
            )

    _shape_name: ClassVar[str] = "image_shape"

    @property
    def _makes_its_views(self) -> bool:
        """True if a subclass has a method `views` of its own, in place of stages."""
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
    """Flatten samples (n, *shape), if the law takes this shape, to (n, d); anything else stays as it is."""
    return x.reshape(len(x), -1) if x.ndim > 2 and takes(augmentation, x.shape[1:]) else x


def takes(augmentation: Augmentation, shape: tuple[int, ...]) -> bool:
    """Tell whether a law, or a part of it, is declared on samples of this shape."""
    parts = getattr(augmentation, "parts", ())
    return augmentation._takes(shape) or any(takes(part, shape) for part in parts)


def image_shapes(augmentation: Augmentation) -> set[tuple[int, ...]]:
    """Return the shapes of the images that a law, or a part of it, is declared on."""
    parts = (image_shapes(part) for part in getattr(augmentation, "parts", ()))
    own = getattr(augmentation, "image_shape", None)
    return set().union(*parts) if own is None else {own}


def checked_shape(value: Any, name: str, named: str, ranks: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return a shape of positive integers; ``named`` says what they are, ``ranks`` how many there may be, () any."""
    try:
        shape = tuple(operator.index(s) for s in value)
    except TypeError:
        raise TypeError(f"{name} must be integers {named}, found {shown(value)}") from None
    if any(isinstance(s, bool | np.bool_) for s in value):
        raise TypeError(f"{name} must be integers {named}, found {shown(value)}")
    if not shape or (ranks and len(shape) not in ranks) or min(shape) < 1:
        raise ValueError(f"{name} must be positive integers {named}, found {shown(value)}")
    return shape


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


def _thresholds(law: Sequence[float]) -> tuple[int, ...]:
    """Return 2^32 times the cumulated probabilities, rounded: exactly 2^32 from the last one that is not 0 on."""
    return tuple(round(total * 2**32) for total in itertools.accumulate(law))
