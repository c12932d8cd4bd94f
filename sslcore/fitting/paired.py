"""The problem of a kernel with a law of positive pairs in place of groups of views."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..arrays import Array
from ..backends import device_of
from ..gram import kernel_product
from ..kernels import Kernel, Precomputed, as_kernel
from ..positives import Law
from ..solvers.certificate import Solution
from ..solvers.edges import ConditionedPairs
from ..solvers.groups import Samples
from ..solvers.objective import Objective
from ..solvers.rotated_gram import rotated_gram
from .folds import Folds
from .paired_folds import LawFolds, PairedFolds
from .plan import Plan, paired_plan
from .points import refuse_constant, require_symmetric
from .problem import OperatorProblem
from .representation import Representation

__all__ = ["PairedProblem"]


class PairedProblem(OperatorProblem):
    """A kernel at points with a law of positive pairs, solved exactly; points in no pair play no part."""

    model: Kernel

    def _planned(self, n_folds: int) -> Plan:
        data = self.data
        assert data.law is not None
        self.law: Law = data.law
        self.model = as_kernel(self.model)
        self.given = isinstance(self.model, Precomputed)
        if self.given and data.d != data.n_views:
            raise ValueError(
                f"for Precomputed, x must be the Gram matrix of the N = {data.n_views} points, with N columns, found "
                f"{data.d}"
            )
        if self.given and data.positives is not None and data.positives.of_points:
            raise ValueError(
                "for Precomputed, x is a Gram matrix, and the neighbours of its rows are not those of the points: make "
                "the law of the points themselves, law = positives.law(points), and hand over Pairs(law.first, "
                "law.second, law.weight)"
            )
        self.objective.within(len(self.law.support), "points in pairs")
        return paired_plan(self._sizes(n_folds), self.law, self.model, self.backend.BLOCK_FACTOR)

    @cached_property
    def points(self) -> Array:
        """Check all points (N, d), in the caller's order; for `Precomputed` they are a Gram matrix (N, N)."""
        points = self.data.materialize(self.backend)
        if not self.given:
            refuse_constant(points)
        if not self.model.trusted:
            require_symmetric(self.model, points, self.backend)
        return points

    @cached_property
    def kept(self) -> Array:
        """Copy the points for the representations, which share them."""
        return self.points.copy()

    @cached_property
    def operator(self) -> ConditionedPairs:
        """Make the operator of the points in pairs."""
        self.started = time.perf_counter()
        _ = self.law.parts  # which the result tells: their graph takes memory, of which there is more before matrices
        return self.operator_on(self.law)

    def operator_on(self, law: Law) -> ConditionedPairs:
        """Make the operator of a law on all points, or on some of them."""
        points, backend = self.points, self.backend
        index, law = backend.xp.asarray(law.support), law.on_support()
        if len(index) < len(points):
            points = points[index][:, index] if self.given else points[index]
        singles = Samples.from_groups(np.arange(len(index)), backend, law.measure)
        khat = rotated_gram(self.model, points, singles, backend).mean
        return ConditionedPairs(khat, law, self.model, backend, center=self.objective.center)

    def restrict(self, folds: Folds) -> PairedFolds:
        """Make the operator of each training part, and the kernel values between the parts."""
        assert isinstance(folds, LawFolds)
        return PairedFolds(self, folds)

    def represent(self, objective: Objective, solution: Solution) -> Representation:
        """Combine the kernel's functions at the points in pairs; at the others they have values too."""
        backend, spectrum = self.backend, solution.spectrum
        assert solution.values is not None
        index = backend.xp.asarray(self.law.support)
        coefficients, values = spectrum.coefficients, solution.values
        if len(index) < self.data.n_views:
            coefficients = self._spread(coefficients, index)
            values = self._spread(values, index)
            others = backend.xp.asarray(np.flatnonzero(self.law.measure == 0))
            points = self.points[others]
            product = (
                points @ coefficients if self.given else kernel_product(self.model, points, self.points, coefficients)
            )
            values[others] = product + spectrum.intercept
        rep = Representation.from_spectrum(
            replace(spectrum, coefficients=coefficients),
            self.model,
            objective,
            centres=None if self.given else self.kept,
            values=values,
        )
        rep = replace(rep, tau=self.operator.samples.tau, positives=self.data.pairs_in_words)
        return rep.to(device_of(self.data.source))

    def _spread(self, rows: Array, index: Array) -> Array:
        """Put rows at the points in pairs among zeros for all points."""
        out: Array = self.backend.xp.zeros((self.data.n_views, rows.shape[1]), rows.dtype)
        out[index] = rows
        return out
