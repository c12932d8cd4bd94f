"""The walk of a backend through the stages of an augmentation: who takes which place, and which rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = ["PRIMITIVES", "REFERENCE_SEED", "n_places", "run", "with_arrays"]

PRIMITIVES: dict[str, tuple[type, ...]] = {
    "add_normals": (Real,),
    "affine": (Integral, Integral, Integral, Real, Real, Real),
    "erase_square": (Integral, Integral, Integral, Integral),
    "flip_all_signs": (Integral,),
    "flip_columns": (Integral, Integral, Integral, Integral),
    "flip_signs": (Integral,),
    "keep_window": (Integral, Integral),
    "resample_signs": (Integral,),
    "reverse": (Integral,),
    "roll": (tuple,),
    "step_on_sphere": (Real, Integral),
}
"""What a stage may be, on every backend, and the types of its numbers; a tuple is a list of integers."""

REFERENCE_SEED = 0x5353_4C43_4F52_4531  # "SSLCORE1"
"""Of the normals that algorithms start from (`Backend.reference_normals`), the same on every backend."""


def n_places(stages: Sequence[Any]) -> int:
    """Count the places that stages take: one each, and for a choice one more than all of its branches."""
    return sum(1 + sum(map(n_places, getattr(stage, "branches", ()))) for stage in stages)


def with_arrays(stages: Sequence[Any], convert: Callable[[tuple[int, ...]], Any]) -> tuple[Any, ...]:
    """Return stages whose lists of numbers have become arrays of the backend."""
    return tuple(
        stage._replace(
            thresholds=convert(stage.thresholds), branches=tuple(with_arrays(b, convert) for b in stage.branches)
        )
        if hasattr(stage, "branches")
        else stage._replace(arguments=tuple(convert(a) if isinstance(a, tuple) else a for a in stage.arguments))
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
