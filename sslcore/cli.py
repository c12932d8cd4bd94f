"""The command line: ``sslcore COMMAND`` or ``python -m sslcore COMMAND``.

The commands are in `sslcore.commands`, a module each; here is what they have in common: parsing, printing, ``--json``,
``--debug``, errors and exit codes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from ._version import __version__
from .commands import COMMANDS
from .commands.common import Report, UsageError, interrupts_kept

__all__ = ["COMMANDS", "Report", "main"]

PLAIN_ERRORS = (ValueError, TypeError, OSError, MemoryError, ImportError, ArithmeticError, RuntimeError)
"""Errors whose message says all; others are mistakes of ours, and named."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line, printed where all errors are."""

    def format_help(self) -> str:
        if forms := self.get_default("forms"):  # what it costs imports for, it is asked for now
            self.epilog = forms()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0, 2 after an error (one line on stderr), 130 after Ctrl-C.

    Examples
    --------
    >>> from sslcore.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    sslcore ...
    0
    """
    debug = False
    try:
        args = _parser().parse_args(argv)
        debug = args.debug
        with interrupts_kept(), warnings.catch_warnings():
            warnings.showwarning = _warn
            report = args.run(args)
        print(json.dumps(_plain(report.document), allow_nan=False) if args.json else report.text)
        sys.stdout.flush()
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("sslcore: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `sslcore info | head -1`: nobody listens any more, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        name, message = type(error).__name__, " ".join(str(error).split())
        if not isinstance(error, PLAIN_ERRORS):
            message = f"{name}: {message} (unexpected; --debug shows where)"
        message = message or name
        print(f"sslcore: error: {message}", file=sys.stderr)
        return 2
    return 0


def _warn(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A warning as one line, without the place in our code that it comes from."""
    print(f"sslcore: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> _Parser:
    parser = _Parser(prog="sslcore", description="Self-supervised learning in closed form.")
    parser.add_argument("--version", action="version", version=f"sslcore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for name, declare in COMMANDS.items():
        about = inspect.getdoc(declare) or name  # `python -OO` strips docstrings
        sub = commands.add_parser(
            name,
            help=about.splitlines()[0],
            description=_wrapped(about),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=declare(sub))
        sub.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        sub.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return parser


def _wrapped(text: str) -> str:
    return "\n\n".join(textwrap.fill(paragraph, 80) for paragraph in text.split("\n\n"))


def _plain(value: Any) -> Any:
    """``value`` in the types of JSON, which has neither NaN nor infinity: these become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # arrays and their scalars
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
