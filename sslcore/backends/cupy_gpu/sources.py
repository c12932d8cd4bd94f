"""The CUDA sources, and what they are compiled with: for the loader, for ``setup.py`` and for the tests.

Uses the standard library only, and is no part of a package when ``setup.py`` runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["ARCHITECTURES", "FOLDER", "NAMES", "PREBUILT", "fatbin_name", "options", "text", "variants"]

FOLDER = Path(__file__).parent / "cuda"
PREBUILT = Path(__file__).parent / "prebuilt"
NAMES = ("angles", "dense", "gram", "risk", "rotate", "views")
PROFILE = "SSL_PROFILE"
"""The macro that holds the profile of a kernel."""
ARCHITECTURES = (80, 90, 100)
"""Compute capabilities (times 10) that are compiled ahead of time, where the compiler knows them."""

_REAL = {"float32": "float", "float64": "double"}


def text(name: str) -> str:
    """The source ``name``.cu."""
    return (FOLDER / f"{name}.cu").read_text(encoding="utf-8")


def options(name: str, dtype: str, formula: str | None = None) -> tuple[str, ...]:
    """What the source is compiled with, for arrays of this dtype and the profile of a kernel."""
    found: tuple[str, ...] = ("-std=c++17", f"-DSSL_REAL={_REAL[dtype]}")
    if name == "views":  # the same bits as on the CPU
        found += ("--fmad=false",)
    if formula is not None:
        found += (f"-D{PROFILE}={formula}",)
    return found


def variants(formulas: Iterable[str]) -> Iterator[tuple[str, str, str | None]]:
    """Source, dtype and formula of all that is compiled: sources with a profile once for each of ``formulas``."""
    for name in NAMES:
        for dtype in _REAL:
            for formula in formulas if PROFILE in text(name) else (None,):
                yield name, dtype, formula


def fatbin_name(name: str, dtype: str, formula: str | None = None) -> str:
    """The file compiled ahead of time: its name holds what it was made from, so that an old one is never taken."""
    made_from = repr((text(name), options(name, dtype, formula)))
    return f"{name}-{dtype}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.fatbin"
