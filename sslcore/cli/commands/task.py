"""Shared by `sslcore fit` and `sslcore path`: data, views and a model from the words of the command line."""

from __future__ import annotations

import argparse
import inspect
import sys
from typing import TYPE_CHECKING, Any

from ..options import (
    AUGMENT,
    BACKEND,
    CENTER,
    CHECKPOINT,
    COMPONENTS,
    FEATURES,
    FILE,
    KERNEL,
    MEMORY,
    POSITIVES,
    SEED,
    SOLVER,
    TABLE,
    VIEWS,
    UsageError,
)
from .common import choices_of, columns_of, is_column, is_terminal, noted, say
from .progress import Progress

if TYPE_CHECKING:
    from ...fitting.plan import Plan
    from ...io.tables import Table

EXACT_UP_TO = 6000
"""Views up to which the model by default is a kernel's exact solution; beyond, Nystrom features of it."""

QUICK = 1e10
"""Flops that no machine notices: its rates (`Plan.seconds`) are not measured for them."""

OVER_PLAN = 3.0
"""Fits with the matrix take 2 to 4 times as long as `sslcore.plan` says, which counts the leading terms at their full
rates.  Those without it take as long as it says, or less: their products are measured as such."""


OPTIONS = (
    FILE,
    AUGMENT,
    POSITIVES,
    VIEWS.but(f"{VIEWS.sentence} (default: 2)"),
    KERNEL.but(f"{KERNEL.sentence} (default: exponential, at half the median distance of the data)"),
    FEATURES.but(
        f"{FEATURES.sentence} (default: nystrom:1024 of over {EXACT_UP_TO:,} views, without --kernel and --solver)"
    ),
    SOLVER,
    CHECKPOINT,
    COMPONENTS,
    CENTER,
    SEED,
    *TABLE,
    MEMORY,
    BACKEND,
)
"""The options that `Task` reads."""


class Task:
    """Data, views and a model; whatever can be refused without the data is refused at once.

    Attributes
    ----------
    source : Source
        Of the data.
    table : Table
        The data, after `read`.
    views, model
        As `sslcore.pretrain` takes them, after `read`.
    planned : Plan
        After `read`.
    """

    table: Table
    views: Any
    model: Any
    planned: Plan

    def __init__(self, args: argparse.Namespace) -> None:
        from ...io.tables import parse_sources
        from ..spec import parse_augmentation, parse_kernel, parse_positives

        self.args = args
        self.source = parse_sources([args.file] if isinstance(args.file, str) else args.file)
        self.augmentation = parse_augmentation("+".join(args.augment)) if args.augment else None
        self.labels: list[str] = []  # columns that the law of pairs is made of
        self.positives = None
        if args.positives:
            if args.augment or args.views is not None:
                raise UsageError("--positives says which samples are pairs: leave out --augment and --views")
            self.positives = parse_positives(args.positives, self._named)
        self.kernel = parse_kernel(args.kernel) if args.kernel else None
        self.needs_kernel = not args.features or features_need_kernel(args)
        if args.features and args.solver:
            raise UsageError(f"--solver {args.solver} is for a kernel: leave it out, or --features")

    def _named(self, column: str) -> list[int]:
        """Note the column of labels; the labels themselves come with the data."""
        self.labels.append(column)
        return [0, 0]

    def _color(self) -> list[str]:
        """Return the column that a picture is coloured by, if it is one of the file."""
        color = getattr(self.args, "color", None)
        return [color] if color is not None and is_column(self.source, color) else []

    def _labels(self, column: str) -> Any:
        """Read the labels in a column of the file."""
        import numpy as np

        from ...io.tables import read_labels

        read = read_labels(self.source.column(column), header=self.args.header, decimal=self.args.decimal)
        values, missing = map(self.table.of_rows, (read.values, read.missing))
        return np.ma.masked_array(values, missing)

    def reading(self) -> float:
        """Estimate the seconds that `read` takes."""
        return 0.2 + self.source.size() / 20e6

    def read(self, begin: Progress, step: str, n_points: int = 1, n_fits: int = 1) -> None:
        """Read the data, make views and model, and refuse what is too large.

        The bar expects of ``step`` the time of ``n_fits`` fits, each of a path of ``n_points``.
        """
        from ...io.tables import read_points
        from ..spec import parse_features, parse_positives

        args = self.args
        drop = [*args.drop, *self.labels, *self._color()]
        self.table = read_points(self.source, drop, header=args.header, choices=choices_of(args))
        if self.labels:
            self.positives = parse_positives(args.positives, self._labels)
        if _are_images(self.table, self.augmentation):
            self.table = self.table.as_images(self.table.values.shape[1:])
        self.views = _views(self.table, self.augmentation, args, self.positives)
        kernel = self.kernel
        if kernel is None and self.needs_kernel:
            kernel = default_kernel(self.table.values)
        if args.features:
            self.model = parse_features(args.features, kernel, args.seed)
        else:
            self.model = kernel
            n, m, _ = self.sizes
            if args.kernel is None and args.solver is None and n * m > EXACT_UP_TO:
                self.model = parse_features("nystrom:1024", kernel, args.seed)
                if args.checkpoint:
                    raise UsageError(
                        f"--checkpoint is for a kernel without its matrix, and of over {EXACT_UP_TO:,} views none is "
                        f"taken unasked: add --solver matrix-free, or leave it out"
                    )
        self.planned = self._planned(n_points)
        expect_fits(begin, step, self.planned, n_fits)
        if self.planned.products and (is_terminal(sys.stderr) if args.progress is None else args.progress):
            say(self._solver_line(n_fits), sys.stderr)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Samples, views of each, and coordinates."""
        if self.positives is not None:
            return len(self.views), 1, self.views.shape[1]
        n, m, d = self.views.shape
        return n, m, d

    def _planned(self, n_points: int) -> Plan:
        """Plan the fit, and refuse what is too large."""
        from ...features import Features
        from ...fitting.plan import Sizes, memory_budget, paired_plan
        from ...fitting.planning import plan

        args, (n, m, d) = self.args, self.sizes
        if self.positives is None or isinstance(self.model, Features):
            sizes = (n, m, d, self.model, args.components, self.views.dtype, args.memory)
            return plan(*sizes, n_points=n_points, backend=args.backend, solver=args.solver)
        of_points = Sizes(n, n, d, args.components, self.views.dtype.itemsize, n_points=n_points)
        planned = paired_plan(of_points, self.positives.law(self.views), self.model)
        planned.require(memory_budget(args.memory))
        return planned

    def _solver_line(self, n_fits: int) -> str:
        """Tell people of a solver that takes its time."""
        planned = self.planned
        return (
            f"solver      without the kernel matrix: up to {planned.bytes / 1e9:.2g} GB of memory, some "
            f"{n_fits * planned.products:,} products with the kernel, "
            f"{_duration(n_fits * _expected(planned))} expected"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what was asked for, for machines."""
        n, m, d = self.sizes
        return {
            "file": str(self.source),
            "columns": self.table.columns,
            "n": n,
            "n_views": m,
            "n_coordinates": d,
            "augmentation": None if self.augmentation is None else repr(self.augmentation),
            "positives": None if self.positives is None else repr(self.positives),
            "model": repr(self.model),
            "n_components": self.args.components,
            "center": self.args.center,
            "seed": self.args.seed,
            "checkpoint": self.args.checkpoint,
            "plan": {"algorithm": self.planned.algorithm, "bytes": self.planned.bytes},
            "notes": self.table.notes,
        }

    def lines(self) -> list[str]:
        """Tell the same to people."""
        n, m, d = self.sizes
        made = self.augmentation
        if self.positives is not None:
            law = self.positives.law(self.views)
            return [
                f"data        {self.source}: {n:,} samples of {d} coordinates{columns_of(self.table.columns)}",
                f"pairs       {self.positives!r}: {law.described()}",
                *noted(self.table.notes),
            ]
        if made is None:
            how = f"made elsewhere: the array {self.views.shape} holds (samples, views, coordinates)"
        else:
            how = f"{made}, seed {self.args.seed}"
        return [
            f"data        {self.source}: {n:,} samples of {d} coordinates{columns_of(self.table.columns)}; no labels",
            f"views       {m} of each = {n * m:,}, {how}",
            *noted(self.table.notes),
        ]


def _duration(seconds: float) -> str:
    """Say how long something takes, roughly: it is expected, not known."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def expect_fits(begin: Progress, step: str, planned: Plan, n_fits: int = 1) -> None:
    """Tell the progress how long fits will take, unless that takes longer to find out than they do."""
    if n_fits * planned.flops > QUICK:
        begin.expect(step, lambda: 0.5 + n_fits * _expected(planned))


def _expected(planned: Plan) -> float:
    """Return the seconds of a fit."""
    return planned.seconds if planned.products else OVER_PLAN * planned.seconds


def features_need_kernel(args: argparse.Namespace) -> bool:
    """Check ``--features``, with any kernel: that of the data is not known yet."""
    from ...kernels import Exponential
    from ..spec import parse_features, parse_kernel

    kernel = parse_kernel(args.kernel) if args.kernel else Exponential(1.0)
    features = parse_features(args.features, kernel, args.seed)
    needed = "kernel" in inspect.signature(type(features)).parameters
    if args.kernel and not needed:
        raise UsageError(f"{args.features} features have no kernel: leave out --kernel, or choose other features")
    return needed


def _are_images(table: Table, augmentation: Any) -> bool:
    """Tell whether the data are images, or series, of the shape that the augmentation is for, one a sample."""
    from ...augmentations._base import takes

    found = table.values.shape[1:]
    return augmentation is not None and len(found) > 1 and takes(augmentation, found)


def _views(table: Table, augmentation: Any, args: argparse.Namespace, positives: Any) -> Any:
    """Return views to be made of samples, or those that the file has; with a law of pairs the samples themselves."""
    from ...augmentations import Views

    x = table.values
    if positives is not None:
        if x.ndim != 2:
            raise UsageError(f"--positives is for samples, one a row; {table.source} has the shape {x.shape}")
        return x
    size = "x".join(map(str, x.shape[1:]))
    images = f"if these are images, choose a law of images of their shape, such as --augment affine:{size}"
    if x.ndim == 4:
        raise UsageError(f"{table.source} has the shape {x.shape}; {images}")
    if x.ndim == 3:
        if augmentation is not None or args.views is not None:
            raise UsageError(
                f"{table.source}, of shape {x.shape}, was taken for {x.shape[1]} views of {x.shape[2]} coordinates of "
                f"each sample: for views leave out --augment and --views; {images}, or flatten them"
            )
        return x
    if augmentation is None:
        raise UsageError(
            f"{table.source} holds samples (shape {x.shape}), not views: add --augment, such as "
            f"--augment gaussian-noise:0.1 (`sslcore fit --help` lists all), or --positives, such as --positives "
            f"neighbors:15, or give an array (samples, views, coordinates)"
        )
    return Views(x, augmentation, 2 if args.views is None else args.views, args.seed)


def default_kernel(x: Any) -> Any:
    """Make the exponential kernel, whose scale matters least, at half the median distance of at most 1,000 points."""
    import numpy as np
    from scipy.spatial.distance import pdist

    from ...kernels import Exponential

    points = np.asarray(x[:: max(1, len(x) // 1000)], dtype=float)
    points = points.reshape(-1, points.shape[-1])[:: max(1, points.size // points.shape[-1] // 1000)]
    distance = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    if not 0 < distance < np.inf:
        raise ValueError("the data are constant, or not finite: there is nothing to represent")
    return Exponential(float(f"{distance / 2:.3g}"))
