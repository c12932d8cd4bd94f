r"""The operator that exact fits iterate with, whatever it is made of, and all of it that does not depend on that.

With gamma = 1 - mu, the minimisers are the eigenvectors of largest 1/gamma of

    G = (beta (I - T) + lambda Khat^-1)^-1 = (1/lambda) [Khat - Khat Q (Q^T Khat Q + (lambda/beta) I)^-1 Q^T Khat],

I - T = Q Q^T the projector on within-sample contrasts (Woodbury's identity on Khat^-1 + (beta/lambda) Q Q^T; the right
side needs no inverse of Khat and holds for singular ones).  In the basis of sample means u and contrasts c,
Khat = [[A, B], [B^T, C]], D = diag(lambda / beta_i) and S = C + D:

    z = S^-1 (B^T u - D c),    G (u, c) = ((A u - B z) / lambda, (c + z) / beta_i),

beta_i = beta, or beta m/(m-1) (in general beta / (1 - sum q^2), `sslcore.solvers.groups`) when T averages over distinct
views only.  Centred: the eigenvectors of H G H, H the projector off P^(1/2) 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from ..arrays import Array
from ..backends import Backend
from .columns import column_products

__all__ = ["COLD", "NEARBY", "ConditionedOperator"]


ROUNDING = 0.3
"""The rounding E of Khat, over N views, has a norm of at most 0.3 eps |Khat|_F / sqrt(N), as that of random entries.

By first-order perturbation dG = W^T E W / lambda with W = I - Q S^-1 Q^T Khat, and W v_i = (lambda / gamma_i) a_i with
a = P^(-1/2) alpha.  So gamma_i, and v_i along v_j, are off by |W v_j| |E| |a_i| relative to the gap, and the norm
a^T Khat a by |E| |a|^2.  Compared with 70-digit arithmetic (N = 16 to 36) and, in float32, with float64 (N = 100 to
800): errors were up to the estimate, and a tenth of it mostly.  Products with a dense basis round more: |E| was at most
0.75 eps |Khat| (N = 100 to 600), for which eps |Khat|_F is taken.
"""


COLD, NEARBY = 1e-4, 4e-3
"""Residuals at which an iteration ends, in units of the tolerance: from random vectors, and from some near the result.
A residual r of vectors is r^2 in their eigenvalues, but r in the invariance and the norm that these are made of.
"""


class ConditionedOperator(ABC):
    """The operator G of the module's docstring, times reg / unit so that it is of order 1 at any scale of K.

    ``unit`` is the trace of Khat.  Made once; `condition` then sets one reg and beta after the other.

    Attributes
    ----------
    backend, xp, samples, dtype
        Where the work is done; `Samples`, or points in their words; the type of the Gram matrix.
    n : int
        Means; the other coordinates are contrasts.
    unit : float
    constant : (n,) or None
        The means of P^(1/2) 1, where centred.
    contrast_factor, contrast_beta : (n_contrasts,)
        beta_i / beta, and beta_i.
    noise : (n_contrasts, 1) or None
        D; None where there is no condition, and G = Khat / reg.
    least_noise : float
    rounding : float
        Estimates the norm of the rounding of Khat / unit (`ROUNDING`).
    rounding_scale : (N, 1) or None
        By how much rows of it are smaller or larger than the mean.
    jitter, condition_number : float
        What the `Certificate` reports of S.
    algorithm : str
        The solver, in words.
    inexact : bool
        Whether it is applied by an iteration of its own, which `relax` may end earlier.
    ends : (float, float)
        `COLD` and `NEARBY`, or what takes their place.
    """

    inexact: bool = False
    ends: tuple[float, float] = COLD, NEARBY

    backend: Backend
    xp: Any
    samples: Any
    dtype: Any
    n: int
    unit: float
    constant: Any = None
    contrast_factor: Array
    contrast_beta: Array
    noise: Any = None
    least_noise: float = math.inf
    rounding: float
    rounding_scale: Array | None
    jitter: float = 0.0
    condition_number: float = 1.0

    # ------------------------------------------------------------ what an operator of one's own has to say

    @property
    @abstractmethod
    def algorithm(self) -> str:
        """Name the solver, in words."""

    @property
    @abstractmethod
    def trace(self) -> float:
        """The trace of Khat, or of H Khat H: no eigenvalue is larger."""

    @abstractmethod
    def condition(self, reg: float, beta: float) -> Self:
        """Make ready for this reg and beta.  Returns self.

        beta = 0: there is no condition, G = Khat / reg.
        """

    @abstractmethod
    def times_kernel(self, v: Array) -> Array:
        """Return Khat v / unit, from the Gram matrix itself."""

    @abstractmethod
    def corrections(self, v: Array, heights: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return z = S^-1 (B^T u - D c) and y = c + z = S^-1 (B^T u + C c): from whichever cancels less.

        ``heights`` (k,) may tell that v are eigenvectors of (reg / unit) G, with these eigenvalues, so that y is known
        nearly.
        """

    @abstractmethod
    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v."""

    def relax(self, allowed: float) -> bool | None:
        """Hear what the norm of the error of the next `apply` may be, and answer as `krylov.Inexact` says.

        Nothing to do, where images are exact.
        """
        return None

    def state(self) -> dict[str, Any]:
        """Return what an iteration with this operator has left in it, as plain numbers."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027 (nothing to do, where there is no state)
        """Be as when `state` was asked for; conditioned already."""

    def guess(self, k: int) -> Array | None:
        """Return vectors near the leading k, in the rotated basis, if there is a cheap way to them."""
        return None

    # ------------------------------------------------------------ what they share

    def _require_variation(self, centred: bool) -> None:
        """Refuse a kernel that is zero, or, ``centred``, constant at the views; sets ``constant``."""
        xp, samples, dtype = self.xp, self.samples, self.dtype
        if self.unit <= 0:
            raise ValueError("the kernel is zero at all views; there is nothing to represent")
        self.constant = None
        if centred:
            constant, _ = samples.rotate(xp.sqrt(samples.weight)[:, None])
            self.constant = constant[:, 0].astype(dtype)
            if not self.trace > 16 * float(xp.finfo(dtype).eps) * self.unit:
                raise ValueError(
                    f"centred, the kernel matrix has the trace {self.trace:.3g}, of {self.unit:.3g}, which is less "
                    "than its rounding: the kernel is constant at the views, or they lie far from the origin: subtract "
                    "their mean"
                )

    def _estimated_rounding(self, rows: tuple[Array, Array], diagonal: Array) -> float:
        """Estimate ``rounding`` of some rows of A, the same of B, and the diagonal of Khat."""
        epsilon = float(self.xp.finfo(self.dtype).eps)
        share = 1.0 if self.samples.dense else ROUNDING / math.sqrt(self.samples.n_views)
        return share * epsilon * self._size(rows, diagonal)

    def _rounding_scale(self) -> Array | None:
        """Return by how much rows of E are smaller (or larger) than the mean: Khat has P^(1/2) at both sides."""
        xp, weight = self.xp, self.samples.weight
        if float(weight.max()) <= (1 + 1e-6) * float(weight.min()):
            return None
        out: Array = xp.sqrt(self.samples.squared_weights())
        return out

    def _size(self, rows: tuple[Array, Array], diagonal: Array) -> float:
        """Estimate the Frobenius norm of Khat / unit: of some rows, or of the diagonal if that has more."""

        def squares(m: Array) -> float:
            scaled = m.astype(float, copy=False) / self.unit
            scaled *= scaled
            return float(scaled.sum())

        measured = squares(rows[0]) + 2.0 * squares(rows[1])
        contrasts = (float(diagonal[self.n :].sum(dtype=float)) / self.unit) ** 2  # no less than the squares of C
        return math.sqrt(min(1.0, max(measured * self.n / len(rows[0]) + contrasts, squares(diagonal))))

    def centre(self, v: Array) -> Array:
        """Return H v, in Fortran order, or v itself if nothing is centred: no contrast sees a constant."""
        if self.constant is None:
            return v
        out: Array = v.copy(order="F")
        out[: self.n] -= self.constant[:, None] * self.means(v[: self.n])
        return out

    def means(self, u: Array) -> Array:
        """Return P^(1/2) 1 times each column of u, means; not by NumPy's BLAS, whose threads would wait busily."""
        out: Array = (self.constant[:, None] * u).sum(axis=0)
        return out

    def constant_column(self) -> Array:
        """Return P^(1/2) 1 in the rotated basis, as a column: no contrast sees a constant."""
        column: Array = self.xp.zeros((self.samples.n_views, 1), self.dtype)
        column[: self.n, 0] = self.constant
        return column

    def completed(self, product: Array, y: Array) -> Array:
        """Return (reg / unit) G v, as `conditioned` does, where Khat (u, -z) / unit is known: both have A u - B z."""
        if self.noise is None:
            return product
        out: Array = self.xp.concatenate([product[: self.n], y * (self.noise / self.unit)])
        return out

    def turned(self, v: Array, z: Array) -> Array:
        """Return w = (u, -z), of which unit P^(-1/2) alpha is a multiple."""
        out: Array = self.xp.concatenate([self.halves(v)[0], -z])
        return out

    def resolved(
        self, v: Array, turned: Array, y: Array, heights: Array, gamma: np.ndarray
    ) -> tuple[Array, Array, Array]:
        """Return eigenvectors v with contrasts that have digits of their own, <v, (I - T) v>, and what misses 0.

        ``turned`` is (u, -z), and ``heights`` (k,) are the eigenvalues of (reg / unit) G.  The last are the contrasts
        of beta (I - T) v / gamma + w - v.
        """
        u, c = self.halves(v)
        if self.noise is not None:  # gamma y / beta_i has digits of its own, where v has those of a vector of length 1
            c = y * (self.noise / self.unit) / heights
        invariance = (self.contrast_factor[:, None] * c.astype(float) ** 2).sum(axis=0)
        missed = self.contrast_beta[:, None] * c / self.xp.asarray(gamma) + turned[self.samples.n :] - c
        return self.xp.concatenate([u, c]), invariance, missed

    def coefficients(self, weights: Array) -> Array:
        """Return alpha, in the caller's order, of unit P^(-1/2) alpha in the rotated basis."""
        samples, n = self.samples, self.samples.n
        alpha = samples.rotate_back(weights[:n], weights[n:]) * (self.xp.sqrt(samples.weight)[:, None] / self.unit)
        out: Array = samples.restore_order(alpha.astype(self.dtype))
        return out

    def energies(self, w: Array, other: Array) -> Array:
        """Return w^T (tau I - T) w' of the values of functions, (p, p')."""
        scaled = self.contrast_factor.astype(w.dtype)[:, None] * other[self.n :]
        return self.backend.matmul(self.xp.asfortranarray(w[self.n :]).T, self.xp.asfortranarray(scaled))

    def apply(self, v: Array) -> Array:
        """Return (reg / unit) H G H v: rounding lets directions off the centred space into the basis, hence both H."""
        v = self.centre(v)
        return self.centre(self.conditioned(v))

    def halves(self, v: Array) -> tuple[Array, Array]:
        """Split v into means and contrasts, each in Fortran order."""
        return self.xp.asfortranarray(v[: self.n]), self.xp.asfortranarray(v[self.n :])

    def quotients(self, turned: Array, product: Array, y: Array) -> np.ndarray:
        """Return v^T G v reg / unit of columns v, from w = (u, -z), Khat w / unit and y: w^T Khat w + y^T D y.

        As a function of y (z = y - c) this is least at the true one: an error of y counts by its square, and not by its
        first power as in Ritz values.  They are returned decreasing: those of one eigenspace differ by rounding only.
        """
        found = column_products(turned, product)
        if self.noise is not None:
            found = found + column_products(y, (self.noise / self.unit) * y)
        return np.minimum.accumulate(self.backend.to_host(found))
