"""Counter-based random numbers: Philox4x32-10 and Box-Muller, by bit steps and ``+ - * / sqrt`` only.

Every draw is a function of a 64-bit key and a 128-bit counter (Salmon, Moraes, Dror and Shaw, *Parallel
random numbers: as easy as 1, 2, 3*, SC 2011), so it does not matter who makes it, or when.

**Layout.**  Written down here only; every backend reproduces it to the bit.

======  ===================================================================================
word    content
======  ===================================================================================
key 0   low 32 bits of the seed
key 1   high 32 bits of the seed
c0      draw block b within the view; it gives four words, on the lanes 0 to 3
c1      view index
c2      low 32 bits of the sample index
c3      bits 0-23: high 24 bits of the sample index; bits 24-31: place in a flattened Compose
======  ===================================================================================

Where each coordinate needs a draw, coordinate j of d takes block ``j % B``, lane ``j // B``, with
``B = ceil(d / 4)``: neighbouring coordinates come from neighbouring blocks, which suits vector units and
warps alike.  Where a view needs up to four draws once, they are the words of block 0, in the order in which
the law of the augmentation names them; where it needs both, those of block B, or what the law says.  Where it
needs a few normals, number i is on lane ``i % 4`` of block ``i // 4`` (of the blocks of its channel, in laws of
series).  A choice among several (a shift, a part of a mixture) takes one word w: the first whose cumulated
probability P has ``w < round(2^32 P)``.

**From words to numbers.**  A uniform is ``(w + 1/2) 2^-32``, exact in float64 and inside (0, 1); an event of
probability p is ``w < round(2^32 p)``.  Normals come in pairs, from the words u, v of lanes (0, 1) and (2, 3):
``r = sqrt(-2 log((u + 1/2) 2^-32))`` and ``x = ((v mod 2^30) - 2^29 + 1/2) 2 pi 2^-32``, in (-pi/4, pi/4), give
``(r cos x, r sin x)``, exchanged where bit 30 of v is set, both negated where bit 31 is: Box and Muller with a
quarter of the circle.  |z| <= 6.77, which a true normal exceeds with probability 1.3e-11.

Nothing here may be compiled with ``fastmath``, for a fused multiply-add changes bits.  The same expressions
in C++ give the same bits under ``-ffp-contract=off``, in CUDA under ``--fmad=false``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import types

from ...tunables import CPU_DRAW_BLOCKS as TILE
from ..contract import Array, Matrix
from ..stages import REFERENCE_SEED
from .compiling import compiled, generated

__all__ = [
    "LANES",
    "TILE",
    "Stream",
    "Tile",
    "Words",
    "add_normals",
    "cos_sin",
    "draw",
    "exp2",
    "inline",
    "kernel",
    "key_of_seed",
    "minus_two_log",
    "n_blocks",
    "n_lanes",
    "n_tiles",
    "normal_pair",
    "normals_for",
    "philox",
    "reference_normals",
    "rows_of_views",
    "tile_of",
    "uniform",
    "words_of_block",
    "words_of_view",
]

# Division by zero raises an exception in Numba's Python error model, and the test for it stops LLVM from
# vectorising; so does a call that is not inlined.
kernel = compiled(nogil=True, error_model="numpy")
inline = compiled(nogil=True, error_model="numpy", forceinline=True)

LANES = 4

# Numba turns a mixture of uint64 and int64 into float64, so every integer constant is a uint64.
_1, _24, _30, _32, _52 = (np.uint64(i) for i in (1, 24, 30, 32, 52))
_MASK, _QUARTER, _SIGN = np.uint64(2**32 - 1), np.uint64(2**30 - 1), np.uint64(2**63)


class Stream(NamedTuple):
    """The counter and key from which a stage of a pipeline takes its draws."""

    stage: int  # its place in the pipeline
    k0: np.uint64  # the key
    k1: np.uint64


class Tile(NamedTuple):
    """Some draw blocks of some rows."""

    row: int  # the first row
    height: int  # how many
    block: int  # the first draw block
    width: int  # how many


Words: TypeAlias = tuple[Any, Any, Any, Any]
"""The four words of a draw block, uint64 each."""


# ---------------------------------------------------------------- Philox4x32-10

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@inline
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Words:
    """Return four words for the counter (c0, c1, c2, c3) and the key (k0, k1); all of them uint64 below 2^32."""
    for _ in range(10):
        # high halves are left dirty: the product of two masked words is one 32-bit vector multiplication
        p0 = _M0 * (c0 & _MASK)
        p1 = _M1 * (c2 & _MASK)
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1, (p0 >> _32) ^ c3 ^ k1, p0
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0 & _MASK, c1 & _MASK, c2 & _MASK, c3 & _MASK


def key_of_seed(seed: int) -> tuple[np.uint64, np.uint64]:
    """Return the two key words of a seed in [0, 2^64)."""
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


@inline
def _high_word(sample: int, stage: int) -> Any:
    return (np.uint64(sample) >> _32) | (np.uint64(stage) << _24)


@inline
def words_of_block(block: int, sample: int, view: int, stream: Stream) -> Words:
    """Return the four words of one block."""
    low = np.uint64(sample) & _MASK
    return philox(np.uint64(block), np.uint64(view), low, _high_word(sample, stream.stage), stream.k0, stream.k1)


@inline
def words_of_view(sample: int, view: int, stream: Stream) -> Words:
    """Return the four words of block 0, for the draws that a view needs once."""
    return words_of_block(0, sample, view, stream)


# ---------------------------------------------------------------- tiles of draw blocks
# A stage works on some or all rows of an array, a view each.  ``rows`` (3, number) tells for each of them the place in
# the array, the sample and the view.


@kernel
def rows_of_views(n: int, n_views: int, first: int) -> Matrix:
    """Return all rows of an array of views of the samples first, ..., first + n - 1, one sample after the other."""
    rows = np.empty((3, n * n_views), np.int64)
    r = 0
    for i in range(n):
        for v in range(n_views):
            rows[0, r], rows[1, r], rows[2, r] = r, first + i, v
            r += 1
    return rows


@inline
def n_blocks(d: int) -> int:
    """Count the draw blocks B of a view of d coordinates."""
    return (d + LANES - 1) // LANES


@inline
def n_lanes(d: int) -> int:
    """Count the lanes in use: 4 unless d is 1, 2, 3, 5, 6 or 9."""
    blocks = n_blocks(d)
    return (d + blocks - 1) // blocks


@inline
def _tile_shape(blocks: int) -> tuple[int, int]:
    width = min(blocks, TILE)
    return TILE // width, width


@inline
def n_tiles(rows: int, blocks: int) -> int:
    """Count the tiles, at most ``TILE`` draw blocks each, that cover rows x blocks."""
    height, width = _tile_shape(blocks)
    return ((rows + height - 1) // height) * ((blocks + width - 1) // width)


@inline
def tile_of(number: int, rows: int, blocks: int) -> Tile:
    """Return the tile with this number among those of `n_tiles`."""
    height, width = _tile_shape(blocks)
    across = (blocks + width - 1) // width
    row, block = (number // across) * height, (number % across) * width
    return Tile(row, min(height, rows - row), block, min(width, blocks - block))


@kernel
def draw(words: Matrix, rows: Matrix, tile: Tile, stream: Stream) -> None:
    """Fill ``words[:, i * width + j]`` with the words of block ``block + j`` of row ``row + i`` of the tile."""
    row, height, block, width = tile
    for i in range(height):
        sample, view = rows[1, row + i], rows[2, row + i]
        low, high = np.uint32(np.uint64(sample) & _MASK), np.uint32(_high_word(sample, stream.stage))
        for j in range(width):
            words[0, i * width + j] = block + j
            words[1, i * width + j] = view
            words[2, i * width + j] = low
            words[3, i * width + j] = high
    c0, c1, c2, c3 = words[0], words[1], words[2], words[3]
    for t in range(height * width):
        c0[t], c1[t], c2[t], c3[t] = philox(
            np.uint64(c0[t]), np.uint64(c1[t]), np.uint64(c2[t]), np.uint64(c3[t]), stream.k0, stream.k1
        )


# ---------------------------------------------------------------- elementary functions, branch-free


@generated
def _bits(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.uint64))

    return types.uint64(types.float64), codegen


@generated
def _float(typingctx: Any, x: Any) -> tuple[Any, Callable[..., Any]]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.uint64), codegen


# For 0 <= i < 2^52, the float64 with bits _I | i is 2^52 + i: conversions without an instruction for them.
_I = np.uint64(0x4330000000000000)
_2_52 = 2.0**52
# Adding this to |x| < 2^50 rounds x to the nearest integer, which is then in the low bits.
_ROUND = 1.5 * _2_52

_SQRT_HALF = np.uint64(0x3FE6A09E667F3BCD)
_EXPONENT = np.uint64(0xFFF0000000000000)
_2_LN2 = 2.0 * math.log(2.0)
_2PI = 2.0 * math.pi

# Minimax coefficients of fdlibm (Sun Microsystems, 1993): __ieee754_log (doubled), __kernel_sin, __kernel_cos
_L1, _L2, _L3, _L4, _L5, _L6, _L7 = (
    2.0 * c
    for c in (
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    )
)
_S1, _S2, _S3, _S4, _S5, _S6 = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_C1, _C2, _C3, _C4, _C5, _C6 = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)


@inline
def _float_of(i: Any) -> Any:
    return _float(i | _I) - _2_52


@inline
def uniform(w: Any) -> Any:
    """Return ``(w + 1/2) 2^-32``, in (0, 1), for a word w as uint64."""
    return (_float_of(w) + 0.5) * 2.0**-32


@inline
def minus_two_log(w: Any) -> Any:
    """Return ``-2 log((w + 1/2) 2^-32)`` within 2 ulp, everywhere: no cancellation near 1."""
    v = _bits(_float_of(w + w + _1))  # odd integer below 2^33: v = m 2^e with m in [sqrt(1/2), sqrt(2))
    t = v - _SQRT_HALF
    m = _float(v - (t & _EXPONENT))
    k = (33.0 + _2_52) - _float((t >> _52) | _I)  # 33 - e
    f = m - 1.0
    s = f / (m + 1.0)
    z = s * s
    h = f * f
    r = z * (_L1 + z * (_L2 + z * (_L3 + z * (_L4 + z * (_L5 + z * (_L6 + z * _L7))))))
    return k * _2_LN2 + ((h - s * (h + r)) - (f + f))


@inline
def _cos_sin_quarter(x: float) -> tuple[float, float]:
    """Return (cos x, sin x) within 1 ulp for |x| <= pi/4."""
    z = x * x
    cos = 1.0 + z * (-0.5 + z * (_C1 + z * (_C2 + z * (_C3 + z * (_C4 + z * (_C5 + z * _C6))))))
    sin = x + x * (z * (_S1 + z * (_S2 + z * (_S3 + z * (_S4 + z * (_S5 + z * _S6))))))
    return cos, sin


@inline
def cos_sin(turns: float) -> tuple[float, float]:
    """Return (cos, sin) of 2 pi turns, for |turns| <= 1; exact at multiples of a quarter turn."""
    shifted = 4.0 * turns + _ROUND
    cos, sin = _cos_sin_quarter((turns - 0.25 * (shifted - _ROUND)) * _2PI)
    quadrant = _bits(shifted) & np.uint64(3)
    if quadrant & _1:
        cos, sin = -sin, cos
    return (-cos, -sin) if quadrant >> _1 else (cos, sin)


@inline
def exp2(t: float) -> Any:
    """Return 2^t within 2 ulp for |t| < 1000."""
    k = (t + _ROUND) - _ROUND
    r = (t - k) * 0.6931471805599453
    e = 1.0
    for i in range(14, 0, -1):
        e = 1.0 + e * r / i
    return e * _float(np.uint64(np.int64(k) + 1023) << _52)


# ---------------------------------------------------------------- normals


@inline
def normal_pair(u: Any, v: Any) -> tuple[Any, Any]:
    """Make a pair of standard normals from a pair of words, uint64 each."""
    x = (_float_of(v & _QUARTER) - (2.0**29 - 0.5)) * (_2PI * 2.0**-32)
    r = np.sqrt(minus_two_log(u))
    r = _float(_bits(r) | ((v << _32) & _SIGN))
    cos, sin = _cos_sin_quarter(x)
    exchanged = (v >> _30) & _1
    return r * (sin if exchanged else cos), r * (cos if exchanged else sin)


@kernel
def _box_muller(u: Array, v: Array, a: Array, b: Array) -> None:
    """Make pairs (a, b) of standard normals from pairs (u, v) of words; LLVM vectorises the loop."""
    for i in range(u.size):
        a[i], b[i] = normal_pair(np.uint64(u[i]), np.uint64(v[i]))


@inline
def _add_scaled(y: Array, z: Array, scale: float) -> None:
    for j in range(y.size):
        y[j] += scale * z[j]  # in float64, rounded once to the type of y


@kernel
def add_normals(views: Matrix, rows: Matrix, stream: Stream, scale: float) -> None:
    """Add ``scale`` times standard normals to ``rows`` of ``views`` (number, d), in place."""
    d, blocks, count = views.shape[1], n_blocks(views.shape[1]), rows.shape[1]
    words, z = np.empty((LANES, TILE), np.uint32), np.empty((LANES, TILE))
    for number in range(n_tiles(count, blocks)):
        tile = tile_of(number, count, blocks)
        draw(words, rows, tile, stream)
        row, height, block, width = tile
        t = height * width
        _box_muller(words[0, :t], words[1, :t], z[0, :t], z[1, :t])
        if n_lanes(d) > 2:
            _box_muller(words[2, :t], words[3, :t], z[2, :t], z[3, :t])
        for i in range(height):
            view = views[rows[0, row + i]]
            for lane in range(n_lanes(d)):
                start = lane * blocks + block
                _add_scaled(view[start : start + width], z[lane, i * width :], scale)


@kernel
def normals_for(rows: Matrix, d: int, stream: Stream) -> Matrix:
    """Make standard normals (number, d) for ``rows``, in their order."""
    own, normals = rows.copy(), np.zeros((rows.shape[1], d))
    for i in range(own.shape[1]):
        own[0, i] = i
    add_normals(normals, own, stream, 1.0)
    return normals


_REFERENCE = Stream(0, *key_of_seed(REFERENCE_SEED))


def reference_normals(n: int, columns: int, stream: int) -> Matrix:
    """Return standard normals (n, columns) in float64, the same in every run: start vectors.

    Row i does not depend on n; ``stream`` in [0, 2^24) selects independent tables.
    """
    z = np.zeros((n, columns))
    add_normals(z, rows_of_views(n, 1, stream << 32), _REFERENCE, 1.0)
    return z
