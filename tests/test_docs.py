"""Every public name has a docstring with a running example (the examples themselves run as doctests)."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import sslcore

MODULES = [
    "augmentations",
    "datasets",
    "diagnostics",
    "features",
    "gram",
    "kernels",
    "population",
    "probing",
    "risk",
    "selection",
    "io.tables",
]
NAMES = [("sslcore", name) for name in sslcore.__all__] + [
    (f"sslcore.{module}", name) for module in MODULES for name in importlib.import_module(f"sslcore.{module}").__all__
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_documented_with_an_example(module, name):
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert ">>> " in (inspect.getdoc(value) or "")


@pytest.mark.parametrize("name", sslcore.__all__)
def test_every_public_name_is_there(name):
    assert getattr(sslcore, name) is not None


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sslcore.nothing


def docstrings():
    """First lines of all docstrings of the package, by place."""
    found = {}
    for path in sorted(Path(sslcore.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                found[f"{path}:{getattr(node, 'lineno', 1)}"] = text.splitlines()[0]
    return found


def test_a_docstring_is_a_sentence_and_no_question():
    found = docstrings()
    assert len(found) > 1000
    asks = re.compile(r"(Of|What|Where|How|Which)\b")
    assert not {place: line for place, line in found.items() if asks.match(line)}
