"""`pretrain`: the door to both solvers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import Array, as_native, gives_memory_back
from ..augmentations import Views
from ..backends import Backend, device_of, get_backend
from ..features import Features, Identity
from ..kernels import Kernel, Precomputed, as_kernel
from ..solvers.certificate import TOLERANCE
from ..solvers.exact import ConditionedKernel, Solution, solve_exact
from ..solvers.groups import Samples
from ..solvers.objective import Objective
from ..solvers.rotated_gram import rotated_gram
from ..solvers.selection import Selection
from .data import Data, as_data
from .moments import Moments
from .plan import Plan, exact_plan, feature_rows, features_plan, fitting_rows, memory_budget
from .representation import Representation
from .search import AutoReg, as_search, moments_bytes, select_exact, select_features

__all__ = ["ExactProblem", "pretrain"]


@gives_memory_back
def pretrain(
    views: Any,
    model: Any,
    n_components: int,
    *,
    reg: float | str | AutoReg,
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = False,
    sample_weight: Any = None,
    groups: Any = None,
    backend: str | None = None,
    memory: int | str | None = None,
) -> Representation:
    r"""The exact minimiser of the regularised VICReg risk over the functions of a kernel or of features.

    Minimises over psi = Theta phi(.) with k components

        beta E||psi(xi) - psi(xi')||^2 + ||E[psi psi^T] - I||_F^2 + 2 reg ||Theta||^2,

    xi, xi' two views of one sample (beta = 1: the spectral contrastive loss; beta = 0: kernel PCA).  With eigenpairs
    (mu_i, f_i) of T_reg = (1 - beta) I + beta T - reg K^-1 the minimiser is psi_i = sqrt(max(mu_i, 0)) f_i and the
    minimum k - sum_i max(mu_i, 0)^2 (Cabannes, Kiani, Balestriero, LeCun, Bietti 2023, section 2).

    * A kernel is solved **exactly**.  With v = F / sqrt(N), Khat = K / N, gamma = 1 - mu, the eigen-equation
      (beta (I - T) + reg Khat^-1) v = gamma v is inverted by Woodbury's identity on I - T = Q Q^T, Q the within-sample
      contrasts: (1/reg) [Khat - Khat Q (Q^T Khat Q + (reg/beta) I)^-1 Q^T Khat] v = v / gamma: one Cholesky
      factorisation of size n (m - 1), no inverse of K.  Memory about 8 N^2 (1 - 1/m + 1/m^2) bytes.
    * **Features** are solved through their moments, Sigma c = (1/gamma) (beta Delta + reg I) c (`sslcore.Moments`):
      memory O(r^2 + block) for any number of views.

    Parameters
    ----------
    views : array (n, m, d), `sslcore.Views`, or array (N, d) with ``groups``
        m >= 2 views of each of n samples.  float32 data are computed in float32.  A ``np.memmap`` is read by blocks
        (feature models).  For `Precomputed`: the Gram matrix, (n, m, n m) or (N, N) with ``groups``.  Arrays of CuPy
        are worked on where they are; those of other libraries too, through DLPack.
    model : Kernel, callable or Features
        See `sslcore.kernels` and `sslcore.features`.
    n_components : int
        k, at most N (exact) or r (features).
    reg : float, "auto" or `sslcore.selection.AutoReg`
        lambda > 0, the weight of the norm.  (0 is allowed for `Identity` features with a positive definite Sigma.)
        "auto": the one of least unbiased risk on held-out samples, found without labels (``rep.selection`` has the
        evidence); the representation is then fitted to all samples.
    beta : float
        >= 0, the weight of the invariance.
    unbiased : bool
        Average T over pairs of distinct views, so that it converges to the population's for fixed m; False:
        over all pairs, as the authors' code does.
    center : bool
        Use the covariance in place of the second moment: an unpenalised intercept.
    sample_weight : array (n,), (n, m), or (N,) with groups, optional
        Positive weights; of each view, or the same for all views of a sample.
    groups : array (N,), optional
        The sample of each row of ``views``; samples may have different numbers of views, in any order.
    backend : {"numba", "cupy"}, optional
        Override of the arrays' own.  ``"cupy"`` with NumPy arrays, memory maps or `Views` works on the GPU and gives
        the representation back with NumPy arrays: a kernel's views are copied there as a whole, those of features by
        blocks.
    memory : int or str, optional
        Budget of the device at work, in bytes or as "8GB"; default: 90 % of what it has left.

    Returns
    -------
    Representation

    Raises
    ------
    ValueError, TypeError
        Input that is not as described; constant data; too few samples to hold some out.  ``beta="auto"`` and
        ``n_components="auto"``: risks at different ones do not compare.
    MemoryBudgetError
        Before anything is allocated, with the numbers.
    NotPositiveSemidefiniteError
        The kernel is not positive semi-definite; the error names an eigenvalue.
    CertificateError
        An active component misses its tolerance: reg is below the rounding of the kernel matrix.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(300, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.kernels.Exponential(0.2), n_components=5, reg=1e-5)
    >>> rep.n_active, rep(x).shape, bool(rep.certificate.worst < 1e-8)
    (5, (300, 5), True)
    """
    views = as_native(views, "views")
    engine = get_backend(views.x if isinstance(views, Views) else views, backend=backend)
    search = as_search(reg)
    number: Any = 1.0 if search else reg
    zero_reg = isinstance(model, Identity)
    numbers = Objective.of(n_components, number, beta, unbiased, center, zero_reg=zero_reg)
    data = as_data(views, groups, sample_weight, single_views=numbers.beta == 0)
    budget = memory_budget(memory, engine)
    if isinstance(model, Features):
        r = model.n_features(data.d)
        numbers.within(r, "features")
        plan = features_plan(r, data.d, numbers.k, data.dtype.itemsize, data.n_views, model=model, made=data.made)
        plan.require(budget)
        moments = Moments(model.fit(data.views), backend=backend)
        selection = None
        if search:
            replace(plan, bytes=plan.bytes + moments_bytes(search, r)).require(budget)
            rows = fitting_rows(feature_rows(r, data.d), r, data.d, data.dtype.itemsize, data.n_views, budget, engine)
            selection = select_features(search, moments, data, numbers, engine, rows)
            number = selection.reg
        else:
            moments.add(data, engine, budget)
        rep = moments.solve(n_components, reg=number, beta=beta, unbiased=unbiased, center=center)
        return replace(rep, training=data.views, selection=selection)
    numbers.within(data.n_views, "views")
    rep = _exact(data, as_kernel(model), numbers, search, budget, engine)
    return rep.to(device_of(data.source))


def _exact(
    data: Data,
    kernel: Kernel,
    numbers: Objective,
    search: AutoReg | None,
    budget: int,
    engine: Backend,
) -> Representation:
    contrasts = numbers.beta > 0
    problem = ExactProblem.prepare(data, kernel, numbers, budget, engine, contrasts=contrasts, search=search)
    if problem.selection:
        numbers = replace(numbers, reg=problem.selection.reg)
    return problem.represent(numbers, problem.solve(numbers))


@dataclass(frozen=True, eq=False)
class ExactProblem:
    """A kernel's operator on checked views, for one reg and beta or many."""

    data: Data
    kernel: Kernel
    operator: ConditionedKernel
    centres: Array | None
    plan: Plan
    started: float
    selection: Selection | None = None

    @classmethod
    def prepare(
        cls,
        data: Data,
        kernel: Kernel,
        numbers: Objective,
        budget: int,
        engine: Backend,
        *,
        contrasts: bool,
        n_points: int = 1,
        search: AutoReg | None = None,
    ) -> ExactProblem:
        """Check and plan, then the Gram matrix; without ``contrasts`` (all beta = 0) of single views.

        The ``search`` for reg comes before: its matrices have been given back when that of all views is made.
        """
        if isinstance(kernel, Precomputed) and data.d != data.n_views:
            raise ValueError(
                f"for Precomputed, views must be the Gram matrix of the N = {data.n_views} views, with N columns, "
                f"found {data.d}"
            )
        n, n_contrasts = (data.n, data.n_contrasts) if contrasts else (data.n_views, 0)
        plan = exact_plan(
            n,
            n_contrasts,
            data.d,
            numbers.k,
            data.dtype.itemsize,
            kernel=kernel,
            block_factor=engine.BLOCK_FACTOR,
            n_points=n_points,
            searched=search is not None,
            made=data.made,
        )
        plan.require(budget)
        points = data.materialize(engine)
        _refuse_constant(points)
        if not kernel.trusted:
            _require_symmetric(kernel, points, engine)
        room = budget // plan.bytes  # a fold takes less than the fit to all
        selection = select_exact(search, kernel, points, data, numbers, engine, room) if search else None
        if search:
            engine.release()  # what was kept of the matrices of the folds counts as resident
        samples = data.samples(engine)
        solved = samples if contrasts else Samples.from_groups(np.arange(data.n_views), engine, data.weight)
        given = isinstance(kernel, Precomputed)
        ordered = points if solved.identity_order or given else points[solved.order]
        started = time.perf_counter()
        blocks = rotated_gram(kernel, ordered, solved, engine)
        operator = ConditionedKernel(blocks, kernel, engine, unbiased=numbers.unbiased, center=numbers.center)
        centres = None if given else points if isinstance(data.views, Views) else points.copy()
        return cls(data, kernel, operator, centres, plan, started, selection)

    def solve(self, numbers: Objective, near: Array | None = None, started: float | None = None) -> Solution:
        """The components for one reg and beta."""
        solution = solve_exact(
            self.operator,
            numbers,
            tolerance=TOLERANCE[self.data.dtype],
            planned_bytes=self.plan.bytes,
            near=near,
            started=self.started if started is None else started,
        )
        samples, engine = self.operator.samples, self.operator.engine
        if self.data.n_contrasts and not samples.n_contrasts:  # the solver saw single views
            samples = self.data.samples(engine)
            _, c = samples.rotate(solution.values[samples.order] * engine.xp.sqrt(samples.weight)[:, None])
            invariance = (samples.contrast_factor(numbers.unbiased)[:, None] * c**2).sum(axis=0)
            return replace(solution, spectrum=replace(solution.spectrum, invariance=engine.to_host(invariance)))
        return solution

    def represent(self, numbers: Objective, solution: Solution) -> Representation:
        """The same as functions."""
        values = solution.values.reshape(*self.data.shape, numbers.k)
        rep = Representation.from_spectrum(solution.spectrum, self.kernel, numbers, centres=self.centres, values=values)
        return replace(rep, selection=self.selection)


def _refuse_constant(points: Array) -> None:
    if bool((points[0] == points[-1]).all()) and bool((points == points[0]).all()):
        raise ValueError("the data are constant: all views are the same point, and there is nothing to represent")


def _require_symmetric(kernel: Kernel, points: Array, engine: Backend) -> None:
    """The solver reads each pair once, so it would not see that a matrix or a function is not symmetric."""
    if not isinstance(kernel, Precomputed):
        some = points[:: max(1, len(points) // 64)]
        values = kernel(some, some.copy())
        matrices = [(values, values.T)]
    else:
        step = max(1, (1 << 20) // len(points))
        matrices = [(points[s : s + step], points[:, s : s + step].T) for s in range(0, len(points), step)]
    for rows, columns in matrices:
        error = float(engine.xp.abs(rows - columns).max())
        size = float(engine.xp.abs(rows).max())
        if error > 1e3 * float(engine.xp.finfo(points.dtype).eps) * size:
            raise ValueError(
                f"the kernel matrix must be symmetric, found entries that differ from their mirror by {error:.3g}"
            )
