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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.blas  # noqa: F401  # those that we multiply with are loaded before pools are looked for
import threadpoolctl
from dask.sizeof import sizeof

from ..arrays import Array, as_float_dtype, as_native, namespace
from ..augmentations import Augmentation, Views
from ..backends import get_backend
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
    "Span",
    "add_sums",
    "check_chunk",
    "node_name",
    "one_thread",
    "shape_of",
    "sum_array",
    "sum_files",
    "values_of",
    "views_of",
]


@dataclass(frozen=True)
class Job:
    """The parts that all tasks of a sum share.

    ``leaf`` is the number of samples of a leaf, ``width`` that of sums that a node of the tree adds; ``token`` names
    the features, for which workers keep what they have prepared.  ``hold_out`` is that of `sslcore.stream._leaves`.
    """

    features: Features
    token: str
    leaf: int
    width: int
    backend: str | None
    versions: dict[str, str]
    hold_out: bool = True

    def parts(self) -> Parts:
        """Make the trees of a sum, which are empty."""
        return Parts(True, width=self.width, hold_out=self.hold_out)


@dataclass(frozen=True)
class Span:
    """A file, the first sample of the stream that is in it, and the shape and dtype that it had when it was listed."""

    path: Path
    first: int
    shape: tuple[int, ...]
    dtype: np.dtype


# ---------------------------------------------------------------- one thread of BLAS


class _OneThread:
    """One limit on BLAS for all tasks that run in this process at a time."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        self._pools: Any = None
        self._limit: Any = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            if self._count == 1:
                if self._pools is None:  # looking for them takes milliseconds, more than many a task
                    self._pools = threadpoolctl.ThreadpoolController()
                self._limit = self._pools.limit(limits=1, user_api="blas")
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._limit.restore_original_limits()


one_thread = _OneThread()

# ---------------------------------------------------------------- sums


_prepared = threading.local()
"""What each thread keeps for its next task: the last `Accumulator`, with its token, for preparing landmarks takes as
long as many leaves; and the memory of a leaf that is read, for fresh memory is paged in."""


def _accumulator(job: Job, views: Array) -> Accumulator:
    backend = get_backend(views, backend=job.backend)
    key = job.token, views.shape[2], views.dtype.str, backend.NAME
    if getattr(_prepared, "key", None) != key:
        _prepared.accumulator = Accumulator(job.features, views.shape[2], views.dtype, backend)
        _prepared.key = key
    found: Accumulator = _prepared.accumulator
    return found


def _sum(job: Job, leaves: Iterable[Leaf]) -> Sums | dict[str, Sums]:
    """Sum leaves, and add their sums as far as the tree allows: several are named by `node_name`."""
    here = _versions()
    if here != job.versions:
        raise ValueError(
            f"a worker has other versions than the client: {difference(job.versions, here)} (here: the worker); "
            f"install the same on all machines, or the last bits depend on which worker did what"
        )
    host, parts = get_backend(backend="numba"), job.parts()
    with one_thread():
        for leaf in leaves:
            accumulator = _accumulator(job, leaf.views)
            done = parts.add(leaf.index, sums_of(leaf, accumulator).on(host).in_fortran_order())
            if accumulator.backend is host:
                accumulator.recycle(done)
        accumulator.recycle(None)  # it is kept for the next task, which may be long in coming
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
    memory = _leaf_memory((min(job.leaf, stop - start), *like.shape[1:]), as_float_dtype(like.dtype, like.name))
    for position in range(start, stop, job.leaf):
        end = min(position + job.leaf, stop)
        spans: list[tuple[int, Block, int]] = []
        for first, block in blocks:
            begin, last = max(position, first), min(end, first + block.shape[0])
            if begin < last:
                block.fill(begin - first, memory[begin - position : last - position])
                spans.append((begin - position, block, begin - first))
        yield Leaf(position // job.leaf, memory[: end - position], end - position == job.leaf, spans)


def _leaf_memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return memory for a leaf: that of the leaves of this thread's last task, if it is like it."""
    kept = getattr(_prepared, "leaf", None)
    if kept is None or kept.shape[1:] != shape[1:] or kept.dtype != dtype or len(kept) < shape[0]:
        kept = _prepared.leaf = np.empty(shape, dtype)
    found: np.ndarray = kept[: shape[0]]
    return found


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
