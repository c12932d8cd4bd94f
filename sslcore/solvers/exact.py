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
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import Array, ignore_overflow
from ..backends import Backend
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Kernel
from .certificate import Circumstances, Components, Solution, Spectrum, certify
from .groups import Samples
from .krylov import Accuracy, block_width, canonical_basis, krylov_capacity, top_eigenpairs
from .objective import Objective
from .rotated_gram import RotatedGram

__all__ = ["ConditionedKernel", "solve_exact"]


ROUNDING = 0.3
"""The rounding E of Khat, over N views, has a norm of at most 0.3 eps |Khat|_F / sqrt(N), as that of random entries.

By first-order perturbation dG = W^T E W / lambda with W = I - Q S^-1 Q^T Khat, and W v_i = (lambda / gamma_i) a_i with
a = P^(-1/2) alpha.  So gamma_i, and v_i along v_j, are off by |W v_j| |E| |a_i| relative to the gap, and the norm
a^T Khat a by |E| |a|^2.  Compared with 70-digit arithmetic (N = 16 to 36) and, in float32, with float64 (N = 100 to
800): errors were up to the estimate, and a tenth of it mostly.  Products with a dense basis round more: |E| was at most
0.75 eps |Khat| (N = 100 to 600), for which eps |Khat|_F is taken.
"""

COLD, NEARBY = 1e-4, 1e-2
"""Residuals at which an iteration ends, in units of the tolerance: from random vectors, and from some near the result.
A residual r of vectors is r^2 in their eigenvalues.
"""

LEAST_RANDOM = 2
"""Random columns that an iteration begins with, beside those near its result."""

_REMEDY = (
    "reg is below what the rounding of the kernel matrix allows; raise reg, use float64, or use a feature model such "
    "as sslcore.features.Nystrom"
)


class ConditionedKernel:
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
        self.n = len(self.a)
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
        self.noise: Any = None  # an array where there is a condition
        self.jitter, self.condition_number = 0.0, 1.0
        self._ratio: float | None = None

    def _require_variation(self, centred: bool) -> None:
        """Refuse a kernel that is zero, or, ``centred``, constant at the views; sets ``constant``."""
        xp, samples, dtype = self.xp, self.samples, self.a.dtype
        if self.unit <= 0:
            raise ValueError("the kernel is zero at all views; there is nothing to represent")
        self.constant: Any = None  # an array where centred
        if centred:
            constant, _ = samples.rotate(xp.sqrt(samples.weight)[:, None])
            self.constant = constant[:, 0].astype(dtype)
            if not self.trace > 16 * float(xp.finfo(dtype).eps) * self.unit:
                raise ValueError(
                    f"centred, the kernel matrix has the trace {self.trace:.3g}, of {self.unit:.3g}, which is less "
                    "than its rounding: the kernel is constant at the views, or they lie far from the origin: subtract "
                    "their mean"
                )

    def _rounding(self, diagonal: Array) -> float:
        """Estimate the norm of the rounding of Khat / unit (`ROUNDING`)."""
        epsilon = float(self.xp.finfo(self.a.dtype).eps)
        share = 1.0 if self.samples.dense else ROUNDING / math.sqrt(self.samples.n_views)
        return share * epsilon * self._size(diagonal)

    @property
    def trace(self) -> float:
        """The trace of Khat, or of H Khat H: no eigenvalue is larger."""
        if self.constant is None:
            return self.unit
        return self.unit - float((self.constant * (self.a @ self.constant)).sum())

    def _rounding_scale(self) -> Array | None:
        """Return by how much rows of E are smaller (or larger) than the mean: Khat has P^(1/2) at both sides."""
        xp, weight = self.xp, self.samples.weight
        if float(weight.max()) <= (1 + 1e-6) * float(weight.min()):
            return None
        out: Array = xp.sqrt(self.samples.squared_weights())
        return out

    def _size(self, diagonal: Array) -> float:
        """Estimate the Frobenius norm of Khat / unit: of some rows of A and B, or of the diagonal if that has more."""
        step = max(1, self.n // 64)

        def squares(m: Array) -> float:
            scaled = m.astype(float, copy=False) / self.unit
            scaled *= scaled
            return float(scaled.sum())

        rows = squares(self.a[::step]) + 2.0 * squares(self.b[::step])
        contrasts = (float(self.kept_diagonal.sum(dtype=float)) / self.unit) ** 2  # no less than the squares of C
        alone = squares(diagonal)
        return math.sqrt(min(1.0, max(rows * self.n / len(self.a[::step]) + contrasts, alone)))

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

    def leading(self, n: int) -> ConditionedKernel:
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
        part.a, part.b = self.a[:n, :n].copy(order="F"), self.b[:n, contrasts].copy(order="F")
        part.c = self.c[contrasts, contrasts].copy(order="F")
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

    def centre(self, v: Array) -> Array:
        """Return H v, or v itself if nothing is centred."""
        if self.constant is None:
            return v
        out: Array = v - self.constant_column() * (self.constant @ v[: self.n])
        return out

    def constant_column(self) -> Array:
        """Return P^(1/2) 1 in the rotated basis, as a column: no contrast sees a constant."""
        column: Array = self.xp.zeros((self.n + len(self.c), 1), self.a.dtype)
        column[: self.n, 0] = self.constant
        return column

    def corrections(self, v: Array) -> tuple[Array, Array]:
        """Return z = S^-1 (B^T u - D c) and y = c + z = S^-1 (B^T u + C c): from whichever cancels less."""
        u, c = self.halves(v)
        if self.noise is None:  # infinite
            return -c, self.xp.zeros_like(c)
        right = self.backend.matmul(self.b.T, u)
        if self.least_noise <= self.unit:
            z = self.backend.cholesky_solve(self.c, right - self.noise * c)
            return z, c + z
        y = self.backend.cholesky_solve(self.c, right + self.backend.symmetric_product(self.c, self.kept_diagonal, c))
        return y - c, y

    def combine(self, v: Array, z: Array, y: Array) -> Array:
        """Return (reg / unit) G v, from v and its corrections."""
        if self.noise is None:
            return self.times_kernel(v)
        u, _ = self.halves(v)
        out: Array = self.xp.empty_like(v, order="F")
        top = self.backend.matmul(self.a, u)
        top = self.backend.matmul(self.b, z, out=top, alpha=-1.0, beta=1.0)
        out[self.n :] = y * (self.noise / self.unit)
        out[: self.n] = top / self.unit
        return out

    def completed(self, product: Array, y: Array) -> Array:
        """Return (reg / unit) G v, as `combine` does, where Khat (u, -z) / unit is known: both have A u - B z."""
        if self.noise is None:
            return product
        out: Array = self.xp.concatenate([product[: self.n], y * (self.noise / self.unit)])
        return out

    def apply(self, v: Array) -> Array:
        """Return (reg / unit) H G H v: rounding lets directions off the centred space into the basis, hence both H."""
        v = self.centre(v)
        return self.centre(self.combine(v, *self.corrections(v)))

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

    def halves(self, v: Array) -> tuple[Array, Array]:
        """Split v into means and contrasts, each in Fortran order."""
        return self.xp.asfortranarray(v[: self.n]), self.xp.asfortranarray(v[self.n :])


def solve_exact(
    operator: ConditionedKernel,
    objective: Objective,
    *,
    tolerance: float,
    planned_bytes: int,
    near: Array | None = None,
    started: float | None = None,
) -> Solution:
    """Solve for one objective; ``near`` (N, any) may hold vectors, in the rotated basis, close to the wanted ones.

    The operator is conditioned on reg and beta here.  Beside ``near`` the search begins with random vectors, at least
    `LEAST_RANDOM` of them, which find what comes in at a crossing.
    """
    started = time.perf_counter() if started is None else started
    backend, xp, samples, dtype = operator.backend, operator.xp, operator.samples, operator.a.dtype
    n, total, k = samples.n, samples.n_views, objective.k
    operator.condition(objective.reg, objective.beta)
    width = block_width(k, total)
    epsilon = float(xp.finfo(dtype).eps)
    start = backend.reference_normals(total, width, 0).astype(dtype, copy=False)
    if near is not None:
        start = xp.concatenate([near, start[:, : max(width - near.shape[1], LEAST_RANDOM)]], axis=1)
    pairs = top_eigenpairs(
        operator.apply,
        operator.centre(xp.asfortranarray(start)),
        k,
        backend,
        accuracy=Accuracy((COLD if near is None else NEARBY) * tolerance),
        max_basis=krylov_capacity(width, total),
    )
    reference = xp.concatenate(samples.rotate(backend.reference_normals(total, k, 1)[samples.order]))
    # equal eigenvalues are equal to rounding only, which in float32 is coarse
    v = canonical_basis(pairs, reference, backend, relative_gap=0.03 * tolerance)

    # One more application gives the coefficients, and their product with the Gram matrix the certificate.
    z, y = operator.corrections(v)
    told = pairs.values > 4 * epsilon
    theta = np.where(told, pairs.values, 1.0)
    gamma = np.where(told, objective.reg / (operator.unit * theta), math.inf)
    heights = xp.asarray(theta.astype(dtype))
    u, c = operator.halves(v)
    if operator.noise is not None:  # gamma y / beta_i has digits of its own, where v has those of a vector of length 1
        c = y * (operator.noise / operator.unit) / heights
    turned = xp.concatenate([u, -z])
    product = operator.times_kernel(turned)
    applied = operator.completed(product, y)
    weights = turned / heights  # unit P^(-1/2) alpha, rotated
    image = product / heights  # P^(1/2) f(views), rotated; without the intercept
    centred = operator.centre(image)
    off = centred - xp.concatenate([u, c])
    alpha = samples.rotate_back(weights[:n], weights[n:]) * (xp.sqrt(samples.weight)[:, None] / operator.unit)
    next_gamma = objective.reg / (operator.unit * pairs.following) if pairs.following > 4 * epsilon else math.inf
    measured = backend.to_host(  # all numbers of the components at once
        xp.concatenate(
            [
                xp.stack(
                    [
                        xp.sum(operator.contrast_factor[:, None] * c.astype(float) ** 2, axis=0),
                        xp.einsum("ij,ij->j", weights.astype(float), image.astype(float)) / operator.unit,
                        xp.einsum("ij,ij->j", weights.astype(float), off.astype(float)) / operator.unit,
                        column_norms(operator.centre(applied) / heights - v),
                        column_norms(off),
                        column_norms(operator.contrast_beta[:, None] * c / xp.asarray(gamma) + turned[n:] - c),
                        column_norms(turned if operator.rounding_scale is None else operator.rounding_scale * turned),
                    ]
                ),
                (v.T @ v).astype(float),
            ]
        )
    )
    invariance, norms, slack, residuals, coefficient_residuals, stationarity_residuals, turns = measured[:7]
    lengths = turns / theta
    rounding = (operator.rounding + operator.jitter) * lengths
    with np.errstate(divide="ignore", invalid="ignore"):
        doubts = np.abs(slack) + rounding * lengths / operator.unit
        norm_errors = doubts / np.abs(norms)
    rounding *= np.maximum.accumulate(np.maximum(turns, 1.0))
    doubtful = (residuals <= tolerance) & (coefficient_residuals <= tolerance) & ~(norm_errors <= math.sqrt(tolerance))
    if bool(doubtful.any()):
        better = norms_on_the_range(operator, xp.concatenate([u, c]), coefficient_residuals + rounding)
        norms, norm_errors = np.where(better[1] < norm_errors, better, (norms, norm_errors))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(objective.beta * invariance + objective.reg * norms - gamma) / gamma
    found = Components(
        gamma=gamma,
        invariance=invariance,
        norms=norms,
        coefficients=samples.restore_order(alpha.astype(dtype)),
        intercept=-(operator.constant @ image[:n]) if objective.center else xp.zeros(len(theta), dtype),
        overlaps=measured[7:],
        residuals=residuals,
        coefficient_residuals=coefficient_residuals,
        stationarity_residuals=stationarity_residuals,
        rounding_errors=np.maximum(rounding, apart),
        norm_errors=norm_errors,
        rounding=16 * epsilon * operator.unit / objective.reg,
        next_gamma=next_gamma,
        top=1.0 + objective.beta * (samples.tau - 1.0),
    )
    circumstances = Circumstances(
        algorithm="exact: kernel PCA" if operator.noise is None else f"exact: {samples.method}",
        jitter=operator.jitter,
        condition=operator.condition_number,
        iterations=pairs.steps,
        seconds=time.perf_counter() - started,
        bytes=planned_bytes,
    )
    spectrum = certify(found, k, circumstances, tolerance=tolerance, remedy=_REMEDY)
    if samples.tau != 1.0:
        spectrum = _from_tau(spectrum, objective.beta, samples.tau)
    values = xp.zeros((total, k), dtype)
    present = spectrum.certificate.rank
    # the values of the functions that are returned, not v: with their norms they have the risk to rounding
    values[:, :present] = (
        samples.rotate_back(centred[:n, :present], centred[n:, :present]) / xp.sqrt(samples.weight)[:, None]
    )
    vectors = v if pairs.beyond is None else xp.concatenate([v, pairs.beyond], axis=1)
    return Solution(spectrum, vectors, samples.restore_order(values))


def _from_tau(spectrum: Spectrum, beta: float, tau: float) -> Spectrum:
    """Bring the numbers of (tau I - T) to those of I - T: gamma = 1 - mu."""
    invariance = spectrum.invariance.copy()
    invariance[: spectrum.certificate.rank] += 1.0 - tau
    return replace(spectrum, gamma=spectrum.gamma + beta * (1.0 - tau), invariance=invariance)


def norms_on_the_range(operator: ConditionedKernel, values: Array, errors: np.ndarray) -> np.ndarray:
    """Return squared norms of the functions with values v, and their relative errors, (2, k), where Khat has low rank.

    Coefficients have a part in the null space of Khat, and it is large where reg is small: all of gamma v - beta
    (I - T) v that no function can have.  The norm alpha^T K alpha squares its rounding.  On the range, which products
    with random directions find, it is v^T Khat^+ v; ``errors`` are those of v.  Khat counts as of low rank if it has no
    eigenvalue between the rounding and its square root (otherwise errors are infinite): what a kernel of full rank has
    below the rounding, nobody knows.
    """
    backend, xp, unit = operator.backend, operator.xp, operator.unit
    total, k = values.shape
    epsilon = float(xp.finfo(values.dtype).eps)
    width = min(total, krylov_capacity(block_width(k, total), total) // 3)  # in the memory of the Krylov basis

    def times(q: Array) -> Array:  # rounding lets in directions off the centred space
        return operator.centre(operator.times_kernel(operator.centre(q)))

    q = backend.reference_normals(total, width, 0).astype(values.dtype, copy=False)
    for _ in range(2):
        q, _ = backend.orthonormalize(xp.asfortranarray(times(q)), 0.0)
    small = backend.to_host(backend.matmul(q.T, times(q))).astype(float)
    heights, basis = np.linalg.eigh(0.5 * (small + small.T))
    rank = int((heights > 10 * epsilon).sum())
    if rank == width < total or not rank or heights[-rank] < math.sqrt(epsilon):
        return np.array([np.zeros(k), np.full(k, math.inf)])
    heights, basis = heights[-rank:, None], basis[:, -rank:]
    coordinates = basis.T @ backend.to_host(backend.matmul(q.T, values)).astype(float)
    norms = (coordinates**2 / heights).sum(axis=0) / unit
    lengths = np.sqrt(((coordinates / heights) ** 2).sum(axis=0))
    doubts = 2 * lengths * errors + errors**2 / heights[0] + epsilon * lengths**2
    return np.array([norms, doubts / (unit * norms)])


def column_norms(a: Array) -> Any:
    """Compute the Euclidean norms of the columns, accumulated in float64."""
    with ignore_overflow():
        return (a.astype(float) ** 2).sum(axis=0) ** 0.5
