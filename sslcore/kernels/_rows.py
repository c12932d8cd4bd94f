"""Rows of Gram matrices: what a kernel makes of points, block by block."""

from __future__ import annotations

import math

from ..arrays import (
    Array,
    as_array,
    as_native,
    quiet,
    require_finite,
)
from ..backends import Backend, device_of
from ..errors import BackendError
from ..solvers.groups import Samples
from ._base import Function, Kernel, Product, Profile, Scaled, Sum
from ._convolutional import Convolutional

_BLOCK_BYTES = 16 << 20
"""Size of a block of kernel values on its way to somewhere else: it stays in the last-level cache."""


_PATCH_TILE = 128, 1024
"""Rows and columns that are summed over patches while they stay in the cache of a processor."""


class RowSource:
    """Blocks of rows k(x_i, y_j) for a fixed second argument, prepared once."""

    def __init__(self, kernel: Kernel, y: Array, backend: Backend) -> None:
        self.kernel, self.y, self.backend = kernel, y, backend
        if isinstance(kernel, Profile):
            self._points = backend.points(kernel, y)
        elif isinstance(kernel, Sum | Product):
            self._parts = [RowSource(kernel.first, y, backend), RowSource(kernel.second, y, backend)]
        elif isinstance(kernel, Scaled):
            self._parts = [RowSource(kernel.base, y, backend)]
        elif isinstance(kernel, Convolutional):
            self._shifts = kernel.shifts(y.shape[1])

    @property
    def mirrored(self) -> bool:
        """Whether a symmetric matrix is computed by half, then mirrored; else `fill_symmetric` has a better way."""
        return not isinstance(self.kernel, Profile) or self._points.mirrored

    def fill_symmetric(self, x: Array, out: Array) -> None:
        """out[i, j] = k(x_i, x_j), exactly symmetric, where this was prepared for the second argument ``x``."""
        if not self.mirrored:
            self.backend.gram_symmetric(self._points, x, out)
            self._check(out)
            return
        height = max(256, len(x) // 12 // 64 * 64)  # high enough for matrix products, and not much beyond the diagonal
        for start in range(0, len(x), height):
            rows = slice(start, start + height)
            self.fill(x[rows], start, out[rows, start:])
        self.backend.mirror(out)

    def fill(self, x: Array, first: int, out: Array) -> None:
        """out[i, j] = k(x_i, y_{first + j}).  Values that are not finite are refused."""
        kernel = self.kernel
        if isinstance(kernel, Profile):
            self.backend.gram_rows(self._points, x, first, out)
            self._check(out)
        elif isinstance(kernel, Scaled):
            self._parts[0].fill(x, first, out)
            with quiet():
                out *= kernel.factor
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Sum | Product):
            self._parts[0].fill(x, first, out)
            other = self.backend.xp.empty_like(out)
            self._parts[1].fill(x, first, other)
            with quiet():
                if isinstance(kernel, Sum):
                    out += other
                else:
                    out *= other
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Convolutional):
            height, width = (math.isqrt(self.backend.BLOCK_FACTOR) * side for side in _PATCH_TILE)
            for i in range(0, len(x), height):
                for j in range(0, out.shape[1], width):
                    tile = out[i : i + height, j : j + width]
                    y = self.y[first + j : first + j + tile.shape[1]]
                    self._fill_patches(kernel, x[i : i + height], y, tile)
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Function):
            y = self.y[first : first + out.shape[1]]
            values = as_array(as_native(kernel.function(x, y)), "the kernel function's result", ndim=2)
            if device_of(values) != self.backend.NAME:
                raise BackendError(
                    f"the kernel function was given arrays of the backend {self.backend.NAME!r} and returned one of "
                    f"{device_of(values)!r}; compute with the array module of its arguments"
                )
            if values.shape != out.shape:
                raise ValueError(
                    f"the kernel function must return shape {out.shape} for {len(x)} and {len(y)} points, "
                    f"found {values.shape}"
                )
            out[...] = values
        else:
            raise TypeError(f"{kernel} has no values of its own here")

    def fill_contrasts(self, samples: Samples, mean: Array, cross_t: Array, contrast: Array) -> bool:
        """The Gram matrix in the rotated basis, where the backend has a kernel that makes it at once; else False."""
        if not isinstance(self.kernel, Profile):
            return False
        done: bool = self.backend.gram_contrasts(self._points, samples, mean, cross_t, contrast)
        if done:
            for block in (mean, cross_t, contrast):
                self._check(block)
        return done

    def _check(self, values: Array) -> None:
        bounded = isinstance(self.kernel, Profile) and self.kernel.pair in ("sqdist", "l1")
        if not bounded:  # products may overflow
            require_finite(values, f"the values of {self.kernel} (do they overflow? rescale the data)")

    def _fill_patches(self, kernel: Convolutional, x: Array, y: Array, out: Array) -> None:
        """The sum of the base's values over the pairs of patches that are a shift apart, each with its weight."""
        xp, d = self.backend.xp, x.shape[1]
        around = [xp.concatenate([points, points[:, : kernel.patch - 1]], axis=1) for points in (x, y)]
        block = xp.empty(out.shape, out.dtype)
        total = xp.zeros(out.shape)  # of many terms, in float64
        common = max(self._shifts.values(), key=abs)
        for j in range(d):
            source = RowSource(kernel.base, around[1][:, j : j + kernel.patch], self.backend)
            for shift, weight in self._shifts.items():
                i = (j - shift) % d
                source.fill(around[0][:, i : i + kernel.patch], 0, block)
                if weight != common:
                    block *= weight / common
                total += block
        with quiet():
            xp.multiply(total, common, out=total)
            out[...] = total


def block_rows(columns: int, itemsize: int) -> int:
    """Rows of a block of ``columns`` values that stays in the last-level cache of a CPU."""
    return max(64, _BLOCK_BYTES // (columns * itemsize) // 64 * 64)  # aligned to the vectors' width
