"""Progress of fits without the kernel matrix, told after each product with the kernel, and of searches for reg."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ..arrays import Array
from ..solvers.conditioned import ConditionedOperator
from ..solvers.exact import Keeper
from ..solvers.krylov import KrylovState
from ..solvers.matrix_free import MatrixFreeKernel
from .matrix_free import MatrixFree
from .problem import Problem

__all__ = ["FitProgress", "Following", "Searching", "followed"]

FitProgress = Callable[[int, int | None, float | None, dict[str, Any]], Any]
"""Called with products done, products in all and seconds left, None where these are not known, and where it is.  In a
search with fits done, those in all (at most, until the grid is known), None, and where."""


def followed(progress: FitProgress | None, problem: Problem) -> Following | None:
    """Let ``progress`` follow the fit of a problem that has steps to tell of; None for others, and without."""
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function, found {progress!r:.80}")
    if progress is None or not isinstance(problem, MatrixFree):
        return None
    problem.keeper = following = Following(progress, problem.keeper)
    return following


class Searching:
    """Tells a function of the fits of a search for reg: of each that is done, and of the steps of those that have some.

    A fit is told of once, however often it is said to be done.
    """

    def __init__(self, progress: FitProgress) -> None:
        self.progress = progress
        self._total, self._n_folds = 0, 0
        self._done: set[tuple[int, float]] = set()
        self._where: dict[str, Any] = {}

    def expect(self, n_regs: int, n_folds: int) -> None:
        """Hear how many values of reg there will be, at most, in each fold; again once it is known."""
        self._total, self._n_folds = n_regs * n_folds, n_folds

    def begin(self, fold: int, reg: float) -> None:
        """Hear which fit is worked on."""
        self._where = {"fold": fold, "n_folds": self._n_folds, "reg": float(reg)}

    def done(self, fold: int, reg: float) -> None:
        """Hear that the fit of a fold at this reg is done, or was refused."""
        if (fold, float(reg)) not in self._done:
            self._done.add((fold, float(reg)))
            self.begin(fold, reg)
            self._tell({})

    def keeper(self) -> Following:
        """Return what tells of the steps of fits without the kernel matrix, one after the other."""
        return Following(lambda _products, _total, _left, where: self._tell(where), None)

    def _tell(self, steps: dict[str, Any]) -> None:
        self.progress(len(self._done), self._total, None, self._where | steps)


class Following:
    """The `sslcore.solvers.exact.Keeper` that tells a function, beside another one, ``kept``, or none.

    Residuals of the outer iteration fall by about the same factor a product, from which what is left is estimated.
    """

    def __init__(self, progress: FitProgress, kept: Keeper | None) -> None:
        self.progress, self.kept = progress, kept
        self._outer, self._residual = 1, math.inf
        self._marks: list[tuple[int, float]] = []  # products, and the logarithm of what residuals miss their target by
        self._begin = 0, 0.0  # products, and when

    def begin(self, operator: ConditionedOperator) -> KrylovState | None:
        """Return the state to go on with, or None."""
        assert isinstance(operator, MatrixFreeKernel)
        state = self.kept.begin(operator) if self.kept else None
        self._operator, operator.watch = operator, self._tell
        self._outer = 1 + (state.steps if state else 0)
        self._target = operator.ends[0] * operator.tolerance
        self._begin = operator.products, time.monotonic()
        return state

    def apply(self, block: Array) -> Array:
        """Apply the operator."""
        return self.kept.apply(block) if self.kept else self._operator.apply(block)

    def keep(self, state: KrylovState, excess: float) -> None:
        """Hear of a step."""
        self._outer = state.steps + 1
        if math.isfinite(excess):
            self._residual = excess * self._target
            self._marks.append((self._operator.products, math.log(max(excess, 1.0))))
        if self.kept:
            self.kept.keep(state, excess)

    def done(self) -> None:
        """Tell that the fit is done."""
        products = self._operator.products
        self.progress(products, products, 0.0, self._where())

    def _tell(self) -> None:
        products = self._operator.products
        total, left = None, None
        if len(self._marks) > 1:
            (before, higher), (now, lower) = self._marks[0], self._marks[-1]
            if higher > lower:
                total = max(products + 1, now + math.ceil(lower * (now - before) / (higher - lower)))
                begun, moment = self._begin
                left = (total - products) * (time.monotonic() - moment) / max(products - begun, 1)
        self.progress(products, total, left, self._where())

    def _where(self) -> dict[str, Any]:
        residual = self._residual if math.isfinite(self._residual) else None
        return {"outer": self._outer, "inner": self._operator.inner, "residual": residual, "target": self._target}
