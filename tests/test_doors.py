"""The public doors: what every one of them refuses, or takes, in the same way."""

import importlib
import importlib.util
import inspect
import types

import numpy as np
import pytest

import sslcore
from sslcore.augmentations import Crop
from sslcore.features import Identity
from sslcore.kernels import Gaussian

RNG = np.random.default_rng(0)
VIEWS = RNG.standard_normal((20, 2, 3))
X, LABELS = VIEWS[:, 0], np.arange(20) % 2


# ---------------------------------------------------------------- booleans


def with_booleans():
    """(name, parameter) of every public function, method and class of which a parameter is a boolean by default."""
    modules = [getattr(sslcore, name) for name in sslcore.__all__ if name != "arrays"]  # the checks themselves
    modules = [sslcore, *(m for m in modules if isinstance(m, types.ModuleType))]
    for name in ("torch",):
        if importlib.util.find_spec(name):
            modules.append(importlib.import_module(f"sslcore.{name}"))
    found = set()
    for module in modules:
        for name in module.__all__:
            value = getattr(module, name)
            members = [(name, value)]
            if inspect.isclass(value):
                members += [(f"{name}.{key}", getattr(value, key)) for key in vars(value) if not key.startswith("_")]
            home = "torch." if module.__name__.endswith("torch") else ""
            for place, member in members:
                if not callable(member):
                    continue
                try:
                    parameters = inspect.signature(member).parameters.values()
                except ValueError:
                    continue
                found |= {(home + place, p.name) for p in parameters if isinstance(p.default, bool)}
    return found


def torch_loss(name, **options):
    torch = pytest.importorskip("torch")
    return getattr(importlib.import_module("sslcore.torch"), name)(torch.from_numpy(VIEWS), **options)


BOOLEANS = {
    "pretrain": lambda **o: sslcore.pretrain(VIEWS, Gaussian(1.0), 2, reg=0.1, **o),
    "pretrain_path": lambda **o: sslcore.pretrain_path(VIEWS, Gaussian(1.0), 2, regs=[0.1], **o),
    "Moments.solve": lambda **o: sslcore.Moments(Identity()).update(VIEWS).solve(2, reg=0.1, **o),
    "Representation.transform": lambda **o: sslcore.pretrain(VIEWS, Gaussian(1.0), 2, reg=0.1).transform(X, **o),
    "SSLEmbedding": lambda **o: sslcore.SSLEmbedding(Gaussian(1.0), reg=0.1, **o).fit(X),
    "Crop": lambda **o: Crop(2, **o),
    "ridge_probe": lambda **o: sslcore.probing.ridge_probe(X, LABELS, 0.1, **o),
    "vicreg": lambda **o: sslcore.risk.vicreg(VIEWS, **o),
    "spectral_contrastive": lambda **o: sslcore.risk.spectral_contrastive(VIEWS, **o),
    "vicreg_hinge": lambda **o: sslcore.risk.vicreg_hinge(VIEWS, **o),
    "barlow_twins": lambda **o: sslcore.risk.barlow_twins(VIEWS, **o),
    "torch.vicreg": lambda **o: torch_loss("vicreg", **o),
    "torch.spectral_contrastive": lambda **o: torch_loss("spectral_contrastive", **o),
}


@pytest.mark.parametrize(("name", "parameter"), sorted(with_booleans()))
def test_booleans_are_booleans(name, parameter):
    """Numbers and words have a truth value, but nobody who writes them means it."""
    call = BOOLEANS[name]
    for value in (5, 0, 1, 1.0, "no", "True", None, [], np.array([True]), np.int64(1)):
        with pytest.raises(TypeError, match=f"{parameter} must be True or False, found"):
            call(**{parameter: value})
    for value in (True, False, np.True_, np.False_):
        call(**{parameter: value})
