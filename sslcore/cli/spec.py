"""Kernels, augmentations and features as words of the command line: ``name:value,value``.

``gaussian-noise:0.1`` is ``GaussianNoise(0.1)``.  Names are those of the classes in the registries, in small letters
with hyphens, so that whatever is declared there can be written here::

    expression  = term { "+" term }
    term        = factor { "*" factor }
    factor      = number | "(" expression ")" | name [ ":" argument { "," argument } ]
    argument    = [ parameter "=" ] value
    value       = number | 8x8 | yes | no | word | "(" expression ")" | "[" value { "," value } "]"

``+`` and ``*`` are those of the kernels; between augmentations ``+`` is "and then" (`sslcore.augmentations.Compose`).
Images have shapes such as ``8x8`` or ``32x32x3``.  ``module:name`` is an augmentation too: what a module, of the
current folder or installed, calls ``name``, a function of (x, rng) or an augmentation.
"""

from __future__ import annotations

import importlib
import inspect
import operator
import os
import re
import sys
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .. import augmentations, features, kernels
from ..augmentations import Augmentation, Compose, Custom
from ..declarations.nested import by_argument
from ..declarations.parameters import Declared, choice, converted, parameters_of
from ..features import Features
from ..kernels import Kernel
from ..positives import Labels, Neighbors, Positives, TimeLag

__all__ = [
    "augmentation_forms",
    "feature_forms",
    "kernel_forms",
    "listing",
    "parse_augmentation",
    "parse_features",
    "parse_kernel",
    "parse_positives",
    "positives_forms",
]

T = TypeVar("T")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])"
_TOKEN = re.compile(
    rf"\s*(?:(?P<shape>\d+(?:x\d+)+(?!\w))|(?P<number>{_NUMBER})|(?P<word>[A-Za-z][\w-]*)|(?P<mark>[-+*:,=()\[\]]))"
)
_IN_MODULE = re.compile(r"\s*(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)(?!\s*[-\w=.(])")
_WORDS = {"yes": True, "no": False, "true": True, "false": False, "none": None}


def parse_kernel(text: str) -> Kernel:
    """Read a kernel of the registry, or a sum, product or multiple of such.

    Raises
    ------
    ValueError
        It says what was expected and where, or what the kernel takes.

    Examples
    --------
    >>> from sslcore.cli.spec import parse_kernel
    >>> parse_kernel("matern:1.5,scale=2")
    Matern(nu=1.5, scale=2.0)
    >>> parse_kernel("gaussian:1 + 0.5*linear")
    Sum(first=Gaussian(scale=1.0), second=Scaled(base=Linear(), factor=0.5))
    """
    return _Parser(text, "kernel", Kernel, _by_name(kernels.registry)).whole()


def parse_augmentation(text: str) -> Augmentation:
    """Read an augmentation of the registry, or several of them, one after the other.

    Raises
    ------
    ValueError
        It says what was expected and where, or what the augmentation takes.

    Examples
    --------
    >>> from sslcore.cli.spec import parse_augmentation
    >>> parse_augmentation("affine:8x8,rotation=15+gaussian-noise:0.05")
    Compose(Affine(image_shape=(8, 8), rotation=15.0, zoom=1.1, shift=1.0), GaussianNoise(scale=0.05))
    """
    return _Parser(text, "augmentation", Augmentation, _augmentations()).whole()


def parse_features(text: str, kernel: Kernel | None, seed: int) -> Features:
    """Read a feature map of the registry, of this kernel (None: there is none) and with this seed.

    Raises
    ------
    ValueError
        It says what was expected and where, or what the feature map takes.

    Examples
    --------
    >>> from sslcore.cli.spec import parse_features
    >>> from sslcore.kernels import Gaussian
    >>> parse_features("nystrom:100", Gaussian(1.0), seed=0)
    Nystrom(kernel=Gaussian(scale=1.0), landmarks=100, selection='uniform', seed=0)
    >>> parse_features("identity", None, seed=0)
    Identity()
    """
    given = {"kernel": kernel, "seed": seed}
    return _Parser(text, "feature map", Features, _by_name(features.registry), given).whole()


def parse_positives(text: str, read: Callable[[str], Any], runs: Sequence[int] = ()) -> Positives:
    """Read a law of positive pairs, or a sum of multiples of such.

    ``read`` returns the labels in a column; ``runs``: numbers of rows that follow each other in time, across whose ends
    no pair in time goes, unless the text has boundaries.

    Raises
    ------
    ValueError
        It says what was expected and where, or what the law takes.

    Examples
    --------
    >>> from sslcore.cli.spec import parse_positives
    >>> parse_positives("0.7*timelag:10 + 0.3*neighbors:15", lambda name: None)
    0.7 * TimeLag(lag=10, boundaries=None, times=None) + 0.3 * Neighbors(n_neighbors=15)
    >>> parse_positives("labels:class", {"class": [0, 1, 1]}.get)
    Labels(y=array([0, 1, 1]), by='pair')
    """

    def labels(column: str, by: str = "pair") -> Labels:
        return Labels(read(str(column)), by)

    known = runs if len(runs) > 1 else None

    def timelag(lag: int, boundaries: Any = known) -> TimeLag:
        return TimeLag(lag, boundaries)

    makers: dict[str, Callable[..., Any]] = {**_laws(), "labels": labels, "timelag": timelag}
    return _Parser(text, "law of positive pairs", Positives, makers).whole()


@dataclass(frozen=True)
class _OfColumn(Declared):
    """Labels, by the name of their column."""

    column: str = converted("the column of the labels", lambda value, name: str(value))
    by: str = choice("what has equal weight", ("pair", "class"), default="pair")


def _laws() -> dict[str, type]:
    """Return the laws that the command line knows; those of others are arrays."""
    return {"timelag": TimeLag, "neighbors": Neighbors, "labels": _OfColumn}


_ARRAYS = ("times",)
"""Parameters of these laws that are arrays with an entry a row, which the command line does not write."""


def positives_forms() -> list[str]:
    """Show how each law of positive pairs is written, and its defaults.

    Examples
    --------
    >>> from sslcore.cli.spec import positives_forms
    >>> positives_forms()
    ['timelag:LAG,boundaries=none', 'neighbors:N_NEIGHBORS', 'labels:COLUMN,by=pair']
    """
    return [_form(name, maker, _ARRAYS) for name, maker in _laws().items()]


def kernel_forms() -> list[str]:
    """Show how each kernel is written, and its defaults.

    Examples
    --------
    >>> from sslcore.cli.spec import kernel_forms
    >>> [form for form in kernel_forms() if form.startswith(("gaussian", "polynomial"))]
    ['gaussian:SCALE', 'polynomial:DEGREE,offset=1']
    """
    return [_form(name, maker) for name, maker in _by_name(kernels.registry).items()]


def augmentation_forms() -> list[str]:
    """Show how each augmentation is written, and its defaults.

    Examples
    --------
    >>> from sslcore.cli.spec import augmentation_forms
    >>> [form for form in augmentation_forms() if form.startswith("affine")]
    ['affine:IMAGE_SHAPE,rotation=10,zoom=1.1,shift=1']
    """
    return [_form(name, maker) for name, maker in _augmentations().items()]


def feature_forms() -> list[str]:
    """Show how each feature map is written, and its defaults; kernel and seed are options of their own.

    Examples
    --------
    >>> from sslcore.cli.spec import feature_forms
    >>> feature_forms()[:3]
    ['identity', 'nystrom:LANDMARKS,selection=uniform', 'random-fourier:N_FEATURES']
    """
    return [_form(name, maker, {"kernel", "seed"}) for name, maker in _by_name(features.registry).items()]


def listing(what: str) -> str:
    """List all of a kind for ``--help``: how each is written, and what its parameters mean, as they are declared.

    Parameters
    ----------
    what : {"kernel", "augmentation", "feature map", "law of positive pairs"}

    Examples
    --------
    >>> from sslcore.cli.spec import listing
    >>> [line.strip() for line in listing("kernel").splitlines()[1:3]]
    ['gaussian:SCALE', 'scale: standard deviation, in the unit of the data; > 0']
    """
    title, makers, given = {
        "kernel": (
            "kernels (capitals: a value is needed; k+k, k*k and 2*k are kernels too):",
            _by_name(kernels.registry),
            (),
        ),
        "augmentation": (
            "augmentations (a+b: one after the other; shapes are written 8x8 or 32x32x3; module:name is a\n"
            "function of (x, rng) that returns a view, or an augmentation, in a module of yours):",
            _augmentations(),
            (),
        ),
        "law of positive pairs": ("positive pairs (sums of multiples are laws too):", _laws(), _ARRAYS),
        "feature map": ("features (of --kernel):", _by_name(features.registry), ("kernel", "seed")),
    }[what]
    lines = [title]
    for name, maker in makers.items():
        lines.append(f"  {_form(name, maker, given)}")
        for parameter in inspect.signature(maker).parameters:
            if parameter not in given and (about := _meaning(maker, parameter)):
                lines += textwrap.wrap(f"{parameter}: {about}", 94, initial_indent=" " * 6, subsequent_indent=" " * 10)
    return "\n".join(lines)


def _meaning(maker: type, name: str) -> str:
    """Say what a parameter is, and its range: as declared, or in the first words of the docstring."""
    if (parameter := by_argument(maker, parameters_of(maker)).get(name)) is not None:
        return f"{parameter.sentence}; {parameter.range}" if parameter.range else parameter.sentence
    section = (inspect.getdoc(maker) or "").partition("Parameters\n----------\n")[2]  # none under `python -OO`
    found = re.search(rf"^{name} :[^\n]*\n((?:    [^\n]*\n?)+)", section, flags=re.M)
    return re.split(r"[.:] |\.$", " ".join(found[1].split()))[0] if found else ""


def _by_name(registry: Mapping[str, type]) -> dict[str, type]:
    """Key a registry by the command line's names: GaussianNoise is gaussian-noise, L1Exponential l1-exponential."""
    return {re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower(): maker for name, maker in registry.items()}


def _augmentations() -> dict[str, type]:
    return {name: maker for name, maker in _by_name(augmentations.registry).items() if maker not in (Compose, Custom)}


def _form(name: str, maker: Callable[..., Any], given: Container[str] = ()) -> str:
    """Write ``name:REQUIRED,optional=default``, as `inspect` tells."""
    parts = []
    for parameter in inspect.signature(maker).parameters.values():
        if parameter.name in given:
            continue
        required = parameter.default is parameter.empty
        parts.append(parameter.name.upper() if required else f"{parameter.name}={_shown(parameter.default)}")
    return name + (":" + ",".join(parts) if parts else "")


def _shown(value: Any) -> str:
    """Write a value as the command line reads it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


class _Parser(Generic[T]):
    """One pass from left to right over the tokens of ``text``."""

    def __init__(
        self,
        text: str,
        what: str,
        kind: type[T],
        makers: Mapping[str, Callable[..., Any]],
        given: dict[str, Any] | None = None,
    ) -> None:
        self.text, self.what, self.kind, self.makers, self.given = text, what, kind, makers, given or {}
        self.place = 0

    def whole(self) -> T:
        value = self.expression()
        if self.text[self.place :].strip():
            raise self.unexpected("the end")
        if not isinstance(value, self.kind):
            raise self.unexpected(f"a {self.what}", 0)
        return value

    def peek(self) -> tuple[str, str]:
        """Return kind and text of the next token; ("end", "") after the last, ("none", ...) for what is no token."""
        match = _TOKEN.match(self.text, self.place)
        if match is None or match.lastgroup is None:
            rest = self.text[self.place :].strip()
            return ("none", rest) if rest else ("end", "")
        return match.lastgroup, match[match.lastgroup]

    def take(self, *wanted: str) -> str | None:
        """Take the next token if it is one of these kinds or marks."""
        kind, token = self.peek()
        if kind in wanted or (kind == "mark" and token in wanted):
            match = _TOKEN.match(self.text, self.place)
            assert match is not None
            self.place = match.end()
            return token
        return None

    def expression(self) -> Any:
        value = self.term()
        while self.adds():
            value = self.combine(value, "+", self.term())
        return value

    def adds(self) -> bool:
        """Tell whether a ``+`` follows; before a digit it was read as a sign."""
        kind, token = self.peek()
        if kind == "number" and token.startswith("+"):
            self.place = self.text.index("+", self.place) + 1
            return True
        return self.take("+") is not None

    def term(self) -> Any:
        value = self.factor()
        while self.take("*"):
            value = self.combine(value, "*", self.factor())
        return value

    def combine(self, first: Any, mark: str, second: Any) -> Any:
        try:
            if isinstance(first, Augmentation) and isinstance(second, Augmentation) and mark == "+":
                return Compose(first, second)
            return first + second if mark == "+" else first * second
        except TypeError:
            raise ValueError(f"{self.text!r}: {mark} does not combine {first!r} and {second!r}") from None

    def factor(self) -> Any:
        if (number := self.take("number")) is not None:
            return _number(number)
        if self.take("("):
            value = self.expression()
            if not self.take(")"):
                raise self.unexpected("a closing parenthesis")
            return value
        found = _IN_MODULE.match(self.text, self.place) if self.kind is Augmentation else None
        if found is not None and found["module"].lower() not in self.makers:
            self.place = found.end()
            return self.imported(found["module"], found["name"])
        if (name := self.take("word")) is None:
            raise self.unexpected(f"the name of a {self.what}")
        maker = self.makers.get(name.lower())
        if maker is None:
            raise ValueError(f"there is no {self.what} {name!r}; there are: {', '.join(self.makers)}")
        return self.call(name, maker)

    def imported(self, module: str, name: str) -> Augmentation:
        """Return the law that a module, of the current folder or installed, calls by this name."""
        folder = os.getcwd()
        try:
            sys.path.insert(0, folder)  # first for this import alone: its files are not meant by other names
            found = operator.attrgetter(name)(importlib.import_module(module))
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (module + ".").startswith(f"{error.name}."):
                missing = f"there is no {self.what} {module!r} and no module {module!r} in {folder} or installed"
                raise ValueError(f"{missing}; there are: {', '.join(self.makers)}") from None
            raise ValueError(f"{self.text!r}: {module}:{name} fails: {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(folder)
            if folder not in sys.path:
                sys.path.append(folder)  # processes of workers find it there
        try:
            return found if isinstance(found, Augmentation) else Custom(found)
        except TypeError as error:
            raise ValueError(f"{self.text!r}: {error}") from None

    def call(self, name: str, maker: Callable[..., Any]) -> Any:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        parameters = inspect.signature(maker).parameters
        free = [name for name in parameters if name not in self.given]
        # whose words are meant as they are written
        words = {name for name, parameter in parameters.items() if parameter.annotation in ("str", str)}
        if self.take(":"):
            while True:
                start = self.place
                word = self.take("word")
                if word is not None and self.take("="):
                    if word in named:
                        raise ValueError(f"{self.text!r}: {word} is given twice")
                    named[word] = self.value(verbatim=word in words)
                else:
                    self.place = start
                    if named:
                        raise ValueError(f"{self.text!r}: values without a name come first")
                    positional.append(self.value(verbatim=bool(words.intersection(free[len(positional) :][:1]))))
                if not self.take(","):
                    break
        needed = {key: value for key, value in self.given.items() if key in parameters}
        try:
            if len(positional) > len(free):
                raise TypeError("too many values")
            arguments = dict(zip(free, positional, strict=False))
            if twice := set(arguments) & set(named):
                raise TypeError(f"{min(twice)} is given twice")
            inspect.signature(maker).bind(**arguments, **named, **needed)
        except TypeError as error:
            form = _form(name, maker, self.given)
            raise ValueError(f"{self.what} {name!r} is written {form}, found {self.text!r}: {error}") from None
        if "kernel" in needed and needed["kernel"] is None:
            raise ValueError(f"{self.what} {name!r} needs a kernel: add --kernel")
        try:
            return maker(**arguments, **named, **needed)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.text!r}: {error}") from None

    def value(self, *, verbatim: bool = False) -> Any:
        """Read a value; ``verbatim``: a word is itself, and not what else it may stand for."""
        if (shape := self.take("shape")) is not None:
            return tuple(int(length) for length in shape.split("x"))
        if (number := self.take("number")) is not None:
            return _number(number)
        if (word := self.take("word")) is not None:
            if verbatim:
                return word
            if word.lower() in self.makers:  # a nested one: without parentheses its commas would be ours
                raise ValueError(f"{self.text!r}: write ({word}...) in parentheses")
            return _WORDS.get(word.lower(), word)
        if self.take("("):
            value = self.expression()
            if not self.take(")"):
                raise self.unexpected("a closing parenthesis")
            return value
        if self.take("["):
            values = [self.value()]
            while self.take(","):
                values.append(self.value())
            if not self.take("]"):
                raise self.unexpected("a closing bracket")
            return tuple(values)
        raise self.unexpected("a value")

    def unexpected(self, wanted: str, place: int | None = None) -> ValueError:
        rest = self.text[self.place if place is None else place :].strip()
        return ValueError(f"{self.text!r}: expected {wanted}, found {repr(rest) if rest else 'its end'}")


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
