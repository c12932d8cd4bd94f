"""Each backend against `sslcore.backends.contract`: all that it declares, as it declares it, and nothing beside it."""

import inspect
import types

import numpy as np
import pytest

from sslcore.backends.contract import Backend, Points

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
