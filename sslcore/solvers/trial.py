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
risk (2e-6 at most: half-moons, digits and noisy samples, 80 to 4,000 views, centred or not, beta of 1 to 1e4)."""

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

    None where the certificate of a fit might refuse it, or leave components out, for its rounding (`evidence.judged`):
    then only a fit tells.
    """
    backend, xp, samples, k = operator.backend, operator.xp, operator.samples, objective.k
    epsilon = float(xp.finfo(operator.dtype).eps)
    if len(pairs.values) < k or not independent(v):
        return None
    wanted = Accuracy(TRIED, least=least_active(operator, objective)).wants(pairs.values, pairs.residuals)
    if not (pairs.residuals <= 2.0 * TRIED * pairs.values)[wanted].all():
        return None
    centred = operator.centre(w)
    energies, masses = backend.to_host(xp.stack([backend.matmul(v.T, centred), backend.matmul(centred.T, centred)]))
    best = lowest(0.5 * (energies + energies.T), masses, k)
    if best.shape[1] < k:
        return None
    theta = 1.0 / (best * (energies @ best)).sum(axis=0)
    combine = xp.asarray(np.asfortranarray(best, dtype=operator.dtype))
    values, weights = backend.matmul(w, combine), backend.matmul(a, combine)
    contrasts = values[operator.n :]
    scale = operator.rounding_scale
    lengths, plain, norms, invariance = backend.to_host(
        xp.stack(
            [
                column_norms(weights if scale is None else scale * weights),
                column_norms(weights),
                column_products(weights, values),  # times the unit
                (operator.contrast_factor[:, None] * contrasts.astype(float) ** 2).sum(axis=0),
            ]
        )
    )
    rounding = operator.rounding * lengths
    bound = _CLEAR * tolerance
    clear = (
        (rounding * np.maximum.accumulate(np.maximum(lengths * theta, 1.0)) <= bound)
        & (_SOLVED * epsilon * plain <= bound)
        & (rounding * lengths <= _CLEAR * math.sqrt(tolerance) * norms)
    )
    if not clear.all() or theta[-1] <= 2.0 * NEGLIGIBLE * theta[0]:
        return None
    n = samples.n
    alpha = samples.rotate_back(weights[:n], weights[n:]) * (xp.sqrt(samples.weight)[:, None] / operator.unit)
    return Trial(
        gamma=objective.reg / (operator.unit * theta),
        invariance=invariance,
        coefficients=samples.restore_order(alpha.astype(operator.dtype)),
        intercept=-operator.means(values[:n]) if objective.center else xp.zeros(k, operator.dtype),
    )
