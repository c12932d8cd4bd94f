"""The result of the search for reg."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

__all__ = ["Selection"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The result of the search for reg (``rep.selection``).

    Attributes
    ----------
    reg : float
        The one chosen.
    regs : (L,)
        The grid, decreasing.
    risks : (L,)
        Unbiased risk of each on held-out samples, mean over the folds; in float64, to some 1e-6 (in odd problems
        6e-6) of the larger of k and the risk.  NaN where a fit was refused because reg is below the rounding of the
        matrix.
    standard_errors : (L,)
        Of these, over the choice of the held-out samples (of two regs on the same samples the difference is known much
        better).  NaN where two samples are held out at a time: too few to tell.
    training_risks : (L,)
        Risk of the same representations on their own training views, at the same beta, without the penalty.
    n_samples : int
        Samples that the search has used, and ``n_held_out`` of them in each fold.
    n_folds : int
    seconds : float
    n_cut : int
        Edges of a law of positive pairs that were left out, as their ends lie in different parts of the data.
    within : float
        Standard errors from the least risk, within which the largest reg was taken.

    Examples
    --------
    >>> import sslcore
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(200, seed=0), 2, seed=0)
    >>> found = sslcore.pretrain(views, sslcore.features.Identity(), 2, reg="auto").selection
    >>> found.reg, found.n_folds, bool(found.risks.min() == found.risk), bool(found.gap > 0)
    (0.0316, 5, True, True)
    """

    reg: float
    regs: np.ndarray
    risks: np.ndarray
    standard_errors: np.ndarray
    training_risks: np.ndarray
    n_samples: int
    n_held_out: int
    n_folds: int
    seconds: float
    n_cut: int = 0  # older files have none, nor the next
    within: float = 0.0

    @property
    def chosen(self) -> int:
        """Index of ``reg`` in the grid."""
        return int(np.flatnonzero(self.regs == self.reg)[0])

    @property
    def risk(self) -> float:
        """Held-out risk at the chosen reg: what fresh views of fresh samples cost."""
        return float(self.risks[self.chosen])

    @property
    def how(self) -> str:
        """Why it was chosen, in words: it has the least risk, or is the largest of those that are close enough."""
        least = float(np.nanmin(self.risks))
        if self.risk <= least:
            return f"reg {self.reg:g} has the least risk on held-out samples"
        if self.within:
            errors = "one standard error" if self.within == 1.0 else f"{self.within:g} standard errors"
            return (
                f"reg {self.reg:g} is the largest within {errors} of the least risk on held-out samples "
                f"({self.risk - least:.1g} more)"
            )
        return (
            f"reg {self.reg:g} is the largest that comes as close to the least risk on held-out samples as counts as "
            f"equal ({self.risk - least:.1g} more)"
        )

    @property
    def gap(self) -> float:
        """Generalisation gap: held-out less training risk at the chosen reg."""
        return self.risk - float(self.training_risks[self.chosen])

    def check(self) -> None:
        """Refuse a selection, read from a file, that does not hang together."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if kind is np.ndarray:
                good = (
                    isinstance(value, np.ndarray) and value.shape == np.shape(self.regs) and value.dtype == np.float64
                )
                good = good and value.ndim == 1
            else:
                good = type(value) is kind or (kind is float and type(value) is int)
            if not good:
                raise ValueError(f"it is damaged: {name} of the selection is {value!r:.60}")
            if kind in (int, float) and not 0 <= value < math.inf:
                raise ValueError(f"it is damaged: {name} of the selection is {value!r:.60}")
        if not (np.isfinite(self.regs) & (self.regs >= 0)).all():
            raise ValueError("it is damaged: the regs of the selection must be finite and not negative")
        if not (self.regs == self.reg).any():
            raise ValueError(f"it is damaged: reg {self.reg} is not on the grid of the selection")

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()}
        return plain | {"risk": self.risk, "gap": self.gap}

    def __repr__(self) -> str:
        return f"Selection(reg {self.reg:g} of {len(self.regs)}, risk {self.risk:.6g}, {self.n_folds} folds)"

    def __str__(self) -> str:
        """Write a table, for people."""
        how = f"{self.n_folds} folds" if self.n_folds > 1 else f"one split, {self.n_held_out} held out"
        how += f", {self.n_cut} edges between the parts left out" if self.n_cut else ""
        rows = [f"{self.how} ({self.n_samples} samples, {how})"]
        known = bool(np.isfinite(self.standard_errors).any())
        if not known:
            rows += ["too few samples are held out at a time for standard errors: another reg may be as good"]
        rows += [f"      reg   held out{' (std. error)' * known}   training"]
        for i, reg in enumerate(self.regs):
            mark = "  <-" if i == self.chosen else ""
            error = f" ({self.standard_errors[i]:.4f}) {'':3}" if known else ""
            rows.append(f"{reg:9.3g} {self.risks[i]:10.4f}{error} {self.training_risks[i]:10.4f}{mark}")
        return "\n".join(rows)
