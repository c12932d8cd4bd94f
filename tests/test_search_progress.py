"""How far a search for reg is: each fit is told, with its fold and reg, and the steps of those without the matrix."""

import numpy as np
import pytest

import sslcore
from sslcore import SelectionWarning, pretrain, tunables
from sslcore.augmentations import GaussianNoise
from sslcore.cli.commands.progress import Progress
from sslcore.cli.main import main
from sslcore.features import Identity
from sslcore.fitting.folds import KernelFolds
from sslcore.kernels import Exponential, Gaussian
from sslcore.positives import TimeLag
from sslcore.selection import AutoReg

from .test_features import noisy

pytestmark = pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
REGS = (10.0, 1e-1, 1e-2, 1e-3)  # the first one is larger than the trace: nothing is solved
SEARCH = AutoReg(regs=REGS, n_folds=2)
X = sslcore.datasets.half_moons(40, seed=0)
VIEWS = GaussianNoise(0.1).views(X, 2, seed=0)
PAIR = (X, np.tanh(X))
KERNELS = (Gaussian(1.0), Gaussian(1.0))
WAYS = {
    "dense": (VIEWS, Gaussian(0.5), {}),
    "matrix-free": (VIEWS, Gaussian(0.5), {"solver": "matrix-free"}),
    "features": (VIEWS, Identity(), {}),
    "pairs": (X, Gaussian(0.5), {"positives": TimeLag(1)}),
    "pairs, features": (X, Identity(), {"positives": TimeLag(1)}),
    "modalities": (PAIR, KERNELS, {"center": True}),
    "modalities, matrix-free": (PAIR, KERNELS, {"center": True, "solver": "matrix-free"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_fit_is_told(way):
    views, model, options = WAYS[way]
    told = []
    rep = pretrain(views, model, 2, reg=SEARCH, progress=lambda *where: told.append(where), **options)
    assert np.array_equal(rep.gamma, pretrain(views, model, 2, reg=SEARCH, **options).gamma)
    of_search = [where for where in told if "fold" in where[3]]
    assert told[: len(of_search)] == of_search  # then the steps of the fit to all samples, if it has some
    assert (len(told) > len(of_search)) == ("matrix-free" in way)
    done, total, left, places = zip(*of_search, strict=True)
    assert list(done) == sorted(done)
    assert set(done) - {0} == set(range(1, 9))
    assert set(total) == {8}
    assert set(left) == {None}
    assert {(place["fold"], place["reg"]) for place in places} == {(f, reg) for f in (0, 1) for reg in REGS}
    assert {place["n_folds"] for place in places} == {2}
    if "matrix-free" in way:
        residuals = [place["residual"] for place in places if place.get("residual") is not None]
        assert residuals
        assert {place["target"] for place in places if "target" in place} == {1e-7}


def test_fits_that_are_solved_together_are_told_one_by_one(monkeypatch):
    """Before the first of them is judged: they take the time, not its risk."""
    told, done, risk = [], [], KernelFolds._risk

    def counted(self, *what):
        done.append(told[-1][0] if told else 0)
        return risk(self, *what)

    monkeypatch.setattr(KernelFolds, "_risk", counted)
    pretrain(VIEWS, Gaussian(0.5), 2, reg=SEARCH, progress=lambda *where: told.append(where))
    assert done == [0, 4, 4, 4, 4, 8, 8, 8]  # of each fold the collapsed one, and three that are solved


@pytest.mark.parametrize("length", [0.5, 500.0])
def test_the_default_grid(length):
    """Half decades are two, or one where the best of the decades is at an end: then there are fewer than expected."""
    told = []
    rep = pretrain(VIEWS, Gaussian(length), 2, reg="auto", progress=lambda *where: told.append(where))
    count, n_regs = rep.selection.n_folds, len(rep.selection.regs)
    assert n_regs == (11 if length == 0.5 else 10)
    assert [where[1] for where in told] == 9 * count * [11 * count] + (n_regs - 9) * count * [n_regs * count]
    assert told[-1][0] == told[-1][1]


def test_fits_that_are_left_out_are_told(monkeypatch):
    """What does not converge at one reg is not tried at smaller ones: both are done."""
    monkeypatch.setattr(tunables, "MATRIX_FREE_MOST_PRODUCTS", 80)
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 0)
    told = []
    options = {"reg": AutoReg(regs=(1.0, 1e-2, 1e-6, 1e-7), n_folds=2), "solver": "matrix-free"}
    with pytest.warns(SelectionWarning, match="reg = 1e-06 and smaller ones were left out"):
        pretrain(noisy(200, 2, 3), Exponential(1.0), 4, progress=lambda *where: told.append(where), **options)
    assert max(where[0] for where in told if "fold" in where[3]) == 8


@pytest.mark.parametrize("solver", ["dense", "matrix-free"])
def test_the_bar_of_the_command(solver, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("views.npy", VIEWS)
    told, advance = [], Progress.advance
    monkeypatch.setattr(Progress, "advance", lambda self, *how: told.append(how) or advance(self, *how))
    command = ["fit", "views.npy", "--kernel", "gaussian:0.5", "--components", "2", "--no-figure", "--progress"]
    assert main([*command, "--solver", solver]) == 0
    fractions, words = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions)
    assert words[0].startswith(", fold 1 of 5, reg ")
    assert len({word.split(", residual")[0] for word in words if "fold" in word}) > 40
    assert all(fraction <= 11 / 12 for fraction, word in told if "fold" in word)
    if solver == "matrix-free":
        assert any(", residual " in word for word in words if "fold" in word)
        assert fractions[-1] == 1.0
        assert words[-1].startswith(", residual ")
