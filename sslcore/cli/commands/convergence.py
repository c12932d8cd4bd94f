"""``sslcore convergence``: fits approach the exact population, at a rate that is printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..options import PROGRESS, SEED, Parser, option, picture
from .common import Picture, Report
from .progress import progress

SECONDS = {"cube": 5.0, "sphere": 6.0, "torus": 7.0, "Gaussian": 6.0, "figure": 1.5}
"""What the steps take on two cores; their ratios move the progress bar."""


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Compare fits on n samples with the exact spectrum of the population, on four domains, and fit the rates.

    On the cube, the sphere, the torus and Gaussian space the eigenvalues, eigenspaces and the least risk of the
    regularised problem are known in closed form.  Samples are drawn, m views of each are made, the problem is solved,
    and three errors are computed exactly (no test points): the largest error of an eigenvalue, the sine of the largest
    angle between an eigenspace (a complete block) and the exact one, and the penalised risk above its minimum.  The
    first two fall as n^(-1/2), the last as 1/n.
    """
    parser.add(
        option("--n", says="numbers of samples (default: 64 128 256 512 1024)", type=int, nargs="+", metavar="N"),
        option("--m", says="numbers of views of each (default: 2 4)", type=int, nargs="+", metavar="M"),
        option("--repetitions", says="fits at each point", type=int, default=4),
        option("--domains", says="of cube, sphere, torus, gaussian (default: all)", nargs="+", metavar="NAME"),
        SEED.but("of samples and views"),
        picture("convergence"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        figure = Picture("--output", args.output)
        from ...studies.convergence import SETTINGS, settings, study

        chosen = SETTINGS if args.domains is None else tuple(dict.fromkeys(settings(name) for name in args.domains))
        numbers = {name: tuple(value) for name, value in (("n", args.n), ("m", args.m)) if value is not None}
        with progress(args.progress, SECONDS) as begin:
            found = study(
                chosen,
                repetitions=args.repetitions,
                seed=args.seed,
                begin=lambda name: begin(name.split(",")[0]),
                **numbers,
            )
            begin("figure")
            figure.draw("convergence_figure", found)
        return figure.report(found.document(), found.table())

    return run
