"""A class has one law: names are not enough to know a kernel or an augmentation, and formulas are read before use."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sslcore
from sslcore import augmentations, features, kernels
from sslcore.augmentations import Augmentation, BitFlip, Compose, Crop, GaussianNoise, Mixture, Reversal, Shift, Stage
from sslcore.backends.formulas import check_formula, evaluate_formula
from sslcore.backends.numba_cpu import pairs
from sslcore.declarations.registries import has_law, law_of
from sslcore.kernels import Gaussian, Kernel, Linear, PeriodicGaussian, Profile, Scaled, Sum
from sslcore.population import CutBlockWarning, Hypercube, Sphere, SubsetClass, Torus
from sslcore.population import Gaussian as GaussianSpace

from . import naive
from .examples import kernel_examples

# ---------------------------------------------------------------- one class for a name


def declare(base, name, place="somewhere", **attributes):
    """The class that a module called ``place`` declares."""
    return dataclass(frozen=True)(type(base)(name, (base,), {"__module__": place, "__qualname__": name, **attributes}))


CAUCHY = {"pair": "sqdist", "formula": "real(1) / (real(1) + t)"}
TABLES = {
    Profile: (kernels, CAUCHY),
    Augmentation: (augmentations, {"stages": lambda self: ()}),
    features.Features: (features, {"n_features": lambda self, d: d, "prepare": lambda self, d, dtype, backend: None}),
}
TAKEN = [(base, name) for base, (module, _) in TABLES.items() for name in module.__all__ if name[0].isupper()]


@pytest.mark.parametrize(("base", "name"), TAKEN)
def test_a_name_of_the_library_is_taken(base, name):
    """Every public name, those that no registry holds too (`Sum`): files know classes by their names."""
    module, attributes = TABLES[base]
    before = dict(module.registry)
    with pytest.raises(TypeError, match=rf"somewhere\.{name} cannot be called {name}: that is {module.__name__}"):
        declare(base, name, **attributes)
    assert module.registry == before


@pytest.mark.parametrize("base", TABLES)
def test_two_classes_of_one_name(base):
    """Of two modules the second is refused; the same one declared again, as a notebook does, replaces the first."""
    module, attributes = TABLES[base]
    try:
        first = declare(base, "Mine", **attributes)
        with pytest.raises(TypeError, match=r"elsewhere\.Mine cannot be called Mine: that is somewhere\.Mine"):
            declare(base, "Mine", "elsewhere", **attributes)
        assert module.registry["Mine"].__module__ == "somewhere"
        again = declare(base, "Mine", **attributes)
        assert module.registry["Mine"] is again is not first
        del module.registry["Mine"]
        declare(base, "Mine", "elsewhere", **attributes)
        declare(base, "_Mine", **attributes)
        assert "_Mine" not in module.registry or base is features.Features
    finally:
        for name in ("Mine", "_Mine"):
            module.registry.pop(name, None)


def test_slots():
    """A dataclass with slots is made twice: it is one declaration all the same."""
    try:

        @dataclass(frozen=True, slots=True)
        class Slotted(Profile):
            pair = "sqdist"
            formula = "exp(-t)"

        assert kernels.registry["Slotted"] is Slotted
    finally:
        kernels.registry.pop("Slotted", None)


# ---------------------------------------------------------------- closed forms belong to classes


def nameless(base, name, **attributes):
    """A class that only calls itself so: its name is changed after it was declared."""
    cls = declare(base, "_Own", **attributes)
    cls.__name__ = cls.__qualname__ = name
    return cls


def cube_spectrum(kernel, d):
    """Eigenvalues by size, of the matrix of all points."""
    points = naive.cube_points(d)
    chi = naive.parities(d, [tuple(range(h)) for h in range(d + 1)])
    return np.diag(chi.T @ kernel(points) @ chi) / 4**d


NAMES = sorted({type(k).__name__ for k in kernel_examples()} | {"Sum", "Product", "Scaled", "Convolutional"})


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_called_like_a_kernel_of_the_library(name):
    cls = nameless(Profile, name, **CAUCHY)
    np.testing.assert_allclose(Hypercube(4).kernel_eigenvalues(cls()), cube_spectrum(cls(), 4), atol=1e-14)
    expected = Sphere(3).kernel_eigenvalues(declare(Profile, "_Cauchy", **CAUCHY)(), 4)
    np.testing.assert_allclose(Sphere(3).kernel_eigenvalues(cls(), 4), expected, rtol=1e-12)
    with pytest.raises(TypeError):
        Torus(1).kernel_eigenvalues(cls(), [0, 1])


def of_own(base):
    """Subclasses of a library's kernel that are another one: another formula, other constants, other points."""
    yield declare(base, "_Own", formula="real(1) / (real(1) - c0 * t)")
    yield declare(base, "_Own", constants=lambda self, length: (-2.0 / length**2,))
    yield declare(base, "_Own", coordinates=lambda self, x: 2.0 * x)


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("d", [3, 5])
def test_a_subclass_with_another_law(i, d):
    kernel = list(of_own(Gaussian))[i](1.5)
    assert not has_law(kernel, Gaussian)
    np.testing.assert_allclose(Hypercube(d).kernel_eigenvalues(kernel), cube_spectrum(kernel, d), rtol=1e-9, atol=1e-14)
    own = Sphere(3).kernel_eigenvalues(kernel, 3)
    by_quadrature = Sphere(3).kernel_eigenvalues(lambda x, y: kernel(x, y), 3)
    np.testing.assert_allclose(own, by_quadrature, atol=1e-12)
    with pytest.raises(TypeError):
        GaussianSpace(1, 1.0).kernel_eigenvalues(kernel, GaussianNoise(0.5))
    with pytest.raises(TypeError):
        features.RandomFourier(kernel, 4)
    periodic = list(of_own(PeriodicGaussian))[i](0.2)
    with pytest.raises(TypeError):
        Torus(1).kernel_eigenvalues(periodic, [0, 1])


def test_a_subclass_with_the_same_law():
    """Another docstring, default or method changes nothing: the closed forms stay."""

    @dataclass(frozen=True)
    class _Narrow(Gaussian):
        """Narrow."""

        scale: float = 0.5
        title: str = ""

        def describe(self):
            return f"{self.title} {self.scale}"

    assert has_law(_Narrow(), Gaussian)
    assert law_of(_Narrow) is Gaussian
    d = 30  # by exponentials: the last eigenvalues keep their digits
    np.testing.assert_array_equal(
        Hypercube(d).kernel_eigenvalues(_Narrow()), Hypercube(d).kernel_eigenvalues(Gaussian(0.5))
    )
    space, noise = GaussianSpace(1, 1.0), GaussianNoise(0.5)
    assert space.kernel_eigenvalues(_Narrow(), noise)[2] == space.kernel_eigenvalues(Gaussian(0.5), noise)[2]


def test_every_class_of_the_library_is_its_own_law():
    classes = {*kernels.registry.values(), *augmentations.registry.values(), *features.registry.values()}
    classes |= {type(k) for k in kernel_examples()} | {Sum, Scaled, kernels.Product, kernels.Precomputed}
    for cls in classes:
        assert law_of(cls) is cls


def test_a_mixin_that_changes_the_law():
    class Mixin:
        @property
        def formula(self):
            return "real(1) / (real(1) - c0 * t)"

    @dataclass(frozen=True)
    class _Mixed(Mixin, Gaussian):
        pass

    assert not has_law(_Mixed(1.0), Gaussian)
    np.testing.assert_allclose(
        Hypercube(4).kernel_eigenvalues(_Mixed(1.5)), cube_spectrum(_Mixed(1.5), 4), rtol=1e-9, atol=1e-14
    )


@pytest.mark.parametrize("name", sorted(augmentations.registry))
def test_an_augmentation_called_like_one_of_the_library(name):
    """It has no closed form, and says so; in compositions too."""
    cls = nameless(Augmentation, name, stages=lambda self: (Stage("flip_signs", (5,)),))
    others = [
        declare(base, "_Own", stages=lambda self: (Stage("flip_signs", (5,)),))(0.25) for base in (BitFlip, Reversal)
    ]
    for own in (cls(), *others):
        for law in (own, Compose(own, BitFlip(0.1)), Mixture([0.5, 0.5], [BitFlip(0.1), own])):
            with pytest.raises(ValueError, match="no closed form on the uniform cube"):
                Hypercube(4).spectrum(law, Gaussian(1.0), reg=1e-3, n_components=1)
            for domain in (Sphere(3), Torus(1), GaussianSpace(1, 1.0)):
                with pytest.raises(TypeError, match="closed forms"):
                    domain.spectrum(law, Gaussian(1.0), reg=1e-3, n_components=1)


# ---------------------------------------------------------------- sums and products with callables


def tanimoto(x, y):
    products = x @ y.T
    return products / ((x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - products)


def test_callables_in_sums_and_products():
    x, g = np.random.default_rng(0).standard_normal((5, 3)), Gaussian(1.3)
    f = tanimoto(x, x)
    for made, expected in (
        (g + tanimoto, g(x) + f),
        (tanimoto + g, g(x) + f),
        (g * tanimoto, g(x) * f),
        (tanimoto * g, g(x) * f),
        (2.0 * (tanimoto + g * 3), 2 * (f + 3 * g(x))),
    ):
        assert isinstance(made, Kernel)
        assert not made.trusted
        np.testing.assert_allclose(made(x), expected, rtol=1e-13)
    for wrong in (lambda: g + 1, lambda: 1 + g, lambda: g + "k", lambda: g * "k", lambda: None * g, lambda: g + Linear):
        with pytest.raises(TypeError):
            wrong()


# ---------------------------------------------------------------- formulas

NO_FORMULAS = [
    *(
        "__import__('os').system('true')",
        "t.real",
        "t.__class__",
        "().__class__.__bases__",
        "t[0]",
        "t(t)",
        "exp(t)(t)",
    ),
    *("t ** 2", "t // c0", "t % c0", "t @ t", "~t", "+t", "not t", "t and t", "t == c0", "t if t else c0", "t or c0"),
    *("lambda: t", "[t for t in (1,)]", "(t := c0)", "t = c0", "t, t", "()", "", " ", "t; t", "t\n", "t #", "'t'"),
    *(
        "2 * t",
        "real(t)",
        "real(1 + 1)",
        "real(1j)",
        "real('a')",
        "real(True)",
        "real(1e400)",
        "real(0x10)",
        "real(1_0)",
    ),
    *(
        "real()",
        "real(1, 2)",
        "exp(t, t)",
        "exp(*t)",
        "exp(x=t)",
        "exp",
        "real",
        "c4",
        "cos(t)",
        "pow(t, t)",
        "T",
        "t0",
    ),
    *("--t", "t--c0", "t++", "++t", "t /* c0", "t // comment", "(t", "t)", "f'{t}'", "`t`", "None", "...", "yield t"),
    *(
        "\u0065\u0445\u0440(t)",
        "t" * 10,
        "t" + " * t" * 10**5,
        "(" * 5000 + "t" + ")" * 5000,
        "-(" * 500 + "t" + ")" * 500,
    ),
    *("real(" + "9" * 400 + ")", "t\\", "t\0", "eval(t)", "exp (t", "__builtins__", "asm(t)", "#include <x>", "t\r\n"),
]


@pytest.mark.parametrize("formula", NO_FORMULAS, ids=range(len(NO_FORMULAS)))
def test_what_is_no_formula_is_neither_evaluated_nor_compiled(formula):
    """At the declaration, by Python, and by the compilers of both backends."""
    with pytest.raises(ValueError, match="formula"):
        check_formula(formula)
    with pytest.raises(ValueError, match="formula"):
        evaluate_formula(formula, {"t": 1.0})
    with pytest.raises(ValueError, match="formula"):
        pairs.profile_address(formula, __file__, "Own", np.dtype(float))
    for attribute in ({"formula": formula}, {"_formulas": {"one": formula}}):
        with pytest.raises(ValueError, match="formula"):
            declare(Profile, "_Own", pair="sqdist", **attribute)

    @dataclass(frozen=True)
    class _Asked(Profile):
        expression: str
        pair = "sqdist"

        @property
        def formula(self):
            return self.expression

    kernel = _Asked(formula)
    for use in (
        lambda: kernel([[0.0], [1.0]]),
        lambda: kernel.profile(0.5, width=3),
        lambda: Hypercube(3).kernel_eigenvalues(kernel),
        lambda: Sphere(3).kernel_eigenvalues(kernel),
    ):
        with pytest.raises(ValueError, match="formula"):
            use()


@pytest.mark.parametrize("value", [None, 5, b"t", ["t"], True])
def test_a_formula_is_a_string(value):
    with pytest.raises(TypeError, match="must be a string"):
        check_formula(value)


def test_formulas_are_not_compiled_on_the_device(backend):
    @dataclass(frozen=True)
    class _Asked(Profile):
        pair = "sqdist"
        expression: str = "t ** 2"

        @property
        def formula(self):
            return self.expression

    with pytest.raises(ValueError, match=r"'t \*\* 2' is no formula"):
        _Asked()(backend.asarray(np.ones((2, 3))))


def test_a_formula_in_a_field_is_checked_when_a_file_is_read(tmp_path):
    """A file may name any string: nothing of it runs."""
    try:

        @dataclass(frozen=True)
        class Free(Profile):
            formula: str = "exp(-t)"
            pair = "sqdist"

        views = np.random.default_rng(0).standard_normal((20, 2, 3))
        rep = sslcore.pretrain(views, Free(), 2, reg=1e-2)
        evil = dataclasses.replace(rep.model)
        object.__setattr__(evil, "formula", "exp(-t).__class__")
        object.__setattr__(rep, "model", evil)
        rep.save(tmp_path / "model")
        with pytest.raises(ValueError, match="formula"):
            sslcore.load(tmp_path / "model")(views[:, 0])
    finally:
        kernels.registry.pop("Free", None)


@st.composite
def expressions(draw, depth=4):
    """A formula, and what Python makes of the same tree."""
    kind = draw(st.integers(0, 6 if depth else 1))
    if kind == 0:
        name = draw(st.sampled_from(["t", "c0", "c1", "c2", "c3"]))
        return name, lambda names: names[name]
    if kind == 1:
        value = draw(st.floats(0.001, 1000) | st.integers(1, 1000))
        return f"real({value!r})", lambda names: np.float64(value)
    a, f = draw(expressions(depth - 1))
    if kind == 2:
        return f"sqrt({a})", lambda names: np.sqrt(f(names))
    b, g = draw(expressions(depth - 1))
    operator = draw(st.sampled_from("+-*/"))
    apply = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}[operator]
    return f"(({a}) {operator} ({b}))", lambda names: apply(f(names), g(names))


CONSTANT_POLE = "c0 / (c0 - c0)"


@given(expressions())
@example((CONSTANT_POLE, lambda names: np.float64(np.inf)))
def test_formulas_are_evaluated(expression):
    """Numbers are IEEE's, as in compiled code: Python's own floats would raise where one is divided by 0."""
    text, function = expression
    names = {"t": np.array([0.5, 2.0])} | {f"c{i}": np.float64(c) for i, c in enumerate((1.5, -0.5, 3.0, 0.25))}
    with np.errstate(all="ignore"):
        found = evaluate_formula(text, names | {"exp": np.exp, "sqrt": np.sqrt, "real": np.float64})
        np.testing.assert_array_equal(found, function(names))


def test_the_formulas_of_the_library_are_formulas():
    for kernel in kernel_examples():
        if isinstance(kernel, Profile):
            assert check_formula(kernel.formula) == kernel.formula
    assert all(check_formula(formula) for _, formula in kernels.constant_profiles())


# ---------------------------------------------------------------- labels in any spelling


def spectrum(domain, law, kernel, k=8, **numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return domain.spectrum(law, kernel, reg=1e-3, n_components=k, **numbers)


CUBE, WIDE = Hypercube(6), Hypercube(40)
SPELLINGS = {
    "parities": (
        spectrum(CUBE, BitFlip(0.1), Gaussian(2.0), 7),
        (1,),
        [frozenset({1}), (np.int64(1),), (np.uint8(1),)],
    ),
    "constant": (spectrum(CUBE, BitFlip(0.1), Gaussian(2.0), 7), (), [frozenset()]),
    "pairs": (
        spectrum(CUBE, BitFlip(0.1), Gaussian(2.0), 22),
        (1, 4),
        [(4, 1), frozenset({4, 1}), (np.int32(4), 1), range(1, 5, 3)],
    ),
    "orbits": (
        spectrum(CUBE, Shift([0.9, 0.1]), Gaussian(2.0), 7),
        ((0,), 1),
        [((3,), 1), (frozenset({5}), np.int64(1)), (frozenset({0}), 1)],
    ),
    "blocks": (
        spectrum(CUBE, Compose(Reversal(0.3), BitFlip(0.1)), Gaussian(2.0), 7),
        ((1,), 0),
        [((4,), 0), (frozenset({1}), np.int8(0))],
    ),
    "classes": (
        spectrum(WIDE, BitFlip(0.1), Gaussian(6.0), 41),
        SubsetClass(1, None),
        [(1, None, None), (np.int64(1), None, None)],
    ),
    "crops": (
        spectrum(WIDE, Crop(30), Gaussian(20.0), 41),
        SubsetClass(1, 30),
        [(1, 30, None), SubsetClass(np.int64(1), np.int64(30))],
    ),
    "degrees": (
        spectrum(Sphere(3), sslcore.population.HeatKernel(0.1), Gaussian(1.0), 4),
        1,
        [np.int64(1), np.uint8(1)],
    ),
    "characters": (
        spectrum(Sphere(5), Shift([0.9, 0.1]), Gaussian(1.0), 6),
        (1, 1),
        [(1, 4), (1, -1), (np.int64(1), np.int64(4))],
    ),
    "frequencies": (
        spectrum(Torus(2), GaussianNoise(0.1), PeriodicGaussian(0.2), 9),
        (1,),
        [1, -1, (0, 1), (-1, 0), (np.int64(1), 0), np.int16(-1)],
    ),
    "Hermite": (spectrum(GaussianSpace(2, 1.0), GaussianNoise(0.5), Gaussian(1.0), 3), (1, 0), [(np.int64(1), 0)]),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_every_spelling_of_a_label(case):
    found, name, others = SPELLINGS[case]
    assert name in found.labels
    error, risk = found.projection_error({name: 0.7}), found.ridge_risk({name: 0.7}, 0.1)
    assert error < 1e-30
    assert 0 < risk < 0.49
    for other in others:
        assert found.projection_error({other: 0.7}) == error
        assert found.ridge_risk({other: 0.7}, 0.1) == risk
        if hash(other) != hash(name) or other != name:
            with pytest.raises(ValueError, match="twice"):
                found.projection_error({name: 0.7, other: 0.1})
    copied = pickle.loads(pickle.dumps(found))
    assert copied.projection_error({others[0]: 0.7}) == error


UNKNOWN = {
    "parities": [(6,), (-1,), (1, 1), ((0,), 1), 0, "0", None, SubsetClass(1, None), 1.5, (0.5,), (True,)],
    "orbits": [(0,), (), ((0,), 6), ((6,), 0), ((0, 3), 3), ((0,), -1), ((0,), 1.0), "01", SubsetClass(1, 6, 0)],
    "blocks": [(1,), ((1,), 2), ((0, 5), 1), 3],
    "classes": [(1,), (), (1, 10, None), (41, None, None), (1, None, 0), ((0,), 1), "a"],
    "crops": [(1, None, None), (1, 9, None), (3, 31, None), (0, 10, None), (1,)],
    "degrees": [(1, 0), -1, "1", None, 1.0, True, (1,), 2000],
    "characters": [1, (1, 5), (0, 1), (-1, 0), (1, 2, 3), "12"],
    "frequencies": [(1, 1, 1), 0.5, "1", None, (True, 0), frozenset({1})],
    "Hermite": [1, (1,), (-1, 0), (1, -1), (0.0, 1), "10"],
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_no_label_is_refused(case):
    """It does not count as a function that the spectrum leaves out."""
    found = SPELLINGS[case][0]
    for label in UNKNOWN[case]:
        for use in (found.projection_error, lambda target: found.ridge_risk(target, 0.1)):
            with pytest.raises((ValueError, TypeError)):
                use({label: 1.0})


def test_labels_beyond_the_spectrum_add_to_the_error():
    for case, label in (("parities", {0, 1, 2}), ("orbits", ({0, 1}, 1)), ("classes", (7, None, None)), ("degrees", 9)):
        label = frozenset(label) if isinstance(label, set) else label
        label = (tuple(label[0]), label[1]) if case == "orbits" else label
        assert SPELLINGS[case][0].projection_error({label: 0.5}) == 0.25
    with pytest.raises(TypeError, match="a target is a mapping"):
        SPELLINGS["parities"][0].projection_error([((0,), 1.0)])


def test_lines_are_selected_by_any_spelling():
    law, kernel = BitFlip(0.1), Gaussian(2.0)
    for labels in ([[1, 0], {2}, np.array([3]), ()], [(0, 1), (2,), (3,), frozenset()]):
        assert list(CUBE.select(law, kernel, labels).labels) == [(0, 1), (2,), (3,), ()]
    shifted = CUBE.select(Shift([0.5, 0.5]), kernel, [[[4], 1], ({2, 3}, np.int64(0))])
    assert list(shifted.labels) == [((0,), 1), ((0, 1), 0)]
    assert list(Sphere(5).select(Shift([0.5, 0.5]), Gaussian(1.0), [[1, -1]]).labels) == [(1, 1)]
    crossings = CUBE.crossings(Crop(3), Gaussian(4.0), labels=[{0}, [0, 1]])
    assert crossings == CUBE.crossings(Crop(3), Gaussian(4.0), labels=[(0,), (0, 1)])
    with pytest.raises(ValueError, match="pairs"):
        CUBE.select(Shift([0.5, 0.5]), kernel, [(0,)])
