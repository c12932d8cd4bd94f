"""Ridge regression and its exact leave-one-out residuals, for a path of penalties.

min over w, b of sum_i ||w^T z_i + b - y_i||^2 + root^2 ||w||^2.  With z centred, Z = U S V^T and
H = 1 1^T/n + U S^2/(S^2 + root^2) U^T, the residual at point i of the fit without it is (y - H y)_i / (1 - H_ii): one
decomposition serves all penalties (`RidgePath`).  Both parts come from the complement of H,
U (root^2/(S^2 + root^2)) U^T plus what is orthogonal to U and 1.

That is right to rounding while no point is far more important than others.  The rounding error of a decomposition is
one of the largest rows, eps s_1, and 1 - H_ii loses its digits where it is far below the others: an outlier, a category
that one sample has alone.  There each penalty is solved by itself (`GradedRidge`), by QR decompositions whose error in
each row is relative to that row (rows sorted by size, columns pivoted: Cox and Higham, *Stability of Householder QR
factorization for weighted least squares problems*, 1998), without centring; and the points B of leverage almost 1 are
left out of the factor A_0 = X_O^T X_O + root^2 I of all others O, by Woodbury's identity

    (I - H)_BB = G^-1,   (y - H y)_B = G^-1 rho,   G = I + X_B A_0^-1 X_B^T,   rho = y_B - X_B A_0^-1 X_O^T y_O,

in which nothing cancels.  Then the residual of each is (G^-1 rho)_i / (G^-1)_ii.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arrays import Array, exponent_of, on_host, rescaled
from ..backends import get_backend

__all__ = ["GradedRidge", "RidgePath"]

TRUSTED = 2.0**16
"""Largest product of condition number and spread of 1 - H_ii for which one decomposition serves: 5 digits are lost."""

ALONE = 2.0**-10
"""Points whose 1 - H_ii is less are left out by the Woodbury identity: three digits; they are about as many as
coefficients at most."""

BUCKET = 10
"""Rows whose sizes agree within a factor 2^10 are reduced to a triangle together."""

LIMIT = 2.0**-400
"""The root that stands for a penalty that vanishes, in units of the largest |z|: its square is far below rounding."""

DEPENDENT = 2.0**-26
"""Least root, in units of typical entries, where columns depend on each other: their differences are rounding errors,
which the root has to exceed, while its square stays below rounding."""

LARGEST = 2.0**400
"""A larger root, in these units, gives zero weights to rounding."""


class RidgePath:
    """Ridge fits of targets y (n, t) on z (n, k) for any penalty, and what each point is without itself."""

    def __init__(self, z: Array, y: Array, fit_intercept: bool) -> None:
        self.backend = get_backend(z, y)
        xp = self.backend.xp
        self.fit_intercept = fit_intercept
        self.z_exponent = exponent_of(z, "z")
        self.y_exponents = np.frexp(self.backend.to_host(abs(y).max(axis=0)))[1]  # of each target
        self._z, self._y = z, rescaled(y, xp.asarray(-self.y_exponents))
        n = len(z)
        self._trusted: dict[float, bool] = {}
        self._complements: dict[float, Array] = {}  # 1 - H_ii of the penalties that were prepared last
        self._z_mean, self._u, self._s, self._v, self._lost = _decompose(rescaled(z, -self.z_exponent), fit_intercept)
        self._y_mean = self._y.mean(axis=0) if fit_intercept else xp.zeros(y.shape[1])
        self._squares = self._u**2  # once for all penalties
        self._projection = self._u.T @ (self._y - self._y_mean)
        self._interpolates = n == len(self._s) + fit_intercept
        if self._interpolates:  # U and 1 span everything: the rest is zero, not rounding noise
            self._rest, self._rest_leverage = xp.zeros(y.shape), xp.zeros(n)
        else:
            self._rest = self._y - self._y_mean - self._u @ self._projection
            self._rest_leverage = xp.maximum(1.0 - fit_intercept / n - xp.sum(self._squares, axis=1), 0.0)
        self._ends = self.backend.to_host(self._s[:: max(1, len(self._s) - 1)])  # largest and smallest singular value
        self._graded: GradedRidge | None = None

    def prepare(self, roots: np.ndarray) -> None:
        """Decide for all of these at once which are solved by the one decomposition: a device is waited for once."""
        xp, places = self.backend.xp, [self._root(root) for root in roots]
        step = max(1, len(self._s))  # columns at a time: what is kept is no larger than U
        for start in range(0, len(places), step):
            some = places[start : start + step]
            shrinkages = xp.stack([self._shrinkage(root) for root in some])
            complements = shrinkages @ self._squares.T + self._rest_leverage
            self._complements = dict(zip(some, complements, strict=True))
            ends = self.backend.to_host(xp.stack([complements.min(axis=1), complements.max(axis=1)]))
            self._decide(some, ends)

    def _decide(self, roots: list[float], ends: np.ndarray) -> None:
        """Decide which penalties are trusted, by the smallest and largest 1 - H_ii of each, (2, number)."""
        for root, least, most in zip(roots, *ends, strict=True):
            condition = self._condition(root)
            if self._interpolates:  # 1 - H_ii is an entry of (Z Z^T + root^2)^-1: it feels the square
                condition = max(condition, condition**2 / 2**8)
            self._trusted[root] = bool(condition * most <= TRUSTED * least)

    def squares(self) -> np.ndarray:
        """Return the squared singular values of the (centred) z, in units of 2^(2 z_exponent)."""
        return np.asarray(self.backend.to_host(self._s), dtype=float) ** 2

    def leave_one_out(self, root: float) -> Array:
        """Return y minus the prediction without each point, (n, t), divided by 2^y_exponents."""
        if self._root(root) not in self._trusted:
            self.prepare(np.array([root]))
        root = self._root(root)
        if not self._trusted[root]:
            out: Array = self.backend.xp.asarray(self._by_itself().fit(root).residuals)
            return out
        shrinkage, complement = self._shrinkage(root), self._complements.get(root)
        if complement is None:
            complement = self._rest_leverage + self._squares @ shrinkage
        out = (self._rest + self._u @ (shrinkage[:, None] * self._projection)) / complement[:, None]
        return out

    def _shrinkage(self, root: float) -> Array:
        """Return root^2 / (S^2 + root^2); where the rest is zero this times a factor, as are `_complements` then."""
        scale = self.backend.xp.hypot(self._s, root)
        # where the rest is zero only ratios count, and a penalty that vanishes has a limit
        shrinkage: Array = ((scale[-1:] if self._interpolates else root) / scale) ** 2
        return shrinkage

    def solution(self, root: float) -> tuple[Array, Array]:
        """Return weights (k, t) and intercepts (t,), in the units of z and y."""
        xp, root = self.backend.xp, self._root(root)
        if self._condition(root) <= TRUSTED:
            scale = xp.hypot(self._s, root)
            coef = self._v @ ((self._s / scale / scale)[:, None] * self._projection)
            intercept = self._y_mean - self._z_mean @ coef
        else:
            found = self._by_itself().fit(root)
            coef, intercept = xp.asarray(found.coef), xp.asarray(found.intercept)
        exponents = xp.asarray(self.y_exponents)
        return rescaled(coef, exponents - self.z_exponent), rescaled(intercept, exponents)

    def _root(self, root: float) -> float:
        return min(float(rescaled(np.array(root), -self.z_exponent)), LARGEST)

    def _condition(self, root: float) -> float:
        """Bound how much larger an error may be than the rounding error that a decomposition makes."""
        if not len(self._ends):
            return math.inf if self._lost else 1.0
        smallest = math.hypot(0.0 if self._lost else float(self._ends[-1]), root)
        return float(self._ends[0]) / smallest if smallest > 0 else math.inf

    def _by_itself(self) -> GradedRidge:
        if self._graded is None:
            z = rescaled(on_host(self._z), -self.z_exponent)
            self._graded = GradedRidge(z, on_host(self._y), self.fit_intercept)
        return self._graded


def _decompose(centred: Array, centre: bool) -> tuple[Array, Array, Array, Array, bool]:
    """Return mean (or zero), and U, S, V of the centred z = U diag(S) V^T up to its numerical rank; z is overwritten.

    The last entry says whether singular values were taken for zero that may not be.
    """
    backend = get_backend(centred)
    xp = backend.xp
    n, k = centred.shape
    mean = xp.zeros(k)
    several = (centred != 0.0).any(axis=0)
    if centre:
        several = centred.max(axis=0) != centred.min(axis=0)
        # twice: the first mean is off by a rounding of z, which a nearly constant component would feel
        for _ in range(2):
            shift = centred.mean(axis=0)
            centred -= shift
            mean += shift
        centred *= several
    if n >= 2 * k:
        # U from Z V/S instead of from the SVD saves most of the time; where S is so small that U is
        # inaccurate, the SVD's would be too (both are exact for a Z moved by rounding errors)
        with backend.convergent():
            _, s, vt = xp.linalg.svd(xp.linalg.qr(centred, mode="r"), full_matrices=False)
        u = None
    else:
        with backend.convergent():
            u, s, vt = xp.linalg.svd(centred, full_matrices=False)
    above = (s > max(n, k) * np.finfo(np.float64).eps * s[0]).sum()
    rank, varying = map(int, backend.to_host(xp.stack([above, several.sum()])))
    s, v = s[:rank], vt[:rank].T
    u = centred @ v / s if u is None else u[:, :rank]
    return mean, u, s, v, rank < min(n - centre, varying)


# ---------------------------------------------------------------- one penalty at a time, rows of any sizes


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """Weights (k, t), intercepts (t,), and leave-one-out residuals (n, t)."""

    coef: np.ndarray
    intercept: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True, eq=False)
class _Factor:
    """R^T R = X^T X + root^2 D^2 with the columns in the order ``order``, and the minimiser w, on some points."""

    triangle: np.ndarray
    order: np.ndarray
    w: np.ndarray

    def whitened(self, x: np.ndarray) -> np.ndarray:
        """Return X R^-1: its rows' squared norms are leverages."""
        return _solve(self.triangle, x[:, self.order].T, transposed=True).T


class GradedRidge:
    """Ridge fits whose error in each row is relative to that row: for points of very different sizes, on the host."""

    def __init__(self, z: np.ndarray, y: np.ndarray, fit_intercept: bool) -> None:
        n, k = z.shape
        self.y, self.fit_intercept = y, fit_intercept
        self._shift = _median(z) if fit_intercept else np.zeros(k)
        x = z - self._shift
        self._rotation = None
        if k > n:  # weights are in the span of the points
            triangle, order, self._rotation = _graded_qr(x.T)
            x = np.empty((n, n))
            x[order] = triangle.T
        exponents = np.array([_typical_exponent(column) for column in x.T], np.int32)
        self._scale = np.ldexp(1.0, -exponents)  # of each weight; exact
        x = x * self._scale
        self._penalty = np.diag(self._scale)
        if fit_intercept:
            x = np.hstack([np.ones((n, 1)), x])
            self._penalty = np.hstack([np.zeros((len(self._scale), 1)), self._penalty])
        self._x = x
        self._all = _reduced(x, y)
        dependent = len(self._all[0]) < int((x != 0.0).any(axis=0).sum())
        self._least = DEPENDENT / float(self._scale.max()) if dependent else LIMIT
        self._last: tuple[float, RidgeFit] | None = None

    def fit(self, root: float) -> RidgeFit:
        """Return the fit for the penalty root^2, or where that is below rounding for one that is little enough."""
        if self._last is None or self._last[0] != root:
            self._last = root, self._fit(max(root, self._least))
        return self._last[1]

    def _fit(self, root: float) -> RidgeFit:
        x, y = self._x, self.y
        full = self._factor(self._all, root)
        complement = 1.0 - np.sum(full.whitened(x) ** 2, axis=1)
        high = np.flatnonzero(complement < ALONE)
        residuals = (y - x @ full.w) / np.where(complement > 0.0, complement, 1.0)[:, None]
        if len(high) == len(x) and self.fit_intercept:  # an intercept needs a point
            residuals = self._all_but_one(root)
        elif len(high):
            residuals[high] = self._without(high, root)
        intercept = full.w[0] if self.fit_intercept else np.zeros(y.shape[1])
        coef = self._scale[:, None] * full.w[int(self.fit_intercept) :]
        if self._rotation is not None:
            coef = self._rotation @ coef
        return RidgeFit(coef, intercept - self._shift @ coef, residuals)

    def _without(self, points: np.ndarray, root: float) -> np.ndarray:
        """Return leave-one-out residuals of ``points``, from the fit without all of them."""
        others = np.ones(len(self._x), bool)
        others[points] = False
        factor = self._factor(_reduced(self._x[others], self.y[others]), root)
        rho = self.y[points] - self._x[points] @ factor.w
        return _left_out(factor.whitened(self._x[points]), rho)[0]

    def _all_but_one(self, root: float) -> np.ndarray:
        """Return leave-one-out residuals of all points, from the fit of an intercept to one of them, f, alone.

        A_0 is diag(1, root^2 D^2) for the value at f and the weights, so that no factor is needed.  (I - H) 1 = 0 gives
        what belongs to f: (I - H)_ff = 1^T G^-1 1 and (y - H y)_f = -1^T G^-1 rho.
        """
        x = self._x[:, 1:]
        first = int(np.argmin(np.abs(x).max(axis=1, initial=0.0)))  # differences to it are as precise as the others
        others = np.delete(np.arange(len(x)), first)
        whitened = np.hstack([np.ones((len(others), 1)), (x[others] - x[first]) / (root * self._scale)])
        residuals: np.ndarray = np.empty_like(self.y)
        residuals[others], residuals[first] = _left_out(whitened, self.y[others] - self.y[first])
        return residuals

    def _factor(self, reduced: tuple[np.ndarray, np.ndarray], root: float) -> _Factor:
        rows, targets = reduced
        padded = np.vstack([targets, np.zeros((len(self._penalty), targets.shape[1]))])
        triangle, order, projection = _graded_triangle(np.vstack([rows, root * self._penalty]), padded)
        w = np.empty((len(triangle), targets.shape[1]))
        w[order] = _solve(triangle, projection)
        return _Factor(triangle, order, w)


def _left_out(whitened: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (G^-1 rho)_i / (G^-1)_ii with G = I + W W^T, and -1^T G^-1 rho / 1^T G^-1 1."""
    # R^T R = G without a product, in which nearly equal points would lose their difference
    stacked = np.vstack([whitened.T, np.eye(len(whitened))])
    triangle, order, _ = _graded_triangle(stacked, np.empty((len(stacked), 0)))
    inverse = _solve(triangle, np.eye(len(whitened)))
    half = inverse.T @ rho[order]
    residuals: np.ndarray = np.empty_like(rho)
    residuals[order] = inverse @ half / np.sum(inverse**2, axis=1)[:, None]
    ones = inverse.sum(axis=0)
    return residuals, -(ones @ half) / np.sum(ones**2)


def _graded_triangle(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return R, order and Q^T b with a[:, order] = Q R as in `_graded_qr`; Q itself would cost as much again."""
    import scipy.linalg

    largest_first = np.argsort(-np.abs(a).max(axis=1, initial=0.0), kind="stable")
    (reflectors, factors), triangle, order = scipy.linalg.qr(
        a[largest_first], mode="raw", pivoting=True, check_finite=False
    )
    product = np.asfortranarray(b[largest_first])
    if b.shape[1]:
        size = max(1, 64 * b.shape[1])  # blocks of 64 reflectors
        product = scipy.linalg.lapack.dormqr("L", "T", reflectors, factors, product, size)[0]
    return triangle, order, product[: len(triangle)]


def _graded_qr(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return R, order and Q with a[:, order] = Q R, its error in each row relative to that row."""
    import scipy.linalg

    largest_first = np.argsort(-np.abs(a).max(axis=1, initial=0.0), kind="stable")
    sorted_q, triangle, order = scipy.linalg.qr(a[largest_first], mode="economic", pivoting=True, check_finite=False)
    q = np.empty_like(sorted_q)
    q[largest_first] = sorted_q
    return triangle, order, q


def _solve(triangle: np.ndarray, b: np.ndarray, *, transposed: bool = False) -> np.ndarray:
    import scipy.linalg

    out: np.ndarray = scipy.linalg.solve_triangular(triangle, b, trans="T" if transposed else "N", check_finite=False)
    return out


def _median(z: np.ndarray) -> np.ndarray:
    """Return the smaller of the two middle values of each column.

    One of the values: most points become small about it, and no difference is rounded beyond itself.
    """
    low, high = (len(z) - 1) // 2, len(z) // 2
    ordered = np.partition(z, [low, high], axis=0)
    out: np.ndarray = np.where(np.abs(ordered[low]) <= np.abs(ordered[high]), ordered[low], ordered[high])
    return out


def _typical_exponent(column: np.ndarray) -> int:
    """Return the exponent of the median of the entries that are not zero."""
    sizes = np.abs(column[column != 0.0])
    return math.frexp(float(_median(sizes[:, None])[0]))[1] if len(sizes) else 0


def _reduced(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return fewer rows and targets with the same normal equations: at most as many as the rank.

    Rows of about one size are reduced together, so no row feels the rounding of much larger ones.
    """
    p = x.shape[1]
    buckets = np.frexp(np.abs(x).max(axis=1, initial=0.0))[1] // BUCKET
    rows: list[np.ndarray] = [np.empty((0, p))]
    targets: list[np.ndarray] = [np.empty((0, y.shape[1]))]
    for bucket in np.unique(buckets):
        chosen = buckets == bucket
        block = np.hstack([x[chosen], y[chosen]])
        if len(block) > p:
            block = np.asarray(np.linalg.qr(block, mode="r"))[:p]
        rows.append(block[:, :p])
        targets.append(block[:, p:])
    stacked, y_stacked = np.vstack(rows), np.vstack(targets)
    if not len(stacked):
        return stacked, y_stacked
    triangle, order, q = _graded_qr(stacked)
    # what is below the rounding of typical entries, which are about 1, is no direction of the points
    rank = int(np.sum(np.abs(triangle.diagonal()) > 8 * np.finfo(float).eps * max(x.shape)))
    kept = np.empty((rank, p))
    kept[:, order] = triangle[:rank]
    return kept, q[:, :rank].T @ y_stacked
