"""`sslcore fit`, `transform` and `probe` on files that are read by blocks."""

import json
import signal

import numpy as np
import pytest

import sslcore
from sslcore import tunables
from sslcore.cli.commands.fit import _advised, _fitted
from sslcore.cli.main import main
from sslcore.features import Identity
from sslcore.selection import AutoReg

from .forked import Parent, needs_fork
from .test_positives_features import walk

RNG = np.random.default_rng(5)
VIEWS = RNG.normal(size=(300, 1, 5)) * [3, 2, 1, 1, 1] + RNG.normal(size=(300, 2, 5)) + 2.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three shards in the current folder, and leaves of 16 samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tunables, "STREAM_LEAF_VIEWS", 32)
    for i, part in enumerate(np.split(VIEWS, [90, 91])):
        np.save(f"features-{i}.npy", part)
    return tmp_path


def run(capsys, *arguments, status=0):
    assert main([*map(str, arguments)]) == status, capsys.readouterr().err
    said = capsys.readouterr()
    return said.out if status == 0 else said.err


FIT = ("fit", "features-*.npy", "--features", "identity", "--components", 3, "--no-figure")


def test_a_fit_of_many_files_is_that_of_all_views(folder, capsys):
    found = json.loads(run(capsys, *FIT, "--reg", 0.01, "--json"))
    rep = sslcore.load("features-model.npz")
    whole = sslcore.pretrain(VIEWS, Identity(), 3, reg=0.01, center=True)
    np.testing.assert_allclose(rep.gamma, whole.gamma, rtol=1e-9)
    z = np.load("features-embedding.npy")
    assert z.shape == (300, 2, 3)
    np.testing.assert_allclose(z, rep.transform(VIEWS, "probe"), rtol=1e-9, atol=1e-12)
    assert (found["n"], found["n_files"], found["n_views"]) == (300, 3, 2)
    report = (folder / "features-report.txt").read_text()
    assert "300 samples of 5 coordinates in 3 files" in report
    assert "positive pairs" not in report
    run(capsys, *FIT, "--reg", 0.01)  # again: our own embedding, which the pattern matches, is no data
    assert np.load("features-embedding.npy").shape == (300, 2, 3)
    assert "are there already" in run(capsys, *FIT, "--reg", 0.02, status=2)


def test_reg_is_chosen_from_what_the_stream_holds_out(folder, capsys):
    found = json.loads(run(capsys, *FIT, "--json"))
    assert found["selection"]["n_held_out"] == 64
    expected = sslcore.stream.moments(VIEWS, Identity()).solve(3, reg="auto", center=True)
    assert found["reg"] == expected.reg


def test_reg_of_a_short_stream_is_that_of_all_its_views(folder, capsys, monkeypatch):
    """Of one leaf nothing is held out: the views, which are few then, are searched as an array is."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    found = json.loads(run(capsys, *FIT, "--json"))
    expected = sslcore.pretrain(VIEWS, Identity(), 3, reg="auto", center=True)
    assert (found["reg"], found["n"], found["selection"]["n_folds"]) == (expected.reg, 300, 5)
    np.testing.assert_allclose(found["eigenvalues"], expected.eigenvalues, rtol=1e-9)


@pytest.mark.parametrize("names", ["traj-*.npy", "one.npy"])
def test_files_of_points_are_trajectories(folder, capsys, names):
    """TICA of many files, or of one with a checkpoint; the embedding has all points, in their order."""
    x = VIEWS[:, 0]
    np.save("one.npy", x)
    lengths = [300] if names == "one.npy" else [90, 1, 209]
    for i, part in enumerate(np.split(x, [90, 91])):
        np.save(f"traj-{i}.npy", part)
    said = run(capsys, "fit", names, "--positives", "timelag:2", *FIT[2:], "--reg", 0.01, "--checkpoint", "ck")
    n_pairs = sum(max(0, length - 2) for length in lengths)
    assert f"TimeLag(lag=2, boundaries=None, times=None): {n_pairs} pairs, each within a file" in said
    stem = names.split("-")[0].split(".")[0]
    rep = sslcore.load(f"{stem}-model.npz")
    law = sslcore.positives.TimeLag(2, boundaries=lengths)
    whole = sslcore.pretrain(x, Identity(), 3, reg=0.01, center=True, positives=law)
    np.testing.assert_allclose(rep.gamma, whole.gamma, rtol=1e-9)
    assert f"{n_pairs} pairs, each within a file" in rep.summary()
    np.testing.assert_allclose(np.load(f"{stem}-embedding.npy"), rep.transform(x, "probe"), rtol=1e-9, atol=1e-12)
    if names != "one.npy":
        bad = np.load("traj-2.npy")
        bad[4, 1] = np.nan
        np.save("traj-2.npy", bad)
        words = run(capsys, "fit", names, "--positives", "timelag:2", *FIT[2:], "--overwrite", status=2)
        assert "found nan at row 4 of traj-2.npy (coordinate 1, counted from 0)" in words
        assert len(np.load("traj-embedding.npy")) == 300  # that of the fit before


def test_reg_of_short_trajectories_is_that_of_all_their_pairs(folder, capsys, monkeypatch):
    x = walk(300, 5)
    for i, part in enumerate(np.split(x, [90])):
        np.save(f"traj-{i}.npy", part)
    command = ("fit", "traj-*.npy", "--positives", "timelag:3", *FIT[2:], "--json")
    found = json.loads(run(capsys, *command))
    law = sslcore.positives.TimeLag(3, boundaries=[90, 210])
    expected = sslcore.pretrain(x, Identity(), 3, reg="auto", center=True, positives=law)
    assert (found["reg"], found["n"]) == (expected.reg, 294)
    monkeypatch.setattr("sslcore.cli.commands.streamed.SHORT_LEAVES", 2)
    monkeypatch.delattr("sslcore.stream.moments")  # what is refused was not summed before
    words = "the lag is at most 0: found a lag of 3, and 294 pairs; say --reg NUMBER"
    said = run(capsys, *command, "--overwrite", status=2)
    assert f"--reg auto holds out leaves of 16 pairs, if {words}" in said


def test_pairs_that_memory_has_no_room_for_are_not_searched(folder, capsys, monkeypatch):
    monkeypatch.setattr("sslcore.cli.commands.streamed.SHORT_LEAVES", 1000)
    np.save("traj-0.npy", RNG.normal(size=(6000, 5)))
    said = run(capsys, "fit", "traj-*.npy", "--positives", "timelag:3", *FIT[2:], "--memory", 200_000, status=2)
    assert "--reg auto of so few views loads all of them, which takes 0.00024 GB of memory" in said


def test_landmarks_are_chosen_from_the_first_views(folder, capsys):
    run(capsys, "fit", "features-*.npy", "--features", "nystrom:8", "--no-figure", "--reg", 0.01, "--center")
    rep = sslcore.load("features-model.npz")
    first = VIEWS[:16].reshape(-1, 5)
    assert all((first == landmark).all(axis=1).any() for landmark in rep.model.landmarks)


def test_a_checkpoint_is_gone_on_from_with_more_files(folder, capsys):
    said = run(capsys, *FIT, "--checkpoint", "ck")
    assert "checkpoint  ck: the same command goes on from it" in said
    np.save("features-3.npy", VIEWS[:50])
    run(capsys, *FIT, "--checkpoint", "ck", "--overwrite")
    assert sslcore.load("features-model.npz").gamma.shape == (3,)
    assert np.load("features-embedding.npy").shape == (350, 2, 3)
    changed = np.load("features-0.npy")
    changed[3] += 1
    np.save("features-0.npy", changed)
    words = run(capsys, *FIT, "--checkpoint", "ck", "--overwrite", status=2)
    assert "row 0 of features-0.npy to row 15 of features-0.npy are not what the checkpoint ck has seen" in words
    assert np.load("features-embedding.npy").shape == (350, 2, 3)


def test_a_single_file_may_have_a_checkpoint_too(folder, capsys):
    np.save("all.npy", VIEWS)
    run(capsys, "fit", "all.npy", "--features", "identity", "--no-figure", "--checkpoint", "ck",
        "--components", 2)  # fmt: skip
    assert (folder / "all-model.npz").exists()
    assert (folder / "ck").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--features", "identity", "--augment", "gaussian-noise:1"), "--augment is for a single file"),
        (("--features", "identity", "--drop", "a"), "--drop is for a single file"),
        (("--features", "identity", "--positives", "neighbors:3"), "of a pattern, or with --checkpoint, the pairs are"),
        (("--features", "identity", "--positives", "labels:y"), "for other laws name a single file"),
        (
            ("--features", "identity", "--positives", "timelag:2"),
            "features-0.npy has shape (90, 2, 5); views (n, m, d) ",
        ),
        ((), "a stream needs --features, such as identity"),
        (("--features", "identity", "--kernel", "gaussian:1"), "identity features have no kernel"),
        (("--features", "identity", "--checkpoint", "features-0.npy"), "features-0.npy"),
    ],
)
def test_what_a_stream_does_not_take(folder, capsys, options, words):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert words in run(capsys, "fit", "features-*.npy", *options, "--no-figure", status=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_bad_shards_leave_nothing_behind(folder, capsys):
    bad = np.load("features-2.npy")
    bad[100, 1, 4] = np.nan
    np.save("features-2.npy", bad)
    assert "found nan at row 100 of features-2.npy (view 1, coordinate 4" in run(capsys, *FIT, status=2)
    np.save("features-2.npy", bad[:, :, :4])
    assert "features-2.npy has 4 coordinates, features-0.npy has 5" in run(capsys, *FIT, status=2)
    assert {path.name for path in folder.iterdir()} == {f"features-{i}.npy" for i in range(3)}
    assert "no file matches nothing-*.npy" in run(capsys, "fit", "nothing-*.npy", "--features", "identity", status=2)


@pytest.fixture
def model(folder, capsys):
    run(capsys, *FIT, "--reg", 0.01, "--out", "m")
    (folder / "m-embedding.npy").unlink()
    return folder / "m-model.npz"


def test_transform_goes_by_blocks_and_over_all_files(folder, model, capsys):
    rep = sslcore.load(model)
    run(capsys, "transform", model, "features-*.npy", "--out", "z.npy")
    np.testing.assert_allclose(np.load("z.npy"), rep.transform(VIEWS, "probe"), rtol=1e-12)
    for dtype in (np.float32, np.float64):
        points = VIEWS[:, 0].astype(dtype)
        np.save("points.npy", points)
        for out in ("z.npy", "z.csv"):
            run(capsys, "transform", model, "points.npy", "--out", out)
        assert np.load("z.npy").dtype == rep.transform(points, "probe").dtype
        np.testing.assert_allclose(np.load("z.npy"), rep.transform(points, "probe"), rtol=1e-5)
        np.testing.assert_allclose(
            np.loadtxt("z.csv", delimiter=",", skiprows=1), rep.transform(points, "probe"), rtol=1e-5
        )


def test_patterns_leave_out_what_the_fit_of_the_same_pattern_has_written(folder, capsys):
    """`features-embedding.npy` matches `features-*.npy`, and is no data."""
    run(capsys, *FIT, "--reg", 0.01)
    assert (folder / "features-embedding.npy").exists()
    run(capsys, "transform", "features-model.npz", "features-*.npy", "--out", "z.npy")
    assert len(np.load("z.npy")) == len(VIEWS)
    np.save("y.npy", np.arange(len(VIEWS)) % 3)
    found = json.loads(run(capsys, "probe", "features-model.npz", "features-*.npy", "y.npy", "--json"))
    assert found["n"] == len(VIEWS)


def test_patterns_refuse_values_of_their_name_without_a_model_beside(folder, capsys):
    """`transform` writes some by default, and a model may be moved; with k = d they would pass for data."""
    for i in range(3):
        np.save(f"features-{i}.npy", VIEWS[100 * i : 100 * (i + 1), 0])
    fit = ["fit", "features-*.npy", "--positives", "timelag:1", "--features", "identity", "--components", 5]
    fit += ["--reg", 0.01, "--no-figure"]
    run(capsys, *fit, "--out", "m")
    run(capsys, "transform", "m-model.npz", "features-*.npy")
    run(capsys, "transform", "m-model.npz", "features-*.npy")  # again: its own output is no data
    assert np.load("features-embedding.npy").shape == (300, 5)
    np.save("labels.npy", np.arange(300) % 3)
    for command in (
        (*fit, "--out", "q"),
        ("probe", "m-model.npz", "features-*.npy", "labels.npy"),
        ("transform", "m-model.npz", "features-*.npy", "--out", "z.npy"),
    ):
        said = run(capsys, *command, status=2)
        assert "features-embedding.npy matches features-*.npy" in said
        assert "an output, not data" in said
    (folder / "features-embedding.npy").rename("elsewhere.npy")
    run(capsys, "transform", "m-model.npz", "features-*.npy", "--out", "z.npy")
    assert np.load("z.npy").shape == (300, 5)


def test_a_full_disk_is_told_with_the_file(folder, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sslcore.io.writing.write_npy_header", full)
    before = set(folder.iterdir())
    assert "cannot write features-embedding.npy: No space left on device" in run(capsys, *FIT, status=2)
    assert set(folder.iterdir()) == before


def test_rows_are_not_left_out_of_a_pattern(folder, model, capsys):
    for i, part in enumerate(np.split(VIEWS[:, 0].copy(), [100])):
        part[3, 1] = np.nan if i else 0.0
        np.save(f"part-{i}.npy", part)
    words = run(capsys, "transform", model, "part-*.npy", "--missing", "drop", "--out", "z.npy", status=2)
    assert "--missing drop is not for a pattern of arrays" in words
    assert not (folder / "z.npy").exists()
    run(capsys, "transform", model, "part-0.npy", "part-1.npy", "--missing", "drop", "--out", "z.npy")
    assert len(np.load("z.npy")) == 299


def test_transform_maps_large_files_and_writes_all_or_nothing(folder, model, capsys, monkeypatch):
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 1)
    points = VIEWS[:, 0].copy()
    np.save("points.npy", points)
    run(capsys, "transform", model, "points.npy", "--out", "z.npy")
    np.testing.assert_allclose(np.load("z.npy"), sslcore.load(model).transform(points, "probe"), rtol=1e-12)
    (folder / "z.npy").unlink()
    points[200, 3] = np.inf
    np.save("points.npy", points)
    words = run(capsys, "transform", model, "points.npy", "--out", "z.npy", status=2)
    assert "points.npy has inf at row 200 (index [200, 3], counted from 0)" in words
    assert not (folder / "z.npy").exists()
    assert not list(folder.glob(".sslcore-*"))


@pytest.mark.parametrize("kind", ["classes", "targets"])
def test_a_probe_of_a_large_file_is_that_of_a_small_one(folder, model, capsys, monkeypatch, kind):
    points = VIEWS[:, 0]
    labels = (points[:, 0] > 2).astype(int) if kind == "classes" else points[:, 0] ** 2
    np.save("points.npy", points)
    np.save("y.npy", np.where(np.arange(300) % 9 == 0, -1 if kind == "classes" else np.nan, labels))
    arguments = ("probe", model, "points.npy", "y.npy", "--predict", "points.npy", "--json")
    small = json.loads(run(capsys, *arguments))
    predicted = (folder / "points-predictions.csv").read_text()
    monkeypatch.setattr(tunables, "TABLE_MAPPED_BYTES", 1)
    large = json.loads(run(capsys, *arguments))
    assert (folder / "points-predictions.csv").read_text() == predicted or kind == "targets"
    for name in ("accuracy", "standard_error", "largest_class", "r2", "root_mean_squared_error"):
        if name in small:
            assert large[name] == pytest.approx(small[name], rel=1e-6)
            assert large["raw"][name] == pytest.approx(small["raw"][name], rel=1e-6)
    assert large["n_missing"] == small["n_missing"] == 34
    assert large.get("recall") is None
    assert "leave-one-out" in run(capsys, *arguments[:-1])


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_probe_of_many_files_is_that_of_one(folder, model, capsys, in_parts):
    points = VIEWS[:, 0]
    labels = np.where(np.arange(300) % 9 == 0, -1, (points[:, 0] > 2).astype(int))
    np.save("points.npy", points)
    np.save("y.npy", labels)
    for i, (part, of_part) in enumerate(zip(np.split(points, [90, 91]), np.split(labels, [90, 91]), strict=True)):
        np.save(f"shard-{i}.npy", part)
        np.save(f"y-{i}.npy", of_part)
    one = json.loads(run(capsys, "probe", model, "points.npy", "y.npy", "--json"))
    arguments = ("probe", model, "shard-*.npy", "y-?.npy" if in_parts else "y.npy")
    many = json.loads(run(capsys, *arguments, "--json"))
    for name in ("accuracy", "n", "n_missing", "counts", "reg"):
        assert many[name] == pytest.approx(one[name], rel=1e-6), name
    assert (many["file"], many["labels"]) == arguments[2:]
    assert "shard-*.npy: 300 samples; labels y" in run(capsys, *arguments)
    np.save("views-0.npy", VIEWS[:100])
    np.save("views-1.npy", VIEWS[100:])
    assert json.loads(run(capsys, "probe", model, "views-*.npy", "y.npy", "--json"))["n"] == 300


def test_a_probe_of_many_files_says_what_is_wrong(folder, model, capsys):
    for i in range(2):
        np.save(f"shard-{i}.npy", VIEWS[:150, 0])
        np.save(f"y-{i}.npy", np.arange(150) % 2)
    arguments = ("probe", model, "shard-*.npy", "y-*.npy")
    np.save("y-1.npy", np.linspace(0, 1, 150))
    assert "y-1.npy has labels of float64, y-0.npy of int64: they must be" in run(capsys, *arguments, status=2)
    np.save("y-1.npy", np.arange(149) % 2)
    assert "shard-*.npy has 300 samples, y-*.npy has 299 labels" in run(capsys, *arguments, status=2)
    np.save("y-1.npy", np.arange(150) % 2)
    np.save("shard-1.npy", VIEWS[:150, 0, :4])
    assert "shard-1.npy has shape (150, 4), shard-0.npy has (150, 5)" in run(capsys, *arguments, status=2)
    bad = VIEWS[:150, 0].copy()
    bad[77, 2] = np.nan
    np.save("shard-1.npy", bad)
    assert "shard-1.npy has nan at row 77 (index [77, 2], counted from 0)" in run(capsys, *arguments, status=2)
    assert "no file matches none-*.npy" in run(capsys, "probe", model, "none-*.npy", "y-*.npy", status=2)


IMPORTS = """
import os, sys, time
from sslcore import tunables
tunables.STREAM_LEAF_VIEWS = 64
from sslcore.backends import numba_cpu
from sslcore.cli.commands import fit, streamed
from sslcore.cli.commands.fit import _fitted
from sslcore.cli.main import main
from sslcore.stream import _moments
write, take, slow = _moments._Run._write, _moments._Run.take, 0

def slower(self, stream):
    write(self, stream)
    time.sleep(slow)

def due(self, leaf, stream):
    self.due = 0
    return take(self, leaf, stream)

_moments._Run._write, _moments._Run.take = slower, due
"""


@needs_fork
def test_a_fit_that_is_killed_goes_on(tmp_path):
    """Two processes: the first is killed when it has written a checkpoint."""
    for i in range(4):
        np.save(tmp_path / f"features-{i}.npy", np.tile(VIEWS, (4, 1, 1)) + i)
    arguments = [*map(str, FIT), "--reg", "0.01", "--checkpoint", "ck"]
    program = f"os.chdir({str(tmp_path)!r}); slow = 0; sys.exit(main({arguments}))"
    with Parent(IMPORTS) as parent:
        process = parent.start(program.replace("slow = 0", "slow = 1"))
        process.until((tmp_path / "ck").exists)
        process.kill()
        assert process.wait()[0] == -signal.SIGKILL
        assert {path.name for path in tmp_path.iterdir()} == {"ck", *(f"features-{i}.npy" for i in range(4))}
        parent.run(program)
        found = sslcore.load(tmp_path / "features-model.npz")
        (tmp_path / "features-embedding.npy").unlink()
        parent.run(program.replace("'--checkpoint', 'ck'", "'--out', 'straight'"))
    assert found.gamma.tobytes() == sslcore.load(tmp_path / "straight-model.npz").gamma.tobytes()


def test_shards_of_one_view_are_refused_with_what_a_command_line_can_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        np.save(f"rows-{i}.npy", VIEWS[:20, i])
    for more in ((), ("--features", "identity")):
        said = run(capsys, "fit", "rows-*.npy", *more, status=2)
        assert "rows-0.npy has shape (20, 5), one view of each sample" in said
        assert "name the files one by one" in said
        assert "--positives timelag:LAG" in said
    said = run(capsys, "transform", "rows-0.npy", "rows-1.npy", status=2)
    assert "rows-0.npy is no model: the first argument is the model" in said
    (tmp_path / "one.csv").write_text("a,b\n2,3\n")
    assert "one.csv has 1 row; at least 2 samples are needed" in run(capsys, "fit", "one.csv", status=2)
    (tmp_path / "words.csv").write_text("a,b\n" + "".join(f"{i * i},{'xyz'[i % 3]}\n" for i in range(12)))
    run(capsys, "fit", "words.csv", "--categories", "one-hot", "--reg", 0.1, "--no-figure")
    said = run(capsys, "transform", "words-model.npz", "rows-0.npy", status=2)
    assert "was fitted to 4 (of 2 columns, with one for each word)" in said


def test_advice_on_the_grid_is_of_the_command_line():
    """There a search has no grid of one's own."""

    class Task:
        def solve(self):
            return sslcore.pretrain(VIEWS, Identity(), 3, reg=AutoReg((10.0, 1.0)))

    with pytest.warns(sslcore.SelectionWarning, match="give a grid that goes further"):
        Task().solve()
    _, (told,) = _fitted(Task(), lambda step: None)
    assert told.endswith(" reg of the grid, 1; say --reg NUMBER, or look along it with sslcore path")


@pytest.mark.parametrize(
    ("warning", "told"),
    [
        (sslcore.SelectionWarning("it falls", "AutoReg()", reason="cut", reg=0.1), "it falls; say --reg NUMBER"),
        (sslcore.SelectionWarning("it falls", "more samples", reason="collapsed"), "it falls; more samples"),
        (UserWarning("of another kind"), "of another kind"),
    ],
)
def test_advice_follows_from_the_reason(warning, told):
    assert _advised(warning) == told
