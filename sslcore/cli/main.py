"""The command line: ``sslcore COMMAND`` or ``python -m sslcore COMMAND``.

The commands are in `sslcore.cli.commands`, a module each; here is what they have in common: parsing, printing,
``--json``, ``--debug``, errors and exit codes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .._version import __version__
from .commands import COMMANDS
from .commands.common import Report, one_line, plain, say, write_line
from .commands.progress import interrupts_kept
from .options import DEBUG, JSON, Parser

__all__ = ["COMMANDS", "Report", "main"]

PLAIN_ERRORS = (ValueError, TypeError, OSError, MemoryError, ImportError, ArithmeticError, RuntimeError)
"""Errors whose message says all; others are mistakes of ours, and named."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 if the work is done and written, but not all that goes with it (a figure, the words on
        stdout), which stderr says in one line; 2 after an error (one line on stderr); 130 after Ctrl-C.

    Examples
    --------
    >>> from sslcore.cli.main import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    sslcore ...
    0
    """
    if argv is None:
        _keep_standard_descriptors()
    debug = False
    try:
        args = _parser().parse_args(argv)
        debug = args.debug
        with interrupts_kept(), warnings.catch_warnings():
            warnings.showwarning = _warn
            report = args.run(args)
        failed = report.failed
        document = report.document | ({"failed": failed} if failed else {})
        failed += _answer(json.dumps(plain(document), allow_nan=False) if args.json else report.text)
        for what in failed:
            say(f"sslcore: error: {what} (all else is done)", sys.stderr)
        return 1 if failed else 0
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        say("sslcore: interrupted", sys.stderr)
        return 130
    except BrokenPipeError:  # `sslcore --help | head -1`
        _abandon_stdout()
        return 0
    except Exception as error:
        if debug:
            raise
        name, message = type(error).__name__, " ".join(str(error).split())
        if not isinstance(error, PLAIN_ERRORS):
            message = f"{name}: {message} (unexpected; --debug shows where)"
        say(f"sslcore: error: {message or name}", sys.stderr)
        return 2


def _answer(text: str) -> tuple[str, ...]:
    """Print what was found; what kept it from being printed, if anything did."""
    try:
        write_line(text, sys.stdout)
    except BrokenPipeError:  # `sslcore info | head -1`: nobody listens any more, which is no error
        _abandon_stdout()
    except OSError as error:
        _abandon_stdout()
        return (f"the words could not be printed: {one_line(error)}",)
    return ()


def _abandon_stdout() -> None:
    """Send what stdout still holds to nowhere: at its end Python would try to write it again."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _keep_standard_descriptors() -> None:
    """Occupy those that are closed (``1>&-``): a file of ours must not get what C code takes for stdout."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _warn(
    message: Warning | str, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Say a warning in one line, without the place in our code that it comes from."""
    say(f"sslcore: warning: {' '.join(str(message).split())}", sys.stderr)


def _parser() -> Parser:
    parser = Parser(prog="sslcore", description="Self-supervised learning in closed form.")
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
        sub.add(JSON, DEBUG)
    return parser


def _wrapped(text: str) -> str:
    return "\n\n".join(textwrap.fill(paragraph, 80) for paragraph in text.split("\n\n"))
