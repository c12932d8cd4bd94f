"""The folds of a search for reg on a law of positive pairs: points are held out, and edges between parts left out.

A part is a run of consecutive points in an order that keeps pairs together: that of time for `TimeLag`; else the parts
of the graph that do not touch, drawn at random, each in the order of Cuthill and McKee (1969), in which the ends of an
edge are close.  Runs end where parts of the graph do, if there is such a place near, and then no edge is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array
from ..backends import get_backend
from ..positives import Law, Positives
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.sums import Sums
from .data import as_paired_data
from .edge_sums import LawSums
from .folds import Folds, KernelFolds, OperatorFold, SummedFolds, embed, kernel_values
from .held_out import GROUPS, HeldOutRisk, training_risk
from .representation import Representation

if TYPE_CHECKING:
    from .paired import PairedProblem
    from .problem import FeatureProblem

__all__ = ["HeldPoints", "LawFolds", "PairedFeatureFolds", "PairedFolds", "risk_on_pairs"]


@dataclass(frozen=True, kw_only=True)
class LawFolds(Folds):
    """Folds of points, as of samples; ``law`` has the pairs within parts, and ``groups`` (n,) are for the jackknife."""

    law: Law
    groups: np.ndarray
    n_edges: int

    def jackknife(self) -> np.ndarray:
        """Return the groups: runs of points, as neighbours may depend on each other."""
        return self.groups

    def training(self, f: int) -> Law:
        """Return the law of the training part of fold f."""
        return self.law.within(np.where(self.part == f, -1, self.part))

    def held(self, f: int) -> Law:
        """Return the law of the points that fold f holds out."""
        return self.law.within(np.where(self.part == f, 0, -1))

    @classmethod
    def of(cls, law: Law, count: int, most_held_out: int, max_samples: int | None, seed: int) -> LawFolds:
        """Split a law; one fold holds out a quarter of the points, ``most_held_out`` at most."""
        rng = np.random.default_rng(seed)
        order, ends = _order(law, rng)
        if max_samples is not None and max_samples < len(order):
            first = int(rng.integers(len(order) - max_samples + 1)) if law.in_time else 0
            order, ends = order[first : first + max_samples], ends - first
            ends = ends[(ends > 0) & (ends < len(order))]
        n = len(order)
        part = np.full(law.n_points, -1)
        if count > 1:
            cuts = [0, *(_near(ends, round(f * n / count), n // (4 * count)) for f in range(1, count)), n]
            for f in range(count):
                part[order[cuts[f] : cuts[f + 1]]] = f
        else:
            held = max(1, min(round(n / 4), most_held_out))
            first = int(rng.integers(n - held + 1)) if law.in_time else 0
            stop = min(_near(ends, first + held, held // 4), first + most_held_out)
            part[order] = 1
            part[order[first:stop]] = 0
        place = np.zeros(law.n_points, int)
        for f in range(count):
            mine = order[part[order] == f]
            place[mine] = _runs(law, mine)
        inside = (part[law.first] >= 0) & (part[law.second] >= 0)
        n_cut = int((inside & (part[law.first] != part[law.second])).sum())
        try:
            whole = law.within(part)
            folds = cls(part, count, n_cut, law=whole, groups=place, n_edges=int(inside.sum()))
            for f in range(count):
                folds.training(f), folds.held(f)
        except ValueError:
            raise ValueError(
                f"reg='auto' holds out runs of {n // max(count, 4 if count == 1 else 1)} of {n} points, and no pair is "
                f"within one of them, or within the others: give reg as a number, or use one fold, AutoReg(n_folds=1)"
            ) from None
        return folds


def _order(law: Law, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the points in pairs in the order of the module's docstring, and the places where a part of it begins."""
    from scipy.sparse import csgraph

    support, (count, labels) = law.support, law.parts
    if law.in_time:
        return support, np.zeros(0, int)
    graph = law.graph()[support][:, support]
    close = csgraph.reverse_cuthill_mckee((graph + graph.T).tocsr(), symmetric_mode=True)
    rank = rng.permutation(count)[labels[support[close]]]
    by_part = np.argsort(rank, kind="stable")
    return support[close[by_part]], 1 + np.flatnonzero(np.diff(rank[by_part]))


def _runs(law: Law, order: np.ndarray) -> np.ndarray:
    """Return the jackknife group of points in this order: runs, which cut no part of the graph if all are small.

    Points of different groups count as independent, which those of a pair are not.
    """
    labels, place = law.parts[1][order], np.arange(len(order)) * GROUPS // max(len(order), 1)
    begins = np.flatnonzero(np.r_[True, np.diff(labels) != 0][: len(order)])
    lengths = np.diff(np.r_[begins, len(order)])
    return np.repeat(place[begins], lengths) if 4 * lengths.max(initial=0) <= len(order) else place


def _near(ends: np.ndarray, wanted: int, most: int) -> int:
    """Return the end nearest to a place, or the place itself if there is none at most ``most`` away."""
    if not len(ends):
        return wanted
    nearest = int(ends[np.abs(ends - wanted).argmin()])
    return nearest if abs(nearest - wanted) <= most else wanted


@dataclass(frozen=True, eq=False)
class HeldPoints:
    """The law of points that are held out, on them alone."""

    law: Law

    @property
    def n_views(self) -> int:
        """Number of points."""
        return self.law.n_points


class PairedFolds(KernelFolds):
    """The folds of a kernel with a law of positive pairs."""

    problem: PairedProblem
    folds: LawFolds

    def __init__(self, problem: PairedProblem, folds: LawFolds) -> None:
        super().__init__(problem, folds)  # type: ignore[arg-type]  # it has all that the others ask of a problem

    def _fold(self, f: int) -> OperatorFold:
        problem, xp = self.problem, self.problem.backend.xp
        training, held = self.folds.training(f), self.folds.held(f)
        inside, outside = training.support, held.support
        if self.objective.k > len(inside):
            raise ValueError(
                f"n_components must be at most {len(inside)}, the number of points of {training.n_points} that "
                f"reg='auto' trains on, found {self.objective.k}; give n_components=, reg as a number, or more folds"
            )
        rows, columns = xp.asarray(outside), xp.asarray(inside)
        points = problem.points
        if problem.given:
            cross = points[rows][:, columns]
        else:
            cross = kernel_values(problem.model, points[rows], points[columns], problem.backend)
        operator = problem.operator_on(training)
        apart = HeldPoints(held.on_support())
        return OperatorFold(operator, cross, apart, 1.0, self.jackknife[outside], inside, outside)

    def _risk(self, fold: OperatorFold, psi: Array) -> tuple[float, float]:
        risk = self._held_out_risk(self.problem.backend)
        assert isinstance(fold.samples, HeldPoints)
        risk.add_law(psi, fold.samples.law, fold.members)
        return risk.value()

    def near(self, reg: float) -> Array | None:
        """Return nothing: the functions of a fold are kept for its own regs, and not extended to other points."""
        return None


def risk_on_pairs(rep: Representation, x: Array, positives: Positives, backend: str | None) -> float:
    """Return the unbiased risk of a representation on the pairs of a law at points x (N, d)."""
    objective = Objective(rep.n_components, rep.reg, rep.beta, rep.unbiased, rep.center)
    data = as_paired_data(x, positives, None, None, objective, searched=True)  # classes are no independent samples
    z = rep.transform(x, backend=backend)
    primitives = get_backend(z)
    risk = HeldOutRisk(rep.n_components, rep.beta, rep.unbiased, primitives)
    if data.law is None:  # groups
        samples = data.samples(primitives)
        risk.add(z[samples.order], samples, float(data.n_views), np.arange(data.n) % GROUPS)
    elif data.law.matrix is not None:
        raise ValueError("score estimates a risk from pairs, and an Operator has none; give positives a law of pairs")
    else:
        law = data.law.on_support()
        z = z[primitives.xp.asarray(data.law.support)]
        order, groups = _order(law, np.random.default_rng(0))[0], np.empty(law.n_points, int)
        groups[order] = _runs(law, order)
        risk.add_law(z, law, groups)
    return risk.value()[0]


class PairedFeatureFolds(SummedFolds):
    """The folds of features with a law of positive pairs: moments of each part, and features of what is held out."""

    folds: LawFolds

    def __init__(self, problem: FeatureProblem, folds: LawFolds) -> None:
        super().__init__(problem, folds)
        self.laws = [self._law_of(p) for p in range(int(folds.part.max()) + 1)]
        self._sum()
        self.trace = self._pencil(0).unit

    def _sum(self) -> None:
        """Do as `SummedFolds._sum`."""
        dtype = self.data.dtype
        self.sums = LawSums(self.features, self.data, self.rows, self.backend)
        self.parts = self._summed(dtype)
        if any(part.may_underflow(dtype) for part in self.parts if part is not None):
            self.parts = self._summed(np.dtype(float))

    def _law_of(self, p: int) -> Law | None:
        """Return the law within one part; a part without pairs has none."""
        try:
            return self.folds.law.within(np.where(self.folds.part == p, 0, -1))
        except ValueError:
            return None

    def _summed(self, dtype: np.dtype) -> list[Sums | None]:
        return [None if law is None else self.sums.sums(law, dtype) for law in self.laws]

    def _pencil(self, f: int) -> Pencil:
        """Pose the eigenproblem of the training part of fold f."""
        total: Sums | None = None
        for p, part in enumerate(self.parts):
            if p != f and part is not None:
                total = part if total is None else total.merged(part)
        assert total is not None
        return self._posed(total)

    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        for f in range(self.folds.count):
            solved = dict(self._solved(f, self._pencil(f).solve, regs))
            held = self.folds.held(f)
            places, law = held.support, held.on_support()
            psi = {i: self.backend.xp.empty((len(places), self.objective.k)) for i in solved}
            for rows, phi in self.sums.values(places):
                for i, spectrum in solved.items():
                    psi[i][rows] = embed(spectrum, phi, self.backend)
            for i, spectrum in solved.items():
                risk = self._held_out_risk(self.backend)
                risk.add_law(psi[i], law, self.folds.groups[places])
                found[i, f] = *risk.value(), training_risk(spectrum, self.objective.beta)
                self._done(f, regs[i])
