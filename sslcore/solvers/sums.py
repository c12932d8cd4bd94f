"""Sums over samples of the means and the products of their features: accumulated by blocks, merged, about the mean.

Means are accumulated about their running mean (Chan, Golub and LeVeque 1983): centring later subtracts nothing large.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, check_integer, check_scalar, ignore_overflow, require_finite, rescaled, to_backend
from ..backends import Backend, get_backend
from .groups import SampleClass, Samples

__all__ = ["Sums", "add_block"]

_LEAST_SQUARE = 2.0**-70
"""Of features in float32: products of values and differences 10^8 times smaller are no subnormal numbers yet."""


_TRIANGLES = "between", "within", "unbiased"

_WIDTH = 64
"""Columns of a triangle that are pickled together, as far down as the longest goes: few copies, of little more.  It is
no tunable, for who reads a pickle must know it."""


@dataclass
class Sums:
    """Weighted sums over samples; ``between`` and ``within`` hold upper triangles, about the mean."""

    n: int
    n_views: int
    weight: float
    mean: Array  # (r,)
    between: Array  # (r, r): sum of p_i (phibar_i - mean)(...)^T over samples
    within: Array  # (r, r): sum of the products of contrasts, Delta before the unbiased factor
    factor: float | None  # the unbiased factor as long as it is the same for all samples (None: no contrasts yet)
    unbiased: Array | None  # Delta's sum with each sample's own factor, once they differ

    @classmethod
    def zero(cls, r: int, xp: Any, spare: Sums | None = None) -> Sums:
        """Make the sums over no samples, in the memory of ``spare``, which is given up, if it has room."""
        if spare is not None and spare.between.shape == (r, r):
            spare.between.fill(0.0)
            spare.within.fill(0.0)
            return cls(0, 0, 0.0, xp.zeros(r), spare.between, spare.within, None, None)
        return cls(0, 0, 0.0, xp.zeros(r), xp.zeros((r, r), order="F"), xp.zeros((r, r), order="F"), None, None)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle upper triangles: half of the bytes for those who wait for them, on a cluster too."""
        return {name: _packed(value) if name in _TRIANGLES else value for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        r = len(state["mean"])
        vars(self).update({name: _triangle(value, r) if name in _TRIANGLES else value for name, value in state.items()})

    def on(self, backend: Backend) -> Sums:
        """Bring the sums to where the backend works."""
        if get_backend(self.mean) is backend:
            return self
        return dataclasses.replace(
            self,
            mean=to_backend(self.mean, backend),
            between=to_backend(self.between, backend),
            within=to_backend(self.within, backend),
            unbiased=to_backend(self.unbiased, backend),
        )

    def in_fortran_order(self) -> Sums:
        """Return the same with matrices as the backends want them."""
        return dataclasses.replace(
            self,
            between=np.asfortranarray(self.between),
            within=np.asfortranarray(self.within),
            unbiased=None if self.unbiased is None else np.asfortranarray(self.unbiased),
        )

    def unbiased_sum(self) -> Array:
        """Return Delta's sum with unbiased factors."""
        return self.within * (self.factor or 1.0) if self.unbiased is None else self.unbiased

    def require_good(self) -> None:
        """Check types, shapes and ranges of what came from a file."""
        check_integer(self.n, "n", minimum=1, maximum=2**62)
        check_integer(self.n_views, "n_views", minimum=self.n, maximum=2**62)
        check_scalar(self.weight, "weight", minimum=0.0, strict=True)
        if self.factor is not None:
            check_scalar(self.factor, "factor", minimum=1.0)
        r = len(self.mean)
        for name in ("mean", "between", "within", "unbiased"):
            array = getattr(self, name)
            shape = (r,) if name == "mean" else (r, r)
            if array is None and name == "unbiased":
                continue
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float64:
                raise ValueError(f"array {name} must be float64 of shape {shape}, found {array!r:.60}")
            require_finite(array, name)

    def may_underflow(self, dtype: np.dtype) -> bool:
        """Tell whether features, multiplied in ``dtype``, were so small that products lost digits."""
        if dtype != np.float32 or not self.n:
            return False
        square = float((self.between.diagonal() + self.within.diagonal()).max()) / self.weight
        return square < _LEAST_SQUARE

    def require_finite(self) -> None:
        """Refuse sums that have overflowed, or that are of such: no number made of them means anything."""
        with ignore_overflow():
            sums = [self.mean.sum(), self.between.sum(), self.within.sum()]
            sums += [] if self.unbiased is None else [self.unbiased.sum()]
            total = float(sum(sums)) + self.weight
        if not math.isfinite(total):
            raise ValueError(
                "the second moments of the features overflow, or have become NaN; rescale the data, or use float64"
            )

    def copied(self) -> Sums:
        """Return the same sums in memory of their own."""
        return dataclasses.replace(
            self,
            mean=self.mean.copy(),
            between=self.between.copy(order="F"),
            within=self.within.copy(order="F"),
            unbiased=None if self.unbiased is None else self.unbiased.copy(order="F"),
        )

    def scaled(self, exponent: int) -> Sums:
        """Return the sums of the features times 2^exponent."""

        def squared(array: Array) -> Array:
            return np.asfortranarray(rescaled(array, 2 * exponent))

        return dataclasses.replace(
            self,
            mean=rescaled(self.mean, exponent),
            between=squared(self.between),
            within=squared(self.within),
            unbiased=None if self.unbiased is None else squared(self.unbiased),
        )

    def merged(self, other: Sums) -> Sums:
        """Return the sums over both; neither is changed."""
        if not self.n or not other.n:
            return other if not self.n else self
        total = self.copied()
        total.add(other)
        return total

    def add(self, other: Sums) -> None:
        """Add sums over other samples, in place."""
        if not other.n:
            return
        if not self.n:
            vars(self).update(vars(other.copied()))
            return
        factors = {s.factor for s in (self, other)} - {None}
        if len(factors) > 1 or self.unbiased is not None or other.unbiased is not None:
            if self.unbiased is None:
                self.unbiased = self.unbiased_sum().copy(order="F")
            self.unbiased += other.unbiased_sum()
            self.factor = None
        else:
            self.factor = factors.pop() if factors else None
        weight, step = self.weight + other.weight, other.mean - self.mean
        self.between += other.between
        get_backend(self.mean).add_second_moment(self.between, step[None], self.weight * other.weight / weight)
        self.within += other.within
        self.mean = self.mean + step * (other.weight / weight)
        self.n += other.n
        self.n_views += other.n_views
        self.weight = weight


def _packed(matrix: Any) -> Any:
    """Return the upper triangle of a matrix on the host, panel after panel; others, and None, stay."""
    if not isinstance(matrix, np.ndarray):
        return matrix
    r = len(matrix)
    ends = [(start, min(start + _WIDTH, r)) for start in range(0, r, _WIDTH)]
    out, place = np.empty(sum(stop * (stop - start) for start, stop in ends), matrix.dtype), 0
    for start, stop in ends:
        size = stop * (stop - start)
        out[place : place + size].reshape(stop - start, stop)[...] = matrix[:stop, start:stop].T
        place += size
    return out


def _triangle(packed: Any, r: int) -> Any:
    """Make the matrix of `_packed`, in Fortran order and in memory of its own.

    Earlier versions pickled whole matrices: they are taken as they are.
    """
    if not isinstance(packed, np.ndarray):
        return packed
    if packed.ndim == 2:
        return np.asfortranarray(packed)
    wanted = sum(min(start + _WIDTH, r) * (min(start + _WIDTH, r) - start) for start in range(0, r, _WIDTH))
    if packed.shape != (wanted,):
        raise ValueError(f"a triangle of {r} x {r} sums has {wanted} numbers, found an array of shape {packed.shape}")
    out, place = np.zeros((r, r), packed.dtype, order="F"), 0
    for start in range(0, r, _WIDTH):
        stop = min(start + _WIDTH, r)
        size = stop * (stop - start)
        out[:stop, start:stop] = packed[place : place + size].reshape(stop - start, stop).T
        place += size
    return out


def add_block(total: Sums, phi: Array, samples: Samples, weight: float, buffer: Array, backend: Backend) -> None:
    """Add one block of features (N, r), rows in the order of ``samples``, of this total weight.

    Rows are taken about the running mean a, at first that of some rows: with w the block's weight and W that of all,
    the mean moves by b = (w / W) (block mean - a), and sums of squares about a are those about a + b plus W b b^T.
    ``buffer`` has room for the features, and may have some for their products (r, r).
    """
    xp, r = backend.xp, phi.shape[1]
    scratch = buffer[phi.size : phi.size + r * r] if len(buffer) >= phi.size + r * r else None

    def sum_rows(weights: Array, rows: Array) -> Array:
        # not `@`: threads of NumPy's own BLAS would wait busily beside those of SciPy's, in the next product
        summed: Array = backend.matmul(weights.astype(phi.dtype)[None], rows)[0]
        return summed

    if total.n == 0:  # any point near the mean will do
        some, rows = slice(None, None, _step_to_shift(samples)), phi
        if some.step > 1:  # in memory that is there: BLAS wants rows that follow each other
            rows = phi[some]
            rows = buffer[: rows.size].reshape(rows.shape)
            rows[:] = phi[some]
        shares = samples.weight[some]
        total.mean = sum_rows(shares / shares.sum(), rows).astype(float)
    shift = total.mean.astype(phi.dtype)
    move = xp.zeros(r)
    for part in samples.classes:
        values = phi[part.rows()].reshape(part.count, part.m, -1)
        # times sqrt(p), where p sums to 1 in the block
        rotation, exponent = samples.scaled_rotation(part, unbiased=True)
        means, contrasts = backend.rotate_views(values, rotation, shift, buffer)
        root = xp.sqrt(samples.weight[part.rows()].reshape(part.count, part.m).sum(axis=1))
        move += sum_rows(root, means)
        backend.add_second_moment(total.between, means, weight, scratch=scratch)
        del rotation  # before the next one is made
        contrast_weight = math.ldexp(weight, 2 * exponent)
        if part.m > 1 and not _adds_to_one_sum(total, contrasts, part, contrast_weight, backend, scratch):
            rotation, exponent = samples.scaled_rotation(part, unbiased=False)
            _, contrasts = backend.rotate_views(values, rotation, shift, buffer)
            del rotation
            backend.add_second_moment(total.within, contrasts, math.ldexp(weight, 2 * exponent), scratch=scratch)
    total.weight += weight
    total.n += samples.n
    total.n_views += samples.n_views
    move *= weight / total.weight
    total.mean = shift.astype(float) + move
    backend.add_second_moment(total.between, move[None], -total.weight)


def _step_to_shift(samples: Samples) -> int:
    """Return the step between the rows whose mean is the first shift: 1 where few of them may have all of the weight.

    It has no divisor in common with a number of views: all views of the samples have their share, the first is no
    more often among the rows than the others.
    """
    weight = samples.weight
    step = len(weight) // tunables.MOMENTS_SHIFT_ROWS
    if step <= 1 or float(weight.max()) > 4.0 * float(weight.min()):
        return 1
    return next(s for s in range(step, 0, -1) if all(math.gcd(s, part.m) == 1 for part in samples.classes))


def _adds_to_one_sum(
    total: Sums, contrasts: Array, part: SampleClass, weight: float, backend: Backend, scratch: Array | None
) -> bool:
    """Add contrasts of one class, times the roots of the unbiased factors; False if they do not serve both sums.

    As long as the factors are the same, one sum is kept, and the other is a multiple of it.  Without these roots
    float32 would lose the contrasts of a sample in which one view has nearly all of the weight.
    """
    if total.unbiased is None:
        if part.factor is not None and total.factor in (None, part.factor):
            total.factor = part.factor
            backend.add_second_moment(total.within, contrasts, weight / part.factor, scratch=scratch)
            return True
        total.unbiased, total.factor = total.unbiased_sum().copy(order="F"), None
    backend.add_second_moment(total.unbiased, contrasts, weight, scratch=scratch)
    return False
