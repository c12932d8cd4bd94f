"""Parameters declared as data: what a number means, its range and its check stand in one line, in its dataclass.

>>> from dataclasses import dataclass
>>> from sslcore.declarations.parameters import Declared, positive
>>> @dataclass(frozen=True)
... class Decay(Declared):
...     scale: float = positive("decay length, in the unit of the data")
>>> Decay(2)
Decay(scale=2.0)
>>> Decay(-1.0)
Traceback (most recent call last):
    ...
ValueError: scale must be a finite number > 0, found -1.0
>>> parameters_of(Decay)["scale"].description
'Decay length, in the unit of the data; > 0.'
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from typing import Any

from ..arrays import check_boolean, check_integer, check_scalar, shown
from .reprs import brief

__all__ = [
    "Declared",
    "Parameter",
    "boolean",
    "choice",
    "converted",
    "integer",
    "nonnegative",
    "one_of",
    "parameters_of",
    "positive",
    "probability",
    "real",
]


@dataclass(frozen=True)
class Parameter:
    """The declaration of a parameter.

    Attributes
    ----------
    sentence : str
        What it is, in the unit it is in; without a full stop.
    range : str
        Which values it may have, in words; empty if the sentence says it.
    convert : function
        From a value and the parameter's name to the value that is stored; it raises for what is out of the range.
    good, bad : tuple
        Some values at the ends of the range, and just beyond, for tests.
    optional : bool
        Whether it may be None.
    """

    sentence: str
    range: str
    convert: Callable[[Any, str], Any]
    good: tuple[Any, ...] = ()
    bad: tuple[Any, ...] = ()
    optional: bool = False

    @property
    def description(self) -> str:
        """The text of documentation and command lines: a sentence, and the range."""
        text = self.sentence[:1].upper() + self.sentence[1:]
        return f"{text}; {self.range}." if self.range else f"{text}."

    def check(self, value: Any, name: str) -> Any:
        """Return the value that is stored, or raise an error with the name, the range and the value found."""
        if value is None and self.optional:
            return None
        try:
            return self.convert(value, name)
        except TypeError as error:  # which says of what kind it must be
            raise TypeError(f"{error} (its range is {self.range})" if self.range else str(error)) from None


class Declared:
    """A frozen dataclass whose parameters are declared: they are checked, and stored as the checks return them.

    Fields without a declaration are left alone.  `_complete` then checks what concerns several at once.
    """

    def __post_init__(self) -> None:
        for name, parameter in parameters_of(type(self)).items():
            object.__setattr__(self, name, parameter.check(getattr(self, name), name))
        self._complete()

    __repr__ = brief  # of classes that ask dataclass for none

    def _complete(self) -> None:
        """Check what concerns several parameters; here nothing."""


def parameters_of(kind: type) -> dict[str, Parameter]:
    """Return the declared parameters of a dataclass by name, in order."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return {f.name: f.metadata["parameter"] for f in fields if "parameter" in f.metadata}


def real(
    sentence: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    strict: bool = False,
    label: str = "",
    default: Any = MISSING,
) -> Any:
    """Declare a finite number in [minimum, maximum], or > minimum where ``strict``.

    With the default None it may be None too.  ``label`` is what errors call it, if not by its name.
    """
    low = "" if minimum == -math.inf else f"{'>' if strict else '>='} {minimum:g}"
    high = "" if maximum == math.inf else f"<= {_named(maximum)}"
    closed = bool(low and high) and not strict
    words = f"in [{minimum:g}, {_named(maximum)}]" if closed else " and ".join(filter(None, (low, high)))
    inside = math.nextafter(minimum, math.inf) if strict else minimum
    good = tuple(v for v in (inside, maximum) if math.isfinite(v)) or (0.0,)
    beyond = (minimum if strict else math.nextafter(minimum, -math.inf), math.nextafter(maximum, math.inf))
    bad = tuple(v for v in beyond if math.isfinite(v))

    def convert(value: Any, name: str) -> float:
        return check_scalar(value, label or name, minimum=minimum, maximum=maximum, strict=strict)

    return _field(Parameter(sentence, words, convert, good, (*bad, *_no_numbers(minimum)), default is None), default)


def positive(sentence: str, *, label: str = "", default: Any = MISSING) -> Any:
    """Declare a finite number > 0."""
    return real(sentence, minimum=0.0, strict=True, label=label, default=default)


def nonnegative(sentence: str, *, default: Any = MISSING) -> Any:
    """Declare a finite number >= 0."""
    return real(sentence, minimum=0.0, default=default)


def probability(sentence: str, *, default: Any = MISSING) -> Any:
    """Declare a number in [0, 1]."""
    return real(sentence, minimum=0.0, maximum=1.0, default=default)


def integer(sentence: str, *, minimum: int, maximum: int | None = None, default: Any = MISSING) -> Any:
    """Declare an integer from ``minimum`` to ``maximum``; with the default None it may be None too."""
    words = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    ends = (minimum,) if maximum is None else (minimum, maximum)
    bad = (minimum - 1, *(() if maximum is None else (maximum + 1, 10**5000)), 1.0, 1.5, *_no_numbers(minimum))

    def convert(value: Any, name: str) -> int:
        return check_integer(value, name, minimum=minimum, maximum=maximum)

    bad = bad if maximum is not None else bad[:-1]
    return _field(Parameter(sentence, words, convert, ends, bad, default is None), default)


def boolean(sentence: str, *, default: Any = MISSING) -> Any:
    """Declare True or False."""
    bad = (0, 1, 1.0, "True", None, [True])
    return _field(Parameter(sentence, "", check_boolean, (True, False), bad), default)


def one_of(sentence: str, values: tuple[float, ...], *, hint: str = "", default: Any = MISSING) -> Any:
    """Declare one of a few numbers > 0; ``hint`` ends the error for another one."""
    words = _listed([f"{value:g}" for value in values])

    def convert(value: Any, name: str) -> float:
        number = check_scalar(value, name, minimum=0.0, strict=True)
        if number not in values:
            raise ValueError(f"{name} must be {words}, found {shown(value)}{hint}")
        return number

    bad = (min(values) - 1, max(values) + 1, *_no_numbers(0.0))
    return _field(Parameter(sentence, words, convert, values, bad), default)


def choice(sentence: str, values: tuple[str, ...], *, default: Any = MISSING) -> Any:
    """Declare one of a few words."""
    words = _listed([repr(value) for value in values])

    def convert(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError(f"{name} must be {words}, found {shown(value)}")
        return value

    return _field(Parameter(sentence, words, convert, values, ("", "x", None, 1, values)), default)


def converted(
    sentence: str,
    convert: Callable[[Any, str], Any],
    *,
    good: tuple[Any, ...] = (),
    bad: tuple[Any, ...] = (),
    default: Any = MISSING,
) -> Any:
    """Declare a parameter that ``convert(value, name)`` checks; the sentence says its range."""
    return _field(Parameter(sentence, "", convert, good, bad), default)


def _no_numbers(minimum: float) -> tuple[Any, ...]:
    """List what a parameter that is a number >= ``minimum`` refuses; the last one, 10^400, an integer may be."""
    below = (-1,) if minimum > -1 else ()
    return (math.nan, math.inf, -math.inf, *below, True, "x", "1", None, 1j, [1.0], 10**400)


def _field(parameter: Parameter, default: Any) -> Any:
    outside = tuple(value for value in parameter.bad if not (value is None and parameter.optional))
    parameter = dataclasses.replace(parameter, bad=outside)
    return dataclasses.field(default=default, metadata={"parameter": parameter})


def _named(value: float) -> str:
    return "pi" if value == math.pi else f"{value:g}"


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
