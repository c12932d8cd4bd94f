"""The measured tables of README.md and docs/scale.md: ``python -m bench.pages`` writes them from bench/results.

Each table stands between two marks; tests/test_measured.py fails where one is not that of the files.  (The pages of the
site have theirs from the same files, by docs/_ext/measured.py.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .practice import judged

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
END = "<!-- end of the table -->"


def result(name: str) -> dict[str, Any]:
    """Read what the benchmark of this name has measured, and whether beside other work."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {**content["results"][0], "busy": busy(content["machine"])}


def busy(machine: dict[str, Any]) -> bool:
    """Tell whether other work had kept each core of the machine busy twice over, when the benchmark began."""
    load: float = machine["load_average"][0]
    return load > 2 * machine["cores"]


def notes(found: dict[str, Any], *rows: int) -> str:
    """Say so if one of these rows of a benchmark has not reached what was set, or was measured beside other work."""
    missed = " (**missed**)" if any(found["rows"][row]["met"] is False for row in rows) else ""
    return (" (beside other work)" if found["busy"] else "") + missed


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def seconds(value: float) -> str:
    """Write a duration for people."""
    return f"{value / 60:.1f} minutes" if value >= 60 else f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def as_told(found: dict[str, Any], *rows: int) -> list[tuple[str, ...]]:
    """Return some rows of a benchmark in its own words."""
    told = [(number, found["rows"][number]) for number in rows]
    return [(row["work"], row["to_reach"], row["measured"] + notes(found, number)) for number, row in told]


def speed() -> str:
    """Make the table of the README: a row for each kind of work, and all kinds whose rows miss what was set."""
    exact, large, path = map(result, ("exact", "exact_large", "path"))
    far, gram = map(result, ("matrix_free_large", "gram"))
    features, transform, loading, streamed = map(result, ("features", "transform", "import", "stream_large"))
    kinds = ("exponential(.2)", "Gaussian(.3)", "kernel PCA, exponential(.2)")
    alone = [far["times"][kind] for kind in kinds]
    wide = [case for case in gram["cases"] if case["d"] == 784 and case["dtype"] == "float64"]
    points = {case["d"]: case for case in transform["cases"]}
    fit, dense = exact["times"]["fit"]["best"], exact["times"]["dense"]["best"]
    whole, bare = large["times"]["fit"]["best"], large["times"]["gram"]["best"] + large["times"]["cholesky"]["best"]
    made, least = features["times"]["fit"]["best"], features["times"]["bare"]["best"]
    rows = [
        (
            "exact pretraining, half-moons, N = 4,000 views, against the paper's dense method (pinvh + eigh)",
            "80 times faster",
            f"**{exact['ratio']:.0f} times** ({fit:.3f} s against {dense:.0f} s; eigenvalues equal to "
            f"{exact['errors']['eigenvalues']:.0e})" + notes(exact, 0),
        ),
        (
            "exact pretraining, N = 20,000 views, against one Gram + one Cholesky of the contrast matrix",
            "at most 1.3 times; 0.9 x 8 N^2 bytes",
            f"{large['bare']:.2f} times ({whole:.1f} s against {bare:.1f} s); "
            f"{large['peak_bytes'] / (8 * 20_000**2):.2f} x 8 N^2 ({large['peak_bytes'] / 1e9:.1f} GB)"
            + notes(large, 0, 1),
        ),
        (
            "exact pretraining without the matrix, N = 100,000 views (it would take 80 GB), k = 5, reg 1e-5: "
            "exponential / Gaussian kernel; kernel PCA, k = 16",
            "12 / 3 / 5 minutes, 6 GiB",
            " / ".join(f"{found['seconds'] / 60:.1f}" for found in alone)
            + f" minutes, at most {max(found['peak_bytes'] for found in alone) / 2**30:.1f} GiB"
            + notes(far, 0, 1, 2),
        ),
        (
            "20 lambdas with `pretrain_path`, N = 2,000 / 4,000, against one fit",
            "at most 6 times",
            f"{path['exact moons']['ratio']:.1f} / {path['exact large']['ratio']:.1f} times" + notes(path, 2, 4),
        ),
        *as_told(result("search"), 0, 1),
        *as_told(result("nested"), 0),
        *as_told(result("prefix_probes"), 0),
        *as_told(result("fields"), 0),
        *as_told(result("stream"), 0),
        (
            f"{streamed['rows'][0]['work']}, also killed on the way",
            "tens of GiB in minutes, under 512 MiB",
            f"{streamed['rows'][0]['measured']}; {streamed['rows'][2]['measured']}" + notes(streamed, 0, 1, 2),
        ),
        *as_told(result("dask"), 0),
        (
            "Gram 8,000 x 8,000, exponential / Gaussian, d = 784, against scikit-learn, in a loop (`out=`)",
            "1.2 times faster",
            " / ".join(f"{case['ratio']:.1f}" for case in wide)
            + " times ("
            + " / ".join(f"{case['times']['into']['best']:.2f}" for case in wide)
            + " s)"
            + notes(gram, 2),
        ),
        (
            "10^6 views (d = 32, made on the fly), Nystrom r = 1,024, against the bare block products",
            "at most 1.6 times",
            f"{features['ratio']:.2f} times ({made:.0f} s against {least:.0f} s)" + notes(features, 0),
        ),
        (
            "transform of 10^5 points on 4,000 centres, k = 16, against scikit-learn's KernelPCA",
            "10 times faster",
            ", ".join(
                f"{points[d]['ratio']:.1f} times (d = {d}, {points[d]['times']['sslcore']['best']:.2f} s)"
                + notes(transform, row)
                for row, d in ((0, 2), (2, 32))
            )
            + f"; {max(max(case['peak_bytes']) for case in points.values()) / 2**20:.0f} MiB",
        ),
        (
            "`import sslcore`",
            "0.25 s",
            f"{sorted(loading['seconds']['sslcore'])[3]:.3f} s; a second process compiles "
            f"{'nothing' if loading['compiler_passes'] == 0 else 'again'}" + notes(loading, 0, 1),
        ),
    ]
    return markdown(("work", "to reach", "measured"), rows)


def rounded(value: float) -> str:
    """Write a large number with two digits that mean something."""
    return f"{float(f'{value:.2g}'):,.0f}"


def leaves() -> str:
    """Make the table of what a leaf of a stream takes, beside the cost model."""
    found = result("leaves")
    rows = [
        (
            f"{case['r']:,}",
            f"{case['rate'] / 1e9:.0f} GFLOP/s",
            f"{1e3 * case['model']:.3g}",
            f"{1e3 * case['measured']:.3g}" + notes(found, row),
            rounded(found["views"] / case["measured"]),
            f"{1e3 * case['added']:.2g}",
        )
        for row, case in enumerate(found["cases"])
    ]
    views = rounded(found["views"] / found["nystrom"])
    rows.append(("Nystrom, r = 1,024, d = 128", "", "", f"{1e3 * found['nystrom']:.3g}", views, ""))
    head = ("r", "F, measured", "model: ms a leaf", "measured", "views a second and core", "adding two sums, ms")
    return markdown(head, rows)


MACHINES, CORES, READ, RUN, SUMS = 100, 32, 2e9, 320, 9.5
"""Machines and their cores, bytes that each reads a second, leaves of a task, and the sums that it leaves."""


def clusters() -> str:
    """Make the table of 10^12 views on a cluster, from what a leaf takes here."""
    found = result("leaves")
    rows = []
    for case in found["cases"]:
        r, n_leaves = case["r"], 1e12 / found["views"]
        core_hours, n_bytes = n_leaves * case["measured"] / 3600, 1e12 * 4 * r
        wire = n_leaves / RUN * SUMS * 8 * r * r
        summed, reading = core_hours / (MACHINES * CORES), n_bytes / (MACHINES * READ) / 3600
        rows.append(
            (
                f"{r:,}",
                rounded(core_hours),
                f"{n_bytes / 1e15:.2g} PB",
                f"{60 * summed:.2g} minutes" if summed < 1 else f"{summed:.1f} hours",
                f"{reading:.2g} hours",
                f"{wire / 1e12:.0f} TB" if wire > 1e13 else f"{wire / 1e12:.2g} TB",
            )
        )
    sums = f"{MACHINES} machines of {CORES} cores: sums"
    head = (
        "r",
        "core hours",
        "data",
        sums,
        f"reading at {READ / 1e9:.0f} GB/s each",
        f"sums on the wire, tasks of {RUN} leaves",
    )
    return markdown(head, rows)


def best(accuracy: float, apart: float) -> str:
    """Write an accuracy, in bold where it is above the best of the others."""
    return f"**{accuracy:.3f}**" if apart > 0 else f"{accuracy:.3f}"


def practice() -> str:
    """Say the verdict on real data and few labels, and make the table, of a ridge probe."""
    found = result("practice")
    rows, shown = [], judged(found["compared"])
    for name in dict.fromkeys(row["set"] for row in shown):
        here = [row for row in shown if row["set"] == name]
        cells = {
            row["labels_a_class"]: f"{best(row['ours'], row['difference'])}, {row['rivals']['raw']:.3f}, "
            f"{row['rivals'][row['best']]:.3f} ({row['best']}): "
            f"{100 * row['difference']:+.1f} ± {100 * row['standard_error']:.1f}"
            for row in here
        }
        rows.append((name, here[0]["role"], cells.get(5, ""), cells.get(10, "")))
    head = ("set", "role", "5 labels a class: ours, raw, best of all others, difference in points", "10 labels a class")
    verdict = found["rows"][-1]
    told = (
        f"The aim for {verdict['work']} ({verdict['to_reach']}; above means at 5 and at 10 labels, below at one of "
        f"them) is {'reached' if verdict['met'] else '**missed**'}: {verdict['measured']}."
    )
    return f"{told}\n\n{markdown(head, rows)}"


TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "speed": (ROOT / "README.md", speed),
    "practice": (ROOT / "README.md", practice),
    "leaves": (ROOT / "docs" / "scale.md", leaves),
    "clusters": (ROOT / "docs" / "scale.md", clusters),
}


def with_table(page: str, name: str) -> str:
    """Return the page with this table, as the files have it, between its marks."""
    begin = f"<!-- the table of python -m bench.pages: {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{TABLES[name][1]()}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    """Write all tables."""
    for name, (path, _) in TABLES.items():
        path.write_text(with_table(path.read_text(encoding="utf-8"), name), encoding="utf-8")
        print(f"{name}: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
