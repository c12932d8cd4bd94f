"""What `sslcore fit` and `sslcore path` have in common: data, views and a model from the words of the command line."""

from __future__ import annotations

import argparse
import inspect
from typing import TYPE_CHECKING, Any

from .common import Progress, UsageError, add_drop, columns_of

if TYPE_CHECKING:
    from ..tables import Table

EXACT_UP_TO = 6000
"""Views up to which the model by default is a kernel's exact solution; beyond, Nystrom features of it."""


def add_problem(parser: argparse.ArgumentParser) -> None:
    """Declare the options that `Problem` reads."""
    parser.add_argument(
        "file", metavar="FILE", help="data; FILE:NAME chooses columns of a .csv, or an array of an .npz"
    )
    parser.add_argument(
        "--augment",
        action="append",
        metavar="LAW",
        help="how views are made, such as gaussian-noise:0.1; several, with + or by repeating the option, follow each "
        "other",
    )
    parser.add_argument("--views", type=int, metavar="M", help="views of each sample (default: 2)")
    parser.add_argument(
        "--kernel",
        metavar="KERNEL",
        help="such as gaussian:2 or 'exponential:0.2+0.1*linear' (default: exponential, at half the median distance of "
        "the data)",
    )
    parser.add_argument(
        "--features",
        metavar="MAP",
        help=f"in place of the kernel's exact solution, such as nystrom:1024, or identity for data that are features "
        f"already (default: nystrom:1024 if there are over {EXACT_UP_TO:,} views)",
    )
    parser.add_argument("--components", type=int, default=8, metavar="K", help="dimensions (default: %(default)s)")
    parser.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="covariance in place of second moments (default: yes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of views and landmarks (default: %(default)s)")
    add_drop(parser)
    parser.add_argument("--memory", metavar="SIZE", help="refuse what needs more, such as 8GB (default: what is free)")
    parser.add_argument("--backend", choices=("numba", "cupy"), help="where to compute (default: numba, the CPU)")
    parser.set_defaults(forms=_forms)


class Problem:
    """Data, views and a model; whatever can be refused without the data is refused at once.

    Attributes
    ----------
    source : Source
        Of the data.
    table : Table
        The data, after `read`.
    views, model
        As `sslcore.pretrain` takes them, after `read`.
    """

    table: Table
    views: Any
    model: Any

    def __init__(self, args: argparse.Namespace) -> None:
        from ..grammar import parse_augmentation, parse_kernel
        from ..tables import parse_source

        self.args = args
        self.source = parse_source(args.file)
        self.augmentation = parse_augmentation("+".join(args.augment)) if args.augment else None
        self.kernel = parse_kernel(args.kernel) if args.kernel else None
        self.needs_kernel = not args.features or _features_need_kernel(args)

    def reading(self) -> float:
        """Seconds that `read` is likely to take."""
        return 0.2 + self.source.size() / 20e6

    def read(self, begin: Progress, step: str, n_points: int = 1) -> None:
        """Read the data, make views and model, refuse what is too large; ``step`` is told what it will take."""
        from ..grammar import parse_features
        from ..tables import read_points

        args = self.args
        self.table = read_points(self.source, args.drop)
        self.views = _views(self.table, self.augmentation, args)
        kernel = self.kernel
        if kernel is None and self.needs_kernel:
            kernel = _default_kernel(self.table.values)
        if args.features:
            self.model = parse_features(args.features, kernel, args.seed)
        else:
            self.model = kernel
            if args.kernel is None and self.views.shape[0] * self.views.shape[1] > EXACT_UP_TO:
                self.model = parse_features("nystrom:1024", kernel, args.seed)
        begin.expect(step, n_points * _expected(self.views, self.model, args))

    def as_dict(self) -> dict[str, Any]:
        """What was asked for, for machines."""
        n, m, d = self.views.shape
        return {
            "file": str(self.source),
            "columns": self.table.columns,
            "n": n,
            "n_views": m,
            "n_coordinates": d,
            "augmentation": None if self.augmentation is None else repr(self.augmentation),
            "model": repr(self.model),
            "n_components": self.args.components,
            "center": self.args.center,
            "seed": self.args.seed,
        }

    def lines(self) -> list[str]:
        """The same, for people."""
        n, m, d = self.views.shape
        made = self.augmentation
        return [
            f"data        {self.source}: {n:,} samples of {d} coordinates{columns_of(self.table.columns)}; no labels",
            f"views       {m} of each = {n * m:,}, "
            + ("made elsewhere" if made is None else f"{made}, seed {self.args.seed}"),
        ]


def _forms() -> str:
    """What can be written for the options; asked for by ``--help`` only, since it imports what there is."""
    from ..grammar import augmentation_forms, feature_forms, kernel_forms

    def block(title: str, forms: list[str]) -> str:
        return f"{title}\n" + "\n".join(f"  {form}" for form in forms)

    return "\n\n".join(
        [
            block("kernels (capitals: a value is needed; k+k, k*k and 2*k are kernels too):", kernel_forms()),
            block("augmentations (a+b: one after the other; shapes are written 8x8 or 32x32x3):", augmentation_forms()),
            block("features (of --kernel):", feature_forms()),
        ]
    )


def _features_need_kernel(args: argparse.Namespace) -> bool:
    """Check ``--features``, with any kernel: that of the data is not known yet."""
    from ..grammar import parse_features, parse_kernel
    from ..kernels import Exponential

    kernel = parse_kernel(args.kernel) if args.kernel else Exponential(1.0)
    features = parse_features(args.features, kernel, args.seed)
    needed = "kernel" in inspect.signature(type(features)).parameters
    if args.kernel and not needed:
        raise UsageError(f"{args.features} features have no kernel: leave out --kernel, or choose other features")
    return needed


def _views(table: Table, augmentation: Any, args: argparse.Namespace) -> Any:
    """Views to be made of samples, or those that the file has."""
    from ..augmentations import Views

    x = table.values
    if x.ndim == 3:
        if augmentation is not None or args.views is not None:
            raise UsageError(
                f"{table.source} holds {x.shape[1]} views of each sample already (shape {x.shape}): leave out "
                f"--augment and --views"
            )
        return x
    if augmentation is None:
        raise UsageError(
            f"{table.source} holds samples (shape {x.shape}), not views: add --augment, such as "
            f"--augment gaussian-noise:0.1 (`sslcore fit --help` lists all), or give an array (samples, views, "
            f"coordinates)"
        )
    return Views(x, augmentation, 2 if args.views is None else args.views, args.seed)


def _default_kernel(x: Any) -> Any:
    """The exponential kernel, whose scale matters least, at half the median distance between at most 1,000 points."""
    import numpy as np
    from scipy.spatial.distance import pdist

    from ..kernels import Exponential

    points = np.asarray(x[:: max(1, len(x) // 1000)], dtype=float)
    points = points.reshape(-1, points.shape[-1])[:: max(1, points.size // points.shape[-1] // 1000)]
    distance = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    if not 0 < distance < np.inf:
        raise ValueError("the data are constant, or not finite: there is nothing to represent")
    return Exponential(float(f"{distance / 2:.3g}"))


def _expected(views: Any, model: Any, args: argparse.Namespace) -> float:
    """Seconds that the fit is likely to take; refuses what is too large or makes no sense before it begins."""
    from ..budget import plan

    n, m, d = views.shape
    planned = plan(n, m, d, model, args.components, views.dtype, args.memory)
    return 0.5 + planned.flops / 3e10
