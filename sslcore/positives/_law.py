"""A law of positive pairs on N given points: its measure, and its edges or its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..declarations.reprs import brief

__all__ = ["Law"]


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

    __repr__ = brief

    @classmethod
    def of_pairs(cls, i: np.ndarray, j: np.ndarray, weight: np.ndarray, n: int) -> Law:
        """Make the law of checked pairs (i, j), in any order and repeated; only ratios of weights matter."""
        weight = weight / weight.max()  # far from overflow
        weight = weight / weight.sum()
        measure = np.bincount(i, weight / 2, n) + np.bincount(j, weight / 2, n)
        apart = i != j
        low, high = np.minimum(i, j)[apart], np.maximum(i, j)[apart]
        pairs, place = np.unique(low * n + high, return_inverse=True)
        total = np.bincount(place, weight[apart], len(pairs))
        kept = total > 0
        return cls(measure, pairs[kept] // n, pairs[kept] % n, total[kept])

    @property
    def n_points(self) -> int:
        """N."""
        return len(self.measure)

    @property
    def support(self) -> np.ndarray:
        """The points of positive measure, increasing."""
        return np.flatnonzero(self.measure)

    @property
    def n_parts(self) -> int:
        """Number of parts of the graph that do not touch, among points of positive measure: mu = 1 as often.

        It is of the pattern of the matrix where T has one.
        """
        from scipy import sparse
        from scipy.sparse import csgraph

        n, support = self.n_points, self.support
        if self.matrix is not None:
            graph: Any = sparse.csr_matrix(self.matrix != 0)
        else:
            graph = sparse.csr_matrix((np.ones(len(self.first), bool), (self.first, self.second)), shape=(n, n))
        return int(csgraph.connected_components(graph[support][:, support], directed=False)[0])

    def on_support(self) -> Law:
        """Return the law on the points of positive measure alone, in their order."""
        support = self.support
        if len(support) == self.n_points:
            return self
        place = np.cumsum(self.measure > 0) - 1
        return Law(self.measure[support], place[self.first], place[self.second], self.weight, self.matrix)

    def described(self) -> str:
        """Say in words what T is made of."""
        parts = f"{self.n_parts} part{'s' * (self.n_parts != 1)}"
        if self.matrix is not None:
            return f"a matrix on {self.n_points} points, {parts}"
        edges, alone = len(self.weight), self.n_points - len(self.support)
        outside = f", {alone} points in no pair" if alone else ""
        return f"{edges} edge{'s' * (edges != 1)} between {len(self.support)} points in {parts}{outside}"

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
        joint = self._joint()
        laplacian = -joint
        laplacian[np.diag_indices(self.n_points)] += joint.sum(axis=1)
        out: np.ndarray = laplacian * self._roots()[:, None] * self._roots()
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
