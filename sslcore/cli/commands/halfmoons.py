"""``sslcore halfmoons``: the paper's illustration."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from .common import Report, check_outputs, draw, drawn, require_matplotlib
from .problem import expect_fits
from .progress import add_progress, progress


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Draw the half-moons: their four classes, views of samples, and the functions learnt without labels.

    The controlled study of Cabannes et al. 2023: two half circles in the plane, views by Gaussian noise, an exponential
    kernel.  The first five eigenfunctions are drawn as contours: they follow the moons, and separate the classes, which
    nothing of the fit has seen.
    """
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("sslcore-halfmoons.png"),
        metavar="PATH",
        help="where the figure goes (default: %(default)s)",
    )
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--views", type=int, default=4, metavar="M", help="views of each (default: %(default)s)")
    parser.add_argument("--augment", default="gaussian-noise:0.1", metavar="LAW", help="default: %(default)s")
    parser.add_argument("--kernel", default="exponential:0.2", help="default: %(default)s")
    parser.add_argument("--reg", type=float, default=1e-4, metavar="LAMBDA", help="default: %(default)s")
    parser.add_argument("--beta", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave out the constant function, which is the first one otherwise (default: yes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of samples and views (default: %(default)s)")
    add_progress(parser)

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        check_outputs({"--output (.png)": args.output})
        require_matplotlib()
        from ... import datasets
        from ...augmentations import Views
        from ...fitting.plan import plan
        from ...fitting.pretraining import pretrain
        from ..spec import parse_augmentation, parse_kernel

        augmentation, kernel = parse_augmentation(args.augment), parse_kernel(args.kernel)
        with progress(args.progress, {"samples": 0.1, "fit": 3.0, "figure": 2.0}) as begin:
            begin("samples")
            x = datasets.half_moons(args.samples, seed=args.seed)
            views = Views(x, augmentation, args.views, args.seed)
            expect_fits(begin, "fit", plan(*views.shape, kernel, 5))
            begin("fit")
            rep = pretrain(views, kernel, 5, reg=args.reg, beta=args.beta, center=args.center)
            begin("figure")
            failed = draw(args.output, "half_moons_figure", rep, views)
        document = {
            "n": args.samples,
            "n_views": args.views,
            "augmentation": repr(augmentation),
            "kernel": repr(kernel),
            "seed": args.seed,
        }
        # the objective is unbiased, and reg as given: there is no choice to tell
        document |= {name: value for name, value in rep.as_dict().items() if name not in ("unbiased", "selection")}
        document |= {
            "figure": None if failed else str(args.output),
            "seconds": time.perf_counter() - started,
        }
        text = "\n".join(
            [
                f"data        half-moons, {args.samples:,} samples; {args.views} views of each, {augmentation}, "
                f"seed {args.seed}; no labels",
                rep.summary(brief=True),
                "",
                f"{document['seconds']:.1f} s in all; {drawn(args.output, failed)}",
            ]
        )
        return Report(document, text, failed)

    return run
