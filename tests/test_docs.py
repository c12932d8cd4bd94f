"""Every public name has a docstring with a running example (the examples themselves run as doctests)."""

import importlib
import inspect

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
