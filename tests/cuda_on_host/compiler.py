"""From the text of a ``.cu`` file to a library for this machine, by g++, kept in a cache by its content."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

__all__ = ["CompilationError", "Library", "Parameter", "compile_library", "has_compiler", "rewrite"]

_HOST = Path(__file__).parent / "host"
_FLAGS = (
    "-std=c++17",
    "-fPIC",
    "-ffp-contract=off",  # no fused multiply-add but where the source says fma
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fno-gnu-unique",  # or two libraries would share what a template calls static
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
)
_PLAIN = ("-O2",)
_CHECKED = (
    "-O1",
    "-g1",
    "-fsanitize=thread",  # calls for every access to memory, which checker.cpp answers
    "--param=tsan-instrument-func-entry-exit=0",
    "-fsanitize=bounds-strict,alignment,signed-integer-overflow,shift-exponent,integer-divide-by-zero,float-cast-overflow",
    "-fno-omit-frame-pointer",
)


class CompilationError(RuntimeError):
    """The source is not what g++ takes for CUDA."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel."""

    pointer: bool
    code: str  # "f8", "i4", ...; "any" (void), "byte" (char), "struct"
    size: int
    alignment: int
    const: bool


@dataclass(frozen=True)
class Entry:
    """A kernel in a library."""

    name: str
    call: int
    parameters: tuple[Parameter, ...]
    most_threads: int


class _Row(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("call", ctypes.c_void_p),
        ("signature", ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_uint)),
        ("most_threads", ctypes.c_int),
    ]


class Library:
    """A compiled source, loaded."""

    _stacks: ClassVar[int | None] = None  # of the threads of a block, shared by all libraries

    def __init__(self, path: Path, names: tuple[str, ...], checked: bool) -> None:
        self.path, self.checked = path, checked
        self._handle = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        share = self._handle.cuda_host_stacks
        share.argtypes, share.restype = [ctypes.c_void_p], ctypes.c_void_p
        Library._stacks = share(Library._stacks)
        if Library._stacks is None:
            raise MemoryError("no memory for the stacks of the threads")
        self.launch = self._handle.cuda_host_launch
        self.launch.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_uint),
            ctypes.POINTER(ctypes.c_uint),
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.c_uint64,
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint64),
            ctypes.c_char_p,
            ctypes.c_uint,
        ]
        if checked:
            self.check_region = self._handle.cuda_host_check_region
            self.check_region.argtypes = [
                ctypes.c_void_p,
                ctypes.c_uint64,
                ctypes.c_uint,
                ctypes.c_int,
                ctypes.c_char_p,
            ]
            self.check_clear = self._handle.cuda_host_check_clear
            self.failure_address = self._handle.cuda_host_failure_address
            self.failure_address.restype = ctypes.c_uint64
        self.entries: dict[str, Entry] = {}
        rows = (_Row * len(names)).in_dll(self._handle, "cuda_host_kernels") if names else ()
        text = ctypes.create_string_buffer(1 << 14)
        for row in rows:
            row.signature(text, len(text))
            parameters = []
            for part in filter(None, text.value.decode().split(";")):
                kind, code, size, alignment, const = part.split()
                parameters.append(Parameter(kind == "pointer", code, int(size), int(alignment), const == "1"))
            name = row.name.decode()
            self.entries[name] = Entry(name, row.call, tuple(parameters), row.most_threads)

    def line_of(self, address: int) -> str:
        """The line of the source for an address within the library, if binutils can tell."""
        tool = shutil.which("addr2line")
        if not tool or not address:
            return ""
        shown = subprocess.run(
            [tool, "-e", str(self.path), hex(address)], capture_output=True, text=True
        ).stdout.strip()
        return "" if shown.startswith("??") else shown.rpartition("/")[2].split(" ")[0]


@functools.cache
def has_compiler() -> bool:
    """Whether there is a g++."""
    return shutil.which("g++") is not None


def cache_directory() -> Path:
    """Where compiled libraries are kept, outside of the repository."""
    chosen = os.environ.get("CUDA_ON_HOST_CACHE")
    path = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"sslcore-cuda-on-host-{os.getuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def blank_comments(source: str) -> str:
    """The source with comments and the contents of strings as blanks, every other character in its place."""

    def blank(match: re.Match[str]) -> str:
        text = match[0]
        if text[0] in "\"'":
            return text[0] + " " * (len(text) - 2) + text[-1]
        return re.sub(r"[^\n]", " ", text)

    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, source, flags=re.DOTALL)


def rewrite(source: str) -> str:
    """The source with each ``__shared__`` declaration as a reference to memory that the scheduler hands out."""
    bare = blank_comments(source)
    parts, last = [], 0
    for number, match in enumerate(re.finditer(r"(extern\s+)?(?:static\s+)?__shared__([^;]*);", bare)):
        parts.append(source[last : match.start()])
        text = _shared(match[2], match[1] is not None, number)
        parts.append(text + "\n" * match[0].count("\n"))
        last = match.end()
    return "".join(parts) + source[last:]


def _split(text: str) -> list[str]:
    """Pieces between commas that are not within brackets."""
    pieces, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([{<") - (c in ")]}>")
        if c == "," and depth == 0:
            pieces.append(text[start:i])
            start = i + 1
    return [*pieces, text[start:]]


def _shared(declaration: str, dynamic: bool, number: int) -> str:
    declaration = " ".join(declaration.split())
    if re.search(r"[={]", declaration):
        raise CompilationError(f"a __shared__ variable cannot have an initial value: {declaration}")
    attribute = r"(?:__align__|alignas|__attribute__)\s*\((?:[^()]|\([^()]*\))*\)"
    aligned = " ".join(re.findall(attribute, declaration)).replace("__align__", "alignas")
    declaration = re.sub(attribute, " ", declaration).strip()
    first, *others = _split(declaration)
    match = re.fullmatch(r"(.*?[\s*&>])(\w+)\s*((?:\[.*\]\s*)*)", first.strip())
    if match is None:
        raise CompilationError(f"this declaration of a __shared__ variable is not understood: {declaration}")
    element = match[1].strip()
    if dynamic:
        if others or match[3].replace(" ", "") != "[]":
            raise CompilationError(f"dynamic shared memory is declared as one array [] at a time: {declaration}")
        return f"{element}* const {match[2]} = static_cast<{element}*>(cuda_host::dynamic_shared());"
    text = []
    for place, (name, sizes) in enumerate([(match[2], match[3]), *map(_declarator, others)]):
        kind, variable = f"cuda_host_type_{number}_{place}", f"cuda_host_variable_{number}_{place}"
        alignment = re.sub(r"alignas\s*", "", aligned) or f"alignof({kind})"
        text.append(
            f"typedef {element} {kind}{sizes}; static cuda_host::SharedVariable {variable}{{"
            f'"{name}", sizeof({kind}), {alignment}, sizeof(std::remove_all_extents_t<{kind}>) % 4 ? 1u : 4u}}; '
            f"{kind}& {name} = *static_cast<{kind}*>(cuda_host::shared_variable({variable}));"
        )
    return " ".join(text)


def _declarator(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(\w+)\s*((?:\[.*\]\s*)*)", text)
    if match is None:
        raise CompilationError(f"this declarator of a __shared__ variable is not understood: {text}")
    return match[1], match[2]


def _balanced(text: str, start: int) -> int:
    """Index after the bracket that closes the one at ``start``."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "({") - (text[i] in ")}")
        if depth == 0:
            return i + 1
    raise CompilationError("a bracket of the source is not closed")


@dataclass(frozen=True)
class _Definition:
    name: str
    plain: bool  # extern "C": found by its name
    bounds: str  # an expression for the largest block


def _definitions(source: str) -> list[_Definition]:
    bare = blank_comments(source)
    inside = [(m.end() - 1, _balanced(bare, m.end() - 1)) for m in re.finditer(r'extern\s+"\s*"\s*\{', bare)]
    found = []
    for match in re.finditer(r"__global__", bare):
        position, bounds, name = match.end(), "1024", ""
        while not name:
            word = re.compile(r"\s*(\w+)\s*(\()?").match(bare, position)
            if word is None:
                raise CompilationError("a __global__ function is not understood")
            position = word.end()
            if word[1] == "__launch_bounds__":
                end = _balanced(bare, position - 1)
                bounds, position = _split(bare[position : end - 1])[0].strip(), end
            elif word[2]:
                name = word[1]
        before = bare[: match.start()]
        template = re.search(r"template\s*<([^{};]*)>\s*(?:static\s+)?$", before)
        if template is not None and set(re.findall(r"(\w+)\s*(?:,|=|$)", template[1])) & set(
            re.findall(r"\w+", bounds)
        ):
            bounds = "1024"
        plain = bool(re.search(r'extern\s+"\s*"\s*$', before)) or any(a < match.start() < b for a, b in inside)
        found.append(_Definition(name, plain and template is None, bounds))
    return found


def _defines(options: tuple[str, ...]) -> list[str]:
    """Those of RawModule's options that mean something to g++."""
    kept, standard = [], False
    for option in options:
        if re.match(r"-[DUI]\S", option):
            kept.append(option)
        elif re.fullmatch(r"--?std=c\+\+(17|20)", option):
            standard = True
            kept.append("-" + option.lstrip("-"))
        elif not re.fullmatch(
            r"--?(fmad|ftz|prec-div|prec-sqrt)=(true|false)|--?lineinfo|--?generate-line-info|--?restrict|--?maxrregcount=\d+"
            r"|--?(extra-device-vectorization|default-device)",
            option,
        ):
            raise CompilationError(f"the option {option!r} is not one that the host knows the meaning of")
    return kept if standard else ["-std=c++17", *kept]


def _gxx(*arguments: str) -> None:
    result = subprocess.run(["g++", *arguments], capture_output=True, text=True)
    if result.returncode or result.stderr:
        raise CompilationError(f"g++ {' '.join(arguments)}\n{result.stderr}")


@functools.cache
def _gxx_version() -> str:
    return subprocess.run(["g++", "-v"], capture_output=True, text=True).stderr


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@functools.cache
def _support(name: str) -> tuple[Path, str]:
    """The object of one of our own sources, and what it depends on."""
    content = [(_HOST / f).read_text() for f in ("cuda.h", "scheduler.h", name)]
    digest = _digest(content, _FLAGS, _gxx_version())
    target = cache_directory() / f"{name}-{digest}.o"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            built = Path(scratch) / "built.o"
            _gxx(*_FLAGS, "-O2", "-Wall", "-Wextra", "-c", str(_HOST / name), "-o", str(built))
            built.replace(target)
    return target, digest


@functools.lru_cache(maxsize=256)
def compile_library(
    source: str, options: tuple[str, ...] = (), names: tuple[str, ...] | None = None, checked: bool = False
) -> Library:
    """The library of a source: kernels ``extern "C"`` by their names, instances of templates as asked by ``names``."""
    definitions = _definitions(source)
    by_name = {d.name: d for d in definitions}
    wanted = [(d.name, d) for d in definitions if d.plain]
    for expression in names or ():
        base = re.match(r"[&\s]*(?:\w+::)*(\w+)", expression)
        if base is None or base[1] not in by_name:
            raise CompilationError(f"no kernel of the source has the name of {expression!r}")
        if not any(expression == n for n, _ in wanted):
            wanted.append((expression, by_name[base[1]]))
    rows = []
    for expression, definition in wanted:
        kernel = f"cuda_host::Kernel<(&{expression.strip().lstrip('&')})>"
        text = expression.replace("\\", "\\\\").replace('"', '\\"')
        rows.append(f'{{"{text}", {kernel}::call, {kernel}::signature, int({definition.bounds})}},')
    table = "\n".join(rows)
    text = (
        f'#include "cuda.h"\n#line 1 "kernel.cu"\n{rewrite(source)}\n#line 1 "table of kernels"\n'
        f'extern "C" {{ extern const cuda_host::Entry cuda_host_kernels[] __attribute__((visibility("default"))) = '
        f"{{\n{table}\n{{}}}}; }}\n"
    )
    supports = [_support("scheduler.cpp"), *([_support("checker.cpp")] if checked else [])]
    flags = [*_FLAGS[1:], *(_CHECKED if checked else _PLAIN), *_defines(options), f"-I{_HOST}", "-Wno-unknown-pragmas"]
    included = [Path(o[2:]) for o in options if o.startswith("-I")]
    headers = [p.read_bytes() for d in included for p in sorted(d.glob("*.cu*"))]
    key = _digest(text, headers, flags, [d for _, d in supports])
    target = cache_directory() / f"kernels-{key}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            unit, built = Path(scratch) / "kernels.cpp", Path(scratch) / "built.so"
            unit.write_text(text)
            _gxx(*flags, "-c", str(unit), "-o", f"{unit}.o")
            _gxx("-shared", f"{unit}.o", *(str(p) for p, _ in supports), "-o", str(built))
            built.replace(target)
    return Library(target, tuple(e for e, _ in wanted), checked)
