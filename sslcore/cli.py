"""The command line: ``sslcore COMMAND`` or ``python -m sslcore COMMAND``.

A command is one function, entered in `COMMANDS`: it takes a parser, declares its options there, and returns the
function that does the work and gives a `Report`.  Its docstring is its help.  Printing, ``--json``, ``--debug`` and
errors are common.  Commands import what they need when they run, so that ``--help`` and a mistyped option are answered
at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ._version import __version__

__all__ = ["COMMANDS", "Report", "main"]

PLAIN_ERRORS = (ValueError, TypeError, OSError, MemoryError, ImportError, ArithmeticError, RuntimeError)
"""Errors whose message says all; others are mistakes of ours, and named."""


class Report(NamedTuple):
    """What a command found: for machines (``--json``), and for people."""

    document: dict[str, Any]
    text: str


class UsageError(ValueError):
    """A command line that cannot be understood."""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line, printed where all errors are."""

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


# ---------------------------------------------------------------- commands


def _digits(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of real handwritten digits without labels, then probe it with few.

    The 1,797 images of 8 x 8 pixels that come with scikit-learn.  Pretraining sees four randomly moved, turned, zoomed
    and noisy views of each image, no labels, and solves the regularised VICReg problem exactly.  Then ridge probes are
    fitted to 10, 20, 50, 100 and 200 labelled images in all (as many of each digit, 20 draws), on the representation,
    on kernel PCA with the same kernel and number of components, and on the raw pixels; accuracies are on the images
    that were not labelled.  One figure shows it all.

    The first run compiles, which takes some time; the compiled code is kept.
    """
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("sslcore-digits.png"),
        metavar="PATH",
        help="where the figure goes (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of views, label draws and map (default: %(default)s)")
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar on stderr (default: if that is a terminal)",
    )

    def run(args: argparse.Namespace) -> Report:
        from .files import check_writable

        started = time.perf_counter()
        if args.output.suffix.lower() != ".png":
            raise ValueError(f"the figure is a PNG: --output must end in .png, found {args.output}")
        check_writable(args.output)
        from . import datasets, plotting
        from .digits import STEPS, study

        with _progress(args.progress, len(STEPS) + 1) as begin:
            images, labels = datasets.digits()
            found = study(images, labels, args.seed, begin=begin)
            begin("figure")
            plotting.save_png(plotting.digits_figure(found), args.output)
        seconds = time.perf_counter() - started
        document = found.document() | {"seconds": seconds, "figure": str(args.output)}
        text = f"{found.table()}\n\n{seconds:.1f} s in all; figure: {args.output}"
        return Report(document, text)

    return run


def _info(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Show the versions of sslcore, of the libraries that it uses, and the machine: what a bug report needs."""

    def run(args: argparse.Namespace) -> Report:
        from .versions import versions

        found = versions()
        width = max(map(len, found))
        return Report(found, "\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))

    return run


COMMANDS = {"digits": _digits, "info": _info}


# ---------------------------------------------------------------- what commands share


def _parser() -> _Parser:
    parser = _Parser(prog="sslcore", description="Self-supervised learning in closed form.")
    parser.add_argument("--version", action="version", version=f"sslcore {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for name, declare in COMMANDS.items():
        about = inspect.getdoc(declare) or name  # `python -OO` strips docstrings
        sub = commands.add_parser(
            name, help=about.splitlines()[0], description=_wrapped(about), formatter_class=argparse.RawTextHelpFormatter
        )
        sub.set_defaults(run=declare(sub))
        sub.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        sub.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    return parser


def _wrapped(text: str) -> str:
    return "\n\n".join(textwrap.fill(paragraph, 80) for paragraph in text.split("\n\n"))


@contextmanager
def _progress(wanted: bool | None, n_steps: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with the name of each step as it begins; it moves a bar on stderr, or nothing.

    ``wanted=None``: a bar if stderr is a terminal and tqdm is there.
    """
    if wanted is None:
        wanted = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    if not wanted:
        yield lambda step: None
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("a progress bar needs tqdm: pip install 'sslcore[cli]'") from error
    shape = "{desc:<12} |{bar:30}| {n_fmt}/{total_fmt} [{elapsed}]"
    with tqdm(total=n_steps, bar_format=shape, file=sys.stderr) as bar:
        begun = 0

        def begin(step: str) -> None:
            nonlocal begun
            bar.set_description_str(step, refresh=False)
            bar.update(min(begun, 1))  # the step before is done
            begun += 1
            bar.refresh()

        yield begin
        bar.set_description_str("done", refresh=False)
        bar.update(1)


def _plain(value: Any) -> Any:
    """``value`` in the types of JSON, which has neither NaN nor infinity: these become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # arrays and their scalars
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
