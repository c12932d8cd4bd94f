"""Primitives for CuPy arrays: CUDA C kernels (``cuda/*.cu``), cuBLAS and cuSOLVER, on the caller's stream."""

from __future__ import annotations

from typing import Final

import cupy as xp

from ... import tunables
from .device import free_memory, release, require_device, stream, to_host

require_device()

# CuPy's libraries may be missing where there is no device
from .augment import reference_normals, views  # noqa: E402
from .dense import (  # noqa: E402
    add_second_moment,
    cholesky,
    cholesky_solve,
    cholesky_solve_alone,
    convergent,
    eigh,
    matmul,
    matmul_alone,
    mirror,
    orthonormalize,
    pivoted_cholesky,
    shifted,
    side_by_side,
    symmetric_eigenvalues,
    symmetric_product,
    symmetric_product_alone,
    triangular_solve,
    whiten,
    whitener,
)
from .gram import empty_matrix, gram_contrasts, gram_rows, gram_symmetric, points  # noqa: E402
from .prefix_probes import prefix_probes  # noqa: E402
from .products import add_products, product_rows, product_symmetric  # noqa: E402
from .risk import view_gradient, view_sums  # noqa: E402
from .rotation import rotate_rows, rotate_views  # noqa: E402
from .walsh import walsh_hadamard  # noqa: E402

NAME: Final = "cupy"

BLOCK_FACTOR = tunables.CUDA_BLOCK_FACTOR
"""How many times larger blocks are than those for the cache of a CPU: a launch must be worth its overhead."""
