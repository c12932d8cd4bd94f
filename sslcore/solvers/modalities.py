r"""The exact solver of two modalities: pairs (x_i, y_i), a kernel of its own for each, one factorisation of size N.

Functions are pairs (f, g), their values a = f(x) and b = g(y), with norm ||f||^2 + ||g||^2: the kernel of all 2N points
is blockwise, Khat = diag(X, Y), X = P^(1/2) K_x P^(1/2) / 2, p the weights of the pairs, and T exchanges the two values
of a pair.  In the basis of means u = (a + b)/sqrt(2) and contrasts c = (a - b)/sqrt(2) that is [[C, B], [B, C]] with
C = (X + Y)/2, B = (X - Y)/2, so that `sslcore.solvers.conditioned` has

    S = C + D,    z = S^-1 (B u - D c),    y = c + z,    G (u, c) = ((C u - B z)/lambda, y/beta_i).

Neither B nor X is stored: B = C - Y, and with S z = B u - D c

    C u - B z = Y (u + z) + D y,

so that a step takes one product with C, two with Y and one solution.

Each modality has an intercept of its own where functions are centred.  Then H = diag(H', H'), H' the projector off
P^(1/2) 1, commutes with T, and H G H is G of the centred matrices H' X H' and H' Y H' (kernel CCA's): these are kept.

beta = 1, distinct views: (T - lambda Khat^-1) v = mu v is T v = mu (I + (lambda/mu) Khat^-1) v, so that component i is
a canonical pair of kernel CCA, sup E f g over E f^2 + kappa ||f||^2 = E g^2 + kappa ||g||^2 = 1, with the correlation
mu_i and kappa = 2 lambda / mu_i (Bach and Jordan 2002; Hardoon, Szedmak and Shawe-Taylor 2004: one kappa for all).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..errors import NotPositiveSemidefiniteError
from ..kernels import Kernel, Precomputed
from .conditioned import ROUNDING
from .exact import ConditionedKernel
from .groups import Samples
from .pencil import symmetric
from .sums import Sums

__all__ = ["ModalityGram", "TwoModalities", "sums_of_pairs"]


@dataclass(frozen=True, eq=False)
class ModalityGram:
    """The operator of one modality, P^(1/2) K P^(1/2) / 2, centred or not.

    Attributes
    ----------
    matrix : (N, N)
        Exactly symmetric, C order.
    means : (N,) or None
        sum_i p_i k(x_i, x_j) of each j, of the kernel itself, where the matrix is centred.
    squares : float
        Estimates the squared Frobenius norm before centring: what it has rounded.
    """

    matrix: Array
    means: Array | None
    squares: float

    @classmethod
    def of(
        cls, kernel: Kernel, points: Array, weight: np.ndarray | None, center: bool, backend: Backend
    ) -> ModalityGram:
        """Compute it of checked points (of `Precomputed`, of the matrix)."""
        xp, n, dtype = backend.xp, len(points), points.dtype
        step = max(1, tunables.GRAM_CENTRING_BLOCK_ENTRIES // n)
        strips = [slice(start, start + step) for start in range(0, n, step)]
        if isinstance(kernel, Precomputed):
            matrix = xp.array(points, order="C")
        else:
            matrix = backend.empty_matrix(n, n, dtype)
            kernel.rows(points, backend).fill_symmetric(points, matrix, backend)
        p = xp.full(n, 1.0 / n) if weight is None else xp.asarray(weight / weight.sum())
        root = xp.sqrt(p).astype(dtype)
        if weight is None:
            matrix *= dtype.type(0.5 / n)
        else:
            half = dtype.type(0.5) * root
            for rows in strips:
                matrix[rows] *= half[rows, None] * root  # mirrored entries round alike
        trace = float(matrix.diagonal().sum(dtype=float))
        if not math.isfinite(trace):
            raise ValueError("the kernel's values overflow; rescale the data or the kernel")
        if not kernel.trusted:
            _require_semidefinite(matrix, trace, backend)
        some = matrix[:: max(1, n // 64)].astype(float)
        squares = min(trace**2, float((some**2).sum()) * n / len(some))
        if not center:
            return cls(matrix, None, squares)
        image = matrix @ root
        means = 2.0 * image.astype(float) / xp.sqrt(p)
        shift = image - dtype.type(0.5 * float((root * image).sum(dtype=float))) * root
        for rows in strips:  # X - (q r^T + r q^T)
            matrix[rows] -= root[rows, None] * shift + shift[rows, None] * root
        if not float(matrix.diagonal().sum(dtype=float)) > 16 * float(xp.finfo(dtype).eps) * trace:
            raise ValueError(
                "centred, the kernel matrix has less than its rounding: the kernel is constant at the points, or they "
                "lie far from the origin: subtract their mean"
            )
        return cls(matrix, means, squares)


def _require_semidefinite(matrix: Array, trace: float, backend: Backend) -> None:
    """Refuse a matrix with a clearly negative eigenvalue: Cholesky of a copy, shifted by rounding."""
    xp = backend.xp
    shift = 1e4 * float(xp.finfo(matrix.dtype).eps) * abs(trace)
    copy = matrix.copy(order="F")
    index = xp.arange(len(copy))
    copy[index, index] += copy.dtype.type(shift)
    if backend.cholesky(copy):
        return
    copy[...] = matrix
    values = backend.to_host(backend.symmetric_eigenvalues(copy))
    lowest, highest = 2.0 * len(copy) * float(values[0]), 2.0 * len(copy) * float(values[-1])
    if float(values[0]) < -shift:
        raise NotPositiveSemidefiniteError(
            f"the kernel is not positive semi-definite: the Gram matrix of the {len(copy)} points has the eigenvalue "
            f"{lowest:.6g} (largest {highest:.6g}); use a positive semi-definite kernel",
            lowest,
        )


class TwoModalities(ConditionedKernel):
    """The operator G of the module's docstring, times reg / unit; ``unit`` is the trace of both matrices.

    The factor of S lies in the upper triangle of C, whose strict lower triangle keeps C itself, as of its base class.
    The matrices are taken over.
    """

    def __init__(
        self,
        grams: tuple[ModalityGram, ModalityGram],
        samples: Samples,
        backend: Backend,
        *,
        unbiased: bool,
        center: bool,
    ) -> None:
        xp = self.xp = backend.xp
        self.backend, self.samples = backend, samples
        first, second = (gram.matrix for gram in grams)
        self.n, self.dtype = len(first), first.dtype
        traces = [float(matrix.diagonal().sum(dtype=float)) for matrix in (first, second)]
        self.unit = sum(traces)
        if min(traces) <= 0:
            which = "first" if traces[0] <= 0 else "second"
            raise ValueError(f"the kernel of the {which} modality is zero at all points; there is nothing to represent")
        first += second
        first *= 0.5
        self.second, self.c = second, first.T
        self.contrast_factor = samples.contrast_factor(unbiased)
        self.contrast_beta = self.contrast_factor
        self.kept_diagonal = self.c.diagonal().copy()
        self.rounding_scale = self._rounding_scale()
        size = math.sqrt(grams[0].squares + grams[1].squares) / self.unit
        self.rounding = ROUNDING * float(xp.finfo(self.dtype).eps) * size / math.sqrt(samples.n_views)
        self.shifts, self.turned_b, self.factor = None, None, None
        self._ratio: float | None = None
        self._times, self._solve = backend.matmul, backend.cholesky_solve
        self._root: Array | None = None
        if center:
            means, _ = samples.rotate(xp.sqrt(samples.weight)[:, None])
            self._root = means.astype(self.dtype)

    @property
    def algorithm(self) -> str:
        """Name the solver as in `ConditionedOperator`."""
        return "exact: kernel PCA" if self.noise is None else "exact: two modalities, contrast Cholesky"

    @property
    def trace(self) -> float:
        """The trace of Khat, which is centred already if it is to be."""
        return self.unit

    def share_factors(self, columns: int) -> bool:
        """Factorise for each reg: B, which the shared factors ask for, is not stored."""
        return False

    def guess(self, k: int) -> Array | None:
        """Begin with random vectors."""
        return None

    def centre(self, v: Array) -> Array:
        """Return H v: means and contrasts both lose their part along the constant."""
        if self._root is None:
            return v
        root = self._root
        u, c = self.halves(v)
        out: Array = self.xp.empty_like(v, order="F")
        out[: self.n], out[self.n :] = u - root * (root.T @ u), c - root * (root.T @ c)
        return out

    def corrections(self, v: Array, heights: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return z and y as in `ConditionedOperator`."""
        u, c = self.halves(v)
        if self.noise is None:  # infinite
            return -c, self.xp.zeros_like(c)
        cross = self.backend.symmetric_product(self.c, self.kept_diagonal, u)
        cross = self._times(self.second, u, out=cross, alpha=-1.0, beta=1.0)
        return self.corrections_from(self._solve(self.c, self.right_side(cross, c)), c)

    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v."""
        if self.noise is None:
            return self.times_kernel(v)
        z, y = self.corrections(v)
        u, _ = self.halves(v)
        y *= self.noise / self.unit
        z += u
        out: Array = self.xp.empty_like(v, order="F")
        out[: self.n] = self._times(self.second, z) / self.unit + y
        out[self.n :] = y
        return out

    def times_kernel(self, v: Array) -> Array:
        """Return Khat v / unit, from the matrices themselves."""
        both = self.xp.concatenate(self.halves(v), axis=1)
        both = self.xp.asfortranarray(both)
        mean = self.backend.symmetric_product(self.c, self.kept_diagonal, both)
        cross = mean - self._times(self.second, both)
        k = v.shape[1]
        out: Array = self.xp.empty_like(v, order="F")
        out[: self.n] = (mean[:, :k] + cross[:, k:]) / self.unit
        out[self.n :] = (cross[:, :k] + mean[:, k:]) / self.unit
        return out


def sums_of_pairs(joint: Sums, widths: tuple[int, int], backend: Backend, *, center: bool) -> tuple[Sums, Array]:
    """Make the moments of two modalities of those of their joined features, (phi(x), chi(y)); and the joint mean.

    With S_xx = E phi phi^T and so on, about the means if ``center``, the features (phi, 0), (0, chi) of the 2N points
    have Sigma = diag(S_xx, S_yy) / 2 and Delta = [[S_xx, -S_xy], [-S_yx, S_yy]] / 4, half the unbiased one.
    """
    xp, (first, second) = backend.xp, widths
    joint.require_finite()
    covariance = symmetric(joint.between, xp) / joint.weight
    mean, epsilon = joint.mean, float(np.finfo(float).eps)
    constant = covariance.diagonal() <= (4 * epsilon * mean) ** 2  # what is left of these is the rounding of the mean
    for name, part in (("first", constant[:first]), ("second", constant[first:])):
        if bool(part.all()):
            raise ValueError(
                f"the features of the {name} modality are constant: all of its points are the same, and there is "
                f"nothing to represent"
            )
    covariance[constant] = 0.0
    covariance[:, constant] = 0.0
    if not center:
        covariance += mean[:, None] * mean
    between = covariance * 0.25
    within = between.copy()
    within[:first, first:] *= -1.0
    within[first:, :first] *= -1.0
    moments = Sums(
        n=joint.n,
        n_views=2 * joint.n,
        weight=1.0,
        mean=xp.zeros(first + second),
        between=xp.asfortranarray(between),
        within=xp.asfortranarray(within),
        factor=2.0,
        unbiased=None,
    )
    return moments, mean
