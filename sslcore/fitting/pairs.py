"""Pairs of two modalities as users hand them over, checked once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, as_array, as_float_dtype, as_native, check_map, namespace, require_finite
from ..augmentations import Views
from ..backends import Backend
from ..features import Features, Identity, Model
from ..kernels import as_kernel
from ..solvers.groups import Samples
from ..solvers.objective import Objective
from .collections import refuse_cluster
from .data import Data, _weights, as_paired_data

__all__ = ["NAMES", "PairData", "as_given", "as_models", "as_training_data", "may_be_zero", "sources"]

NAMES = "x", "y"
"""The modalities, as messages call them."""


@dataclass(frozen=True)
class PairData(Data):
    """Pairs (x_i, y_i): ``views`` are two arrays, (n, d_x) and (n, d_y), ``weight`` is (n,) or None, d = d_x + d_y."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the views without their coordinates."""
        return self.n, 2

    @property
    def sizes(self) -> np.ndarray:
        """Number of views of each sample."""
        return np.full(self.n, 2)

    @property
    def sample_of_each_view(self) -> np.ndarray:
        """(N,), of x_1, y_1, x_2, y_2, ..."""
        return np.repeat(np.arange(self.n), 2)

    @property
    def widths(self) -> tuple[int, int]:
        """Coordinates of each modality."""
        first, second = self.views
        return first.shape[1], second.shape[1]

    @property
    def made(self) -> bool:
        """Whether points are read as they are needed, and so take memory besides what was handed over."""
        return any(isinstance(part, np.memmap) or part.dtype != self.dtype for part in self.views)

    @property
    def source(self) -> Any:
        """One of the arrays; both are on one device."""
        return self.views[0]

    def points(self, backend: Backend) -> tuple[Array, Array]:
        """Return the points of both modalities, checked, where the backend works."""
        first, second = (self._checked(i, slice(None)) for i in range(2))
        return backend.xp.asarray(first), backend.xp.asarray(second)

    def samples(self, backend: Backend) -> Samples:
        """Return order, weights and rotations of (x_1, y_1, x_2, y_2, ...)."""
        weight = None if self.weight is None else np.repeat(self.weight, 2)
        return Samples.from_views(self.n, 2, backend, weight)

    def singles(self, start: int, stop: int, backend: Backend) -> tuple[Samples, float]:
        """Return some pairs, each as one view of one sample, and their weight."""
        if self.weight is None:
            return Samples.from_views(stop - start, 1, backend), float(stop - start)
        weight = self.weight[start:stop]
        return Samples.from_groups(np.arange(stop - start), backend, weight), float(weight.sum())

    def strips(self, rows: int, backend: Backend) -> Iterator[tuple[Array, Array, int]]:
        """Yield the points of consecutive pairs, and the first of them; the next ones are on their way meanwhile."""

        def parts() -> Iterator[tuple[Array, Array, int]]:
            for start in range(0, self.n, rows):
                chosen = slice(start, min(start + rows, self.n))
                yield self._checked(0, chosen), self._checked(1, chosen), start

        for x, y, start in backend.stream(parts()):  # which brings the first
            yield x, backend.xp.asarray(y), start

    def take(self, index: np.ndarray, columns: tuple[np.ndarray | None, np.ndarray | None] = (None, None)) -> PairData:
        """Return the pairs of these indices; of a modality that is a matrix some ``columns``."""
        parts = []
        for part, chosen in zip(self.views, columns, strict=True):
            xp = namespace(part)
            some = part[xp.asarray(index)]
            parts.append(some if chosen is None else some[:, xp.asarray(chosen)])
        weight = None if self.weight is None else self.weight[index]
        d = sum(part.shape[1] for part in parts)
        return PairData(tuple(parts), None, weight, len(index), 2 * len(index), d, self.dtype)

    def _checked(self, i: int, rows: slice) -> Array:
        part = self.views[i]
        check_map(part, NAMES[i])
        points = namespace(part).asarray(part[rows], dtype=self.dtype)
        return require_finite(points, NAMES[i], offset=rows.start or 0)


def as_given(views: Any, model: Any) -> Any:
    """Return views as an array that NumPy or CuPy know, or `Views`; two modalities as a tuple of two such arrays."""
    if not isinstance(model, tuple):
        if isinstance(views, tuple) and len(views) == 2 and all(hasattr(p, "ndim") and p.ndim == 2 for p in views):
            raise TypeError(
                f"two modalities (x, y) need a model each, (kernel_x, kernel_y) or two features, found one, "
                f"{model!r:.80}; for two views of each sample by one model, hand over one array (n, 2, d)"
            )
        return as_native(views, "views")
    if len(model) != 2:
        raise TypeError(f"two modalities need two models, (kernel_x, kernel_y) or two features, found {len(model)}")
    if not isinstance(views, tuple) or len(views) != 2 or any(part is None for part in views):
        found = type(views).__name__
        if isinstance(views, tuple):
            found = "None in place of one" if len(views) == 2 else f"a tuple of {len(views)}"
        raise TypeError(
            f"two models are for two modalities: hand over a tuple (x, y) of two arrays, whose rows are pairs, found "
            f"{found}"
        )
    if any(isinstance(part, Views) for part in views):
        raise TypeError("two modalities are two arrays (n, d_x) and (n, d_y) of points, found Views")
    for part, name in zip(views, NAMES, strict=True):
        refuse_cluster(part, name)
    return tuple(as_native(part, name) for part, name in zip(views, NAMES, strict=True))


def sources(views: Any) -> tuple[Any, ...]:
    """Return the arrays that say where the work is done."""
    if isinstance(views, tuple):
        return views
    return (views.x if isinstance(views, Views) else views,)


def may_be_zero(model: Any) -> bool:
    """Tell whether reg = 0 is allowed: for features that are the data."""
    return all(isinstance(part, Identity) for part in (model if isinstance(model, tuple) else (model,)))


def as_models(model: Any) -> tuple[Any, Any]:
    """Check the models of two modalities: two kernels, or two features."""
    first, second = model
    if isinstance(first, Features) != isinstance(second, Features):
        raise TypeError(
            f"two modalities need two kernels or two features, found {first!r:.60} and {second!r:.60}; make features "
            f"of the kernel, such as sslcore.features.Nystrom(kernel, 512)"
        )
    return (first, second) if isinstance(first, Features) else (as_kernel(first), as_kernel(second))


def as_training_data(
    views: Any,
    model: Model | tuple[Model, Model],
    positives: Any,
    groups: Any,
    weight: Any,
    objective: Objective,
    *,
    searched: bool = False,
) -> Data:
    """Check what `as_given` has returned: pairs of two modalities, points with a law of positive pairs, or views."""
    if not isinstance(model, tuple):
        return as_paired_data(views, positives, groups, weight, objective, searched=searched)
    for name, value in (("positives", positives), ("groups", groups)):
        if value is not None:
            raise ValueError(
                f"the rows of two modalities (x, y) are the positive pairs: leave {name}= out; repeat a row of x for "
                f"each y that belongs to it"
            )
    parts = [_as_points(part, name) for part, name in zip(views, NAMES, strict=True)]
    n = len(parts[0])
    if n != len(parts[1]):
        raise ValueError(
            f"the rows of x and y are pairs, and there must be as many, found {n} and {len(parts[1])}; leave out those "
            f"that have no partner"
        )
    dtype = np.result_type(*(as_float_dtype(part.dtype, name) for part, name in zip(parts, NAMES, strict=True)))
    d = sum(part.shape[1] for part in parts)
    weights = _weights(as_native(weight), (n,), n, False)
    return PairData(tuple(parts), None, weights, n, 2 * n, d, dtype)


def _as_points(part: Any, name: str) -> Any:
    if isinstance(part, np.memmap) and part.ndim == 2 and 0 not in part.shape:
        return part
    return as_array(part, name, ndim=2, shape_hint=f"(n, d_{name})", finite=False)
