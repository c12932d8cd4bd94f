"""``sslcore study``: whole experiments by name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..options import PROGRESS, Parser, UsageError, option
from .common import Picture, Report, check_outputs, plain
from .progress import progress


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Run a study: an experiment with its numbers and its picture, in a folder.

    The folder gets NAME.png, NAME.txt (what is printed) and NAME.json (all numbers, with the version and the size).
    --list names the studies.
    """
    parser.add(
        option("name", says="the study (--list: all of them)", nargs="?", metavar="NAME"),
        option("--list", says="name all studies, and what they show", action="store_true"),
        option("--full", says="the size that takes longer", action="store_true"),
        option("--out", says="where the files go (default: sslcore-NAME)", type=Path, metavar="FOLDER"),
        option("--resume", says="do nothing again that FOLDER holds of this study and size", action="store_true"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        from ...studies._registry import names, registered

        if args.list:
            about = {name: registered(name).sentence for name in names()}
            return Report({"studies": about}, "\n".join(f"{name:<14}{text}" for name, text in about.items()))
        if args.name is None:
            raise UsageError(f"NAME is missing; there are: {', '.join(names())}")
        study = registered(args.name)
        folder = Path(f"sslcore-{args.name}") if args.out is None else args.out
        folder.mkdir(parents=True, exist_ok=True)
        numbers, words = folder / f"{args.name}.json", folder / f"{args.name}.txt"
        check_outputs({"the numbers (.json)": numbers, "the words (.txt)": words})
        figure = Picture("the picture (.png)", folder / f"{args.name}.png")
        if args.resume and (done := _finished(numbers, args.name, args.full)) and figure.path.exists():
            return Report(done, f"{numbers}: done already ({done['seconds']:.1f} s)")
        with progress(args.progress, {**study.seconds, "figure": 1.0}) as begin:
            found = study.run(args.full, begin)
            begin("figure")
            figure.draw(study.figure, *study.drawn(found))
        report = figure.report(_identity(args.name, args.full) | found.document(), found.table())
        _write({numbers: json.dumps(plain(report.document), allow_nan=False), words: report.text})
        return report

    return run


def _identity(name: str, full: bool) -> dict[str, Any]:
    """Return what says whose results these are."""
    from ..._version import __version__

    return {"study": name, "full": full, "sslcore": __version__}


def _finished(path: Path, name: str, full: bool) -> dict[str, Any] | None:
    """Return the results of this study at this size and of this version; None if there are none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = _identity(name, full).items() <= found.items() and isinstance(found["seconds"], float)
        return found if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(texts: dict[Path, str]) -> None:
    """Write all, or nothing."""
    from ...io.atomic import replacing_all

    with replacing_all(*texts) as files:
        for file, text in zip(files, texts.values(), strict=True):
            file.write((text + "\n").encode(errors="backslashreplace"))
