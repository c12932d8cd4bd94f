"""exp, cos and asin for the tile loops, in a form that LLVM vectorises (a library call does not).

exp(x) = 2^n exp(r), n = round(x / log 2), |r| <= log(2)/2: Cody-Waite reduction in two steps, a
polynomial for exp(r) (near-minimax fit by Chebyshev nodes, relative error 3e-18 and 2e-9), and the
exponent set through the bits.  About 1 ulp.  Results below 1e-307 (1e-37) are flushed to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from .compiling import compiled, generated

__all__ = ["FAST", "arcsine64", "cos2pi32", "cos2pi64", "exp32", "exp64", "rounded", "wide_vectors"]

# No "reassoc": it would cancel the magic-number rounding below.  No "nnan" or "ninf": squared
# distances may overflow to inf, whose exp(-inf) = 0 is the right answer.
FAST = {"contract", "nsz", "arcp"}


def _half_power_of_two(numba_type: Any, llvm_type: Any, bits: int, mantissa: int) -> Callable[[Any], Any]:
    """Return 2^(n-1) from the float that holds n in its low bits (an intrinsic).

    One power less, and a product by 2 afterwards, since n reaches an exponent that no float has.
    Written on LLVM's integers: Numba's own would widen 32 bits to 64.
    """
    integer = ir.IntType(bits)
    bias = (1 << (bits - mantissa - 2)) - 2

    @generated
    def half_power(typingctx: Any, shifted: Any) -> tuple[Any, Callable[..., Any]]:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            n = builder.add(builder.bitcast(args[0], integer), integer(bias))
            return builder.bitcast(builder.shl(n, integer(mantissa)), llvm_type)

        return numba_type(numba_type), codegen

    return half_power


_half_power64 = _half_power_of_two(types.float64, ir.DoubleType(), 64, 52)
_half_power32 = _half_power_of_two(types.float32, ir.FloatType(), 32, 23)


@generated
def wide_vectors(typingctx: Any) -> tuple[Any, Callable[..., Any]]:
    """Mark the function that calls this: use the widest vectors there are, and stay out of line.

    LLVM uses half of AVX-512's width unless a function asks for more; exp takes half the time with all of
    it.  Inlined into a caller without the mark the request would be lost.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # llvmlite's own `add` knows only LLVM's enumerated attributes
        for attribute in ('"prefer-vector-width"="512"', "noinline"):
            set.add(builder.function.attributes, attribute)
        return context.get_dummy_value()

    return types.void(), codegen


@compiled(types.float64(types.float64, types.float64))
def rounded(a: float, b: float) -> float:
    """Return a product that is rounded before it is added to another: it is fused with no addition."""
    return a * b


# Comparisons are written so that NaN passes through them.  Coefficients carry the factor 2 that the half
# power of two lacks.


@compiled(types.float64(types.float64), fastmath=FAST, error_model="numpy")
def exp64(x: float) -> Any:
    """Return the exponential of a float64; see the module's docstring."""
    z = -708.3 if x < -708.3 else x  # there the half power is exactly 0
    z = 710.0 if z > 710.0 else z  # and here the result inf
    # adding 1.5 * 2^52 rounds z / log 2 to an integer and leaves it in the low bits
    shifted = z * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = z - n * 0.6931471787393093
    r = r - n * 1.8206359985041462e-09
    p = 5.0220098409637316e-08
    p = p * r + 5.526530944905558e-07
    p = p * r + 5.511448177445974e-06
    p = p * r + 4.9602970883122626e-05
    p = p * r + 0.00039682539780152806
    p = p * r + 0.0027777777904705724
    p = p * r + 0.016666666666639178
    p = p * r + 0.0833333333329759
    p = p * r + 0.3333333333333336
    p = p * r + 1.0000000000000038
    p = p * r + 2.0
    p = p * r + 2.0
    return p * _half_power64(shifted)


@compiled(types.float32(types.float32), fastmath=FAST, error_model="numpy")
def exp32(x: Any) -> Any:
    """Return the exponential of a float32; see the module's docstring."""
    f = types.float32
    z = f(-87.3) if x < f(-87.3) else x
    z = f(89.0) if z > f(89.0) else z
    shifted = z * f(1.4426950408889634) + f(12582912.0)
    n = shifted - f(12582912.0)
    r = z - n * f(0.693145751953125)
    r = r - n * f(1.428606765330187e-06)
    p = f(0.0027882237791674)
    p = p * r + f(0.016750269549248652)
    p = p * r + f(0.08333270554222442)
    p = p * r + f(0.33332830828082354)
    p = p * r + f(1.0000000094290234)
    p = p * r + f(2.0000000754777428)
    p = p * r + f(2.0)
    return p * _half_power32(shifted)


# cos(2 pi t) for 0 <= t <= 1/2 is -sin(2 pi h), h = t - 1/4, |h| <= 1/4: Taylor's polynomial (whose next term is below
# 2e-18, and 1e-9 in float32), with an absolute error of about 1 ulp of 1.


@compiled(types.float64(types.float64), fastmath=FAST, error_model="numpy")
def cos2pi64(t: float) -> Any:
    """Return cos(2 pi t) of a float64 in [0, 1/2]."""
    h = t - 0.25
    s = h * h
    p = -0.0011309237482517963
    p = p * s + 0.012031585942120627
    p = p * s - 0.10422916220813984
    p = p * s + 0.7181223017785006
    p = p * s - 3.819952584848282
    p = p * s + 15.09464257682299
    p = p * s - 42.058693944897655
    p = p * s + 76.70585975306139
    p = p * s - 81.60524927607506
    p = p * s + 41.34170224039976
    p = p * s - 6.283185307179586
    return p * h


@compiled(types.float32(types.float32), fastmath=FAST, error_model="numpy")
def cos2pi32(t: Any) -> Any:
    """Return cos(2 pi t) of a float32 in [0, 1/2]."""
    f = types.float32
    h = t - f(0.25)
    s = h * h
    p = f(-3.819952584848282)
    p = p * s + f(15.09464257682299)
    p = p * s - f(42.058693944897655)
    p = p * s + f(76.70585975306139)
    p = p * s - f(81.60524927607506)
    p = p * s + f(41.34170224039976)
    p = p * s - f(6.283185307179586)
    return p * h


# asin(z) = z p(z^2) for z^2 <= 1/2: a polynomial through Chebyshev's nodes, relative error 3e-18.


@compiled(types.float64(types.float64), fastmath=FAST, error_model="numpy")
def arcsine64(s: float) -> Any:
    """Return asin(sqrt(s)) / sqrt(s) of a float64 in [0, 1/2]."""
    p = 1.1264192878807509
    p = p * s - 4.438816692066939
    p = p * s + 8.32498352944691
    p = p * s - 9.669659398550623
    p = p * s + 7.768165374555008
    p = p * s - 4.535791802822955
    p = p * s + 2.0016041109291547
    p = p * s - 0.6641236302549411
    p = p * s + 0.1809574620911065
    p = p * s - 0.026316324552338826
    p = p * s + 0.015091795028583365
    p = p * s + 0.01092934906491237
    p = p * s + 0.01401917204006966
    p = p * s + 0.017349310327158196
    p = p * s + 0.022372313172485805
    p = p * s + 0.030381939881673394
    p = p * s + 0.044642857225197834
    p = p * s + 0.07499999999921603
    p = p * s + 0.16666666666666963
    p = p * s + 1.0
    return p
