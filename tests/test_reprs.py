"""What a session shows of an object is a line or two, not pages of arrays."""

import warnings

import numpy as np
import pytest

import sslcore
from sslcore import datasets
from sslcore.augmentations import BitFlip, GaussianNoise
from sslcore.diagnostics import collapse_report
from sslcore.features import Nystrom
from sslcore.kernels import Gaussian
from sslcore.population import Hypercube
from sslcore.probing import knn_probe, ridge_probe


@pytest.fixture(scope="module")
def fit():
    x = datasets.half_moons(300, seed=0)
    views = GaussianNoise(0.1).views(x, 2, seed=0)
    with warnings.catch_warnings(action="ignore"):
        return x, views, sslcore.pretrain(views, Nystrom(Gaussian(0.5), 60).fit(views), 20, reg="auto", center=True)


MAKERS = {
    "representation": lambda x, views, rep: rep,
    "certificate": lambda x, views, rep: rep.certificate,
    "selection": lambda x, views, rep: rep.selection,
    "features": lambda x, views, rep: rep.model,
    "collapse": lambda x, views, rep: collapse_report(rep),
    "path": lambda x, views, rep: sslcore.pretrain_path(views, rep.model, 4, regs=np.logspace(-4, 0, 20)),
    "ridge": lambda x, views, rep: ridge_probe(rep(x), x[:, 0] > 0, np.logspace(-6, 0, 30)),
    "knn": lambda x, views, rep: knn_probe(rep(x), x[:, 0] > 0, 5),
    "views": lambda x, views, rep: sslcore.Views(x, GaussianNoise(0.1), 2, 0),
    "spectrum": lambda x, views, rep: Hypercube(10).spectrum(BitFlip(0.1), Gaussian(2.0), reg=1e-3, n_components=176),
}


@pytest.mark.parametrize("name", MAKERS)
def test_reprs_are_short(fit, name):
    thing = MAKERS[name](*fit)
    assert repr(thing).startswith(f"{type(thing).__name__}(")
    assert "\n" not in repr(thing)
    assert len(repr(thing)) < 1000
