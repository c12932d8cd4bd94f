"""Arrays that lie on many machines, and the room that works with them: found by their library, as backends are.

That room stands above this one; it is imported where such an array is handed over, and nowhere else.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["home_of", "refuse_options"]

_HOMES = {"dask": "sslcore.dask"}


def home_of(value: Any) -> Any:
    """Return the module whose ``pretrain``, ``transform`` and ``views`` take this array; None for any other value."""
    kind = type(value)
    name = _HOMES.get(kind.__module__.partition(".")[0])
    return importlib.import_module(name) if name and hasattr(kind, "chunks") else None


def refuse_options(options: dict[str, Any]) -> None:
    """Refuse what is for arrays in memory only."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{name}= is for views in memory, found it with an array of a cluster; leave it out, or hand over "
                f"views.compute()"
            )
