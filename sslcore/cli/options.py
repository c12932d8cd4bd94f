"""The options of the command line, each declared once; a command names those that it takes.

``parser.add(FILE, DROP, SEED.but(default=1))`` declares three.  Defaults are shown by themselves.  Below the help of a
command stand the kernels, laws and features that its options take, from their own declarations (`spec.listing`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Option", "Parser", "UsageError", "option", "picture"]


class UsageError(ValueError):
    """A command line that cannot be understood."""


@dataclass(frozen=True)
class Option:
    """An option, or a place on the line.

    Attributes
    ----------
    flags : tuple of str
        How it is written; one without hyphens is a place.
    sentence : str
        What it means, for ``--help``, without the default.
    settings : mapping
        What else `argparse.ArgumentParser.add_argument` takes.
    words : str
        The words of `spec.listing` that it takes: ``"kernel"``, ``"augmentation"`` or ``"feature map"``.
    """

    flags: tuple[str, ...]
    sentence: str
    settings: Mapping[str, Any]
    words: str = ""

    def but(self, sentence: str | None = None, **settings: Any) -> Option:
        """Make the same option with another sentence, default or kind."""
        sentence = self.sentence if sentence is None else sentence
        return replace(self, sentence=sentence, settings={**self.settings, **settings})

    @property
    def help(self) -> str:
        """The sentence, and the default where there is one that the sentence does not tell."""
        default = self.settings.get("default")
        if default is None or default == [] or self.settings.get("action") == "store_true":
            return self.sentence
        if "(default" in self.sentence:
            return self.sentence
        return f"{self.sentence} (default: {'yes' if default is True else '%(default)s'})"


def option(*flags: str, says: str, words: str = "", **settings: Any) -> Option:
    """Declare an option, with the settings of `argparse.ArgumentParser.add_argument`."""
    return Option(flags, says, settings, words)


class OneOrMore(argparse.Action):
    """Take one name as it is, several as a list."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        """Set the attribute."""
        setattr(namespace, self.dest, values[0] if len(values) == 1 else values)


class Parser(argparse.ArgumentParser):
    """A parser of declared options, whose complaint is one line, printed where all errors are."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.declared: list[Option] = []

    def add(self, *options: Option) -> None:
        """Declare options, in this order."""
        for each in options:
            self.add_argument(*each.flags, help=each.help, **each.settings)
        self.declared += options

    def format_help(self) -> str:
        """Return the help; what it costs imports for is asked for only now."""
        if words := [each.words for each in self.declared if each.words]:
            from .spec import listing

            self.epilog = "\n\n".join(map(listing, words))
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise UsageError(f"{message} (see {self.prog} --help)")


# ---------------------------------------------------------------- of every command

JSON = option("--json", says="print one JSON document instead of text", action="store_true")
DEBUG = option("--debug", says="show the full traceback of an error", action="store_true")
PROGRESS = option(
    "--progress",
    says="show progress on stderr (default: if that is a terminal and it takes over 2 seconds)",
    action=argparse.BooleanOptionalAction,
)


def picture(name: str) -> Option:
    """Declare ``--output``, by default the file of this name."""
    return option(
        "-o",
        "--output",
        says="where the figure goes, a .png, .pdf or .svg file",
        type=Path,
        default=Path(f"sslcore-{name}.png"),
        metavar="PATH",
    )


# ---------------------------------------------------------------- files

MODEL = option("model", says="a saved model", type=Path, metavar="MODEL")
MODALITY = option(
    "--modality", says="which one FILE has, of a model of two (`sslcore fit --with`)", choices=("first", "second")
)
WITH = option(
    "--with",
    says="a second modality, such as captions of the images in FILE: row i belongs to row i of FILE",
    dest="partner",
    metavar="PARTNER",
)
FILE = option(
    "file",
    says="data, tables (.csv, .tsv, .txt, .parquet, .arrow, .feather; FILE:NAME,NAME chooses columns) or arrays (.npy; "
    "FILE:NAME of an .npz, .h5 or .zarr); several files, or a pattern in quotes, follow each other "
    "(to fit, a pattern of .npy is a stream of views)",
    metavar="FILE",
    nargs="+",
    action=OneOrMore,
)
DROP = option(
    "--drop",
    says="columns of a table to leave out, by name, or by number if it has no header",
    action="append",
    default=[],
    metavar="COL,...",
)
HEADER = option(
    "--header",
    says="whether text files begin with a row of names (default: auto: if none of its cells is a number)",
    choices=("auto", "yes", "no"),
    default="auto",
)
DECIMAL = option(
    "--decimal",
    says="decimal sign of text files (default: auto: a point, or, which is said, a comma where it can be nothing else)",
    choices=("auto", ".", ","),
    default="auto",
)
MISSING = option(
    "--missing",
    says="what becomes of cells without a value: refuse the file, drop their rows, or take the mean of their column, "
    "which the model keeps (default: as the model was fitted, else refuse)",
    choices=("refuse", "drop", "mean"),
)
CATEGORIES = option(
    "--categories",
    says="what becomes of columns of words: refuse the file, one-hot (a coordinate, 0 or 1, for each word, which the "
    "model keeps), or drop the column (default: as the model was fitted, else refuse)",
    choices=("refuse", "one-hot", "drop"),
)
ID = option("--id", says="column of the rows' names: no coordinate, and kept beside the results", metavar="COLUMN")
UNSEEN = option(
    "--unseen",
    says="what becomes of words that the model's categories lack: refuse the file, or zeros",
    choices=("refuse", "zeros"),
    default="refuse",
)
TABLE = (DROP, HEADER, DECIMAL, MISSING, CATEGORIES, ID)
"""How a FILE is read."""

COLOR = option(
    "--color",
    says="labels or values that the map is coloured by: a column of the table, which then is no coordinate, or another "
    "file, FILE:NAME",
    metavar="COLUMN",
)

# ---------------------------------------------------------------- the problem

INPUT = option(
    "--input",
    says="what FILE holds (default: of rows samples; of an array (n, a, b) samples of the shape that --augment is for, "
    "else a views of b coordinates of each sample; of (n, a, b, c) images)",
    choices=("samples", "images", "series", "views"),
)
STANDARDIZE = option(
    "--standardize",
    says="bring columns to mean 0 and deviation 1, which the model keeps (default: yes; where --augment, --positives, "
    "--kernel or views are given, only if deviations of columns differ by more than 10 times)",
    action=argparse.BooleanOptionalAction,
)
AUGMENT = option(
    "--augment",
    says="how views are made, such as gaussian-noise:0.1; several, with + or by repeating the option, follow each "
    "other",
    words="augmentation",
    action="append",
    metavar="LAW",
)
POSITIVES = option(
    "--positives",
    says="which samples are positive pairs, in place of views: such as timelag:10, neighbors:15 or labels:COLUMN (a "
    "column that then is no coordinate); also 0.7*labels:COLUMN+0.3*neighbors:15; of a pattern timelag:LAG within each "
    "file",
    words="law of positive pairs",
    metavar="LAW",
)
VIEWS = option("--views", says="views of each sample", type=int, metavar="M")
KERNEL = option("--kernel", says="such as gaussian:2 or 'exponential:0.2+0.1*linear'", words="kernel", metavar="KERNEL")
FEATURES = option(
    "--features",
    says="in place of the kernel's exact solution, such as nystrom:1024, or identity for data that are features "
    "already",
    words="feature map",
    metavar="MAP",
)
SOLVER = option(
    "--solver",
    says="of a kernel: dense, with its matrix, or matrix-free, with less memory and more time (default: dense, if "
    "memory has room for the matrix)",
    choices=("dense", "matrix-free"),
)
CHECKPOINT = option(
    "--checkpoint",
    says="file from which the same command goes on after any end, Ctrl-C and kill included: of streams, and of kernels "
    "without their matrix",
    metavar="PATH",
)
COMPONENTS = option("--components", says="dimensions; >= 1", type=int, metavar="K")
REG = option("--reg", says="weight of the norm; > 0", type=float, metavar="LAMBDA")
BETA = option("--beta", says="weight of the invariance; >= 0", type=float, default=1.0)
CENTER = option(
    "--center", says="covariance in place of second moments", action=argparse.BooleanOptionalAction, default=True
)
SCALE = option(
    "--scale",
    says="of the components: risk, sqrt(mu) f; unit, f of variance 1; norm, f / |f|; probe, f / sqrt((1 - mu) |f|^2) "
    "(default: probe)",
    choices=("risk", "unit", "norm", "probe"),
)
SEED = option("--seed", says="of views and landmarks", type=int, default=0)
MEMORY = option("--memory", says="refuse what needs more, such as 8GB (default: what is free)", metavar="SIZE")
BACKEND = option("--backend", says="where to compute (default: numba, the CPU)", choices=("numba", "cupy"))
