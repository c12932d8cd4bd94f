"""Tasks of workers: pure functions of a partition and of a `Job`, which they get once.

Products shall be those of one thread of BLAS, whose last bits may depend on the number.  Dask's nannies begin their
workers so; for others BLAS is asked for it as long as any of our tasks runs in the process, which OpenBLAS heeds from
the thread that asked first, and not from each.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.blas  # noqa: F401  # those that we multiply with are loaded before pools are looked for
import threadpoolctl
from dask.sizeof import sizeof

from .. import tunables
from ..arrays import Array, as_float_dtype, as_native, namespace
from ..augmentations import Augmentation, Views
from ..backends import Backend, get_backend
from ..features import Features
from ..fitting.accumulator import Accumulator
from ..fitting.representation import Representation
from ..io.records import difference, versions
from ..solvers.sums import Sums
from ..stream._files import Block
from ..stream._leaves import Node, Parts
from ..stream._moments import sums_of
from ..stream._sources import ArrayBlock, Leaf, open_file

__all__ = [
    "Job",
    "Kept",
    "Span",
    "add_sums",
    "begun",
    "check_chunk",
    "node_name",
    "one_thread",
    "shape_of",
    "sum_array",
    "sum_files",
    "values_of",
    "views_of",
]


class Kept:
    """Memory of leaves and sums, and prepared features, which tasks of a job leave for its next ones in this process.

    Fresh memory would be paged in for each task, and preparing landmarks takes as long as many leaves.  Of leaves and
    features there is as much as tasks have had at a time, which is what is predicted of them, and of sums
    `tunables.DASK_SPARE_PARTS` more; and it goes with the job that `begun` makes, which Dask lets go after its last
    task.  It stays where it is: who is sent the job begins with nothing.

    Parameters
    ----------
    calls : bool
        Whether it is that of the call, in the caller's process, which closes it.
    """

    def __init__(self, calls: bool = False) -> None:
        self.calls, self._closed = calls, False
        self._leaves, self._accumulators, self._sums = list[np.ndarray](), list[Accumulator](), list[np.ndarray]()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()

    @contextlib.contextmanager
    def leaf(self, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
        """Lend memory of a leaf, the same shape and dtype for all tasks of a job; its values are any."""
        memory = _popped(self._leaves)
        memory = np.empty(shape, dtype) if memory is None else memory
        yield memory
        self._leaves.append(memory)
        self._emptied()

    @contextlib.contextmanager
    def accumulator(self, features: Features, views: Array, backend: Backend) -> Iterator[Accumulator]:
        """Lend an accumulator for views like these; it keeps no sums for the next task, which may be long in coming."""
        found = _popped(self._accumulators)
        if found is None or found.backend is not backend:  # chunks may be on the host and on devices
            found = Accumulator(features, views.shape[2], views.dtype, backend)
        yield found
        found.recycle(None)
        self._accumulators.append(found)
        self._emptied()

    def sums(self, r: int) -> Sums:
        """Lend memory of sums, with any values; it comes back with the last array that is in it.

        Dask has the sums of a task for as long as other tasks, here or elsewhere, wait for them.
        """
        memory = _popped(self._sums)
        memory = np.empty((r, r, 2), order="F") if memory is None else memory
        matrices = np.asarray(_Lent(memory, self))
        return Sums(0, 0, 0.0, np.zeros(r), matrices[..., 0], matrices[..., 1], None, None)

    def take_back(self, memory: np.ndarray) -> None:
        """Take memory that was lent by `sums`."""
        if len(self._sums) < tunables.DASK_SPARE_PARTS:
            self._sums.append(memory)
        self._emptied()

    def close(self) -> None:
        """Give all of it up, and what tasks that run still bring back."""
        self._closed = True
        self._emptied()

    def _emptied(self) -> None:
        if self._closed:
            self._leaves.clear()
            self._accumulators.clear()
            self._sums.clear()


class _Lent:
    """An array that NumPy makes others of, and that goes back when the last of these is gone."""

    def __init__(self, memory: np.ndarray, kept: Kept) -> None:
        self._memory, self._kept = memory, weakref.ref(kept)  # those that Dask still has shall not keep it alive

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._memory.__array_interface__

    def __del__(self) -> None:
        kept = self._kept()
        if kept is not None:
            kept.take_back(self._memory)


def _popped(some: list[Any]) -> Any:
    """Take the last one, None if there is none; a list of Python does so for one thread at a time."""
    try:
        return some.pop()
    except IndexError:
        return None


@dataclass(frozen=True)
class Job:
    """The parts that all tasks of a sum share.

    ``leaf`` is the number of samples of a leaf, ``width`` that of sums that a node of the tree adds.  ``hold_out`` is
    that of `sslcore.stream._leaves`.
    """

    features: Features
    leaf: int
    width: int
    backend: str | None
    versions: dict[str, str]
    hold_out: bool = True
    kept: Kept = field(default_factory=lambda: Kept(calls=True), repr=False, compare=False)

    def parts(self) -> Parts:
        """Make the trees of a sum, which are empty."""
        return Parts(True, width=self.width, hold_out=self.hold_out)


def begun(job: Job) -> Job:
    """Give a job something to keep memory in, where its tasks run.

    Within one process Dask pickles no messages, and remembers a thousand of them: the job that was sent outlives its
    tasks there, and would keep what they leave.  The result of a task does not.
    """
    return job if job.kept.calls else replace(job, kept=Kept())


@dataclass(frozen=True)
class Span:
    """A file, the first sample of the stream that is in it, and the shape and dtype that it had when it was listed."""

    path: Path
    first: int
    shape: tuple[int, ...]
    dtype: np.dtype


# ---------------------------------------------------------------- one thread of BLAS


class _OneThread:
    """One limit on BLAS for all tasks that run in this process at a time.

    The number of threads is the process's: whoever has set another one meanwhile keeps it, as does a
    ``threadpoolctl.threadpool_limits`` that began before a task and ended within it.
    """

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        self._pools: list[Any] | None = None
        self._limited: list[tuple[Any, int]] = []

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                if self._pools is None:  # looking for them takes milliseconds, more than many a task
                    self._pools = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
                self._limited = [(pool, pool.num_threads) for pool in self._pools if pool.num_threads != 1]
                for pool, _ in self._limited:
                    _set_threads(pool, 1)
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    for pool, before in self._limited:
                        if pool.num_threads == 1:
                            _set_threads(pool, before)


def _set_threads(pool: Any, count: int) -> None:
    """Set the number of threads of a BLAS: from 3.8 on threadpoolctl heeds only the thread that asked first."""
    release = getattr(pool, "clear_controlling_thread", lambda force=False: None)
    release(force=True)
    pool.set_num_threads(count)
    release()


one_thread = _OneThread()

# ---------------------------------------------------------------- sums


def _sum(job: Job, leaves: Iterable[Leaf]) -> Sums | dict[str, Sums]:
    """Sum leaves, and add their sums as far as the tree allows: several are named by `node_name`."""
    here = _versions()
    if here != job.versions:
        raise ValueError(
            f"a worker has other versions than the client: {difference(job.versions, here)} (here: the worker); "
            f"install the same on all machines, or the last bits depend on which worker did what"
        )
    host, parts = get_backend(backend="numba"), job.parts()
    with one_thread(), contextlib.ExitStack() as lent:
        accumulator: Accumulator | None = None
        done: Sums | None = None
        for leaf in leaves:
            if accumulator is None:
                backend = get_backend(leaf.views, backend=job.backend)
                accumulator = lent.enter_context(job.kept.accumulator(job.features, leaf.views, backend))
            if accumulator.backend is host:
                accumulator.recycle(done or job.kept.sums(job.features.n_features(leaf.views.shape[2])))
            done = parts.add(leaf.index, sums_of(leaf, accumulator).on(host).in_fortran_order())
    found = {node_name(part, node): node.sums for part, node in parts.nodes()}
    return found if len(found) > 1 else found.popitem()[1]


@functools.cache
def _versions() -> dict[str, str]:
    """Look versions up once: that takes as long as many a task."""
    return versions()


@sizeof.register(Sums)
def _bytes_of(sums: Sums) -> int:
    """Tell Dask the bytes of sums, which it places tasks and looks after memory by."""
    arrays = (sums.mean, sums.between, sums.within, sums.unbiased)
    return sum(int(array.nbytes) for array in arrays if array is not None)


def node_name(part: int, node: Node) -> str:
    """Name a node by its place."""
    return f"{part}-{node.level}-{node.index}-{node.count}"


def sum_array(job: Job, views: Any, first: int, shape: tuple[int, ...], dtype: np.dtype) -> Sums | dict[str, Sums]:
    """Sum the leaves of an array (n, m, d), whose first sample has this number in the stream and begins a leaf."""
    views = as_native(views, "a block of views")
    check_chunk(views, first, shape, dtype)
    return _sum(job, _leaves_of_array(job, views, first))


def check_chunk(views: Array, first: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse a chunk that is not as its array was declared: its samples would have the numbers of others."""
    if (tuple(views.shape), views.dtype) != (shape, dtype):
        raise ValueError(
            f"the chunk from sample {first} on has shape {tuple(views.shape)} and dtype {views.dtype}, declared are "
            f"{shape} and {dtype}; give map_blocks and from_delayed the true chunks and dtype"
        )


def _leaves_of_array(job: Job, views: Array, first: int) -> Iterator[Leaf]:
    block = ArrayBlock(views, "the array")
    dtype = as_float_dtype(views.dtype, "views")
    for start in range(0, len(views), job.leaf):
        part = namespace(views).ascontiguousarray(views[start : start + job.leaf], dtype=dtype)
        spans: list[tuple[int, Block, int]] = [(0, block, first + start)]
        yield Leaf((first + start) // job.leaf, part, len(part) == job.leaf, spans)


def sum_files(job: Job, files: list[Span], start: int, stop: int) -> Sums | dict[str, Sums]:
    """Sum the samples start, ..., stop - 1 of the stream, which these files hold; start begins a leaf."""
    try:
        return _sum(job, _leaves_of_files(job, files, start, stop))
    except OSError as error:
        reason = f"{error}; workers must find the files under the same names as the client"
        raise type(error)(error.errno or errno.EIO, reason) from None


def _leaves_of_files(job: Job, files: list[Span], start: int, stop: int) -> Iterator[Leaf]:
    blocks = []
    for span in files:
        block = open_file(span.path)
        if (block.shape, block.dtype) != (span.shape, span.dtype):
            raise ValueError(
                f"{block.name} has the shape {block.shape} and the dtype {block.dtype} on a worker, {span.shape} and "
                f"{span.dtype} where it was listed: it has changed, or is another file there"
            )
        blocks.append((span.first, block))
    _, like = blocks[0]
    with job.kept.leaf((job.leaf, *like.shape[1:]), as_float_dtype(like.dtype, like.name)) as memory:
        for position in range(start, stop, job.leaf):
            end = min(position + job.leaf, stop)
            spans: list[tuple[int, Block, int]] = []
            for first, block in blocks:
                begin, last = max(position, first), min(end, first + block.shape[0])
                if begin < last:
                    block.fill(begin - first, memory[begin - position : last - position])
                    spans.append((begin - position, block, begin - first))
            yield Leaf(position // job.leaf, memory[: end - position], end - position == job.leaf, spans)


def add_sums(some: list[Sums]) -> Sums:
    """Add sums from left to right; they stay as they are, for other tasks may have them too."""
    total = some[0].copied()
    with one_thread():
        for sums in some[1:]:
            total.add(sums)
    return total


# ---------------------------------------------------------------- other tasks


def shape_of(block: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape of a block, and the dtype in words."""
    if not hasattr(block, "shape") or not hasattr(block, "dtype"):
        raise TypeError(f"delayed blocks must be arrays (n, m, d), found {type(block).__name__}")
    return tuple(map(int, block.shape)), np.dtype(block.dtype).str


def values_of(x: Any, representation: Representation, scale: str, backend: str | None, block_info: Any = None) -> Any:
    """Evaluate a representation at a chunk, which may be empty."""
    if not len(x):
        shape = (*x.shape[:-1], representation.n_components)
        return namespace(x).empty(shape, as_float_dtype(x.dtype, "x"))
    try:
        return representation.transform(x, scale, backend=backend)
    except ValueError as error:
        raise ValueError(f"{error} (in the chunk from row {_first(block_info)} on)") from None


def views_of(x: Any, augmentation: Augmentation, n_views: int, seed: int, block_info: Any = None) -> Any:
    """Make the views of a chunk of samples, which may be empty."""
    if not len(x):
        like = Views(np.zeros((1, *x.shape[1:]), x.dtype), augmentation, n_views, seed)
        return namespace(x).empty((0, *like.shape[1:]), like.dtype)
    first = _first(block_info)
    try:
        made = Views(x, augmentation, n_views, seed)
        return made.make(made.samples(0, len(made)), first)
    except ValueError as error:
        raise ValueError(f"{error} (in the chunk from sample {first} on)") from None


def _first(block_info: Any) -> int:
    """Return the number of the first row of a chunk."""
    return int(block_info[0]["array-location"][0][0])
