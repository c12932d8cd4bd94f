"""``sslcore study``: whole experiments by name."""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import PROGRESS, SEED, Parser, UsageError, option
from .common import Report, check_outputs, one_line, plain, render, require_matplotlib
from .progress import Progress, progress

if TYPE_CHECKING:
    from ...studies._registry import Results


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Run a study: an experiment with its numbers and its picture, in a folder.

    The folder gets NAME.png, NAME.txt (what is printed), NAME.json (all numbers, with the version, the size and the
    verdict) and, where there are many, NAME.npz (arrays). Its last line is the verdict: what the paper claims, and what
    was measured. While the study runs, finished parts of it are kept in FOLDER/cells; killed at any moment, it goes on
    from there with --resume, and the results are the same. --list names the studies.
    """
    parser.add(
        option("name", says="the study (--list: all of them)", nargs="?", metavar="NAME"),
        option("--list", says="name all studies, and what they show", action="store_true"),
        option("--full", says="the size that takes longer: the paper's, where it has one", action="store_true"),
        option("--out", says="where the files go (default: sslcore-NAME)", type=Path, metavar="FOLDER"),
        option("--resume", says="do nothing again that FOLDER holds of this study and size", action="store_true"),
        option("--workers", says="processes (default: one for each processor)", type=int, metavar="N"),
        option("--format", says="of the pictures", choices=("png", "pdf", "svg"), default="png"),
        SEED.but("of all that is drawn"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        from ...arrays import as_seed, check_integer
        from ...backends.machine import available_cpus
        from ...studies._registry import Run, names, registered

        if args.list:
            about = {name: registered(name).sentence for name in names()}
            return Report({"studies": about}, "\n".join(f"{name:<14}{text}" for name, text in about.items()))
        if args.name is None:
            raise UsageError(f"NAME is missing; there are: {', '.join(names())}")
        study, started = registered(args.name), time.perf_counter()
        workers = available_cpus() if args.workers is None else check_integer(args.workers, "--workers", minimum=1)
        identity = _identity(args.name, args.full, as_seed(args.seed))
        folder = _Folder(Path(f"sslcore-{args.name}") if args.out is None else args.out, identity)
        pictures = {folder.file(end, args.format): function for end, function in study.pictures.items()}
        done = folder.look(args.resume)
        if done and all(path.exists() for path in pictures):
            return Report(done, f"{folder.numbers}: done already ({done['seconds']:.1f} s)\n\n{done['verdict']}")
        folder.prepare(pictures)
        require_matplotlib()
        with progress(args.progress, {**study.seconds, "figure": 1.0}) as begin:
            asked = Run(args.full, args.seed, workers, folder.cells, begin, _within(begin))
            found = study.run(asked)
            begin("figure")
            failed = _draw(args.name, found, pictures, args.format)
        report = _report(folder, found, pictures, failed, time.perf_counter() - started)
        folder.write(report, found)
        return report

    return run


def _identity(name: str, full: bool, seed: int) -> dict[str, Any]:
    """Return what says whose results these are."""
    from ..._version import __version__

    return {"study": name, "full": full, "seed": seed, "sslcore": __version__}


def _named(identity: Mapping[str, Any]) -> str:
    """Write whose results these are as one types it."""
    seed = f" --seed {identity['seed']}" if identity["seed"] else ""
    return f"{identity['study']}{' --full' if identity['full'] else ''}{seed}"


def _within(begin: Progress) -> Callable[..., None]:
    """Make what a study calls within a step; what is done when it first does so is of an earlier run."""

    def move(done: int, total: int, *left: Any) -> None:
        tell = begin.skip if begin.untold else begin.advance
        tell(done / max(total, 1))

    return move


class _Folder:
    """The folder of a study: numbers, words and pictures, and ``cells`` while they are not finished.

    Parameters
    ----------
    path : Path
    identity : dict
        Whose results it is to have.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.cells = path / "cells"
        self.numbers, self.words, self.arrays = (self.file("", suffix) for suffix in ("json", "txt", "npz"))

    def file(self, end: str, suffix: str) -> Path:
        """Return the path NAME + end + suffix in the folder."""
        return self.path / f"{self.identity['study']}{end}.{suffix}"

    def look(self, resume: bool) -> dict[str, Any] | None:
        """Return the results if they are there and ``resume`` is asked for; refuse what is not of this study and size.

        Raises
        ------
        ValueError
            Naming whose results the folder holds, or that it holds a part and ``--resume`` was not given.
        """
        from ...studies._registry import names

        for name in names():
            found = _read(self.path / f"{name}.json", seconds=True)
            if found is not None and _named(found) != _named(self.identity):
                raise ValueError(f"{self.path} holds the results of {_named(found)}; name another folder with --out")
            if found is not None and resume and self.identity.items() <= found.items():
                return found
        begun = _read(self.cells / "study.json")
        if begun is None or not any(path.is_dir() for path in self.cells.iterdir()):
            return None
        if _named(begun) != _named(self.identity):
            raise ValueError(f"{self.path} holds a part of {_named(begun)}; name another folder with --out")
        if begun["sslcore"] != self.identity["sslcore"]:
            raise ValueError(
                f"{self.path} holds a part of {_named(begun)} by sslcore {begun['sslcore']}, whose numbers may differ; "
                f"finish it with that version, remove {self.cells}, or name another folder with --out"
            )
        if not resume:
            raise ValueError(
                f"{self.path} holds a part of {_named(begun)}; go on with --resume, or name another folder with --out"
            )
        return None

    def prepare(self, pictures: Mapping[Path, str]) -> None:
        """Refuse what cannot be written, before any work; then write down whose parts these will be."""
        self.cells.mkdir(parents=True, exist_ok=True)
        outputs = {"the numbers (.json)": self.numbers, "the words (.txt)": self.words, "arrays (.npz)": self.arrays}
        check_outputs(outputs | {f"the picture {path.name}": path for path in pictures})
        _write({self.cells / "study.json": json.dumps(self.identity).encode()})

    def write(self, report: Report, found: Results) -> None:
        """Write all, or nothing; then finished parts are not needed any more, but for pictures that failed."""
        contents = {
            self.numbers: json.dumps(plain(report.document), allow_nan=False).encode() + b"\n",
            self.words: (report.text + "\n").encode(errors="backslashreplace"),
        }
        arrays: dict[str, Any] = getattr(found, "arrays", dict)()
        if arrays:
            import numpy as np

            file = io.BytesIO()
            np.savez_compressed(file, **arrays)
            contents[self.arrays] = file.getvalue()
        _write(contents)
        if not report.failed:
            self._clear()

    def _clear(self) -> None:
        """Remove all parts, but damaged ones that a warning has said to be kept aside."""
        for folder, _, names in os.walk(self.cells, topdown=False):
            for name in names:
                if not name.endswith(".damaged"):
                    with suppress(OSError):
                        os.unlink(os.path.join(folder, name))
            with suppress(OSError):  # what is kept is in it
                os.rmdir(folder)


def _read(path: Path, seconds: bool = False) -> dict[str, Any] | None:
    """Return a document that says whose it is; None if there is none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {"seed": 0, "verdict": "", **found}  # of versions that had none
        kinds = {"study": str, "full": bool, "sslcore": str, "seed": int} | ({"seconds": float} if seconds else {})
        return found if all(isinstance(found.get(name), kind) for name, kind in kinds.items()) else None
    except (OSError, ValueError, TypeError):
        return None


def _draw(name: str, found: Results, pictures: Mapping[Path, str], kind: str) -> tuple[str, ...]:
    """Draw and write all pictures; return what went wrong."""
    failed: tuple[str, ...] = ()
    for path, function in pictures.items():
        content, wrong = render(f"{name}.{function}", found, kind=kind)
        failed += wrong
        if content is not None:
            try:
                _write({path: content})
            except OSError as error:
                failed += (f"the figure: {one_line(error)}",)
    return failed


def _report(
    folder: _Folder, found: Results, pictures: Mapping[Path, str], failed: tuple[str, ...], seconds: float
) -> Report:
    """Return all that was found; the verdict last."""
    drawn, verdict = [str(path) for path in pictures if path.exists()], found.verdict()
    made: dict[str, Any] = {"figure": None if failed else drawn[0], "figures": drawn, "seconds": seconds}
    document = found.document() | folder.identity | made | {"verdict": verdict}
    words = "no figure" if failed else f"figure: {', '.join(drawn)}"
    return Report(document, f"{found.table()}\n\n{seconds:.1f} s in all; {words}\n\n{verdict}", failed)


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write all, or nothing."""
    from ...io.atomic import replacing_all

    with replacing_all(*contents) as files:
        for file, content in zip(files, contents.values(), strict=True):
            file.write(content)
