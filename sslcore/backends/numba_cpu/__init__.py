"""Primitives for NumPy arrays: Numba kernels and BLAS, on our own threads."""

import numpy as xp

from .dense import (
    add_second_moment,
    cholesky,
    cholesky_solve,
    eigh,
    matmul,
    orthonormalize,
    pivoted_cholesky,
    symmetric_eigenvalues,
    symmetric_product,
    triangular_solve,
    whiten,
)
from .gram import gram_rows, mirror, points
from .philox import reference_normals
from .risk import view_gradient, view_sums
from .rotation import rotate_rows, rotate_views
from .views import views

__all__ = [
    "add_second_moment",
    "cholesky",
    "cholesky_solve",
    "eigh",
    "gram_rows",
    "matmul",
    "mirror",
    "orthonormalize",
    "pivoted_cholesky",
    "points",
    "reference_normals",
    "rotate_rows",
    "rotate_views",
    "symmetric_eigenvalues",
    "symmetric_product",
    "triangular_solve",
    "view_gradient",
    "view_sums",
    "views",
    "whiten",
    "xp",
]
