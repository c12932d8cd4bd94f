"""Any self-adjoint T, given as a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import as_array, as_float_dtype, as_native, on_host
from ..backends.machine import free_memory
from ..declarations.parameters import converted
from ..errors import MemoryBudgetError
from ._base import Positives
from ._law import Law

__all__ = ["Operator"]

SYMMETRIC = 1e-10
"""Of its largest entry, by which a matrix may differ from its mirror."""

LARGEST = 1e30
"""Size of an entry, at most: T averages, and squares of entries of the triangle are numbers in float32, too."""


def _as_matrix(value: Any, name: str) -> Any:
    if hasattr(value, "tocsr"):
        as_float_dtype(value.dtype, name)  # refuses complex numbers, whose cast would leave out a part
        matrix = value.tocsr().astype(float)
        entries = matrix.data
    else:
        matrix = entries = on_host(as_array(as_native(value, name), name, ndim=2)).astype(float)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} must be a square matrix (N, N), found shape {matrix.shape}")
    if not bool(np.isfinite(entries).all()):
        raise ValueError(f"{name} must be finite, found NaN or infinity")
    largest = float(abs(entries).max()) if entries.size else 0.0
    if largest > LARGEST:
        raise ValueError(f"{name} must have entries of at most {LARGEST:g} in size, found {largest:g}; rescale it")
    return matrix


def _as_measure(value: Any, name: str) -> np.ndarray | None:
    if value is None:
        return None
    measure: np.ndarray = on_host(as_array(as_native(value, name), name, ndim=1)).astype(float)
    if float(measure.min()) <= 0:
        raise ValueError(f"{name} must be positive, found {float(measure.min())!r}; leave such points out of x and T")
    scaled = measure / float(measure.max())  # far from overflow
    if float(scaled.min()) <= 0:
        least = int(scaled.argmin())
        raise ValueError(
            f"{name} must not be 0 beside its largest entry, {float(measure.max())!r}, found {float(measure[least])!r} "
            f"at {least}; leave such points out of x and T"
        )
    out: np.ndarray = scaled / scaled.sum()
    return out


@dataclass(frozen=True, eq=False, repr=False)
class Operator(Positives):
    r"""Any self-adjoint T on the functions on N points, given as a matrix: (T f)(i) = sum_j T_ij f(j).

    T need not be a law of pairs: signed entries and eigenvalues above 1 are allowed.  With tau, its largest eigenvalue,
    tau I - T takes the place of I - T, and mu = 1 - beta + beta tau - g, where 1/g are the eigenvalues of
    (beta (tau I - T) + reg Khat^-1)^-1.  Entries that are not known are zeros of P, not of T: see `Pairs`.

    Parameters
    ----------
    T : matrix (N, N)
        Dense, or of scipy.sparse.  Self-adjoint: p_i T_ij = p_j T_ji.
    measure : array (N,), optional
        p > 0, normalised to the sum 1; by default uniform, so that T is symmetric.

    Raises
    ------
    ValueError
        T is not square, finite and self-adjoint (the error names an entry), or the sizes differ.
    MemoryBudgetError
        T is sparse, and memory has no room for it as a dense matrix, as which it is solved.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> from sslcore.positives import Operator
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> T = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, -1, 0.0]])
    >>> rep = sslcore.pretrain(x, sslcore.kernels.Exponential(1.0), 2, reg=1e-3, positives=Operator(T))
    >>> rep.eigenvalues.round(4), rep(x).round(2)
    (array([0.997 , 0.9932]), array([[-1.37,  0.32],
           [-1.37,  0.32],
           [-0.32, -1.37],
           [ 0.32,  1.37]]))
    """

    T: Any = converted("a self-adjoint matrix (N, N), dense or of scipy.sparse", _as_matrix)
    measure: Any = converted("positive weights of the points", _as_measure, default=None)

    def _complete(self) -> None:
        n = self.T.shape[0]
        if self.measure is not None and len(self.measure) != n:
            raise ValueError(f"measure must have one entry for each row of T, {n}, found {len(self.measure)}")
        matrix = self._symmetric()
        apart = abs(matrix - matrix.T)
        size = float(abs(matrix).max())
        worst = int(np.asarray(apart.argmax())) if n else 0
        i, j = divmod(worst, n)
        if float(apart[i, j]) > SYMMETRIC * size:
            by = "" if self.measure is None else " with the measure on both sides, p_i^(1/2) T_ij p_j^(-1/2),"
            raise ValueError(
                f"T must be self-adjoint:{by} entry ({i}, {j}) is {float(matrix[i, j]):.6g}, "
                f"entry ({j}, {i}) is {float(matrix[j, i]):.6g}; take (T + T^T) / 2 if that is what is meant"
            )

    def _symmetric(self) -> Any:
        """Return p^(1/2) T p^(-1/2)."""
        if self.measure is None:
            return self.T
        root = np.sqrt(self.measure)
        if hasattr(self.T, "tocsr"):
            return self.T.multiply(root[:, None]).multiply(1.0 / root).tocsr()
        return self.T * root[:, None] / root

    def _law(self, x: Any, unbiased: bool) -> Law:
        n = self.T.shape[0]
        if len(x) != n:
            raise ValueError(f"T must have one row for each of the {len(x)} points, found {n}")
        matrix = self._symmetric()
        matrix = (matrix + matrix.T) / 2
        if hasattr(matrix, "toarray"):
            needed, free = 8 * n * n, free_memory()
            if needed > 0.9 * free:
                raise MemoryBudgetError(
                    f"a sparse T of {n} points is made dense, which needs {needed / 1e9:.3g} GB of memory, and "
                    f"{free / 1e9:.3g} GB are free (nothing was allocated); if T is a law of pairs, take Pairs(i, j, "
                    f"weight), which keeps its entries only",
                    needed,
                )
            matrix = matrix.toarray()
        measure = np.full(n, 1.0 / n) if self.measure is None else self.measure
        none = np.zeros(0, np.int64)
        return Law(measure, none, none, np.zeros(0), matrix)
