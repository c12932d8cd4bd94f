"""Primitives for NumPy arrays: Numba kernels and BLAS, on our own threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as xp

from ... import tunables
from ..machine import free_memory
from .banded import shifted
from .dense import (
    add_second_moment,
    cholesky,
    cholesky_solve,
    convergent,
    eigh,
    matmul,
    orthonormalize,
    pivoted_cholesky,
    symmetric_eigenvalues,
    symmetric_product,
    triangular_solve,
    whiten,
    whitener,
)
from .gram import empty_matrix, gram_contrasts, gram_rows, gram_symmetric, mirror, points
from .parallel import parallel_for as side_by_side
from .philox import reference_normals
from .prefix_probes import prefix_probes
from .products import add_products, product_rows, product_symmetric
from .risk import view_gradient, view_sums
from .rotation import rotate_rows, rotate_views
from .unlocked import cholesky_solve_alone, matmul_alone, symmetric_product_alone
from .views import views
from .walsh import walsh_hadamard

NAME: Final = "numba"

BLOCK_FACTOR = tunables.CPU_BLOCK_FACTOR
"""How many times larger blocks are than those for the cache of a CPU."""


def release() -> None:
    """Do nothing: what an array has held goes back to the system as it dies."""


def to_host(array: Any) -> Any:
    """Return ``array`` as a NumPy array: here it is one."""
    return array


def stream(blocks: Iterable[Any]) -> Iterator[Any]:
    """Yield the arrays of ``blocks``, which are where they are worked on already; a device copies ahead."""
    return iter(blocks)
