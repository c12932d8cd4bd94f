"""Streams of trajectories: the moments of `TimeLag` on all points, the same bits from any blocks, what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import tunables
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Gaussian
from sslcore.positives import Neighbors, TimeLag
from sslcore.stream import _lagged, moments

from .comparators import assert_close
from .test_positives_features import walk
from .test_stream import FEATURES, LEAF, cut, fields, small_leaves  # noqa: F401  # the fixture
from .test_stream_resume import stopped

X = walk(203, 4) + np.array([3.0, 0.0, 0.0, 1.0])


def of_all_points(features, law, x=X):
    return sslcore.Moments(features).update(x, positives=law)


def assert_same(found, whole, tol=1e-11):
    """The sums of both, and fits of any kind."""
    total, other = found._total(), whole._sums
    upper = np.triu_indices(len(total.mean))
    assert_close(total.weight, other.weight, tol=1e-13)
    assert_close(total.mean, other.mean, tol=tol)
    for part in ("between", "within"):
        assert_close(getattr(total, part)[upper], getattr(other, part)[upper], tol=tol)
    for options in ({}, {"center": True}, {"unbiased": False, "beta": 0.7}):
        mine, theirs = (m.solve(2, reg=1e-3, **options) for m in (found, whole))
        known = np.isfinite(theirs.gamma)  # not where there are fewer pairs than components
        assert (np.isfinite(mine.gamma) == known).all()
        assert_close(mine.gamma[known], theirs.gamma[known], tol=100 * tol)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("law", "n_pairs"),
    [
        (TimeLag(1), 202),
        (TimeLag(5), 198),
        (TimeLag(60), 143),
        (TimeLag(5, boundaries=[70, 3, 130]), 65 + 125),
        (TimeLag(90, boundaries=[70, 3, 130]), 40),
    ],
)
def test_the_moments_are_those_of_the_law_on_all_points(name, dtype, law, n_pairs):
    """With the lag shorter and longer than blocks and leaves; of one trajectory, and of several."""
    x, tol = X.astype(dtype), 1e-11 if dtype == np.float64 else 1e-5
    whole = of_all_points(FEATURES[name], law, x)
    for deterministic in (False, True):
        found = moments(cut(x, [3, 90, 91, 150]), FEATURES[name], positives=law, deterministic=deterministic)
        assert (found.n, found.n_views) == (n_pairs, 2 * n_pairs)
        assert_same(found, whole, tol)
    assert_close(found.merge(whole).solve(2, reg=1e-3).gamma, whole.solve(2, reg=1e-3).gamma, tol=100 * tol)


@given(
    ends=st.lists(st.integers(1, 59), max_size=8, unique=True),
    borders=st.lists(st.integers(1, 59), max_size=4, unique=True),
    lag=st.integers(1, 30),
)
def test_no_cut_into_blocks_changes_a_bit(ends, borders, lag):
    x = X[:60]
    lengths = np.diff([0, *sorted(borders), 60])
    law = TimeLag(lag, boundaries=lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STREAM_LEAF_VIEWS", LEAF)
        patch.setattr(tunables, "STREAM_NODE_PARTS", 3)
        if lag >= lengths.max():
            with pytest.raises(ValueError, match="lag must be less than the length of a trajectory"):
                moments(cut(x, ends), Identity(), positives=law)
            return
        expected = moments(x, Identity(), positives=law, deterministic=True)
        assert_same(expected, of_all_points(Identity(), law, x))
        for blocks in (cut(x, ends), iter(cut(x, ends))):
            assert fields(moments(blocks, Identity(), positives=law, deterministic=True)) == fields(expected)


def test_files_are_trajectories_unless_boundaries_say_otherwise(tmp_path):
    parts = cut(X, [60, 63, 150])
    for i, part in enumerate(parts):
        np.save(tmp_path / f"x-{i}.npy", part[:, None] if i == 2 else part)  # points as views of one each, too
        np.save(tmp_path / f"f-{i}.npy", np.asfortranarray(part))
    each = TimeLag(5, boundaries=[len(part) for part in parts])
    expected = fields(moments(parts, Identity(), positives=each, deterministic=True))
    pattern = str(tmp_path / "x-*.npy")
    for blocks in (pattern, str(tmp_path / "f-*.npy"), (tmp_path / f"x-{i}.npy" for i in range(4))):
        assert fields(moments(blocks, Identity(), positives=TimeLag(5), deterministic=True)) == expected
    assert fields(moments(pattern, Identity(), positives=each, deterministic=True)) == expected
    one = moments(pattern, Identity(), positives=TimeLag(5, boundaries=[203]))
    assert_same(one, of_all_points(Identity(), TimeLag(5)))
    mixed = [tmp_path / "x-0.npy", *parts[1:]]  # a file, and then arrays: a trajectory of their own
    two = TimeLag(5, boundaries=[60, 143])
    assert_same(moments(iter(mixed), Identity(), positives=TimeLag(5)), of_all_points(Identity(), two))


def test_columns_of_parquet_are_points(tmp_path):
    pl = pytest.importorskip("polars")
    pl.DataFrame({"x": pl.Series(X)}).write_parquet(tmp_path / "x.parquet")
    found = moments(tmp_path / "x.parquet", Identity(), positives=TimeLag(3))
    assert_same(found, of_all_points(Identity(), TimeLag(3)))


def test_memory_that_a_generator_uses_again_is_no_trap():
    def blocks():
        memory = np.empty((20, 4))
        for start in range(0, 203, 20):
            part = X[start : start + 20]
            memory[: len(part)] = part
            yield memory[: len(part)]

    for lag in (3, 50):
        assert_same(moments(blocks(), Identity(), positives=TimeLag(lag)), of_all_points(Identity(), TimeLag(lag)))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("lag", [2, 40])
def test_a_stream_of_pairs_goes_on_with_the_same_bits(deterministic, lag, tmp_path):
    law = TimeLag(lag, boundaries=[90, 113])
    options = {"deterministic": deterministic, "checkpoint": tmp_path / "ck", "every": 0, "positives": law}
    expected = fields(moments(X, Identity(), deterministic=deterministic, positives=law))
    for after in (1, 4, 5, 9):
        stopped(iter(cut(X, [after, 77])), Identity(), after, **options)
    assert fields(moments(X, Identity(), **options)) == expected
    words = f"of other settings: lag {lag} there, {lag + 1} here"
    with pytest.raises(ValueError, match=words):
        moments(X, Identity(), **options | {"positives": TimeLag(lag + 1)})
    with pytest.raises(ValueError, match=f"of other settings: lag {lag} there, None here"):
        moments(np.stack([X, X], axis=1), Identity(), **options | {"positives": None})
    with pytest.raises(ValueError, match=r"are not what the checkpoint .* has seen as samples"):
        moments(X, Identity(), **options | {"positives": TimeLag(lag)})


def test_reg_is_chosen_on_leaves_that_are_held_out(monkeypatch):
    monkeypatch.setattr(_lagged, "_SHARED", 8)
    x = walk(4000, 4)
    found = moments(x, Identity(), positives=TimeLag(1))
    rep = found.solve(2, reg="auto", center=True)
    assert rep.selection.n_held_out == 125 * 8 - 1  # of 500 leaves, the last of which is one short
    theirs = sslcore.pretrain(x, Identity(), 2, reg="auto", center=True, positives=TimeLag(1))
    assert abs(rep.selection.risk - theirs.selection.risk) < 4 * np.hypot(
        rep.selection.standard_errors[0], theirs.selection.standard_errors.max()
    )
    long = moments(x, Identity(), positives=TimeLag(2))
    assert not long._held
    assert long.n == 3998
    with pytest.raises(TypeError, match="reg must be a number"):
        long.solve(2, reg="auto")


def test_tica_by_its_textbook_formulas():
    from scipy.linalg import eigh

    x, lag = walk(400), 5
    rep = moments(cut(x, [33, 300]), Identity(), positives=TimeLag(lag)).solve(3, reg=0.0, center=True)
    before, after = x[:-lag], x[lag:]
    mean = np.concatenate([before, after]).mean(axis=0)
    before, after = before - mean, after - mean
    lagged = before.T @ after
    instant = before.T @ before + after.T @ after
    assert_close(rep.eigenvalues, eigh(lagged + lagged.T, instant, eigvals_only=True)[::-1], tol=1e-9)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("blocks", "law", "error", "words"),
    [
        (X, Neighbors(3), TypeError, r"a stream takes TimeLag\(lag\) as positives, found Neighbors"),
        (X, 0.5 * TimeLag(1) + 0.5 * TimeLag(2), TypeError, "of several lags merge the moments of each"),
        (X, 10, TypeError, "a stream takes TimeLag"),
        (X[:, 0], TimeLag(1), ValueError, r"blocks must be points \(n, d\) in the order of time, the array has shape"),
        (X[:200].reshape(100, 2, 4), TimeLag(1), ValueError, "are groups already: leave positives= out"),
        ([X[:50], X[50:, :3]], TimeLag(1), ValueError, "block 1 has 3 coordinates, block 0 has 4: all blocks must"),
        (iter([X[:50], X[50:].astype("f4")]), TimeLag(1), ValueError, "block 1 has dtype float32, block 0 has float64"),
        (X.astype(complex), TimeLag(1), TypeError, "must hold real numbers"),
        (X[:, :0], TimeLag(1), ValueError, "the array is empty"),
        (X[:0], TimeLag(1), ValueError, "where the longest has 0 points"),
        ([], TimeLag(1), ValueError, "the stream is empty"),
        (
            [(0, X)],
            TimeLag(1),
            ValueError,
            "blocks of a trajectory come in order, without numbers, found one that begins at 0",
        ),
        (X, TimeLag(203), ValueError, "lag must be less than the length of a trajectory, found 203, where .* 203 poi"),
        (iter([X]), TimeLag(150, [100, 103]), ValueError, "found 150, where the longest has 103 points"),
        ([X], TimeLag(1, [100, 100]), ValueError, "boundaries must be lengths .* they have 200, there are more, in bl"),
        (iter([X]), TimeLag(1, [100, 104]), ValueError, "boundaries must be lengths .* they have 204, there are 203"),
    ],
)
def test_what_is_refused(blocks, law, error, words):
    with pytest.raises(error, match=words):
        moments(blocks, Identity(), positives=law)


def test_a_point_that_is_not_finite_is_named_where_it_stands(tmp_path):
    """Also where the first pair that has it belongs to the block after, or to what was kept of the one before."""
    bad = X.copy()
    bad[70, 2] = np.inf
    for i, part in enumerate(cut(bad, [60, 150])):
        np.save(tmp_path / f"x-{i}.npy", part)
    with pytest.raises(ValueError, match=r"found inf at row 10 of .*x-1.npy \(coordinate 2, counted from 0\); remove"):
        moments(str(tmp_path / "x-*.npy"), Identity(), positives=TimeLag(4), checkpoint=tmp_path / "ck", every=0)
    with pytest.raises(ValueError, match=r"found inf at sample 10 of block 1 \(coordinate 2"):
        moments(iter(cut(bad, [60, 72])), Identity(), positives=TimeLag(6))
    bad[70, 2] = 1e300
    with pytest.raises(ValueError, match=r"overflow.* \(in sample 64 of the array to sample 71 of the array"):
        moments(bad, Identity(), positives=TimeLag(4))


def test_points_on_a_device_stay_there(backend):
    law = TimeLag(5)
    blocks = [backend.asarray(part) for part in cut(X, [60])]
    found = moments(blocks, Identity(), positives=law)
    backend.asnumpy(found._sums.mean)
    assert_close(found.solve(2, reg=1e-3).gamma, moments(X, Identity(), positives=law).solve(2, reg=1e-3).gamma)


# ---------------------------------------------------------------- on a cluster


@pytest.mark.parametrize("law", [TimeLag(3), TimeLag(60), TimeLag(5, boundaries=[70, 3, 130])])
def test_points_of_a_cluster_have_the_bits_of_a_stream(law):
    da = pytest.importorskip("dask.array")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    clusters = pytest.importorskip("sslcore.dask")
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        expected = fields(moments(X, Identity(), positives=law, deterministic=True))
    for chunks in ((203, 4), (20, 3), (1, 4)):
        found = clusters.moments(da.from_array(X, chunks=chunks), Identity(), positives=law)
        assert fields(found) == expected


def test_a_fit_of_pairs_on_a_cluster_is_that_of_pretrain():
    da = pytest.importorskip("dask.array")
    array, law = da.from_array(X, chunks=(50, 4)), TimeLag(3, boundaries=[100, 103])
    for model in (Identity(), Nystrom(Gaussian(3.0), 9, seed=4)):
        found = sslcore.pretrain(array, model, 3, reg=1e-3, center=True, positives=law)
        whole = sslcore.pretrain(X, model, 3, reg=1e-3, center=True, positives=law)
        assert_close(found.gamma, whole.gamma, tol=1e-9)
        assert_close(abs(found(X)), abs(whole(X)), tol=1e-6)
    with pytest.raises(ValueError, match=r"positives= with a kernel is for points in memory: .* take features"):
        sslcore.pretrain(array, Gaussian(3.0), 3, reg=1e-3, positives=law)


def test_what_a_cluster_refuses_of_pairs(monkeypatch):
    da = pytest.importorskip("dask.array")
    clusters = pytest.importorskip("sslcore.dask")
    x = da.from_array(X, chunks=(50, 4))
    for points, law, error, words in (
        (x, Neighbors(3), TypeError, "a stream takes TimeLag"),
        (x, TimeLag(203), ValueError, "lag must be less than the length of a trajectory, found 203"),
        (x, TimeLag(2, [100, 100]), ValueError, "boundaries must be lengths .* they have 200, there are 203"),
        ("x-*.npy", TimeLag(2), TypeError, "files of trajectories are summed by sslcore.stream.moments"),
        (
            X,
            TimeLag(2),
            TypeError,
            r"a Dask array of points \(n, d\) in the order of time was expected, found .*ndarray",
        ),
        (x[:, None], TimeLag(2), TypeError, "a Dask array of points"),
        (x[x[:, 0] > 0], TimeLag(2), ValueError, r"the chunks of points have unknown sizes"),
    ):
        with pytest.raises(error, match=words):
            clusters.moments(points, Identity(), positives=law)
