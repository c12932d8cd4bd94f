"""Memory of large results, used again: fresh pages cost more time than the values of a cheap kernel.

The system zeroes every page that it hands out, at first touch: 512 MB take some 30 ms on two processors, as long as
8000 x 8000 kernel values of two coordinates take to be computed and stored.  So the memory of an array that has died is
kept for the next one, as the allocators of PyTorch and CuPy do; but what is kept is marked ``MADV_FREE``: the system
takes its pages back, without writing them anywhere, the moment somebody needs them, and counts them as available
(``MemAvailable``; ``inactive_file`` of a container).  What it has not taken is there without a page fault.

* **When memory is free.**  An array is made of a `_Lease` by ``__array_interface__``, and NumPy keeps its maker alive
  as ``base``, as it does for every view, memoryview and DLPack capsule of it.  When the lease dies, nobody looks.
* **How much is kept.**  An eighth of the memory, at most 4 GiB: pages that are kept still count as resident, for those
  who look at that number alone.  The oldest goes first.  A block serves arrays of its size down to four fifths of it.
* **Where.**  Where the system has MADV_FREE: Linux, macOS, the BSDs.  Elsewhere (Windows) nothing is kept, since nobody
  could take it back; nor under strict overcommit, where memory is charged to a process as long as it is mapped.
* **Threads, signals, garbage collection.**  A lease may die anywhere, also within a function of this module on the same
  thread, so there is no lock.  What is kept lies in one dictionary; each step on it is a single call that the GIL
  makes atomic, and a block belongs to the one whose ``pop`` returned it.  The dictionary may change between two steps.
* **Forks.**  The mappings are private.  A child forgets what was kept: its pages would have to be copied, which costs
  more than zeroing them.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import mmap
import os
import tracemalloc
import weakref
from typing import Any

import numpy as np

from ..machine import total_memory
from .vectors import VECTOR

__all__ = ["empty", "kept", "release"]

SMALLEST = 4 << 20
"""Bytes from which on memory is recycled.  The C library itself keeps smaller pieces, and they stay in the caches."""

_CEILING = 4 << 30

_kept: dict[int, mmap.mmap] = {}  # by id, in the order of their return


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make an array of any content in C order, which begins at a multiple of the width of a vector."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = _take(size) or _fresh(size) if size >= SMALLEST and _limit() else None
    if memory is None:
        raw = np.empty(size + VECTOR, np.uint8)
        start = -raw.ctypes.data % VECTOR
        return raw[start : start + size].view(dtype).reshape(shape)
    return np.asarray(_Lease(memory, shape, dtype))


def release() -> None:
    """Give all that is kept back to the system."""
    _kept.clear()


def kept() -> int:
    """Return the bytes that are kept."""
    return sum(map(len, list(_kept.values())))


class _Lease:
    """The use of a mapping by one array and all that looks at its memory; the array's ``base``.

    The mapping must not be reachable as attribute ``base``: joblib takes an array that ends in one for a memory map of
    a file.
    """

    def __init__(self, memory: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype) -> None:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))  # nobody else has the mapping: it stays there
        self._memory = memory  # at exit finalizers are dropped, and the mapping must outlive the array all the same
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (address, False), "version": 3}
        if tracemalloc.is_tracing():  # the array's memory is to be seen where NumPy's own is
            _traced("PyTraceMalloc_Track", address, ctypes.c_size_t(math.prod(shape) * dtype.itemsize))
        weakref.finalize(self, _give, memory, address, os.getpid()).atexit = False


def _give(memory: mmap.mmap, address: int, process: int) -> None:
    """Keep ``memory``, of which no array is left; where this does not, it is unmapped as its last name goes."""
    if tracemalloc.is_tracing():
        _traced("PyTraceMalloc_Untrack", address)
    if len(memory) > _limit() or process != os.getpid():
        return
    try:
        memory.madvise(mmap.MADV_FREE)
    except OSError:  # an old kernel, or memory that is locked: the system could not take it back
        return
    _kept[id(memory)] = memory
    while kept() > _limit():
        for oldest in list(_kept)[:1]:
            _kept.pop(oldest, None)


def _take(size: int) -> mmap.mmap | None:
    """Take the smallest block kept that ``size`` bytes fit into without much waste, the last one used among equals."""
    fitting = [memory for memory in reversed(list(_kept.values())) if size <= len(memory) <= size + size // 4]
    for memory in sorted(fitting, key=len):
        if _kept.pop(id(memory), None) is not None:  # else another thread was faster
            return memory
    return None


def _fresh(size: int) -> mmap.mmap | None:
    """Make a new mapping; None if there is none to be had, so that NumPy tries, and says so."""
    for attempt in range(2):
        try:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError, ValueError):
            if attempt == 0:
                release()
            continue
        if hasattr(mmap, "MADV_HUGEPAGE"):  # as NumPy asks for its own: a fault per 2 MiB in place of 4 KiB
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        return memory
    return None


@functools.cache
def _limit() -> int:
    """Return the bytes that are kept at most."""
    if not hasattr(mmap, "MADV_FREE"):
        return 0
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/vm/overcommit_memory") as file:
        if int(file.read()) == 2:
            return 0
    return min(_CEILING, total_memory() // 8)


def _traced(function: str, address: int, *size: Any) -> None:
    domain = np.lib.tracemalloc_domain
    getattr(ctypes.pythonapi, function)(ctypes.c_uint(domain), ctypes.c_size_t(address), *size)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=release)
