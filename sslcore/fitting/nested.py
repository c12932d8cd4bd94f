r"""Fits to the first n' samples of one array of views, for many n': the pretraining sizes of a learning curve.

With S = Q^T K Q + (N lambda/beta) I (no 1/N), rows sample by sample, the matrix of the first n' samples is the leading
block of that of all of them if N lambda, beta and m are the same, and so is its Cholesky factor.  One Gram matrix and
one factorisation then serve all sizes; each has its own block iteration and its own certificate.

An iteration that begins near the functions of the next larger size takes two thirds of the steps.  Many small sizes are
cut into two runs of neighbours, solved side by side, since one alone leaves most of a second processor idle; only the
first size of a run begins anew.  Large ones of these are iterated with matrices in float32 (`sslcore.solvers.rounded`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import tunables
from ..arrays import Array, ArrayLike, as_native, check_integer, check_scalar, gives_memory_back
from ..augmentations import Views
from ..backends import device_of, get_backend
from ..errors import CertificateError, NotPositiveSemidefiniteError
from ..kernels import Kernel, Precomputed, as_kernel
from ..solvers.certificate import Certificate, located
from ..solvers.exact import ConditionedKernel
from ..solvers.objective import Objective
from ..solvers.rounded import RoundedKernel
from .data import as_data
from .plan import memory_budget
from .problem import KernelProblem
from .representation import Representation

__all__ = ["NestedFit", "nested_fits"]


@dataclass(frozen=True, eq=False)
class NestedFit:
    """A fit to the first ``n`` samples.

    Attributes
    ----------
    n : int
        Samples; N' = n m views.
    representation : Representation
        As `sslcore.pretrain` returns it for ``views[:n]``.
    """

    n: int
    representation: Representation

    @property
    def reg(self) -> float:
        """The reg of this size, reg_times_n / N'."""
        return self.representation.reg

    @property
    def eigenvalues(self) -> np.ndarray:
        """mu_i = 1 - gamma_i (k,), decreasing; -inf beyond the numerical rank."""
        return self.representation.eigenvalues

    @property
    def gamma(self) -> np.ndarray:
        """1 - mu_i as computed (k,)."""
        return self.representation.gamma

    @property
    def coefficients(self) -> Array:
        """alpha (N', k): f_i = sum_a alpha_ai k(., xi_a) + intercept_i over the views of the samples, in their order.

        f_i has norm 1 on these views; psi_i = sqrt(max(mu_i, 0)) f_i.
        """
        return self.representation.coefficients

    @property
    def intercept(self) -> Array:
        """(k,); 0 unless centred."""
        return self.representation.intercept

    @property
    def certificate(self) -> Certificate:
        """Residuals, eigengap and rank of this size, as of a fit of its own."""
        return self.representation.certificate


@gives_memory_back
def nested_fits(
    views: ArrayLike | Views,
    kernel: Kernel,
    n_components: int,
    sizes: Sequence[int],
    *,
    reg_times_n: float,
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = False,
    backend: str | None = None,
    memory: int | str | None = None,
) -> list[NestedFit]:
    """Do as `sslcore.pretrain` on ``views[:n]`` at reg = reg_times_n / (n m), for every n of ``sizes``.

    One Gram matrix and one Cholesky factor, of the largest size, serve all of them (the module's docstring).  Most
    iterations begin near the functions of the next larger size, at the views that both share.  Where there are many
    small sizes, some are solved at the same time on several threads; what is found does not depend on their number.
    On a CPU, in float64, those of 512 views or more then have steps in float32 where they suffice for residuals of a
    tenth of the certificate's tolerance, which is measured in float64.
    With beta = 0 there is no factor to share, and the sizes are fitted one after the other.

    Parameters
    ----------
    views : array (n, m, d) or Views
        At least as many samples as the largest size; later ones are not looked at.
    kernel : Kernel
        Of points (a `Precomputed` matrix is not one of its own first rows).
    n_components : int
        k, at most the number of views of the smallest size.
    sizes : sequence of int
        Numbers of samples, increasing.
    reg_times_n : float
        N' reg(N') > 0, N' = n m the number of views: the same for all sizes.
    beta, unbiased, center, backend, memory
        As of `sslcore.pretrain`.

    Returns
    -------
    list of NestedFit
        In the order of ``sizes``: ``fit.n``, ``fit.reg``, ``fit.eigenvalues`` (k,), ``fit.coefficients`` (n m, k) and
        ``fit.intercept`` (k,), ``fit.certificate``; ``fit.representation`` has all else.  Coefficients are those of
        unit eigenfunctions, and lie where the views do.

    Raises
    ------
    CertificateError
        A size misses its tolerance; the message names it.
    ValueError, TypeError, MemoryBudgetError, NotPositiveSemidefiniteError
        As `sslcore.pretrain`; sizes that are not increasing, or more than there are samples.

    Examples
    --------
    >>> import sslcore
    >>> from sslcore.fitting.nested import nested_fits
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(200, seed=0), 2, seed=0)
    >>> kernel = sslcore.kernels.Exponential(0.2)
    >>> fits = nested_fits(views, kernel, 5, [50, 100, 200], reg_times_n=5e-4)
    >>> [(fit.n, fit.reg, fit.coefficients.shape) for fit in fits]
    [(50, 5e-06, (100, 5)), (100, 2.5e-06, (200, 5)), (200, 1.25e-06, (400, 5))]
    >>> alone = sslcore.pretrain(views[:100], kernel, 5, reg=2.5e-6)
    >>> bool(abs(fits[1].gamma / alone.gamma - 1).max() < 1e-8)
    True
    """
    kernel = as_kernel(kernel)
    if isinstance(kernel, Precomputed):
        raise ValueError(
            "nested fits need a kernel of points, found Precomputed: call pretrain on each leading block of the matrix"
        )
    reg_times_n = check_scalar(reg_times_n, "reg_times_n", minimum=0.0, strict=True)
    objective = Objective.of(n_components, reg_times_n, beta, unbiased, center)
    data = as_data(as_native(views, "views"), None, None, single_views=objective.beta == 0)
    sizes = _increasing(sizes, data.n)
    m, most = data.n_views // data.n, sizes[-1]
    objective.within(sizes[0] * m, "views of the smallest size")
    chosen = get_backend(data.source, backend=backend)
    budget = memory_budget(memory, chosen)

    def pose(n: int) -> KernelProblem:
        first = as_data(data.views[:n], None, None, single_views=objective.beta == 0)
        own = replace(objective, reg=reg_times_n / (n * m))
        return KernelProblem(kernel, first, own, chosen, budget, n_points=len(sizes) if n == most else 1)

    if objective.beta == 0:
        return [_alone(n, pose(n)) for n in sizes]
    problem = pose(most)
    replace(problem.plan, bytes=problem.plan.bytes + _extra_bytes(problem, sizes, m)).require(budget)
    return _walk(problem, sizes, m)


def _increasing(sizes: Any, n: int) -> list[int]:
    """Check sizes of the first samples of n."""
    if isinstance(sizes, str) or not hasattr(sizes, "__len__"):
        raise TypeError(f"sizes must be a sequence of integers, found {sizes!r}")
    checked = [check_integer(size, "each of sizes", minimum=1) for size in sizes]
    if not checked:
        raise ValueError("sizes must not be empty")
    for before, after in itertools.pairwise(checked):
        if after <= before:
            raise ValueError(f"sizes must be increasing, each once, found {before} before {after}; sort them")
    if checked[-1] > n:
        raise ValueError(f"sizes must be at most the number of samples, {n}, found {checked[-1]}; make more views")
    return checked


def _alone(n: int, problem: KernelProblem) -> NestedFit:
    """Fit without a factor to share."""
    return NestedFit(n, problem.represent(problem.objective, problem.at(problem.objective)))


def _runs(sizes: list[int], m: int) -> list[list[int]]:
    """Cut many small sizes, decreasing, into two runs of about the same cost, whatever the number of threads."""
    falling = sizes[::-1]
    if len(sizes) < tunables.NESTED_LEAST_SIZES or sizes[-1] * m > tunables.NESTED_MOST_VIEWS:
        return [falling]
    costs = np.cumsum([n**2 + tunables.NESTED_LEAST_SAMPLES**2 for n in falling])
    cut = max(1, int(np.searchsorted(costs, costs[-1] / 2)))
    return [falling[:cut], falling[cut:]]


def _rounds(problem: KernelProblem) -> bool:
    """Tell whether sizes side by side have matrices in float32, too: in float64 on a CPU."""
    return problem.backend.NAME == "numba" and problem.dtype == np.float64


def _extra_bytes(problem: KernelProblem, sizes: list[int], m: int) -> int:
    """Count the bytes beside the operator: of A, B and C in float32, or of leading blocks before and after a cut."""
    _, *others = runs = _runs(sizes, m)
    entries = sizes[-1] ** 2
    if len(sizes) == 1:
        return 0
    if len(runs) > 1 and _rounds(problem):
        return np.dtype(np.float32).itemsize * (m * m - m + 1) * entries
    return problem.data.dtype.itemsize * (m * m - m + 1) * (entries + 2 * sum(run[0] ** 2 for run in others))


def _walk(problem: KernelProblem, sizes: list[int], m: int) -> list[NestedFit]:
    """Solve runs of neighbouring sizes side by side, each from its largest size down."""
    started, backend = time.perf_counter(), problem.backend
    operator = problem.operator_on(problem.points, problem.data.samples(backend))
    centres = problem.points.copy()
    del problem.points
    runs = _runs(sizes, m)
    heads = {0: operator}
    if len(runs) > 1:
        with _located(sizes[-1]):
            operator.condition(problem.objective.reg, problem.objective.beta)
        operator = heads[0] = RoundedKernel.of(operator) if _rounds(problem) else operator.side_by_side()
        heads |= {number: operator.leading(run[0]) for number, run in enumerate(runs) if number}
    del operator  # else it would outlive the first size
    fits: dict[int, NestedFit] = {}
    errors: dict[int, Exception] = {}

    def descend(number: int) -> None:
        try:
            for fit in _descend(problem, heads.pop(number), runs[number], centres, started):
                fits[fit.n] = fit
        except (CertificateError, NotPositiveSemidefiniteError) as error:
            errors[number] = error

    backend.side_by_side(descend, len(runs))
    for number in sorted(errors):  # that of the largest size, whichever came first
        raise errors[number]
    return [fits[n] for n in sizes]


def _descend(
    problem: KernelProblem, operator: ConditionedKernel, sizes: list[int], centres: Array, started: float
) -> Iterator[NestedFit]:
    """Solve from the first size, of ``operator``, down, each with the leading blocks of the one before."""
    objective, m = problem.objective, problem.data.n_views // problem.data.n
    most, near = len(centres) // m, None
    for n in sizes:
        if near is not None:
            u, c = operator.halves(near)
            near = operator.xp.concatenate([u[:n], c[: n * (m - 1)]])
            operator = operator.leading(n)
        with _located(n):
            try:
                solution = problem.solve(operator, objective, near, started)
            except CertificateError:
                if not operator.inexact or not isinstance(operator, RoundedKernel):
                    raise
                operator = operator.exact()
                solution = problem.solve(operator, objective, near, started)
        own, spectrum = replace(objective, reg=objective.reg * most / n), solution.spectrum
        share = n / most  # the operator's units are those of all views (`ConditionedKernel.leading`)
        spectrum = replace(spectrum, norms=spectrum.norms * share, coefficients=spectrum.coefficients * share)
        assert solution.values is not None
        rep = Representation.from_spectrum(
            spectrum,
            problem.model,
            own,
            centres=centres[: n * m],
            values=solution.values.reshape(n, m, objective.k),
        )
        yield NestedFit(n, rep.to(device_of(problem.data.source)))
        near, started = solution.vectors, time.perf_counter()


@contextmanager
def _located(n: int) -> Iterator[None]:
    """Name the size in the message of a refusal."""
    try:
        yield
    except (CertificateError, NotPositiveSemidefiniteError) as error:
        raise located(error, f"at {n} samples: ") from error
