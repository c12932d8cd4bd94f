"""The memory and the time that a computation takes, said before anything is allocated.

>>> import sslcore
>>> plan = sslcore.plan(10_000, 2, 32, sslcore.kernels.Gaussian(1.0), 16)
>>> plan.algorithm, round(plan.bytes / 1e9, 1)
('exact', 2.5)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import as_float_dtype, check_boolean, check_integer
from ..backends import Backend, get_backend
from ..features import Features, Model
from ..kernels import as_kernel
from ..positives import Law, Positives
from ..solvers.objective import Objective
from .data import as_data, as_paired_data
from .pairs import as_models
from .plan import Plan, features_plan, memory_budget
from .plan_matrix_free import as_solver, kernel_plan
from .plan_modalities import pairs_plan
from .posing import pose
from .sizes import Sizes

__all__ = ["plan"]


_LARGEST = 2**48
"""No size is larger: of any two of them there is a product in bytes, and of any four the floating-point operations."""


def plan(
    n: int,
    n_views: int,
    d: int | tuple[int, int],
    model: Model | tuple[Model, Model],
    n_components: int,
    dtype: Any = "float64",
    memory: int | str | None = None,
    *,
    n_points: int = 1,
    made: bool = False,
    backend: str | None = None,
    solver: str | None = None,
    positives: Positives | Law | None = None,
) -> Plan:
    """Predict the memory, the work and the time of `sslcore.pretrain`, and check the memory against a budget.

    Parameters
    ----------
    n, n_views, d : int
        Samples, views of each, coordinates of a view.  Of two modalities n pairs, 2, and (d_x, d_y).
    model : kernel or features, or two of them
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
    solver : {"dense", "matrix-free"}, optional
        Of a kernel, as for `sslcore.pretrain`: by default the one that it would choose.
    positives : `sslcore.positives.Positives` or `sslcore.positives.Law`, optional
        A law of positive pairs of the n points, with n_views = 1.  ``Neighbors`` depend on where the points lie: hand
        over ``Neighbors(5).law(x)``.

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
    ('exact', 'use features, such as sslcore.features.Nystrom(kernel, 512), or use fewer samples (at most 2,775 fit)')

    Where the matrix has no room, products take its place:

    >>> sslcore.plan(50_000, 2, 2, sslcore.kernels.Gaussian(1.0), 4, memory="4GB").algorithm
    'matrix-free'

    A trajectory, whose pairs are edges between points that are stored once:

    >>> lagged = sslcore.positives.TimeLag(10)
    >>> round(sslcore.plan(10_000, 1, 2, sslcore.kernels.Gaussian(1.0), 4, positives=lagged).bytes / 1e9, 1)
    1.7

    Pairs of two modalities:

    >>> kernels = sslcore.kernels.Gaussian(1.0), sslcore.kernels.Linear()
    >>> round(sslcore.plan(10_000, 2, (8, 32), kernels, 4).bytes / 1e9, 1)
    1.7
    """
    n = _size(n, "n")
    m = _size(n_views, "n_views")
    widths = _widths(d, model, m)
    d = sum(widths)
    k = _size(n_components, "n_components")
    points = _size(n_points, "n_points")
    check_boolean(made, "made")
    points += points > 1  # a path also looks at kernel PCA
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be that of the views, such as 'float64', found {dtype!r:.60}") from None
    itemsize = as_float_dtype(dtype, "dtype").itemsize
    chosen = None if backend in (None, "numba") else get_backend(backend=backend)
    budget, solver = memory_budget(memory, chosen), as_solver(solver, model, law=positives is not None)
    sizes = Sizes(n, n * m, d, k, itemsize, n_points=points, made=made)
    if positives is not None:
        result = _with_law(positives, sizes, model, budget, chosen, solver)
    elif isinstance(model, tuple):
        factor = 1 if chosen is None else chosen.BLOCK_FACTOR
        result = pairs_plan(sizes, widths, as_models(model), budget, factor, solver)
    elif isinstance(model, Features):
        r = _size(model.n_features(d), "the number of features")
        result = features_plan(sizes, r, model)
    else:
        result = kernel_plan(sizes, as_kernel(model), budget, 1 if chosen is None else chosen.BLOCK_FACTOR, solver)
    result = replace(result, backend=backend)
    result.require(budget)
    return result


def _with_law(
    positives: Any, sizes: Sizes, model: Any, budget: int, backend: Backend | None, solver: str | None
) -> Plan:
    """Pose the problem of points that are nowhere, and return its plan."""
    n = sizes.n
    if sizes.n_views != n or isinstance(model, tuple):
        raise ValueError(
            "positives are a law of pairs of points by one model: n_views must be 1, and one model, found "
            f"n_views={sizes.n_views // n} and {type(model).__name__}"
        )
    x = np.broadcast_to(np.zeros((), np.dtype(f"f{sizes.itemsize}")), (n, sizes.d))
    objective = Objective(sizes.k, 1.0, 1.0, True, False)
    if isinstance(positives, Positives):
        if positives.of_points:
            raise ValueError("the pairs of Neighbors depend on the points: hand over a law of theirs, positives.law(x)")
        data = as_paired_data(x, positives, None, None, objective)
    elif not isinstance(positives, Law):
        raise TypeError(f"positives must be a law of sslcore.positives, found {positives!r:.80}")
    elif positives.n_points != n:
        raise ValueError(f"positives must be a law on n = {n} points, found one on {positives.n_points}")
    else:
        data = replace(as_data(x, np.arange(n), None, single_views=True), law=positives)
    problem = pose(model, data, objective, backend or get_backend(x), budget, n_points=sizes.n_points, solver=solver)
    return problem.plan


def _widths(d: Any, model: Any, m: int) -> tuple[int, ...]:
    """Return the coordinates of each modality; of one, those of a view."""
    if not isinstance(model, tuple):
        return (_size(d, "d"),)
    if not isinstance(d, tuple) or len(d) != 2 or len(model) != 2 or m != 2:
        raise ValueError(
            f"two models are for pairs of two modalities: n_views=2 and d=(d_x, d_y), found {len(model)} models, "
            f"n_views={m}, d={d!r:.40}"
        )
    return tuple(_size(width, f"d[{i}]") for i, width in enumerate(d))


def _size(value: Any, name: str) -> int:
    size = check_integer(value, name, minimum=1)
    if size > _LARGEST:
        raise ValueError(f"{name} must be at most 2**48, found an integer of {size.bit_length()} bits")
    return size
