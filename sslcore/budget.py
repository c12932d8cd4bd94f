"""How much memory a computation needs, said before anything is allocated.

>>> import sslcore
>>> plan = sslcore.plan(10_000, 2, 32, sslcore.kernels.Gaussian(1.0), 16)
>>> plan.algorithm, round(plan.bytes / 1e9, 1)
('exact', 2.5)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .arrays import as_float_dtype, check_integer
from .backends.machine import free_memory
from .errors import MemoryBudgetError
from .features import Features
from .kernels import as_kernel

__all__ = ["Plan", "exact_plan", "features_plan", "fitting_rows", "memory_budget", "plan"]

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Plan:
    """What a fit will take.

    Attributes
    ----------
    algorithm : {"exact", "features"}
    bytes : int
        Peak memory besides the data handed over.
    flops : float
        Floating-point operations of the leading terms.
    advice : str
        What to change if that is too much.

    Examples
    --------
    >>> import sslcore
    >>> plan = sslcore.plan(10**6, 2, 32, sslcore.features.Nystrom(sslcore.kernels.Gaussian(1.0), 1024), 16)
    >>> plan.algorithm, plan.bytes < 1e9
    ('features', True)
    """

    algorithm: str
    bytes: int
    flops: float
    advice: str
    alternatives: tuple[tuple[int, int], ...] = field(default=(), repr=False)  # numbers of features, and bytes

    def require(self, budget: int) -> None:
        """Raise `MemoryBudgetError`, with the numbers, if the plan exceeds ``budget`` bytes."""
        if self.bytes > budget:
            fitting = [r for r, size in self.alternatives if size <= budget]
            option = f"use features, such as sslcore.features.Nystrom(kernel, {fitting[0]}), or " if fitting else ""
            raise MemoryBudgetError(
                f"this {self.algorithm} fit needs {_show(self.bytes)} of memory, the budget is {_show(budget)} "
                f"(nothing was allocated); {option}{self.advice}"
            )


def plan(
    n: int, n_views: int, d: int, model: Any, n_components: int, dtype: Any = "float64", memory: int | str | None = None
) -> Plan:
    """Predict the memory and the work of `sslcore.pretrain`, and check them against a budget.

    Parameters
    ----------
    n, n_views, d : int
        Samples, views of each, coordinates of a view.
    model : kernel or features
        As for `sslcore.pretrain`.
    n_components : int
    dtype : dtype
        Of the views.
    memory : int or str, optional
        Budget in bytes, or as "8GB"; by default what the machine has left.

    Returns
    -------
    Plan

    Raises
    ------
    MemoryBudgetError
        If the fit would not keep the budget.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.plan(1000, 2, 8, sslcore.kernels.Gaussian(1.0), 4).algorithm
    'exact'
    """
    n = check_integer(n, "n", minimum=1)
    m = check_integer(n_views, "n_views", minimum=1)
    d = check_integer(d, "d", minimum=1)
    k = check_integer(n_components, "n_components", minimum=1)
    itemsize = as_float_dtype(dtype, "dtype").itemsize
    budget = memory_budget(memory)
    if isinstance(model, Features):
        result = features_plan(model.n_features(d), d, k, itemsize, n * m)
    else:
        result = exact_plan(n, n * (m - 1), d, k, itemsize, checked=not as_kernel(model).trusted)
    result.require(budget)
    return result


def exact_plan(
    n: int,
    n_contrasts: int,
    d: int,
    k: int,
    itemsize: int,
    *,
    checked: bool,
    block_factor: int = 1,
    n_points: int = 1,
) -> Plan:
    """The plan of the exact solver: blocks A, B, C; the Krylov basis; copies of the views; one block of K.

    A path of ``n_points`` keeps coefficients, values and eigenvectors of each point.
    """
    total = n + n_contrasts
    width = block_width(k, total)
    rotated = n * n + n * n_contrasts + n_contrasts * n_contrasts
    work = total * (krylov_capacity(width, total) + 6 * width + 3 * d) + min(total * total, block_factor * (8 << 20))
    work += 3 * total * k * (n_points - 1)
    check = total * total if checked else 0
    flops = n_points * (n_contrasts**3 / 3 + total**2 * 10 * 2 * width) + total**2 * d
    flops += total**3 / 3 if checked else 0
    sizes = [r for r in (1024 >> i for i in range(8)) if k <= r <= total]
    alternatives = tuple((r, features_plan(r, d, k, itemsize, total).bytes) for r in sizes)
    return Plan("exact", int((rotated + work + check) * itemsize), float(flops), "use fewer samples", alternatives)


def features_plan(
    r: int, d: int, k: int, itemsize: int, n_views: int, rows: int | None = None, n_points: int = 1
) -> Plan:
    """The plan of the feature solver: two moments and their factors, blocks of ``rows`` views and features.

    A path of ``n_points`` also takes the eigenbasis of Delta, and keeps the coefficients of each point.
    """
    rows = min(n_views, rows or feature_rows(r, d))
    moments = 8 * 8 * r * r
    blocks = itemsize * rows * (4 * r + 3 * d)
    flops = n_views * (2.0 * r * d + 2.0 * r * r) + 10.0 * r**3
    if n_points > 1:
        moments += 8 * (2 * r * r + 3 * n_points * r * k)
        flops += 10.0 * r**3 + n_points * 40.0 * r * r * block_width(k, r)
    return Plan("features", int(moments + blocks), flops, f"use fewer features than {r}")


def feature_rows(r: int, d: int) -> int:
    """Views per block of the feature solver, about 128 MB of features.

    Large, because the threads of BLAS wait busily for some 30 ms after a product, in the way of our own tile loops:
    every change from one to the other costs that much on a machine whose cores are all in use.
    """
    return int(min(16384, max(256, (128 << 20) // (8 * max(r, d)))))


def fitting_rows(rows: int, r: int, d: int, itemsize: int, n_views: int, budget: int | None, engine: ModuleType) -> int:
    """``rows`` on a CPU; up to four times as many on a GPU, which has no such cache, as long as the budget is kept."""
    if engine.BLOCK_FACTOR == 1:
        return rows
    budget = memory_budget(None, engine) if budget is None else budget
    factors = [f for f in (4, 2) if features_plan(r, d, 1, itemsize, n_views, f * rows).bytes <= budget]
    return max([1, *factors]) * rows


def block_width(k: int, total: int) -> int:
    """Columns of a Krylov block: the wanted ones, and a few for the gap after them."""
    return min(total, k + max(4, k // 8))


def krylov_capacity(width: int, total: int) -> int:
    """Columns of the Krylov basis before a restart."""
    return min(total, max(128, 8 * width))


def memory_budget(memory: int | str | None, engine: ModuleType | None = None) -> int:
    """The budget in bytes; by default 90 % of what the machine (or its container), or the engine's device, has left."""
    if memory is None:
        return int(0.9 * (free_memory() if engine is None else engine.free_memory()))
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?I?)B?\s*", memory.upper())
        if match is None or match[2] == "I":
            raise ValueError(
                f"memory must be a number of bytes or a string such as '8GB' or '500MiB', found {memory!r}"
            )
        return int(float(match[1]) * _UNITS[match[2]])
    return check_integer(memory, "memory", minimum=1)


def _show(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"
