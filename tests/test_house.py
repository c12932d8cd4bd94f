"""The plan of the house: imports point downwards, and the picture of the floors is the one that the linter keeps."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import sslcore

ROOT = Path(sslcore.__file__).parents[1]
CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]


def floors_of_the_picture():
    """The indented lines of the package's docstring, from the top: sets of names."""
    picture = re.search(r"::\n\n((?:    .*\n)+)", sslcore.__doc__)[1]
    return [set(line.split()) for line in picture.splitlines()]


def test_the_picture_is_what_the_linter_keeps():
    kept = [set(re.split(r"\s*[|:]\s*", layer)) for layer in CONTRACT["layers"]]
    assert floors_of_the_picture() == kept


def test_maps_of_rooms_name_files_that_are_there():
    """The indented lines in the docstring of a room: each begins with a file."""
    found = {}
    for page in (ROOT / "sslcore").rglob("__init__.py"):
        doc = ast.get_docstring(ast.parse(page.read_text(encoding="utf-8"))) or ""
        listed = re.search(r"in (?:this|the) order[^\n]*::\n\n((?:    .*\n?)+)", doc)
        found[page.parent.name] = [line.split()[0] for line in listed[1].splitlines()] if listed else []
        for name in found[page.parent.name]:
            assert (page.parent / f"{name}.py").exists(), f"{page}: {name}"
    assert "pretraining" in found["fitting"]
    assert "exact" in found["solvers"]


def test_every_room_has_a_floor():
    rooms = {p.stem for p in (ROOT / "sslcore").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set().union(*floors_of_the_picture())


def test_imports_point_downwards():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


TUNABLES = ROOT / "sslcore" / "tunables.py"
UNITS = {
    "BLOCKS",
    "BYTES",
    "COLUMNS",
    "COORDINATES",
    "ENTRIES",
    "FACTOR",
    "FLOPS",
    "LEVELS",
    "NUMBERS",
    "PAIRS",
    "PRODUCTS",
}
UNITS |= {"PARTS", "POINTS", "ROWS", "SAMPLES", "SIZES", "STEPS", "STRIPS", "THREADS", "VALUES", "VIEWS"}


def test_every_tunable_has_a_unit_a_reason_and_a_use():
    body = ast.parse(TUNABLES.read_text(encoding="utf-8")).body[1:]
    others = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "sslcore").rglob("*.py") if p != TUNABLES)
    for definition, reason in zip(body[::2], body[1::2], strict=True):
        name = definition.targets[0].id
        assert name.isupper()
        assert name.split("_")[-1] in UNITS, name
        assert re.fullmatch(r"[A-Z].{25,}\.", reason.value.value, flags=re.DOTALL), name
        assert re.search(rf"\b{name}\b", others), name


def test_sizes_of_blocks_stand_in_one_place():
    """Numbers by such names, but for backends' factors, shapes that CUDA sources fix, and orders of quadrature."""
    size = re.compile(r"(BLOCK|TILE|CHUNK|STRIP|PANEL|MINI|HEIGHT|BUFFER)")
    kept = {
        "numba_cpu": {"BLOCK_FACTOR"},
        "cupy_gpu": {"BLOCK_FACTOR", "TILE", "TILES"},
        "solvers": {"BLOCK_GAP"},
        "population": {"_PANEL", "_MAX_PANELS"},
    }
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        for line in ast.parse(path.read_text(encoding="utf-8")).body if path != TUNABLES else ():
            names = {t.id for t in line.targets if isinstance(t, ast.Name)} if isinstance(line, ast.Assign) else ()
            found = {n for n in names if n.isupper() and size.search(n)} - kept.get(path.parent.name, set())
            assert not found, f"{path.relative_to(ROOT)}: {found} belong in tunables.py"


def test_large_powers_of_two_are_tunables_or_limits():
    """A size such as ``1 << 17`` inside a function is one of those: limits are named, at the top of their module."""
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {node for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for node in ast.walk(f)}
        for node in inside:
            match node:
                case ast.BinOp(left=ast.Constant(), op=ast.LShift(), right=ast.Constant(value=shift)):
                    assert shift < 10, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_file_is_too_long():
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"


def test_no_line_of_cuda_is_too_long():
    """At most 120 columns, as the linter has it for Python."""
    paths = sorted((ROOT / "sslcore").rglob("*.cu"))
    assert paths
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 120, f"{path.relative_to(ROOT)}:{number} has {len(line)} columns"


MANY_PARAMETERS = {
    "fitting/nested.py nested_fits": "the arguments of pretrain, and sizes",
    "studies/halfmoons.py study": "the settings of a study, which its command hands over by name",
}
"""Private functions of more than seven parameters, and why."""


def public_objects():
    """Functions and classes that the reference of the API describes: (module, name)."""
    for module, names in runpy.run_path(str(ROOT / "docs" / "_ext" / "reference.py"))["public"]().items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            yield found.__module__, found.__qualname__


def functions(node, names=()):
    """All functions below ``node``, with the names from the module to each."""
    for child in ast.iter_child_nodes(node):
        inside = names
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = (*names, child.name)
            if not isinstance(child, ast.ClassDef):
                yield inside, child
        yield from functions(child, inside)


def test_private_functions_take_at_most_seven_parameters():
    public = set(public_objects())
    assert ("sslcore.fitting.pretraining", "pretrain") in public
    many = set()
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for names, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
            taken = function.args
            parameters = [a.arg for a in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]
            count = len(parameters) - (parameters[:1] in (["self"], ["cls"]))
            if module.startswith("sslcore.torch.") and find_spec("torch") is None:
                continue  # what is public there is known where it is installed
            if count > 7 and (module, names[0]) not in public:
                many.add(f"{path.relative_to(ROOT / 'sslcore').as_posix()} {'.'.join(names)}")
    assert many == set(MANY_PARAMETERS)
