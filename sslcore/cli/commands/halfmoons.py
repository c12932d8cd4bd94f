"""``sslcore halfmoons``: the paper's illustration."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..options import AUGMENT, BETA, CENTER, KERNEL, PROGRESS, REG, SEED, VIEWS, Parser, option, picture
from .common import Picture, Report
from .progress import progress
from .task import expect_fits


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Draw the half-moons: their four classes, views of samples, and the functions learnt without labels.

    The controlled study of Cabannes et al. 2023: two half circles in the plane, views by Gaussian noise, an exponential
    kernel.  The first five eigenfunctions are drawn as contours: they follow the moons, and separate the classes, which
    nothing of the fit has seen.
    """
    parser.add(
        picture("halfmoons"),
        option("--samples", says="of the moons", type=int, default=1000, metavar="N"),
        VIEWS.but(default=4),
        AUGMENT.but("how views are made", action="store", default="gaussian-noise:0.1"),
        KERNEL.but("of the functions", default="exponential:0.2"),
        REG.but(default=1e-4),
        BETA,
        CENTER.but("leave out the constant function, which is the first one otherwise"),
        SEED.but("of samples and views"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        figure = Picture("--output", args.output)
        from ...fitting.planning import plan
        from ...studies.halfmoons import N_COMPONENTS, study
        from ..spec import parse_augmentation, parse_kernel

        law, kernel = parse_augmentation(args.augment), parse_kernel(args.kernel)
        numbers = {"reg": args.reg, "beta": args.beta, "center": args.center, "seed": args.seed}
        with progress(args.progress, {"samples": 0.1, "fit": 3.0, "figure": 2.0}) as begin:

            def made(views: Any) -> None:
                n, m, d = views.shape
                expect_fits(begin, "fit", plan(n, m, d, kernel, N_COMPONENTS))

            found = study(args.samples, args.views, law, kernel, **numbers, begin=begin, made=made)
            begin("figure")
            figure.draw("half_moons_figure", found.representation, found.views)
        return figure.report(found.document(), found.table())

    return run
