"""The plan of the house: imports point downwards, and the picture of the floors is the one that the linter keeps."""

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


def test_no_file_is_too_long():
    for path in sorted((ROOT / "sslcore").rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines"
