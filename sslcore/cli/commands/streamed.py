"""Files of views that are read one after the other: what `sslcore fit` and `sslcore transform` do with patterns."""

from __future__ import annotations

import argparse
import glob
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeGuard

from ..options import UsageError
from .progress import Progress
from .task import chosen_as_dict, chosen_lines, expect_fits, features_need_kernel, said

if TYPE_CHECKING:
    import numpy as np

    from ...fitting.moments import Moments
    from ...fitting.representation import Representation
    from ...io.tables import Source, Table
    from ...positives import TimeLag
    from ...stream._sources import Leaf

SHOWN = 2000
"""Samples at which a figure shows the values of a model."""

SEARCHED = 12
"""Solutions that the search for reg takes."""

SHORT_LEAVES = 32
"""Leaves of pairs up to which all points are few for memory."""


VALUES = "embedding", "with-embedding"
"""Endings of the names of values that we write."""


def is_pattern(text: str | list[str]) -> TypeGuard[str]:
    """Tell whether FILE names several files of arrays: a pattern, and no file that is called so."""
    from ...io.sources import names_tables

    pattern = isinstance(text, str) and glob.has_magic(text) and not os.path.lexists(text)
    return pattern and not names_tables(str(text))


def matching(pattern: str, without: tuple[Path, ...] = ()) -> list[Path]:
    """Return the files that match, in the order of their names, but for our own outputs.

    Values that another command has written of the same pattern are refused, whether or not a model is beside them.
    """
    ours = {os.path.realpath(path) for path in without}
    found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if os.path.realpath(name) not in ours]
    if not found:
        raise FileNotFoundError(f"no file matches {pattern}")
    named = {f"{stem_of(pattern)}-{what}.npy" for what in VALUES}
    for path in found:
        if path.name in named:
            raise ValueError(
                f"{path} matches {pattern}, and is named as the values that sslcore writes of this pattern: it is an "
                f"output, not data; move it elsewhere, or give it another name if it is meant"
            )
    return found


def written_with(model: Path) -> tuple[Path, ...]:
    """Return the values that `sslcore fit` writes beside a model: a pattern that was fitted may match their names."""
    stem = model.name.removesuffix("-model.npz")
    if stem == model.name:
        return ()
    return tuple(model.with_name(f"{stem}-{what}.npy") for what in VALUES)


def stem_of(pattern: str) -> str:
    """Return what the names of outputs begin with: the pattern's name up to its first sign."""
    name = re.split(r"[*?\[]", os.path.basename(pattern))[0].rstrip("-_. ")
    return name or "stream"


class Streamed:
    """Views in files, features of which only moments are kept: the part of `Task` for `sslcore fit`.

    Attributes
    ----------
    paths : list of Path
    moments : Moments
        After `read`.
    """

    moments: Moments
    columns = encoding = None
    embedding_suffix = ".npy"
    partner_suffix = None

    def __init__(self, args: argparse.Namespace) -> None:
        from ...io.tables import parse_source
        from ..spec import parse_kernel

        self.args = args
        if not isinstance(args.file, str):
            raise UsageError("several files of views are a pattern, such as 'features-*.npy' (in quotes)")
        self.stem = stem_of(args.file) if is_pattern(args.file) else parse_source(args.file).stem
        if args.out is not None:
            self.stem = args.out
        if args.standardize:
            raise UsageError("--standardize reads all data first, and a stream is read once: standardise the files")
        for name in ("augment", "views", "drop", "missing", "categories", "id", "color", "input"):
            if getattr(args, name):
                raise UsageError(
                    f"--{name} is for a single file that is read as a whole; a pattern, or --checkpoint, is for views "
                    f"made elsewhere, arrays (samples, views, coordinates)"
                )
        if args.solver:
            raise UsageError(f"--solver {args.solver} is for a kernel, and a stream is of features: leave it out")
        if not args.positives:
            _refuse_rows(args.file, f"{self.stem}-embedding.npy")
        if not args.features:
            raise UsageError("a stream needs --features, such as identity: a kernel's exact solution needs all views")
        self.law = _time_lag(args.positives) if args.positives else None
        self.kernel = parse_kernel(args.kernel) if args.kernel else None
        self.needs_kernel = features_need_kernel(args)
        self.paths: list[Path] = []

    def find(self, outputs: tuple[Path, ...]) -> list[Source]:
        """Look up the files, without outputs that are named alike."""
        sources = sources_of(self.args.file, outputs)
        self.paths = [source.path for source in sources]
        return sources

    def reading(self) -> float:
        """Seconds that `read` is likely to take."""
        return 0.2 + sum(path.stat().st_size for path in self.paths if path.exists()) / 500e6

    def read(self, begin: Progress) -> None:
        """Sum the moments of all files."""
        from ... import stream
        from ...defaults import choose, concerns
        from ...features import Features
        from ...fitting.planning import plan

        args = self.args
        self._require_search()
        first = self.first = self._first()
        _, m, d = first.shape
        given = said(args, self.kernel, self.needs_kernel) | {"augmentation": None}
        chosen = choose(first.reshape(-1, d), standardize=False, seed=args.seed, given=given)
        assert isinstance(chosen.model, Features)
        told = "columns are taken as they are: a stream is read once"
        self.chosen = replace(chosen, reasons=(*chosen.reasons, told))
        self.model, k = chosen.model.fit(first), chosen.n_components
        self.concerns = concerns(first[:, 0], first if self.law is None else None)
        planned = plan(len(first), m, d, self.model, k, first.dtype, args.memory, backend=args.backend)
        expect_fits(begin, "fit", planned, SEARCHED if args.reg == "auto" else 1)
        self.moments = stream.moments(
            self.paths,
            self.model,
            checkpoint=args.checkpoint,
            progress=lambda done, total, left: begin.advance(done / total) if total else None,
            positives=self.law,
            backend=args.backend,
        )
        self.shape = (self.moments.n, m, d)

    def _require_search(self) -> None:
        """Refuse a search for reg of so long a lag, and of so many pairs, that none is made of them."""
        from ...stream._lagged import longest_lag
        from ...stream._leaves import leaf_samples
        from ...stream._sources import Stream

        law, leaf = self.law, leaf_samples(2)
        if law is None or self.args.reg != "auto" or law.lag <= longest_lag():
            return
        n_pairs = Stream(self.paths, law).total
        if n_pairs is not None and n_pairs > SHORT_LEAVES * leaf:
            raise UsageError(
                f"--reg auto holds out leaves of {leaf:,} pairs, if the lag is at most {longest_lag()}: found a lag of "
                f"{law.lag}, and {n_pairs:,} pairs; say --reg NUMBER"
            )

    def _first(self) -> np.ndarray:
        """Read the first leaf: landmarks are chosen from it, and a figure shows some of it."""
        from ...stream._sources import Stream

        return next(_checked(Stream(self.paths, self.law).leaves())).copy()

    def _parts(self) -> tuple[int, Iterator[np.ndarray]]:
        """Count what there are values of, samples or points, and go through it; an array is valid until the next."""
        from ...stream._sources import Stream, points_of

        if self.law is None:
            return self.shape[0], _checked(Stream(self.paths).leaves())
        n, leaves = points_of(self.paths)
        return n, (views[:, 0] for views in _checked(leaves))

    def solve(self) -> Representation:
        """Minimise over the moments; what is said of an embedding is said of the first views."""
        args, k = self.args, self.chosen.n_components
        if args.reg == "auto" and not self.moments._held:  # so few views that none were held out are few for memory
            return self._solved_whole()
        rep = self.moments.solve(k, reg=args.reg, beta=args.beta, center=args.center)
        pairs = None if self.law is None else f"{self.law!r}; {self.shape[0]} pairs, each within a file"
        return replace(rep, training=self.first, positives=pairs)

    def _solved_whole(self) -> Representation:
        """Search reg on all data, as of a single file."""
        import numpy as np

        from ...errors import MemoryBudgetError
        from ...fitting.plan import memory_budget
        from ...fitting.pretraining import pretrain
        from ...stream._sources import open_file

        args, law = self.args, self.law
        n, parts = self._parts()
        shape = (n, *self.first.shape[1:]) if law is None else (n, self.first.shape[-1])
        needed, budget = math.prod(shape) * self.first.itemsize, memory_budget(args.memory)
        if needed > budget:
            raise MemoryBudgetError(
                f"--reg auto of so few views loads all of them, which takes {needed / 1e9:.3g} GB of memory, where "
                f"{budget / 1e9:.3g} GB are allowed (nothing was loaded): say --reg NUMBER",
                needed,
            )
        data, done = np.empty(shape, self.first.dtype), 0
        for part in parts:
            data[done : done + len(part)] = part
            done += len(part)
        whole: Representation = pretrain(
            data,
            self.model,
            self.chosen.n_components,
            reg="auto",
            beta=args.beta,
            center=args.center,
            positives=None
            if law is None
            else replace(law, boundaries=[open_file(path).shape[0] for path in self.paths]),
            memory=args.memory,
            backend=args.backend,
        )
        return whole

    def shown(self, rep: Representation) -> tuple[Any, ...]:
        """Return the name of the figure, and what it draws: some points and their values."""
        x = self.first[:SHOWN]
        scale = self.chosen.scale
        return "fit_figure", rep, x, rep.transform(x, scale, backend=self.args.backend), None, scale

    def write_embedding(self, rep: Representation, file: IO[bytes], begin: Progress) -> None:
        """Go through the files again, and write the values at all views."""
        n, parts = self._parts()
        write_values(values_of(rep, parts, n, begin, self.args.backend, self.chosen.scale), n, file)

    def as_dict(self) -> dict[str, Any]:
        """Return what was asked for, for machines."""
        n, m, d = self.shape
        return {
            "file": self.args.file,
            "n_files": len(self.paths),
            "columns": None,
            "n": n,
            "n_views": m,
            "n_coordinates": d,
            "augmentation": None,
            "positives": None if self.law is None else repr(self.law),
            "model": repr(self.model),
            "n_components": self.chosen.n_components,
            "center": self.args.center,
            "seed": self.args.seed,
            "checkpoint": self.args.checkpoint,
            "notes": (),
            "concerns": self.concerns,
            **chosen_as_dict(self.chosen),
        }

    def lines(self) -> list[str]:
        """Tell the same to people."""
        n, m, d = self.shape
        begin = f"data        {self.args.file}:"
        if self.law is None:
            lines = [
                f"{begin} {n:,} samples of {d} coordinates in {len(self.paths)} files; no labels",
                f"views       {m} of each = {n * m:,}, made elsewhere, read one file after the other",
            ]
        else:
            lines = [
                f"{begin} points of {d} coordinates in the order of time, {len(self.paths)} files; no labels",
                f"pairs       {self.law!r}: {n:,} pairs, each within a file",
            ]
        lines += chosen_lines(self.chosen, self.concerns)
        if n > len(self.first):
            lines.append(f"note        diagnostics and figure are those of the first {len(self.first):,} samples")
        if self.args.checkpoint:
            lines.append(f"checkpoint  {self.args.checkpoint}: the same command goes on from it, with more files too")
        return lines


def _refuse_rows(file: str, ours: str) -> None:
    """Refuse files of one view of each sample, but for our own output: there is nothing to be invariant to."""
    from ...io.stored import array_promise
    from ...io.tables import Source

    for name in sorted(glob.glob(file, recursive=True)) if is_pattern(file) else [file]:
        if name.endswith(".npy") and os.path.isfile(name) and os.path.realpath(name) != os.path.realpath(ours):
            shape = array_promise(Source(Path(name)))[0]
            if len(shape) == 2:
                raise UsageError(
                    f"{name} has shape {shape}, one view of each sample, and a stream is of views (samples, views, "
                    f"coordinates): name the files one by one (no quotes, no --checkpoint), and views are made; "
                    f"or save views; or, for points in the order of time, say --positives timelag:LAG"
                )
            return


def _time_lag(text: str) -> TimeLag:
    """Read the law of pairs of a stream."""
    from ...positives import TimeLag
    from ..spec import parse_positives

    law = parse_positives(text, lambda column: [0, 0])
    if not isinstance(law, TimeLag):
        raise UsageError(
            f"--positives {text}: of a pattern, or with --checkpoint, the pairs are timelag:LAG, of points in the order"
            f" of time within each file; for other laws name a single file, without --checkpoint"
        )
    return law


def _checked(leaves: Iterable[Leaf]) -> Iterator[np.ndarray]:
    """Yield the views of leaves; one that is not finite is refused with its place."""
    from ...arrays import check_finite

    for leaf in leaves:
        if not check_finite(leaf.views):
            raise leaf.located(ValueError())
        yield leaf.views


# ---------------------------------------------------------------- values of a model, by blocks


def sources_of(text: str | list[str], outputs: tuple[Path, ...]) -> list[Source]:
    """Return FILE, or the files that match it, without our own outputs."""
    from ...io.tables import Source, parse_sources

    if is_pattern(text):
        return [Source(path) for path in matching(text, outputs)]
    return [parse_sources([text] if isinstance(text, str) else text)]


def count_rows(sources: list[Source], first: Table) -> int:
    """Count the points of all sources, of which the first was read; refuse what is not like it."""
    from ...io.stored import array_promise

    if len(sources) > 1 and first.encoding is not None and first.encoding.missing == "drop":
        raise ValueError(
            "--missing drop is not for a pattern of arrays, which are read by blocks: name the files one by one (they "
            "are read as a whole), or say --missing mean, or --missing refuse if nothing is missing"
        )
    n = len(first.values)
    for source in sources[1:]:
        if source.suffix != ".npy":
            raise ValueError(f"a pattern stands for .npy files, found {source}")
        shape = array_promise(source)[0]
        if shape[1:] != first.values.shape[1:]:
            raise ValueError(f"{source} has shape {shape}, {first.source} has {first.values.shape}: they must be alike")
        n += shape[0]
    return n


def parts_of(tables: Iterable[Table]) -> Iterator[np.ndarray]:
    """Yield some thousand points at a time, checked."""
    import numpy as np

    from ... import tunables
    from ...arrays import check_finite, check_map

    for table in tables:
        values = table.values
        rows = max(1, tunables.STREAM_LEAF_VIEWS // (values.shape[1] if values.ndim == 3 else 1))
        for start in range(0, len(values), rows):
            check_map(values, str(table.source))
            part = np.asarray(values[start : start + rows])
            if not check_finite(part):
                row, *place = (int(i) for i in np.argwhere(~np.isfinite(part))[0])
                raise ValueError(
                    f"{table.source} has {part[(row, *place)]} at row {start + row} (index {[start + row, *place]}, "
                    f"counted from 0); remove or impute it"
                )
            yield part


def values_of(
    rep: Representation,
    parts: Iterable[np.ndarray],
    n: int,
    begin: Progress,
    backend: str | None,
    scale: str,
) -> Iterator[np.ndarray]:
    """Yield the values of a model at n points, or samples, in parts."""
    done = 0
    for part in parts:
        done += len(part)
        yield rep.transform(part, scale, backend=backend)
        begin.advance(done / n)
    if done != n:
        raise ValueError(f"the data have changed while they were read: {n} rows before, {done} then")


def write_values(values: Iterable[np.ndarray], n: int, file: IO[bytes]) -> None:
    """Write n rows, which come in parts, as ``.npy``."""
    import numpy as np

    from ...io.writing import write_npy_header

    begun = False
    for z in values:
        if not begun:
            write_npy_header(file, (n, *z.shape[1:]), z.dtype)
        begun = True
        file.write(np.ascontiguousarray(z).reshape(-1).view(np.uint8).data)
