"""The folds of a search for reg: training parts, solved, and judged by the samples that each holds out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..arrays import Array
from ..backends import Backend
from ..errors import CertificateError, ConvergenceError, NotPositiveSemidefiniteError
from ..kernels import Kernel
from ..kernels._rows import block_height
from ..solvers.conditioned import ConditionedOperator
from ..solvers.groups import Samples
from ..solvers.known import Known
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.reduced_basis import ReducedBasis
from ..solvers.sums import Sums, add_block
from ..solvers.trial import Functions
from .accumulator import feature_block_rows
from .data import Data
from .held_out import GROUPS, HeldOutRisk, training_risk
from .plan import SEARCHED_TOGETHER

if TYPE_CHECKING:
    from .following import Searching
    from .matrix_free import MatrixFreeProblem
    from .paired_folds import HeldPoints
    from .problem import FeatureProblem, GroupedProblem

__all__ = [
    "FeatureFolds",
    "Folds",
    "KernelFolds",
    "MatrixFreeFolds",
    "OperatorFold",
    "Restricted",
    "embed",
    "kernel_values",
]

REFUSALS = (CertificateError, ConvergenceError, NotPositiveSemidefiniteError)
"""What a fit raises whose reg is below the rounding of the matrix."""


@dataclass(frozen=True)
class Folds:
    """``part`` (n,): the fold 0..count-1 in which a sample is held out, ``count`` if in none, -1 if it is not used."""

    part: np.ndarray
    count: int
    n_cut: int = 0  # edges of a law of pairs whose ends are in different parts

    @property
    def used(self) -> int:
        """Samples that are in some fold."""
        return int((self.part >= 0).sum())

    @property
    def held_out(self) -> int:
        """Samples held out in the first fold."""
        return int((self.part == 0).sum())

    def jackknife(self) -> np.ndarray:
        """Put the samples of every part into groups in turn, so that these are of equal size."""
        groups = np.zeros(len(self.part), int)
        for f in range(self.count):
            held = np.flatnonzero(self.part == f)
            groups[held] = np.arange(len(held)) % GROUPS
        return groups


class Split(Protocol):
    """Numbers of folds, of samples in some fold, and of those held out in the first."""

    @property
    def count(self) -> int: ...

    @property
    def used(self) -> int: ...

    @property
    def held_out(self) -> int: ...

    @property
    def n_cut(self) -> int: ...


class Restricted(ABC):
    """A problem restricted to the training part of every fold.

    Attributes
    ----------
    trace : float
        That of the operator of the first training part: no reg that is larger leaves a component active.
    unsolved : (float, ConvergenceError) or None
        The largest reg for which a fit did not converge: it and those below it, which are harder, are left out.
    searching : Searching or None
        Hears of each fit.
    """

    trace: float
    unsolved: tuple[float, ConvergenceError] | None = None
    searching: Searching | None = None

    def __init__(self, objective: Objective, folds: Split) -> None:
        self.folds, self.objective = folds, objective
        self._refused: Exception | None = None

    @abstractmethod
    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        """Put what `risks` returns into ``found``, where no fit is refused."""

    def risks(self, regs: np.ndarray) -> np.ndarray:
        """Give held-out risk, its error and training risk, (L, folds, 3), of each reg; NaN where a fit was refused.

        Where every reg is refused, so that nothing is left to choose from, the last refusal is raised.
        """
        found = np.full((len(regs), self.folds.count, 3), math.nan)
        self._risks(regs, found)
        if self._refused and self._in_float64():
            unknown = ~np.isfinite(found[:, :, 0].mean(axis=1))
            self._refused, again = None, found[unknown]
            self._risks(regs[unknown], again)
            found[unknown] = again
        if self._refused and not np.isfinite(found[:, :, 0].mean(axis=1)).any():
            raise self._refused
        return found

    def _in_float64(self) -> bool:
        """Make sums anew in float64, where products were in float32; False if they were not, or that cannot be done."""
        return False

    def near(self, reg: float) -> Array | None:
        """Return vectors, in the rotated basis of all views, near the solution at a reg of which `risks` told."""
        return None

    def _solved(
        self, f: int, solve: Callable[[Objective], Functions], regs: np.ndarray
    ) -> Iterator[tuple[int, Functions]]:
        """Solve fold f for each reg that rounding allows, with its index; the others are done."""
        for i, reg in enumerate(regs):
            if self.unsolved and reg <= self.unsolved[0]:
                self._done(f, reg)
                continue
            if self.searching:
                self.searching.begin(f, reg)
            try:
                spectrum = solve(replace(self.objective, reg=float(reg)))
            except REFUSALS as error:
                self._refused = error.with_traceback(None)  # which would keep the matrices alive
                if isinstance(error, ConvergenceError):
                    self.unsolved = float(reg), error
                self._done(f, reg)
            else:
                yield i, spectrum

    def _done(self, f: int, *regs: float) -> None:
        """Tell that fold f needs no more work at these."""
        if self.searching:
            for reg in regs:
                self.searching.done(f, reg)

    def _held_out_risk(self, backend: Backend) -> HeldOutRisk:
        return HeldOutRisk(self.objective.k, self.objective.beta, self.objective.unbiased, backend)


# ---------------------------------------------------------------- a kernel


@dataclass(frozen=True, eq=False)
class OperatorFold:
    """The operator of a training part, and kernel values between the held-out views and those of the training part."""

    operator: ConditionedOperator
    cross: Array | Callable[[Array], Array]  # or what multiplies it
    samples: Samples | HeldPoints  # those held out, in the order of the rows of ``cross``
    weight: float
    members: np.ndarray  # their jackknife groups
    training: np.ndarray  # views of the training part, in the caller's order
    held: np.ndarray  # those held out, in the order of the rows of ``cross``


class KernelFolds(Restricted):
    """The folds of a kernel: all are kept if the budget has room for that, else each is made when it is needed.

    What is ``known`` of each from the regs before is kept in any case: so their risks are the same in both.  The fit
    after the search begins near the first fold if it was kept (`near`): its last bits depend on the budget.
    """

    folds: Folds

    def __init__(self, problem: GroupedProblem, folds: Folds) -> None:
        super().__init__(problem.objective, folds)
        self.problem, self.jackknife = problem, folds.jackknife()
        room = problem.budget // problem.plan.bytes  # a fold takes less than the fit to all
        self.kept = [self._fold(f) for f in range(folds.count)] if folds.count <= max(room, 1) else []
        self.known = [Known() for _ in range(folds.count)]
        self.trace = (self.kept[0] if self.kept else self._fold(0)).operator.trace

    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        backend = self.problem.backend
        for f in range(self.folds.count):
            fold = self.kept[f] if self.kept else self._fold(f)
            collapsed = regs >= fold.operator.trace  # mu <= 1 - reg / trace: no component is active
            if collapsed.any():
                nothing = backend.xp.zeros((fold.samples.n_views, self.objective.k))
                found[collapsed, f] = *self._risk(fold, nothing), float(self.objective.k)
                self._done(f, *regs[collapsed])
            below = np.flatnonzero(~collapsed)
            for start in range(0, len(below), SEARCHED_TOGETHER):
                some = below[start : start + SEARCHED_TOGETHER]
                if len(self.known[f].basis.places) + len(some) > SEARCHED_TOGETHER:  # for which memory was planned
                    self.known[f].basis = ReducedBasis()
                objectives = [replace(self.objective, reg=float(reg)) for reg in regs[some]]
                for i, spectrum in self._solved(f, self._solver(f, fold.operator, objectives), regs[some]):
                    risk = self._risk(fold, embed(spectrum, fold.cross, backend))
                    found[some[i], f] = *risk, training_risk(spectrum, self.objective.beta)
                    self._done(f, regs[some[i]])
            del fold  # before the next one is made

    def _risk(self, fold: OperatorFold, psi: Array) -> tuple[float, float]:
        """Return the risk of psi at the held-out views of ``fold``, and its error."""
        risk = self._held_out_risk(self.problem.backend)
        assert isinstance(fold.samples, Samples)
        risk.add(psi, fold.samples, fold.weight, fold.members)
        return risk.value()

    def near(self, reg: float) -> Array | None:
        """Extend the functions of the first training part to the views that it holds out, if it was kept."""
        problem, backend, xp, known = self.problem, self.problem.backend, self.problem.backend.xp, self.known[0]
        found = known.basis.nearest(reg / self.objective.beta) if self.objective.beta > 0 else None
        if found is None or not self.kept or bool((self.folds.part < 0).any()):
            return None
        fold, (values, weights) = self.kept[0], found
        operator, inner = fold.operator, fold.operator.samples
        roots = xp.sqrt(inner.weight)[:, None]

        def rows(v: Array) -> Array:
            out: Array = inner.rotate_back(v[: operator.n], v[operator.n :])
            return out

        # in the layout of a thin product: that of a BLAS would leave threads behind that wait busily
        coefficients = xp.asfortranarray(inner.restore_order(rows(weights) * roots / operator.unit), dtype=values.dtype)
        held = fold.cross(coefficients) if callable(fold.cross) else backend.matmul(fold.cross, coefficients)
        f = xp.empty((problem.data.n_views, values.shape[1]))
        f[xp.asarray(fold.training)] = inner.restore_order(rows(values) / roots)
        f[xp.asarray(fold.held)] = held
        samples = problem.data.samples(backend)
        turned = xp.concatenate(samples.rotate(f[samples.order] * xp.sqrt(samples.weight)[:, None]))
        out: Array = xp.asfortranarray(turned.astype(values.dtype, copy=False))
        return out

    def _solver(
        self, f: int, operator: ConditionedOperator, objectives: Sequence[Objective]
    ) -> Callable[[Objective], Functions]:
        """Make a function that solves for each of these, from what is known of fold f, as well as a risk takes it."""
        return self.problem.trials_of(operator, objectives, lambda o: self._done(f, o.reg), self.known[f])

    def _fold(self, f: int) -> OperatorFold:
        problem, data, backend = self.problem, self.problem.data, self.problem.backend
        xp, points, groups = backend.xp, problem.points, data.sample_of_each_view
        part = self.folds.part[groups]
        training, held = np.flatnonzero((part >= 0) & (part != f)), np.flatnonzero(part == f)
        if self.objective.k > len(training):
            raise ValueError(
                f"n_components must be at most {len(training)}, the number of views of {data.n_views} that reg='auto' "
                f"trains on, found {self.objective.k}; give n_components=, reg as a number, or more folds"
            )
        single = self.objective.beta == 0
        names = np.arange(len(training)) if single else np.unique(groups[training], return_inverse=True)[1]
        samples = Samples.from_groups(names, backend, None if data.weight is None else data.weight[training])
        x = points[xp.asarray(training)]
        # rows in the order of the samples; a given matrix is read in that order
        ordered = x[:, xp.asarray(training)] if problem.given else x[samples.order]
        operator = problem.operator_on(ordered, samples)
        labels, names = np.unique(groups[held], return_inverse=True)
        theirs = Samples.from_groups(names, backend, None if data.weight is None else data.weight[held])
        held = held[backend.to_host(theirs.order)]
        rows = points[xp.asarray(held)]
        cross = rows[:, xp.asarray(training)] if problem.given else self._cross(rows, x)
        weight = float(len(held)) if data.weight is None else float(data.weight[held].sum())
        members = self.jackknife[labels][backend.to_host(theirs.labels)]
        return OperatorFold(operator, cross, theirs, weight, members, training, held)

    def _cross(self, held: Array, x: Array) -> Array | Callable[[Array], Array]:
        """Return kernel values between held-out points and those of the training part, or what multiplies them."""
        return kernel_values(self.problem.model, held, x, self.problem.backend)


def kernel_values(kernel: Kernel, x: Array, y: Array, backend: Backend) -> Array:
    """Compute kernel values (n_x, n_y), by blocks of rows."""
    source = kernel.rows(y, backend)
    out: Array = backend.xp.empty((len(x), len(y)), x.dtype)
    height = block_height(len(y), x.dtype.itemsize, backend)
    for start in range(0, len(x), height):
        rows = slice(start, start + height)
        source.fill(x[rows], 0, out[rows])
    return out


def embed(spectrum: Functions, phi: Array | Callable[[Array], Array], backend: Backend) -> Array:
    """Return psi from the values phi of features, or of the kernel, or from what multiplies these."""
    scale = backend.xp.asarray(np.clip(1.0 - spectrum.gamma, 0.0, None) ** 0.5)
    coefficients = backend.xp.asfortranarray(spectrum.coefficients)
    if callable(phi):
        values = phi(coefficients)
    else:
        values = backend.matmul(phi.astype(coefficients.dtype, copy=False), coefficients)
    out: Array = (values.astype(float) + spectrum.intercept) * scale
    return out


class MatrixFreeFolds(KernelFolds):
    """The folds of a kernel of which no matrix is stored, neither of a training part nor between the parts."""

    problem: MatrixFreeProblem

    def _solver(
        self, f: int, operator: ConditionedOperator, objectives: Sequence[Objective]
    ) -> Callable[[Objective], Functions]:
        keeper = self.searching.keeper() if self.searching else None
        sweep = self.problem.sweep_of(operator, objectives, None, self.known[f], keeper)
        return lambda objective: sweep(objective).spectrum

    def _cross(self, held: Array, x: Array) -> Callable[[Array], Array]:
        backend = self.problem.backend
        rows = self.problem.model.rows(x, backend)

        def multiply(coefficients: Array) -> Array:
            out: Array = backend.xp.empty((len(held), coefficients.shape[1]), coefficients.dtype)
            rows.product(held, coefficients, out, backend)
            return out

        return multiply


# ---------------------------------------------------------------- features


class SummedFolds(Restricted):
    """Folds of features, by the moments of parts of the data."""

    def __init__(self, problem: FeatureProblem, folds: Split) -> None:
        super().__init__(problem.objective, folds)
        self.data, self.backend, self.features = problem.data, problem.backend, problem.features
        self._finer = partial(problem.in_float64, folds.count)
        self.rows = feature_block_rows(self.features, self.data, self.backend, problem.budget)

    @abstractmethod
    def _sum(self) -> None:
        """Make the moments of every part, in the type of the data."""

    def _posed(self, total: Sums) -> Pencil:
        """Pose the eigenproblem of these moments."""
        objective = self.objective
        return Pencil(
            total,
            self.backend,
            finest=self.features.finest,
            epsilon=float(np.finfo(self.data.dtype).eps),
            unbiased=objective.unbiased,
            center=objective.center,
        )

    def _in_float64(self) -> bool:
        finer = self._finer() if self.data.dtype == np.float32 else None
        if finer is None:
            return False
        self.data = finer
        self._sum()
        return True


class FeatureFolds(SummedFolds):
    """The folds of features: one pass over the views sums all moments, and one for each grid has the held-out risks."""

    folds: Folds

    def __init__(self, problem: FeatureProblem, folds: Folds) -> None:
        super().__init__(problem, folds)
        self.jackknife = folds.jackknife()
        self._sum()
        self.trace = self._pencil(0).unit

    def _sum(self) -> None:
        """Do as `SummedFolds._sum`; the sum of all parts is that of all views."""
        d, dtype = self.data.d, self.data.dtype
        r = self.features.n_kept(d)
        self.phi = self.features.prepare_to_read(d, dtype, self.backend)
        self.parts = self._accumulated(r, dtype)
        if any(part.may_underflow(dtype) for part in self.parts.values()):
            self.parts = self._accumulated(r, np.dtype(float))

    def _accumulated(self, r: int, dtype: np.dtype) -> dict[int, Sums]:
        """Return the moments of features that are multiplied in ``dtype``."""
        backend, data = self.backend, self.data
        parts = {int(p): Sums.zero(r, backend.xp) for p in np.unique(self.folds.part)}
        buffer = backend.xp.empty(0, dtype)
        for x, samples, weight, index in _indexed_blocks(data, self.rows, backend):
            values = self.phi(x).astype(dtype, copy=False)
            if buffer.size < values.size:
                buffer = backend.xp.empty(values.size, dtype)
            for p in np.unique(self.folds.part[index]):
                chosen, some, share = _take(samples, weight, self.folds.part[index] == p, backend, data.weight is None)
                add_block(parts[int(p)], values[chosen], some, share, buffer, backend)
        return parts

    def _pencil(self, f: int) -> Pencil:
        """Pose the eigenproblem of the training part of fold f."""
        total = Sums.zero(len(self.parts[f].mean), self.backend.xp)
        for p, part in self.parts.items():
            total = total.merged(part) if p not in (f, -1) else total
        return self._posed(total)

    def _risks(self, regs: np.ndarray, found: np.ndarray) -> None:
        backend, folds = self.backend, self.folds
        solved = {
            (i, f): spectrum for f in range(folds.count) for i, spectrum in self._solved(f, self._pencil(f).solve, regs)
        }
        risks = {key: self._held_out_risk(backend) for key in solved}
        for x, samples, weight, index in _indexed_blocks(self.data, self.rows, backend):
            for f in np.unique(folds.part[index]):
                if not 0 <= f < folds.count:
                    continue
                held = folds.part[index] == f
                chosen, some, share = _take(samples, weight, held, backend, self.data.weight is None)
                values = self.phi(x[chosen])
                for i in range(len(regs)):
                    if (i, int(f)) in solved:
                        z = embed(solved[i, int(f)], values, backend)
                        risks[i, int(f)].add(z, some, share, self.jackknife[index[held]])
        for (i, f), risk in risks.items():
            found[i, f] = *risk.value(), training_risk(solved[i, f], self.objective.beta)
            self._done(f, regs[i])


def _indexed_blocks(data: Data, rows: int, backend: Backend) -> Iterator[tuple[Array, Samples, float, np.ndarray]]:
    """Yield `Data.blocks` with the index of each sample, in the order of the block's samples."""
    first = 0
    for x, samples, weight in data.blocks(rows, backend):
        yield x, samples, weight, first + backend.to_host(samples.labels)
        first += samples.n


def _take(
    samples: Samples, weight: float, chosen: np.ndarray, backend: Backend, equal: bool
) -> tuple[Array, Samples, float]:
    """Take rows, samples and total weight of those ``chosen`` (n,) of a block."""
    sizes = np.concatenate([np.full(c.count, c.m) for c in samples.classes])
    rows = np.flatnonzero(np.repeat(chosen, sizes))
    names = np.repeat(np.arange(int(chosen.sum())), sizes[chosen])
    p = backend.to_host(samples.weight)[rows]
    some = Samples.from_groups(names, backend, None if equal else p)
    return backend.xp.asarray(rows), some, weight * float(p.sum())
