"""Primitives for CuPy arrays: CUDA C kernels (``cuda/*.cu``), cuBLAS and cuSOLVER, on the caller's stream."""

from __future__ import annotations

import cupy as xp

from .device import free_memory, release, require_device, stream, to_host

require_device()

# CuPy's libraries may be missing where there is no device
from .augment import reference_normals, views  # noqa: E402
from .dense import (  # noqa: E402
    add_second_moment,
    cholesky,
    cholesky_solve,
    convergent,
    eigh,
    matmul,
    mirror,
    orthonormalize,
    pivoted_cholesky,
    symmetric_eigenvalues,
    symmetric_product,
    triangular_solve,
    whiten,
    whitener,
)
from .gram import empty_matrix, gram_contrasts, gram_rows, gram_symmetric, points  # noqa: E402
from .risk import view_gradient, view_sums  # noqa: E402
from .rotation import rotate_rows, rotate_views  # noqa: E402
from .walsh import walsh_hadamard  # noqa: E402

__all__ = [
    "BLOCK_FACTOR",
    "NAME",
    "add_second_moment",
    "cholesky",
    "cholesky_solve",
    "convergent",
    "eigh",
    "empty_matrix",
    "free_memory",
    "gram_contrasts",
    "gram_rows",
    "gram_symmetric",
    "matmul",
    "mirror",
    "orthonormalize",
    "pivoted_cholesky",
    "points",
    "reference_normals",
    "release",
    "rotate_rows",
    "rotate_views",
    "stream",
    "symmetric_eigenvalues",
    "symmetric_product",
    "to_host",
    "triangular_solve",
    "view_gradient",
    "view_sums",
    "views",
    "walsh_hadamard",
    "whiten",
    "whitener",
    "xp",
]

NAME = "cupy"

BLOCK_FACTOR = 16
"""How many times larger blocks are than those for the cache of a CPU: a launch must be worth its overhead."""
