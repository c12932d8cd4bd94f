r"""Any self-adjoint T for the exact solver: the eigenbasis of tau I - T takes the place of means and contrasts.

With p^(1/2) on both sides let M = tau I - T = U diag(e) U^T, tau the largest eigenvalue of T (1 for a law of pairs), so
that e >= 0.  Where e = 0 the vectors are the "means" of `sslcore.solvers.exact`; each other one is a contrast with
beta_i = beta e_i, and Khat in this basis, U^T Khat U = [[A, B], [B^T, C]], is all that the solver asks for:

    (beta M + lambda Khat^-1) v = g v,    mu = 1 - beta + beta tau - g.

Centred, functions have mean 0: f = h + b, h in the RKHS and b a number with <f, 1>_p = 0, penalised by ||h||^2 alone.
With H the projector off P^(1/2) 1 their penalty is v^T (H Khat H)^+ v and their T is H T H, hence

    (1/lambda) [K' - K' R (R^T K' R + (lambda/beta) I)^-1 R^T K'],   K' = H Khat H,  R R^T = H (tau I - T) H,

and since R = H R this is H G H with G of Khat and R.  So T is centred first, P^(1/2) 1 is then a vector with e = 0, and
all else is as for groups, where H T H and T have one complement: (I - T) 1 = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..arrays import Array
from ..backends import Backend
from .rotated_gram import RotatedGram

__all__ = ["SpectralBasis"]


@dataclass(frozen=True, eq=False)
class SpectralBasis:
    """The eigenbasis of M, in the words that the solver knows of `sslcore.solvers.groups.Samples`.

    Attributes
    ----------
    n, n_contrasts, n_views : int
        Vectors with e = 0, the others, and all.
    weight : (N,)
        p > 0.
    basis : (N, N)
        U, Fortran order, columns by increasing e.
    scales : (n_contrasts,)
        e > 0.
    tau : float
    """

    n: int
    n_contrasts: int
    n_views: int
    weight: Array
    basis: Array
    scales: Array
    tau: float
    backend: Backend
    method: ClassVar[str] = "Cholesky in the eigenbasis of T"
    dense: ClassVar[bool] = True

    @property
    def xp(self) -> Any:
        """The array namespace."""
        return self.backend.xp

    @classmethod
    def of_complement(cls, complement: Array, measure: np.ndarray, backend: Backend) -> SpectralBasis:
        """Make the basis of M itself, of a law of pairs (tau = 1); M may be overwritten."""
        e, basis = backend.eigh(complement)
        return cls._made(backend.to_host(e), basis, 1.0, measure, backend)

    @classmethod
    def of_operator(cls, operator: np.ndarray, measure: np.ndarray, backend: Backend, *, center: bool) -> SpectralBasis:
        """Make the basis of tau I - T; centred, of H (tau I - T) H."""
        xp, constant = backend.xp, np.sqrt(measure)
        if center:
            image = operator @ constant
            mean = float(constant @ image)
            operator = operator - constant[:, None] * image - image[:, None] * constant
            operator += (mean * constant)[:, None] * constant
            # an eigenvector apart, below all others, which then are those of the centred functions
            low = 2.0 * float(np.abs(operator).sum(axis=1).max()) + 1.0
            operator -= low * (constant[:, None] * constant)
        t, basis = backend.eigh(xp.asarray(operator))
        t, basis = backend.to_host(t)[::-1], xp.asfortranarray(basis[:, ::-1])
        tau = float(t[0])
        e = tau - t
        if center:  # the constant itself, exactly
            column = xp.asarray(constant)[:, None]
            basis = xp.asfortranarray(xp.concatenate([column, basis[:, :-1]], axis=1))
            e = np.concatenate([[0.0], e[:-1]])
        return cls._made(e, basis, tau, measure, backend)

    @classmethod
    def _made(cls, e: np.ndarray, basis: Array, tau: float, measure: np.ndarray, backend: Backend) -> SpectralBasis:
        total = len(e)
        size = max(abs(tau), float(np.abs(e).max()))
        n = int((e <= 4 * total * np.finfo(float).eps * size).sum())
        return cls(
            n=n,
            n_contrasts=total - n,
            n_views=total,
            weight=backend.xp.asarray(measure),
            basis=basis,
            scales=backend.xp.asarray(e[n:]),
            tau=tau,
            backend=backend,
        )

    @property
    def order(self) -> Array:
        """Points stay in the caller's order."""
        out: Array = self.xp.arange(self.n_views)
        return out

    def turned(self, gram: Array) -> RotatedGram:
        """Return Khat (N, N), symmetric, in this basis."""
        n, backend, xp = self.n, self.backend, self.xp
        basis = xp.asfortranarray(self.basis.astype(gram.dtype, copy=False))
        turned = backend.matmul(basis.T, backend.matmul(gram, basis))
        cross, contrast = xp.asfortranarray(turned[:n, n:]), xp.asfortranarray(turned[n:, n:])
        mean = xp.ascontiguousarray(turned[:n, :n])
        for block in (mean, contrast.T):
            backend.mirror(block)
        return RotatedGram(mean, cross, contrast, self)

    def contrast_factor(self, unbiased: bool) -> Array:
        """Return beta_i / beta = e_i of each contrast."""
        return self.scales

    def squared_weights(self) -> Array:
        """Return N sum_a U_ai^2 p_a of each vector i, as a column."""
        out: Array = self.n_views * ((self.basis**2).T @ self.weight)[:, None]
        return out

    def rotate(self, v: Array) -> tuple[Array, Array]:
        """Turn v (N, k) to the vectors with e = 0, and the others."""
        turned = self.backend.matmul(self.basis.T.astype(v.dtype, copy=False), v)
        return turned[: self.n], turned[self.n :]

    def rotate_back(self, u: Array, c: Array) -> Array:
        """Invert `rotate`: return (N, k)."""
        return self.backend.matmul(self.basis.astype(u.dtype, copy=False), self.xp.concatenate([u, c]))

    def restore_order(self, values: Array) -> Array:
        """Return the rows as they are."""
        return values
