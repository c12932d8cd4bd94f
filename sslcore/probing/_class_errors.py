"""Errors of a classifier where the probabilities of the classes are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Array, ArrayLike, as_array, namespace, same_kind
from ..backends import get_backend

__all__ = ["ProbabilityErrors", "probability_errors"]

SLACK = 1e-5
"""The sum of the probabilities of a point may miss 1 by so much: what float32 does to a sum of many."""


class ProbabilityErrors(NamedTuple):
    """The two errors that `probability_errors` returns.

    Attributes
    ----------
    squared : float
        Mean of the squared distance of the prediction to the probabilities.
    zero_one : float
        Mean of the best probability less that of the class predicted: the excess of the error rate over the least.

    Examples
    --------
    >>> from sslcore.probing import ProbabilityErrors
    >>> ProbabilityErrors(0.25, 0.0).squared
    0.25
    """

    squared: float
    zero_one: float


@same_kind("decision")
def probability_errors(decision: ArrayLike, probabilities: ArrayLike) -> ProbabilityErrors:
    r"""Compute the errors of predictions against class probabilities: squared, and excess 0-1.

    With p(x) the probabilities and f(x) the prediction, whose largest entry is the class that is predicted,

        squared  = mean_i |f(x_i) - p(x_i)|^2,
        zero_one = mean_i [max_c p_c(x_i) - p_{argmax f(x_i)}(x_i)]  >= 0.

    Labels drawn from p are noise that no classifier can foresee; against p itself, errors tend to 0.  (The measures of
    the half-moons of Cabannes et al. 2023, section 6.)

    Parameters
    ----------
    decision : array (n, t)
        Of a probe fitted to labels, ``probe.decision_function(z)``; of equal entries the first counts.
    probabilities : array (n, t)
        >= 0, of sum 1 in each row; columns in the order of ``probe.classes``.

    Returns
    -------
    ProbabilityErrors

    Raises
    ------
    ValueError
        The shapes differ (was a class missing among the labels?), or rows are no probabilities.

    Examples
    --------
    >>> from sslcore.datasets import half_moons, half_moons_probabilities
    >>> from sslcore.probing import probability_errors, ridge_probe
    >>> x = half_moons(400, seed=0)
    >>> p = half_moons_probabilities(x)
    >>> probe = ridge_probe(x[:200], p[:200].argmax(axis=1), reg=1e-3)
    >>> errors = probability_errors(probe.decision_function(x[200:]), p[200:])
    >>> 0 < errors.zero_one < errors.squared < 1
    True
    """
    decision = as_array(decision, "decision", ndim=2, shape_hint="(n, t)")
    p = as_array(probabilities, "probabilities", ndim=2, shape_hint="(n, t)")
    backend = get_backend(decision, p)
    if decision.shape != p.shape:
        raise ValueError(
            f"decision and probabilities must have one shape, a row for each point and a column for each class, found "
            f"{decision.shape} and {p.shape}; if a class was missing among the labels, take those of probe.classes"
        )
    if not len(p):
        raise ValueError("errors are means over at least one point, found none")
    xp = backend.xp
    p = p.astype(float, copy=False)
    least, off = float(p.min()), float(xp.abs(p.sum(axis=1) - 1.0).max())
    if least < 0 or off > SLACK:
        raise ValueError(
            f"each row of probabilities must have entries >= 0 of sum 1, found a least entry of {least:g} and a sum "
            f"that is off by {off:.3g}; divide the rows by their sums"
        )
    with np.errstate(over="ignore"):
        found = errors_of(decision.astype(float, copy=False), p)
    if not np.isfinite(found.squared):
        raise OverflowError("the squared error is too large for float64; rescale the predictions")
    return found


def errors_of(predicted: Array, target: Array) -> ProbabilityErrors:
    """Return both errors of predictions against targets, (n, t) in float64, which were checked before."""
    chosen = target[namespace(target).arange(len(target)), predicted.argmax(axis=1)]
    squared = float(((predicted - target) ** 2).sum(axis=1).mean())
    return ProbabilityErrors(squared, float((target.max(axis=1) - chosen).mean()))
