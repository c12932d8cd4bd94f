"""The losses, each with its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    check_boolean,
    check_finite,
    check_scalar,
    require_finite,
    same_kind,
)
from ..backends import get_backend

__all__ = ["barlow_twins", "spectral_contrastive", "vicreg", "vicreg_hinge"]


SMALLEST_VARIANCE = 1e-290
"""Least variance plus eps: below, the squares that it is a sum of may be denormal."""


@overload
def vicreg(z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: Literal[False] = False) -> float: ...
@overload
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, *, return_grad: Literal[True]
) -> tuple[float, Array]: ...
@overload
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: bool = False
) -> float | tuple[float, Array]: ...
@same_kind("z")
def vicreg(
    z: ArrayLike, beta: float = 1.0, unbiased: bool = False, return_grad: bool = False
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
    value, gradient, _ = _vicreg(z, beta, unbiased, return_grad)
    return (value, gradient) if return_grad else value


@overload
def spectral_contrastive(z: ArrayLike, unbiased: bool = False, return_grad: Literal[False] = False) -> float: ...
@overload
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, *, return_grad: Literal[True]
) -> tuple[float, Array]: ...
@overload
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, return_grad: bool = False
) -> float | tuple[float, Array]: ...
@same_kind("z")
def spectral_contrastive(
    z: ArrayLike, unbiased: bool = False, return_grad: bool = False
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
    value, gradient, k = _vicreg(z, 1.0, unbiased, return_grad)
    value -= k
    return (value, gradient) if return_grad else value


@overload
def vicreg_hinge(
    z: ArrayLike,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
    return_grad: Literal[False] = False,
) -> float: ...
@overload
def vicreg_hinge(
    z: ArrayLike,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
    *,
    return_grad: Literal[True],
) -> tuple[float, Array]: ...
@overload
def vicreg_hinge(
    z: ArrayLike,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
    return_grad: bool = False,
) -> float | tuple[float, Array]: ...
@same_kind("z")
def vicreg_hinge(
    z: ArrayLike,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
    return_grad: bool = False,
) -> float | tuple[float, Array]:
    r"""Return the original VICReg loss: invariance, hinge on the standard deviations, off-diagonal covariances.

    similarity s + variance (2/m) sum_a v(Z_a) + covariance (2/m) sum_a c(Z_a), where, with
    Cov_a the (k, k) covariance over samples of view a (normalised by n - 1),

    * s is the mean over samples and over pairs of different views of ||z_ia - z_ib||^2,
    * v(Z_a) = (1/k) sum_j max(0, target_std - sqrt(Cov_a[j, j] + eps)),
    * c(Z_a) = (1/k) sum_(j != l) Cov_a[j, l]^2.

    For m = 2 it is the loss of the paper, where v and c are summed over the two views; more views are
    averaged over, so that the weights keep their meaning.  (The authors' program averages s over
    the components and halves v: give it ``similarity=25 / k, variance=12.5`` to find its values.)

    Parameters
    ----------
    z : array of shape (n, m, k)
        Values of the representation, m >= 2 views of n >= 2 samples.
    similarity, variance, covariance : float, default 25, 25, 1
        Weights of the three terms, at least 0.
    target_std : float, default 1
        Standard deviation under which a component is penalised, at least 0.
    eps : float, default 1e-4
        Added to the variances, positive: the root is then differentiable.
    return_grad : bool, default False
        Return the gradient with respect to ``z`` too; at the kink of the hinge, that of the flat side.

    Returns
    -------
    value : float
        The loss.
    gradient : array of shape (n, m, k)
        In the dtype of ``z``; only if ``return_grad``.

    Raises
    ------
    ValueError
        If ``z`` is not (n, m, k) with n, m >= 2 and finite, or a parameter is out of its range.
    OverflowError
        If the loss or an entry of its gradient is too large for the dtype.

    Notes
    -----
    The cost is O(n m k^2).  The loss is a function of the covariances, so the gradient of view a is the
    centred Z_a times a (k, k) matrix, plus the invariance term 4 similarity/(n (m - 1)) (z_ia - zbar_i).

    References
    ----------
    Bardes, Ponce, LeCun, *VICReg: Variance-invariance-covariance regularization for self-supervised
    learning*, ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.risk import vicreg_hinge
    >>> z = np.array([[[2.0], [2.0]], [[-2.0], [-2.0]]])
    >>> vicreg_hinge(z), round(vicreg_hinge(0 * z), 10)  # nothing to pay; collapse: 50 (1 - sqrt(eps))
    (0.0, 49.5)
    """
    return_grad = check_boolean(return_grad, "return_grad")
    z = _views(z, minimum_n=2, finite=True)
    similarity = check_scalar(similarity, "similarity", minimum=0.0)
    variance = check_scalar(variance, "variance", minimum=0.0)
    covariance = check_scalar(covariance, "covariance", minimum=0.0)
    target_std = check_scalar(target_std, "target_std", minimum=0.0)
    eps = check_scalar(eps, "eps", minimum=0.0, strict=True)
    xp = get_backend(z).xp
    n, m, k = z.shape
    diagonal = xp.arange(k)

    with np.errstate(over="ignore", invalid="ignore"):
        mean = z.mean(axis=0, dtype=np.float64)
        cov = xp.zeros((m, k, k))
        invariance = 0.0
        for part, x in _centred_blocks(z, mean):
            cov += x.transpose(1, 2, 0) @ x.transpose(1, 0, 2)
            invariance += float(xp.sum(_contrasts(z[part]) ** 2))
        cov /= n - 1
        invariance *= 2.0 / (n * (m - 1))
        std = _roots(cov[:, diagonal, diagonal] + eps, xp)  # (m, k)
        cov[:, diagonal, diagonal] = 0.0
        hinge = xp.maximum(target_std - std, 0.0)
        value: float = similarity * invariance + 2.0 / (m * k) * float(
            variance * xp.sum(hinge) + covariance * xp.sum(cov**2)
        )
        _require_representable(value)
        if not return_grad:
            return value

        # d value/d Cov_a, with the chain rule's 2/(n - 1): sqrt(v + eps)' = 1/(2 sqrt(v + eps))
        weight = 2.0 * covariance * cov
        weight[:, diagonal, diagonal] = xp.where(hinge > 0.0, -0.5 * variance / std, 0.0)
        weight *= 4.0 / (m * k * (n - 1))
        gradient = xp.empty(z.shape, z.dtype)
        for part, x in _centred_blocks(z, mean):
            slope = (x.transpose(1, 0, 2) @ weight).transpose(1, 0, 2)
            gradient[part] = slope + 4.0 * similarity / (n * (m - 1)) * _contrasts(z[part])
        _require_representable(value, gradient)
    return value, gradient


@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: Literal[False] = False
) -> float: ...
@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, *, return_grad: Literal[True]
) -> tuple[float, Array]: ...
@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: bool = False
) -> float | tuple[float, Array]: ...
@same_kind("z")
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: bool = False
) -> float | tuple[float, Array]:
    """Return the Barlow Twins loss: the cross-correlation of two views should be the identity.

    sum_j (1 - R[j, j])^2 + redundancy sum_(j != l) R[j, l]^2, averaged over the ordered pairs a != b of
    views, with R = (1/n) Y_a^T Y_b, where Y_a are the z_ia, centred over the samples and divided
    by sqrt(variance + eps) (batch normalisation).  For m = 2 it is the published loss.

    Parameters
    ----------
    z : array of shape (n, m, k)
        Values of the representation, m >= 2 views of n >= 2 samples.
    redundancy : float, default 5e-3
        Weight of the off-diagonal terms (lambda in the paper), at least 0.
    eps : float, default 1e-5
        Added to the variances, positive; the default is that of batch normalisation.
    return_grad : bool, default False
        Return the gradient with respect to ``z`` too.

    Returns
    -------
    value : float
        The loss.
    gradient : array of shape (n, m, k)
        In the dtype of ``z``; only if ``return_grad``.

    Raises
    ------
    ValueError
        If ``z`` is not (n, m, k) with n, m >= 2 and finite, or a parameter is out of its range.
    OverflowError
        If the variances, the loss or an entry of its gradient are too large for the dtype.

    Notes
    -----
    The m views are side by side in one (n, m k) matrix, whose correlations hold those of all pairs: the
    cost is O(n m^2 k^2), that of the pairs.  The gradient is the centred matrix times an (m k, m k) one.

    References
    ----------
    Zbontar, Jing, Misra, LeCun, Deny, *Barlow Twins: Self-supervised learning via redundancy reduction*,
    ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.risk import barlow_twins
    >>> z = np.array([[[1.0], [1.0]], [[-1.0], [-1.0]]])
    >>> round(barlow_twins(z), 8)
    0.0
    >>> round(barlow_twins(z * [[1.0], [-1.0]]), 3)  # opposite views: (1 - (-1))^2
    4.0
    """
    return_grad = check_boolean(return_grad, "return_grad")
    z = _views(z, minimum_n=2, finite=True)
    redundancy = check_scalar(redundancy, "redundancy", minimum=0.0)
    eps = check_scalar(eps, "eps", minimum=0.0, strict=True)
    xp = get_backend(z).xp
    n, m, k = z.shape
    width = m * k

    with np.errstate(over="ignore", invalid="ignore"):
        mean = z.mean(axis=0, dtype=np.float64)
        cov = xp.zeros((width, width))
        for _, x in _centred_blocks(z, mean):
            flat = x.reshape(-1, width)
            cov += flat.T @ flat
        cov /= n
        std = _roots(xp.diagonal(cov) + eps, xp)
        # axes: view, component, view, component
        correlation = (cov / std[:, None] / std).reshape(m, k, m, k)
        pairs = 1.0 - xp.eye(m)[:, None, :, None]  # a view is no pair with itself
        share = 1.0 / (m * (m - 1))
        weight = pairs * share * xp.where(xp.eye(k, dtype=bool)[:, None, :], 1.0, redundancy)
        residual = correlation - xp.eye(k)[:, None, :]
        value = float(xp.sum(weight * residual**2))
        _require_representable(value)
        if not return_grad:
            return value

        # With P = d value/d correlation = 2 weight residual, d value/d Y = (2/n) Y P; the normalisation
        # takes away from each column its component along Y, (1/n) Y^T Y P on the diagonal
        slope = (2.0 * weight * residual).reshape(width, width)
        slope -= xp.diag(xp.sum(correlation.reshape(width, width) * slope, axis=1))
        slope *= 2.0 / n / std / std[:, None]
        gradient = xp.empty(z.shape, z.dtype)
        for part, x in _centred_blocks(z, mean):
            gradient[part] = (x.reshape(-1, width) @ slope).reshape(x.shape)
        _require_representable(value, gradient)
    return value, gradient


def _vicreg(z: ArrayLike, beta: float, unbiased: bool, return_grad: bool) -> tuple[float, Any, int]:
    """Return the risk, its gradient if asked for, and k."""
    unbiased, return_grad = check_boolean(unbiased, "unbiased"), check_boolean(return_grad, "return_grad")
    z = _views(z, minimum_n=2 if unbiased else 1)
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
        _require_representable(value)
        if not return_grad:
            return value, None, k

        outer = 4.0 / (size * (n - 1) * m) if unbiased else 0.0
        factor = n / (n - 1) if unbiased else 1.0
        weight = (4.0 / size) * (factor * second - identity)
        gradient = backend.view_gradient(z, weight, spread, outer)
        # ||z_ia|| and ||z_ia - zbar_i|| are at most sqrt(energy), sum_b z_ib z_ib^T at most energy: this
        # bound spares nearly everyone a pass over the gradient
        norm = float(xp.sqrt(xp.sum(weight**2)))
        if not (norm + spread + outer * energy) * math.sqrt(energy) < np.finfo(z.dtype).max:
            _require_representable(value, gradient)
    return value, gradient, k


def _views(z: ArrayLike, *, minimum_n: int, finite: bool = False) -> Array:
    """Check ``z``; whether its entries are finite may be left to the sums."""
    z = as_array(z, "z", ndim=3, shape_hint="(n, m, k)", finite=finite)
    if z.shape[1] < 2:
        raise ValueError(f"z must hold at least 2 views of each sample (its second axis), found shape {z.shape}")
    if z.shape[0] < minimum_n:
        raise ValueError(f"z must hold at least {minimum_n} samples for this risk, found shape {z.shape}")
    return z


def _centred_blocks(z: Array, mean: Array) -> Iterator[tuple[slice, Array]]:
    """Yield blocks of samples of z - mean in float64, each with its place."""
    step = max(1, get_backend(z).BLOCK_FACTOR * tunables.RISK_BLOCK_ENTRIES // (z.shape[1] * z.shape[2]))
    for start in range(0, z.shape[0], step):
        part = slice(start, start + step)
        yield part, z[part] - mean


def _contrasts(block: Array) -> Array:
    """Return z_ia - zbar_i in float64."""
    out: Array = block - block.mean(axis=1, keepdims=True, dtype=np.float64)
    return out


def _roots(variances: Array, xp: Any) -> Array:
    """Return standard deviations; refuse variances so small that squares of the values have lost digits."""
    if not float(variances.min()) >= SMALLEST_VARIANCE:
        _require_representable(float(variances.sum()))
        raise OverflowError("the variances of z, with eps, are too small to be represented; rescale z, or raise eps")
    out: Array = xp.sqrt(variances)
    return out


def _require_representable(value: float, gradient: Any = None) -> None:
    if not (math.isfinite(value) and (gradient is None or check_finite(gradient))):
        what = "the risk" if gradient is None else f"the gradient of the risk (in {gradient.dtype})"
        raise OverflowError(f"{what} is too large to be represented; rescale z (or the weights of the risk)")
