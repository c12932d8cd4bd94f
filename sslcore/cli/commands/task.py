"""Shared by `sslcore fit` and `sslcore path`: data, views and a model from the words of the command line."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..options import (
    AUGMENT,
    BACKEND,
    CENTER,
    CHECKPOINT,
    COMPONENTS,
    FEATURES,
    FILE,
    INPUT,
    KERNEL,
    MEMORY,
    POSITIVES,
    SEED,
    SOLVER,
    STANDARDIZE,
    TABLE,
    VIEWS,
    UsageError,
)
from .common import choices_of, columns_of, is_column, is_terminal, noted, say
from .progress import Progress

if TYPE_CHECKING:
    from ...defaults import Choice
    from ...fitting.plan import Plan
    from ...io.tables import Table

QUICK = 1e10
"""Flops that no machine notices: its rates (`Plan.seconds`) are not measured for them."""

OVER_PLAN = 3.0
"""Fits with the matrix take 2 to 4 times as long as `sslcore.plan` says, which counts the leading terms at their full
rates.  Those without it take as long as it says, or less: their products are measured as such."""


OPTIONS = (
    FILE,
    INPUT,
    STANDARDIZE,
    AUGMENT.but(f"{AUGMENT.sentence} (default: chosen for the data, and told)"),
    POSITIVES,
    VIEWS.but(f"{VIEWS.sentence} (default: 4)"),
    KERNEL.but(f"{KERNEL.sentence} (default: gaussian, at the median distance of the data, or a part of it)"),
    FEATURES.but(f"{FEATURES.sentence} (default: nystrom:1024 of over 6,000 views, without --kernel and --solver)"),
    SOLVER,
    CHECKPOINT,
    COMPONENTS.but(f"{COMPONENTS.sentence} (default: 32, of tables 8 to 32, or as many as there are)"),
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
        The data, after `read`; in their own units.
    holds : str
        What the data hold, in the words of ``--input``.
    chosen : Choice
        What was said, what was chosen for the rest, and why.
    concerns : tuple of str
    views, model
        As `sslcore.pretrain` takes them, after `read`; of standardised data, where they are to be.
    planned : Plan
        After `read`.
    """

    table: Table
    holds: str
    chosen: Choice
    concerns: tuple[str, ...]
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
        """Read the data, choose what was not said, make the views, and refuse what is too large.

        The bar expects of ``step`` the time of ``n_fits`` fits, each of a path of ``n_points``.
        """
        from ...augmentations import Views
        from ...io.tables import read_points

        args = self.args
        drop = [*args.drop, *self.labels, *self._color()]
        self.table = read_points(self.source, drop, header=args.header, choices=choices_of(args))
        if self.positives is not None:
            self._pair_rows()
        self.holds = _held(self.table, self.augmentation, args, self.positives)
        self.chosen = self._chosen()
        self.augmentation, self.model = self.chosen.augmentation, self.chosen.model
        if self.holds in ("images", "series") and self.table.values.ndim > 2:
            self.table = self.table.as_rows(self.table.values.shape[1:])
        x, law = self.standardized(self.table, self.chosen), self.augmentation
        self.views = x if law is None else Views(x, law, self.chosen.n_views, args.seed)
        self.concerns = self._concerns()
        self.planned = self._planned(n_points)
        expect_fits(begin, step, self.planned, n_fits)
        if self.planned.products and (is_terminal(sys.stderr) if args.progress is None else args.progress):
            say(self._solver_line(n_fits), sys.stderr)

    def _pair_rows(self) -> None:
        """Make the law of pairs of the rows that are there: with their labels, and none in time across a gap."""
        from ...positives import TimeLag
        from ..spec import parse_positives

        table = self.table
        self.positives = law = parse_positives(self.args.positives, self._labels, table.runs)
        in_time = any(isinstance(part, TimeLag) for _, part in law._terms())
        if in_time and table.kept is not None and len(table.runs) > len(self.source.each):
            told = "rows that were left out end runs in time: no pair goes across, unless the law says boundaries"
            self.table = replace(table, notes=(*table.notes, told))

    def _chosen(self) -> Choice:
        """Choose what was not said for the data that were read."""
        given: dict[str, Any] = {}
        if self.augmentation is not None:
            given["augmentation"] = self.augmentation
        if self.holds == "views" or self.positives is not None:
            given["augmentation"] = None
        if self.args.views is not None:
            given["n_views"] = self.args.views
        usual = "unlike" if self.needs_kernel else "auto"
        kind = self.holds if self.holds in ("images", "series") else "auto"
        return self.choose(self.table, self.kernel, given, kind=kind, usual=usual)

    def choose(
        self, table: Table, kernel: Any, given: dict[str, Any], *, kind: str, usual: bool | str, members: int = 1
    ) -> Choice:
        """Choose what was not said for the rows of a table, each of which is ``members`` points of the fit.

        ``usual`` says whether columns are standardised where nobody says it; those of a mapped file are not, unless
        they are asked for.
        """
        import numpy as np

        from ...defaults import choose
        from ...defaults._choice import EXACT_UP_TO
        from ...features import Features

        args, x = self.args, table.values
        if x.ndim == 3 and kind == "auto":  # views
            x = x.reshape(-1, x.shape[-1])
        wish = usual if args.standardize is None else args.standardize
        mapped = isinstance(x, np.memmap) and not args.standardize
        if mapped:
            wish = False
        elif kernel is None and self.needs_kernel and (x == x[:1]).all():
            if len(x) == 1:
                raise ValueError(f"{table.source} has 1 row; at least 2 samples are needed")
            raise ValueError(f"{table.source}: the data are constant: there is nothing to represent")
        chosen = choose(
            _some(x) if mapped else x,
            kind=kind,
            standardize=wish,
            n_rows=members * len(x),
            seed=args.seed,
            given=said(args, kernel, self.needs_kernel) | given,
        )
        if args.checkpoint and not args.features and isinstance(chosen.model, Features):
            raise UsageError(
                f"--checkpoint is for a kernel without its matrix, and of over {EXACT_UP_TO:,} views none is taken "
                f"unasked: add --solver matrix-free, or leave it out"
            )
        if mapped and args.standardize is None:
            told = "samples are taken as they are: the file is mapped, not loaded"
            chosen = replace(chosen, reasons=(*chosen.reasons, told))
        return chosen

    def standardized(self, table: Table, chosen: Choice) -> Any:
        """Return the values of a table as the fit takes them."""
        import numpy as np

        from ...errors import MemoryBudgetError
        from ...fitting.plan import memory_budget

        x, columns = table.values, chosen.standardization
        if columns is None:
            return x
        if isinstance(x, np.memmap) and x.nbytes > memory_budget(self.args.memory):
            raise MemoryBudgetError(
                f"--standardize loads {table.source}, which takes {x.nbytes / 1e9:.3g} GB of memory: standardise it "
                f"beforehand, or say --no-standardize"
            )
        return columns(x)

    def _concerns(self) -> tuple[str, ...]:
        """Say what looks wrong about columns, which images have none of, and about the views."""
        import numpy as np

        from ...defaults import concerns

        x, views = self.table.values, self.views if self.positives is None else None
        if self.holds in ("images", "series") or isinstance(x, np.memmap):
            x = x.reshape(len(x), 1, -1)
        elif self.holds == "views":
            x = x[:, 0]
        return concerns(x, views, standardization=self.chosen.standardization, columns=self.table.columns)

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
        from ...fitting.plan import memory_budget, paired_plan
        from ...fitting.planning import plan
        from ...fitting.sizes import Sizes

        args, (n, m, d) = self.args, self.sizes
        if self.positives is None or isinstance(self.model, Features):
            sizes = (n, m, d, self.model, self.chosen.n_components, self.views.dtype, args.memory)
            return plan(*sizes, n_points=n_points, backend=args.backend, solver=args.solver)
        of_points = Sizes(n, n, d, self.chosen.n_components, self.views.dtype.itemsize, n_points=n_points)
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
            "n_components": self.chosen.n_components,
            "center": self.args.center,
            "seed": self.args.seed,
            "checkpoint": self.args.checkpoint,
            "plan": {"algorithm": self.planned.algorithm, "bytes": self.planned.bytes},
            "notes": self.table.notes,
            "concerns": self.concerns,
            **chosen_as_dict(self.chosen),
        }

    def lines(self) -> list[str]:
        """Tell the same to people."""
        n, m, d = self.sizes
        made, columns = self.augmentation, columns_of(self.table.columns)
        if self.positives is not None:
            law = self.positives.law(self.views)
            lines = [
                f"data        {self.source}: {n:,} samples of {d} coordinates{columns}",
                f"pairs       {self.positives!r}: {law.described()}",
            ]
        else:
            if made is None:
                how = f"made elsewhere: the array {self.views.shape} holds (samples, views, coordinates)"
                how += "" if self.args.input else "; if it holds images or series, say --input"
            else:
                how = f"{made}, seed {self.args.seed}"
            lines = [
                f"data        {self.source}: {n:,} samples of {d} coordinates{columns}; no labels",
                f"views       {m} of each = {n * m:,}, {how}",
            ]
        return [*lines, *chosen_lines(self.chosen, self.concerns), *noted(self.table.notes)]


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


def said(args: argparse.Namespace, kernel: Any, needs_kernel: bool) -> dict[str, Any]:
    """Return what was said of the model and its components, for `sslcore.defaults.choose`."""
    from ..spec import parse_features

    given = {"kernel": kernel, "solver": args.solver, "n_components": args.components}
    given["scale"] = getattr(args, "scale", "risk")  # a path has none
    given["reg"] = getattr(args, "reg", 0.0)  # a path has many
    if given["reg"] == "auto":
        del given["reg"]
    if args.features and needs_kernel:
        given["features"] = lambda kernel: parse_features(args.features, kernel, args.seed)
    elif args.features:
        given["features"] = parse_features(args.features, None, args.seed)
    return {name: value for name, value in given.items() if value is not None}


def chosen_as_dict(chosen: Choice) -> dict[str, Any]:
    """Return what was chosen and why, for machines."""
    columns = chosen.standardization
    scales = None if columns is None else {"mean": columns.mean, "deviation": columns.deviation}
    return {"scale": chosen.scale, "standardization": scales, "chosen": chosen.reasons}


def chosen_lines(chosen: Choice, concerns: Sequence[str]) -> list[str]:
    """Tell the same to people, and what looks wrong."""
    lines = [f"{'' if i else 'chosen':<12}{reason}" for i, reason in enumerate(chosen.reasons)]
    return lines + [f"concern     {sentence}" for sentence in concerns]


def _held(table: Table, law: Any, args: argparse.Namespace, positives: Any) -> str:
    """Say what the data hold, in the words of ``--input``; refuse those that others say otherwise."""
    from ...augmentations._base import image_shapes, takes

    x, asked = table.values, args.input
    if positives is not None:
        if x.ndim != 2 or asked in ("images", "views"):
            raise UsageError(f"--positives is for samples, one a row; {table.source} has the shape {x.shape}")
        return "samples"
    size = "x".join(map(str, x.shape[1:]))
    shapes = set() if law is None else image_shapes(law)
    if x.ndim == 4 and shapes and not takes(law, x.shape[1:]):
        told = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
        raise UsageError(f"--augment takes images of {told}, {table.source} holds images of {size}: say {size} there")
    if asked is None:
        taken = law is not None and x.ndim > 2 and takes(law, x.shape[1:])
        usual = {2: "samples", 3: "views", 4: "images"}[x.ndim]
        asked = ("images" if image_shapes(law) else "series") if taken else usual
    ranks = {"samples": (2,), "series": (2, 3), "images": (3, 4), "views": (3,)}[asked]
    if x.ndim not in ranks and not (asked == "images" and image_shapes(law)):
        wanted = {"samples": "(n, d)", "series": "(n, time) or (n, channels, time)", "views": "(n, m, d)"}
        shape = wanted.get(asked, "(n, height, width) or (n, height, width, channels)")
        raise UsageError(f"--input {asked} is for arrays {shape}, {table.source} has the shape {x.shape}")
    if asked == "views" and (law is not None or args.views is not None):
        raise UsageError(
            f"{table.source}, of shape {x.shape}, was taken for {x.shape[1]} views of {x.shape[2]} coordinates of each "
            f"sample: for views leave out --augment and --views; for images or series say --input, or choose a law of "
            f"their shape, such as --augment affine:{size}"
        )
    return str(asked)


def _some(x: Any) -> Any:
    """Read some of the rows of a mapped file, those that are finite."""
    import numpy as np

    from ... import tunables

    seen = np.asarray(x[:: -(-len(x) // tunables.LOOK_SAMPLES)])
    finite = np.isfinite(seen.reshape(len(seen), -1)).all(axis=1)
    if not finite.any():
        raise ValueError("the data have no finite row")
    return seen[finite]
