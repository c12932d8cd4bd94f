"""Products of kernel values with a thin block."""

from __future__ import annotations

from typing import Any

import cupy as xp

from ..contract import Matrix
from ..pairing import Points

__all__ = ["add_products", "product_rows", "product_symmetric"]


def product_rows(prepared: Points, x: Any, coefficients: Any, out: Any) -> bool:
    """Return False: blocks of values are filled and multiplied."""
    return False


def product_symmetric(prepared: Points, x: Any, coefficients: Any, out: Any) -> bool:
    """Return False: blocks of values are filled and multiplied."""
    return False


def add_products(
    values: Matrix, right: Matrix, total: Matrix, left: Matrix | None = None, total_t: Matrix | None = None
) -> None:
    """Add values @ right to ``total``, and values^T @ left to ``total_t`` if these are given."""
    if not values.size or not right.size:
        return
    total += xp.matmul(values, right)
    if left is not None and total_t is not None:
        total_t += xp.matmul(values.T, left)
