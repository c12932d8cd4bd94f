"""The plan of the house: imports point downwards, and the picture of the floors is the one that the linter keeps."""

import ast
import re
import subprocess
import sys
import tomllib
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
UNITS = {"BLOCKS", "BYTES", "COLUMNS", "COORDINATES", "ENTRIES", "FACTOR", "FLOPS", "LEVELS", "NUMBERS", "PAIRS"}
UNITS |= {"PARTS", "POINTS", "ROWS", "STEPS", "STRIPS", "VALUES", "VIEWS"}


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


def test_no_file_is_too_long():
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"
