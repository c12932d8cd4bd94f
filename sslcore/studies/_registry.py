"""The studies by name: each is a file of this folder that ends in ``STUDY = Registered(...)``.

``sslcore study NAME`` runs what is registered here; nothing else has to be entered anywhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Registered", "Results", "names", "registered"]


class Results(Protocol):
    """The results of a study."""

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""

    def table(self) -> str:
        """Return the results as lines, for people."""


@dataclass(frozen=True)
class Registered:
    """A study that the command line can run.

    Attributes
    ----------
    sentence : str
        What it shows; without a full stop.
    run : callable
        (full, begin) to `Results`; ``full`` asks for the size that takes longer, ``begin`` is called with each step.
    seconds : mapping
        What each step takes on two cores at the small size; their ratios move the progress bar.
    figure : str
        A function of `sslcore.studies.figures`.
    drawn : callable
        From the results to the arguments of that function.
    """

    sentence: str
    run: Callable[[bool, Callable[[str], Any]], Results]
    seconds: Mapping[str, float]
    figure: str
    drawn: Callable[[Any], tuple[Any, ...]] = lambda found: (found,)


def names() -> list[str]:
    """Return the names of all studies, without importing them.

    Examples
    --------
    >>> from sslcore.studies import _registry
    >>> "halfmoons" in _registry.names()
    True
    """
    package = importlib.import_module(__package__)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_") and name != "figures")


def registered(name: str) -> Registered:
    """Return the study of this name.

    Raises
    ------
    ValueError
        With the names that there are.
    """
    if name not in names():
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(names())}")
    found: Registered = importlib.import_module(f"{__package__}.{name}").STUDY
    return found
