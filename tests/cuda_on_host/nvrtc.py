"""NVRTC without a driver: every ``.cu`` compiled to machine code of several architectures, with CuPy's options.

CuPy's own compiler asks for a device even when it is told an architecture; the library itself does not.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ARCHITECTURES", "Compiled", "Kernel", "NvrtcError", "compile_source", "has_nvrtc", "nvrtc_version"]

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")


class NvrtcError(RuntimeError):
    """NVRTC refuses the source, warns of something, or needs more registers than there are."""


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel."""

    name: str  # mangled
    registers: int
    spilled_bytes: int  # stores and loads
    stack_bytes: int  # local arrays included, which are no spills
    shared_bytes: int


@dataclass(frozen=True)
class Compiled:
    """The machine code of a source for one architecture."""

    cubin: bytes
    kernels: tuple[Kernel, ...]
    log: str


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The newest NVRTC among the installed wheels."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    found = [
        path
        for root in roots
        for path in root.glob("*/lib/libnvrtc.so.*")
        if re.fullmatch(r"libnvrtc\.so\.\d+", path.name)
    ]
    if not found:
        return None
    return ctypes.CDLL(str(max(found, key=lambda p: int(p.name.rpartition(".")[2]))))


def has_nvrtc() -> bool:
    """Whether there is one."""
    return _library() is not None


def nvrtc_version() -> tuple[int, int]:
    """Its version."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def _call(name: str, *arguments: object) -> None:
    library = _library()
    if library is None:
        raise NvrtcError("there is no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    status = getattr(library, name)(*arguments)
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise NvrtcError(f"{name}: {library.nvrtcGetErrorString(status).decode()}")


def _text(name: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _call(f"nvrtcGet{name}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(f"nvrtcGet{name}", program, buffer)
    return buffer.raw


def compile_source(
    source: str,
    architecture: str,
    options: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    *,
    name: str = "kernel.cu",
    allow_spills: bool = False,
) -> Compiled:
    """Compile for one architecture; warnings and spilled registers are errors.

    ``options`` and ``names`` are those of ``cupy.RawModule``, to which CuPy adds the standard, ``-ftz=true``, and that
    unmarked functions are the device's.
    """
    standard = () if any("std=" in o for o in options) else ("--std=c++17",)
    full = (*options, *standard, "-ftz=true", f"-arch={architecture}", "--device-as-default-execution-space")
    full = (*full, "--ptxas-options=--verbose", "--ptxas-options=--warn-on-spills")
    program = ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
    try:
        for expression in names:
            _call("nvrtcAddNameExpression", program, expression.encode())
        table = (ctypes.c_char_p * len(full))(*(o.encode() for o in full))
        library = _library()
        status = library.nvrtcCompileProgram(program, len(full), table)  # type: ignore[union-attr]
        log = _text("ProgramLog", program).rstrip(b"\0").decode()
        if status:
            raise NvrtcError(f"{name} for {architecture}:\n{log}")
        compiled = Compiled(_text("CUBIN", program), _kernels(log), log)
    finally:
        _call("nvrtcDestroyProgram", ctypes.byref(program))
    warnings = [
        line
        for line in log.splitlines()
        if re.search(r"\bwarning\b", line, re.IGNORECASE) and "spill" not in line.lower()
    ]
    if warnings:
        raise NvrtcError(f"{name} for {architecture} compiles with warnings:\n{log}")
    spilled = [k for k in compiled.kernels if k.spilled_bytes]
    if spilled and not allow_spills:
        raise NvrtcError(f"{name} for {architecture} spills registers: {spilled}")
    return compiled


def _kernels(log: str) -> tuple[Kernel, ...]:
    """From lines such as ``ptxas info : Used 32 registers, used 1 barriers, 8192 bytes smem``."""
    kernels = []
    pattern = (
        r"Compiling entry function '(?P<name>\w+)'.*?"
        r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
        r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)"
    )
    for match in re.finditer(pattern, log, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        kernels.append(
            Kernel(
                match["name"],
                int(match["registers"]),
                int(match["stores"]) + int(match["loads"]),
                int(match["stack"]),
                int(shared[1]) if shared else 0,
            )
        )
    return tuple(kernels)
