"""Two modalities on the command line: ``sslcore fit FILE --with PARTNER`` and ``--modality``."""

import json
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore.cli import main as cli
from sslcore.cli.commands.progress import Progress
from sslcore.features import Identity
from sslcore.kernels import Exponential, Gaussian

from .comparators import assert_close

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(40, 2))
X, Y = np.hstack([SHARED, RNG.normal(size=(40, 1))]), SHARED + 0.3 * RNG.normal(size=(40, 2))
FIT = ["fit", "x.npy", "--with", "y.csv", "--components", "2", "--reg", "1e-2", "--no-figure"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    rows = [",".join(repr(float(v)) for v in row) for row in Y]
    (tmp_path / "y.csv").write_text("\n".join(["u,v", *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "models"),
    [
        (["--kernel", "gaussian:1", "--with-kernel", "exponential:2"], (Gaussian(1.0), Exponential(2.0))),
        (["--features", "identity"], (Identity(), Identity())),
    ],
    ids=["kernels", "features"],
)
def test_a_fit_is_that_of_pretrain(folder, capsys, options, models):
    assert cli.main([*FIT, *options, "--scale", "risk", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    same = sslcore.pretrain((X, Y), models, 2, reg=1e-2, center=True)
    assert np.allclose(found["eigenvalues"], same.eigenvalues, atol=1e-9)
    for name, z in zip(("x-embedding.npy", "x-with-embedding.npy"), same((X, Y)), strict=True):
        assert_close(np.load(name), z, tol=1e-7)
    assert "row i of one file with row i of the other" in (folder / "x-report.txt").read_text()
    (folder / "turned.csv").write_text("v,u\n" + "\n".join(f"{b!r},{a!r}" for a, b in Y.tolist()) + "\n")
    transform = ["transform", "x-model.npz", "turned.csv", "--scale", "risk", "--out", "z.npy", "--modality"]
    assert cli.main([*transform, "second"]) == 0
    assert_close(np.load("z.npy"), same((None, Y)), tol=1e-7)  # columns are matched by name


def test_what_is_not_said_is_chosen_for_each(folder, capsys):
    assert cli.main([*FIT, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kernels = [sslcore.defaults.choose(part).kernel for part in (X, Y)]
    assert [part["model"] for part in found["modalities"]] == [repr(kernel) for kernel in kernels]
    assert sslcore.load("x-model.npz").second.standardization is not None


def test_embeddings_of_an_earlier_partner_go(folder, capsys):
    assert cli.main(FIT) == 0
    Path("other-with-embedding.npy").write_bytes(b"of another fit")
    alone = ["fit", "x.npy", "--components", "2", "--reg", "1e-2", "--no-figure"]
    assert cli.main(alone) == 2
    assert "x-with-embedding.npy" in capsys.readouterr().err
    assert cli.main([*alone, "--overwrite"]) == 0
    assert sorted(path.name for path in folder.glob("*-with-*")) == ["other-with-embedding.npy"]


def test_values_of_the_partner_belong_to_the_fit(folder, capsys):
    assert cli.main(FIT) == 0
    assert cli.main(["transform", "x-model.npz", "y.csv", "--modality", "second", "--out", "x-with-embedding.npy"]) == 2
    assert "x-with-embedding.npy belongs to the fit x-model.npz" in capsys.readouterr().err
    assert cli.main(["fit", "x-with-embedding.npy", "--no-figure", "--reg", "1e-2"]) == 2
    assert "x-with-embedding.npy is named as what sslcore writes, beside x-model.npz" in capsys.readouterr().err
    np.save("x-1.npy", np.stack([X, X + 0.1], axis=1))
    options = ["--features", "identity", "--no-figure", "--reg", "1e-2", "--out", "x", "--overwrite"]
    assert (
        cli.main(["fit", "x-[1w]*.npy", *options]) == 0
    )  # the pattern matches the values of the fit before, which are no data
    other = ["fit", "y.csv", "--with", "x-embedding.npy", "--no-figure", "--reg", "1e-2"]
    assert cli.main(other) == 2
    assert "x-embedding.npy is named as what sslcore writes" in capsys.readouterr().err
    np.save("x-with-embedding.npy", X)
    (folder / "x-model.npz").rename("x-with-model.npz")  # a prefix that ends in -with
    (folder / "x.npy").rename("data.npy")
    assert cli.main(["fit", "x-with-embedding.npy", "--no-figure", "--reg", "1e-2"]) == 2
    assert "beside x-with-model.npz" in capsys.readouterr().err


def test_a_search_tells_how_far_it_is(folder, monkeypatch):
    words = []
    monkeypatch.setattr(Progress, "advance", lambda self, fraction, word="": words.append(word))
    assert cli.main([*FIT[:-3], "--no-figure", "--features", "identity"]) == 0
    assert any("fold 1 of" in word for word in words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*FIT, "--augment", "gaussian-noise:1"], "leave out --augment"),
        ([*FIT, "--positives", "timelag:1"], "leave out --positives"),
        ([*FIT, "--features", "identity", "--with-kernel", "linear"], "leave out --with-kernel"),
        ([*FIT, "--with", "short.npy"], "must be as many: x.npy has 40, short.npy has 39"),
        (["fit", "x.npy", "--with-kernel", "linear"], "--with-kernel is for the file of --with"),
        (["fit", "*.npy", "--with", "y.csv", "--features", "identity"], "read as a whole"),
        (["transform", "m.npz", "x.npy"], "holds two modalities: say which one"),
        (["report", "m.npz", "x.npy"], "m.npz holds two modalities: add the other file, --with PARTNER, or say which"),
        (["report", "m.npz", "x.npy", "--with", "y.csv", "--modality", "first"], "leave out --modality"),
        (["report", "one.npz", "x.npy", "--with", "y.csv"], "one.npz holds one modality: leave out --with"),
        (["report", "m.npz", "x.npy", "--with", "short.npy"], "must be as many: x.npy has 40, short.npy has 39"),
        ([*FIT, "--drop", "w"], "there is no column 'w' in y.csv; columns: u, v"),
        ([*FIT, "--id", "w"], "there is no column 'w' in y.csv"),
        (["fit", "x.npy", "--with", "short.npy", "--drop", "w"], "x.npy is an array"),
        (["fit", "x.npy", "--with", "x.npy", "--categories", "one-hot"], "words of a table, x.npy is an array"),
        (["fit", "views.npy", "--with", "y.csv"], "views.npy has the shape (40, 2, 3)"),
        (["transform", "one.npz", "x.npy", "--modality", "first"], "holds one modality: leave out --modality"),
    ],
)
def test_what_is_refused(folder, capsys, words, message):
    np.save("short.npy", Y[:39])
    np.save("views.npy", np.stack([X, X + 0.1], axis=1))
    sslcore.pretrain((X, Y), (Gaussian(1.0), Gaussian(1.0)), 2, reg=1e-2).save("m.npz")
    sslcore.pretrain(np.stack([X, X + 0.1], axis=1), Gaussian(1.0), 2, reg=1e-2).save("one.npz")
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------- tables, whose rows are pairs


def write(name, columns):
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(str(cell) for cell in row) for row in rows)]
    Path(name).write_text("\n".join(lines) + "\n")


@pytest.fixture
def tables(folder):
    """Two tables: words in one, a cell without a value in each, names of the rows in both, and labels in one."""
    names = [f"p{i}" for i in range(40)]
    x = {"name": names, "a": X[:, 0].tolist(), "b": X[:, 1].tolist(), "kind": ["red", "blue"] * 20}
    y = {"label": ["low", "high"] * 20, "u": Y[:, 0].tolist(), "name": names, "v": Y[:, 1].tolist()}
    x["b"][3] = y["u"][7] = ""
    write("x.csv", x)
    write("y.csv", y)
    return x, y


TABLES = ["fit", "x.csv", "--with", "y.csv", "--components", "2", "--reg", "1e-2", "--id", "name", "--scale", "risk"]
READ = ["--missing", "drop", "--categories", "one-hot", "--color", "label"]


def test_options_hold_for_the_file_that_has_the_column(tables, capsys):
    pytest.importorskip("polars")
    assert cli.main([*TABLES, *READ, "--features", "identity", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = np.delete(np.arange(40), [3, 7])
    kinds = np.stack([rows % 2 == 1, rows % 2 == 0], axis=1)  # blue, red
    pair = np.hstack([X[rows, :2], kinds]), Y[rows]
    same = sslcore.pretrain(pair, (Identity(), Identity()), 2, reg=1e-2, center=True)
    assert np.allclose(found["eigenvalues"], same.eigenvalues, atol=1e-9)
    assert [part["columns"] for part in found["modalities"]] == [["a", "b", "kind=blue", "kind=red"], ["u", "v"]]
    assert found["n"] == 38
    assert any("of the partner in y.csv without a value: 1 more row" in n for n in found["modalities"][0]["notes"])
    for name, z in zip(("x-embedding.csv", "x-with-embedding.csv"), same(pair), strict=True):
        lines = [line.split(",") for line in Path(name).read_text().splitlines()]
        assert lines[0] == ["name", "component_1", "component_2"]
        assert [line[0] for line in lines[1:]] == [f"p{i}" for i in rows]
        assert_close(np.array([line[1:] for line in lines[1:]], float), z, tol=1e-7)
    assert found["outputs"]["figure"] == "x-figure.png"
    # the model keeps how each table is read
    assert (
        cli.main(["transform", "x-model.npz", "x.csv", "--modality", "first", "--scale", "risk", "--out", "z.csv"]) == 0
    )
    assert len(Path("z.csv").read_text().splitlines()) == 1 + 39  # of this file alone one row has no value
    rep = sslcore.load("x-model.npz")
    assert rep.first.table.categories == {"kind": ["blue", "red"]}
    assert rep.second.table.columns == ["u", "v"]


def test_means_leave_every_row(tables, capsys):
    assert cli.main([*TABLES, "--missing", "mean", "--drop", "kind,label", "--no-figure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 40
    assert [part["columns"] for part in found["modalities"]] == [["a", "b"], ["u", "v"]]
    means = sslcore.load("x-model.npz").second.table.means
    assert np.allclose(means, [np.delete(Y[:, 0], 7).mean(), Y[:, 1].mean()])


def test_names_of_one_file_are_those_of_the_pairs(tables, folder):
    write("y.csv", {"u": Y[:, 0].tolist(), "v": Y[:, 1].tolist()})
    options = ["--missing", "drop", "--drop", "kind", "--no-figure"]
    assert cli.main([*TABLES, *options]) == 0
    assert Path("x-with-embedding.csv").read_text().splitlines()[1].startswith("p0,")
    assert (
        cli.main(["fit", "x.csv", "--with", "y.csv", "--reg", "1e-2", *options, "--drop", "name", "--overwrite"]) == 0
    )
    assert sorted(path.name for path in folder.glob("x-*embedding*")) == ["x-embedding.npy", "x-with-embedding.npy"]


def test_rows_with_two_names(tables, capsys):
    x, y = tables
    write("y.csv", y | {"name": ["p0", "p2", "p1", *y["name"][3:]]})
    assert cli.main([*TABLES, *READ]) == 2
    told = "row 2 is 'p1' in x.csv, 'p2' in y.csv (--id name): bring both into one order"
    assert told in capsys.readouterr().err
    write("y.csv", y | {"u": [""] * 20 + y["u"][20:]})
    write("x.csv", x | {"b": x["b"][:20] + [""] * 20})
    assert cli.main([*TABLES, *READ]) == 2
    assert "no row of x.csv and its partner in y.csv both have all values" in capsys.readouterr().err


def test_words_of_rows_that_the_partner_loses(tables, capsys):
    x, _ = tables
    x["kind"][7] = "green"  # whose partner has no value
    write("x.csv", x | {"one": [1] * 40})
    assert cli.main([*TABLES, *READ, "--no-figure", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["modalities"]
    assert first["columns"] == ["a", "b", "kind=blue", "kind=red", "one"]
    assert "left out, for cells of the partner in y.csv without a value: 1 more row (row 8)" in first["notes"]
    assert "left out, as words of none of the rows that stay: kind=green" in first["notes"]
    assert sslcore.load("x-model.npz").first.table.categories == {"kind": ["blue", "red"]}
    assert [any("constant" in told for told in each["concerns"]) for each in (first, second)] == [True, False]
    assert "concern     column one is constant" in Path("x-report.txt").read_text()


def test_labels_of_both_files_are_the_same(tables, capsys):
    x, y = tables
    write("x.csv", x | {"label": y["label"]})
    assert cli.main([*TABLES, *READ, "--no-figure"]) == 0
    write("x.csv", x | {"label": [*y["label"][:9], "low", *y["label"][10:]]})
    assert cli.main([*TABLES, *READ, "--no-figure", "--overwrite"]) == 2
    told = "'label' of row 10 is 'low' in x.csv, 'high' in y.csv (--color label): bring both into one order"
    assert told in capsys.readouterr().err


def test_a_mapped_file_is_standardised_within_the_budget(folder, capsys, monkeypatch):
    monkeypatch.setattr("sslcore.tunables.TABLE_MAPPED_BYTES", 1)
    assert cli.main([*FIT, "--features", "identity", "--standardize", "--memory", "900"]) == 2
    assert "--standardize loads x.npy" in capsys.readouterr().err


# ---------------------------------------------------------------- what a model is, and what it tells of data


def test_info_says_both_modalities(folder, capsys):
    rep = sslcore.pretrain((X, Y), (Gaussian(1.0), Exponential(2.0)), 2, reg=1e-2, center=True)
    rep.save("m.npz")
    assert cli.main(["info", "m.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first model"], found["second model"]) == ("Gaussian(scale=1.0)", "Exponential(scale=2.0)")
    assert (found["first coordinates"], found["second coordinates"]) == (3, 2)
    assert np.allclose(found["canonical correlations"], rep.canonical_correlations())
    assert found["components"] == 2
    assert cli.main(["info", "m.npz"]) == 0
    assert f"canonical correlations  {rep.canonical_correlations()[0]:.4f}" in capsys.readouterr().out
    sslcore.pretrain((X, Y), (Gaussian(1.0), Gaussian(1.0)), 2, reg=1e-2, beta=0.0).save("m.npz")
    assert cli.main(["info", "m.npz", "--json"]) == 0
    assert "canonical correlations" not in json.loads(capsys.readouterr().out)


def test_report_of_pairs(tables, capsys):
    pytest.importorskip("jinja2")
    assert cli.main([*TABLES, *READ, "--no-figure"]) == 0
    capsys.readouterr()
    assert cli.main(["report", "x-model.npz", "x.csv", "--with", "y.csv", "--color", "label", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows, rep = np.delete(np.arange(40), [3, 7]), sslcore.load("x-model.npz")
    assert (found["n"], found["with"], found["output"]) == (38, "y.csv", "x-report.html")
    u, v = rep((np.hstack([X[rows, :2], rows[:, None] % 2 == 1, rows[:, None] % 2 == 0]), Y[rows]))
    correlations = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(2)]
    assert np.allclose(found["correlations"], correlations)
    for name, z in (("first", u), ("second", v)):
        assert found[name]["diagnostics"]["rankme"] == pytest.approx(sslcore.diagnostics.rankme(z))
    page = Path("x-report.html").read_text()
    assert page.count("<svg") == 1
    assert "Middle and right, one modality each" in page
    assert "coloured by label" in page
    assert f"<td>{correlations[0]:.4g}</td>" in page
    for side in (rep.first, rep.second):
        assert repr(side.model) in page
    assert "model, first modality" in page
    assert "beta, first modality" not in page  # which both have alike
    assert cli.main(["report", "x-model.npz", "x.csv", "--modality", "first", "--out", "one.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 39


def test_a_picture_of_pairs_has_a_map_of_each(folder):
    pytest.importorskip("matplotlib")
    from sslcore.studies.figures import pair_figure

    rep = sslcore.pretrain((X, Y), (Gaussian(1.0), Gaussian(1.0)), 2, reg=1e-2, center=True)
    values = rep((X, Y))
    spectrum, first, second = pair_figure(rep, values, np.arange(40) % 3).axes[:3]
    assert spectrum.get_title() == "spectrum: 2 of 2 active"
    assert (first.get_xlabel(), first.get_ylabel()) == ("component 1", "component 2")
    assert second.get_title() == 'second modality, scale "risk"'
    assert pair_figure(rep, values, scale="probe").axes[1].get_title() == 'first modality, scale "probe"'
    for panel, z in ((first, values[0]), (second, values[1])):
        drawn = np.concatenate([np.asarray(points.get_offsets()) for points in panel.collections])
        assert_close(drawn[np.lexsort(drawn.T)], z[np.lexsort(z.T)], tol=1e-12)
    assert first.get_xlim() == second.get_xlim()
    assert first.get_legend() is None
    assert len(second.get_legend().get_texts()) == 3
