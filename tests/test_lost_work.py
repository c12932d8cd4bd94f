"""Words, figures and settings of other tools never cost the work; what is there is not replaced in silence."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import datasets
from sslcore.augmentations import Affine, Compose, GaussianNoise, Views
from sslcore.augmentations._base import takes
from sslcore.cli import main as cli
from sslcore.cli.commands import common, progress, task
from sslcore.kernels import Exponential

from .comparators import assert_close

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("polars")

FIT = ["fit", "m.csv", "--augment", "gaussian-noise:0.1", "--reg", "1e-3", "--components", "3"]
FOUR = ["m-embedding.npy", "m-figure.png", "m-model.npz", "m-report.txt"]
THREE = [name for name in FOUR if "figure" not in name]


@pytest.fixture(autouse=True)
def x(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return samples()


def samples():
    """The file that is fitted."""
    x = datasets.half_moons(40, seed=0).round(6)
    table("m.csv", "x,y", x)
    return x


def table(name, header, x):
    np.savetxt(name, x, "%.6f", ",", header=header, comments="")


def written():
    return sorted(name for name in os.listdir() if name.startswith(("m-", "λ-")))


def run(*argv):
    """The JSON document of a command that succeeds."""
    out = io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        assert cli.main([*argv, "--json"]) == 0
    finally:
        sys.stdout = before
    return json.loads(out.getvalue())


def refused(capsys, *argv):
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert cli.main(list(argv)) == 2
    assert {path: path.read_bytes() for path in Path().iterdir()} == before
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


# ---------------------------------------------------------------- streams


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {"none": lambda: None, "closed": closed, "full": Full, "gone": Gone}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("which", ["stdout", "stderr"])
@pytest.mark.parametrize("more", [["--progress"], ["--json"]])
def test_streams_that_take_nothing(monkeypatch, stream, which, more):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr" if which == "stdout" else "stdout", other)
    monkeypatch.setattr(sys, which, STREAMS[stream]())
    status = cli.main([*FIT, *more])
    assert written() == FOUR
    assert status == (1 if (stream, which) == ("full", "stdout") else 0)
    if status:
        assert "the words could not be printed: [Errno 28] No space left on device" in other.getvalue()


@pytest.mark.parametrize("stream", STREAMS)
def test_errors_without_a_stderr(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
    assert cli.main(["fit", "missing.csv"]) == 2
    assert cli.main(["fit", "--frobnicate"]) == 2
    assert out.getvalue() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r", "shift_jis", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["λ", "naïve 数", "😀", os.fsdecode(b"\xff\xfe")])
def test_names_that_an_encoding_lacks(monkeypatch, encoding, name):
    if os.name != "posix":
        pytest.skip("names of POSIX")
    os.rename("m.csv", f"{name}.csv")
    bytes_out, bytes_err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(bytes_err, encoding))
    assert cli.main(["fit", f"{name}.csv", *FIT[2:], "--no-figure"]) == 0
    assert os.path.exists(f"{name}-model.npz")
    assert ": 40 samples" in bytes_out.getvalue().decode(encoding)
    assert ": 40 samples" in Path(f"{name}-report.txt").read_text(encoding="utf-8")
    assert cli.main(["fit", f"{name}.csv:nothing", *FIT[2:], "--no-figure", "--overwrite"]) == 2
    assert "there is no column 'nothing'" in bytes_err.getvalue().decode(encoding)


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")
def test_descriptors_that_are_closed_are_not_given_to_files():
    """A process begun with ``1>&- 2>&-``: C code that prints must not print into the next file that is opened."""
    code = "import os, sys; from sslcore.cli import main as cli; cli._keep_standard_descriptors(); f = open('f', 'w'); "
    code += "os.write(1, b'noise'); open('n', 'w').write(str(f.fileno()))"
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 1>&- 2>&- 0<&-', sys.executable, code], check=True)
    assert (Path("f").read_text(), int(Path("n").read_text()) > 2) == ("", True)


# ---------------------------------------------------------------- figures and settings

SETTINGS = [
    {"text.usetex": True},
    {"axes.prop_cycle": matplotlib.cycler("color", [])},
    {"font.size": 0.0, "figure.dpi": 0.001},
    {"lines.linewidth": -3.0, "savefig.bbox": "tight", "savefig.dpi": 3},
    {"savefig.format": "svg", "figure.autolayout": True},
    {"font.family": ["no such font"], "axes.formatter.use_locale": True},
    {"xtick.labelsize": 500.0, "figure.figsize": [0.01, 0.01]},
    {"text.parse_math": False, "axes.facecolor": "red", "path.sketch": (1, 100, 2)},
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The figure of the fit without any style."""
    folder = tmp_path_factory.mktemp("plain")
    with contextlib.chdir(folder):
        samples()
        run(*FIT)
    return (folder / "m-figure.png").read_bytes()


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_a_users_style_changes_no_figure(settings, plain):
    with matplotlib.rc_context(settings):
        found = run(*FIT)
        assert matplotlib.rcParams[next(iter(settings))] == next(iter(settings.values()))  # it is the user's again
    assert "failed" not in found
    assert Path("m-figure.png").read_bytes() == plain


ENVIRONMENTS = [
    {"MPLBACKEND": "module://no.such.module", "TQDM_DISABLE": "1", "TQDM_NCOLS": "wide"},
    {"MPLBACKEND": "qtagg", "COLUMNS": "wide", "LINES": "-1", "TERM": "nonsense", "FORCE_COLOR": "1"},
    {"MPLBACKEND": "nonsense", "MATPLOTLIBRC": "no/such/file", "TTY_COMPATIBLE": "1", "POLARS_MAX_THREADS": "1"},
]


@pytest.mark.parametrize("env", ENVIRONMENTS, ids=lambda env: env["MPLBACKEND"])
def test_settings_of_other_tools(env):
    Path("matplotlibrc").write_text("text.usetex: True\nno such line\nfont.size: huge\n")
    command = [sys.executable, "-m", "sslcore", *FIT, "--progress"]
    path = {"PYTHONPATH": str(Path(sslcore.__file__).parents[1])}
    done = subprocess.run(command, env=os.environ | env | path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert written() == FOUR


def test_mplbackend_is_still_heard_by_others():
    code = "import sslcore.plotting.panels, os, matplotlib; print(matplotlib.get_backend(), os.environ['MPLBACKEND'])"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "svg"}, capture_output=True)
    assert done.stdout.split() == [b"svg", b"svg"]


FAILURES = [
    RuntimeError("no\nfont"),
    StopIteration(),
    MemoryError(),
    KeyError("x"),
    OSError(28, "No space left"),
    ValueError(),
]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_figure_that_fails_costs_nothing_else(monkeypatch, capsys, error):
    from sslcore.studies import figures

    def fail(*args):
        raise error

    run(*FIT)
    monkeypatch.setattr(figures, "fit_figure", fail)
    for more in ([], ["--json"]):
        assert cli.main([*FIT, *more, "--overwrite"]) == 1
        out, err = capsys.readouterr()
        assert written() == THREE  # the old figure, of another fit, is gone
        assert err.count("\n") == 1
        assert f"the figure could not be drawn: {type(error).__name__}" in err
        if more:
            document = json.loads(out)
            assert list(document["outputs"]) == ["model", "embedding", "report"]
            assert f"{type(error).__name__}" in document["failed"][0]
        else:
            assert "m-figure.png" not in out


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("half_moons_figure", ["halfmoons", "--samples", "20", "--views", "2", "-o", "a.png"]),
        ("interplay_figure", ["interplay", "--dimension", "8", "--crop", "4", "--sets", "0,1", "0,2", "-o", "a.png"]),
        ("path_figure", ["path", *FIT[1:4], "--components", "2", "--regs", "1e-3,1e-2", "--out", "a.png"]),
    ],
)
def test_the_numbers_stand_without_the_figure(monkeypatch, capsys, name, argv):
    from sslcore.studies import figures

    monkeypatch.setattr(figures, name, lambda *args: 1 / 0)
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    assert "s in all; no figure" in out
    assert "could not be drawn: ZeroDivisionError" in err
    assert cli.main([*argv, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["figure"] is None


def test_settings_that_cannot_be_read_are_a_failure_of_the_figure(monkeypatch, capsys):
    """Importing matplotlib itself fails, with anything but an ImportError."""

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "sslcore.studies.figures":
                raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    for module in ("sslcore.plotting.panels", "sslcore.studies.figures"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        package, _, name = module.rpartition(".")
        monkeypatch.delattr(sys.modules.get(package, sslcore), name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert cli.main(FIT) == 1
    assert written() == THREE
    assert "could not be drawn: UnicodeDecodeError" in capsys.readouterr().err


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_that_fails_is_given_up(monkeypatch):
    pytest.importorskip("rich")
    for broken in ("__init__", "draw", "close"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal())
            patch.setattr(progress.TerminalBar, broken, lambda *args, **kwargs: 1 / 0)
            with progress.progress(True, {"a": 1.0, "b": 1.0}) as begin:
                begin("a")
                begin("b")


@pytest.mark.parametrize("term", ["dumb", "unknown", "DUMB"])
def test_a_terminal_that_cannot_move_gets_lines(monkeypatch, term):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.progress(True, {"a": 1.0}) as begin:
        begin("a")
    assert "\x1b" not in sys.stderr.getvalue()
    assert [line.split()[0] for line in sys.stderr.getvalue().splitlines()] == ["a", "done"]


def test_rates_are_measured_where_they_are_seen(monkeypatch):
    from sslcore.fitting import plan as budget

    monkeypatch.setattr(task, "QUICK", 0.0)
    monkeypatch.setattr(budget, "measured_rates", lambda backend: pytest.fail("nobody sees it"))
    run(*FIT)
    monkeypatch.undo()


# ---------------------------------------------------------------- what is there already


@pytest.mark.parametrize("there", FOUR)
@pytest.mark.parametrize("figure", [[], ["--no-figure"]])
def test_an_earlier_fit_is_not_replaced_in_silence(capsys, monkeypatch, there, figure):
    from sslcore.fitting import pretraining

    Path(there).write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "pretrain", lambda *args, **kwargs: pytest.fail("computed before refusing"))
        err = refused(capsys, *FIT, *figure)
    assert f"{there} is there already" in err
    assert "--overwrite" in err
    assert "--out" in err
    run(*FIT, *figure, "--overwrite")
    assert written() == (THREE if figure else FOUR)
    assert all(Path(name).read_bytes() != b"old" for name in written())


def test_the_same_fit_is_made_again(capsys):
    """Nothing of another fit is lost then; with other options, or of a file that has changed, it is another."""
    run(*FIT)
    before = sslcore.load("m-model.npz").eigenvalues
    run(*FIT)
    assert np.array_equal(sslcore.load("m-model.npz").eigenvalues, before)
    run(*FIT, "--no-figure")
    assert written() == THREE
    refused(capsys, *FIT, "--beta", "2")
    Path("m.csv").write_text(Path("m.csv").read_text() + "1.0,1.0\n")
    refused(capsys, *FIT)
    run(*FIT, "--overwrite")
    Path("m-model.npz").write_bytes(Path("m-model.npz").read_bytes()[:100])
    refused(capsys, *FIT)


def test_all_that_is_there_is_named(capsys):
    run(*FIT)
    err = refused(capsys, *FIT, "--beta", "2")
    assert all(name in err for name in FOUR)
    assert "are there already" in err


def test_transform_does_not_replace_the_embedding_of_a_fit(capsys):
    run(*FIT)
    assert "m-embedding.npy belongs to the fit m-model.npz" in refused(capsys, "transform", "m-model.npz", "m.csv")
    for _ in range(2):  # other embeddings are replaced, as before
        run("transform", "m-model.npz", "m.csv", "--out", "z.npy")


@pytest.mark.parametrize("beside", ["shard00.npy", "shard00.csv", "shard00-model.npz", "shard00.parquet"])
def test_outputs_are_no_data(capsys, beside):
    run(*FIT)
    np.save("shard00-embedding.npy", np.ones((5, 2)))
    Path(beside).touch()
    for argv in (
        ["transform", "m-model.npz", "shard00-embedding.npy"],
        ["fit", "shard00-embedding.npy", *FIT[2:], "--out", "other"],
        ["path", "shard00-embedding.npy", *FIT[2:4], "--out", "a.png"],
        ["probe", "m-model.npz", "shard00-embedding.npy", "m.csv:x"],
    ):
        err = refused(capsys, *argv)
        assert f"shard00-embedding.npy is named as what sslcore writes, beside {beside}" in err
    os.rename("shard00-embedding.npy", "meant.npy")
    run("transform", "m-model.npz", "meant.npy")


# ---------------------------------------------------------------- columns by name


def test_a_model_remembers_its_columns(x, capsys):
    run(*FIT)
    rep = sslcore.load("m-model.npz")
    assert rep.notes["columns"] == ["x", "y"]
    table("more.csv", "id,y,x", np.column_stack([np.arange(40), x[:, ::-1]]))
    found = run("transform", "m-model.npz", "more.csv")
    assert_close(np.load("more-embedding.npy"), rep.transform(x, "probe"))
    assert any("left out: column id" in note for note in found["notes"])
    assert cli.main(["transform", "m-model.npz", "more.csv"]) == 0
    assert "left out: column id" in capsys.readouterr().out
    table("other.csv", "a,b", x)
    assert "no column 'x', which the model m-model.npz has; columns: a, b" in refused(
        capsys, "transform", "m-model.npz", "other.csv"
    )
    np.save("bare.npy", x)
    run("transform", "m-model.npz", "bare.npy")
    assert_close(np.load("bare-embedding.npy"), rep.transform(x, "probe"))
    labels = np.where(x[:, 0] > 0, 1, 0)
    np.save("l.npy", labels)
    one, two = (run("probe", "m-model.npz", name, "l.npy", "--predict", name) for name in ("m.csv", "more.csv"))
    assert one["accuracy"] == two["accuracy"]
    assert Path("m-predictions.csv").read_bytes() == Path("more-predictions.csv").read_bytes()


@pytest.mark.parametrize("notes", [{}, {"columns": 7}, {"columns": ["a"]}, {"columns": [1, 2]}])
def test_models_without_names_take_columns_by_position(x, notes):
    rep = sslcore.pretrain(Views(x, GaussianNoise(0.1), 2, 0), Exponential(0.5), 2, reg=1e-3)
    rep.notes.update(notes)
    rep.save("old.npz")
    run("transform", "old.npz", "m.csv", "--out", "z.npy")
    assert_close(np.load("z.npy"), rep.transform(x, "probe"))


def test_notes_of_the_reading_are_in_the_report(x, capsys):
    table("i.csv", ",x,y", np.column_stack([np.arange(40), x]))
    found = run("fit", "i.csv", *FIT[2:])
    assert found["columns"] == ["x", "y"]
    assert "index" in found["notes"][0]
    assert f"note        {found['notes'][0]}" in Path("i-report.txt").read_text()
    table("h.csv", "0,1", x)
    assert run("fit", "h.csv", *FIT[2:], "--header", "yes")["n"] == 40
    assert run("fit", "h.csv", *FIT[2:], "--header", "no", "--overwrite")["n"] == 41


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("word", ["", "NA", "<NA>", "NaT", "NULL", "-1"])
def test_samples_without_a_label_are_left_out_and_counted(x, capsys, word):
    run(*FIT)
    cells = ["1" if a > 0 else "0" for a, _ in x]
    for i in (3, 17):
        cells[i] = word
    Path("l.csv").write_text("id,label\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    found = run("probe", "m-model.npz", "m.csv", "l.csv:label")
    assert (found["n"], found["n_missing"], found["classes"]) == (40, 2, [0, 1])
    keep = np.array([cell != word for cell in cells])
    table("k.csv", "x,y", x[keep])
    np.save("k.npy", np.array([int(cell) for cell in cells if cell != word]))
    without = run("probe", "m-model.npz", "k.csv", "k.npy")
    assert (found["accuracy"], found["recall"], found["counts"]) == (
        without["accuracy"],
        without["recall"],
        without["counts"],
    )
    assert cli.main(["probe", "m-model.npz", "m.csv", "l.csv:label"]) == 0
    assert "2 missing: these samples are left out" in capsys.readouterr().out


def test_minus_one_and_one_are_asked_about(x, capsys):
    run(*FIT)
    np.save("l.npy", np.where(x[:, 0] > 0, 1, -1))
    assert "name the two classes otherwise, such as 0 and 1" in refused(
        capsys, "probe", "m-model.npz", "m.csv", "l.npy"
    )
    np.save("l.npy", np.where(x[:, 0] > 0, 1.0, np.nan))
    found = run("probe", "m-model.npz", "m.csv", "l.npy", "--task", "regression")
    assert found["n_missing"] == (x[:, 0] <= 0).sum()


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(
    ("shape", "law"),
    [
        ((4, 4), "affine:4x4"),
        ((4, 4), "affine:4x4+gaussian-noise:0.1"),
        ((4, 3), "horizontal-flip:4x3"),
        ((4, 3, 2), "affine:4x3x2"),
        ((4, 4, 1), "affine:4x4"),
        ((4, 4), "affine:4x4x1"),
    ],
)
def test_images_are_samples_for_a_law_of_their_shape(shape, law, capsys):
    images = np.random.default_rng(0).random((20, *shape))
    np.save("i.npy", images)
    np.save("flat.npy", images.reshape(20, -1))
    options = ["--augment", law, "--kernel", "gaussian:2", "--components", "3", "--reg", "1e-2", "--no-figure"]
    found = run("fit", "i.npy", *options)
    assert (found["n"], found["n_views"], found["n_coordinates"]) == (20, 4, np.prod(shape))
    assert "20 samples of " + " x ".join(map(str, shape)) in found["notes"][0]
    assert found["eigenvalues"] == run("fit", "flat.npy", *options)["eigenvalues"]
    found = run("transform", "i-model.npz", "i.npy", "--out", "z.npy")
    assert "20 samples of " in found["notes"][0]
    assert np.array_equal(np.load("z.npy"), np.load("flat-embedding.npy"))


def test_what_arrays_were_taken_for_is_said(capsys):
    np.save("v.npy", np.random.default_rng(0).random((20, 4, 5)))
    run("fit", "v.npy", "--kernel", "gaussian:1", "--components", "2", "--reg", "1e-2", "--no-figure")
    assert "the array (20, 4, 5) holds (samples, views, coordinates)" in Path("v-report.txt").read_text()
    for law in ("gaussian-noise:0.1", "affine:4x4"):
        err = refused(capsys, "fit", "v.npy", "--augment", law, "--out", "w")
        assert "taken for 4 views of 5 coordinates of each sample" in err
        assert "--augment affine:4x5" in err
    np.save("w.npy", np.random.default_rng(0).random((20, 4, 5, 3)))
    err = refused(capsys, "fit", "w.npy", "--augment", "affine:4x4+gaussian-noise:0.1")
    assert "--augment takes images of 4x4, w.npy holds images of 4x5x3: say 4x5x3 there" in err


def test_image_shapes_are_found_in_parts():
    assert takes(Affine((3, 4)), (3, 4))
    assert takes(Affine((3, 4)), (3, 4, 1))
    assert takes(Compose(GaussianNoise(0.1), Affine((3, 4))), (3, 4))
    assert not takes(Affine((3, 4)), (4, 3))
    assert not takes(GaussianNoise(0.1), (3, 4))
    assert common.one_line(ValueError("a\n b")) == "a b"


def test_no_figure_of_another_fit_stays():
    run(*FIT)
    run(*FIT, "--format", "svg")  # the same model: both are its figures
    assert {"m-figure.png", "m-figure.svg"} <= set(written())
    run(*FIT, "--beta", "2", "--overwrite", "--format", "pdf")
    assert [name for name in written() if "figure" in name] == ["m-figure.pdf"]
