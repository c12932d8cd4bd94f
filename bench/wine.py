"""The example of docs/tables.md: wine.csv with names, words and empty cells, by few labels; accuracies, no times."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import sslcore

from .practice import accuracies
from .report import Row, require

LABELLED = (2, 5)
"""Labels of each class that a probe sees."""


def write(path: str | Path, rows: np.ndarray, rng: np.random.Generator) -> None:
    """Write these wines of scikit-learn with an id, a column of words that tells little, and some empty cells."""
    import polars
    from sklearn import datasets

    data = datasets.load_wine()
    names = [name.replace("/", "_") for name in data.feature_names]
    x = np.where(rng.random(data.data.shape) < 0.01, np.nan, data.data)[rows]
    columns: dict[str, Any] = {"id": [f"bottle-{i}" for i in rows]}
    columns |= {name: x[:, i] for i, name in enumerate(names)}
    columns |= {"region": rng.choice(["hills", "plain", "coast"], len(rows))}
    columns |= {"class": [str(data.target_names[i]) for i in data.target[rows]]}
    polars.DataFrame(columns).fill_nan(None).write_csv(path)


def run(quick: bool = False) -> dict[str, Any]:
    """Measure what the page calls `embedding`, `table.values`, and what it sets beside them."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "wine.csv")
        write(path, rng.permutation(178), rng)
        table = sslcore.tables.read(path, id="id", drop=["class"], categories="one-hot", missing="mean")
        labels = np.asarray(sslcore.tables.labels(f"{path}:class").values)
        fitted = sslcore.SSLEmbedding().fit(table.values)
    require("columns that are lost", abs(table.values.shape[1] - 16.0), 0.0)
    points = {
        "probe": fitted.transform(table.values),
        "risk": fitted.representation_.transform(table.values, scale="risk"),
        "standardised": sslcore.defaults.Standardization.of(table.values)(table.values),
        "raw": table.values,
    }
    n_draws = 10 if quick else 100
    found = {
        each: {name: 100 * accuracies(z, labels, each, n_draws, "ridge") for name, z in points.items()}
        for each in LABELLED
    }
    apart = {each: of["probe"] - of["standardised"] for each, of in found.items()}
    rows = [
        Row(
            f"wine.csv, {each} labels a class",
            "above standardised columns by two s.e.",
            ", ".join(f"{name} {values.mean():.1f} %" for name, values in found[each].items()),
            "",
            bool(apart[each].mean() > 2 * _error(apart[each])),
        )
        for each in LABELLED
    ]
    return {
        "draws": n_draws,
        "percent": {each: {name: values.mean() for name, values in of.items()} for each, of in found.items()},
        "largest_standard_error": max(
            _error(of["probe"] - values) for of in found.values() for name, values in of.items() if name != "probe"
        ),
        "rows": rows,
    }


def _error(values: np.ndarray) -> float:
    """Return the standard error of the mean of a sample's draws."""
    return float(values.std(ddof=1) / len(values) ** 0.5)
