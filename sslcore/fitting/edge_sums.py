"""Moments of features over a law of positive pairs: points and edges, block after block.

With weights p of points and w of edges, each times the weight of the whole law,

    Sigma = sum_i p_i phi_i phi_i^T,    Delta = sum_e (w_e / 2) (phi_i - phi_j)(phi_i - phi_j)^T,

and what `sslcore.solvers.sums` calls ``between`` is Sigma - Delta = sum_ij P_ij phi_i phi_j^T about the mean: of
pairs, unlike groups, it may have negative eigenvalues.  Points are read in blocks of consecutive rows with the edges
that begin there; what ends elsewhere is read besides, and where that is consecutive too, as in time, nothing is
gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends import Backend
from ..features import Features
from ..positives import Law
from ..solvers.groups import Samples
from ..solvers.sums import Sums, add_block
from .data import Data

__all__ = ["LawSums", "require_edges"]


def require_edges(data: Data) -> None:
    """Refuse a law that has no edges, for features."""
    if data.law is not None and data.law.matrix is not None:
        raise TypeError(
            f"features take laws of pairs, whose moments are sums over edges, found {data.positives!r:.80}; for an "
            f"Operator give a kernel, such as sslcore.kernels.Linear() at the features"
        )


class LawSums:
    """Sums the moments of features over one law after the other on the same points, in memory that is used again."""

    def __init__(self, features: Features, data: Data, rows: int, backend: Backend) -> None:
        self.data, self.rows, self.backend = data, rows, backend
        self.features = features
        self._here = self._prepared()
        self._buffer = backend.xp.empty(0, data.dtype)

    def _prepared(self) -> Callable[[Array], Array]:
        """Make a function to features, each result valid until the next call."""
        made: Callable[[Array], Array] = self.features.prepare_to_read(self.data.d, self.data.dtype, self.backend)
        return made

    @cached_property
    def _there(self) -> Callable[[Array], Array]:
        """Features of points beyond a block, beside those of the block."""
        return self._prepared()

    def values(self, places: np.ndarray) -> Iterator[tuple[slice, Array]]:
        """Yield features at points, increasing, by blocks: which of ``places``, and (rows, r)."""
        for start in range(0, len(places), self.rows):
            block = slice(start, min(start + self.rows, len(places)))
            yield block, self._here(self.data.rows(_span(places[block]), self.backend))

    def sums(self, law: Law, dtype: np.dtype) -> Sums:
        """Sum over a law on the points, of features multiplied in ``dtype``."""
        backend, xp = self.backend, self.backend.xp
        total: Sums | None = None
        for start in range(0, law.n_points, self.rows):
            stop = min(start + self.rows, law.n_points)
            weight = law.measure[start:stop]
            local = np.flatnonzero(weight)
            if not len(local):
                continue
            phi = self._here(self.data.rows(slice(start, stop), backend)).astype(dtype, copy=False)
            total = total or Sums.zero(phi.shape[1], xp)
            chosen = phi if len(local) == len(weight) else phi[xp.asarray(local)]
            singles = Samples.from_groups(np.arange(len(local)), backend, weight[local])
            share = law.total * float(weight.sum())
            add_block(total, chosen, singles, share, self._memory(chosen.size, dtype), backend)
            del chosen
            first, last = np.searchsorted(law.first, [start, stop])
            some = min(self.rows, law.n_points)  # edges at a time: their differences are as large as a block
            for begin in range(first, last, some):
                self._add_edges(total, law, slice(begin, min(begin + some, last)), phi, start)
        assert total is not None
        total.between -= total.within
        total.factor, total.n = 1.0, law.n_parts
        return total

    def _memory(self, size: int, dtype: np.dtype) -> Array:
        if self._buffer.size < size or self._buffer.dtype != dtype:
            self._buffer = self.backend.xp.empty(size, dtype)  # fresh memory would be paged in again and again
        out: Array = self._buffer
        return out

    def _add_edges(self, total: Sums, law: Law, edges: slice, phi: Array, start: int) -> None:
        """Add edges that begin in the block ``phi`` of points from ``start`` on."""
        backend, xp = self.backend, self.backend.xp
        weight, stop = law.weight[edges], start + len(phi)
        inner = law.second[edges] < stop
        order = slice(None) if bool((inner[:-1] >= inner[1:]).all()) else np.argsort(~inner, kind="stable")
        first, second, weight = law.first[edges][order] - start, law.second[edges][order], weight[order]
        count, here = len(weight), int(inner.sum())
        differences = self._memory(count * phi.shape[1], phi.dtype)[: count * phi.shape[1]].reshape(count, -1)
        _subtract(phi, first[:here], phi, second[:here] - start, differences[:here], xp)
        if here < count:
            ends, place = np.unique(second[here:], return_inverse=True)
            others = self._there(self.data.rows(_span(ends), backend)).astype(phi.dtype, copy=False)
            _subtract(phi, first[here:], others, place, differences[here:], xp)
        largest = float(weight.max())
        if float(weight.min()) < largest:
            differences *= xp.asarray(np.sqrt(weight / largest).astype(phi.dtype))[:, None]
        backend.add_second_moment(total.within, differences, law.total * largest / 2)


def _span(places: np.ndarray) -> Any:
    """Return consecutive places as a slice, which copies nothing."""
    if len(places) and int(places[-1]) - int(places[0]) == len(places) - 1 and bool((np.diff(places) == 1).all()):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _subtract(a: Array, i: np.ndarray, b: Array, j: np.ndarray, out: Array, xp: Any) -> None:
    """Write out = a[i] - b[j]."""
    left, right = _span(i), _span(j)
    left = left if isinstance(left, slice) else xp.asarray(left)
    right = right if isinstance(right, slice) else xp.asarray(right)
    if len(i):
        xp.subtract(a[left], b[right], out=out)
