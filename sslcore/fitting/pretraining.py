"""`pretrain`: from views and a model to a representation; which solver works is for `pose` to choose."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, overload

from ..arrays import ArrayLike, gives_memory_back
from ..augmentations import Views
from ..backends import get_backend
from ..features import Model
from ..positives import Positives
from ..solvers.objective import Objective
from .bimodal import BimodalRepresentation
from .checkpoint import checkpoint_of
from .collections import home_of, refuse_options
from .following import FitProgress, Searching, followed
from .pairs import as_given, as_training_data, may_be_zero, sources
from .plan import memory_budget
from .posing import pose
from .representation import Representation
from .search import AutoReg, as_search, choose, most_folds

__all__ = ["pretrain"]


@overload
def pretrain(
    views: Views | ArrayLike,
    model: Model,
    n_components: int,
    *,
    reg: float | str | AutoReg,
    beta: float = ...,
    unbiased: bool = ...,
    center: bool = ...,
    sample_weight: Any = ...,
    groups: Any = ...,
    positives: Positives | None = ...,
    backend: str | None = ...,
    memory: int | str | None = ...,
    solver: str | None = ...,
    checkpoint: str | os.PathLike[str] | None = ...,
    progress: FitProgress | None = ...,
) -> Representation: ...


@overload
def pretrain(
    views: tuple[ArrayLike, ArrayLike],
    model: tuple[Model, Model],
    n_components: int,
    *,
    reg: float | str | AutoReg,
    beta: float = ...,
    unbiased: bool = ...,
    center: bool = ...,
    sample_weight: Any = ...,
    groups: Any = ...,
    positives: Positives | None = ...,
    backend: str | None = ...,
    memory: int | str | None = ...,
    solver: str | None = ...,
    checkpoint: str | os.PathLike[str] | None = ...,
    progress: FitProgress | None = ...,
) -> BimodalRepresentation: ...


@gives_memory_back
def pretrain(
    views: Views | ArrayLike | tuple[ArrayLike, ArrayLike],
    model: Model | tuple[Model, Model],
    n_components: int,
    *,
    reg: float | str | AutoReg,
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = False,
    sample_weight: Any = None,
    groups: Any = None,
    positives: Positives | None = None,
    backend: str | None = None,
    memory: int | str | None = None,
    solver: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: FitProgress | None = None,
) -> Representation | BimodalRepresentation:
    r"""Find the exact minimiser of the regularised VICReg risk over the functions of a kernel or of features.

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
    * **Two modalities**, ``pretrain((x, y), (kernel_x, kernel_y), k, reg=)``: functions f_i of x and g_i of y that
      agree on pairs, with the norm ||f||^2 + ||g||^2, and an intercept each if ``center``; T exchanges the values of a
      pair.  This is regularised kernel canonical correlation analysis, with two `Identity` features linear CCA, and in
      the words of networks a linear CLIP with the spectral contrastive loss (`BimodalRepresentation`).  Kernels take
      one Cholesky factorisation of size N, of their mean, and memory about 16 N^2 bytes, or products with both.

    Parameters
    ----------
    views : array (n, m, d), `sslcore.Views`, array (N, d) with ``groups``, or two arrays (x, y)
        m >= 2 views of each of n samples.  float32 data are computed in float32; products of features are made again
        in float64 where reg is too small for that.  A ``np.memmap`` is read by blocks
        (feature models).  For `Precomputed`: the Gram matrix, (n, m, n m) or (N, N) with ``groups``.  Arrays of CuPy
        are worked on where they are; those of other libraries too, through DLPack; those of Dask on their cluster
        (`sslcore.dask.pretrain`).
        A tuple (x, y) is **two modalities**, (N, d_x) and (N, d_y), whose rows are pairs: see above.
    model : Kernel, callable or Features; for two modalities two of these
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
    positives : `sslcore.positives.Positives`, optional
        A law of positive pairs of points ``views`` (N, d), each stored once, in place of groups: ``TimeLag``,
        ``Neighbors``, ``Labels``, ``Pairs``, any self-adjoint ``Operator``, and sums of them.  (``unbiased`` then
        concerns ``Groups`` only.)  The contrasts are the edges, up to 1.4 times as many as points: one Cholesky
        factorisation of their number; of more edges, or an ``Operator`` (kernels only, and a ``reg`` that is given), it
        is of N.  A search for reg holds out parts of the graph that do not touch, or runs of neighbours (in time, for
        ``TimeLag``): edges between them are left out, and counted in ``rep.selection.n_cut``.
    backend : {"numba", "cupy"}, optional
        The one to use in place of the arrays' own.  ``"cupy"`` with NumPy arrays, memory maps or `Views` works on the
        GPU and gives the representation back with NumPy arrays: a kernel's views are copied there as a whole, those of
        features by blocks.
    memory : int or str, optional
        Budget of the device at work, in bytes or as "8GB"; default: 90 % of what it has left.
    solver : {"dense", "matrix-free"}, optional
        How the fit of a kernel, or of two, is computed.  ``"matrix-free"`` stores nothing of size N^2: products with K
        by tiles, within a preconditioned block conjugate gradient method (``sslcore.solvers.matrix_free``); the same
        certificate.  It is chosen where the budget has no room for the matrix.  A kernel of one's own that has a
        negative eigenvalue is refused if some of the samples or a direction of the iteration shows it; ``"dense"``
        looks at the whole matrix.
    checkpoint : path, optional
        A file from which the same call goes on after any end, SIGKILL included, with the bits of a call that was not
        interrupted (on the same machine with as many threads).  It has the outer iteration of a fit without the matrix,
        and the reg that a search has found, at most once a minute, and at Ctrl-C; it goes when the fit is done.  A disk
        that is full costs a warning, not the fit.  Where the solver with the matrix is chosen, nothing is written; with
        ``solver="dense"``, features and positives that are not solved as groups it is refused.
    progress : callable, optional
        Of a fit without the matrix: called after each product with products done, products in all or None, seconds
        left or None, and a dictionary: ``outer`` and ``inner`` steps, and the ``residual`` of the worst component, as
        estimated, or None, beside the ``target`` that ends the iteration.  Of a search for reg, whatever solves it:
        called after each fit with fits done and in all (at most, until the default grid has its half decades), None,
        and a dictionary: ``fold``, one of ``n_folds``, and ``reg``; without the matrix after each product as well, with
        the above of the fit at hand.

    Returns
    -------
    Representation
        Of two modalities a `BimodalRepresentation`.

    Raises
    ------
    OSError
        The checkpoint cannot be read, or, at the beginning, be written.
    ValueError, TypeError
        A checkpoint that is damaged, or of other data, another kernel, other settings or versions.
        Input that is not as described; constant data; too few samples to hold some out.  ``beta="auto"`` and
        ``n_components="auto"``: risks at different ones do not compare.
    MemoryBudgetError
        Before anything is allocated, with the numbers.
    NotPositiveSemidefiniteError
        The kernel is not positive semi-definite; the error names an eigenvalue.
    CertificateError
        An active component misses its tolerance: reg is below the rounding of the kernel matrix.
    ConvergenceError
        Without the matrix: no convergence within the products allowed.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(300, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.kernels.Exponential(0.2), n_components=5, reg=1e-5)
    >>> rep.n_active, rep(x).shape, bool(rep.certificate.worst < 1e-8)
    (5, (300, 5), True)

    Two modalities: rows of ``x`` and ``y`` are pairs.

    >>> x, y = views[:, 0], views[:, 1] ** 3
    >>> kernels = sslcore.kernels.Gaussian(0.5), sslcore.kernels.Gaussian(1.0)
    >>> rep = sslcore.pretrain((x, y), kernels, n_components=5, reg=1e-3, center=True)
    >>> rep.transform((x, None)).shape, bool(rep.canonical_correlations()[0] > 0.8)
    ((300, 5), True)
    """
    home = home_of(views)
    if home is not None:
        refuse_options({"sample_weight": sample_weight, "groups": groups, "memory": memory})
        refuse_options({"solver": solver, "checkpoint": checkpoint, "progress": progress})
        numbers: dict[str, Any] = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center}
        on_cluster: Representation = home.pretrain(
            views, model, n_components, **numbers, positives=positives, backend=backend
        )
        return on_cluster
    views = as_given(views, model)
    chosen = get_backend(*sources(views), backend=backend)
    search, zero_reg = as_search(reg), may_be_zero(model)
    objective = Objective.of(n_components, 1.0 if search else reg, beta, unbiased, center, zero_reg=zero_reg)
    searched = bool(search)
    data = as_training_data(views, model, positives, groups, sample_weight, objective, searched=searched)
    budget, folds = memory_budget(memory, chosen), most_folds(search)
    problem = pose(model, data, objective, chosen, budget, n_folds=folds, solver=solver)
    kept = checkpoint_of(checkpoint, problem, objective, search or objective.reg, solver)
    following = followed(progress, problem)
    selection, near = kept.selection if kept else None, None
    if search and selection is None:
        selection, near = choose(search, problem, Searching(progress) if progress else None)
    if kept:
        kept.chose(selection)
    if selection:
        objective = replace(objective, reg=selection.reg)
    rep = replace(problem.represent(objective, problem.at(objective, near)), selection=selection)
    if following:
        following.done()
    if kept:
        kept.remove()
    return rep
