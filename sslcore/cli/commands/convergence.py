"""``sslcore convergence``: fits approach the exact population, at a rate that is printed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from .common import Report, check_outputs, draw, drawn, require_matplotlib
from .progress import add_progress, progress

SECONDS = {"cube": 5.0, "sphere": 6.0, "torus": 7.0, "Gaussian": 6.0, "figure": 1.5}
"""What the steps take on two cores; their ratios move the progress bar."""


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Compare fits on n samples with the exact spectrum of the population, on four domains, and fit the rates.

    On the cube, the sphere, the torus and Gaussian space the eigenvalues, eigenspaces and the least risk of the
    regularised problem are known in closed form.  Samples are drawn, m views of each are made, the problem is solved,
    and three errors are computed exactly (no test points): the largest error of an eigenvalue, the sine of the largest
    angle between an eigenspace (a complete block) and the exact one, and the penalised risk above its minimum.  The
    first two fall as n^(-1/2), the last as 1/n.
    """
    parser.add_argument(
        "--n", type=int, nargs="+", metavar="N", help="numbers of samples (default: 64 128 256 512 1024)"
    )
    parser.add_argument("--m", type=int, nargs="+", metavar="M", help="numbers of views of each (default: 2 4)")
    parser.add_argument("--repetitions", type=int, default=4, help="fits at each point (default: %(default)s)")
    parser.add_argument("--domains", nargs="+", metavar="NAME", help="of cube, sphere, torus, gaussian (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of samples and views (default: %(default)s)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("sslcore-convergence.png"),
        metavar="PATH",
        help="where the figure goes (default: %(default)s)",
    )
    add_progress(parser)

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        check_outputs({"--output (.png)": args.output})
        require_matplotlib()
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
            failed = draw(args.output, "convergence_figure", found)
        seconds = time.perf_counter() - started
        document = found.document() | {"seconds": seconds, "figure": None if failed else str(args.output)}
        return Report(document, f"{found.table()}\n\n{seconds:.1f} s in all; {drawn(args.output, failed)}", failed)

    return run
