"""Ramanujan sums: how often a character occurs among the functions of a cyclic group, counted in integers."""

from __future__ import annotations

import functools
import math

__all__ = ["ramanujan_sum"]


def ramanujan_sum(n: int, frequency: int) -> int:
    """Return the sum of exp(-2 pi i k w/n) over the k in 1..n that have no factor in common with n, w = ``frequency``.

    It is the sum of moebius(n/g) g over the common divisors g of n and w.
    """
    common = math.gcd(n, frequency)
    return sum(_moebius(n // g) * g for g in range(1, common + 1) if common % g == 0)


@functools.cache
def _moebius(n: int) -> int:
    sign, p = 1, 2
    while p * p <= n:
        if n % p == 0:
            n //= p
            if n % p == 0:
                return 0
            sign = -sign
        p += 1
    return -sign if n > 1 else sign
