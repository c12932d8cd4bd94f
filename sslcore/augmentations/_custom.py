"""A law that is a function of Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..arrays import shown
from ..declarations.parameters import converted
from ..declarations.reprs import name_of
from ._base import Augmentation, Stage, checked_shape

__all__ = ["Custom"]

_KEY = 0x4375_7374_6F6D  # "Custom": the second word of the generators' key


def _as_function(value: Any, name: str) -> Callable[..., Any]:
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be a function of (x, rng) that returns a view of x, found {shown(value)}")
    found: Callable[..., Any] = value
    return found


def _as_sample_shape(value: Any, name: str) -> tuple[int, ...] | None:
    return None if value is None else checked_shape(value, name, "such as (3, 100)")


@dataclass(frozen=True, repr=False)
class Custom(Augmentation):
    """A law of one's own: ``xi = function(x, rng)``, computed on the host.

    The function gets a copy of one sample and a `numpy.random.Generator`, and returns a view of the same shape.  If it
    draws from this generator alone, the view is a function of (seed, sample index, view index) as for all laws: the
    generator's key is the seed, and its counter begins at the sample, the view and the place in a :class:`Compose`.
    (NumPy promises the bits of its generators, but not how a version makes normals of them.)

    The views of one call are made one after the other, in the calling thread, about 5 us each beside what the function
    takes; samples on a GPU are copied to the host and back.  Parts of a :class:`Compose` or :class:`Mixture` may be
    such laws.  A representation holds no law: a saved model transforms new points without the function.

    Parameters
    ----------
    function : callable
        A function of (x, rng) that returns a view of x; for several processes, one that can be pickled (not a lambda).
    sample_shape : tuple, optional
        The shape in which the function gets a sample, such as (channels, time) or (height, width, 3); flat by default.

    Raises
    ------
    ValueError
        When views are made, with the numbers of sample and view: the function failed, or its view has another shape,
        holds NaN or infinities, or no real numbers.

    References
    ----------
    Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011 (the generators).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Compose, Custom, GaussianNoise
    >>> def flip(x, rng):
    ...     return x[::-1] if rng.random() < 0.5 else x
    >>> views = Custom(flip).views([[1.0, 2.0, 3.0]], 20, seed=0)
    >>> np.unique(views[0], axis=0)
    array([[1., 2., 3.],
           [3., 2., 1.]])
    >>> Compose(Custom(flip), GaussianNoise(0.1)).views(np.ones((5, 3)), 2, seed=0).shape
    (5, 2, 3)
    """

    function: Callable[[np.ndarray, np.random.Generator], Any] = converted(
        "a function of (x, rng) that returns a view of x", _as_function
    )
    sample_shape: tuple[int, ...] | None = converted(
        "the shape in which the function gets a sample", _as_sample_shape, default=None
    )

    _shape_name: ClassVar[str] = "sample_shape"

    def __repr__(self) -> str:
        shape = "" if self.sample_shape is None else f", sample_shape={self.sample_shape}"
        return f"Custom({name_of(self.function)}{shape})"

    @property
    def n_coordinates(self) -> int | None:
        return None if self.sample_shape is None else int(np.prod(self.sample_shape))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("call", (self._make,)),)

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return shape == self.sample_shape

    def _make(self, views: np.ndarray, rows: np.ndarray, seed: int, place: int) -> None:
        """Make the views in the rows of ``views`` (number, d) that ``rows`` tells, with sample and view of each."""
        bits = np.random.Philox(key=np.array([seed, _KEY], np.uint64))
        rng, state = np.random.Generator(bits), bits.state
        for i in range(rows.shape[1]):
            row, sample, view = rows[:, i].tolist()
            state["state"]["counter"][:] = 0, view, sample, place
            bits.state = state
            views[row] = self._view(views[row], rng, f"sample {sample}, view {view}")

    def _view(self, x: np.ndarray, rng: np.random.Generator, where: str) -> np.ndarray:
        shape = x.shape if self.sample_shape is None else self.sample_shape
        try:
            view = np.asarray(self.function(x.reshape(shape).copy(), rng))
        except Exception as error:
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            raise ValueError(f"{self!r} failed at {where}: {said}") from error
        if view.dtype.kind not in "fiub":
            raise ValueError(f"{self!r} must return real numbers, found {view.dtype} at {where}")
        if view.shape != shape:
            raise ValueError(f"{self!r} must return a view of the shape {shape}, found {view.shape} at {where}")
        with np.errstate(over="ignore"):
            made = view.astype(x.dtype).reshape(-1)
        if not np.isfinite(made).all():
            wrong = int(np.flatnonzero(~np.isfinite(made))[0])
            raise ValueError(
                f"{self!r} must return finite numbers, found {made[wrong]} at coordinate {wrong} of {where}"
            )
        return made
