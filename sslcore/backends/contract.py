"""The contract between algorithms, which are written once, and devices: all that a backend offers.

A backend is a module that satisfies `Backend`: `numba_cpu` (NumPy arrays, Numba kernels, SciPy's BLAS) or `cupy_gpu`
(CuPy arrays, CUDA C kernels, cuBLAS and cuSOLVER).  mypy checks every call of a primitive against the signatures here,
and each backend's own signatures too; ``tests/test_contract.py`` compares names, parameters and results of all of them.
To add a primitive: declare it here, write it once in each backend, give it an oracle in ``tests/naive.py``.

Arguments are trusted: shapes, types and finiteness were checked at the public edge.  "Fortran order" and "C order" are
requirements, since memory is handed to BLAS as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "ArrayLike", "Backend", "Groups", "Matrix", "Points", "Shifts", "Strip", "ViewLaw"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""An array of NumPy or of CuPy.  Type checkers read it as NumPy's, whose interface CuPy's arrays have."""


class SharesMemory(Protocol):
    """An array of another library, which hands its memory over by DLPack."""

    def __dlpack__(self, *, stream: Any = ...) -> Any:
        """Return the capsule."""


ArrayLike: TypeAlias = "npt.ArrayLike | SharesMemory"
"""What can be read as an array: of NumPy, CuPy, PyTorch or JAX, lists, tables of pandas or polars."""

Matrix: TypeAlias = Array
"""An `Array` with two axes."""


class Points(Protocol):
    """The second argument y (n_y, d) of a kernel, prepared once by `Backend.points` for many blocks of the first."""

    @property
    def mirrored(self) -> bool:
        """Whether a symmetric matrix is made of rows from the diagonal on and `mirror`, not by `gram_symmetric`."""


class Shifts(Protocol):
    """A symmetric matrix a, prepared once by `Backend.shifted` for solves with a + s I for many s."""

    def factor(self, shift: float) -> Any:
        """Factorise a + shift I; None if it is not positive definite to rounding."""

    def pivots(self, factor: Any) -> Array:
        """Return the diagonal of the triangular factor."""

    def solve(self, b: Matrix, factors: Sequence[tuple[Any, slice]], *, turned: bool = False) -> Matrix:
        """Overwrite columns of b (Fortran order), those of each slice by the solution with its factor; return b.

        ``turned``: b is P^T b, with the orthogonal P in whose basis the matrix is factorised, and so is the solution.
        """

    def turn(self, b: Matrix, *, back: bool = False) -> None:
        """Overwrite b (Fortran order) by P^T b, or by P b."""

    def turn_rows(self, b: Matrix) -> None:
        """Overwrite b, (m, n) in Fortran order, by b P."""

    def rounded(self) -> Shifts:
        """Return the same for right sides in float32, which are turned in float32; factors keep their digits."""


class Groups(Protocol):
    """Views that belong together, as `sslcore.solvers.groups.Samples` knows them."""

    @property
    def n(self) -> int:
        """Samples."""

    @property
    def n_contrasts(self) -> int:
        """Contrasts within samples, N - n."""

    @property
    def classes(self) -> Sequence[Any]:
        """Runs of samples with equal numbers of views (`sslcore.solvers.groups.SampleClass`)."""


class Strip(Protocol):
    """Some consecutive samples of one class, and the rows of their views."""

    @property
    def sample_class(self) -> Any:
        """The class (`sslcore.solvers.groups.SampleClass`)."""

    @property
    def sample_start(self) -> int:
        """Index of the first sample."""

    @property
    def sample_stop(self) -> int:
        """Index after the last sample."""

    @property
    def row_start(self) -> int:
        """Index of the first view."""

    @property
    def row_stop(self) -> int:
        """Index after the last view."""


class ViewLaw(Protocol):
    """A law of augmentations, as `sslcore.augmentations.Augmentation` declares it."""

    def stages(self) -> Sequence[Any]:
        """Return the primitives of the law with their numbers, in order (`sslcore.backends.stages`)."""


class Backend(Protocol):
    """The primitives of one device.

    Shapes: n samples, m views of each, N = n m views, d coordinates, r features, k columns.
    """

    # ------------------------------------------------------------ the device

    @property
    def NAME(self) -> Literal["numba", "cupy"]:
        """The word by which users ask for it, in ``backend=``."""

    @property
    def BLOCK_FACTOR(self) -> int:
        """The factor by which blocks are larger than those that suit the cache of a CPU."""

    @property
    def xp(self) -> Any:
        """The array namespace: NumPy or CuPy."""

    def free_memory(self) -> int:
        """Return the bytes that can still be allocated."""

    def release(self) -> None:
        """Give back to the system memory that the backend's library keeps for the next results."""

    def to_host(self, array: Array) -> np.ndarray:
        """Return ``array`` as one of NumPy: itself on the CPU, a copy from a GPU, which is waited for."""

    def stream(self, blocks: Iterable[Any]) -> Iterator[Any]:
        """Yield tuples (block, ...) with the block on the device, the next one on its way meanwhile.

        A block that lies on the host is copied; the caller is done with it when it asks for the next but one.
        """

    # ------------------------------------------------------------ views

    def views(
        self, x: Array, augmentation: Any, n_views: int, seed: int, first: int, out: Array | None = None
    ) -> Array:
        """Make views (n, n_views, d) of the samples x (n, d): a function of seed, sample index and view index alone.

        ``first`` is the index of x[0] in the whole data set; ``out`` (C order, type of x) receives them, if given.
        """

    def reference_normals(self, n: int, columns: int, stream: int) -> Matrix:
        """Return standard normals (n, columns) in float64, the same in every run: start vectors.

        Row i does not depend on n; ``stream`` in [0, 2^24) selects independent tables.
        """

    # ------------------------------------------------------------ Gram matrices

    def empty_matrix(self, rows: int, columns: int, dtype: Any) -> Matrix:
        """Return memory for a matrix (rows, columns), C order, aligned to the width of a vector."""

    def points(self, kernel: Any, y: Matrix) -> Points:
        """Prepare y (n_y, d) as second argument of a kernel of one pair value (`sslcore.kernels.Profile`)."""

    def gram_rows(self, prepared: Any, x: Matrix, first: int, out: Matrix) -> None:
        """Write out[i, j] = k(x_i, y_{first + j}); ``out`` has unit stride along its rows."""

    def gram_symmetric(self, prepared: Any, x: Matrix, out: Matrix) -> None:
        """Write out[i, j] = k(x_i, x_j), exactly symmetric; ``prepared`` was made of x and is not ``mirrored``."""

    def mirror(self, matrix: Matrix) -> None:
        """Copy the upper triangle of a square matrix (C order) onto the lower one."""

    def gram_contrasts(self, prepared: Any, samples: Any, mean: Matrix, cross_t: Matrix, contrast: Matrix) -> bool:
        """Write the Gram matrix of the points with themselves, in the basis of means and contrasts.

        A (n, n), B^T (n_contrasts, n), C (n_contrasts, n_contrasts), all in C order.  False, and nothing is written,
        where rows must be formed and turned by `rotate_rows`.
        """

    def product_rows(self, prepared: Any, x: Matrix, coefficients: Matrix, out: Matrix) -> bool:
        """Write out = k(x, y) @ coefficients (n_y, c) with values that are never stored.

        False, and nothing is written, where blocks of values must be filled and multiplied.  ``coefficients`` has the
        type of x, ``out`` any floating type; sums across tiles are float64.
        """

    def product_symmetric(self, prepared: Any, x: Matrix, coefficients: Matrix, out: Matrix) -> bool:
        """Write out = k(x, x) @ coefficients as `product_rows`, each pair of points once; ``prepared`` is made of x."""

    def add_products(
        self,
        values: Matrix,
        right: Matrix,
        total: Matrix,
        left: Matrix | None = None,
        total_t: Matrix | None = None,
    ) -> None:
        """Add values @ right to ``total``, and values^T @ left to ``total_t`` if both are given.

        ``values`` (rows, columns), whose rows have unit stride, and thin blocks of their type; the totals are float64.
        """

    def rotate_rows(
        self, block: Matrix, strip: Any, samples: Any, mean: Matrix, cross_t: Matrix, contrast: Matrix
    ) -> None:
        """Turn the kernel values of the samples of ``strip`` with themselves and all that follow, into A, B^T and C.

        block[r, s] is the value of the views strip.row_start + r and strip.row_start + s.  Fills the rows of these
        samples, and the columns that are their transposes.
        """

    def rotate_views(self, features: Array, rotation: Array, shift: Array, buffer: Array) -> tuple[Matrix, Matrix]:
        """Turn the views of each sample, less ``shift`` (r,), to their mean and contrasts.

        Features (n, m, r) become means (n, r) and contrasts (n (m-1), r), which lie in ``buffer``.  ``rotation``
        (m, m, n) holds the matrix of each sample, the row of the mean first.
        """

    # ------------------------------------------------------------ dense linear algebra

    def matmul(
        self, a: Matrix, b: Matrix, *, out: Matrix | None = None, alpha: float = 1.0, beta: float = 0.0
    ) -> Matrix:
        """Return alpha a @ b + beta out in Fortran order; a and b in either order, ``out`` overwritten."""

    def matmul_alone(
        self, a: Matrix, b: Matrix, *, out: Matrix | None = None, alpha: float = 1.0, beta: float = 0.0
    ) -> Matrix:
        """Multiply as `matmul`, in a task of `side_by_side`: without Python's lock, and without threads of BLAS."""

    def cholesky_solve_alone(self, factor: Matrix, b: Matrix) -> Matrix:
        """Solve as `cholesky_solve`, in a task of `side_by_side`."""

    def symmetric_product_alone(self, a: Matrix, diagonal: Array, b: Matrix) -> Matrix:
        """Multiply as `symmetric_product`, in a task of `side_by_side`."""

    def side_by_side(self, task: Callable[[int], None], n_tasks: int) -> None:
        """Call ``task(i)`` for i in range(n_tasks), on several threads where they help; raise the first exception."""

    def cholesky(self, a: Matrix) -> bool:
        """Overwrite the upper triangle of a (Fortran order) with U, a = U^T U; False if not positive definite.

        The strict lower triangle is left as it was.
        """

    def cholesky_solve(self, factor: Matrix, b: Matrix) -> Matrix:
        """Return (U^T U)^-1 b; b in Fortran order is overwritten."""

    def triangular_solve(self, factor: Matrix, b: Matrix, *, transposed: bool = False) -> Matrix:
        """Return U^-1 b, or U^-T b."""

    def pivoted_cholesky(self, a: Matrix, tolerance: float) -> tuple[Matrix, Array, int]:
        """Return U (rank, rank), pivots and rank with a[pivots, pivots] = U^T U on the first ``rank`` pivots.

        Rows whose pivot is at most ``tolerance`` are dropped.
        """

    def shifted(self, a: Matrix) -> Shifts | None:
        """Prepare a, in Fortran order, for `Shifts`, which overwrite and keep it: the lower triangle is read.

        None where a Cholesky factorisation for each shift takes less time.
        """

    def symmetric_product(self, a: Matrix, diagonal: Array, b: Matrix) -> Matrix:
        """Return the symmetric matrix with the strict lower triangle of a and this diagonal, times b."""

    def eigh(self, a: Matrix) -> tuple[Array, Matrix]:
        """Return all eigenvalues, increasing, and eigenvectors of a symmetric matrix."""

    def symmetric_eigenvalues(self, a: Matrix) -> Array:
        """Return all eigenvalues, increasing; a may be overwritten."""

    def orthonormalize(self, a: Matrix, tolerance: float) -> tuple[Matrix, Matrix]:
        """Return an orthonormal basis q (n, r) of the columns of a (Fortran order), and q^T a.

        What is left of a column by the others is dropped if its norm is at most ``tolerance``, or rounding.
        """

    def convergent(self) -> AbstractContextManager[Any]:
        """Return a context in which decompositions of ``xp.linalg`` raise where they do not converge."""

    # ------------------------------------------------------------ features and moments

    def whitener(self, factor: Matrix, dtype: Any) -> Matrix:
        """Prepare U, the factor of a pivoted Cholesky decomposition in float64, for `whiten` in ``dtype``."""

    def whiten(self, factor: Matrix, values: Matrix) -> Matrix:
        """Multiply the rows of values (n, r), C order, by U^-1 in place; ``factor`` is what `whitener` prepared."""

    def add_second_moment(
        self, total: Matrix, rows: Matrix, factor: float = 1.0, *, scratch: Array | None = None
    ) -> None:
        """Add factor rows^T rows to the upper triangle of ``total`` (r, r).

        ``total`` is float64 in Fortran order; rows (n, r), in C order, may be float32.  ``scratch``, of as many entries
        as ``total`` and of the dtype of the rows, spares those fresh memory.
        """

    # ------------------------------------------------------------ risk

    def view_sums(self, z: Array, products: bool) -> tuple[Matrix, float, float]:
        """Return, for z (n, m, k) and in float64, the sums that the risk is made of.

        sum_ia z_ia z_ia^T (k, k); sum_ia |z_ia - zbar_i|^2; sum_iab (z_ia . z_ib)^2, or 0 unless ``products``.
        """

    def view_gradient(self, z: Array, weight: Matrix, spread: float, outer: float, out: Array) -> None:
        """Write z_ia weight + spread (z_ia - zbar_i) - outer sum_b z_ib (z_ib . z_ia) into out, like z (n, m, k)."""

    # ------------------------------------------------------------ probes

    def prefix_probes(
        self, z: Array, y: Array, sizes: Array, test: Matrix, target: Matrix, penalty: Array, tolerance: float
    ) -> tuple[Matrix, Matrix]:
        """Fit least squares on the first s points of each draw, and return its errors on test points.

        For z (R, n, k), y (R, n, q) and each s of ``sizes`` (D,), increasing int64 on the host, w minimises
        sum_{i<s} |z_i w - y_i|^2 + s sum_j penalty_j |w_j|^2 (``penalty`` (k,), float64 on the host).  With test (t, k)
        and target (t, q) the errors, both (R, D), are the mean of |test w - target|^2, and that of max_c target_c less
        the target of the class c predicted, the first of those with the largest value.

        NaN where a pivot of the normal equations keeps less than ``tolerance`` of itself: they say too little there.
        """

    # ------------------------------------------------------------ the cube

    def walsh_hadamard(self, values: Array) -> Array:
        """Replace values, (2^d,) or (2^d, c) and contiguous, by sum_x (-1)^popcount(x & S) values[x] at each S.

        Unnormalised: twice gives 2^d values.  Returns ``values``.
        """
