"""What the machine has: its memory, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

__all__ = ["free_memory", "total_memory"]

_GROUP = "/sys/fs/cgroup"


def free_memory() -> int:
    """Bytes that the machine, or the container that this process runs in, has left.

    Pages that the system can drop at any time count as left, in a container too: those of files that were read, and
    memory that is kept for the next results (``MADV_FREE``), which the system counts among them.
    """
    limits = []
    try:
        with open("/proc/meminfo") as file:
            limits.append(_field(file, "MemAvailable:") * 1024)
    except (OSError, StopIteration):
        limits += _physical()
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open(f"{_GROUP}/memory.max") as limit, open(f"{_GROUP}/memory.current") as used:
            left = int(limit.read()) - int(used.read())
        with open(f"{_GROUP}/memory.stat") as file:
            limits.append(max(0, left + _field(file, "inactive_file")))
    return min(limits) if limits else sys.maxsize


def total_memory() -> int:
    """Bytes that the machine, the container, or the limit on this process's address space allows at all."""
    limits = _physical()
    with contextlib.suppress(OSError, ValueError), open(f"{_GROUP}/memory.max") as file:
        limits.append(int(file.read()))
    with contextlib.suppress(ImportError):
        import resource

        allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
        if allowed != resource.RLIM_INFINITY:
            limits.append(allowed)
    return min(limits) if limits else 0


def _physical() -> list[int]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    return []


def _field(lines: Iterable[str], name: str) -> int:
    """The number after ``name`` in a file of names and numbers."""
    return next(int(words[1]) for words in map(str.split, lines) if words[0] == name)
