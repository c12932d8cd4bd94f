"""The unbiased risk on samples that were held out."""

from __future__ import annotations

import math

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..positives import Law
from ..solvers.groups import Samples
from ..solvers.trial import Functions

GROUPS = 20
"""Groups of held-out samples for the jackknife: their standard error is itself good to 16 %."""


# ---------------------------------------------------------------- the risk on held-out samples


class HeldOutRisk:
    """The sums of `sslcore.selection` over held-out samples, in groups, on the device of the values."""

    def __init__(self, k: int, beta: float, unbiased: bool, backend: Backend) -> None:
        self.k, self.beta, self.unbiased, self.backend = k, beta, unbiased, backend
        self.xp = xp = backend.xp
        self.second = xp.zeros((GROUPS, k, k))
        # weight, weights of pairs, invariance, and <C_i, C_j> of pairs: both of different samples of the group
        self.sums = xp.zeros((GROUPS, 4))

    def add(self, z: Array, samples: Samples, weight: float, groups: np.ndarray) -> None:
        """Add values z (N, k) in the order of ``samples``, of this total weight; ``groups`` (n,) in the same order."""
        xp, z = self.xp, self.xp.ascontiguousarray(z.astype(float))
        for part in samples.classes:
            values = z[part.rows()].reshape(part.count, part.m, self.k)
            p = samples.weight[part.rows()].reshape(part.count, part.m) * weight
            rows, total = values * xp.sqrt(p)[:, :, None], p.sum(axis=1)
            # contrasts see no constant: taken of differences they are exact for views close to each other
            rotation = samples.unbiased_rotation(part) if self.unbiased else part.weighted
            contrasts = xp.einsum("cai,iak->ick", rotation[1:, 1:], values[:, 1:] - values[:, :1])
            spread = 2.0 * weight * (contrasts**2).sum(axis=(1, 2))
            members, height = groups[part.samples()], max(1, tunables.HELD_OUT_PRODUCT_VIEWS // part.m)
            order = np.argsort(members, kind="stable")
            rows, total, spread = (array[xp.asarray(order)] for array in (rows, total, spread))
            present, starts = np.unique(members[order], return_index=True)
            for g, first, last in zip(present, starts, [*starts[1:], len(order)], strict=True):
                for start in range(first, last, height):
                    some = slice(start, min(start + height, last))
                    self._add_pairs(g, rows[some], total[some])
                    self.sums[g, 2] += spread[some].sum()

    def add_law(self, z: Array, law: Law, groups: np.ndarray) -> None:
        """Add values z (N, k) at all points of a law of pairs; points of one of the ``groups`` (N,) may be dependent.

        ||E psi psi^T||^2 is estimated by pairs of different groups.  An edge counts with its first point's group.
        """
        xp, z = self.xp, self.xp.ascontiguousarray(z.astype(float))
        rows = z * xp.sqrt(xp.asarray(law.measure))[:, None]
        ends = (xp.asarray(part) for part in (law.first, law.second))
        apart = z[next(ends)] - z[next(ends)]
        spread = np.bincount(
            groups[law.first], law.weight * self.backend.to_host((apart**2).sum(axis=1)), minlength=GROUPS
        )
        weight = np.bincount(groups, law.measure, minlength=GROUPS)
        for g in np.flatnonzero(weight):
            chosen = rows[xp.asarray(np.flatnonzero(groups == g))]
            self.second[g] += self.backend.matmul(chosen.T, chosen)
            self.sums[g, 0] += float(weight[g])
            self.sums[g, 2] += float(spread[g])

    def _add_pairs(self, g: int, rows: Array, total: Array) -> None:
        """Add a few samples (n, m, k), times the roots of their weights, to group g: nothing is subtracted."""
        n, m, _ = rows.shape
        rows = rows.reshape(n * m, self.k)
        second, weight = self.backend.matmul(rows.T, rows), total.sum()
        products, index = self.backend.matmul(rows, rows.T), self.xp.arange(n)
        products *= products
        blocks = products.T.reshape(n, m, n, m)  # it is symmetric, and in Fortran order
        blocks[index, :, index] = 0.0
        couples = 2.0 * (total[1:] * self.xp.cumsum(total)[:-1]).sum()
        self.sums[g, 1] += couples + 2.0 * self.sums[g, 0] * weight
        self.sums[g, 3] += blocks.sum() + 2.0 * (self.second[g] * second).sum()
        self.sums[g, 0] += weight
        self.second[g] += second

    def value(self) -> tuple[float, float]:
        """Return the risk and its standard error (NaN if there are too few groups)."""
        second, sums = self.backend.to_host(self.second), self.backend.to_host(self.sums)
        filled = np.flatnonzero(sums[:, 0] > 0)
        second, sums = second[filled].reshape(len(filled), -1), sums[filled]
        trace = second[:, :: self.k + 1].sum(axis=1)
        products, couples = second @ second.T, sums[:, :1] * sums[:, 0]
        np.fill_diagonal(products, sums[:, 3])
        np.fill_diagonal(couples, sums[:, 1])
        if not couples.sum() > 0:
            raise ValueError(
                "the risk on held-out samples needs pairs of different samples: hold out at least two in each fold, "
                "whose weights are not negligible beside those of the others"
            )
        count = len(filled)
        kept = np.concatenate([np.ones((1, count)), 1.0 - np.eye(count)])  # all groups, then all but one
        kept = kept[: None if count > 2 else 1]

        def of_pairs(values: np.ndarray) -> np.ndarray:
            out: np.ndarray = ((kept[:, :, None] * values).sum(axis=1) * kept).sum(axis=1)
            return out

        first = (kept * (self.beta * sums[:, 2] - 2.0 * trace)).sum(axis=1) / (kept * sums[:, 0]).sum(axis=1)
        risk, *without = first + of_pairs(products) / of_pairs(couples) + self.k
        return float(risk), math.sqrt((count - 1) * float(np.var(without))) if without else math.nan


def training_risk(spectrum: Functions, beta: float) -> float:
    """Return beta E||psi - psi'||^2 + ||E psi psi^T - I||^2 on the training views: E psi psi^T = diag(max(mu, 0))."""
    mu = np.clip(1.0 - spectrum.gamma, 0.0, None)
    return float(2.0 * beta * (mu * spectrum.invariance).sum() + ((mu - 1.0) ** 2).sum())
