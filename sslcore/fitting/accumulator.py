"""Sums of the moments of features over views, block after block."""

from __future__ import annotations

import numpy as np

from ..backends import Backend
from ..features import Features
from ..solvers.sums import Sums, add_block
from .data import Data
from .edge_sums import LawSums
from .plan import feature_rows, fitting_rows
from .sizes import Sizes

__all__ = ["Accumulator", "feature_block_rows"]


def feature_block_rows(features: Features, data: Data, backend: Backend, budget: int | None) -> int:
    """Return about how many views a block of these data has, whose features are made and summed at a time."""
    r = features.n_features(data.d)
    sizes = Sizes(data.n, data.n_views, data.d, 1, data.dtype.itemsize, made=data.made)
    return fitting_rows(feature_rows(r, data.d), sizes, r, budget, backend)


class Accumulator:
    """Sums the moments of features of one data set after the other, in memory that is used again."""

    def __init__(self, features: Features, d: int, dtype: np.dtype, backend: Backend) -> None:
        self.features, self.backend = features, backend
        self._phi = features.prepare_to_read(d, dtype, backend)
        self._buffer = backend.xp.empty(0, dtype)  # fresh memory would be paged in again and again
        self._spare: Sums | None = None

    def sums(self, data: Data, budget: int | None = None) -> Sums:
        """Sum over checked data; float32 features too small for products in float32 are multiplied in float64."""
        rows = feature_block_rows(self.features, data, self.backend, budget)
        if data.law is not None:
            of_pairs = LawSums(self.features, data, rows, self.backend)
            found = of_pairs.sums(data.law, data.dtype)
            return of_pairs.sums(data.law, np.dtype(float)) if found.may_underflow(data.dtype) else found
        total = self._accumulated(data, rows, data.dtype)
        return self._accumulated(data, rows, np.dtype(float)) if total.may_underflow(data.dtype) else total

    def recycle(self, sums: Sums | None) -> None:
        """Take sums that nobody needs any more, of this accumulator: the next ones have their memory."""
        self._spare = sums

    def _accumulated(self, data: Data, rows: int, dtype: np.dtype) -> Sums:
        total: Sums | None = None
        for x, samples, weight in data.blocks(rows, self.backend):
            phi = self._phi(x).astype(dtype, copy=False)
            if total is None:
                spare, self._spare = self._spare, None
                total = Sums.zero(phi.shape[1], self.backend.xp, spare)
            wanted = phi.size + (phi.shape[1] ** 2 if dtype == np.float32 else 0)
            if self._buffer.size < wanted or self._buffer.dtype != dtype:
                self._buffer = self.backend.xp.empty(wanted, dtype)
            add_block(total, phi, samples, weight, self._buffer, self.backend)
            del x, phi  # before the next block is made
        assert total is not None
        return total
