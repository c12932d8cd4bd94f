"""``sslcore info``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from .common import Report


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Show the versions of sslcore, of the libraries that it uses, and the machine: what a bug report needs."""

    def run(args: argparse.Namespace) -> Report:
        from ..versions import versions

        found = versions()
        width = max(map(len, found))
        return Report(found, "\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))

    return run
