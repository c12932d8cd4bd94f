"""The result of a solver: eigenvalues, what they split into, coefficients, and the evidence for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Array
from .errors import CertificateError

__all__ = ["TOLERANCE", "Certificate", "Spectrum", "settle"]

TOLERANCE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 3e-3}
"""What the residuals of active components are held to."""

BLOCK_GAP = 1e-6
"""Relative distance of 1/gamma_k and 1/gamma_{k+1} below which k cuts a degenerate block (wider in float32)."""


@dataclass(frozen=True)
class Certificate:
    """Residuals and circumstances of a fit.

    Attributes
    ----------
    algorithm : str
        Which solver, in words.
    residuals : (k,)
        gamma ||G v - v / gamma|| of each component, relative to ||v|| = 1.
    coefficient_residuals : (k,)
        ||f(views) - sqrt(N) v|| / sqrt(N): do the coefficients reproduce the eigenvectors?
    stationarity_residuals : (k,)
        ||beta (I - T) v + lambda sqrt(N) alpha - gamma v|| / gamma: is the eigen-equation itself solved?
    orthonormality : float
        max |V^T V - I|.
    tolerance : float
        What the residuals of all active components were held to.
    eigengap : float
        mu_k - mu_{k+1}.
    cuts_block : bool
        Whether the gap is so small that k cuts a degenerate block: then only the risk and the span of the
        complete blocks before it are defined.
    rank : int
        Components that are numerically present; the rest are zero.
    jitter : float
        What was added to the diagonal before the factorisation, relative to the trace of Khat (0 in the usual case).
    condition : float
        Estimated condition number of the factorised matrix.
    iterations : int
        Block applications of the operator.
    seconds : float
    bytes : int
        Peak memory of the fit as planned, besides the data handed over.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(100, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> c = sslcore.pretrain(views, sslcore.kernels.Exponential(0.2), n_components=3, reg=1e-4).certificate
    >>> c.algorithm, c.rank, c.cuts_block, c.jitter, c.worst < 1e-8
    ('exact: contrast Cholesky', 3, False, 0.0, True)
    """

    algorithm: str
    residuals: np.ndarray
    coefficient_residuals: np.ndarray
    stationarity_residuals: np.ndarray
    orthonormality: float
    tolerance: float
    eigengap: float
    cuts_block: bool
    rank: int
    jitter: float
    condition: float
    iterations: int
    seconds: float
    bytes: int

    @property
    def worst(self) -> float:
        """The largest residual of a present component."""
        parts = (self.residuals, self.coefficient_residuals, self.stationarity_residuals)
        return max((float(p[: self.rank].max()) for p in parts if self.rank), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()} | {"worst": self.worst}

    def check(self, k: int) -> None:
        """Refuse a certificate, read from a file, that is none of k components."""
        for name, kind in self.__annotations__.items():
            value = getattr(self, name)
            if kind == "np.ndarray":
                good = isinstance(value, np.ndarray) and value.shape == (k,) and value.dtype == np.float64
            else:
                good = type(value).__name__ == kind or (kind == "float" and type(value) is int)
            if not good:
                raise ValueError(f"it is damaged: {name} of the certificate is {value!r}")
        if not 0 <= self.rank <= k:
            raise ValueError(f"it is damaged: rank {self.rank} of {k} components")


@dataclass(frozen=True)
class Spectrum:
    """k components in decreasing order of mu = 1 - gamma; beyond the numerical rank gamma = inf and all else 0.

    Coefficients and intercept lie where the data do.  The k numbers of every other kind are NumPy arrays on every
    backend: programs print them and branch on them.

    Attributes
    ----------
    gamma : (k,)
        beta invariance + lambda norm.
    invariance : (k,)
        <f, (I - T) f>, with the T that was asked for.
    norms : (k,)
        Squared norms ||f||_H^2 (inf beyond the rank).
    coefficients : (N or r, k)
        Of the kernel at the views, or of the features.
    intercept : (k,)
        Added to the functions; 0 unless centred.
    certificate : Certificate
    """

    gamma: np.ndarray
    invariance: np.ndarray
    norms: np.ndarray
    coefficients: Array
    intercept: Array
    certificate: Certificate


def settle(
    k: int,
    *,
    xp: Any,
    gamma: np.ndarray,
    invariance: np.ndarray,
    norms: np.ndarray,
    coefficients: Array,
    intercept: Array,
    residuals: np.ndarray,
    coefficient_residuals: np.ndarray,
    stationarity_residuals: np.ndarray,
    following: float,
    tolerance: float,
    **circumstances: Any,
) -> Spectrum:
    """Judge the components found, and fill up to k with zeros.

    A component whose residuals exceed ``tolerance`` is refused with a `CertificateError` if it is active
    (gamma < 1).  If it is not, the representation does not contain it anyway: it and all after it are below
    the rounding of the matrix, and count as beyond the numerical rank.  ``following`` is gamma_{k+1}.  Coefficients and
    intercept are arrays of ``xp``, all else the host's.
    """
    worst = np.maximum(np.maximum(residuals, coefficient_residuals), stationarity_residuals)
    good = np.isfinite(gamma) & (worst <= tolerance)  # NaN is not good
    keep = good | (gamma < 1)
    rank = len(gamma) if bool(keep.all()) else int(np.argmin(keep))

    def fill(values: Array, rest: float = 0.0, xp: Any = np) -> Array:
        out = xp.full((*values.shape[:-1], k), rest, values.dtype)
        out[..., :rank] = values[..., :rank]
        return out

    gamma = fill(gamma, math.inf)
    if rank < k:
        following = math.inf
    certificate = Certificate(
        residuals=fill(residuals),
        coefficient_residuals=fill(coefficient_residuals),
        stationarity_residuals=fill(stationarity_residuals),
        tolerance=tolerance,
        eigengap=0.0 if rank < k else max(0.0, following - float(gamma[-1])),
        cuts_block=rank == k
        and math.isfinite(following)
        and 1 - float(gamma[-1]) / following <= max(BLOCK_GAP, 0.03 * tolerance),
        rank=rank,
        **circumstances,
    )
    if not bool(good[:rank].all()):
        bad = int(np.argmin(good[:rank]))
        raise CertificateError(
            f"component {bad} (mu = {1 - float(gamma[bad]):.6g}) has a residual of {float(worst[bad]):.3g}, above the "
            f"tolerance {tolerance:.1g}: reg is below what the rounding of the kernel matrix allows; raise reg, "
            f"use float64, or use a feature model such as sslcore.features.Nystrom",
            certificate,
        )
    return Spectrum(
        gamma,
        fill(invariance),
        fill(norms, math.inf),
        fill(coefficients, xp=xp),
        fill(intercept, xp=xp),
        certificate,
    )
