"""Spectra and bases that sweeps have found of an operator, kept for later sweeps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .reduced_basis import ReducedBasis

__all__ = ["Known"]

_ELSEWHERE = 4.0
"""Errors of images in float32 at other places are taken for as many times as large, in units of the k-th eigenvalue, as
the largest that was measured.  Trials find out if that is too little: their last image is in float64."""


@dataclass(eq=False)
class Known:
    """Keeps what sweeps have found for later ones with the same operator, or one that is made anew and equal.

    Attributes
    ----------
    basis : ReducedBasis
        The functions found so far.
    columns : int
        What factors were shared for (`ConditionedKernel.share_factors`); 0: each place had its own.
    error, least : float
        The largest error of an image in float32 that was measured, in units of the k-th eigenvalue; the least of those.
    """

    basis: ReducedBasis = field(default_factory=ReducedBasis)
    columns: int = 0
    error: float = 0.0
    least: float = math.inf

    def measured(self, error: float, height: float) -> None:
        """Keep what an image in float32 was off by, or 0 if nothing was measured, where the k-th eigenvalue is this."""
        if error:
            self.error, self.least = max(self.error, error / height), min(self.least, height)

    def expected_error(self, relative: float) -> float:
        """Return what images in float32 elsewhere are taken to be off by, or 0 if eigenvalues would be by more."""
        expected = _ELSEWHERE * self.error
        return expected * self.least if 0.0 < expected <= relative else 0.0
