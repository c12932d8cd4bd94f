"""``sslcore study NAME``: every file of the room is a study; its folder holds numbers, words and a picture."""

import importlib
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sslcore import datasets
from sslcore.cli.commands.progress import Progress
from sslcore.cli.main import main
from sslcore.plotting import panels
from sslcore.studies import _registry, convergence, figures, halfmoons, interplay

from .forked import Parent, needs_fork

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("name", _registry.names())
def test_every_file_is_a_study(name, capsys):
    study = _registry.registered(name)
    assert not study.sentence.endswith(".")
    room = importlib.import_module(f"{figures.__name__}.{name}")
    assert "" in study.pictures
    assert all(callable(getattr(room, function)) for function in study.pictures.values())
    tests = Path(__file__).parent
    assert (
        tests / f"test_study_{name}.py"
    ).exists() or name == "convergence"  # which has a command: test_convergence.py
    gallery = tests.parent / "docs" / "gallery.md"
    assert not gallery.exists() or re.search(f"sslcore (study )?{name}\\b", gallery.read_text(encoding="utf-8"))
    assert main(["study", "--list"]) == 0
    assert f"{name:<14}{study.sentence}\n" in capsys.readouterr().out


def test_a_study_in_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "interplay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    folder = Path("sslcore-interplay")
    assert (found["study"], found["full"], found["d"]) == ("interplay", False, 16)
    np.testing.assert_allclose([c["reg"] for c in found["crossings"]], [3.40541267732e-07, 1.37325548034e-06])
    assert json.loads((folder / "interplay.json").read_text()) == found
    assert (folder / "interplay.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".png", ".txt"]
    monkeypatch.setattr("sslcore.studies.interplay.study", lambda *args: pytest.fail("computed again"))
    assert main(["study", "interplay", "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.parametrize("damage", ["", "[]", '{"study": "interplay", "full": true}', "\x00"])
def test_what_is_not_of_this_study_is_made_again(damage, tmp_path, capsys):
    (tmp_path / "interplay.json").write_text(damage)
    assert main(["study", "interplay", "--resume", "--out", str(tmp_path)]) == 0
    assert "highest of these" in (tmp_path / "interplay.txt").read_text()
    assert json.loads((tmp_path / "interplay.json").read_text())["full"] is False
    capsys.readouterr()


def test_the_half_moons_are_those_of_their_command(tmp_path, monkeypatch, capsys):
    whole = halfmoons.controlled
    monkeypatch.setattr(halfmoons, "controlled", lambda *sizes, run: whole((20, 40), (30, 60), (2, 2), 60, 50, run))
    assert main(["study", "halfmoons", "--out", str(tmp_path), "--json", "--progress", "--workers", "1"]) == 0
    out, err = capsys.readouterr()
    assert "figure" in err
    numbers = ["--samples", "60", "--views", "2", "--no-center", "--reg", str(halfmoons.published_reg(120))]
    # T averaged over all pairs of two views, at beta = 1: that of different ones at beta = 1/2
    assert main(["halfmoons", *numbers, "--beta", "0.5", "-o", str(tmp_path / "a.png"), "--json"]) == 0
    one, two = json.loads(out), json.loads(capsys.readouterr().out)
    assert one["eigenvalues"] == pytest.approx(two["eigenvalues"], rel=1e-9)
    more = {"study", "full", "sslcore", "figures", "verdict", "unbiased", "lambda_ref", "learning_curves"}
    assert {**two, **one}.keys() - two.keys() == more
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.png",
        *(f"halfmoons{end}" for end in ("-setup.png", ".json", ".npz", ".png", ".txt")),
    ]


def test_the_others_in_a_small_size(tmp_path, monkeypatch, capsys):
    """Each tells the steps that it has registered."""
    pytest.importorskip("sklearn")
    images, labels = (part[:300] for part in datasets.digits())
    monkeypatch.setattr(datasets, "digits", lambda: (images, labels))
    whole = convergence.study
    monkeypatch.setattr(
        convergence, "study", lambda n, repetitions, **more: whole(n=(20, 40), m=(2,), repetitions=1, **more)
    )
    for name in ("digits", "convergence"):
        folder = tmp_path / name
        assert main(["study", name, "--out", str(folder), "--json", "--progress"]) == 0
        out, err = capsys.readouterr()
        assert all(step in err for step in _registry.registered(name).seconds)
        assert json.loads(out)["study"] == name
        assert (folder / f"{name}.png").stat().st_size > 20_000


# ---------------------------------------------------------------- a small study: folders, parts and verdicts


class Numbers:
    """The results of a study for tests."""

    def __init__(self, drawn):
        self.drawn = drawn

    def document(self):
        return {"drawn": self.drawn}

    def table(self):
        return f"{len(self.drawn)} numbers"

    def arrays(self):
        return {"drawn": np.array(self.drawn)}

    def verdict(self):
        return f"The paper: 0. Measured: {_registry.plus_minus(self.drawn)}."


@pytest.fixture
def small(monkeypatch):
    """Stand in for the study of the interplay: it keeps a part, and stops in the middle when it is told to."""
    state = SimpleNamespace(fail=False, asked=None, steps=[])

    def run(asked):
        state.asked = asked
        asked.begin("numbers")
        asked.progress(1, 2)
        place = asked.cells("draws")["folder"]
        place.mkdir(exist_ok=True)
        (place / "cell-00000.npz").write_bytes(b"a part")
        if state.fail:
            raise RuntimeError("in the middle")
        return Numbers(np.random.default_rng(asked.seed).standard_normal(8 if asked.full else 4).tolist())

    def figure(found):
        made = panels.Figure(figsize=(1, 1))
        made.subplots().plot(found.drawn)
        return made

    monkeypatch.setattr(interplay, "STUDY", _registry.Registered("numbers", run, {"numbers": 1.0}))
    monkeypatch.setattr(figures.interplay, "figure", figure, raising=False)
    return state


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_folder_of_a_study(kind, small, tmp_path, capsys):
    argv = ["study", "interplay", "--out", str(tmp_path / "a"), "--format", kind, "--workers", "3", "--seed", "5"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("The paper: 0. Measured: ")
    found = json.loads((tmp_path / "a" / "interplay.json").read_text())
    assert found["verdict"] == out.splitlines()[-1]
    assert (found["study"], found["full"], found["seed"], small.asked.workers) == ("interplay", False, 5, 3)
    assert np.load(tmp_path / "a" / "interplay.npz")["drawn"].tolist() == found["drawn"]
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(["interplay.json", "interplay.npz", f"interplay.{kind}", "interplay.txt"])
    picture = (tmp_path / "a" / f"interplay.{kind}").read_bytes()
    assert picture[:4] == {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[kind]
    argv[3] = str(tmp_path / "b")
    assert main([*argv, "--full"]) == 0
    assert len(json.loads((tmp_path / "b" / "interplay.json").read_text())["drawn"]) == 8
    argv[3] = str(tmp_path / "c")
    assert main(argv) == 0
    assert (tmp_path / "c" / f"interplay.{kind}").read_bytes() == picture


def test_a_part_goes_on_with_resume_only(small, tmp_path, monkeypatch, capsys):
    argv = ["study", "interplay", "--out", str(tmp_path)]
    small.fail = True
    with pytest.raises(RuntimeError, match="in the middle"):
        main([*argv, "--debug"])
    capsys.readouterr()
    small.fail = False
    assert main(argv) == 2
    assert "holds a part of interplay; go on with --resume" in capsys.readouterr().err
    for more, other in ([["--full"], ""], [["--seed", "3"], ""]):
        assert main([*argv, "--resume", *more]) == 2, other
        assert "holds a part of interplay; name another folder with --out" in capsys.readouterr().err
    part = json.loads((tmp_path / "cells" / "study.json").read_text())
    (tmp_path / "cells" / "study.json").write_text(json.dumps(part | {"sslcore": "0.0"}))
    assert main([*argv, "--resume"]) == 2
    assert "by sslcore 0.0, whose numbers may differ" in capsys.readouterr().err
    (tmp_path / "cells" / "study.json").write_text(json.dumps(part))
    assert main([*argv, "--resume"]) == 0
    assert (tmp_path / "interplay.json").exists()
    assert not (tmp_path / "cells").exists()


def test_damaged_parts_are_kept_where_the_warning_said(small, tmp_path, capsys):
    small.fail = True
    with pytest.raises(RuntimeError, match="in the middle"):
        main(["study", "interplay", "--out", str(tmp_path), "--debug"])
    small.fail = False
    aside = tmp_path / "cells" / "draws" / "cell-00001.npz.damaged"
    aside.write_bytes(b"half")
    (tmp_path / "cells" / "more").mkdir()
    for more in (["--resume"], []):  # and none is in the way of the next run
        assert main(["study", "interplay", "--out", str(tmp_path), *more]) == 0
        assert [path for path in (tmp_path / "cells").rglob("*") if path.is_file()] == [aside]
        assert aside.read_bytes() == b"half"
        assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == ["draws"]
    capsys.readouterr()


def test_what_was_done_before_is_no_speed_of_this_run(small, tmp_path, monkeypatch):
    """The first call within a step says what an earlier run has finished; only later ones count for the time left."""
    told = []
    for name in ("skip", "advance"):
        monkeypatch.setattr(Progress, name, lambda self, done, name=name: told.append((name, done)))
    monkeypatch.setattr(Progress, "untold", property(lambda self: not told))
    assert main(["study", "interplay", "--out", str(tmp_path), "--json"]) == 0
    small.asked.progress(2, 2, 0.0)
    assert told == [("skip", 0.5), ("advance", 1.0)]


def test_results_of_another_study_or_size_are_refused(small, tmp_path, capsys):
    argv = ["study", "interplay", "--out", str(tmp_path)]
    assert main(argv) == 0
    before = (tmp_path / "interplay.json").read_bytes()
    for more in ([], ["--resume"]):
        assert main([*argv, "--full", *more]) == 2
        assert f"{tmp_path} holds the results of interplay; name another folder" in capsys.readouterr().err
        assert main(["study", "convergence", "--out", str(tmp_path), *more]) == 2
        assert f"{tmp_path} holds the results of interplay; name another folder" in capsys.readouterr().err
    assert (tmp_path / "interplay.json").read_bytes() == before
    assert main([*argv, "--resume"]) == 0
    assert "done already" in capsys.readouterr().out
    assert main(argv) == 0  # the same again: made again


def test_a_picture_that_fails_leaves_the_parts(small, tmp_path, monkeypatch, capsys):
    argv = ["study", "interplay", "--out", str(tmp_path)]
    with monkeypatch.context() as broken:
        broken.setattr(figures.interplay, "figure", lambda found: 1 / 0)
        assert main(argv) == 1
    assert "could not be drawn: ZeroDivisionError" in capsys.readouterr().err
    assert (tmp_path / "interplay.json").exists()
    assert (tmp_path / "cells" / "draws").exists()
    assert main([*argv, "--resume"]) == 0
    assert (tmp_path / "interplay.png").exists()
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, 1.2], "1.10 +- 0.10"),
        ([3.0], "3"),
        ([2.0, 2.0], "2 +- 0"),
        ([100.0, 300.0], "200 +- 100"),
        ([1e-9, 3e-9], "2e-09 +- 1e-09"),
    ],
)
def test_means_with_errors(values, words):
    assert _registry.plus_minus(values) == words


def test_numbers_of_workers_that_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "interplay", "--workers", "0"]) == 2
    assert "--workers must be at least 1, found 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- killed

IMPORTS = """
import sys
from dataclasses import replace
import matplotlib.figure, scipy.linalg
from sslcore.backends import numba_cpu
from sslcore.cli.commands import study
from sslcore.cli.main import main
from sslcore.studies import capacity, figures

def small(run):
    return capacity.study((1e-20, 1e-3), (1e-3,), repetitions=30, n=40, n_held_out=200, seed=run.seed, run=run)

capacity.STUDY = replace(capacity.STUDY, run=small)
"""


@needs_fork
def test_a_study_that_was_killed_goes_on_to_the_same_results(tmp_path):
    """A dozen kills: among the 30 cells, as soon as it starts, and while results and pictures are written."""
    rng = np.random.default_rng()
    place = tmp_path / "killed"
    # how many cells are there, at least, and how many milliseconds later it ends
    kills = [(0, 0), *((int(n), int(ms)) for n, ms in rng.integers((1, 0), (30, 40), (8, 2))), (30, 0), (30, 40)]
    kills = [*sorted(kills), (30, int(rng.integers(100, 700)))]
    with Parent(IMPORTS) as parent:

        def start(folder, *more):
            argv = ["study", "capacity", "--out", str(folder), "--workers", "1", *more]
            return parent.start(f"sys.exit(main({argv}))")

        def finish(process):
            status, out, err = process.wait()
            assert status == 0, (err, kills)
            return out

        straight = finish(start(tmp_path / "whole"))
        process = start(place)
        for count, milliseconds in kills:
            process.until(lambda count=count: len(list(place.glob("cells/fits/cell-*.npz"))) >= count)
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait()
            left = place / "capacity.json"
            assert not left.exists() or json.loads(left.read_text())["verdict"], kills  # whole, or not there
            process = start(place, "--resume")
        resumed = finish(process)
    assert resumed.splitlines()[-1] == straight.splitlines()[-1], kills
    one, two = (json.loads((tmp_path / name / "capacity.json").read_text()) for name in ("killed", "whole"))
    for document in (one, two):
        for name in ("seconds", "figure", "figures", "certificates"):
            del document[name]
    assert one == two, kills
    assert sorted(path.name for path in place.iterdir()) == [f"capacity.{s}" for s in ("json", "png", "txt")], kills
