"""How kernels run on the host: the order of their threads, and whether they are checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

__all__ = ["ORDERS", "Settings", "current", "running"]

ORDERS = ("forward", "reverse", "random")


@dataclass(frozen=True)
class Settings:
    """What holds for launches until it is changed again."""

    order: str = "forward"
    seed: int = 0
    last_blocks: int = 0  # run so many of a grid's blocks only, its last ones; 0: all.  Not in the random order
    checked: bool = False  # the checking build: races, accesses out of bounds, uninitialised shared memory
    static_shared: int = 48 << 10  # bytes of __shared__ variables with a size, on every device
    dynamic_shared: int = 163 << 10  # bytes that a block can ask for on sm_80, the smallest of our devices


_current = Settings()


def current() -> Settings:
    """The settings in force."""
    return _current


@contextlib.contextmanager
def running(**changes: object) -> Iterator[Settings]:
    """Within the context kernels run with these settings: ``running(order="random", seed=3, checked=True)``."""
    global _current
    kept, _current = _current, replace(_current, **changes)  # type: ignore[arg-type]
    if _current.order not in ORDERS:
        _current = kept
        raise ValueError(f"order must be one of {ORDERS}, found {changes['order']!r}")
    try:
        yield _current
    finally:
        _current = kept
