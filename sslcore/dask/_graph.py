"""The tasks of a sum: runs of leaves where the views are, then the nodes of the tree that `sslcore.stream` adds by.

Which nodes a run leaves is known beforehand: a tree of counts tells.
"""

from __future__ import annotations

import functools
import itertools
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.base import annotate
from dask.delayed import Delayed, delayed

from .. import tunables
from ..features import Features
from ..stream._leaves import GROUPS, Node, leaf_samples, node_after
from ..stream._sources import Stream
from . import _work
from ._work import Job, Span

__all__ = ["Chunks", "Data", "Files", "totals"]


class Data(ABC):
    """Views (n, m, d) in runs of leaves, each the work of one task.

    Attributes
    ----------
    shape, dtype
        Of all views, as they are stored.
    unit, remedy : str
        For messages: what a task has of the views, and how it would have less.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    unit: str
    remedy: str

    @abstractmethod
    def runs(self) -> list[tuple[int, int]]:
        """Return the first and the last sample, not included, of each run, in their order."""

    @abstractmethod
    def task(self, job: Any, number: int) -> Any:
        """Make the task of a run."""

    @abstractmethod
    def task_bytes(self, leaf: int) -> int:
        """Return the bytes of views that a task has at a time."""


class Chunks(Data):
    """A Dask array, whose chunks begin with a leaf and hold all views and coordinates."""

    unit, remedy = "a chunk", "smaller chunks (views.rechunk({0: rows}))"

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype, self._rows = array.shape, array.dtype, array.chunks[0]
        self._chunks = array.to_delayed().ravel()
        ends = np.cumsum(self._rows).tolist()
        self._runs = list(zip([0, *ends[:-1]], ends, strict=True))

    def runs(self) -> list[tuple[int, int]]:
        """Take the chunks as they are."""
        return self._runs

    def task(self, job: Any, number: int) -> Any:
        """Sum a chunk."""
        shape = (self._rows[number], *self.shape[1:])
        first, _ = self._runs[number]
        return delayed(_work.sum_array, pure=False)(job, self._chunks[number], first, shape, self.dtype)

    def task_bytes(self, leaf: int) -> int:
        """Count a chunk, and a leaf of it as it is worked on."""
        _, m, d = self.shape
        return (max(self._rows) * self.dtype.itemsize + leaf * 8) * m * d


class Files(Data):
    """Files that the client has listed, and whose rows workers read."""

    unit, remedy = "a leaf", "fewer features"

    def __init__(self, names: Any, threads: int, features: Features, ordered: bool) -> None:
        stream = Stream(names)
        assert stream.known is not None
        assert stream.total is not None
        first = stream.known[0]
        self.shape, self.dtype, self._spans = (stream.total, *first.shape[1:]), first.dtype, list[Span]()
        start = 0
        for block in stream.known:
            path = Path(os.path.abspath(block.source.path))  # type: ignore[attr-defined]  # a list of names gives files
            self._spans.append(Span(path, start, block.shape, block.dtype))
            start += block.shape[0]
        self._starts = [span.first for span in self._spans]
        _, m, d = self.shape
        size, r = leaf_samples(m), features.n_features(d)
        flops = float(size * m) * r * (r + d)
        ends = [size * leaf for leaf in ends_of_tasks(-(-start // size), threads, flops, ordered)]
        self._runs = [(begin, min(end, start)) for begin, end in itertools.pairwise([0, *ends])]
        self._group = f"sum_files-{uuid.uuid4().hex}"

    def runs(self) -> list[tuple[int, int]]:
        """Cut into runs, whatever the files."""
        return self._runs

    def task(self, job: Any, number: int) -> Any:
        """Read and sum the samples of a run."""
        start, stop = self._runs[number]
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right")
        spans = self._spans[max(0, first - 1) : last]
        # of one group: Dask spreads many such tasks over all workers, and others to where their job is
        name = self._group, number
        with annotate(priority=-number):  # distributed begins tasks in this order, Dask's threads do not
            return delayed(_work.sum_files, pure=False)(job, spans, start, stop, dask_key_name=name)

    def task_bytes(self, leaf: int) -> int:
        """Count a leaf, as it is read and as it is worked on."""
        _, m, d = self.shape
        return leaf * m * d * (8 + self.dtype.itemsize)


def ends_of_tasks(n_leaves: int, threads: int, flops: float, ordered: bool) -> list[int]:
    """Return the leaves that tasks end before, of so many operations a leaf: no bit depends on it.

    Runs for large streams are of one size.  Others get shorter towards the end, so that threads are done at about the
    same time, if tasks begin in their order; else they are of one size too, for the longest may begin last.  As long
    as they have a node's leaves they begin with a node, so that its sum alone is left of it.
    """
    wanted = tunables.DASK_THREAD_PARTS * threads
    for size in sorted(tunables.DASK_RUN_PARTS, reverse=True):
        if n_leaves >= size * wanted:
            return [*range(size, n_leaves, size), n_leaves]
    most, ends = max(1, int(tunables.DASK_TASK_FLOPS / flops)), [0]
    if not ordered:
        size = max(1, min(most, n_leaves // wanted))
        return [*range(size, n_leaves, size), n_leaves]
    node = node_after(1)
    # one thread may be an adaptive cluster with its least worker, which will have more
    most = max(node, min(most, n_leaves // tunables.DASK_THREAD_PARTS))
    while ends[-1] < n_leaves:
        share = (n_leaves - ends[-1]) // (tunables.DASK_SHARE_PARTS * threads)
        end = ends[-1] + max(1, min(most, share))
        ends.append(min(node_after(end), n_leaves) if share >= node else end)
    return ends[1:]


# ---------------------------------------------------------------- the tree


@dataclass
class _Nothing:
    """Stands for sums where only the shape of a tree is asked for."""

    def add(self, other: _Nothing) -> None:
        pass


def totals(job: Job, data: Data) -> tuple[list[Delayed], int]:
    """Make the tasks of all sums: those of the training part and of the groups that have any.

    The second result is the largest number of sums that a task has at a time.
    """
    shared = delayed(functools.partial(_work.begun, job), pure=False, traverse=False)()  # a call would look into it
    found: list[list[tuple[Node, Delayed]]] = [[] for _ in range(1 + GROUPS)]
    most = job.width
    for number, (start, stop) in enumerate(data.runs()):
        shape = job.parts()
        for leaf in range(start // job.leaf, -(-stop // job.leaf)):
            shape.add(leaf, _Nothing())  # type: ignore[arg-type]  # only its place is asked for
        task, nodes = data.task(shared, number), shape.nodes()
        for part, node in nodes:
            found[part].append((node, task if len(nodes) == 1 else task[_work.node_name(part, node)]))
        most = max(most, len(nodes))
    return [_total(some, job.width) for some in found if some], most + 1


def _total(nodes: Iterable[tuple[Node, Delayed]], width: int) -> Delayed:
    """Add the nodes of one part, over all its leaves: whole nodes level by level, then those that are not whole."""
    whole: dict[int, dict[int, Delayed]] = {}
    begun: dict[int, dict[int, tuple[int, Delayed]]] = {}
    for node, task in nodes:
        if node.count:
            begun.setdefault(node.level, {})[node.index] = node.count, task
        else:
            whole.setdefault(node.level, {})[node.index] = task
    level, edge = 0, list[Delayed]()
    while level <= max([*whole, *begun]):
        children, parents = whole.get(level, {}), begun.get(level + 1, {})
        for index in sorted(parents.keys() | {child // width for child in children}):
            count, *summands = parents.get(index, (0,))
            while count < width and index * width + count in children:
                summands.append(children.pop(index * width + count))
                count += 1
            total = _added(summands)
            if count == width:
                whole.setdefault(level + 1, {})[index] = total
            else:
                edge.append(total)
        assert not children
        level += 1
    total = edge[0]
    for above in edge[1:]:
        total = _added([above, total])
    return total


def _added(summands: list[Delayed]) -> Delayed:
    return summands[0] if len(summands) == 1 else delayed(_work.add_sums, pure=False)(summands)
