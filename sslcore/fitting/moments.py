"""Moments of features over views: all that the feature solver needs, in O(r^2) memory.

With phibar_i the (weighted) mean of the features over the views of sample i,

    Sigma = E phi phi^T,    Delta = E (phi - phibar)(phi - phibar)^T,    E phi,

each a sum over samples: it can be accumulated in any order, on any number of workers, merged, saved and resumed.
The views of each sample are rotated to their mean and their contrasts, so that one symmetric product of the rotated
rows gives Delta, and another what Sigma has more than Delta.  Means are accumulated about their running mean (Chan,
Golub and LeVeque 1983): centring later subtracts nothing large.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from ..arrays import check_integer, check_scalar, gives_memory_back
from ..backends import Backend, device_of, get_backend
from ..features import Features, Identity
from ..io.archive import MALFORMED, refusal
from ..positives import Positives
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.sums import Sums
from .accumulator import Accumulator
from .codec import read_values, same_features, write_values
from .collections import home_of, refuse_options
from .data import Data, as_data, as_law_data, require_moderate
from .edge_sums import require_edges
from .held_moments import HeldMoments
from .plan import features_plan
from .representation import Representation
from .search import AutoReg, as_search, select
from .sizes import Sizes

__all__ = ["Moments"]

_UNKNOWN = float(np.finfo(np.float32).eps)
"""Relative rounding of features of which only sums are known: they may have been float32."""


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
        self._held: tuple[Sums, ...] = ()  # groups of samples that a stream holds out, which `_sums` does not include
        self._from_host = False
        self._epsilon = 0.0  # relative rounding of the features, the coarsest seen

    @property
    def n(self) -> int:
        """Samples seen so far."""
        return sum(part.n for part in self._parts)

    @property
    def n_views(self) -> int:
        """Views seen so far."""
        return sum(part.n_views for part in self._parts)

    @property
    def _parts(self) -> tuple[Sums, ...]:
        return () if self._sums is None else (self._sums, *self._held)

    def _total(self) -> Sums:
        """Merge all parts, in their order."""
        first, *rest = self._parts
        if not rest:
            return first
        total = first.copied()
        for part in rest:
            total.add(part)
        return total

    @gives_memory_back
    def update(
        self, views: Any, *, groups: Any = None, sample_weight: Any = None, positives: Positives | None = None
    ) -> Moments:
        """Add views (n, m, d), `Views`, or points (N, d) with ``groups`` or with a law of ``positives``; returns self.

        All views of a sample must come in one call; samples of one view inform the covariance only.  An update that
        fails or is interrupted leaves the moments as they were.  float32 views are multiplied in float32 and
        accumulated in float64: `solve` refuses a reg that is too small for that.

        The sums lie where the views do.  With ``backend="cupy"``, views of NumPy, memory maps and `Views` are brought
        to the GPU by blocks, the next one while the one before is worked on; nothing is there as a whole.

        Of a law of pairs (no `Operator`) an update weighs as the sum of the weights of its pairs: trajectories that
        come one after the other are one `TimeLag` with boundaries.  Pairs of points in different updates are none, and
        a mixture with `Groups` takes them unbiased.  ``n`` then counts the parts of the graphs.

        A Dask array is summed where it lies, by `sslcore.dask.moments`.
        """
        home = home_of(views)
        if home is not None:
            refuse_options({"groups": groups, "sample_weight": sample_weight})
            return self.merge(home.moments(views, self.features, positives=positives, backend=self._backend))
        if positives is None:
            data = as_data(views, groups, sample_weight, single_views=True, absolute_weights=True)
        elif groups is not None or sample_weight is not None:
            raise ValueError("give either positives= or groups= and sample_weight=, not both")
        else:
            data = as_law_data(views, positives, unbiased=True, single_views=True)
            require_edges(data)
            if data.law is not None:
                require_moderate(data.law.total, "the weight of pairs", "their sum")
        self.update_from(data, get_backend(data.source, backend=self._backend))
        return self

    def update_from(self, data: Data, backend: Backend, budget: int | None = None) -> None:
        """Update with data that are checked already."""
        if self._d not in (None, data.d):
            raise ValueError(f"views must have {self._d} coordinates like those before, found {data.d}")
        total = Accumulator(self.features, data.d, data.dtype, backend).sums(data, budget)
        total = total if self._sums is None else self._sums.on(backend).merged(total)
        total.require_finite()
        self._sums = total
        self._note(data, backend)

    def _note(self, data: Data, backend: Backend) -> None:
        """Remember what these data were."""
        self._epsilon = max(self._epsilon, float(np.finfo(data.dtype).eps))
        self._d = data.d
        self._from_host = device_of(data.source) != backend.NAME

    def adopt(self, parts: Iterable[Sums], data: Data, backend: Backend) -> None:
        """Adopt sums that were accumulated elsewhere over the same data."""
        for sums in parts:
            self._sums = sums if self._sums is None else self._sums.merged(sums)
        self._note(data, backend)

    @classmethod
    def of_sums(
        cls,
        features: Features,
        d: int,
        sums: Sums,
        held: tuple[Sums, ...],
        *,
        epsilon: float,
        backend: str | None,
        from_host: bool,
    ) -> Moments:
        """Make moments of sums over points of d coordinates, and over groups of others that are held out.

        ``epsilon`` is the relative rounding of the type that the features had.
        """
        moments = cls(features, backend=backend)
        moments._d, moments._sums, moments._held, moments._from_host = d, sums, held, from_host
        moments._epsilon = epsilon
        return moments

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
                self._sums, self._held, self._from_host = other._sums, other._held, other._from_host
            else:
                backend = get_backend(self._sums.mean)
                merged = self._sums.merged(other._sums.on(backend))
                merged.require_finite()
                pairs = itertools.zip_longest(self._held, (part.on(backend) for part in other._held))
                self._sums = merged
                self._held = tuple(a.merged(b) if a and b else a or b for a, b in pairs)
            self._d = other._d
            self._epsilon = max(self._epsilon, other._epsilon)
        return self

    @gives_memory_back
    def solve(
        self,
        n_components: int,
        *,
        reg: float | str | AutoReg,
        beta: float = 1.0,
        unbiased: bool = True,
        center: bool = False,
    ) -> Representation:
        """Minimise over f = <c, phi(.)>: Sigma c = (1/gamma) (beta Delta + lambda I) c, as in `sslcore.pretrain`.

        Parameters and errors are those of `sslcore.pretrain`; reg = 0 is allowed for `Identity` features whose Sigma is
        positive definite.  ``reg="auto"`` is for moments of `sslcore.stream.moments`, which hold samples out.
        """
        if self._sums is None or self._d is None:
            raise ValueError("the moments are empty; call update(views) first")
        search = as_search(reg) if self._held else None  # without samples held out, reg is a number
        zero_reg = isinstance(self.features, Identity)
        objective = Objective.of(n_components, 1.0 if search else reg, beta, unbiased, center, zero_reg=zero_reg)
        objective.within(self.features.n_features(self._d), "features")
        if objective.beta > 0 and self.n == self.n_views:
            raise ValueError("no sample has 2 or more views, so there is nothing to be invariant to; use beta=0")
        backend = get_backend(self._sums.mean, backend=self._backend)
        selection = None
        if search:
            held = tuple(part.on(backend) for part in self._held)
            known = {"finest": self.features.finest, "epsilon": self._epsilon}
            parts = HeldMoments(self._sums.on(backend), held, objective, backend, **known)
            selection = select(search, parts, np.dtype(float))
            objective = replace(objective, reg=selection.reg)
        spectrum = self.pencil(backend, unbiased=objective.unbiased, center=objective.center).solve(objective)
        rep = Representation.from_spectrum(spectrum, self.features, objective, n_coordinates=self._d)
        rep = replace(rep, selection=selection)
        return rep.to("numba") if self._from_host else rep

    def pencil(self, backend: Backend, *, unbiased: bool, center: bool) -> Pencil:
        """Make the eigenproblem of the data seen so far, for checked arguments."""
        assert self._sums is not None
        assert self._d is not None
        sums, d = self._total().on(backend), self._d

        def planned(k: int) -> int:
            return features_plan(Sizes(sums.n, sums.n_views, d, k), len(sums.mean), self.features).bytes

        known = {"finest": self.features.finest, "epsilon": self._epsilon}
        return Pencil(sums, backend, **known, unbiased=unbiased, center=center, planned=planned)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the moments and their features to one file, as `Representation.save` does."""
        if self._sums is None:
            raise ValueError("the moments are empty; there is nothing to save")
        content = {"features": self.features, "d": self._d, "epsilon": self._epsilon} | vars(self._sums)
        if self._held:
            content["held_out"] = [vars(part) for part in self._held]
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
            moments._epsilon = check_scalar(content.pop("epsilon", _UNKNOWN), "epsilon", minimum=0.0)
            moments._d = check_integer(content.pop("d"), "d", minimum=1)
            held = [Sums(**part) for part in content.pop("held_out", [])]
            sums = Sums(**content)
            for part in (sums, *held):
                part.require_good()
            if {len(part.mean) for part in (sums, *held)} != {moments.features.n_kept(moments._d)}:
                raise ValueError(f"moments of {len(sums.mean)} features do not fit {moments.features!r}")
            moments._sums = sums.in_fortran_order()
            moments._held = tuple(part.in_fortran_order() for part in held)
        except MALFORMED as error:
            raise refusal(path, ("moments",), error) from None
        return moments
