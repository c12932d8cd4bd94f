"""Types at the root: mypy and pyright read a client's file as its author's editor would."""

import inspect
import json
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import sslcore

ROOT = Path(__file__).parents[1]
CLIENT = Path(__file__).parent / "typing" / "client.py"
BACKEND = ROOT / "examples" / "backend_client.py"
EXPECTED = {i for i, line in enumerate(CLIENT.read_text().splitlines(), 1) if line.endswith("# error")}


def mypy(*paths):
    """Lines that mypy refuses, by file; what it learns of the library is kept for a check of the whole."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [(Path(name).name, int(line)) for name, line in re.findall(r"^(.*?):(\d+): error: ", done.stdout, re.M)]


def pyright(*paths):
    """Lines that pyright refuses, by file."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    listed = [d for d in json.loads(done.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    return [(Path(d["file"]).name, d["range"]["start"]["line"] + 1) for d in listed]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_clients_are_typed(checker, tmp_path):
    """Read together, with a file whose types are wrong: a checker that sees nothing would pass it."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import sslcore\nrep = sslcore.load('a')\nrep.no_such_thing\nx: int = sslcore.__version__\n")
    found = {name: set() for name in (CLIENT.name, BACKEND.name, wrong.name)}
    for name, line in checker(CLIENT, BACKEND, wrong):
        found[name].add(line)  # of the library itself: a KeyError
    assert found == {CLIENT.name: EXPECTED, BACKEND.name: set(), wrong.name: found[wrong.name] | {4}}


def test_the_usual_call_is_the_first_of_the_reference():
    """A page shows overloads in the order of the source: views and a model, then two modalities."""
    hints = [each.__annotations__ for each in typing.get_overloads(inspect.unwrap(sslcore.pretrain))]
    assert [each["model"].startswith("tuple") for each in hints] == [False, True]
    assert hints[0]["return"] == "Representation"
