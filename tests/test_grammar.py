"""Kernels, augmentations and features as words: whatever is declared can be written."""

import inspect
import re
from pathlib import Path

import pytest

import sslcore
import sslcore.cli
from sslcore import augmentations, features, kernels
from sslcore.augmentations import Affine, Augmentation, Compose, Corrupt, Custom, Cutout, GaussianNoise
from sslcore.cli import options
from sslcore.cli.main import COMMANDS, main
from sslcore.cli.spec import (
    augmentation_forms,
    feature_forms,
    kernel_forms,
    listing,
    parse_augmentation,
    parse_features,
    parse_kernel,
)
from sslcore.declarations.nested import by_argument
from sslcore.declarations.parameters import parameters_of
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import (
    Exponential,
    Gaussian,
    Kernel,
    L1Exponential,
    Linear,
    Matern,
    Polynomial,
    Product,
    Scaled,
    Sum,
)
from sslcore.solvers.objective import Objective

from .examples import augmentation_examples, kernel_examples


def words(value, named=False):
    """A value as it is written: the inverse of the parser."""
    if isinstance(value, Compose):
        return "+".join(words(part, named) for part in value.parts)
    if isinstance(value, Custom):
        return f"{value.function.__module__}:{value.function.__name__}"
    if isinstance(value, Kernel | Augmentation):
        letters = [
            ("-" if c.isupper() and p.islower() | p.isdigit() else "") + c.lower() for p, c in _pairs(type(value))
        ]
        parts = []
        for name in inspect.signature(type(value)).parameters:
            part = getattr(value, name)
            text = f"({words(part, named)})" if isinstance(part, Kernel | Augmentation) else words(part)
            parts.append(f"{name}={text}" if named else text)
        return "".join(letters) + (":" + ",".join(parts) if parts else "")
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, tuple) and len(value) > 1 and all(isinstance(part, int) for part in value):
        return "x".join(map(str, value))
    if isinstance(value, tuple):
        return "[" + ",".join(f"({words(p)})" if isinstance(p, Augmentation) else words(p) for p in value) + "]"
    return str(value)


def ours(registry):
    """Without the classes that other tests have declared."""
    return {name for name, made in registry.items() if made.__module__.startswith("sslcore.")}


def _pairs(cls):
    return zip("A" + cls.__name__, cls.__name__, strict=False)


@pytest.mark.parametrize("named", [False, True])
def test_every_declared_kernel_can_be_written(named):
    examples = [k for k in kernel_examples() if type(k).__name__ in kernels.registry]  # not kernels made of a kernel
    assert {type(k).__name__ for k in examples} == ours(kernels.registry)
    for kernel in examples:
        assert parse_kernel(words(kernel, named)) == kernel, words(kernel, named)
        assert (
            parse_kernel(words(kernel, named).upper().replace("SCALE", "scale") if not named else words(kernel))
            == kernel
        )


@pytest.mark.parametrize("named", [False, True])
def test_every_declared_augmentation_can_be_written(named):
    examples = [a for a, _ in augmentation_examples() if getattr(a, "sample_shape", None) is None]
    assert {type(a).__name__ for a in examples} == ours(augmentations.registry)
    for augmentation in examples:
        if isinstance(augmentation, Corrupt):  # whose table is the data's
            augmentation = Corrupt(augmentation.p)
        found = parse_augmentation(words(augmentation, named))
        if isinstance(augmentation, Compose) and len(augmentation.parts) == 1:
            augmentation = augmentation.parts[0]
        assert found == augmentation or found.stages() == augmentation.stages(), words(augmentation, named)


def test_every_declared_feature_map_can_be_written():
    kernel = Gaussian(2.0)
    found = [parse_features(text, kernel, 7) for text in ("identity", "nystrom:10", "random-fourier:20")]
    assert {type(phi).__name__ for phi in found} == ours(features.registry)
    assert found[0] == Identity()
    assert (found[1].kernel, found[1].landmarks, found[1].seed) == (kernel, 10, 7)
    assert (found[2].kernel, found[2].count, found[2].seed) == (kernel, 20, 7)
    assert parse_features("nystrom:10,selection=rpcholesky", kernel, 0).selection == "rpcholesky"


def test_forms():
    """Every declared name is listed, with what it needs in capitals; filled in, it is understood."""
    for forms, registry in ((kernel_forms(), kernels.registry), (feature_forms(), features.registry)):
        assert len(forms) == len(registry)
    assert len(augmentation_forms()) == len(augmentations.registry) - 2  # Compose is written +, Custom module:name
    assert "gaussian:SCALE" in kernel_forms()
    assert "l1-exponential:SCALE" in kernel_forms()
    assert "polynomial:DEGREE,offset=1" in kernel_forms()
    assert "affine:IMAGE_SHAPE,rotation=10,zoom=1.1,shift=1" in augmentation_forms()
    assert "nystrom:LANDMARKS,selection=uniform" in feature_forms()
    assert parse_augmentation(
        "affine:IMAGE_SHAPE,rotation=10,zoom=1.1,shift=1".replace("IMAGE_SHAPE", "8x8")
    ) == Affine((8, 8))


@pytest.mark.parametrize(
    ("what", "registry", "commands"),
    [
        ("kernel", kernels.registry, ("fit", "path", "halfmoons")),
        ("augmentation", augmentations.registry, ("fit", "path", "halfmoons")),
        ("feature map", features.registry, ("fit", "path")),
    ],
)
def test_help_says_what_is_declared(what, registry, commands, capsys):
    """Each kernel, law and feature map with each of its parameters, and its sentence and range."""
    entries = dict(re.findall(r"^  (\S+)\n((?:      .*\n)*)", listing(what) + "\n", flags=re.M))
    found = {form.partition(":")[0].replace("-", ""): " ".join(about.split()) for form, about in entries.items()}
    for name, maker in registry.items():
        if maker not in (Compose, Custom) and name in ours(registry):
            about = found[name.lower()]
            given = {"kernel", "seed"} if what == "feature map" else set()
            assert all(f"{p}: " in about for p in set(inspect.signature(maker).parameters) - given)
            for parameter, declared in by_argument(maker, parameters_of(maker)).items():
                if parameter in given or parameter not in inspect.signature(maker).parameters:
                    continue
                assert f"{parameter}: {declared.sentence}" in about
                assert declared.range in about
    for command in commands:
        assert main([command, "--help"]) == 0
        assert listing(what) in capsys.readouterr().out


def test_numbers_of_the_fit_mean_what_pretrain_says():
    """The words and ranges of the help are those of its docstring, and of its errors."""
    about = inspect.getdoc(sslcore.pretrain)
    for each, name, value in ((options.REG, "reg", 0.0), (options.BETA, "beta", -1.0)):
        sentence, bound = each.sentence.split("; ")
        assert f"{bound}, the {sentence}" in re.sub(r"lambda (?=>)|\n +", "", about)
        with pytest.raises(ValueError, match=f"{name} must be a finite number {bound}"):
            Objective.of(1, **{"reg": 0.1, "beta": 1.0, name: value}, unbiased=True, center=True)
    with pytest.raises(ValueError, match="n_components must be at least 1"):
        Objective.of(0, 0.1, 1.0, True, True)
    assert options.COMPONENTS.sentence.endswith(">= 1")


def test_each_option_is_declared_once():
    """Commands add declared options; what a flag is called and takes is the same in all of them."""
    folder = Path(sslcore.cli.__file__).parent
    assert not [p.name for p in (folder / "commands").glob("*.py") if "add_argument" in p.read_text(encoding="utf-8")]
    found = {}
    for name, declare in COMMANDS.items():
        parser = options.Parser(prog=name)
        declare(parser)
        for each in parser.declared:
            if each.flags not in (("--out",), ("--kernel",), ("--scale",), ("--figure",)):  # of interplay: of its word
                kept = {key: value for key, value in each.settings.items() if key in ("metavar", "choices")}
                assert found.setdefault(each.flags, kept) == kept
    assert {("--reg",), ("--beta",), ("--seed",), ("file",)} <= set(found)
    assert options.SEED.but("of views", default=3).help == "of views (default: %(default)s)"


@pytest.mark.parametrize(
    ("text", "kernel"),
    [
        ("exponential:0.2", Exponential(0.2)),
        ("Exponential : .2", Exponential(0.2)),
        ("gaussian:1e-3", Gaussian(1e-3)),
        ("gaussian:1e+3", Gaussian(1e3)),
        ("matern:1.5,2", Matern(1.5, 2)),
        ("matern:scale=2,nu=1.5", Matern(1.5, 2)),
        ("polynomial:3", Polynomial(3)),
        ("gaussian:1+linear", Sum(Gaussian(1), Linear())),
        ("gaussian:1+2*linear", Sum(Gaussian(1), Scaled(Linear(), 2))),
        ("gaussian:1 + 0.5*linear", Sum(Gaussian(1), Scaled(Linear(), 0.5))),
        ("gaussian:1+.5*linear", Sum(Gaussian(1), Scaled(Linear(), 0.5))),
        ("linear*2", Scaled(Linear(), 2)),
        ("gaussian:1*linear+l1-exponential:3", Sum(Product(Gaussian(1), Linear()), L1Exponential(3))),
        ("gaussian:1*(linear+l1-exponential:3)", Product(Gaussian(1), Sum(Linear(), L1Exponential(3)))),
        ("2*(gaussian:1)", Scaled(Gaussian(1), 2)),
        ("linear+linear+linear", Sum(Sum(Linear(), Linear()), Linear())),
    ],
)
def test_kernels(text, kernel):
    assert parse_kernel(text) == kernel


def test_compositions():
    both = Compose(Affine((8, 8), rotation=15), GaussianNoise(0.05))
    for text in ("affine:8x8,15+gaussian-noise:0.05", "affine:8x8,rotation=15 + gaussian-noise:scale=0.05"):
        assert parse_augmentation(text) == both
    assert parse_augmentation("(affine:8x8,rotation=15)+(gaussian-noise:5e-2)") == both
    three = parse_augmentation("cutout:4x4x3,2+gaussian-noise:1+gaussian-noise:2")
    assert three.stages() == Compose(Cutout((4, 4, 3), 2), GaussianNoise(1), GaussianNoise(2)).stages()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': expected the name of a kernel, found its end"),
        ("gauss:1", "there is no kernel 'gauss'; there are: gaussian, exponential"),
        (
            "gaussian",
            "kernel 'gaussian' is written gaussian:SCALE, found 'gaussian': missing a required argument: 'scale'",
        ),
        ("gaussian:", "expected a value, found its end"),
        ("gaussian:1,2", "is written gaussian:SCALE, found 'gaussian:1,2': too many values"),
        ("gaussian:width=2", "is written gaussian:SCALE, found .*: "),
        ("matern:1,nu=2", "is written matern:NU,SCALE, .*: nu is given twice"),
        ("matern:nu=1,nu=2", "nu is given twice"),
        ("matern:nu=1,2", "values without a name come first"),
        ("gaussian:-1", "'gaussian:-1': scale must be a finite number > 0, found -1"),
        ("gaussian:wide", "'gaussian:wide': scale must be a real number, found 'wide'"),
        ("polynomial:2.5", "degree must be an integer, found 2.5"),
        ("gaussian:1 linear", "expected the end, found 'linear'"),
        ("gaussian:1+", "expected the name of a kernel, found its end"),
        ("gaussian:1)", r"expected the end, found '\)'"),
        ("(gaussian:1", "expected a closing parenthesis, found its end"),
        ("gaussian:[1", "expected a closing bracket, found its end"),
        ("2", "'2': expected a kernel, found '2'"),
        ("2*3", r"expected a kernel, found '2\*3'"),
        ("2+linear", r"\+ does not combine 2 and Linear"),
        ("linear*-2", "the factor of a kernel must be a finite number > 0"),
        ("gaussian;1", "expected the end|is written gaussian:SCALE"),
        ("gaussian:linear", r"write \(linear...\) in parentheses"),
        ("linear:8x8", "is written linear, found 'linear:8x8'"),
        ("__import__:1", "expected the name of a kernel"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_kernel(text)
    assert "\n" not in str(caught.value)


def test_errors_of_augmentations_and_features():
    for text, message in (
        ("gaussian:1", "there is no augmentation 'gaussian'; there are: gaussian-noise"),
        ("compose:1", "there is no augmentation 'compose'"),
        ("affine", "is written affine:IMAGE_SHAPE,rotation=10,"),
        ("affine:8", "'affine:8': image_shape must be integers"),
        ("2*gaussian-noise:1", r"\* does not combine"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_augmentation(text)
    for text, message in (
        ("nystrom:10", "feature map 'nystrom' needs a kernel: add --kernel"),
        ("nystrom", "is written nystrom:LANDMARKS,selection=uniform, found"),
        ("pca:3", "there is no feature map 'pca'; there are: identity, nystrom, random-fourier"),
        ("identity:3", "is written identity, found"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_features(text, None, 0)
    with pytest.raises(ValueError, match="needs a translation-invariant kernel"):
        parse_features("random-fourier:10", Linear(), 0)
    assert isinstance(parse_features("nystrom:10", Linear(), 0), Nystrom)
    assert isinstance(parse_features("random-fourier:10", Gaussian(1), 0), RandomFourier)
