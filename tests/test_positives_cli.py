"""``--positives`` on the command line."""

import json

import numpy as np
import pytest

import sslcore
from sslcore.cli import main as cli
from sslcore.cli.spec import listing, parse_positives
from sslcore.kernels import Exponential
from sslcore.positives import Labels, Neighbors, TimeLag

from .comparators import assert_close
from .test_positives_features import walk

X = walk(60)
WORDS = np.array(["slow", "fast", ""])[np.arange(60) % 3]
NAMES = np.ma.masked_array(WORDS, WORDS == "")
OPTIONS = ["--kernel", "exponential:1", "--components", "2", "--reg", "1e-3", "--no-figure"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [",".join([*(repr(float(v)) for v in row), word]) for row, word in zip(X, WORDS, strict=True)]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c,class", *rows]) + "\n")
    np.save(tmp_path / "x.npy", X)
    return tmp_path


LAWS = {
    "timelag:3": TimeLag(3),
    "timelag:3,[20,40]": TimeLag(3, [20, 40]),
    "neighbors:4": Neighbors(4),
    "labels:class": Labels(NAMES),
    "0.5*labels:class,by=class + 0.5*timelag:1": 0.5 * Labels(NAMES, "class") + 0.5 * TimeLag(1),
}


@pytest.mark.parametrize("law", LAWS)
def test_fits_are_those_of_pretrain(folder, capsys, law):
    drop = [] if "labels" in law else ["--drop", "class"]
    assert cli.main(["fit", "x.csv", "--positives", law, *OPTIONS, *drop, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    same = sslcore.pretrain(X, Exponential(1.0), 2, reg=1e-3, center=True, positives=LAWS[law])
    assert np.allclose(found["eigenvalues"], same.eigenvalues, atol=1e-10)
    assert (found["n"], found["n_views"], found["n_coordinates"]) == (60, 1, 3)
    assert "points" in sslcore.load("x-model.npz").positives
    report = (folder / "x-report.txt").read_text()
    assert "\npairs       " in report
    assert "positive pairs of" in report


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_pairs_in_time_stay_within_files_and_between_rows_left_out(folder, capsys, suffix):
    gaps = X.copy()
    gaps[[3, 30]] = np.nan
    for name, rows in (("a", gaps[:25]), ("b", gaps[25:])):
        np.save(f"{name}.npy", rows)
        np.savetxt(f"{name}.csv", rows, delimiter=",", header="a,b,c", comments="")
    fit = ["fit", f"a.{suffix}", f"b.{suffix}", "--missing", "drop", *OPTIONS, "--out", "ab", "--overwrite", "--json"]
    kept = X[np.delete(np.arange(60), [3, 30])]
    for text, law in (
        ("timelag:5", TimeLag(5, [3, 21, 5, 29])),
        ("0.5*timelag:5 + 0.5*neighbors:4", 0.5 * TimeLag(5, [3, 21, 5, 29]) + 0.5 * Neighbors(4)),
        ("timelag:5,[40,18]", TimeLag(5, [40, 18])),
    ):
        assert cli.main([*fit, "--positives", text]) == 0
        found = json.loads(capsys.readouterr().out)
        same = sslcore.pretrain(kept, Exponential(1.0), 2, reg=1e-3, center=True, positives=law)
        assert_close(found["eigenvalues"], same.eigenvalues, tol=1e-9)
        assert "rows that were left out end runs in time" in found["notes"][-1]
    assert cli.main([*fit[:2], *fit[3:], "--positives", "timelag:5"]) == 0
    same = sslcore.pretrain(kept[:24], Exponential(1.0), 2, reg=1e-3, center=True, positives=TimeLag(5, [3, 21]))
    assert_close(json.loads(capsys.readouterr().out)["eigenvalues"], same.eigenvalues, tol=1e-9)
    assert cli.main([*fit[:2], *fit[3:], "--positives", "neighbors:4"]) == 0
    assert "end runs in time" not in capsys.readouterr().out


def test_searches_paths_and_streams(folder, capsys):
    assert cli.main(["fit", "x.npy", "--positives", "timelag:1", "--features", "identity", "--components", "2"]) == 0
    assert "edges between the parts left out" in capsys.readouterr().out
    assert cli.main(["path", "x.npy", "--positives", "timelag:1", "--regs", "1e-3,1e-1", "--components", "2"]) == 0
    assert "TimeLag(lag=1" in capsys.readouterr().out
    for wrong, words in (
        (["x.npy", "--positives", "timelag:1", "--augment", "gaussian-noise:0.1"], "leave out --augment"),
        (["x.npy", "--positives", "timelag:0"], "lag must be"),
        (["x.npy", "--positives", "timelag:60"], "lag must be less than the length"),
        (["x.csv", "--positives", "labels:klass"], "klass"),
        (["x.npy", "--positives", "operator:1"], "there are: timelag, neighbors, labels"),
        (["x.np*", "--positives", "neighbors:3", "--features", "identity"], "the pairs are timelag:LAG"),
        (["x.npy", "--positives", "timelag:1", "--kernel", "gaussian:1", "--memory", "1kB"], "use fewer points"),
    ):
        assert cli.main(["fit", *wrong, "--components", "2", "--out", "other"]) == 2
        assert words in capsys.readouterr().err
    np.save("v.npy", X.reshape(20, 3, 3))
    assert cli.main(["fit", "v.npy", "--positives", "timelag:1"]) == 2
    assert "--positives is for samples, one a row" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["labels", "timelag", "Neighbors", "no", "None", "yes", "class"])
def test_columns_may_have_any_name(name):
    for text in (f"labels:{name}", f"labels:column={name}", f"0.5*labels:{name},class + 0.5*timelag:1,none"):
        law = parse_positives(text, {name: [0, 1, 1]}.__getitem__)
        assert "y=array([0, 1, 1])" in repr(law)


def test_help_says_how_laws_are_written(capsys):
    for command in ("fit", "path"):
        assert cli.main([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert listing("law of positive pairs") in out
        assert "timelag:LAG,boundaries=none\n" in out


@pytest.mark.parametrize("runs", [(), (2, 2)])
def test_times_are_arrays_and_not_written(runs):
    with pytest.raises(ValueError, match=r"is written timelag:LAG,boundaries=.* unexpected keyword argument 'times'"):
        parse_positives("timelag:2,times=t", {"t": [0, 1, 2, 5]}.__getitem__, runs)
    assert "times" not in listing("law of positive pairs").replace("units of times", "")
