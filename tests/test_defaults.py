"""`sslcore.defaults.choose`: what is given stays, the rest is chosen for it, and told."""

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import sslcore
from sslcore.augmentations import Affine, Compose, Corrupt, GaussianNoise, TimeWarp, Views
from sslcore.defaults import choose
from sslcore.defaults._choice import _moved
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Exponential, Gaussian
from sslcore.selection import AutoReg

from .comparators import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3))
SETTINGS = {
    "augmentation": (GaussianNoise(0.3), "with noise"),
    "n_views": (2, "4 views"),
    "kernel": (Exponential(2.0), "median distance"),
    "n_components": (5, "8 components: as"),
    "reg": (0.1, "within one standard error"),
    "scale": ("unit", "embedding in the scale 'probe': functions that are smooth"),
}
OF_A_CHOSEN_LAW = ("reg", "augmentation")


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_given_by_itself(name):
    """It stays as it is and is not told; all others are chosen and told as if nothing were given."""
    value, word = SETTINGS[name]
    free, found = choose(X, standardize=True), choose(X, standardize=True, given={name: value})
    assert getattr(found, name) == value
    assert word in " ".join(free.reasons)
    assert word not in " ".join(found.reasons)
    for other, (_, others_word) in SETTINGS.items():
        if other != name and not ({other, name} <= {"augmentation", "n_views"} or (other, name) == OF_A_CHOSEN_LAW):
            assert getattr(found, other) == getattr(free, other)
            assert others_word in " ".join(found.reasons)


def test_all_that_is_given():
    given = {name: value for name, (value, _) in SETTINGS.items()}
    found = choose(X, given=given)
    assert {name: getattr(found, name) for name in given} == given
    assert (found.model, found.reasons) == (Exponential(2.0), ("samples are taken as they are",))
    assert choose(X, standardize=False, given=given).reasons == ()


def test_views_and_points_of_pairs_have_no_law():
    found = choose(X, given={"augmentation": None})
    assert (found.augmentation, found.n_views, found.standardization) == (None, 1, None)
    assert not any("views" in reason for reason in found.reasons[:-1])  # but for what the scale does


def test_features_of_the_kernel_that_is_chosen(monkeypatch):
    median = float(f"{np.median(pdist(X)):.3g}")
    made = choose(X, standardize=False, given={"features": lambda kernel: Nystrom(kernel, 7)})
    assert (made.kernel, made.model.kernel, made.model.landmarks) == (Gaussian(median), Gaussian(median), 7)
    assert made.n_components == 7
    given = choose(X, given={"features": Identity()})
    assert (given.kernel, given.model, given.n_components) == (None, Identity(), 3)
    assert not any("kernel" in reason for reason in given.reasons)
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 199)
    many = choose(X, seed=3)
    assert (many.model.kernel, many.model.landmarks, many.model.seed) == (many.kernel, 1024, 3)
    for exact in ({"n_views": 3}, {"kernel": Gaussian(1.0)}, {"solver": "dense"}):
        assert isinstance(choose(X, given=exact).model, Gaussian)
    assert isinstance(choose(X[:10], n_rows=50).model, Nystrom)
    with pytest.raises(ValueError, match="n_rows must be at least 0, found -1"):
        choose(X, n_rows=-1)


def test_as_many_components_as_there_are():
    for n, m, k in ((3, 2, 2), (1, 2, 1), (9, 4, 8)):
        assert choose(X[:n], given={"n_views": m}).n_components == k
    series = RNG.normal(size=(20, 2, 50))
    assert [choose(series[:n], given={"n_views": m}).n_components for n, m in ((3, 2), (20, 4))] == [2, 32]
    fixed = {"n_views": 2, "reg": 0.1}  # no sample is held out, so that one function a view is there, but for the mean
    assert [choose(x, given=fixed).n_components for x in (series[:3], X[:3], X[:9])] == [5, 5, 8]
    searched = {"n_views": 2, "reg": AutoReg(n_folds=2)}
    assert choose(series[:3], given=searched).n_components == 2
    few = choose(series[:5], given={"n_views": 2})
    assert "4 components: as many as model and samples allow" in few.reasons


def test_heavy_tails_and_rare_words_are_told_of_standardised_columns():
    x = np.random.default_rng(2).normal(size=(200, 4))
    columns = sslcore.defaults.Standardization.of
    assert sslcore.defaults.concerns(x, standardization=columns(x)) == ()
    x[7, 1] = 40.0
    far = (40.0 - x[:, 1].mean()) / x[:, 1].std()
    told = "in 1 row: a few samples may fill the first components; bring its tail in (log, ranks)"
    (sentence,) = sslcore.defaults.concerns(x, standardization=columns(x), columns=list("abcd"))
    assert sentence.startswith(f"column b has values of {far:.3g} deviations, {told}")
    assert sslcore.defaults.concerns(x[:, None], standardization=columns(x)) == ()  # images and series
    x[:, 2] = np.arange(200) % 100 == 5  # a word of two rows
    (sentence,) = sslcore.defaults.concerns(x, standardization=columns(x), columns=list("abcd"))
    assert sentence.startswith(f"columns b, c have values of up to {far:.3g} deviations, in 3 rows:")
    x[7, 1], x[:, 2] = 0.0, np.arange(200) % 50 == 5  # of four rows
    assert sslcore.defaults.concerns(x, standardization=columns(x)) == ()


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")  # hardly anything generalises
@pytest.mark.parametrize("n_views", [2, 4])
@pytest.mark.parametrize("n", [4, 5, 8, 9, 19])
def test_few_samples_are_fitted_with_the_search_for_reg(n, n_views):
    """It trains on a part of the views, and no more components than these were asked for."""
    rng = np.random.default_rng(1)
    for x in (rng.normal(size=(n, 8, 8)), rng.normal(size=(n, 2, 20)), rng.normal(size=(n, 40))):
        embedding = sslcore.SSLEmbedding(n_views=n_views).fit(x)
        assert embedding.transform(x).shape == (n, embedding.representation_.n_components)
    views = GaussianNoise(0.5).views(rng.normal(size=(n, 40)), n_views, seed=0)
    assert sslcore.SSLEmbedding(input="views").fit(views).representation_.selection is not None


@pytest.mark.parametrize("shape", [(200, 60), (30, 100)])
@pytest.mark.parametrize(("decay", "expected"), [(2.0, 8), (0.4, None), (0.0, 32)])
def test_a_table_has_as_many_components_as_principal_ones(shape, decay, expected):
    x = RNG.normal(size=shape) @ np.diag((1.0 + np.arange(shape[1])) ** -decay)
    variances = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[::-1].tolist()
    held, k = 0.0, 0
    while held < 0.9 * sum(variances):
        held, k = held + variances[k], k + 1
    chosen = choose(x, standardize=False)
    assert chosen.n_components == min(max(k, 8, len(x) // 20), 32, 4 * len(x) - 1)
    least = len(x) // 20
    assert expected is None or chosen.n_components == max(least, min(expected, k if decay == 0.0 else expected))
    assert choose(x[:2], standardize=False).usual_components == 8
    assert choose(1e200 * x, standardize=False).n_components == chosen.n_components


def test_many_samples_of_a_table_have_more_components():
    for rows, k in ((179, 8), (180, 9), (639, 31), (10_000, 32)):
        found = choose(X, n_rows=rows)
        assert found.n_components == found.usual_components == k
        assert any(f"{k} components: {'one for 20' if k > 8 else 'as many'}" in r for r in found.reasons)
        assert choose(X, n_rows=rows, given={"augmentation": None}).n_components == 8  # views or points of pairs


def test_a_search_of_tables_and_series_takes_the_largest_reg_that_is_as_good():
    series, images = RNG.normal(size=(40, 2, 50)), RNG.normal(size=(40, 9, 9))
    for x in (X, series):
        assert choose(x).reg == AutoReg(standard_errors=1.0)
    noise = {"augmentation": GaussianNoise(1.0)}
    for x, given in ((X, noise), (series, noise), (images, {})):
        found = choose(x, given=given)
        assert found.reg == AutoReg()
        assert not any("standard error" in reason for reason in found.reasons)
    rep = sslcore.SSLEmbedding(n_components=2).fit(X).representation_
    assert rep.selection.within == 1.0
    assert sslcore.SSLEmbedding(n_components=2, reg=AutoReg()).fit(X).representation_.selection.within == 0.0


def test_the_kernel_is_narrower_where_views_are_small_movements():
    series, images = RNG.normal(size=(40, 2, 50)), RNG.normal(size=(40, 9, 9))
    for x, part in ((X, 1.0), (series, 0.5), (images, 0.7)):
        chosen = choose(x)
        flat = chosen.standardization(x.reshape(len(x), -1))
        assert_close(chosen.kernel.scale, part * float(np.median(pdist(flat))), tol=1e-2)


def test_noise_of_series_is_measured_in_what_tells_them_apart():
    """What all series share does not make it stronger, nor does their unit where they are taken as they are."""
    smooth = RNG.normal(size=(40, 1, 50)).cumsum(axis=2)
    for x in (smooth, smooth + 10.0 * np.sin(np.linspace(0.0, 6.0, 50))):
        for standardize in (True, False):
            found, flat = choose(x, standardize=standardize), x.reshape(40, -1)
            z = found.standardization(flat) if standardize else flat
            warp, noise = found.augmentation.parts
            assert warp == TimeWarp(0.07)
            assert_close(noise.scale, 0.3 * float(np.sqrt(z.var(axis=0).mean())), tol=1e-2)
            assert any("noise of 0.3 deviations between samples" in reason for reason in found.reasons)


def test_time_of_series_that_a_warp_moves_farther_than_they_differ_is_not_warped():
    """By more than three times, of which the library itself would warn: rough series, or a large curve in common."""
    smooth, rough = RNG.normal(size=(40, 50)).cumsum(axis=1), RNG.normal(size=(40, 2000))
    aligned = smooth + 1000.0 * np.sin(np.linspace(0.0, 18.0, 50))
    for x, kept in ((smooth, True), (aligned, False), (rough, False)):
        found = choose(x, kind="series")
        z = found.standardization(x)
        first, second = np.moveaxis(TimeWarp(0.07).views(z, 2, seed=0), 1, 0)
        within = ((first - second) ** 2).sum() / (2 * len(z))
        between = ((first + second) / 2).var(axis=0, ddof=1).sum() - within / 2
        assert bool(within < 9 * between) is kept
        assert ("TimeWarp" in repr(found.augmentation)) is kept
        told = [
            reason for reason in found.reasons if "their time runs as it is, for a warp would move them by" in reason
        ]
        assert bool(told) is not kept
    assert f"{np.sqrt(within / between):.2g} times what samples differ by" in told[0]


@pytest.mark.parametrize("dtype", [float, np.float32])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_noise_of_series_that_are_equal_is_not_their_rounding(n, dtype):
    """The mean of equal values is rounded, and so their variance is not 0."""
    one = np.sin(np.linspace(0.0, 6.0, 50)) + 0.1
    eps = np.finfo(dtype).eps
    for x in (np.tile(one, (n, 1)), 1e10 * one * (1 + eps * RNG.integers(0, 2, size=(n, 50)))):
        for standardize in (True, False):
            law = choose(x.astype(dtype), kind="series", standardize=standardize).augmentation
            assert getattr(law, "parts", (law,))[-1] == GaussianNoise(0.3)


def test_equal_series_are_refused_or_told_in_words():
    one = np.sin(np.linspace(0.0, 6.0, 50)) + 0.1
    with pytest.warns(sslcore.errors.DataWarning, match="views of one sample differ far more than samples do"):
        sslcore.SSLEmbedding(reg=0.1).fit(np.tile(one, (20, 1, 1)))


def test_what_a_warp_moves_is_looked_at_on_some_samples(monkeypatch):
    """Drawn from all of them, in memory of a part of the data."""
    drawn = []
    block = Views.block
    monkeypatch.setattr(Views, "block", lambda self, a, b: drawn.append((len(self), b - a)) or block(self, a, b))
    x = RNG.normal(size=(1000, 500)).cumsum(axis=1)
    x[:500] *= 1e-6  # the first ones are not like the others
    tracemalloc.start()
    found = _moved(TimeWarp(0.07), x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {n for n, _ in drawn} == {128}
    assert sum(each for _, each in drawn) == 128
    assert peak < 0.5 * x.nbytes
    first, second = np.moveaxis(TimeWarp(0.07).views(x, 2, seed=1), 1, 0)
    within = ((first - second) ** 2).sum() / (2 * len(x))
    between = ((first + second) / 2).var(axis=0, ddof=1).sum() - within / 2
    assert_close(found, float(np.sqrt(within / between)), tol=0.2)


def test_columns_of_unlike_spread():
    """They are standardised where numbers of the user are in their units too, if these are unlike, and this is told."""
    noise = {"augmentation": GaussianNoise(0.1)}
    unlike, constant = X * [1.0, 1.0, 40.0], X * [1.0, 1.0, 0.0]
    assert choose(unlike, given=noise).standardization is None
    found = choose(unlike, standardize="unlike", given=noise)
    assert_close(found.standardization.deviation, unlike.std(axis=0), tol=1e-12)
    least, most = unlike.std(axis=0)[:2].min(), unlike.std(axis=0).max()
    assert found.reasons[1] == (
        f"standardised: each column by its mean and deviation ({least:.3g} to {most:.3g}); what was given is in "
        f"deviations now"
    )
    for alike in (X, constant):
        found = choose(alike, standardize="unlike", given=noise)
        assert found.standardization is None
        assert found.reasons[0] == "samples are taken as they are: columns are of like spread"
    assert choose(X, standardize="unlike").standardization is not None
    assert choose(unlike, standardize="unlike", given=noise | {"features": Identity()}).standardization is not None


def test_a_law_says_what_flat_samples_are():
    """Pixels have one unit, whatever their spread; channels one each."""
    images = RNG.normal(size=(30, 8, 8)) * np.linspace(0.01, 1.0, 8)
    series = RNG.normal(size=(30, 2, 20)) * [[[1.0], [50.0]]]
    for law in (Affine((8, 8)), Compose(GaussianNoise(0.1), Affine((8, 8)))):
        found = choose(images.reshape(30, -1), standardize="unlike", given={"augmentation": law})
        assert (found.kind, found.standardization) == ("images", None)
    law = TimeWarp(0.2, channels=2)
    found = choose(series.reshape(30, -1), standardize="unlike", given={"augmentation": law})
    assert found.kind == "series"
    z = found.standardization(series.reshape(30, -1)).reshape(series.shape)
    assert_close(z.std(axis=(0, 2)), np.ones(2), tol=1e-9)
    assert choose(RNG.normal(size=(30, 9, 9)), given={"augmentation": TimeWarp(0.2, channels=9)}).kind == "series"
    assert choose(X, given={"augmentation": Affine((8, 8))}).kind == "table"  # which the law itself refuses


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"given must have the names augmentation, .*, found 'law'"):
        choose(X, given={"law": GaussianNoise(0.1)})
    with pytest.raises(ValueError, match="give kernel or features, not both"):
        choose(X, given={"kernel": Gaussian(1.0), "features": Identity()})
    with pytest.raises(TypeError, match="standardize must be True or False, found 1; or 'auto' or 'unlike'"):
        choose(X, standardize=1)
    with pytest.raises(ValueError, match="X is standardised and the table of Corrupt is not"):
        choose(X, standardize=True, given={"augmentation": Corrupt(0.5, X)})
    assert choose(X, given={"augmentation": Corrupt(0.5, X)}).standardization is None
    with pytest.raises(ValueError, match="n_views must be at least 1, found 0"):
        sslcore.SSLEmbedding(n_views=0).fit(X)
