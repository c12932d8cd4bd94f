"""Probes: how much of a target a frozen representation explains, linearly or by its nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays import (
    Array,
    as_array,
    check_boolean,
    check_choice,
    check_finite,
    check_integer,
    check_scalar,
    namespace,
    on_host,
    rank_of,
    require_finite,
)
from .backends import get_backend
from .interchange import same_kind

__all__ = ["KNNProbe", "RidgeProbe", "knn_probe", "ridge_probe"]

KNN_BLOCK = 1 << 20
"""Entries of one block of distances of the nearest-neighbour probe: 8 MiB."""


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
        The penalty used: the one of least leave-one-out error.
    regs : array of shape (r,)
        The penalties tried; this and the errors are NumPy arrays on every backend.
    loo_errors : array of shape (r,)
        Leave-one-out error of each: mean squared error, or share of wrong classes.
    loo_squared_errors : array of shape (r,)
        Leave-one-out mean squared error of each (for classes, on the one-hot targets).
    loo_decisions : array of shape (n, t)
        At ``reg``, the decision function at each sample of the probe fitted without that sample.
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

    @same_kind("z")
    def decision_function(self, z: Array) -> Array:
        """Return z coef + intercept, of shape (n, t), in the dtype of ``z`` (n, k)."""
        z = as_array(z, "z", ndim=2, shape_hint="(n, k)")
        if z.shape[1] != self.coef.shape[0]:
            raise ValueError(f"z must have {self.coef.shape[0]} components as in the fit, found shape {z.shape}")
        get_backend(z, self.coef)
        with np.errstate(over="ignore", invalid="ignore"):
            decision = (z @ self.coef + self.intercept).astype(z.dtype, copy=False)
        if not check_finite(decision):
            raise OverflowError(f"the probe's output is too large for {z.dtype}; rescale z")
        return decision

    @same_kind("z")
    def predict(self, z: Array) -> Array:
        """Predict classes (n,), or targets in the shape they had in the fit: (n,) or (n, t).

        Arrays of the kind of ``z``; labels that only NumPy knows, such as strings, are NumPy's.
        """
        decision = self.decision_function(z)
        if self.classes is None:
            return decision[:, 0] if self._flat_target else decision
        chosen = decision.argmax(axis=1)
        return _named(self.classes, chosen, namespace(chosen))

    @same_kind("z", "y")
    def score(self, z: Array, y: Array) -> float:
        """Accuracy, or coefficient of determination R^2 averaged over the targets.

        R^2 = 1 - sum (y - prediction)^2 / sum (y - mean y)^2; a constant target counts 1 if it is
        predicted exactly, else 0.
        """
        prediction = self.predict(z)
        if self.classes is not None:
            labels = _labels(y, len(prediction))
            return float(np.mean(on_host(prediction) == labels))
        target = _targets(y, len(prediction))
        get_backend(prediction, target)
        return _r2(target, prediction)


@same_kind("z", "y")
def ridge_probe(
    z: Array,
    y: Array,
    reg: float | Sequence[float],
    fit_intercept: bool = True,
    *,
    task: str = "auto",
) -> RidgeProbe:
    """Ridge regression or classification on a frozen representation, with exact leave-one-out errors.

    min over w, b of (1/n) sum_i ||w^T z_i + b - y_i||^2 + reg ||w||^2; the intercept b is not penalised.
    Classes are regressed on as one-hot vectors, and predicted by the largest output.

    Parameters
    ----------
    z : array of shape (n, k)
        Representation of n >= 2 samples.
    y : array of shape (n,) or (n, t)
        Targets, on the device of ``z``; or labels of shape (n,), integers, booleans or strings, which are read on the
        host wherever they are.
    reg : float or sequence of floats
        Penalty, positive.  Of several, the one of least leave-one-out error is taken (ties: the least
        leave-one-out squared error, then the first given).
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    task : {"auto", "regression", "classification"}
        "auto": floating-point ``y`` is regression, anything else classification.

    Returns
    -------
    RidgeProbe
        With ``predict``, ``decision_function`` and ``score``.

    Raises
    ------
    ValueError
        If the lengths differ, an entry is not finite, n < 2, ``reg`` is not positive (reg = 0 has no unique
        solution when the components are dependent: take a small one), or there is one class only.
    OverflowError
        If the solution or an error is too large for float64.

    Notes
    -----
    With z centred, Z = U S V^T and n reg kept in the refits, the residual at sample i of the probe fitted
    without i is (y - H y)_i / (1 - H_ii), H = 1 1^T/n + U S^2/(S^2 + n reg) U^T (without intercept: no 1/n).
    Numerator and denominator are computed from the complement of H, U (n reg/(S^2 + n reg)) U^T plus what
    is orthogonal to U and 1, so they are exact also where the probe interpolates.  Singular values below
    the rounding error of the largest count as zero.

    One decomposition, O(n k min(n, k)), serves all of ``reg``: each costs O(n (k + t)) and a product.

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
    >>> ridge_probe(z, ["low"] * 4 + ["high"] * 4, reg=1e-3).predict([[0.5], [6.0]])
    array(['low', 'high'], dtype='<U4')
    """
    z = as_array(z, "z", ndim=2, shape_hint="(n, k)")
    n = z.shape[0]
    if n < 2:
        raise ValueError(f"z must hold at least 2 samples, for leave-one-out errors, found shape {z.shape}")
    regs = _penalties(reg)
    fit_intercept = check_boolean(fit_intercept, "fit_intercept")
    check_choice(task, "task", ("auto", "regression", "classification"))
    if task == "auto":
        kind = (y if hasattr(y, "dtype") else np.asarray(y)).dtype.kind
        task = "regression" if kind in "fc" else "classification"

    engine = get_backend(z)
    xp = engine.xp
    classes = None
    if task == "classification":
        classes, indices = np.unique(_labels(y, n), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least 2 classes, found only {classes[0]!r}")
        indices = xp.asarray(indices)
        target = xp.eye(len(classes))[indices]
    else:
        target = _targets(y, n)
        get_backend(z, target)

    with np.errstate(all="ignore"):
        z_mean, u, s, v = _decompose(z, fit_intercept)
        y_mean = target.mean(axis=0) if fit_intercept else xp.zeros(target.shape[1])
        projection = u.T @ (target - y_mean)
        if n == len(s) + fit_intercept:  # U and 1 span everything: the rest is zero, not rounding noise
            rest, rest_leverage = xp.zeros(target.shape), xp.zeros((n, 1))
        else:
            rest = target - y_mean - u @ projection
            rest_leverage = xp.maximum(1.0 - fit_intercept / n - xp.sum(u**2, axis=1, keepdims=True), 0.0)

        root = xp.asarray(np.sqrt(n * regs))  # (r,); every square is taken of a ratio, so the scale of z is free
        shrinkage = (root / xp.hypot(s[:, None], root)) ** 2  # (rank, r)
        complement = rest_leverage + u**2 @ shrinkage  # 1 - H_ii, (n, r)

        def loo_residual(i: int) -> Array:
            return (rest + u @ (shrinkage[:, i, None] * projection)) / complement[:, i, None]

        measured = []
        for i in range(len(regs)):
            residual = loo_residual(i)
            measured.append(xp.mean(residual**2))
            if classes is not None:
                measured.append(xp.mean((target - residual).argmax(axis=1) != indices))
        numbers = engine.to_host(xp.stack(measured)).reshape(len(regs), -1)
        squared_errors, errors = numbers[:, 0].copy(), numbers[:, -1].copy()
        best = int(np.lexsort((squared_errors, errors))[0])

        scale = xp.hypot(s, root[best])
        coef = v @ ((s / scale / scale)[:, None] * projection)
        intercept = y_mean - z_mean @ coef
    probe = RidgeProbe(
        coef=coef,
        intercept=intercept,
        reg=float(regs[best]),
        regs=regs,
        loo_errors=errors,
        loo_squared_errors=squared_errors,
        loo_decisions=(target - loo_residual(best)).astype(z.dtype, copy=False),
        classes=classes,
        _flat_target=rank_of(y) == 1,
    )
    results = (probe.coef, probe.intercept, probe.loo_squared_errors, probe.loo_decisions)
    if not all(check_finite(result) for result in results):
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

    @same_kind("z")
    def neighbors(self, z: Array) -> tuple[Array, Array]:
        """Distances and indices (n, n_neighbors) of the nearest labelled points, nearest first.

        Indices count all points that were handed over, labelled or not.  Of equal distances the smaller index comes
        first, whatever the blocks and the backend.
        """
        distances, index = self._nearest(z)
        xp = namespace(z)
        return xp.asarray(np.sqrt(distances)), xp.asarray(self.places[index])

    @same_kind("z")
    def predict(self, z: Array) -> Array:
        """Predict the most frequent class (n,) of the neighbours, or the mean of their targets, (n,) or (n, t).

        Of classes with equally many votes the one of the nearest neighbour is taken.  Arrays of the kind of ``z``;
        labels that only NumPy knows, such as strings, are NumPy's.
        """
        _, index = self._nearest(z)
        xp = namespace(z)
        if self.classes is None:
            mean = self.targets[index].mean(axis=1)
            return xp.asarray(mean[:, 0] if self._flat_target else mean)
        votes = self.targets[index]
        # a vote weighs more than all bonuses together; a class gets the bonus of its nearest neighbour
        scores = np.zeros((len(votes), len(self.classes)), np.int64)
        rows = np.arange(len(votes))
        for j in range(self.n_neighbors):
            scores[rows, votes[:, j]] += self.n_neighbors + 1
        best = scores.max(axis=1)
        chosen = votes[rows, np.argmax(scores[rows[:, None], votes] == best[:, None], axis=1)]
        return _named(self.classes, chosen, xp)

    @same_kind("z", "y")
    def score(self, z: Array, y: Array) -> float:
        """Accuracy, or coefficient of determination R^2 averaged over the targets (see :meth:`RidgeProbe.score`)."""
        prediction = self.predict(z)
        if self.classes is not None:
            return float(np.mean(on_host(prediction) == _labels(y, len(prediction))))
        return _r2(on_host(_targets(y, len(prediction))), on_host(prediction))

    def _nearest(self, z: Array) -> tuple[np.ndarray, np.ndarray]:
        z = as_array(z, "z", ndim=2, shape_hint="(n, k)", finite=False)
        if z.shape[1] != self.z.shape[1]:
            raise ValueError(f"z must have {self.z.shape[1]} components as in the fit, found shape {z.shape}")
        return _nearest(z, self.z, self.n_neighbors)


@same_kind("z", "y", "labelled")
def knn_probe(
    z: Array,
    y: Array,
    n_neighbors: int,
    *,
    labelled: Array | None = None,
    task: str = "auto",
) -> KNNProbe:
    """Nearest neighbours of a frozen representation: majority vote, or mean, of the nearest labelled points.

    Parameters
    ----------
    z : array of shape (n, k)
        Representation of n points, by Euclidean distance (divide rows by their norms for the cosine).
    y : array of shape (n,) or (n, t)
        Targets, or labels of shape (n,): integers, booleans or strings.  Points without a label are allowed, and are
        nobody's neighbours: they are those with label -1 (as in ``sklearn.semi_supervised``) if ``y`` is of integers,
        and with NaN (in every target) if it is of floats.
    n_neighbors : int
        At most the number of labelled points.
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

    Notes
    -----
    O(n n' k) by blocks of products, in memory O(block): nothing of size n n' is stored.  Products find the candidates
    of each block (all within their rounding of the n_neighbors-th), differences give the candidates' distances: so
    equal points are at distance 0, and ties are seen as such.

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
    check_choice(task, "task", ("auto", "regression", "classification"))
    values = on_host(y)
    if task == "auto":
        task = "regression" if values.dtype.kind in "fc" else "classification"
    if values.ndim not in (1, 2) or len(values) != len(z):
        raise ValueError(f"z and y must have the same length, found {len(z)} and shape {values.shape} of y")
    if labelled is not None:
        chosen = on_host(labelled)
        if chosen.dtype != bool or chosen.shape != (len(z),):
            raise ValueError(
                f"labelled must be a boolean array of shape ({len(z)},), found {chosen.dtype} of shape {chosen.shape}"
            )
    elif values.dtype.kind == "f":
        missing = np.isnan(values).reshape(len(values), -1)
        chosen = ~missing.all(axis=1)
    elif task == "classification" and values.dtype.kind == "i":
        chosen = (values != -1).reshape(len(values), -1).all(axis=1)
    else:
        chosen = np.ones(len(z), bool)
    places = np.flatnonzero(chosen)
    if not len(places):
        raise ValueError("no point has a label: all labels are -1 or NaN, or labelled is False everywhere")
    values = values[places]
    classes = None
    if task == "classification":
        classes, targets = np.unique(_labels(values, len(values)), return_inverse=True)
        if len(classes) < 2:
            hint = (
                ""
                if len(places) == len(z) or labelled is not None
                else (" (points with label -1 or NaN count as not labelled; give labelled= if that is a class)")
            )
            raise ValueError(f"y must hold at least 2 classes, found only {classes[0]!r}{hint}")
    else:
        targets = _targets(values, len(values))
    n_neighbors = check_integer(n_neighbors, "n_neighbors", minimum=1)
    if n_neighbors > len(places):
        raise ValueError(
            f"n_neighbors must be at most the number of labelled points, {len(places)}, found {n_neighbors}"
        )
    points = z if len(places) == len(z) else z[namespace(z).asarray(places)]
    return KNNProbe(points, targets, places, n_neighbors, classes, _flat_target=values.ndim == 1)


def _nearest(z: Array, points: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and indices (n, k) of the nearest ``points``, by (distance, index), on the host."""
    engine = get_backend(z, points)
    xp = engine.xp
    distances = np.full((len(z), k), np.inf)
    index = np.zeros((len(z), k), np.int64)
    side = engine.BLOCK_FACTOR**0.5 * KNN_BLOCK**0.5
    height, width = max(1, int(side / 2)), max(1, int(2 * side))
    centre = points.mean(axis=0, dtype=float)  # products cancel less about it
    epsilon = float(np.finfo(float).eps)
    for start in range(0, len(z), height):
        x = require_finite(z[start : start + height], "z", offset=start).astype(float)
        x_centred = x - centre
        x_norms = (x_centred**2).sum(axis=1)
        rows = slice(start, start + len(x))
        for first in range(0, len(points), width):
            y = points[first : first + width].astype(float)
            y_centred = y - centre
            y_norms = (y_centred**2).sum(axis=1)
            size = x_norms + y_norms.max()
            # of the products, and of what subtracting the centre has rounded
            raw = max(float(xp.abs(x).max()), float(xp.abs(y).max())) * math.sqrt(x.shape[1])
            rounding = epsilon * (4 * (x.shape[1] + 4) * size + 16 * raw * xp.sqrt(size))
            near = x_norms[:, None] + y_norms - 2.0 * (x_centred @ y_centred.T)
            if not math.isfinite(float(size.max()) + raw):
                raise OverflowError("distances between the points are too large for float64; rescale z")
            reach = xp.asarray(distances[rows, -1])
            if len(y) >= k:
                reach = xp.minimum(reach, xp.partition(near, k - 1, axis=1)[:, k - 1] + rounding)
            i, j = xp.nonzero(near <= (reach + rounding)[:, None])
            found = xp.empty(len(i))
            step = max(1, KNN_BLOCK // x.shape[1])
            for s in range(0, len(i), step):
                part = slice(s, s + step)
                found[part] = ((x[i[part]] - y[j[part]]) ** 2).sum(axis=1)
            _merge(distances[rows], index[rows], engine.to_host(i), engine.to_host(j) + first, engine.to_host(found))
    return distances, index


def _merge(distances: np.ndarray, index: np.ndarray, i: np.ndarray, j: np.ndarray, found: np.ndarray) -> None:
    """Put the pairs (i, j) at distances ``found`` among the nearest of each row, in place."""
    n, k = distances.shape
    old = np.repeat(np.arange(n), k)
    row = np.concatenate([old, i])
    values = np.concatenate([distances.ravel(), found])
    names = np.concatenate([index.ravel(), j])
    order = np.lexsort((names, values, row))
    starts = np.searchsorted(row[order], np.arange(n))
    best = order[starts[:, None] + np.arange(k)]
    distances[...], index[...] = values[best], names[best]


def _named(classes: np.ndarray, chosen: Array, xp: Any) -> Array:
    """The classes with these indices, as an array of ``xp`` unless only NumPy knows their kind."""
    if classes.dtype.kind in "US":
        return classes[on_host(chosen)]
    return xp.asarray(classes)[xp.asarray(chosen)]


def _r2(target: Array, prediction: Array) -> float:
    """R^2 averaged over the targets."""
    prediction = prediction.reshape(len(prediction), -1)
    if target.shape != prediction.shape:
        raise ValueError(f"y must have {prediction.shape[1]} targets as in the fit, found shape {target.shape}")
    # relative to the largest deviation, so that no square overflows or underflows
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


def _decompose(z: Array, centre: bool) -> tuple[Array, Array, Array, Array]:
    """Mean (or zero), and U, S, V of the centred z = U diag(S) V^T in float64, up to its numerical rank."""
    engine = get_backend(z)
    xp = engine.xp
    n, k = z.shape
    mean = xp.zeros(k)
    centred = z.astype(np.float64)
    if centre:
        # twice: the first mean is off by a rounding of z, which a nearly constant component would feel
        for _ in range(2):
            shift = centred.mean(axis=0)
            centred -= shift
            mean += shift
    if n >= 2 * k:
        # U from Z V/S instead of from the SVD saves most of the time; where S is so small that U is
        # inaccurate, the SVD's would be too (both are exact for a Z moved by rounding errors)
        with engine.convergent():
            _, s, vt = xp.linalg.svd(xp.linalg.qr(centred, mode="r"), full_matrices=False)
        u = None
    else:
        with engine.convergent():
            u, s, vt = xp.linalg.svd(centred, full_matrices=False)
    rank = int(xp.sum(s > max(n, k) * np.finfo(np.float64).eps * s[0]))
    s, v = s[:rank], vt[:rank].T
    u = centred @ v / s if u is None else u[:, :rank]
    return mean, u, s, v


def _penalties(reg: Any) -> Array:
    values = list(reg) if np.ndim(reg) == 1 else [reg]
    if not values:
        raise ValueError("reg must be a number or a sequence of numbers, found an empty one")
    return np.array([check_scalar(value, "reg", minimum=0.0, strict=True) for value in values])


def _targets(y: Array, n: int) -> Array:
    """Targets as a float64 array (n, t)."""
    y = as_array(y, "y", ndim=(1, 2), shape_hint="(n,) or (n, t)").astype(np.float64, copy=False)
    if y.shape[0] != n:
        raise ValueError(f"z and y must have the same length, found {n} and {y.shape[0]}")
    return y.reshape(n, -1)


def _labels(y: Array, n: int) -> Array:
    """Labels as an array (n,)."""
    y = on_host(y)
    if y.dtype.kind not in "iubUSf":
        raise TypeError(
            f"y must hold integer, boolean or string labels, found dtype {y.dtype}; "
            f"convert it first, for example with numpy.asarray(y).astype(str)"
        )
    if y.ndim != 1:
        raise ValueError(f"labels y must have one dimension (n,), found shape {y.shape}; or task='regression'")
    if len(y) != n:
        raise ValueError(f"z and y must have the same length, found {n} and {len(y)}")
    return as_array(y, "y", ndim=1) if y.dtype.kind == "f" else y
