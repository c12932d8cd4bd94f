"""The choice of the solver."""

from __future__ import annotations

from typing import Any

from ..backends import Backend
from ..errors import MemoryBudgetError
from ..features import Features, Model
from ..kernels import Precomputed
from ..solvers.objective import Objective
from .data import Data
from .matrix_free import MatrixFreeProblem
from .modalities import FeaturePairProblem, KernelPairProblem, MatrixFreePairProblem
from .paired import PairedProblem
from .pairs import PairData, as_models
from .plan_matrix_free import as_solver
from .problem import FeatureProblem, KernelProblem, Problem

__all__ = ["pose"]


def pose(
    model: Model | tuple[Model, Model],
    data: Data,
    objective: Objective,
    backend: Backend,
    budget: int,
    *,
    solver: str | None = None,
    **numbers: int,
) -> Problem:
    """Choose the solver: features by their moments, kernels exactly, by samples or by a law of positive pairs.

    The matrix of a kernel is made if the budget has room for it, or if there is no way without.  ``numbers`` are
    n_points and n_folds, as of `Problem`.
    """
    solver = as_solver(solver, model, law=data.law is not None)
    if isinstance(data, PairData) or isinstance(model, tuple):
        return _pose_pairs(model, data, objective, backend, budget, solver, numbers)
    if isinstance(model, Features):
        return FeatureProblem(model, data, objective, backend, budget, **numbers)
    if data.law is not None:
        return PairedProblem(model, data, objective, backend, budget, **numbers)
    if solver != "matrix-free":
        try:
            return KernelProblem(model, data, objective, backend, budget, **numbers)
        except MemoryBudgetError as error:
            if solver == "dense" or isinstance(model, Precomputed):
                raise
            with_matrix = error
        try:
            return MatrixFreeProblem(model, data, objective, backend, budget, **numbers)
        except MemoryBudgetError as error:
            raise min(error, with_matrix, key=lambda refused: refused.needed) from None
    return MatrixFreeProblem(model, data, objective, backend, budget, **numbers)


def _pose_pairs(
    models: Any,
    data: Data,
    objective: Objective,
    backend: Backend,
    budget: int,
    solver: str | None,
    numbers: dict[str, int],
) -> Problem:
    """Choose the solver of two modalities: features by their moments, kernels with their matrices or without."""
    first, second = as_models(models)
    if isinstance(first, Features):
        return FeaturePairProblem(models, data, objective, backend, budget, **numbers)
    if solver == "matrix-free":
        return MatrixFreePairProblem(models, data, objective, backend, budget, **numbers)
    try:
        return KernelPairProblem(models, data, objective, backend, budget, **numbers)
    except MemoryBudgetError as error:
        if solver == "dense" or any(isinstance(kernel, Precomputed) for kernel in (first, second)):
            raise
        with_matrices = error
    try:
        return MatrixFreePairProblem(models, data, objective, backend, budget, **numbers)
    except MemoryBudgetError as error:
        raise min(error, with_matrices, key=lambda refused: refused.needed) from None
