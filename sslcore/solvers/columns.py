"""Norms and inner products of the columns of functions, which have float64 whatever the columns have."""

from __future__ import annotations

from ..arrays import Array, ignore_overflow

__all__ = ["column_norms", "column_products"]


def column_products(a: Array, b: Array) -> Array:
    """Compute the inner products of columns, accumulated in float64; einsum takes many times as long."""
    with ignore_overflow():
        out: Array = (a.astype(float, copy=False) * b).sum(axis=0)
    return out


def column_norms(a: Array) -> Array:
    """Compute the Euclidean norms of the columns, accumulated in float64."""
    with ignore_overflow():
        out: Array = (a.astype(float, copy=False) ** 2).sum(axis=0) ** 0.5
    return out
