"""The memory and the time that a computation takes, said before anything is allocated.

>>> import sslcore
>>> plan = sslcore.plan(10_000, 2, 32, sslcore.kernels.Gaussian(1.0), 16)
>>> plan.algorithm, round(plan.bytes / 1e9, 1)
('exact', 2.5)
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import as_float_dtype, check_boolean, check_integer
from ..backends import Backend, get_backend
from ..backends.machine import free_memory
from ..errors import MemoryBudgetError
from ..features import Features, Identity, RandomFourier
from ..kernels import Function, Kernel, Precomputed, Product, Profile, Scaled, Sum, VonMises, as_kernel
from ..solvers.krylov import block_width, krylov_capacity
from .machine_rates import Work, measured_rates

__all__ = ["Plan", "exact_plan", "features_plan", "fitting_rows", "memory_budget", "plan"]


_LARGEST = 2**48
"""No size is larger: of any two of them there is a product in bytes, and of any four the floating-point operations."""

_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([KMGT]I?|)B?\s*", re.IGNORECASE)
_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Plan:
    """The memory and the time that a fit, or a path, will take.

    Attributes
    ----------
    algorithm : {"exact", "features"}
    bytes : int
        Peak memory besides the data handed over.
    flops : float
        Floating-point operations of the leading terms.
    seconds : float
        Expected at the rates of this machine: products, Cholesky factorisations, kernel values and copies, measured for
        about a tenth of a second when this is first asked for in a process.  The leading terms alone,
        each at its full rate: fits of 0.1 to 1.5 s took 2 to 4 times as long on an idle machine.
    advice : str
        What to change if that is too much; `fitting` says what would do.

    Examples
    --------
    >>> import sslcore
    >>> plan = sslcore.plan(10**6, 2, 32, sslcore.features.Nystrom(sslcore.kernels.Gaussian(1.0), 1024), 16)
    >>> plan.algorithm, plan.bytes < 1e9, plan.seconds > 0
    ('features', True, True)
    """

    algorithm: str
    bytes: int
    work: Work
    advice: str
    alternatives: tuple[tuple[int, int], ...] = field(default=(), repr=False)  # numbers of features, and bytes
    smaller: Callable[[int], int] | None = field(default=None, repr=False, compare=False)  # bytes of a smaller one
    size: int = field(default=0, repr=False)  # samples, or features: what `smaller` takes
    backend: str | None = field(default=None, repr=False)

    @property
    def flops(self) -> float:
        """Floating-point operations of the leading terms."""
        return self.work.flops

    @property
    def seconds(self) -> float:
        """Expected time, from measured rates."""
        return self.work.seconds(measured_rates(get_backend(backend=self.backend)))

    def fitting(self, memory: int | str) -> str:
        """Say what would keep a budget of ``memory``, in words."""
        return self._fitting(memory_budget(memory))

    def _fitting(self, budget: int) -> str:
        if self.bytes <= budget:
            return "this keeps it"
        fitting = [r for r, size in self.alternatives if size <= budget]
        option = f"use features, such as sslcore.features.Nystrom(kernel, {fitting[0]}), or " if fitting else ""
        largest = bisect.bisect_right(range(1, self.size + 1), budget, key=self.smaller) if self.smaller else 0
        return f"{option}{self.advice}" + (f" (at most {largest:,} fit)" if largest else "")

    def require(self, budget: int) -> None:
        """Raise `MemoryBudgetError`, with the numbers, if the plan exceeds ``budget`` bytes."""
        if self.bytes > budget:
            raise MemoryBudgetError(
                f"this {self.algorithm} fit needs {_show(self.bytes)} of memory, the budget is {_show(budget)} "
                f"(nothing was allocated); {self._fitting(budget)}"
            )


def plan(
    n: int,
    n_views: int,
    d: int,
    model: Any,
    n_components: int,
    dtype: Any = "float64",
    memory: int | str | None = None,
    *,
    n_points: int = 1,
    made: bool = False,
    backend: str | None = None,
) -> Plan:
    """Predict the memory, the work and the time of `sslcore.pretrain`, and check the memory against a budget.

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
    n_points : int
        Points (reg, beta) of a `sslcore.pretrain_path`; 1: a single fit.
    made : bool
        Whether the views are made or gathered as they are needed (`sslcore.Views`, memory maps, ``groups``), so that
        they take memory too: of a kernel all of them, of features a block.
    backend : {"numba", "cupy"}, optional
        Where the work is done; default: the CPU.

    Returns
    -------
    Plan

    Raises
    ------
    MemoryBudgetError
        If the fit would not keep the budget; the message says what would.

    Examples
    --------
    >>> import sslcore
    >>> plan = sslcore.plan(10_000, 2, 8, sslcore.kernels.Gaussian(1.0), 4)
    >>> plan.algorithm, plan.fitting("200MB")
    ('exact', 'use features, such as sslcore.features.Nystrom(kernel, 256), or use fewer samples (at most 2,749 fit)')
    """
    n = _size(n, "n")
    m = _size(n_views, "n_views")
    d = _size(d, "d")
    k = _size(n_components, "n_components")
    points = _size(n_points, "n_points")
    check_boolean(made, "made")
    points += points > 1  # a path also looks at kernel PCA
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be that of the views, such as 'float64', found {dtype!r:.60}") from None
    itemsize = as_float_dtype(dtype, "dtype").itemsize
    engine = None if backend in (None, "numba") else get_backend(backend=backend)
    budget = memory_budget(memory, engine)
    if isinstance(model, Features):
        r = _size(model.n_features(d), "the number of features")
        result = features_plan(r, d, k, itemsize, n * m, n_points=points, model=model, made=made)
    else:
        kernel = as_kernel(model)
        factor = 1 if engine is None else engine.BLOCK_FACTOR
        result = exact_plan(
            n, n * (m - 1), d, k, itemsize, kernel=kernel, block_factor=factor, n_points=points, made=made
        )
    result = replace(result, backend=backend)
    result.require(budget)
    return result


def _size(value: Any, name: str) -> int:
    size = check_integer(value, name, minimum=1)
    if size > _LARGEST:
        raise ValueError(f"{name} must be at most 2**48, found an integer of {size.bit_length()} bits")
    return size


def _prepared_rows(row_bytes: int, block_factor: int = 1) -> int:
    """Return how many rows of the first argument a backend prepares at a time."""
    return max(tunables.KERNEL_PREPARED_ROWS, tunables.KERNEL_PREPARED_BYTES * block_factor // row_bytes)


_STEPS = 10
"""Block iterations of a typical fit, for the estimate of time."""


def exact_plan(
    n: int,
    n_contrasts: int,
    d: int,
    k: int,
    itemsize: int,
    *,
    kernel: Kernel,
    block_factor: int = 1,
    n_points: int = 1,
    searched: bool = False,
    made: bool = False,
) -> Plan:
    """The plan of the exact solver: the largest of its phases, beside A, B, C, and the views if they are ``made``.

    * The Gram matrix: the points as the kernel prepares them, one block of K, and what sums and given matrices add.
    * The check of a kernel that is not known to be positive semi-definite: all of Khat once more.
    * The iteration: a copy of the views, which the result keeps; its basis, and blocks of vectors on their way through
      the operator; the projected problem.
    * The components: vectors, coefficients, values and residuals, some 16 of each.

    A path of ``n_points`` keeps coefficients, values and eigenvectors of each point.  A search (``searched``) also has
    the views of the training part, in the order of the caller and in that of the samples.
    """
    kept, prepared, blocks, wide = _needs(kernel, d)
    given = isinstance(kernel, Precomputed)

    def planned(samples: int) -> tuple[int, Work]:
        contrasts = samples * n_contrasts // n
        total = samples + contrasts
        width = block_width(k, total)
        capacity = max(krylov_capacity(width, total), min(total, 3 * width))
        rotated = samples * samples + samples * contrasts + contrasts * contrasts
        per_sample = -(-total // samples)
        views = 0 if given else itemsize * total * d
        fixed = itemsize * (rotated + 3 * total * k * (n_points - 1)) + views * made
        fixed += 8 * (2 * per_sample * total + 6 * total) + 8 * n_points * k * k * (n_points > 1)
        height = block_factor * max(64, tunables.KERNEL_BLOCK_BYTES // (total * itemsize))
        rows = min(total, _prepared_rows(d * itemsize, block_factor))
        filling: float = itemsize * blocks * total * min(total, height)
        if not given:
            filling += views * max(prepared, kept + wide * rows / total)
        if searched:  # a fold has up to four fifths of the samples, and values between its parts: 0.86 of the blocks
            filling += max(0.0, 2 * views - 0.14 * itemsize * rotated)
        check = itemsize * total * total * (not kernel.trusted)
        small = 8 * (2 * capacity**2 + 5 * capacity * (k + 2))
        iterating = itemsize * total * (capacity + 7 * width) + small
        components = max(itemsize, 6) * total * 16 * min(k, total)
        # a step reads A, B twice and the triangle of the factor twice, and orthogonalises its block twice
        entries = n_points * _STEPS * (samples * samples + 2 * samples * contrasts + contrasts * contrasts)
        orthogonal = n_points * 4 * _STEPS**2 * total * width**2
        work = Work(
            values=total * total / 2,
            products=float(total) ** 2 * d,
            factors=n_points * contrasts**3 / 3 + (0 if kernel.trusted else total**3 / 3),
            steps_flops=2.0 * width * entries + orthogonal,
            steps_bytes=float(itemsize * entries),
        )
        return int(fixed + max(filling, check, views * (not made) + max(iterating, components))), work

    size, work = planned(n)
    total = n + n_contrasts
    sizes = [r for r in (1024 >> i for i in range(8)) if k <= r <= total]
    alternatives = tuple((r, features_plan(r, d, k, itemsize, total, n_points=n_points).bytes) for r in sizes)
    return Plan("exact", size, work, "use fewer samples", alternatives, lambda samples: planned(samples)[0], n)


def _needs(kernel: Any, d: int) -> tuple[float, float, int, float]:
    """Return what rows of this kernel take, in copies of the points with their d coordinates, and in blocks of values.

    Copies of the second argument that are kept, and that are there while they are made; blocks of values, the result
    among them; copies of some rows of the first argument.
    """
    if isinstance(kernel, Sum | Product):
        first, second = _needs(kernel.first, d), _needs(kernel.second, d)
        kept = first[0] + second[0]
        return kept, max(first[1], first[0] + second[1]), max(first[2], 1 + second[2]), max(first[3], second[3])
    if isinstance(kernel, Scaled):
        return _needs(kernel.base, d)
    if isinstance(kernel, Precomputed):  # rows, then columns are taken
        return 0, 0, 3, 0
    if isinstance(kernel, Function):  # what a function of the user's takes inside nobody knows; a kernel's is known
        inner = _needs(kernel.function, d) if isinstance(kernel.function, Kernel) else (0, 0, 1, 0)
        return max(inner[:2]), max(inner[:2]), 1 + inner[2], inner[3]
    if not isinstance(kernel, Profile):  # tiles of patches are small
        return 0, 0, 1, 4
    share = 2 if isinstance(kernel, VonMises) else 1  # cosines and sines
    if kernel.pair == "dot":
        return 0, 0, 1, 0
    if kernel.pair == "angle":
        return 1, 3, 1, 3
    if kernel.pair == "sqdist" and share * d > tunables.CPU_DIFFERENCES_COORDINATES:  # with and without the centre
        return 2 * share, 2 * share, 1, 2 if share == 1 else 6
    return share, 3 * share, 1, 3 * share


def features_plan(
    r: int,
    d: int,
    k: int,
    itemsize: int,
    n_views: int,
    rows: int | None = None,
    n_points: int = 1,
    model: Features | None = None,
    made: bool = False,
) -> Plan:
    """The plan of the feature solver: two moments and their factors, blocks of ``rows`` views and features.

    A path of ``n_points`` also takes the eigenbasis of Delta, and keeps the coefficients of each point.  By default
    features are kernel values, whitened; cosines take about as long.
    """
    values, cosines = not isinstance(model, Identity), isinstance(model, RandomFourier)

    def planned(r: int) -> tuple[int, Work]:
        height = min(n_views, rows or feature_rows(r, d))
        width = block_width(k, r)
        capacity = max(krylov_capacity(width, r), min(r, 3 * width))
        # features, phases or what sums of kernels add, and the rotated rows
        blocks = 2.5 if cosines else 3 if values else 2
        # frequencies while they are drawn; or landmarks, as they are and prepared, and their factor
        own = 8 * r * d if cosines else 8 * (3 * r * r + 4 * r * d) if values else 0
        own += 8 * 10 * height  # order, weights and rotations of the samples
        adding = 8 * 3 * r * r + itemsize * height * (blocks * r + made * d)
        adding += itemsize * 2 * d * min(height, _prepared_rows(d * itemsize)) * (values and not cosines)
        solving = 8 * (8 * r * r + r * (capacity + 7 * width) + 2 * capacity**2 + 5 * capacity * (k + 2))
        if n_points > 1:
            own += 8 * (2 * r * r + 3 * n_points * r * k + n_points * k * k)
        entries = n_points * 2 * _STEPS * r * r
        work = Work(
            values=float(n_views) * r if values else 0.0,
            products=n_views * (2.0 * r * d + r * r if values else 0.0) + float(n_views) * r * r,
            # a symmetric eigenproblem takes as long as some 30 factorisations
            factors=r**3 / 3 + (10.0 * r**3 if n_points > 1 else 0.0),
            steps_flops=2.0 * width * entries + n_points * 4.0 * _STEPS**2 * r * width**2,
            steps_bytes=8.0 * entries,
        )
        return int(own + max(adding, solving)), work

    size, work = planned(r)
    return Plan("features", size, work, f"use fewer features than {r}", (), lambda r: planned(r)[0], r)


def feature_rows(r: int, d: int) -> int:
    """Views per block of the feature solver, about 128 MB of features.

    Large, because the threads of BLAS wait busily for some 30 ms after a product, in the way of our own tile loops:
    every change from one to the other costs that much on a machine whose cores are all in use.
    """
    return int(min(16384, max(256, (128 << 20) // (8 * max(r, d)))))


def fitting_rows(rows: int, r: int, d: int, itemsize: int, n_views: int, budget: int | None, engine: Backend) -> int:
    """``rows`` on a CPU; up to four times as many on a GPU, which has no such cache, as long as the budget is kept."""
    if engine.BLOCK_FACTOR == 1:
        return rows
    budget = memory_budget(None, engine) if budget is None else budget
    factors = [f for f in (4, 2) if features_plan(r, d, 1, itemsize, n_views, f * rows).bytes <= budget]
    return max([1, *factors]) * rows


def memory_budget(memory: int | str | None, engine: Backend | None = None) -> int:
    """The budget in bytes; by default 90 % of what the machine (or its container), or the engine's device, has left."""
    if memory is None:
        return int(0.9 * (free_memory() if engine is None else engine.free_memory()))
    if isinstance(memory, str):
        match = _BYTES.fullmatch(memory)
        size = float(match[1]) * _UNITS[match[2].upper()] if match else math.nan
        if not 1 <= size < math.inf:
            raise ValueError(
                f"memory must be a number of bytes, at least 1, or a string such as '8GB' or '500MiB', "
                f"found {memory!r:.60}"
            )
        return int(size)
    return check_integer(memory, "memory", minimum=1)


def _show(n_bytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"
