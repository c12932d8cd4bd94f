"""Types at the root: mypy and pyright read a client's file as its author's editor would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CLIENT = Path(__file__).parent / "typing" / "client.py"
BACKEND = Path(__file__).parents[1] / "examples" / "backend_client.py"
EXPECTED = {i for i, line in enumerate(CLIENT.read_text().splitlines(), 1) if line.endswith("# error")}
ROOT = Path(__file__).parents[1]


def mypy(path, cache):
    """Lines that mypy refuses."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache), str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = re.findall(rf"{path.name}:(\d+): error: .*", done.stdout)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in found}


def pyright(path, cache):
    """Lines that pyright refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    listed = json.loads(done.stdout)["generalDiagnostics"]
    return {d["range"]["start"]["line"] + 1 for d in listed if d["severity"] == "error"}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_client_is_typed(checker, tmp_path):
    assert checker(CLIENT, tmp_path) == EXPECTED
    assert checker(BACKEND, tmp_path) == set()


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_checkers_see(checker, tmp_path):
    """The test above can fail: a file whose types are wrong is refused."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import sslcore\nrep = sslcore.load('a')\nrep.no_such_thing\nx: int = sslcore.__version__\n")
    assert checker(wrong, tmp_path) >= {4}
