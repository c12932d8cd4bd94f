"""`RawModule` and `RawKernel` with CuPy's interface, for kernels that g++ has compiled.

Stricter than CuPy: the arguments are checked against the kernel's parameters, of which a driver knows nothing.
"""

from __future__ import annotations

import ctypes
import json
import operator
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import settings
from .compiler import Entry, Library, Parameter, compile_library
from .standin.array import counters, ndarray
from .standin.cuda import CUDADriverError, Device
from .standin.memory import MemoryPointer, extent

__all__ = ["KernelError", "RawKernel", "RawModule", "packed"]

_GRID = (2**31 - 1, 65535, 65535)
_BLOCK = (1024, 1024, 64)
_BLANKS = 256  # bytes around each array in the checking build, and what it is aligned to
_launching = threading.RLock()


class KernelError(RuntimeError):
    """What a kernel did wrong on its way; on a device: undefined, or the end of the process's context."""


class RawModule:
    """`cupy.RawModule` for the host."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool | None = None,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if backend != "nvrtc" or translate_cucomplex or enable_cooperative_groups or jitify:
            raise NotImplementedError("the host runs sources of NVRTC without further libraries only")
        for name, value in (("code", code), ("path", path)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"Argument '{name}' has incorrect type (expected str, got {type(value).__name__})")
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        self.code, self.options, self.backend, self.file_path = code, options, backend, path
        self.enable_cooperative_groups, self.jitify = enable_cooperative_groups, jitify
        self.name_expressions = None if name_expressions is None else tuple(name_expressions)

    def library(self, checked: bool) -> Library:
        """The compiled source."""
        if self.code is None:
            self.code, self.options = unpacked(self.file_path)
        return compile_library(self.code, self.options, self.name_expressions, checked)

    def compile(self, log_stream: Any = None) -> None:
        """Compile now."""
        self.library(settings.current().checked)

    def get_function(self, name: str) -> RawKernel:
        """The kernel of this name (``extern "C"``), or of this name expression."""
        if not isinstance(name, str):
            raise TypeError(f"Argument 'name' has incorrect type (expected str, got {type(name).__name__})")
        library = self.library(settings.current().checked)
        if name not in library.entries:
            raise CUDADriverError(500, f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel._of(self, name)


_FATBIN = b"a fatbin for the host\n"


def packed(code: str, options: Sequence[str], architectures: Sequence[int]) -> bytes:
    """What stands for the output of ``nvcc -fatbin`` on the host: the source, and for whom it is compiled."""
    content = {"code": code, "options": list(options), "architectures": list(architectures)}
    return _FATBIN + json.dumps(content).encode()


def unpacked(path: str | None) -> tuple[str, tuple[str, ...]]:
    """Source and options of such a file, as a driver would load it: or its error."""
    try:
        content = Path(str(path)).read_bytes()
    except OSError:
        raise CUDADriverError(301, "CUDA_ERROR_FILE_NOT_FOUND: file not found") from None
    if not content.startswith(_FATBIN):
        raise CUDADriverError(200, "CUDA_ERROR_INVALID_IMAGE: device kernel image is invalid")
    made = json.loads(content[len(_FATBIN) :])
    device = int(Device.capability)
    if not any(a // 10 == device // 10 and a <= device for a in made["architectures"]):
        raise CUDADriverError(209, "CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution")
    return made["code"], tuple(made["options"])


class RawKernel:
    """`cupy.RawKernel` for the host."""

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        *,
        enable_cooperative_groups: bool = False,
        jitify: bool | None = None,
    ) -> None:
        self._module = RawModule(
            code=code,
            options=options,
            backend=backend,
            translate_cucomplex=translate_cucomplex,
            enable_cooperative_groups=enable_cooperative_groups,
            jitify=jitify,
        )
        self.name = name
        self._most_dynamic: int | None = None
        self._seen_static = 0

    @classmethod
    def _of(cls, module: RawModule, name: str) -> RawKernel:
        kernel = cls.__new__(cls)
        kernel._module, kernel.name, kernel._most_dynamic, kernel._seen_static = module, name, None, 0
        return kernel

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for: 48 KB less the static variables, unless raised."""
        if self._most_dynamic is None:
            return settings.current().static_shared - self._seen_static
        return self._most_dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= operator.index(size) <= settings.current().dynamic_shared - self._seen_static:
            raise CUDADriverError(1, f"CUDA_ERROR_INVALID_VALUE: {size} bytes of dynamic shared memory for {self.name}")
        self._most_dynamic = operator.index(size)

    @property
    def max_threads_per_block(self) -> int:
        """The largest block: what ``__launch_bounds__`` says, or 1024."""
        return self._entry(self._module.library(settings.current().checked)).most_threads

    def compile(self, log_stream: Any = None) -> None:
        """Compile now."""
        self._module.compile()

    def _entry(self, library: Library) -> Entry:
        return library.entries[self.name]

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0, **others: Any
    ) -> None:
        stream = others.pop("stream", None)
        if others:
            raise TypeError(f"__call__() got an unexpected keyword argument {next(iter(others))!r}")
        if stream is not None:
            raise NotImplementedError("kernels run on the current stream; use `with stream:`")
        chosen = settings.current()
        library = self._module.library(chosen.checked)
        entry = self._entry(library)
        grid_shape = _shape(grid, "grid", _GRID, self.name)
        block_shape = _shape(block, "block", _BLOCK, self.name)
        threads = block_shape[0] * block_shape[1] * block_shape[2]
        if threads > entry.most_threads:
            raise ValueError(
                f"{self.name}: a block has at most {entry.most_threads} threads, found {block} ({threads})"
            )
        if not 0 <= operator.index(shared_mem) <= self.max_dynamic_shared_size_bytes:
            raise ValueError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, of at most "
                f"{self.max_dynamic_shared_size_bytes}; set kernel.max_dynamic_shared_size_bytes first"
            )
        if len(args) != len(entry.parameters):
            raise TypeError(f"{self.name} takes {len(entry.parameters)} arguments, found {len(args)}")
        with _launching:
            values = [
                _argument(a, p, f"argument {i} of {self.name}")
                for i, (a, p) in enumerate(zip(args, entry.parameters, strict=True))
            ]
            counters.launches += 1
            with _Memory(library, entry.parameters, values) as memory:
                slots = [np.array([v.address], np.uint64) if isinstance(v, _Pointer) else v for v in memory.values]
                table = (ctypes.c_void_p * max(1, len(slots)))(*(s.ctypes.data for s in slots))
                shared = ctypes.c_uint64()
                text = ctypes.create_string_buffer(2048)
                failed = library.launch(
                    entry.call,
                    table,
                    (ctypes.c_uint * 3)(*grid_shape),
                    (ctypes.c_uint * 3)(*block_shape),
                    shared_mem,
                    settings.ORDERS.index(chosen.order),
                    chosen.seed,
                    chosen.last_blocks,
                    ctypes.byref(shared),
                    text,
                    len(text),
                )
            self._seen_static = shared.value
            if failed:
                line = library.line_of(library.failure_address()) if library.checked else ""
                raise KernelError(f"{self.name}: {text.value.decode()}{f' at {line}' if line else ''}")
            if shared.value > chosen.static_shared:
                raise ValueError(
                    f"{self.name}: {shared.value} bytes of static shared memory, of at most {chosen.static_shared}; "
                    f"larger tiles are dynamic shared memory"
                )
            if shared.value + shared_mem > max(chosen.static_shared, self._most_dynamic or 0):
                raise ValueError(
                    f"{self.name}: {shared.value} bytes of static and {shared_mem} of dynamic shared memory"
                )


def _shape(sizes: Any, what: str, limits: tuple[int, ...], name: str) -> tuple[int, int, int]:
    if not isinstance(sizes, tuple) or not 1 <= len(sizes) <= 3:
        raise TypeError(f"{name}: {what} must be a tuple of 1 to 3 integers, found {sizes!r}")
    full = (*map(operator.index, sizes), 1, 1)[:3]
    for size, limit in zip(full, limits, strict=True):
        if not 1 <= size <= limit:  # CuPy launches one block, or one thread, in place of 0
            raise ValueError(f"{name}: {what} sizes must be at least 1 and at most {limits}, found {sizes}")
    return full  # type: ignore[return-value]


class _Pointer:
    """A pointer argument: its address, and the bytes that may be touched through it."""

    def __init__(self, address: int, start: int, stop: int, itemsize: int, const: bool) -> None:
        self.address, self.start, self.stop, self.itemsize, self.const = address, start, stop, itemsize, const


def _argument(value: Any, parameter: Parameter, name: str) -> Any:
    wanted = f"{parameter.code}{' pointer' if parameter.pointer else ''}"
    if isinstance(value, np.ndarray) and (parameter.pointer or value.size != 1):
        raise TypeError(f"{name}: a NumPy array of the host (shape {value.shape}); pass an array of the device")
    if parameter.pointer:
        if value is None:
            return _Pointer(0, 0, 0, 1, True)
        if isinstance(value, MemoryPointer):
            dtype, (start, stop), address = value._dtype, value._extent, value.ptr
        elif isinstance(value, ndarray):
            if not (value.flags.c_contiguous or value.flags.f_contiguous):
                raise ValueError(
                    f"{name}: an array that is not contiguous (shape {value.shape}, strides {value.strides}); if the "
                    f"kernel knows the strides, pass array.data"
                )
            dtype, address = value.dtype, value.data.ptr
            start, stop = extent(value._host)
        else:
            raise TypeError(f"{name}: expected an array ({wanted}), found {type(value).__name__} {value!r}")
        if parameter.code not in ("any", "struct") and dtype is not None:
            right = dtype.itemsize == 1 if parameter.code == "byte" else dtype == np.dtype(parameter.code)
            if not right:
                raise TypeError(f"{name}: the kernel takes a {wanted}, found an array of {dtype}")
        if address % parameter.alignment and start < stop:
            raise ValueError(f"{name}: the address must be a multiple of {parameter.alignment}, found {address:#x}")
        return _Pointer(address, start, stop, dtype.itemsize if dtype is not None else 1, parameter.const)
    if isinstance(value, ndarray | MemoryPointer):
        raise TypeError(f"{name}: the kernel takes a value ({wanted}), found an array of the device")
    if not isinstance(value, np.generic | np.ndarray):
        raise TypeError(
            f"{name}: the kernel takes a value ({wanted}), found an untyped {type(value).__name__} {value!r}; its "
            f"width is a guess, pass np.dtype({parameter.code!r}).type(value)"
        )
    code = parameter.code
    if code == "struct" or parameter.size != np.dtype(code).itemsize:
        if value.dtype.itemsize != parameter.size:
            raise TypeError(
                f"{name}: the kernel takes {parameter.size} bytes, found {value.dtype.itemsize} ({value.dtype})"
            )
    elif value.dtype != np.dtype(code):
        raise TypeError(f"{name}: the kernel takes a {wanted}, found {value.dtype} {value!r}")
    aligned = np.zeros(parameter.size + 64, np.uint8)
    offset = -aligned.ctypes.data % 64
    slot = aligned[offset : offset + parameter.size]
    slot[:] = np.frombuffer(value.tobytes(), np.uint8)
    return slot


class _Memory:
    """The arrays of a launch: as they are, or in the checking build copied to between blank bytes, and back."""

    def __init__(self, library: Library, parameters: Sequence[Parameter], values: list[Any]) -> None:
        self.library, self.values, self._copies = library, list(values), []
        if not library.checked:
            return
        library.check_clear()
        pointers = [(v, i) for i, v in enumerate(values) if isinstance(v, _Pointer) and v.stop > v.start]
        pointers.sort(key=lambda p: p[0].start)
        groups: list[list[tuple[_Pointer, int]]] = []
        reach = 0
        for pointer, i in pointers:
            if groups and pointer.start < reach:
                groups[-1].append((pointer, i))
            else:
                groups.append([(pointer, i)])
            reach = max(reach, pointer.stop)
        for group in groups:
            start, stop = group[0][0].start, max(p.stop for p, _ in group)
            buffer = np.full(stop - start + 3 * _BLANKS, 0xFF, np.uint8)
            offset = -buffer.ctypes.data % _BLANKS + _BLANKS + start % _BLANKS
            copy = buffer[offset : offset + stop - start]
            original = np.ctypeslib.as_array(ctypes.cast(start, ctypes.POINTER(ctypes.c_uint8)), (stop - start,))
            copy[:] = original
            writable = not all(p.const for p, _ in group)
            granule = 4 if all(p.itemsize % 4 == 0 for p, _ in group) else 1
            label = " and ".join(f"argument {i}" for _, i in group)
            library.check_region(copy.ctypes.data, stop - start, granule, writable, label.encode())
            self._copies.append((buffer, copy, original, writable))
            for pointer, i in group:
                moved = copy.ctypes.data + pointer.address - start
                self.values[i] = _Pointer(moved, 0, 0, pointer.itemsize, pointer.const)

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *exception: object) -> None:
        for _, copy, original, writable in self._copies:
            if writable:
                original[:] = copy
        if self.library.checked:
            self.library.check_clear()
