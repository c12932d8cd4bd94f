"""Rows of Gram matrices, and what is computed from them block by block; kernels are known by their rows alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    check_same_width,
    check_target,
    ignore_overflow,
    require_finite,
)
from ..backends import Backend, device_of, get_backend
from ..errors import BackendError


class Rows(Protocol):
    """The rows k(x_i, y_j) of a kernel for points y that were prepared once; what `Kernel.rows` returns.

    Rows of one's own are a subclass with `fill`; the other methods are shortcuts, which it may leave alone.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from sslcore.kernels import Gaussian, Kernel, Rows
    >>> @dataclass(frozen=True)
    ... class Squared(Rows):
    ...     base: Rows
    ...     def fill(self, x, first, out):
    ...         self.base.fill(x, first, out)
    ...         out *= out
    >>> @dataclass(frozen=True)
    ... class Square(Kernel):
    ...     base: Kernel
    ...     def rows(self, y, backend):
    ...         return Squared(self.base.rows(y, backend))
    >>> Square(Gaussian(1.0))([[0.0], [1.0]]).round(4)
    array([[1.    , 0.3679],
           [0.3679, 1.    ]])
    """

    @abstractmethod
    def fill(self, x: Array, first: int, out: Array) -> None:
        """Write out[i, j] = k(x_i, y_{first + j}), and refuse values that are not finite with ValueError.

        Parameters
        ----------
        x : array (n_x, d)
            Points of the type of y.
        first : int
            The first of the points y that are asked for.
        out : array (n_x, n_out)
            Rows may have gaps.
        """

    def fill_symmetric(self, x: Array, out: Array, backend: Backend) -> None:
        """Write out[i, j] = k(x_i, x_j), exactly symmetric; ``x`` is the y that these rows were prepared for."""
        fill_half_and_mirror(self, x, out, backend)

    def fill_contrasts(self, samples: Any, mean: Array, cross_t: Array, contrast: Array) -> bool:
        """Write the Gram matrix in the basis of means and contrasts, if there is a way to make it at once; else False.

        ``samples`` are those of ``sslcore.solvers.groups``, in whose order y are; see `contrast_gram` for the blocks.
        """
        return False

    def product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Write out = k(x, y) @ coefficients; the values are never stored, but for a block of them at a time.

        Parameters
        ----------
        x : array (n_x, d)
            Points of the type of y.
        coefficients : array (n_y, c)
            Of the type of y, in any order; one row for each of the points y.
        out : array (n_x, c)
            Of any floating type and order, apart from the other arrays.  Sums are float64 across blocks, or tiles, of
            values, and of the points' type inside one.
        backend : sslcore.backends.Backend
        """
        product_by_blocks(self, x, coefficients, out, backend)

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Write out = k(x, x) @ coefficients as in `product`, where ``x`` is the y that these rows were prepared for.

        The value of a pair of points is computed once and used for both, (i, j) and (j, i): half the work.
        """
        symmetric_product_by_blocks(self, x, coefficients, out, backend)


@dataclass(frozen=True)
class Needs:
    """Bytes that rows of a kernel take beside the points that they are made for: what `sslcore.plan` counts.

    ``preparing`` at most while they are made, ``kept`` from then on, ``working`` while they fill; and ``row`` for each
    of the rows of x that are worked on at a time.  ``blocks`` is how many blocks of values there are at a time, the
    one that is filled among them.
    """

    preparing: float = 0.0
    kept: float = 0.0
    working: float = 0.0
    row: float = 0.0
    blocks: int = 1


@dataclass(frozen=True)
class PreparedRows(Rows):
    """Rows of a kernel that the backend evaluates, for points that it prepared; ``bounded`` values cannot overflow."""

    kernel: object  # for messages
    points: Any
    bounded: bool
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`."""
        self.backend.gram_rows(self.points, x, first, out)
        self._check(out)

    def fill_symmetric(self, x: Array, out: Array, backend: Backend) -> None:
        """Fill as in `Rows.fill_symmetric`; some backends have a better way than to compute half of it."""
        if self.points.mirrored:
            fill_half_and_mirror(self, x, out, backend)
        else:
            backend.gram_symmetric(self.points, x, out)
            self._check(out)

    def fill_contrasts(self, samples: Any, mean: Array, cross_t: Array, contrast: Array) -> bool:
        """Fill as in `Rows.fill_contrasts`, where the backend has a way."""
        done = self.backend.gram_contrasts(self.points, samples, mean, cross_t, contrast)
        if done:
            for block in (mean, cross_t, contrast):
                self._check(block)
        return done

    def product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.product`, where the backend has a way without storing a block of values."""
        done = self.backend.product_rows(self.points, x, coefficients, out)
        if not done or not self._finite(out):
            super().product(x, coefficients, out, backend)  # which says what is not finite

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.symmetric_product`, where the backend has a way without storing a block of values."""
        done = self.backend.product_symmetric(self.points, x, coefficients, out)
        if not done or not self._finite(out):
            super().symmetric_product(x, coefficients, out, backend)

    def _finite(self, products: Array) -> bool:
        """Tell whether no value can have overflowed."""
        return self.bounded or bool(self.backend.xp.isfinite(products).all())

    def _check(self, values: Array) -> None:
        if not self.bounded:  # products may overflow
            require_finite(values, f"the values of {self.kernel} (do they overflow? rescale the data)")


@dataclass(frozen=True)
class CombinedRows(Rows):
    """Rows of a kernel whose values are ``combine(first, second)``, which works in place on those of the first."""

    kernel: object  # for messages
    first: Rows
    second: Rows
    combine: Callable[[Array, Array], Array]
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`, with one more block of values."""
        self.first.fill(x, first, out)
        other = self.backend.xp.empty_like(out)
        self.second.fill(x, first, other)
        most = tunables.KERNEL_COMBINED_VALUES * self.backend.BLOCK_FACTOR**2
        height = max(1, most // max(1, out.shape[1]))

        def strip(s: int) -> None:
            rows = slice(s * height, (s + 1) * height)
            with ignore_overflow():
                self.combine(out[rows], other[rows])
            require_finite(out[rows], f"the values of {self.kernel}", offset=s * height)

        self.backend.side_by_side(strip, -(-len(out) // height))


@dataclass(frozen=True)
class SumRows(CombinedRows):
    """Rows of the sum of two kernels: its products are those of its parts, each in its own way."""

    def product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.product`."""
        if not self._added(out, lambda part, target: part.product(x, coefficients, target, backend)):
            super().product(x, coefficients, out, backend)  # which says what is not finite

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.symmetric_product`."""
        if not self._added(out, lambda part, target: part.symmetric_product(x, coefficients, target, backend)):
            super().symmetric_product(x, coefficients, out, backend)

    def _added(self, out: Array, multiply: Callable[[Rows, Array], None]) -> bool:
        """Set ``out`` to the sum of both products; return whether it is finite."""
        total, other = (self.backend.xp.empty(out.shape) for _ in range(2))
        multiply(self.first, total)
        multiply(self.second, other)
        with ignore_overflow():
            out[...] = total + other
        return bool(self.backend.xp.isfinite(out).all())


@dataclass(frozen=True)
class ScaledRows(Rows):
    """Rows of a kernel whose values are a factor times those of another."""

    kernel: object  # for messages
    base: Rows
    factor: float

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`."""
        self.base.fill(x, first, out)
        with ignore_overflow():
            out *= self.factor
        require_finite(out, f"the values of {self.kernel}")

    def product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.product`, in the way of the base."""
        self.base.product(x, coefficients, out, backend)
        if not self._scaled(out, backend):
            super().product(x, coefficients, out, backend)  # which says what is not finite

    def symmetric_product(self, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
        """Multiply as in `Rows.symmetric_product`, in the way of the base."""
        self.base.symmetric_product(x, coefficients, out, backend)
        if not self._scaled(out, backend):
            super().symmetric_product(x, coefficients, out, backend)

    def _scaled(self, out: Array, backend: Backend) -> bool:
        """Multiply ``out`` by the factor; return whether it is finite."""
        with ignore_overflow():
            out *= self.factor
        return bool(backend.xp.isfinite(out).all())


@dataclass(frozen=True)
class CalledRows(Rows):
    """Rows that a function (x, y) -> (n_x, n_y) of the user's returns."""

    function: Callable[[Array, Array], Array]
    y: Array
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`; the values that the function returns are checked."""
        y = self.y[first : first + out.shape[1]]
        values = as_array(as_native(self.function(x, y)), "the kernel function's result", ndim=2)
        if device_of(values) != self.backend.NAME:
            raise BackendError(
                f"the kernel function was given arrays of the backend {self.backend.NAME!r} and returned one of "
                f"{device_of(values)!r}; compute with the array module of its arguments"
            )
        if values.shape != out.shape:
            raise ValueError(
                f"the kernel function must return shape {out.shape} for {len(x)} and {len(y)} points, "
                f"found {values.shape}"
            )
        out[...] = values


# ---------------------------------------------------------------- drivers


def block_rows(columns: int, itemsize: int) -> int:
    """Return how many rows of ``columns`` values stay in the last-level cache of a CPU."""
    return max(64, tunables.KERNEL_BLOCK_BYTES // (columns * itemsize) // 64 * 64)  # aligned to the vectors' width


def block_height(columns: int, itemsize: int, backend: Backend) -> int:
    """Return `block_rows`, times what the backend asks for."""
    return backend.BLOCK_FACTOR * block_rows(columns, itemsize)


def fill_half_and_mirror(rows: Rows, x: Array, out: Array, backend: Backend) -> None:
    """Write out[i, j] = k(x_i, x_j) for j >= i, by blocks of rows, and the rest as its mirror image."""
    height = max(256, len(x) // 12 // 64 * 64)  # high enough for matrix products, and not much beyond the diagonal
    for start in range(0, len(x), height):
        block = slice(start, start + height)
        rows.fill(x[block], start, out[block, start:])
    backend.mirror(out)


def _product_block(n_y: int, itemsize: int, backend: Backend) -> tuple[int, int]:
    """Return rows and columns of a block of values that is multiplied: all columns, unless there are very many."""
    width = max(1, min(n_y, backend.BLOCK_FACTOR * tunables.KERNEL_PRODUCT_COLUMNS))
    return block_height(width, itemsize, backend), width


def product_by_blocks(rows: Rows, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
    """Write `Rows.product` for any kernel."""
    xp, n_y = backend.xp, len(coefficients)
    coefficients = xp.ascontiguousarray(coefficients)
    height, width = _product_block(n_y, x.dtype.itemsize, backend)
    memory = xp.empty(min(height, len(x)) * width, x.dtype)
    for start in range(0, len(x), height):
        part = x[start : start + height]
        total = xp.zeros((len(part), coefficients.shape[1]))
        for first in range(0, n_y, width):
            columns = slice(first, min(first + width, n_y))
            values = _block(memory, len(part), columns.stop - first)
            rows.fill(part, first, values)
            backend.add_products(values, coefficients[columns], total)
        out[start : start + height] = total


def symmetric_product_by_blocks(rows: Rows, x: Array, coefficients: Array, out: Array, backend: Backend) -> None:
    """Write `Rows.symmetric_product` for any kernel, by blocks from the diagonal on."""
    xp, n = backend.xp, len(x)
    coefficients = xp.ascontiguousarray(coefficients)
    height, width = _product_block(n, x.dtype.itemsize, backend)
    height = min(height, max(256, n // 12 // 64 * 64))  # as `fill_half_and_mirror`: not much beyond the diagonal
    width = max(width, height)
    memory = xp.empty(min(height, n) * width, x.dtype)
    total = xp.zeros((n, coefficients.shape[1]))
    for start in range(0, n, height):
        stop = min(start + height, n)
        mine, sums = coefficients[start:stop], total[start:stop]
        for first in range(start, n, width):
            last = min(first + width, n)
            values = _block(memory, stop - start, last - first)
            rows.fill(x[start:stop], first, values)
            if first == start:
                square = xp.ascontiguousarray(values[:, : stop - start])
                backend.mirror(square)
                backend.add_products(square, mine, sums)
                first, values = stop, values[:, stop - start :]
            backend.add_products(values, coefficients[first:last], sums, mine, total[first:last])
    out[...] = total


def _block(memory: Array, rows: int, columns: int) -> Array:
    """Return the beginning of ``memory`` as a matrix without gaps."""
    values: Array = memory[: rows * columns].reshape(rows, columns)
    return values


def gram_matrix(
    prepare: Callable[[Array, Backend], Rows],
    x: ArrayLike,
    y: ArrayLike | None,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Make `sslcore.gram.gram` of the kernel whose rows are ``prepare(y, backend)``, from unchecked arrays."""
    chosen = get_backend(x, y, backend=backend)
    x = as_array(x, "x", ndim=2, shape_hint="(n, d)")
    if y is not None:
        y = as_array(y, "y", ndim=2, shape_hint="(n, d)")
        check_same_width(x, y, "x", "y")
        dtype = np.result_type(x.dtype, y.dtype)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    other = x if y is None else y
    if out is None:
        out = chosen.empty_matrix(len(x), len(other), x.dtype)
    else:
        check_target(out, (len(x), len(other)), x.dtype, chosen, x, other)
    rows = prepare(other, chosen)
    if y is None:
        rows.fill_symmetric(x, out, chosen)
    else:
        rows.fill(x, 0, out)
    return out
