"""``sslcore report``: one HTML page of all that a saved model tells about the data in a file."""

from __future__ import annotations

import argparse
import base64
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import COLOR, FILE, MODEL, PROGRESS, TABLE, UNSEEN, Parser, option
from .common import (
    Report,
    check_outputs,
    colors_of,
    is_column,
    noted,
    open_model,
    points_for,
    refuse_outputs,
    render,
    require_matplotlib,
    wanted_by,
)
from .progress import progress

if TYPE_CHECKING:
    from ...fitting.representation import Representation

DRAWN_AS_SHAPES = 1500
"""Points up to which the figure is SVG; with more of them a PNG is smaller."""

NEIGHBOURS_OF = 3000
"""Samples whose neighbours are looked for: their time grows with the square."""

SCALE = "risk"
"""The scale that is drawn and diagnosed, of the minimiser itself, whose variances are mu.  That of probes shrinks rough
components on purpose, which no diagnostic should take for a collapse."""

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
<p>A representation learnt without labels: the exact minimiser of the regularised VICReg risk. It has
<strong class="{{ 'good' if verdict == 'no collapse' else 'bad' }}">{{ verdict }}</strong> on these data.</p>
<h2>Settings</h2>
<table>{% for name, value in settings %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<h2>Spectrum and map</h2>
{% if svg %}{{ svg|safe }}{% elif png %}<img alt="the spectrum, and the map" src="data:image/png;base64,{{ png }}">
{% else %}<p class="bad">{{ failed }}</p>{% endif %}
<p class="quiet">Left: eigenvalues mu of the components, active ones (mu &gt; 0) in blue. Right: each point is a sample,
at the values sqrt(mu) f of the first two components (scale {{ scale }})
{%- if color %}, coloured by {{ color }}{% endif %}.</p>
<h2>Collapse</h2>
<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>
<h2>Diagnostics on these data</h2>
<p class="quiet">Of the minimiser itself, sqrt(mu) f (scale {{ scale }}). What a probe takes is in another scale, which
shrinks rough components: sslcore transform and probe --scale.</p>
<table>{% for name, value, meaning in diagnostics %}
<tr><th>{{ name }}</th><td>{{ value }}</td><td class="quiet">{{ meaning }}</td></tr>{% endfor %}</table>
<h2>Components</h2>
<table class="numbers"><tr><th>i</th><th>mu</th><th>1 - mu</th><th>invariance</th><th>squared norm</th></tr>
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
    """
    parser.add(
        MODEL,
        FILE,
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
        source = parse_sources(args.file if isinstance(args.file, list) else [args.file])
        out = Path(f"{source.stem}-report.html") if args.out is None else args.out
        check_outputs({"--out (.html)": out}, [*(each.path for each in source.each), args.model])
        refuse_outputs(source)
        require_matplotlib()
        environment = _environment()
        with progress(
            args.progress, {"reading": 0.2 + source.size() / 20e6, "embedding": 1.0, "writing": 2.0}
        ) as begin:
            begin("reading")
            rep = open_model(args.model, of_either=False)
            wanted, dropped = wanted_by(rep, args.model), list(args.drop)
            if args.color and is_column(source, args.color) and (wanted is None or args.color not in wanted.names):
                dropped.append(args.color)
            table = points_for(rep, source, args, drop=dropped)
            color = colors_of(table, args.color, args.header, args.decimal) if args.color else None
            begin("embedding")
            z = rep.transform(table.values, SCALE)
            found = _diagnosed(rep, z)
            begin("writing")
            page = _pictured(rep, z, color)
            words = {"model": args.model.name, "data": str(source), "color": args.color, "notes": table.notes}
            words |= {
                "scale": SCALE,
                "settings": _settings(rep, table.values.shape),
                "components": _components(rep),
                **found.pop("words"),
            }
            text = environment.from_string(PAGE).render(**words, **page)
            with replacing(out) as file:
                file.write(text.encode("utf-8", "backslashreplace"))
        seconds = time.perf_counter() - started
        document = {"model": str(args.model), "file": str(source), "n": len(z), "output": str(out), "seconds": seconds}
        document |= found | {"scale": SCALE, "notes": table.notes}
        lines = [f"{source}: {len(z)} samples by {args.model}: {found['verdict']}", *noted(table.notes)]
        failed = (str(page["failed"]),) if page["failed"] else ()
        return Report(document, "\n".join([*lines, "", f"{seconds:.1f} s in all; page: {out}"]), failed)

    return run


def _environment() -> Any:
    """Make what fills in the page, with everything escaped that comes from files."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("reports need Jinja: pip install '.[cli]' in sslcore's folder") from error
    return Environment(autoescape=True, undefined=StrictUndefined)


def _diagnosed(rep: Representation, z: Any) -> dict[str, Any]:
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
    words["summary"] = rep.summary(brief=True)
    return {"verdict": collapse.verdict, "diagnostics": found, "words": words}


def _pictured(rep: Representation, z: Any, color: Any) -> dict[str, Any]:
    """Return the figure, as one of ``svg`` and ``png``, or what kept it from being drawn."""
    first = z if z.ndim == 2 else z[:, 0]
    kind = "svg" if len(first) <= DRAWN_AS_SHAPES else "png"
    drawn, failed = render("map_figure", rep, first, color, kind=kind)
    content = drawn or b""
    svg = content[content.find(b"<svg") :].decode() if kind == "svg" else ""
    png = base64.b64encode(content).decode() if kind == "png" else ""
    return {"svg": svg, "png": png, "failed": failed[0] if failed else ""}


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


def _components(rep: Representation) -> list[tuple[str, ...]]:
    rows = zip(rep.eigenvalues, rep.gamma, rep.invariance, rep.norms, strict=True)
    return [(str(i), *(_number(value) for value in row)) for i, row in enumerate(rows, 1)]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
