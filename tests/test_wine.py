"""docs/tables.md: its commands and its code, run on a wine.csv made of scikit-learn's data."""

import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pytest

from sslcore.cli import main as cli
from sslcore.defaults import Standardization

from .few_labels import few_labels

pl = pytest.importorskip("polars")
pytest.importorskip("sklearn")
bench = pytest.importorskip("bench.wine", reason="benchmarks are not part of an installation")
PAGE = Path(__file__).parents[1] / "docs" / "tables.md"


@pytest.fixture
def wine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = rng.permutation(178)
    bench.write("wine.csv", rows[:150], rng)
    bench.write("new.csv", rows[150:], rng)


def test_the_page_on_tables(wine, capsys):
    pytest.importorskip("matplotlib")
    ran, scope = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for language, block in re.findall(r"```(python|bash)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
            if language == "bash":
                for line in block.splitlines():
                    assert cli.main(shlex.split(line)[1:]) == 0, capsys.readouterr().err
                    ran.append(line.split()[1])
            else:
                exec(block, scope)
    assert ran == ["fit", "transform", "probe"]
    new = pl.read_parquet("new.parquet")
    assert new["id"].to_list() == pl.read_csv("new.csv")["id"].to_list()
    predicted, told = pl.read_csv("predictions.csv"), pl.read_csv("new.csv")
    assert (predicted["id"] == told["id"]).all()
    assert pl.read_csv("wine-embedding.csv").columns[:2] == ["id", "component_1"]
    columns = Standardization.of(scope["table"].values)(scope["table"].values)
    ours, raw = (few_labels(values, scope["labels"]) for values in (scope["embedding"], columns))
    difference = ours - raw
    assert difference.mean() > 2 * difference.std() / len(difference) ** 0.5 > 0
