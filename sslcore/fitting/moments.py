"""Moments of features over views: all that the feature solver needs, in O(r^2) memory.

With phibar_i the (weighted) mean of the features over the views of sample i,

    Sigma = E phi phi^T,    Delta = E (phi - phibar)(phi - phibar)^T,    E phi,

each a sum over samples: it can be accumulated in any order, on any number of workers, merged, saved and resumed.
The views of each sample are rotated to their mean and their contrasts, so that one symmetric product of the rotated
rows gives Delta, and another what Sigma has more than Delta.  Means are accumulated about their running mean (Chan,
Golub and LeVeque 1983): centring later subtracts nothing large.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from ..arrays import check_integer, check_scalar, gives_memory_back, require_finite
from ..backends import Backend, device_of, get_backend
from ..features import Features, Identity
from ..io.archive import MALFORMED, refusal
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.sums import Sums, add_block
from .codec import read_values, same_features, write_values
from .data import Data, as_data
from .plan import Sizes, feature_rows, features_plan, fitting_rows
from .representation import Representation

__all__ = ["Moments"]


class Moments:
    """Moments of features, accumulated over views in any order; see the module's docstring for the formulas.

    Parameters
    ----------
    features : Features
        With nothing left to choose from data (`Nystrom` with its landmarks given, or after ``fit``).

    Attributes
    ----------
    n, n_views : int
        Samples and views seen so far.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> views = rng.normal(size=(500, 1, 4)) * [3, 2, 1, 1] + rng.normal(size=(500, 2, 4))
    >>> first, second = sslcore.Moments(sslcore.features.Identity()), sslcore.Moments(sslcore.features.Identity())
    >>> rep = first.update(views[:300]).merge(second.update(views[300:])).solve(2, reg=1e-3)
    >>> rep.n_active, bool(rep.eigenvalues[0] > rep.eigenvalues[1])
    (2, True)
    """

    def __init__(self, features: Features, *, backend: str | None = None) -> None:
        if not isinstance(features, Features):
            raise TypeError(f"features of sslcore.features were expected, found {features!r}")
        self.features = features
        self._backend = backend
        self._d: int | None = None
        self._sums: Sums | None = None
        self._from_host = False

    @property
    def n(self) -> int:
        """Samples seen so far."""
        return self._sums.n if self._sums else 0

    @property
    def n_views(self) -> int:
        """Views seen so far."""
        return self._sums.n_views if self._sums else 0

    @gives_memory_back
    def update(self, views: Any, *, groups: Any = None, sample_weight: Any = None) -> Moments:
        """Add views (n, m, d), `Views`, or points (N, d) with ``groups``; returns self.

        All views of a sample must come in one call; samples of one view inform the covariance only.  An update that
        fails or is interrupted leaves the moments as they were.  float32 views are multiplied in float32 and
        accumulated in float64.

        The sums lie where the views do.  With ``backend="cupy"``, views of NumPy, memory maps and `Views` are brought
        to the GPU by blocks, the next one while the one before is worked on; nothing is there as a whole.
        """
        data = as_data(views, groups, sample_weight, single_views=True, absolute_weights=True)
        self.update_from(data, get_backend(data.source, backend=self._backend))
        return self

    def update_from(self, data: Data, backend: Backend, budget: int | None = None) -> None:
        """Update with data that are checked already."""
        if self._d not in (None, data.d):
            raise ValueError(f"views must have {self._d} coordinates like those before, found {data.d}")
        features = self.features.prepare(data.d, data.dtype, backend)
        rows = block_rows(self.features, data, backend, budget)

        def accumulated(dtype: np.dtype) -> Sums:
            total: Sums | None = None
            buffer = backend.xp.empty(0, dtype)  # one for all blocks: fresh memory would be paged in again and again
            for x, samples, weight in data.blocks(rows, backend):
                phi = features(x).astype(dtype, copy=False)
                total = total or Sums.zero(phi.shape[1], backend.xp)
                if buffer.size < phi.size:
                    buffer = backend.xp.empty(phi.size, dtype)
                add_block(total, phi, samples, weight, buffer, backend)
                del phi  # before the next block is made
            assert total is not None
            return total

        total = accumulated(data.dtype)
        if total.may_underflow(data.dtype):
            total = accumulated(np.dtype(float))
        total = total if self._sums is None else self._sums.on(backend).merged(total)
        total.require_finite()
        self._sums = total
        self._d = data.d
        self._from_host = device_of(data.source) != backend.NAME

    def adopt(self, parts: Iterable[Sums], data: Data, backend: Backend) -> None:
        """Adopt sums that were accumulated elsewhere over the same data."""
        for sums in parts:
            self._sums = sums if self._sums is None else self._sums.merged(sums)
        self._d = data.d
        self._from_host = device_of(data.source) != backend.NAME

    def merge(self, other: Moments) -> Moments:
        """Add what ``other``, over other samples with equal features, has seen; returns self."""
        if not isinstance(other, Moments):
            raise TypeError(f"Moments were expected, found {type(other).__name__}")
        if not same_features(self.features, other.features):
            raise ValueError("the moments to merge must be of the same features (kernel, landmarks, seed)")
        if other._sums is not None:
            if self._d not in (None, other._d):
                raise ValueError(f"the moments to merge must be of points with {self._d} coordinates, found {other._d}")
            if self._sums is None:
                self._sums, self._from_host = other._sums, other._from_host
            else:
                merged = self._sums.merged(other._sums.on(get_backend(self._sums.mean)))
                merged.require_finite()
                self._sums = merged
            self._d = other._d
        return self

    @gives_memory_back
    def solve(
        self,
        n_components: int,
        *,
        reg: float,
        beta: float = 1.0,
        unbiased: bool = True,
        center: bool = False,
    ) -> Representation:
        """Minimise over f = <c, phi(.)>: Sigma c = (1/gamma) (beta Delta + lambda I) c, as in `sslcore.pretrain`.

        Parameters and errors are those of `sslcore.pretrain`; reg = 0 is allowed for `Identity` features whose Sigma is
        positive definite.
        """
        if self._sums is None or self._d is None:
            raise ValueError("the moments are empty; call update(views) first")
        zero_reg = isinstance(self.features, Identity)
        objective = Objective.of(n_components, reg, beta, unbiased, center, zero_reg=zero_reg)
        objective.within(self.features.n_features(self._d), "features")
        if objective.beta > 0 and self._sums.n == self._sums.n_views:
            raise ValueError("no sample has 2 or more views, so there is nothing to be invariant to; use beta=0")
        backend = get_backend(self._sums.mean, backend=self._backend)
        spectrum = self.pencil(backend, unbiased=objective.unbiased, center=objective.center).solve(objective)
        rep = Representation.from_spectrum(spectrum, self.features, objective, n_coordinates=self._d)
        return rep.to("numba") if self._from_host else rep

    def pencil(self, backend: Backend, *, unbiased: bool, center: bool) -> Pencil:
        """Make the eigenproblem of the data seen so far, for checked arguments."""
        assert self._sums is not None
        assert self._d is not None
        sums, d = self._sums.on(backend), self._d

        def planned(k: int) -> int:
            return features_plan(Sizes(sums.n, sums.n_views, d, k), len(sums.mean), self.features).bytes

        finest = self.features.finest
        return Pencil(sums, backend, finest=finest, unbiased=unbiased, center=center, planned=planned)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the moments and their features to one file, as `Representation.save` does."""
        if self._sums is None:
            raise ValueError("the moments are empty; there is nothing to save")
        content = {"features": self.features, "d": self._d} | vars(self._sums)
        write_values(path, "moments", content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Moments:
        """Read what `save` wrote; a file that is damaged or of another kind is refused with the reason."""
        _, content = read_values(path, "moments")
        return cls.from_content(path, content)

    @classmethod
    def from_content(cls, path: str | os.PathLike[str], content: dict[str, Any]) -> Moments:
        """Read moments from the content of a file, checked."""
        try:
            moments = cls(content.pop("features"))
            moments._d = check_integer(content.pop("d"), "d", minimum=1)
            sums = Sums(**content)
            _check_sums(sums)
            if len(sums.mean) != moments.features.n_kept(moments._d):
                raise ValueError(f"moments of {len(sums.mean)} features do not fit {moments.features!r}")
            moments._sums = sums.in_fortran_order()
        except MALFORMED as error:
            raise refusal(path, ("moments",), error) from None
        return moments


def block_rows(features: Features, data: Data, backend: Backend, budget: int | None) -> int:
    """Return about how many views a block of these data has, whose features are made and summed at a time."""
    r = features.n_features(data.d)
    sizes = Sizes(data.n, data.n_views, data.d, 1, data.dtype.itemsize, made=data.made)
    return fitting_rows(feature_rows(r, data.d), sizes, r, budget, backend)


def _check_sums(sums: Sums) -> None:
    """Check types, shapes and ranges of what came from a file."""
    check_integer(sums.n, "n", minimum=1, maximum=2**62)
    check_integer(sums.n_views, "n_views", minimum=sums.n, maximum=2**62)
    check_scalar(sums.weight, "weight", minimum=0.0, strict=True)
    if sums.factor is not None:
        check_scalar(sums.factor, "factor", minimum=1.0)
    r = len(sums.mean)
    for name in ("mean", "between", "within", "unbiased"):
        array = getattr(sums, name)
        shape = (r,) if name == "mean" else (r, r)
        if array is None and name == "unbiased":
            continue
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float64:
            raise ValueError(f"array {name} must be float64 of shape {shape}, found {array!r:.60}")
        require_finite(array, name)
