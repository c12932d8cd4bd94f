"""The public edge: what users hand over is read, checked and brought to where it is worked on, here and once.

Checks of arrays and numbers, arrays of other libraries (DLPack), names of samples and classes, exact scaling.  For
annotations there are two types: `Array`, what the library returns, and `ArrayLike`, what it takes.
"""

from __future__ import annotations

from ..backends import namespace
from ..backends.contract import Array, ArrayLike
from .checks import (
    as_array,
    as_entries,
    as_float_dtype,
    as_seed,
    as_views,
    check_boolean,
    check_choice,
    check_finite,
    check_integer,
    check_map,
    check_same_width,
    check_scalar,
    check_target,
    ignore_overflow,
    listed,
    on_host,
    rank_of,
    require_finite,
    shown,
    to_backend,
)
from .foreign import (
    ArrayKind,
    as_native,
    gives_memory_back,
    handed_back,
    is_foreign,
    kind_of,
    same_kind,
    target_of,
    unmasked,
    with_values,
    within_torch_func,
)
from .labels import (
    FLOAT_AS_WORD,
    TASKS,
    Target,
    read_groups,
    read_labels,
    read_names,
    read_target,
    read_targets,
)
from .scaling import exponent_of, rescaled

__all__ = [
    "FLOAT_AS_WORD",
    "TASKS",
    "Array",
    "ArrayKind",
    "ArrayLike",
    "Target",
    "as_array",
    "as_entries",
    "as_float_dtype",
    "as_native",
    "as_seed",
    "as_views",
    "check_boolean",
    "check_choice",
    "check_finite",
    "check_integer",
    "check_map",
    "check_same_width",
    "check_scalar",
    "check_target",
    "exponent_of",
    "gives_memory_back",
    "handed_back",
    "ignore_overflow",
    "is_foreign",
    "kind_of",
    "listed",
    "namespace",
    "on_host",
    "rank_of",
    "read_groups",
    "read_labels",
    "read_names",
    "read_target",
    "read_targets",
    "require_finite",
    "rescaled",
    "same_kind",
    "shown",
    "target_of",
    "to_backend",
    "unmasked",
    "with_values",
    "within_torch_func",
]
