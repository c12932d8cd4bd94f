"""``sslcore fit FILE --with PARTNER``: two modalities, row i of one file with row i of the other."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from ..options import UsageError
from .common import choices_of, columns_of, noted
from .fit import PARTNER, _Whole
from .partners import colors_of_pairs, label_columns, matched, of_each
from .progress import Progress
from .streamed import SEARCHED
from .task import chosen_as_dict, chosen_lines, expect_fits

if TYPE_CHECKING:
    from pathlib import Path

    from ...defaults import Choice
    from ...io.tables import Source, Table

NOT_OF_PAIRS = ("augment", "views", "positives", "input")
"""Options of laws of views, and of arrays that hold views."""


class Paired(_Whole):
    """Two files, a model for each, and a fit of both."""

    columns = encoding = None  # both files have some
    tables: tuple[Table, Table]
    concerns_of_each: list[tuple[str, ...]]

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

    @property
    def partner_suffix(self) -> str:
        """Ending of the file of the partner's embedding."""
        return self.suffix_for(self.partner)

    def reading(self) -> float:
        """Estimate the seconds that `read` takes."""
        return super().reading() + self.partner.size() / 20e6

    def read(self, begin: Progress, *_: Any) -> None:
        """Read both files, choose what was not said, and refuse what is too large."""
        from ...fitting.planning import plan
        from ...io.tables import read_points

        self.begin, args = begin, self.args
        sources = self.source, self.partner
        options = of_each(sources, args, label_columns(sources, args.color))
        first, second = (
            read_points(source, own.drop, header=own.header, choices=choices_of(own))
            for source, own in zip(sources, options, strict=True)
        )
        first, second = matched(first, second)
        self.tables = self.table, other = first.without_absent(), second.without_absent()
        if args.color:
            self.color = colors_of_pairs(self.tables, options, args.color)
        self.choices = [self._choose(*side) for side in zip(self.tables, self.kernels, strict=True)]
        self.parts = [self.standardized(*side) for side in zip(self.tables, self.choices, strict=True)]
        self.concerns_of_each = [self._concerns_of(*side) for side in zip(self.tables, self.choices, strict=True)]
        self.chosen = self.choices[0]
        self.model = tuple(choice.model for choice in self.choices)
        self.k = min(choice.n_components for choice in self.choices) if args.components is None else args.components
        widths = tuple(part.shape[1] for part in self.parts)
        sizes = (len(other.values), 2, widths, self.model, self.k, self.parts[0].dtype, args.memory)
        self.planned = plan(*sizes, backend=args.backend, solver=args.solver)
        expect_fits(begin, "fit", self.planned, SEARCHED if args.reg == "auto" else 1)

    def _concerns_of(self, table: Table, chosen: Choice) -> tuple[str, ...]:
        """Say what looks wrong about the columns of one modality; those of a mapped file are not looked at."""
        import numpy as np

        from ...defaults import concerns

        if isinstance(table.values, np.memmap):
            return ()
        return concerns(table.values, standardization=chosen.standardization, columns=table.columns)

    def _choose(self, table: Table, kernel: Any) -> Choice:
        """Choose what was not said of one modality; the whole kernel of one asks for that of the other."""
        given: dict[str, Any] = {"augmentation": None}
        if any(self.kernels) and not self.args.features:
            given["solver"] = self.args.solver or "dense"
        # as `CrossEmbedding`: a kernel that is chosen here suits standardised columns, and features are in their units
        usual = True if kernel is None and self.needs_kernel else "unlike" if self.needs_kernel else False
        return self.choose(table, kernel, given, kind="table", usual=usual, members=2)

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
        sides = (
            replace(side, table=table.encoding)
            if table.encoding is not None and (table.named or not table.encoding.plain)
            else side
            for side, table in zip((found.first, found.second), self.tables, strict=True)
        )
        return replace(found, first=next(sides), second=next(sides))

    def shown(self, rep: Any) -> tuple[Any, ...]:
        """Return a figure of both maps; the values of both files are written."""
        pair = (self.tables[0].values, self.tables[1].values)
        self.values = rep.transform(pair, self.chosen.scale, backend=self.args.backend)
        return "pair_figure", rep, self.values, self.color, self.chosen.scale

    @property
    def marks(self) -> dict[str, Any]:
        """Names of the pairs: those of one file are those of the other."""
        return next(table for table in self.tables if table.ids is not None).marks()

    def write_embedding(self, rep: Any, file: BinaryIO, begin: Progress) -> None:
        """Write the values of FILE."""
        self.write_values(file, self.values[0], self.embedding_suffix)

    def write_more(self, files: dict[str, Any]) -> None:
        """Write those of the partner."""
        self.write_values(files[PARTNER], self.values[1], self.partner_suffix)

    def as_dict(self) -> dict[str, Any]:
        """Return what was asked for, for machines."""
        files = [
            {"file": str(table.source), "columns": table.columns, "n_coordinates": table.values.shape[1]}
            | {"notes": table.notes, "concerns": told, "model": repr(choice.model)}
            | chosen_as_dict(choice)
            for table, choice, told in zip(self.tables, self.choices, self.concerns_of_each, strict=True)
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
        for table, choice, told in zip(self.tables, self.choices, self.concerns_of_each, strict=True):
            n, d = table.values.shape
            out.append(f"data        {table.source}: {n:,} rows of {d} coordinates{columns_of(table.columns)}")
            out += [*chosen_lines(choice, told), *noted(table.notes)]
        return [*out, "pairs       row i of one file with row i of the other"]
