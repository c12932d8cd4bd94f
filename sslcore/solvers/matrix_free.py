r"""The operator of exact fits without the kernel matrix: products with K, and conjugate gradients for S = C + D.

The formulas are those of `sslcore.solvers.conditioned`.  Nothing of size N^2 is stored: Khat (u, c) is a product with K
whose values are made in tiles, each for both of its triangles, between two rotations.  With z = z0 + x, y = c + z,

    S x = rest,   (., rest) = Khat (u, -z0) - (., D y0):   z0 = 0, or -c, or what an eigenvector of G has,

is solved for all columns together by block conjugate gradients (O'Leary 1980; directions are orthonormalised, so that
none is lost as columns converge at different times: Ji and Li 2017), preconditioned by a low-rank factor of C
(`sslcore.solvers.preconditioner`).  Each step's product with Khat (0, p) has B p too, so that G costs one product for
the right side and one a step.  An error e of x with S e = r is one of (reg / unit) G v of at most
sqrt(2 (|A| + |D|) e^T S e) / unit (two lines: w^T (error) = -(S^-1 (B^T w_u - D w_c))^T S e, and B C^+ B^T <= A), and
r^T M^-1 r, M the preconditioner, estimates e^T S e.

Most steps multiply in float32, in little more than half the time.  Their residuals drift from the true ones, which a
product in float64 with the solution so far restores where much has been gained, and before a solution is believed
(van der Vorst and Ye 2000).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, ignore_overflow
from ..backends import Backend
from ..errors import ConvergenceError, ConvergenceWarning, NotPositiveSemidefiniteError
from ..kernels import Kernel
from ..kernels._rows import PreparedRows, Rows, block_height
from .coarse import coarse_functions
from .conditioned import ConditionedOperator
from .groups import SampleClass, Samples
from .objective import Objective
from .preconditioner import PivotedFactor, Preconditioner

__all__ = ["MatrixFreeKernel"]

_FINAL = 1e-3
"""What is left of a solution for the certificate, in units of the tolerance."""

_SINGLE = 1e-5
"""Least noise, beside the trace of C, from which a factor in float32 will do: its rounding is 0.6 % of that noise."""

_SMALL = 1e-3
"""What counts as the size of the images of a block's columns at least, beside the largest."""

_DRIFTED, _BELIEVED = 1e-4, 1e-2
"""Gains of steps in float32 from which true residuals are computed: on the way, and at the end.  The rounding of such
products, 1e-7, is amplified by up to the root of the condition number."""

_GAINED, _LONG = 0.03, 40
"""What is left of the best true error, at most, after as many steps, if products in float32 are of use: where the noise
is near their rounding they gain little, and all are in float64 from then on."""

_LEFT, _CHEAPLY_LEFT = 1.0, 1e-3
"""Means of the eigenvalues that the factor leaves, as many as its rank, beside the noise: two steps gain a digit; and
one step some two digits, where few columns more do."""


class MatrixFreeKernel(ConditionedOperator):
    """`ConditionedOperator` of points in the order of their samples, by products with K.

    Parameters
    ----------
    kernel : Kernel
    points : array (N, d)
    samples : Samples
    backend : Backend
    objective : Objective
        Whose ``unbiased`` and ``center`` all fits share.
    rank : int
        Most columns of the preconditioner's factor in float32, whose memory holds half as many in float64.
    tolerance : float
        What residuals are held to in the end: all accuracies are derived from it.

    Attributes
    ----------
    products, inner : int
        Products with the kernel for the reg and beta at hand, and steps of conjugate gradients for the block at hand.
    watch : callable or None
        Called after each product.
    """

    _trace: float | None
    inexact = True
    ends = 1e-1, 1e-1

    def __init__(
        self,
        kernel: Kernel,
        points: Array,
        samples: Samples,
        backend: Backend,
        *,
        objective: Objective,
        rank: int,
        tolerance: float,
    ) -> None:
        xp = backend.xp
        self.backend, self.xp, self.samples, self.dtype, self.n = backend, xp, samples, points.dtype, samples.n
        self.kernel, self.points, self.rank, self.tolerance = kernel, points, rank, tolerance
        self.unbiased = objective.unbiased
        self.rows = kernel.rows(points, backend)
        self.single: tuple[Rows, Array] | None = None
        if points.dtype != np.float32 and isinstance(self.rows, PreparedRows):
            with ignore_overflow(), suppress(ValueError):  # beyond the range of float32: all is in float64
                rounded = points.astype(np.float32)
                self.single = kernel.rows(rounded, backend), rounded
        # whether they are used; whether the preconditioner leaves much, and the noise is well above their rounding
        self.mixed = self._hard = False
        self.root = xp.sqrt(samples.weight).astype(self.dtype)[:, None]
        self.products, self.inner = 0, 0
        self.watch: Callable[[], None] | None = None
        self.unit, self._trace = 1.0, None
        diagonal = self._diagonal()
        self.unit = float(diagonal.sum())
        if not math.isfinite(self.unit):
            raise ValueError("the kernel's values overflow; rescale the data or the kernel")
        self.contrast_diagonal = backend.to_host(diagonal[self.n :] / max(self.unit, 1e-300))
        self._require_variation(objective.center)
        self.rounding_scale = self._rounding_scale()
        self.contrast_factor = samples.contrast_factor(objective.unbiased)
        self.contrast_beta = self.contrast_factor
        self.rounding = self._estimated_rounding(self._rows_of_means(), diagonal)
        self.pivoted: PivotedFactor | None = None
        self._memory: Array = xp.empty(0, np.float32)
        self.preconditioner: Preconditioner | None = None
        self.allowed: float | None = None
        self._ratio: float | None = None
        self._seen = math.inf, 0.0  # least and largest curvature of S
        self._slow = False
        self._reached = math.nan  # the largest error of a column before the last product

    @property
    def algorithm(self) -> str:
        """Name the solver as in `ConditionedOperator`."""
        if self.noise is None:
            return "matrix-free: kernel PCA"
        rank = self.pivoted.rank if self.pivoted else 0
        return f"matrix-free: conjugate gradients, rank {rank}, {self.products} products"

    @property
    def trace(self) -> float:
        """The trace of Khat, or of H Khat H: no eigenvalue is larger."""
        if self.constant is None:
            return self.unit
        if self._trace is None:
            column = self.constant_column()
            self._trace = self.unit * (1.0 - float((column * self.times_kernel(column)).sum()))
        return self._trace

    # ------------------------------------------------------------ parts of Khat

    def _diagonal(self) -> Array:
        """Return the diagonal of Khat in the rotated basis, in float64."""
        xp, samples = self.xp, self.samples
        out: Array = xp.empty(samples.n_views)
        for strip in samples.strips(tunables.MATRIX_FREE_DIAGONAL_ROWS):
            part, count = strip.sample_class, strip.sample_stop - strip.sample_start
            rows = slice(strip.row_start, strip.row_stop)
            block = xp.empty((count * part.m, count * part.m), self.dtype)
            self.rows.fill(self.points[rows], strip.row_start, block)
            own = xp.einsum("iaib->iab", block.reshape(count, part.m, count, part.m)).astype(float, copy=False)
            first = strip.sample_start - part.sample_start
            turn = xp.moveaxis(part.weighted[:, :, first : first + count], 2, 0)
            values = (xp.matmul(turn, own) * turn).sum(axis=2)
            out[strip.sample_start : strip.sample_stop] = values[:, 0]
            start = self.n + part.contrast_start + first * (part.m - 1)
            out[start : start + count * (part.m - 1)] = values[:, 1:].reshape(-1)
        return out

    def _rows_of_means(self) -> tuple[Array, Array]:
        """Return some rows of A and of B."""
        xp, samples = self.xp, self.samples
        chosen = []
        for strip in itertools.islice(samples.strips(1), 0, None, max(1, self.n // 64)):
            part = strip.sample_class
            turn = part.weighted[:1, :, strip.sample_start - part.sample_start]
            chosen.append(self._combined(np.arange(strip.row_start, strip.row_stop), turn))
        u, c = samples.rotate(xp.concatenate(chosen).T * self.root)
        return u.T, c.T

    def _combined(self, views: np.ndarray, weights: Array) -> Array:
        """Return weights (b, len(views)) @ K[views], (b, N), a block of rows of K at a time."""
        backend, xp, total = self.backend, self.xp, self.samples.n_views
        out: Array = xp.zeros((len(weights), total), self.dtype)
        height = block_height(total, self.dtype.itemsize, backend)
        for start in range(0, len(views), height):
            some = slice(start, start + height)
            values = xp.empty((len(views[some]), total), self.dtype)
            self.rows.fill(self.points[xp.asarray(views[some])], 0, values)
            # in Fortran order products are written as they are
            out = backend.matmul(
                values.T, xp.asfortranarray(weights[:, some].T, dtype=self.dtype), out=out.T, beta=1.0
            ).T
        return out

    def _contrast_columns(self, chosen: np.ndarray) -> Array:
        """Return the columns of C / unit of these contrasts, increasing."""
        xp, samples, step = self.xp, self.samples, tunables.MATRIX_FREE_COMBINED_COLUMNS
        out: Array = xp.empty((samples.n_contrasts, len(chosen)), self.dtype, order="F")
        for part in samples.classes:
            inside = np.flatnonzero((chosen >= part.contrasts().start) & (chosen < part.contrasts().stop))
            for some in (inside[start : start + step] for start in range(0, len(inside), step)):
                columns = self._combined(*_views_of(part, chosen[some], self.backend)).T
                columns *= self.root / self.dtype.type(self.unit)
                out[:, some[0] : some[-1] + 1] = samples.rotate(columns)[1]
        return out

    def times_kernel(self, v: Array, *, rounded: bool = False) -> Array:
        """Return Khat v / unit, from kernel values: one product with K, ``rounded`` from those in float32."""
        self.products += 1
        if self.products > tunables.MATRIX_FREE_MOST_PRODUCTS:
            raise ConvergenceError(
                f"no convergence within {self.products - 1} products with the kernel: conjugate gradients have come to "
                f"an error of {self._reached:.3g}; raise reg, give more memory for the preconditioner (its rank is "
                f"{self.pivoted.rank if self.pivoted else 0}), or use features",
                self._reached,
            )
        xp, samples = self.xp, self.samples
        weighted = samples.rotate_back(v[: self.n], v[self.n :])
        weighted *= self.root
        out = self._multiplied(weighted, rounded)
        out *= self.root / self.dtype.type(self.unit)
        product: Array = xp.asfortranarray(xp.concatenate(samples.rotate(out)))
        if self.watch is not None:
            self.watch()
        return product

    def _multiplied(self, columns: Array, rounded: bool) -> Array:
        """Return K times columns; ``rounded`` from values in float32, until one of them is beyond its range."""
        out: Array = self.xp.empty_like(columns)
        if rounded and self.single:
            rows, points = self.single
            with ignore_overflow(), suppress(ValueError):
                rows.symmetric_product(points, columns.astype(points.dtype), out, self.backend)
                if bool(self.xp.isfinite(out).all()):
                    return out
            self.mixed = False
        self.rows.symmetric_product(self.points, columns, out, self.backend)
        return out

    def guess(self, k: int) -> Array | None:
        """Return functions of a fit to some of the samples, or None if there are few or that fit is refused."""
        objective = Objective(k, *self.asked, self.unbiased, self.constant is not None)
        return coarse_functions(self.kernel, self.points, self.samples, self.backend, objective)

    # ------------------------------------------------------------ S

    def condition(self, reg: float, beta: float) -> MatrixFreeKernel:
        """Make the preconditioner for this reg and beta; its factor grows, if it must, and is kept."""
        self.contrast_beta, self.asked = beta * self.contrast_factor, (reg, beta)
        self.allowed, self._slow, self.mixed = None, False, False
        self.jitter, self.condition_number, self.products = 0.0, 1.0, 0
        if not self.samples.n_contrasts or beta == 0:
            self.noise, self.preconditioner = None, None
            return self
        self.noise = (reg / self.contrast_beta).astype(self.dtype)[:, None]
        self.least_noise = float(self.noise.min())
        if self._ratio != reg / beta:
            self.preconditioner, self._ratio = None, None
            self._seen = math.inf, 0.0
            self.preconditioner = self._preconditioner()
            self._ratio = reg / beta
        # with a good preconditioner there are few steps, not worth the products that restore true residuals
        self.mixed = self.single is not None and self._hard
        return self

    def _preconditioner(self) -> Preconditioner:
        """Extend the factor, or make it anew: in float64 if the noise is low and half as many columns do.

        Where they do not, more columns in float32 leave less, mostly even if its rounding is near what is left.
        """
        level, single = self.least_noise / self.unit, np.dtype(np.float32)
        low = level < _SINGLE * float(np.maximum(self.contrast_diagonal, 0.0).sum())
        dtype = self.dtype if low else single
        if self.pivoted is None or (self.pivoted.out.dtype != dtype and low and 2 * self.pivoted.rank <= self.rank):
            self.pivoted = PivotedFactor(self.contrast_diagonal, self._room(dtype), self.backend)
        columns = self._contrast_columns
        pivoted = self.pivoted.extend(columns, _LEFT * level)
        short = pivoted.full and pivoted.out.dtype != single and not pivoted.reaches(_LEFT * level)
        if short and (room := self._room(single, low)).shape[1] > pivoted.rank:
            pivoted.move_to(room)
            pivoted.extend(columns, _LEFT * level)
        self._hard = not low and not pivoted.reaches(_LEFT * level)
        most = tunables.MATRIX_FREE_CHEAP_COLUMNS * math.sqrt(self.samples.n_views)
        pivoted.extend(columns, _CHEAPLY_LEFT * level, most)
        return Preconditioner(pivoted, self.noise / self.unit, self.backend, dtype)

    def _room(self, dtype: np.dtype, low: bool = False) -> Array:
        """Return the memory of the factor as columns of this type, some less where the small matrix takes more."""
        contrasts, share, most = self.samples.n_contrasts, dtype.itemsize // 4, self.rank
        if low:  # 4 c r + 8 r^2 = 4 c most + 4 most^2 bytes
            most = int((math.sqrt(contrasts**2 + 8 * most * (contrasts + most)) - contrasts) / 4)
        columns = min(contrasts, most // share)
        if not self._memory.size:
            self._memory = self.xp.empty(2 * -(-contrasts * min(self.rank, 2 * contrasts) // 2), np.float32)
        values = self._memory if share == 1 else self._memory.view(dtype)
        out: Array = values[: contrasts * columns].reshape(columns, contrasts).T
        return out

    def relax(self, allowed: float) -> None:
        """Hear what the norm of the next error of an image may be."""
        self.allowed = allowed

    def state(self) -> dict[str, Any]:
        """Return products, curvatures and the accuracy of the next image; the rank tells the factor from others."""
        low, high = self._seen
        rank = self.pivoted.rank if self.pivoted else 0
        return {
            "products": self.products,
            "allowed": self.allowed,
            "low": low,
            "high": high,
            "rank": rank,
            "mixed": self.mixed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when `state` was asked for."""
        self.products, self.allowed, self._seen = state["products"], state["allowed"], (state["low"], state["high"])
        self.mixed = state["mixed"] and self.single is not None

    def corrections(self, v: Array, heights: np.ndarray | None = None) -> tuple[Array, Array]:
        """Return z and y as in `ConditionedOperator`; of eigenvectors with these ``heights``, in few steps."""
        if self.noise is None:  # infinite
            _, c = self.halves(v)
            return -c, self.xp.zeros_like(c)
        z, y, _ = self._solved(v, heights)
        self.condition_number = self._seen[1] / self._seen[0] if self._seen[1] else 1.0
        return z, y

    def conditioned(self, v: Array) -> Array:
        """Return (reg / unit) G v."""
        if self.noise is None:
            return self.times_kernel(v)
        _, y, top = self._solved(v, None)
        out: Array = self.xp.asfortranarray(self.xp.concatenate([top, y * (self.noise / self.unit)]))
        return out

    def _solved(self, v: Array, heights: np.ndarray | None) -> tuple[Array, Array, Array]:
        """Return z, y, and (A u - B z) / unit."""
        xp = self.xp
        u, c = self.halves(v)
        noise = self.noise / self.dtype.type(self.unit)
        if heights is not None:  # (reg / unit) G v = heights v, of which y noise is the lower half
            y = c * xp.asarray(heights.astype(self.dtype)) / noise
            z = y - c
        elif self.least_noise <= self.unit:
            z, y = xp.zeros_like(c), c.copy()
        else:
            z, y = -c, xp.zeros_like(c)
        product = self.times_kernel(xp.concatenate([u, -z]))
        top = product[: self.n]
        rest = xp.asfortranarray(product[self.n :] - noise * y)

        def allowed(x: Array, bx: Array) -> np.ndarray:
            """Say how far from the solution each column may be."""
            if heights is not None:
                sizes, share = heights, _FINAL
            elif self.allowed is not None:
                return np.full(v.shape[1], self.allowed)
            else:  # the first block: of each column its quotient
                found = xp.einsum("ij,ij->j", u, top - bx) + xp.einsum("ij,ij->j", c, noise * (y + x))
                sizes, share = self.backend.to_host(found).astype(float), 0.3 * self.ends[0]
            out: np.ndarray = share * self.tolerance * np.maximum(sizes, _SMALL * float(sizes.max(initial=0.0)))
            return out

        x, bx = self._gradients(rest, allowed)
        return z + x, y + x, top - bx

    def _gradients(self, rest: Array, allowed: Any) -> tuple[Array, Array]:
        """Solve S x = rest, in units of ``unit``, by block conjugate gradients.  Returns x, B x; ``rest`` is lost."""
        backend, xp, n = self.backend, self.xp, self.n
        assert self.preconditioner is not None
        noise = self.noise / self.dtype.type(self.unit)
        x, bx = xp.zeros_like(rest, order="F"), xp.zeros((n, rest.shape[1]), self.dtype, order="F")
        active = np.arange(rest.shape[1])
        right = rest.copy(order="F") if self.mixed else rest
        # bounds of errors, and those where residuals were the true ones last
        now = began = np.full(len(active), math.inf)
        stale = False
        directions: Any = None
        images: Any = None
        factor, self.inner, checked = np.empty((0, 0)), 0, 0
        while True:
            left = rest[:, xp.asarray(active)]
            ahead = self.preconditioner(left)
            errors = backend.to_host(xp.einsum("ij,ij->j", left.astype(float), ahead.astype(float)))
            bounds = np.sqrt(2.0 * np.maximum(errors, 0.0))
            self._reached = float(bounds.max())
            going = bounds > allowed(x, bx)[active]
            now = now.copy()
            now[active] = bounds
            gains = np.where(began > 0, now / np.maximum(began, 1e-300), 1.0)
            gained = float(gains.min()) < (_DRIFTED if going.any() else _BELIEVED)
            if stale and (gained or self.inner >= checked + _LONG):
                bx = self._true_residuals(x, right, rest)
                stale, active = False, np.arange(rest.shape[1])
                continue
            if not stale:
                if going.any() and float(gains[active[going]].min()) > _GAINED:
                    self.mixed = False
                began, checked = now, self.inner
            active = active[going]
            if not len(active):
                return x, bx
            ahead = ahead[:, xp.asarray(going)]
            ahead = ahead / xp.asarray(np.sqrt(errors[going]).astype(self.dtype))
            if directions is not None:
                turn = np.linalg.solve(factor, backend.to_host(backend.matmul(images.T, xp.asfortranarray(ahead))))
                ahead = backend.matmul(directions, self._columns(-turn), out=xp.asfortranarray(ahead), beta=1.0)
            self.inner += 1
            self._warn_of_slowness(self.inner)
            directions, _ = backend.orthonormalize(xp.asfortranarray(ahead), 0.0)
            if not directions.shape[1]:  # rounding leaves no way on: the certificate will judge
                return x, self._true_residuals(x, right, rest) if stale else bx
            padded, rounded, seen = xp.zeros((n, directions.shape[1]), self.dtype), self.mixed, self._seen
            try:
                product = self.times_kernel(xp.concatenate([padded, directions]), rounded=rounded)
                images = xp.asfortranarray(product[n:] + noise * directions)
                factor = self._curvature(backend.to_host(backend.matmul(directions.T, images)).astype(float))
            except NotPositiveSemidefiniteError:
                if not rounded:
                    raise
                self.mixed, self._seen, directions = False, seen, None
                if stale:
                    bx = self._true_residuals(x, right, rest)
                    stale, active = False, np.arange(rest.shape[1])
                continue
            stale = stale or self.mixed
            left = xp.asfortranarray(rest[:, xp.asarray(active)])
            step = np.linalg.solve(factor, backend.to_host(backend.matmul(directions.T, left)))
            step = self._columns(step)
            index = xp.asarray(active)
            x[:, index] += backend.matmul(directions, step)
            bx[:, index] += backend.matmul(xp.asfortranarray(product[:n]), step)
            rest[:, index] = left - backend.matmul(images, step)

    def _true_residuals(self, x: Array, right: Array, rest: Array) -> Array:
        """Write right - S x to ``rest``, and return B x: one product in float64."""
        xp, n = self.xp, self.n
        product = self.times_kernel(xp.concatenate([xp.zeros((n, x.shape[1]), self.dtype), x]))
        rest[:] = right - product[n:] - self.noise / self.dtype.type(self.unit) * x
        out: Array = xp.asfortranarray(product[:n])
        return out

    def _warn_of_slowness(self, steps: int) -> None:
        """Say once for each condition that conjugate gradients are slow, and what would help."""
        if steps < tunables.MATRIX_FREE_SLOW_STEPS or self._slow or self.pivoted is None:
            return
        self._slow = True
        rank, helpful = self.pivoted.rank, int(tunables.MATRIX_FREE_RANK_COLUMNS * math.sqrt(self.samples.n_views))
        helpful = min(helpful, 2 * self.samples.n_contrasts)
        more = "give more memory for the preconditioner, " if self.pivoted.full and self.rank < helpful else ""
        left = float(self.pivoted.left.sum()) / max(float(self.contrast_diagonal.sum()), 1e-300)
        warnings.warn(
            f"conjugate gradients have taken {steps} products with the kernel for one block, and go on: the "
            f"preconditioner of rank {rank} leaves {left:.2g} of the trace of the contrasts; {more}raise reg, or use "
            f"features",
            ConvergenceWarning,
            stacklevel=2,
        )

    def _columns(self, small: np.ndarray) -> Array:
        out: Array = self.xp.asarray(np.asfortranarray(small, dtype=self.dtype))
        return out

    def _curvature(self, small: np.ndarray) -> np.ndarray:
        """Return S on orthonormal directions; refuse what is not positive."""
        small = 0.5 * (small + small.T)
        values = np.linalg.eigvalsh(small)
        self._seen = min(self._seen[0], float(values[0])), max(self._seen[1], float(values[-1]))
        if not values[0] > 0:
            lowest = (float(values[0]) - self.least_noise / self.unit) * self.unit
            raise NotPositiveSemidefiniteError(
                f"the Gram matrix on within-sample contrasts is not positive semi-definite to rounding: a direction "
                f"has the curvature {lowest:.6g} (the kernel matrix has the trace {self.unit:.6g}); raise reg, or use "
                f"a positive semi-definite kernel",
                lowest,
            )
        return small


def _views_of(part: SampleClass, contrasts: np.ndarray, backend: Backend) -> tuple[np.ndarray, Array]:
    """Return the views of some contrasts of one class, (r,), and the rows of P^(1/2) Q^T there, (b, r)."""
    local, row = np.divmod(contrasts - part.contrast_start, part.m - 1)
    own, place = np.unique(local, return_inverse=True)
    views = (part.row_start + own[:, None] * part.m + np.arange(part.m)).reshape(-1)
    weights = np.zeros((len(contrasts), len(own), part.m))
    turns = backend.to_host(part.weighted[:, :, backend.xp.asarray(own)])
    weights[np.arange(len(contrasts)), place] = turns[row + 1, :, place]
    return views, backend.xp.asarray(weights.reshape(len(contrasts), -1))
