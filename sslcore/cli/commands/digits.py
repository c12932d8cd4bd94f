"""``sslcore digits``: the main job."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from .common import Report, check_outputs, draw, drawn, require_matplotlib
from .progress import add_progress, progress

SECONDS = {"choosing reg": 2.5, "pretraining": 3.5, "kernel PCA": 0.3, "probes": 0.3, "map": 2.7, "figure": 1.0}
"""What the steps take on two cores; their ratios move the progress bar."""


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of real handwritten digits without labels, then probe it with few.

    The 1,797 images of 8 x 8 pixels that come with scikit-learn.  Pretraining sees four randomly moved, turned, zoomed
    and noisy views of each image, no labels, and solves the regularised VICReg problem exactly, with the weight of the
    norm (reg) that has the least risk on a quarter of the images, held out.  Then ridge probes are
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
    add_progress(parser)

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        check_outputs({"--output (.png)": args.output})
        require_matplotlib()
        from ... import datasets
        from ...studies.digits import study

        with progress(args.progress, SECONDS) as begin:
            images, labels = datasets.digits()
            found = study(images, labels, args.seed, begin=begin)
            begin("figure")
            failed = draw(args.output, "digits_figure", found)
        seconds = time.perf_counter() - started
        document = found.document() | {"seconds": seconds, "figure": None if failed else str(args.output)}
        text = f"{found.table()}\n\n{seconds:.1f} s in all; {drawn(args.output, failed)}"
        return Report(document, text, failed)

    return run
