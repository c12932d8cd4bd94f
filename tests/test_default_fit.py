"""``sslcore fit FILE`` with no other option: from raw data to something better, and what it tells of the way."""

import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import tunables
from sslcore.augmentations import Affine, GaussianNoise, TimeWarp, Views
from sslcore.cli import main as cli
from sslcore.defaults import _choice
from sslcore.features import Identity
from sslcore.kernels import Exponential, Gaussian
from sslcore.probing import ridge_probe

from .comparators import assert_close
from .few_labels import few_labels

pl = pytest.importorskip("polars")
pytest.importorskip("matplotlib")

README = Path(__file__).parents[1] / "README.md"
QUICK = ["--reg", "1e-2", "--no-figure"]
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 3)) * [1.0, 40.0, 3000.0] + [0.0, 5.0, 1e4]
SERIES = RNG.normal(size=(40, 2, 20)).cumsum(axis=2)
IMAGES = RNG.normal(size=(40, 8, 8))
VIEWS = GaussianNoise(0.1).views(RNG.normal(size=(40, 3)), 2, seed=0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("t.csv", TABLE, delimiter=",", header="a,b,c", comments="")


def run(capsys, *argv):
    """The JSON document of a command that succeeds."""
    status = cli.main([*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return json.loads(out)


def refused(capsys, *argv):
    """The one line of a command that does not."""
    assert cli.main([*map(str, argv)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


# ---------------------------------------------------------------- wine


@pytest.fixture(scope="module")
def wine():
    return pytest.importorskip("sklearn.datasets").load_wine()


def write_wine(data, *, plain=False):
    """The measurements, which have unlike units, in random order with their class; an id and a column of words too."""
    rows = np.random.default_rng(0).permutation(len(data.data))
    columns = {name: data.data[rows, i] for i, name in enumerate(data.feature_names)}
    if not plain:
        columns = {"id": [f"bottle-{i}" for i in rows]} | columns
        columns["region"] = np.random.default_rng(1).choice(["hills", "plain", "coast"], len(rows))
    columns["class"] = [str(data.target_names[i]) for i in data.target[rows]]
    pl.DataFrame(columns).write_csv("wine.csv")
    return data.data[rows], data.target[rows]


def test_one_command_is_better_than_the_raw_columns(wine, capsys):
    x, labels = write_wine(wine)
    found = run(capsys, "fit", "wine.csv", "--id", "id", "--drop", "class", "--categories", "one-hot")
    assert found["n_coordinates"] == 16
    assert_close(found["standardization"]["deviation"][:13], x.std(axis=0), tol=1e-9)
    assert found["concerns"] == []
    report = Path("wine-report.txt").read_text()
    for reason in found["chosen"]:
        assert f"  {reason}\n" in report
    assert "standardised: each column by its mean and deviation" in found["chosen"]
    z = pl.read_csv("wine-embedding.csv").drop("id").to_numpy()
    columns = (x - x.mean(axis=0)) / x.std(axis=0)
    difference = few_labels(z, labels) - few_labels(columns, labels)
    assert difference.mean() > 2 * difference.std() / len(difference) ** 0.5 > 0
    probed = run(capsys, "probe", "wine-model.npz", "wine.csv", "wine.csv:class", "--drop", "class")
    assert (probed["scale"], probed["n_components"]) == ("probe", found["n_components"])
    assert probed["accuracy"] > 0.97
    given = pl.read_csv("wine.csv").drop("id", "region", "class").to_numpy()
    assert np.array_equal(given, x)
    words = pl.read_csv("wine.csv")["region"].to_numpy()
    points = np.column_stack([x, *((words == word).astype(float) for word in np.unique(words))])
    raw = ridge_probe((points - points.mean(axis=0)) / points.std(axis=0), labels)
    assert_close(probed["raw"]["accuracy"], 1 - raw.loo_errors[raw.regs == raw.reg].item(), tol=1e-12)
    command = ["probe", "wine-model.npz", "wine.csv", "wine.csv:class", "--drop", "class"]
    assert cli.main(command) == 0
    assert f"raw coordinates, standardised {probed['raw']['accuracy']:.3f} (" in capsys.readouterr().out


@pytest.mark.skipif(not README.exists(), reason="the README is not part of an installation")
def test_the_commands_of_the_readme(wine, capsys):
    _, labels = write_wine(wine)
    table = pl.read_csv("wine.csv")
    table[120:].drop("class").write_csv("new.csv")
    table[:120].write_csv("wine.csv")
    section = README.read_text(encoding="utf-8").split("## From a CSV file", 1)[1]
    commands = [shlex.split(line) for line in section.split("```")[1].splitlines() if line.startswith("sslcore ")]
    assert [command[1] for command in commands] == ["fit", "transform", "probe"]
    for command in commands:
        assert cli.main(command[1:]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert float(re.search(r"\d+ components of the model +([\d.]+)", out)[1]) > 0.95
    made = {f"wine-{what}" for what in ("embedding.csv", "figure.png", "model.npz", "report.txt")}
    made |= {"new-embedding.npy", "predictions.csv"}
    assert set(os.listdir()) == made | {"t.csv", "wine.csv", "new.csv"}
    predicted = pl.read_csv("predictions.csv")["prediction"].to_list()
    assert np.mean(np.array(predicted) == [wine.target_names[i] for i in labels[120:]]) > 0.9


def test_a_law_in_other_units_than_the_columns(wine, capsys):
    """Noise of 0.1 is nothing to a column of 1,000, which rules the distances: with it the probe was right on 0.72."""
    write_wine(wine, plain=True)
    law = ["--augment", "gaussian-noise:0.1", "--no-figure"]
    for options, standardized in ((law, True), ([*law, "--no-standardize", "--overwrite"], False)):
        found = run(capsys, "fit", "wine.csv", "--drop", "class", *options)
        assert (found["standardization"] is not None) is standardized
        accuracy = run(capsys, "probe", "wine-model.npz", "wine.csv", "wine.csv:class", "--drop", "class")["accuracy"]
        assert (accuracy > 0.97) is standardized
    assert "column proline holds 99.8 % of the variance" in found["concerns"][0]
    assert "views hardly differ from their samples" in found["concerns"][1]
    report = Path("wine-report.txt").read_text()
    assert f"concern     {found['concerns'][0]}" in report
    assert report.count("views hardly differ from their samples") == 1


# ---------------------------------------------------------------- what is chosen, and what is kept


def test_the_model_keeps_the_standardisation(capsys):
    found = run(capsys, "fit", "t.csv", *QUICK)
    rep = sslcore.load("t-model.npz")
    z = (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0)
    views = Views(z, GaussianNoise(1.0), 4, 0)
    expected = sslcore.pretrain(views, rep.model, rep.n_components, reg=1e-2, center=True)
    assert_close(found["eigenvalues"], expected.eigenvalues, tol=1e-7)
    assert_close(np.load("t-embedding.npy"), expected.transform(z, "probe"), tol=1e-6)
    run(capsys, "transform", "t-model.npz", "t.csv", "--out", "z.npy")
    assert np.array_equal(np.load("z.npy"), np.load("t-embedding.npy"))
    embedding = sslcore.SSLEmbedding(reg=1e-2).fit(TABLE)
    assert found["chosen"] == list(embedding.chosen_)
    assert_close(embedding.transform(TABLE), np.load("t-embedding.npy"), tol=1e-12)


def test_each_option_wins_by_itself(capsys):
    usual = run(capsys, "fit", "t.csv", *QUICK)
    told = {"model", "augmentation", "n_views", "n_components", "scale"}
    for option, value, name, expected in (
        ("--kernel", "exponential:2", "model", repr(Exponential(2.0))),
        ("--augment", "gaussian-noise:0.3", "augmentation", repr(GaussianNoise(0.3))),
        ("--views", 3, "n_views", 3),
        ("--components", 5, "n_components", 5),
        ("--scale", "unit", "scale", "unit"),
    ):
        found = run(capsys, "fit", "t.csv", *QUICK, option, value, "--overwrite")
        assert found[name] == expected != usual[name]
        assert {key: found[key] for key in told - {name}} == {key: usual[key] for key in told - {name}}
        assert len(found["chosen"]) == len(usual["chosen"]) - (option != "--views")
    assert_close(np.load("t-embedding.npy"), sslcore.load("t-model.npz").transform(TABLE, "unit"), tol=1e-12)


def test_the_help_has_the_numbers_that_are_chosen(capsys):
    assert cli.main(["fit", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        f"views of each sample (default: {_choice.N_VIEWS})",
        f"dimensions; >= 1 (default: {_choice.N_COMPONENTS}, of tables {_choice.FEWEST} to {_choice.N_COMPONENTS}, or",
        f"(default: nystrom:{_choice.LANDMARKS} of over {_choice.EXACT_UP_TO:,} views",
        f"differ by more than {_choice.UNLIKE:g} times",
        f"(default: {_choice.SCALE})",
    ):
        assert words in said


def test_a_path_has_the_same_defaults(capsys):
    fitted = run(capsys, "fit", "t.csv", *QUICK)
    found = run(capsys, "path", "t.csv", "--regs", "1e-2")
    assert_close(found["eigenvalues"][0][0], fitted["eigenvalues"], tol=1e-9)
    assert found["chosen"] == fitted["chosen"][:-1]  # but for the scale
    assert found["standardization"] == fitted["standardization"]


def test_columns_of_like_spread_stay_with_a_law(capsys):
    np.save("x.npy", TABLE / TABLE.std(axis=0) + 3.0)
    found = run(capsys, "fit", "x.npy", *QUICK, "--augment", "gaussian-noise:0.1")
    assert found["standardization"] is None
    assert "samples are taken as they are: columns are of like spread" in found["chosen"]
    standardized = run(capsys, "fit", "x.npy", *QUICK, "--augment", "gaussian-noise:0.1", "--standardize", "--out", "s")
    assert_close(standardized["standardization"]["mean"], (TABLE / TABLE.std(axis=0)).mean(axis=0) + 3.0, tol=1e-9)


def test_what_looks_wrong_is_said(capsys):
    np.savetxt("w.csv", np.column_stack([np.arange(40) + 7, np.ones(40), TABLE]), delimiter=",", header="n,one,a,b,c")
    text = Path("w.csv").read_text().removeprefix("# ")
    Path("w.csv").write_text(text)
    found = run(capsys, "fit", "w.csv", *QUICK)
    assert found["concerns"] == [
        "column one is constant: it tells nothing",
        "column n counts the rows: it tells nothing of a new sample; leave it out",
    ]
    far = run(capsys, "fit", "w.csv", *QUICK, "--drop", "n,one", "--augment", "gaussian-noise:9", "--overwrite")
    assert far["concerns"][0].startswith("views of one sample differ far more than samples do")
    np.save("c.npy", np.ones((9, 3)))
    assert "the data are constant: there is nothing to represent" in refused(capsys, "fit", "c.npy")


# ---------------------------------------------------------------- other data


@pytest.mark.parametrize(
    ("x", "options", "kind", "law"),
    [
        (IMAGES, ["--input", "images"], "images of 8 x 8", "Affine(image_shape=(8, 8)"),
        (IMAGES[..., None], [], "images of 8 x 8 x 1", "Affine(image_shape=(8, 8, 1)"),
        (
            SERIES,
            ["--input", "series"],
            "series of 2 channels at 20 times",
            "TimeWarp(scale=0.07, knots=4, channels=2)",
        ),
        (SERIES[:, 0], ["--input", "series"], "series of one channel, at 20 times", "TimeWarp("),
        (IMAGES, ["--augment", "affine:8x8"], None, "Affine(image_shape=(8, 8)"),
        (SERIES, ["--augment", "time-warp:0.3,channels=2"], None, "TimeWarp(scale=0.3, knots=4, channels=2)"),
    ],
)
def test_images_and_series(x, options, kind, law, capsys):
    np.save("x.npy", x)
    found = run(capsys, "fit", "x.npy", *QUICK, *options)
    assert (found["n"], found["n_views"], found["n_coordinates"]) == (40, 4, x[0].size)
    assert law in found["augmentation"]
    assert (
        any(reason.startswith(kind) for reason in found["chosen"]) if kind else "views" not in str(found["chosen"][:-1])
    )
    assert (found["standardization"] is not None) is (kind is not None)
    run(capsys, "transform", "x-model.npz", "x.npy", "--out", "z.npy")
    assert np.array_equal(np.load("z.npy"), np.load("x-embedding.npy"))


def test_an_array_of_three_axes_holds_views_unless_it_is_said(capsys):
    np.save("v.npy", VIEWS)
    found = run(capsys, "fit", "v.npy", *QUICK)
    assert (found["n_views"], found["augmentation"], found["standardization"]) == (2, None, None)
    points = VIEWS.reshape(-1, 3)
    assert found["model"] == repr(sslcore.defaults.choose(points, standardize=False).kernel)
    assert "holds (samples, views, coordinates); if it holds images or series, say --input" in (
        Path("v-report.txt").read_text()
    )
    np.save("v.npy", VIEWS * [1.0, 100.0, 1.0])
    found = run(capsys, "fit", "v.npy", *QUICK, "--input", "views", "--overwrite")
    assert_close(found["standardization"]["deviation"], points.std(axis=0) * [1.0, 100.0, 1.0], tol=1e-9)
    assert "if it holds" not in Path("v-report.txt").read_text()
    identity = run(capsys, "fit", "v.npy", *QUICK, "--features", "identity", "--overwrite")
    assert (identity["standardization"], identity["n_components"]) == (None, 3)
    assert "samples are taken as they are" in identity["chosen"]
    assert "column 1 holds 100 % of the variance" in identity["concerns"][0]
    for options, words in (
        (["--input", "samples"], "--input samples is for arrays (n, d), v.npy has the shape (40, 2, 3)"),
        (["--augment", "gaussian-noise:0.1"], "for images or series say --input"),
        (["--input", "views", "--views", "3"], "for views leave out --augment and --views"),
        (["--positives", "timelag:1"], "--positives is for samples, one a row"),
    ):
        assert words in refused(capsys, "fit", "v.npy", *QUICK, *options, "--overwrite")


def test_pairs_of_unlike_columns(capsys):
    found = run(capsys, "fit", "t.csv", *QUICK, "--positives", "neighbors:3")
    z = (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0)
    rep = sslcore.load("t-model.npz")
    law = sslcore.positives.Neighbors(3)
    expected = sslcore.pretrain(z, rep.model, found["n_components"], reg=1e-2, center=True, positives=law)
    assert_close(found["eigenvalues"], expected.eigenvalues, tol=1e-7)
    assert rep.standardization is not None


def test_mapped_files_are_standardised_when_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 0)
    np.save("x.npy", TABLE)
    options = ["--augment", "gaussian-noise:0.1", "--features", "nystrom:20", *QUICK]
    found = run(capsys, "fit", "x.npy", *options)
    assert found["standardization"] is None
    assert "samples are taken as they are: the file is mapped, not loaded" in found["chosen"]
    assert "--standardize loads x.npy" in refused(
        capsys, "fit", "x.npy", *options, "--standardize", "--memory", "500", "--overwrite"
    )
    asked = run(capsys, "fit", "x.npy", *options, "--standardize", "--overwrite")
    assert_close(asked["standardization"]["deviation"], TABLE.std(axis=0), tol=1e-9)
    gaps = TABLE.copy()
    gaps[0, 1] = np.nan
    np.save("x.npy", gaps)
    assert "nan" in refused(capsys, "fit", "x.npy", *options, "--overwrite")


def test_streams_are_taken_as_they_are(capsys):
    np.save("s-0.npy", VIEWS[:20] * [1.0, 100.0, 1.0])
    np.save("s-1.npy", VIEWS[20:] * [1.0, 100.0, 1.0])
    found = run(capsys, "fit", "s-*.npy", "--features", "identity", *QUICK)
    assert (found["n_components"], found["scale"], found["standardization"]) == (3, "probe", None)
    assert found["chosen"][-1] == "columns are taken as they are: a stream is read once"
    assert "column 1 holds 100 % of the variance" in found["concerns"][0]
    expected = sslcore.pretrain(VIEWS * [1.0, 100.0, 1.0], Identity(), 3, reg=1e-2, center=True)
    assert_close(np.load("s-embedding.npy"), expected.transform(VIEWS * [1.0, 100.0, 1.0], "probe"), tol=1e-8)
    assert "a stream is read once" in refused(capsys, "fit", "s-*.npy", "--features", "identity", "--standardize")


def test_flat_images_are_those_of_their_law(capsys):
    """Pixels have one unit: a law of images does not call for a standardisation of each."""
    np.save("flat.npy", (IMAGES * np.linspace(0.01, 1.0, 8)).reshape(40, -1))
    found = run(capsys, "fit", "flat.npy", *QUICK, "--augment", "affine:8x8", "--kernel", "gaussian:9")
    assert (found["standardization"], found["model"]) == (None, repr(Gaussian(9.0)))
    assert (found["augmentation"], found["n_views"]) == (repr(Affine((8, 8))), 4)
    warped = run(capsys, "fit", "flat.npy", *QUICK, "--augment", "time-warp:0.2,channels=8", "--out", "w")
    assert warped["augmentation"] == repr(TimeWarp(0.2, channels=8))
