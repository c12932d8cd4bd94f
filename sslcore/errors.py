"""Exceptions with a meaning of their own; plain misuse raises ``ValueError`` or ``TypeError``."""

from __future__ import annotations

import math

__all__ = [
    "BackendError",
    "CertificateError",
    "ConvergenceError",
    "ConvergenceWarning",
    "DataWarning",
    "MemoryBudgetError",
    "NotPositiveSemidefiniteError",
    "SelectionWarning",
]


class BackendError(RuntimeError):
    """A backend that was asked for, or that the arrays need, is not there.

    Examples
    --------
    >>> import sslcore
    >>> try:
    ...     sslcore.kernels.Linear()([[1.0]], backend="cupy")
    ... except sslcore.BackendError as error:
    ...     print(type(error).__name__)
    BackendError
    """


class MemoryBudgetError(MemoryError):
    """The computation would exceed its memory budget; raised before anything is allocated.

    Attributes
    ----------
    needed : int
        The bytes that it would take, where they are known; else 0.

    Examples
    --------
    >>> import sslcore
    >>> try:
    ...     sslcore.plan(10**6, 2, 3, sslcore.kernels.Gaussian(1.0), 4, memory="8GB", solver="dense")
    ... except sslcore.MemoryBudgetError as error:
    ...     print(str(error).split(" (")[0])
    this exact fit needs 24 TB of memory, the budget is 8 GB
    """

    def __init__(self, message: str = "", needed: int = 0) -> None:
        super().__init__(message)
        self.needed = needed


class NotPositiveSemidefiniteError(ValueError):
    """A matrix that must be positive semi-definite has a clearly negative eigenvalue.

    Attributes
    ----------
    eigenvalue : float
        The most negative eigenvalue found.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> views = np.random.default_rng(0).normal(size=(5, 2, 3))
    >>> try:
    ...     sslcore.pretrain(views, lambda x, y: -np.exp(-((x[:, None] - y) ** 2).sum(2)), 2, reg=1e-3)
    ... except sslcore.NotPositiveSemidefiniteError as error:
    ...     print(error.eigenvalue < -1)
    True
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

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(200, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> try:
    ...     sslcore.pretrain(views, sslcore.kernels.Gaussian(1.0), 5, reg=1e-15)
    ... except sslcore.CertificateError as error:
    ...     print(error.certificate.worst > error.certificate.tolerance)
    True
    """

    def __init__(self, message: str, certificate: object) -> None:
        super().__init__(message)
        self.certificate = certificate


class ConvergenceError(ArithmeticError):
    """An iteration missed its accuracy within the products with the kernel that it may take; nothing is returned.

    Attributes
    ----------
    residual : float
        The largest that was left, relative to what was solved for.

    Examples
    --------
    >>> import sslcore
    >>> try:
    ...     raise sslcore.ConvergenceError("no convergence within 2,000 products with the kernel", 1e-3)
    ... except ArithmeticError as error:
    ...     print(error.residual)
    0.001
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class ConvergenceWarning(UserWarning):
    """An iteration goes on, but slowly: it takes more products with the kernel than one that is well preconditioned.

    Examples
    --------
    >>> import sslcore
    >>> issubclass(sslcore.ConvergenceWarning, UserWarning)
    True
    """


class DataWarning(UserWarning):
    """Columns or views of the data look as if they were not meant so: a constant, an index, views that hardly differ.

    Examples
    --------
    >>> import sslcore
    >>> issubclass(sslcore.DataWarning, UserWarning)
    True
    """


class SelectionWarning(UserWarning):
    """The search for reg has ended at an end of its grid, or found little that generalises.

    Attributes
    ----------
    found : str
        What was found: the message without its advice.
    reason : str
        "largest" and "smallest": the held-out risk still falls there, at an end of the grid; "rounding" and
        "unsolved": at the smallest reg that rounding allows, or whose fits converge; "collapsed": no reg does better
        than zero; "overfitted": hardly anything generalises, less than a tenth of what the fit is better than zero by,
        where that is more than half of k; "left out": regs whose fits do not converge; "cut": edges of a law of pairs
        between parts of the data; or "".
    reg : float
        The one that it is about; NaN where it is about none.

    Examples
    --------
    >>> import warnings, sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(100, seed=0), 2, seed=0)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     search = sslcore.selection.AutoReg(regs=(1.0, 0.1))
    ...     rep = sslcore.pretrain(views, sslcore.features.Identity(), 2, reg=search)
    >>> caught[0].message.found
    'the held-out risk still falls at the smallest reg of the grid, 0.1'
    >>> caught[0].message.reason, caught[0].message.reg
    ('smallest', 0.1)
    """

    def __init__(self, found: str = "", advice: str = "", *, reason: str = "", reg: float = math.nan) -> None:
        super().__init__(f"{found}; {advice}" if advice else found)
        self.found, self.reason, self.reg = found, reason, reg
