"""The memory of the device that does not exist: who holds how much of it, and when it is full."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

__all__ = ["Memory", "MemoryPointer", "OutOfMemoryError", "extent", "the_memory"]


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""


OutOfMemoryError.__module__ = "cupy.cuda.memory"


def extent(array: np.ndarray) -> tuple[int, int]:
    """First address of an array's elements, and the one after the last."""
    start = stop = array.ctypes.data
    if array.size == 0:
        return start, start
    for size, stride in zip(array.shape, array.strides, strict=True):
        reach = (size - 1) * stride
        start, stop = (start + reach, stop) if reach < 0 else (start, stop + reach)
    return start, stop + array.itemsize


class Memory:
    """The device's memory, and the pool through which all of it goes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.limit = 0  # of the pool; 0 is none
        self.used = 0
        self.free = 0  # given back to the pool, not to the device
        self.peak = 0
        self._known: dict[int, int] = {}

    def request(self, n_bytes: int) -> None:
        """Refuse what does not fit."""
        size = -(-n_bytes // 512) * 512
        bound = min(self.total, self.limit) if self.limit else self.total
        if self.used + size > bound:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self.used:,} bytes, limit set to: "
                f"{bound:,} bytes)."
            )

    def own(self, array: np.ndarray) -> None:
        """Count the memory behind ``array``, once, until nobody holds it any more."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if id(root) in self._known or root.nbytes == 0:
            return
        self.request(root.nbytes)
        size = -(-root.nbytes // 512) * 512
        self.used += size
        self.free = max(0, self.free - size)
        self.peak = max(self.peak, self.used)
        self._known[id(root)] = size
        weakref.finalize(root, self._release, id(root))

    def _release(self, key: int) -> None:
        size = self._known.pop(key)
        self.used -= size
        self.free += size


the_memory = Memory(total=80 << 30)


class MemoryPointer:
    """`cupy.cuda.MemoryPointer`: an address on the device, and (here only) what lies there."""

    __module__ = "cupy.cuda.memory"

    def __init__(self, mem: Any, offset: int) -> None:
        if not isinstance(mem, MemoryPointer):
            raise NotImplementedError("memory is allocated by arrays here")
        self.__dict__.update(mem.__dict__)
        self.ptr = mem.ptr + offset

    @classmethod
    def _of(cls, host: np.ndarray) -> MemoryPointer:
        pointer = cls.__new__(cls)
        pointer._host, pointer._dtype, pointer._extent = host, host.dtype, extent(host)
        pointer.ptr = host.ctypes.data
        return pointer

    @property
    def mem(self) -> MemoryPointer:
        """The allocation."""
        return self

    @property
    def device_id(self) -> int:
        """The only device."""
        return 0

    @property
    def device(self) -> Any:
        """The only device."""
        from .cuda import Device

        return Device(0)

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self, offset)

    def __radd__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self, offset)

    def __sub__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self, -offset)
