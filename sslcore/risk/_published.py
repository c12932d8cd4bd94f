"""The losses of deep learning as they were published, each with its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np

from .. import tunables
from ..arrays import Array, ArrayLike, check_boolean, check_scalar, same_kind
from ..backends import get_backend
from ._losses import as_values, check_room, require_representable, room_for_gradient

__all__ = ["barlow_twins", "vicreg_hinge"]


SMALLEST_VARIANCE = 1e-290
"""Least variance plus eps: below, the squares that it is a sum of may be denormal."""


@overload
def vicreg_hinge(
    z: ArrayLike,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
    return_grad: Literal[False] = False,
    *,
    out: None = None,
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
    out: Array | None = None,
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
    *,
    out: Array | None = None,
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
    *,
    out: Array | None = None,
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
    out : array of shape (n, m, k), optional
        Where the gradient goes, and what is returned: C order, of the dtype of the gradient, where ``z`` lies, apart
        from it.  After an error its content is undefined.

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
    z = as_values(z, minimum_n=2, finite=True)
    check_room(out, z, return_grad)
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
        require_representable(value)
        if not return_grad:
            return value

        # d value/d Cov_a, with the chain rule's 2/(n - 1): sqrt(v + eps)' = 1/(2 sqrt(v + eps))
        weight = 2.0 * covariance * cov
        weight[:, diagonal, diagonal] = xp.where(hinge > 0.0, -0.5 * variance / std, 0.0)
        weight *= 4.0 / (m * k * (n - 1))
        gradient = room_for_gradient(out, z)
        for part, x in _centred_blocks(z, mean):
            slope = (x.transpose(1, 0, 2) @ weight).transpose(1, 0, 2)
            gradient[part] = slope + 4.0 * similarity / (n * (m - 1)) * _contrasts(z[part])
        require_representable(value, gradient)
    return value, gradient


@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: Literal[False] = False
) -> float: ...
@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, *, return_grad: Literal[True], out: Array | None = None
) -> tuple[float, Array]: ...
@overload
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: bool = False, *, out: Array | None = None
) -> float | tuple[float, Array]: ...
@same_kind("z")
def barlow_twins(
    z: ArrayLike, redundancy: float = 5e-3, eps: float = 1e-5, return_grad: bool = False, *, out: Array | None = None
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
    out : array of shape (n, m, k), optional
        Where the gradient goes, and what is returned: C order, of the dtype of the gradient, where ``z`` lies, apart
        from it.  After an error its content is undefined.

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
    z = as_values(z, minimum_n=2, finite=True)
    check_room(out, z, return_grad)
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
        require_representable(value)
        if not return_grad:
            return value

        # With P = d value/d correlation = 2 weight residual, d value/d Y = (2/n) Y P; the normalisation
        # takes away from each column its component along Y, (1/n) Y^T Y P on the diagonal
        slope = (2.0 * weight * residual).reshape(width, width)
        slope -= xp.diag(xp.sum(correlation.reshape(width, width) * slope, axis=1))
        slope *= 2.0 / n / std / std[:, None]
        gradient = room_for_gradient(out, z)
        for part, x in _centred_blocks(z, mean):
            gradient[part] = (x.reshape(-1, width) @ slope).reshape(x.shape)
        require_representable(value, gradient)
    return value, gradient


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
        require_representable(float(variances.sum()))
        raise OverflowError("the variances of z, with eps, are too small to be represented; rescale z, or raise eps")
    out: Array = xp.sqrt(variances)
    return out
