"""A backend for tasks side by side: every product of a Krylov iteration stays on the caller's thread.

OpenBLAS has one pool of threads, which wait busily for some 30 ms after each product: in the way of other tasks, which
they do not help.  Its number of threads is the whole process's; `openblas_set_num_threads_local` is, too, where the
pool is made of POSIX threads, as in SciPy.
"""

from __future__ import annotations

from typing import Any, cast

from . import host_linalg
from .contract import Array, Backend, Matrix

__all__ = ["alone"]


class _Alone:
    """Another backend, with `Backend.matmul_alone` and the like in place of what they stand in for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.matmul, self.cholesky_solve = backend.matmul_alone, backend.cholesky_solve_alone
        self.symmetric_product = backend.symmetric_product_alone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def orthonormalize(self, a: Matrix, tolerance: float) -> tuple[Matrix, Array]:
        """Do as the backend's own."""
        return host_linalg.orthonormalize(a, tolerance, self.matmul, self._backend.to_host)


def alone(backend: Backend) -> Backend:
    """Return the backend as a task of `Backend.side_by_side` should use it."""
    return cast(Backend, _Alone(backend))
