"""The memory and the processors that this process may use.

The least of all limits counts: the machine's, those of every control group (cgroup v1 or v2) around this process as
far as they can be seen from here, and those of the process (``ulimit``).  Containers, Slurm and systemd set the second
kind, often on a group further up than the process's own.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_cpus", "free_memory", "total_memory"]

_ROOT = Path("/")
"""Root of the file tree with proc and sys."""

_PER_THREAD = 128 << 20
"""What each thread sets aside at its first work, used or not: a heap of the C library (64 MiB on Linux), and a buffer
of each BLAS, NumPy's and SciPy's (32 MiB in OpenBLAS, which waits for ever where there is none left)."""

_UNLIMITED = 1 << 60
"""From here on cgroup v1 means no limit."""


def free_memory() -> int:
    """Return the bytes that this process can still allocate.

    Pages that the system can drop at any time count as left, in a container too: those of files that were read, and
    memory marked as free (``MADV_FREE``), which the system counts among them.
    """
    left = [_available_memory()]
    left += [limit - used for limit, used in map(_memory_of_group, _groups("memory")) if limit is not None]
    left += [limit - used - available_cpus() * _PER_THREAD for limit, used in _process_limits()]
    return max(0, min(left))


def total_memory() -> int:
    """Return the bytes that the machine and all limits on this process allow at all; 0 if that cannot be found out."""
    limits = _physical_memory()
    limits += [limit for limit, _ in map(_memory_of_group, _groups("memory")) if limit is not None]
    limits += [limit for limit, _ in _process_limits()]
    return min(limits) if limits else 0


def available_cpus() -> int:
    """Return the number of processors that this process may use: its affinity, or its groups' share of time if less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _cpu_share())))


@functools.cache  # asked for before every loop, and files are slow
def _cpu_share() -> float:
    shares = [math.inf]
    for folder, version in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if version == 2:
                quota, period = _text(folder, "cpu.max").split()
            else:
                quota, period = (_text(folder, f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            if int(quota) > 0:  # "max" and -1: all of it
                shares.append(int(quota) / int(period))
    return min(shares)


# ---------------------------------------------------------------- memory


def _available_memory() -> int:
    """Return what the system would give without swapping; all that it has, where it does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        return _field(_text(_ROOT, "proc/meminfo"), "MemAvailable:") * 1024
    with contextlib.suppress(ImportError, OSError):
        import psutil  # type: ignore[import-untyped]

        return int(psutil.virtual_memory().available)
    return min(_physical_memory(), default=sys.maxsize)


def _physical_memory() -> list[int]:
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(ImportError, OSError):
        import psutil

        return [int(psutil.virtual_memory().total)]
    return []


def _memory_of_group(group: tuple[Path, int]) -> tuple[int | None, int]:
    """Return the limit of a group (None: no limit) and what it uses, less file pages that can be dropped."""
    folder, version = group
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    usage = "memory.current" if version == 2 else "memory.usage_in_bytes"
    limits = []
    for name in names:  # beyond "high" the system takes pages back by force, and everything crawls
        with contextlib.suppress(OSError, ValueError):  # "max"
            limits.append(int(_text(folder, name)))
    limit = min(limits, default=_UNLIMITED)
    if limit >= _UNLIMITED:
        return None, 0
    used = 0
    with contextlib.suppress(OSError, ValueError):
        used = int(_text(folder, usage))
        with contextlib.suppress(StopIteration):
            # version 1 counts a group without those below it first, and all of them under "total_"
            used -= _field(_text(folder, "memory.stat"), "inactive_file" if version == 2 else "total_inactive_file")
    return limit, max(0, used)


def _process_limits() -> Iterator[tuple[int, int]]:
    """Yield the limits on address space and data of this process, each with what is used of it."""
    try:
        import resource
    except ImportError:
        return
    for number, place in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        limit = resource.getrlimit(number)[0]
        if limit != resource.RLIM_INFINITY:
            pages = []
            with contextlib.suppress(OSError, ValueError):
                pages = _text(_ROOT, "proc/self/statm").split()
            yield limit, int(pages[place]) * resource.getpagesize() if pages else 0


def _text(folder: Path, name: str) -> str:
    """Read a small file; ``Path.read_text`` takes twice as long, which a tiny fit would notice."""
    with open(f"{folder}/{name}", "rb", buffering=0) as file:
        return file.read().decode()


def _field(text: str, name: str) -> int:
    """Return the number after ``name`` in a file of names and numbers."""
    return next(int(words[1]) for words in map(str.split, text.splitlines()) if words and words[0] == name)


# ---------------------------------------------------------------- control groups


def _groups(controller: str) -> tuple[tuple[Path, int], ...]:
    """List folders of the groups around this process that limit ``controller``, each with its cgroup version (1 or 2).

    From the process's own group up to the root of what is mounted here.  A path that does not lie below that root (of
    a process that was moved, or of another namespace) tells nothing, and the root is looked at alone.
    """
    try:
        return _folders(controller, _text(_ROOT, "proc/self/cgroup"), _ROOT)
    except (OSError, UnicodeDecodeError):
        return ()


@functools.lru_cache(maxsize=8)  # mounts are many in containers; they are read again if the process was moved
def _folders(controller: str, cgroup: str, tree: Path) -> tuple[tuple[Path, int], ...]:
    lines = cgroup.splitlines()
    mounts = _text(tree, "proc/self/mountinfo").splitlines()
    folders = []
    paths = {}
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        names = controllers.split(",")
        if controller in names:
            paths[1] = path
        elif number == "0" and not controllers:
            paths[2] = path
    for words in map(str.split, mounts):
        if len(words) < 10:
            continue
        root, point, kind, options = _unescaped(words[3]), _unescaped(words[4]), words[-3], words[-1].split(",")
        version = {"cgroup2": 2, "cgroup": 1}.get(kind)
        if version not in paths or (version == 1 and controller not in options):
            continue
        top = tree / point.lstrip("/")
        inside = os.path.relpath(paths[version], root)
        folder = top if inside.startswith("..") else top / inside
        while True:
            folders.append((folder, version))
            if folder == top:
                break
            folder = folder.parent
    return tuple(folders)


def _unescaped(path: str) -> str:
    """Decode a path of mountinfo, which writes white space by its octal number."""
    for character in " \t\n\\":
        path = path.replace(f"\\{ord(character):03o}", character)
    return path
