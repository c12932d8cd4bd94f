"""``sslcore digits``: the main job."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..options import PROGRESS, SEED, Parser, picture
from .common import Picture, Report
from .progress import progress

SECONDS = {"choosing reg": 2.5, "pretraining": 3.5, "kernel PCA": 0.3, "probes": 0.3, "map": 2.7, "figure": 1.0}
"""What the steps take on two cores; their ratios move the progress bar."""


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of real handwritten digits without labels, then probe it with few.

    The 1,797 images of 8 x 8 pixels that come with scikit-learn.  Pretraining sees four randomly moved, turned, zoomed
    and noisy views of each image, no labels, and solves the regularised VICReg problem exactly, with the weight of the
    norm (reg) that has the least risk on a quarter of the images, held out.  Then ridge probes are
    fitted to 10, 20, 50, 100 and 200 labelled images in all (as many of each digit, 20 draws), on the representation,
    on kernel PCA with the same kernel and number of components, and on the raw pixels; accuracies are on the images
    that were not labelled.  One figure shows it all.

    The first run compiles, which takes some time; the compiled code is kept.
    """
    parser.add(picture("digits"), SEED.but("of views, label draws and map"), PROGRESS)

    def run(args: argparse.Namespace) -> Report:
        figure = Picture("--output", args.output)
        from ... import datasets
        from ...studies.digits import study

        with progress(args.progress, SECONDS) as begin:
            images, labels = datasets.digits()
            found = study(images, labels, args.seed, begin=begin)
            begin("figure")
            figure.draw("digits_figure", found)
        return figure.report(found.document(), found.table())

    return run
