"""Fits of two modalities without their matrices that were interrupted go on with the same bits."""

import numpy as np
import pytest

from sslcore import pretrain, pretrain_path, tunables
from sslcore.features import Identity
from sslcore.fitting import checkpoint
from sslcore.kernels import Exponential, Gaussian
from sslcore.positives import Neighbors
from sslcore.selection import AutoReg

from .interrupting import interrupted
from .test_modalities import pairs

PAIR, BOTH = pairs(90), (Exponential(2.0), Gaussian(2.0))


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    """Many outer steps, and a checkpoint after each."""
    monkeypatch.setattr(tunables, "KRYLOV_BASIS_COLUMNS", (1, 1))
    monkeypatch.setattr(tunables, "MATRIX_FREE_COARSE_VIEWS", 0)
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0)
    monkeypatch.setattr(checkpoint, "PATIENCE", 0)


def fit(pair=PAIR, model=BOTH, **options):
    return pretrain(pair, model, 4, **{"reg": 1e-3, "solver": "matrix-free"} | options)


def bits(rep):
    sides = [(side.coefficients.tobytes(), side.intercept.tobytes()) for side in (rep.first, rep.second)]
    return rep.gamma.tobytes(), sides, rep.certificate.algorithm


CASES = [
    {},
    {"center": True, "beta": 0.5, "sample_weight": np.linspace(1.0, 2.0, 90)},
    {"reg": AutoReg(regs=(1.0, 1e-2, 1e-4), n_folds=1), "center": True},
]


@pytest.mark.parametrize("options", CASES, ids=["plain", "weighted", "searched"])
def test_a_fit_goes_on_with_the_same_bits(options, tmp_path, monkeypatch, backend):
    options = options | {"pair": tuple(map(backend.asarray, PAIR))}
    expected, path, found, runs = fit(**options), tmp_path / "ck", None, 0
    there = 0
    while found is None:
        found = interrupted(monkeypatch, 40 + 25 * runs, fit, checkpoint=path, **options)
        there += path.exists()
        runs += 1
        assert runs < 20
    assert there  # a search keeps what it has found, and nothing before
    assert not path.exists()
    assert bits(found.to("numba")) == bits(expected.to("numba"))


def test_a_path_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    def path(**options):
        return pretrain_path(PAIR, BOTH, 3, regs=[1e-3, 1e-2], betas=[0.5, 1.0], solver="matrix-free", **options)

    expected, place, found, runs = path(), tmp_path / "ck", None, 0
    while found is None:
        found = interrupted(monkeypatch, 60, path, checkpoint=place)
        assert place.exists() == (found is None)
        runs += 1
        assert runs < 30
    assert runs > 2
    assert np.array_equal(found.gamma, expected.gamma)


def test_a_fit_to_other_pairs_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "ck"
    assert interrupted(monkeypatch, 60, fit, checkpoint=path) is None
    x, y = PAIR
    with pytest.raises(ValueError, match="to other data: points differ"):
        fit((x, y[::-1]), checkpoint=path)
    with pytest.raises(ValueError, match="with other settings: kernel"):
        fit(model=BOTH[::-1], checkpoint=path)
    with pytest.raises(ValueError, match="to other data: weights differ"):
        fit(sample_weight=np.linspace(1.0, 2.0, 90), checkpoint=path)
    assert bits(fit(checkpoint=path)) == bits(fit())


@pytest.mark.parametrize(
    ("data", "model", "options"),
    [
        (PAIR, BOTH, {"solver": "dense"}),
        (PAIR, (Identity(), Identity()), {}),
        (PAIR[0], BOTH[0], {"positives": Neighbors(3)}),
    ],
    ids=["dense", "features", "positives"],
)
def test_where_nothing_can_be_kept_a_checkpoint_is_refused(data, model, options, tmp_path):
    with pytest.raises(ValueError, match="checkpoint= is for fits without the kernel matrix"):
        pretrain(data, model, 2, reg=1e-2, checkpoint=tmp_path / "ck", **options)


def test_a_fit_with_matrices_keeps_nothing(tmp_path):
    """They are chosen where memory has room, and then there are no steps worth a file."""
    found = pretrain(PAIR, BOTH, 2, reg=1e-2, checkpoint=tmp_path / "ck")
    assert "matrix-free" not in found.certificate.algorithm
    assert not list(tmp_path.iterdir())
