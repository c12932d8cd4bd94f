"""The examples run, and find what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import sslcore

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"backend_client", "deep_features"}


def test_a_library_that_uses_this_one():
    """Its own functions, as `docs/backend.md` shows them, beside plain ones."""
    client = load("backend_client")
    kernel, x = sslcore.kernels.Gaussian(1.0), np.random.default_rng(0).normal(size=(30, 3))
    matrix = np.exp(-((x[:, None] - x) ** 2).sum(axis=2) / 2)
    np.testing.assert_allclose(client.mean_embedding(kernel, x, x[:5]), matrix[:5].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(
        client.median_gram([x, x[:10]], kernel), [np.median(matrix), np.median(matrix[:10, :10])]
    )
    views = x.reshape(5, 2, 9)
    assert client.best_head([views[:2], views[2:]], 3).n_components == 3
    with pytest.raises(sslcore.MemoryBudgetError):
        client.best_head([views], 3, memory="1kB")


def test_deep_features(capsys):
    """The closed form attains the minimum, which gradients approach from above; the network with its head is that."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    found = load("deep_features").run(samples=400, epochs=3, head_epochs=40)
    assert found["closed form"] == pytest.approx(found["minimum"], abs=1e-8)
    assert found["minimum"] + 1e-6 < found["SGD"] < found["minimum"] + 3.0
    assert found["difference"] < 1e-4
    assert found["closed form accuracy"] > 0.6
    printed = capsys.readouterr().out
    for line in (
        "network ",
        "closed form risk",
        "SGD ",
        "minimum ",
        "Linear(in_features=128, out_features=16, bias=True)",
    ):
        assert line in printed
