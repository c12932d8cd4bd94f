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
        (["info", "m.npz"], "m.npz holds two modalities, and this command takes a model of one"),
        (["report", "m.npz", "x.npy"], "m.npz holds two modalities, and this command takes a model of one"),
        (["transform", "one.npz", "x.npy", "--modality", "first"], "holds one modality: leave out --modality"),
    ],
)
def test_what_is_refused(folder, capsys, words, message):
    np.save("short.npy", Y[:39])
    sslcore.pretrain((X, Y), (Gaussian(1.0), Gaussian(1.0)), 2, reg=1e-2).save("m.npz")
    sslcore.pretrain(np.stack([X, X + 0.1], axis=1), Gaussian(1.0), 2, reg=1e-2).save("one.npz")
    assert cli.main(words) == 2
    assert message in capsys.readouterr().err
