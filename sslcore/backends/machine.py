"""What the machine has: the memory that is left."""

from __future__ import annotations

import os
import sys

__all__ = ["free_memory"]


def free_memory() -> int:
    """Bytes that the machine, or the container that this process runs in, has left."""
    limits = []
    try:
        with open("/proc/meminfo") as file:
            limits.append(next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            limits.append(max(0, int(limit.read()) - int(used.read())))
    except (OSError, ValueError):
        pass
    return min(limits) if limits else sys.maxsize
