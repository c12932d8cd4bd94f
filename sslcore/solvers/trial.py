r"""Functions that are good enough to compare values of reg by, without the evidence that a fit comes with.

A risk on held-out samples errs by the error of the functions times their generalisation gap, and the spectrum by its
square.  So a search needs fewer steps than fits; and functions w = (reg/unit) G v of vectors v near the wanted ones are
nearer: what v has of other eigenvectors counts less by the ratio of eigenvalues.  The best combinations of those,

    maximise |H w|^2 beside v^T H w = w^T ((reg/unit) G)^-1 w,

are what a trial is.  Their coefficients come with the product: w = Khat a / unit for a = (u, -z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arrays import Array
from .certificate import NEGLIGIBLE, Spectrum
from .columns import column_norms, column_products
from .exact import ConditionedKernel
from .krylov import Accuracy, Eigenpairs
from .objective import Objective
from .reduced_basis import lowest

__all__ = ["TRIED", "Functions", "Trial", "independent", "least_active", "tried"]

TRIED = 3e-5
"""Residuals at which the iterations of trials end: risks were those of fits to some 1e-6 of the larger of k and the
risk (2e-6 on half-moons, digits and noisy samples, 80 to 4,000 views, centred or not, beta of 1 to 1e4; 6e-6 at most in
270 odd problems: few samples, equal points, extreme weights and scales)."""

_CLEAR = 0.2
"""Errors by rounding, in units of the tolerance, up to which no certificate would refuse a fit for them."""

_SOLVED = 8.0
"""Bound of the backward error of a solve in band form, in units of the rounding of Khat's trace."""


@dataclass(frozen=True, eq=False)
class Trial:
    """k functions in increasing order of gamma, as in `sslcore.solvers.certificate.Spectrum`, but no certificate."""

    gamma: np.ndarray
    invariance: np.ndarray
    coefficients: Array
    intercept: Array


Functions = Spectrum | Trial
"""What a risk is computed from."""


def least_active(operator: ConditionedKernel, objective: Objective) -> float:
    """Return the eigenvalue of (reg / unit) G at mu = 0: components below it have no part in risks."""
    return objective.reg / operator.unit


def independent(v: Array) -> bool:
    """Return whether vectors H v of orthonormal v are: their squares lack that of the part which the constant has."""
    return bool(float((v**2).sum()) > v.shape[1] - 0.5)


def tried(
    operator: ConditionedKernel,
    objective: Objective,
    pairs: Eigenpairs,
    v: Array,
    w: Array,
    a: Array,
    tolerance: float,
) -> Trial | None:
    """Return the best combinations of w = (reg/unit) G v = Khat a / unit for ``objective``, or None.

    None where the iteration has not ended, of whose images some were in float32; and where the certificate of a fit
    might refuse it, or leave components out, for its rounding (`evidence.judged`): then only a fit tells.
    """
    xp, n = operator.xp, operator.n
    if len(pairs.values) < objective.k or not independent(v):
        return None
    centred = operator.centre(w)
    if not _ended(operator, objective, pairs, v, centred):
        return None
    best, theta = _best(operator, v, w, centred, objective.k)
    if best.shape[1] < objective.k or theta[-1] <= 2.0 * NEGLIGIBLE * theta[0]:
        return None
    combine = xp.asarray(np.asfortranarray(best, dtype=operator.dtype))
    values, weights = operator.backend.matmul(w, combine), operator.backend.matmul(a, combine)
    if not _clear(operator, values, weights, theta, tolerance):
        return None
    contrasts = values[n:].astype(float)
    return Trial(
        gamma=objective.reg / (operator.unit * theta),
        invariance=operator.backend.to_host((operator.contrast_factor[:, None] * contrasts**2).sum(axis=0)),
        coefficients=operator.coefficients(weights),
        intercept=-operator.means(values[:n]) if objective.center else xp.zeros(objective.k, operator.dtype),
    )


def _ended(operator: ConditionedKernel, objective: Objective, pairs: Eigenpairs, v: Array, image: Array) -> bool:
    """Return whether the iteration ended by its residuals: by those that it saw, and by those of this exact image."""
    heights, k = pairs.values, objective.k
    seen = operator.backend.to_host(column_norms(image[:, :k] - operator.xp.asarray(heights) * v[:, :k]))
    residuals = np.maximum(pairs.residuals, seen)
    wanted = Accuracy(TRIED, least=least_active(operator, objective)).wants(heights, residuals)
    return bool((residuals <= 2.0 * TRIED * heights)[wanted].all())


def _best(operator: ConditionedKernel, v: Array, w: Array, centred: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best combinations (p, k') of w, and |H w|^2 beside v^T H w of each (k',)."""
    backend, xp = operator.backend, operator.xp
    energies, masses = backend.to_host(xp.stack([backend.matmul(v.T, centred), backend.matmul(centred.T, centred)]))
    best = lowest(0.5 * (energies + energies.T), masses, k)
    return best, 1.0 / (best * (energies @ best)).sum(axis=0)


def _clear(operator: ConditionedKernel, values: Array, weights: Array, theta: np.ndarray, tolerance: float) -> bool:
    """Return whether the rounding of functions with these values and coefficients is no reason to refuse a fit."""
    scale, epsilon = operator.rounding_scale, float(operator.xp.finfo(operator.dtype).eps)
    lengths, plain, norms = operator.backend.to_host(
        operator.xp.stack(
            [
                column_norms(weights if scale is None else scale * weights),
                column_norms(weights),
                column_products(weights, values),  # times the unit
            ]
        )
    )
    rounding, bound = operator.rounding * lengths, _CLEAR * tolerance
    clear = (
        (rounding * np.maximum.accumulate(np.maximum(lengths * theta, 1.0)) <= bound)
        & (_SOLVED * epsilon * plain <= bound)
        & (rounding * lengths <= _CLEAR * math.sqrt(tolerance) * norms)
    )
    return bool(clear.all())
