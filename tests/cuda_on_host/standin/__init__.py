"""A strict stand-in for CuPy: its names on arrays of NumPy, for machines without a GPU.

`installed` puts it in the place of the modules ``cupy``, ``cupyx`` and ``cupy_backends`` for a while.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from . import names
from .array import Counters, counters, ndarray
from .memory import MemoryPointer, OutOfMemoryError, the_memory

__all__ = ["Counters", "counters", "device_memory", "installed", "ndarray", "the_memory"]

_ROOTS = ("cupy", "cupyx", "cupy_backends")
_USERS = ("sslcore.backends.cupy_gpu",)  # modules that keep CuPy's names: another set of them for the stand-in


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"the stand-in for CuPy has no {self.__name__}.{name}; if CuPy has it, add it in tests/cuda_on_host/standin"
        )


@functools.cache
def modules() -> dict[str, ModuleType]:
    """All modules of the stand-in, by name."""
    from .. import launcher
    from ..compiler import CompilationError
    from . import cuda, functions, libraries

    made: dict[str, ModuleType] = {}

    def module(name: str, **members: Any) -> ModuleType:
        made[name] = made.get(name) or _Module(name)
        for key, value in members.items():
            setattr(made[name], key, value)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(module(parent), last, made[name])
        made[name].__path__ = []  # type: ignore[attr-defined]
        return made[name]

    def no_device(code: int = 0) -> Any:
        raise NotImplementedError("the stand-in has one device")

    module(
        "cupy",
        __version__="14.2.0",
        ndarray=ndarray,
        RawModule=launcher.RawModule,
        RawKernel=launcher.RawKernel,
        get_default_memory_pool=lambda: cuda.the_pool,
        get_default_pinned_memory_pool=lambda: cuda.the_pinned_pool,
        get_array_module=lambda *args: made["cupy"] if any(isinstance(a, ndarray) for a in args) else np,
        **{name: getattr(np, name) for name in (*names.CONSTANTS, *names.TYPES)},
        **functions.UFUNC_TABLE,
        **functions.FUNCTION_TABLE,
    )
    module("cupy.linalg", **functions.LINALG_TABLE)
    module(
        "cupy.cuda",
        Device=cuda.Device,
        Stream=cuda.Stream,
        Event=cuda.Event,
        MemoryPool=cuda.MemoryPool,
        MemoryPointer=MemoryPointer,
        PinnedMemoryPool=cuda.PinnedMemoryPool,
        alloc_pinned_memory=cuda.alloc_pinned_memory,
        get_current_stream=cuda.get_current_stream,
        is_available=lambda: True,
        set_allocator=lambda allocator=None: None,
    )
    module("cupy.cuda.device", Device=cuda.Device, get_cublas_handle=lambda: 1, get_cusolver_handle=lambda: 1)
    module(
        "cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPointer=MemoryPointer, MemoryPool=cuda.MemoryPool
    )
    module("cupy.cuda.stream", Stream=cuda.Stream, Event=cuda.Event, get_current_stream=cuda.get_current_stream)
    module(
        "cupy.cuda.runtime",
        CUDARuntimeError=cuda.CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        memGetInfo=lambda: cuda.Device().mem_info,
        deviceSynchronize=lambda: cuda.Device().synchronize(),
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 12090,
        is_hip=False,
        getDeviceProperties=lambda device: {"name": b"the stand-in", "totalGlobalMem": the_memory.total},
    )
    module("cupy.cuda.driver", CUDADriverError=cuda.CUDADriverError)
    module("cupy.cuda.compiler", CompileException=CompilationError)
    module("cupyx", **libraries.CUPYX)
    module("cupyx.scipy.linalg", **libraries.SCIPY_LINALG)
    module("cupy.cublas", **libraries.HIGH_CUBLAS)
    module("cupy_backends.cuda.libs.cublas", **libraries.CUBLAS)
    module("cupy_backends.cuda.libs.cusolver", **libraries.CUSOLVER)
    made["cupy.cuda"].cublas = made["cupy_backends.cuda.libs.cublas"]  # type: ignore[attr-defined]
    return made


def _belongs(name: str) -> bool:
    return name.split(".")[0] in _ROOTS or any(name == user or name.startswith(f"{user}.") for user in _USERS)


_kept: dict[str, ModuleType] = {}  # the users' modules that were imported with the stand-in
_depth = 0


@contextlib.contextmanager
def installed() -> Iterator[ModuleType]:
    """Within the context ``import cupy`` finds the stand-in; before and after, whatever there was."""
    global _depth
    if _depth:
        _depth += 1
        try:
            yield modules()["cupy"]
        finally:
            _depth -= 1
        return
    real = {name: m for name, m in sys.modules.items() if _belongs(name)}
    _exchange(real, {**modules(), **_kept})
    _depth = 1
    try:
        yield modules()["cupy"]
    finally:
        _depth = 0
        now = {name: m for name, m in sys.modules.items() if _belongs(name)}
        _kept.update({name: m for name, m in now.items() if name.split(".")[0] not in _ROOTS})
        _exchange(now, real)


def _exchange(old: dict[str, ModuleType], new: dict[str, ModuleType]) -> None:
    for name in old:
        del sys.modules[name]
    sys.modules.update(new)
    for name in _USERS:  # their submodules are attributes of modules that are exchanged as a whole
        parent, _, last = name.rpartition(".")
        if parent in sys.modules:
            vars(sys.modules[parent]).pop(last, None)
            if name in new:
                setattr(sys.modules[parent], last, new[name])


@contextlib.contextmanager
def device_memory(total: int) -> Iterator[None]:
    """Within the context the device has ``total`` bytes more than arrays hold now."""
    kept = the_memory.total, the_memory.free, the_memory.peak
    the_memory.total, the_memory.free, the_memory.peak = the_memory.used + total, 0, the_memory.used
    try:
        yield
    finally:
        the_memory.total, the_memory.free, the_memory.peak = kept
