"""The lines that a bug report needs to say of the installation."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from ._version import __version__

__all__ = ["show_versions", "versions"]


def versions() -> dict[str, str]:
    """List versions of Python, of the libraries in use and of the machine; ``"absent"`` for what is not installed."""
    found = {"sslcore": __version__, "python": sys.version.split()[0], "machine": platform.platform()}
    found["processors"] = str(os.cpu_count())
    optional = ("scikit-learn", "matplotlib", "polars", "rich", "torch", "cupy-cuda12x", "cupy-cuda13x")
    for name in ("numpy", "scipy", "numba", *optional):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def show_versions() -> None:
    """Print `versions`, a line each.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.show_versions()  # doctest: +ELLIPSIS
    sslcore: ...
    """
    for name, value in versions().items():
        print(f"{name}: {value}")
