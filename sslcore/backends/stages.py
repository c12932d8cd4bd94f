"""The walk of a backend through the stages of an augmentation: who takes which place, and which rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

__all__ = ["PRIMITIVES", "REFERENCE_SEED", "n_places", "names", "overflow", "run", "with_arrays"]

PRIMITIVES: dict[str, tuple[Any, ...]] = {
    "add_normals": (Real,),
    "affine": (Integral, Integral, Integral, Real, Real, Real),
    "blur": (Integral, Integral, Integral, Real, Integral),
    "call": (Callable,),
    "color_jitter": (Integral, Integral, Integral, Real, Real, Real, Real),
    "draw_from_columns": (Integral, np.ndarray),
    "erase_square": (Integral, Integral, Integral, Integral),
    "flip_all_signs": (Integral,),
    "flip_columns": (Integral, Integral, Integral, Integral),
    "flip_signs": (Integral,),
    "jitter": (Integral, Real),
    "keep_window": (Integral, Integral),
    "magnitude_warp": (Integral, Integral, Real),
    "resample_signs": (Integral,),
    "resized_crop": (Integral, Integral, Integral, Real, Real),
    "reverse": (Integral,),
    "roll": (tuple,),
    "scale_channels": (Integral, Real),
    "step_on_sphere": (Real, Integral),
    "time_warp": (Integral, Integral, Real),
    "window": (Integral, Real),
}
"""What a stage may be, on every backend, and the types of its numbers; a tuple is a list of integers, an
array a table of float64.

``call`` is made on the host: its function of (views (number, d) of NumPy, rows (3, ...), seed, place) works in place on
the rows, which `sslcore.backends.numba_cpu.philox` describes.
"""

REFERENCE_SEED = 0x5353_4C43_4F52_4531  # "SSLCORE1"
"""Of the normals that algorithms start from (`Backend.reference_normals`), the same on every backend."""


def n_places(stages: Sequence[Any]) -> int:
    """Count the places that stages take: one each, and for a choice one more than all of its branches."""
    return sum(1 + sum(map(n_places, getattr(stage, "branches", ()))) for stage in stages)


def names(stages: Sequence[Any]) -> set[str]:
    """Name the primitives of stages, those of all branches included."""
    branches = [branch for stage in stages for branch in getattr(stage, "branches", ())]
    own = {stage.primitive for stage in stages if not hasattr(stage, "branches")}
    return own.union(*map(names, branches))


def overflow(law: Any, views: Any, first: int, xp: Any) -> OverflowError:
    """Make the error of views (n, m, d) of the samples from ``first`` on, the first of which that is not finite."""
    sample, view, coordinate = (int(i) for i in xp.argwhere(~xp.isfinite(views))[0])
    return OverflowError(
        f"a view of {law!r:.200} is beyond {views.dtype}, at sample {first + sample}, view {view}, coordinate "
        f"{coordinate}; bring the samples to another unit, or take a smaller scale"
    )


def with_arrays(stages: Sequence[Any], convert: Callable[[np.ndarray], Any]) -> tuple[Any, ...]:
    """Return stages whose lists of numbers have become arrays of the backend."""

    def listed(numbers: tuple[int, ...] | np.ndarray) -> Any:
        return convert(np.array(numbers, np.int64) if isinstance(numbers, tuple) else numbers)

    lists = (tuple, np.ndarray)
    return tuple(
        stage._replace(
            thresholds=listed(stage.thresholds), branches=tuple(with_arrays(b, convert) for b in stage.branches)
        )
        if hasattr(stage, "branches")
        else stage._replace(arguments=tuple(listed(a) if isinstance(a, lists) else a for a in stage.arguments))
        for stage in stages
    )


def run(
    stages: Sequence[Any],
    rows: Any,
    apply: Callable[[Any, int, str, tuple[Any, ...]], None],
    choose: Callable[[Any, int, Any, int], Sequence[Any]],
    place: int = 0,
) -> int:
    """Call ``apply(rows, place, primitive, arguments)`` for each stage; return the first place that is free.

    ``choose(rows, place, thresholds, count)`` divides the rows among the ``count`` branches of a choice.
    """
    for stage in stages:
        if hasattr(stage, "branches"):
            divided = choose(rows, place, stage.thresholds, len(stage.branches))
            place += 1
            for branch, part in zip(stage.branches, divided, strict=True):
                place = run(branch, part, apply, choose, place)
        else:
            apply(rows, place, stage.primitive, stage.arguments)
            place += 1
    return place
