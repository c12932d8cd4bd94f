"""``sslcore transform``: the values of a saved model at the points of a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..options import BACKEND, FILE, MODEL, PROGRESS, TABLE, Parser, option
from .common import Report, check_outputs, fitting, noted, open_model, refuse_outputs, wanted_by
from .progress import progress


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Apply a saved model to new data.

    MODEL was written by `sslcore fit` or by Representation.save in Python.  FILE holds points with as many coordinates
    as the model was fitted to; if both have names of columns, these are matched, whatever their order, and columns that
    the model does not have are left out.  The embedding, one row for each point, goes to FILE-embedding.npy.
    """
    out = option("--out", says="a .npy or .csv file (default: FILE-embedding.npy)", type=Path, metavar="PATH")
    parser.add(MODEL, FILE, *TABLE, out, BACKEND, PROGRESS)

    def run(args: argparse.Namespace) -> Report:
        from ...io.atomic import replacing
        from ...io.tables import parse_source, read_points, write_csv, write_npy

        source = parse_source(args.file)
        out = Path(f"{source.stem}-embedding.npy") if args.out is None else args.out
        if out.suffix.lower() not in (".npy", ".csv"):
            raise ValueError(f"--out must end in .npy or .csv, found {out}")
        check_outputs({"--out": out}, [source.path, args.model])
        refuse_outputs(source)
        fitted = out.with_name(f"{out.name.removesuffix('-embedding.npy')}-model.npz")
        if out.name.endswith("-embedding.npy") and out.exists() and fitted.exists():
            raise FileExistsError(f"{out} belongs to the fit {fitted}: choose another name with --out")
        steps = {"reading": 0.2 + source.size() / 20e6, "embedding": 1.0, "writing": 0.2}
        with progress(args.progress, steps) as begin:
            begin("reading")
            rep = open_model(args.model)
            wanted = wanted_by(rep, args.model)
            table = fitting(rep, read_points(source, args.drop, header=args.header, wanted=wanted), args.model)
            as_text = out.suffix.lower() == ".csv"
            if as_text and table.values.ndim == 3:
                raise ValueError(f"{source} holds views, whose embedding has 3 dimensions: choose --out PATH.npy")
            begin("embedding")
            z = rep.transform(table.values, backend=args.backend)
            begin("writing")
            if as_text:
                with replacing(out) as file:
                    write_csv(file, [f"component_{i + 1}" for i in range(rep.n_components)], z.tolist())
            else:
                write_npy(out, z)
        document = {"model": str(args.model), "file": str(source), "shape": z.shape, "output": str(out)}
        document |= {"notes": table.notes}
        text = f"{source}: embedding of shape {z.shape} written to {out}"
        return Report(document, "\n".join([text, *noted(table.notes)]))

    return run
