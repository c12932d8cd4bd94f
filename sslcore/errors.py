"""Exceptions with a meaning of their own; plain misuse raises ``ValueError`` or ``TypeError``."""

from __future__ import annotations

__all__ = [
    "BackendError",
    "CertificateError",
    "MemoryBudgetError",
    "NotPositiveSemidefiniteError",
]


class BackendError(RuntimeError):
    """A backend that was asked for, or that the arrays need, is not there."""


class MemoryBudgetError(MemoryError):
    """The computation would exceed its memory budget; raised before anything is allocated."""


class NotPositiveSemidefiniteError(ValueError):
    """A matrix that must be positive semi-definite has a clearly negative eigenvalue.

    Attributes
    ----------
    eigenvalue : float
        The most negative eigenvalue found.
    """

    def __init__(self, message: str, eigenvalue: float) -> None:
        super().__init__(message)
        self.eigenvalue = eigenvalue


class CertificateError(ArithmeticError):
    """A result was computed, but its residuals miss the tolerance, so it is not returned.

    Attributes
    ----------
    certificate : sslcore.Certificate
        What was measured.
    """

    def __init__(self, message: str, certificate: object) -> None:
        super().__init__(message)
        self.certificate = certificate
