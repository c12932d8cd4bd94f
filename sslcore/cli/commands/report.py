"""``sslcore report``: one HTML page of all that a saved model tells about the data in a file."""

from __future__ import annotations

import argparse
import base64
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import COLOR, FILE, MODALITY, MODEL, PROGRESS, TABLE, UNSEEN, WITH, Parser, UsageError, option
from .common import (
    Report,
    check_outputs,
    colors_of,
    noted,
    open_fit,
    open_model,
    points_for,
    refuse_outputs,
    render,
    require_matplotlib,
    wanted_by,
)
from .partners import colors_of_pairs, label_columns, matched, of_each
from .progress import progress

if TYPE_CHECKING:
    from ...fitting.representation import Representation
    from ...io.tables import Source, Table

DRAWN_AS_SHAPES = 1500
"""Points up to which the figure is SVG; with more of them a PNG is smaller."""

NEIGHBOURS_OF = 3000
"""Samples whose neighbours are looked for: their time grows with the square."""

SCALE = "risk"
"""The scale that is drawn and diagnosed, of the minimiser itself, whose variances are mu.  That of probes shrinks rough
components on purpose, which no diagnostic should take for a collapse."""

SIDES = "first", "second"
"""The modalities, in the words of ``--modality``."""

HEADS = "i", "mu", "1 - mu", "invariance", "squared norm"
"""Of the table of components."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ data }} by {{ model }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
table.numbers td, table.numbers th { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #f3f4f6; padding: .8rem; overflow-x: auto; font-size: .85rem }
.good { color: #0b5fa5 } .bad { color: #b45309 } .quiet { color: #6b7280 } svg, img { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>{{ data }} <span class="quiet">by {{ model }}</span></h1>
<p>A representation{{ of_what }} learnt without labels: the exact minimiser of the regularised VICReg risk. It has
<strong class="{{ 'good' if verdict == 'no collapse' else 'bad' }}">{{ verdict }}</strong> on these data.</p>
<h2>Settings</h2>
<table>{% for name, value in settings %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<h2>Spectrum and map</h2>
{% if svg %}{{ svg|safe }}{% elif png %}<img alt="the spectrum, and the map" src="data:image/png;base64,{{ png }}">
{% else %}<p class="bad">{{ failed }}</p>{% endif %}
<p class="quiet">Left: eigenvalues mu of the components, active ones (mu &gt; 0) in blue. {{ where }}: each point is
a sample, at the values sqrt(mu) f of the first two components (scale {{ scale }})
{%- if color %}, coloured by {{ color }}{% endif %}.</p>
<h2>Collapse</h2>
<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
<h2>Diagnostics on these data</h2>
<p class="quiet">Of the minimiser itself, sqrt(mu) f (scale {{ scale }}). What a probe takes is in another scale, which
shrinks rough components: sslcore transform and probe --scale.</p>
<table>{% for name, value, meaning in diagnostics %}
<tr><th>{{ name }}</th><td>{{ value }}</td><td class="quiet">{{ meaning }}</td></tr>{% endfor %}</table>
<h2>Components</h2>
<table class="numbers"><tr>{% for name in heads %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in components %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p class="quiet">1 - mu = beta invariance + reg norm. A component with mu &lt;= 0 is zero.</p>
<h2>Certificate</h2>
<pre>{{ summary }}</pre>
{% if notes %}<h2>How the data were read</h2><ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
<p class="quiet">sslcore {{ version }}</p>
</body>
</html>
"""


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Write one HTML page about a saved model and the data in a file.

    MODEL was written by `sslcore fit` or by Representation.save in Python.  FILE holds points with as many coordinates
    as the model was fitted to, or views of samples, an array (samples, views, coordinates).  The page, in which
    everything is contained, has the settings, the spectrum, the map of the first two components, a report on collapse
    in words, the certificate, and diagnostics: effective rank, RankMe, alpha-ReQ, and LiDAR where views are given.

    Of a model of two modalities (`sslcore fit --with`) --with PARTNER gives the pairs of FILE and PARTNER, with both
    maps and the correlations of the components on these pairs; --modality is for a page on one of them alone.
    """
    parser.add(
        MODEL,
        FILE,
        WITH,
        MODALITY,
        *TABLE,
        UNSEEN,
        COLOR,
        option("--out", says="a .html file (default: the name of FILE and -report.html)", type=Path, metavar="PATH"),
        PROGRESS,
    )

    def run(args: argparse.Namespace) -> Report:
        from ...io.atomic import replacing
        from ...io.tables import parse_sources

        started = time.perf_counter()
        names = [args.file if isinstance(args.file, list) else [args.file]]
        if args.partner is not None:
            if args.modality is not None:
                raise UsageError("--with is for both modalities: leave out --modality")
            names.append([args.partner])
        sources = [parse_sources(each) for each in names]
        out = Path(f"{sources[0].stem}-report.html") if args.out is None else args.out
        files = [each.path for source in sources for each in source.each]
        check_outputs({"--out (.html)": out}, [*files, args.model])
        for source in sources:
            refuse_outputs(source)
        require_matplotlib()
        environment = _environment()
        size = sum(source.size() for source in sources)
        with progress(args.progress, {"reading": 0.2 + size / 20e6, "embedding": 1.0, "writing": 2.0}) as begin:
            begin("reading")
            fit, sides = _opened(args)
            tables, color = _read(sides, sources, args)
            begin("embedding")
            values = [side.transform(table.values, SCALE) for side, table in zip(sides, tables, strict=True)]
            found = [_diagnosed(z) for z in values]
            begin("writing")
            words = _words(fit, sides, tables, values, found)
            page = _pictured(fit, values, color)
            words |= {
                "model": args.model.name,
                "data": " and ".join(map(str, sources)),
                "color": args.color,
                "scale": SCALE,
            }
            with replacing(out) as file:
                file.write(environment.from_string(PAGE).render(**words, **page).encode("utf-8", "backslashreplace"))
        seconds = time.perf_counter() - started
        notes: list[str] = words["notes"]
        document: dict[str, Any] = {
            "model": str(args.model),
            "file": str(sources[0]),
            "n": len(values[0]),
            "output": str(out),
        }
        if len(found) == 1:
            document |= found[0]
        else:
            document |= {"with": str(sources[1]), "correlations": correlations(values)}
            document |= dict(zip(SIDES, found, strict=True))
        document |= {"seconds": seconds, "scale": SCALE, "notes": notes}
        line = f"{words['data']}: {len(values[0])} samples by {args.model}: {words['verdict']}"
        failed = (str(page["failed"]),) if page["failed"] else ()
        return Report(document, "\n".join([line, *noted(notes), "", f"{seconds:.1f} s in all; page: {out}"]), failed)

    return run


def _opened(args: argparse.Namespace) -> tuple[Any, list[Representation]]:
    """Load the model, and the representation for each of the files."""
    if args.partner is None:
        rep = open_model(args.model, args.modality, advice="add the other file, --with PARTNER, or ")
        return rep, [rep]
    from ...fitting.representation import Representation

    fit = open_fit(args.model)
    if isinstance(fit, Representation):
        raise UsageError(f"{args.model} holds one modality: leave out --with")
    return fit, [fit.first, fit.second]


def _read(sides: list[Representation], sources: list[Source], args: argparse.Namespace) -> tuple[list[Table], Any]:
    """Read the points for each representation, and what they are coloured by."""
    coordinates = [() if (known := wanted_by(side, args.model)) is None else known.names for side in sides]
    labels = label_columns(sources, args.color)
    if len(sources) == 2:
        each = of_each(sources, args, labels, coordinates)
        first, second = (points_for(*of) for of in zip(sides, sources, each, strict=True))
        tables = list(matched(first, second))
        return tables, colors_of_pairs(tables, each, args.color) if args.color else None
    drop = [*args.drop, *(name for name in labels if name not in coordinates[0])]
    table = points_for(sides[0], sources[0], args, drop=drop)
    return [table], colors_of(table, args.color, args.header, args.decimal) if args.color else None


def _environment() -> Any:
    """Make what fills in the page, with everything escaped that comes from files."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("reports need Jinja: pip install '.[cli]' in sslcore's folder") from error
    return Environment(autoescape=True, undefined=StrictUndefined)


def _diagnosed(z: Any) -> dict[str, Any]:
    """Return numbers on the embedding of the data, and the words for them."""
    from ... import __version__, diagnostics
    from ...diagnostics._spectra import exponential_entropy, moments_of

    k = z.shape[-1]
    collapse = diagnostics.collapse_report(z)
    spectrum = moments_of(z).spectrum
    few = z[:: -(-len(z) // NEIGHBOURS_OF)]  # from the whole file: its head alone may be one class
    numbers: dict[str, tuple[float, str]] = {
        "effective rank": (exponential_entropy(spectrum[spectrum > 0]), f"entropy of the variances; at most {k}"),
        "RankMe": (collapse.rankme, f"entropy of the singular values; at most {k}, normal: above half of it"),
        "alpha-ReQ": (collapse.alpha, "exponent of the decay of the variances; normal: around 1"),
    }
    if z.ndim == 3 and z.shape[1] > 1:
        meaning = f"directions that tell samples apart despite the views; at most {min(k, len(z) - 1)}"
        numbers["LiDAR"] = (diagnostics.lidar(z), meaning)
    if len(few) >= 3:
        of_these = f"; of {len(few):,} of the samples" if len(few) < len(z) else ""
        learnt, dimension = diagnostics.cluster_learnability(few), diagnostics.intrinsic_dimension(few)
        numbers["cluster learnability"] = (
            learnt,
            f"share of samples whose nearest neighbour is of their k-means cluster{of_these}",
        )
        numbers["intrinsic dimension"] = (
            dimension,
            f"of the set that the samples lie on, by two neighbours{of_these}",
        )
    shown = [(name, _number(value), meaning) for name, (value, meaning) in numbers.items()]
    words = {"diagnostics": shown, "sentences": collapse.sentences, "version": __version__, "verdict": collapse.verdict}
    found = {name.lower().replace(" ", "_").replace("-", "_"): value for name, (value, _) in numbers.items()}
    return {"verdict": collapse.verdict, "diagnostics": found, "words": words}


def _words(
    fit: Any, sides: list[Representation], tables: list[Table], values: list[Any], found: list[dict[str, Any]]
) -> dict[str, Any]:
    """Put together what the page says of one modality, or of two."""
    words: dict[str, Any] = found[0].pop("words")
    words |= {
        "of_what": "",
        "where": "Right",
        "notes": [note for table in tables for note in table.notes],
        "settings": _settings(sides[0], tables[0].values.shape),
        "heads": HEADS,
        "components": _components(fit),
        "summary": fit.summary(brief=True),
    }
    if len(sides) == 1:
        return words
    other = found[1].pop("words")
    for name in ("sentences", "diagnostics"):
        words[name] = [
            _of_side(each, side) for side, of in zip(SIDES, (words, other), strict=True) for each in of[name]
        ]
    if words["verdict"] != other["verdict"]:
        words["verdict"] = f"{words['verdict']} of the first modality, {other['verdict']} of the second"
    settings = [
        _settings(replace(side, positives=fit.positives), table.values.shape)
        for side, table in zip(sides, tables, strict=True)
    ]
    agreed = [_number(value) for value in correlations(values)]
    return words | {
        "of_what": " of two modalities, functions of each that agree on pairs,",
        "where": "Middle and right, one modality each",
        "settings": _merged(*settings),
        "heads": (*HEADS, "correlation on these pairs"),
        "components": [(*row, rho) for row, rho in zip(words["components"], agreed, strict=True)],
    }


def _pictured(fit: Any, values: list[Any], color: Any) -> dict[str, Any]:
    """Return the figure, as one of ``svg`` and ``png``, or what kept it from being drawn."""
    shown = [z if z.ndim == 2 else z[:, 0] for z in values]
    kind = "svg" if len(shown) * len(shown[0]) <= DRAWN_AS_SHAPES else "png"
    if len(shown) == 1:
        drawn, failed = render("map_figure", fit, shown[0], color, kind=kind)
    else:
        drawn, failed = render("pair_figure", fit, shown, color, kind=kind)
    content = drawn or b""
    svg = content[content.find(b"<svg") :].decode() if kind == "svg" else ""
    png = base64.b64encode(content).decode() if kind == "png" else ""
    return {"svg": svg, "png": png, "failed": failed[0] if failed else ""}


def correlations(values: Sequence[Any]) -> list[float]:
    """Return the correlation of each component of one modality with that of the other, over pairs; NaN of constants."""
    import numpy as np

    x, y = (np.asarray(z, dtype=float) - np.mean(z, axis=0, dtype=float) for z in values)
    x, y = (z / np.where((top := np.abs(z).max(axis=0)) > 0, top, 1.0) for z in (x, y))
    with np.errstate(invalid="ignore"):
        rho = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return [float(each) for each in rho]


def _of_side(told: Any, side: str) -> Any:
    """Say of which modality a sentence is, or a row that begins with its name."""
    return f"{side} modality: {told}" if isinstance(told, str) else (f"{told[0]}, {side} modality", *told[1:])


def _merged(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """List the settings of two modalities: what both share once, the rest for each."""
    of_each = [dict(first), dict(second)]
    found = []
    for name in dict.fromkeys([*of_each[0], *of_each[1]]):
        values = [settings.get(name) for settings in of_each]
        if values[0] == values[1]:
            found.append((name, str(values[0])))
        else:
            found += [(f"{name}, {s} modality", v) for s, v in zip(SIDES, values, strict=True) if v is not None]
    return found


def _settings(rep: Representation, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """List what was asked for, and of what size the data are."""
    from ...fitting.frames import encoding_of

    sizes = [f"{shape[0]:,} samples"] + ([f"{shape[1]} views of each"] if len(shape) == 3 else [])
    found = [
        ("data", ", ".join([*sizes, f"{shape[-1]} coordinates"])),
        ("model", repr(rep.model)),
        ("components", f"{rep.n_components}, {rep.n_active} of them active"),
        ("reg (lambda)", f"{rep.reg:.6g}" + (", chosen on held-out samples" if rep.selection is not None else "")),
        ("beta", f"{rep.beta:g}"),
        ("averages", "over distinct views (unbiased)" if rep.unbiased else "over all views (biased)"),
        ("centred", "yes" if rep.center else "no"),
    ]
    if rep.positives:
        found.append(("positive pairs", rep.positives))
    if rep.standardization is not None:
        found.append(("standardised", repr(rep.standardization)))
    known = encoding_of(rep)
    if known is not None and known.named:
        found.append(("columns", ", ".join(known.columns)))
    return found


def _components(rep: Any) -> list[tuple[str, ...]]:
    rows = zip(rep.eigenvalues, rep.gamma, rep.invariance, rep.norms, strict=True)
    return [(str(i), *(_number(value) for value in row)) for i, row in enumerate(rows, 1)]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
