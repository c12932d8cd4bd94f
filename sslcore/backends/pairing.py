"""Values of pairs of points: what all backends decide and prepare in the same way, on NumPy or CuPy.

How the values are then computed, and in which order the points lie for that, is each backend's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import namespace
from .contract import Array, Matrix

__all__ = ["TOLERANCE", "Points", "in_units", "prepare", "recompute_below", "squared_norms", "wrapped"]

TOLERANCE = {np.dtype(np.float64): 3e-14, np.dtype(np.float32): 2e-6}
"""Error of a kernel value above which a distance from a matrix product is computed again."""


@dataclass(frozen=True)
class Points:
    """The second argument of a profile kernel, prepared once for many blocks of the first."""

    kernel: Any
    exponent: int  # coordinates are stored times 2^-exponent, which is exact: the kernel's length is then near 1
    constants: np.ndarray  # c0..c3, of the type of the points
    centre: Any  # subtracted from the coordinates (distances from matrix products only)
    y: Matrix  # (n_y, d) in C order, or as a backend's own loops want it
    norms: Any = None  # |y|^2, for distances from matrix products
    uncentred: Any = None  # y before the centre is subtracted, which rounds: for differences
    lengths: Any = None  # of the points in each layer, for kernels of angles; in float64 as they come
    address: int = 0  # of the compiled profile (CPU)
    mirrored: bool = False  # a symmetric matrix is made of rows from the diagonal on and `mirror`

    @property
    def direct(self) -> bool:
        """True if distances are summed from differences of coordinates."""
        return self.kernel.pair in ("sqdist", "l1") and self.centre is None

    def bounds(self) -> tuple[Any, Any, Any]:
        """Return factor, reach and rounding, which tell the distances from products that are computed again.

        A distance is too uncertain if it is at most factor (|x|^2 + |y|^2) and at most reach, both known to rounding
        (|x|^2 + |y|^2); all three are of the type of the points.
        """
        dtype, d = self.y.dtype, self.y.shape[1]
        epsilon = float(np.finfo(dtype).eps)
        length, _ = split_exponent(self.kernel.length) if self.centre is not None else (1.0, 0)
        bounds = epsilon / TOLERANCE[dtype] / length, self.kernel.reach * length, 8 * math.sqrt(d) * epsilon
        factor, reach, rounding = (dtype.type(min(bound, np.finfo(dtype).max)) for bound in bounds)
        return factor, reach, rounding


def prepare(kernel: Any, y: Matrix, few: int) -> Points:
    """Prepare ``y`` (n_y, d), in C order; up to ``few`` coordinates distances are summed from differences."""
    xp = namespace(y)
    distance = kernel.pair in ("sqdist", "l1")
    length, exponent = split_exponent(kernel.length) if distance else (kernel.length, 0)
    y = kernel.coordinates(y)
    constants = np.zeros(4, y.dtype)
    if kernel.pair == "angle":
        directions, lengths = kernel.directions(y)
        return Points(kernel, 0, constants, None, xp.ascontiguousarray(directions), lengths=lengths)
    values = kernel.constants(length)
    constants[: len(values)] = values
    if not distance:
        y = wrapped(y) if kernel.pair == "torus" else xp.ascontiguousarray(y)
        return Points(kernel, 0, constants, None, y)
    y = in_units(y, exponent)  # under its old name, so that what the kernel has made of the points can go
    if kernel.pair == "l1" or y.shape[1] <= few:
        return Points(kernel, exponent, constants, None, y)
    centre = y.mean(axis=0)
    centred = y - centre
    return Points(kernel, exponent, constants, centre, centred, squared_norms(centred), y)


def in_units(x: Matrix, exponent: int) -> Matrix:
    """Return coordinates times 2^-exponent, exactly and in C order; refuse them where squares in this unit overflow."""
    xp = namespace(x)
    scaled: Matrix = xp.empty(x.shape, x.dtype)
    with np.errstate(over="ignore"):
        xp.ldexp(x, np.int32(-exponent), out=scaled)
    _require_in_range(float(xp.maximum(scaled.max(), -scaled.min())) if scaled.size else 0.0, x)
    return scaled


def wrapped(x: Matrix) -> Matrix:
    """Return coordinates modulo 1, in [-1/2, 1/2], without rounding; in C order."""
    xp = namespace(x)
    near: Matrix = xp.ascontiguousarray(x - xp.rint(x))
    return near


def squared_norms(x: Matrix) -> Array:
    """Return |x_i|^2."""
    if namespace(x) is np:
        norms: Array = np.einsum("ij,ij->i", x, x)
    else:
        norms = (x * x).sum(axis=1)  # CuPy's einsum would be as many products of one row each
    return norms


def split_exponent(length: float) -> tuple[float, int]:
    """Split length = fraction 2^exponent, 1 <= fraction < 2: a kernel of length 1 sees the coordinates as they are."""
    fraction, exponent = math.frexp(length)
    return 2.0 * fraction, exponent - 1


def recompute_below(length: float, width: int, dtype: np.dtype) -> float:
    """Return the 1 - cos(angle) up to which angles of unit vectors are recomputed from coordinate differences.

    A product has an absolute error near eps, hence the angle one of eps / angle, and a kernel that varies on the angle
    ``length`` one of eps / (angle length); equal vectors must be recognised in any case.
    """
    epsilon = float(np.finfo(dtype).eps)
    return 0.5 * (2.0 * epsilon / (TOLERANCE[dtype] * length)) ** 2 + 8.0 * math.sqrt(width) * epsilon


def _require_in_range(largest: float, x: Matrix) -> None:
    """Refuse points ``x`` whose ``largest`` coordinate, in the kernel's unit, has no square in their type."""
    limit = math.sqrt(float(np.finfo(x.dtype).max) / (16 * x.shape[1]))
    if not largest <= limit:
        raise ValueError(
            f"the data reach {largest:.2g} times the length on which the kernel varies (at most {limit:.0e} in "
            f"{x.dtype}): squared distances overflow; rescale the data, or raise the kernel's scale"
        )
