"""Every public name has a docstring with a running example (the examples themselves run as doctests)."""

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import sslcore

MODULES = [name for name in sslcore.__all__ if inspect.ismodule(getattr(sslcore, name))] + ["io.tables"]
MODULES += ["dask"] if importlib.util.find_spec("distributed") else []
MODULES += ["torch"] if importlib.util.find_spec("torch") else []
MODULES.remove("arrays")  # of which users name the type `Array` alone
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


def docstrings(*kinds):
    """First lines of all docstrings of the package on nodes of these kinds, by place; values are no functions."""
    found = {}
    for path in sorted(Path(sslcore.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            value = any(ast.unparse(d).endswith("property") for d in getattr(node, "decorator_list", ()))
            looked = isinstance(node, kinds) and not (value and kinds == (ast.FunctionDef,))
            if looked and (text := ast.get_docstring(node)):
                found[f"{path}:{getattr(node, 'lineno', 1)}"] = text.splitlines()[0]
    return found


def test_a_docstring_is_a_sentence_and_no_question():
    found = docstrings(ast.Module, ast.ClassDef, ast.FunctionDef)
    assert len(found) > 1000
    asks = re.compile(r"(Of|What|Where|How|Which)\b")
    assert not {place: line for place, line in found.items() if asks.match(line)}


def test_a_function_says_with_a_verb_what_it_does():
    """Of what is no verb, articles, pronouns, numbers and code are those that a docstring may begin with by mistake."""
    found = docstrings(ast.FunctionDef)
    assert len(found) > 800
    noun = re.compile(r"(The|An?|All|Some|Whether|One|Two|Fewer|That|This|It|X|R)\b|[^A-Za-z]")
    assert not {place: line for place, line in found.items() if noun.match(line)}


def test_extras_are_installed_in_one_way():
    """From the folder of the library, as in the README: no index of packages has it."""
    root = Path(sslcore.__file__).parents[1]
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    files = [*Path(sslcore.__file__).parent.rglob("*.py"), *pages]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines() if "pip install" in line]
    assert len(lines) > 10
    assert not [line for line in lines if "sslcore[" in line]
    errors = [line for line in lines if "'.[" in line and '"' in line and "`" not in line]
    assert len(errors) > 10
    assert not [line for line in errors if "in sslcore's folder" not in line]
