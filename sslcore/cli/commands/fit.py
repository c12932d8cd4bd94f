"""``sslcore fit``: from a file of samples or views to a model, an embedding, a report and a figure."""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..options import BETA, COLOR, PROGRESS, REG, SCALE, WITH, Parser, UsageError, option
from .common import Report, check_outputs, colors_of, refuse_outputs, render, require_matplotlib
from .progress import Progress, progress
from .streamed import SEARCHED, Streamed, is_pattern, stem_of
from .task import OPTIONS, Task

if TYPE_CHECKING:
    from ...fitting.representation import Representation
    from ...io.encoding import Encoding
    from ...io.tables import Source

NOT_OF_THE_FIT = (
    "checkpoint",
    "command",
    "debug",
    "figure",
    "format",
    "json",
    "memory",
    "overwrite",
    "progress",
    "run",
    "scale",
)
"""Options that change nothing in the model."""

OUTPUTS = {"model": ".npz", "embedding": ".npy", "report": ".txt", "figure": ".png"}
PARTNER = "with-embedding"
"""Values of a second modality."""

FIGURES = ("png", "pdf", "svg")


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of the data in a file, without labels.

    FILE holds samples, one a row (a table such as .csv or .parquet, or an array such as .npy), images or series, of
    which views are made; or views made elsewhere, an array (samples, views, coordinates). What no option says is chosen
    from shape and spread, without labels, and told with the reasons: columns are brought to one scale, and law, kernel
    and lambda suit them. Of a table with words, cells without a value or names of the rows, --categories, --missing and
    --id say what becomes of them. The exact minimiser of the regularised VICReg risk over the functions of a kernel, or
    of features, is written to PREFIX-model.npz (for `sslcore transform` and `sslcore probe`, or sslcore.load in
    Python), its values at the data to PREFIX-embedding.npy, what was found to PREFIX-report.txt and a picture to
    PREFIX-figure.png: all four, or none (a picture that cannot be drawn is said, and keeps nothing from being written).

    A pattern such as 'features-*.npy' (in quotes) names files of views that are read one after the other, for
    --features, in memory that does not grow with them; with --positives timelag:LAG the files are trajectories, points
    (n, coordinates) in the order of time, paired within each.  With --checkpoint PATH such a fit goes on where it was
    killed, and so does that of a kernel whose matrix memory has no room for (--solver matrix-free).

    --with PARTNER fits two modalities, such as images and captions: functions of each that agree on pairs (kernel CCA;
    with --features identity linear CCA). Values of PARTNER go to PREFIX-with-embedding.npy. Options that name columns
    hold for the files that have these; --missing drop leaves out both rows of a pair; where both files have the column
    of --id, it must say the same names.
    """
    parser.add(
        *OPTIONS,
        REG.but(
            f"{REG.sentence}; auto: that of least risk on held-out samples, the largest where it is flat, or of "
            "tables and series within one standard error",
            type=_reg,
            default="auto",
        ),
        BETA,
        SCALE.but(f"{SCALE.sentence}; the model has none"),
        WITH,
        option(
            "--with-kernel",
            says="of the second modality (default: as for FILE)",
            dest="partner_kernel",
            metavar="KERNEL",
        ),
        option("--out", says="of the files (default: the name of FILE, in this folder)", metavar="PREFIX"),
        option("--figure", says="draw it", action=argparse.BooleanOptionalAction, default=True),
        option("--format", says="of the figure", choices=FIGURES, default="png"),
        COLOR,
        option("--overwrite", says="replace the files of another fit", action="store_true"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        task = _task(args)
        endings = OUTPUTS | {"embedding": task.embedding_suffix, "figure": f".{args.format}"}
        if task.partner_suffix is not None:
            endings[PARTNER] = task.partner_suffix
        outputs = {what: Path(f"{task.stem}-{what}{suffix}") for what, suffix in endings.items()}
        sources = task.find((*outputs.values(), Path(f"{task.stem}-{PARTNER}.npy")))
        told = _told(args, [source.path for source in sources])
        # without --overwrite only the same fit is replaced, and what else is there is none of its files
        stale = _of_another_kind(outputs) if args.overwrite else []
        _check(args, outputs, sources, told)
        steps = {"reading": task.reading(), "fit": 3.0, "embedding": 0.5, "writing": 1.5}
        with progress(args.progress, steps) as begin:
            begin("reading")
            task.read(begin)
            rep, warned = _fitted(task, begin)
            begin("embedding")
            picture, *values = task.shown(rep)
            document, text = _found(task, rep, warned)
            begin("writing")
            rep.notes["made_by"] = told
            if task.encoding is not None:
                rep = replace(rep, table=task.encoding)
            elif task.columns:
                rep.notes["columns"] = list(task.columns)
            figure, failed = None, tuple[str, ...]()
            if args.figure:
                figure, failed = render(picture, *values, kind=args.format)
            written = _write(outputs, task, rep, text, figure, begin)
            for path in stale:
                path.unlink(missing_ok=True)
        seconds = time.perf_counter() - started
        document |= {"outputs": {what: str(path) for what, path in written.items()}, "seconds": seconds}
        files = ", ".join(map(str, written.values()))
        return Report(document, f"{text}\n\n{seconds:.1f} s in all; written: {files}", failed)

    return run


def _task(args: argparse.Namespace) -> _Whole | Streamed:
    """Return what reads the data and fits them."""
    streamed = is_pattern(args.file) or (args.checkpoint is not None and args.features is not None)
    if args.partner is None:
        if args.partner_kernel is not None:
            raise UsageError("--with-kernel is for the file of --with: add it")
        return Streamed(args) if streamed else _Whole(args)
    if streamed:
        raise UsageError("--with is for two files that are read as a whole: no pattern, no --checkpoint of features")
    from .paired import Paired  # which builds on this module

    return Paired(args)


class _Whole(Task):
    """Data that are read as a whole, and fitted by `sslcore.pretrain`."""

    color: Any = None

    @property
    def stem(self) -> str:
        """The beginning of the names of outputs."""
        if self.args.out is not None:
            return str(self.args.out)
        file = self.args.file
        return stem_of(file) if isinstance(file, str) and glob.has_magic(file) else self.source.stem

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names of columns, if the file says them."""
        return self.table.columns if self.table.named else None

    @property
    def encoding(self) -> Encoding | None:
        """Record of how columns became coordinates, if their names do not say it all."""
        known = self.table.encoding
        return None if known is None or known.plain else known

    @property
    def embedding_suffix(self) -> str:
        """Ending of the file of the embedding."""
        return self.suffix_for(self.source)

    @property
    def partner_suffix(self) -> str | None:
        """Ending of the file of a second modality's embedding."""
        return None

    def suffix_for(self, source: Source) -> str:
        """Return the ending of the values of a file: with names of the rows, a table as the data are."""
        from ...io.writing import table_suffix

        return table_suffix(source.suffix) if self.args.id else ".npy"

    def find(self, outputs: tuple[Path, ...]) -> list[Source]:
        """Look up the files."""
        return list(self.source.each)

    def read(self, begin: Progress, *_: Any) -> None:
        """Read the data for one fit, or a search."""
        self.begin = begin
        super().read(begin, "fit", n_fits=SEARCHED if self.args.reg == "auto" else 1)
        if self.args.color:
            self.color = colors_of(self.table, self.args.color, self.args.header, self.args.decimal)

    def solve(self) -> Representation:
        """Fit."""
        from ...fitting.pretraining import pretrain

        args = self.args
        rep: Representation = pretrain(
            self.views,
            self.model,
            self.chosen.n_components,
            reg=self.chosen.reg,
            beta=args.beta,
            center=args.center,
            positives=self.positives,
            memory=args.memory,
            backend=args.backend,
            solver=args.solver,
            checkpoint=args.checkpoint,
            progress=self._tell,
        )
        return rep.standardized_by(self.chosen.standardization)

    def _tell(self, done: int, total: int | None, left: float | None, where: dict[str, Any]) -> None:
        """Move the bar; a search takes all but the time of one fit."""
        fraction, words, searching = done / total if total else 0.0, "", 0.0
        if self.args.reg == "auto":
            searching = 1.0 - 1.0 / SEARCHED
        if "fold" in where:
            fraction *= searching
            words = f", fold {where['fold'] + 1} of {where['n_folds']}, reg {where['reg']:.3g}"
        else:
            fraction = searching + (1.0 - searching) * fraction
        if where.get("residual") is not None:
            words += f", residual {where['residual']:.0e}"
        self.begin.advance(fraction, words)

    def shown(self, rep: Representation) -> tuple[Any, ...]:
        """Return the name of the figure, and what it draws: all points and their values."""
        self.z = rep.transform(self.table.values, self.chosen.scale, backend=self.args.backend)
        return "fit_figure", rep, self.table.values, self.z, self.color, self.chosen.scale

    @property
    def marks(self) -> dict[str, Any]:
        """Names of the rows."""
        return self.table.marks()

    def write_more(self, files: dict[str, Any]) -> None:
        """Write nothing else."""

    def write_embedding(self, rep: Representation, file: BinaryIO, begin: Progress) -> None:
        """Write the values."""
        self.write_values(file, self.z, self.embedding_suffix)

    def write_values(self, file: BinaryIO, z: Any, suffix: str) -> None:
        """Write values, with the names of the rows if there are any."""
        from ...io.tables import component_columns, write_npy
        from ...io.writing import write_columns

        if self.args.id:
            write_columns(file, suffix, self.marks | component_columns(z))
        else:
            write_npy(file, z)


def _check(args: argparse.Namespace, outputs: dict[str, Path], sources: list[Source], told: str) -> None:
    """Refuse, before any work, what would be lost where the files go, or cannot be written."""
    inputs = [source.path for source in sources] + ([Path(args.checkpoint)] if args.checkpoint else [])
    check_outputs(outputs, inputs)
    for source in sources:
        refuse_outputs(source)
    earlier = [path for path in (*outputs.values(), *_of_another_kind(outputs)) if os.path.lexists(path)]
    if earlier and not args.overwrite and not _made_by(outputs["model"], told):
        raise FileExistsError(
            f"{', '.join(map(str, earlier))} {'is' if len(earlier) == 1 else 'are'} there already: choose other "
            f"names with --out PREFIX, or replace all that belongs to another fit with --overwrite (the same fit "
            f"of the same file is made again without)"
        )
    if args.figure:
        require_matplotlib()


def _of_another_kind(outputs: dict[str, Path]) -> list[Path]:
    """Return embeddings and figures of another kind that an earlier fit of this name has left beside its model."""
    from ...io.writing import COLUMNS

    if not outputs["model"].exists():
        return []
    model, values = outputs["model"], (".npy", *COLUMNS)
    kinds = {"embedding": values, PARTNER: values, "figure": tuple(f".{suffix}" for suffix in FIGURES)}
    stem = model.name.removesuffix("-model.npz")
    found = [model.with_name(f"{stem}-{what}{suffix}") for what, suffixes in kinds.items() for suffix in suffixes]
    return [path for path in found if path not in outputs.values() and path.exists()]


def _fitted(task: _Whole | Streamed, begin: Progress) -> tuple[Representation, list[str]]:
    """Return the representation of the data that were read, and what was to be warned of."""
    from ... import diagnostics  # noqa: F401  # before the fit: an interrupted import may lose the interrupt
    from ...errors import SelectionWarning

    begin("fit")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SelectionWarning)
        rep = task.solve()
    return rep, [_advised(warning.message) for warning in caught]


ADVICE = {
    "largest": "say --reg NUMBER, or look along it with sslcore path",
    "smallest": "say --reg NUMBER, or look along it with sslcore path",
    "rounding": "give the data in float64, or say --features",
    "cut": "say --reg NUMBER",
}
"""What can be done here about the reason of a warning, in place of what can be done in Python."""


def _advised(warning: Warning | str) -> str:
    """Say a warning with advice of the command line."""
    from ...errors import SelectionWarning

    if isinstance(warning, SelectionWarning) and warning.reason in ADVICE:
        return f"{warning.found}; {ADVICE[warning.reason]}"
    return str(warning)


def _found(task: _Whole | Streamed, rep: Representation, warned: list[str]) -> tuple[dict[str, Any], str]:
    """Return what was found, for machines and for people."""
    from ...diagnostics import collapse_report

    collapse = collapse_report(rep)
    told = [line for line in task.lines() if line.removeprefix("concern     ") not in collapse.sentences]
    lines = [*told, rep.summary(model=task.model), *(f"warning     {text}" for text in warned)]
    document = task.as_dict() | rep.as_dict() | {"diagnostics": collapse.as_dict(), "warnings": warned}
    return document, "\n".join([*lines, "", str(collapse)])


def _reg(text: str) -> float | str:
    return text if text == "auto" else float(text)


_reg.__name__ = "number"  # what argparse says was expected


def _told(args: argparse.Namespace, files: list[Path]) -> str:
    """Write what the model depends on as one line of JSON: the options, and the files as they are now."""
    options = {name: str(value) for name, value in sorted(vars(args).items()) if name not in NOT_OF_THE_FIT}
    # of one that is none, reading says so
    states = [[s.st_size, s.st_mtime_ns] if (s := _state(file)) else None for file in files]
    if len(states) == 1:
        return json.dumps({"options": options, "file": states[0]})
    names = [[str(file), state] for file, state in zip(files, states, strict=True)]
    return json.dumps({"options": options, "files": hashlib.sha256(json.dumps(names).encode()).hexdigest()})


def _state(file: Path) -> os.stat_result | None:
    return file.stat() if file.is_file() else None


def _made_by(model: Path, told: str) -> bool:
    """Tell whether this model is that of the same fit of the same file: then nothing is lost when it is made again."""
    from ...fitting.loading import load

    try:
        return bool(getattr(load(model), "notes", {}).get("made_by") == told)
    except (OSError, ValueError, TypeError, MemoryError, AttributeError):
        return False


def _write(
    outputs: dict[str, Path],
    task: _Whole | Streamed,
    rep: Representation,
    text: str,
    figure: bytes | None,
    begin: Progress,
) -> dict[str, Path]:
    """Write all that there is, or nothing; what an earlier fit has left of the rest goes, not to be taken for ours."""
    from ...io.atomic import replacing, replacing_all

    written = {what: path for what, path in outputs.items() if what != "figure" or figure is not None}
    with replacing_all(*written.values()) as opened:
        files = dict(zip(written, opened, strict=True))
        rep.save(files["model"])
        with replacing(files["embedding"]) as file:  # one that is open already, named if the disk is full
            task.write_embedding(rep, file, begin)
        if isinstance(task, _Whole) and PARTNER in files:
            task.write_more(files)
        with replacing(files["report"]) as file:
            # a name that no encoding has may be in it
            file.write((text + "\n").encode(errors="backslashreplace"))
        if figure is not None:
            with replacing(files["figure"]) as file:
                file.write(figure)
    if figure is None:
        outputs["figure"].unlink(missing_ok=True)
    return written
