"""The sizes of a fit, from which its memory and time are planned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["MOST_HELD_OUT", "Sizes", "Uneven", "held_out_samples"]

MOST_HELD_OUT = 10_000
"""Samples that one split holds out at most: the risk is known well enough then."""


def held_out_samples(n_useful: int, n_others: int = 0) -> tuple[int, int]:
    """Count the samples that one split holds out: of those that the risk needs, at least two, and of the others."""

    def quarter(n: int) -> int:
        return min(round(n / 4), MOST_HELD_OUT)

    return max(2, quarter(n_useful)), quarter(n_others)


def _trained_samples(n: int, n_folds: int, n_others: int = 0) -> int:
    """Count the samples of the largest training part, of n of which the risk does not need some.

    Many samples may have one split in place of as many folds: no more are held out than by that.
    """
    if n_folds == 1:
        held = sum(held_out_samples(n - n_others, n_others))
    else:
        held = min(n // n_folds, MOST_HELD_OUT) if n_folds else 0
    return max(1, n - held)


@dataclass(frozen=True)
class Uneven:
    """Hold what plans depend on where samples have unlike numbers of views.

    Attributes
    ----------
    largest : int
        Views of the largest sample: blocks hold samples as wholes.
    squares : int
        Sum of m^2 over samples of m views, the entries of their rotations.
    trained, trained_samples : int
        Views of the largest training part of a search, whichever samples a fold holds out, and its samples.
    """

    largest: int
    squares: int
    trained: int
    trained_samples: int

    @classmethod
    def of(cls, views: np.ndarray, n_folds: int, single_views: bool = False) -> Uneven | None:
        """Look at the numbers of views of all samples, in a search with this many folds; None if they agree.

        ``single_views``: the risk needs samples of one view too (beta = 0), as `make_folds` says.
        """
        if len(views) == 0 or views.min() == views.max():
            return None
        n_trained = _trained_samples(len(views), n_folds, 0 if single_views else int((views == 1).sum()))
        most = np.sort(views)[::-1][:n_trained]
        return cls(int(views.max()), int((views.astype(float) ** 2).sum()), int(most.sum()), n_trained)

    def scaled(self, share: float, n_views: int) -> Uneven:
        """Return the same of a share of the samples, among which the largest is."""
        squares = max(share * self.squares, float(min(self.largest, n_views)) ** 2)
        trained = (math.ceil(share * count) for count in (self.trained, self.trained_samples))
        return Uneven(min(self.largest, n_views), math.ceil(squares), *trained)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a fit.

    Attributes
    ----------
    n, n_views, d : int
        Samples, views of all of them, coordinates of a view.
    k, itemsize : int
        Components; bytes of a coordinate.
    n_points : int
        Points of a path; 1: a single fit.
    n_folds : int
        Folds of a search for reg; 0: none.
    made : bool
        Whether the views take memory too, as they are made or gathered.
    pairs : {"", "time", "graph"}
        Whether a law of positive pairs takes the place of groups of views, of points in time or of others.
    uneven : Uneven or None
        What there is to know of samples with unlike numbers of views.
    apart : Sizes or None
        With beta = 0, where a kernel's solver is handed single views: the samples whose pairs are measured beside it.
    """

    n: int
    n_views: int
    d: int
    k: int
    itemsize: int = 8
    n_points: int = 1
    n_folds: int = 0
    made: bool = False
    pairs: str = ""
    uneven: Uneven | None = None
    apart: Sizes | None = None

    @property
    def places(self) -> int:
        """Values of reg and beta that are solved for beside each other; 0: a single fit."""
        return self.n_points - 1

    @property
    def points_bytes(self) -> int:
        """Bytes of all points."""
        return self.itemsize * self.d * self.n_views

    @property
    def trained(self) -> int:
        """The samples in the training part of a fold."""
        return _trained_samples(self.n, self.n_folds) if self.uneven is None else self.uneven.trained_samples

    @property
    def largest(self) -> int:
        """The views of the largest sample."""
        return -(-self.n_views // self.n) if self.uneven is None else min(self.n_views, self.uneven.largest)

    def rotations_bytes(self, views: int | None = None) -> int:
        """Count the rotations of the samples, with and without weights: m^2 numbers of m views; of a block of views."""
        views = self.n_views if views is None else views
        squares = self.largest * views
        return 16 * (squares if self.uneven is None else min(squares, self.uneven.squares))

    def single_views(self) -> Sizes:
        """Return the same for a solver that is handed every view as a sample of its own."""
        return replace(self, n=self.n_views, uneven=None, apart=self)

    @property
    def grouped(self) -> Sizes:
        """The sizes with the samples that there are."""
        return self.apart or self

    def held_rotations_bytes(self) -> int:
        """Count the rotations of the samples that a fold holds out: of unlike ones all views may be of one."""
        if self.uneven:
            return self.rotations_bytes()
        held = self.n - self.trained if self.n_folds == 1 else min(-(-self.n // self.n_folds), MOST_HELD_OUT)
        return self.rotations_bytes(min(self.n_views, held * self.largest))

    def training_part(self) -> Sizes:
        """Return the sizes of the largest training part that folds may have."""
        if self.apart is not None:
            return self.apart.training_part().single_views()
        if self.uneven is None:
            return self.with_samples(self.trained)
        return replace(self, n=self.trained, n_views=self.uneven.trained)

    def with_samples(self, n: int) -> Sizes:
        """Return the same of n samples with as many views each, on average."""
        if self.apart is not None:
            return self.apart.with_samples(n).single_views()
        few = replace(self, n=n, n_views=n + n * (self.n_views - self.n) // self.n)
        if self.uneven is None:
            return few
        return replace(few, uneven=self.uneven.scaled(n / self.n, few.n_views))
