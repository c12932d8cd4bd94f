"""One exact operator, solved for many values of reg and beta: each begins with what is known of the others.

Places rho = reg / beta are visited from coarse to fine, so that most lie between others that are known already, whose
functions (`sslcore.solvers.reduced_basis`) are where the iteration begins.  Places of one round do not wait for each
other: where the operator has factors for all of them at once (`ConditionedKernel.share_factors`), their blocks are
multiplied together, which takes half the time of thin products, and those of small problems on two threads side by
side, which products alone do not keep at work.

What an iteration adds to a good beginning needs few digits: an error in the image of a later block counts by the share
of that block in the result (Simoncini and Szyld 2003).  So most steps are in float32; what is found is measured in
float64.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array
from ..errors import CertificateError, NotPositiveSemidefiniteError
from .certificate import Solution
from .evidence import Applied, judged
from .exact import LEAST_RANDOM, ConditionedKernel, ShortBlocks, beginning, in_canonical_basis, solve_exact
from .known import Known
from .krylov import Accuracy, Eigenpairs, Inexact, block_width, top_eigenpairs_of_many
from .objective import Objective
from .trial import TRIED, Functions, Trial, independent, least_active, tried

__all__ = ["LEAST_SHARED", "Sweep", "basis_columns", "places_together", "rounds"]

SIDE_BY_SIDE = 0.3
"""Residuals at which these iterations end, in units of the tolerance."""

LEAST_SHARED = 6
"""Places for which shared factors pay: they take the time of four factorisations."""

_STEPS = 8
"""Block applications of the operator for a place, about."""

_SAFETY = 6.0
"""Errors of images in float32 are taken for as many times as large as those of two columns: a block has more columns,
and not all blocks are alike."""

_ROUNDED = 16
"""Error of an eigenvalue beside the trace of Khat, in units of the rounding, that a factor of its own leaves."""

_FINER = 3
"""Places of a round are as many times closer than those of the round before.  Of twice as close ones there are more
rounds, of narrow blocks: a tenth fewer columns are multiplied, which takes a tenth longer; a third, in a search."""

_LEAST_CUT = 7
"""Places of a path, at least, in units of a first round's stride before that is made `_FINER` times as large."""


@dataclass(eq=False)
class _Member:
    """A place; then its functions, and the solution, or the trial; a refused trial leaves vectors ``near`` it.

    ``error`` is what its images in float32 were off by, if that was measured, where the k-th eigenvalue was ``height``.
    """

    objective: Objective
    operator: ConditionedKernel
    near: Array | None = None
    functions: tuple[Array, Array] | None = None
    solution: Solution | Trial | None = None
    error: float = 0.0
    height: float = math.inf

    @property
    def turned(self) -> bool:
        """Whether B is at hand in the basis of the factor, and the right side takes no product with C."""
        return self.operator.turned_b is not None and self.operator.least_noise <= self.operator.unit


class Sweep:
    """Solutions for ``objectives``, which differ in reg and beta only, worked out when the first is asked for.

    Calling it with one of them returns its solution, or raises what refuses it.  It begins with what is ``known`` of
    other objectives, and adds to that; otherwise what it has found is forgotten once all are solved.
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
        known: Known | None = None,
    ) -> None:
        self.operator, self.waiting = operator, list(objectives)
        self.tolerance, self.planned_bytes = tolerance, planned_bytes
        self.started = time.perf_counter() if started is None else started
        self.known = Known() if known is None else known
        self.progress = progress
        self.trial, self.last, self.kept = False, False, known is not None
        self.found: dict[Objective, Solution | Trial | Exception] = {}

    def __call__(self, objective: Objective) -> Solution:
        """Return the solution, once, or raise."""
        result = self._result(objective)
        assert isinstance(result, Solution)  # no trial was asked for
        return result

    def trials(self) -> Callable[[Objective], Functions]:
        """Return a function that may give a trial in place of a solution; to be called before anything is solved."""
        # in float32 iterations end no sooner, and rounding leaves nothing clear
        self.trial = self.operator.dtype != np.float32

        def functions(objective: Objective) -> Functions:
            result = self._result(objective)
            return result if isinstance(result, Trial) else result.spectrum

        return functions

    def _result(self, objective: Objective) -> Solution | Trial:
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
        self.basis = self.known.basis
        # whatever operators were conditioned on before: the same objectives have the same solutions
        if len({_place(o) for o in places}) >= LEAST_SHARED and not self.known.columns:
            self.known.columns = _STEPS * self.width * len(places)
        shared = bool(self.known.columns and places) and self.operator.share_factors(self.known.columns)
        total = self.operator.samples.n_views
        self.tasks = n_tasks(total) if shared else 1
        self.beside = self.operator.side_by_side() if self.tasks > 1 else self.operator
        together = places_together(self.width, total) if shared else 1
        batches = list[list[Objective]]()
        for chosen in rounds(len(places)):
            count = -(-len(chosen) // together)
            cuts = [len(chosen) * i // count for i in range(count + 1)]
            batches += [[places[i] for i in chosen[start:stop]] for start, stop in itertools.pairwise(cuts)]
        for number, some in enumerate(batches, 1):
            self.last = number == len(batches) and not self.kept
            self._solve_some(some, shared=shared)
            self._report(some)
        for objective in self.waiting:
            if objective.beta == 0:
                self._solve_alone(objective)
                self._report([objective])
        self.waiting, self.known = [], Known()
        del self.basis, self.beside

    def _report(self, solved: Sequence[Objective]) -> None:
        if self.progress is not None:
            for objective in solved:
                self.progress(objective)

    def _solve_some(self, objectives: list[Objective], *, shared: bool) -> None:
        """Solve objectives side by side, those that have a shared factor, and the others one after the other."""
        operators = [self.beside.shifted(o.reg, o.beta) if shared else None for o in objectives]
        members = [_Member(o, a) for a, o in zip(operators, objectives, strict=True) if a is not None]
        refused = [o for a, o in zip(operators, objectives, strict=True) if a is None]
        for trial, turned in itertools.product((True, False) if self.trial else (False,), (True, False)):
            some = [member for member in members if member.solution is None and member.turned == turned]
            self._solve_on_threads(some, turned=turned, trial=trial)
        for member in members:
            assert member.functions is not None
            self.basis.add(_place(member.objective), *member.functions)
            self.known.measured(member.error, member.height)
            if member.solution is None:
                refused.append(member.objective)
            else:
                self.found[member.objective] = member.solution
        for objective in refused:
            self._solve_alone(objective)

    def _solve_on_threads(self, members: list[_Member], **how: bool) -> None:
        """Solve with the factors of ``members``, cut into parts whatever the number of processors."""
        if members:
            parts = [members[i :: self.tasks] for i in range(self.tasks)]
            self.operator.backend.side_by_side(lambda i: self._solve_together(parts[i], **how), len(parts))

    def _solve_together(self, members: list[_Member], *, turned: bool, trial: bool) -> None:
        """Solve with the factors of ``members``, which get what is found; no solution where its certificate is refused.

        ``turned``: the iteration is in the basis of the factors.
        """
        if not members:
            return
        first, xp, k = self.beside, self.beside.xp, members[0].objective.k
        operators = [member.operator for member in members]
        nears = [  # of what was known before this batch
            self._near(member.objective) if member.near is None else member.near for member in members
        ]
        starts = [beginning(a, k, near) for a, near in zip(operators, nears, strict=True)]
        if turned:
            together = first.turn(_side_by_side(starts, xp))
            starts = [together[:, part] for part in _columns(starts)]
        error = self.known.expected_error(TRIED) if trial else 0.0
        apply = _Application(operators, turned=turned, near=[near is not None for near in nears], error=error)
        found = top_eigenpairs_of_many(
            apply,
            starts,
            k,
            first.backend,
            accuracy=[self._accuracy(member, trial) for member in members],
            max_basis=basis_columns(self.width),
            inexact=apply.followed(),
        )
        for member, measured, pairs in zip(members, apply.measured, found, strict=True):
            if measured and len(pairs.values) == k:
                member.error, member.height = measured, float(pairs.values[-1])
        if trial:
            self._try(members, found, turned=turned)
        else:
            self._certify(members, _turned_back(first, found) if turned else found)

    def _accuracy(self, member: _Member, trial: bool) -> Accuracy:
        if not trial:
            return Accuracy(SIDE_BY_SIDE * self.tolerance)
        return Accuracy(TRIED, least=least_active(member.operator, member.objective))

    def _try(self, members: list[_Member], found: list[Eigenpairs], *, turned: bool) -> None:
        """Give members the functions of what was ``found``, and trials made of them."""
        operators, first = [member.operator for member in members], self.beside
        vectors = [_without_constant(first, pairs) for pairs in found]
        b = first.turned_b if turned else first.b
        parts = []
        for operator, v, (w, z) in zip(
            operators, vectors, _images(operators, vectors, first.a, b, turned=turned), strict=True
        ):
            parts += [v, w, operator.turned(v, z)]
        if turned:
            together = first.turn(_side_by_side(parts, first.xp), back=True)
            parts = [together[:, part] for part in _columns(parts)]
        for i, member in enumerate(members):
            v, w, a = parts[3 * i : 3 * i + 3]
            member.functions = w, a
            member.solution = tried(member.operator, member.objective, found[i], v, w, a, self.tolerance)
            member.near = v if member.solution is None else None

    def _certify(self, members: list[_Member], found: list[Eigenpairs]) -> None:
        """Give members the functions of what was ``found``, and solutions with their certificates."""
        operators, first, xp = [member.operator for member in members], self.beside, self.beside.xp
        vectors = [in_canonical_basis(first, pairs, members[0].objective.k, self.tolerance) for pairs in found]
        wide = vectors if self.last else [pairs.with_beyond(v, xp) for v, pairs in zip(vectors, found, strict=True)]
        corrections = _corrections(operators, wide)
        weights = [xp.concatenate([first.halves(v)[0], -z]) for v, (z, _) in zip(wide, corrections, strict=True)]
        together = first.times_kernel(_side_by_side(weights, xp))
        products = [together[:, part] for part in _columns(weights)]
        for i, member in enumerate(members):
            operator, count, y = operators[i], vectors[i].shape[1], corrections[i][1]
            member.functions = operator.completed(products[i], y), weights[i]
            wanted = weights[i][:, :count], y[:, :count], products[i][:, :count]
            pairs = replace(found[i], values=operator.quotients(wanted[0], wanted[2], wanted[1]))
            applied = Applied(pairs, vectors[i], *wanted, ", in band form")
            try:
                solution = self._judged(operator, member.objective, applied)
            except CertificateError:
                continue
            rank = solution.spectrum.certificate.rank
            if rank < count and pairs.values[rank] > _ROUNDED * float(xp.finfo(first.dtype).eps) / self.tolerance:
                continue  # what a factor of its own, which rounds less, may resolve
            member.solution = replace(solution, pairs=None)

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
        """Solve with a factor of its own, which rounds less, or none: then as far as those with shared factors."""
        operator = self.operator
        if objective.beta == 0:
            operator = copy.copy(operator)
            operator.ends = operator.ends[0], SIDE_BY_SIDE
        try:
            solution = solve_exact(
                operator,
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
        return self.basis.near(self.beside, _place(objective), max(objective.k, self.width - LEAST_RANDOM))


def n_tasks(total: int) -> int:
    """Return on how many threads places of so many views are solved side by side, whatever the number of processors."""
    return 2 if total <= tunables.SWEEP_MOST_VIEWS else 1


def places_together(width: int, total: int) -> int:
    """Return for how many places there are blocks of this width, (total, width), at a time."""
    tasks = n_tasks(total)
    if tasks > 1:
        return tasks * max(1, round(tunables.SWEEP_TASK_COLUMNS / width))
    return max(1, tunables.SWEEP_COLUMNS // width)


def basis_columns(width: int) -> int:
    """Return the columns of each Krylov basis before a restart."""
    return max(tunables.SWEEP_BASIS_COLUMNS, 4 * width)


def rounds(count: int) -> Iterator[list[int]]:
    """Yield the places 0..count-1 from coarse to fine, each once; both ends are in the first round.

    Those of a round, with those before, are spread evenly, and an even number as long as they are not all.
    """
    stride, seen = _FINER, set[int]()
    while count >= _LEAST_CUT * stride:
        stride *= _FINER
    while len(seen) < count:
        some = min(count, 2 * -(-(1 + round((count - 1) / stride)) // 2)) if stride > 1 else count
        chosen = {round(i * (count - 1) / max(1, some - 1)) for i in range(some)} - seen
        seen |= chosen
        if chosen:
            yield sorted(chosen)
        stride //= _FINER


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


def _without_constant(operator: ConditionedKernel, pairs: Eigenpairs) -> Array:
    """Return H v, wide; without those beyond where they span the constant, which leaves less than it has columns."""
    v = operator.centre(pairs.with_beyond(pairs.vectors, operator.xp))
    return v if independent(v) else v[:, : pairs.vectors.shape[1]]


def _corrections(operators: Sequence[ConditionedKernel], vectors: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Return the corrections z, y of each operator's own vectors."""
    _, right, c = _right_sides(operators, vectors, operators[0].b)
    return _solved(operators, vectors, right, c)


def _right_sides(
    operators: Sequence[ConditionedKernel], vectors: Sequence[Array], b: Array
) -> tuple[Array, Array, Array]:
    """Return u and B^T u, both with the digits of ``b``, and c of all vectors, side by side."""
    first = operators[0]
    u, c = first.halves(_side_by_side(vectors, first.xp))
    u = u.astype(b.dtype, copy=False)
    return u, first.backend.matmul(b.T, u), c


def _solved(
    operators: Sequence[ConditionedKernel],
    vectors: Sequence[Array],
    right: Array,
    c: Array,
    *,
    turned: bool = False,
    short: bool = False,
) -> list[tuple[Array, Array]]:
    """Return z, y from B^T u, which is overwritten, and c; ``short``: by a step with the `ShortBlocks`."""
    columns = _columns(vectors)
    for operator, part in zip(operators, columns, strict=True):
        right[:, part] = operator.right_side(right[:, part], c[:, part])
    factors = [(operator.factor, part) for operator, part in zip(operators, columns, strict=True)]
    solved = operators[0].solve_shifted(right, factors, turned=turned, short=short)
    return [a.corrections_from(solved[:, part], c[:, part]) for a, part in zip(operators, columns, strict=True)]


def _images(
    operators: Sequence[ConditionedKernel],
    vectors: Sequence[Array],
    a: Array,
    b: Array,
    *,
    turned: bool,
    short: bool = False,
) -> list[tuple[Array, Array]]:
    """Return (reg / unit) G v and z of each operator's own vectors, which are centred; as `_solved` is told."""
    first, xp = operators[0], operators[0].xp
    u, right, c = _right_sides(operators, vectors, b)
    if turned:
        right = right.astype(c.dtype, copy=False)
    corrections = _solved(operators, vectors, right, c, turned=turned, short=short)
    z = _side_by_side([z for z, _ in corrections], xp)
    top = first.backend.matmul(a, u)
    top = first.backend.matmul(b, z.astype(b.dtype, copy=False), out=top, alpha=-1.0, beta=1.0)
    images = []
    for part, operator, (own, y) in zip(_columns(vectors), operators, corrections, strict=True):
        image = xp.empty((len(top) + len(y), y.shape[1]), operator.dtype, order="F")
        xp.divide(top[:, part], first.unit, out=image[: first.n])
        xp.multiply(y, operator.noise / operator.unit, out=image[first.n :])
        images.append((image, own))
    return images


class _Application:
    """Applies each operator to its block: products with A and B are those of all blocks together.

    In float32 where the iteration allows that error, which is measured first: most are, after the first step.  (No
    bound is of use: S^-1 may magnify rounding by sqrt(beta / reg), and mostly does not.)  ``turned``: vectors are in
    the basis of the factors; ``near``: those of a first block are near the result.  With an ``error`` that is expected
    and allowed, nothing is measured, and first blocks that are near are multiplied in float32, too.
    """

    def __init__(
        self, operators: Sequence[ConditionedKernel], *, turned: bool, near: Sequence[bool], error: float
    ) -> None:
        self.operators, self.turned, self.near = operators, turned, near
        first, count = operators[0], len(operators)
        self.short = first.short if turned == (first.turned_b is not None) else None
        self.allowed, self.measured = [math.inf] * count, [0.0] * count
        self.errors = [error if known else 0.0 for known in near]

    def followed(self) -> list[Inexact | None]:
        """Return what each iteration tells; not kept here, for a cycle of references would keep the matrices alive."""
        exact = self.short is None
        return [None if exact else Inexact(functools.partial(self._relax, i)) for i in range(len(self.operators))]

    def __call__(self, blocks: dict[int, Array]) -> dict[int, Array]:
        """Return the images."""
        short = {i: v for i, v in blocks.items() if 0.0 < self.errors[i] <= self.allowed[i]}
        exact = {i: v for i, v in blocks.items() if i not in short}
        images = self._images(short, self.short) if short else {}
        if exact:
            images |= self._images(exact, None)
            if self.short is not None:
                self._measure(self.short, exact, images)
        return {i: images[i] for i in blocks}

    def _relax(self, i: int, allowed: float) -> bool:
        """Hear what the error of the next image may be; True if products in float32 will do from now on."""
        self.allowed[i] = allowed
        return 0.0 < self.errors[i] <= allowed

    def _measure(self, short: ShortBlocks, blocks: dict[int, Array], images: dict[int, Array]) -> None:
        """Compare two columns of each image with those in float32, once they are smooth as those to come."""
        some = [i for i in blocks if not self.errors[i] and (self.near[i] or short.error <= self.allowed[i] < math.inf)]
        if not some:
            return
        columns = {i: slice(None, None, max(1, blocks[i].shape[1] - 1)) for i in some}
        for i, image in self._images({i: blocks[i][:, columns[i]] for i in some}, short).items():
            error = math.sqrt(float(((image - images[i][:, columns[i]]) ** 2).sum()))
            self.errors[i] = self.measured[i] = max(_SAFETY * error, short.error)

    def _images(self, blocks: dict[int, Array], short: ShortBlocks | None) -> dict[int, Array]:
        operators = [self.operators[i] for i in blocks]
        first = operators[0]
        vectors = [first.centre(v) for v in blocks.values()]
        a, b = (short.a, short.b) if short else (first.a, first.turned_b if self.turned else first.b)
        images = _images(operators, vectors, a, b, turned=self.turned, short=short is not None)
        return {i: first.centre(image) for i, (image, _) in zip(blocks, images, strict=True)}
