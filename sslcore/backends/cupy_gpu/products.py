"""Products of kernel values with a thin block, by the kernels product_* of gram.cu, or by cuBLAS."""

from __future__ import annotations

from typing import Any

import cupy as xp
import numpy as np

from ... import tunables
from ..contract import Matrix
from ..pairing import Points, in_units, wrapped
from . import sources
from .loader import blocks_of, kernel

__all__ = ["add_products", "product_rows", "product_symmetric"]

_COUNTS = 4, 8, 12
"""Columns that a launch multiplies: there is a kernel for each."""

_SUMS = "squares", "absolutes", "circles"
"""Tiles whose pair values are sums, or products, over coordinates."""


def product_rows(prepared: Points, x: Any, coefficients: Any, out: Any) -> bool:
    """Set out = k(x, y) @ coefficients for few coordinates; return False where products of coordinates are needed."""
    numbers, d, width = sources.numbers("gram"), prepared.y.shape[1], coefficients.shape[1]
    tile = None if prepared.centre is not None else sources.TILES.get(prepared.kernel.pair, (None,))[0]
    if tile not in _SUMS or d > numbers["DEPTH"] or not coefficients.size:
        return False
    x = prepared.kernel.coordinates(x)
    x = wrapped(x) if tile == "circles" else in_units(x, prepared.exponent)
    rows, columns = len(x), len(prepared.y)
    across = blocks_of(rows, numbers["THREADS"] * numbers["PER_THREAD"])
    shares = min(blocks_of(tunables.CUDA_PRODUCT_BLOCKS, across), blocks_of(columns, tunables.CUDA_PRODUCT_POINTS))
    share = blocks_of(columns, shares)
    parts = xp.empty((blocks_of(columns, share), rows, width))
    right = xp.ascontiguousarray(coefficients)
    first = 0
    while first < width:
        groups = blocks_of(width - first, _COUNTS[-1])  # as equal as there are kernels
        count = next(c for c in _COUNTS if c >= blocks_of(width - first, groups))
        launch = kernel("gram", f"product_{count}", x.dtype, prepared.kernel.formula, tile)
        points = x, np.int64(rows), np.int64(d), prepared.y, np.int64(columns)
        factors = right, np.int64(width), np.int64(first), np.int64(share)
        launch((across, len(parts)), (numbers["THREADS"],), (*points, *factors, *prepared.constants, parts))
        first += count
    out[...] = parts[0] if len(parts) == 1 else parts.sum(axis=0)
    return True


def product_symmetric(prepared: Points, x: Any, coefficients: Any, out: Any) -> bool:
    """Set out = k(x, x) @ coefficients as `product_rows`.

    Each value is made twice: what it costs again is less than sums of other threads would.
    """
    return product_rows(prepared, x, coefficients, out)


def add_products(
    values: Matrix, right: Matrix, total: Matrix, left: Matrix | None = None, total_t: Matrix | None = None
) -> None:
    """Add values @ right to ``total``, and values^T @ left to ``total_t`` if these are given."""
    if not values.size or not right.size:
        return
    total += xp.matmul(values, right)
    if left is not None and total_t is not None:
        total_t += xp.matmul(values.T, left)
