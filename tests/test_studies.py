"""``sslcore study NAME``: every file of the room is a study; its folder holds numbers, words and a picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from sslcore import datasets
from sslcore.cli.main import main
from sslcore.studies import _registry, convergence, figures, halfmoons

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("name", _registry.names())
def test_every_file_is_a_study(name, capsys):
    study = _registry.registered(name)
    assert not study.sentence.endswith(".")
    assert callable(getattr(figures, study.figure))
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
    whole = halfmoons.study
    monkeypatch.setattr(halfmoons, "study", lambda n, *rest, **more: whole(60, *rest, **more))
    assert main(["study", "halfmoons", "--out", str(tmp_path), "--json", "--progress"]) == 0
    out, err = capsys.readouterr()
    assert "figure" in err
    assert main(["halfmoons", "--samples", "60", "-o", str(tmp_path / "a.png"), "--json"]) == 0
    one, two = json.loads(out), json.loads(capsys.readouterr().out)
    assert one["eigenvalues"] == pytest.approx(two["eigenvalues"], rel=1e-9)
    assert {**two, **one}.keys() - two.keys() == {"study", "full", "sslcore"}


def test_the_others_in_a_small_size(tmp_path, monkeypatch, capsys):
    """Each tells the steps that it has registered."""
    pytest.importorskip("sklearn")
    images, labels = (part[:300] for part in datasets.digits())
    monkeypatch.setattr(datasets, "digits", lambda: (images, labels))
    whole = convergence.study
    monkeypatch.setattr(
        convergence, "study", lambda n, repetitions, begin: whole(n=(20, 40), m=(2,), repetitions=1, begin=begin)
    )
    for name in ("digits", "convergence"):
        assert main(["study", name, "--out", str(tmp_path), "--json", "--progress"]) == 0
        out, err = capsys.readouterr()
        assert all(step in err for step in _registry.registered(name).seconds)
        assert json.loads(out)["study"] == name
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000
