"""The nearest-neighbour probe: against loops and scikit-learn, in small blocks, with ties and without labels."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.probing import knn_probe

from . import naive
from .comparators import assert_close
from .strategies import arrays, dtypes, layouts, seeds, with_layout


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(tunables, "NEAREST_BLOCK_ENTRIES", 16)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@given(
    n=st.integers(2, 25),
    n_fresh=st.integers(1, 12),
    k=st.integers(1, 4),
    dtype=dtypes,
    layout=layouts,
    coarse=st.booleans(),
    offset=st.sampled_from([0.0, 1e4]),
    seed=seeds,
    data=st.data(),
)
def test_neighbours_property(small_blocks, backend, n, n_fresh, k, dtype, layout, coarse, offset, seed, data):
    """On a coarse grid distances tie all the time."""
    rng = np.random.default_rng(seed)
    z, fresh = (rng.normal(size=(size, k)) * 2 for size in (n, n_fresh))
    if coarse:
        z, fresh = np.round(z), np.round(fresh)
    z, fresh = (with_layout((a + offset).astype(dtype), layout) for a in (z, fresh))
    neighbours = data.draw(st.integers(1, n))
    y = rng.normal(size=n)
    probe = knn_probe(backend.asarray(z), backend.asarray(y), neighbours)
    distances, index = (backend.asnumpy(a) for a in probe.neighbors(backend.asarray(fresh)))
    expected, expected_index = naive.nearest(fresh.astype(float), z.astype(float), neighbours)
    assert (index == expected_index).all()
    assert_close(distances, expected)
    assert_close(backend.asnumpy(probe.predict(backend.asarray(fresh))), y[expected_index].mean(axis=1), scale=3.0)


@given(
    z=arrays(st.tuples(st.integers(4, 20), st.integers(1, 3))),
    classes=st.sampled_from([[3, 1, 7], [True, False], ["ant", "bee", "cow"], np.array([2, 0], np.uint8)]),
    seed=seeds,
    neighbours=st.integers(1, 4),
)
def test_votes_property(z, classes, seed, neighbours, backend):
    rng = np.random.default_rng(seed)
    y = np.asarray(classes)[np.concatenate([[0, 1], rng.integers(len(classes), size=len(z) - 2)])]
    fresh = rng.normal(size=(7, z.shape[1])).astype(z.dtype)
    there = y if y.dtype.kind == "U" else backend.asarray(y)
    probe = knn_probe(backend.asarray(z), there, neighbours)
    assert (probe.classes == np.unique(y)).all()
    found = probe.predict(backend.asarray(fresh))
    found = found if y.dtype.kind == "U" else backend.asnumpy(found)
    index = naive.nearest(fresh.astype(float), z.astype(float), neighbours)[1]
    assert found.dtype == y.dtype
    assert found.tolist() == [naive.vote(y[row].tolist()) for row in index]
    truth = y[: len(fresh)] if len(z) >= 7 else None
    if truth is not None:
        assert probe.score(backend.asarray(fresh), truth) == np.mean(found == truth)


def test_one_neighbour_if_not_said():
    z, y = normal((30, 3)), np.arange(30) % 4
    fresh = normal((20, 3), seed=1)
    index = naive.nearest(fresh, z, 1)[1]
    assert knn_probe(z, y).predict(fresh).tolist() == y[index[:, 0]].tolist()


def test_against_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    z, fresh = normal((200, 5)), normal((50, 5), 1)
    labels = (z[:, 0] + 0.3 * normal(200, 2) > 0).astype(int)
    theirs = neighbors.KNeighborsClassifier(7).fit(z, labels)
    ours = knn_probe(z, labels, 7)
    assert (ours.predict(fresh) == theirs.predict(fresh)).all()  # an odd number of votes for two classes: no ties
    distances, index = theirs.kneighbors(fresh)
    assert_close(ours.neighbors(fresh)[0], distances)
    assert (ours.neighbors(fresh)[1] == index).all()
    targets = normal((200, 2), 3)
    theirs = neighbors.KNeighborsRegressor(4).fit(z, targets)
    ours = knn_probe(z, targets, 4)
    assert_close(ours.predict(fresh), theirs.predict(fresh))
    assert_close(ours.score(fresh, targets[:50]), theirs.score(fresh, targets[:50]))


@pytest.mark.parametrize("block", [1, 7, 16, 100, 1 << 20])
def test_ties_do_not_depend_on_the_blocks(block, monkeypatch, backend):
    monkeypatch.setattr(tunables, "NEAREST_BLOCK_ENTRIES", block)
    z = np.tile(np.array([[0.1, 0.7], [0.3, 0.2]]), (20, 1))  # twenty copies of each of two points
    y = np.arange(40) % 3
    probe = knn_probe(backend.asarray(z), backend.asarray(y), 5)
    distances, index = (backend.asnumpy(a) for a in probe.neighbors(backend.asarray(z[:2])))
    assert index.tolist() == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    assert (distances == 0).all()
    equidistant = knn_probe(backend.asarray([[1.0], [3.0], [1.0], [3.0]]), backend.asarray([5, 4, 4, 5]), 2)
    assert backend.asnumpy(equidistant.neighbors(backend.asarray([[2.0]]))[1]).tolist() == [[0, 1]]
    assert backend.asnumpy(equidistant.predict(backend.asarray([[2.0]]))).tolist() == [5]  # that of the nearest


def test_points_without_a_label_are_nobodys_neighbours(backend):
    z = backend.asarray([[0.0], [0.1], [1.0], [1.1], [2.0]])
    fresh = backend.asarray([[0.09], [1.2]])
    probe = knn_probe(z, backend.asarray([7, -1, -1, 8, 7]), 1)
    assert backend.asnumpy(probe.neighbors(fresh)[1]).tolist() == [[0], [3]]
    assert backend.asnumpy(probe.predict(fresh)).tolist() == [7, 8]
    assert probe.classes.tolist() == [7, 8]
    nan = np.nan
    probe = knn_probe(z, backend.asarray([1.0, nan, nan, 5.0, 9.0]), 2)
    assert backend.asnumpy(probe.predict(fresh)).tolist() == [3.0, 7.0]
    both = knn_probe(z, backend.asarray([[1.0, 2.0], [nan, nan], [nan, nan], [5.0, 6.0], [9.0, 9.0]]), 1)
    assert backend.asnumpy(both.predict(fresh)).tolist() == [[1.0, 2.0], [5.0, 6.0]]
    given_ = knn_probe(
        z, backend.asarray([-1, -1, 1, 1, 1]), 1, labelled=backend.asarray([True, False, True, True, True])
    )
    assert given_.classes.tolist() == [-1, 1]
    assert backend.asnumpy(given_.predict(fresh)).tolist() == [-1, 1]
    names = knn_probe(z, ["a", "?", "?", "b", "a"], 1, labelled=np.array([True, False, False, True, True]))
    assert names.predict(fresh).tolist() == ["a", "b"]


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_ties_that_products_round(offset, backend):
    """Many coordinates: distances come from products about the mean, and equal ones differ there by rounding."""
    rng = np.random.default_rng(0)
    z, fresh = (rng.integers(0, 3, size=(n, 60)) + offset for n in (300, 40))
    probe = knn_probe(backend.asarray(z), backend.asarray(np.arange(300.0)), 7)
    distances, index = map(backend.asnumpy, probe.neighbors(backend.asarray(fresh)))
    expected, expected_index = naive.nearest(fresh, z, 7)
    assert (np.diff(expected) == 0).any(axis=1).sum() > 20
    assert (index == expected_index).all()
    assert_close(distances, expected)


def test_memory_is_that_of_a_block(monkeypatch):
    monkeypatch.setattr(tunables, "NEAREST_BLOCK_ENTRIES", 1 << 14)
    z, fresh = normal((4000, 3)), normal((3000, 3), 1)
    probe = knn_probe(z, normal(4000, 2), 3)
    probe.predict(fresh[:10])
    tracemalloc.start()
    probe.predict(fresh)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 3000 * 8 / 20


def test_all_points_may_tie():
    """Then every point is a candidate, and the differences come in blocks too."""
    probe = knn_probe(np.zeros((300, 2)), np.arange(300.0), 3)
    assert probe.neighbors(np.zeros((4, 2)))[1].tolist() == [[0, 1, 2]] * 4


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": [0, 1, 1]}, ValueError, "z and y must have the same length, found 4 and 3"),
        ({"y": [1, 1, 1, 1]}, ValueError, "at least 2 classes, found only"),
        ({"y": [-1, -1, 1, 1]}, ValueError, "label -1 or NaN count as not labelled; give labelled="),
        ({"y": [-1, -1, -1, -1]}, ValueError, "no point has a label"),
        ({"y": [0.5, np.nan, np.nan, np.nan]}, ValueError, "number of labelled points, 1, found 2"),
        ({"y": [0.5, np.inf, 1.0, 1.0]}, ValueError, "y must be finite, found inf"),
        ({"y": [[0.5, np.nan], [1, 1], [1, 1], [1, 1]]}, ValueError, "y must be finite, found nan"),
        ({"y": np.array([0, 1, 2, {}], object)}, TypeError, "names of one kind, found dict and integers"),
        ({"y": [[0, 1], [1, 0], [0, 1], [1, 0]]}, ValueError, "one dimension"),
        ({"z": [[0.0], [np.nan], [1.0], [2.0]]}, ValueError, "z must be finite"),
        ({"z": [0.0, 1.0, 2.0, 3.0]}, ValueError, "z must have 2 dimensions"),
        ({"n_neighbors": 5}, ValueError, "n_neighbors must be at most the number of labelled points, 4, found 5"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1"),
        ({"n_neighbors": 1.5}, TypeError, "n_neighbors must be an integer"),
        ({"labelled": [1, 0, 1, 1]}, ValueError, "labelled must be a boolean array"),
        ({"labelled": [True, False]}, ValueError, "labelled must be a boolean array"),
        ({"task": "ranking"}, ValueError, "task must be one of"),
    ],
)
def test_refusals(change, error, message):
    arguments = {"z": [[0.0], [1.0], [2.0], [3.0]], "y": [0, 0, 1, 1], "n_neighbors": 2} | change
    with pytest.raises(error, match=message):
        knn_probe(**arguments)


def test_refusals_of_fresh_points():
    probe = knn_probe(normal((9, 2)), normal(9), 2)
    with pytest.raises(ValueError, match="z must have 2 components as in the fit"):
        probe.predict(normal((3, 3)))
    with pytest.raises(ValueError, match=r"found nan at index \(1, 0\)"):
        probe.predict([[0.0, 0.0], [np.nan, 0.0]])
    with pytest.raises(ValueError, match="same length"):
        probe.score(normal((3, 2)), [1.0, 2.0])
    with pytest.raises(ValueError, match="must have 1 targets"):
        probe.score(normal((3, 2)), normal((3, 2)))
    with pytest.raises(OverflowError, match="rescale z"):
        knn_probe([[1.7e308], [-1.7e308]], [0, 1], 2).neighbors([[1.7e308]])


@given(
    z=arrays(st.tuples(st.integers(3, 12), st.integers(1, 3)), dtype=np.dtype(np.float64)),
    exponent=st.sampled_from([-1020, -600, -549, 0, 500, 513, 900, 1020]),
)
def test_the_scale_does_not_matter_property(z, exponent, backend):
    """Squares would vanish or overflow; by a power of two nothing else changes, not even the ties."""
    z = np.round(z * 2) / 2
    there, scaled = backend.asarray(z), backend.asarray(np.ldexp(z, exponent))
    probe, other = (knn_probe(a, backend.asarray(np.arange(len(z)) % 2), 2) for a in (there, scaled))
    (distances, index), (far, found) = probe.neighbors(there), other.neighbors(scaled)
    assert (backend.asnumpy(found) == backend.asnumpy(index)).all()
    assert (backend.asnumpy(far) == np.ldexp(backend.asnumpy(distances), exponent)).all()
    assert (backend.asnumpy(other.predict(scaled)) == backend.asnumpy(probe.predict(there))).all()


def test_points_of_very_different_sizes():
    probe = knn_probe([[1e-150, 0.0], [3e-150, 0.0], [1e150, 0.0]], [0.0, 1.0, 2.0], 1)
    assert probe.predict([[2.5e-150, 0.0], [1.2e-150, 0.0], [9e149, 1.0]]).tolist() == [1.0, 0.0, 2.0]
    assert probe.predict([[1e200, 0.0]]).shape == (1,)  # as far from all of them as float64 can tell


def test_a_mean_of_targets_whose_sum_is_too_large(backend):
    z, y = backend.asarray(np.arange(3.0)[:, None]), backend.asarray(np.array([1.7e308, 1.6e308, 1.5e308]))
    assert_close(backend.asnumpy(knn_probe(z, y, 3).predict(z)), np.full(3, 1.6e308))
