"""Laws of pairs: given, in time, between neighbours, within classes and within groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..arrays import as_array, as_entries, as_native, on_host
from ..arrays.labels import read_groups, read_names
from ..backends.machine import free_memory
from ..declarations.parameters import choice, converted, integer
from ..errors import MemoryBudgetError
from ._base import Positives
from ._law import Law

__all__ = ["Groups", "Labels", "Neighbors", "Pairs", "TimeLag"]


def _as_places(value: Any, name: str) -> np.ndarray:
    """Return indices of points, from 0 on."""
    return _as_counts(value, name, "indices of points")


def _as_counts(value: Any, name: str, what: str) -> np.ndarray:
    """Return integers >= 0, in words ``what`` they are."""
    array = on_host(as_array(as_native(value, name), name, ndim=1))
    out_of_range = (array < 0) | (array > 2**31)
    places = np.where(out_of_range, 0, array).astype(np.int64)
    wrong = np.flatnonzero(out_of_range | (places != array))
    if len(wrong):
        raise ValueError(f"{name} must be {what}, integers from 0 on, found {array[wrong[0]]:g} at place {wrong[0]}")
    return places


def _as_weights(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    weight: np.ndarray = on_host(as_array(as_native(value, name), name, ndim=1)).astype(float)
    if float(weight.min()) < 0 or float(weight.max()) == 0:
        found = float(weight.min()) if float(weight.min()) < 0 else "zeros only"
        raise ValueError(f"{name} must be >= 0 and not all 0, found {found}")
    return weight


@dataclass(frozen=True, eq=False, repr=False)
class Pairs(Positives):
    r"""Given pairs (i, j) of points with weights: the edges of a graph.

    P_ij = P_ji = w / 2 of each pair, repeated pairs added, and divided by the sum of all.  A pair (i, i) says only that
    the point is there: it raises p_i.  A point in no pair has measure 0: it plays no part in the fit.  Pairs that do
    not touch are samples of two views, and have their minimisers to rounding, not to the bit: `Groups` does.

    Parameters
    ----------
    i, j : arrays (E,) of integers
        Indices of points, from 0 on.
    weight : array (E,), optional
        >= 0; by default all equal.  Only ratios matter.

    Raises
    ------
    ValueError
        Indices that are no integers >= 0, or of more than the N points; weights negative, NaN or all 0.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> from sslcore.positives import Pairs
    >>> x = np.arange(6.0)[:, None]  # two paths of three points
    >>> edges = Pairs([0, 1, 3, 4], [1, 2, 4, 5])
    >>> rep = sslcore.pretrain(x, sslcore.kernels.Exponential(1.0), 2, reg=1e-6, positives=edges)
    >>> rep.eigenvalues.round(4), rep.positives.split("; ")[1]
    (array([1., 1.]), '4 edges between 6 points in 2 parts')
    """

    i: Any = converted("indices of the first points of the pairs, from 0 on", _as_places)
    j: Any = converted("indices of the second points of the pairs, from 0 on", _as_places)
    weight: Any = converted("weights of the pairs, >= 0", _as_weights, default=None)

    def _complete(self) -> None:
        if len(self.i) != len(self.j) or (self.weight is not None and len(self.weight) != len(self.i)):
            sizes = f"{len(self.i)} and {len(self.j)}"
            sizes += "" if self.weight is None else f", and {len(self.weight)} weights"
            raise ValueError(f"i, j and weight must have one entry for each pair, found {sizes}")

    def _law(self, x: Any, unbiased: bool) -> Law:
        n = len(x)
        for name, places in (("i", self.i), ("j", self.j)):
            wrong = np.flatnonzero(places >= n)
            if len(wrong):
                raise ValueError(
                    f"{name} must be indices of the {n} points, 0 to {n - 1}, found {places[wrong[0]]} "
                    f"at place {wrong[0]}"
                )
        return Law.of_pairs(self.i, self.j, np.ones(len(self.i)) if self.weight is None else self.weight, n)


def _as_boundaries(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    lengths = _as_counts(value, name, "lengths of trajectories")
    if not len(lengths) or int(lengths.min()) < 1:
        raise ValueError(f"{name} must be lengths of trajectories, integers >= 1, found {lengths!r:.80}")
    return lengths


_EXACT = 2**53
"""Integers up to which float64 has all."""


def _as_times(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    given = on_host(as_entries(value, name))
    times = as_array(given, name, ndim=1)
    if given.dtype.kind in "iu":  # as which they are looked at: as numbers of float64 large ones are rounded
        beyond = given > _EXACT
        wrong = np.flatnonzero(beyond if given.dtype.kind == "u" else beyond | (given < -_EXACT))
        times = given
    else:
        wrong = np.flatnonzero((times != np.rint(times)) | (np.abs(times) > _EXACT))
    if len(wrong):
        found = times[wrong[0]]
        shown = f"{found:.17g}" if found.dtype.kind == "f" else str(found)
        raise ValueError(
            f"{name} must be integers, at most 2^53 in size, found {shown} at place {wrong[0]}; count "
            f"from the first in the step of the measurements, np.rint((times - times[0]) / step)"
        )
    return times.astype(np.int64)


def _apart(times: np.ndarray, lengths: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of each trajectory whose time comes again a lag later, and the rows of then."""
    lag = min(lag, 4 * _EXACT)  # farther apart than any
    starts, stops = [], []
    for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
        first = end - length
        t = times[first:end]
        back = np.flatnonzero(t[1:] <= t[:-1])
        if len(back):
            i = int(back[0])
            raise ValueError(
                f"times must increase from row to row of a trajectory, found {t[i + 1]} after {t[i]} at place "
                f"{first + i + 1}; sort the rows by them, or say where trajectories end with boundaries="
            )
        place = np.minimum(np.searchsorted(t, t + lag), length - 1)
        found = np.flatnonzero(t[place] == t + lag)
        starts.append(first + found)
        stops.append(first + place[found])
    start, stop = np.concatenate(starts), np.concatenate(stops)
    if not len(start):
        raise ValueError(f"no two times of a trajectory are lag = {lag} apart: lag is in the unit of times")
    return start, stop


@dataclass(frozen=True, eq=False, repr=False)
class TimeLag(Positives):
    r"""Points of trajectories with those a lag later, (x_t, x_{t+lag}): rows of x are in the order of time.

    Where rows are missing, ``times`` says when those that are there were measured: pairs are points whose times differ
    by the lag, however many rows are between them.

    With identity features, centred, and reg -> 0, mu are the autocorrelations of time-lagged independent component
    analysis (TICA, the reversible estimator); lag 1 is slow feature analysis, with the slowness 2 (1 - mu).

    Parameters
    ----------
    lag : int
        >= 1, in rows, or in the unit of ``times``.
    boundaries : array of int, optional
        Lengths of the trajectories, one after the other, with the sum N; no pair goes from one to the next.
        By default there is one.
    times : array (N,) of integers, optional
        When each row was measured, increasing within a trajectory.  Times that are no integers come onto a grid by
        rounding, ``np.rint(times / step)``.

    Raises
    ------
    ValueError
        Lengths that do not add up to N, a lag that no trajectory is longer than, times that are NaN, no integers, not N
        or do not increase, or no two of which are a lag apart.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import TimeLag
    >>> law = TimeLag(2, boundaries=[3, 4]).law(np.zeros((7, 1)))
    >>> law.first, law.second
    (array([0, 3, 4]), array([2, 5, 6]))
    >>> law = TimeLag(2, times=[0, 1, 2, 5, 6, 7]).law(np.zeros((6, 1)))  # 3 and 4 are missing
    >>> law.first, law.second
    (array([0, 3]), array([2, 5]))
    """

    lag: int = integer("rows, or units of times, from a point to its partner", minimum=1)
    boundaries: Any = converted("lengths of the trajectories", _as_boundaries, default=None)
    times: Any = converted("when each row was measured", _as_times, default=None)

    def _law(self, x: Any, unbiased: bool) -> Law:
        n = len(x)
        lengths = np.array([n]) if self.boundaries is None else self.boundaries
        if int(lengths.sum()) != n:
            raise ValueError(
                f"boundaries must be lengths with the sum {n}, the number of points, found {lengths.sum()}"
            )
        if self.times is not None:
            if len(self.times) != n:
                raise ValueError(f"times must have one entry for each of the {n} points, found {len(self.times)}")
            start, stop = _apart(self.times, lengths, self.lag)
            return replace(Law.of_pairs(start, stop, np.ones(len(start)), n), order="time")
        if self.lag >= int(lengths.max()):
            raise ValueError(
                f"lag must be less than the length of a trajectory, found {self.lag}, where the longest has "
                f"{int(lengths.max())} points"
            )
        trajectory = np.repeat(np.arange(len(lengths)), lengths)
        start = np.flatnonzero(trajectory[: n - self.lag] == trajectory[self.lag :])
        return replace(Law.of_pairs(start, start + self.lag, np.ones(len(start)), n), order="time")


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(Positives):
    r"""Each point with its nearest ones, in Euclidean distance: Laplacian eigenmaps with a transform to new points.

    The graph is symmetrised: {i, j} is an edge of weight 1 if each is among the nearest of the other, and 1/2 if
    one is, as the mean of the matrix of neighbours and its mirror.

    Parameters
    ----------
    n_neighbors : int
        >= 1, without the point itself.

    Raises
    ------
    ValueError
        There are not more points than neighbours, or squares of distances overflow.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import Neighbors
    >>> law = Neighbors(1).law(np.array([[0.0], [1.0], [3.0]]))
    >>> law.first, law.second, law.weight.round(4)
    (array([0, 1]), array([1, 2]), array([0.6667, 0.3333]))
    """

    _by_distance: ClassVar[bool] = True

    n_neighbors: int = integer("nearest points of each, without itself", minimum=1)

    def _law(self, x: Any, unbiased: bool) -> Law:
        from scipy.spatial import cKDTree

        points = on_host(as_array(as_native(x, "x"), "x", ndim=2)).astype(float)
        n, k = len(points), self.n_neighbors
        if k >= n:
            raise ValueError(f"n_neighbors must be less than the number of points, {n}, found {k}")
        _, near = cKDTree(points).query(points, k + 1)
        if int(near.max()) >= n:  # which stands for none at a finite distance
            raise ValueError("squares of distances between points overflow: rescale x")
        itself = near == np.arange(n)[:, None]
        itself[~itself.any(axis=1), -1] = True  # beyond k + 1 equal points: the last one makes room
        i = np.repeat(np.arange(n), k)
        return Law.of_pairs(i, near[~itself], np.ones(n * k), n)


def _as_labels(value: Any, name: str) -> np.ndarray:
    """Return the class of each point, 0, 1, ..., and -1 where it is missing."""
    names, missing = read_names(value, name)
    if names.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension, one label a point, found shape {names.shape}")
    if names.dtype.kind in "iu":
        missing = missing | (names == -1)
    if names.dtype.kind == "f":
        missing = missing | (names == -1) | np.isnan(names)
    if missing.all():
        raise ValueError(f"{name} must have labels, found all of them missing (NaN, None, -1 or under a mask)")
    out = np.full(len(names), -1)
    out[~missing] = np.unique(names[~missing], return_inverse=True)[1]
    return out


@dataclass(frozen=True, eq=False, repr=False)
class Labels(Positives):
    r"""All pairs of different points with the same label: supervised contrastive learning.

    Points whose label is missing, or that are alone in their class, are in no pair.

    Parameters
    ----------
    y : array (N,)
        Numbers or words; -1, NaN, None or under a mask: missing.
    by : {"pair", "class"}
        What has equal weight: each pair (then large classes weigh as the squares of their sizes), or each class.

    Raises
    ------
    ValueError
        All labels are different or missing, or there are not N of them.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import Labels
    >>> x, y = np.zeros((6, 1)), ["a", "a", "b", "b", "b", None]
    >>> Labels(y).law(x).measure, Labels(y, by="class").law(x).measure.round(4)
    (array([0.125, 0.125, 0.25 , 0.25 , 0.25 , 0.   ]), array([0.25  , 0.25  , 0.1667, 0.1667, 0.1667, 0.    ]))
    """

    y: Any = converted("the class of each point; -1 or missing: in no pair", _as_labels)
    by: str = choice("what has equal weight", ("pair", "class"), default="pair")

    def weights(self) -> np.ndarray:
        """Return a multiple of p of each point, (N,): m - 1 in a class of m, or 1 / m by class; 0 in no pair.

        T averages over the other points of the class: as groups of views with these weights do, without a list of
        pairs.

        Examples
        --------
        >>> from sslcore.positives import Labels
        >>> Labels([0, 0, 0, 1, 1, -1]).weights()
        array([2., 2., 2., 1., 1., 0.])
        """
        size = np.bincount(self.y[self.y >= 0])[self.y].astype(float)
        weight = size - 1.0 if self.by == "pair" else 1.0 / size
        return np.where((self.y >= 0) & (size > 1), weight, 0.0)

    def _law(self, x: Any, unbiased: bool) -> Law:
        if len(self.y) != len(x):
            raise ValueError(f"y must have one label for each of the {len(x)} points, found {len(self.y)}")
        i, j, size = _within(self.y)
        if not len(i):
            raise ValueError("no two points have the same label: all are different or missing, and there are no pairs")
        return Law.of_pairs(i, j, np.ones(len(i)) if self.by == "pair" else 1.0 / (size * (size - 1.0)), len(x))


def _as_groups(value: Any, name: str) -> np.ndarray:
    names, _ = read_names(value, name, dates=True)
    index, _ = read_groups(value, len(names))
    return index


@dataclass(frozen=True, eq=False, repr=False)
class Groups(Positives):
    r"""Points of one group are views of one sample: what ``groups=`` says.

    P_ij = 1 / (N (m - 1)) for different points of a group of m, or 1 / (N m) with pairs of points with themselves where
    the fit is biased (``unbiased=False``).  A point alone in its group is a pair with itself.  Alone, without another
    law beside it, it is solved as ``groups=`` is, with the same bits.

    Parameters
    ----------
    groups : array (N,)
        The sample of each point: numbers, words or dates.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import Groups
    >>> law = Groups([0, 0, 1, 1, 2]).law(np.zeros((5, 1)))
    >>> law.measure, law.weight
    (array([0.2, 0.2, 0.2, 0.2, 0.2]), array([0.4, 0.4]))
    """

    groups: Any = converted("the sample of each point", _as_groups)

    def _law(self, x: Any, unbiased: bool) -> Law:
        n = len(self.groups)
        if n != len(x):
            raise ValueError(f"groups must name the sample of each of the {len(x)} points, found {n}")
        i, j, size = _within(self.groups)
        counts = np.bincount(self.groups)[self.groups]
        alone = np.arange(n) if not unbiased else np.flatnonzero(counts == 1)
        weight = 2.0 / (size - 1.0) if unbiased else 2.0 / size
        itself = 1.0 / counts[alone]
        ends = np.concatenate([i, alone]), np.concatenate([j, alone])
        return Law.of_pairs(*ends, np.concatenate([weight, itself]), n)


_PAIR_BYTES = 120
"""Memory of a pair on its way to an edge: its ends and weight, sorted and added up."""


def _within(names: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs i < j with equal names >= 0, and the number of points with each pair's name."""
    found: list[list[np.ndarray]] = [[], [], []]
    order = np.argsort(names, kind="stable")
    order = order[names[order] >= 0]
    counts = np.bincount(names[order]).astype(float) if len(order) else np.zeros(0)
    n_pairs = float((counts * (counts - 1)).sum() / 2)
    needed = int(_PAIR_BYTES * n_pairs)
    if needed > 0.9 * free_memory():
        raise MemoryBudgetError(
            f"{n_pairs:.3g} pairs of points of one class or group need {needed / 1e9:.3g} GB of memory (nothing was "
            f"allocated); without another law beside it take groups=, where pairs are not listed: those of Labels are "
            f"sample_weight = m - 1 of each point in a class of m, and with by='class' 1 / m",
            needed,
        )
    for members in np.split(order, np.flatnonzero(np.diff(names[order])) + 1):
        low, high = np.triu_indices(len(members), 1)
        for part, values in zip(found, (members[low], members[high], np.full(len(low), len(members))), strict=True):
            part.append(values)
    i, j, size = (np.concatenate(part) for part in found)
    return i, j, size
