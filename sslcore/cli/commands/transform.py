"""``sslcore transform``: the values of a saved model at the points of a file."""

from __future__ import annotations

import argparse
import glob
import itertools
from collections.abc import Callable
from pathlib import Path

from ..options import BACKEND, FILE, MODALITY, MODEL, PROGRESS, SCALE, TABLE, UNSEEN, Parser, option
from .common import Report, check_outputs, noted, open_model, points_for, refuse_outputs, scale_of
from .progress import progress
from .streamed import count_rows, is_pattern, parts_of, sources_of, stem_of, values_of, write_values, written_with


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Apply a saved model to new data.

    MODEL was written by `sslcore fit` or by Representation.save in Python.  FILE holds points with as many coordinates
    as the model was fitted to; if both have names of columns, these are matched, whatever their order, and columns that
    the model does not have are left out.  The embedding, one row for each point, goes to FILE-embedding.npy.

    Arrays are read and written by blocks; a pattern such as 'features-*.npy' (in quotes) stands for the arrays of all
    files that match, one after the other in the order of their names.
    """
    out = option(
        "--out",
        says="a .npy file, or a table: .csv, .tsv, .parquet, .arrow, .feather (default: FILE-embedding.npy, with --id "
        "a table as FILE is)",
        type=Path,
        metavar="PATH",
    )
    parser.add(MODEL, FILE, MODALITY, *TABLE, UNSEEN, out, SCALE, BACKEND, PROGRESS)

    def run(args: argparse.Namespace) -> Report:
        import numpy as np

        from ...io.atomic import replacing
        from ...io.tables import component_columns, parse_sources, write_csv
        from ...io.writing import COLUMNS, table_suffix, write_columns

        pattern = is_pattern(args.file)
        files = args.file if isinstance(args.file, list) else [args.file]
        first = None if pattern else parse_sources(files)
        stem = first.stem if first is not None and not glob.has_magic(files[0]) else stem_of(files[0])
        ending = table_suffix(first.suffix) if args.id and first is not None else ".npy"
        out = Path(f"{stem}-embedding{ending}") if args.out is None else args.out
        sources = sources_of(args.file, (out, *written_with(args.model))) if first is None else [first]
        kind = out.suffix.lower()
        if kind not in (".npy", *COLUMNS):
            raise ValueError(f"--out must end in .npy, {', '.join(COLUMNS)}, found {out}")
        check_outputs({"--out": out}, [*(each.path for source in sources for each in source.each), args.model])
        for source in sources:
            refuse_outputs(source)
        if out.name.endswith(f"-embedding{kind}") and out.exists():
            prefix = out.name.removesuffix(f"-embedding{kind}")
            for stem in (prefix, prefix.removesuffix("-with")):
                if (fitted := out.with_name(f"{stem}-model.npz")).exists():
                    raise FileExistsError(f"{out} belongs to the fit {fitted}: choose another name with --out")
        steps = {"reading": 0.2 + sum(source.size() for source in sources) / 20e6, "embedding": 1.0}
        with progress(args.progress, steps) as begin:
            begin("reading")
            rep = open_model(args.model, args.modality)
            table = points_for(rep, sources[0], args)
            n, shape = count_rows(sources, table), table.values.shape
            if kind != ".npy" and len(shape) == 3:
                raise ValueError(f"{sources[0]} holds views, whose embedding has 3 dimensions: choose --out PATH.npy")
            begin("embedding")
            tables = itertools.chain([table], (points_for(rep, source, args) for source in sources[1:]))
            values = values_of(rep, parts_of(tables), n, begin, args.backend, scale_of(args))
            with replacing(out) as file:
                if kind == ".npy":
                    write_values(values, n, file)
                elif kind == ".csv" and not table.marks():  # of any length
                    names = [f"component_{i + 1}" for i in range(rep.n_components)]
                    write_csv(file, names, (row for z in values for row in z.tolist()))
                else:
                    write_columns(file, kind, table.marks() | component_columns(np.concatenate(list(values))))
        said = args.file if pattern else str(sources[0])
        z_shape = (n, *shape[1:-1], rep.n_components)
        document = {"model": str(args.model), "file": said, "shape": z_shape, "output": str(out)}
        document |= {"scale": scale_of(args), "notes": table.notes}
        text = f"{said}: embedding of shape {z_shape} written to {out}"
        return Report(document, "\n".join([text, *noted(table.notes)]))

    return run
