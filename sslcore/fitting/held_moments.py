"""The search for reg on moments that a stream has held out.

A stream keeps the sums of its training part, and of a few groups of samples that are held out.  Of a representation
psi = A^T phi + b, fitted to the training part, those of group g give in closed form

    S_g = sum p psi psi^T = A^T (Sigma_g - w_g a_g a_g^T) A + w_g (A^T a_g + b)(A^T a_g + b)^T,    a_g = E_g phi,

and its invariance 2 tr A^T Delta_g A.  The risk is that of `sslcore.selection`; ||E psi psi^T||^2 is estimated by the
products <S_g, S_h> of different groups, in which no sample meets itself: the same number in expectation as over all
pairs of different samples, from fewer pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil, symmetric
from ..solvers.sums import Sums
from ..solvers.trial import Functions
from .folds import Restricted
from .held_out import training_risk

__all__ = ["LEAST_LEAVES", "HeldMoments"]

LEAST_LEAVES = 8
"""Leaves of a stream with two groups held out: every fourth leaf is one of the next group's."""


@dataclass(frozen=True)
class _OneSplit:
    """Counts of one split."""

    used: int
    held_out: int
    count: int = 1
    n_cut: int = 0


class HeldMoments(Restricted):
    """A split of moments: a training part, and at least two groups that are held out."""

    def __init__(
        self,
        training: Sums,
        held: Sequence[Sums],
        objective: Objective,
        backend: Backend,
        *,
        finest: float,
        epsilon: float,
    ) -> None:
        held = [group for group in held if group.n]
        if len(held) < 2:
            raise ValueError(
                "reg='auto' needs samples that were held out, in two groups at least, and these moments have "
                f"{len(held)}: sslcore.stream.moments keeps them of streams of {LEAST_LEAVES} leaves or more (over "
                f"{(LEAST_LEAVES - 1) * tunables.STREAM_LEAF_VIEWS:,} views); else give reg as a number, or the views "
                f"themselves to sslcore.pretrain"
            )
        if objective.beta > 0 and training.n == training.n_views:
            raise ValueError("no sample of the training part has 2 or more views; give reg as a number")
        n_held = sum(group.n for group in held)
        super().__init__(objective, _OneSplit(training.n + n_held, n_held))
        self.held, self.backend = held, backend
        self.pencil = Pencil(
            training,
            backend,
            finest=finest,
            epsilon=epsilon,
            unbiased=objective.unbiased,
            center=objective.center,
        )
        self.trace = self.pencil.unit
        self._matrices = [self._of(group) for group in held]

    def _of(self, group: Sums) -> tuple[Array, Array]:
        """Return Sigma about the mean, and Delta, as sums over the samples of a group."""
        xp = self.backend.xp
        within = symmetric(group.within, xp)
        delta = symmetric(group.unbiased_sum(), xp) if self.objective.unbiased else within
        return symmetric(group.between, xp) + within, delta

    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        for i, spectrum in self._solved(0, self.pencil.solve, regs):
            found[i, 0] = *self._risk(spectrum), training_risk(spectrum, self.objective.beta)
            self._done(0, regs[i])

    def _risk(self, spectrum: Functions) -> tuple[float, float]:
        """Return the risk on all groups, and its error by the jackknife over them."""
        backend, xp, risk = self.backend, self.backend.xp, self._held_out_risk(self.backend)
        scale = xp.asarray(np.clip(1.0 - spectrum.gamma, 0.0, None) ** 0.5)
        a = xp.asfortranarray(spectrum.coefficients * scale)
        b = xp.asarray(spectrum.intercept) * scale
        for g, (group, (about_mean, delta)) in enumerate(zip(self.held, self._matrices, strict=True)):
            mean = group.mean @ a + b
            risk.second[g] = a.T @ backend.matmul(about_mean, a) + group.weight * mean[:, None] * mean
            risk.sums[g, 0] = group.weight
            risk.sums[g, 2] = 2.0 * (a * backend.matmul(delta, a)).sum()
        return risk.value()
