"""One declaration of each parameter: its check, its range in errors and its documentation, over all registries."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest

from sslcore import augmentations, features, kernels, population
from sslcore.declarations.parameters import (
    Declared,
    boolean,
    choice,
    integer,
    one_of,
    parameters_of,
    positive,
    probability,
    real,
)
from sslcore.population import Domain, HeatKernel, OrnsteinUhlenbeck
from sslcore.selection import AutoReg

from .examples import augmentation_examples, kernel_examples

INSTANCES: list[Declared] = [
    *kernel_examples(),
    *(a for a, _ in augmentation_examples()),
    2.0 * kernels.Gaussian(1.0) + kernels.Linear() * kernels.Linear(),
    2.0 * kernels.Gaussian(1.0),
    kernels.Convolutional(kernels.Gaussian(1.0), 2, [1.0, 0.5]),
    population.Hypercube(4),
    population.Sphere(3, max_degree=7),
    population.Torus(2),
    population.Gaussian(2, 1.5),
    population.Modes("ab", [1, 2]),
    population.Eigenvalues({0: 1.0, 1: 0.5}),
    HeatKernel(0.5),
    OrnsteinUhlenbeck(0.5),
    AutoReg(n_folds=2, max_samples=10),
]
NYSTROM = features.Nystrom(kernels.Gaussian(1.0), 5)  # is no value: each has a factor of its own
CLASSES = {type(instance): instance for instance in (*INSTANCES, NYSTROM)}
DECLARED = [(cls, name) for cls in CLASSES for name in parameters_of(cls)]
NUMBERS = [(cls, name) for cls, name in DECLARED if parameters_of(cls)[name].range or name == "cyclic"]


def made(cls, name, value):
    """The example of a class with another value of a parameter."""
    return dataclasses.replace(CLASSES[cls], **{name: value})


def test_every_field_is_declared():
    found = {*kernels.registry.values(), *augmentations.registry.values()}
    found |= {value for value in vars(population).values() if isinstance(value, type) and issubclass(value, Domain)}
    for cls in {*CLASSES, *found} - {Domain}:
        if cls.__module__.startswith("sslcore"):
            assert list(parameters_of(cls)) == [f.name for f in dataclasses.fields(cls)]
            assert "__post_init__" not in vars(cls)
    assert len(NUMBERS) > 40


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_bad_values(cls, name):
    """NaN, infinities, words, booleans, None, complex and huge numbers, what is just beyond the range."""
    parameter = parameters_of(cls)[name]
    assert len(parameter.bad) > 5
    for value in parameter.bad:
        with pytest.raises((TypeError, ValueError)) as caught:
            made(cls, name, value)
        text = str(caught.value)
        assert len(text) < 300
        assert name in text
        assert "found" in text
        if isinstance(caught.value, TypeError) and parameter.range:
            assert parameter.range in text
        if isinstance(value, float | str | bool | None):
            assert repr(value) in text


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_good_values(cls, name):
    """The ends of the range; numbers of NumPy, fractions and integers are stored as Python's."""
    parameter = parameters_of(cls)[name]
    assert parameter.good
    for value in parameter.good:
        if name == "size" or (cls is population.Sphere and name == "max_degree"):
            value = min(value, 3)
        instance = made(cls, name, value)
        assert getattr(instance, name) == value
        assert type(getattr(instance, name)) is type(value)
    value = getattr(CLASSES[cls], name)
    if isinstance(value, float):
        for other in (np.float64(value), np.array(value), Fraction(value)):
            assert type(getattr(made(cls, name, other), name)) is float
    elif type(value) is int:
        assert type(getattr(made(cls, name, np.int64(value)), name)) is int
    if parameter.optional:
        assert getattr(made(cls, name, None), name) is None


@pytest.mark.parametrize("cls", CLASSES)
def test_documentation(cls):
    """The section Parameters names each declared parameter, and says what its declaration says."""
    section = (inspect.getdoc(cls) or "").partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    entries = dict(re.findall(r"^\*?(\w+) :[^\n]*\n((?:    [^\n]*\n?)*)", section, flags=re.M))
    for name, parameter in parameters_of(cls).items():
        if parameter.range or name == "cyclic":
            if cls in (kernels.Scaled,):
                continue  # written factor * kernel
            text = " ".join(entries[name].split())
            assert text.startswith(parameter.description), f"{cls.__name__}.{name}: {text!r}"


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: type(i).__name__)
def test_values_are_values(instance):
    """Equality, hash, pickling, copies, replacement, positional construction: of a frozen dataclass."""
    values = [getattr(instance, f.name) for f in dataclasses.fields(instance)]
    cls = type(instance)
    again = cls(*values[0]) if cls is augmentations.Compose else cls(*values)
    for other in (again, pickle.loads(pickle.dumps(instance)), copy.deepcopy(instance)):
        assert other == instance
        assert hash(other) == hash(instance)
        assert repr(other) == repr(instance)
    if cls is not augmentations.Compose:
        assert dataclasses.replace(instance) == instance
        assert cls(**dict(zip(parameters_of(cls), values, strict=True))) == instance
    for name in parameters_of(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, name, 1.0)


@dataclasses.dataclass(frozen=True)
class Own(Declared):
    """With one of each."""

    width: float = positive("a width")
    p: float = probability("a probability", default=0.5)
    angle: float = real("an angle", minimum=0.0, maximum=math.pi, default=0.0)
    shift: float = real("any number", default=0.0)
    count: int = integer("a number", minimum=1, default=3)
    order: float = one_of("an order", (0.5, 1.5), hint="; take another", default=0.5)
    way: str = choice("a way", ("up", "down"), default="up")
    seed: int | None = integer("a seed", minimum=0, default=None)
    again: bool = boolean("whether again", default=False)
    free: object = None


def test_declarations():
    assert Own(2) == Own(2.0, 0.5, 0.0, 0.0, 3, 0.5, "up", None, False, None)
    for name, parameter in parameters_of(Own).items():
        for value in parameter.good:
            assert getattr(dataclasses.replace(Own(1), **{name: value}), name) == value
        for value in parameter.bad:
            with pytest.raises((TypeError, ValueError), match=rf"^{name} must be "):
                dataclasses.replace(Own(1), **{name: value})
    ranges = {name: parameter.range for name, parameter in parameters_of(Own).items()}
    assert ranges == {
        "width": "> 0",
        "p": "in [0, 1]",
        "angle": "in [0, pi]",
        "shift": "",
        "count": ">= 1",
        "order": "0.5 or 1.5",
        "way": "'up' or 'down'",
        "seed": ">= 0",
        "again": "",
    }
    assert parameters_of(Own)["p"].description == "A probability; in [0, 1]."
    assert parameters_of(int) == {}
    with pytest.raises(ValueError, match=r"order must be 0\.5 or 1\.5, found 2.5; take another"):
        Own(1, order=2.5)
    with pytest.raises(TypeError, match=r"width must be a real number, found '1' \(its range is > 0\)"):
        Own("1")
    with pytest.raises(TypeError, match="width"):
        Own()


LONG = [1.0 / 784] * 784
REPRS = [
    augmentations.Shift(LONG),
    augmentations.Compose(augmentations.Shift(LONG), augmentations.BitFlip(0.1)),
    augmentations.Mixture([*LONG[:100], 1 - 100 / 784], [augmentations.BitFlip(0.5)] * 101),
    kernels.Convolutional(kernels.Gaussian(1.0), 2, pooling=LONG),
    2.0 * kernels.Convolutional(kernels.Gaussian(1.0), 2, pooling=LONG) + kernels.Linear(),
    features.Nystrom(kernels.Gaussian(1.0), np.random.default_rng(0).standard_normal((512, 30))),
    population.Lines(np.ones(5000), np.ones(5000), np.ones(5000, int), [(i, i) for i in range(5000)]),
]


@pytest.mark.parametrize("value", REPRS, ids=lambda v: type(v).__name__)
def test_reprs_are_no_pages(value):
    assert len(repr(value)) < 320
    assert "\n" not in repr(value)
    assert re.search(r"(784|101) |\((512, 30|5000,|784,|101,)\)", repr(value))


def test_short_reprs_are_whole():
    assert repr(augmentations.Shift([0.5, 0.25, 0.25])) == "Shift(law=(0.5, 0.25, 0.25))"
    assert (
        repr(kernels.Convolutional(kernels.Linear(), 2, [1.0]))
        == "Convolutional(base=Linear(), patch=2, pooling=(1.0,))"
    )
    chosen = repr(features.Nystrom(kernels.Linear(), 5))
    assert chosen == "Nystrom(kernel=Linear(), landmarks=5, selection='uniform', seed=0)"
