"""Findings of a monitor of a network: the head's risk beside the exact minimum, ranks, and their words."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..arrays import rescaled
from ..declarations.reprs import brief
from ..diagnostics import alpha_req
from ..diagnostics._spectra import Spread, lidar_of, rankme_of, spread_of_moments
from ..fitting.moments import Moments

__all__ = ["MonitorReport", "Seen", "Watched", "reported"]

RELATIVE_REG = 1e-4
"""The reg that is taken where none is given, as a share of the mean variance of a feature."""

FEW = 5
"""Samples for each feature below which the exact minimum is said to be optimistic."""

DEAD = 1e-4
"""A direction of the head's outputs whose variance is a smaller share of the largest one is dead."""


@dataclass(frozen=True, eq=False)
class MonitorReport:
    """Findings of a `Monitor` over the batches since its last report; ``str()`` says them in words.

    Attributes
    ----------
    verdict : {"no collapse", "partial collapse", "total collapse"}
    batch : int
        Batches that were seen since the beginning.
    n, n_features, n_components : int
        Samples that the numbers are of, the width r of the features, and k.
    risk : float or None
        The penalised risk of the head: beta E||psi(xi) - psi(xi')||^2 over pairs of distinct views, plus
        ||cov(psi) - I||_F^2, plus 2 reg ||W||^2; None without a head, or where its weights are not finite.
    recombined : float or None
        The least risk of linear maps of the head's outputs: what the head has found, whatever loss it was trained with.
    minimum : float
        The least risk of all linear heads of k outputs on these features (`sslcore.Moments.solve`, centred): risk >=
        recombined >= minimum.  NaN if it could not be found, which ``sentences`` explain.
    n_active : int
        Components with mu > 0 at that minimum; 0 where it was not found.
    reg : float
        lambda, in the unit of the squared features; 0 or infinite where float64 cannot hold it.
    rankme, alpha, lidar : float
        Of the features: see `sslcore.diagnostics`.
    not_finite : int
        Batches that were left out because features were infinite or NaN, as mixed precision sometimes makes them.
    sentences : tuple of str
        The words.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> monitor = sslcore.torch.Monitor(None, n_components=2, log=None)
    >>> monitor.update(torch.ones(10, 2, 3))  # (n, m, r): features that are the same for all samples
    >>> monitor.report().verdict
    'total collapse'
    """

    verdict: str
    batch: int
    n: int
    n_features: int
    n_components: int
    risk: float | None
    recombined: float | None
    minimum: float
    n_active: int
    reg: float
    rankme: float
    alpha: float
    lidar: float
    not_finite: int
    sentences: tuple[str, ...]

    __repr__ = brief

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON; what is no number is None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
        return plain | {"sentences": list(self.sentences)}

    def metrics(self) -> dict[str, float]:
        """Return the finite numbers under names that begin with ``sslcore/``, as loggers of metrics take them."""
        names = ("risk", "recombined", "minimum", "n_active", "rankme", "alpha", "lidar", "not_finite")
        found = {f"sslcore/{name}": getattr(self, name) for name in names}
        return {key: float(value) for key, value in found.items() if value is not None and math.isfinite(value)}

    def __str__(self) -> str:
        first = f"batch {self.batch}, {self.n} samples: {self.verdict}"
        return "\n".join([first, *(f"  {sentence}" for sentence in self.sentences)])


@dataclass(frozen=True, eq=False)
class Seen:
    """Moments of features in units of 2^unit, which are known to ``epsilon`` of their size."""

    moments: Moments
    unit: int
    epsilon: float


@dataclass(frozen=True, eq=False)
class Watched:
    """Gathered by a monitor: what was seen of the features, and the weight (k, r) of the head, if there is one."""

    batch: int
    seen: Seen
    weight: np.ndarray | None
    not_finite: int
    highest: float  # RankMe of earlier reports


def reported(watched: Watched, n_components: int | None, beta: float, reg: float | None) -> MonitorReport:
    """Work out the numbers, and say them."""
    moments, unit, said = watched.seen.moments, watched.seen.unit, list[str]()
    spread = spread_of_moments(moments, watched.seen.epsilon)
    r = len(spread.mean)
    k = len(watched.weight) if watched.weight is not None else n_components or min(r, 32)
    # lambda is strength 2^power: the default is in the moments' unit, in which float64 may not hold what is given
    relative = RELATIVE_REG * float(spread.variances.mean())
    strength, power = math.frexp(relative if reg is None else reg)
    power += 2 * unit if reg is None else 0
    # beyond the sum of the variances nothing can be active
    penalty = min(float(rescaled(np.array(strength), power - 2 * unit)), 2.0 * float(np.trace(spread.covariance)))
    reachable, reached = min(k, r), bool(spread.spectrum.any())
    minimum, active = float(k), 0
    if reached:
        try:
            rep = moments.solve(reachable, reg=penalty, beta=beta, center=True)
            minimum, active = rep.risk + (k - reachable), rep.n_active
        except (ValueError, ArithmeticError) as error:
            minimum = math.nan
            said.append(f"the exact minimum was not found: {error}")
    hidden = spread.words_of_rounding()
    if hidden is not None:
        said.append(hidden)
    known = reachable if math.isnan(minimum) else active
    alive, rank, risk, recombined = known, math.nan, None, None
    if watched.weight is not None and not np.isfinite(watched.weight).all():
        alive = 0
        said.append("the head's weights are not finite: its training has diverged")
    elif watched.weight is not None:
        risk, recombined, outputs = _of_head(watched.weight, unit, spread, beta, (strength, power), penalty)
        rank, alive = rankme_of(outputs), int((outputs > DEAD * outputs[0]).sum())
        said.append(
            f"risk of the head {risk:.4g}, of the best linear map of its outputs {recombined:.4g}, exact minimum on "
            f"these features {minimum:.4g} of at most {k} (normal: the first two near the third; else train the head "
            f"longer, or take sslcore.torch.linear_layer)"
        )
        said.append(f"outputs of the head: {alive} of {k} directions alive, RankMe {rank:.1f} (normal: above half)")
    elif reached:
        said.append(f"exact minimum of the risk on these features {minimum:.4g} of at most {k}")
    if not math.isnan(minimum):
        said.append(f"{active} of {k} components active at the minimum (mu > 0; normal: all)")
    rankme, lidar, alpha = rankme_of(spread.spectrum), lidar_of(spread), alpha_req(spread.spectrum)
    fallen = rankme < 0.5 * watched.highest
    earlier = f"RankMe was {watched.highest:.1f} and has fallen by more than half" if fallen else "compare with earlier"
    said.append(
        f"features: RankMe {rankme:.1f}, LiDAR {lidar:.1f} of at most {min(r, moments.n - 1)}, alpha-ReQ {alpha:.2f} "
        f"({earlier})"
    )
    if moments.n < FEW * r:
        said.append(f"{moments.n} samples are few for {r} features: the minimum is too low; look at more of them")
    if watched.not_finite:
        said.append(f"features were not finite in {watched.not_finite} batches, which were left out")
    partial = min(known, alive) < reachable or rank < 0.5 * reachable or fallen
    return MonitorReport(
        verdict="total collapse" if not reached or not alive else "partial collapse" if partial else "no collapse",
        batch=watched.batch,
        n=moments.n,
        n_features=r,
        n_components=k,
        risk=risk,
        recombined=recombined,
        minimum=minimum,
        n_active=active,
        reg=float(rescaled(np.array(strength), power)),
        rankme=rankme,
        alpha=alpha,
        lidar=lidar,
        not_finite=watched.not_finite,
        sentences=tuple(said),
    )


def _of_head(
    weight: np.ndarray, unit: int, spread: Spread, beta: float, reg: tuple[float, int], penalty: float
) -> tuple[float, float, np.ndarray]:
    """Return the risk of a head, that of the best map of its outputs, and the variances of these, decreasing.

    ``spread`` is in units of 4^unit, and so are the variances, over the square of the largest weight: only the risk
    sees the scale of the features.  ``reg`` is the number and its power of 2, ``penalty`` the same in units of 4^unit,
    and at most so much that nothing can be active.
    """
    assert spread.unbiased is not None
    k = len(weight)
    own = int(np.frexp(np.abs(weight).max())[1])
    weight = rescaled(weight, -own)
    covariance = weight @ spread.covariance @ weight.T
    invariance, norms = beta * (weight @ spread.unbiased @ weight.T), weight @ weight.T
    cost = invariance + penalty * norms
    scale = 2 * (unit + own)
    with np.errstate(over="ignore", invalid="ignore"):
        whitened = rescaled(covariance, scale) - np.eye(k)
        linear = rescaled(np.trace(invariance), scale) + rescaled(reg[0] * np.trace(norms), reg[1] + 2 * own)
        risk = 2 * float(linear) + float((whitened**2).sum())
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > np.finfo(float).eps * k * max(variances[-1], 0.0)
    root = directions[:, kept] / np.sqrt(variances[kept])
    mu = np.clip(1.0 - np.linalg.eigvalsh(root.T @ cost @ root), 0.0, None)
    return risk, float(k - (mu**2).sum()), np.clip(variances[::-1], 0.0, None)
