"""Errors of probes along a learning curve: least squares on the first 30, 40, ... labelled points of many draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends import get_backend
from ._class_errors import ProbabilityErrors, errors_of

__all__ = ["Probe", "prefix_errors", "prefix_errors_of"]

Probe = Callable[[Any, Any], Callable[[Any], Any]]

LEAST_PIVOT = 1e-6
"""Share of itself that a pivot of the normal equations must keep: their solution is then good to 1e-10 or so."""


def prefix_errors(
    z: Array, y: Array, sizes: np.ndarray, test: Array, target: Array, *, reg: float = 0.0, fit_intercept: bool = False
) -> tuple[Array, Array]:
    """Return squared and 0-1 errors (R, D) of ridge probes on the first s points of each of R draws, s in ``sizes``.

    z (R, n, k) and y (R, n, q) are the points and targets of the draws; errors are means over the test points, with
    embedding (t, k) and target (t, q): |prediction - target|^2, and max_c target_c less the target of the class
    predicted (the share of errors if the target is one-hot; the excess over the best guess if it has probabilities).

    The probe is `sslcore.probing.ridge_probe`'s: min_w (1/s) sum |z_i w - y_i|^2 + reg |w|^2, of least norm for
    reg = 0, the intercept not penalised.
    """
    backend = get_backend(z)
    k, sizes = z.shape[2], np.asarray(sizes, np.int64)
    points, tests, penalty = z, test, np.full(k, float(reg))
    if fit_intercept:  # one column more, without a penalty; the centre of the first draw spares its digits
        shift = z[0].mean(axis=0)
        one = backend.xp.ones_like
        points = backend.xp.concatenate([z - shift, one(z[:, :, :1])], axis=2)
        tests = backend.xp.concatenate([test - shift, one(test[:, :1])], axis=1)
        penalty = np.append(penalty, 0.0)
    squared, zero_one = backend.prefix_probes(points, y, sizes, tests, target, penalty, LEAST_PIVOT)
    host = [backend.to_host(a) for a in (z, y, test, target)]
    for r, j in np.argwhere(np.isnan(backend.to_host(squared))).tolist():  # too few points, or linearly dependent
        s = int(sizes[j])
        found = _by_singular_values(host[0][r, :s], host[1][r, :s], host[2], host[3], reg, fit_intercept)
        squared[r, j], zero_one[r, j] = found
    return squared, zero_one


def prefix_errors_of(
    probe: Probe, z: np.ndarray, y: np.ndarray, sizes: np.ndarray, test: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both errors (R, D), as `prefix_errors`, of a probe of the user's: (z, y) to a function of test points.

    All that it is handed is read-only: prefixes and draws share it.
    """
    z, y, test = (_read_only(np.asarray(a)) for a in (z, y, test))
    squared, zero_one = np.empty((2, len(z), len(sizes)))
    for r in range(len(z)):
        for j, s in enumerate(sizes):
            predict = _asked(probe, z[r, :s], y[r, :s])
            if not callable(predict):
                raise TypeError(
                    f"probe(z, y) must return a function of values z (t, k), found {type(predict).__name__}"
                )
            predicted = np.asarray(_asked(predict, test), np.float64)
            if predicted.shape != target.shape or not np.isfinite(predicted).all():
                raise ValueError(
                    f"what probe(z, y) returns must predict finite numbers of shape {target.shape} for {len(test)} "
                    f"test points, found shape {predicted.shape}"
                    + ("" if predicted.shape != target.shape else " with numbers that are not finite")
                )
            squared[r, j], zero_one[r, j] = errors_of(predicted, target)
    return squared, zero_one


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _asked(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Call a function of the user's with arrays that it must not change."""
    try:
        return function(*arrays)
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ValueError(
            "probe must not change the arrays that it is handed, which other sizes and draws share: let it work on "
            f"copies, z = z.copy() ({error})"
        ) from error


def _by_singular_values(
    z: np.ndarray, y: np.ndarray, test: np.ndarray, target: np.ndarray, reg: float, fit_intercept: bool
) -> ProbabilityErrors:
    """Return both errors of one probe by a singular value decomposition, which loses no digits of z."""
    z, y, test = (np.asarray(a, np.float64) for a in (z, y, test))
    shift, level = (z.mean(axis=0), y.mean(axis=0)) if fit_intercept else (0.0, 0.0)
    u, singular, v = np.linalg.svd(z - shift, full_matrices=False)
    used = singular > max(z.shape) * np.finfo(np.float64).eps * singular[0]
    singular, u, v = singular[used], u[:, used], v[used]
    weights = v.T @ ((singular / (singular**2 + len(z) * reg))[:, None] * (u.T @ (y - level)))
    return errors_of((test - shift) @ weights + level, np.asarray(target, np.float64))
