"""exp for the tile loops, in a form that LLVM vectorises (a library call does not).

exp(x) = 2^n exp(r), n = round(x / log 2), |r| <= log(2)/2: Cody-Waite reduction in two steps, a
polynomial for exp(r) (near-minimax fit by Chebyshev nodes, relative error 3e-18 and 2e-9), and the
exponent set through the bits.  About 1 ulp.  Results below 1e-307 (1e-37) are flushed to 0.
"""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["FAST", "exp32", "exp64"]

# No "reassoc": it would cancel the magic-number rounding below.  No "nnan" or "ninf": squared
# distances may overflow to inf, whose exp(-inf) = 0 is the right answer.
FAST = {"contract", "nsz", "arcp"}


def _half_power_of_two(numba_type, llvm_type, bits, mantissa):
    """An intrinsic: 2^(n-1) from the float that holds n in its low bits.

    One power less, and a product by 2 afterwards, since n reaches an exponent that no float has.
    Written on LLVM's integers: Numba's own would widen 32 bits to 64.
    """
    integer = ir.IntType(bits)
    bias = (1 << (bits - mantissa - 2)) - 2

    @intrinsic
    def half_power(typingctx, shifted):
        def codegen(context, builder, signature, args):
            n = builder.add(builder.bitcast(args[0], integer), integer(bias))
            return builder.bitcast(builder.shl(n, integer(mantissa)), llvm_type)

        return numba_type(numba_type), codegen

    return half_power


_half_power64 = _half_power_of_two(types.float64, ir.DoubleType(), 64, 52)
_half_power32 = _half_power_of_two(types.float32, ir.FloatType(), 32, 23)


@njit(types.float64(types.float64), cache=True, fastmath=FAST, error_model="numpy")
def exp64(x):
    """Exponential of a float64; see the module's docstring."""
    z = min(max(x, -708.0), 710.0)
    # adding 1.5 * 2^52 rounds z / log 2 to an integer and leaves it in the low bits
    shifted = z * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = z - n * 0.6931471787393093
    r = r - n * 1.8206359985041462e-09
    p = 2.5110049204818658e-08
    p = p * r + 2.763265472252779e-07
    p = p * r + 2.755724088722987e-06
    p = p * r + 2.4801485441561313e-05
    p = p * r + 0.00019841269890076403
    p = p * r + 0.0013888888952352863
    p = p * r + 0.008333333333319589
    p = p * r + 0.04166666666648795
    p = p * r + 0.1666666666666668
    p = p * r + 0.5000000000000019
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _half_power64(shifted) * 2.0 if x > -708.0 else (0.0 if x <= -708.0 else x)


@njit(types.float32(types.float32), cache=True, fastmath=FAST, error_model="numpy")
def exp32(x):
    """Exponential of a float32; see the module's docstring."""
    f = types.float32
    z = min(max(x, f(-86.0)), f(89.0))
    shifted = z * f(1.4426950408889634) + f(12582912.0)
    n = shifted - f(12582912.0)
    r = z - n * f(0.693145751953125)
    r = r - n * f(1.428606765330187e-06)
    p = f(0.0013941118895837)
    p = p * r + f(0.008375134774624326)
    p = p * r + f(0.04166635277111221)
    p = p * r + f(0.16666415414041177)
    p = p * r + f(0.5000000047146057)
    p = p * r + f(1.0000000377388714)
    p = p * r + f(1.0)
    return p * _half_power32(shifted) * f(2.0) if x > f(-86.0) else (f(0.0) if x <= f(-86.0) else x)
