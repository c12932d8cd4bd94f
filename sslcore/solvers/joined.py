"""Two modalities as one kernel on joined points, for solvers that take products with a kernel.

A joined point has the coordinates of both modalities, those of the other one 0, then the mean of the kernel's values at
it, and its modality, 0 or 1.  The kernel of two points is 0 between modalities, and inside one

    k(x, x') - m(x) - m(x') + E m,    m(x) = sum_i p_i k(x_i, x)

where functions are centred, each modality by an intercept of its own, and k(x, x') where not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array
from ..backends import Backend
from ..kernels import Kernel, Rows

__all__ = ["JoinedPoints"]


@dataclass(frozen=True, eq=False)
class JoinedPoints:
    """Points of two modalities that are joined, (x_1, y_1, x_2, y_2, ...), and their kernel.

    Attributes
    ----------
    kernel : Kernel
    points : (2 N, d_x + d_y + 2)
    means : two arrays (N,), or two None
        m at the points, where centred.
    """

    kernel: Kernel
    points: Array
    means: tuple[Any, Any]

    @classmethod
    def of(
        cls,
        kernels: tuple[Kernel, Kernel],
        parts: tuple[Array, Array],
        weight: np.ndarray | None,
        center: bool,
        backend: Backend,
    ) -> JoinedPoints:
        """Join checked points (N, d_x) and (N, d_y) of one type, with the weights of the pairs."""
        xp, n, dtype = backend.xp, len(parts[0]), parts[0].dtype
        p = xp.full(n, 1.0 / n) if weight is None else xp.asarray(weight / weight.sum())
        widths = [part.shape[1] for part in parts]
        points = xp.zeros((n, 2, sum(widths) + 2), dtype)
        points[:, 0, : widths[0]] = parts[0]
        points[:, 1, widths[0] : -2] = parts[1]
        points[:, 1, -1] = 1
        means: list[Any] = []
        grand: list[float] = []
        for i, (kernel, part) in enumerate(zip(kernels, parts, strict=True)):
            if not center:
                means.append(None)
                grand.append(0.0)
                continue
            out = xp.empty((n, 1))
            kernel.rows(part, backend).symmetric_product(part, p[:, None].astype(dtype), out, backend)
            points[:, i, -2] = out[:, 0]
            means.append(out[:, 0])
            grand.append(float((p * out[:, 0]).sum()))
        joined = _Joined(*kernels, widths[0], (grand[0], grand[1]))
        return cls(joined, points.reshape(2 * n, -1), (means[0], means[1]))


@dataclass(frozen=True)
class _Joined(Kernel):
    """The kernel of joined points, of which the first ``width`` coordinates are those of the first modality."""

    first: Kernel
    second: Kernel
    width: int
    grand: tuple[float, float]

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """As of both."""
        return self.first.trusted and self.second.trusted

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare the rows of each modality."""
        modality = backend.to_host(y[:, -1])
        sides = []
        for i, kernel in enumerate((self.first, self.second)):
            index = np.flatnonzero(modality == i)
            if len(index):
                points = _own(y[backend.xp.asarray(index)], i, self.width, backend)
                means = y[backend.xp.asarray(index), -2].astype(float) - self.grand[i]
                sides.append(_Side(i, index, points, means, kernel.rows(points, backend)))
        return _JoinedRows(self.width, tuple(sides), backend)


def _own(x: Array, modality: int, width: int, backend: Backend) -> Array:
    """Return the coordinates of the modality itself."""
    out: Array = backend.xp.ascontiguousarray(x[:, :width] if modality == 0 else x[:, width:-2])
    return out


@dataclass(frozen=True, eq=False)
class _Side:
    modality: int
    index: np.ndarray  # of its points among all
    points: Array
    means: Array  # less half of what is added to all values twice: m - E m
    rows: Rows


@dataclass(frozen=True, eq=False)
class _JoinedRows(Rows):
    width: int
    sides: tuple[_Side, ...]
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        xp = self.backend.xp
        out[...] = 0
        modality = self.backend.to_host(x[:, -1])
        for side in self.sides:
            mine = xp.asarray(np.flatnonzero(modality == side.modality))
            start, stop = np.searchsorted(side.index, [first, first + out.shape[1]])
            if not len(mine) or start == stop:
                continue
            some = x[mine]
            block = xp.empty((len(mine), int(stop - start)), out.dtype)
            side.rows.fill(_own(some, side.modality, self.width, self.backend), int(start), block)
            block -= some[:, -2:-1] + side.means[start:stop].astype(out.dtype)
            out[mine[:, None], xp.asarray(side.index[start:stop] - first)] = block

    def product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        self._multiply(x, coefficients, out, symmetric=False)

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        self._multiply(x, coefficients, out, symmetric=True)

    def _multiply(self, x: Array, coefficients: Array, out: Array, *, symmetric: bool) -> None:
        backend, xp = self.backend, self.backend.xp
        out[...] = 0
        modality = backend.to_host(x[:, -1])
        for side in self.sides:
            mine = xp.asarray(np.flatnonzero(modality == side.modality))
            if not len(mine):
                continue
            own = coefficients[xp.asarray(side.index)]
            values = xp.empty((len(mine), own.shape[1]))
            if symmetric:
                side.rows.symmetric_product(side.points, own, values, backend)
            else:
                points = _own(x[mine], side.modality, self.width, backend)
                side.rows.product(points, own, values, backend)
            exact = own.astype(float)
            values -= x[mine, -2].astype(float)[:, None] * exact.sum(axis=0) + side.means @ exact
            out[mine] = values
