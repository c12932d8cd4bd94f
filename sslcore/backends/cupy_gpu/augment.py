"""Views of samples on the GPU: one kernel for each kind of stage, in place over blocks of samples (views.cu)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy as xp
import numpy as np

from ... import tunables
from ..stages import REFERENCE_SEED, run, with_arrays
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


def _copy(block: Any, *draw: Any) -> tuple[Any, ...]:
    return (block.copy(),)


def _normals(block: Any, first: int, place: int, seed: int, rows: Any) -> tuple[Any, ...]:
    z = xp.zeros(block.shape)
    _apply("add_normals", z, first, place, seed, (1.0,), rows)
    return (z,)


def _nothing(*draw: Any) -> tuple[Any, ...]:
    return ()


# For each stage: the threads that a view takes, its numbers as a kernel takes them, and what else is read
_STAGES: dict[str, tuple[Callable[..., int], tuple[Callable[..., tuple[Any, ...]], ...], Callable[..., Any]]] = {
    "add_normals": (_draws, (_real,), _nothing),
    "affine": (_pixels, (*(_integer,) * 3, *(_real,) * 3), _copy),
    "erase_square": (_square, (_integer,) * 4, _nothing),
    "flip_all_signs": (_coordinates, (_integer,), _nothing),
    "flip_columns": (_column_pairs, (_integer,) * 4, _nothing),
    "flip_signs": (_draws, (_integer,), _nothing),
    "keep_window": (_draws, (_integer,) * 2, _nothing),
    "resample_signs": (_draws, (_integer,), _nothing),
    "reverse": (_pairs, (_integer,), _nothing),
    "roll": (_coordinates, (_list,), _copy),
    "step_on_sphere": (_warp, (_real, _integer), _normals),
}


def views(x: Any, augmentation: Any, n_views: int, seed: int, first: int, out: Any = None) -> Any:
    """Make views (n, n_views, d) of the samples x (n, d), of float32 or float64; arguments are trusted.

    ``out`` receives them, if given: C-ordered, of the type of ``x``.
    """
    n, d = x.shape
    if out is None:
        out = xp.empty((n, n_views, d), dtype=x.dtype)
    stages = with_arrays(augmentation.stages(), lambda numbers: xp.asarray(np.array(numbers, np.int64)))
    step = max(1, tunables.CUDA_VIEW_COORDINATES // max(1, n_views * d))
    for start in range(0, n, step):
        block = out[start : start + step]
        block[...] = x[start : start + step, None]
        _run(stages, block, first + start, seed)
    return out


def _run(stages: Any, block: Any, first: int, seed: int) -> None:
    """Run the stages over the rows that a pair selects: those of which ``choice`` is ``branch``, or all for None."""

    def apply(rows: Any, place: int, name: str, arguments: tuple[Any, ...]) -> None:
        _apply(name, block, first, place, seed, arguments, rows)

    def choose(rows: Any, place: int, thresholds: Any, count: int) -> list[tuple[Any, int]]:
        chosen = xp.empty(block.shape[0] * block.shape[1], np.int32)
        launch(
            kernel("views", "choose", block.dtype),
            chosen.size,
            chosen,
            *_numbers(block, first, place, seed, rows),
            *_list(thresholds),
        )
        return [(chosen, branch) for branch in range(count)]

    run(stages, (None, -1), apply, choose)


def _apply(
    name: str,
    block: Any,
    first: int,
    place: int,
    seed: int,
    arguments: tuple[Any, ...],
    rows: tuple[Any, int] = (None, -1),
) -> None:
    n, m, d = block.shape
    threads, types, companion = _STAGES[name]
    launch(
        kernel("views", name, block.dtype),
        n * m * threads(d, *arguments),
        block,
        *companion(block, first, place, seed, rows),
        *_numbers(block, first, place, seed, rows),
        *(typed for kind, value in zip(types, arguments, strict=True) for typed in kind(value)),
        block=sources.numbers("views")["THREADS"],
    )


def _numbers(block: Any, first: int, place: int, seed: int, rows: tuple[Any, int]) -> tuple[Any, ...]:
    """Return the arguments that every kernel of views.cu takes."""
    n, m, d = block.shape
    choice, branch = rows
    return (
        np.int64(n * m),
        np.int64(d),
        np.int64(m),
        np.uint64(first),
        np.uint32(place),
        np.uint32(seed & 0xFFFFFFFF),
        np.uint32(seed >> 32),
        xp.empty(1, np.int32) if choice is None else choice,  # not read
        np.int32(branch),
    )


def reference_normals(n: int, columns: int, stream: int) -> Any:
    """Return standard normals (n, columns) in float64, the same in every run and on every backend: start vectors.

    Row i does not depend on n; ``stream`` in [0, 2^24) selects independent tables.
    """
    z = xp.zeros((n, 1, columns))
    _apply("add_normals", z, stream << 32, 0, REFERENCE_SEED, (1.0,))
    return z.reshape(n, columns)
