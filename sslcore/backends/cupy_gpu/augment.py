"""Views of samples on the GPU: one kernel for each kind of stage, in place over blocks of samples (views.cu)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cupy as xp
import numpy as np

from ... import tunables
from ..stages import REFERENCE_SEED, overflow, run, with_arrays
from . import sources
from .loader import kernel, launch

__all__ = ["reference_normals", "views"]


def _draws(d: int, *arguments: Any) -> int:
    """Count the threads of a view where each makes one draw for up to four coordinates."""
    return -(-d // 4)


def _coordinates(d: int, *arguments: Any) -> int:
    return d


def _pairs(d: int, *arguments: Any) -> int:
    return d // 2


def _warp(d: int, *arguments: Any) -> int:
    return sources.numbers("views")["WIDTH"]


def _column_pairs(d: int, height: int, width: int, *arguments: Any) -> int:
    return height * (width // 2)


def _square(d: int, height: int, width: int, channels: int, size: int) -> int:
    return size * size


def _pixels(d: int, height: int, width: int, *arguments: Any) -> int:
    return height * width


def _integer(value: int) -> tuple[Any, ...]:
    return (np.int64(value),)


def _real(value: float) -> tuple[Any, ...]:
    return (np.float64(value),)


def _list(value: Any) -> tuple[Any, ...]:
    return value, np.int64(value.size)


def _table(value: Any) -> tuple[Any, ...]:
    return value, np.int64(len(value))


class _Draw(NamedTuple):
    """The numbers of the draws of a stage: its first sample, place and seed, and the rows that it is for."""

    first: int
    place: int
    seed: int
    rows: tuple[Any, int] = (None, -1)


def _copy(block: Any, draw: _Draw, *arguments: Any) -> tuple[Any, ...]:
    return (block.copy(),)


def _normals(block: Any, draw: _Draw, *arguments: Any) -> tuple[Any, ...]:
    z = xp.zeros(block.shape)
    _apply("add_normals", z, draw, (1.0,))
    return (z,)


def _few_normals(block: Any, draw: _Draw, groups: int, count: int) -> Any:
    """Make normals (n m, groups, count)."""
    z = xp.empty((block.shape[0] * block.shape[1], groups, count))
    _launch("few_normals", z.shape[0] * groups * -(-count // 4), block, (z,), draw, int(groups), int(count))
    return z


def _channel_normals(block: Any, draw: _Draw, channels: int, scale: float) -> tuple[Any, ...]:
    return (_few_normals(block, draw, 1, channels),)


def _knots(block: Any, draw: _Draw, channels: int, knots: int, scale: float) -> tuple[Any, ...]:
    return (_few_normals(block, draw, channels, knots + 4),)


def _speeds(block: Any, draw: _Draw, channels: int, knots: int, scale: float) -> tuple[Any, ...]:
    table = _few_normals(block, draw, 1, knots + 1)
    _launch("speeds", table.size, block, (table,), draw, int(knots), float(scale))
    return block.copy(), table


def _moments(block: Any, draw: _Draw, channels: int, interleaved: int) -> Any:
    """Compute mean and standard deviation (n m, channels, 2) of each channel."""
    table = xp.empty((block.shape[0] * block.shape[1], channels, 2))
    warps = table.shape[0] * channels * sources.numbers("views")["WIDTH"]
    _launch("channel_moments", warps, block, (block, table), draw, int(channels), interleaved)
    return table


def _spreads(block: Any, draw: _Draw, channels: int, scale: float) -> tuple[Any, ...]:
    return (_moments(block, draw, channels, 0), *_normals(block, draw))


def _means(block: Any, draw: _Draw, height: int, width: int, channels: int, *strengths: float) -> tuple[Any, ...]:
    return (_moments(block, draw, channels, 1),)


def _along_rows(
    block: Any, draw: _Draw, height: int, width: int, channels: int, scale: float, reach: int
) -> tuple[Any, ...]:
    smooth = xp.empty(block.shape)
    image = int(height), int(width), int(channels)
    _launch("blur_rows", block.size, block, (block, smooth), draw, *image, float(scale), int(reach))
    return (smooth,)


def _nothing(*draw: Any) -> tuple[Any, ...]:
    return ()


# For each stage: the threads that a view takes, its numbers as a kernel takes them, and what else is read
_STAGES: dict[str, tuple[Callable[..., int], tuple[Callable[..., tuple[Any, ...]], ...], Callable[..., Any]]] = {
    "add_normals": (_draws, (_real,), _nothing),
    "affine": (_pixels, (*(_integer,) * 3, *(_real,) * 3), _copy),
    "blur": (_coordinates, (*(_integer,) * 3, _real, _integer), _along_rows),
    "color_jitter": (_pixels, (*(_integer,) * 3, *(_real,) * 4), _means),
    "draw_from_columns": (_draws, (_integer, _table), _nothing),
    "erase_square": (_square, (_integer,) * 4, _nothing),
    "flip_all_signs": (_coordinates, (_integer,), _nothing),
    "flip_columns": (_column_pairs, (_integer,) * 4, _nothing),
    "flip_signs": (_draws, (_integer,), _nothing),
    "jitter": (_coordinates, (_integer, _real), _spreads),
    "keep_window": (_draws, (_integer,) * 2, _nothing),
    "magnitude_warp": (_coordinates, (_integer, _integer, _real), _knots),
    "resample_signs": (_draws, (_integer,), _nothing),
    "resized_crop": (_pixels, (*(_integer,) * 3, *(_real,) * 2), _copy),
    "reverse": (_pairs, (_integer,), _nothing),
    "roll": (_coordinates, (_list,), _copy),
    "scale_channels": (_coordinates, (_integer, _real), _channel_normals),
    "step_on_sphere": (_warp, (_real, _integer), _normals),
    "time_warp": (_coordinates, (_integer, _integer, _real), _speeds),
    "window": (_coordinates, (_integer, _real), _copy),
}


def views(x: Any, augmentation: Any, n_views: int, seed: int, first: int, out: Any = None) -> Any:
    """Make views (n, n_views, d) of the samples x (n, d), of float32 or float64; arguments are trusted.

    ``out`` receives them, if given: C-ordered, of the type of ``x``.  Raises `OverflowError` where one is not finite.
    """
    n, d = x.shape
    if out is None:
        out = xp.empty((n, n_views, d), dtype=x.dtype)
    stages = with_arrays(augmentation.stages(), xp.asarray)
    step = max(1, tunables.CUDA_VIEW_COORDINATES // max(1, n_views * d))
    finite: list[Any] = []
    for start in range(0, n, step):
        block = out[start : start + step]
        block[...] = x[start : start + step, None]
        _run(stages, block, first + start, seed)
        finite.append(xp.isfinite(block).all())
    if finite and not bool(xp.stack(finite).all()):
        raise overflow(augmentation, out, first, xp)
    return out


def _run(stages: Any, block: Any, first: int, seed: int) -> None:
    """Run the stages over the rows that a pair selects: those of which ``choice`` is ``branch``, or all for None."""

    def apply(rows: Any, place: int, name: str, arguments: tuple[Any, ...]) -> None:
        _apply(name, block, _Draw(first, place, seed, rows), arguments)

    def choose(rows: Any, place: int, thresholds: Any, count: int) -> list[tuple[Any, int]]:
        chosen = xp.empty(block.shape[0] * block.shape[1], np.int32)
        launch(
            kernel("views", "choose", block.dtype),
            chosen.size,
            chosen,
            *_numbers(block, _Draw(first, place, seed, rows)),
            *_list(thresholds),
        )
        return [(chosen, branch) for branch in range(count)]

    run(stages, (None, -1), apply, choose)


def _apply(name: str, block: Any, draw: _Draw, arguments: tuple[Any, ...]) -> None:
    if name in _ON_HOST:
        _ON_HOST[name](block, draw, *arguments)
        return
    n, m, d = block.shape
    threads, types, companion = _STAGES[name]
    read = companion(block, draw, *arguments)
    typed = (each for kind, value in zip(types, arguments, strict=True) for each in kind(value))
    launch(
        kernel("views", name, block.dtype),
        n * m * threads(d, *arguments),
        block,
        *read,
        *_numbers(block, draw),
        *typed,
        block=sources.numbers("views")["THREADS"],
    )


def _launch(name: str, threads: int, block: Any, arrays: tuple[Any, ...], draw: _Draw, *numbers: float) -> None:
    """Launch a kernel that makes a table for a stage."""
    typed = (np.int64(number) if isinstance(number, int) else np.float64(number) for number in numbers)
    size = sources.numbers("views")["THREADS"]
    launch(kernel("views", name, block.dtype), threads, *arrays, *_numbers(block, draw), *typed, block=size)


def _call(block: Any, draw: _Draw, function: Callable[..., None]) -> None:
    """Let a function of Python make the views on the host."""
    n, m, d = block.shape
    at = np.arange(n * m)
    table = np.stack([at, draw.first + at // m, at % m])
    choice, branch = draw.rows
    if choice is not None:
        table = table[:, xp.asnumpy(choice) == branch]
    views = xp.asnumpy(block).reshape(n * m, d)
    function(views, table, draw.seed, draw.place)
    block[...] = xp.asarray(views).reshape(n, m, d)


_ON_HOST = {"call": _call}
"""Stages that are made by a function on the host, with copies there and back."""


def _numbers(block: Any, draw: _Draw) -> tuple[Any, ...]:
    """Return the arguments that every kernel of views.cu takes."""
    n, m, d = block.shape
    choice, branch = draw.rows
    return (
        np.int64(n * m),
        np.int64(d),
        np.int64(m),
        np.uint64(draw.first),
        np.uint32(draw.place),
        np.uint32(draw.seed & 0xFFFFFFFF),
        np.uint32(draw.seed >> 32),
        xp.empty(1, np.int32) if choice is None else choice,  # not read
        np.int32(branch),
    )


def reference_normals(n: int, columns: int, stream: int) -> Any:
    """Return standard normals (n, columns) in float64, the same in every run and on every backend: start vectors.

    Row i does not depend on n; ``stream`` in [0, 2^24) selects independent tables.
    """
    z = xp.zeros((n, 1, columns))
    _apply("add_normals", z, _Draw(stream << 32, 0, REFERENCE_SEED), (1.0,))
    return z.reshape(n, columns)
