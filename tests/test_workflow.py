"""From a file to a model, a figure and predictions: the commands fit, path, transform, probe, info."""

import csv
import ctypes
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import sslcore
from sslcore import datasets, features
from sslcore.augmentations import Compose, GaussianNoise, Views
from sslcore.cli import main as cli
from sslcore.cli.commands import common
from sslcore.fitting import pretraining
from sslcore.fitting.representation import Representation
from sslcore.kernels import Exponential, Gaussian
from sslcore.probing import ridge_probe

from .children import started
from .comparators import assert_close

pytest.importorskip("matplotlib")

WRITTEN = ["moons-embedding.npy", "moons-figure.png", "moons-model.npz", "moons-report.txt"]
FIT = ["fit", "moons.csv", "--drop", "class", "--augment", "gaussian-noise:0.1", "--views", "2"]
FIXED = ["--reg", "1e-3"]
SMALL = ["--components", "3", "--no-figure"]
LETTERS = np.array(list("abcd"))


def moons(n, seed):
    x = datasets.half_moons(n, seed=seed).round(6)
    return x, LETTERS[datasets.half_moons_probabilities(x).argmax(axis=1)]


def write(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """moons.csv (x, y, class) and new.csv (x, y) in the current folder."""
    monkeypatch.chdir(tmp_path)
    x, y = moons(60, 0)
    write("moons.csv", ["x", "y", "class"], [[*map(float, p), c] for p, c in zip(x, y, strict=True)])
    new, _ = moons(25, 1)
    write("new.csv", ["x", "y"], new.tolist())
    return x, y, new


@pytest.fixture
def model(here):
    """m-model.npz, fitted to moons.csv."""
    x, _, _ = here
    rep = sslcore.pretrain(Views(x, GaussianNoise(0.1), 2, 0), Exponential(0.5), 3, reg=1e-3, center=True)
    rep.save("m.npz")
    return rep


@pytest.fixture
def untouchable(monkeypatch):
    """Fail if anything is fitted."""
    monkeypatch.setattr(pretraining, "pretrain", lambda *args, **kwargs: pytest.fail("computed before refusing"))


def files():
    return sorted(set(os.listdir()) - {"moons.csv", "new.csv"})


def run(capsys, *argv):
    """The JSON document of a command that succeeds."""
    status = cli.main([*argv, "--json"])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return json.loads(out)


def refused(capsys, *argv):
    """The one line of a command that does not; it leaves nothing behind."""
    before = files()
    status = cli.main(list(argv))
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), err
    assert re.fullmatch(r"sslcore: error: [^\n]+\n", err)
    assert "unexpected" not in err
    assert files() == before
    return err


# ---------------------------------------------------------------- fit


def test_fit_is_what_pretrain_does(here, capsys):
    x, _, _ = here
    found = run(capsys, *FIT, "--components", "3", "--kernel", "exponential:0.5", "--reg", "1e-3", "--seed", "5")
    assert files() == WRITTEN
    expected = sslcore.pretrain(Views(x, GaussianNoise(0.1), 2, 5), Exponential(0.5), 3, reg=1e-3, center=True)
    assert_close(found["eigenvalues"], expected.eigenvalues)
    assert_close(found["risk"], expected.risk)
    assert found["columns"] == ["x", "y"]
    assert (found["n"], found["n_views"], found["n_coordinates"]) == (60, 2, 2)
    assert found["certificate"]["worst"] < 1e-6
    assert_close(np.load("moons-embedding.npy"), expected.transform(x, "probe"))
    rep = sslcore.load("moons-model.npz")
    assert_close(rep(x), expected(x))
    assert Path("moons-figure.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    report = Path("moons-report.txt").read_text()
    for word in ("60 samples of 2 coordinates (x, y)", "Exponential(scale=0.5)", "reg 0.001", "all components active"):
        assert word in report
    assert report.isascii()


def test_reg_is_chosen_without_labels(here, capsys):
    found = run(capsys, *FIT, *SMALL, "--kernel", "exponential:0.5")
    x = moons(60, 0)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sslcore.SelectionWarning)
        rep = sslcore.pretrain(Views(x, GaussianNoise(0.1), 2, 0), Exponential(0.5), 3, reg="auto", center=True)
    assert found["reg"] == rep.reg == found["selection"]["reg"]
    assert found["selection"]["n_folds"] == 5
    report = Path("moons-report.txt").read_text()
    assert rep.selection.how in report
    collapse = sslcore.diagnostics.collapse_report(rep)
    assert all(sentence in report for sentence in collapse.sentences)
    assert_close(found["diagnostics"]["rankme"], collapse.rankme)
    assert [line.startswith("warning ") for line in report.splitlines()].count(True) == len(found["warnings"])
    assert sslcore.load("moons-model.npz").selection.reg == rep.reg
    assert cli.main([*FIT, "--reg", "best"]) == 2
    assert "invalid number value: 'best'" in capsys.readouterr().err


def test_text_of_fit(capsys):
    assert cli.main([*FIT, *SMALL, *FIXED]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert Path("moons-report.txt").read_text() in out + "\n"
    assert "s in all; written: moons-model.npz, moons-embedding.npy, moons-report.txt" in out
    assert files() == [name for name in WRITTEN if "figure" not in name]


def test_options_of_fit(here, capsys):
    x, _, _ = here
    law = ["--augment", "gaussian-noise:0.1+gaussian-noise:0.2", "--augment", "gaussian-noise:0.3"]
    options = ["--views", "3", "--beta", "2", "--no-center", "--kernel", "gaussian:1", "--features", "nystrom:20"]
    found = run(capsys, *FIT[:4], *law, *options, *SMALL, "--reg", "0.01", "--out", "other", "--seed", "4")
    both = Compose(GaussianNoise(0.1), GaussianNoise(0.2), GaussianNoise(0.3))
    model = features.Nystrom(Gaussian(1), 20, seed=4)
    expected = sslcore.pretrain(Views(x, both, 3, 4), model, 3, reg=0.01, beta=2.0, center=False)
    assert_close(found["eigenvalues"], expected.eigenvalues)
    assert (found["beta"], found["center"], found["n_views"]) == (2.0, False, 3)
    assert files() == ["other-embedding.npy", "other-model.npz", "other-report.txt"]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_views_made_elsewhere(here, capsys, suffix):
    x, _, _ = here
    views = GaussianNoise(0.1).views(np.hstack([x, x, x]), 2, seed=0).astype(np.float32)
    if suffix == "npy":
        np.save("v.npy", views)
    else:
        np.savez("v.npz", other=x, views=views)
    name = "v.npy" if suffix == "npy" else "v.npz:views"
    found = run(capsys, "fit", name, "--features", "identity", "--components", "3", "--reg", "0.01")
    expected = sslcore.pretrain(views, features.Identity(), 3, reg=0.01, center=True)
    assert_close(found["eigenvalues"], expected.eigenvalues)
    assert found["augmentation"] is None
    assert_close(np.load("v-embedding.npy"), expected.transform(views, "probe"), tol=1e-5)
    assert os.path.getsize("v-figure.png") > 10_000  # pairs of components, since six coordinates are no plane


def test_the_model_that_is_taken_by_default(here, capsys, monkeypatch):
    x, _, _ = here
    kernel = Gaussian(float(f"{np.median(pdist(x)):.3g}"))
    assert run(capsys, *FIT, *SMALL, *FIXED)["model"] == repr(kernel)
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 119)
    many = moons(600, 2)[0]
    write("moons.csv", ["x", "y", "class"], [[*p, "a"] for p in many.tolist()])
    found = run(capsys, *FIT, *SMALL, *FIXED, "--overwrite")
    assert found["model"].startswith("Nystrom(kernel=Gaussian(scale=")


def test_a_collapse_is_said(capsys):
    found = run(capsys, *FIT, *SMALL, "--reg", "1")
    assert found["n_active"] == 0
    assert found["diagnostics"]["verdict"] == "total collapse"
    assert (
        "0 of 3 components active (mu > 0), the others are zero: reg is too large"
        in Path("moons-report.txt").read_text()
    )


def test_help_lists_all_that_can_be_written(capsys):
    assert cli.main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    for form in ("gaussian:SCALE", "affine:IMAGE_SHAPE,rotation=10,zoom=1.1,shift=1", "nystrom:LANDMARKS"):
        assert f"\n  {form}" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*FIT[:4], "--input", "views"], r"--input views is for arrays \(n, m, d\), moons.csv has the shape \(60, 2\)"),
        (
            [*FIT[:4], "--input", "images"],
            r"--input images is for arrays \(n, height, width\) or \(n, height, width, c",
        ),
        ([*FIT, "--views", "0"], "n_views must be at least 1, found 0"),
        (
            ["fit", "moons.csv", "--augment", "gaussian-noise:0.1"],
            "column 'class' is '.', not a number; .* --drop class",
        ),
        ([*FIT, "--kernel", "gauss:1"], "there is no kernel 'gauss'"),
        ([*FIT, "--augment", "affine:8x8"], "takes samples of 64 coordinates .*, found 2"),
        ([*FIT, "--features", "nystrom:1000"], "landmarks must be at most the number of views 120, found 1000"),
        (
            [*FIT, "--features", "identity", "--kernel", "linear"],
            "identity features have no kernel: leave out --kernel",
        ),
        ([*FIT, "--views", "1"], "at least one sample must have 2 or more views"),
        ([*FIT, "--reg", "-1"], "reg must be a finite number > 0, found -1.0"),
        ([*FIT, "--beta", "x"], "argument --beta: invalid float value: 'x'"),
        ([*FIT, "--components", "121"], "n_components must be at most the number of views, 120, found 121"),
        ([*FIT, "--memory", "1kB"], "needs .* of memory, the budget is 1 kB"),
        ([*FIT, "--seed", "-1"], "seed must be at least 0"),
        (["fit", "moons.docx"], r"data are read from \.npy"),
        (["fit", "missing.csv", *FIT[2:]], "cannot read missing.csv: No such file or directory"),
        ([*FIT, "--out", "missing/m"], "cannot write missing/m-model.npz: No such file or directory"),
    ],
)
def test_what_fit_refuses(capsys, argv, message):
    assert re.search(message, refused(capsys, *argv))


def test_views_are_not_augmented_again(capsys):
    np.save("v.npy", np.zeros((3, 2, 2)))
    for more in (["--augment", "gaussian-noise:1"], ["--views", "2"]):
        assert re.search(
            r"of shape \(3, 2, 2\), was taken for 2 views of 2 coordinates of each",
            refused(capsys, "fit", "v.npy", *more),
        )
    assert "the data are constant" in refused(capsys, "fit", "v.npy")


def test_outputs_are_checked_before_anything_is_read(capsys, untouchable):
    os.mkdir("moons-report.txt")
    assert "cannot write moons-report.txt: it is a folder" in refused(capsys, *FIT)
    os.rmdir("moons-report.txt")
    np.save("moons-embedding.npy", np.zeros((3, 2, 2)))
    message = refused(capsys, "fit", "moons-embedding.npy", "--out", "moons")
    assert "embedding would replace the input moons-embedding.npy" in message


def test_a_figure_needs_matplotlib_and_says_so_first(capsys, monkeypatch, untouchable):
    for module in ("sslcore.plotting.panels", "sslcore.studies.figures"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        package, _, name = module.rpartition(".")
        monkeypatch.delattr(sys.modules.get(package, sslcore), name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install '.[plot]'" in refused(capsys, *FIT)


@pytest.mark.parametrize("what", ["model", "embedding", "report", "figure"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_all_four_files_or_none(capsys, monkeypatch, what, error):
    """Interrupted, or out of disk, in the middle of writing any of them; what was there before is kept.

    But a figure that fails costs nothing else.
    """
    from sslcore.io import tables
    from sslcore.studies import figures

    def fail(*args, **kwargs):
        raise error

    if what == "model":
        monkeypatch.setattr(Representation, "save", fail)
    elif what == "embedding":
        monkeypatch.setattr(np.lib.format, "write_array", fail)
    elif what == "report":
        whole = sslcore.io.atomic.replacing_all

        @contextmanager
        def broken(*paths):
            with whole(*paths) as opened:
                yield [*opened[:2], type("Broken", (), {"write": fail, "name": "moons-report.txt"})(), *opened[3:]]

        monkeypatch.setattr(sslcore.io.atomic, "replacing_all", broken)
    else:
        monkeypatch.setattr(figures, "fit_figure", lambda *args: type("Broken", (), {"savefig": fail})())
    assert tables  # imported before write_array is replaced
    Path("moons-report.txt").write_text("old")
    status = cli.main([*FIT, *FIXED, "--components", "3", "--overwrite"])
    out, err = capsys.readouterr()
    if what == "figure" and not isinstance(error, KeyboardInterrupt):
        assert (status, files()) == (1, [name for name in WRITTEN if "figure" not in name])
        assert "figure could not be drawn: OSError: [Errno 28] No space left on device" in err
        assert Path("moons-report.txt").read_text() in out + "\n"
        return
    assert out == ""
    assert files() == ["moons-report.txt"]
    assert Path("moons-report.txt").read_text() == "old"
    if isinstance(error, KeyboardInterrupt):
        assert (status, err) == (130, "sslcore: interrupted\n")
    else:
        assert status == 2
        assert "No space left on device" in err
        assert ".part" not in err
    if what in ("embedding", "report") and status == 2:
        assert f"cannot write moons-{what}" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_in_the_middle_of_a_fit():
    """A real signal, while the solver is at work."""
    np.save("v.npy", GaussianNoise(0.1).views(datasets.half_moons(2000, seed=0), 2, seed=0))
    command = ["fit", "v.npy", "--kernel", "exponential:0.2", "--reg", "1e-4", "--progress"]
    path = {"PYTHONPATH": str(Path(sslcore.__file__).parents[1])}
    with started("-m", "sslcore", *command, stderr=subprocess.PIPE, text=True, env=os.environ | path) as process:
        seen = ""
        while "fit 2/4" not in seen:
            character = process.stderr.read(1)
            assert character, seen
            seen += character
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    # Python 3.11 ends by the signal itself, which shells call 130 too, if that arrives inside an eval() of a library
    assert process.returncode in (130, -signal.SIGINT), seen + err
    assert err.endswith("sslcore: interrupted\n")
    assert "Traceback" not in err
    assert files() == ["v.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("progress", ["--progress", "--no-progress"])
def test_ctrl_c_that_python_drops(capsys, monkeypatch, progress):
    """What is raised in a callback of C code, as Numba's compiler has them, goes nowhere."""
    fit = pretraining.pretrain
    interrupt = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))

    def interrupted(*args, **kwargs):
        interrupt()
        return fit(*args, **kwargs)

    monkeypatch.setattr(pretraining, "pretrain", interrupted)
    before = files()
    assert cli.main([*FIT, *FIXED, progress]) == 130
    err = capsys.readouterr().err
    assert err.endswith("sslcore: interrupted\n")
    assert "Traceback" not in err
    assert files() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_progress_of_fit(capsys):
    assert cli.main([*FIT, *FIXED, "--progress"]) == 0
    err = capsys.readouterr().err
    for step in ("reading 1/4", "fit 2/4", "embedding 3/4", "writing 4/4", "100%"):
        assert step in err


# ---------------------------------------------------------------- path


def test_path(here, capsys):
    x, _, _ = here
    argv = [
        "path",
        *FIT[1:],
        "--components",
        "3",
        "--kernel",
        "exponential:0.5",
        "--regs",
        "1e-3:10:5",
        "--betas",
        "1,0.5",
    ]
    found = run(capsys, *argv)
    views = Views(x, GaussianNoise(0.1), 2, 0)
    expected = sslcore.pretrain_path(
        views, Exponential(0.5), 3, regs=np.logspace(-3, 1, 5), betas=[0.5, 1], center=True
    )
    assert_close(found["regs"], expected.regs)
    assert found["betas"] == [0.5, 1.0]
    assert_close(found["eigenvalues"], expected.eigenvalues, tol=1e-7)
    assert_close(found["norms"], expected.norms, tol=1e-6)
    assert found["n_active"] == expected.n_active.tolist()
    assert found["regimes"] == expected.regimes.tolist()
    assert len(found["avoided_crossings"]) == len(expected.avoided_crossings)
    assert files() == ["moons-path.png"]
    assert os.path.getsize("moons-path.png") > 10_000
    assert cli.main([*argv, "--progress", "--out", "a.png"]) == 0
    out, err = capsys.readouterr()
    assert "path 2/3" in err
    for word in ("beta 0.5", "beta 1", "reg  active     mu_1", "ruled by", "avoided crossings", "augmentation"):
        assert word in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--regs", "1:2"], "argument --regs: a grid is LOW:HIGH:COUNT with 0 < LOW < HIGH and COUNT > 1, found '1:2'"),
        (["--regs", "2:1:5"], "a grid is LOW:HIGH:COUNT"),
        (["--regs", "x"], "argument --regs: invalid"),
        (["--regs", "0.1,0.1"], "regs must be different numbers, found 0.1 twice"),
        (["--regs", "0,1"], "each reg of regs must be a finite number > 0"),
        (["--betas", "-1"], "each beta of betas must be a finite number >= 0"),
        (["--out", "a.jpg"], "--out must end in .png"),
        (["--views", "1"], "at least one sample must have 2 or more views"),
    ],
)
def test_what_path_refuses(capsys, argv, message):
    assert message in refused(capsys, "path", *FIT[1:], "--kernel", "exponential:0.5", *argv)


# ---------------------------------------------------------------- transform


def test_transform(here, model, capsys):
    _, _, new = here
    found = run(capsys, "transform", "m.npz", "new.csv")
    assert found["output"] == "new-embedding.npy"
    assert_close(np.load("new-embedding.npy"), model.transform(new, "probe"))
    run(capsys, "transform", "m.npz", "moons.csv:y,x", "--out", "z.csv")
    with open("z.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["component_1", "component_2", "component_3"]
    assert_close(np.array(rows[1:], float), model.transform(here[0][:, ::-1], "probe"))
    views = np.stack([new, new + 0.01], axis=1)
    np.save("v.npy", views)
    run(capsys, "transform", "m.npz", "v.npy")
    assert_close(np.load("v-embedding.npy"), model.transform(views, "probe"))
    assert "embedding has 3 dimensions" in refused(capsys, "transform", "m.npz", "v.npy", "--out", "v.csv")
    for scale in ("risk", "unit", "norm", "probe"):
        assert run(capsys, "transform", "m.npz", "new.csv", "--scale", scale)["scale"] == scale
        assert_close(np.load("new-embedding.npy"), model.transform(new, scale))


def test_data_of_another_width(model, capsys):
    np.save("wide.npy", np.zeros((4, 3)))
    message = refused(capsys, "transform", "m.npz", "wide.npy")
    assert "wide.npy has 3 coordinates, the model m.npz was fitted to 2" in message
    message = refused(capsys, "transform", "m.npz", "moons.csv:x")
    assert "moons.csv:x has 1 coordinates (x), the model m.npz was fitted to 2" in message
    rep = sslcore.pretrain(np.random.default_rng(0).normal(size=(9, 2, 5)), features.Identity(), 2, reg=0.1)
    rep.save("f.npz")
    assert "the model f.npz was fitted to 5; choose columns" in refused(capsys, "transform", "f.npz", "new.csv")


def test_models_that_are_none(model, capsys):
    np.savez("data.npz", x=np.zeros(3))
    whole = Path("m.npz").read_bytes()
    Path("cut.npz").write_bytes(whole[: len(whole) // 2])
    sslcore.Moments(features.Identity()).update(np.random.default_rng(0).normal(size=(9, 2, 2))).save("moments.npz")
    for name, message in (
        ("missing.npz", "cannot read missing.npz: No such file or directory"),
        ("data.npz", "data.npz holds no"),
        ("moons.csv", "moons.csv is no model: the first argument is the model"),
        ("cut.npz", "cut.npz"),
        ("moments.npz", "moments.npz holds Moments, not a representation"),
    ):
        for argv in (["transform", name, "new.csv"], ["info", name], ["probe", name, "moons.csv", "moons.csv:class"]):
            assert message in refused(capsys, *argv), argv
    assert "must end in .npy, .csv, .tsv" in refused(capsys, "transform", "m.npz", "new.csv", "--out", "z.png")
    assert "would replace the input" in refused(capsys, "transform", "m.npz", "new.csv", "--out", "new.csv")


# ---------------------------------------------------------------- probe


def test_probe_of_classes(here, model, capsys):
    x, y, new = here
    argv = ["probe", "m.npz", "moons.csv", "moons.csv:class", "--drop", "class"]
    found = run(capsys, *argv, "--predict", "new.csv", "--out", "p.csv")
    probe = ridge_probe(model.transform(x, "probe"), y)
    assert_close(found["accuracy"], 1 - probe.loo_errors[probe.regs == probe.reg].item())
    raw = ridge_probe(x, y)
    assert_close(found["raw"]["accuracy"], 1 - raw.loo_errors[raw.regs == raw.reg].item())
    assert found["raw_standardised"] is False
    assert found["classes"] == list("abcd")
    assert found["counts"] == [int((y == c).sum()) for c in "abcd"]
    assert_close(np.dot(found["counts"], found["recall"]) / 60, np.array(found["accuracy"]))
    assert_close(found["largest_class"], max(found["counts"]) / 60)
    with open("p.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["prediction", "score_a", "score_b", "score_c", "score_d"]
    assert [row[0] for row in rows[1:]] == probe.predict(model.transform(new, "probe")).tolist()
    scores = np.array([row[1:] for row in rows[1:]], float)
    assert_close(scores, probe.decision_function(model.transform(new, "probe")), tol=1e-5)
    assert cli.main(argv) == 0
    assert f"{found['accuracy']:.3f} ({found['standard_error']:.3f})" in capsys.readouterr().out


def test_probe_of_numbers(here, model, capsys):
    x, _, new = here
    np.save("y.npy", x[:, 0] ** 2)
    found = run(capsys, "probe", "m.npz", "moons.csv:x,y", "y.npy", "--predict", "new.csv")
    probe = ridge_probe(model.transform(x, "probe"), x[:, 0] ** 2)
    assert found["task"] == "regression"
    assert_close(found["r2"], 1 - probe.loo_squared_errors.min() / np.var(x[:, 0] ** 2))
    with open("new-predictions.csv") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["prediction"]
    assert_close(np.array(rows[1:], float)[:, 0], probe.predict(model.transform(new, "probe")))
    assert cli.main(["probe", "m.npz", "moons.csv:x,y", "y.npy"]) == 0
    assert "leave-one-out R^2" in capsys.readouterr().out


def test_columns_to_predict_are_found_by_name(here, model, capsys):
    new = here[2]
    write("turned.csv", ["id", "y", "x"], [[i, b, a] for i, (a, b) in enumerate(new.tolist())])
    argv = ["probe", "m.npz", "moons.csv", "moons.csv:class", "--drop", "class"]
    run(capsys, *argv, "--predict", "turned.csv", "--out", "a.csv")
    run(capsys, *argv, "--predict", "new.csv", "--out", "b.csv")
    np.save("new.npy", new)
    run(capsys, *argv, "--predict", "new.npy", "--out", "c.csv")
    assert Path("a.csv").read_text() == Path("b.csv").read_text() == Path("c.csv").read_text()
    write("other.csv", ["x", "z"], new.tolist())
    message = refused(capsys, *argv, "--predict", "other.csv")
    assert "other.csv has no column 'y', which moons.csv has; columns: x, z" in message


def test_probe_of_views(model, capsys):
    x, _ = moons(60, 0)
    views = GaussianNoise(0.1).views(x, 3, seed=1)
    np.save("v.npy", views)
    np.save("y.npy", x[:, 1])
    found = run(capsys, "probe", "m.npz", "v.npy", "y.npy")
    probe = ridge_probe(model.transform(views, "probe").mean(axis=1), x[:, 1])
    assert_close(found["root_mean_squared_error"], probe.loo_squared_errors.min() ** 0.5)


def test_what_probe_refuses(here, model, capsys):
    argv = ["probe", "m.npz", "moons.csv:x,y"]
    np.save("short.npy", np.arange(59))
    np.save("one.npy", np.zeros(60, int))
    np.save("inf.npy", np.where(np.arange(60) == 17, np.inf, 1.0))
    for labels, message in (
        ("short.npy", "moons.csv:x,y has 60 samples, short.npy has 59 labels"),
        ("one.npy", "y must hold at least 2 classes, found only"),
        ("inf.npy", "inf.npy has inf at row 17"),
        ("moons.csv", "labels are one column, moons.csv has 3; choose one, as moons.csv:class"),
        ("moons.csv:klass", "there is no column 'klass' in moons.csv; columns: x, y, class"),
    ):
        assert message in refused(capsys, *argv, labels)
    assert "--out is for predictions" in refused(capsys, *argv, "moons.csv:class", "--out", "p.csv")
    message = refused(capsys, *argv, "moons.csv:class", "--predict", "new.csv", "--out", "moons.csv")
    assert "--out would replace the input moons.csv" in message
    message = refused(capsys, *argv, "moons.csv:class", "--task", "regression")
    assert "y must hold real numbers" in message


# ---------------------------------------------------------------- info


def test_info_of_a_model(model, capsys):
    found = run(capsys, "info", "m.npz")
    assert found["model"] == "Exponential(scale=0.5)"
    assert (found["coordinates"], found["components"], found["active"]) == (2, 3, 3)
    assert_close(found["eigenvalues"], model.eigenvalues)
    assert cli.main(["info", "m.npz"]) == 0
    assert "Exponential(scale=0.5)" in capsys.readouterr().out


def test_outputs_of_open_model_are_representations(model):
    assert isinstance(common.open_model(Path("m.npz")), Representation)


# ---------------------------------------------------------------- halfmoons


def test_halfmoons(capsys):
    found = run(capsys, "halfmoons", "--samples", "80", "--views", "2", "--seed", "3")
    views = Views(datasets.half_moons(80, seed=3), GaussianNoise(0.1), 2, 3)
    expected = sslcore.pretrain(views, Exponential(0.2), 5, reg=1e-4, center=True)
    assert_close(found["eigenvalues"], expected.eigenvalues)
    assert files() == ["sslcore-halfmoons.png"]
    assert os.path.getsize("sslcore-halfmoons.png") > 50_000
    argv = ["halfmoons", "--samples", "80", "--kernel", "gaussian:0.5", "--no-center", "-o", "a.png", "--reg", "10"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "Gaussian(scale=0.5), 5 components, reg 10, beta 1, unbiased, not centred" in out
    assert "0 of 5 components active" in out


def test_what_halfmoons_refuses(capsys):
    for argv, message in (
        (["--output", "a.jpg"], "--output must end in .png"),
        (["--samples", "0"], "n must be at least 1"),
        (["--samples", "2", "--views", "2"], "n_components must be at most the number of views, 4, found 5"),
        (["--augment", "affine:8x8"], "takes samples of 64 coordinates"),
        (["--kernel", "gauss"], "there is no kernel 'gauss'"),
    ):
        assert message in refused(capsys, "halfmoons", *argv)
