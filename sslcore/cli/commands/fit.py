"""``sslcore fit``: from a file of samples or views to a model, an embedding, a report and a figure."""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import BETA, PROGRESS, REG, Parser, option
from .common import Report, check_outputs, refuse_outputs, render, require_matplotlib
from .problem import OPTIONS, Problem
from .progress import Progress, progress

if TYPE_CHECKING:
    from ...fitting.representation import Representation

SEARCHED = 12
"""Fits that the search for reg takes, about."""

NOT_OF_THE_FIT = ("command", "debug", "figure", "json", "memory", "overwrite", "progress", "run")
"""Options that change nothing in the model."""

OUTPUTS = {"model": ".npz", "embedding": ".npy", "report": ".txt", "figure": ".png"}


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of the data in a file, without labels.

    FILE holds samples, one a row (.csv, .npy, .npz), of which --augment makes views; or views made elsewhere, an array
    (samples, views, coordinates).  The exact minimiser of the regularised VICReg risk over the functions of a kernel,
    or of features, is written to PREFIX-model.npz (for `sslcore transform` and `sslcore probe`, or sslcore.load in
    Python), its values at the data to PREFIX-embedding.npy, what was found to PREFIX-report.txt and a picture to
    PREFIX-figure.png: all four, or none (a picture that cannot be drawn is said, and keeps nothing from being written).
    """
    parser.add(
        *OPTIONS,
        REG.but(
            f"{REG.sentence}; auto: that of least risk on held-out samples, where that is flat the largest",
            type=_reg,
            default="auto",
        ),
        BETA,
        option("--out", says="of the four files (default: the name of FILE, in this folder)", metavar="PREFIX"),
        option("--figure", says="draw it", action=argparse.BooleanOptionalAction, default=True),
        option("--overwrite", says="replace the four files of another fit", action="store_true"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        problem = Problem(args)
        told = _told(args, problem.source.path)
        outputs = _outputs(problem, told)
        steps = {"reading": problem.reading(), "fit": 3.0, "embedding": 0.5, "writing": 1.5}
        with progress(args.progress, steps) as begin:
            begin("reading")
            problem.read(begin, "fit", n_fits=SEARCHED if args.reg == "auto" else 1)
            rep, warned = _fitted(problem, begin)
            begin("embedding")
            z = rep.transform(problem.table.values, backend=args.backend)
            document, text = _found(problem, rep, warned)
            begin("writing")
            rep.notes["made_by"] = told
            if problem.table.named:
                rep.notes["columns"] = list(problem.table.columns or ())
            figure, failed = render("fit_figure", rep, problem.table.values, z) if args.figure else (None, ())
            written = _write(outputs, rep, z, text, figure)
        seconds = time.perf_counter() - started
        document |= {"outputs": {what: str(path) for what, path in written.items()}, "seconds": seconds}
        files = ", ".join(map(str, written.values()))
        return Report(document, f"{text}\n\n{seconds:.1f} s in all; written: {files}", failed)

    return run


def _outputs(problem: Problem, told: str) -> dict[str, Path]:
    """Return where the four files go; refuse, before any work, what would be lost there, or cannot be written."""
    args, source = problem.args, problem.source
    prefix = source.stem if args.out is None else args.out
    outputs = {what: Path(f"{prefix}-{what}{suffix}") for what, suffix in OUTPUTS.items()}
    check_outputs(outputs, [source.path])
    refuse_outputs(source)
    earlier = [path for path in outputs.values() if os.path.lexists(path)]
    if earlier and not args.overwrite and not _made_by(outputs["model"], told):
        raise FileExistsError(
            f"{', '.join(map(str, earlier))} {'is' if len(earlier) == 1 else 'are'} there already: choose other "
            f"names with --out PREFIX, or replace all that belongs to another fit with --overwrite (the same fit "
            f"of the same file is made again without)"
        )
    if args.figure:
        require_matplotlib()
    return outputs


def _fitted(problem: Problem, begin: Progress) -> tuple[Representation, list[str]]:
    """Return the representation of the data that were read, and what was to be warned of."""
    from ... import diagnostics  # noqa: F401  # before the fit: an interrupted import may lose the interrupt
    from ...errors import SelectionWarning
    from ...fitting.pretraining import pretrain

    args = problem.args
    begin("fit")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SelectionWarning)
        rep = pretrain(
            problem.views,
            problem.model,
            args.components,
            reg=args.reg,
            beta=args.beta,
            center=args.center,
            memory=args.memory,
            backend=args.backend,
        )
    return rep, [str(warning.message) for warning in caught]


def _found(problem: Problem, rep: Representation, warned: list[str]) -> tuple[dict[str, Any], str]:
    """Return what was found, for machines and for people."""
    from ...diagnostics import collapse_report

    collapse = collapse_report(rep)
    lines = [*problem.lines(), rep.summary(model=problem.model), *(f"warning     {text}" for text in warned)]
    document = problem.as_dict() | rep.as_dict() | {"diagnostics": collapse.as_dict(), "warnings": warned}
    return document, "\n".join([*lines, "", str(collapse)])


def _reg(text: str) -> float | str:
    return text if text == "auto" else float(text)


_reg.__name__ = "number"  # what argparse says was expected


def _told(args: argparse.Namespace, file: Path) -> str:
    """Write what the model depends on as one line of JSON: the options, and the file as it is now."""
    options = {name: str(value) for name, value in sorted(vars(args).items()) if name not in NOT_OF_THE_FIT}
    state = file.stat() if file.is_file() else None  # if it is none, reading says so
    return json.dumps({"options": options, "file": state and [state.st_size, state.st_mtime_ns]})


def _made_by(model: Path, told: str) -> bool:
    """Tell whether this model is that of the same fit of the same file: then nothing is lost when it is made again."""
    from ...fitting.loading import load

    try:
        return bool(getattr(load(model), "notes", {}).get("made_by") == told)
    except (OSError, ValueError, TypeError, MemoryError, AttributeError):
        return False


def _write(outputs: dict[str, Path], rep: Representation, z: Any, text: str, figure: bytes | None) -> dict[str, Path]:
    """Write all that there is, or nothing; what an earlier fit has left of the rest goes, not to be taken for ours."""
    from ...io.atomic import replacing_all
    from ...io.tables import write_npy

    written = {what: path for what, path in outputs.items() if what != "figure" or figure is not None}
    with replacing_all(*written.values()) as opened:
        files = dict(zip(written, opened, strict=True))
        rep.save(files["model"])
        write_npy(files["embedding"], z)
        # a name that no encoding has may be in it
        files["report"].write((text + "\n").encode(errors="backslashreplace"))
        if figure is not None:
            files["figure"].write(figure)
    if figure is None:
        outputs["figure"].unlink(missing_ok=True)
    return written
