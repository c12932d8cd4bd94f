"""Laws made of laws."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..arrays import ArrayLike, shown
from ..backends.stages import n_places
from ..declarations.parameters import converted
from ._base import _MAX_STAGES, Augmentation, Choice, Stage, _check_law, _check_stages, _thresholds

__all__ = ["Compose", "Mixture"]


def _check_parts(parts: Any, name: str) -> tuple[Augmentation, ...]:
    if not isinstance(parts, Iterable):
        raise TypeError(f"parts of {name} must be a sequence of augmentations, found {shown(parts)}")
    found = tuple(parts)
    if not found:
        raise ValueError(f"{name} needs at least one augmentation, found none")
    for part in found:
        if not isinstance(part, Augmentation):
            how = "one argument each" if name == "Compose" else "in one sequence"
            raise TypeError(f"{name} takes augmentations, {how}, found {shown(part)}")
        if part._makes_its_views:
            raise TypeError(
                f"{part!r} makes its views by a method of its own, so it cannot be a part of {name}, whose parts give "
                f"stages to the backends; apply one after the other to the arrays"
            )
        _check_stages(part)
    if len({part.n_coordinates for part in found} - {None}) > 1:
        raise ValueError(f"the parts of {name} take samples of different numbers of coordinates, found {found!r}")
    return found


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

    def fitted(self, x: ArrayLike) -> Augmentation:
        parts = [part.fitted(x) for part in self.parts]
        return self if all(map(operator.is_, parts, self.parts)) else Compose(*parts)

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.parts))})"

    @property
    def n_coordinates(self) -> int | None:
        return _common_width(self.parts)

    def stages(self) -> tuple[Stage | Choice, ...]:
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
        As many laws; those on images must agree in the number of coordinates.

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
    parts: tuple[Augmentation, ...] = converted(
        "as many augmentations", lambda parts, _: _check_parts(parts, "Mixture")
    )

    def _complete(self) -> None:
        if len(self.weights) != len(self.parts):
            raise ValueError(
                f"Mixture takes one weight for each part, found {len(self.weights)} weights and {len(self.parts)} parts"
            )
        _check_places(self)

    def fitted(self, x: ArrayLike) -> Augmentation:
        parts = tuple(part.fitted(x) for part in self.parts)
        return self if all(map(operator.is_, parts, self.parts)) else Mixture(self.weights, parts)

    @property
    def n_coordinates(self) -> int | None:
        return _common_width(self.parts)

    def stages(self) -> tuple[Choice, ...]:
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
