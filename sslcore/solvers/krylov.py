"""Top eigenpairs of a positive semi-definite operator by block Krylov iteration, in a deterministic basis.

Why not Lanczos with single vectors: a block turns passes over the matrix into matrix products, and finds
every copy of a degenerate eigenvalue as long as it is as wide as the number of pairs wanted.  The whole
basis is kept and orthogonalised twice, so there are no ghosts; when it grows too large it is restarted from
the leading Ritz vectors.

The basis and what the operator does to it stay where the arrays are; the projected problem, as wide as the basis, is
NumPy's on every backend (`sslcore.backends.host_linalg`).  Each step asks the device for two small matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from .. import tunables
from ..arrays import Array
from ..backends import Backend
from ..backends.host_linalg import top_eigh

__all__ = [
    "Accuracy",
    "Eigenpairs",
    "Inexact",
    "KrylovState",
    "block_width",
    "canonical_basis",
    "clusters",
    "krylov_capacity",
    "top_eigenpairs",
    "top_eigenpairs_of_many",
]


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues (decreasing) and orthonormal eigenvectors (n, k'), k' <= k if the operator has smaller rank.

    ``vectors`` lie where the operator's arrays do, all numbers are the host's.  ``following`` is the next Ritz value
    after the k-th (0 if there is none), ``beyond`` the Ritz vectors of that and of the one after it, so far as there
    are any; ``residuals`` are estimates of ||G v - theta v||, ``steps`` the number of block applications.
    """

    values: np.ndarray
    vectors: Array
    following: float
    residuals: np.ndarray
    steps: int
    beyond: Array | None = None

    def with_beyond(self, vectors: Array, xp: ModuleType) -> Array:
        """Join ``vectors``, of the wanted ones, and those beyond: not asked for, they tell about other places."""
        out: Array = vectors if self.beyond is None else xp.concatenate([vectors, self.beyond], axis=1)
        return out


SURE = 1e-2
"""Relative residuals below which Ritz values belong to the leading eigenvalues: a first block may know others."""


@dataclass(frozen=True)
class Accuracy:
    """Ends an iteration: residuals are at most min(relative theta, absolute), or ``steps`` are done.

    Those of eigenvalues that are known to `SURE` need not be, where these with their residuals are smaller than
    ``least``, nor those of smaller ones.
    """

    relative: float
    absolute: float = math.inf
    steps: int = 500
    least: float = 0.0

    def wants(self, theta: np.ndarray, residuals: np.ndarray) -> np.ndarray:
        """Return which of these eigenvalues, decreasing, with these residuals, have to be accurate."""
        wanted: np.ndarray = ~np.logical_or.accumulate((theta + residuals < self.least) & (residuals <= SURE * theta))
        return wanted


@dataclass(frozen=True, eq=False)
class KrylovState:
    """All that an iteration with an `Inexact` operator is between two steps: an equal one goes on with the same bits.

    Attributes
    ----------
    basis : (n, size)
        Its last columns are the next block.
    projected : (old, old)
        On the columns before that block.
    known : (size - old, old)
        The block's products with the images of those columns.
    width : int
        Columns of the first block of all.
    steps : int
    scale : float
        The largest entry of images so far, of which rounding is a share.
    """

    basis: Array
    projected: np.ndarray
    known: np.ndarray
    width: int
    steps: int
    scale: float


@dataclass(frozen=True)
class Inexact:
    """Follows the iteration of an operator that is applied by an iteration of its own.

    Attributes
    ----------
    relax : callable
        Told what the norm of the next error may be.  Where it returns True, residuals are looked at next when the
        iteration may be over, which saves time where a step takes little; else after the next step.
    keep : callable, optional
        Told then, after each step, the state, whose arrays are good until the operator returns, and by what factor the
        worst residual misses its target.
    """

    relax: Callable[[float], bool | None]
    keep: Callable[[KrylovState, float], None] | None = None


def top_eigenpairs(
    apply: Callable[[Array], Array],
    start: Array | KrylovState,
    k: int,
    backend: Backend,
    *,
    accuracy: Accuracy,
    max_basis: int,
    inexact: Inexact | None = None,
) -> Eigenpairs:
    """Find the top k eigenpairs of the symmetric operator ``apply`` from the block ``start`` (n, b), b >= k.

    From a state instead, an earlier iteration goes on.

    The iteration stops when every wanted residual keeps the ``accuracy`` or is at rounding, and the next eigenvalue is
    good to 10 times the relative one, too; when the Krylov space is invariant (then it holds all there is); or after
    the last step: callers check residuals.

    An operator that is applied by an iteration of its own may err more and more: an error in the image of a block
    counts by the block's share of the Ritz vectors, which is their residual before it came, relative to a gap
    (Simoncini and Szyld 2003).  ``inexact`` is told what the norm of the next error may be.
    """
    iteration = _iteration(start, k, backend, accuracy, max_basis, inexact)
    del start
    block = next(iteration)
    while True:
        image = apply(block)
        try:
            block = iteration.send(image)
        except StopIteration as done:
            found: Eigenpairs = done.value
            return found


def top_eigenpairs_of_many(
    apply: Callable[[dict[int, Array]], dict[int, Array]],
    starts: Sequence[Array],
    k: int,
    backend: Backend,
    *,
    accuracy: Sequence[Accuracy],
    max_basis: int,
    inexact: Sequence[Inexact | None],
) -> list[Eigenpairs]:
    """Do as `top_eigenpairs` for several operators side by side: ``apply`` is given the blocks of those not yet done.

    It returns an image for each, under the same number, and may work on all of them at once.
    """
    found: dict[int, Eigenpairs] = {}
    iterations = {
        i: _iteration(start, k, backend, wanted, max_basis, told)
        for i, (start, wanted, told) in enumerate(zip(starts, accuracy, inexact, strict=True))
    }
    blocks = {i: next(iteration) for i, iteration in iterations.items()}
    while blocks:
        images, blocks = apply(blocks), {}
        for i, image in images.items():
            try:
                blocks[i] = iterations[i].send(image)
            except StopIteration as done:
                found[i] = done.value
    return [found[i] for i in iterations]


def _iteration(
    start: Array | KrylovState,
    k: int,
    backend: Backend,
    accuracy: Accuracy,
    max_basis: int,
    inexact: Inexact | None = None,
) -> Generator[Array, Array, Eigenpairs]:
    """Yield one block after the other, to be sent its image, which is overwritten; return the pairs."""
    xp = backend.xp
    before = start if isinstance(start, KrylovState) else None
    first = start.basis if isinstance(start, KrylovState) else start
    n, width = len(first), before.width if before else first.shape[1]
    capacity = min(n, max(max_basis, 3 * width))
    basis = xp.empty((n, capacity), first.dtype, order="F")
    projected = np.zeros((capacity, capacity))  # in place: copies of it would be as large as a basis of wide blocks
    size = steps = 0
    scale, epsilon, excess = 0.0, float(xp.finfo(first.dtype).eps), math.inf
    checks: list[tuple[int, float]] = []
    relax, keep = (inexact.relax, inexact.keep) if inexact else (None, None)
    next_check = 3 if relax is None else 1
    if before is None:
        block, _ = backend.orthonormalize(first, 0.0)
        known = np.zeros((width, 0))  # the new block's products with the images before it
    else:
        known, scale, steps, size = before.known, before.scale, before.steps, len(before.projected)
        basis[:, :size], projected[:size, :size] = before.basis[:, :size], before.projected
        block, next_check = xp.array(before.basis[:, size:], order="F"), steps + 1
    del start, first, before
    while True:
        old, size = size, size + block.shape[1]
        basis[:, old:size] = block
        space = basis[:, :size]
        if keep is not None and steps:
            keep(KrylovState(space, projected[:old, :old], known, width, steps, scale), excess)
        image = yield block
        steps += 1
        column = backend.matmul(space.T, image)
        small = backend.to_host(column)
        if relax is not None and old:  # those images were the more accurate
            small = np.concatenate([known.T, small[old:]])
        _border(projected, old, small)
        scale = max(scale, float(np.abs(small).max()))
        floor = max(4 * epsilon * scale, 1e-300)

        # what the space lacks of being invariant: G V = V H + (next block) coupling, on the last block
        image = backend.matmul(space, column, out=image, alpha=-1.0, beta=1.0)
        image = backend.matmul(space, backend.matmul(space.T, image), out=image, alpha=-1.0, beta=1.0)
        block, coupling = backend.orthonormalize(image, floor)
        block, coupling = block[:, : n - size], backend.to_host(coupling)[: n - size]

        last = block.shape[1] == 0 or steps >= accuracy.steps
        full = size + block.shape[1] > capacity
        if last or full or steps >= next_check:
            kept = min(size, width + k // 2, capacity - block.shape[1]) if full else 0
            theta, y = top_eigh(projected[:size, :size], min(size, max(k + 2, kept)))
            residuals = np.sqrt(((coupling @ y[old:]) ** 2).sum(axis=0))
            target = np.maximum(np.minimum(accuracy.relative * np.abs(theta), accuracy.absolute), floor)
            if size > k:  # the next one tells the gap; an eigenvalue's error is its residual squared over its own gap
                allowed = 10 * accuracy.relative * abs(float(theta[k]))
                beyond = float(theta[k] - theta[k + 1]) if size > k + 1 else abs(float(theta[k]))
                target[k] = max(allowed, math.sqrt(allowed * beyond), floor)
            excess = float(np.where(accuracy.wants(theta, residuals), residuals / target, 0.0)[: k + 1].max())
            if last or (size >= k and excess <= 1):
                vectors = backend.matmul(space, _columns(y[:, : k + 2], space, xp))
                following = float(theta[k]) if size > k else 0.0
                return Eigenpairs(theta[:k], vectors[:, :k], following, residuals[:k], steps, vectors[:, k:])
            next_check = _next_check(checks, steps, excess)
            if relax is not None and not (size >= k and relax(_allowed_error(accuracy, theta[:k], residuals[:k]))):
                next_check = steps + 1

        # the new block is orthogonal to the basis only to rounding over its own (small) norm
        block = backend.matmul(space, backend.matmul(space.T, block), out=block, alpha=-1.0, beta=1.0)
        block, turn = backend.orthonormalize(block, 0.0)
        if relax is not None:
            coupling = backend.to_host(turn) @ coupling
            known = coupling @ y[old:, :kept] if full else np.pad(coupling, ((0, 0), (old, 0)))
        if full:
            basis[:, :kept] = backend.matmul(space, _columns(y[:, :kept], space, xp))
            projected[:kept, :kept] = np.diag(theta[:kept])
            size = kept


def _allowed_error(accuracy: Accuracy, theta: np.ndarray, residuals: np.ndarray) -> float:
    """Return the norm of an error in the next image that leaves the wanted residuals within the ``accuracy``."""
    sizes = np.maximum(np.abs(theta), 1e-300)
    shares = np.clip(2.0 * residuals / sizes, 1e-300, 1.0)  # of the next block in the Ritz vectors
    allowed = np.minimum(accuracy.relative * sizes, accuracy.absolute) / shares
    wanted = accuracy.wants(theta, residuals)
    return float(np.minimum(allowed, 0.03 * sizes).min(where=wanted, initial=0.03 * float(sizes[0])))


def block_width(k: int, total: int) -> int:
    """Return the columns of a Krylov block: the wanted ones, and a few for the gap after them."""
    return min(total, k + max(tunables.KRYLOV_SPARE_COLUMNS, k // 8))


def krylov_capacity(width: int, total: int) -> int:
    """Return the columns of the basis before a restart: 8 blocks, or 4 wide ones, whose projected problem is large."""
    least, most = tunables.KRYLOV_BASIS_COLUMNS
    return min(total, max(least, min(8 * width, most), 4 * width))


def _next_check(checks: list[tuple[int, float]], steps: int, excess: float) -> int:
    """Choose the step at which to solve the small eigenproblem again, which costs as much as some steps.

    Residuals fall by a constant factor a step in the end, of 7 at least mostly; before that rate is known, after three
    steps (two, after the first), or fewer where a factor of 20 each would do.
    """
    checks.append((steps, math.log(max(excess, 1.0))))
    if len(checks) < 2:
        return steps + min(2 if steps == 1 else 3, max(1, round(checks[0][1] / 3.0)))
    (before, higher), (now, lower) = checks[-2:]
    rate = (higher - lower) / (now - before)
    return steps + min(4, max(1, round(lower / max(rate, 2.0))))


def _columns(y: np.ndarray, like: Array, xp: ModuleType) -> Array:
    """Bring ``y`` to where ``like`` is, in its type, in Fortran order."""
    out: Array = xp.asarray(np.asfortranarray(y, dtype=like.dtype))
    return out


def _border(h: np.ndarray, old: int, column: np.ndarray) -> None:
    """Write the last columns of the symmetric matrix h from ``old`` on, and the rows that are their transposes."""
    size = len(column)
    h[:size, old:size] = column
    h[old:size, :size] = column.T
    corner = column[old:].astype(float)
    h[old:size, old:size] = 0.5 * (corner + corner.T)


def clusters(values: np.ndarray, relative_gap: float) -> list[tuple[int, int]]:
    """List runs (start, stop) of decreasing values that differ by at most relative_gap times the largest of the run.

    A chain of close neighbours whose ends are further apart is cut where its gaps are largest.
    """
    runs = [(0, len(values))] if len(values) else []
    found = []
    while runs:
        start, stop = runs.pop()
        if values[start] - values[stop - 1] > relative_gap * abs(values[start]):
            cut = start + 1 + int(np.argmax(values[start : stop - 1] - values[start + 1 : stop]))
            runs += [(cut, stop), (start, cut)]
        else:
            found.append((start, stop))
    return found


def canonical_basis(pairs: Eigenpairs, reference: Array, backend: Backend, relative_gap: float = 1e-8) -> Array:
    """Turn the eigenvectors to a basis that depends on their eigenspaces alone: no free signs, no free rotations.

    In a block V of equal eigenvalues, V^T R = q r (QR with positive diagonal) for fixed random columns R; V q is
    the same for every basis V of the space (V o gives o^T q), and its j-th vector has no part along the first
    j - 1 columns of R.  Random columns are almost surely well away from every boundary of this choice; the usual
    rule, largest entry positive, sits on one whenever the data are symmetric.
    """
    k = pairs.vectors.shape[1]
    directions = backend.xp.asfortranarray(reference[:, :k].astype(pairs.vectors.dtype, copy=False))
    overlap = backend.to_host(backend.matmul(pairs.vectors.T, directions))
    turn = np.zeros((k, k))
    for start, stop in clusters(pairs.values, relative_gap):
        if stop - start == 1:  # the usual case, without the cost of a factorisation
            turn[start, start] = -1.0 if overlap[start, 0] < 0 else 1.0
            continue
        q, r = np.linalg.qr(overlap[start:stop, : stop - start].astype(float))
        turn[start:stop, start:stop] = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return backend.matmul(pairs.vectors, _columns(turn, pairs.vectors, backend.xp))
