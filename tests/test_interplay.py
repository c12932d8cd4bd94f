"""The three regimes on the cube (``sslcore interplay``), against the paper's instance and the lines themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from sslcore.augmentations import BitFlip, Compose, Crop
from sslcore.cli.main import main
from sslcore.kernels import NNGP, Gaussian
from sslcore.population import Hypercube
from sslcore.studies.interplay import SETS, study

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())["I"]


def test_the_papers_instance_in_dimension_16():
    want = ORACLES["notebook_family_He_nngp2_d16_w8"]
    found = study(16, Crop(8), NNGP(2))
    np.testing.assert_allclose(found.lines.augmentation, want["T"], rtol=1e-11)
    np.testing.assert_allclose(found.lines.kernel, want["K"], rtol=1e-11)
    # the table: {0, 5} meets {0, 2, 4}, which meets {0, 1, 2, 3} before
    np.testing.assert_allclose([c.reg for c in found.crossings], want["cross"][::-1], rtol=1e-11)
    assert [(c.before, c.after) for c in found.crossings] == [(SETS[2], SETS[1]), (SETS[1], SETS[0])]
    assert [(r.name, r.labels[0]) for r in found.regimes] == [
        ("augmentation", SETS[2]),
        ("interplay", SETS[1]),
        ("architecture", SETS[0]),
    ]
    for word in ("3.405412677e-07", "1.373255480e-06", "{0, 5} 0.111111", "d >= 13"):
        assert word in found.table()


def test_the_picture_of_three_needs_dimension_13():
    assert [len(study(d, Crop(8), NNGP(2)).regimes) for d in (12, 13, 14)] == [2, 3, 3]
    small = study(16, Crop(8), NNGP(2)).small
    np.testing.assert_allclose(small.lines.augmentation, ORACLES["notebook_family_He_nngp2_d12_w8"]["T"], rtol=1e-11)
    assert study(12, Crop(8), NNGP(2)).small is None
    assert study(16, BitFlip(0.1), NNGP(2)).note() == ""  # no windows, nothing to say of them
    assert "d >= 13" not in study(16, Crop(7), NNGP(2)).note()


def test_crossings_are_where_the_highest_line_changes():
    sets = [(0, 5), (1, 6), (0, 2, 4), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    found = study(12, Compose(Crop(7), BitFlip(0.02)), Gaussian(1.5), sets, beta=0.8)
    assert len(found.crossings) == 2
    grid = np.linspace(0, 2 * found.crossings[-1].reg, 4001)
    values = np.stack([found.lines.values(r, 0.8) for r in grid], axis=1)
    changes = np.flatnonzero(np.diff(values.argmax(axis=0)))
    np.testing.assert_allclose(grid[changes], [c.reg for c in found.crossings], atol=grid[1])
    np.testing.assert_array_equal(found.highest(grid[:50]), values.max(axis=0)[:50])
    for crossing in found.crossings:
        assert found.highest(crossing.reg)[0] == pytest.approx(crossing.eigenvalue, abs=1e-13)


def test_all_parities_are_counted_once():
    d, law, kernel = 10, Crop(6), Gaussian(2.0)
    found = study(d, law, kernel, [(0,), (0, 1)]).classes
    assert sum(count for *_, count in found) == 2**d
    cube = Hypercube(d)
    sizes = np.array([bin(i).count("1") for i in range(2**d)])
    every = np.stack([sizes, cube.augmentation_eigenvalues(law), cube.kernel_eigenvalues(kernel)[sizes]], axis=1)
    for h, t, kappa, count in found:
        assert (np.abs(every - [h, t, kappa]).max(axis=1) < 1e-12).sum() == count
    assert study(30, law, kernel, [(0,), (0, 1)]).classes == []


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["interplay", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["reg"] for c in found["crossings"]] == pytest.approx([3.40541267732e-07, 1.37325548034e-06], rel=1e-11)
    png = (tmp_path / "sslcore-interplay.png").read_bytes()
    assert png[:4] == b"\x89PNG"
    assert len(png) > 20_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dimension", "40", "--crop", "10", "--kernel", "gaussian", "--scale", "3", "--sets", "0,20", "0,1,2"],
        ["--dimension", "7", "--crop", "0", "--flip", "0.1", "--kernel", "ntk", "--depth", "3", "--sets", "0", "0,1"],
        ["--dimension", "8", "--crop", "5", "--flip", "0.1", "--kernel", "l1", "--beta", "0.5"],
        ["--dimension", "9", "--crop", "4", "--kernel", "exponential", "--sets", "0,1", "0,1,2", "0,1,2,3"],
    ],
)
def test_other_cubes(arguments, tmp_path, capsys):
    assert main(["interplay", *arguments, "-o", str(tmp_path / "a.png")]) == 0
    assert "highest of these" in capsys.readouterr().out
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_bad_input(capsys, tmp_path):
    for arguments, message in (
        (["--sets", "0,x", "1"], "a subset is coordinates"),
        (["--sets", "0,-1", "1"], "coordinates are 0, 1"),
        (["--sets", "0,1", "1,0"], "two parities or more"),
        (["--sets", "0,20", "1"], "20"),
        (["--crop", "17"], "17"),
        (["--flip", "1.5"], "p must be"),
        (["--dimension", "0"], "d must be"),
        (["--kernel", "gaussian", "--scale", "0"], "scale must be"),
        (["--beta", "-1"], "beta must be"),
        (["-o", "a.jpg"], "must end in .png, .pdf or .svg"),
    ):
        output = [] if "-o" in arguments else ["-o", str(tmp_path / "a.png")]
        assert main(["interplay", *arguments, *output]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
