"""The result of a solver: eigenvalues, what they split into, coefficients, and the evidence for them."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np

from ..arrays import Array, namespace, shown
from ..declarations.reprs import brief
from ..errors import CertificateError, ConvergenceError, NotPositiveSemidefiniteError

__all__ = ["TOLERANCE", "Certificate", "Circumstances", "Components", "Solution", "Spectrum", "certify", "located"]

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
        What the residuals, rounding errors and orthonormality of all components were held to: 1e-6, or 3e-3 where
        products were in float32; the errors of norms to its square root.
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
        Relative errors of the squared norms, as estimated; not that rounding mixes components of nearly equal gamma,
        whose span and norms together are known.

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
        """Return plain numbers and lists, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()} | {"worst": self.worst}

    def check(self, k: int) -> None:
        """Refuse a certificate, read from a file, that is none of k components."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if kind is np.ndarray:
                good = isinstance(value, np.ndarray) and value.shape == (k,) and value.dtype == np.float64
            else:
                good = type(value) is kind or (kind is float and type(value) is int)
            if not good:
                raise ValueError(f"it is damaged: {name} of the certificate is {shown(value)}")
            unknown = name == "condition" and value != value  # NaN
            if kind in (int, float) and not (0 <= value <= sys.float_info.max or value == math.inf or unknown):
                raise ValueError(f"it is damaged: {name} of the certificate is {shown(value)}")
            if kind is np.ndarray and (value < 0).any():
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


@dataclass(frozen=True, eq=False)
class Solution:
    """A spectrum and what a path takes from it.

    Attributes
    ----------
    spectrum : Spectrum
    vectors : (N or r, k')
        The components in the solver's own basis, and perhaps what comes next: the search for those of a problem close
        to it may begin with them.
    values : (N, k) or None
        Of the unit eigenfunctions at the views, in the caller's order, if the solver has them.
    pairs : ((N, k'), (N, k')) or None
        Functions w = Khat a / unit and a, in the solver's own basis, for `sslcore.solvers.reduced_basis`.
    """

    spectrum: Spectrum
    vectors: Array
    values: Array | None = None
    pairs: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Components:
    """The components that a solver found, in increasing order of gamma, with their errors: `certify` judges them.

    Coefficients and intercept lie where the data do, all else on the host.

    Attributes
    ----------
    gamma : (k',)
        inf where 1/gamma is within rounding of 0.
    invariance, norms : (k',)
        <f, (I - T) f>, with the T that was asked for, and ||f||_H^2.
    coefficients : (N or r, k')
    intercept : (k',)
    overlaps : (k', k')
        V^T V of the unit vectors.
    residuals, coefficient_residuals, stationarity_residuals, rounding_errors, norm_errors : (k',)
        Those of the `Certificate`.
    rounding : float
        Bounds the part of the error of 1/gamma that no residual sees.
    next_gamma : float
        gamma_{k+1}; inf if there is none.
    top : float
        mu at gamma = 0: mu = top - gamma.  1 for laws of pairs; `certify` judges gamma, whatever it is.
    """

    gamma: np.ndarray
    invariance: np.ndarray
    norms: np.ndarray
    coefficients: Array
    intercept: Array
    overlaps: np.ndarray
    residuals: np.ndarray
    coefficient_residuals: np.ndarray
    stationarity_residuals: np.ndarray
    rounding_errors: np.ndarray
    norm_errors: np.ndarray
    rounding: float
    next_gamma: float
    top: float = 1.0


@dataclass(frozen=True)
class Circumstances:
    """The algorithm by which components were found and the effort it took, as the `Certificate` reports them."""

    algorithm: str
    jitter: float
    condition: float
    iterations: int
    seconds: float
    bytes: int


def certify(found: Components, k: int, circumstances: Circumstances, *, tolerance: float, remedy: str) -> Spectrum:
    """Judge the components found, and fill up to k with zeros.

    A component is good if its residuals and rounding errors, and its overlaps with itself and those before it, keep the
    ``tolerance``, and the error of its norm the square root.  A fit with another one is refused with a
    `CertificateError`, unless that one and all after it are beyond the numerical rank: their eigenpairs are not
    determined, they are proved to be inactive, mu < 0 with all its error, and they are small beside the first or
    the bound ``found.rounding``.  ``remedy`` says in a refusal what the solver's matrix does not allow, and what to do.
    """
    gamma, rounding = found.gamma, found.rounding
    residuals = (
        found.residuals,
        found.coefficient_residuals,
        found.stationarity_residuals,
        found.rounding_errors,
    )
    worst = np.stack(residuals).max(axis=0)
    bent = np.abs(found.overlaps - np.eye(len(gamma)))
    before = np.tril(bent).max(axis=1, initial=0.0)  # of each with itself and those before it
    determined = np.isfinite(gamma) & (worst <= tolerance)  # NaN is not
    good = determined & (before <= tolerance) & (found.norm_errors <= math.sqrt(tolerance))
    theta = np.where(np.isfinite(gamma), 1.0 / np.maximum(gamma, 1e-300), 0.0)
    with np.errstate(invalid="ignore"):
        inactive = found.top * (np.where(theta > 0, theta * (1.0 + found.residuals), 0.0) + rounding) < 1.0
    small = theta <= max(NEGLIGIBLE * theta.max(initial=0.0), rounding / tolerance)
    keep = good | ~(inactive & small & ~determined)
    rank = len(gamma) if bool(keep.all()) else int(np.argmin(keep))

    def fill(values: Array, rest: float = 0.0) -> Array:
        if rank == k == values.shape[-1]:  # the usual case
            return values.copy()
        out: Array = namespace(values).full((*values.shape[:-1], k), rest, values.dtype)
        out[..., :rank] = values[..., :rank]
        return out

    known = fill(gamma, math.inf)
    next_gamma = math.inf if rank < k else found.next_gamma
    certificate = Certificate(
        residuals=fill(found.residuals),
        coefficient_residuals=fill(found.coefficient_residuals),
        stationarity_residuals=fill(found.stationarity_residuals),
        rounding_errors=fill(found.rounding_errors),
        norm_errors=fill(found.norm_errors),
        orthonormality=float(bent[:rank, :rank].max(initial=0.0)),
        tolerance=tolerance,
        eigengap=0.0 if rank < k else max(0.0, next_gamma - float(known[-1])),
        cuts_block=rank == k
        and math.isfinite(next_gamma)
        and 1 - float(known[-1]) / next_gamma <= max(BLOCK_GAP, 0.03 * tolerance),
        rank=rank,
        **vars(circumstances),
    )
    if not bool(good[:rank].all()):
        bad = int(np.argmin(good[:rank]))
        raise CertificateError(_refusal(found, bad, worst[bad], before[bad], tolerance, remedy), certificate)
    return Spectrum(
        known,
        fill(found.invariance),
        fill(found.norms, math.inf),
        fill(found.coefficients),
        fill(found.intercept),
        certificate,
    )


def located(error: CertificateError | ConvergenceError | NotPositiveSemidefiniteError, where: str) -> Exception:
    """Return the same error, its message after ``where`` among many fits it was raised."""
    message = f"{where}{error}"
    if isinstance(error, CertificateError):
        return CertificateError(message, error.certificate)
    if isinstance(error, ConvergenceError):
        return ConvergenceError(message, error.residual)
    return NotPositiveSemidefiniteError(message, error.eigenvalue)


def _refusal(found: Components, bad: int, worst: float, bent: float, tolerance: float, remedy: str) -> str:
    """Say why component ``bad``, with this worst residual and overlap, is refused, and what to do."""
    if not math.isfinite(found.gamma[bad]):
        return (
            f"component {bad} cannot be told from rounding, which leaves its 1/gamma = 1/({found.top:g} - mu) "
            f"uncertain by {found.rounding:.3g}, so that it may be active: {remedy}, or ask for at most "
            f"{bad} components"
        )
    name = f"component {bad} (mu = {found.top - float(found.gamma[bad]):.6g})"
    if not worst <= tolerance:
        return f"{name} has a residual of {float(worst):.3g}, above the tolerance {tolerance:.1g}: {remedy}"
    if not bent <= tolerance:
        return (
            f"{name} is orthonormal to those before it to {float(bent):.3g} only, above the tolerance "
            f"{tolerance:.1g}: {remedy}"
        )
    return (
        f"{name} has a norm that is good to {float(found.norm_errors[bad]):.3g} only, above the tolerance "
        f"{math.sqrt(tolerance):.1g}: {remedy}"
    )
