"""The result of a solver: eigenvalues, what they split into, coefficients, and the evidence for them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, shown
from ..declarations.reprs import brief
from ..errors import CertificateError

__all__ = ["TOLERANCE", "Certificate", "Spectrum", "settle"]

TOLERANCE = {np.dtype(np.float64): 1e-6, np.dtype(np.float32): 3e-3}
"""What the residuals of active components are held to."""

BLOCK_GAP = 1e-6
"""Relative distance of 1/gamma_k and 1/gamma_{k+1} below which k cuts a degenerate block (wider in float32)."""

NEGLIGIBLE = 1e-5
"""What a component's 1/gamma is, beside the largest, if it may be lost in the rounding of the matrix."""


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
        max |V^T V - I|, of the components that are present.
    tolerance : float
        What the residuals, rounding errors and orthonormality of all components were held to; the errors of norms to
        its square root.
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
    rounding_errors : (k,)
        Relative errors of gamma and of the functions, as estimated, by the rounding of the kernel matrix or the moments
        themselves, of which residuals know nothing; and by how much gamma and beta invariance + reg norm differ.
    norm_errors : (k,)
        Relative errors of the squared norms, as estimated.

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
    # files that were written before these were measured have none
    rounding_errors: np.ndarray = field(default_factory=lambda: np.zeros(0))
    norm_errors: np.ndarray = field(default_factory=lambda: np.zeros(0))

    __repr__ = brief

    def __post_init__(self) -> None:
        for name in ("rounding_errors", "norm_errors"):
            if np.shape(getattr(self, name)) == (0,):
                object.__setattr__(self, name, np.zeros(np.shape(self.residuals)))

    @property
    def worst(self) -> float:
        """The largest residual, or error by rounding, of a present component."""
        parts = (self.residuals, self.coefficient_residuals, self.stationarity_residuals, self.rounding_errors)
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
                raise ValueError(f"it is damaged: {name} of the certificate is {shown(value)}")
            unknown = name == "condition" and value != value  # NaN
            if kind in ("int", "float") and not (0 <= value <= sys.float_info.max or value == math.inf or unknown):
                raise ValueError(f"it is damaged: {name} of the certificate is {shown(value)}")
            if kind == "np.ndarray" and (value < 0).any():
                raise ValueError(f"it is damaged: {name} of the certificate has the negative value {value.min()!r}")
        if not 0 <= self.rank <= k:
            raise ValueError(f"it is damaged: rank {self.rank} of {k} components")
        for name in ("residuals", "coefficient_residuals", "stationarity_residuals"):
            if np.isnan(getattr(self, name)[: self.rank]).any():
                raise ValueError(f"it is damaged: {name} of the certificate are NaN")


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
    overlaps: np.ndarray,
    residuals: np.ndarray,
    coefficient_residuals: np.ndarray,
    stationarity_residuals: np.ndarray,
    rounding_errors: np.ndarray,
    norm_errors: np.ndarray,
    rounding: float,
    following: float,
    tolerance: float,
    remedy: str,
    **circumstances: Any,
) -> Spectrum:
    """Judge the components found, and fill up to k with zeros.

    A component is good if its residuals and rounding errors, and its ``overlaps`` V^T V with itself and those before
    it, keep the ``tolerance``, and the error of its norm the square root.  A fit with another one is refused with a
    `CertificateError`, unless that one and all after it are beyond the numerical rank: their eigenpairs are not
    determined, they are proved to be inactive, 1/gamma < 1 with all its error, of which ``rounding`` bounds the part
    that no residual sees, and they are small beside the first or that rounding.  (gamma = inf stands for a 1/gamma
    within rounding of 0.)  ``following`` is gamma_{k+1}; ``remedy`` says in a refusal what the solver's matrix does not
    allow, and what to do.  Coefficients and intercept are arrays of ``xp``, all else the host's.
    """
    found = len(gamma)
    worst = np.stack([residuals, coefficient_residuals, stationarity_residuals, rounding_errors]).max(axis=0)
    bent = np.abs(overlaps - np.eye(found))
    before = np.tril(bent).max(axis=1, initial=0.0)  # of each with itself and those before it
    determined = np.isfinite(gamma) & (worst <= tolerance)  # NaN is not
    good = determined & (before <= tolerance) & (norm_errors <= math.sqrt(tolerance))
    theta = np.where(np.isfinite(gamma), 1.0 / np.maximum(gamma, 1e-300), 0.0)
    with np.errstate(invalid="ignore"):
        inactive = np.where(theta > 0, theta * (1.0 + residuals), 0.0) + rounding < 1.0
    small = theta <= max(NEGLIGIBLE * theta.max(initial=0.0), rounding / tolerance)
    keep = good | ~(inactive & small & ~determined)
    rank = found if bool(keep.all()) else int(np.argmin(keep))

    def fill(values: Array, rest: float = 0.0, xp: Any = np) -> Array:
        if rank == k == values.shape[-1]:  # the usual case
            return values.copy()
        out = xp.full((*values.shape[:-1], k), rest, values.dtype)
        out[..., :rank] = values[..., :rank]
        return out

    known = fill(gamma, math.inf)
    if rank < k:
        following = math.inf
    certificate = Certificate(
        residuals=fill(residuals),
        coefficient_residuals=fill(coefficient_residuals),
        stationarity_residuals=fill(stationarity_residuals),
        rounding_errors=fill(rounding_errors),
        norm_errors=fill(norm_errors),
        orthonormality=float(bent[:rank, :rank].max(initial=0.0)),
        tolerance=tolerance,
        eigengap=0.0 if rank < k else max(0.0, following - float(known[-1])),
        cuts_block=rank == k
        and math.isfinite(following)
        and 1 - float(known[-1]) / following <= max(BLOCK_GAP, 0.03 * tolerance),
        rank=rank,
        **circumstances,
    )
    if not bool(good[:rank].all()):
        bad = int(np.argmin(good[:rank]))
        reason = _refusal(bad, gamma, worst, before, norm_errors, rounding, tolerance, remedy)
        raise CertificateError(reason, certificate)
    return Spectrum(
        known,
        fill(invariance),
        fill(norms, math.inf),
        fill(coefficients, xp=xp),
        fill(intercept, xp=xp),
        certificate,
    )


def _refusal(
    bad: int,
    gamma: np.ndarray,
    worst: np.ndarray,
    bent: np.ndarray,
    norm_errors: np.ndarray,
    rounding: float,
    tolerance: float,
    remedy: str,
) -> str:
    """Why component ``bad`` is refused, and what to do."""
    if not math.isfinite(gamma[bad]):
        return (
            f"component {bad} cannot be told from rounding, which leaves its 1/gamma = 1/(1 - mu) uncertain by "
            f"{rounding:.3g}, so that it may be active: {remedy}, or ask for at most {bad} components"
        )
    name = f"component {bad} (mu = {1 - float(gamma[bad]):.6g})"
    if not worst[bad] <= tolerance:
        return f"{name} has a residual of {float(worst[bad]):.3g}, above the tolerance {tolerance:.1g}: {remedy}"
    if not bent[bad] <= tolerance:
        return (
            f"{name} is orthonormal to those before it to {float(bent[bad]):.3g} only, above the tolerance "
            f"{tolerance:.1g}: {remedy}"
        )
    return (
        f"{name} has a norm that is good to {float(norm_errors[bad]):.3g} only, above the tolerance "
        f"{math.sqrt(tolerance):.1g}: {remedy}"
    )
