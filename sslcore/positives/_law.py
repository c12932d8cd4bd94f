"""A law of positive pairs on N given points: its measure, and its edges or its matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..declarations.reprs import brief

__all__ = ["Law"]


def edges_in_words(n_edges: int, n_points: int, n_parts: int) -> str:
    """Say how many edges there are between how many points, in parts that do not touch."""
    return f"{n_edges} edge{'s' * (n_edges != 1)} between {n_points} points in {n_parts} part{'s' * (n_parts != 1)}"


@dataclass(frozen=True, eq=False)
class Law:
    r"""T on N points, with the measure p: by the edges of a law of pairs, or by a matrix.

    An edge e = {i, j}, i < j, of weight w_e stands for P_ij = P_ji = w_e / 2; pairs of a point with itself are in the
    measure only.  With p^(1/2) on both sides, I - T = D^(-1/2) L D^(-1/2), D = diag(p), L the Laplacian of the graph
    with the weights w_e / 2.

    Attributes
    ----------
    measure : (N,)
        p, with sum 1; 0 at points in no pair.
    first, second : (E,) integers
        The ends of the edges, each edge once; none where there is a matrix.
    weight : (E,)
        w_e > 0; with the pairs of points with themselves their sum is 1.
    matrix : (N, N) or None
        p^(1/2) T p^(-1/2), symmetric, where T is no law of pairs.
    total : float
        Weight of all pairs before their sum was made 1: moments of data in parts are merged by it.
    order : {"", "time"}
        "time": the points are in an order in which those close to each other depend on each other, pairs or not.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.positives import Pairs
    >>> law = Pairs([0, 1, 2], [1, 0, 2], weight=[1.0, 1.0, 2.0]).law(np.zeros((4, 1)))
    >>> law.measure, law.first, law.second, law.weight, law.n_parts
    (array([0.25, 0.25, 0.5 , 0.  ]), array([0]), array([1]), array([0.5]), 2)
    """

    measure: np.ndarray
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    matrix: np.ndarray | None = None
    total: float = 1.0
    order: str = ""

    __repr__ = brief

    @classmethod
    def of_pairs(cls, i: np.ndarray, j: np.ndarray, weight: np.ndarray, n: int) -> Law:
        """Make the law of checked pairs (i, j), in any order and repeated; only ratios of weights matter."""
        largest = float(weight.max())
        weight = weight / largest  # far from overflow
        total = float(weight.sum())
        weight = weight / total
        measure = np.bincount(i, weight / 2, n) + np.bincount(j, weight / 2, n)
        apart = i != j
        low, high = np.minimum(i, j)[apart], np.maximum(i, j)[apart]
        pairs, place = np.unique(low * n + high, return_inverse=True)
        of_each = np.bincount(place, weight[apart], len(pairs))
        low, high = pairs // n, pairs % n
        kept = (of_each / 2 > 0) & (measure[low] > 0) & (measure[high] > 0)  # halves may underflow
        return cls(measure, low[kept], high[kept], of_each[kept], total=total * largest)

    @property
    def n_points(self) -> int:
        """N."""
        return len(self.measure)

    @property
    def in_time(self) -> bool:
        """Whether the points are in the order of time."""
        return self.order == "time"

    @property
    def support(self) -> np.ndarray:
        """The points of positive measure, increasing."""
        return np.flatnonzero(self.measure)

    @cached_property
    def parts(self) -> tuple[int, np.ndarray]:
        """Number of parts of the graph that do not touch, and the part 0, 1, ... of each point; -1 in no pair.

        It is of the pattern of the matrix where T has one.
        """
        from scipy.sparse import csgraph

        support, graph = self.support, self.graph()
        graph = graph if len(support) == self.n_points else graph[support][:, support]
        count, labels = csgraph.connected_components(graph, directed=False)
        out = np.full(self.n_points, -1)
        out[support] = labels
        return int(count), out

    @property
    def n_parts(self) -> int:
        """Number of parts of the graph that do not touch, among points of positive measure: mu = 1 as often."""
        return self.parts[0]

    def graph(self) -> Any:
        """Return which points are pairs, each once, as a sparse matrix (N, N)."""
        from scipy import sparse

        if self.matrix is not None:
            return sparse.csr_matrix(self.matrix != 0)
        n = self.n_points
        return sparse.csr_matrix((np.ones(len(self.first), bool), (self.first, self.second)), shape=(n, n))

    @property
    def itself(self) -> np.ndarray:
        """(N,) weight of the pairs of each point with itself, beyond rounding."""
        n, half = self.n_points, self.weight / 2
        rest = self.measure - np.bincount(self.first, half, n) - np.bincount(self.second, half, n)
        out: np.ndarray = np.where(rest > 1e-12 * self.measure, rest, 0.0)
        return out

    def within(self, part: np.ndarray) -> Law:
        """Return the law of the pairs whose points are in one part 0, 1, ... of ``part`` (N,); -1: in none.

        Raises
        ------
        ValueError
            There is no such pair.
        """
        kept = (part[self.first] == part[self.second]) & (part[self.first] >= 0)
        alone = np.flatnonzero((part >= 0) & (self.itself > 0))
        if not len(alone) and not kept.any():
            raise ValueError("no pair of the law is within a part")
        ends = [np.concatenate([side[kept], alone]) for side in (self.first, self.second)]
        weight = self.total * np.concatenate([self.weight[kept], self.itself[alone]])
        return replace(Law.of_pairs(ends[0], ends[1], weight, self.n_points), order=self.order)

    def on_support(self) -> Law:
        """Return the law on the points of positive measure alone, in their order."""
        support = self.support
        if len(support) == self.n_points:
            return self
        place = np.cumsum(self.measure > 0) - 1
        ends = {"first": place[self.first], "second": place[self.second]}
        return replace(self, measure=self.measure[support], **ends)

    def described(self) -> str:
        """Say in words what T is made of."""
        if self.matrix is not None:
            return f"a matrix on {self.n_points} points, {self.n_parts} part{'s' * (self.n_parts != 1)}"
        alone = self.n_points - len(self.support)
        outside = f", {alone} points in no pair" if alone else ""
        return edges_in_words(len(self.weight), len(self.support), self.n_parts) + outside

    def operator(self) -> np.ndarray:
        """Return p^(1/2) T p^(-1/2), (N, N), with zeros at points in no pair."""
        if self.matrix is not None:
            return self.matrix
        joint = self._joint()
        joint[np.diag_indices(self.n_points)] += self.measure - joint.sum(axis=1)  # points with themselves
        out: np.ndarray = joint * self._roots()[:, None] * self._roots()
        return out

    def complement(self) -> np.ndarray:
        """Return I - T of a law of pairs, with p^(1/2) on both sides: from the edges, so that it keeps its digits."""
        n, half, roots = self.n_points, self.weight / 2, self._roots()
        out = np.zeros((n, n))
        out[self.first, self.second] = out[self.second, self.first] = -half * roots[self.first] * roots[self.second]
        degree = np.bincount(self.first, half, n) + np.bincount(self.second, half, n)
        out[np.diag_indices(n)] = degree * roots**2
        return out

    def _joint(self) -> np.ndarray:
        """Return P without its diagonal."""
        joint = np.zeros((self.n_points, self.n_points))
        joint[self.first, self.second] = joint[self.second, self.first] = self.weight / 2
        return joint

    def _roots(self) -> np.ndarray:
        """Return p^(-1/2), and 0 where p is."""
        out = np.zeros(self.n_points)
        out[self.support] = self.measure[self.support] ** -0.5
        return out
