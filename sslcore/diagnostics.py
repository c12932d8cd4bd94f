"""Is a representation alive?  Spectra, invariances, and a report in words.

Everything is **centred**: a component that is the same for all samples tells nothing about them, however large it is,
and an uncentred spectrum counts it (the first eigenfunction of an uncentred fit is nearly constant).  All functions
take a `sslcore.Representation` or any embedding, (n, k) or (n, m, k) with m views of each of n samples, of NumPy, CuPy
or a library with DLPack; sums are accumulated in float64 by blocks, and what comes back are the host's numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import (
    Array,
    as_array,
    as_native,
    check_integer,
    check_scalar,
    exponent_of,
    gives_memory_back,
    on_host,
    rank_of,
    rescaled,
)
from .backends import get_backend
from .declarations.reprs import brief
from .fitting.representation import Representation

__all__ = ["CollapseReport", "alpha_req", "collapse_report", "effective_dimension", "invariance", "rankme"]

BLOCK_ENTRIES = 1 << 17
"""Entries of an embedding in one block: 1 MiB in float64."""

CONSTANT = 0.1
"""A component whose variance is a smaller share of its mean square is nearly constant (correlation above 0.95)."""

DEAD = 1e-4
"""A direction whose variance is a smaller share of the largest one is dead: its spread is below a hundredth."""

COPIES = 0.99
"""Components with a larger correlation are copies of each other."""


@dataclass(frozen=True)
class _Moments:
    """Mean (k,), covariance (k, k), and within-sample variance (k,) or None, on the host.

    Each component j is in a unit of its own, 2^exponents[j], about its largest value: squares of very large or small
    values would overflow or vanish.
    """

    mean: np.ndarray
    covariance: np.ndarray
    within: np.ndarray | None
    exponents: np.ndarray
    epsilon: float  # rounding of the values

    @property
    def variances(self) -> np.ndarray:
        return self.covariance.diagonal()

    @property
    def unit(self) -> int:
        """The spectrum is in units of 4^unit."""
        return int(self.exponents.max())

    @property
    def spectrum(self) -> np.ndarray:
        """Eigenvalues of the covariance, decreasing; what is below rounding is 0."""
        shift = self.exponents - self.unit
        values = np.linalg.eigvalsh(rescaled(self.covariance, shift[:, None] + shift))[::-1]
        mean = rescaled(self.mean, shift)
        # of the sums, and of the values from which the mean is subtracted
        floor = np.finfo(float).eps * values[0] * len(values) + (4 * self.epsilon) ** 2 * float(mean @ mean)
        return np.where(values > floor, values, 0.0)


@gives_memory_back
def rankme(z: Any) -> float:
    r"""Return RankMe: the exponential of the entropy of the singular values of the centred embedding.

    exp(-sum_i p_i log p_i), p_i = sigma_i / sum_j sigma_j.  It is a smooth rank, between 1 and k: k if all directions
    have the same spread.  Between models of one architecture it follows their accuracy downstream; **normal** is at
    least half of the number of components, and a small fraction of it means that the embedding has collapsed to few
    directions.

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, k) or (n, m, k)

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
    return _rankme(_moments(z).spectrum)


def _rankme(spectrum: np.ndarray) -> float:
    singular = np.sqrt(spectrum[spectrum > 0])
    if not len(singular):
        return 0.0
    p = singular / singular.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


@gives_memory_back
def alpha_req(eigenvalues: Any, *, ranks: tuple[int, int] | None = None) -> float:
    """Return alpha-ReQ: the exponent of the power law i^-alpha that a middle range of the eigenvalues follows.

    Minus the slope of the weighted least-squares line through (log i, log lambda_i) for ranks first <= i <= last, with
    weights 1/i, which make each octave of ranks count alike:

        alpha = -sum_i (1/i) (x_i - xbar) (y_i - ybar) / sum_i (1/i) (x_i - xbar)^2,   x_i = log i, y_i = log lambda_i,

    xbar and ybar the means with these weights.  The first eigenvalues are left out because they often stand apart, the
    last ones because they are those that few samples estimate too small.  **Normal** is around 1 (natural images and
    good representations of them); 0 is a white spectrum, far above 1 a few directions hold all the variance.

    Parameters
    ----------
    eigenvalues : array (k,), or a `Representation` or an embedding (n, k) or (n, m, k)
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
def effective_dimension(eigenvalues: Any, g: float) -> float:
    """Return the degrees of freedom tr((S + g)^-1 S) = sum_i lambda_i / (lambda_i + g) of a ridge of penalty g.

    How many components a ridge probe with that penalty uses: about the number of eigenvalues above g.  **Normal**: the
    number of active components for g far below the last of them; a value near 0 says that g drowns all of them.

    Parameters
    ----------
    eigenvalues : array (k,), or a `Representation` or an embedding (n, k) or (n, m, k)
        Of S = E psi psi^T, centred; negative ones (components that are collapsed: mu_i < 0) count as 0.
    g : float
        > 0.

    Returns
    -------
    float

    References
    ----------
    Caponnetto and De Vito, *Optimal rates for the regularized least-squares algorithm*, 2007.

    Examples
    --------
    >>> from sslcore.diagnostics import effective_dimension
    >>> effective_dimension([1.0, 1.0, 0.0], g=1.0)
    1.0
    """
    g = check_scalar(g, "g", minimum=0.0, strict=True)
    values, unit = _eigenvalues(eigenvalues)
    active = values[values > 0]
    with np.errstate(over="ignore", under="ignore"):
        return float((1.0 / (1.0 + rescaled(np.array(g), -2 * unit) / active)).sum())


@gives_memory_back
def invariance(z: Any) -> np.ndarray:
    """Return the share of each component's variance that lies between the views of one sample, (k,).

    E|f(xi) - f(xi')|^2 / (2 Var f): 0 for a component that does not see the augmentations, 1 for one that differs as
    much between two views of a sample as between two samples.  **Normal** is well below 1/2; above it a component is
    more noise than signal.

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, m, k) with m >= 2
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
    moments = _moments(_unit_values(z) if isinstance(z, Representation) else z)
    if moments.within is None:
        raise ValueError(
            "invariance needs views: an embedding (n, m, k) of m >= 2 views of each of n samples, or a Representation "
            "of such views"
        )
    return _ratio(moments)


def _ratio(moments: _Moments) -> np.ndarray:
    constant = moments.variances <= (4 * moments.epsilon * moments.mean) ** 2
    return np.where(constant, math.nan, moments.within / np.where(constant, 1.0, moments.variances))


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """What :func:`collapse_report` found; ``str()`` says it in words.

    Attributes
    ----------
    verdict : {"no collapse", "partial collapse", "total collapse"}
    n_components : int
        k.
    n_active : int
        Of a representation, components with mu > 0; of an embedding, directions whose variance is more than 1e-4 of
        the largest.
    constant : tuple of int
        Components (from 0) that are nearly constant: of their mean square less than 10 % is variance.
    copies : tuple of (int, int)
        Pairs of components with a correlation above 0.99.
    variances : (k,)
    spectrum : (k,)
        Eigenvalues of the covariance, decreasing.  Squares that float64 cannot hold are 0 or infinite here; everything
        else was found without them.
    invariance : (k,) or None
        See :func:`invariance`; None without views.
    rankme, alpha : float
        See :func:`rankme` and :func:`alpha_req`.
    sentences : tuple of str
        The words.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> report = sslcore.diagnostics.collapse_report(np.ones((10, 2, 3)))
    >>> report.verdict, report.n_active, report.constant
    ('total collapse', 0, (0, 1, 2))
    """

    verdict: str
    n_components: int
    n_active: int
    constant: tuple[int, ...]
    copies: tuple[tuple[int, int], ...]
    variances: np.ndarray
    spectrum: np.ndarray
    invariance: np.ndarray | None
    rankme: float
    alpha: float
    sentences: tuple[str, ...]

    __repr__ = brief

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in values.items()}

    def __str__(self) -> str:
        return "\n".join([f"{self.verdict}:", *(f"  {sentence}" for sentence in self.sentences)])


@gives_memory_back
def collapse_report(z: Any) -> CollapseReport:
    """Report whether a representation has collapsed, how far, and why: in words, with the values that are normal.

    Total collapse: all samples are mapped to one point.  Partial: components that are zero, nearly constant, or copies
    of each other, or a spectrum that few directions dominate (a RankMe below half of the number of components).

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, k) or (n, m, k)
        For a representation the report also says what made components collapse: mu = 1 - beta invariance - reg norm.

    Returns
    -------
    CollapseReport

    Raises
    ------
    ValueError
        z is not finite, has another shape, or fewer than 2 samples; or a representation whose training views are not
        known: pass an embedding, ``rep(x)``.

    Examples
    --------
    >>> import sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(100, seed=0), 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(2.0), n_components=4, reg=3e-2)
    >>> for sentence in sslcore.diagnostics.collapse_report(rep).sentences[:2]:
    ...     print(sentence)  # doctest: +ELLIPSIS
    3 of 4 components are active (mu > 0; normal: all); the others are zero because reg = 0.03 exceeds what their ...
    component 1 is nearly constant (of its mean square 0.58 % is variance): it does not tell samples apart; ...
    """
    rep = z if isinstance(z, Representation) else None
    moments = _moments(z)
    k = len(moments.mean)
    variances, spectrum = moments.variances, moments.spectrum
    squares = variances + moments.mean**2
    constant = np.flatnonzero((squares > 0) & (variances < CONSTANT * squares))
    ratios = invariance(rep) if rep is not None and _has_views(rep) else None
    if rep is None and moments.within is not None:
        ratios = _ratio(moments)
    rank, alpha = _rankme(spectrum), alpha_req(spectrum)
    alive = int((spectrum > DEAD * spectrum[0]).sum())
    active = alive if rep is None else rep.n_active
    copies = _copies(moments.covariance) if rep is None else ()

    said = [_active(rep) if rep is not None else _alive(active, k)]
    if len(constant) and alive:
        share = 100 * float(variances[constant[0]] / squares[constant[0]])
        whose, verb = ("its", "it does") if len(constant) == 1 else ("the first one's", "they do")
        remedy = "fit with center=True" if rep is not None and not rep.center else "subtract the mean, or leave out"
        said.append(
            f"{_names(constant)} nearly constant (of {whose} mean square {share:.2g} % is variance): {verb} not tell "
            f"samples apart; {remedy}"
        )
    if copies:
        pair = copies[0]
        said.append(
            f"components {pair[0] + 1} and {pair[1] + 1} are copies of each other (correlation above {COPIES})"
            + (f", and {len(copies) - 1} more pairs" if len(copies) > 1 else "")
        )
    said.append(
        f"RankMe {rank:.1f} of at most {k} (normal: above half of it; {k}: all directions have the same spread)"
    )
    if math.isfinite(alpha):
        said.append(
            f"alpha-ReQ {alpha:.2f} (normal: around 1; 0: white spectrum; far above 1: few directions hold all of it)"
        )
    if ratios is not None and np.isfinite(ratios).any():
        noisy = np.flatnonzero(ratios > 0.5)
        words = f"{_names(noisy)} above 1/2, more noise of the augmentation than signal" if len(noisy) else "none above"
        said.append(
            f"share of variance between views of a sample: median {np.nanmedian(ratios):.2f}, largest "
            f"{np.nanmax(ratios):.2f} (normal: well below 1/2); {words}"
        )
    partial = active < k or len(constant) > 0 or len(copies) > 0 or rank < 0.5 * k
    verdict = "total collapse" if not alive or not active else "partial collapse" if partial else "no collapse"
    return CollapseReport(
        verdict=verdict,
        n_components=k,
        n_active=active,
        constant=tuple(map(int, constant)),
        copies=copies,
        variances=rescaled(variances, 2 * moments.exponents),
        spectrum=rescaled(spectrum, 2 * moments.unit),
        invariance=ratios,
        rankme=rank,
        alpha=alpha,
        sentences=tuple(said),
    )


# ---------------------------------------------------------------- words


def _names(indices: np.ndarray) -> str:
    """Name the components with these indices, counted from 1, and add the verb."""
    if len(indices) == 1:
        return f"component {indices[0] + 1} is"
    shown = ", ".join(str(i + 1) for i in indices[:8])
    return f"components {shown}{', ...' if len(indices) > 8 else ''} are"


def _active(rep: Representation) -> str:
    k, active = rep.n_components, rep.n_active
    if active == k:
        return f"all {k} components are active (mu > 0): the last has mu = {rep.eigenvalues[-1]:.3g}"
    first = f"{active} of {k} components are active (mu > 0; normal: all)"
    rank = rep.certificate.rank
    if rank <= active:
        return (
            f"{first}; the others are beyond the numerical rank {rank} of the kernel on these views: there are no more"
        )
    left = 1.0 - rep.beta * rep.invariance[active]
    if left <= 0:
        return (
            f"{first}; the others are zero because beta times their invariance exceeds 1 (component {active + 1}: "
            f"{1 - left:.3g}), whatever reg is: the augmentations destroy them; use milder ones, or a smaller beta"
        )
    bound = left / float(rep.norms[active])
    return (
        f"{first}; the others are zero because reg = {rep.reg:.3g} exceeds what their smoothness allows: component "
        f"{active + 1} needs reg below about {bound:.2g}"
    )


def _alive(active: int, k: int) -> str:
    if not active:
        return "all samples are mapped to one point"
    if active == k:
        return f"all {k} directions are alive (each has more than {DEAD:g} of the largest variance)"
    return f"{active} of {k} directions are alive (normal: all; the others have < {DEAD:g} of the largest variance)"


def _copies(covariance: np.ndarray) -> tuple[tuple[int, int], ...]:
    spread = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    used = spread > 0
    safe = np.where(used, spread, 1.0)
    correlation = np.abs(covariance / safe / safe[:, None]) * (used & used[:, None])
    i, j = np.nonzero(np.triu(correlation > COPIES, 1))
    return tuple(zip(i.tolist(), j.tolist(), strict=True))


# ---------------------------------------------------------------- sums


def _eigenvalues(values: Any) -> tuple[np.ndarray, int]:
    """Return the eigenvalues in units of 4^e, and e."""
    if isinstance(values, Representation) or rank_of(values) > 1:
        moments = _moments(values)
        return moments.spectrum, moments.unit
    return on_host(as_array(as_native(values, "eigenvalues"), "eigenvalues", ndim=1)).astype(float), 0


def _has_views(rep: Representation) -> bool:
    values = rep.values if rep.values is not None else rep.training
    return values is not None and values.ndim == 3 and values.shape[1] > 1


def _unit_values(rep: Representation) -> Array:
    """Return the unit eigenfunctions at the training views: those of collapsed components are defined too."""
    if not _has_views(rep):
        raise ValueError(
            "the views of this representation are not known here (it was fitted with groups, made from Moments or "
            "loaded); pass an embedding (n, m, k), for example rep(views)"
        )
    return rep.values if rep.values is not None else rep.transform(rep.training, scale=False)


def _moments(z: Any) -> _Moments:
    """Return mean, covariance and within-sample variance, by blocks, in float64."""
    if isinstance(z, Representation):
        z = z.embedding
    z = as_array(as_native(z, "z"), "z", ndim=(2, 3), shape_hint="(n, k) or (n, m, k)", finite=False)
    if len(z) < 2:
        raise ValueError(f"z must hold at least 2 samples, found shape {z.shape}")
    engine = get_backend(z)
    xp, m, k = engine.xp, 1 if z.ndim == 2 else z.shape[1], z.shape[-1]
    height = max(1, BLOCK_ENTRIES // (m * k))
    blocks = [slice(s, s + height) for s in range(0, len(z), height)]
    largest = xp.zeros(k)
    for part in blocks:
        exponent_of(z[part], "z", part.start)  # refuses what is not finite
        largest = xp.maximum(largest, xp.abs(z[part]).reshape(-1, k).max(axis=0))
    exponents = np.frexp(engine.to_host(largest))[1]
    shift = xp.asarray(-exponents)
    mean = xp.zeros(k)
    for part in blocks:
        mean += rescaled(z[part], shift).reshape(-1, k).sum(axis=0)
    mean /= len(z) * m
    covariance, within, rest = xp.zeros((k, k)), xp.zeros(k), xp.zeros(k)
    for part in blocks:
        x = rescaled(z[part], shift) - mean
        if m > 1:
            within += ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=(0, 1))
        x = x.reshape(-1, k)
        rest += x.sum(axis=0)
        covariance += x.T @ x
    total = len(z) * m
    # the first mean is off by its rounding, which a nearly constant component would feel
    rest /= total
    covariance = covariance / total - rest[:, None] * rest
    within = engine.to_host(within / total * (m / (m - 1))) if m > 1 else None
    epsilon = float(np.finfo(z.dtype).eps)
    return _Moments(engine.to_host(mean + rest), engine.to_host(covariance), within, exponents, epsilon)
