"""Convolutional kernels: sums over pairs of patches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, check_scalar, ignore_overflow, require_finite, shown
from ..backends import Backend
from ..declarations.parameters import converted, integer
from ._base import Kernel, _as_part, as_kernel, registry
from ._rows import Needs, Rows

__all__ = ["Convolutional"]


def _as_filter(value: Any, name: str) -> str | tuple[float, ...] | None:
    if value is None or (isinstance(value, str) and value == "global"):
        return value
    if isinstance(value, str) or np.ndim(value) != 1 or not len(value):
        raise ValueError(f"{name} must be None, 'global' or the values of a filter, found {shown(value)}")
    values = tuple(check_scalar(entry, f"a value of the {name} filter") for entry in value)
    if not any(values):
        raise ValueError(f"the {name} filter must not be 0 everywhere")
    return values


@dataclass(frozen=True, repr=False)
class Convolutional(Kernel):
    r"""Kernel of a convolutional layer, k(x, y) = (1/d) sum_i <Phi_i(x), Phi_i(y)>, Phi_i = sum_a f(a) phi(P_{i+a}).

    P_i x = (x_i, ..., x_{i+q-1}) are the patches of ``patch`` = q coordinates, all indices modulo d, and phi is the
    feature map of ``base``, a kernel of points with q coordinates (Misiakiewicz and Mei 2022, with its pooling).  With
    r(s) = sum_a f(a) f(a + s), the correlation of the filter with itself, it is computed as

        k(x, y) = (1/d) sum_s r(s) sum_i base(P_i x, P_{i+s} y).

    Parameters
    ----------
    base : Kernel or callable
        With its own conventions: `NNGP` and `NTK` divide <P x, P y> by q unless told otherwise.
    patch : int
        Number of coordinates of a patch; >= 1.  q above; the points must have at least as many coordinates.
    pooling : None, "global" or array (at most d,)
        The filter f: none (f(0) = 1), the mean over all d positions, or f(0), f(1), ... as they are.

    Notes
    -----
    d Gram matrices of ``base``; times as many shifts as r(s) is not 0 for, which are all d with ``"global"``.

    Examples
    --------
    >>> import sslcore
    >>> k = sslcore.kernels.Convolutional(sslcore.kernels.Linear(), 2)
    >>> k([[1.0, 2.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).round(4)  # each coordinate lies in two patches
    array([[0.6667, 1.3333]])
    >>> pooled = sslcore.kernels.Convolutional(sslcore.kernels.NNGP(1), 2, pooling="global")
    >>> x = [[1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, 1.0]]  # the second is a shift of the first
    >>> pooled(x).round(4)
    array([[0.5342, 0.5342],
           [0.5342, 0.5342]])
    """

    base: Kernel = converted("a kernel of patches", lambda value, name: _as_part(as_kernel(value), name))
    patch: int = integer("number of coordinates of a patch", minimum=1)
    pooling: str | tuple[float, ...] | None = converted("the filter f", _as_filter, default=None)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether the base is."""
        return self.base.trusted

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`, by rows of the base for one position of the patches after the other."""
        return _PatchRows(self, y, self.shifts(y.shape[1]), backend)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`, for one tile: points around the circle, values of the base, and their sum."""
        height, width = tunables.CONVOLUTION_TILE_PAIRS[0], min(tunables.CONVOLUTION_TILE_PAIRS[1], n)
        inner = self.base._needs(width, self.patch, itemsize)
        working = height * width * (inner.blocks * itemsize + 8.0) + height * inner.row + inner.working
        working += itemsize * (height + width) * (d + self.patch)
        return Needs(working=working + max(inner.preparing, inner.kept))

    def shifts(self, width: int) -> dict[int, float]:
        """Return the weight r(s) / d of each shift s that has one, for points with ``width`` = d coordinates.

        Raises
        ------
        ValueError
            If d is less than the patch, or than the filter.
        """
        length = len(self.pooling) if isinstance(self.pooling, tuple) else 1
        if width < max(self.patch, length):
            raise ValueError(
                f"points with {width} coordinates have no patches of {self.patch}, or are shorter than the pooling "
                f"filter (length {length}); choose a smaller patch or filter"
            )
        if self.pooling is None:
            return {0: 1.0 / width}
        if isinstance(self.pooling, str):
            return dict.fromkeys(range(width), 1.0 / width**2)
        weights: dict[int, float] = {}
        for a, first in enumerate(self.pooling):
            for b, second in enumerate(self.pooling):
                weights[(b - a) % width] = weights.get((b - a) % width, 0.0) + first * second / width
        return {s: weight for s, weight in weights.items() if weight}


@dataclass(frozen=True)
class _PatchRows(Rows):
    """Rows of a `Convolutional` kernel, with the weight of each shift."""

    kernel: Convolutional
    y: Array
    shifts: dict[int, float]
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`, by tiles."""
        height, width = (math.isqrt(self.backend.BLOCK_FACTOR) * side for side in tunables.CONVOLUTION_TILE_PAIRS)
        for i in range(0, len(x), height):
            for j in range(0, out.shape[1], width):
                tile = out[i : i + height, j : j + width]
                self._fill_tile(x[i : i + height], self.y[first + j : first + j + tile.shape[1]], tile)
        require_finite(out, f"the values of {self.kernel}")

    def _fill_tile(self, x: Array, y: Array, out: Array) -> None:
        """Add up the base's values over the pairs of patches that are a shift apart, each with its weight."""
        xp, d, patch = self.backend.xp, x.shape[1], self.kernel.patch
        around = [xp.concatenate([points, points[:, : patch - 1]], axis=1) for points in (x, y)]
        block = xp.empty(out.shape, out.dtype)
        total = xp.zeros(out.shape)  # of many terms, in float64
        common = max(self.shifts.values(), key=abs)
        for j in range(d):
            rows = self.kernel.base.rows(around[1][:, j : j + patch], self.backend)
            for shift, weight in self.shifts.items():
                i = (j - shift) % d
                rows.fill(around[0][:, i : i + patch], 0, block)
                if weight != common:
                    block *= weight / common
                total += block
        with ignore_overflow():
            xp.multiply(total, common, out=total)
            out[...] = total


registry["Convolutional"] = Convolutional
