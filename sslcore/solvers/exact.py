r"""The exact solver: one Cholesky factorisation of the contrast Gram matrix, then a few block products.

With gamma = 1 - mu, the minimisers are the eigenvectors of largest 1/gamma of

    G = (beta (I - T) + lambda Khat^-1)^-1 = (1/lambda) [Khat - Khat Q (Q^T Khat Q + (lambda/beta) I)^-1 Q^T Khat],

I - T = Q Q^T the projector on within-sample contrasts (Woodbury's identity on Khat^-1 + (beta/lambda) Q Q^T; the right
side needs no inverse of Khat and holds for singular ones).  In the basis of sample means u and contrasts c,
Khat = [[A, B], [B^T, C]], D = diag(lambda / beta_i) and S = C + D:

    z = S^-1 (B^T u - D c),    G (u, c) = ((A u - B z) / lambda, (c + z) / beta_i),

beta_i = beta, or beta m/(m-1) (in general beta / (1 - sum q^2), `sslcore.solvers.groups`) when T averages over distinct
views only.  Coefficients: f = sum_a alpha_a k(., xi_a) with P^(-1/2) alpha = (gamma/lambda) (v - Q y), y = c + z, so
that K alpha = P^(-1/2) v.  Centred: the eigenvectors of H G H, H the projector off P^(1/2) 1, and f gets an intercept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..backends.alone import alone
from ..backends.contract import Shifts
from ..backends.host_linalg import top_eigh
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Kernel
from .certificate import Solution
from .columns import column_norms
from .conditioned import ConditionedOperator
from .evidence import Applied, judged
from .groups import Samples
from .krylov import (
    Accuracy,
    Eigenpairs,
    Inexact,
    KrylovState,
    block_width,
    canonical_basis,
    krylov_capacity,
    top_eigenpairs,
)
from .objective import Objective
from .rotated_gram import RotatedGram

__all__ = ["ConditionedKernel", "Keeper", "solve_exact"]


class Keeper(Protocol):
    """Follows an iteration whose steps are long, and keeps it for another process."""

    def begin(self, operator: ConditionedOperator) -> KrylovState | None:
        """Return the state to go on with, having restored the operator's, or None."""

    def apply(self, block: Array) -> Array:
        """Apply the operator."""

    def keep(self, state: KrylovState, excess: float) -> None:
        """Hear of a step as `sslcore.solvers.krylov.top_eigenpairs` tells it."""


@dataclass(frozen=True, eq=False)
class ShortBlocks:
    """A and B in float32, for steps of an iteration that need no more digits: half the time of a product.

    Attributes
    ----------
    a, b : (n, n), (n, n_contrasts)
        b in the basis of `Shifts`, if `ConditionedKernel.turned_b` is.
    shifts : Shifts
        For right sides in that basis; else in float32, too.
    error : float
        A norm below which no error of an image of (reg / unit) G is thought to be, however small one is that was seen.
    """

    a: Array
    b: Array
    shifts: Shifts
    error: float


LEAST_RANDOM = 2
"""Random columns that an iteration begins with, beside those near its result."""

RANDOM_SHARE = 0.01
"""Length of the random part of a vector that is a guess of length 1: enough for what the guess has nothing of."""


class ConditionedKernel(ConditionedOperator):
    """The operator G of the module's docstring, times reg / unit so that it is of order 1 at any scale of K.

    ``unit`` is the trace of Khat.  Made from the blocks of Khat once; `condition` then factorises for one reg and beta
    after the other.  The factor of S lies in the upper triangle of C, whose strict lower triangle keeps the Gram matrix
    itself, for the certificate and for the next factor.
    """

    def __init__(
        self,
        blocks: RotatedGram,
        kernel: Kernel,
        backend: Backend,
        *,
        unbiased: bool,
        center: bool,
    ) -> None:
        xp = backend.xp
        self.backend, self.xp = backend, xp
        self.a, self.b, self.c = blocks.mean, blocks.cross, blocks.contrast
        self.n, self.dtype = len(self.a), self.a.dtype
        self.samples = samples = blocks.samples
        diagonal = blocks.diagonal()
        self.unit = float(diagonal.sum(dtype=float))
        if not math.isfinite(self.unit):
            raise ValueError("the kernel's values overflow; rescale the data or the kernel")
        if not kernel.trusted:
            self._require_semidefinite()
        self._require_variation(center)
        self.rounding_scale = self._rounding_scale()
        self.contrast_factor = samples.contrast_factor(unbiased)
        self.contrast_beta = self.contrast_factor
        self.kept_diagonal = self.c.diagonal().copy()
        self.rounding = self._rounding(diagonal)
        self.shifts: Shifts | None = None
        self.turned_b: Any = None  # B in the basis of `shifts`, where contrasts are alike
        self.short: ShortBlocks | None = None
        self.factor: Any = None  # that of `shifts` for the reg and beta at hand, where it has one
        self._ratio: float | None = None

    @property
    def algorithm(self) -> str:
        """Name the solver as in `ConditionedOperator`."""
        return "exact: kernel PCA" if self.noise is None else f"exact: {self.samples.method}"

    @property
    def trace(self) -> float:
        """The trace of Khat, or of H Khat H: no eigenvalue is larger."""
        if self.constant is None:
            return self.unit
        image = self.backend.matmul(self.a, self.constant[:, None])[:, 0]
        return self.unit - float((self.constant * image).sum())

    def _some_rows(self) -> tuple[Array, Array]:
        step = max(1, self.n // 64)
        return self.a[::step], self.b[::step]

    def _rounding(self, diagonal: Array) -> float:
        return self._estimated_rounding(self._some_rows(), diagonal)

    def condition(self, reg: float, beta: float) -> ConditionedKernel:
        """Factorise for this reg and beta; nothing to do if reg / beta is that of the factor at hand.  Returns self.

        beta = 0: there is no condition, G = Khat / reg.
        """
        self.contrast_beta = beta * self.contrast_factor
        if not self.samples.n_contrasts or beta == 0:
            self.noise, self.jitter, self.condition_number = None, 0.0, 1.0
            return self
        self.noise = (reg / self.contrast_beta).astype(self.c.dtype)[:, None]
        self.least_noise = float(self.noise.min())
        if self._ratio != reg / beta:
            if self._ratio is not None:
                self._restore()
            self._ratio = None
            self._factorize()
            self._ratio = reg / beta
            self._factored = self.jitter, self.condition_number
        self.jitter, self.condition_number = self._factored
        return self

    def share_factors(self, columns: int) -> bool:
        """Prepare `shifted`, for many values of reg and beta: the time of some factorisations, and a copy of C.

        False where a factorisation for each takes less time.  ``columns`` are what the operator will be applied to, in
        all: of many, each takes less time with B in the basis of the factors, which is worked out then.
        """
        if self.shifts is None and self.samples.n_contrasts:
            root = self.xp.sqrt(self.contrast_factor).astype(self.c.dtype)
            alike = bool((root == root[0]).all())
            scaled = self.c * (root[0] ** 2 if alike else root)  # in the order of C
            if not alike:
                scaled *= root[:, None]
            index = self.xp.arange(len(scaled))
            scaled[index, index] = self.kept_diagonal * root**2
            self.roots, self.shifts = root[:, None], self.backend.shifted(scaled)
            if self.shifts is not None and columns > self.n and alike:
                self.turned_b = self.b.copy(order="F")
                self.shifts.turn_rows(self.turned_b)
            # no value of Khat is larger than its trace: none is beyond the range of float32
            if self.shifts is not None and self.dtype != np.float32 and self.unit < 1e30:
                b = self.b if self.turned_b is None else self.turned_b
                size = self._size(self._some_rows(), self.xp.concatenate([self.a.diagonal(), self.kept_diagonal]))
                error = 0.3 * float(np.finfo(np.float32).eps) * size
                shifts = self.shifts.rounded() if self.turned_b is None else self.shifts
                self.short = ShortBlocks(self.a.astype(np.float32), b.astype(np.float32, order="F"), shifts, error)
        return self.shifts is not None

    def shifted(self, reg: float, beta: float) -> ConditionedKernel | None:
        """Return the operator conditioned on reg and beta, beside others, by factors that `share_factors` has prepared.

        With F = beta_i / beta, S = C + (reg/beta) F^-1 = F^(-1/2) (F^(1/2) C F^(1/2) + (reg/beta) I) F^(-1/2).  None if
        that is not positive definite to rounding: `condition` may help, or tells.
        """
        assert self.shifts is not None
        part = copy.copy(self)
        part.contrast_beta = beta * self.contrast_factor
        part.noise = (reg / part.contrast_beta).astype(self.c.dtype)[:, None]
        part.least_noise = float(part.noise.min())
        part.factor = self.shifts.factor(reg / beta)
        if part.factor is None:
            return None
        pivots = self.backend.to_host(self.shifts.pivots(part.factor))
        part.jitter, part.condition_number = 0.0, float(pivots.max() / pivots.min()) ** 2
        return part

    def side_by_side(self) -> ConditionedKernel:
        """Return the same for a task beside others: it, and its leading blocks, multiply on the caller's thread."""
        part = copy.copy(self)
        part.backend = alone(self.backend)
        return part

    def leading(self, n: int) -> Self:
        """Return the operator of the first n samples, with the leading block of the factor at hand.

        Its blocks keep the weight 1/N of all N views, so that its reg is, too, that of all views: with n' views of
        their own weight, Khat and reg both are N/n' times as large, and S = C + D, hence G and gamma, stay what they
        are.  Only norms and coefficients then come out N/n' times too large.  Samples must be alike (one class, equal
        weights).
        """
        xp, backend, (alike,) = self.xp, self.backend, self.samples.classes
        part = copy.copy(self)
        part.samples = samples = Samples.from_views(n, alike.m, backend)
        contrasts = slice(samples.n_contrasts)
        part.n = n
        part._keep_leading(n, contrasts)
        part.contrast_factor, part.contrast_beta = self.contrast_factor[contrasts], self.contrast_beta[contrasts]
        part.kept_diagonal = self.kept_diagonal[contrasts]
        diagonal = xp.concatenate([part.a.diagonal(), part.kept_diagonal])
        part.unit = float(diagonal.sum(dtype=float))
        part._require_variation(self.constant is not None)
        part.rounding = part._rounding(diagonal)
        if self.noise is not None:
            part.noise = self.noise[contrasts]
            part.jitter *= self.unit / part.unit
            part.condition_number = part._condition_of_factor()
            part._factored = part.jitter, part.condition_number
        return part

    def _keep_leading(self, n: int, contrasts: slice) -> None:
        """Keep copies of the blocks of some first means and contrasts."""
        self.a, self.b = self.a[:n, :n].copy(order="C"), self.b[:n, contrasts].copy(order="F")
        self.c = self.c[contrasts, contrasts].copy(order="F")

    def _restore(self) -> None:
        """Restore C itself, from its strict lower triangle."""
        index = self.xp.arange(len(self.c))
        self.c[index, index] = self.kept_diagonal
        self.backend.mirror(self.c.T)

    def _factorize(self) -> None:
        """Factorise C + D = U^T U in place; if that fails, with a shift of the order of rounding, which is reported."""
        index = self.xp.arange(len(self.c))
        epsilon = float(self.xp.finfo(self.c.dtype).eps)
        for jitter in (0.0, 10 * epsilon, 1000 * epsilon):
            self.c[index, index] = self.kept_diagonal + self.noise[:, 0] + self.c.dtype.type(jitter * self.unit)
            if self.backend.cholesky(self.c):
                self.jitter, self.condition_number = jitter, self._condition_of_factor()
                return
            self._restore()
        lowest, highest = self._extremes(self.c.copy(order="F"))
        raise NotPositiveSemidefiniteError(
            f"the Gram matrix on within-sample contrasts is not positive semi-definite to rounding: its smallest "
            f"eigenvalue is {lowest:.6g}, its largest {highest:.6g}; raise reg, or use a positive semi-definite kernel",
            lowest,
        )

    def _condition_of_factor(self) -> float:
        pivots = self.backend.to_host(self.c.diagonal())
        return float(pivots.max() / pivots.min()) ** 2

    def _require_semidefinite(self) -> None:
        """Refuse a matrix with a clearly negative eigenvalue: Cholesky of all of Khat, shifted by rounding."""
        xp, n = self.xp, self.n
        total = n + len(self.c)
        full = xp.empty((total, total), self.a.dtype, order="F")
        full[:n, :n], full[:n, n:], full[n:, :n], full[n:, n:] = self.a, self.b, self.b.T, self.c
        shift = 1e4 * float(xp.finfo(full.dtype).eps) * abs(self.unit)
        index = xp.arange(total)
        full[index, index] += full.dtype.type(shift)
        if self.backend.cholesky(full):
            return
        full[:n, :n], full[:n, n:], full[n:, :n], full[n:, n:] = self.a, self.b, self.b.T, self.c
        lowest, highest = self._extremes(full)
        if lowest < -shift:
            raise NotPositiveSemidefiniteError(
                f"the kernel is not positive semi-definite: the Gram matrix of the {total} views has the eigenvalue "
                f"{lowest * total:.6g} (largest {highest * total:.6g}; with weights, those of N P^(1/2) K P^(1/2)); "
                f"use a positive semi-definite kernel",
                lowest * total,
            )

    def _extremes(self, matrix: Array) -> tuple[float, float]:
        values = self.backend.symmetric_eigenvalues(matrix)
        return float(values[0]), float(values[-1])

    def guess(self, k: int) -> Array | None:
        """Return what some samples know of the leading k, and of those after them in place of random vectors.

        The eigenvectors of their block of A, extended by Khat, save a step or two in ten.  A direction that these
        samples miss is found as from random vectors: a share of such is in each.
        """
        xp, backend, few = self.xp, self.backend, tunables.EXACT_FIRST_SAMPLES
        k += LEAST_RANDOM
        if self.n < 8 * few or k > few:
            return None
        chosen = xp.asarray(np.sort(np.random.default_rng(0).choice(self.n, few, replace=False)))
        rows = xp.concatenate([self.a[chosen], self.b[chosen]], axis=1)
        _, leading = top_eigh(backend.to_host(rows[:, chosen]).astype(float), k)
        found = backend.matmul(rows.T, xp.asarray(np.asfortranarray(leading, dtype=self.dtype)))
        random = backend.reference_normals(self.samples.n_views, k, 2).astype(self.dtype, copy=False)
        length = xp.maximum(column_norms(found), float(xp.finfo(self.dtype).tiny))
        out: Array = found / length.astype(self.dtype) + RANDOM_SHARE / math.sqrt(len(found)) * random
        return out

    def corrections(self, v: Array, heights: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return z and y as in `ConditionedOperator`."""
        u, c = self.halves(v)
        if self.noise is None:  # infinite
            return -c, self.xp.zeros_like(c)
        right = self.right_side(self.backend.matmul(self.b.T, u), c)
        if self.factor is None:
            solved = self.backend.cholesky_solve(self.c, right)
        else:
            solved = self.solve_shifted(right, [(self.factor, slice(None))])
        return self.corrections_from(solved, c)

    def right_side(self, product: Array, c: Array) -> Array:
        """Return S z or, if that cancels less, S y, from B^T u and c; the product may be overwritten."""
        if self.least_noise <= self.unit:
            product -= self.noise * c
        else:
            product += self.backend.symmetric_product(self.c, self.kept_diagonal, c)
        return product

    def corrections_from(self, solved: Array, c: Array) -> tuple[Array, Array]:
        """Return z and y from the solution of the system with `right_side`."""
        return (solved, c + solved) if self.least_noise <= self.unit else (solved - c, solved)

    def solve_shifted(
        self, right: Array, factors: Sequence[tuple[Any, slice]], *, turned: bool = False, short: bool = False
    ) -> Array:
        """Solve with S of several `shifted` operators, each for its columns; ``right`` is overwritten.

        ``short``: for a step with the `ShortBlocks`.
        """
        shifts = self.short.shifts if short and self.short else self.shifts
        assert shifts is not None
        right *= self.roots
        solved = shifts.solve(right, factors, turned=turned)
        solved *= self.roots
        return solved

    def turn(self, v: Array, *, back: bool = False) -> Array:
        """Turn the contrasts of v to the basis of `shifts`, or back."""
        assert self.shifts is not None
        u, c = self.halves(v)
        self.shifts.turn(c, back=back)
        out: Array = self.xp.empty_like(v, order="F")
        out[: self.n], out[self.n :] = u, c
        return out

    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v."""
        if self.noise is None:
            return self.times_kernel(v)
        z, y = self.corrections(v)
        u, _ = self.halves(v)
        out: Array = self.xp.empty_like(v, order="F")
        top = self.backend.matmul(self.a, u)
        top = self.backend.matmul(self.b, z, out=top, alpha=-1.0, beta=1.0)
        out[self.n :] = y * (self.noise / self.unit)
        out[: self.n] = top / self.unit
        return out

    def times_kernel(self, v: Array) -> Array:
        """Return Khat v / unit, from the Gram matrix itself."""
        u, c = self.halves(v)
        out: Array = self.xp.empty_like(v, order="F")
        top = self.backend.matmul(self.a, u)
        if len(self.c):
            top = self.backend.matmul(self.b, c, out=top, beta=1.0)
            bottom = self.backend.symmetric_product(self.c, self.kept_diagonal, c)
            out[self.n :] = self.backend.matmul(self.b.T, u, out=bottom, beta=1.0) / self.unit
        out[: self.n] = top / self.unit
        return out


def solve_exact(
    operator: ConditionedOperator,
    objective: Objective,
    *,
    tolerance: float,
    planned_bytes: int,
    near: Array | None = None,
    started: float | None = None,
    keeper: Keeper | None = None,
) -> Solution:
    """Solve for one objective; ``near`` (N, any) may hold vectors, in the rotated basis, close to the wanted ones.

    A ``keeper`` may know an earlier iteration to go on with, and follows this one.

    The operator is conditioned on reg and beta here.  Beside ``near`` the search begins with random vectors, at least
    `LEAST_RANDOM` of them, which find what comes in at a crossing.
    """
    started = time.perf_counter() if started is None else started
    operator.condition(objective.reg, objective.beta)
    pairs = top_eigenpairs(
        keeper.apply if keeper else operator.apply,
        (keeper.begin(operator) if keeper else None) or beginning(operator, objective.k, near),
        objective.k,
        operator.backend,
        accuracy=Accuracy(operator.ends[near is not None] * tolerance),
        max_basis=krylov_capacity(block_width(objective.k, operator.samples.n_views), operator.samples.n_views),
        inexact=Inexact(operator.relax, keeper.keep if keeper else None) if operator.inexact else None,
    )
    v = in_canonical_basis(operator, pairs, objective.k, tolerance)
    # one more application gives the coefficients, and their product with the Gram matrix the certificate
    z, y = operator.corrections(v, pairs.values)
    turned = operator.turned(v, z)
    product = operator.times_kernel(turned)
    if operator.inexact:
        pairs = replace(pairs, values=operator.quotients(turned, product, y))
    applied = Applied(pairs, v, turned, y, product)
    return judged(operator, objective, applied, tolerance=tolerance, planned_bytes=planned_bytes, started=started)


def beginning(operator: ConditionedOperator, k: int, near: Array | None) -> Array:
    """Return the first block of an iteration: the vectors ``near``, or what the operator guesses, and random ones."""
    backend, total = operator.backend, operator.samples.n_views
    width = block_width(k, total)
    start = backend.reference_normals(total, width, 0).astype(operator.dtype, copy=False)
    least = LEAST_RANDOM
    if near is None:
        near, least = operator.guess(width - LEAST_RANDOM), 0
    if near is not None:
        start = operator.xp.concatenate([near, start[:, : max(width - near.shape[1], least)]], axis=1)
    return operator.centre(operator.xp.asfortranarray(start))


def in_canonical_basis(operator: ConditionedOperator, pairs: Eigenpairs, k: int, tolerance: float) -> Array:
    """Turn the vectors within blocks of equal eigenvalues to a basis that is the same in every run, and centre them.

    Rounding lets the constant into the last blocks of a basis, and an eigenvalue feels it by its first power.
    """
    backend, samples = operator.backend, operator.samples
    normals = backend.reference_normals(samples.n_views, k, 1)[samples.order]
    # equal eigenvalues are equal to rounding only, which in float32 is coarse
    found = canonical_basis(
        pairs, operator.xp.concatenate(samples.rotate(normals)), backend, relative_gap=0.03 * tolerance
    )
    return operator.centre(found)
