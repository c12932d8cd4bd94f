"""One exact operator, solved for many values of reg and beta: each begins with what is known of the others.

Places rho = reg / beta are visited from coarse to fine, so that most lie between others that are known already, whose
functions (`sslcore.solvers.reduced_basis`) are where the iteration begins.  Places of one round do not wait for each
other: where the operator has factors for all of them at once (`ConditionedKernel.share_factors`), their blocks are
multiplied together, which takes half the time of thin products.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from .. import tunables
from ..arrays import Array
from ..errors import CertificateError, NotPositiveSemidefiniteError
from .certificate import Solution
from .evidence import Applied, judged
from .exact import LEAST_RANDOM, ConditionedKernel, beginning, in_canonical_basis, solve_exact
from .krylov import Accuracy, Eigenpairs, block_width, top_eigenpairs_of_many
from .objective import Objective
from .reduced_basis import ReducedBasis

__all__ = ["LEAST_SHARED", "Sweep", "places_together"]

SIDE_BY_SIDE = 0.1
"""Residuals at which these iterations end, in units of the tolerance."""

LEAST_SHARED = 6
"""Places for which shared factors pay: they take the time of four factorisations."""

_STEPS = 8
"""Block applications of the operator for a place, about."""

_STRIDE = 4
"""Places of the first round are as many steps of the grid apart, those of the next ones half as many."""


class Sweep:
    """Solutions for ``objectives``, which differ in reg and beta only, worked out when the first is asked for.

    Calling it with one of them returns its solution, or raises what refuses it.
    """

    def __init__(
        self,
        operator: ConditionedKernel,
        objectives: Sequence[Objective],
        *,
        tolerance: float,
        planned_bytes: int,
        started: float | None = None,
        progress: Callable[[Objective], None] | None = None,
    ) -> None:
        self.operator, self.waiting = operator, list(objectives)
        self.tolerance, self.planned_bytes = tolerance, planned_bytes
        self.started = time.perf_counter() if started is None else started
        self.basis = ReducedBasis(operator)
        self.progress = progress
        self.found: dict[Objective, Solution | Exception] = {}

    def __call__(self, objective: Objective) -> Solution:
        """Return the solution, once, or raise."""
        if self.waiting:
            self._solve()
        result = self.found[objective]
        if isinstance(result, Exception):
            raise result
        del self.found[objective]
        return result

    def _solve(self) -> None:
        """Solve round by round; then kernel PCA, which no factor is needed for."""
        places = sorted((o for o in self.waiting if o.beta > 0), key=_place)
        self.width = block_width(self.waiting[0].k, self.operator.samples.n_views)
        # whatever was solved before: the same objectives have the same solutions
        shared = len({_place(o) for o in places}) >= LEAST_SHARED
        shared = shared and self.operator.share_factors(_STEPS * self.width * len(places))
        together = places_together(self.width) if shared else 1
        for chosen in rounds(len(places)):
            members = [places[i] for i in chosen]
            for start in range(0, len(members), together):
                some = members[start : start + together]
                self._solve_some(some, shared=shared)
                self._report(some)
        for objective in self.waiting:
            if objective.beta == 0:
                self._solve_alone(objective)
                self._report([objective])
        self.waiting = []
        self.basis = ReducedBasis(self.operator)  # gives its memory back

    def _report(self, solved: Sequence[Objective]) -> None:
        if self.progress is not None:
            for objective in solved:
                self.progress(objective)

    def _solve_some(self, objectives: list[Objective], *, shared: bool) -> None:
        """Solve objectives side by side, those that have a shared factor, and the others one after the other."""
        operators = [self.operator.shifted(o.reg, o.beta) if shared else None for o in objectives]
        pairs = [(a, o) for a, o in zip(operators, objectives, strict=True) if a is not None]
        refused = [o for a, o in zip(operators, objectives, strict=True) if a is None]
        turned = [p for p in pairs if p[0].turned_b is not None and p[0].least_noise <= p[0].unit]
        for some in (turned, [p for p in pairs if p not in turned]):
            if some:
                refused += self._solve_together([a for a, _ in some], [o for _, o in some], turned=some is turned)
        for objective in refused:
            self._solve_alone(objective)

    def _solve_together(
        self, operators: list[ConditionedKernel], objectives: list[Objective], *, turned: bool
    ) -> list[Objective]:
        """Solve with the factors of ``operators``; returns the objectives whose certificate is refused.

        ``turned``: the iteration is in the basis of the factors.
        """
        first, xp, k = self.operator, self.operator.xp, objectives[0].k
        nears = [self._near(o) for o in objectives]
        starts = [beginning(a, k, near) for a, near in zip(operators, nears, strict=True)]
        if turned:
            together = first.turn(_side_by_side(starts, xp))
            starts = [together[:, part] for part in _columns(starts)]
        found = top_eigenpairs_of_many(
            lambda blocks: _applied([operators[i] for i in blocks], blocks, turned=turned),
            starts,
            k,
            first.backend,
            accuracy=Accuracy(SIDE_BY_SIDE * self.tolerance),
            max_basis=tunables.SWEEP_BASIS_BLOCKS * self.width,
        )
        if turned:
            found = _turned_back(first, found)
        vectors = [in_canonical_basis(first, pairs, k, self.tolerance) for pairs in found]
        # those beyond are not asked for, but tell about other places
        wide = [
            v if pairs.beyond is None else xp.concatenate([v, pairs.beyond], axis=1)
            for v, pairs in zip(vectors, found, strict=True)
        ]
        corrections = _corrections(operators, wide)
        weights = [xp.concatenate([first.halves(v)[0], -z]) for v, (z, _) in zip(wide, corrections, strict=True)]
        together = first.times_kernel(_side_by_side(weights, xp))
        products = [together[:, part] for part in _columns(weights)]
        refused = []
        for i, objective in enumerate(objectives):
            operator, count, y = operators[i], vectors[i].shape[1], corrections[i][1]
            self.basis.add(_place(objective), operator.completed(products[i], y), weights[i])
            wanted = weights[i][:, :count], y[:, :count], products[i][:, :count]
            applied = Applied(found[i], vectors[i], *wanted, ", in band form")
            try:
                self.found[objective] = replace(self._judged(operator, objective, applied), pairs=None)
            except CertificateError:
                refused.append(objective)
        return refused

    def _judged(self, operator: ConditionedKernel, objective: Objective, applied: Applied) -> Solution:
        return judged(
            operator,
            objective,
            applied,
            tolerance=self.tolerance,
            planned_bytes=self.planned_bytes,
            started=self.started,
        )

    def _solve_alone(self, objective: Objective) -> None:
        """Solve with a factor of its own, which rounds less, or none."""
        try:
            solution = solve_exact(
                self.operator,
                objective,
                tolerance=self.tolerance,
                planned_bytes=self.planned_bytes,
                near=self._near(objective),
                started=self.started,
            )
        except (CertificateError, NotPositiveSemidefiniteError) as error:
            self.found[objective] = error.with_traceback(None)  # which would keep the matrices alive
            return
        assert solution.pairs is not None
        self.found[objective] = replace(solution, pairs=None)
        self.basis.add(_place(objective), *solution.pairs)

    def _near(self, objective: Objective) -> Array | None:
        return self.basis.near(_place(objective), max(objective.k, self.width - LEAST_RANDOM))


def places_together(width: int) -> int:
    """Return how many blocks of this width are multiplied together."""
    return max(1, tunables.SWEEP_COLUMNS // width)


def rounds(count: int) -> Iterator[list[int]]:
    """Yield the places 0..count-1 from coarse to fine, each once; both ends are in the first round."""
    stride = min(_STRIDE, max(1, count - 1))
    seen: set[int] = set()
    while len(seen) < count:
        chosen = sorted({*range(count - 1, -1, -stride), 0} - seen)
        seen.update(chosen)
        if chosen:
            yield chosen
        stride = max(1, stride // 2)


def _place(objective: Objective) -> float:
    return objective.reg / objective.beta if objective.beta > 0 else math.inf


def _side_by_side(parts: Sequence[Array], xp: Any) -> Array:
    """Join columns, in Fortran order."""
    out: Array = xp.empty((len(parts[0]), sum(part.shape[1] for part in parts)), parts[0].dtype, order="F")
    for part, columns in zip(parts, _columns(parts), strict=True):
        out[:, columns] = part
    return out


def _columns(parts: Sequence[Array]) -> list[slice]:
    """Return where the columns of each part lie among those of all."""
    edges = [0, *itertools.accumulate(part.shape[1] for part in parts)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _turned_back(operator: ConditionedKernel, found: Sequence[Eigenpairs]) -> list[Eigenpairs]:
    """Bring vectors from the basis of the factors."""
    parts = [part for pairs in found for part in (pairs.vectors, pairs.beyond) if part is not None]
    together = operator.turn(_side_by_side(parts, operator.xp), back=True)
    turned = iter([together[:, part] for part in _columns(parts)])
    return [
        replace(pairs, vectors=next(turned), beyond=None if pairs.beyond is None else next(turned)) for pairs in found
    ]


def _corrections(
    operators: Sequence[ConditionedKernel], vectors: Sequence[Array], *, turned: bool = False
) -> list[tuple[Array, Array]]:
    """Return the corrections z, y of each operator's own vectors."""
    first = operators[0]
    u, c = first.halves(_side_by_side(vectors, first.xp))
    right = first.backend.matmul((first.turned_b if turned else first.b).T, u)
    columns = _columns(vectors)
    for operator, part in zip(operators, columns, strict=True):
        right[:, part] = operator.right_side(right[:, part], c[:, part])
    factors = [(operator.factor, part) for operator, part in zip(operators, columns, strict=True)]
    solved = first.solve_shifted(right, factors, turned=turned)
    return [a.corrections_from(solved[:, part], c[:, part]) for a, part in zip(operators, columns, strict=True)]


def _applied(operators: Sequence[ConditionedKernel], blocks: dict[int, Array], *, turned: bool) -> dict[int, Array]:
    """Apply each operator to its block: products with A and B are those of all blocks together."""
    vectors = [operators[0].centre(v) for v in blocks.values()]
    corrections = _corrections(operators, vectors, turned=turned)
    first, xp = operators[0], operators[0].xp
    top = first.backend.matmul(first.a, _side_by_side([first.halves(v)[0] for v in vectors], xp))
    z = _side_by_side([z for z, _ in corrections], xp)
    top = first.backend.matmul(first.turned_b if turned else first.b, z, out=top, alpha=-1.0, beta=1.0)
    top /= first.unit
    images = {}
    for i, part, operator, (_, y) in zip(blocks, _columns(vectors), operators, corrections, strict=True):
        image = xp.empty((len(top) + len(y), y.shape[1]), y.dtype, order="F")
        image[: first.n], image[first.n :] = top[:, part], y * (operator.noise / operator.unit)
        images[i] = operator.centre(image)
    return images
