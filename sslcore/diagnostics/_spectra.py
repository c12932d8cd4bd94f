"""Moments of an embedding, and the numbers that its spectrum gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    check_integer,
    check_scalar,
    exponent_of,
    gives_memory_back,
    namespace,
    on_host,
    rank_of,
    rescaled,
)
from ..backends import get_backend
from ..fitting.bimodal import BimodalRepresentation
from ..fitting.moments import Moments
from ..fitting.representation import Representation
from ..solvers.groups import Samples
from ..solvers.sums import Sums, add_block

__all__ = ["alpha_req", "effective_dimension", "invariance", "lidar", "rankme"]

Fitted = Representation | BimodalRepresentation
"""The results of fits."""


LEAST = 1e-140
"""Features below have squares that float64 does not hold, or not to all digits."""


@dataclass(frozen=True)
class Spread:
    """Mean (k,), and covariances (k, k) between samples and within them, the latter also unbiased; on the host.

    Those within samples are None without views.

    Each component j is in a unit of its own, 2^exponents[j], about its largest value: squares of very large or small
    values would overflow or vanish.
    """

    mean: np.ndarray
    between: np.ndarray
    inside: np.ndarray | None
    unbiased: np.ndarray | None
    exponents: np.ndarray
    epsilon: float  # rounding of the values

    @classmethod
    def of_sums(cls, sums: Sums, exponents: np.ndarray, epsilon: float) -> Spread:
        """Divide sums on the host by their weight."""
        whole = [
            upper + np.triu(upper, 1).T for upper in map(np.triu, (sums.between, sums.within, sums.unbiased_sum()))
        ]
        between, inside, unbiased = (matrix / sums.weight for matrix in whole)
        views = sums.n_views > sums.n
        return cls(sums.mean, between, inside if views else None, unbiased if views else None, exponents, epsilon)

    @property
    def within(self) -> np.ndarray | None:
        """Unbiased variance within samples."""
        return None if self.unbiased is None else self.unbiased.diagonal()

    @property
    def covariance(self) -> np.ndarray:
        return self.between if self.inside is None else self.between + self.inside

    @property
    def variances(self) -> np.ndarray:
        return self.covariance.diagonal()

    @property
    def unit(self) -> int:
        """Exponent of the spectrum's unit, 4^unit."""
        return int(self.exponents.max())

    @property
    def rounding(self) -> np.ndarray:
        """Variance of each component that may be rounding of its values: a deviation of one unit in the last place.

        Rounding to the nearest deviates by 0.3 units, so that not even the largest eigenvalue of the covariance of as
        many such errors as samples is above.
        """
        return np.asarray((self.epsilon * self.mean) ** 2)

    @cached_property
    def spectrum(self) -> np.ndarray:
        """Eigenvalues of the covariance, decreasing; what is below rounding is 0."""
        shift = self.exponents - self.unit
        values = np.linalg.eigvalsh(rescaled(self.covariance, shift[:, None] + shift))[::-1]
        # of the sums, and of the values from which the mean is subtracted
        floor = np.finfo(float).eps * values[0] * len(values) + rescaled(self.rounding, 2 * shift).max()
        return np.where(values > floor, values, 0.0)

    def words_of_rounding(self) -> str | None:
        """Say that rounding hides what spread there may be; None where it does not, or where values are the same."""
        if self.spectrum.any() or not self.variances.any():
            return None
        place = int(np.argmax(np.abs(rescaled(self.mean, self.exponents - self.unit))))
        mean = float(rescaled(self.mean[place], self.exponents[place]))
        return (
            f"what spread there is may be rounding: values are known to {self.epsilon:.2g} of their size, and the "
            f"largest mean is {mean:.3g}; subtract the mean before values are rounded, or use float64"
        )


@gives_memory_back
def rankme(z: ArrayLike | Fitted | Moments) -> float:
    r"""Return RankMe: the exponential of the entropy of the singular values of the centred embedding.

    exp(-sum_i p_i log p_i), p_i = sigma_i / sum_j sigma_j.  It is a smooth rank, between 1 and k: k if all directions
    have the same spread.  Between models of one architecture it follows their accuracy downstream; **normal** is at
    least half of the number of components, and a small fraction of it means that the embedding has collapsed to few
    directions.

    Parameters
    ----------
    z : `sslcore.Representation`, `sslcore.Moments` of features, or array (n, k) or (n, m, k)
        Of a `sslcore.BimodalRepresentation`, the members of a pair are taken for two views.

    Returns
    -------
    float
        0 if the embedding is constant.

    Raises
    ------
    ValueError
        z is not finite or has another shape; or a representation whose training views are not known.

    Notes
    -----
    The paper does not centre, and adds 1e-7 to each p_i; centred, the constant direction does not count as one.
    From the eigenvalues of the covariance, so singular values below 1e-8 of the largest are not resolved, which
    changes the result by less than 1e-6 k.

    References
    ----------
    Garrido, Balestriero, Najman, LeCun, *RankMe*, ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import rankme
    >>> square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(rankme(square + 100), 6), round(rankme(square * [1, 0]), 6)
    (2.0, 1.0)
    """
    return rankme_of(moments_of(z).spectrum)


def rankme_of(spectrum: np.ndarray) -> float:
    return exponential_entropy(np.sqrt(spectrum[spectrum > 0]))


@gives_memory_back
def alpha_req(eigenvalues: ArrayLike | Fitted | Moments, *, ranks: tuple[int, int] | None = None) -> float:
    """Return alpha-ReQ: the exponent of the power law i^-alpha that a middle range of the eigenvalues follows.

    Minus the slope of the weighted least-squares line through (log i, log lambda_i) for ranks first <= i <= last, with
    weights 1/i, which make each octave of ranks count alike:

        alpha = -sum_i (1/i) (x_i - xbar) (y_i - ybar) / sum_i (1/i) (x_i - xbar)^2,   x_i = log i, y_i = log lambda_i,

    xbar and ybar the means with these weights.  The first eigenvalues are left out because they often stand apart, the
    last ones because they are those that few samples estimate too small.  **Normal** is around 1 (natural images and
    good representations of them); 0 is a white spectrum, far above 1 a few directions hold all the variance.

    Parameters
    ----------
    eigenvalues : array (k,), or a `Representation`, `Moments` of features, or an embedding (n, k) or (n, m, k)
        Of the latter, the eigenvalues of the covariance are taken.  Values <= 0 are left out (components that are
        collapsed).
    ranks : (int, int), optional
        first and last, counted from 1, last included; ranks beyond the positive eigenvalues are left out.  By default
        11 and 500, the range of Stringer et al., where there are 2,000 positive eigenvalues or more.  Of K fewer it is
        in proportion: from K/20 (at most 11, at least 1) to K/4, and to 10 at least (or K); eigenvalues that are
        rounding errors of the first do not count in K.

    Returns
    -------
    float
        NaN if fewer than two positive eigenvalues are in the range.

    References
    ----------
    Agrawal, Mondal, Ghosh, Richards, *alpha-ReQ: Assessing representation quality in self-supervised learning by
    measuring eigenspectrum decay*, NeurIPS 2022, whose program fits as Stringer, Pachitariu, Steinmetz, Carandini,
    Harris, *High-dimensional geometry of population responses in visual cortex*, Nature 2019, do: weights 1/i, and a
    range of ranks that is chosen (11 to 500 there).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import alpha_req
    >>> round(alpha_req(3.0 / np.arange(1, 9) ** 1.5), 6)
    1.5
    >>> bent = np.concatenate([np.full(10, 2.0), 20.0 / np.arange(11, 41)])  # flat up to rank 10, then 1/i
    >>> round(alpha_req(bent, ranks=(11, 40)), 6)
    1.0
    """
    if ranks is not None:
        ranks = _ranks(ranks)
    values = _eigenvalues(eigenvalues)[0]
    values = np.sort(values[values > 0])[::-1]
    number = len(values)
    if ranks is None:
        number = int((values > np.finfo(float).eps * number * values[:1]).sum())
        ranks = max(1, min(11, number // 20)), max(10, min(500, number // 4))
    rank = np.arange(ranks[0], min(ranks[1], number) + 1)
    if len(rank) < 2:
        return math.nan
    weight = 1.0 / rank
    weight /= weight.sum()
    x, y = np.log(rank), np.log(values[rank - 1])
    x, y = x - weight @ x, y - weight @ y
    return float(-(weight * x @ y) / (weight * x @ x))


def _ranks(ranks: Any) -> tuple[int, int]:
    if not isinstance(ranks, tuple | list) or len(ranks) != 2:
        raise TypeError(f"ranks must be two integers (first, last), found {ranks!r}")
    first = check_integer(ranks[0], "the first of ranks", minimum=1)
    return first, check_integer(ranks[1], "the last of ranks", minimum=first + 1)


@gives_memory_back
def effective_dimension(eigenvalues: ArrayLike | Fitted | Moments, g: float, *, power: int = 1) -> float:
    """Return the degrees of freedom tr((S + g)^-1 S) = sum_i lambda_i / (lambda_i + g) of a ridge of penalty g.

    It says how many components a ridge probe with that penalty uses: about as many as there are eigenvalues above g.
    **Normal**: the number of active components for g far below the last of them; a value near 0 says that g drowns all
    of them.

    ``power`` p gives tr((S + g)^-p S^p).  For p = 2 this is, to first order, n times the variance of a ridge probe of n
    labels over that of their noise (Caponnetto and De Vito 2007).

    Parameters
    ----------
    eigenvalues : array (k,), or a `Representation`, `Moments` of features, or an embedding (n, k) or (n, m, k)
        Of S = E psi psi^T, centred; negative ones (components that are collapsed: mu_i < 0) count as 0.
    g : float
        > 0.
    power : int
        p, of the shares lambda_i / (lambda_i + g) that are added up; >= 1.

    Returns
    -------
    float

    References
    ----------
    Caponnetto and De Vito, *Optimal rates for the regularized least-squares algorithm*, 2007.

    Examples
    --------
    >>> from sslcore.diagnostics import effective_dimension
    >>> effective_dimension([1.0, 1.0, 0.0], g=1.0), effective_dimension([1.0, 1.0, 0.0], g=1.0, power=2)
    (1.0, 0.5)
    """
    power = check_integer(power, "power", minimum=1, maximum=2**53)
    g = check_scalar(g, "g", minimum=0.0, strict=True)
    values, unit = _eigenvalues(eigenvalues)
    active = values[values > 0]
    with np.errstate(over="ignore", under="ignore"):
        return float(((1.0 / (1.0 + rescaled(np.array(g), -2 * unit) / active)) ** power).sum())


@gives_memory_back
def invariance(z: ArrayLike | Fitted | Moments) -> np.ndarray:
    """Return the share of each component's variance that lies between the views of one sample, (k,).

    E|f(xi) - f(xi')|^2 / (2 Var f): 0 for a component that does not see the augmentations, 1 for one that differs as
    much between two views of a sample as between two samples.  **Normal** is well below 1/2; above it a component is
    more noise than signal.

    Parameters
    ----------
    z : `sslcore.Representation`, `sslcore.Moments` of features, or array (n, m, k) with m >= 2
        Of a `sslcore.BimodalRepresentation`, the members of a pair are taken for two views.
        Views are weighted equally.

    Returns
    -------
    array (k,)
        NumPy's; NaN for constant components (those beyond the rank of a representation; collapsed ones count with
        their unit eigenfunctions).  The estimate over pairs of distinct views, which may exceed 1 a little.

    Raises
    ------
    ValueError
        An embedding without views.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import invariance
    >>> sample, view = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([1.0, -1.0])
    >>> z = np.stack([np.broadcast_to(sample[:, None], (4, 2)), np.broadcast_to(view, (4, 2))], axis=2)
    >>> invariance(z + 7).round(3)
    array([0., 2.])
    """
    moments = moments_of(_unit_values(z) if is_fitted(z) else z)
    if moments.within is None:
        raise ValueError(
            "invariance needs views: an embedding (n, m, k) of m >= 2 views of each of n samples, or a Representation "
            "of such views"
        )
    return view_shares(moments)


def view_shares(moments: Spread) -> np.ndarray:
    constant = moments.variances <= moments.rounding
    return np.where(constant, math.nan, moments.within / np.where(constant, 1.0, moments.variances))


@gives_memory_back
def lidar(z: ArrayLike | Fitted | Moments, *, delta: float = 1e-4) -> float:
    r"""Return LiDAR, the rank of linear discriminant analysis: how many directions tell samples apart despite views.

    Each sample is a class and its views are what the class holds.  With z_xi the embedding of view xi, zbar_x its mean
    over the views of sample x, zbar that over all, and s = (mean variance of a component),

        B = E_x (zbar_x - zbar)(zbar_x - zbar)^T,   W = E_x E_xi (z_xi - zbar_x)(z_xi - zbar_x)^T + delta s I,

    it is exp(-sum_i p_i log p_i), p_i = lambda_i / sum_j lambda_j, of the eigenvalues lambda of W^-1/2 B W^-1/2.
    Unlike `rankme` it does not count directions in which only the augmentations move.  **Normal** is at least half of
    the number of components; it is at most that, and at most n - 1.

    Parameters
    ----------
    z : `sslcore.Representation`, `sslcore.Moments` of features, or array (n, m, k) with m >= 2
        Of a `sslcore.BimodalRepresentation`, the members of a pair are taken for two views.
        Views are weighted equally.
    delta : float
        Share of the mean variance that is added to the variance within samples, at least 2.2e-16.  A direction in which
        views differ by less counts as one in which they differ by so much.

    Returns
    -------
    float
        0 if the embedding is constant.

    Raises
    ------
    ValueError
        An embedding without views, or one that is not finite.

    Notes
    -----
    The paper's delta is a number in the unit of the embedding; here it is relative, so that an embedding and a multiple
    of it have the same LiDAR.  The paper adds a small constant to each p_i as well.

    References
    ----------
    Thilak, Huang, Saremi, Dinh, Goh, Nakkiran, Susskind, Littwin, *LiDAR: Sensing linear probing performance in joint
    embedding SSL architectures*, 2023 (ICLR 2024).

    Examples
    --------
    The second component tells no samples apart, it differs between views only:

    >>> import numpy as np
    >>> from sslcore.diagnostics import lidar, rankme
    >>> sample, view = np.array([-1.0, -1.0, 1.0, 1.0]), np.array([1.0, -1.0])
    >>> z = np.stack([np.broadcast_to(sample[:, None], (4, 2)), np.broadcast_to(view, (4, 2))], axis=2)
    >>> round(rankme(z), 6), round(lidar(z), 6)
    (2.0, 1.0)
    """
    delta = check_scalar(delta, "delta", minimum=float(np.finfo(float).eps))
    moments = moments_of(z)
    if moments.inside is None:
        raise ValueError(
            "LiDAR needs views: an embedding (n, m, k) of m >= 2 views of each of n samples, or a Representation of "
            "such views"
        )
    return lidar_of(moments, delta)


def lidar_of(moments: Spread, delta: float = 1e-4) -> float:
    assert moments.inside is not None
    if not moments.spectrum.any():
        return 0.0
    shift = moments.exponents - moments.unit
    between, inside = (rescaled(part, shift[:, None] + shift) for part in (moments.between, moments.inside))
    spread = float(np.trace(between) + np.trace(inside)) / len(between)
    within, directions = np.linalg.eigh(inside)
    directions = directions / np.sqrt(np.maximum(within, 0.0) + delta * spread)
    values = np.linalg.eigvalsh(directions.T @ between @ directions)
    return exponential_entropy(values[values > 0])


def exponential_entropy(values: np.ndarray) -> float:
    """Return exp(-sum_i p_i log p_i) of positive numbers p_i times their sum; 0 of none."""
    if not len(values):
        return 0.0
    p = values / values.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


# ---------------------------------------------------------------- sums


def _eigenvalues(values: Any) -> tuple[np.ndarray, int]:
    """Return the eigenvalues in units of 4^e, and e."""
    if isinstance(values, Fitted | Moments) or rank_of(values) > 1:
        moments = moments_of(values)
        return moments.spectrum, moments.unit
    return on_host(as_array(as_native(values, "eigenvalues"), "eigenvalues", ndim=1)).astype(float), 0


def is_fitted(z: Any) -> bool:
    """Tell whether this is the result of a fit, and no array."""
    return isinstance(z, Fitted)


def _as_views(pair: tuple[Array, Array]) -> Array:
    """Return values (n, k) at the members of pairs as those of two views, (n, 2, k)."""
    out: Array = namespace(pair[0]).stack(pair, axis=1)
    return out


def has_views(rep: Fitted) -> bool:
    if isinstance(rep, BimodalRepresentation):
        return all(side.values is not None or side.training is not None for side in (rep.first, rep.second))
    values = rep.values if rep.values is not None else rep.training
    return values is not None and values.ndim == 3 and values.shape[1] > 1


def _unit_values(rep: Any) -> Array:
    """Return the unit eigenfunctions at the training views: those of collapsed components are defined too."""
    if isinstance(rep, BimodalRepresentation) and has_views(rep):
        return _as_views((_side_values(rep.first), _side_values(rep.second)))
    if not has_views(rep):
        raise ValueError(
            "the views of this representation are not known here (it was fitted with groups, made from Moments or "
            "loaded); pass an embedding (n, m, k), for example rep(views)"
        )
    return _side_values(rep)


def _side_values(rep: Representation) -> Array:
    if rep.values is not None:
        return rep.values
    return rep.of_standardized().transform(rep.training, scale="unit")


def spread_of_moments(moments: Moments, epsilon: float) -> Spread:
    """Return the same of second moments of features that are known to ``epsilon`` of their size."""
    sums = moments._total().on(get_backend(backend="numba"))
    largest = float(np.abs(sums.mean).max(initial=0.0))
    squares = sums.between.diagonal() + sums.within.diagonal()
    if 0 < largest < LEAST and squares.max() < LEAST**2:
        raise ValueError(
            f"the features are so small (means up to {largest:.2g}) that their second moments underflow, and nothing "
            f"is known of their spread: multiply them by a constant before they are accumulated"
        )
    return Spread.of_sums(sums, np.zeros(len(sums.mean), int), epsilon)


def moments_of(z: Any) -> Spread:
    """Return mean, covariance and within-sample variance, by blocks, in float64."""
    if isinstance(z, Moments):
        if z.n < 2:
            raise ValueError(f"the moments must be of at least 2 samples, found {z.n}; call update(views) first")
        return spread_of_moments(z, z._epsilon)
    if is_fitted(z):
        z = z.embedding
        z = _as_views(z) if isinstance(z, tuple) else z
    z = as_array(as_native(z, "z"), "z", ndim=(2, 3), shape_hint="(n, k) or (n, m, k)", finite=False)
    if len(z) < 2:
        raise ValueError(f"z must hold at least 2 samples, found shape {z.shape}")
    backend = get_backend(z)
    xp, m, k = backend.xp, 1 if z.ndim == 2 else z.shape[1], z.shape[-1]
    height = max(1, tunables.DIAGNOSTICS_BLOCK_ENTRIES // (m * k))
    blocks = [slice(s, s + height) for s in range(0, len(z), height)]
    largest = xp.zeros(k)
    for part in blocks:
        exponent_of(z[part], "z", part.start)  # refuses what is not finite
        largest = xp.maximum(largest, xp.abs(z[part]).reshape(-1, k).max(axis=0))
    exponents = np.frexp(backend.to_host(largest))[1]
    shift = xp.asarray(-exponents)
    total, buffer = Sums.zero(k, xp), xp.empty(min(height, len(z)) * m * k)
    for part in blocks:
        x = rescaled(z[part], shift).reshape(-1, m, k)
        add_block(total, x.reshape(-1, k), Samples.from_views(len(x), m, backend), float(len(x) * m), buffer, backend)
    return Spread.of_sums(total.on(get_backend(backend="numba")), exponents, float(np.finfo(z.dtype).eps))
