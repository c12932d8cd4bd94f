"""The contract of solvers with a fit, a path and a search for reg, `Problem`, and the problems of both models.

A problem is a model on the views of some data.  Memory is planned when it is posed; all else is computed when it is
first asked for, so that a search for reg is over before the matrices of all views are made.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..arrays import Array
from ..augmentations import Views
from ..backends import Backend, device_of
from ..features import Features, Model
from ..kernels import Kernel, Precomputed, as_kernel
from ..solvers.certificate import TOLERANCE, Solution
from ..solvers.conditioned import ConditionedOperator
from ..solvers.exact import ConditionedKernel, Keeper, solve_exact
from ..solvers.groups import Samples
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.rotated_gram import rotated_gram
from ..solvers.sweep import Sweep
from ..solvers.trial import Functions
from .data import Data
from .edge_sums import require_edges
from .folds import REFUSALS, FeatureFolds, Folds, KernelFolds, Restricted
from .moments import Moments
from .paired_folds import LawFolds, PairedFeatureFolds
from .plan import Plan, exact_plan, features_plan
from .points import refuse_constant, require_symmetric
from .representation import Representation
from .sizes import Sizes, Uneven

__all__ = [
    "FeatureProblem",
    "Frame",
    "GroupedProblem",
    "KernelProblem",
    "MomentsProblem",
    "OperatorProblem",
    "Problem",
    "in_turn",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """Functions f_1..f_k' at the training views: ``left``^T ``right`` of two frames are their inner products."""

    left: Array
    right: Array


class Problem(ABC):
    """A model on the views of some data, to be solved for one objective or for many.

    A solver is a subclass, which `sslcore.fitting.posing.pose` chooses.

    Parameters
    ----------
    model : Kernel, callable or Features
    data : Data
    objective : Objective
        Whose k, unbiased and center all solutions share; if its beta is 0, so is theirs.
    backend : Backend
    budget : int
        Bytes that the ``plan`` must keep.
    n_points : int
        Objectives that a path solves for; 1: a single fit.
    n_folds : int
        Folds of a search for reg before it; 0: none.
    """

    model: Model
    plan: Plan

    def __init__(
        self,
        model: Model,
        data: Data,
        objective: Objective,
        backend: Backend,
        budget: int,
        *,
        n_points: int = 1,
        n_folds: int = 0,
    ) -> None:
        self.model, self.data, self.objective, self.backend, self.budget = model, data, objective, backend, budget
        self.n_points = n_points
        self.plan = self._planned(n_folds)
        self.plan.require(budget)

    @abstractmethod
    def _planned(self, n_folds: int) -> Plan:
        """Check model and objective against the data, and plan."""

    def _sizes(self, n_folds: int) -> Sizes:
        """Tell what is fitted."""
        data, k = self.data, self.objective.k
        pairs = "" if data.law is None else "time" if data.law.in_time else "graph"
        sizes = Sizes(
            data.n,
            data.n_views,
            data.d,
            k,
            data.dtype.itemsize,
            n_points=self.n_points,
            n_folds=n_folds,
            made=data.made,
            pairs=pairs,
        )
        if data.groups is None:
            return sizes
        return replace(sizes, uneven=Uneven.of(data.sizes, n_folds, self.objective.beta == 0))

    @property
    @abstractmethod
    def dtype(self) -> np.dtype:
        """Tell the type of the matrices that are solved: its rounding ends the default grid of a search."""

    @abstractmethod
    def restrict(self, folds: Folds) -> Restricted:
        """Pose the same for the training part of every fold, with the risk on what it holds out."""

    @abstractmethod
    def at(self, objective: Objective, near: Array | None = None) -> Solution:
        """Solve for one objective; ``near`` may hold the vectors of a solution close to the wanted one."""

    def sweep(
        self, objectives: Sequence[Objective], progress: Callable[[Objective], None] | None = None
    ) -> Callable[[Objective], Solution]:
        """Return a function that solves for each of some objectives, and shares between them what it can.

        ``progress`` is told of each that is solved.  This one begins each near the one before; solvers may do better.
        """
        return in_turn(self.at, progress)

    @abstractmethod
    def frame(self, solution: Solution) -> Frame:
        """Make the components that are present comparable to those of other solutions."""

    def overlap(self, first: Frame, second: Frame) -> np.ndarray:
        """Return squared inner products of the functions of two frames, (k', k'')."""
        return self.backend.to_host(self.backend.matmul(first.left.T, second.right)).astype(float) ** 2

    def distance(self, first: Frame, second: Frame) -> float:
        """Count the dimensions in which the spans of two frames differ; 0 up to rounding."""
        larger = max(first.left.shape[1], second.left.shape[1])
        distance = larger - float(self.overlap(first, second).sum())
        return distance if distance > 1e-6 * max(larger, 1) else 0.0

    @abstractmethod
    def represent(self, objective: Objective, solution: Solution) -> Representation:
        """Make functions of the solution, with their arrays where the data lie."""


def in_turn(
    solve: Callable[[Objective, Array | None], Solution], progress: Callable[[Objective], None] | None
) -> Callable[[Objective], Solution]:
    """Make a function that solves for one objective after the other, each near the one before, and tells of it."""
    near: Array | None = None

    def solved(objective: Objective) -> Solution:
        nonlocal near
        solution = solve(objective, near)
        near = solution.vectors
        if progress is not None:
            progress(objective)
        return solution

    return solved


class OperatorProblem(Problem):
    """Kernels, solved by an operator that is conditioned on one objective after the other.

    A ``keeper`` may follow the fit to all data.
    """

    keeper: Keeper | None = None
    started: float

    @property
    @abstractmethod
    def operator(self) -> Any:
        """Make the operator of all data; sets ``started``, when that began."""

    @property
    def dtype(self) -> np.dtype:
        """Matrices have the type of the points."""
        return self.data.dtype

    def solve(
        self,
        operator: ConditionedOperator,
        objective: Objective,
        near: Array | None = None,
        started: float | None = None,
        keeper: Keeper | None = None,
    ) -> Solution:
        """Solve with the operator of all data or of some."""
        return solve_exact(
            operator,
            objective,
            tolerance=TOLERANCE[self.dtype],
            planned_bytes=self.plan.bytes,
            near=near,
            started=started,
            keeper=keeper,
        )

    def at(self, objective: Objective, near: Array | None = None) -> Solution:
        """Condition the operator, and iterate; the certificate's time includes what the operator is made of."""
        return self.solve(self.operator, objective, near, self.started, self.keeper)

    def sweep(self, objectives: Sequence[Objective], progress: Any = None) -> Callable[[Objective], Solution]:
        """Share what the solver can between objectives."""
        return self.sweep_of(self.operator, objectives, progress)

    def sweep_of(
        self, operator: ConditionedOperator, objectives: Sequence[Objective], progress: Any = None, known: Any = None
    ) -> Callable[[Objective], Solution]:
        """Do as `sweep` with the operator of all data or of some, from what is ``known`` of it.

        Each begins where the functions found at other objectives are best combined.
        """
        return self._shared(operator, objectives, progress, known)

    def trials_of(
        self, operator: ConditionedOperator, objectives: Sequence[Objective], progress: Any = None, known: Any = None
    ) -> Callable[[Objective], Functions]:
        """Do as `sweep_of`, for a search: solvers may end as soon as the risk is known well enough."""
        return self._shared(operator, objectives, progress, known).trials()

    def _shared(
        self, operator: ConditionedOperator, objectives: Sequence[Objective], progress: Any, known: Any
    ) -> Sweep:
        assert isinstance(operator, ConditionedKernel)
        told = {"started": getattr(self, "started", None), "progress": progress, "known": known}
        return Sweep(operator, objectives, tolerance=TOLERANCE[self.dtype], planned_bytes=self.plan.bytes, **told)

    def frame(self, solution: Solution) -> Frame:
        """Take the vectors, which are orthonormal."""
        v = self.backend.xp.asfortranarray(solution.vectors[:, : solution.spectrum.certificate.rank])
        return Frame(v, v)


class GroupedProblem(OperatorProblem):
    """A kernel and groups of views, which are single if beta is 0; how it is solved is the operator's affair."""

    model: Kernel

    def _checked(self, n_folds: int) -> Sizes:
        """Check model and objective against the data, and tell what is fitted."""
        data, self.model = self.data, as_kernel(self.model)
        self.objective.within(data.n_views, "views")
        self.given = isinstance(self.model, Precomputed)
        if self.given and data.d != data.n_views:
            raise ValueError(
                f"for Precomputed, views must be the Gram matrix of the N = {data.n_views} views, with N columns, "
                f"found {data.d}"
            )
        sizes = self._sizes(n_folds)
        return sizes if self.objective.beta > 0 else sizes.single_views()

    @abstractmethod
    def operator_on(self, points: Array, samples: Samples) -> ConditionedOperator:
        """Make the operator of some points in the order of the samples (of a given matrix, in the caller's)."""

    @cached_property
    def points(self) -> Array:
        """Check the points (N, d), in the caller's order; for `Precomputed` they are a Gram matrix (N, N)."""
        points = self.data.materialize(self.backend)
        refuse_constant(points)
        if not self.model.trusted:
            require_symmetric(self.model, points, self.backend)
        return points

    @cached_property
    def operator(self) -> ConditionedOperator:
        """Make the operator of all views; then their points are not needed here any more."""
        data, backend, points = self.data, self.backend, self.points
        if self.objective.beta > 0:
            samples = data.samples(backend)
        else:
            samples = Samples.from_groups(np.arange(data.n_views), backend, data.weight)
        ordered = points if samples.identity_order or self.given else points[samples.order]
        self.started = time.perf_counter()
        operator = self.operator_on(ordered, samples)
        self.centres = None if self.given else points if isinstance(data.views, Views) else points.copy()
        del self.points
        return operator

    def at(self, objective: Objective, near: Array | None = None) -> Solution:
        """Condition the operator, and iterate; the certificate's time includes the Gram matrix."""
        return self._of_pairs(super().at(objective, near), objective)

    def sweep(self, objectives: Sequence[Objective], progress: Any = None) -> Callable[[Objective], Solution]:
        """Share what the solver can between objectives."""
        sweep = super().sweep(objectives, progress)
        return lambda objective: self._of_pairs(sweep(objective), objective)

    def _of_pairs(self, solution: Solution, objective: Objective) -> Solution:
        """Measure the invariance of functions whose solver has seen single views."""
        operator = self.operator
        if operator.samples.n_contrasts or not self.data.n_contrasts:
            return solution
        assert solution.values is not None  # of single views, which were all that the solver saw
        backend, samples = self.backend, self.data.samples(self.backend)
        _, c = samples.rotate(solution.values[samples.order] * backend.xp.sqrt(samples.weight)[:, None])
        invariance = (samples.contrast_factor(objective.unbiased)[:, None] * c**2).sum(axis=0)
        return replace(solution, spectrum=replace(solution.spectrum, invariance=backend.to_host(invariance)))

    def represent(self, objective: Objective, solution: Solution) -> Representation:
        """Combine the kernel's functions at the training views, and keep the values there."""
        assert solution.values is not None
        values = solution.values.reshape(*self.data.shape, objective.k)
        rep = Representation.from_spectrum(
            solution.spectrum, self.model, objective, centres=self.centres, values=values
        )
        rep = replace(rep, positives=self.data.pairs_in_words)
        return rep.to(device_of(self.data.source))


class KernelProblem(GroupedProblem):
    """The same, solved by the Gram matrix of all views."""

    def _planned(self, n_folds: int) -> Plan:
        return exact_plan(self._checked(n_folds), self.model, self.backend.BLOCK_FACTOR)

    def operator_on(self, points: Array, samples: Samples) -> ConditionedKernel:
        """Make the operator of some points in the order of the samples (of a given matrix, in the caller's)."""
        blocks = rotated_gram(self.model, points, samples, self.backend)
        objective = self.objective
        return ConditionedKernel(blocks, self.model, self.backend, unbiased=objective.unbiased, center=objective.center)

    def restrict(self, folds: Folds) -> KernelFolds:
        """Make the operator of each training part, and the kernel values between the parts."""
        return KernelFolds(self, folds)


class MomentsProblem(Problem):
    """Features, solved by the eigenproblem of their moments.

    Attributes
    ----------
    sums : str
        The name of the property with the sums over the data, of which the pencil is made.
    """

    sums: ClassVar[str]

    @property
    @abstractmethod
    def pencil(self) -> Pencil:
        """Make the eigenproblem; for many objectives in a basis in which each takes products only."""

    @property
    def dtype(self) -> np.dtype:
        """Moments are accumulated in float64."""
        return np.dtype(float)

    def in_float64(self, n_folds: int = 0) -> Any:
        """Return data in float32 as float64, cast as they are read; None for others, or without the memory."""
        given = self.data
        if given.dtype != np.float32:
            return None
        self.data = replace(given, dtype=np.dtype(float))
        try:
            return self.data if self._planned(n_folds).bytes <= self.budget else None
        finally:
            self.data = given

    def at(self, objective: Objective, near: Array | None = None) -> Solution:
        """Solve the pencil; where rounding in float32 does not allow it, that of products in float64."""
        try:
            spectrum = self.pencil.solve(objective, near=near)
        except REFUSALS:
            finer = self.in_float64()
            if finer is None:
                raise
            self.data = finer
            for name in (self.sums, "pencil"):
                vars(self).pop(name, None)
            spectrum = self.pencil.solve(objective, near=near)
        return Solution(spectrum, spectrum.coefficients[:, : spectrum.certificate.rank])

    def frame(self, solution: Solution) -> Frame:
        """Take the coefficients c, which are orthonormal beside Sigma c."""
        c = self.backend.xp.asfortranarray(solution.vectors[:, : solution.spectrum.certificate.rank])
        return Frame(c, self.pencil.times_sigma(c))


class FeatureProblem(MomentsProblem):
    """Features, of groups of views or with a law of positive pairs."""

    model: Features
    sums = "moments"

    def _planned(self, n_folds: int) -> Plan:
        data, r = self.data, self.model.n_features(self.data.d)
        require_edges(data)
        self.objective.within(r, "features")
        return features_plan(self._sizes(n_folds), r, self.model)

    @cached_property
    def features(self) -> Features:
        """Let the features choose what they take from data, such as landmarks."""
        return self.model.fit(self.data.views)

    @cached_property
    def moments(self) -> Moments:
        """Sum over all views; a search, which has seen them all, has put its sums here."""
        moments = Moments(self.features)
        moments.update_from(self.data, self.backend, self.budget)
        return moments

    @cached_property
    def pencil(self) -> Pencil:
        """Make the eigenproblem of the moments; for many objectives in a basis in which each takes products only."""
        objective = self.objective
        pencil = self.moments.pencil(self.backend, unbiased=objective.unbiased, center=objective.center)
        return pencil.diagonalize() if self.n_points > 1 else pencil

    def restrict(self, folds: Folds) -> FeatureFolds | PairedFeatureFolds:
        """Sum the moments of each part, in one pass; together they are those of all views, if no edge was cut.

        Landmarks were chosen from all views, without harm: a penalised function is a combination of the features of
        the views that it was fitted to, wherever the landmarks lie.
        """
        if isinstance(folds, LawFolds):
            return PairedFeatureFolds(self, folds)
        restricted = FeatureFolds(self, folds)
        self.moments = Moments(self.features)
        self.moments.adopt(restricted.parts.values(), self.data, self.backend)
        return restricted

    def represent(self, objective: Objective, solution: Solution) -> Representation:
        """Combine the features; values at the training views are computed when they are asked for."""
        data = self.data
        rep = Representation.from_spectrum(
            solution.spectrum, self.features, objective, training=data.views, n_coordinates=data.d
        )
        rep = replace(rep, positives=data.pairs_in_words)
        return rep.to(device_of(data.source))
