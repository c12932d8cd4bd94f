"""Trajectories in blocks, read as the pairs of points a lag apart: samples of two views each.

A pair (x_t, x_{t+lag}) is a sample of two views: Sigma and the unbiased Delta of such samples are those of the law
`sslcore.positives.TimeLag`.  So pairs make leaves, which are summed, held out and kept in checkpoints like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import as_float_dtype
from ..positives import TimeLag
from ..solvers.sums import Sums
from ._files import Block, require_alike
from ._leaves import leaf_samples

__all__ = ["as_time_lag", "lagged", "longest_lag", "of_pairs", "runs_of"]

_SHARED = 32
"""Leaves are held out if the lag is this many times shorter: ``lag`` pairs at each end of one have points of its
neighbours, so that at most a sixteenth of what is held out has been seen."""


def as_time_lag(positives: Any) -> TimeLag:
    """Return the law of the pairs of a stream; refuse all but one."""
    if isinstance(positives, TimeLag):
        if positives.times is not None:
            raise ValueError(
                "a stream counts rows, and takes no times=: end trajectories where rows are missing, with boundaries=, "
                "or give all points at once, sslcore.Moments(features).update(points, positives=...)"
            )
        return positives
    raise TypeError(
        f"a stream takes TimeLag(lag) as positives, found {positives!r:.100}; of another law give all points at once, "
        f"sslcore.Moments(features).update(points, positives=...), and of several lags merge the moments of each"
    )


def longest_lag() -> int:
    """Return the longest lag of which leaves of pairs can be held out: they share few points."""
    return leaf_samples(2) // _SHARED


class _Memory:
    """Memory for points that are read, which is used again."""

    def __init__(self) -> None:
        self._buffer = np.empty(0)

    def rows(self, count: int, d: int, dtype: np.dtype) -> np.ndarray:
        """Return (count, d) numbers, valid until the next call."""
        if self._buffer.size < count * d or self._buffer.dtype != dtype:
            self._buffer = np.empty(count * d, dtype)
        return self._buffer[: count * d].reshape(count, d)


def of_pairs(sums: Sums) -> Sums:
    """Return sums over samples of two views as a law has them: a pair weighs 1, and contrasts are unbiased."""
    delta = sums.unbiased_sum()
    between = (sums.between + sums.within - delta) / 2
    return replace(sums, weight=sums.weight / 2, between=between, within=delta / 2, factor=1.0, unbiased=None)


@dataclass(frozen=True)
class _Span:
    """Rows ``first``, ..., ``first + count - 1`` of all points, which are those of a block from ``row`` on.

    ``shown`` is the number of that row in what the block was taken from.
    """

    first: int
    count: int
    block: Block
    row: int
    shown: int

    @property
    def stop(self) -> int:
        """The first row beyond."""
        return self.first + self.count

    def after(self, first: int) -> _Span:
        """Return the rows from ``first`` on."""
        gone = max(0, first - self.first)
        return _Span(self.first + gone, self.count - gone, self.block, self.row + gone, self.shown + gone)

    def fill(self, start: int, out: np.ndarray) -> None:
        """Read rows of all points from ``start`` on to ``out`` (rows, d)."""
        self.block.fill(self.row + start - self.first, out.reshape(len(out), *self.block.shape[1:]))

    def copied(self) -> _Span:
        """Return the same rows in memory of their own."""
        if isinstance(self.block, _Rows):
            return self
        rows = np.empty((self.count, self.block.shape[-1]), as_float_dtype(self.block.dtype, self.block.name))
        self.fill(self.first, rows)
        return _Span(self.first, self.count, _Rows(rows, self.block), 0, self.shown)


class _Rows(Block):
    """Points in memory, which are told of as those of the block that they are from."""

    def __init__(self, rows: np.ndarray, source: Block) -> None:
        self._rows, self.name, self.row = rows, source.name, source.row
        self.shape, self.dtype = rows.shape, rows.dtype

    def fill(self, start: int, out: np.ndarray) -> None:
        """Copy rows."""
        out[...] = self._rows[start : start + len(out)]


class _Pairs(Block):
    """Pairs (x_t, x_{t+lag}) for t = start, ..., stop - 1, views (n, 2, d), of points in consecutive spans."""

    def __init__(self, spans: list[_Span], start: int, stop: int, lag: int, memory: _Memory) -> None:
        newest = spans[-1].block
        self._spans, self._start, self._lag, self._memory = spans, start, lag, memory
        self.name, self.row, self.is_file, self.dtype = newest.name, newest.row, newest.is_file, newest.dtype
        self.shape = stop - start, 2, newest.shape[-1]
        if hasattr(newest, "value"):
            self.value = newest.value  # which says where it lies

    def fill(self, start: int, out: np.ndarray) -> None:
        """Read the points of pairs; where the lag is short, each once."""
        begin, count, lag = self._start + start, len(out), self._lag
        if lag < count:
            points = self._read(begin, begin + lag + count, out)
            out[:, 0], out[:, 1] = points[:count], points[lag:]
        else:
            out[:, 0] = self._read(begin, begin + count, out)
            out[:, 1] = self._read(begin + lag, begin + lag + count, out)

    def _read(self, start: int, stop: int, like: np.ndarray) -> np.ndarray:
        points = self._memory.rows(stop - start, like.shape[-1], like.dtype)
        for span in self._spans:
            first, last = max(start, span.first), min(stop, span.stop)
            if first < last:
                span.fill(first, points[first - start : last - start])
        return points

    def place(self, row: int, view: int = 0) -> str:
        """Return where a point of a pair is, in words."""
        point = self._start + row + view * self._lag
        span = next(span for span in self._spans if point < span.stop)
        return f"{span.block.row} {span.shown + point - span.first} of {span.block.name}"

    def entry(self, row: int, view: int, coordinate: int) -> str:
        """Return where a coordinate is, in words."""
        return f"{self.place(row, view)} (coordinate {coordinate}, counted from 0)"


def lagged(blocks: Iterable[tuple[Block, int | None]], law: TimeLag, *, stay: bool) -> Iterator[Block]:
    """Yield blocks of pairs of the points that come in blocks (n, d), in order.

    Where the law has no boundaries, each file is a trajectory, and arrays follow each other in one.  ``stay`` tells
    whether blocks may be read later: else the last ``lag`` rows are copied.

    Raises
    ------
    ValueError
        Blocks that are no points, or not like the first; boundaries that do not add up; no trajectory longer than lag.
    """
    lag, lengths, memory = law.lag, law.boundaries, _Memory()
    ends = None if lengths is None else np.cumsum(lengths)
    like: Block | None = None
    row = begin = longest = 0  # points so far, and the first of the trajectory that is open
    of_file, spans = False, list[_Span]()
    for block, number in blocks:
        if number is not None:
            raise ValueError(
                f"blocks of a trajectory come in order, without numbers, found one that begins at {number}"
            )
        like = like or block
        _require_points(block)
        require_alike(block, like, ("coordinates", -1))
        if ends is None and (block.is_file or of_file):
            begin = row
        of_file = block.is_file
        done, rows = 0, block.shape[0]
        while done < rows:
            stop = row + rows - done
            if ends is not None:
                which = int(np.searchsorted(ends, row, side="right"))
                if which == len(ends):
                    raise _other_sum(ends, f"more, in {block.name}")
                begin, stop = int(ends[which] - lengths[which]), min(stop, int(ends[which]))
            spans = [span for span in spans if span.first >= begin]
            spans.append(_Span(row, stop - row, block, done, done))
            start = max(row - lag, begin)
            if stop - lag > start:
                yield _Pairs(spans, start, stop - lag, lag, memory)
            longest = max(longest, stop - begin)
            done, row = done + stop - row, stop
            spans = [span.after(row - lag) for span in spans if span.stop > row - lag]
        if not stay:
            spans = [span.copied() for span in spans]
    if like is None:
        return
    if ends is not None and row != ends[-1]:
        raise _other_sum(ends, str(row))
    if longest <= lag:
        raise _too_short(lag, longest)


def runs_of(law: TimeLag, n: int) -> list[tuple[int, int]]:
    """Return start and stop of the first points of pairs in each trajectory of n points in all."""
    lengths = [n] if law.boundaries is None else law.boundaries.tolist()
    ends = np.cumsum(lengths)
    if ends[-1] != n:
        raise _other_sum(ends, str(n))
    if max(lengths) <= law.lag:
        raise _too_short(law.lag, max(lengths))
    return [
        (end - length, end - law.lag) for end, length in zip(ends.tolist(), lengths, strict=True) if length > law.lag
    ]


def _too_short(lag: int, longest: int) -> ValueError:
    return ValueError(
        f"lag must be less than the length of a trajectory, found {lag}, where the longest has {longest} points"
    )


def _require_points(block: Block) -> None:
    if len(block.shape) != 2 and (len(block.shape) != 3 or block.shape[1] != 1):
        raise ValueError(
            f"blocks must be points (n, d) in the order of time, {block.name} has shape {block.shape}; views (n, m, d) "
            f"are groups already: leave positives= out"
        )


def _other_sum(ends: np.ndarray, found: str) -> ValueError:
    return ValueError(f"boundaries must be lengths with the sum of all points: they have {ends[-1]}, there are {found}")
