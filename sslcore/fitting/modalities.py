"""The problems of two modalities: a kernel for each, solved exactly, or features for each, solved by their moments."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends import Backend, device_of, get_backend
from ..features import Features
from ..kernels import Kernel, Precomputed
from ..solvers.certificate import TOLERANCE, Solution, Spectrum
from ..solvers.joined import JoinedPoints
from ..solvers.matrix_free import MatrixFreeKernel
from ..solvers.modalities import ModalityGram, TwoModalities, sums_of_pairs
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.sums import Sums, add_block
from .bimodal import BimodalRepresentation
from .folds import Folds, Restricted
from .held_out import GROUPS, HeldOutRisk, training_risk
from .matrix_free import MatrixFree
from .pairs import NAMES, PairData, as_given, as_models, as_training_data, sources
from .plan import SEARCHED_TOGETHER, Plan, fitting_rows
from .plan import feature_rows as rows_of_features
from .plan_modalities import joined_plan, kernels_plan, pair_features_plan
from .points import refuse_constant, require_symmetric
from .problem import MomentsProblem, OperatorProblem, Problem
from .representation import Representation

__all__ = ["BimodalProblem", "FeaturePairProblem", "KernelPairProblem", "MatrixFreePairProblem", "risk_of_modalities"]


class BimodalProblem(Problem):
    """A model for each of two modalities, on their pairs."""

    data: PairData

    @property
    @abstractmethod
    def trace(self) -> float:
        """The trace of the operator, centred if it is to be: no eigenvalue is larger."""

    @property
    @abstractmethod
    def fitted(self) -> tuple[Any, Any]:
        """The models, with all that they choose from data."""

    @abstractmethod
    def represent(self, objective: Objective, solution: Solution) -> Any:
        """Make functions of the solution, with their arrays where the data lie."""

    def restrict(self, folds: Folds) -> PairFolds:
        """Pose the same for the training part of every fold, one after the other."""
        return PairFolds(self, folds)

    def taken(self, index: np.ndarray, among: np.ndarray) -> PairData:
        """Return some of the pairs; of a matrix its values with the points ``among``."""
        first, second = (among if isinstance(model, Precomputed) else None for model in self.fitted)
        return self.data.take(index, (first, second))

    def part(self, index: np.ndarray) -> BimodalProblem:
        """Pose the same for some of the pairs."""
        return type(self)(self.fitted, self.taken(index, index), self.objective, self.backend, self.budget)  # type: ignore[arg-type]

    def joined(self, objective: Objective, spectrum: Spectrum, sides: list[dict[str, Any]]) -> BimodalRepresentation:
        """Make the representation of what the functions of each modality are made of."""
        own = ("coefficients", "intercept")
        shared = [replace(spectrum, **{name: side.pop(name) for name in own}) for side in sides]
        first, second = (
            Representation.from_spectrum(some, model, objective, **side)
            for some, model, side in zip(shared, self.fitted, sides, strict=True)
        )
        return BimodalRepresentation.of_sides(first, second).to(device_of(self.data.source))


class PairFolds(Restricted):
    """The folds of two modalities: each training part is a problem of its own, made when it is needed."""

    folds: Folds

    def __init__(self, problem: BimodalProblem, folds: Folds) -> None:
        super().__init__(problem.objective, folds)
        self.problem, self.jackknife = problem, folds.jackknife()
        self.trace = self._part(0).trace

    def _training(self, f: int) -> np.ndarray:
        part = self.folds.part
        return np.flatnonzero((part >= 0) & (part != f))

    def _part(self, f: int) -> BimodalProblem:
        return self.problem.part(self._training(f))

    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        for f in range(self.folds.count):
            part, held = self._part(f), self.problem.taken(np.flatnonzero(self.folds.part == f), self._training(f))
            for start in range(0, len(regs), SEARCHED_TOGETHER):
                some = slice(start, start + SEARCHED_TOGETHER)
                self._fold_risks(f, part, held, regs[some], found[some, f])
            del part, held  # before the next ones are made

    def _fold_risks(self, f: int, part: BimodalProblem, held: PairData, regs: np.ndarray, found: np.ndarray) -> None:
        """Put the risks of fold f into ``found`` (L, 3)."""
        objective, backend = self.objective, self.problem.backend
        groups = self.jackknife[self.folds.part == f]
        if self.searching and isinstance(part, MatrixFreePairProblem):
            part.keeper = self.searching.keeper()
        sweep = part.sweep(
            [replace(objective, reg=float(reg)) for reg in regs], lambda solved: self._done(f, solved.reg)
        )
        solutions: list[Solution] = []

        def solve(wanted: Objective) -> Spectrum:
            solutions[:] = [sweep(wanted)]
            return solutions[0].spectrum

        for i, spectrum in self._solved(f, solve, regs):
            rep = part.represent(replace(objective, reg=float(regs[i])), solutions[0])
            found[i] = *_risk(rep, held, groups, backend), training_risk(spectrum, objective.beta)
            self._done(f, regs[i])


def _risk(rep: BimodalRepresentation, held: PairData, groups: np.ndarray, backend: Backend) -> tuple[float, float]:
    """Return the unbiased risk on pairs, and its standard error by the jackknife over ``groups`` (n,) of them."""
    xp, k = backend.xp, rep.n_components
    psi = rep.transform(held.views, backend=backend.NAME if backend.NAME == "cupy" else None)
    z = xp.stack([xp.asarray(values) for values in psi], axis=1).reshape(-1, k)
    weight = float(held.n_views if held.weight is None else 2.0 * held.weight.sum())
    risk = HeldOutRisk(k, rep.beta, rep.unbiased, backend)
    risk.add(z, held.samples(backend), weight, groups)
    return risk.value()


def risk_of_modalities(rep: BimodalRepresentation, pair: Any, weight: Any, backend: str | None) -> float:
    """Return the unbiased risk of a representation on pairs (x, y), with positive weights or None."""
    views = as_given(pair, rep.model)
    objective = Objective(rep.n_components, rep.reg, rep.beta, rep.unbiased, rep.center)
    data = as_training_data(views, rep.model, None, None, weight, objective)
    assert isinstance(data, PairData)
    if data.n < 2:
        raise ValueError(
            f"the risk is estimated from pairs of samples, so there must be at least 2 pairs (x, y), found {data.n}"
        )
    return _risk(rep, data, np.arange(data.n) % GROUPS, get_backend(*sources(views), backend=backend))[0]


class KernelPairs(OperatorProblem, BimodalProblem):
    """A kernel for each modality, whatever solves it; its operator, centred if it is to be, sets what is kept."""

    means: list[Any]
    centres: list[Any]

    def _check(self) -> None:
        """Check the kernels against the data."""
        data = self.data
        self.kernels: tuple[Kernel, Kernel] = as_models(self.model)
        self.objective.within(data.n_views, "points of both modalities")
        for kernel, width, name in zip(self.kernels, data.widths, NAMES, strict=True):
            if isinstance(kernel, Precomputed) and width != data.n:
                raise ValueError(
                    f"for Precomputed, {name} must be the Gram matrix of its n = {data.n} points, with n columns, "
                    f"found {width}"
                )

    @property
    def fitted(self) -> tuple[Kernel, Kernel]:
        """Kernels choose nothing from data."""
        return self.kernels

    @property
    def points(self) -> tuple[Array, Array]:
        """The points of both modalities, checked."""
        points = self.data.points(self.backend)
        for part, kernel, name in zip(points, self.kernels, NAMES, strict=True):
            if not isinstance(kernel, Precomputed):
                refuse_constant(part, f"{name} is constant: all of its points are")
            if not kernel.trusted:
                require_symmetric(kernel, part, self.backend)
        return points

    @property
    def trace(self) -> float:
        """The trace of the operator, centred if it is to be."""
        out: float = self.operator.trace
        return out

    def at(self, objective: Objective, near: Array | None = None) -> Solution:
        """Condition the operator, and iterate; the certificate's time includes the Gram matrices."""
        return super().at(replace(objective, center=False), near)  # its matrices are centred already

    def represent(self, objective: Objective, solution: Solution) -> Any:
        """Combine the kernels' functions at the training points, with an intercept each if they are centred."""
        assert solution.values is not None
        xp, data, spectrum = self.backend.xp, self.data, solution.spectrum
        n, k = data.n, objective.k
        coefficients = spectrum.coefficients.reshape(n, 2, k)
        values = solution.values.reshape(n, 2, k)
        weight = data.singles(0, n, self.backend)[0].weight.astype(coefficients.dtype)[:, None]
        sides = []
        for i, means in enumerate(self.means):
            alpha, intercept = xp.ascontiguousarray(coefficients[:, i]), xp.zeros(k, coefficients.dtype)
            if means is not None:
                alpha = alpha - weight * alpha.sum(axis=0)
                intercept = -(means @ alpha.astype(float)).astype(alpha.dtype)
            side = {"coefficients": alpha, "intercept": intercept, "centres": self.centres[i]}
            sides.append(side | {"values": xp.ascontiguousarray(values[:, i])})
        return self.joined(objective, spectrum, sides)


class KernelPairProblem(KernelPairs):
    """Two Gram matrices, one factorisation."""

    def _planned(self, n_folds: int) -> Plan:
        self._check()
        data = self.data
        return kernels_plan(self._sizes(n_folds), data.widths, self.kernels, self.backend.BLOCK_FACTOR)

    @cached_property
    def operator(self) -> TwoModalities:
        """Make the Gram matrices, and of them the operator; points are kept for the representations."""
        data, backend, objective = self.data, self.backend, self.objective
        points = self.points
        self.started = time.perf_counter()
        grams = []
        for part, kernel, name in zip(points, self.kernels, NAMES, strict=True):
            try:
                grams.append(ModalityGram.of(kernel, part, data.weight, objective.center, backend))
            except ValueError as error:
                error.args = (f"of modality {name}: {error}", *error.args[1:])
                raise
        self.means = [gram.means for gram in grams]
        self.centres = [
            None if isinstance(kernel, Precomputed) else part.copy()
            for part, kernel in zip(points, self.kernels, strict=True)
        ]
        first, second = grams
        return TwoModalities(
            (first, second), data.samples(backend), backend, unbiased=objective.unbiased, center=objective.center
        )

    def sweep(self, objectives: Sequence[Objective], progress: Any = None) -> Callable[[Objective], Solution]:
        """Begin where the functions found at other objectives are best combined."""
        center = self.objective.center
        sweep = super().sweep(
            [replace(objective, center=False) for objective in objectives],
            None if progress is None else lambda solved: progress(replace(solved, center=center)),
        )
        return lambda objective: sweep(replace(objective, center=False))


class MatrixFreePairProblem(MatrixFree, KernelPairs):
    """The same by products with the kernels, whose matrices are never stored."""

    def _planned(self, n_folds: int) -> Plan:
        self._check()
        data = self.data
        sizes = replace(self._sizes(n_folds), d=data.d + 2, made=True)
        return joined_plan(sizes, self.kernels, self.budget, self.backend.BLOCK_FACTOR)

    @cached_property
    def operator(self) -> MatrixFreeKernel:
        """Join the points, and make the operator of them; they are kept for the representations."""
        data, backend = self.data, self.backend
        points = self.points
        self.started = time.perf_counter()
        joined = JoinedPoints.of(self.kernels, points, data.weight, self.objective.center, backend)
        self.means, self.centres = list(joined.means), [part.copy() for part in points]
        samples = data.samples(backend)
        return MatrixFreeKernel(
            joined.kernel,
            joined.points,
            samples,
            backend,
            objective=replace(self.objective, center=False),  # its kernel is centred already
            rank=self.rank(samples),
            tolerance=TOLERANCE[self.dtype],
        )


class FeaturePairProblem(MomentsProblem, BimodalProblem):
    """Features of each modality: their joint moments, and the eigenproblem of both."""

    sums = "joint"

    def _planned(self, n_folds: int) -> Plan:
        data = self.data
        self.given: tuple[Features, Features] = as_models(self.model)
        self.n_features = sum(model.n_features(d) for model, d in zip(self.given, data.widths, strict=True))
        self.objective.within(self.n_features, "features of both modalities")
        sizes = replace(self._sizes(n_folds), n_views=data.n)
        self.rows = fitting_rows(
            rows_of_features(self.n_features, data.d), sizes, self.n_features, self.budget, self.backend
        )
        return pair_features_plan(sizes, self.n_features, self.given)

    @cached_property
    def fitted(self) -> tuple[Features, Features]:
        """Let the features choose what they take from data, such as landmarks."""
        first, second = (model.fit(part[:, None, :]) for model, part in zip(self.given, self.data.views, strict=True))
        return first, second

    @cached_property
    def joint(self) -> Sums:
        """Sum the products of the joined features of all pairs about their mean, in one pass."""
        total = self._summed(self.data.dtype)
        return self._summed(np.dtype(float)) if total.may_underflow(self.data.dtype) else total

    def _summed(self, dtype: np.dtype) -> Sums:
        data, backend = self.data, self.backend
        xp, widths = backend.xp, data.widths
        maps = [model.prepare(d, data.dtype, backend) for model, d in zip(self.fitted, widths, strict=True)]
        total: Sums | None = None
        buffer = xp.empty(0, dtype)
        for x, y, start in data.strips(self.rows, backend):
            phi = xp.concatenate([maps[0](x), maps[1](y)], axis=1).astype(dtype, copy=False)
            total = total or Sums.zero(phi.shape[1], xp)
            buffer = xp.empty(phi.size, dtype) if buffer.size < phi.size else buffer
            samples, weight = data.singles(start, start + len(phi), backend)
            add_block(total, phi, samples, weight, buffer, backend)
            del phi  # before that of the next block is made
        assert total is not None
        return total

    @cached_property
    def pencil(self) -> Pencil:
        """Make the eigenproblem; for many objectives in a basis in which each takes products only."""
        objective = self.objective
        widths = [model.n_kept(d) for model, d in zip(self.fitted, self.data.widths, strict=True)]
        self.kept = widths[0]
        sums, mean = sums_of_pairs(self.joint, (widths[0], widths[1]), self.backend, center=objective.center)
        self.mean = mean if objective.center else None
        finest = max(model.finest for model in self.fitted)
        planned_bytes = self.plan.bytes  # not asked of self later: in a cycle of references its data would stay
        pencil = Pencil(
            sums,
            self.backend,
            finest=finest,
            epsilon=float(np.finfo(self.data.dtype).eps),
            unbiased=objective.unbiased,
            center=False,
            planned=lambda _: planned_bytes,
        )
        return pencil.diagonalize() if self.n_points > 1 else pencil

    @property
    def trace(self) -> float:
        """The trace of Sigma, centred if it is to be."""
        return self.pencil.unit

    def represent(self, objective: Objective, solution: Solution) -> Any:
        """Combine the features; values at the training pairs are computed when they are asked for."""
        xp, spectrum = self.backend.xp, solution.spectrum
        sides = []
        for i, rows in enumerate((slice(self.kept), slice(self.kept, None))):
            c = spectrum.coefficients[rows].copy()
            intercept = xp.zeros(c.shape[1]) if self.mean is None else -(self.mean[rows] @ c)
            side = {"coefficients": c, "intercept": intercept, "training": self.data.views[i]}
            sides.append(side | {"n_coordinates": self.data.widths[i]})
        return self.joined(objective, spectrum, sides)
