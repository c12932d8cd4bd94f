"""Declared classes by name, and functions chosen by the class of their first argument.

A name stands for one class: files and command lines speak of classes by name, and the closed forms of the population
theory belong to classes, never to names.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeGuard, TypeVar

__all__ = ["ByLaw", "has_law", "law_of", "register"]

Kind = TypeVar("Kind")
Result = TypeVar("Result")


def register(registry: dict[str, Any], kind: type, *, home: str) -> None:
    """Enter a class that is being declared into ``registry``, under its name.

    The same class declared again (a cell of a notebook run twice, a module reloaded) takes the place of the first.

    Parameters
    ----------
    registry : dict
    kind : type
    home : str
        The package or module of the library that the registry belongs to; its public names are not free.

    Raises
    ------
    TypeError
        If another class has this name.

    Examples
    --------
    >>> from sslcore.declarations.registries import register
    >>> known = {}
    >>> class Cauchy: ...
    >>> register(known, Cauchy, home="sslcore.kernels")
    >>> list(known)
    ['Cauchy']
    """
    name, place = kind.__name__, (kind.__module__, kind.__qualname__)
    known = registry.get(name)
    ours = place[0] == home or place[0].startswith(f"{home}.")
    names = () if ours else getattr(sys.modules.get(home), "__all__", ())
    taken = (home, name) if name in names else (known.__module__, known.__qualname__) if known is not None else place
    fields = vars(kind).get("__dataclass_fields__")  # a dataclass with slots is made twice, of the same fields
    if taken != place and (fields is None or fields is not getattr(known, "__dataclass_fields__", None)):
        raise TypeError(
            f"the class {place[0]}.{place[1]} cannot be called {name}: that is {taken[0]}.{taken[1]}, and files and "
            f"command lines know classes by their names; choose another name, or begin it with an underscore, if it "
            f"need not be saved"
        )
    registry[name] = kind


def law_of(kind: type) -> type:
    """Return the class that says what instances of ``kind`` compute.

    It is ``kind``, or the base class of which it, and all between, override nothing: a subclass with another docstring,
    other defaults or further methods computes the same, one with another formula does not.

    Examples
    --------
    >>> from sslcore.kernels import Gaussian, Linear
    >>> from sslcore.declarations.registries import law_of
    >>> class _Named(Gaussian):
    ...     title = "the usual one"
    >>> class _Other(Gaussian):
    ...     formula = "real(1) / (real(1) - c0 * t)"
    >>> law_of(_Named) is Gaussian, law_of(_Other) is _Other
    (True, True)
    """
    order = kind.__mro__[:-1]  # all but object
    for i, cls in enumerate(order):
        below = order[i + 1 :]
        if _names(cls) & {name for base in below for name in _names(base)} - _redeclared(cls, below):
            return cls
    return kind


def has_law(value: Any, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Tell whether ``value`` computes what one of these classes says: `law_of` in place of ``isinstance``.

    Examples
    --------
    >>> from sslcore.kernels import Gaussian, Linear
    >>> from sslcore.declarations.registries import has_law
    >>> has_law(Gaussian(1.0), Linear, Gaussian), has_law(Gaussian(1.0), Linear)
    (True, False)
    """
    return law_of(type(value)) in kinds


class ByLaw(Generic[Result]):
    """A function of several: the law of the first argument (`law_of`) chooses which is called.

    ``functools.singledispatch`` would also give a subclass with another formula to its base's function.

    Examples
    --------
    >>> from sslcore.kernels import Gaussian, Linear
    >>> from sslcore.declarations.registries import ByLaw
    >>> @ByLaw
    ... def rank(kernel, d):
    ...     return None
    >>> @rank.register(Linear)
    ... def _(kernel, d):
    ...     return d
    >>> rank(Linear(), 3), rank(Gaussian(1.0), 3)
    (3, None)
    """

    def __init__(self, default: Callable[..., Result]) -> None:
        functools.update_wrapper(self, default)
        self.default, self.table = default, dict[type, Callable[..., Result]]()

    def __call__(self, value: Any, *arguments: Any, **named: Any) -> Result:
        """Call the function that serves the law of ``value``."""
        return self.table.get(law_of(type(value)), self.default)(value, *arguments, **named)

    def register(self, *kinds: type) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
        """Decorate the function that serves these classes."""

        def enter(function: Callable[..., Result]) -> Callable[..., Result]:
            self.table.update(dict.fromkeys(kinds, function))
            return function

        return enter


_CALLED = {"__call__", "__getattr__", "__getattribute__"}


def _names(cls: type) -> set[str]:
    """List what a class defines or declares: attributes, methods and fields, without those that Python adds to each."""
    found = {*vars(cls), *vars(cls).get("__annotations__", ())} - {"_abc_impl"}
    return {name for name in found if name in _CALLED or not (name.startswith("__") and name.endswith("__"))}


def _redeclared(cls: type, below: tuple[type, ...]) -> set[str]:
    """List fields of a base that a class declares again, with a default at most: instances hold their values."""
    fields = {f.name for base in below if dataclasses.is_dataclass(base) for f in dataclasses.fields(base)}
    return {name for name in fields if not hasattr(type(vars(cls).get(name)), "__get__")}
