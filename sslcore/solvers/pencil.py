"""The eigenproblem of moments, Sigma c = (1/gamma) (beta Delta + reg I) c, whatever the scales of the features.

Every step is the same, to rounding, for features in other units (coefficients, factors and products change by the
reciprocals): no column is lost beside another one that is 10^10 times larger.  Two things are not of that kind.

* A mean far from 0 in units of the standard deviations makes all columns of Sigma = S + a a^T alike.  In units of these
  deviations a reflection takes a to one coordinate: then Sigma has one large entry, and all others are those of S.
* Eigenvalues theta = 1/gamma are found to rounding of the largest, and active components are those with theta > 1,
  maybe beside one of 10^20 (a constant feature).  With s Sigma added to the penalty beta Delta + reg I the vectors are
  the same and theta becomes theta / (1 + s theta) < 1 / s: s grows until all that may be active is seen.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, ignore_overflow
from ..backends import Backend, host_linalg
from ..errors import NotPositiveSemidefiniteError
from .certificate import TOLERANCE, Circumstances, Components, Spectrum, certify
from .frame import Frame
from .krylov import Accuracy, Eigenpairs, block_width, canonical_basis, krylov_capacity, top_eigenpairs
from .objective import Objective
from .sums import Sums

__all__ = ["Pencil", "symmetric"]

_EPSILON = float(np.finfo(float).eps)

_RANGE = 1e8
"""Largest over smallest 1/gamma that one Krylov iteration in float64 finds to eight digits."""

_AT_A_TIME = 384
"""Products that a BLAS adds before it adds their sum to others: of the order of what its authors have chosen."""

_FAR = 1e6
"""Squared mean over variances from which on the mean gets a coordinate of its own."""

_ILL_SCALED = 1e3
"""Largest over smallest standard deviation up to which the eigenbasis of Delta serves all of its columns."""

_REMEDY = "reg is below what the rounding of the moments of the features allows; raise reg, or use float64"


class Pencil:
    """The problem Sigma c = (1/gamma) (beta Delta + reg I) c of some moments, for one reg and beta after the other.

    Sigma and Delta are kept in units of the trace of Sigma, so that any scale of the features is served.  What is found
    is judged by ``epsilon``, the rounding of the type in which features were multiplied.
    """

    def __init__(
        self,
        sums: Sums,
        backend: Backend,
        *,
        finest: float,
        epsilon: float,
        unbiased: bool,
        center: bool,
        planned: Callable[[int], int] | None = None,
    ) -> None:
        xp, self.backend = backend.xp, backend
        self._finest, self._planned = finest, planned
        self._single = epsilon > _EPSILON
        self._epsilon = max(epsilon, _EPSILON)
        terms = max(sums.n, sums.n_views - sums.n)
        if self._single:  # sums of blocks are added in float64
            terms = min(terms, tunables.MOMENTS_BLOCK_ROWS[1])
        self._entry_error = self._epsilon * _error_of_sums(terms)
        self._tolerance = TOLERANCE[np.dtype(np.float32 if self._single else float)]
        sums.require_finite()
        self.mean, self.center = sums.mean, center
        within = symmetric(sums.within, xp) / sums.weight
        delta = symmetric(sums.unbiased_sum(), xp) / sums.weight if unbiased else within
        sigma = symmetric(sums.between, xp) / sums.weight + within
        with ignore_overflow():
            size = float(xp.sqrt((sums.mean**2).sum()))
            unit = float(xp.trace(sigma))
        if not math.isfinite(unit + size):
            raise ValueError("the second moments of the features overflow; rescale the data")
        if unit <= (4e-16 * size) ** 2:
            raise ValueError(
                "the features are constant: all views are the same point, and there is nothing to represent"
            )
        variances = sigma.diagonal()
        constant = variances <= (4 * _EPSILON * sums.mean) ** 2
        if bool(constant.any()):  # what is left of them is the rounding of the mean
            for matrix in (sigma, delta):
                matrix[constant] = 0.0
                matrix[:, constant] = 0.0
        if not center:
            unit += size**2
        if unit < 1e-305:
            raise ValueError("the squares of the features underflow; rescale the data")
        sigma /= unit
        delta /= unit
        self.unit = unit
        self._frame: Frame | None = None
        if not center:
            mean = sums.mean / math.sqrt(unit)
            deviations = xp.sqrt(sigma.diagonal())
            scale = xp.where(deviations > 0, deviations, xp.where(mean != 0, xp.abs(mean), 1.0))
            if float(((mean / scale) ** 2).max()) > _FAR:
                self._frame = Frame.of(mean / scale, scale)
                sigma, delta = self._frame.turned(sigma), self._frame.turned(delta)
                pivot = self._frame.pivot
                sigma[pivot, pivot] += float(((mean / scale) ** 2).sum())
            else:
                sigma += mean[:, None] * mean
        self.sigma, self.delta = sigma, delta
        self._deviations = xp.sqrt(sigma.diagonal())
        self._diagonal: _Eigenbasis | None = None

    def diagonalize(self) -> Pencil:
        """Prepare for many solutions: in the eigenbasis V of Delta = V diag(delta) V^T every penalty is diagonal.

        Then neither a factorisation nor a triangular solve is left to each of them.  Where the scales of the features
        differ too much for an orthogonal basis, all stays as it is.  Returns self.
        """
        spread = self.backend.to_host(self._deviations)
        if self._frame is not None or float(spread.max()) > _ILL_SCALED * float(spread[spread > 0].min()):
            return self
        values, basis = self.backend.eigh(self.delta.copy(order="F"))
        basis = self.backend.xp.asfortranarray(basis)
        turned = self.backend.matmul(basis.T, self.backend.matmul(self.sigma, basis))
        self._diagonal = _Eigenbasis(self.backend.xp.maximum(values, 0.0), basis, 0.5 * (turned + turned.T))
        return self

    def times_sigma(self, coefficients: Array) -> Array:
        """Return Sigma times coefficients (r, k) of the features."""
        if self._frame is None:
            return self.backend.matmul(self.sigma, coefficients) * self.unit
        turned = self.backend.matmul(self.sigma, self._frame.coordinates(coefficients))
        return self._frame.moments(turned) * self.unit

    def solve(self, objective: Objective, near: Array | None = None) -> Spectrum:
        """Solve for this objective; unbiased and center are those of the problem.

        ``near`` (r, at most k), after `diagonalize`, may hold coefficients close to the wanted ones.
        """
        started = time.perf_counter()
        k = min(objective.k, len(self.sigma))  # fewer if landmarks were dropped
        reg = objective.reg / self.unit
        if not math.isfinite(reg):
            raise ValueError(f"reg = {objective.reg:g} is too large beside the features' second moment {self.unit:g}")
        with ignore_overflow():  # of features of absurdly different scales, which the certificate refuses
            found = self._eigenpairs(objective, reg, k, near)
            components = self._components(found, objective, reg)
        circumstances = Circumstances(
            algorithm="features: moments and their generalised eigenproblem",
            jitter=0.0,
            condition=found.factor.condition,
            iterations=found.steps,
            seconds=time.perf_counter() - started,
            bytes=0 if self._planned is None else self._planned(k),
        )
        return certify(components, objective.k, circumstances, tolerance=self._tolerance, remedy=_REMEDY)

    def _eigenpairs(self, objective: Objective, reg: float, k: int, near: Array | None) -> _Found:
        """Solve Sigma c = nu (beta Delta + reg R) c for the k largest nu, with reg in units of the trace."""
        backend, xp, sigma = self.backend, self.backend.xp, self.sigma
        if self._diagonal is not None:
            found = _by_eigenbasis(
                sigma, self._diagonal, objective.beta * self._diagonal.values + reg, near, k, backend
            )
            if found is not None:
                return found
        penalty = objective.beta * self.delta
        if self._frame is None:
            index = xp.arange(len(sigma))
            penalty[index, index] += reg
        else:
            penalty += reg * self._frame.norm
        return (_largest if objective.reg > 0 else _smallest)(sigma, penalty, k, backend)

    def _components(self, found: _Found, objective: Objective, reg: float) -> Components:
        """Measure the functions that were found, and bound their errors."""
        xp, backend, sigma, delta, unit = self.backend.xp, self.backend, self.sigma, self.delta, self.unit
        gamma, c = found.gamma, found.coefficients
        sigma_c = backend.matmul(sigma, c)
        delta_c = backend.matmul(delta, c)
        norm_c = c if self._frame is None else backend.matmul(self._frame.norm, c)
        penalty_c = objective.beta * delta_c + reg * norm_c
        reached = np.where(np.isfinite(gamma), gamma, 0.0)
        amiss = found.factor.dual(penalty_c - sigma_c * xp.asarray(reached))
        # |c|^2 changes by 2 <c, U^-1 x> for an error x of the whitened component, as large as the dual residual
        slope = found.factor.dual(xp.asfortranarray(norm_c))
        size = c**2
        measured = backend.to_host(  # all numbers of the components at once
            xp.concatenate(
                [
                    xp.sqrt((amiss**2).sum(axis=0))[None],
                    xp.einsum("ij,ij->j", c, delta_c)[None],
                    xp.einsum("ij,ij->j", c, norm_c)[None],
                    ((objective.beta * delta.diagonal())[:, None] * size).sum(axis=0)[None],
                    (self._deviations[:, None] ** 2 * size).sum(axis=0)[None],
                    xp.sqrt((slope**2).sum(axis=0))[None],
                    c.T @ sigma_c,
                ]
            )
        )
        unseen = self._rounding_of_residuals(found, objective.beta, reached, measured[3], measured[4])
        # moments are known to rounding of their diagonals: what that does to gamma, beside 1 + gamma
        uncertain = self._epsilon * (measured[3] + reg * measured[2] + reached * measured[4]) / (1 + reached)
        rounding = max(self._rounding(found, reg), self._finest / objective.reg) if reg > 0 else 0.0
        if rounding > 0.5:  # an active component may be hidden by it
            uncertain = np.maximum(uncertain, rounding * reached)
        coefficients = (c if self._frame is None else self._frame.coefficients(c)) / math.sqrt(unit)
        return Components(
            gamma=gamma,
            invariance=measured[1],
            norms=measured[2] / unit,
            coefficients=coefficients,
            intercept=-(self.mean @ coefficients) if self.center else xp.zeros(c.shape[1]),
            overlaps=measured[6:],
            residuals=measured[0] * found.weight,
            coefficient_residuals=np.zeros(c.shape[1]),
            stationarity_residuals=np.zeros(c.shape[1]),
            rounding_errors=uncertain,
            norm_errors=2.0 * measured[5] * (measured[0] + unseen) / (measured[2] * found.span),
            rounding=rounding,
            next_gamma=found.next_gamma,
        )

    def _rounding_of_residuals(
        self, found: _Found, beta: float, gamma: np.ndarray, invariance: np.ndarray, size: np.ndarray
    ) -> np.ndarray:
        """Estimate the dual residuals that rounding of the moments leaves, which those of the rounded ones do not show.

        An entry of Sigma is off by `_error_of_sums` of the deviations d of its two features, of any sign: the image
        of c then by a vector of about as much of |D c| d_i, and so that of Delta.  ``invariance`` and ``size`` are
        beta |D c|^2 for Delta, and |D c|^2 for Sigma.
        """
        xp, r = self.backend.xp, len(self.sigma)
        signs = xp.where(self.backend.reference_normals(r, 4, 3) > 0, 1.0, -1.0)
        scales = self._deviations[:, None], xp.sqrt(xp.abs(self.delta.diagonal()))[:, None]
        images = found.factor.dual(xp.asfortranarray(xp.concatenate([scale * signs for scale in scales], axis=1)))
        squares = self.backend.to_host((images**2).sum(axis=0)).reshape(2, -1).mean(axis=1)
        of_sigma, of_delta = self._entry_error * np.sqrt(squares)
        out: np.ndarray = gamma * np.sqrt(size) * of_sigma + np.sqrt(beta * invariance) * of_delta
        return out

    def _rounding(self, found: _Found, reg: float) -> float:
        """Bound what the rounding of Sigma may hide of 1/gamma, or make, in directions other than those found.

        An entry of Sigma is known to rounding of the deviations of its two features, so that it is eps max |D c|^2 over
        c of penalty 1: at most eps max D^2 / reg, and where that is too much, by some steps of inverse iteration.  Eps
        is 16 roundings of float64; of float32 the norm of a symmetric matrix of random errors, 2 r^(1/2) of each.
        """
        epsilon = 2.0 * math.sqrt(len(self.sigma)) * self._entry_error if self._single else 16 * _EPSILON
        deviations = self._deviations if self._frame is None else self._deviations * self._frame.scale.max()
        bound = epsilon * float(deviations.max()) ** 2 / reg
        if bound <= 1e-3:
            return bound
        column, w = self._deviations[:, None], found.whitened
        x = self.backend.reference_normals(len(column), 2, 2)
        for _ in range(4):
            x = x - self.backend.matmul(w, self.backend.matmul(w.T, x))
            lengths = self.backend.xp.sqrt((x**2).sum(axis=0))
            x = x / self.backend.xp.where(lengths > 0, lengths, 1.0)  # 0 where those found span all there is
            image = column * found.factor.primal(x)
            x = found.factor.dual(column * image)
        hidden = epsilon * float((image**2).sum(axis=0).max())
        return min(bound, hidden) if math.isfinite(hidden) else bound


@dataclass(frozen=True)
class _Eigenbasis:
    """Delta = V diag(values) V^T, and Sigma in this basis: V^T Sigma V."""

    values: Array
    basis: Array
    turned: Array


@dataclass(frozen=True)
class _Factor:
    """U, where U^T U is the penalty plus ``share`` Sigma (or Sigma alone)."""

    primal: Callable[[Array], Array]  # U^-1 x
    dual: Callable[[Array], Array]  # U^-T x
    condition: float
    share: float = 0.0

    @classmethod
    def of(cls, triangle: Array, backend: Backend, share: float = 0.0) -> _Factor:
        """Name what an upper ``triangle``, made by Cholesky's method, does."""
        pivots = backend.to_host(triangle.diagonal())
        return cls(
            functools.partial(backend.triangular_solve, triangle),
            functools.partial(backend.triangular_solve, triangle, transposed=True),
            float((pivots.max() / pivots.min()) ** 2),
            share,
        )


@dataclass(frozen=True)
class _Found:
    """Coefficients (r, k) with c^T Sigma c = 1, in increasing order of gamma (inf: none), and how they were found."""

    gamma: np.ndarray
    coefficients: Array
    next_gamma: float
    steps: int
    factor: _Factor
    whitened: Array  # orthonormal, U times the coefficients
    weight: np.ndarray  # of the norms of dual residuals
    span: float = 1.0  # the distance of whitened eigenvalues, at most 1, to which residuals compare


def _largest(sigma: Array, penalty: Array, k: int, backend: Backend) -> _Found:
    """Find the top pairs of U^-T Sigma U^-1, U the Cholesky factor of the penalty and a multiple of Sigma: 1/gamma."""
    xp = backend.xp
    limit, share, steps = math.inf, 0.0, 0
    while True:
        triangle = penalty.copy(order="F") if share == 0 else xp.asfortranarray(penalty + share * sigma)
        if not backend.cholesky(triangle):
            raise NotPositiveSemidefiniteError(
                "beta Delta + reg I is not positive definite to rounding; raise reg (the features' scale is in its "
                "units)",
                float(backend.symmetric_eigenvalues(penalty.copy(order="F"))[0]),
            )
        factor = _Factor.of(triangle, backend, share)

        def apply(v: Array, factor: _Factor = factor) -> Array:
            return factor.dual(backend.matmul(sigma, factor.primal(v)))

        pairs = _top(apply, len(sigma), k, backend)
        steps += pairs.steps
        resolved = float(pairs.values[0]) / _RANGE
        if resolved <= 1.0 or float(pairs.values.min()) >= resolved:
            break
        limit = max(_RANGE, min(resolved, limit / _RANGE))
        share = 1.0 / limit
    return _unwhitened(replace(pairs, steps=steps), factor, sigma, penalty, k, backend)


def _unwhitened(pairs: Eigenpairs, factor: _Factor, sigma: Array, penalty: Array, k: int, backend: Backend) -> _Found:
    """Turn eigenpairs t = 1 / (gamma + share) of the top k into gamma, and coefficients in a canonical basis."""
    xp, share = backend.xp, factor.share
    present = pairs.values > 4e-16 * max(float(pairs.values[0]), 1.0)
    t = np.where(present, pairs.values, 1.0)
    gamma = np.where(present, 1.0 / t - share, math.inf)
    vectors = xp.asfortranarray(pairs.vectors)
    c = xp.asfortranarray(factor.primal(vectors) / xp.asarray(np.sqrt(np.where(present, t, 1.0))))
    if share > 0:
        gamma, c = _graded(gamma, c, sigma, penalty, backend)
    values = 1.0 / np.maximum(gamma, 1e-300)
    # random directions R: components get the signs of c^T Sigma R, in whatever basis they are found
    directions = backend.matmul(sigma, xp.asfortranarray(backend.reference_normals(len(sigma), k, 1)))
    c = canonical_basis(Eigenpairs(values, c, 0.0, values, pairs.steps), directions, backend)
    return _Found(
        gamma,
        c,
        1.0 / pairs.following - share if pairs.following > 0 else math.inf,
        pairs.steps,
        factor,
        pairs.vectors,
        np.where(present, 1.0 / np.sqrt(np.maximum(np.where(present, gamma, 1.0) + share, 1e-300)), 1.0),
    )


def _graded(gamma: np.ndarray, c: Array, sigma: Array, penalty: Array, backend: Backend) -> tuple[np.ndarray, Array]:
    """Solve again in the span of the present components (Rayleigh-Ritz), whose gamma may be of very different size.

    The penalty B there is S D^2 S for a well-conditioned S^T S and scales D, so that the singular values of its factor,
    by Jacobi's method, have all their digits (Drmac and Veselic 2008).
    """
    count = int(np.isfinite(gamma).sum())
    part = backend.xp.asfortranarray(c[:, :count])
    a = backend.to_host(part.T @ backend.matmul(sigma, part))
    b = backend.to_host(part.T @ backend.matmul(penalty, part))
    refined = host_linalg.graded_pairs(a, b)
    if refined is None:
        return gamma, c
    values, x = refined
    part = backend.matmul(part, backend.xp.asarray(np.asfortranarray(x)))
    c = backend.xp.concatenate([part.T, c[:, count:].T]).T
    return np.concatenate([values, gamma[count:]]), backend.xp.asfortranarray(c)


def _top(apply: Callable[[Array], Array], r: int, k: int, backend: Backend, near: Array | None = None) -> Eigenpairs:
    """Find the k largest eigenpairs, from ``near`` or from random vectors."""
    width = block_width(k, r)
    start = backend.reference_normals(r, width, 0)
    if near is not None:
        start = backend.xp.concatenate([near, start[:, : width - near.shape[1]]], axis=1)
    return top_eigenpairs(
        apply,
        backend.xp.asfortranarray(start),
        k,
        backend,
        accuracy=Accuracy(1e-11),
        max_basis=krylov_capacity(width, r),
    )


def _by_eigenbasis(
    sigma: Array, delta: _Eigenbasis, penalty: Array, near: Array | None, k: int, backend: Backend
) -> _Found | None:
    """Do as `_largest` in the eigenbasis V of Delta, where the penalty is diagonal, (r,).

    The pairs are those of D^-1/2 V^T Sigma V D^-1/2.  Return None if they do not resolve all that may be active.
    """
    xp, basis = backend.xp, delta.basis
    root = 1.0 / xp.sqrt(penalty)[:, None]
    start = None if near is None else backend.matmul(basis.T, near) / root

    def primal(v: Array) -> Array:
        return backend.matmul(basis, xp.asfortranarray(root * v))

    def dual(v: Array) -> Array:
        out: Array = root * backend.matmul(basis.T, xp.asfortranarray(v))
        return out

    def apply(v: Array) -> Array:
        out: Array = root * backend.matmul(delta.turned, xp.asfortranarray(root * v))
        return out

    pairs = _top(apply, len(sigma), k, backend, start)
    if float(pairs.values[0]) > _RANGE * max(1.0, float(pairs.values.min())):
        return None
    return _unwhitened(pairs, _Factor(primal, dual, float(penalty.max() / penalty.min())), sigma, penalty, k, backend)


def _smallest(sigma: Array, penalty: Array, k: int, backend: Backend) -> _Found:
    """Find, without regularisation, the lowest pairs of U^-T beta Delta U^-1, U the factor of Sigma: gamma itself."""
    xp, r = backend.xp, len(sigma)
    triangle = sigma.copy(order="F")
    definite = backend.cholesky(triangle)
    pivots = backend.to_host(triangle.diagonal())
    if not definite or float((pivots**2 / backend.to_host(sigma.diagonal())).min()) < 1e-13:
        raise ValueError(
            "reg = 0 needs features whose second moment is positive definite, and theirs is singular to rounding; "
            "use reg > 0, or leave out features that the others determine"
        )
    factor = _Factor.of(triangle, backend)
    half = factor.dual(xp.asfortranarray(penalty))
    whitened = factor.dual(xp.asfortranarray(half.T))
    values, w = backend.eigh(xp.asfortranarray(0.5 * (whitened + whitened.T)))
    values = np.maximum(backend.to_host(values), 0.0)
    gamma = values[:k]
    # weak views, or a small beta, make all gamma small, and no less distinct
    span = min(1.0, float(values[-1])) or 1.0
    top = Eigenpairs(1.0 / (1.0 + gamma / span), xp.asfortranarray(w[:, :k]), 0.0, gamma, 1)
    w = canonical_basis(top, backend.reference_normals(r, k, 1), backend)
    return _Found(
        gamma,
        factor.primal(xp.asfortranarray(w)),
        float(values[k]) if k < r else math.inf,
        1,
        factor,
        w,
        1.0 / (1.0 + gamma),
        span,
    )


def _error_of_sums(terms: int) -> float:
    """Estimate the error of a sum of so many squares, beside the sum, in units of rounding.

    A number that is rounded has an error of 0.21 units (uniform in the last place, and the number in its binade).  Two
    factors, and what is rotated to them, have 4 such errors.  A partial sum of j of t terms, j / t of the whole, has
    one more: the squares of all are t / 3.  In p panels of t / p terms, each 1 / p of the whole, they are t / (3 p^2),
    and those of the sums of panels p / 3.
    """
    panels = max(1.0, math.ceil(terms / _AT_A_TIME))
    return 0.21 * math.sqrt(4.0 + (terms / panels**2 + panels) / 3.0)


def symmetric(upper: Array, xp: Any) -> Array:
    """Return the symmetric matrix with this upper triangle."""
    top = xp.triu(upper)
    out: Array = top + xp.triu(upper, 1).T
    return out
