"""Views that are made when they are needed."""

from __future__ import annotations

import operator
from typing import Any, overload

import numpy as np

from ..arrays import (
    Array,
    as_array,
    as_entries,
    as_float_dtype,
    as_native,
    as_seed,
    check_integer,
    kind_of,
    require_finite,
    to_backend,
)
from ..backends import Backend, get_backend
from ._base import Augmentation, _check_n_views, _check_stages, flattened

__all__ = ["Views"]


class Views:
    """Views of a data set, an array (n, m, d) whose entries are made when needed and never stored.

    Parameters
    ----------
    x : array of shape (n, d)
        Samples, of NumPy, CuPy or any library with DLPack.  A ``np.memmap`` is read block by block, and checked for
        NaN and infinities then.
    augmentation : Augmentation
        The law of the views, fitted to x where it takes something from data (`Augmentation.fitted`).
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
        self.kind = kind_of(x)
        x = flattened(as_entries(x, "x"), augmentation)
        on_disk = isinstance(x, np.memmap) and x.ndim == 2 and x.size > 0
        self.x = x if on_disk else as_array(x, "x", ndim=2, shape_hint="(n, d)")
        self.dtype = as_float_dtype(self.x.dtype, "x")
        self.augmentation = augmentation.fitted(self.x)
        self.n_views = _check_n_views(n_views)
        self.seed = as_seed(seed)
        self.augmentation._check_coordinates(self.x.shape[1])
        _check_stages(self.augmentation)

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

    def make(self, x: Array, start: int, backend: Backend | None = None) -> Array:
        """Make the views of the samples ``x`` (b, d), read and checked, the first of which has the index ``start``."""
        backend = get_backend(x) if backend is None else backend
        if not self.augmentation._makes_its_views:
            return backend.views(x, self.augmentation, self.n_views, self.seed, start)
        made = self.augmentation.views(x, self.n_views, seed=self.seed, first=start)
        views = to_backend(as_array(made, "the views", ndim=3, shape_hint="(n, m, d)", allow_empty=True), backend)
        if views.shape != (len(x), self.n_views, x.shape[1]):
            raise ValueError(
                f"{self.augmentation!r} must make views of shape {(len(x), self.n_views, x.shape[1])}, "
                f"found {views.shape}"
            )
        out: Array = views.astype(self.dtype, copy=False)
        return out

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Array: ...
    def __getitem__(self, index: int | slice) -> Array:
        """Make ``views[i]``, (m, d), or ``views[a:b]``, (b - a, m, d); slices have step 1."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"slices of Views must have step 1, found {step}; slice np.asarray(views) instead")
            out: Array = self.kind.convert_back(self.block(start, max(start, stop)))
            return out
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(f"Views takes an integer or a slice over samples, found {index!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} is out of range for {len(self)} samples")
        i %= len(self)
        out = self.kind.convert_back(self.block(i, i + 1)[0])
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Make all views in memory, n m d numbers."""
        if copy is False:
            raise ValueError("views are made when needed: an array of them is always a new one; leave out copy=False")
        return np.asarray(self.block(0, len(self)), dtype=dtype)


def as_readable(views: Any) -> Any:
    """Return views whose entries are checked as they are read: `Views` and memory maps as they are, else an array."""
    views = as_native(views, "views")
    if isinstance(views, Views) or (isinstance(views, np.memmap) and views.ndim in (2, 3)):
        as_float_dtype(views.dtype, "views")
        if 0 in views.shape:
            raise ValueError(f"views must not be empty, found shape {views.shape}")
        return views
    return as_array(views, "views", ndim=(2, 3), shape_hint="(n, m, d), or (N, d) with groups", finite=False)
