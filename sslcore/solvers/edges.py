r"""The exact solver of a law of positive pairs: contrasts are the edges, and means are all points.

With p^(1/2) on both sides let M = tau I - T = Q Q^T, tau >= the largest eigenvalue of T (1 for a law of pairs),
whatever the columns of Q are; they need not be orthonormal.  For the eigen-equation (beta M + lambda Khat^-1) v = g v,
mu = 1 - beta + beta tau - g, Woodbury's identity gives

    y = S^-1 Q^T Khat v,    S = Q^T Khat Q + (lambda/beta) I,    w = v - Q y,    G v = Khat w / lambda,

the coefficients P^(-1/2) alpha = (g/lambda) w, and Q^T G v = y / beta, from which the invariance has digits of its own.

* **Edges.**  An edge {i, j} of total weight w has the column (w/2)^(1/2) (p_i^(-1/2) e_i - p_j^(-1/2) e_j): S is as
  large as the number of edges, and each entry of it is a combination of four of Khat.
* **Triangle.**  Where edges are many, or T is a matrix, Q = U^T with U the Cholesky factor of M + c I, c >= 0:
  (beta (M + c I) + lambda Khat^-1) has the same vectors, and tau + c in place of tau.  No eigendecomposition.

w = v - Q y cancels where lambda is small: it is as large as lambda, and has the rounding of v.

* Of pairs c is about rounding, so that small gamma keep their digits.  Where eps |Khat| / (lambda/beta), which rounding
  may take of w, is above `_LOST` times the tolerance, what is amiss in Q^T Khat w = (lambda/beta) y corrects y and w: w
  has the rounding of w then.
* Of a matrix all is known to the rounding of |T| only, and c is a share of it: U is well conditioned, contrasts are
  coordinates, v = Q c, and

    S z = -(lambda/beta) c,    y = c + z,    w = -Q z,    G v = U^-1 y / beta,

  in which nothing cancels.

Centred, functions have mean 0: f = h + b, h in the RKHS and b a number with <f, 1>_p = 0, penalised by ||h||^2 alone.
With H the projector off P^(1/2) 1 their penalty is v^T (H Khat H)^+ v and their T is H T H, hence

    (1/lambda) [K' - K' Q (Q^T K' Q + (lambda/beta) I)^-1 Q^T K'],   K' = H Khat H,  Q Q^T = H (tau I - T) H,

and as Q = H Q this is H G H with G of Khat and Q.  Edges see no constant; of a triangle H U^T is taken, where U has
P^(1/2) 1 as an eigenvector of U^T U, so that U^-1 of a centred vector is centred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..arrays import Array
from ..backends import Backend
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Kernel
from ..kernels._rows import block_height
from ..positives import Law
from .certificate import TOLERANCE
from .exact import ConditionedKernel
from .krylov import Accuracy, block_width, krylov_capacity, top_eigenpairs
from .rotated_gram import RotatedGram

__all__ = ["MOST_EDGES", "ConditionedPairs", "by_edges"]

MOST_EDGES = 1.4
"""Edges, in units of the points, up to which they are the contrasts: then S has no more entries than U and S of N."""

_LEAST_SIZE = 1e-100
"""What T = 0 is taken for, so that there is something to shift by."""

_SLACK = 4.0
"""The shift c of pairs, in units of N eps |M|, at first: Cholesky's rounding is below N eps |M|."""

_SHARE = 0.1
"""The shift c of a matrix, in units of a bound of |M|.  More steps beyond, more rounding below."""

_ENDS = 1e-7, 1e-7
"""Residuals at which the iteration for a matrix ends, in units of the tolerance: they are relative to g + beta c, and
eigenvalues may differ by a millionth of that."""

_LOST = 1e-5
"""What rounding may take of w, eps |Khat| / (lambda/beta), in units of the tolerance, before w is corrected."""


def by_edges(law: Law) -> bool:
    """Tell whether a law on its support is solved by its edges, or by a triangle."""
    return law.matrix is None and len(law.weight) <= MOST_EDGES * law.n_points


class _Contrasts(Protocol):
    """Q, (N, count)."""

    count: int

    def times(self, y: Array) -> Array:
        """Return Q y, in Fortran order."""

    def transposed(self, v: Array) -> Array:
        """Return Q^T v, in Fortran order."""

    def gram(self, khat: Array) -> Array:
        """Return Q^T Khat Q, in Fortran order."""


class _Edges:
    """The edges of a law on its support, as contrasts of points."""

    def __init__(self, law: Law, dtype: np.dtype, backend: Backend) -> None:
        self.backend, self.xp, self.n, self.count = backend, backend.xp, law.n_points, len(law.weight)
        root, p = np.sqrt(law.weight / 2), np.sqrt(law.measure)
        ends = np.concatenate([law.first, law.second])
        scales = np.concatenate([root / p[law.first], -root / p[law.second]]).astype(dtype)
        edges = np.tile(np.arange(self.count), 2)
        self.first, self.second = (self.xp.asarray(part) for part in (law.first, law.second))
        self.scales = [self.xp.asarray(part) for part in np.split(scales, 2)]
        # the r-th edge of each point that has as many: no point is twice in a round, so that rounds add in place
        order = np.argsort(ends, kind="stable")
        begin = np.searchsorted(ends[order], ends[order])
        rank = np.arange(len(order)) - begin
        by_rank = np.argsort(rank, kind="stable")
        chosen, stops = order[by_rank], np.cumsum(np.bincount(rank))[:-1]
        self.rounds = [
            tuple(self.xp.asarray(part[index]) for part in (ends, edges, scales)) for index in np.split(chosen, stops)
        ]

    def times(self, y: Array) -> Array:
        out: Array = self.xp.zeros((y.shape[1], self.n), y.dtype)
        for points, edges, scales in self.rounds:
            out[:, points] += scales * y.T[:, edges]
        return out.T

    def transposed(self, v: Array) -> Array:
        return self._differences(v.T, 0).T

    def _differences(self, rows: Array, start: int) -> Array:
        """Return the differences of columns of rows (any, N) at the ends of the edges from ``start`` on."""
        out: Array = rows.take(self.first[start:], axis=1)
        out *= self.scales[0][start:]
        other = rows.take(self.second[start:], axis=1)
        other *= self.scales[1][start:]
        out += other
        return out

    def gram(self, khat: Array) -> Array:
        out = self.backend.empty_matrix(self.count, self.count, khat.dtype)
        height = block_height(self.n, khat.dtype.itemsize, self.backend)
        for start in range(0, self.count, height):
            block = slice(start, start + height)
            rows = khat[self.first[block]]
            rows *= self.scales[0][block, None]
            other = khat[self.second[block]]
            other *= self.scales[1][block, None]
            rows += other
            del other
            out[block, start:] = self._differences(rows, start)
        self.backend.mirror(out)
        return out.T


class _Triangle:
    """A factor U of M + c I; centred, U H, the ``constant`` being an eigenvector of U^T U."""

    def __init__(self, factor: Array, constant: Array | None, dtype: np.dtype, backend: Backend) -> None:
        xp = backend.xp
        self.backend, self.count = backend, len(factor)
        self.factor = xp.asfortranarray(factor.astype(dtype, copy=False))
        self.constant = None if constant is None else constant.astype(dtype)[:, None]

    def _centred(self, v: Array) -> Array:
        return v if self.constant is None else v - self.constant * (self.constant.T @ v)

    def times(self, y: Array) -> Array:
        return self._centred(self.backend.matmul(self.factor.T, y))

    def transposed(self, v: Array) -> Array:
        return self.backend.matmul(self.factor, self.backend.xp.asfortranarray(self._centred(v)))

    def gram(self, khat: Array) -> Array:
        half = self.backend.matmul(self.factor, khat)
        if self.constant is not None:  # U H Khat H
            half -= (self.factor @ self.constant) * (self.constant.T @ khat)
            half -= (half @ self.constant) * self.constant.T
        # exactly symmetric, as its halves are taken for each other
        out = self.backend.matmul(half, self.factor.T)
        self.backend.mirror(out.T)
        return out


class _Basis(_Triangle):
    """A well conditioned triangle, whose contrasts are coordinates; ``size`` is the largest diagonal entry of U^T U."""

    def __init__(self, factor: Array, constant: Array | None, dtype: np.dtype, backend: Backend) -> None:
        super().__init__(factor, constant, dtype, backend)
        self.size = float(backend.xp.einsum("ij,ij->j", self.factor, self.factor).max())

    def coordinates(self, v: Array) -> Array:
        """Return c with Q c = v, of v that are centred if functions are."""
        return self.backend.triangular_solve(self.factor, self.backend.xp.asfortranarray(v), transposed=True)

    def with_contrasts(self, y: Array) -> Array:
        """Return v with Q^T v = y."""
        return self.backend.triangular_solve(self.factor, self.backend.xp.asfortranarray(y))


@dataclass(frozen=True, eq=False)
class _Points:
    """The points themselves, in the words that the solver knows of `sslcore.solvers.groups.Samples`."""

    n: int
    n_views: int
    n_contrasts: int
    weight: Array
    tau: float
    method: str
    dense: bool  # whether Q mixes all points, so that products with it round more
    xp: Any

    @property
    def order(self) -> Array:
        """Points stay in the caller's order."""
        out: Array = self.xp.arange(self.n)
        return out

    def contrast_factor(self, unbiased: bool) -> Array:
        """Return beta_i / beta of each contrast."""
        out: Array = self.xp.ones(self.n_contrasts)
        return out

    def squared_weights(self) -> Array:
        """Return N p, as a column."""
        out: Array = self.n * self.weight[:, None]
        return out

    def rotate(self, v: Array) -> tuple[Array, Array]:
        """Return v, and nothing."""
        return v, v[:0]

    def rotate_back(self, u: Array, c: Array) -> Array:
        """Return u."""
        return u

    def restore_order(self, values: Array) -> Array:
        """Return the rows as they are."""
        return values


class _PointGram(RotatedGram):
    """Khat (N, N) itself, and the Gram matrix of the contrasts."""

    def diagonal(self) -> Array:
        out: Array = self.mean.diagonal()
        return out


class ConditionedPairs(ConditionedKernel):
    """G of the module's docstring, times reg / unit, for a law on its support and Khat = P^(1/2) K P^(1/2) there."""

    basis: _Basis | None = None

    def __init__(self, khat: Array, law: Law, kernel: Kernel, backend: Backend, *, center: bool) -> None:
        tau, dtype = 1.0, khat.dtype
        edges = by_edges(law)
        if edges:
            self.contrasts: _Contrasts = _Edges(law, dtype, backend)
        else:
            tau, factor = _triangle(law, center, backend)
            constant = backend.xp.asarray(np.sqrt(law.measure)) if center else None
            if law.matrix is None:
                self.contrasts = _Triangle(factor, constant, dtype, backend)
            else:
                self.basis = self.contrasts = _Basis(factor, constant, dtype, backend)
                if dtype == np.float64:
                    self.ends = _ENDS
            del factor
        total, count = len(khat), self.contrasts.count
        method = f"Cholesky of {'edges' if edges else 'points with T'}"
        weight = backend.xp.asarray(law.measure)
        points = _Points(total, total, count, weight, tau, method, not edges, backend.xp)
        blocks = _PointGram(khat, backend.xp.zeros((total, 0), dtype), self.contrasts.gram(khat), points)
        super().__init__(blocks, kernel, backend, unbiased=True, center=center)

    def _require_semidefinite(self) -> None:
        """Refuse a matrix with a clearly negative eigenvalue: Cholesky of Khat, shifted by rounding."""
        xp, total = self.xp, self.n
        full = self.a.copy(order="F")
        shift = 1e4 * float(xp.finfo(full.dtype).eps) * abs(self.unit)
        index = xp.arange(total)
        full[index, index] += full.dtype.type(shift)
        if self.backend.cholesky(full):
            return
        lowest, highest = self._extremes(self.a.copy(order="F"))
        if lowest < -shift:
            raise NotPositiveSemidefiniteError(
                f"the kernel is not positive semi-definite: N P^(1/2) K P^(1/2) at the {total} points in pairs has the "
                f"eigenvalue {lowest * total:.6g} (largest {highest * total:.6g}); use a positive semi-definite "
                f"kernel",
                lowest * total,
            )

    def share_factors(self, columns: int) -> bool:
        """Factorise for each reg: contrasts are no coordinates, which the shared factors ask for."""
        return False

    def energies(self, w: Array, other: Array) -> Array:
        """Return w^T M w' of the values of functions."""
        xp, transposed = self.xp, self.contrasts.transposed
        parts = transposed(xp.asfortranarray(w)), transposed(xp.asfortranarray(other))
        return self.backend.matmul(xp.asfortranarray(parts[0]).T, xp.asfortranarray(parts[1]))

    def halves(self, v: Array) -> tuple[Array, Array]:
        """Return v as means, and no contrasts: those are no coordinates."""
        return self.xp.asfortranarray(v), v[:0]

    def corrections(self, v: Array, heights: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return -w and y of the module's docstring."""
        backend, xp, contrasts = self.backend, self.xp, self.contrasts
        if self.noise is None:
            return -v, xp.zeros((contrasts.count, v.shape[1]), v.dtype)
        basis = self._coordinates()
        if basis:
            c = basis.coordinates(v)
            z = backend.cholesky_solve(self.c, xp.asfortranarray(-self.noise * c))
            return contrasts.times(z), c + z
        y = self._solved(v, None)
        w = v - contrasts.times(y)
        if float(xp.finfo(v.dtype).eps) * self.unit > _LOST * TOLERANCE[v.dtype] * self.least_noise:
            step = self._solved(w, y)
            y += step
            w -= contrasts.times(step)
        return -w, y

    def _coordinates(self) -> _Basis | None:
        """Return the basis if w is taken from it: where S is mostly noise, y = c + z cancels, and v - Q y does not."""
        basis = self.basis
        return basis if basis is not None and self.least_noise <= basis.size * self.unit else None

    def _solved(self, v: Array, y: Array | None) -> Array:
        """Return S^-1 (Q^T Khat v - (lambda/beta) y)."""
        right = self.contrasts.transposed(self.backend.matmul(self.a, self.xp.asfortranarray(v)))
        if y is not None:
            right -= self.noise * y
        return self.backend.cholesky_solve(self.c, self.xp.asfortranarray(right))

    def turned(self, v: Array, z: Array) -> Array:
        """Return w."""
        out: Array = self.xp.asfortranarray(-z)
        return out

    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v."""
        if self.noise is None:
            return self.times_kernel(v)
        z, y = self.corrections(v)
        basis = self._coordinates()
        if basis:
            return basis.with_contrasts(y * (self.noise / self.unit))
        return self.times_kernel(-z)

    def completed(self, product: Array, y: Array) -> Array:
        """Return (reg / unit) G v = Khat w / unit."""
        return product

    def times_kernel(self, v: Array) -> Array:
        """Return Khat v / unit."""
        out = self.backend.matmul(self.a, self.xp.asfortranarray(v))
        out /= self.unit
        return out

    def resolved(
        self, v: Array, turned: Array, y: Array, heights: Array, gamma: np.ndarray
    ) -> tuple[Array, Array, Array]:
        """Return v, <v, M v>, and by how much the contrasts of v and those of the eigen-equation, g y / beta, differ.

        As `ConditionedOperator.resolved`, whose contrasts are coordinates: beta M v / g would have the rounding of v,
        which is of length 1, and g may be small.
        """
        inside = self.contrasts.transposed(v)
        c = inside if self.noise is None else y * (self.noise / self.unit) / heights
        return v, (c.astype(float) ** 2).sum(axis=0), inside - c


def _triangle(law: Law, center: bool, backend: Backend) -> tuple[float, Array]:
    """Return tau + c, and U with U^T U = tau I - T + c I; centred, H (tau I - T) H + c I + a share of the constant."""
    xp, total = backend.xp, law.n_points
    constant = xp.asarray(np.sqrt(law.measure))
    if law.matrix is None:
        matrix, tau = xp.asarray(law.complement()).T, 1.0
    else:
        matrix = xp.array(law.matrix, order="F")
        if center:
            image = matrix @ constant
            mean = float((constant * image).sum())
            matrix -= constant[:, None] * image
            matrix -= image[:, None] * constant
            matrix += (mean * constant)[:, None] * constant
        tau = _largest(matrix, constant if center else None, backend)
        matrix *= -1.0
        index = xp.arange(total)
        matrix[index, index] += tau
    size = max(_norm(matrix, backend), abs(tau), _LEAST_SIZE)
    if center:  # the constant is no vector of the centred functions: its eigenvalue is free
        matrix += (size * constant)[:, None] * constant
    shift = (_SLACK * total * float(np.finfo(float).eps) if law.matrix is None else _SHARE) * size
    index, diagonal = xp.arange(total), matrix.diagonal().copy()
    while True:
        matrix[index, index] = diagonal + shift
        if backend.cholesky(matrix):
            break
        shift *= 8  # the lower triangle is left as it was
        backend.mirror(matrix.T)
    height = block_height(total, 8, backend)
    for start in range(0, total, height):
        stop = start + height
        matrix[stop:, start:stop] = 0.0
        matrix[start:stop, start:stop] = xp.triu(matrix[start:stop, start:stop])
    return tau + shift, matrix


def _norm(matrix: Array, backend: Backend) -> float:
    """Return a bound of the eigenvalues of a symmetric matrix: the largest sum of a column."""
    xp, height = backend.xp, block_height(len(matrix), 8, backend)
    sums = [float(xp.abs(matrix[:, s : s + height]).sum(axis=0).max()) for s in range(0, len(matrix), height)]
    norm = float(np.max(sums))  # NaN if there is one
    if not np.isfinite(norm):  # no factorisation would succeed, whatever the shift
        raise ValueError("T overflows or has NaN: its entries must be finite, and far below the largest number")
    return norm


def _largest(matrix: Array, constant: Array | None, backend: Backend) -> float:
    """Return the largest eigenvalue of a symmetric matrix to some 10 digits of its norm; off the ``constant``."""
    xp, total = backend.xp, len(matrix)
    bound = _norm(matrix, backend)
    if total == 1 or bound == 0:
        return float(matrix[0, 0]) if total == 1 else 0.0

    def apply(v: Array) -> Array:
        image = backend.matmul(matrix, v) + bound * v
        if constant is not None:
            image -= constant[:, None] * (constant @ image)
        return image / (2 * bound)

    width = block_width(1, total)
    start = backend.reference_normals(total, width, 0)
    if constant is not None:
        start = start - constant[:, None] * (constant @ start)
    accuracy = Accuracy(1e-6, steps=100)
    found = top_eigenpairs(
        apply, xp.asfortranarray(start), 1, backend, accuracy=accuracy, max_basis=krylov_capacity(width, total)
    )
    return float(found.values[0]) * 2 * bound - bound
