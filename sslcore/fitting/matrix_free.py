"""Problems that are solved without the kernel matrix: what they have in common, and that of groups of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..arrays import Array
from ..solvers.certificate import TOLERANCE, Solution
from ..solvers.conditioned import ConditionedOperator
from ..solvers.exact import Keeper
from ..solvers.groups import Samples
from ..solvers.matrix_free import MatrixFreeKernel
from ..solvers.objective import Objective
from .folds import Folds, MatrixFreeFolds
from .plan import Plan
from .plan_matrix_free import matrix_free_plan
from .problem import GroupedProblem, OperatorProblem, in_turn

__all__ = ["MatrixFree", "MatrixFreeProblem"]


class KeptPoints(Protocol):
    """Keeps the solutions of a path for another process."""

    def solution(self, xp: Any) -> Solution | None:
        """Return that of the next point, if it is there."""

    def finish(self, solution: Solution) -> None:
        """Keep that of the next point."""


class MatrixFree(OperatorProblem):
    """A problem solved by products with a kernel's matrix, which is never stored.

    With a checkpoint, ``kept``, the preconditioner has no more room than it had when that was written.
    """

    room: int | None = None
    kept: KeptPoints | None = None
    points: Any

    def rank(self, samples: Samples) -> int:
        """Return the columns of the preconditioner of some samples."""
        room = self.plan.rank if self.room is None else min(self.room, self.plan.rank)
        return min(room, 2 * samples.n_contrasts)

    def sweep(self, objectives: Sequence[Objective], progress: Any = None) -> Callable[[Objective], Solution]:
        """Begin each near the one before; a checkpoint has those that are done, and keeps each."""

        def solve(objective: Objective, near: Array | None) -> Solution:
            kept = self.kept
            solution = kept.solution(self.backend.xp) if kept else None
            if solution is not None:  # the factor grows as it did
                self.operator.condition(objective.reg, objective.beta)
            else:
                solution = self.at(objective, near)
                if kept:
                    kept.finish(solution)
            return solution

        return in_turn(solve, progress)


class MatrixFreeProblem(MatrixFree, GroupedProblem):
    """A kernel and groups of views, solved by products."""

    def _planned(self, n_folds: int) -> Plan:
        return matrix_free_plan(self._checked(n_folds), self.model, self.budget, self.backend.BLOCK_FACTOR)

    def operator_on(self, points: Array, samples: Samples) -> MatrixFreeKernel:
        """Make the operator of some points in the order of the samples."""
        return MatrixFreeKernel(
            self.model,
            points,
            samples,
            self.backend,
            objective=self.objective,
            rank=self.rank(samples),
            tolerance=TOLERANCE[self.dtype],
        )

    def sweep_of(
        self,
        operator: ConditionedOperator,
        objectives: Sequence[Objective],
        progress: Any = None,
        known: Any = None,
        keeper: Keeper | None = None,
    ) -> Callable[[Objective], Solution]:
        """Begin each near the one before; a ``keeper`` may follow each fit.

        The best combinations of functions found at the six closest objectives would save 6 % of the products only.
        """
        started = getattr(self, "started", None)
        return in_turn(lambda objective, near: self.solve(operator, objective, near, started, keeper), progress)

    def restrict(self, folds: Folds) -> MatrixFreeFolds:
        """Make the operator of each training part, and what multiplies the kernel values between the parts."""
        return MatrixFreeFolds(self, folds)
