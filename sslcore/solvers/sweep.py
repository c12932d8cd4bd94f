"""One exact operator, solved for many values of reg and beta: each begins with what is known of the others.

Places rho = reg / beta are visited from coarse to fine, so that most lie between others that are known already, whose
functions (`sslcore.solvers.reduced_basis`) are where the iteration begins.  Places of one round do not wait for each
other: where the operator has factors for all of them at once (`ConditionedKernel.share_factors`), their blocks are
multiplied together, which takes half the time of thin products.

What an iteration adds to a good beginning needs few digits: an error in the image of a later block counts by the share
of that block in the result (Simoncini and Szyld 2003).  So most steps are in float32; what is found is measured in
float64.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import tunables
from ..arrays import Array
from ..errors import CertificateError, NotPositiveSemidefiniteError
from .certificate import Solution
from .evidence import Applied, judged
from .exact import LEAST_RANDOM, ConditionedKernel, ShortBlocks, beginning, in_canonical_basis, solve_exact
from .krylov import Accuracy, Eigenpairs, Inexact, block_width, top_eigenpairs_of_many
from .objective import Objective
from .reduced_basis import ReducedBasis

__all__ = ["LEAST_SHARED", "Known", "Sweep", "places_together"]

SIDE_BY_SIDE = 0.1
"""Residuals at which these iterations end, in units of the tolerance."""

LEAST_SHARED = 6
"""Places for which shared factors pay: they take the time of four factorisations."""

_STEPS = 8
"""Block applications of the operator for a place, about."""

_SAFETY = 4.0
"""Errors of images in float32 are taken for as many times as large as those of two columns: a block has more columns,
and not all blocks are alike."""

_ROUNDED = 16
"""Error of an eigenvalue beside the trace of Khat, in units of the rounding, that a factor of its own leaves."""

_STRIDE = 4
"""Places of the first round are as many steps of the grid apart, those of the next ones half as many."""


@dataclass(eq=False)
class Known:
    """Keeps what sweeps have found for later ones with the same operator, or one that is made anew and equal.

    Attributes
    ----------
    basis : ReducedBasis
        The functions found so far.
    columns : int
        What factors were shared for (`ConditionedKernel.share_factors`); 0: each place had its own.
    """

    basis: ReducedBasis = field(default_factory=ReducedBasis)
    columns: int = 0


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
        self.known: Known | None = Known() if known is None else known
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
        assert self.known is not None
        self.basis = self.known.basis
        # whatever operators were conditioned on before: the same objectives have the same solutions
        if len({_place(o) for o in places}) >= LEAST_SHARED and not self.known.columns:
            self.known.columns = _STEPS * self.width * len(places)
        shared = bool(self.known.columns and places) and self.operator.share_factors(self.known.columns)
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
        self.waiting, self.known = [], None
        del self.basis

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
        apply = _Application(operators, turned=turned, near=[near is not None for near in nears])
        found = top_eigenpairs_of_many(
            apply,
            starts,
            k,
            first.backend,
            accuracy=Accuracy(SIDE_BY_SIDE * self.tolerance),
            max_basis=tunables.SWEEP_BASIS_BLOCKS * self.width,
            inexact=apply.followed(),
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
        refused, epsilon = [], float(xp.finfo(first.dtype).eps)
        for i, objective in enumerate(objectives):
            operator, count, y = operators[i], vectors[i].shape[1], corrections[i][1]
            self.basis.add(_place(objective), operator.completed(products[i], y), weights[i])
            wanted = weights[i][:, :count], y[:, :count], products[i][:, :count]
            pairs = replace(found[i], values=operator.quotients(wanted[0], wanted[2], wanted[1]))
            applied = Applied(pairs, vectors[i], *wanted, ", in band form")
            try:
                solution = self._judged(operator, objective, applied)
            except CertificateError:
                refused.append(objective)
                continue
            rank = solution.spectrum.certificate.rank
            if rank < count and pairs.values[rank] > _ROUNDED * epsilon / self.tolerance:
                refused.append(objective)  # what a factor of its own, which rounds less, may resolve
            else:
                self.found[objective] = replace(solution, pairs=None)
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
        return self.basis.near(self.operator, _place(objective), max(objective.k, self.width - LEAST_RANDOM))


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


def _corrections(operators: Sequence[ConditionedKernel], vectors: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Return the corrections z, y of each operator's own vectors."""
    _, right, c = _right_sides(operators, vectors, operators[0].b)
    return _solved(operators, vectors, right, c, turned=False)


def _right_sides(
    operators: Sequence[ConditionedKernel], vectors: Sequence[Array], b: Array
) -> tuple[Array, Array, Array]:
    """Return u and B^T u, both with the digits of ``b``, and c of all vectors, side by side."""
    first = operators[0]
    u, c = first.halves(_side_by_side(vectors, first.xp))
    u = u.astype(b.dtype, copy=False)
    return u, first.backend.matmul(b.T, u).astype(c.dtype, copy=False), c


def _solved(
    operators: Sequence[ConditionedKernel], vectors: Sequence[Array], right: Array, c: Array, *, turned: bool
) -> list[tuple[Array, Array]]:
    """Return z, y from B^T u, which is overwritten, and c."""
    columns = _columns(vectors)
    for operator, part in zip(operators, columns, strict=True):
        right[:, part] = operator.right_side(right[:, part], c[:, part])
    factors = [(operator.factor, part) for operator, part in zip(operators, columns, strict=True)]
    solved = operators[0].solve_shifted(right, factors, turned=turned)
    return [a.corrections_from(solved[:, part], c[:, part]) for a, part in zip(operators, columns, strict=True)]


class _Application:
    """Applies each operator to its block: products with A and B are those of all blocks together.

    In float32 where the iteration allows that error, which is measured first: most are, after the first step.  (No
    bound is of use: S^-1 may magnify rounding by sqrt(beta / reg), and mostly does not.)  ``turned``: vectors are in
    the basis of the factors; ``near``: those of a first block are near the result.
    """

    def __init__(self, operators: Sequence[ConditionedKernel], *, turned: bool, near: Sequence[bool]) -> None:
        self.operators, self.turned, self.near = operators, turned, near
        first, count = operators[0], len(operators)
        self.short = first.short if turned == (first.turned_b is not None) else None
        self.allowed, self.errors = [0.0] * count, [0.0] * count

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
        some = [i for i in blocks if not self.errors[i] and (self.near[i] or self.allowed[i] >= short.error)]
        if not some:
            return
        columns = {i: slice(None, None, max(1, blocks[i].shape[1] - 1)) for i in some}
        for i, image in self._images({i: blocks[i][:, columns[i]] for i in some}, short).items():
            error = math.sqrt(float(((image - images[i][:, columns[i]]) ** 2).sum()))
            self.errors[i] = max(_SAFETY * error, short.error)

    def _images(self, blocks: dict[int, Array], short: ShortBlocks | None) -> dict[int, Array]:
        operators = [self.operators[i] for i in blocks]
        first, xp = operators[0], operators[0].xp
        vectors = [first.centre(v) for v in blocks.values()]
        a, b = (short.a, short.b) if short else (first.a, first.turned_b if self.turned else first.b)
        u, right, c = _right_sides(operators, vectors, b)
        corrections = _solved(operators, vectors, right, c, turned=self.turned)
        z = _side_by_side([z for z, _ in corrections], xp)
        top = first.backend.matmul(a, u)
        top = first.backend.matmul(b, z.astype(b.dtype, copy=False), out=top, alpha=-1.0, beta=1.0)
        images = {}
        for i, part, operator, (_, y) in zip(blocks, _columns(vectors), operators, corrections, strict=True):
            image = xp.empty((len(top) + len(y), y.shape[1]), y.dtype, order="F")
            image[: first.n], image[first.n :] = top[:, part], y * (operator.noise / operator.unit)
            image[: first.n] /= first.unit
            images[i] = operator.centre(image)
        return images
