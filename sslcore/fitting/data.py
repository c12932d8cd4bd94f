"""Views as users hand them over, checked once: arrays, `Views` made when needed, or points with groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    as_array,
    as_float_dtype,
    as_native,
    check_map,
    namespace,
    on_host,
    read_groups,
    require_finite,
)
from ..augmentations import Views
from ..augmentations._views import as_readable
from ..backends import Backend, device_of
from ..positives import Groups, Labels, Law, Positives
from ..positives._law import edges_in_words
from ..solvers.groups import Samples
from ..solvers.objective import Objective

__all__ = ["Data", "as_data", "as_paired_data"]


@dataclass(frozen=True)
class Data:
    """Views (n, m, d), or points (N, d) with the sample of each in ``groups`` (0..n-1).

    ``weight`` is (N,) in the order of the rows, or None for equal weights.  With a ``law`` of positive pairs each
    point is its own group, and the law has the weights.
    """

    views: Any
    groups: np.ndarray | None
    weight: np.ndarray | None
    n: int
    n_views: int
    d: int
    dtype: np.dtype
    law: Law | None = None
    positives: Positives | None = None  # what the law was made of

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the views without their coordinates: (n, m) or (N,)."""
        return tuple(self.views.shape[:-1])

    @property
    def n_contrasts(self) -> int:
        """Number of within-sample contrasts."""
        return self.n_views - self.n

    @property
    def sizes(self) -> np.ndarray:
        """Number of views of each sample."""
        return np.full(self.n, self.views.shape[1]) if self.groups is None else np.bincount(self.groups)

    @property
    def sample_of_each_view(self) -> np.ndarray:
        """(N,), the same as ``groups`` if these are given."""
        return np.repeat(np.arange(self.n), self.views.shape[1]) if self.groups is None else self.groups

    @property
    def made(self) -> bool:
        """Whether points are made, gathered or copied as needed, and so take memory besides what was handed over."""
        if self.groups is not None or isinstance(self.views, np.memmap | Views) or self.views.dtype != self.dtype:
            return True
        return not self.views.flags.c_contiguous

    @property
    def source(self) -> Any:
        """The array that the points come from, or are made from."""
        return self.views.x if isinstance(self.views, Views) else self.views

    def materialize(self, backend: Backend) -> Array:
        """Return all points (N, d), checked, where the backend works."""
        if isinstance(self.views, Views) and self._crosses(backend):
            x = backend.xp.asarray(self.views.samples(0, self.n))
            return self._make(x, 0, backend).reshape(-1, self.d)
        if isinstance(self.views, Views):
            return self.views.block(0, self.n).reshape(-1, self.d)
        check_map(self.views, "views")
        points = namespace(self.views).asarray(self.views, dtype=self.dtype)
        out: Array = backend.xp.asarray(require_finite(points, "views")).reshape(-1, self.d)
        return out

    def rows(self, chosen: slice | np.ndarray, backend: Backend) -> Array:
        """Return some of the points of an array (N, d), checked, where the backend works."""
        check_map(self.views, "views")
        xp = namespace(self.views)
        where = chosen if isinstance(chosen, slice) else xp.asarray(chosen)
        part = xp.asarray(self.views[where], dtype=self.dtype)
        start = chosen.start if isinstance(chosen, slice) else 0
        out: Array = backend.xp.asarray(require_finite(part, "views", start))
        return out

    @property
    def pairs_in_words(self) -> str | None:
        """The law of positive pairs, and what it is made of."""
        if self.law is not None:
            return f"{self.positives!r}; {self.law.described()}"
        if self.positives is None:
            return None
        n_edges = int((self.sizes * (self.sizes - 1) // 2).sum())
        return f"{self.positives!r}; {edges_in_words(n_edges, self.n_views, self.n)}"

    def samples(self, backend: Backend) -> Samples:
        """Return order, weights and rotations of all views."""
        if self.groups is None:
            return Samples.from_views(self.n, self.views.shape[1], backend, self.weight)
        return Samples.from_groups(self.groups, backend, self.weight)

    def blocks(self, rows: int, backend: Backend) -> Iterator[tuple[Array, Samples, float]]:
        """Yield points, samples and total weight of consecutive blocks of samples with about ``rows`` views each.

        Points that lie on the host for a backend that does not work there are on their way while the block before is
        worked on.
        """
        parts = self._by_samples(rows, backend) if self.groups is None else self._by_groups(rows, backend)
        made_there = isinstance(self.views, Views) and self._crosses(backend)
        for block, start, samples, weight in backend.stream(parts):
            points = self._make(block, start, backend) if made_there else block
            yield points.reshape(-1, self.d).astype(self.dtype, copy=False), samples, weight

    def _crosses(self, backend: Backend) -> bool:
        return device_of(self.source) != backend.NAME

    def _make(self, x: Array, start: int, backend: Backend) -> Array:
        out: Array = self.views.make(x, start, backend)
        return out

    def _by_samples(self, rows: int, backend: Backend) -> Iterator[tuple[Array, int, Samples, float]]:
        m = self.views.shape[1]
        step = max(1, rows // m)
        equal: dict[int, Samples] = {}  # blocks of equal height without weights
        for start in range(0, self.n, step):
            stop = min(start + step, self.n)
            if not isinstance(self.views, Views):
                check_map(self.views, "views")
                part = namespace(self.views).asarray(self.views[start:stop], dtype=self.dtype)
                block = require_finite(part, "views", start)
            elif self._crosses(backend):
                block = self.views.samples(start, stop)
            else:
                block = self.views.block(start, stop)
            if self.weight is None:
                if stop - start not in equal:
                    equal[stop - start] = Samples.from_views(stop - start, m, backend)
                yield block, start, equal[stop - start], float((stop - start) * m)
            else:
                weight = self.weight[start * m : stop * m]
                yield block, start, Samples.from_views(stop - start, m, backend, weight), float(weight.sum())

    def _by_groups(self, rows: int, backend: Backend) -> Iterator[tuple[Array, int, Samples, float]]:
        assert self.groups is not None
        xp = namespace(self.views)
        order = np.argsort(self.groups, kind="stable")
        ends = np.searchsorted(self.groups[order], np.arange(self.n), side="right")
        start = first = 0
        while first < self.n:
            last = max(first + 1, int(np.searchsorted(ends, start + rows, side="right")))
            index = order[start : ends[last - 1]]
            weight = None if self.weight is None else self.weight[index]
            samples = Samples.from_groups(self.groups[index] - first, backend, weight)
            check_map(self.views, "views")
            # read in the order of memory, then sorted as the samples are
            block = xp.asarray(self.views[xp.asarray(np.sort(index))], dtype=self.dtype)
            place = np.argsort(np.argsort(index))[backend.to_host(samples.order)]
            block = require_finite(block, "views")[xp.asarray(place)]
            yield block, start, samples, float(len(index)) if weight is None else float(weight.sum())
            start, first = int(ends[last - 1]), last


def as_data(
    views: Any, groups: Any, sample_weight: Any, *, single_views: bool = False, absolute_weights: bool = False
) -> Data:
    """Check everything but the values of large arrays, which are checked as they are read.

    Groups and weights are read on the host, wherever they were.

    ``single_views`` allows data in which no sample has two views.  Only ratios of weights matter, so that they come in
    units near their largest, unless they are ``absolute_weights``, to be compared with those of other data.
    """
    views, sample_weight = as_readable(views), as_native(sample_weight)
    dtype = as_float_dtype(views.dtype, "views")
    if groups is None:
        if views.ndim != 3:
            raise ValueError(
                f"views must have 3 dimensions (n, m, d), found shape {views.shape}; for (N, d) give groups=, the "
                f"sample of each view"
            )
        n, m, d = views.shape
        if m == 1 and not single_views:
            raise _one_view(views.shape)
        index = None
    else:
        if views.ndim != 2:
            raise ValueError(f"with groups, views must have 2 dimensions (N, d), found shape {views.shape}")
        index, n = read_groups(groups, len(views))
        d = views.shape[1]
        if n == len(views) and not single_views:
            raise _one_view(views.shape)
    n_views = int(np.prod(views.shape[:-1]))
    return Data(
        views, index, _weights(sample_weight, views.shape[:-1], n_views, absolute_weights), n, n_views, d, dtype
    )


def as_paired_data(
    x: Any, positives: Any, groups: Any, sample_weight: Any, objective: Objective, *, searched: bool = False
) -> Data:
    """Check views, or points (N, d) with a law of positive pairs; ``searched``: folds will hold points out."""
    single_views = objective.beta == 0
    if positives is None:
        return as_data(x, groups, sample_weight, single_views=single_views)
    for name, value in (("groups", groups), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"give either positives= or {name}=, not both: the law of pairs has the weights of the points, and "
                f"sslcore.positives.Groups is for groups"
            )
    classes = objective.unbiased and not searched  # folds of groups would hold out classes as a whole
    data = as_law_data(x, positives, unbiased=objective.unbiased, single_views=single_views, classes=classes)
    if data.law is None:
        return data
    # there are no other data to weigh these against: in a unit that is exact, and far from overflow
    total = math.frexp(data.law.total)[0] if 0.0 < data.law.total < math.inf else 1.0
    return replace(data, law=replace(data.law, total=total))


def as_law_data(x: Any, positives: Any, *, unbiased: bool, single_views: bool, classes: bool = False) -> Data:
    """Check points (N, d) with a law of positive pairs; `Groups` alone become groups of views.

    With ``classes`` so do `Labels` alone in which each point is in a pair, of classes that are small and of similar
    size: weighted, so that no pair is listed.
    """
    if not isinstance(positives, Positives):
        raise TypeError(
            f"positives must be a law of sslcore.positives, such as Pairs(i, j) or TimeLag(1), found {positives!r:.80}"
        )
    x = as_readable(x)
    if isinstance(x, Views) or x.ndim != 2:
        raise ValueError(
            "with positives, x must be points (N, d), each stored once, found views; views (n, m, d) say themselves "
            "which points are positive pairs: leave positives= out"
        )
    if isinstance(positives, Groups):
        return as_data(x, positives.groups, None, single_views=single_views)
    if classes and isinstance(positives, Labels) and len(positives.y) == len(x):
        weight = positives.weights()
        sizes = np.bincount(positives.y[weight > 0])
        # each class has rotations of m^2 numbers
        if float(weight.min()) > 0 and sizes.max() <= min(2 * sizes.mean(), tunables.MOMENTS_BLOCK_ROWS[0]):
            return replace(as_data(x, positives.y, weight), positives=positives)
    data = as_data(x, np.arange(len(x)), None, single_views=True)
    return replace(data, law=positives.law(x, unbiased=unbiased), positives=positives)


def _one_view(shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"at least one sample must have 2 or more views, found one view of each (shape {shape}); make views with "
        f"sslcore.augmentations, give groups= that name the views of the same sample, or use beta=0 (kernel PCA)"
    )


_LARGEST_WEIGHT = 1e100
"""And its reciprocal: sums of weights, and of products of two, are far from overflow and from subnormal numbers."""


def require_moderate(size: float, name: str, found: str) -> None:
    """Refuse weights of this size, which is what was ``found``, where those of other data come beside them."""
    if not 1.0 / _LARGEST_WEIGHT <= size <= _LARGEST_WEIGHT:
        raise ValueError(
            f"{name} is too {'large' if size > 1 else 'small'} for sums of its products, found {size!r} as {found}; "
            f"only ratios matter: divide all weights by the largest"
        )


def _weights(sample_weight: Any, shape: tuple[int, ...], n_views: int, absolute: bool) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weight = on_host(as_array(sample_weight, "sample_weight", ndim=(1, 2))).astype(float)
    if weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"sample_weight must have shape {shape[:1]} "
            f"{'(one a view)' if len(shape) == 1 else f'(one for all views of a sample) or {shape}'}, "
            f"found {weight.shape}"
        )
    if float(weight.min()) <= 0:
        raise ValueError(
            f"sample_weight must be positive, found {float(weight.min())!r}; leave such samples out (zero is no weight)"
        )
    if weight.ndim < len(shape):
        weight = np.broadcast_to(weight[:, None], shape)
    largest = float(weight.max())
    if absolute:
        require_moderate(largest, "sample_weight", "its largest entry")
    if not absolute:
        weight = np.ldexp(weight, -math.frexp(largest)[1])  # exact, and far from overflow
        if float(weight.min()) <= 0:
            raise ValueError("sample_weight has entries that are 0 beside its largest; leave them out")
    return np.ascontiguousarray(weight).reshape(n_views)
