"""``sslcore transform``: the values of a saved model at the points of a file."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..options import BACKEND, FILE, MODEL, PROGRESS, SCALE, TABLE, Parser, option
from .common import Report, check_outputs, fitting, noted, open_model, refuse_outputs, wanted_by
from .progress import progress
from .streamed import count_rows, is_pattern, parts_of, sources_of, stem_of, values_of, write_values

if TYPE_CHECKING:
    from ...io.tables import Source, Table


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Apply a saved model to new data.

    MODEL was written by `sslcore fit` or by Representation.save in Python.  FILE holds points with as many coordinates
    as the model was fitted to; if both have names of columns, these are matched, whatever their order, and columns that
    the model does not have are left out.  The embedding, one row for each point, goes to FILE-embedding.npy.

    Arrays are read and written by blocks; a pattern such as 'features-*.npy' (in quotes) stands for the arrays of all
    files that match, one after the other in the order of their names.
    """
    out = option("--out", says="a .npy or .csv file (default: FILE-embedding.npy)", type=Path, metavar="PATH")
    parser.add(MODEL, FILE, *TABLE, out, SCALE, BACKEND, PROGRESS)

    def run(args: argparse.Namespace) -> Report:
        from ...io.atomic import replacing
        from ...io.tables import parse_source, read_points, write_csv

        pattern = is_pattern(args.file)
        stem = stem_of(args.file) if pattern else parse_source(args.file).stem
        out = Path(f"{stem}-embedding.npy") if args.out is None else args.out
        sources = sources_of(args.file, (out,))
        if out.suffix.lower() not in (".npy", ".csv"):
            raise ValueError(f"--out must end in .npy or .csv, found {out}")
        check_outputs({"--out": out}, [*(source.path for source in sources), args.model])
        for source in sources:
            refuse_outputs(source)
        fitted = out.with_name(f"{out.name.removesuffix('-embedding.npy')}-model.npz")
        if out.name.endswith("-embedding.npy") and out.exists() and fitted.exists():
            raise FileExistsError(f"{out} belongs to the fit {fitted}: choose another name with --out")
        steps = {"reading": 0.2 + sum(source.size() for source in sources) / 20e6, "embedding": 1.0}
        with progress(args.progress, steps) as begin:
            begin("reading")
            rep = open_model(args.model)
            wanted = wanted_by(rep, args.model)

            def read(source: Source) -> Table:
                return fitting(rep, read_points(source, args.drop, header=args.header, wanted=wanted), args.model)

            table = read(sources[0])
            n, shape = count_rows(sources, table), table.values.shape
            if out.suffix.lower() == ".csv" and len(shape) == 3:
                raise ValueError(f"{sources[0]} holds views, whose embedding has 3 dimensions: choose --out PATH.npy")
            begin("embedding")
            tables = itertools.chain([table], map(read, sources[1:]))
            values = values_of(rep, parts_of(tables), n, begin, args.backend, args.scale)
            with replacing(out) as file:
                if out.suffix.lower() == ".csv":
                    names = [f"component_{i + 1}" for i in range(rep.n_components)]
                    write_csv(file, names, (row for z in values for row in z.tolist()))
                else:
                    write_values(values, n, file)
        source = args.file if pattern else sources[0]
        z_shape = (n, *shape[1:-1], rep.n_components)
        document = {"model": str(args.model), "file": str(source), "shape": z_shape, "output": str(out)}
        document |= {"notes": table.notes}
        text = f"{source}: embedding of shape {z_shape} written to {out}"
        return Report(document, "\n".join([text, *noted(table.notes)]))

    return run
