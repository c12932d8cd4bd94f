"""The risk of the closed form, in its two names, with its gradient."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np

from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    check_boolean,
    check_finite,
    check_scalar,
    check_target,
    require_finite,
    same_kind,
)
from ..backends import get_backend

__all__ = ["as_values", "check_room", "require_representable", "room_for_gradient", "spectral_contrastive", "vicreg"]


@overload
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: Literal[False] = False, *, out: None = None
) -> float: ...
@overload
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, *, return_grad: Literal[True], out: Array | None = None
) -> tuple[float, Array]: ...
@overload
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: bool = False, *, out: Array | None = None
) -> float | tuple[float, Array]: ...
@same_kind("z")
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: bool = False, *, out: Array | None = None
) -> float | tuple[float, Array]:
    r"""Return the VICReg risk: invariance to the views, plus distance of the second moment to the identity.

    L = beta E||psi(xi) - psi(xi')||^2 + ||E[psi psi^T] - I||_F^2, with xi, xi' two views of one sample,
    estimated in one of two ways.

    * Biased, the value on the empirical measure: beta inv + ||C - I||_F^2, with
      inv = (2/N) sum_ia ||z_ia - zbar_i||^2; its gradient is
      (4 beta/N) (z_ia - zbar_i) + (4/N) (C - I) z_ia.
    * Unbiased, the U-statistic, whose expectation over fresh samples is L itself:
      beta inv m/(m - 1) + (n^2 ||C||_F^2 - sum_i ||C_i||_F^2)/(n (n - 1)) - 2 tr C + k; its gradient is
      (4 beta m/((m - 1) N)) (z_ia - zbar_i) + 4/(N (n - 1)) (n C - C_i) z_ia - (4/N) z_ia.

    Parameters
    ----------
    z : array of shape (n, m, k)
        Values of the representation, m >= 2 views of each sample.
    beta : float, default 1
        Weight of the invariance term, at least 0.
    unbiased : bool, default False
        The unbiased estimate; it needs n >= 2.
    return_grad : bool, default False
        Return the gradient with respect to ``z`` too.
    out : array of shape (n, m, k), optional
        Where the gradient goes, and what is returned: C order, of the dtype of the gradient, where ``z`` lies, apart
        from it.  After an error its content is undefined.

    Returns
    -------
    value : float
        The risk.
    gradient : array of shape (n, m, k)
        In the dtype of ``z``; only if ``return_grad``.

    Raises
    ------
    ValueError
        If ``z`` is not (n, m, k) with m >= 2 and finite, ``beta`` < 0, or ``unbiased`` with n = 1.
    OverflowError
        If the risk or an entry of its gradient is too large for the dtype.

    Notes
    -----
    The unbiased estimate is unbounded below over embeddings: the square of a sample with itself is not
    in it, so a component that is large on one sample alone only lowers it.  Use it to evaluate a
    representation on held-out views, and for minibatch gradients; never as an objective over the whole
    batch, nor on training views.  Risks at different ``beta`` or k are not comparable.

    The cost is O(n m k^2), and O(n m^2 k) more for the unbiased one.  The unbiased value is computed as
    beta inv m/(m - 1) + ||C - I||_F^2 - ((1/n) sum_i ||C_i||_F^2 - ||C||_F^2)/(n - 1): the biased second
    term minus what the fluctuation of the C_i adds to it on average.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023 (the risk).  The
    U-statistic is elementary: pairs i != i' of samples, and a != b of views.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.risk import vicreg
    >>> z = np.array([[[1.0], [1.0]], [[-1.0], [-1.0]]])  # invariant, of second moment 1
    >>> vicreg(z)
    0.0
    >>> value, gradient = vicreg(2 * z, return_grad=True)  # (4 - 1)^2
    >>> value, gradient.shape
    (9.0, (2, 2, 1))
    """
    value, gradient, _ = _vicreg(z, beta, unbiased, return_grad, out)
    return (value, gradient) if return_grad else value


@overload
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, return_grad: Literal[False] = False, *, out: None = None
) -> float: ...
@overload
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, *, return_grad: Literal[True], out: Array | None = None
) -> tuple[float, Array]: ...
@overload
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, return_grad: bool = False, *, out: Array | None = None
) -> float | tuple[float, Array]: ...
@same_kind("z")
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, return_grad: bool = False, *, out: Array | None = None
) -> float | tuple[float, Array]:
    """Return the spectral contrastive risk: attraction of two views of a sample, repulsion of any two views.

    -2 E[psi(xi)^T psi(xi')] + E[(psi(xi)^T psi(xi''))^2], with xi, xi' two views of one sample and xi''
    a view of an independent one.  It is ``vicreg(z, beta=1) - k``, estimated in the same two ways, with the
    same gradient: see :func:`vicreg`.

    Parameters
    ----------
    z : array of shape (n, m, k)
        Values of the representation, m >= 2 views of each sample.
    unbiased : bool, default False
        Pairs of different views and of different samples only; it needs n >= 2, and is unbounded below
        over embeddings.  Otherwise all pairs count: a view is its own positive and negative too.
    return_grad : bool, default False
        Return the gradient with respect to ``z`` too.
    out : array of shape (n, m, k), optional
        Where the gradient goes, and what is returned: C order, of the dtype of the gradient, where ``z`` lies, apart
        from it.  After an error its content is undefined.

    Returns
    -------
    value : float
        The risk, at least -k if not ``unbiased``.
    gradient : array of shape (n, m, k)
        In the dtype of ``z``; only if ``return_grad``.

    Raises
    ------
    ValueError, OverflowError
        As :func:`vicreg`.

    References
    ----------
    HaoChen, Wei, Gaidon, Ma, *Provable guarantees for self-supervised deep learning with spectral
    contrastive loss*, NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.risk import spectral_contrastive
    >>> spectral_contrastive(np.array([[[1.0], [1.0]], [[-1.0], [-1.0]]]))
    -1.0
    """
    value, gradient, k = _vicreg(z, 1.0, unbiased, return_grad, out)
    value -= k
    return (value, gradient) if return_grad else value


def _vicreg(z: ArrayLike, beta: float, unbiased: bool, return_grad: bool, out: Array | None) -> tuple[float, Any, int]:
    """Return the risk, its gradient if asked for, and k."""
    unbiased, return_grad = check_boolean(unbiased, "unbiased"), check_boolean(return_grad, "return_grad")
    z = as_values(z, minimum_n=2 if unbiased else 1)
    check_room(out, z, return_grad)
    beta = check_scalar(beta, "beta", minimum=0.0)
    backend = get_backend(z)
    xp = backend.xp
    n, m, k = z.shape
    size = n * m
    identity = xp.eye(k)

    with np.errstate(over="ignore", invalid="ignore"):
        second, within, fourth = backend.view_sums(z, unbiased)
        energy = float(xp.trace(second))  # sum of all ||z_ia||^2
        if not math.isfinite(energy):
            require_finite(z, "z")
        second = second / size
        spread = 4.0 * beta / size
        if unbiased:
            spread *= m / (m - 1)
        value = 0.5 * spread * within + float(xp.sum((second - identity) ** 2))
        if unbiased:
            value -= (fourth / (n * m**2) - float(xp.sum(second**2))) / (n - 1)
        require_representable(value)
        if not return_grad:
            return value, None, k

        outer = 4.0 / (size * (n - 1) * m) if unbiased else 0.0
        factor = n / (n - 1) if unbiased else 1.0
        weight = (4.0 / size) * (factor * second - identity)
        gradient = room_for_gradient(out, z)
        backend.view_gradient(z, weight, spread, outer, gradient)
        # ||z_ia|| and ||z_ia - zbar_i|| are at most sqrt(energy), sum_b z_ib z_ib^T at most energy: this
        # bound spares nearly everyone a pass over the gradient
        norm = float(xp.sqrt(xp.sum(weight**2)))
        if not (norm + spread + outer * energy) * math.sqrt(energy) < np.finfo(z.dtype).max:
            require_representable(value, gradient)
    return value, gradient, k


def as_values(z: ArrayLike, *, minimum_n: int, finite: bool = False) -> Array:
    """Check ``z``; whether its entries are finite may be left to the sums."""
    z = as_array(z, "z", ndim=3, shape_hint="(n, m, k)", finite=finite)
    if z.shape[1] < 2:
        raise ValueError(f"z must hold at least 2 views of each sample (its second axis), found shape {z.shape}")
    if z.shape[0] < minimum_n:
        raise ValueError(f"z must hold at least {minimum_n} samples for this risk, found shape {z.shape}")
    return z


def check_room(out: Array | None, z: Array, return_grad: bool) -> None:
    """Refuse a place for the gradient that does not fit it, or one for a gradient that was not asked for."""
    if out is None:
        return
    if not return_grad:
        raise ValueError("out is where the gradient goes; ask for it with return_grad=True")
    check_target(out, z.shape, z.dtype, get_backend(z), z)


def room_for_gradient(out: Array | None, z: Array) -> Array:
    """Return ``out``, which was checked, or fresh memory for the gradient with respect to ``z``."""
    room: Array = get_backend(z).xp.empty(z.shape, z.dtype) if out is None else out
    return room


def require_representable(value: float, gradient: Any = None) -> None:
    """Refuse a risk, or a gradient, that has overflowed."""
    if not (math.isfinite(value) and (gradient is None or check_finite(gradient))):
        what = "the risk" if gradient is None else f"the gradient of the risk (in {gradient.dtype})"
        raise OverflowError(f"{what} is too large to be represented; rescale z (or the weights of the risk)")
