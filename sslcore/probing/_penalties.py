"""The penalties that a ridge probe chooses from where none are given, and which of them it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import check_scalar, rescaled

__all__ = ["is_auto", "least_error", "log_odds", "penalties", "safe_penalties"]

DECADES = (1, -8)
"""Of the whole grid, in the mean squared distance of the points from their mean; two penalties a decade."""

SAFE = -3
"""Decade down to which a penalty is tried however few labels there are."""

LABELS_PER_DEGREE = 10
"""Labels that each degree of freedom of the probe must have for smaller penalties to be tried."""

FREE = -9
"""Decade of the penalty at which degrees of freedom count as all that there are: below the grid."""


def is_auto(reg: Any) -> bool:
    """Tell whether penalties are to be chosen here."""
    return isinstance(reg, str) and reg == "auto"


def penalties(reg: Any) -> np.ndarray:
    """Check penalties that are given."""
    if isinstance(reg, str):
        raise TypeError(f"reg must be a real number, a sequence of them or 'auto', found {reg!r}")
    values = list(reg) if np.ndim(reg) == 1 else [reg]
    if not values:
        raise ValueError("reg must be a number, a sequence of numbers or 'auto', found an empty sequence")
    return np.array([check_scalar(value, "reg", minimum=0.0) for value in values])


def safe_penalties(squares: np.ndarray, n: int, exponent: int = 0) -> np.ndarray:
    """Return the penalties, in decreasing order, among which leave-one-out errors are no matter of luck.

    They are measured in v = (1/n) sum_i |z_i - mean z|^2 (2^(2 exponent) if that is 0).  Those from 10 v to 10^-3 v are
    always there.  Smaller ones, to 10^-8 v, are there if n is at least ten times the degrees of freedom
    sum_j s_j^2 / (s_j^2 + n reg) that they leave the probe: near interpolation it has about as many as labels, and of
    penalties that hardly differ the leave-one-out error then picks one by chance, often by far too small a one.

    ``squares`` are the s_j^2, the squared singular values of the n centred points, in units of 2^(2 exponent).
    """
    spread = float(squares.sum()) / n or 1.0
    halves = np.arange(2 * DECADES[0], 2 * DECADES[1] - 1, -1)
    units = spread * 10.0 ** (halves / 2)
    degrees = (squares / (squares + n * units[:, None])).sum(axis=1)
    chosen = units[(halves >= 2 * SAFE) | (LABELS_PER_DEGREE * degrees <= n)]
    with np.errstate(all="ignore"):
        found: np.ndarray = rescaled(chosen, 2 * exponent)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise OverflowError("z is too large or too small for its squares to be numbers; rescale z, or give reg")
    return np.array([float(f"{value:.3g}") for value in found])


def log_odds(squares: np.ndarray, n: int, regs: np.ndarray, exponent: int = 0) -> np.ndarray:
    """Return how far each of some penalties is from leaving a probe half of its degrees of freedom: |log(d / (m - d))|.

    d = sum_j s_j^2 / (s_j^2 + n reg) are the degrees of freedom that reg leaves, and m those that all but vanishing
    penalties do, at 10^-9 v; m - d is summed without cancellation.  ``squares`` are as in `safe_penalties`, whose
    unit v is; ``regs`` are in the unit of the data.
    """
    spread = float(squares.sum()) / n
    if spread == 0:
        return np.zeros(len(regs))
    free = n * spread * 10.0**FREE
    weights = n * rescaled(regs, -2 * exponent)[:, None]
    degrees = (squares / (squares + weights)).sum(axis=1)
    lost = (squares / (squares + free) * ((weights - free) / (squares + weights))).sum(axis=1)
    found: np.ndarray = np.abs(np.log(degrees / lost))
    return found


def least_error(errors: np.ndarray, squared_errors: np.ndarray, odds: np.ndarray | None = None) -> int:
    """Return the place of the least error (of equal ones: the least squared error, then the first); NaN is never least.

    ``odds``: `log_odds`, where errors mean nothing; the least of these then.
    """
    if odds is not None:
        errors, squared_errors = np.where(np.isnan(errors), np.nan, odds), errors
    return int(np.lexsort((squared_errors, errors))[0])
