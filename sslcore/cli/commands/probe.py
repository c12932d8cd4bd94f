"""``sslcore probe``: what a saved model's representation tells about labels, and predictions for new data."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import FILE, MODALITY, MODEL, PROGRESS, SCALE, TABLE, UNSEEN, Parser, UsageError, option
from .common import Report, check_outputs, noted, open_model, points_for, refuse_outputs, scale_of
from .progress import progress
from .streamed import count_rows, is_pattern, parts_of, sources_of, written_with

if TYPE_CHECKING:
    from ...fitting.representation import Representation
    from ...fitting.standardization import Standardization
    from ...io.tables import Source, Table
    from ...probing import RidgeProbe


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Fit a linear probe on a saved model's representation, and predict.

    A ridge probe is fitted to the embedding of FILE and its LABELS, and judged by exact leave-one-out errors, by which
    it takes its penalty too; the same probe on the raw coordinates, standardised if the model standardises them, shows
    what the representation adds.  Integers and words are classes, numbers with a decimal point are regressed on.
    Samples without a label (an empty cell, NA, NaN, None and their kin; of classes also -1) are left out, and counted.
    --predict NEW writes the predictions for other data.

    Large arrays are read by blocks; a pattern such as 'features-*.npy' (in quotes) stands for the arrays of all files
    that match, one after the other in the order of their names, and so does one for LABELS.
    """
    parser.add(
        MODEL,
        FILE,
        MODALITY,
        option("labels", says="a label for each sample, such as moons.csv:class or y.npy", metavar="LABELS"),
        *TABLE,
        UNSEEN,
        SCALE,
        option(
            "--task",
            says="what the labels are (default: regression if they are numbers with a decimal point)",
            choices=("auto", "classification", "regression"),
            default="auto",
        ),
        option("--predict", says="data to predict, with the same columns as FILE", metavar="NEW"),
        option("--out", says="a .csv file for them (default: NEW-predictions.csv)", type=Path, metavar="PATH"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        from ...io.atomic import replacing
        from ...io.writing import write_columns

        asked = _Asked.of(args)
        with progress(args.progress, {"reading": asked.seconds, "embedding": 1.0, "probe": 0.5}) as begin:
            begin("reading")
            rep = open_model(args.model, args.modality)
            table, labels = asked.read(rep, args)
            there = _labelled(labels, args.task)
            known, n = labels.values[there], len(there)
            fresh = asked.read_new(rep, args, table)
            begin("embedding")
            scale = scale_of(args)
            values = functools.partial(rep.transform, scale=scale)
            tables = functools.partial(asked.tables, rep, args, table) if asked.large(table) else table
            probe, raw = _fitted(values, rep.standardization, tables, there, known, args.task, begin)
            notes = [*table.notes, *(note for note in labels.notes if note not in table.notes)]
            document: dict[str, Any] = {"model": str(args.model), "file": asked.file, "labels": asked.labels}
            document |= {"n": n, "n_missing": n - len(known), "n_components": rep.n_components, "scale": scale}
            document["raw_standardised"] = rep.standardization is not None
            document |= _judged(probe, known) | {"raw": _judged(raw, known), "notes": notes}
            if fresh is not None:
                z = _flat(values(fresh.values))
                with replacing(asked.out) as file:
                    write_columns(file, ".csv", fresh.marks() | _predictions(probe, z))
                document |= {"predicted": str(asked.new), "n_predicted": len(z), "output": str(asked.out)}
        return Report(document, _text(document))

    return run


@dataclass(frozen=True)
class _Asked:
    """Data, labels, new data, and a file for predictions, as the command line names them."""

    file: str
    labels: str
    sources: list[Source]
    label_sources: list[Source]
    new: Source | None
    out: Path

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Asked:
        """Find the files, and refuse an output that is one of them."""
        from ...io.tables import parse_source

        ours = written_with(args.model)
        sources, label_sources = sources_of(args.file, ours), sources_of(args.labels, ours)
        file = args.file if is_pattern(args.file) else str(sources[0])
        labels = args.labels if is_pattern(args.labels) else str(label_sources[0])
        new, out = None, Path()
        if args.predict is not None:
            new = parse_source(args.predict)
            out = Path(f"{new.stem}-predictions.csv") if args.out is None else args.out
            inputs = [each.path for source in (*sources, *label_sources) for each in source.each]
            check_outputs({"--out (.csv)": out}, [*inputs, new.path, args.model])
        elif args.out is not None:
            raise UsageError("--out is for predictions: add --predict NEW")
        for source in sources:
            refuse_outputs(source)
        return cls(file, labels, sources, label_sources, new, out)

    @property
    def seconds(self) -> float:
        """Expected for reading."""
        return 0.2 + sum(each.size() for each in (*self.sources, *self.label_sources, self.new) if each) / 20e6

    def read(self, rep: Representation, args: argparse.Namespace) -> tuple[Table, Table]:
        """Read the first table, and a label for each row of all."""
        from ...io.tables import join, read_labels

        table = points_for(rep, self.sources[0], args)
        read = join([read_labels(each, header=args.header, decimal=args.decimal) for each in self.label_sources])
        labels = replace(read, values=table.of_rows(read.values), missing=table.of_rows(read.missing))
        n = count_rows(self.sources, table)
        if len(labels.values) != n:
            arrays = {each.suffix for each in (*self.sources, *self.label_sources)} == {".npy"}
            hint = "" if arrays else " (--header says whether there is one)"
            raise ValueError(f"{self.file} has {n} samples, {self.labels} has {len(labels.values)} labels{hint}")
        return table, labels

    def read_new(self, rep: Representation, args: argparse.Namespace, table: Table) -> Table | None:
        """Read the data to predict, by the columns of the model, or of the table where the model names none."""
        from ...io.tables import Wanted

        if self.new is None:
            return None
        wanted = None
        if table.named and table.columns is not None:
            wanted = Wanted(table.columns, str(self.sources[0].path))
        return points_for(rep, self.new, args, wanted=wanted, lenient=True)

    def large(self, table: Table) -> bool:
        """Tell whether the data are too large to be kept with their values."""
        import numpy as np

        return isinstance(table.values, np.memmap) or len(self.sources) > 1

    def tables(self, rep: Representation, args: argparse.Namespace, first: Table) -> Iterator[Table]:
        """Read one table after the other; the first was read before."""
        yield first
        for source in self.sources[1:]:
            yield points_for(rep, source, args)


def _fitted(
    values: Callable[[Any], Any],
    standardization: Standardization | None,
    tables: Callable[[], Iterator[Table]] | Table,
    there: Any,
    labels: Any,
    task: str,
    begin: Any,
) -> tuple[RidgeProbe, RidgeProbe]:
    """Fit a probe to the model's values, and one to the coordinates: of a table, or of several by blocks.

    The penalties go by the total variance of all columns: those that the model standardises are so here too.
    """
    import numpy as np

    from ...probing import ridge_probe

    def raw_of(x: Any) -> Any:
        points = np.asarray(x, dtype=float)
        return points if standardization is None else standardization(points)

    if callable(tables):
        begin("probe")
        return _streamed(tables, there, labels, task, values), _streamed(tables, there, labels, task, raw_of)
    z, raw = _flat(values(tables.values)), _flat(raw_of(tables.values))
    begin("probe")
    return ridge_probe(z[there], labels, task=task), ridge_probe(raw[there], labels, task=task)


def _streamed(
    tables: Callable[[], Iterable[Table]], there: Any, labels: Any, task: str, values: Callable[[Any], Any]
) -> RidgeProbe:
    """Fit a probe to the values of a function at the labelled points, by blocks."""
    from ... import stream

    def blocks() -> Iterator[tuple[Any, Any]]:
        start = first = 0
        for part in parts_of(tables()):
            chosen = there[start : start + len(part)]
            count = int(chosen.sum())
            if count:
                yield _flat(values(part[chosen])), labels[first : first + count]
            start, first = start + len(part), first + count

    return stream.ridge_probe(blocks, task=task)


def _labelled(labels: Table, task: str) -> Any:
    """Mark the samples that have a label: not missing, and not the class -1, which means that there is none."""
    assert labels.missing is not None
    there = ~labels.missing
    if task == "regression" or labels.values.dtype.kind != "i":
        return there
    labelled = there & (labels.values != -1)
    if labelled.any() and (labels.values[labelled] == 1).all() and not (labelled == there).all():
        raise ValueError(
            f"{labels.source} has the labels -1 and 1, but -1 means that there is none: name the two classes "
            f"otherwise, such as 0 and 1"
        )
    return labelled


def _flat(z: Any) -> Any:
    """Return one row for each sample: of several views, the mean."""
    return z.mean(axis=1) if z.ndim == 3 else z


def _judged(probe: RidgeProbe, labels: Any) -> dict[str, Any]:
    """Return the leave-one-out accuracy, or coefficient of determination."""
    import numpy as np

    best = int(np.flatnonzero(probe.regs == probe.reg)[0])
    n = len(labels)
    if probe.classes is not None:
        accuracy = 1.0 - float(probe.loo_errors[best])
        counts = [int((labels == c).sum()) for c in probe.classes]
        recall = None
        if len(probe.loo_decisions):
            right = probe.classes[np.asarray(probe.loo_decisions).argmax(axis=1)] == labels
            recall = [float(right[labels == c].mean()) for c in probe.classes]
        return {
            "task": "classification",
            "reg": probe.reg,
            "accuracy": accuracy,
            "standard_error": (accuracy * (1 - accuracy) / n) ** 0.5,
            "largest_class": max(counts) / n,
            "classes": probe.classes,
            "counts": counts,
            "recall": recall,
        }
    y = np.asarray(labels, dtype=float)
    error = float(probe.loo_squared_errors[best])
    variance = float(y.var())
    return {
        "task": "regression",
        "reg": probe.reg,
        "r2": 1.0 - error / variance if variance > 0 else float("nan"),
        "root_mean_squared_error": error**0.5,
        "standard_deviation": variance**0.5,
    }


def _predictions(probe: RidgeProbe, z: Any) -> dict[str, Any]:
    """Return, by the names of their columns, the prediction, and for classes the score of each."""
    predicted = {"prediction": probe.predict(z)}
    if probe.classes is None:
        return predicted
    scores = probe.decision_function(z)
    return predicted | {f"score_{c}": list(map("{:.6g}".format, scores[:, i])) for i, c in enumerate(probe.classes)}


def _text(document: dict[str, Any]) -> str:
    k, raw = document["n_components"], document["raw"]
    coordinates = "raw coordinates" + (", standardised" if document["raw_standardised"] else "")
    lines = [f"data        {document['file']}: {document['n']:,} samples; labels {document['labels']}"]
    if document["n_missing"]:
        lines[0] += f", {document['n_missing']:,} missing: these samples are left out of the probe"
    lines += noted(document["notes"])
    if document["task"] == "classification":
        lines += [
            f"target      {len(document['classes'])} classes; the largest has {document['largest_class']:.1%} of them",
            "",
            "leave-one-out accuracy of a ridge probe (standard error):",
            f"  {f'{k} components of the model':<28} {document['accuracy']:.3f} ({document['standard_error']:.3f})",
            f"  {coordinates:<28} {raw['accuracy']:.3f} ({raw['standard_error']:.3f})",
        ]
    if document["task"] == "classification" and document["recall"] is not None:
        lines += ["", "by class, of the model:"]
        shown = list(zip(document["classes"], document["counts"], document["recall"], strict=True))
        lines += [f"  {c!s:<28} {recall:.3f} of {count}" for c, count, recall in shown[:20]]
        lines += [f"  ... and {len(shown) - 20} more"] if len(shown) > 20 else []
    if document["task"] == "regression":
        lines += [
            f"target      standard deviation {document['standard_deviation']:.4g}",
            "",
            "leave-one-out R^2 of a ridge probe (root mean squared error):",
            f"  {f'{k} components of the model':<28} {document['r2']:.3f} ({document['root_mean_squared_error']:.4g})",
            f"  {coordinates:<28} {raw['r2']:.3f} ({raw['root_mean_squared_error']:.4g})",
        ]
    if "output" in document:
        lines += [
            "",
            f"{document['n_predicted']:,} predictions for {document['predicted']} written to {document['output']}",
        ]
    return "\n".join(lines)
