"""``sslcore fit FILE --with PARTNER``: two modalities, row i of one file with row i of the other."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from ..options import UsageError
from .common import columns_of, noted
from .fit import _Whole
from .progress import Progress
from .streamed import SEARCHED
from .task import chosen_as_dict, chosen_lines, expect_fits, said

if TYPE_CHECKING:
    from pathlib import Path

    from ...fitting.bimodal import BimodalRepresentation
    from ...io.tables import Source, Table

NOT_OF_PAIRS = ("augment", "views", "positives", "color", "id", "missing", "categories", "input")
"""Options of a single table, and of laws of views."""


class Paired(_Whole):
    """Two files, a model for each, and a fit of both."""

    concerns = ()
    columns = encoding = None  # both files have some

    def __init__(self, args: argparse.Namespace) -> None:
        from ...io.tables import parse_sources
        from ..spec import parse_kernel

        for name in NOT_OF_PAIRS:
            if getattr(args, name) not in (None, []):
                raise UsageError(f"--with is for two files of numbers, whose rows are pairs: leave out --{name}")
        super().__init__(args)
        self.partner = parse_sources([args.partner])
        self.kernels = self.kernel, parse_kernel(args.partner_kernel) if args.partner_kernel else None
        if args.partner_kernel and not self.needs_kernel:
            raise UsageError(f"{args.features} features have no kernel: leave out --with-kernel")

    def find(self, outputs: tuple[Path, ...]) -> list[Source]:
        """Look up the files."""
        return [*self.source.each, *self.partner.each]

    def reading(self) -> float:
        """Estimate the seconds that `read` takes."""
        return super().reading() + self.partner.size() / 20e6

    def read(self, begin: Progress, *_: Any) -> None:
        """Read both files, choose what was not said, and refuse what is too large."""
        from ...fitting.planning import plan
        from ...io.tables import read_points

        self.begin, args = begin, self.args
        drop = list(args.drop)
        self.tables = [read_points(source, drop, header=args.header) for source in (self.source, self.partner)]
        for table in self.tables:
            if table.values.ndim != 2:
                raise UsageError(f"--with is for rows of numbers; {table.source} has the shape {table.values.shape}")
        self.table, other = self.tables
        n = len(self.table.values)
        if len(other.values) != n:
            raise ValueError(
                f"rows are pairs, and there must be as many: {self.source} has {n}, {self.partner} has "
                f"{len(other.values)}; leave out those that have no partner"
            )
        self.choices = [self._choose(*each) for each in zip(self.tables, self.kernels, strict=True)]
        self.parts = [
            table.values if c.standardization is None else c.standardization(table.values)
            for table, c in zip(self.tables, self.choices, strict=True)
        ]
        first, second = self.choices
        self.chosen, self.model = first, (first.model, second.model)
        self.k = min(each.n_components for each in self.choices) if args.components is None else args.components
        widths = tuple(part.shape[1] for part in self.parts)
        sizes = (n, 2, widths, self.model, self.k, self.parts[0].dtype, args.memory)
        self.planned = plan(*sizes, backend=args.backend, solver=args.solver)
        expect_fits(begin, "fit", self.planned, SEARCHED if args.reg == "auto" else 1)

    def _choose(self, table: Table, kernel: Any) -> Any:
        """Choose what was not said of one modality; the whole kernel of one asks for that of the other."""
        from ...defaults import choose

        given = said(self.args, kernel, self.needs_kernel) | {"augmentation": None}
        if any(self.kernels) and not self.args.features:
            given["solver"] = self.args.solver or "dense"
        usual = True if kernel is None and self.needs_kernel else "unlike" if self.needs_kernel else False
        wish = usual if self.args.standardize is None else self.args.standardize
        n = len(table.values)
        return choose(table.values, kind="table", standardize=wish, n_rows=2 * n, seed=self.args.seed, given=given)

    def solve(self) -> Any:
        """Fit."""
        from ...fitting.pretraining import pretrain

        args = self.args
        found = pretrain(
            (self.parts[0], self.parts[1]),
            self.model,
            self.k,
            reg=args.reg,
            beta=args.beta,
            center=args.center,
            memory=args.memory,
            backend=args.backend,
            solver=args.solver,
            checkpoint=args.checkpoint,
            progress=self._tell,
        )
        found = found.standardized_by(*(each.standardization for each in self.choices))
        for table, name in zip(self.tables, COLUMNS, strict=True):
            if table.named:
                found.notes[name] = list(table.columns or ())
        return found

    def shown(self, rep: Any) -> tuple[Any, Any]:
        """Return the points of FILE and their values; those of both are written."""
        pair = (self.tables[0].values, self.tables[1].values)
        self.values = rep.transform(pair, self.chosen.scale, backend=self.args.backend)
        return pair[0], self.values[0]

    def write_embedding(self, rep: Any, file: BinaryIO, begin: Progress) -> None:
        """Write the values of FILE."""
        from ...io.tables import write_npy

        write_npy(file, self.values[0])

    def write_more(self, files: dict[str, Any]) -> None:
        """Write those of the partner."""
        from ...io.tables import write_npy

        write_npy(files["with-embedding"], self.values[1])

    def as_dict(self) -> dict[str, Any]:
        """Return what was asked for, for machines."""
        files = [
            {"file": str(table.source), "columns": table.columns, "n_coordinates": table.values.shape[1]}
            | {"notes": table.notes, "model": repr(each.model)}
            | chosen_as_dict(each)
            for table, each in zip(self.tables, self.choices, strict=True)
        ]
        return {
            "modalities": files,
            "n": len(self.table.values),
            "n_components": self.k,
            "center": self.args.center,
            "seed": self.args.seed,
            "plan": {"algorithm": self.planned.algorithm, "bytes": self.planned.bytes},
        }

    def lines(self) -> list[str]:
        """Tell the same to people."""
        out = []
        for table, each in zip(self.tables, self.choices, strict=True):
            n, d = table.values.shape
            out.append(f"data        {table.source}: {n:,} rows of {d} coordinates{columns_of(table.columns)}")
            out += [*chosen_lines(each, ()), *noted(table.notes)]
        return [*out, "pairs       row i of one file with row i of the other"]


COLUMNS = "columns", "columns of the second modality"
"""Notes of the model that name the columns of each."""


def side_of(rep: BimodalRepresentation, modality: str) -> Any:
    """Return the representation of one modality, which knows the names of its columns."""
    side = rep.first if modality == "first" else rep.second
    return replace(side, notes=rep.notes | {"columns": rep.notes.get(COLUMNS[modality != "first"])})
