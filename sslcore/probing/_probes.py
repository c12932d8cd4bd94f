"""The ridge probe and the nearest-neighbour probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import (
    TASKS,
    Array,
    ArrayLike,
    as_array,
    check_boolean,
    check_choice,
    check_finite,
    check_integer,
    exponent_of,
    ignore_overflow,
    namespace,
    on_host,
    read_labels,
    read_target,
    read_targets,
    rescaled,
    same_kind,
)
from ..backends import get_backend
from ..declarations.reprs import brief
from ..solvers.nearest import nearest
from ._leave_one_out import RidgePath
from ._penalties import is_auto, least_error, log_odds, penalties, safe_penalties

__all__ = ["KNNProbe", "RidgeProbe", "knn_probe", "ridge_probe"]


@dataclass(frozen=True, eq=False)
class RidgeProbe:
    """A fitted ridge probe, made by :func:`ridge_probe`.

    Attributes
    ----------
    coef : array of shape (k, t)
        Weights, float64; t is the number of targets, or of classes.
    intercept : array of shape (t,)
        Intercepts, zero without them.
    reg : float
        The penalty used: the one of least leave-one-out error, among "auto" as `ridge_probe` says.
    regs : array of shape (r,)
        The penalties tried; this and the errors are NumPy arrays on every backend.
    loo_errors : array of shape (r,)
        Leave-one-out error of each: mean squared error, or share of wrong classes.
    loo_squared_errors : array of shape (r,)
        Leave-one-out mean squared error of each (for classes, on the one-hot targets).
    loo_decisions : array of shape (n, t)
        At ``reg``, the decision function at each sample of the probe fitted without that sample (which, for a sample
        without a label, is the probe itself).
    classes : array of shape (t,) or None
        The sorted classes, a NumPy array; None for regression.

    Examples
    --------
    >>> import sslcore
    >>> probe = sslcore.probing.ridge_probe([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"], reg=[1e-3, 1e-1])
    >>> probe.reg, probe.classes.tolist(), probe.predict([[-1.0], [4.0]]).tolist()
    (0.1, ['a', 'b'], ['a', 'b'])
    """

    coef: Array
    intercept: Array
    reg: float
    regs: np.ndarray
    loo_errors: np.ndarray
    loo_squared_errors: np.ndarray
    loo_decisions: Array
    classes: np.ndarray | None
    _flat_target: bool = field(repr=False)

    __repr__ = brief

    @same_kind("z")
    def decision_function(self, z: ArrayLike) -> Array:
        """Return z coef + intercept, of shape (n, t), in the dtype of ``z`` (n, k)."""
        z = as_array(z, "z", ndim=2, shape_hint="(n, k)")
        if z.shape[1] != self.coef.shape[0]:
            raise ValueError(f"z must have {self.coef.shape[0]} components as in the fit, found shape {z.shape}")
        get_backend(z, self.coef)
        with np.errstate(over="ignore", invalid="ignore"):
            decision: Array = (z @ self.coef + self.intercept).astype(z.dtype, copy=False)
        if not check_finite(decision):
            raise OverflowError(f"the probe's output is too large for {z.dtype}; rescale z")
        return decision

    @same_kind("z")
    def predict(self, z: ArrayLike) -> Array:
        """Predict classes (n,), or targets in the shape they had in the fit: (n,) or (n, t).

        Arrays of the kind of ``z``; labels that only NumPy knows, such as strings, are NumPy's.
        """
        decision = self.decision_function(z)
        if self.classes is None:
            return decision[:, 0] if self._flat_target else decision
        chosen = decision.argmax(axis=1)
        return _named(self.classes, chosen, namespace(chosen))

    @same_kind("z")
    def score(self, z: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy, or R^2 averaged over the targets, on the points that have a label.

        Labels are read as in the fit; words where the classes are numbers, or numbers where they are words, are
        refused.  R^2 = 1 - sum (y - prediction)^2 / sum (y - mean y)^2; a constant target counts 1 if it is
        predicted exactly, else 0.
        """
        return _score(self, z, y)


@same_kind("z")
def ridge_probe(
    z: ArrayLike,
    y: ArrayLike,
    reg: float | Sequence[float] | str = "auto",
    fit_intercept: bool = True,
    *,
    labelled: ArrayLike | None = None,
    task: str = "auto",
) -> RidgeProbe:
    """Fit ridge regression or classification on a frozen representation, with exact leave-one-out errors.

    min over w, b of (1/n) sum_i ||w^T z_i + b - y_i||^2 + reg ||w||^2 over the n points that have a label; the
    intercept b is not penalised.  Classes are regressed on as one-hot vectors, and predicted by the largest output.

    Parameters
    ----------
    z : array of shape (n, k)
        Representation of n >= 2 samples.
    y : array of shape (n,) or (n, t)
        Targets, on the device of ``z``; or labels of shape (n,), integers, booleans or words, which are read on the
        host wherever they are: an array, a masked array, a list, or a column of pandas, polars or Arrow.  Points
        without a label are left out of the fit: those with the label -1 (as in ``sklearn.semi_supervised``) if labels
        are integers, those whose label is missing (masked, None, NaN, NaT, pandas.NA), and those whose targets are all
        NaN.
    reg : "auto", float or sequence of floats
        Penalty, at least 0.  Of several, the one of least leave-one-out error is taken (ties: the least
        leave-one-out squared error, then the first given).  0 is the limit of small penalties: least squares, and where
        several w fit equally well the one of least norm.  "auto": two a decade, from 10 down to 10^-3 times the mean
        squared distance of the n points from their mean (without intercept: from 0), and on to 10^-8 as long as the
        probe has ten labels for each degree of freedom, and the same is taken of these, unless no class has two
        labels: then that which leaves about half of the degrees of freedom (see Notes).  The unit is the spread of all
        columns together: standardise columns that are in unlike units first.
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    labelled : boolean array of shape (n,), optional
        Which points have a label, in place of the marks above (then -1 is a label as any other).
    task : {"auto", "regression", "classification"}
        "auto": floating-point ``y`` is regression, anything else classification.

    Returns
    -------
    RidgeProbe
        With ``predict``, ``decision_function`` and ``score``.

    Raises
    ------
    ValueError
        If the lengths differ, an entry is not finite, ``reg`` is negative, fewer than 2 points have a label, or there
        is one class only.
    TypeError
        If labels are of several kinds, or ``fit_intercept`` is not a boolean.
    OverflowError
        If the solution or an error is too large for float64, or z has no squares to measure "auto" in.

    Notes
    -----
    With z centred, Z = U S V^T and n reg kept in the refits, the residual at sample i of the probe fitted
    without i is (y - H y)_i / (1 - H_ii), H = 1 1^T/n + U S^2/(S^2 + n reg) U^T (without intercept: no 1/n).
    Numerator and denominator are computed from the complement of H, U (n reg/(S^2 + n reg)) U^T plus what
    is orthogonal to U and 1, so they are exact also where the probe interpolates.  Singular values below
    the rounding error of the largest count as zero.

    Where points matter very unequally (an outlier, a category that one sample has alone) 1 - H_ii has few digits left.
    There each reg is solved by decompositions whose errors are relative to each point, and points of leverage almost
    1 are left out of them by Woodbury's identity (``sslcore.probing._leave_one_out`` has the formulas): the errors are
    those that rounding the entries of z would make.

    **Why "auto" ends where it does.**  With few labels a small penalty interpolates them, and there leave-one-out
    errors hardly differ between penalties: which is least is chance, and 10^-6 is often taken where 10^-2 predicts
    better.  Degrees of freedom are d = tr U S^2/(S^2 + n reg) U^T = sum_j s_j^2 / (s_j^2 + n reg), and 10^-3 is tried
    whatever they are.

    **What "auto" takes with one label a class.**  A probe fitted without a sample has then never seen its class: all
    penalties err on all samples, and errors mean nothing.  The least squared error asks for the largest penalty, under
    which outputs are products with class means, and the longest mean wins everywhere.  A penalty that leaves the probe
    half of the degrees of freedom m that it could have, d / (m - d) nearest to 1 (m: d at 10^-9 of the spread), was
    within a point or two of the best in hindsight on most sets of ``bench practice``.

    One decomposition, O(n k min(n, k)), serves all of ``reg``: each costs O(n (k + t)) and a product.  A reg that is
    solved by itself costs O(n k min(n, k)) again, on the host.

    References
    ----------
    Allen, *The relationship between variable selection and data augmentation and a method for
    prediction*, Technometrics 1974 (PRESS); Golub, Heath, Wahba, Technometrics 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.probing import ridge_probe
    >>> z = np.arange(8.0)[:, None]
    >>> probe = ridge_probe(z, 3 * z[:, 0] + 1, reg=[1e-6, 1.0])
    >>> probe.reg, probe.predict([[10.0]]).round(3)
    (1e-06, array([31.]))
    >>> ridge_probe(z, ["low"] * 4 + ["high"] * 4).predict([[0.5], [6.0]])
    array(['low', 'high'], dtype='<U4')
    """
    z = as_array(z, "z", ndim=2, shape_hint="(n, k)")
    n = z.shape[0]
    if n < 2:
        raise ValueError(f"z must hold at least 2 samples, for leave-one-out errors, found shape {z.shape}")
    regs = None if is_auto(reg) else penalties(reg)
    fit_intercept = check_boolean(fit_intercept, "fit_intercept")
    check_choice(task, "task", TASKS)
    found = read_target(y, n, task, labelled)
    if len(found.places) < 2:
        raise ValueError(f"at least 2 points must have a label, for leave-one-out errors, found {len(found.places)}")

    backend = get_backend(z)
    xp = backend.xp
    classes, indices = found.classes, None
    if classes is not None:
        indices = xp.asarray(found.values)
        target = xp.eye(len(classes))[indices]
    else:
        target = found.values
        get_backend(z, target)
    points = z if len(found.places) == n else z[xp.asarray(found.places)]

    with np.errstate(all="ignore"):
        path = RidgePath(points, target, fit_intercept)
        odds = None
        if regs is None:
            of_points = path.squares(), len(points)
            regs = safe_penalties(*of_points, path.z_exponent)
            if classes is not None and len(classes) == len(points):
                odds = log_odds(*of_points, regs, path.z_exponent)
        roots = np.sqrt(len(points)) * np.sqrt(regs)
        largest = int(path.y_exponents.max())
        path.prepare(roots)
        measured = []
        for root in roots:
            residual = path.leave_one_out(root)
            measured.append(xp.mean(rescaled(residual, xp.asarray(path.y_exponents - largest)) ** 2))
            if classes is not None:
                decision = target - rescaled(residual, xp.asarray(path.y_exponents))
                measured.append(xp.mean(decision.argmax(axis=1) != indices))
        numbers = backend.to_host(xp.stack(measured)).reshape(len(regs), -1)
        squared_errors, errors = numbers[:, 0].copy(), numbers[:, -1].copy()
        best = least_error(errors, squared_errors, odds)
        squared_errors = rescaled(squared_errors, 2 * largest)

        coef, intercept = path.solution(roots[best])
        decisions = target - rescaled(path.leave_one_out(roots[best]), xp.asarray(path.y_exponents))
        if len(points) < n:  # the probe fitted without a point that has no label is the probe itself
            everywhere = z @ coef + intercept
            everywhere[xp.asarray(found.places)] = decisions
            decisions = everywhere
    probe = RidgeProbe(
        coef=coef,
        intercept=intercept,
        reg=float(regs[best]),
        regs=regs,
        loo_errors=squared_errors if classes is None else errors,
        loo_squared_errors=squared_errors,
        loo_decisions=decisions.astype(z.dtype, copy=False),
        classes=classes,
        _flat_target=found.flat,
    )
    results = (probe.coef, probe.intercept, probe.loo_squared_errors, probe.loo_decisions)
    if not bool(xp.stack([xp.isfinite(xp.asarray(result)).all() for result in results]).all()):
        raise OverflowError("the probe's solution or its errors are too large to be represented; rescale z and y")
    return probe


@dataclass(frozen=True, eq=False)
class KNNProbe:
    """A k-nearest-neighbour probe, made by :func:`knn_probe`.

    Attributes
    ----------
    z : array of shape (n, k)
        The labelled points.
    targets : array
        Class indices (n,), or float64 targets (n, t); NumPy's.
    places : array of shape (n,)
        Index of each labelled point among all points that were handed over; NumPy's.
    n_neighbors : int
    classes : array or None
        The sorted classes, a NumPy array; None for regression.

    Examples
    --------
    >>> import sslcore
    >>> probe = sslcore.probing.knn_probe([[0.0], [1.0], [2.0], [9.0]], [0, 0, 1, -1], n_neighbors=1)
    >>> probe.classes.tolist(), probe.predict([[8.0]]).tolist(), probe.neighbors([[8.0]])[1].tolist()
    ([0, 1], [1], [[2]])
    """

    z: Array
    targets: np.ndarray
    places: np.ndarray
    n_neighbors: int
    classes: np.ndarray | None
    _flat_target: bool = field(repr=False)

    __repr__ = brief

    @same_kind("z")
    def neighbors(self, z: ArrayLike) -> tuple[Array, Array]:
        """Return distances and indices (n, n_neighbors) of the nearest labelled points, nearest first.

        Indices count all points that were handed over, labelled or not.  Of equal distances the smaller index comes
        first, whatever the blocks and the backend.  Distances beyond float64 raise ``OverflowError``.
        """
        distances, index = self._nearest(z)
        if not np.isfinite(distances).all():
            raise OverflowError("distances between the points are too large for float64; rescale z")
        xp = namespace(z)
        return xp.asarray(distances), xp.asarray(self.places[index])

    @same_kind("z")
    def predict(self, z: ArrayLike) -> Array:
        """Predict the most frequent class (n,) of the neighbours, or the mean of their targets, (n,) or (n, t).

        Of classes with equally many votes the one of the nearest neighbour is taken.  Arrays of the kind of ``z``;
        labels that only NumPy knows, such as strings, are NumPy's.
        """
        _, index = self._nearest(z)
        xp = namespace(z)
        if self.classes is None:
            nearest_targets = self.targets[index]
            with ignore_overflow():
                mean = nearest_targets.mean(axis=1)
            if not np.isfinite(mean).all():  # their sum is too large, they are not
                mean = (nearest_targets / self.n_neighbors).sum(axis=1)
            out: Array = xp.asarray(mean[:, 0] if self._flat_target else mean)
            return out
        votes = self.targets[index]
        # a vote weighs more than all bonuses together; a class gets the bonus of its nearest neighbour
        scores = np.zeros((len(votes), len(self.classes)), np.int64)
        rows = np.arange(len(votes))
        for j in range(self.n_neighbors):
            scores[rows, votes[:, j]] += self.n_neighbors + 1
        best = scores.max(axis=1)
        chosen = votes[rows, np.argmax(scores[rows[:, None], votes] == best[:, None], axis=1)]
        return _named(self.classes, chosen, xp)

    @same_kind("z")
    def score(self, z: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy, or R^2 averaged over the targets, as :meth:`RidgeProbe.score`."""
        return _score(self, z, y)

    def _nearest(self, z: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        z = as_array(z, "z", ndim=2, shape_hint="(n, k)", finite=False)
        if z.shape[1] != self.z.shape[1]:
            raise ValueError(f"z must have {self.z.shape[1]} components as in the fit, found shape {z.shape}")
        return nearest(z, self.z, self.n_neighbors)


@same_kind("z")
def knn_probe(
    z: ArrayLike,
    y: ArrayLike,
    n_neighbors: int = 1,
    *,
    labelled: ArrayLike | None = None,
    task: str = "auto",
) -> KNNProbe:
    """Fit nearest neighbours of a frozen representation: majority vote, or mean, of the nearest labelled points.

    Parameters
    ----------
    z : array of shape (n, k)
        Representation of n points, by Euclidean distance (divide rows by their norms for the cosine).
    y : array of shape (n,) or (n, t)
        Targets, or labels of shape (n,), with marks for points without any, as for `ridge_probe`: these are nobody's
        neighbours.
    n_neighbors : int, default 1
        At most the number of labelled points.  One serves few labels best: of 5 a class, the fifth is far
        away (see Notes).
    labelled : boolean array of shape (n,), optional
        Which points have a label, in place of these marks (then -1 is a label as any other).
    task : {"auto", "regression", "classification"}
        "auto": floating-point ``y`` is regression, anything else classification.

    Returns
    -------
    KNNProbe
        With ``predict``, ``neighbors`` and ``score``.

    Raises
    ------
    ValueError
        If the lengths differ, an entry is not finite, there is one class only, or fewer labelled points than
        ``n_neighbors``.
    TypeError
        If labels are of several kinds.

    Notes
    -----
    With few labels a class one neighbour is better than five on most sets of real data ("Which scale" in the guide).

    O(n n' k) by blocks of products, in memory O(block): nothing of size n n' is stored.  Products find the candidates
    of each block (all within their rounding of the n_neighbors-th), differences give the candidates' distances: so
    equal points are at distance 0, and ties are seen as such.  Coordinates are multiplied by a power of two first, so
    that no square overflows or vanishes.

    References
    ----------
    Cover and Hart, *Nearest neighbor pattern classification*, 1967.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.probing import knn_probe
    >>> z = np.array([[0.0], [1.0], [5.0], [6.0], [7.0]])
    >>> knn_probe(z, ["low", "low", "high", "high", "high"], n_neighbors=3).predict([[0.2], [9.0]])
    array(['low', 'high'], dtype='<U4')
    >>> knn_probe(z, [1.0, 3.0, np.nan, np.nan, 9.0], n_neighbors=2).predict([[0.0]])
    array([2.])
    """
    z = as_array(z, "z", ndim=2, shape_hint="(n, k)")
    check_choice(task, "task", TASKS)
    found = read_target(y, len(z), task, labelled)
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1)
    if n_neighbors > len(found.places):
        raise ValueError(
            f"n_neighbors must be at most the number of labelled points, {len(found.places)}, found {n_neighbors}"
        )
    points = z if len(found.places) == len(z) else z[namespace(z).asarray(found.places)]
    return KNNProbe(points, on_host(found.values), found.places, n_neighbors, found.classes, _flat_target=found.flat)


def _score(probe: RidgeProbe | KNNProbe, z: ArrayLike, y: Any) -> float:
    """Return the accuracy, or R^2, over the points that have a label or a target."""
    prediction = probe.predict(z)
    n = len(prediction)
    if probe.classes is not None:
        labels, places = read_labels(y, n, probe.classes)
        return float(np.mean(on_host(prediction)[places] == labels))
    target, places = read_targets(y, n)
    if isinstance(probe, RidgeProbe):
        get_backend(prediction, target)
    else:
        target, prediction = on_host(target), on_host(prediction)
    return _r2(target, prediction if len(places) == n else prediction[namespace(prediction).asarray(places)])


def _named(classes: np.ndarray, chosen: Array, xp: Any) -> Array:
    """Return the classes with these indices, as an array of ``xp`` unless only NumPy knows their kind."""
    if classes.dtype.kind in "US":
        out: Array = classes[on_host(chosen)]
        return out
    out = xp.asarray(classes)[xp.asarray(chosen)]
    return out


def _r2(target: Array, prediction: Array) -> float:
    """Return R^2 averaged over the targets."""
    prediction = prediction.reshape(len(prediction), -1)
    if target.shape != prediction.shape:
        raise ValueError(f"y must have {prediction.shape[1]} targets as in the fit, found shape {target.shape}")
    # relative to the largest deviation, so that no square overflows or underflows
    shift = -max(exponent_of(target, "y"), exponent_of(prediction, "the prediction")) - 1
    target, prediction = rescaled(target, shift), rescaled(prediction, shift)
    deviation = target - target.mean(axis=0)
    residual = target - prediction
    unit = abs(deviation).max(axis=0)
    constant = unit == 0.0
    unit[constant] = 1.0
    lost = ((residual / unit) ** 2).sum(axis=0)
    total = ((deviation / unit) ** 2).sum(axis=0)
    total[constant] = 1.0
    r2 = 1.0 - lost / total
    r2[constant] = lost[constant] == 0.0
    return float(r2.mean())
