"""Numba's cache on disk in every state, and forks while a thread compiles."""

import ast
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sslcore

from .forked import Parent, needs_fork

pytestmark = needs_fork

# compiles three small functions and a callback, like those of the backend, in a module of its own
MODULE = """
from numba import types
from sslcore.backends.numba_cpu import compiling
from sslcore.backends.numba_cpu.compiling import compiled, compiled_callback

@compiled(nogil=True)
def double(x):
    return x + x

@compiled(types.float64(types.float64), error_model="numpy")
def triple(x):
    return double(x) + x

def _halve(pointer, n):
    pass

halve = compiled_callback(_halve, types.void(types.CPointer(types.float64), types.intp))
"""

USE = """
import importlib, json, sys, warnings
import numba
numba.config.reload_config()  # reads NUMBA_CACHE_DIR again
sys.path.insert(0, FOLDER)
from numba.core.dispatcher import _FunctionCompiler
compiled = {}
original = _FunctionCompiler.compile
def counted(self, args, return_type):
    if self.py_func.__module__ in MODULES:
        compiled.setdefault(self.py_func.__module__, []).append(self.py_func.__name__)
    return original(self, args, return_type)
_FunctionCompiler.compile = counted
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name in MODULES:
        mine = importlib.import_module(name)
        for _ in range(2):
            assert (mine.double(2), mine.double(2.5), mine.triple(3.0)) == (4, 5.0, 9.0) and mine.halve.address
print(json.dumps([{name: sorted(found) for name, found in compiled.items()}, [str(w.message) for w in caught]]))
"""

ALL = ["_halve", "double", "double", "triple"]


@pytest.fixture(scope="module")
def parent():
    """A process that has imported the compiler, and compiled nothing."""
    with Parent("from sslcore.backends.numba_cpu import compiling") as made:
        yield made


@pytest.fixture
def use(tmp_path, parent):
    """A function that uses modules in a fresh process: what was compiled of each, and what was warned of."""
    (tmp_path / "mine.py").write_text(MODULE)

    def call(cache=None, before="", modules=("mine",)):
        code = before + USE.replace("FOLDER", repr(str(tmp_path))).replace("MODULES", repr(list(modules)))
        found = parent.run(code, NUMBA_CACHE_DIR=str(cache or tmp_path / "cache"), HOME=str(tmp_path / "home"))
        names, said = json.loads(found)
        return (names.get("mine", []) if modules == ("mine",) else names), " ".join(said)

    return call


@pytest.fixture
def cache(tmp_path, use):
    """The folder with the entries of the module, filled."""
    assert use() == (ALL, "")
    assert use() == ([], "")
    return folder_of_entries(tmp_path)


def folder_of_entries(tmp_path):
    (folder,) = {file.parent for file in (tmp_path / "cache").rglob("mine*.nbi")}
    return folder


def overwrite(content):
    return lambda file: file.write_bytes(content)


def cut(share):
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def flip(share):
    def damage(file):
        content = bytearray(file.read_bytes())
        for place in range(int(share * len(content)), len(content), max(1, len(content) // 7)):
            content[place] ^= 0x55
        file.write_bytes(content)

    return damage


def more_at_the_end(file):
    file.write_bytes(file.read_bytes() + b"more")


def as_folder(file):
    file.unlink()
    file.mkdir()


def loop(file):
    file.unlink()
    file.symlink_to(file)


DAMAGE = {
    "empty": overwrite(b""),
    "7 bytes": lambda file: file.write_bytes(file.read_bytes()[:7]),
    "half": cut(0.5),
    "all but a byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "text": overwrite(b"<html>not found</html>"),
    "another object": overwrite(b"\x80\x04K\x01."),
    "code that raises": overwrite(b"cbuiltins\nexec\n(Vraise ValueError\ntR."),
    "flips from the start": flip(0.0),
    "flips in the middle": flip(0.4),
    "the last byte": lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\x00"),
    "more at the end": more_at_the_end,
    "missing": lambda file: file.unlink(),
    "a link to itself": loop,
    "a folder": as_folder,
}


DAMAGED = {"double": "nbi", "triple": "nbc", "_halve": "nbc"}
"""Which file of each function is damaged: the index of its entries, or the entries."""


def test_damaged_entries_are_made_anew(tmp_path, use):
    """No damage ends the process or changes a result; the next process finds all entries whole again."""
    cases = {f"mine{i}": damage for i, damage in enumerate(DAMAGE.values())}
    for name in cases:
        (tmp_path / f"{name}.py").write_text(MODULE)
    assert use(modules=cases) == (dict.fromkeys(cases, ALL), "")
    cache = folder_of_entries(tmp_path)
    for name, damage in cases.items():
        for function, kind in DAMAGED.items():
            (file,) = cache.glob(f"{name}.{function}-*.{kind}")
            damage(file)
    names, said = use(modules=cases)
    assert set(names) <= set(cases)
    for name, damage in cases.items():
        if damage is not more_at_the_end:  # which pickles do not mind
            assert set(names[name]) == set(ALL), name
    assert said.count("NUMBA_CACHE_DIR") == 1  # nothing can be written in the place of a folder
    assert str(cache) in said
    for folder in cache.glob("mine*.nb?"):
        if folder.is_dir():
            folder.rmdir()
    folders = {name for name, damage in cases.items() if damage is as_folder}
    names, said = use(modules=cases)
    assert set(names) <= folders
    assert said == ""
    assert use(modules=cases) == ({}, "")


def test_machine_code_is_checked(cache, use):
    """One bit anywhere within the code of a function: it is not run."""
    files = sorted(cache.glob("mine.double*.nbc"))
    assert len(files) == 2
    for share in (0.3, 0.5, 0.7):
        for file in files:
            content = bytearray(file.read_bytes())
            content[int(share * len(content))] ^= 1
            file.write_bytes(content)
        names, said = use()
        assert (names, said) == (["double", "double"], "")
    assert use() == ([], "")


def test_entries_in_each_others_place(cache, use):
    """Whole, but for other types than the index says, or from a source before the last change."""
    first, second = sorted(cache.glob("mine.double*.nbc"))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    names, said = use()
    assert set(names) == {"double"}
    assert said == ""
    assert use() == ([], "")


def test_an_older_entry_behind_a_newer_index(tmp_path, cache, use):
    """As a full disk leaves it: Numba writes the index first."""
    old = {file: file.read_bytes() for file in cache.glob("mine.double*.nbc")}
    (tmp_path / "mine.py").write_text(MODULE.replace("return x + x", "return x + x + 0"))
    use()
    for file, content in old.items():
        file.write_bytes(content)
    names, said = use()
    assert set(names) == {"double"}
    assert said == ""


SCALED = """
from sslcore import tunables
from sslcore.backends.numba_cpu.compiling import compiled
from sslcore.tunables import CPU_TILE_COLUMNS as TILE

@compiled(nogil=True)
def scaled(x):
    return x * TILE + tunables.CPU_DRAW_BLOCKS
"""


def test_a_changed_tunable_is_compiled_anew(tmp_path):
    """A constant of another file, of which Numba's own cache knows nothing; unchanged, nothing is compiled."""
    (tmp_path / "theirs.py").write_text(SCALED)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from sslcore import tunables
tunables.CPU_TILE_COLUMNS, tunables.CPU_DRAW_BLOCKS = SIZES
from theirs import scaled
print(scaled(2), sum(scaled.stats.cache_misses.values()))
"""
    with Parent("import numba", NUMBA_CACHE_DIR=str(tmp_path / "cache")) as parent:

        def call(columns, blocks):
            found = parent.run(code.replace("SIZES", f"{columns}, {blocks}"))
            return tuple(map(int, found.split()))

        assert call(512, 512) == (1536, 1)
        assert call(512, 512) == (1536, 0)
        assert call(256, 512) == (1024, 1)
        assert call(256, 512) == (1024, 0)
        assert call(256, 128) == (640, 1)
        assert call(256, 128) == (640, 0)
        code = code.replace("from theirs", "tunables.DASK_SPARE_PARTS = 0  # is no constant of code\nfrom theirs")
        assert call(256, 128) == (640, 0)


def test_compiled_code_has_no_other_tunables():
    """Those that the digest leaves out are looked up when a loop is called, never while one is compiled."""
    for path in Path(sslcore.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == "tunables":
                assert {name.name[:4] for name in node.names} == {"CPU_"}, path
            elif isinstance(node, ast.FunctionDef) and any("compiled" in ast.unparse(d) for d in node.decorator_list):
                used = {ast.unparse(n) for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                assert all(name.startswith("tunables.CPU_") for name in used if name.startswith("tunables.")), path


FULL = f"""
import builtins, os
real = builtins.open
class Full:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *error): self.file.close()
    def write(self, data): raise OSError({errno.ENOSPC}, "No space left on device")
def refusing(file, mode="r", *arguments, **more):
    opened = real(file, mode, *arguments, **more)
    return Full(opened) if "w" in mode and ".tmp." in str(file) else opened
builtins.open = refusing
"""


def test_a_full_disk(tmp_path, use):
    names, said = use(before=FULL)
    assert names == ALL
    assert said.count("NUMBA_CACHE_DIR") == 1  # said once, not for every function
    assert "No space left on device" in said
    assert str(tmp_path / "cache") in said
    assert list((tmp_path / "cache").rglob("mine*.nb?")) == []
    assert use() == (ALL, "")  # as soon as there is space, as if nothing had been
    assert use() == ([], "")


@pytest.mark.parametrize("state", ["a file", "below proc", "a pipe"])
def test_no_folder_can_be_written(state, tmp_path, use):
    """Neither the user's, nor that beside the module, nor that in the home folder."""
    (tmp_path / "home").write_text("")
    (tmp_path / "__pycache__").write_text("")
    folder = {"a file": tmp_path / "home", "below proc": "/proc/none/such", "a pipe": tmp_path / "pipe"}[state]
    if state == "a pipe":
        os.mkfifo(folder)
    names, said = use(cache=folder, before="import sys; sys.dont_write_bytecode = True\n")
    assert names == ALL
    assert said.count("NUMBA_CACHE_DIR") == 1
    assert "no locator available" in said


FORK = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of forking a process that has threads
import numpy as np
from sslcore.backends.numba_cpu.compiling import compiled, global_compiler_lock

def make(number):
    names = {}
    exec(f"def f(x):\\n    s = 0.0\\n    for i in range(x.size):\\n        s += x[i] * {number}\\n    return s", names)
    return compiled(nogil=True)(names["f"])

x = np.ones(5)
stop = threading.Event()
compiling = threading.Event()

def compile_all():
    number = 0
    while not stop.is_set():
        number += 1
        make(number)(x)
        compiling.set()

thread = threading.Thread(target=compile_all, daemon=True)
thread.start()
compiling.wait(60)
for attempt in range(6):
    time.sleep(0.013 * attempt)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that hangs
        os._exit(0 if make(1000 + attempt)(x) == 5.0 * (1000 + attempt) else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, end=" ")
stop.set()
thread.join(60)
print(make(7)(x))  # the parent's lock is free
"""


def test_a_fork_while_another_thread_compiles():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 0 0 0 0 0 35.0\n"
