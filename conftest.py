"""What pytest collects (modules of optional libraries only where these are installed), and how CuPy is hidden."""

import importlib.util
import sys

import pytest

# the GPU's rooms are entered through the dispatch only: they refuse to be imported without a device
collect_ignore = ["sslcore/backends/cupy_gpu", "tests/typing"]  # the second is read by type checkers only
if importlib.util.find_spec("torch") is None:
    collect_ignore += ["sslcore/torch", "sslcore/studies/networks.py"]
if any(importlib.util.find_spec(name) is None for name in ("dask", "distributed")):
    collect_ignore += ["sslcore/dask"]

_CUPY = ("cupy", "cupyx", "cupy_backends")
_USERS = ("sslcore.backends.cupy_gpu",)  # keeps CuPy's names


class NoCuPy:
    """A finder, asked before all others, for a machine on which CuPy is not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Refuse CuPy; everything else is left to the others."""
        if name.split(".")[0] in _CUPY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_cupy(monkeypatch):
    """There is no CuPy to import, whether this machine has one, and a device, or not."""
    for name in list(sys.modules):
        if any(name == root or name.startswith(f"{root}.") for root in (*_CUPY, *_USERS)):
            monkeypatch.delitem(sys.modules, name)
    # no None in sys.modules: libraries that look there for arrays of CuPy take what they find for the module
    monkeypatch.setattr(sys, "meta_path", [NoCuPy, *sys.meta_path])


@pytest.fixture(autouse=True)
def examples_of_docstrings(request):
    """The docstrings' examples show a machine without a GPU."""
    if hasattr(request.node, "dtest"):
        request.getfixturevalue("without_cupy")
