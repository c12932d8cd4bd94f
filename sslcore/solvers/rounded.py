"""A conditioned kernel that is applied in float32 where an iteration allows the error.

What a later step adds to vectors that are nearly found needs few digits (`sslcore.solvers.krylov`), and large matrices
are read from memory in half the time.  The first steps, and what is measured in the end, have float64.
"""

from __future__ import annotations

import copy
from typing import Self

import numpy as np

from .. import tunables
from ..arrays import Array
from .conditioned import COLD, NEARBY
from .exact import ConditionedKernel

__all__ = ["RoundedKernel"]

TENTH = 0.1
"""Residuals at which its iterations end, in units of the tolerance: what is measured then has float64 again."""

SMALLEST, LARGEST = 1e-20, 1e30
"""Traces of Khat for float32: no value exceeds them, and those that matter do not vanish."""

SAFETY = 6.0
"""Errors of images are taken for as many times as large as those of the two columns that are measured."""


class RoundedKernel(ConditionedKernel):
    """The same operator with its blocks, and the factor at hand, in float32 beside those in float64.

    For tasks side by side on a CPU.  Its leading blocks are parts of its own matrices, not copies, and take over what
    was measured of the rounding; small ones, whose steps take no less time so, stay in float64.

    Attributes
    ----------
    low : ConditionedKernel
        In float32; None where that has too small a range.
    error, allowed : float
        What an image in float32 is off by, about, or 0 before it was measured; what the next one may be.
    least_error : float
        No error is taken for smaller, however small one is that was measured.
    """

    low: ConditionedKernel | None
    error: float
    allowed: float
    least_error: float

    @classmethod
    def of(cls, operator: ConditionedKernel) -> Self:
        """Round an operator in float64 that is conditioned already."""
        part = cls.__new__(cls)
        part.__dict__.update(operator.side_by_side().__dict__)
        part.low, part.error, part.allowed = None, 0.0, 0.0
        if not SMALLEST <= operator.unit <= LARGEST:
            return part
        part.inexact, part.ends = True, (TENTH, TENTH)
        diagonal = part.xp.concatenate([part.a.diagonal(), part.kept_diagonal])
        part.least_error = 0.3 * float(np.finfo(np.float32).eps) * part._size(part._some_rows(), diagonal)
        part.low = low = operator.side_by_side()
        low.a, low.b, low.c = part.a.astype(np.float32), part.b.astype(np.float32), part.c.astype(np.float32)
        low.kept_diagonal, low.noise = part.kept_diagonal.astype(np.float32), part.noise.astype(np.float32)
        return part

    def exact(self) -> Self:
        """Return the same for an iteration in float64."""
        part = copy.copy(self)
        part.inexact, part.ends = False, (COLD, NEARBY)
        return part

    def relax(self, allowed: float) -> bool:
        """Hear what the error of the next image may be; True if float32 will do from now on."""
        self.allowed = allowed
        return 0.0 < self.error <= allowed

    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v, in float32 where that is allowed."""
        if self.inexact and 0.0 < self.error <= self.allowed:
            return self._rounded(v)
        image = super().conditioned(v)
        if self.inexact and not self.error and self.allowed >= self.least_error:  # they are smooth, as those to come
            few = slice(None, None, max(1, v.shape[1] - 1))
            error = float(((self._rounded(self.xp.asfortranarray(v[:, few])) - image[:, few]) ** 2).sum()) ** 0.5
            self.error = max(SAFETY * error, self.least_error)
        return image

    def _rounded(self, v: Array) -> Array:
        assert self.low is not None
        image: Array = self.low.conditioned(v.astype(np.float32)).astype(self.dtype)
        return image

    def leading(self, n: int) -> Self:
        """Return the operator of the first n samples."""
        part = super().leading(n)
        if part.low is None or part.samples.n_views < tunables.NESTED_ROUNDED_VIEWS:
            return part.exact()
        part.low.unit = part.unit
        return part

    def _keep_leading(self, n: int, contrasts: slice) -> None:
        """Keep the blocks of some first means and contrasts, which are the larger ones' memory."""
        self.a, self.b, self.c = self.a[:n, :n], self.b[:n, contrasts], self.c[contrasts, contrasts]
        self.allowed = 0.0
        if self.low is not None:
            self.low = low = copy.copy(self.low)
            low.n, low.kept_diagonal, low.noise = n, low.kept_diagonal[contrasts], low.noise[contrasts]
            low.a, low.b, low.c = low.a[:n, :n], low.b[:n, contrasts], low.c[contrasts, contrasts]
