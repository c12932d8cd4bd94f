"""The public edge: what users hand over is read, checked and brought to where it is worked on, here and once.

Checks of arrays and numbers, arrays of other libraries (DLPack), names of samples and classes, exact scaling.
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
    brought,
    check_boolean,
    check_choice,
    check_finite,
    check_integer,
    check_map,
    check_same_width,
    check_scalar,
    on_host,
    quiet,
    rank_of,
    require_finite,
    shown,
)
from .foreign import (
    Home,
    as_native,
    gives_memory_back,
    home_of,
    is_foreign,
    same_kind,
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
    "ArrayLike",
    "Home",
    "Target",
    "as_array",
    "as_entries",
    "as_float_dtype",
    "as_native",
    "as_seed",
    "as_views",
    "brought",
    "check_boolean",
    "check_choice",
    "check_finite",
    "check_integer",
    "check_map",
    "check_same_width",
    "check_scalar",
    "exponent_of",
    "gives_memory_back",
    "home_of",
    "is_foreign",
    "namespace",
    "on_host",
    "quiet",
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
    "unmasked",
    "with_values",
    "within_torch_func",
]
