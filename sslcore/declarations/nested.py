"""Parameters of kernels, laws and features by name, as scikit-learn's searches give them: ``kernel__first__scale``.

Declarations are frozen dataclasses: to set a parameter is to make another one, with its checks.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from ..arrays import check_boolean

__all__ = ["by_argument", "nested_parameters", "with_parameters"]


def nested_parameters(value: Any, prefix: str) -> dict[str, Any]:
    """Name all parameters of a declaration, and of those inside it, as ``prefix__name``; empty for other values."""
    found = {}
    for name, member in _members(value).items():
        found[f"{prefix}__{name}"] = member
        found |= nested_parameters(member, f"{prefix}__{name}")
    return found


def with_parameters(value: Any, changes: Mapping[str, Any], prefix: str) -> Any:
    """Make a declaration like ``value`` with other parameters, ``name`` or ``name__name``, all at once.

    Raises
    ------
    ValueError
        If it has no such parameter; and what the declaration says of a value out of range.
    """
    members = _members(value)
    deeper: dict[str, dict[str, Any]] = {}
    for key, new in changes.items():
        name, _, rest = key.partition("__")
        if name not in members:
            known = f"its parameters are {', '.join(members)}" if members else "it has none"
            raise ValueError(f"invalid parameter {prefix}__{key}: {prefix} is {value!r:.80}, and {known}")
        if rest:
            deeper.setdefault(name, {})[rest] = new
        else:
            members[name] = new
    for name, inner in deeper.items():
        members[name] = with_parameters(members[name], inner, f"{prefix}__{name}")
    if isinstance(value, tuple):
        return tuple(members.values())
    kind = type(value)
    parameters = inspect.signature(kind).parameters.values()
    variadic = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    parts = [part for name in variadic for part in members.pop(name)]
    return kind(*parts, **members)


def by_argument(kind: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """Name what was found of all fields of a declaration, in order, as its constructor does.

    Examples
    --------
    >>> from sslcore.declarations.nested import by_argument
    >>> from sslcore.features import RandomFourier
    >>> by_argument(RandomFourier, {"kernel": 1, "count": 2, "seed": 3})
    {'kernel': 1, 'n_features': 2, 'seed': 3}
    """
    taken = inspect.signature(kind).parameters
    renamed = len(taken) == len(found) and taken.keys() != found.keys()
    return dict(zip(taken, found.values(), strict=True)) if renamed else dict(found)


def _members(value: Any) -> dict[str, Any]:
    """Return the parameters of a declaration, or the places of a tuple of declarations."""
    if isinstance(value, tuple) and any(map(_is_declaration, value)):
        return {str(i): member for i, member in enumerate(value)}
    if not _is_declaration(value):
        return {}
    return by_argument(type(value), {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init})


def _is_declaration(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


class _NestedParameters:
    """Parameters of an estimator of scikit-learn that has kernels, laws and features among them."""

    _get_param_names: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; with ``deep`` also those of kernels, laws and features, as in the class."""
        deep = check_boolean(deep, "deep")
        params: dict[str, Any] = super().get_params(deep=deep)  # type: ignore[misc]
        for name in self._get_param_names() if deep else ():
            params |= nested_parameters(params[name], name)
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters by name; kernels, laws and features are values: new ones are made, the old ones stay."""
        whole = {name: value for name, value in params.items() if "__" not in name}
        super().set_params(**whole)  # type: ignore[misc]
        deeper: dict[str, dict[str, Any]] = {}
        for key in params.keys() - whole.keys():
            name, _, rest = key.partition("__")
            deeper.setdefault(name, {})[rest] = params[key]
        for name, changes in deeper.items():
            value = getattr(self, name) if name in self._get_param_names() else None
            if hasattr(value, "set_params") or name not in self._get_param_names():
                super().set_params(**{f"{name}__{rest}": new for rest, new in changes.items()})  # type: ignore[misc]
            else:
                setattr(self, name, with_parameters(value, changes, name))
        return self
