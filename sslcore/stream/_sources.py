"""Blocks of views from anywhere, cut into leaves."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import as_float_dtype, as_native, check_finite, check_map, on_host, shown
from ..fitting.collections import home_of, require_known_sizes
from ..io.frames import is_frame
from ..io.tables import Source
from ..positives import TimeLag
from ._files import FILES, Block, require_alike
from ._lagged import lagged
from ._leaves import leaf_samples

__all__ = ["ArrayBlock", "Leaf", "Stream", "open_file", "points_of"]


class ArrayBlock(Block):
    """An array, or what is read like one: a memory map, `sslcore.Views`, an array of zarr or HDF5."""

    def __init__(self, value: Any, name: str) -> None:
        self.value, self.name = value, name
        self.shape, self.dtype = tuple(map(int, value.shape)), np.dtype(value.dtype)

    def fill(self, start: int, out: np.ndarray) -> None:
        """Copy rows, from the device too."""
        check_map(self.value, self.name)
        stop = start + len(out)
        part = self.value.block(start, stop) if hasattr(self.value, "block") else self.value[start:stop]
        out[...] = on_host(part)


@dataclass
class Leaf:
    """Samples ``index`` * leaf size and following, in memory that the next leaf may use again."""

    index: int
    views: np.ndarray
    whole: bool
    spans: list[tuple[int, Block, int]] = field(default_factory=list)
    """Row of the leaf from which on they are of this block, and which row of it that is."""

    def _source(self, row: int) -> tuple[Block, int]:
        """Return the block of a row, and which one of its rows it is."""
        first, block, start = max((span for span in self.spans if span[0] <= row), key=lambda span: span[0])
        return block, start + row - first

    def place(self, row: int) -> str:
        """Return where a row came from, in words."""
        block, number = self._source(row)
        return block.place(number)

    def range(self) -> str:
        """Return where all rows came from, in words."""
        return f"{self.place(0)} to {self.place(len(self.views) - 1)}"

    def located(self, error: ValueError) -> ValueError:
        """Return the error for an entry that is not finite, with its place, if that is what was wrong."""
        if not check_finite(self.views):
            views = on_host(self.views)
            sample, view, coordinate = (int(i) for i in np.argwhere(~np.isfinite(views))[0])
            block, number = self._source(sample)
            where = block.entry(number, view, coordinate)
            return ValueError(
                f"views must be finite, found {views[sample, view, coordinate]} at {where}; remove or impute it"
            )
        return type(error)(f"{error} (in {self.range()})")


class Stream:
    """Blocks of views as leaves; with a law, of points as the leaves of its pairs.

    Attributes
    ----------
    known : list of Block or None
        All blocks, where they are known beforehand.
    total : int or None
        Samples in all, likewise.
    files : list of (str, int, int)
        Name, first sample and number of samples of each file that was begun.
    """

    def __init__(self, blocks: Any, law: TimeLag | None = None) -> None:
        self._blocks, self.known = _as_blocks(blocks)
        if law:
            pairs = lagged(self._blocks, law, stay=self.known is not None)
            self.known = None if self.known is None else list(pairs)
            self._blocks = ((block, None) for block in (pairs if self.known is None else self.known))
        self.total: int | None = None
        self.files: list[tuple[str, int, int]] = []
        self._first: Block | None = None
        if self.known is not None:  # what can be refused before the work is
            for block in self.known:
                self._check(block)
            self.total = sum(block.shape[0] for block in self.known)

    def _check(self, block: Block) -> None:
        """Refuse blocks that are no views, or not like the first."""
        if len(block.shape) != 3:
            raise ValueError(
                f"blocks must be views (n, m, d), {block.name} has shape {block.shape}; for features of one view of "
                f"each sample hand over array[:, None], for points in the order of time positives=TimeLag(lag)"
            )
        if 0 in block.shape[1:]:
            raise ValueError(f"{block.name} is empty: its shape is {block.shape}")
        as_float_dtype(block.dtype, block.name)
        first = self._first = self._first or block
        require_alike(block, first, ("views of each sample", 1), ("coordinates", 2))

    def leaves(self) -> Iterator[Leaf]:
        """Yield whole leaves as soon as all of their samples are there, at the end the rest.

        Raises
        ------
        ValueError
            A block of another width or dtype; samples that came twice, or never; no block at all.
        """
        open_leaves: dict[int, _Open] = {}
        complete: set[int] = set()
        spare: list[_Open] = []
        position = end = 0
        for block, first in self._blocks:
            self._check(block)
            position = position if first is None else first
            if block.is_file:
                self.files.append((block.name, position, block.shape[0]))
            size = leaf_samples(block.shape[1])
            row = 0
            while row < block.shape[0]:
                index, place = divmod(position, size)
                count = min(block.shape[0] - row, size - place)
                if index in complete:
                    raise _twice(position, block)
                leaf = open_leaves.get(index)
                if leaf is None:
                    leaf = open_leaves[index] = spare.pop() if spare else _Open(size, block)
                    leaf.begin()
                leaf.take(place, count, block, row, position)
                row, position = row + count, position + count
                if leaf.filled == size:
                    yield Leaf(index, leaf.views, True, leaf.spans)
                    complete.add(index)
                    spare.append(open_leaves.pop(index))
            end = max(end, position)
        if self._first is None or not end:
            raise ValueError("the stream is empty: there was no block of views, or none with a sample")
        size = leaf_samples(self._first.shape[1])
        missing = next((i for i in range(-(-end // size)) if i not in complete and i not in open_leaves), None)
        for index, leaf in sorted(open_leaves.items()):
            count = min(end - index * size, size)
            if leaf.filled < count:
                missing = min(index, index if missing is None else missing)
        if missing is not None:
            raise ValueError(
                f"samples between {missing * size} and {min((missing + 1) * size, end)} never came; blocks (first, "
                f"views) must leave no gap"
            )
        for index, leaf in open_leaves.items():
            yield Leaf(index, leaf.views[: leaf.filled], False, leaf.spans)


class _Open:
    """A leaf that is being filled."""

    def __init__(self, size: int, block: Block) -> None:
        self.views = np.empty((size, *block.shape[1:]), as_float_dtype(block.dtype, block.name))
        self._there = np.zeros(size, bool)

    def begin(self) -> None:
        self._there[:] = False
        self.filled, self.spans = 0, list[tuple[int, Block, int]]()

    def take(self, place: int, count: int, block: Block, row: int, position: int) -> None:
        """Read ``count`` rows of a block from ``row`` on to ``place``."""
        part = slice(place, place + count)
        if self._there[part].any():
            raise _twice(position, block)
        block.fill(row, self.views[part])
        self._there[part] = True
        self.filled += count
        self.spans.append((place, block, row))


def _twice(position: int, block: Block) -> ValueError:
    return ValueError(f"sample {position} came twice, the second time in {block.name}")


# ---------------------------------------------------------------- what users hand over


def _as_blocks(blocks: Any) -> tuple[Iterable[tuple[Block, int | None]], list[Block] | None]:
    """Return blocks with their first samples, where these are said, and the list of all where that is known now."""
    home_of(blocks)  # which refuses what has no shape yet
    _require_no_frame(blocks, "blocks")
    if isinstance(blocks, str | os.PathLike):
        blocks = [blocks]
    if isinstance(blocks, list | tuple) and blocks and all(isinstance(b, str | os.PathLike) for b in blocks):
        blocks = [path for each in blocks for path in _matching(each)]
        known: dict[Any, str] = {}
        for path in blocks:
            real = _identity(path)
            if real in known:
                also = f", also as {known[real]}" if known[real] != path else ""
                raise ValueError(f"{path} is named twice{also}: its samples would count twice")
            known[real] = path
        blocks.sort()  # the order in which they are named is none of the data
    elif _is_array(blocks) and len(blocks.shape) > 0:
        return _listed([ArrayBlock(_readable(blocks), "the array")])
    if isinstance(blocks, list | tuple):
        found = [_as_block(item, i) for i, item in enumerate(blocks)]
        return found, [block for block, _ in found]
    if not isinstance(blocks, Iterable):
        raise TypeError(
            f"blocks must be an array (n, m, d), files, or an iterable of such, found {shown(blocks)} of "
            f"{type(blocks).__name__}"
        )
    return (_as_block(item, i) for i, item in enumerate(blocks)), None


def _listed(found: list[Block]) -> tuple[Iterable[tuple[Block, int | None]], list[Block]]:
    return [(block, None) for block in found], found


def _matching(pattern: str | os.PathLike[str]) -> list[str]:
    """Return the files that match a pattern, in the order of their names; a file's own name matches it."""
    name = os.fspath(pattern)
    if os.path.lexists(name) or not glob.has_magic(name):
        return [name]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise FileNotFoundError(f"no file matches {name}")
    return found


def _identity(path: str) -> Any:
    """Return what all names of a file have in common, links among them."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        if found.st_ino:
            return found.st_dev, found.st_ino
    return os.path.realpath(path)  # of a file that is not there, or has no number


def _as_block(item: Any, number: int) -> tuple[Block, int | None]:
    """Make a block of what an iterable yields: views, a file's name, or (first sample, one of both)."""
    first = None
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], int | np.integer):
        first, item = int(item[0]), item[1]
        if first < 0:
            raise ValueError(f"the first sample of block {number} must be at least 0, found {first}")
    elif isinstance(item, list | tuple) and len(item) == 1 and _is_array(item[0]):
        item = item[0]  # of torch's TensorDataset
    home_of(item)  # which refuses what has no shape yet
    _require_no_frame(item, f"block {number}")
    if isinstance(item, str | os.PathLike):
        return open_file(Path(item)), first
    if not _is_array(item):
        raise TypeError(
            f"block {number} must be views (n, m, d), the name of a file, or (first sample, views), found "
            f"{shown(item)} of {type(item).__name__}; of a loader whose batches hold labels too: "
            f"(views for views, _ in loader)"
        )
    return ArrayBlock(_readable(item), f"block {number}"), first


def _require_no_frame(value: Any, name: str) -> None:
    """Refuse a frame, which would be iterated by the names of its columns."""
    if is_frame(value):
        raise TypeError(
            f"{name} must be views (n, m, d), found {type(value).__name__} of {type(value).__module__.split('.')[0]}; "
            f"hand over frame.to_numpy()[:, None], or for points in the order of time frame.to_numpy() with "
            f"positives=TimeLag(lag)"
        )


def _is_array(value: Any) -> bool:
    """Tell whether a value is an array, or read like one; a frame, which has a shape, is none."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _readable(value: Any) -> Any:
    """Return arrays of other libraries as NumPy's or CuPy's; what is read by slices stays."""
    if home_of(value) is not None:
        require_known_sizes(value, "views")
    if hasattr(value, "block") or not hasattr(value, "__array__"):
        return value
    if hasattr(value, "__dlpack__") or isinstance(value, np.ndarray):
        return as_native(value, "a block of views")
    return value


def open_file(path: Path) -> Block:
    """Open a file of views, and read its header."""
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise ValueError(
            f"streams are read from {' and '.join(FILES)} files, found {path}; of HDF5 and zarr hand over the "
            f"array, such as h5py.File(name)[key]"
        )
    block = FILES[suffix](Source(path))
    if 0 in block.shape[:1]:
        raise ValueError(f"{path} is empty: its shape is {block.shape}")
    return block


def points_of(paths: list[Path]) -> tuple[int, Iterator[Leaf]]:
    """Count the points in files of trajectories, and go through them: views (n, 1, d), valid until the next ones."""
    blocks = [open_file(path) for path in paths]

    def leaves() -> Iterator[Leaf]:
        for block in blocks:
            n, d = block.shape[0], block.shape[-1]
            size = leaf_samples(1)
            memory = np.empty((min(size, n), 1, d), as_float_dtype(block.dtype, block.name))
            for start in range(0, n, size):
                points = memory[: n - start]
                block.fill(start, points if len(block.shape) == 3 else points[:, 0])
                yield Leaf(start // size, points, len(points) == size, [(0, block, start)])

    return sum(block.shape[0] for block in blocks), leaves()
