"""Columns of mean 0 and deviation 1: kept with a representation, and applied to its points before anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_float_dtype,
    as_native,
    gives_memory_back,
    ignore_overflow,
    kind_of,
    namespace,
    on_host,
    require_finite,
    rescaled,
)
from .collections import home_of

__all__ = ["Standardization"]


@dataclass(frozen=True, eq=False)
class Standardization:
    r"""The map x -> (x - mean) / deviation of points, column by column.

    A representation that has one (`Representation.standardized_by`) takes points as they were before.

    Parameters
    ----------
    mean, deviation : array (d,)
        Deviations are > 0.

    Raises
    ------
    ValueError
        They are not two vectors of one length, of finite numbers, or a deviation is not > 0.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.array([[1.0, 200.0, 5.0], [3.0, 600.0, 5.0]])
    >>> columns = sslcore.defaults.Standardization.of(x)
    >>> columns.mean, columns.deviation, columns(x).tolist()
    (array([  2., 400.,   5.]), array([  1., 200.,   1.]), [[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    """

    mean: np.ndarray
    deviation: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            value = on_host(as_array(getattr(self, name), name, ndim=1, shape_hint="(d,)")).astype(float)
            object.__setattr__(self, name, value)
        if self.mean.shape != self.deviation.shape:
            raise ValueError(
                f"mean and deviation must be of one length, found {len(self.mean)} and {len(self.deviation)}"
            )
        if not (self.deviation > 0).all():
            raise ValueError(f"deviation must be > 0, found {self.deviation.min()}")

    def __repr__(self) -> str:
        low, high = float(self.deviation.min()), float(self.deviation.max())
        return f"Standardization({len(self.mean)} columns, deviations from {low:.3g} to {high:.3g})"

    @classmethod
    @gives_memory_back
    def of(cls, x: ArrayLike) -> Standardization:
        """Take mean and deviation (with 1 / n) of each column of samples, in float64 whatever their type.

        A column of one value has the deviation 1: it becomes 0.

        Parameters
        ----------
        x : array (n, d), or views (n, m, d)
            In memory, a memory map (read three times, by blocks) or a Dask array.

        Raises
        ------
        ValueError
            ``x`` has another rank, is empty or not finite.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> sslcore.defaults.Standardization.of(np.array([[0.0, 7.0], [1e200, 7.0]])).deviation
        array([5.e+199, 1.e+000])
        """
        if home_of(x) is not None:
            return cls._on_cluster(x)
        points = as_array(as_native(x, "x"), "x", ndim=(2, 3), shape_hint="(n, d) or (n, m, d)", finite=False)
        points = points.reshape(-1, points.shape[-1])
        xp, n = namespace(points), len(points)
        low: Any = None
        high: Any = None
        for start, part in _blocks(points):
            part = require_finite(part, "x", offset=start)
            least, most = part.min(axis=0), part.max(axis=0)
            low = least if low is None else xp.minimum(low, least)
            high = most if high is None else xp.maximum(high, most)
        lowest, highest = on_host(low).astype(float), on_host(high).astype(float)
        exponents = np.frexp(np.maximum(np.abs(lowest), np.abs(highest)))[1]  # squares neither overflow nor vanish
        shift = xp.asarray(-exponents)
        total = sum(rescaled(part, shift).sum(axis=0) for _, part in _blocks(points)) / n
        first: Any = 0.0
        second: Any = 0.0
        for _, part in _blocks(points):
            apart = rescaled(part, shift) - total
            first, second = first + apart.sum(axis=0), second + (apart**2).sum(axis=0)
        mean = rescaled(on_host(total + first / n), exponents)
        variance = np.maximum(on_host(second / n - (first / n) ** 2), 0.0)
        deviation = rescaled(np.sqrt(variance), exponents)
        constant = (lowest == highest) | ~(deviation > 0)
        return cls(np.where(constant, lowest, mean), np.where(constant, 1.0, deviation))

    @classmethod
    def _on_cluster(cls, x: Any) -> Standardization:
        """Take mean and deviation of the columns of a Dask array where they lie."""
        rows = tuple(range(x.ndim - 1))
        moments = x.mean(axis=rows, dtype=float), x.std(axis=rows, dtype=float), x.min(axis=rows), x.max(axis=rows)
        mean, deviation, low, high = np.asarray(np.stack(moments), dtype=float)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            raise ValueError("x must be finite, found NaN, infinities or sums of squares beyond float64 on the cluster")
        constant = (low == high) | ~(deviation > 0)
        return cls(np.where(constant, low, mean), np.where(constant, 1.0, deviation))

    @gives_memory_back
    def __call__(self, x: ArrayLike) -> Array:
        """Standardise points (n, d) or views (n, m, d), in float64, then rounded to their type; where they lie.

        Entries may be NaN or infinite here: what takes the points afterwards refuses them.
        """
        if home_of(x) is not None:
            whole: Any = x
            self.check(whole.shape)
            whole = whole.rechunk({whole.ndim - 1: -1})
            dtype = as_float_dtype(whole.dtype, "x")
            lazy: Array = whole.map_blocks(self, dtype=dtype, meta=np.empty((0,) * whole.ndim, dtype))
            return lazy
        kind, found = kind_of(x), as_native(x, "x")
        array = as_array(found, "x", ndim=(2, 3), shape_hint="(n, d) or (n, m, d)", finite=False, allow_empty=True)
        self.check(array.shape)
        out: Array = kind.convert_back(self.apply(array))
        return out

    def apply(self, array: Array) -> Array:
        """Do the same with an array that was checked."""
        xp = namespace(array)
        points, mean, deviation = array.reshape(-1, array.shape[-1]), xp.asarray(self.mean), xp.asarray(self.deviation)
        out: Array = xp.empty(points.shape, points.dtype)
        with ignore_overflow():
            for start, part in _blocks(points):
                out[start : start + len(part)] = (part.astype(float, copy=False) - mean) / deviation
        return out.reshape(array.shape)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse points of another number of columns."""
        if shape[-1] != len(self.mean):
            raise ValueError(
                f"x must have {len(self.mean)} coordinates, as many as were standardised, found shape {shape}"
            )


def _blocks(points: Array) -> Iterator[tuple[int, Array]]:
    """Go through points (N, d) by blocks of rows, each with the number of its first row."""
    rows = max(1, tunables.STANDARDIZATION_BLOCK_ENTRIES // points.shape[1])
    for start in range(0, len(points), rows):
        yield start, points[start : start + rows]
