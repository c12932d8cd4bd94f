"""Arrays that lie on many machines, and the room that works with them: found by their library, as backends are.

That room stands above this one; it is imported where such an array is handed over, and nowhere else.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

__all__ = ["home_of", "refuse_cluster", "refuse_options", "require_known_sizes"]

_HOMES = {"dask": "sslcore.dask"}


def home_of(value: Any) -> Any:
    """Return the module whose ``pretrain``, ``transform`` and ``views`` take this array; None for any other value.

    Raises
    ------
    TypeError
        It lies on a cluster, but is no array: NumPy would fetch all of it.
    """
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library not in _HOMES:
        return None
    if hasattr(kind, "chunks"):
        return importlib.import_module(_HOMES[library])
    if hasattr(kind, "to_dask_array"):
        raise TypeError(
            f"a {kind.__name__} of Dask does not know its rows: hand over x.to_dask_array(lengths=True), or x.compute()"
        )
    if hasattr(kind, "__dask_graph__"):
        raise TypeError(
            "a delayed value has no shape yet: hand over dask.array.from_delayed(value, shape, dtype); "
            "sslcore.dask.moments and sslcore.dask.pretrain take lists of delayed arrays too"
        )
    return None


def refuse_options(options: dict[str, Any]) -> None:
    """Refuse what is for arrays in memory only."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{name}= is for views in memory, found it with an array of a cluster; leave it out, or hand over "
                f"views.compute()"
            )


def refuse_cluster(value: Any, name: str) -> None:
    """Refuse an array of a cluster where arrays in memory are wanted: NumPy would fetch all of it."""
    if home_of(value) is not None:
        raise TypeError(
            f"{name} lies on a cluster, and two modalities are arrays in memory: hand over {name}.compute(); for pairs "
            f"of one kind, by one model, sslcore.dask.pretrain takes dask.array.stack([x, y], axis=1)"
        )


def require_known_sizes(array: Any, name: str) -> None:
    """Refuse an array of a cluster that does not know how many rows its chunks have."""
    if any(math.isnan(size) for size in array.shape):
        raise ValueError(
            f"the chunks of {name} have unknown sizes {array.shape}; call {name}.compute_chunk_sizes() first"
        )
