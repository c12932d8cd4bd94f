"""Kernels of the angle of two points and of their lengths, over tiles of a Gram matrix: networks of rectifiers.

The recursion of `sslcore.kernels.NNGP` and `NTK` on versines v = 1 - cos(angle), in which nothing cancels:

    kappa0 = 1 - angle / pi,    1 - kappa1 = v - (sin - angle cos) / pi  (up to its sign, when an angle is rounding).

With a the variance of the biases, g half that of the weights, r and s the norms of x and y in this layer times sqrt(g),
R^2 = a + r^2 and S^2 = a + s^2 those of the next one, the next versine is

    (a (r - s)^2 / (R S + a + r s) + r s (1 - kappa1)) / (R S),    since (R S)^2 = (a + r s)^2 + a (r - s)^2.

Obtuse angles, of the first layer only as kappa1 >= 0, are told by their supplements.  All in float64, whatever the
points: an epilogue of matrix products that keeps one unit of rounding through any number of layers.

Of a sum of two products either may be fused with the addition, and the compiler's choice is not the same in the code of
a function and in its copy in a caller's: where there is such a sum one of the products is `rounded` for itself, so
that a process that compiles and one that reads the cache have the same bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...tunables import CPU_TILE_COLUMNS as TILE
from ..contract import Array, Matrix
from .compiling import compiled
from .elementary import FAST, arcsine64, rounded, wide_vectors
from .pairs import _row

__all__ = ["Rays", "Recursion", "angle_strip"]

_TINY = 1e-35
"""Supplement of an angle of pi: its sign must not be lost."""


class Rays(NamedTuple):
    """Points as directions and lengths."""

    directions: Matrix  # unit vectors, (n, d)
    lengths: Matrix  # norms in each layer times sqrt(g), (layers, of all points): a part would have another layout,
    first: int  # for which all would be compiled once more; the n points begin here


class Recursion(NamedTuple):
    """The recursion that a kernel runs on an angle."""

    kind: int  # one of `_RECURSIONS` of gram.py
    a: float  # variance of the biases
    g: float  # half that of the weights


class _Norms(NamedTuple):
    """Norms in one layer, times sqrt(g), of a point of x and of several of y."""

    r: float
    s: Array


@compiled(nogil=True, fastmath=FAST)
def _versines(cosine: Array, near: float, out: Array) -> int:
    """Set out[j] = 1 - cos of an acute angle, -(1 + cos) of an obtuse one; return how many are at most ``near``."""
    wide_vectors()
    count = 0
    for j in range(out.size):
        u = np.float64(cosine[j])
        v = max(1.0 - abs(u), 0.0)
        count += 1 if v <= near else 0
        out[j] = v if u >= 0.0 else -v - _TINY
    return count


@compiled(nogil=True, fastmath=FAST | {"reassoc"})
def _chord(x: Array, y: Array, sign: float) -> float:
    """Return half of |x - sign y|^2."""
    wide_vectors()
    total = 0.0
    for c in range(x.size):
        difference = np.float64(x[c]) - sign * np.float64(y[c])
        total += difference * difference
    return 0.5 * total


@compiled(nogil=True, fastmath=FAST)
def _kappas(v: float) -> tuple[float, float, float]:
    """Return kappa0, kappa1 and 1 - kappa1 of a versine."""
    m = abs(v)
    c = 1.0 - m
    angle = 2.0 * math.sqrt(0.5 * m) * arcsine64(0.5 * m)
    bulge = (math.sqrt(m * (2.0 - m)) - angle * c) * (1.0 / math.pi)
    turn = angle * (1.0 / math.pi)
    acute = v >= 0.0
    return 1.0 - turn if acute else turn, c + bulge if acute else bulge, abs(m - bulge) if acute else 1.0 - bulge


@compiled(nogil=True, fastmath=FAST)
def _step(v: Array, out: Array) -> None:
    wide_vectors()
    for j in range(v.size):
        out[j] = _kappas(v[j])[0]


@compiled(nogil=True, fastmath=FAST)
def _quadratic(here: _Norms, v: Array, out: Array) -> None:
    r, s = here
    wide_vectors()
    for j in range(v.size):
        m = abs(v[j])
        c = 1.0 - m
        angle = 2.0 * math.sqrt(0.5 * m) * arcsine64(0.5 * m)
        twice = 1.0 + 2.0 * c * c
        bulge = (3.0 * math.sqrt(m * (2.0 - m)) * c - rounded(angle, twice)) * (1.0 / math.pi)
        out[j] = (r * s[j]) * (r * s[j]) * (twice + bulge if v[j] >= 0.0 else -bulge)


@compiled(nogil=True, fastmath=FAST)
def _hidden(recursion: Recursion, here: _Norms, after: _Norms, v: Array) -> None:
    """Replace v, the versines before a layer, by those after it, where the norms are ``after``."""
    _, a, g = recursion
    r, s = here
    next_r, next_s = after
    wide_vectors()
    if a == 0.0:
        for j in range(v.size):
            v[j] = _kappas(v[j])[2]
    else:
        for j in range(v.size):
            product = r * s[j]
            norms = next_r * next_s[j] / g
            gap = r - s[j]
            v[j] = (a * gap * gap / (norms + a + product) + rounded(product, _kappas(v[j])[2])) / norms


@compiled(nogil=True, fastmath=FAST)
def _covariance(a: float, here: _Norms, v: Array, out: Array) -> None:
    r, s = here
    wide_vectors()
    for j in range(v.size):
        out[j] = a + r * s[j] * _kappas(v[j])[1]


@compiled(nogil=True, fastmath=FAST)
def _inputs(here: _Norms, v: Array, tangent: Array) -> None:
    """Set tangent to g times the covariance of the inputs."""
    r, s = here
    wide_vectors()
    for j in range(v.size):
        tangent[j] = r * s[j] * (1.0 - v[j] if v[j] >= 0.0 else -1.0 - v[j])


@compiled(nogil=True, fastmath=FAST)
def _add_layer(recursion: Recursion, here: _Norms, after: _Norms, v: Array, tangent: Array) -> None:
    """Set tangent to g (covariance after the layer + tangent kappa0), and v to the versines after it."""
    _, a, g = recursion
    r, s = here
    next_r, next_s = after
    wide_vectors()
    if a == 0.0:
        for j in range(v.size):
            kappa0, kappa1, rest = _kappas(v[j])
            tangent[j] = g * (r * s[j] * kappa1 + rounded(tangent[j], kappa0))
            v[j] = rest
    else:
        for j in range(v.size):
            kappa0, kappa1, rest = _kappas(v[j])
            product = r * s[j]
            tangent[j] = g * (a + product * kappa1 + rounded(tangent[j], kappa0))
            norms = next_r * next_s[j] / g
            gap = r - s[j]
            v[j] = (a * gap * gap / (norms + a + product) + rounded(product, rest)) / norms


@compiled(nogil=True, fastmath=FAST)
def _tangent(a: float, here: _Norms, v: Array, tangent: Array, out: Array) -> None:
    """Set out to the tangent after the last layer."""
    r, s = here
    wide_vectors()
    for j in range(v.size):
        kappa0, kappa1, _ = _kappas(v[j])
        out[j] = a + r * s[j] * kappa1 + rounded(tangent[j], kappa0)


@compiled(nogil=True)
def _norms(x: Rays, y: Rays, layer: int, i: int, j0: int, j1: int) -> _Norms:
    return _Norms(x.lengths[layer, x.first + i], y.lengths[layer, y.first + j0 : y.first + j1])


@compiled(nogil=True)
def angle_strip(x: Rays, y: Rays, near: float, recursion: Recursion, out: Matrix) -> None:
    """Turn products out[i, j] = <x_i, y_j> of unit vectors into values of the kernel.

    Versines up to ``near``, which rounding of products may change too much, are half the squared distance of the
    unit vectors, or of one and the other's opposite.
    """
    rows, columns = out.shape
    last = x.lengths.shape[0] - 1
    versines, tangents = np.empty(TILE), np.empty(TILE)
    for j0 in range(0, columns, TILE):
        j1 = min(j0 + TILE, columns)
        v, tangent = versines[: j1 - j0], tangents[: j1 - j0]
        for i in range(rows):
            row = _row(out, i, j0, j1)
            if _versines(row, near, v):
                for j in range(v.size):
                    if abs(v[j]) <= near + _TINY:
                        if v[j] >= 0.0:
                            v[j] = _chord(x.directions[i], y.directions[j0 + j], 1.0)
                        else:
                            v[j] = -_chord(x.directions[i], y.directions[j0 + j], -1.0) - _TINY
            if recursion.kind == 0:
                _step(v, row)
            elif recursion.kind == 1:
                _quadratic(_norms(x, y, 0, i, j0, j1), v, row)
            elif recursion.kind == 2:
                for layer in range(last):
                    after = _norms(x, y, layer + 1, i, j0, j1)
                    _hidden(recursion, _norms(x, y, layer, i, j0, j1), after, v)
                _covariance(recursion.a, _norms(x, y, last, i, j0, j1), v, row)
            else:
                _inputs(_norms(x, y, 0, i, j0, j1), v, tangent)
                for layer in range(last):
                    after = _norms(x, y, layer + 1, i, j0, j1)
                    _add_layer(recursion, _norms(x, y, layer, i, j0, j1), after, v, tangent)
                _tangent(recursion.a, _norms(x, y, last, i, j0, j1), v, tangent, row)
