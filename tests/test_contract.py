"""Each backend against `sslcore.backends.contract`: all that it declares, as it declares it, and nothing beside it."""

import inspect
import re
import types
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore.backends.contract import Backend, Points

from . import naive
from .comparators import assert_close

DECLARED = {name: member for name, member in vars(Backend).items() if not name.startswith("_")}
CONSTANTS = {name for name, member in DECLARED.items() if isinstance(member, property)}
PRIMITIVES = sorted(set(DECLARED) - CONSTANTS)


def parameters(function):
    """Names, kinds and defaults, without annotations."""
    listed = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in listed if p.name != "self"]


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_have_the_declared_parameters(backend, name):
    assert parameters(getattr(backend.primitives, name)) == parameters(DECLARED[name])


def test_nothing_is_public_that_is_not_declared(backend):
    public = {
        name
        for name, value in vars(backend.primitives).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType) and name not in ("annotations", "Final")
    }
    helpers = {"Any", "Iterable", "Iterator", "require_device"}
    assert public - helpers == set(DECLARED) - {"xp"}


def test_every_primitive_is_used_and_tested():
    """By its name: algorithms call it, and a test of its own compares its values."""
    used, tested = (
        [p.read_text(encoding="utf-8") for p in folder.rglob("*.py") if not {"numba_cpu", "cupy_gpu"} & set(p.parts)]
        for folder in (Path(sslcore.__file__).parent, Path(__file__).parent)
    )
    for name in PRIMITIVES:
        assert re.search(rf"\.{name}\b", "".join(used)), f"no algorithm calls {name}"
        valued = name not in ("release", "convergent")  # these give memory back, and make errors
        assert not valued or re.search(rf"\b{name}\b", "".join(tested)), f"no test compares the values of {name}"


def test_constants(backend):
    primitives = backend.primitives
    assert backend.name == primitives.NAME
    assert primitives.BLOCK_FACTOR >= 1
    assert primitives.xp is backend.xp


def test_declarations_have_a_docstring_and_are_abstract():
    for name in PRIMITIVES:
        assert DECLARED[name].__doc__, name
    for name in CONSTANTS:
        assert DECLARED[name].fget.__doc__, name


def test_prepared_points_keep_their_contract(backend):
    from sslcore.kernels import Gaussian, Linear

    for kernel in (Gaussian(1.0), Linear()):
        prepared = backend.primitives.points(kernel, backend.asarray(np.zeros((3, 2))))
        for name in [n for n in vars(Points) if not n.startswith("_")]:
            assert isinstance(getattr(prepared, name), bool)


@pytest.mark.parametrize("d", [3, 60])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_with_values_that_are_not_stored(backend, d, dtype):
    """Done, or nothing is written."""
    from sslcore.kernels import Exponential

    rng = np.random.default_rng(0)
    x, y, c = (rng.normal(size=shape).astype(dtype) for shape in ((40, d), (70, d), (70, 3)))
    kernel, there = Exponential(2.0), backend.asarray
    for name, left, coefficients in (("product_rows", x, c), ("product_symmetric", y, c)):
        out = there(np.full((len(left), 3), 7.0))
        prepared = backend.primitives.points(kernel, there(y))
        done = getattr(backend.primitives, name)(prepared, there(left), there(coefficients), out)
        expected = naive.gram(kernel, left, y).astype(float) @ c if done else np.full((len(left), 3), 7.0)
        assert_close(backend.asnumpy(out), expected, tol=1e3 * np.finfo(dtype).eps, scale=10.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_are_added(backend, dtype):
    rng = np.random.default_rng(0)
    values, right, left = (rng.normal(size=shape).astype(dtype) for shape in ((40, 70), (70, 3), (40, 3)))
    for both in (False, True):
        total, total_t = backend.asarray(np.ones((40, 3))), backend.asarray(np.ones((70, 3)))
        more = (backend.asarray(left), total_t) if both else ()
        backend.primitives.add_products(backend.asarray(values), backend.asarray(right), total, *more)
        assert_close(
            backend.asnumpy(total), 1.0 + values.astype(float) @ right, tol=1e3 * np.finfo(dtype).eps, scale=10.0
        )
        expected = 1.0 + values.T.astype(float) @ left if both else np.ones((70, 3))
        assert_close(backend.asnumpy(total_t), expected, tol=1e3 * np.finfo(dtype).eps, scale=10.0)
