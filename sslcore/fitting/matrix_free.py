"""The problem of a kernel that is solved without its matrix."""

from __future__ import annotations

from ..arrays import Array
from ..solvers.certificate import TOLERANCE
from ..solvers.groups import Samples
from ..solvers.matrix_free import MatrixFreeKernel
from .folds import Folds, MatrixFreeFolds
from .plan import Plan
from .plan_matrix_free import matrix_free_plan
from .problem import GroupedProblem

__all__ = ["MatrixFreeProblem"]


class MatrixFreeProblem(GroupedProblem):
    """A kernel, solved by products with its matrix, which is never stored.

    With a checkpoint, the preconditioner has no more room than it had when that was written.
    """

    room: int | None = None

    def _planned(self, n_folds: int) -> Plan:
        sizes = self._checked(n_folds)
        if self.given:
            raise ValueError(
                "solver='matrix-free' has no use for Precomputed: the matrix is there already; leave solver alone, or "
                "give the kernel itself"
            )
        return matrix_free_plan(sizes, self.model, self.budget, self.backend.BLOCK_FACTOR)

    def operator_on(self, points: Array, samples: Samples) -> MatrixFreeKernel:
        """Make the operator of some points in the order of the samples."""
        return MatrixFreeKernel(
            self.model,
            points,
            samples,
            self.backend,
            objective=self.objective,
            rank=min(self.plan.rank if self.room is None else min(self.room, self.plan.rank), samples.n_contrasts),
            tolerance=TOLERANCE[self.dtype],
        )

    def restrict(self, folds: Folds) -> MatrixFreeFolds:
        """Make the operator of each training part, and what multiplies the kernel values between the parts."""
        return MatrixFreeFolds(self, folds)
