"""``sslcore path``: how the spectrum changes with reg and beta."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..options import PROGRESS, Parser, option
from .common import Picture, Report, refuse_outputs
from .progress import progress
from .task import OPTIONS, Task


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Follow the spectrum of the data in a file over reg and beta, and draw it.

    The same data, views and models as `sslcore fit`, solved at every reg and beta while the work that these share is
    done once.  The picture, PREFIX-path.png, shows the eigenvalues, where two of them avoid each other, and which of
    the augmentations (small reg), the architecture (large reg) or their interplay rules.
    """
    parser.add(
        *OPTIONS,
        option(
            "--regs",
            says="LOW:HIGH:COUNT, evenly spaced in the logarithm, or numbers with commas",
            type=_regs,
            default="1e-5:1:21",
            metavar="REGS",
        ),
        option("--betas", says="numbers with commas", type=_numbers, default="1", metavar="BETAS"),
        option(
            "--out",
            says="a .png, .pdf or .svg file (default: the name of FILE and -path.png)",
            type=Path,
            metavar="PATH",
        ),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        task = Task(args)
        out = Path(f"{task.source.stem}-path.png") if args.out is None else args.out
        inputs = [*(source.path for source in task.source.each), *([Path(args.checkpoint)] if args.checkpoint else [])]
        figure = Picture("--out", out, inputs)
        refuse_outputs(task.source)
        with progress(args.progress, {"reading": task.reading(), "path": 5.0, "writing": 1.0}) as begin:
            begin("reading")
            task.read(begin, "path", n_points=len(args.regs) * len(args.betas))
            begin("path")
            from ...fitting.path import pretrain_path

            path = pretrain_path(
                task.views,
                task.model,
                task.chosen.n_components,
                regs=args.regs,
                betas=args.betas,
                center=args.center,
                positives=task.positives,
                memory=args.memory,
                backend=args.backend,
                solver=args.solver,
                checkpoint=args.checkpoint,
                progress=lambda done, total: begin.advance(done / total),
            )
            begin("writing")
            figure.draw("path_figure", path)
        text = "\n".join([*task.lines(), path.summary(model=task.model)])
        return figure.report(task.as_dict() | path.as_dict(), text)

    return run


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _regs(text: str) -> list[float]:
    """Read a grid, or a list."""
    parts = text.split(":")
    if len(parts) == 1:
        return _numbers(text)
    low, high, count = float(parts[0]), float(parts[1]), int(parts[2]) if len(parts) == 3 else 0
    if not (0 < low < high < float("inf") and 2 <= count <= 10_000):
        raise argparse.ArgumentTypeError(f"a grid is LOW:HIGH:COUNT with 0 < LOW < HIGH and COUNT > 1, found {text!r}")
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)]
