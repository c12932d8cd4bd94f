"""The machine's work in a second, measured once in a process when it is first asked for (about a tenth of a second).

Four rates say how long a fit takes: that of matrix products and that of Cholesky factorisations, where arithmetic is
the limit; that of kernel values; and that of copies, the limit of products with few columns, which read a matrix once
for little work.  Measured where the work runs, at the load of the moment: a busy machine promises less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..backends import Backend
from ..gram import gram
from ..kernels import Gaussian

__all__ = ["Rates", "Work", "measured_rates"]


@dataclass(frozen=True)
class Rates:
    """Products and factorisations in flop/s, kernel values in 1/s, copies in bytes (read and written) a second."""

    products: float
    factors: float
    values: float
    copies: float


@dataclass(frozen=True)
class Work:
    """The work of a fit: kernel values, flops of products and of factorisations, and block iterations.

    ``steps_flops`` and ``steps_bytes`` are the arithmetic of all block iterations and the memory that they read: what
    takes longer of the two is their time.
    """

    values: float = 0.0
    products: float = 0.0
    factors: float = 0.0
    steps_flops: float = 0.0
    steps_bytes: float = 0.0

    @property
    def flops(self) -> float:
        """All floating-point operations but those of kernel values."""
        return self.products + self.factors + self.steps_flops

    def seconds(self, rates: Rates) -> float:
        """Return how long that takes at these rates."""
        steps = max(self.steps_flops / rates.products, self.steps_bytes / rates.copies)
        return self.values / rates.values + self.products / rates.products + self.factors / rates.factors + steps


_measured: dict[str, Rates] = {}


def measured_rates(backend: Backend) -> Rates:
    """Return the rates of a backend, in float64; the first call measures them."""
    if backend.NAME not in _measured:
        _measured[backend.NAME] = _measure(backend)
    return _measured[backend.NAME]


def _measure(backend: Backend, n: int = 1024) -> Rates:
    xp = backend.xp
    a = xp.asfortranarray(backend.reference_normals(n, n, 0))
    out = xp.empty_like(a, order="F")
    definite = xp.asfortranarray(backend.matmul(a.T, a)) / n + xp.eye(n)
    points = a[:, :2].copy()
    source = xp.ones(4 * n * n)
    target = xp.empty_like(source)

    def copy() -> Any:
        target[...] = source
        return target

    return Rates(
        products=2.0 * n**3 / _best(lambda: backend.matmul(a, a, out=out), backend),
        factors=n**3 / 3 / _best(lambda: backend.cholesky(definite.copy(order="F")), backend),
        values=0.5 * n**2 / _best(lambda: gram(Gaussian(1.0), points), backend),
        copies=2.0 * source.nbytes / _best(copy, backend),
    )


def _best(call: Callable[[], Any], backend: Backend, repeat: int = 3) -> float:
    """Return the best time of a call, after one that loads code and pages memory in."""

    def finish(result: Any) -> None:
        if hasattr(result, "shape"):  # a device works on until something is read
            backend.to_host(result[:1])

    finish(call())
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        finish(call())
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)
