"""``sslcore interplay``: three regimes on the cube, exactly."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..options import BETA, Parser, option, picture
from .common import Picture, Report

KERNELS = ("nngp", "ntk", "gaussian", "exponential", "l1")


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Show how augmentation and architecture decide together which parity of the cube is learnt first, exactly.

    On {-1, 1}^d the parities of subsets S diagonalise crops, flips and dot-product kernels, and each has the eigenvalue
    mu_S(reg) = 1 - beta + beta t_S - reg / kappa_S, a line.  The picture shows the lines of a few parities, their
    maximum, the exact crossings, and the regimes between them: augmentation alone, interplay, architecture alone; and
    beside it the lines of all parities of the cube.

    By default it is the example of the paper (Cabannes et al., The SSL Interplay, 2023), in dimension 16: windows of 8
    neighbouring coordinates are kept, and the kernel is that of an infinitely wide network of two hidden layers.
    """
    parser.add(
        option("--dimension", says="of the cube", type=int, default=16, metavar="D"),
        option("--crop", says="width of the window that is kept (default: 8; 0: no crop)", type=int, metavar="W"),
        option("--flip", says="probability of bit flips (default: 0)", type=float, default=0.0, metavar="P"),
        option("--kernel", says="that the parities diagonalise", choices=KERNELS, default="nngp"),
        option("--depth", says="hidden layers of nngp and ntk", type=int, default=2),
        option("--scale", says="of the other kernels", type=float, default=1.0),
        BETA,
        option(
            "--sets",
            says="subsets whose parities are compared (default: 0,5 0,2,4 0,1,2,3)",
            type=_subset,
            nargs="+",
            metavar="I,J,...",
        ),
        picture("interplay"),
    )

    def run(args: argparse.Namespace) -> Report:
        figure = Picture("--output", args.output)
        from ...studies.interplay import SETS, study

        law, sets = _augmentation(args.crop, args.flip), args.sets or SETS
        found = study(args.dimension, law, _kernel(args), sets, beta=args.beta)
        figure.draw("interplay_figure", found)
        return figure.report(found.document(), found.table())

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
