r"""The functions that an exact solver has found, measured: coefficients, values and the evidence for them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import Array
from .certificate import Circumstances, Components, Solution, Spectrum, certify
from .columns import column_norms, column_products
from .krylov import Eigenpairs, block_width, krylov_capacity
from .objective import Objective

if TYPE_CHECKING:
    from .conditioned import ConditionedOperator

__all__ = ["Applied", "judged"]

_REMEDY = (
    "reg is below what the rounding of the kernel matrix allows; raise reg, use float64, or use a feature model such "
    "as sslcore.features.Nystrom"
)


@dataclass(frozen=True, eq=False)
class Applied:
    """Eigenpairs in their final basis, and what the operator makes of them.

    Attributes
    ----------
    pairs : Eigenpairs
        As the iteration has found them.
    vectors : (N, k')
        v, turned within blocks of equal eigenvalues.
    turned : (N, k')
        (u, -z) of these.
    bottom : (N - n, k')
        y = c + z.
    product : (N, k')
        Khat (u, -z) / unit, by the Gram matrix itself.
    how : str
        What the certificate adds to the name of the algorithm.
    """

    pairs: Eigenpairs
    vectors: Array
    turned: Array
    bottom: Array
    product: Array
    how: str = ""


def judged(
    operator: ConditionedOperator,
    objective: Objective,
    applied: Applied,
    *,
    tolerance: float,
    planned_bytes: int,
    started: float,
) -> Solution:
    """Make the solution: functions with their coefficients, and the certificate, or a `CertificateError`."""
    backend, xp, samples, dtype = operator.backend, operator.xp, operator.samples, operator.dtype
    n, total, k, epsilon = samples.n, samples.n_views, objective.k, float(xp.finfo(dtype).eps)
    pairs, v, turned, y, product = applied.pairs, applied.vectors, applied.turned, applied.bottom, applied.product
    told = pairs.values > 4 * epsilon
    theta = np.where(told, pairs.values, 1.0)
    gamma = np.where(told, objective.reg / (operator.unit * theta), math.inf)
    heights = xp.asarray(theta.astype(dtype))
    resolved, unmoved, missed = operator.resolved(v, turned, y, heights, gamma)
    weights = turned / heights  # unit P^(-1/2) alpha, rotated
    image = product / heights  # P^(1/2) f(views), rotated; without the intercept
    completed = operator.completed(product, y)
    centred = operator.centre(image)
    off = centred - resolved
    next_gamma = objective.reg / (operator.unit * pairs.following) if pairs.following > 4 * epsilon else math.inf
    measured = backend.to_host(  # all numbers of the components at once
        xp.concatenate(
            [
                xp.stack(
                    [
                        unmoved,
                        column_products(weights, image) / operator.unit,
                        column_products(weights, off) / operator.unit,
                        column_norms(operator.centre(completed) / heights - v),
                        column_norms(off),
                        column_norms(missed),
                        column_norms(turned if operator.rounding_scale is None else operator.rounding_scale * turned),
                    ]
                ),
                backend.matmul(v.T, v).astype(float),
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
        better = norms_on_the_range(operator, resolved, coefficient_residuals + rounding)
        norms, norm_errors = np.where(better[1] < norm_errors, better, (norms, norm_errors))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(objective.beta * invariance + objective.reg * norms - gamma) / gamma
    found = Components(
        gamma=gamma,
        invariance=invariance,
        norms=norms,
        coefficients=operator.coefficients(weights),
        intercept=-operator.means(image[:n]) if objective.center else xp.zeros(len(theta), dtype),
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
        algorithm=operator.algorithm + (applied.how if operator.noise is not None else ""),
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
    vectors = pairs.with_beyond(v, xp)
    return Solution(spectrum, vectors, samples.restore_order(values), (completed, turned))


def _from_tau(spectrum: Spectrum, beta: float, tau: float) -> Spectrum:
    """Bring the numbers of (tau I - T) to those of I - T: gamma = 1 - mu."""
    invariance = spectrum.invariance.copy()
    invariance[: spectrum.certificate.rank] += 1.0 - tau
    return replace(spectrum, gamma=spectrum.gamma + beta * (1.0 - tau), invariance=invariance)


def norms_on_the_range(operator: ConditionedOperator, values: Array, errors: np.ndarray) -> np.ndarray:
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
