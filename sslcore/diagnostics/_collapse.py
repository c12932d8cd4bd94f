"""The report on a collapsed representation: what was found, and its words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import ArrayLike, gives_memory_back, rescaled
from ..declarations.reprs import brief
from ..fitting.bimodal import BimodalRepresentation
from ..fitting.moments import Moments
from ..fitting.representation import Representation
from ..fitting.spread import Spread, spread_of
from ._spectra import Fitted, alpha_req, has_views, invariance, is_fitted, moments_of, rankme_of, view_shares

__all__ = ["CollapseReport", "collapse_report"]

CONSTANT = 0.1
"""A component whose variance is a smaller share of its mean square is nearly constant (correlation above 0.95)."""

DEAD = 1e-4
"""A direction whose variance is a smaller share of the largest one is dead: its spread is below a hundredth."""

COPIES = 0.99
"""Components with a larger correlation are copies of each other."""


@dataclass(frozen=True, eq=False)
class CollapseReport:
    """Findings of :func:`collapse_report`; ``str()`` says them in words.

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
def collapse_report(z: ArrayLike | Fitted | Moments) -> CollapseReport:
    """Report whether a representation has collapsed, how far, and why: in words, with the values that are normal.

    Total collapse: all samples are mapped to one point.  Partial: components that are zero, nearly constant, or copies
    of each other, or a spectrum that few directions dominate (a RankMe below half of the number of components).

    Parameters
    ----------
    z : `sslcore.Representation`, `sslcore.Moments` of features, or array (n, k) or (n, m, k)
        For a representation the report also says what made components collapse: mu = 1 - beta invariance - reg norm.
        Of a `sslcore.BimodalRepresentation`, the members of a pair are taken for two views of a sample, and each
        modality is looked at by itself, too: one of them may have collapsed alone.

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
    rep: Any = z if is_fitted(z) else None
    moments = moments_of(z)
    k = len(moments.mean)
    variances, spectrum = moments.variances, moments.spectrum
    squares = variances + moments.mean**2
    constant = np.flatnonzero((squares > 0) & (variances < CONSTANT * squares))
    ratios = invariance(rep) if rep is not None and has_views(rep) else None
    if rep is None and moments.within is not None:
        ratios = view_shares(moments)
    rank, alpha = rankme_of(spectrum), alpha_req(spectrum)
    spread = None if rep is None else _spread(rep)
    alive = int((spectrum > DEAD * spectrum[0]).sum())
    active = alive if rep is None else rep.n_active
    copies = _copies(moments.covariance) if rep is None else ()
    alone = [rankme_of(moments_of(part).spectrum) for part in rep.embedding] if _of_pairs(rep) else []
    said = [
        None if spread is None else spread.words(),
        _alive(active, k) if rep is None else _active(rep),
        moments.words_of_rounding(),
        _constant(constant, variances, squares, rep) if alive else None,
        _copied(copies),
        f"RankMe {rank:.1f} of at most {k} (normal: above half of it; {k}: all directions have the same spread)",
        _decay(alpha),
        None if ratios is None else _shared(ratios, "the members of a pair" if _of_pairs(rep) else "views of a sample"),
        _of_modalities(alone, k),
    ]
    partial = active < k or len(constant) > 0 or len(copies) > 0 or min(rank, *alone, k) < 0.5 * k
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
        sentences=tuple(words for words in said if words is not None),
    )


def _of_pairs(rep: Any) -> bool:
    return isinstance(rep, BimodalRepresentation)


def _spread(rep: Any) -> Spread | None:
    """Return how much the training views differ, where they are known."""
    if not isinstance(rep, Representation) or not has_views(rep):
        return None
    if rep.centres is None:
        return None if rep.training is None else spread_of(rep.training)
    assert rep.values is not None
    return spread_of(rep.centres.reshape(*rep.values.shape[:2], -1))


# ---------------------------------------------------------------- words


def _names(indices: np.ndarray) -> str:
    """Name the components with these indices, counted from 1, and add the verb."""
    if len(indices) == 1:
        return f"component {indices[0] + 1} is"
    shown = ", ".join(str(i + 1) for i in indices[:8])
    return f"components {shown}{', ...' if len(indices) > 8 else ''} are"


def _active(rep: Fitted) -> str:
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


def _constant(which: np.ndarray, variances: np.ndarray, squares: np.ndarray, rep: Fitted | None) -> str | None:
    if not len(which):
        return None
    share = 100 * float(variances[which[0]] / squares[which[0]])
    whose, verb = ("its", "it does") if len(which) == 1 else ("the first one's", "they do")
    remedy = "fit with center=True" if rep is not None and not rep.center else "subtract the mean, or leave out"
    return (
        f"{_names(which)} nearly constant (of {whose} mean square {share:.2g} % is variance): {verb} not tell samples "
        f"apart; {remedy}"
    )


def _copied(pairs: tuple[tuple[int, int], ...]) -> str | None:
    if not pairs:
        return None
    i, j = pairs[0]
    more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
    return f"components {i + 1} and {j + 1} are copies of each other (correlation above {COPIES}){more}"


def _decay(alpha: float) -> str | None:
    if not math.isfinite(alpha):
        return None
    return f"alpha-ReQ {alpha:.2f} (normal: around 1; 0: white spectrum; far above 1: few directions hold all of it)"


def _shared(ratios: np.ndarray, between: str) -> str | None:
    if not np.isfinite(ratios).any():
        return None
    noisy = np.flatnonzero(ratios > 0.5)
    words = f"{_names(noisy)} above 1/2, more noise of the augmentation than signal" if len(noisy) else "none above"
    return (
        f"share of variance between {between}: median {np.nanmedian(ratios):.2f}, largest {np.nanmax(ratios):.2f} "
        f"(normal: well below 1/2); {words}"
    )


def _of_modalities(ranks: list[float], k: int) -> str | None:
    if not ranks:
        return None
    first, second = ranks
    return (
        f"RankMe of the modalities by themselves: {first:.1f} and {second:.1f} (normal: above half of {k}, and alike)"
    )


def _copies(covariance: np.ndarray) -> tuple[tuple[int, int], ...]:
    spread = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    used = spread > 0
    safe = np.where(used, spread, 1.0)
    correlation = np.abs(covariance / safe / safe[:, None]) * (used & used[:, None])
    i, j = np.nonzero(np.triu(correlation > COPIES, 1))
    return tuple(zip(i.tolist(), j.tolist(), strict=True))
