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

from .common import Report, check_outputs, refuse_outputs, render, require_matplotlib
from .problem import Problem, add_problem
from .progress import add_progress, progress

if TYPE_CHECKING:
    from ...fitting.representation import Representation

SEARCHED = 12
"""Fits that the search for reg takes, about."""

NOT_OF_THE_FIT = ("command", "debug", "figure", "forms", "json", "memory", "overwrite", "progress", "run")
"""Options that change nothing in the model."""

OUTPUTS = {"model": ".npz", "embedding": ".npy", "report": ".txt", "figure": ".png"}


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of the data in a file, without labels.

    FILE holds samples, one a row (.csv, .npy, .npz), of which --augment makes views; or views made elsewhere, an array
    (samples, views, coordinates).  The exact minimiser of the regularised VICReg risk over the functions of a kernel,
    or of features, is written to PREFIX-model.npz (for `sslcore transform` and `sslcore probe`, or sslcore.load in
    Python), its values at the data to PREFIX-embedding.npy, what was found to PREFIX-report.txt and a picture to
    PREFIX-figure.png: all four, or none (a picture that cannot be drawn is said, and keeps nothing from being written).
    """
    add_problem(parser)
    parser.add_argument(
        "--reg",
        type=_reg,
        default="auto",
        metavar="LAMBDA",
        help="weight of the norm; auto: that of least risk on held-out samples, where that is flat the largest "
        "(default: %(default)s)",
    )
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the invariance (default: %(default)s)")
    parser.add_argument("--out", metavar="PREFIX", help="of the four files (default: the name of FILE, in this folder)")
    parser.add_argument("--figure", action=argparse.BooleanOptionalAction, default=True, help="draw it (default: yes)")
    parser.add_argument("--overwrite", action="store_true", help="replace the four files of another fit")
    add_progress(parser)

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        problem = Problem(args)
        prefix = problem.source.stem if args.out is None else args.out
        outputs = {what: Path(f"{prefix}-{what}{suffix}") for what, suffix in OUTPUTS.items()}
        check_outputs(outputs, [problem.source.path])
        refuse_outputs(problem.source)
        earlier = [path for path in outputs.values() if os.path.lexists(path)]
        told = _told(args, problem.source.path)
        if earlier and not args.overwrite and not _made_by(outputs["model"], told):
            raise FileExistsError(
                f"{', '.join(map(str, earlier))} {'is' if len(earlier) == 1 else 'are'} there already: choose other "
                f"names with --out PREFIX, or replace all that belongs to another fit with --overwrite (the same fit "
                f"of the same file is made again without)"
            )
        if args.figure:
            require_matplotlib()

        steps = {"reading": problem.reading(), "fit": 3.0, "embedding": 0.5, "writing": 1.5}
        with progress(args.progress, steps) as begin:
            begin("reading")
            problem.read(begin, "fit", n_fits=SEARCHED if args.reg == "auto" else 1)
            from ...diagnostics import collapse_report  # before the fit: an interrupted import may lose the interrupt
            from ...errors import SelectionWarning
            from ...fitting.pretraining import pretrain

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
            begin("embedding")
            x = problem.table.values
            z = rep.transform(x, backend=args.backend)
            collapse = collapse_report(rep)
            begin("writing")
            warned = [f"warning     {warning.message}" for warning in caught]
            text = "\n".join([*problem.lines(), rep.summary(model=problem.model), *warned, "", str(collapse)])
            rep.notes["made_by"] = told
            if problem.table.named:
                rep.notes["columns"] = list(problem.table.columns or ())
            figure, failed = render("fit_figure", rep, x, z) if args.figure else (None, ())
            written = _write(outputs, rep, z, text, figure)
        document = problem.as_dict() | rep.as_dict()
        document |= {
            "diagnostics": collapse.as_dict(),
            "warnings": [str(warning.message) for warning in caught],
            "outputs": {what: str(path) for what, path in written.items()},
            "seconds": time.perf_counter() - started,
        }
        files = ", ".join(map(str, written.values()))
        return Report(document, f"{text}\n\n{document['seconds']:.1f} s in all; written: {files}", failed)

    return run


def _reg(text: str) -> float | str:
    return text if text == "auto" else float(text)


_reg.__name__ = "number"  # what argparse says was expected


def _told(args: argparse.Namespace, file: Path) -> str:
    """Write what the model depends on as one line of JSON: the options, and the file as it is now."""
    options = {name: str(value) for name, value in sorted(vars(args).items()) if name not in NOT_OF_THE_FIT}
    state = file.stat() if file.is_file() else None  # if it is none, reading says so
    return json.dumps({"options": options, "file": state and [state.st_size, state.st_mtime_ns]})


def _made_by(model: Path, told: str) -> bool:
    """Whether this model is that of the same fit of the same file: then nothing is lost when it is made again."""
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
