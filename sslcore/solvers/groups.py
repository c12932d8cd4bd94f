"""The samples to which views belong, their weights, and the rotation that these define.

With weights p on the N views (sum 1), Khat = P^(1/2) K P^(1/2) and a function's values F become
v = P^(1/2) F.  Within sample i, q_a = p_ia / p_i (p_i the sample's total) and w_a = sqrt(q_a): the average over the
sample is the projector on w, and the contrasts are the rows of a weighted Helmert matrix,

    h_c[a] = w_a w_c / sqrt(s_c s_{c+1})  for a < c,   h_c[c] = -sqrt(s_c / s_{c+1}),   s_c = sum_{a < c} q_a,

c = 1..m-1, orthonormal and orthogonal to h_0 = w (two lines: |h_c|^2 = q_c / s_{c+1} + s_c / s_{c+1} = 1;
<h_c, w> = s_c w_c / sqrt(s_c s_{c+1}) - w_c sqrt(s_c / s_{c+1}) = 0).  Unbiased averages over distinct views divide
the invariance of the sample by 1 - sum_a q_a^2 = sum_a q_a sum_{b != a} q_b, which is (m - 1)/m for equal weights.  The
second form has no difference in it: it is good to rounding where one view has nearly all of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend

__all__ = ["SampleClass", "Samples", "Strip"]

_LEAST_SHARE = 1e-290
"""Of a view in the weight of its sample: the unbiased factor, about the reciprocal, has to be a number."""


@dataclass(frozen=True, eq=False)
class SampleClass:
    """The samples that have the same number of views; rows of their views are contiguous."""

    m: int
    sample_start: int
    sample_stop: int
    row_start: int
    contrast_start: int
    rotation: Array  # (m, m, number of samples): h_c[a] of each sample
    weighted: Array  # h_c[a] sqrt(p_a): the rotation together with P^(1/2)
    factor: float | None  # the unbiased factor of each of its samples, if they agree
    exponents: tuple[int, int] = (0, 0)  # of the largest weights of contrasts: with unbiased factors, and without

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.sample_stop - self.sample_start

    def samples(self) -> slice:
        """Return the places of this class among the samples."""
        return slice(self.sample_start, self.sample_stop)

    def contrasts(self) -> slice:
        """Return the places of this class among the contrasts."""
        return slice(self.contrast_start, self.contrast_start + (self.m - 1) * self.count)

    def rows(self) -> slice:
        """Return the places of this class among the views."""
        return slice(self.row_start, self.row_start + self.m * self.count)


@dataclass(frozen=True, eq=False)
class Strip:
    """Some consecutive samples of one class."""

    sample_class: SampleClass
    sample_start: int
    sample_stop: int
    row_start: int
    row_stop: int


@dataclass(frozen=True, eq=False)
class Samples:
    """Order, weights and rotations of all views: worked out on the host, kept where the data are.

    Attributes
    ----------
    order : (N,) integers
        The views sample by sample, samples with fewer views first: position -> the caller's index.
    weight : (N,) floats
        p, in that order.
    unbiased_factor : (n,) floats
        1 / sum_a q_a sum_{b != a} q_b of each sample; 1 for samples with one view, which have no contrasts.
    labels : (n,) integers
        The caller's index of each sample, in the order used here.
    """

    n: int
    n_views: int
    n_contrasts: int
    order: Array
    weight: Array
    unbiased_factor: Array
    labels: Array
    classes: tuple[SampleClass, ...]
    identity_order: bool
    xp: Any
    tau: ClassVar[float] = 1.0  # no eigenvalue of T is larger
    method: ClassVar[str] = "contrast Cholesky"
    dense: ClassVar[bool] = False  # whether a rotation mixes all points

    @classmethod
    def from_views(cls, n: int, m: int, backend: Backend, weight: np.ndarray | None = None) -> Samples:
        """Group N views into samples of m views each, in order."""
        if weight is not None:
            return cls.from_groups(np.repeat(np.arange(n), m), backend, weight)
        xp = backend.xp  # one sample stands for all, and nothing is sorted
        share = np.full((1, m), 1.0 / m)
        rotation = xp.repeat(xp.asarray(_helmert(share)), n, axis=2)
        factor = m / (m - 1) if m > 1 else 1.0
        only = SampleClass(m, 0, n, 0, 0, rotation, rotation * (1.0 / math.sqrt(n * m)), factor)
        return cls(
            n=n,
            n_views=n * m,
            n_contrasts=n * (m - 1),
            order=xp.arange(n * m),
            weight=xp.full(n * m, 1.0 / (n * m)),
            unbiased_factor=xp.full(n, factor),
            labels=xp.arange(n),
            classes=(only,),
            identity_order=True,
            xp=xp,
        )

    @classmethod
    def from_groups(cls, groups: np.ndarray, backend: Backend, weight: np.ndarray | None = None) -> Samples:
        """Group views by the sample index of each (any order, 0..n-1); ``weight`` (N,), default uniform."""
        xp = backend.xp
        groups = np.asarray(groups)
        n_views = len(groups)
        counts = np.bincount(groups)
        n = len(counts)
        w = np.ones(n_views) if weight is None else np.asarray(weight, float)
        labels = np.argsort(counts, kind="stable")
        place = np.empty(n, np.int64)
        place[labels] = np.arange(n)
        order = np.argsort(place[groups], kind="stable")
        w = w[order]
        p = w / w.sum()
        sizes = counts[labels]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        q = w / np.repeat(np.add.reduceat(w, starts[:-1]), sizes)
        if n and float(q.min()) < _LEAST_SHARE:
            raise ValueError(
                f"sample_weight differs too much within a sample: one view has the share {float(q.min()):.3g} of its "
                f"sample's weight, and less than {_LEAST_SHARE:g} cannot be told from 0; leave such views out"
            )
        factor = np.ones(n)

        classes = []
        contrast = 0
        for m in np.unique(sizes):
            low, high = np.searchsorted(sizes, [m, m + 1])
            part = q[starts[low] : starts[high]].reshape(high - low, m)
            rotation = _helmert(part)
            if m > 1:
                factor[low:high] = 1.0 / (part * _others(part)).sum(axis=1)
            root = np.sqrt(p[starts[low] : starts[high]].reshape(high - low, m)).T
            weighted = rotation * root
            largest = _largest(weighted[1:])
            classes.append(
                SampleClass(
                    int(m),
                    int(low),
                    int(high),
                    int(starts[low]),
                    contrast,
                    xp.asarray(rotation),
                    xp.asarray(weighted),
                    float(factor[low]) if bool((factor[low:high] == factor[low]).all()) else None,
                    (_exponent(largest * np.sqrt(factor[low:high])), _exponent(largest)),
                )
            )
            contrast += int(m - 1) * int(high - low)
        return cls(
            n=n,
            n_views=n_views,
            n_contrasts=contrast,
            order=xp.asarray(order),
            weight=xp.asarray(p),
            unbiased_factor=xp.asarray(factor),
            labels=xp.asarray(labels),
            classes=tuple(classes),
            identity_order=bool((order == np.arange(n_views)).all()),
            xp=xp,
        )

    def unbiased_rotation(self, part: SampleClass) -> Array:
        """Return the rotation of ``part`` and P^(1/2), its contrasts times the roots of the unbiased factors.

        The contrasts of a sample then are of the size of the differences of its views, however unequal their weights.
        """
        rotation = part.weighted.copy()
        rotation[1:] *= self.xp.sqrt(self.unbiased_factor[part.samples()])
        return rotation

    def scaled_rotation(self, part: SampleClass, *, unbiased: bool) -> tuple[Array, int]:
        """Return the rotation of ``part`` with P^(1/2), its contrasts divided by 2^e so that they are near 1, and e.

        Else float32 would round the products of small ones to its subnormal numbers.  Each choice of ``unbiased`` has
        its own e: contrasts of one may vanish beside those of the other.
        """
        rotation = self.unbiased_rotation(part) if unbiased else part.weighted.copy()
        exponent = part.exponents[0 if unbiased else 1]
        if exponent:
            rotation[1:] *= math.ldexp(1.0, -exponent)
        return rotation, exponent

    def strips(self, height: int) -> Iterator[Strip]:
        """Yield strips of at most ``height`` views (at least one sample each), in order."""
        for c in self.classes:
            step = max(1, height // c.m)
            for start in range(c.sample_start, c.sample_stop, step):
                stop = min(start + step, c.sample_stop)
                row = c.row_start + (start - c.sample_start) * c.m
                yield Strip(c, start, stop, row, row + (stop - start) * c.m)

    def contrast_factor(self, unbiased: bool) -> Array:
        """Return beta_i / beta of each contrast: 1, or the unbiased factor of its sample."""
        if not unbiased:
            out: Array = self.xp.ones(self.n_contrasts)
            return out
        parts = [self.xp.repeat(self.unbiased_factor[c.samples()], c.m - 1) for c in self.classes]
        out = self.xp.concatenate(parts)
        return out

    def squared_weights(self) -> Array:
        """Return N sum_a h_a^2 p_a of each row h of the rotations, means first, as a column: what P does to it."""
        xp, total = self.xp, self.n_views
        out: Array = xp.empty((total, 1))
        for part in self.classes:
            shares = self.weight[part.rows()].reshape(part.count, part.m).T
            squares = total * (part.rotation**2 * shares).sum(axis=1)
            out[part.samples(), 0] = squares[0]
            out[self.n :][part.contrasts(), 0] = squares[1:].T.reshape(-1)
        return out

    def rotate(self, v: Array) -> tuple[Array, Array]:
        """Turn v (N, k), in this order, to means (n, k) and contrasts (n_contrasts, k)."""
        xp = self.xp
        u = xp.empty((self.n, v.shape[1]), v.dtype)
        c = xp.empty((self.n_contrasts, v.shape[1]), v.dtype)
        for part in self.classes:
            turned = _turned(part.rotation, v[part.rows()].reshape(part.count, part.m, v.shape[1]), xp)
            u[part.samples()] = turned[:, 0]
            c[part.contrasts()] = turned[:, 1:].reshape(part.count * (part.m - 1), v.shape[1])
        return u, c

    def rotate_back(self, u: Array, c: Array) -> Array:
        """Invert `rotate`: return (N, k)."""
        xp = self.xp
        v: Array = xp.empty((self.n_views, u.shape[1]), u.dtype)
        for part in self.classes:
            turned = xp.concatenate(
                [
                    u[part.samples(), None],
                    c[part.contrasts()].reshape(part.count, part.m - 1, u.shape[1]),
                ],
                axis=1,
            )
            block = _turned(part.rotation.transpose(1, 0, 2), turned, xp)
            v[part.rows()] = block.reshape(part.count * part.m, u.shape[1])
        return v

    def restore_order(self, values: Array) -> Array:
        """Bring rows in this order back to the caller's."""
        if self.identity_order:
            return values
        out: Array = self.xp.empty_like(values)
        out[self.order] = values
        return out


def _turned(rotation: Array, block: Array, xp: Any) -> Array:
    """Multiply the rows (m, k) of each sample of ``block`` (n, m, k) by its rotation (m, m, n)."""
    rotation = rotation.astype(block.dtype, copy=False)
    out: Array
    if len(rotation) > tunables.ROTATION_LOOP_VIEWS:
        out = xp.einsum("cai,iak->ick", rotation, block)
        return out
    out = xp.empty_like(block)
    for c, row in enumerate(rotation):
        total = row[0][:, None] * block[:, 0]
        for a in range(1, len(row)):
            total += row[a][:, None] * block[:, a]
        out[:, c] = total
    return out


def _largest(values: np.ndarray) -> np.ndarray:
    """Return the largest size of the entries (any, any, n) of each sample, without a copy of them."""
    axes = (0, 1)
    out: np.ndarray = np.maximum(values.max(axis=axes, initial=0.0), -values.min(axis=axes, initial=0.0))
    return out


def _exponent(values: np.ndarray) -> int:
    """Return the e with the largest of the absolute values in [2^(e-1), 2^e)."""
    return math.frexp(float(np.abs(values).max(initial=0.0)))[1]


def _others(q: np.ndarray) -> np.ndarray:
    """Sum the other columns of each row, without a difference."""
    none = np.zeros((len(q), 1))
    before = np.cumsum(q[:, :-1], axis=1)
    after = np.cumsum(q[:, :0:-1], axis=1)[:, ::-1]
    out: np.ndarray = np.concatenate([none, before], axis=1) + np.concatenate([after, none], axis=1)
    return out


def _helmert(q: np.ndarray) -> np.ndarray:
    """Make the weighted Helmert matrices, (m, m, n), of the shares q (n, m); see the module's docstring."""
    n, m = q.shape
    h = np.zeros((m, m, n))
    w, root = np.sqrt(q), np.sqrt(np.cumsum(q, axis=1))
    h[0] = w.T
    for c in range(1, m):  # a ratio at a time: no product underflows
        h[c, :c] = ((w[:, :c] / root[:, c - 1 : c]) * (w[:, c] / root[:, c])[:, None]).T
        h[c, c] = -root[:, c - 1] / root[:, c]
    return h
