"""`sslcore.stream.moments`: one pass over blocks, whose sums are kept in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import check_boolean, check_scalar, gives_memory_back
from ..backends import device_of, get_backend
from ..features import Features
from ..fitting.accumulator import Accumulator
from ..fitting.checkpoint import PATIENCE
from ..fitting.data import as_data
from ..fitting.moments import Moments
from ..positives import TimeLag
from ..solvers.sums import Sums
from ._checkpoint import Checkpoint, checksum
from ._lagged import as_time_lag, longest_lag, of_pairs
from ._leaves import Parts
from ._sources import Leaf, Stream

__all__ = ["Progress", "moments"]

Progress = Callable[[int, int | None, float | None], Any]
"""Called with samples done, samples in all and seconds left, None where these are not known."""


@gives_memory_back
def moments(
    blocks: Any,
    features: Features,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 60,
    deterministic: bool = False,
    progress: Progress | None = None,
    positives: TimeLag | None = None,
    backend: str | None = None,
) -> Moments:
    """Sum the moments of features over blocks of views from anywhere, in one pass that a kill only delays.

    Parameters
    ----------
    blocks : path, array, or iterable
        Views (n, m, d), in one of these forms; m, d and the dtype are the same for all.

        * Names of files, or patterns such as ``"features-*.npy"``: ``.npy``, or Parquet (a column for each view, or
          one column of arrays (m, d)).  They are read in the order of their names, whatever the order in which they
          are given.
        * One array: of NumPy, a memory map, of zarr or HDF5, `sslcore.Views`.  It is read by leaves.
        * An iterable of arrays or of names of files: a list, a generator, a ``DataLoader`` of PyTorch.  A pair (first,
          views) says itself which samples these are, so that blocks may come in any order.

        With ``positives``, points (n, d) in the order of time in place of views.
    features : Features
        With nothing left to choose from data, as for `sslcore.Moments`.
    checkpoint : path, optional
        A file that keeps the sums and what was read: names, rows, and a checksum for each leaf of 16,384 views.  The
        same call goes on from it after any end, SIGKILL included, with the bits of a call that was not interrupted:
        what the file has seen is read again, and compared, but not multiplied.  More data may come behind it later.
    every : float
        Seconds between checkpoints, and at least 20 times those that the last one took; 0: after each leaf.
    deterministic : bool
        Add the sums of leaves by one fixed tree, so that neither the size of the blocks nor the order in which they
        come changes a bit.  It keeps a few sums more: one for each of log4(leaves) levels and for each group held
        out.  The bits are those of one number of threads of BLAS (OPENBLAS_NUM_THREADS), which a checkpoint remembers:
        give each of several machines one thread.
    progress : callable, optional
        (samples done, samples in all or None, seconds left or None), after each leaf.
    positives : TimeLag, optional
        The samples are the pairs (x_t, x_{t+lag}) of trajectories, as in `sslcore.Moments.update`: linear TICA with
        ``solve(k, reg=, center=True)`` for `sslcore.features.Identity`.  Each file is a trajectory, and arrays follow
        each other in one; ``boundaries`` of the law are lengths that count instead, whatever the blocks.  Between
        blocks the last ``lag`` points are kept.
    backend : {"numba", "cupy"}, optional
        Where to multiply; by default where the blocks are.

    Returns
    -------
    Moments
        With ``solve(k, reg="auto")``: a quarter of the leaves is held out for the choice of reg, in five groups, if
        there are at least 8 leaves (and 12 for the standard errors of the risks).  The representation is fitted to all.
        Of pairs, ``n`` counts them, and ``n_views`` their ends.  Leaves of 8,192 consecutive pairs are held out if lag
        is at most 256: at each end they share ``lag`` points with their neighbours.

    Raises
    ------
    ValueError
        A block of another width or dtype; an entry that is not finite, with file and row; an empty or cut file; a
        checkpoint of other features, settings or versions; input that is not what the checkpoint has seen, with file
        and rows; of trajectories none longer than lag, or boundaries with another sum.
    OSError
        A file cannot be read, or the checkpoint not be written: the one before it stays.

    Notes
    -----
    Sums are as in `sslcore.Moments`: products in the type of the views, sums in float64, about their mean.  The memory
    is O(r^2) for each of six sums, and one leaf of views and of features.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> blocks = [rng.normal(size=(n, 1, 4)) * [3, 2, 1, 1] + rng.normal(size=(n, 2, 4)) for n in (300, 200)]
    >>> found = sslcore.stream.moments(blocks, sslcore.features.Identity())
    >>> found.n, found.solve(2, reg=1e-3).n_active
    (500, 2)

    Of two trajectories in three arrays, the slowest coordinate; 600 points have 580 pairs:

    >>> x = np.cumsum(rng.normal(size=(600, 3)), axis=0) % 50 * [1, 0, 0] + rng.normal(size=(600, 3))
    >>> law = sslcore.positives.TimeLag(10, boundaries=[400, 200])
    >>> found = sslcore.stream.moments([x[:250], x[250:500], x[500:]], sslcore.features.Identity(), positives=law)
    >>> found.n, int(abs(found.solve(1, reg=1e-3, center=True).coefficients).argmax())
    (580, 0)
    """
    if not isinstance(features, Features):
        raise TypeError(f"features of sslcore.features were expected, found {features!r:.80}")
    law = None if positives is None else as_time_lag(positives)
    every = check_scalar(every, "every", minimum=0.0)
    deterministic = check_boolean(deterministic, "deterministic")
    kept = None if checkpoint is None else Checkpoint(checkpoint, features, deterministic, law)
    stream = Stream(blocks, law)
    run = _Run(features, kept, every, deterministic, backend, law)
    begin, done, compared = time.monotonic(), 0, 0
    for leaf in stream.leaves():
        done += len(leaf.views)
        if not run.take(leaf, stream):
            compared, begin = done, time.monotonic()
        if progress:
            left = None
            if stream.total is not None and done > compared:
                left = (time.monotonic() - begin) / (done - compared) * (stream.total - done)
            progress(done, stream.total, left)
    return run.finish(stream)


def sums_of(leaf: Leaf, accumulator: Accumulator) -> Sums:
    """Sum over a leaf; what is wrong with its views is said with their place."""
    try:
        sums = accumulator.sums(as_data(leaf.views, None, None, single_views=True))
        sums.require_finite()
    except ValueError as error:
        raise leaf.located(error) from None
    return sums


class _Run:
    """The sums of a stream, and when they were last written."""

    def __init__(
        self,
        features: Features,
        kept: Checkpoint | None,
        every: float,
        deterministic: bool,
        backend: str | None,
        law: TimeLag | None,
    ) -> None:
        self.features, self.kept, self.every, self.deterministic = features, kept, every, deterministic
        self.backend_name, self.law = backend, law
        self.accumulator: Accumulator | None = None
        self.verified, self.unwritten = 0, False
        self.due = time.monotonic() + every

    def take(self, leaf: Leaf, stream: Stream) -> bool:
        """Add a leaf, or compare it with the checkpoint that has it; return whether it was added."""
        if self.accumulator is None:
            self._begin(leaf)
        kept = self.kept
        if kept and leaf.index in kept.seen:
            kept.verify(leaf)
            self.verified += 1
            return False
        if kept and not leaf.whole:  # what a checkpoint holds can be gone on from when more data have come
            self._write(stream)
        assert self.accumulator is not None
        self.accumulator.recycle(self.parts.add(leaf.index, sums_of(leaf, self.accumulator)))
        if kept and leaf.whole:
            kept.seen[leaf.index] = checksum(leaf.views)
            self.verified += 1
            self.unwritten = True
            if time.monotonic() >= self.due:
                self._write(stream)
        return True

    def _begin(self, leaf: Leaf) -> None:
        source = device_of(getattr(leaf.spans[0][1], "value", leaf.views))
        self.backend = get_backend(leaf.views, backend=self.backend_name or source)
        self.from_host = source != self.backend.NAME
        if self.kept:
            self.kept.begin(leaf.views, self.backend)
        hold_out = self.law is None or self.law.lag <= longest_lag()
        nodes, width = (self.kept.nodes, self.kept.width) if self.kept else ((), None)
        self.parts = Parts(self.deterministic, nodes, width, hold_out)
        self.shape, self.dtype = leaf.views.shape, leaf.views.dtype
        self.accumulator = Accumulator(self.features, leaf.views.shape[2], leaf.views.dtype, self.backend)

    def _write(self, stream: Stream) -> None:
        if self.unwritten and self.kept:
            begin = time.monotonic()
            self.kept.write(self.parts.nodes(), stream.files)
            self.unwritten, end = False, time.monotonic()
            self.due = end + max(self.every, PATIENCE * (end - begin) * (self.every > 0))

    def finish(self, stream: Stream) -> Moments:
        """Return the moments; all leaves have come."""
        if self.kept:
            self.kept.require_all(self.verified)
        self._write(stream)
        if self.accumulator is not None:
            self.accumulator.recycle(None)  # room for the totals
        training, held = self.parts.totals()
        for part in (training, *held):
            part.require_finite()
        if self.law is not None:
            training, held = of_pairs(training), tuple(map(of_pairs, held))
        return Moments.of_sums(
            self.features,
            self.shape[2],
            training,
            held,
            epsilon=float(np.finfo(self.dtype).eps),
            backend=self.backend_name,
            from_host=self.from_host,
        )
