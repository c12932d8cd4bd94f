"""The nugget: white noise as a kernel of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, namespace
from ..backends import Backend
from ..declarations.parameters import positive
from ._base import Kernel, registry
from ._cosines import check_profile, functions_of
from ._rows import Needs, Rows

__all__ = ["Nugget"]


@dataclass(frozen=True)
class Nugget(Kernel):
    r"""Kernel of white noise, k(x, y) = variance if x and y are the same point, else 0.

    Added to another kernel it is the "nugget" of geostatistics (Rasmussen and Williams 2006, section 2.3): of distinct
    points, ``kernel + Nugget(s)`` has the Gram matrix K + s I.

    Parameters
    ----------
    variance : float
        The value at equal points; > 0.

    Notes
    -----
    Points are the same if all their coordinates are equal as numbers: "equal" is an equivalence relation, so the kernel
    is positive semi-definite on any points.  Views that coincide share their noise, as values of a function of x must:
    there the Gram matrix is not K + s I (which would be noise of the rows of a matrix, and have no value at a point).

    Away from the training views the kernel vanishes, and so does its part of a fitted function: `transform` of new
    points gives the smooth part, that of the training views themselves includes the noise.  A point that was rounded
    in between (to float32, say) is a new point.  On the sphere, the torus and Gaussian space its integral operator is
    zero; on the cube all its eigenvalues are variance / 2^d.

    Examples
    --------
    >>> from sslcore.kernels import Gaussian, Nugget
    >>> (Gaussian(1.0) + Nugget(0.5))([[0.0], [1.0], [0.0]]).round(4)
    array([[1.5   , 0.6065, 1.5   ],
           [0.6065, 1.5   , 0.6065],
           [1.5   , 0.6065, 1.5   ]])
    """

    variance: float = positive("the value at equal points")

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`."""
        return _EqualRows(self.variance, y, _fingerprints_apart(y), backend)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: fingerprints of the points are kept; a block says which pairs are equal."""
        size = itemsize * d + 32
        return Needs(preparing=size * n, kept=16 * n, row=size, blocks=2)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate as in `Kernel.profile`: the variance where u is 1."""
        check_profile(u, width, squared_norm)
        number = getattr(functions_of(u), "mpf", np.float64)
        return np.where(u >= 1, self.variance, 0.0) if np.ndim(u) else number(self.variance if u >= 1 else 0)


registry["Nugget"] = Nugget

_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Odd multipliers of SplitMix64 (Steele, Lea and Flood 2014)."""


def _fingerprints(x: Array, salt: int) -> Array:
    """Make a number of 64 bits of each point: equal for equal points, and hardly ever for others."""
    xp = namespace(x)
    wide = x.dtype.itemsize == 8
    bits = xp.ascontiguousarray(x + x.dtype.type(0)).view(xp.uint64 if wide else xp.uint32)  # -0.0 becomes 0.0
    found: Array = xp.full(len(x), salt, xp.uint64)
    shift = xp.uint64(32)
    for c in range(x.shape[1]):
        found ^= bits[:, c]
        found *= xp.uint64(_ODD[1])
        found ^= found >> shift
        found *= xp.uint64(_ODD[2])
        found ^= found >> shift
    return found


def _fingerprints_apart(y: Array) -> tuple[Array, int]:
    """Make `_fingerprints` that differ wherever the points do, and return the salt too."""
    xp = namespace(y)
    salt = 0
    while True:
        found = _fingerprints(y, salt)
        order = xp.argsort(found)
        ordered = found[order]
        same = xp.nonzero(ordered[1:] == ordered[:-1])[0]
        if bool((y[order[same]] == y[order[same + 1]]).all()):
            return found, salt
        salt = (salt + _ODD[0]) % 2**64


@dataclass(frozen=True)
class _EqualRows(Rows):
    """Rows of a `Nugget`, by fingerprints of the points."""

    variance: float
    y: Array
    known: tuple[Array, int]
    backend: Backend

    def fill(self, x: Array, first: int, out: Array) -> None:
        """Fill as in `Rows.fill`; one point of equal ones among y says whether x_i is that point indeed."""
        xp, (known, salt) = self.backend.xp, self.known
        here = slice(first, first + out.shape[1])
        equal = _fingerprints(x, salt)[:, None] == known[None, here]
        if not out.size:
            return
        one = equal.argmax(axis=1)
        equal &= (x == self.y[here][one]).all(axis=1)[:, None]
        xp.multiply(equal, out.dtype.type(self.variance), out=out)
