"""The closed form that minimises a loss of deep learning: its beta and reg."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import check_integer, check_scalar

__all__ = ["EquivalentParameters", "equivalent_parameters"]


class EquivalentParameters(NamedTuple):
    """Numbers for `sslcore.pretrain`, as `equivalent_parameters` finds them.

    Examples
    --------
    >>> from sslcore.risk import EquivalentParameters
    >>> EquivalentParameters(beta=1.0, reg=1e-3)._asdict()
    {'beta': 1.0, 'reg': 0.001}
    """

    beta: float
    reg: float


def equivalent_parameters(
    similarity: float, variance: float, covariance: float, weight_decay: float, *, n_components: int
) -> EquivalentParameters:
    r"""Return the beta and reg whose closed form minimises the loss that a linear head would be trained with.

    The loss is VICReg's in the normalisation of `vicreg_hinge`, for a head psi = W phi + b on features phi, with the
    squared deviation of the variances from 1 in place of the hinge on standard deviations (Cabannes et al. 2023), and
    the penalty that the ``weight_decay`` w of ``torch.optim.SGD`` on W amounts to:

        similarity E||psi(xi) - psi(xi')||^2
        + (2/k) [variance sum_j (1 - C_jj)^2 + covariance sum_(j != l) C_jl^2] + (w/2) ||W||^2,

    C the covariance of the views of all samples, xi, xi' two different views of one sample.

    Parameters
    ----------
    similarity, variance, covariance : float
        Weights of the three terms: at least 0, above 0, at least ``variance``.
    weight_decay : float
        At least 0; as in SGD, or in Adam as an L2 penalty.  Decoupled weight decay (AdamW) minimises no penalised loss.
    n_components : int
        k, the number of outputs of the head.

    Returns
    -------
    EquivalentParameters
        ``beta`` and ``reg`` for ``sslcore.pretrain(views, Identity(), k, reg=reg, beta=beta, center=True)``, with
        ``unbiased=True``, the default.

    Raises
    ------
    ValueError
        If a weight is out of its range.

    Notes
    -----
    For covariance = variance = v the bracket is v ||C - I||_F^2.  `pretrain` minimises

        beta E||psi(xi) - psi(xi')||^2 + ||C - I||_F^2 + 2 reg ||W||^2,

    which is the loss divided by 2 v/k if

        beta = k similarity / (2 variance),    reg = k weight_decay / (8 variance).

    For covariance > variance the loss is the one for v = variance plus (2/k) (covariance - variance) times the sum of
    the squares off the diagonal of C.  The former does not change when psi is rotated, the latter is least, 0, where C
    is diagonal, as it is at the components that `pretrain` returns: they minimise the sum as well, and ``beta`` and
    ``reg`` do not depend on ``covariance``.  For covariance < variance some other rotation, or another psi, is better:
    that is refused.

    The mean of psi is free in the loss, hence ``center=True``; the bias b must not be decayed.  The hinge of VICReg is
    no square, and has no such equivalent: its minimum has other scales of the components, and is only near where all
    standard deviations are near 1.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023.  Bardes, Ponce, LeCun, *VICReg*, ICLR
    2022.

    Examples
    --------
    >>> from sslcore.risk import equivalent_parameters
    >>> equivalent_parameters(25.0, 25.0, 25.0, weight_decay=1e-4, n_components=32)
    EquivalentParameters(beta=16.0, reg=1.6e-05)
    """
    similarity = check_scalar(similarity, "similarity", minimum=0.0)
    variance = check_scalar(variance, "variance", minimum=0.0, strict=True)
    covariance = check_scalar(covariance, "covariance", minimum=0.0)
    weight_decay = check_scalar(weight_decay, "weight_decay", minimum=0.0)
    k = check_integer(n_components, "n_components", minimum=1)
    if covariance < variance and k > 1:
        raise ValueError(
            f"covariance must be at least variance, found {covariance:g} < {variance:g}: otherwise the minimiser is "
            f"not the closed form, whose covariance is diagonal"
        )
    return EquivalentParameters(k * similarity / (2.0 * variance), k * weight_decay / (8.0 * variance))
