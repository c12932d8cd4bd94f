"""Data sets: their laws, their determinism, their errors."""

import builtins

import numpy as np
import pytest

from sslcore import datasets

from . import naive
from .comparators import assert_close


def test_half_moons_without_noise_lie_on_two_half_circles():
    x = datasets.half_moons(4000, seed=3, noise=0)
    right = x[:, 0] > 0
    centred = x - np.outer(right, [0.0, 1.0])
    assert_close((centred**2).sum(axis=1), np.ones(4000))
    share = np.bincount((np.arctan2(centred[:, 1], centred[:, 0]) // (np.pi / 4)).astype(int) + 4) / 4000
    assert np.abs(share - 1 / 8).max() < 4 * np.sqrt(1 / 8 * 7 / 8 / 4000)


def test_half_moons_noise_is_normal_and_drawn_after_the_moons():
    clean, noisy = (datasets.half_moons(20_000, seed=5, noise=noise) for noise in (0.0, 0.3))
    z = (noisy - clean) / 0.3
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(20_000)
    assert np.abs(np.cov(z.T) - np.eye(2)).max() < 4 * np.sqrt(2 / 20_000)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / 40_000)


def test_half_moons_probabilities():
    x = np.vstack([datasets.half_moons(50, seed=0), [[0.0, 0.0], [3.0, -2.0], [-1.0, 0.0]]])
    assert_close(datasets.half_moons_probabilities(x), naive.half_moons_probabilities(x))
    single = datasets.half_moons_probabilities(x.astype(np.float32))
    assert_close(single, naive.half_moons_probabilities(x.astype(np.float32)), dtype=np.float32)


@pytest.mark.parametrize("size", [1e3, 1e150, 1e308])
def test_half_moons_probabilities_far_away(size):
    p = datasets.half_moons_probabilities(size * np.array([[1.0, 1.0], [-1.0, 0.3], [-1.0, -1.0], [1.0, -0.1]]))
    assert np.isfinite(p).all()
    assert_close(p.sum(axis=1), np.ones(4))
    assert p.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_hypercube():
    x = datasets.hypercube(10_000, 5, seed=1)
    assert x.dtype == np.float64
    assert (np.abs(x) == 1).all()
    codes = np.bincount(((x > 0) @ (1 << np.arange(5))).astype(int), minlength=32)
    assert ((codes - 312.5) ** 2 / 312.5).sum() < 65  # chi-square, 31 degrees of freedom: p = 4e-4


@pytest.mark.parametrize("d", [2, 3, 8])
def test_sphere(d):
    n = 20_000
    x = datasets.sphere(n, d, seed=2)
    assert_close((x**2).sum(axis=1), np.ones(n))
    assert np.abs(x.mean(axis=0)).max() < 4 / np.sqrt(n * d)
    assert np.abs(x.T @ x / n - np.eye(d) / d).max() < 4 / np.sqrt(n) / d * np.sqrt(2)
    fourth = 3 / (d * (d + 2))
    assert np.abs((x**4).mean(axis=0) - fourth).max() < 4 / np.sqrt(n)


def test_torus():
    x = datasets.torus(20_000, 2, seed=4)
    assert x.dtype == np.float64
    assert 0 <= x.min() < 1e-3 < 1 - 1e-3 < x.max() < 1
    cells = np.bincount((x * 6).astype(int) @ [6, 1], minlength=36)
    assert ((cells - 20_000 / 36) ** 2 / (20_000 / 36)).sum() < 70  # chi-square, 35 degrees of freedom: p = 4e-4


def test_gaussian():
    n, scale = 20_000, 0.5
    x = datasets.gaussian(n, 3, seed=6, scale=scale)
    assert_close(x, scale * datasets.gaussian(n, 3, seed=6))
    assert np.abs(x.mean(axis=0)).max() < 4 * scale / np.sqrt(n)
    assert np.abs(x.T @ x / n - scale**2 * np.eye(3)).max() < 4 * scale**2 * np.sqrt(2 / n)
    assert abs((x**4).mean() / scale**4 - 3) < 4 * np.sqrt(96 / x.size)


def test_digits():
    images, labels = datasets.digits()
    assert images.shape == (1797, 64)
    assert images.dtype == np.float64
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_without_scikit_learn(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install '\.\[sklearn\]'"):
        datasets.digits()


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: datasets.half_moons(50, seed),
        lambda seed: datasets.hypercube(50, 6, seed),
        lambda seed: datasets.sphere(50, 6, seed),
        lambda seed: datasets.torus(50, 6, seed),
        lambda seed: datasets.gaussian(50, 6, seed),
    ],
)
def test_the_seed_decides(draw):
    assert np.array_equal(draw(7), draw(np.int64(7)))
    assert not np.array_equal(draw(7), draw(8))
    assert draw(2**64 - 1).shape[0] == 50


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: datasets.half_moons(0, 0), ValueError, "n must be at least 1"),
        (lambda: datasets.half_moons(5, -1), ValueError, "seed must be at least 0"),
        (lambda: datasets.half_moons(5, None), TypeError, "seed must be an integer"),
        (lambda: datasets.half_moons(5, 0, noise=-0.1), ValueError, "noise must be a finite number >= 0"),
        (lambda: datasets.half_moons(5, 0, noise=np.nan), ValueError, "noise"),
        (lambda: datasets.half_moons_probabilities([[0.0, 1.0, 2.0]]), ValueError, r"points of the plane \(n, 2\)"),
        (lambda: datasets.half_moons_probabilities([0.0, 1.0]), ValueError, "2 dimensions"),
        (lambda: datasets.half_moons_probabilities([[0.0, np.inf]]), ValueError, r"index \(0, 1\)"),
        (lambda: datasets.hypercube(5, 0, 0), ValueError, "d must be at least 1"),
        (lambda: datasets.hypercube(5.0, 2, 0), TypeError, "n must be an integer"),
        (lambda: datasets.sphere(5, 1, 0), ValueError, "d must be at least 2"),
        (lambda: datasets.torus(0, 1, 0), ValueError, "n must be at least 1"),
        (lambda: datasets.torus(5, 1, 2**64), ValueError, "seed must be"),
        (lambda: datasets.gaussian(5, 1.5, 0), TypeError, "d must be an integer"),
        (lambda: datasets.gaussian(5, 2, 0, scale=0), ValueError, "scale must be a finite number > 0, found 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
