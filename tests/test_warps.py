"""Laws of series, images and tables: what they leave as it is, their means and spreads, shapes, and what is refused."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import pretrain
from sslcore.augmentations import (
    Augmentation,
    Blur,
    Brightness,
    ColorJitter,
    Compose,
    Contrast,
    Corrupt,
    Custom,
    GaussianNoise,
    Jitter,
    MagnitudeWarp,
    Mixture,
    RandomRotation,
    ResizedCrop,
    Scaling,
    Stage,
    TangentStep,
    TimeWarp,
    Views,
    Window,
)
from sslcore.cli import main as cli
from sslcore.features import Identity
from sslcore.fitting.codec import decode, encode

from . import naive
from .examples import augmentation_examples

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.skipif(not DOCS.exists(), reason="the pages are not part of an installation")
@pytest.mark.parametrize(("page", "number"), [("series.md", 2), ("images.md", 2)])
def test_the_examples_of_the_pages_run(page, number, capsys):
    pytest.importorskip("sklearn")
    found = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(found) == number
    for block in found:
        assert "assert" in block
        exec(compile(block, page, "exec"), {})
    capsys.readouterr()


def samples(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ---------------------------------------------------------------- strength 0

AT_REST = [
    lambda h, w, c: Jitter(0, channels=c),
    lambda h, w, c: Scaling(0, channels=c),
    lambda h, w, c: MagnitudeWarp(0, knots=h, channels=c),
    lambda h, w, c: TimeWarp(0, knots=h, channels=c),
    lambda h, w, c: Window(1, channels=c),
    lambda h, w, c: Brightness((h, w, c), 0),
    lambda h, w, c: Contrast((h, w, c), 0),
    lambda h, w, c: ColorJitter((h, w, 3), 0, 0, 0, 0),
    lambda h, w, c: Blur((h, w, c), 0),
    lambda h, w, c: ResizedCrop((h, w, c), smallest=1, ratio=1),
    lambda h, w, c: Corrupt(0, np.ones((2, h * w * c))),
]


@given(
    st.sampled_from(AT_REST),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([np.float64, np.float32]),
    st.integers(0, 2**64 - 1),
)
def test_no_strength_is_the_identity(make, shape, dtype, seed):
    """To the bit, for all shapes and types."""
    a = make(*shape)
    d = math.prod(a.image_shape if isinstance(a, ColorJitter) else shape)
    x = samples(4, d, seed=seed % 2**32).astype(dtype)
    found = a.views(x, 2, seed=seed)
    assert found.dtype == dtype
    assert np.array_equal(found, np.stack([x, x], axis=1))


@pytest.mark.parametrize(
    "a",
    [
        TimeWarp(1.0),
        Window(0.3),
        Blur((5, 7), 2.0),
        ResizedCrop((5, 7)),
        Jitter(1.0),
        Contrast((5, 7)),
        ColorJitter((5, 7, 3), brightness=0, hue=0.5, saturation=1),
    ],
    ids=repr,
)
def test_constant_samples_stay(a):
    """Of one colour, that of grey for changes of colours; rounding aside."""
    d = 105 if isinstance(a, ColorJitter) else 35
    x = np.full((50, d), 3.7)
    np.testing.assert_allclose(a.views(x, 2, seed=0), np.full((50, 2, d), 3.7), rtol=1e-14)


# ---------------------------------------------------------------- series
# Tolerances are five standard errors.


def test_jitter_follows_the_spread_of_each_channel():
    n, times = 4000, 12
    x = np.tile(np.stack([np.arange(times) * 100.0, np.arange(times) * 1e-3, np.full(times, 7.0)]), (n, 1, 1))
    noise = (Jitter(0.3, channels=3).views(x, 1, seed=1)[:, 0] - x.reshape(n, -1)).reshape(n, 3, times)
    spread = x[0].std(axis=1)
    assert not noise[:, 2].any()
    for c in range(2):
        z = noise[:, c] / (0.3 * spread[c])
        assert abs(z.mean()) < 5 / math.sqrt(z.size)
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / z.size)
    # the normals are those of GaussianNoise
    normals = GaussianNoise(1).views(np.zeros((n, 3 * times)), 1, seed=1)[:, 0].reshape(n, 3, times)
    np.testing.assert_allclose(noise[:, 0], 0.3 * spread[0] * normals[:, 0], rtol=1e-9, atol=1e-11)


def test_factors_of_channels():
    n, s = 20_000, 0.4
    factor = Scaling(s, channels=3).views(np.ones((n, 15)), 2, seed=2).reshape(n, 2, 3, 5)
    assert (factor == factor[..., :1]).all()
    z = (factor[..., 0].reshape(n, 6) - 1) / s  # two views, three channels: independent
    assert np.abs(z.mean(axis=0)).max() < 5 / math.sqrt(n)
    assert np.abs(z.T @ z / n - np.eye(6)).max() < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("knots", [0, 1, 4])
def test_smooth_factors(knots):
    """Mean 1 everywhere; covariances of two times by the weights of their four normals; channels are independent."""
    n, times, s = 20_000, 21, 0.3
    curve = (MagnitudeWarp(s, knots, channels=2).views(np.ones((n, 2 * times)), 1, seed=3)[:, 0] - 1) / s
    weights = np.zeros((times, knots + 4))
    for t in range(times):
        k = min(t * (knots + 1) // (times - 1), knots)
        for i in range(4):
            weights[t, k + i] = naive.catmull_rom(np.eye(4)[i], t * (knots + 1) / (times - 1) - k)
    exact = np.kron(np.eye(2), weights @ weights.T)
    assert exact.diagonal().min() >= 41 / 64 - 1e-12
    assert np.abs(curve.mean(axis=0)).max() < 5 * math.sqrt(exact.max() / n)
    assert np.abs(curve.T @ curve / n - exact).max() < 5 * exact.max() * math.sqrt(2 / n)


def test_time_runs_forwards():
    """The map keeps both ends, increases, and its mean is the identity; it is linear between the knots."""
    n, times, knots = 20_000, 31, 4
    tau = TimeWarp(0.8, knots).views(np.tile(np.arange(float(times)), (n, 1)), 1, seed=4)[:, 0]
    assert (tau[:, 0] == 0).all()
    assert np.abs(tau[:, -1] - 30).max() < 1e-12
    steps = np.diff(tau, axis=1)
    assert steps.min() > 0
    assert np.abs(np.diff(steps.reshape(n, 5, 6), axis=-1)).max() < 1e-12
    assert (np.abs(tau.mean(axis=0) - np.arange(times)) <= 5 * tau.std(axis=0) / math.sqrt(n) + 1e-12).all()
    # the logarithms of two speeds: their difference has the variance 2 scale^2
    logs = np.log(steps[:, ::6])
    difference = logs[:, 1] - logs[:, 0]
    assert abs(difference.var() - 2 * 0.8**2) < 5 * 2 * 0.8**2 * math.sqrt(2 / n)


def test_channels_are_warped_together():
    x = samples(30, 40)
    for a in (TimeWarp(0.5), Window(0.4)):
        one = a.views(x, 2, seed=5)
        both = type(a)(a.scale if isinstance(a, TimeWarp) else a.share, channels=2).views(np.tile(x, (1, 2)), 2, seed=5)
        assert np.array_equal(both, np.concatenate([one, one], axis=-1))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_windows_do_not_wrap(share):
    n, times = 20_000, 11
    tau = Window(share).views(np.tile(np.arange(float(times)), (n, 1)), 1, seed=6)[:, 0]
    np.testing.assert_allclose(np.diff(tau, axis=1), share, rtol=1e-12)
    start, most = tau[:, 0], (1 - share) * (times - 1)
    assert start.min() >= 0
    assert tau.max() <= times - 1
    assert abs(start.mean() - most / 2) < 5 * most / math.sqrt(12 * n)
    assert abs((start**2).mean() - most**2 / 3) < 5 * most**2 * math.sqrt(4 / 45 / n)


# ---------------------------------------------------------------- images


def test_brightness_and_contrast():
    n, x = 20_000, samples(1, 4 * 5 * 2)
    images = np.tile(x, (n, 1))
    factor = Brightness((4, 5, 2), 0.4).views(images, 1, seed=0)[:, 0] / x
    np.testing.assert_allclose(factor, np.tile(factor[:, :1], (1, 40)), rtol=1e-12)
    xi = Contrast((4, 5, 2), 0.4).views(images, 1, seed=0)[:, 0].reshape(n, 20, 2)
    mean = x.reshape(20, 2).mean(axis=0)
    np.testing.assert_allclose(xi.mean(axis=1), np.tile(mean, (n, 1)), atol=1e-15 * 100)
    spread = (xi - mean) / (x.reshape(20, 2) - mean)
    np.testing.assert_allclose(spread, np.tile(spread[:, :1, :1], (1, 20, 2)), rtol=1e-10)
    for u in (factor[:, 0] - 1, spread[:, 0, 0] - 1):
        assert np.abs(u).max() <= 0.4 + 1e-12
        assert abs(u.mean()) < 5 * 0.4 / math.sqrt(3 * n)
        assert abs((u**2).mean() - 0.16 / 3) < 5 * 0.16 * math.sqrt(4 / 45 / n)


def test_changes_of_colours_keep_grey():
    n, x = 5000, samples(1, 12)
    grey = np.array([0.299, 0.587, 0.114])
    before = x.reshape(4, 3)
    saturated = ColorJitter((2, 2, 3), 0, 0, 1.0, 0).views(np.tile(x, (n, 1)), 1, seed=1).reshape(n, 4, 3)
    turned = ColorJitter((2, 2, 3), 0, 0, 0, 0.5).views(np.tile(x, (n, 1)), 1, seed=1).reshape(n, 4, 3)
    for xi in (saturated, turned):
        assert np.abs((xi - before) @ grey).max() < 1e-14
    chroma = before - (before @ grey)[:, None]
    factor = (saturated - (before @ grey)[:, None]) / chroma
    np.testing.assert_allclose(factor, np.tile(factor[:, :1, :1], (1, 4, 3)), rtol=1e-10, atol=1e-12)
    assert 0 <= factor.min() < 0.01
    assert 1.99 < factor.max() <= 2

    # colour differences as complex numbers turn by one uniform angle
    def differences(image):
        y = image @ grey
        return 0.492 * (image[..., 2] - y) + 0.877j * (image[..., 0] - y)

    turn = differences(turned) / differences(before)
    np.testing.assert_allclose(np.abs(turn), 1, rtol=1e-12)
    np.testing.assert_allclose(turn, np.tile(turn[:, :1], (1, 4)), rtol=1e-10)
    for k in (1, 2):
        assert abs((turn[:, 0] ** k).mean()) < 5 / math.sqrt(n)


def test_blur_spreads_a_point():
    """Mass and centre stay, nothing is negative, and the variance is that of the truncated weights."""
    n, a = 4000, Blur((1, 41), 2.0)
    x = np.zeros((n, 41))
    x[:, 20] = 1.0
    xi = a.views(x, 1, seed=2)[:, 0]
    places = np.arange(41) - 20.0
    assert xi.min() >= 0
    assert np.abs(xi.sum(axis=1) - 1).max() < 1e-13
    assert np.abs(xi @ places).max() < 1e-13
    assert not xi[:, np.abs(places) > 6].any()
    near = np.abs(places[None]) <= 6
    sigma = 2 * np.random.default_rng(0).random(200_000)[:, None]
    weights = np.exp(-0.5 * (places[np.newaxis, near[0]] / sigma) ** 2)
    variance = (weights @ places[near[0]] ** 2 / weights.sum(axis=1)).mean()
    found = xi @ places**2
    assert abs(found.mean() - variance) < 5 * found.std() * math.sqrt(1 / n + 1 / 200_000)


@pytest.mark.parametrize(("smallest", "ratio"), [(0.25, 1.0), (0.5, 4 / 3), (0.08, 4 / 3)])
def test_sections_of_images(smallest, ratio):
    """Of the images r and q of their own coordinates: shares of height and width, area, shape and place."""
    n, h, w = 20_000, 41, 21
    down, right = (np.broadcast_to(g, (h, w)).reshape(1, -1) for g in np.mgrid[0.0:h, 0.0:w])
    a = ResizedCrop((h, w), smallest=smallest, ratio=ratio)
    y, x = (a.views(np.tile(g, (100, 1)), n // 100, seed=3).reshape(n, h, w) for g in (down, right))
    tall, wide = y[:, h // 2, 0] - y[:, h // 2 - 1, 0], x[:, 0, w // 2] - x[:, 0, w // 2 - 1]
    assert np.abs(y - y[..., :1]).max() < 1e-12
    assert tall.max() <= 1 + 1e-12
    assert y.min() >= 0
    assert y.max() <= h - 1
    inside = (tall < 1 - 1e-9) & (wide < 1 - 1e-9)
    area = tall * wide
    assert area.min() >= smallest - 1e-12
    shape = np.log(tall[inside] / wide[inside])
    if ratio == 1.0:
        assert abs(area.mean() - (1 + smallest) / 2) < 5 * (1 - smallest) / math.sqrt(12 * n)
        assert np.abs(shape).max() < 1e-9
    else:
        assert np.abs(shape).max() <= math.log(ratio) + 1e-9
        assert abs(shape.mean()) < 5 * shape.std() / math.sqrt(len(shape))
    # the centre of the section is uniform on what its height leaves
    centre = y[:, h // 2, 0] - (h - 1) / 2
    room = h * (1 - tall)
    u = centre[room > 1] / room[room > 1]
    assert np.abs(u).max() <= 0.5 + 1e-9
    assert abs(u.mean()) < 5 / math.sqrt(12 * len(u))
    assert abs((u**2).mean() - 1 / 12) < 5 / math.sqrt(180 * len(u))


# ---------------------------------------------------------------- tables


def test_columns_keep_their_law():
    """With probability p a uniform entry of the column; products of columns S have the eigenvalue (1 - p)^|S|."""
    n, p = 40_000, 0.3
    table = np.column_stack([[-2.0, 0.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0], [10.0, 11.0, 12.0, 13.0]])
    law = Corrupt(p, table)
    start = np.array([1.0, 1.0, 99.0])  # the last one is in no table
    xi = law.views(np.tile(start, (n, 1)), 1, seed=0)[:, 0]
    replaced = xi[:, 2] != 99
    assert abs(replaced.mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
    counts = np.array([(xi[replaced, 2] == value).sum() for value in table[:, 2]])
    assert counts.sum() == replaced.sum()
    assert np.abs(counts / replaced.sum() - 0.25).max() < 5 * math.sqrt(0.1875 / replaced.sum())
    for functions in ([0], [1], [0, 1]):  # of mean 0 over the table
        product = xi[:, functions].prod(axis=1)
        exact = (1 - p) ** len(functions) * start[functions].prod()
        assert abs(product.mean() - exact) < 5 * product.std() / math.sqrt(n)


def test_where_a_table_comes_from():
    """It is the data's, whatever the blocks: in views that are not stored, fits, estimators, streams, compositions."""
    x = samples(50, 4)
    law = Corrupt(0.6).fitted(x)
    assert law == Corrupt(0.6, x) != Corrupt(0.6)
    assert hash(law) == hash(Corrupt(0.6, x + 1))
    assert law != Corrupt(0.6, x + 1)
    assert law.fitted(x + 1) is law
    assert Corrupt(0.6, x) != GaussianNoise(0.6)
    stored = law.views(x, 2, seed=1)
    views = Views(x, Corrupt(0.6), 2, seed=1)
    assert np.array_equal(np.asarray(views), stored)
    assert np.array_equal(views[7:20], stored[7:20])
    assert GaussianNoise(0.1).fitted(x) == GaussianNoise(0.1)
    for whole in (
        Compose(GaussianNoise(0.1), Corrupt(0.6)),
        Mixture([0.5, 0.5], [Corrupt(0.6), Compose(Corrupt(0.1), GaussianNoise(0.1))]),
    ):
        found = np.asarray(Views(x, whole, 2, seed=1))
        assert np.array_equal(found, whole.fitted(x).views(x, 2, seed=1))
        with pytest.raises(ValueError, match="has no table of columns to draw from"):
            whole.views(x, 2, seed=1)
    assert Compose(GaussianNoise(0.1)).fitted(x) == Compose(GaussianNoise(0.1))


def test_large_tables_are_thinned(monkeypatch):
    monkeypatch.setattr("sslcore.augmentations._tables._MOST_ROWS", 10)
    x = samples(25, 2)
    assert np.array_equal(Corrupt(0.5).fitted(x).table, x[::3])
    assert np.array_equal(Corrupt(0.5).fitted(x[:10]).table, x[:10])
    monkeypatch.setattr("sslcore.augmentations._tables._MOST_ENTRIES", 12)
    assert np.array_equal(Corrupt(0.5).fitted(x).table, x[::5])
    assert np.array_equal(Corrupt(0.5).fitted(samples(25, 13)).table, samples(25, 13)[:1])


def test_estimators_fit_the_law():
    pytest.importorskip("sklearn")
    x = samples(60, 4)
    embedding = sslcore.SSLEmbedding(augmentation=Corrupt(0.3), n_components=2, reg=1e-2, random_state=0).fit(x)
    assert embedding.augmentation == Corrupt(0.3)
    assert embedding.augmentation_ == Corrupt(0.3, x)
    assert np.isfinite(embedding.score(x[:30]))
    parts = sslcore.SSLEmbedding(
        augmentation=Corrupt(0.3), features=Identity(), n_components=2, reg=1e-2, random_state=0
    )
    parts.partial_fit(x[:40]).partial_fit(x[40:])
    assert parts.augmentation_ == Corrupt(0.3, x[:40])
    assert parts.set_params(augmentation__p=0.5).augmentation == Corrupt(0.5)
    given = Compose(GaussianNoise(0.1), Corrupt(0.3).fitted(x))
    raw = sslcore.SSLEmbedding(augmentation=given, n_components=2, reg=1e-2, random_state=0, standardize=True)
    with pytest.raises(ValueError, match=r"give Corrupt\(p\) without a table, or standardise X before"):
        raw.fit(x)
    raw.set_params(standardize=False).fit(x)


# ---------------------------------------------------------------- numbers of any size and type


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200, 2.0**1023])
def test_jitter_of_numbers_of_any_size(unit, backend):
    """Squares of deviations neither overflow nor vanish."""
    x, law = unit * np.array([[1.0, -1.0, 0.5, 0.0]]), Jitter(0.01)
    noise = backend.asnumpy(law.views(backend.asarray(x), 2, seed=1)) / unit - x[:, None] / unit
    assert np.array_equal(noise + x[:, None] / unit, Jitter(0.01).views(x, 2, seed=1) / unit)
    np.testing.assert_allclose(noise, law.views(x / unit, 2, seed=1) - x[:, None] / unit, rtol=1e-9, atol=1e-12)
    assert np.array_equal(backend.asnumpy(Jitter(0).views(backend.asarray(x), 1, seed=1)), x[:, None])


@pytest.mark.parametrize(
    "stage",
    [
        Stage("jitter", (np.int64(2), 1)),
        Stage("scale_channels", (np.int64(2), 1)),
        Stage("magnitude_warp", (np.int64(2), np.int64(1), 1)),
        Stage("time_warp", (np.int64(2), np.int64(1), 1)),
        Stage("blur", (np.int64(2), np.int64(3), np.int64(1), 1, np.int64(4))),
    ],
    ids=lambda stage: stage.primitive,
)
def test_numbers_of_any_type(stage, backend):
    """Stages of one's own may have integers of NumPy, and whole numbers where real ones are meant."""

    @dataclass(frozen=True)
    class _Own(Augmentation):
        def stages(self):
            return (stage,)

    @dataclass(frozen=True)
    class _Plain(Augmentation):
        def stages(self):
            real = 3 if stage.primitive == "blur" else len(stage.arguments) - 1
            plain = tuple((float if i == real else int)(a) for i, a in enumerate(stage.arguments))
            return (Stage(stage.primitive, plain),)

    x = samples(3, 6)
    expected = _Plain().views(x, 2, seed=1)
    assert np.array_equal(backend.asnumpy(_Own().views(backend.asarray(x), 2, seed=1)), expected)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("a", "shape"),
    [
        (TimeWarp(channels=3), (3, 8)),
        (Compose(Jitter(channels=3), Window(channels=3)), (3, 8)),
        (Mixture([0.5, 0.5], [Scaling(channels=3), MagnitudeWarp(channels=3)]), (3, 8)),
        (Blur((4, 6)), (4, 6)),
        (Blur((4, 6)), (4, 6, 1)),
        (Compose(ColorJitter((4, 2, 3)), ResizedCrop((4, 2, 3))), (4, 2, 3)),
    ],
    ids=repr,
)
def test_samples_in_their_shape(a, shape, backend, tmp_path, monkeypatch, capsys):
    """Series (n, channels, times) and images (n, h, w[, c]) wherever there is a law of such."""
    x = samples(30, *shape)
    flat = x.reshape(30, -1)
    expected = a.views(flat, 2, seed=0)
    assert np.array_equal(backend.asnumpy(a.views(backend.asarray(x), 2, seed=0)), expected)
    assert np.array_equal(np.asarray(Views(x, a, 2, seed=0)), expected)
    if backend.name == "cupy":
        return
    pytest.importorskip("sklearn")
    embedding = sslcore.SSLEmbedding(augmentation=a, n_components=2, reg=1e-2, random_state=0)
    assert np.array_equal(embedding.fit(x).transform(x), embedding.fit(flat).transform(flat))
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", x)
    law = {"TimeWarp": "time-warp:channels=3", "Blur": "blur:4x6"}.get(type(a).__name__)
    if law is not None:
        assert cli.main(["fit", "x.npy", "--augment", law, "--reg", "1e-2", "--components", "2"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Jitter(-1), ValueError, "scale must be a finite number >= 0, found -1"),
        (lambda: TimeWarp(11), ValueError, "scale must be a finite number >= 0 and <= 10, found 11"),
        (lambda: MagnitudeWarp(0.1, knots=61), ValueError, "knots must be at least 0 and at most 60, found 61"),
        (lambda: Scaling(0.1, channels=0), ValueError, "channels must be at least 1, found 0"),
        (lambda: Window(0), ValueError, "share must be a finite number > 0"),
        (lambda: Window(1.1), ValueError, "share must be"),
        (lambda: Brightness((2, 2), 1.1), ValueError, "strength must be"),
        (lambda: ColorJitter((8, 8)), ValueError, r"three channels, \(height, width, 3\), found image_shape=\(8, 8\)"),
        (lambda: ColorJitter((8, 8, 3), hue=0.6), ValueError, "hue must be"),
        (lambda: Blur((8, 8), 101), ValueError, "scale must be"),
        (lambda: ResizedCrop((8, 8), 0.0), ValueError, "smallest must be"),
        (lambda: ResizedCrop((8, 8), ratio=0.9), ValueError, "ratio must be"),
        (lambda: Corrupt(1.5), ValueError, "p must be"),
        (lambda: Corrupt(0.5, [1.0, 2.0]), ValueError, r"table must have 2 dimensions \(rows, d\)"),
        (lambda: Corrupt(0.5, [[1.0, math.nan]]), ValueError, r"table must be finite, found nan at index \(0, 1\)"),
        (lambda: Corrupt(0.5).views(np.ones((3, 2)), 2, seed=0), ValueError, r"take Corrupt\(0.5\).fitted\(x\)"),
        (
            lambda: Corrupt(0.5, np.ones((3, 2))).views(np.ones((3, 4)), 2, seed=0),
            ValueError,
            "a table of 2 columns, found samples of 4 coordinates",
        ),
        (
            lambda: Compose(TimeWarp(channels=3)).views(np.ones((3, 8)), 2, seed=0),
            ValueError,
            "takes series of 3 channels.*a multiple of 3, found 8; give x of shape",
        ),
        (lambda: Window(channels=3).views(np.ones((3, 2, 6)), 2, seed=0), ValueError, "x must have 2 dimensions"),
        (lambda: Blur((2, 3)).views(np.ones((3, 5)), 2, seed=0), ValueError, "found 5; flatten the images"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_no_chunk_of_a_cluster_is_taken_for_the_data():
    pytest.importorskip("distributed")
    import dask.array as da

    import sslcore.dask

    x = samples(20, 3)
    with pytest.raises(ValueError, match="has no table of columns"):
        sslcore.dask.views(da.from_array(x, chunks=(7, 3)), Corrupt(0.5), 2, seed=0)
    law = Corrupt(0.5).fitted(x)
    found = sslcore.dask.views(da.from_array(x, chunks=(7, 3)), law, 2, seed=0).compute()
    assert np.array_equal(found, law.views(x, 2, seed=0))


def test_laws_are_plain_data_in_files():
    for a, _ in augmentation_examples():
        if not isinstance(a, Custom):
            arrays = {}
            document = encode(a, "law", arrays)
            assert decode(json.loads(json.dumps(document)), arrays) == a


def test_in_a_fit():
    """Fits with views that are made when needed are those with stored ones."""
    x = samples(40, 2, 12)
    law = Compose(TimeWarp(channels=2), Jitter(channels=2))
    made = pretrain(Views(x, law, 2, seed=0), Identity(), 2, reg=1e-2)
    np.testing.assert_allclose(
        made.eigenvalues, pretrain(law.views(x, 2, seed=0), Identity(), 2, reg=1e-2).eigenvalues, rtol=1e-9
    )


LARGE = [
    (GaussianNoise(1e308), 0.0, np.float64),
    (GaussianNoise(2e38), 0.0, np.float32),
    (Jitter(1.0), 1.7e308, np.float64),
    (Scaling(1.0), 3e38, np.float32),
    (Blur((2, 2), 2.0), 1.7e308, np.float64),
    (TangentStep(0.5), 1.7e308, np.float64),
    (Mixture([0.5, 0.5], [GaussianNoise(1e308), GaussianNoise(0.0)]), 0.0, np.float64),
]


@pytest.mark.parametrize(("law", "size", "dtype"), LARGE, ids=[type(law).__name__ for law, _, _ in LARGE])
def test_views_beyond_their_type_are_refused(backend, law, size, dtype):
    x = size * np.where(np.arange(200).reshape(50, 4) % 3, 1, -1).astype(dtype)
    with pytest.raises(OverflowError, match=rf"beyond {np.dtype(dtype)}, at sample \d+, view [01], coordinate [0-3]; "):
        law.views(backend.asarray(x), 2, seed=0)
    views = Views(backend.asarray(x), law, 2, seed=0)
    with pytest.raises(OverflowError, match="beyond"):
        views[0:50]


@pytest.mark.parametrize("law", [TangentStep(0.5), RandomRotation(2.0)])
@pytest.mark.parametrize("exponent", [-1040, -900, -530, 530, 1015])
def test_steps_on_the_sphere_know_no_unit(backend, law, exponent):
    """Squares of norms neither overflow nor vanish."""
    x = samples(6, 5)
    x[0], x[1, 0] = 0.0, -0.0
    views = backend.asnumpy(law.views(backend.asarray(np.ldexp(x, exponent)), 3, seed=1))
    expected = np.ldexp(law.views(x, 3, seed=1), exponent)
    # subnormal numbers have fewer digits
    np.testing.assert_allclose(views, expected, rtol=0, atol=2.0**-1070 if exponent < -1000 else 0)
