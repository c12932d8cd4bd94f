"""``sslcore interplay``: three regimes on the cube, exactly."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .common import Report, check_outputs, draw, drawn, require_matplotlib

KERNELS = ("nngp", "ntk", "gaussian", "exponential", "l1")


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Show how augmentation and architecture decide together which parity of the cube is learnt first, exactly.

    On {-1, 1}^d the parities of subsets S diagonalise crops, flips and dot-product kernels, and each has the eigenvalue
    mu_S(reg) = 1 - beta + beta t_S - reg / kappa_S, a line.  The picture shows the lines of a few parities, their
    maximum, the exact crossings, and the regimes between them: augmentation alone, interplay, architecture alone; and
    beside it the lines of all parities of the cube.

    By default it is the example of the paper (Cabannes et al., The SSL Interplay, 2023), in dimension 16: windows of 8
    neighbouring coordinates are kept, and the kernel is that of an infinitely wide network of two hidden layers.
    """
    parser.add_argument("--dimension", type=int, default=16, metavar="D", help="of the cube (default: %(default)s)")
    parser.add_argument(
        "--crop", type=int, metavar="W", help="width of the window that is kept (default: 8; 0: no crop)"
    )
    parser.add_argument("--flip", type=float, default=0.0, metavar="P", help="probability of bit flips (default: 0)")
    parser.add_argument("--kernel", choices=KERNELS, default="nngp", help="default: %(default)s")
    parser.add_argument("--depth", type=int, default=2, help="hidden layers of nngp and ntk (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the other kernels (default: %(default)s)")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the invariance (default: %(default)s)")
    parser.add_argument(
        "--sets",
        nargs="+",
        type=_subset,
        metavar="I,J,...",
        help="subsets whose parities are compared (default: 0,5 0,2,4 0,1,2,3)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("sslcore-interplay.png"),
        metavar="PATH",
        help="where the figure goes (default: %(default)s)",
    )

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        check_outputs({"--output (.png)": args.output})
        require_matplotlib()
        from ...studies.interplay import SETS, study

        found = study(
            args.dimension, _augmentation(args.crop, args.flip), _kernel(args), args.sets or SETS, beta=args.beta
        )
        failed = draw(args.output, "interplay_figure", found)
        seconds = time.perf_counter() - started
        document = found.document() | {"seconds": seconds, "figure": None if failed else str(args.output)}
        return Report(document, f"{found.table()}\n\n{seconds:.1f} s in all; {drawn(args.output, failed)}", failed)

    return run


def _subset(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a subset is coordinates with commas between, as 0,2,4, found {text!r}"
        ) from None
    if any(i < 0 for i in found):
        raise argparse.ArgumentTypeError(f"coordinates are 0, 1, ..., found {text!r}")
    return found


def _augmentation(crop: int | None, flip: float) -> Any:
    from ...augmentations import BitFlip, Compose, Crop

    parts: list[Any] = []
    if crop is None:
        crop = 8
    if crop:
        parts.append(Crop(crop))
    if flip or not parts:
        parts.append(BitFlip(flip))
    return parts[0] if len(parts) == 1 else Compose(*parts)


def _kernel(args: argparse.Namespace) -> Any:
    from ... import kernels

    if args.kernel in ("nngp", "ntk"):
        return (kernels.NNGP if args.kernel == "nngp" else kernels.NTK)(args.depth)
    families = {"gaussian": kernels.Gaussian, "exponential": kernels.Exponential, "l1": kernels.L1Exponential}
    return families[args.kernel](args.scale)
