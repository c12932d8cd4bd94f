"""Shared by all commands: reports, streams, outputs that are checked first, data and models."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ..options import Parser, UsageError

if TYPE_CHECKING:
    from ...fitting.bimodal import BimodalRepresentation
    from ...fitting.representation import Representation
    from ...io.encoding import Choices
    from ...io.tables import Source, Table, Wanted

__all__ = [
    "Declare",
    "Picture",
    "Report",
    "UsageError",
    "check_outputs",
    "choices_of",
    "colors_of",
    "columns_of",
    "is_column",
    "is_terminal",
    "noted",
    "one_line",
    "open_fit",
    "open_model",
    "plain",
    "points_for",
    "refuse_outputs",
    "render",
    "require_matplotlib",
    "say",
    "scale_of",
    "wanted_by",
    "width_of",
    "write_line",
]


class Report(NamedTuple):
    """The result of a command, for machines (``--json``) and for people; ``failed`` says what could not be made."""

    document: dict[str, Any]
    text: str
    failed: tuple[str, ...] = ()


Declare = Callable[[Parser], Callable[[argparse.Namespace], Report]]


def plain(value: Any) -> Any:
    """Return ``value`` in the types of JSON, which has neither NaN nor infinity: these become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # arrays and their scalars
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------- streams


def say(text: str, stream: IO[str] | None) -> None:
    """Print a line on stderr, say; a stream that is closed, full or gone is no reason to lose the work."""
    with suppress(OSError, ValueError):
        write_line(text, stream)


def write_line(text: str, stream: IO[str] | None) -> None:
    """Print a line, escaping what the stream's encoding lacks; nothing where there is no open stream."""
    if stream is None or stream.closed:
        return
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def is_terminal(stream: IO[str] | None) -> bool:
    """Tell whether somebody watches, on a terminal that can move its cursor."""
    if stream is None or os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


# ---------------------------------------------------------------- outputs


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work, what cannot be written at its end, or would replace what is read.

    Parameters
    ----------
    outputs : mapping
        The path of each output, by the option or the word that the user knows it by; its suffix must be one of those
        that the name says last in parentheses, such as ``"--output (.png, .pdf)"``, if there are any.
    inputs : iterable of Path
        Files that are read.

    Raises
    ------
    OSError, ValueError
        Naming the path and the reason; nothing is left behind.
    """
    from ...io.atomic import check_writable

    seen: dict[Path, str] = {}
    for label, path in outputs.items():
        name, _, suffixes = label.rstrip(")").partition(" (")
        if suffixes and path.suffix.lower() not in suffixes.split(", "):
            raise ValueError(f"{name} must end in {' or '.join(suffixes.rsplit(', ', 1))}, found {path}")
        check_writable(path)
        place = Path(os.path.realpath(path))
        if place in seen:
            raise ValueError(f"{name} and {seen[place]} are the same file, {path}")
        seen[place] = name
        if any(place == Path(os.path.realpath(source)) for source in inputs):
            raise ValueError(f"{name} would replace the input {path}; choose another name")


def refuse_outputs(source: Source) -> None:
    """Refuse as data what our commands have written beside them: a pattern such as ``shard*.npy`` finds it too."""
    from ...io.sources import SUFFIXES

    if source.more:
        for each in source.each:
            refuse_outputs(each)
        return
    made = re.fullmatch(
        r"(.+?)(?:(-with)?-embedding\.(?:npy|csv|tsv|parquet|arrow|feather)|-model\.npz|-predictions\.csv|-report\.txt)",
        source.path.name,
    )
    if made is None:
        return
    stems = [made[1]] + ([made[1] + made[2]] if made[2] else [])  # PREFIX may end in -with, too
    for name in (stem + suffix for stem in stems for suffix in ("-model.npz", *SUFFIXES)):
        beside = source.path.with_name(name)
        if beside.exists() and beside != source.path:
            raise ValueError(
                f"{source.path} is named as what sslcore writes, beside {beside}: it is an output, not data; give it "
                f"another name if it is meant"
            )


def require_matplotlib() -> None:
    """Say before the work that it is missing; any other trouble with figures is no reason not to begin."""
    try:
        from ...studies import figures  # noqa: F401
    except ImportError:
        raise
    except Exception:  # a file of settings that cannot be read, say: `render` will tell
        pass


class Picture:
    """The figure of a command: refused before the work where it cannot be, drawn at its end, and told by the report.

    Parameters
    ----------
    option : str
        That says where it goes.
    path : Path
        A .png, .pdf or .svg file.
    inputs : iterable of Path
        Files that are read.
    """

    def __init__(self, option: str, path: Path, inputs: Iterable[Path] = ()) -> None:
        self.started, self.path, self.failed = time.perf_counter(), path, tuple[str, ...]()
        check_outputs({f"{option} (.png, .pdf, .svg)": path}, inputs)
        require_matplotlib()

    def draw(self, figure: str, *values: Any) -> None:
        """Draw a figure of `sslcore.studies.figures` and write it; what goes wrong stands in the report."""
        from ...io.atomic import replacing

        content, self.failed = render(figure, *values, kind=self.path.suffix[1:].lower())
        if content is not None:
            try:
                with replacing(self.path) as file:
                    file.write(content)
            except OSError as error:
                self.failed = (f"the figure: {one_line(error)}",)

    def report(self, document: dict[str, Any], text: str) -> Report:
        """Return what was found, with the time it took and the place of the figure, if there is one."""
        seconds = time.perf_counter() - self.started
        drawn = "no figure" if self.failed else f"figure: {self.path}"
        document = document | {"seconds": seconds, "figure": None if self.failed else str(self.path)}
        return Report(document, f"{text}\n\n{seconds:.1f} s in all; {drawn}", self.failed)


def render(figure: str, *values: Any, kind: str = "png") -> tuple[bytes | None, tuple[str, ...]]:
    """Return a figure of `sslcore.studies.figures` as the bytes of a file, or None and the reason why there is none.

    ``figure`` names a function there, or ``module.function``; ``kind`` is png, pdf or svg.
    """
    try:
        from ...plotting import panels
        from ...studies import figures

        module, _, function = figure.rpartition(".")
        place = importlib.import_module(f"{figures.__name__}.{module}") if module else figures
        return panels.rendered(getattr(place, function)(*values), kind), ()
    except Exception as error:  # of matplotlib, its fonts and its settings: many kinds
        return None, (f"the figure could not be drawn: {type(error).__name__}: {one_line(error)}",)


def one_line(error: BaseException) -> str:
    """Return the message of an error, in one line of reasonable length."""
    return " ".join(str(error).split())[:500]


# ---------------------------------------------------------------- data and models


def columns_of(columns: tuple[str, ...] | None) -> str:
    """Write names as `` (x, y)``, and nothing where there are none."""
    if columns is None:
        return ""
    return f" ({', '.join(columns[:8])}{', ...' if len(columns) > 8 else ''})"


def noted(notes: Iterable[str]) -> list[str]:
    """List, in lines, what a user should know of how the data were read."""
    return [f"note        {note}" for note in notes]


def open_fit(path: Path) -> Representation | BimodalRepresentation:
    """Load a saved representation, of one modality or of two."""
    from ...fitting.bimodal import BimodalRepresentation
    from ...fitting.loading import load
    from ...fitting.representation import Representation
    from ...io.sheets import COLUMNAR
    from ...io.sources import STORED

    try:
        fit = load(path)
    except ValueError:  # where data stand in the place of the model, arguments were exchanged
        if path.suffix.lower() in (".npy", ".csv", ".tsv", ".txt", ".dat", ".gz", *COLUMNAR, *STORED):
            raise UsageError(
                f"{path} is no model: the first argument is the model (PREFIX-model.npz, as sslcore fit writes it), "
                f"those after it are data"
            ) from None
        raise
    if not isinstance(fit, Representation | BimodalRepresentation):
        raise ValueError(f"{path} holds {type(fit).__name__}, not a representation")
    return fit


def open_model(path: Path, modality: str | None = None, *, advice: str = "") -> Representation:
    """Load a saved representation; of two modalities that of the one that is named."""
    from ...fitting.representation import Representation

    fit = open_fit(path)
    if isinstance(fit, Representation):
        if modality is not None:
            raise UsageError(f"{path} holds one modality: leave out --modality")
        return fit
    if modality is None:
        which = "say which one the file has, --modality first or second"
        raise UsageError(f"{path} holds two modalities: {advice}{which}")
    return fit.first if modality == "first" else fit.second


def is_column(source: Source, color: str) -> bool:
    """Tell whether colours are a column of a table, and not another file."""
    from ...io.sheets import COLUMNAR
    from ...io.tables import parse_source
    from ...io.texts import TEXT

    if source.suffix not in (*TEXT, *COLUMNAR):
        return False
    try:
        return not parse_source(color).path.is_file()
    except ValueError:  # a name without an ending
        return True


def colors_of(table: Table, color: str, header: str, decimal: str) -> Any:
    """Read the labels or values of all samples of a table: a column of its files, or another file, as FILE:NAME."""
    import numpy as np

    from ...io.tables import parse_source, read_labels

    own = is_column(table.source, color)
    places = [f"{each.path}:{color}" for each in table.source.each] if own else [color]
    read = [read_labels(parse_source(place), header=header, decimal=decimal) for place in places]
    values = np.concatenate([part.values for part in read])
    missing = np.concatenate([np.zeros(len(p.values), bool) if p.missing is None else p.missing for p in read])
    values, missing = map(table.of_rows, (values, missing))
    if len(values) != len(table.values):
        raise ValueError(f"{table.source} has {len(table.values)} samples, {color} has {len(values)} colours")
    return np.ma.masked_array(values, missing)


def width_of(rep: Representation) -> int | None:
    """Count the coordinates of the points that a model takes; None if it takes kernel values."""
    return rep.n_coordinates if rep.centres is None else rep.centres.shape[1]


def wanted_by(rep: Representation, path: Path) -> Wanted | None:
    """List the columns that a model was fitted to, in order; None if they had no names, or nobody wrote them down."""
    from ...fitting.frames import encoding_of
    from ...io.tables import Wanted

    known = encoding_of(rep)
    return None if known is None else Wanted(tuple(known.columns), f"the model {path}", known)


def scale_of(args: argparse.Namespace) -> str:
    """Return what components are measured in."""
    from ...defaults._choice import SCALE

    return str(args.scale or SCALE)


def choices_of(args: argparse.Namespace) -> Choices:
    """Return how a table is to be read."""
    from ...io.encoding import Choices

    return Choices(args.missing, args.categories, getattr(args, "unseen", "refuse"), args.id, args.decimal)


def points_for(
    rep: Representation,
    source: Source,
    args: argparse.Namespace,
    *,
    drop: Sequence[str] | None = None,
    wanted: Wanted | None = None,
    lenient: bool = False,
) -> Table:
    """Read a table as points of a model's coordinates: by the names of its columns, or else by those ``wanted``."""
    from ...io.tables import read_points

    wanted = wanted_by(rep, args.model) or wanted
    drop = args.drop if drop is None else drop
    points = read_points(source, drop, header=args.header, wanted=wanted, lenient=lenient, choices=choices_of(args))
    return _fitting(rep, points, args.model)


def _fitting(rep: Representation, table: Table, path: Path) -> Table:
    """Return the table as points of the model's coordinates, images flattened; refuse one that has others."""
    wanted, shape = width_of(rep), table.values.shape
    if (
        table.encoding is not None
        and table.encoding.means is not None
        and (rep.table is None or rep.table.means is None)
    ):
        raise ValueError(
            f"the model {path} has no means of its columns: say --missing drop, or fit it with --missing mean"
        )
    if wanted is not None and shape[-1] != wanted and math.prod(shape[1:]) == wanted:
        return table.as_rows(shape[1:])
    if wanted is not None and (shape[-1] != wanted or len(shape) > 3):
        advice = (
            "choose columns with FILE:NAME,NAME or leave some out with --drop" if table.columns else "choose others"
        )
        known = rep.table
        made = f" (of {len(known.columns)} columns, with one for each word)" if known and known.categories else ""
        raise ValueError(
            f"{table.source} has {shape[-1]} coordinates{columns_of(table.columns)}, the model {path} was fitted to "
            f"{wanted}{made}; {advice}"
        )
    return table
