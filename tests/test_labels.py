"""Names of points and of samples, in every form in which they come: one table of doors times kinds of labels."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import SSLEmbedding, pretrain, pretrain_path
from sslcore.arrays import read_groups, read_names
from sslcore.features import Identity
from sslcore.kernels import Gaussian
from sslcore.probing import knn_probe, ridge_probe

N = 12
Z = np.random.default_rng(0).normal(size=(N, 3))
NUMBERS = [1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0, 1]
WORDS = [["ant", "bee"][i] for i in NUMBERS]
GONE = (2, 7)  # points without a label
KEPT = [i for i in range(N) if i not in GONE]

PROBES = {
    "ridge": lambda z, y, **more: ridge_probe(z, y, 1e-2, **more),
    "knn": lambda z, y, **more: knn_probe(z, y, 1, **more),
}


def without(values, mark, gone=GONE):
    return [mark if i in gone else value for i, value in enumerate(values)]


class Arrow:
    """What Arrow's arrays offer: no NumPy dtype, DLPack only where nothing is missing."""

    dtype = type = "arrow"

    def __init__(self, values):
        self.values = values

    def to_pylist(self):
        return self.values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, object)

    def __len__(self):
        return len(self.values)

    def __dlpack__(self, **kwargs):
        raise TypeError("no nulls and no words in DLPack")

    def __dlpack_device__(self):
        return 1, 0


def masked(values):
    array = np.asarray(values)
    return np.ma.array(np.roll(array, 1), mask=[i in GONE for i in range(N)]), array


def pandas():
    return pytest.importorskip("pandas")


def polars():
    return pytest.importorskip("polars")


# each gives labels of all points, whole or with those of GONE missing
WHOLE = {
    "int64": lambda: np.array(NUMBERS),
    "uint8": lambda: np.array(NUMBERS, np.uint8),
    "bool": lambda: np.array(NUMBERS, bool),
    "str": lambda: np.array(WORDS),
    "bytes": lambda: np.array(WORDS, "S"),
    "object ints": lambda: np.array(NUMBERS, object),
    "object words": lambda: np.array(WORDS, object),
    "object booleans": lambda: np.array([bool(i) for i in NUMBERS], object),
    "list of ints": lambda: NUMBERS,
    "list of words": lambda: WORDS,
    "tuple": lambda: tuple(NUMBERS),
    "list of NumPy ints": lambda: list(np.array(NUMBERS)),
    "list of arrays": lambda: [np.array(i) for i in NUMBERS],
    "masked, nothing under it": lambda: np.ma.array(NUMBERS),
    "strided": lambda: np.repeat(NUMBERS, 2)[::2],
    "pandas int": lambda: pandas().Series(NUMBERS, index=range(5, 5 + N)),
    "pandas Int64": lambda: pandas().Series(NUMBERS, dtype="Int64"),
    "pandas boolean": lambda: pandas().Series([bool(i) for i in NUMBERS], dtype="boolean"),
    "pandas words": lambda: pandas().Series(WORDS),
    "pandas string": lambda: pandas().Series(WORDS, dtype="string"),
    "pandas category": lambda: pandas().Series(WORDS).astype("category"),
    "pandas category of ints": lambda: pandas().Series(NUMBERS).astype("category"),
    "pandas Categorical": lambda: pandas().Categorical(WORDS),
    "pandas Index": lambda: pandas().Index(WORDS),
    "pandas table": lambda: pandas().DataFrame({"label": WORDS}),
    "polars int": lambda: polars().Series(NUMBERS),
    "polars words": lambda: polars().Series(WORDS),
    "polars category": lambda: polars().Series(WORDS, dtype=polars().Categorical),
    "polars bool": lambda: polars().Series([bool(i) for i in NUMBERS]),
    "polars table": lambda: polars().DataFrame({"label": NUMBERS}),
    "arrow": lambda: Arrow(WORDS),
}
nan = float("nan")
MISSING = {
    "-1": lambda: without(NUMBERS, -1),
    "-1 in an array": lambda: np.array(without(NUMBERS, -1)),
    "-1 in int8": lambda: np.array(without(NUMBERS, -1), np.int8),
    "-1 in a column": lambda: pandas().Series(without(NUMBERS, -1)),
    "-1 among Python ints": lambda: np.array(without(NUMBERS, -1), object),
    "None among ints": lambda: without(NUMBERS, None),
    "None among words": lambda: without(WORDS, None),
    "NaN among words": lambda: without(WORDS, nan),
    "np.nan among words": lambda: tuple(without(WORDS, np.float32("nan"))),
    "NaN among ints, listed": lambda: without(NUMBERS, nan),
    "NaN written by NumPy": lambda: np.array(without(WORDS, nan)),
    "objects, NaN": lambda: np.array(without(WORDS, nan), object),
    "objects, None": lambda: np.array(without(NUMBERS, None), object),
    "objects, NaT": lambda: np.array(without(WORDS, np.datetime64("NaT")), object),
    "objects, NA": lambda: np.array(without(WORDS, pandas().NA), object),
    "objects, pandas.NaT": lambda: np.array(without(WORDS, pandas().NaT), object),
    "booleans, None": lambda: without([bool(i) for i in NUMBERS], None),
    "mask on ints": lambda: masked(NUMBERS),
    "mask on words": lambda: masked(WORDS),
    "mask on objects": lambda: masked(np.array(WORDS, object)),
    "np.ma.masked listed": lambda: without(NUMBERS, np.ma.masked),
    "pandas Int64": lambda: pandas().Series(without(NUMBERS, None), dtype="Int64"),
    "pandas UInt8": lambda: pandas().array(without(NUMBERS, None), dtype="UInt8"),
    "pandas boolean": lambda: pandas().Series(without([bool(i) for i in NUMBERS], None), dtype="boolean"),
    "pandas words": lambda: pandas().Series(without(WORDS, None)),
    "pandas string": lambda: pandas().Series(without(WORDS, pandas().NA), dtype="string"),
    "pandas category": lambda: pandas().Series(without(WORDS, None)).astype("category"),
    "pandas category of ints": lambda: pandas().Series(without(NUMBERS, None), dtype="Int64").astype("category"),
    "pandas table": lambda: pandas().DataFrame({"label": without(NUMBERS, None)}, dtype="Int64"),
    "polars int": lambda: polars().Series(without(NUMBERS, None)),
    "polars words": lambda: polars().Series(without(WORDS, None)),
    "polars category": lambda: polars().Series(without(WORDS, None), dtype=polars().Categorical),
    "polars bool": lambda: polars().Series(without([bool(i) for i in NUMBERS], None)),
    "polars table": lambda: polars().DataFrame({"label": without(WORDS, None)}),
    "arrow": lambda: Arrow(without(WORDS, None)),
    "arrow ints": lambda: Arrow(without(NUMBERS, None)),
}


def made(kind):
    """Labels, and what those of KEPT are called."""
    labels = kind()
    if isinstance(labels, tuple) and isinstance(labels[0], np.ma.MaskedArray):
        masked_, values = labels  # under the mask lie wrong ones
        return np.ma.array(values, mask=masked_.mask)
    return labels


@pytest.mark.parametrize("door", PROBES)
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_labels_are_classes(kind, door):
    labels = WHOLE[kind]()
    probe = PROBES[door](Z, labels)
    names = [c.decode() if isinstance(c, bytes) else c for c in probe.classes.tolist()]
    assert names in ([0, 1], [False, True], ["ant", "bee"])
    right = PROBES[door](Z, np.array(NUMBERS))
    assert (probe.predict(Z) == probe.classes[right.predict(Z)]).all()
    assert probe.score(Z, labels) == right.score(Z, np.array(NUMBERS))


@pytest.mark.parametrize("door", PROBES)
@pytest.mark.parametrize("kind", MISSING)
def test_points_without_a_label_are_left_out(kind, door):
    labels = made(MISSING[kind])
    probe = PROBES[door](Z, labels)
    assert probe.classes.tolist() in ([0, 1], [False, True], ["ant", "bee"])
    right = PROBES[door](Z[KEPT], np.array(NUMBERS)[KEPT])
    assert (probe.predict(Z) == probe.classes[right.predict(Z)]).all()
    assert probe.score(Z, labels) == right.score(Z[KEPT], np.array(NUMBERS)[KEPT])
    if door == "ridge":
        np.testing.assert_allclose(probe.loo_decisions[KEPT], right.loo_decisions, atol=1e-14)
        np.testing.assert_allclose(probe.loo_decisions[list(GONE)], probe.decision_function(Z[list(GONE)]))
        assert probe.loo_errors == right.loo_errors


@pytest.mark.parametrize("kind", MISSING)
@pytest.mark.parametrize("door", ["pretrain", "features", "path", "moments", "estimator"])
def test_missing_groups_are_refused(kind, door):
    if kind.startswith("-1"):
        pytest.skip("-1 is a name of a sample as any other")
    groups = made(MISSING[kind])
    calls = {
        "pretrain": lambda: pretrain(Z, Gaussian(1.0), 2, reg=1e-2, groups=groups),
        "features": lambda: pretrain(Z, Identity(), 2, reg=1e-2, groups=groups),
        "path": lambda: pretrain_path(Z, Identity(), 2, regs=[1e-2], groups=groups),
        "moments": lambda: sslcore.Moments(Identity()).update(Z, groups=groups),
        "estimator": lambda: SSLEmbedding(reg=1e-2, input="views").fit(Z, groups=groups),
    }
    with pytest.raises(ValueError, match=r"the group of view 2 is missing \(2 such views"):
        calls[door]()


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_groups(kind):
    index, n = read_groups(WHOLE[kind](), N)
    assert n == 2
    assert index.tolist() == NUMBERS


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0.5, nan, 0.5], "view 1 is missing"),
        (np.array([0.5, np.inf, 0.5]), "finite, found inf for view 1"),
        (np.array(["2020-01-01", "NaT", "2020-01-01"], "M8[D]"), "view 1 is missing"),
        (np.array([1, "NaT", 1], "m8[s]"), "view 1 is missing"),
        ([datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 1)], "view 1 is missing"),
        (np.ma.array(["2020-01-01"] * 3, "M8[D]", mask=[0, 1, 0]), "view 1 is missing"),
        ([None, None, None], "view 0 is missing"),
        ([1, 2], "sample of each of the 3 views"),
        ([[1, 2, 3]], "sample of each of the 3 views"),
    ],
)
def test_refused_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        read_groups(groups, 3)


def test_groups_may_be_dates_numbers_and_minus_one():
    for groups in (
        np.array(["2020-01-02", "2020-01-01", "2020-01-02"], "M8[D]"),
        [datetime.date(2020, 1, 2), datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)],
        [0.5, -1.0, 0.5],
        [3, -1, 3],
        np.array([2.5, 1, 2.5], object),
        ["nan", "a", "nan"],  # words all
        np.array(["nan", "a", "nan"]),
        [2**63, 1, 2**63],
        [2**53 + 1, 2**53, 2**53 + 1],
        pandas().Series(pandas().to_datetime(["2020-01-02", "2020-01-01", "2020-01-02"])),
        pandas().Series(pandas().to_datetime(["2020-01-02", "2020-01-01", "2020-01-02"])).dt.tz_localize("UTC"),
        [pandas().Timestamp(1_000_001), pandas().Timestamp(1_000_000), pandas().Timestamp(1_000_001)],  # nanoseconds
        polars().Series([datetime.date(2020, 1, 2), datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)]),
    ):
        assert read_groups(groups, 3)[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (without(WORDS, 3), "names of one kind, found integers and words"),
        (without(NUMBERS, "a"), "names of one kind, found integers and words"),
        (without(WORDS, b"a"), "names of one kind, found bytes and words"),
        (without(NUMBERS, 1j), "found complex and integers"),
        ([(1, 2)] * 3 + [[1]] * 9, "rectangular|inhomogeneous|one dimension"),
        (np.array([{}] * N, object), "found dict"),
        ([2**70] * 6 + [1] * 6, "64 bits"),
        ([2**63] * 6 + [-2] * 6, "64 bits"),
        ([datetime.date(2020, 1, i) for i in range(1, N + 1)], "found dates"),
        (np.zeros(N, "M8[D]"), "found dates"),
        (np.zeros(N, [("a", int)]), "integers, booleans or words"),
    ],
)
@pytest.mark.parametrize("door", PROBES)
def test_refused_labels(labels, message, door):
    with pytest.raises((TypeError, ValueError), match=message):
        PROBES[door](Z, labels)


@pytest.mark.parametrize("door", PROBES)
def test_no_label_at_all(door):
    for labels in (
        [None] * N,
        [-1] * N,
        np.ma.array(NUMBERS, mask=True),
        np.full(N, nan),
        pandas().Series([pandas().NA] * N),
    ):
        with pytest.raises(ValueError, match="no point has a label"):
            PROBES[door](Z, labels)
    with pytest.raises(ValueError, match="give labelled="):
        PROBES[door](Z, [-1, 1] * 6)
    assert PROBES[door](Z, [-1, 1] * 6, labelled=np.ones(N, bool)).classes.tolist() == [-1, 1]
    with pytest.raises(ValueError, match="that of point 7 is missing"):
        PROBES[door](Z, without(WORDS, None), labelled=np.arange(N) != 2)
    with pytest.raises(ValueError, match="labelled must be a boolean array"):
        PROBES[door](Z, NUMBERS, labelled=np.ones(N))


# ---------------------------------------------------------------- targets

TARGETS = np.random.default_rng(1).normal(size=N)
REAL = {
    "array": lambda t: np.array(t),
    "float32": lambda t: np.array(t, np.float32).astype(float),
    "list": list,
    "list with None": lambda t: [None if v != v else v for v in t],
    "objects": lambda t: np.array([None if v != v else v for v in t], object),
    "mask": lambda t: np.ma.masked_invalid(t),
    "pandas": lambda t: pandas().Series(t),
    "pandas Float64": lambda t: pandas().Series([None if v != v else v for v in t], dtype="Float64"),
    "polars": lambda t: polars().Series([None if v != v else v for v in t]),
    "arrow": lambda t: Arrow([None if v != v else v for v in t]),
}


@pytest.mark.parametrize("door", PROBES)
@pytest.mark.parametrize("kind", REAL)
def test_targets_that_are_missing_are_left_out(kind, door):
    targets = REAL[kind](without(TARGETS.tolist(), nan))
    probe = PROBES[door](Z, targets)
    right = PROBES[door](Z[KEPT], TARGETS[KEPT])
    assert probe.classes is None
    np.testing.assert_allclose(probe.predict(Z), right.predict(Z), rtol=1e-6)
    np.testing.assert_allclose(probe.score(Z, targets), right.score(Z[KEPT], TARGETS[KEPT]), atol=1e-6)


@pytest.mark.parametrize("door", PROBES)
def test_several_targets(door):
    both = np.stack([TARGETS, -TARGETS], axis=1)
    both[list(GONE)] = nan
    right = PROBES[door](Z[KEPT], both[KEPT])
    pd, pl = pandas(), polars()
    for targets in (
        both,
        np.ma.masked_invalid(both),
        pd.DataFrame(both),
        pl.DataFrame(both, schema=["a", "b"], nan_to_null=True),
    ):
        np.testing.assert_allclose(PROBES[door](Z, targets).predict(Z), right.predict(Z), rtol=1e-12)
    both[2, 0] = 1.0
    with pytest.raises(ValueError, match=r"finite, found nan at index \(2, 1\) \(1 such rows"):
        PROBES[door](Z, both)
    with pytest.raises(ValueError, match=r"finite, found -inf at index \(7,\)"):
        PROBES[door](Z, np.where(np.arange(N) == 7, -np.inf, TARGETS))
    with pytest.raises(TypeError, match="real numbers"):
        PROBES[door](Z, WORDS, task="regression")
    with pytest.raises(ValueError, match=r"finite, found inf at index \(7,\)"):
        PROBES[door](Z, np.where(np.arange(N) == 7, np.inf, NUMBERS), task="classification")


# ---------------------------------------------------------------- scores

KINDS = {"ints": NUMBERS, "words": WORDS, "bytes": np.array(WORDS, "S")}


@pytest.mark.parametrize("door", PROBES)
@pytest.mark.parametrize("fitted", KINDS)
@pytest.mark.parametrize("scored", KINDS)
def test_labels_of_another_kind_cannot_be_right(fitted, scored, door):
    probe = PROBES[door](Z, KINDS[fitted])
    if fitted == scored:
        assert probe.score(Z, KINDS[scored]) > 0.5
        return
    with pytest.raises(TypeError, match="labels of the kind of the fit"):
        probe.score(Z, KINDS[scored])


@pytest.mark.parametrize("door", PROBES)
def test_numbers_are_of_one_kind(door):
    probe = PROBES[door](Z, NUMBERS)
    score = probe.score(Z, NUMBERS)
    for other in (np.array(NUMBERS, float), np.array(NUMBERS, bool), np.array(NUMBERS, np.uint8)):
        assert probe.score(Z, other) == score
    with pytest.raises(TypeError, match="real numbers"):
        PROBES[door](Z, TARGETS).score(Z, WORDS)


@given(
    st.lists(
        st.sampled_from([0, 1, None, nan, np.ma.masked, np.nan, np.float32("nan"), np.datetime64("NaT")]), min_size=1
    )
)
def test_what_is_missing_property(items):
    names, missing = read_names(items, "names")
    assert missing.tolist() == [not (isinstance(item, int)) for item in items]
    assert names[~missing].tolist() == [item for item in items if isinstance(item, int)]
    if not missing.all():
        assert names.dtype.kind == "i"


@pytest.mark.parametrize("door", PROBES)
def test_labels_beside_arrays_of_another_library(door):
    """The kind of z does not change how y is read."""
    torch = pytest.importorskip("torch")
    z = torch.from_numpy(Z)
    right = PROBES[door](Z[KEPT], np.array(NUMBERS)[KEPT])
    for kind in ("mask on words", "None among words", "pandas Int64", "polars words", "-1", "arrow"):
        probe = PROBES[door](z, made(MISSING[kind]))
        assert [probe.classes.tolist().index(c) for c in np.asarray(probe.predict(z))] == right.predict(Z).tolist()
        assert probe.score(z, made(MISSING[kind])) == right.score(Z[KEPT], np.array(NUMBERS)[KEPT])
    for labels in (torch.tensor(without(NUMBERS, -1)), [torch.tensor(i) for i in without(NUMBERS, -1)]):
        for points in (z, Z):
            probe = PROBES[door](points, labels)
            assert probe.classes.tolist() == [0, 1]
            assert probe.score(points, labels) == right.score(Z[KEPT], np.array(NUMBERS)[KEPT])
    targets = torch.tensor(without(TARGETS.tolist(), nan))
    assert PROBES[door](Z, targets).predict(Z) == pytest.approx(PROBES[door](Z[KEPT], TARGETS[KEPT]).predict(Z))
    assert pretrain(z, Identity(), 2, reg=1e-2, groups=torch.tensor(NUMBERS)).n_components == 2
    with pytest.raises(TypeError, match="toarray"):
        PROBES[door](Z, pytest.importorskip("scipy.sparse").csr_array(np.array([NUMBERS])))


def test_labels_on_a_device(backend):
    z = backend.asarray(Z)
    probe = ridge_probe(z, backend.asarray(np.array(without(NUMBERS, -1))), 1e-2)
    assert probe.classes.tolist() == [0, 1]
    right = ridge_probe(Z[KEPT], np.array(NUMBERS)[KEPT], 1e-2)
    np.testing.assert_allclose(backend.asnumpy(probe.coef), right.coef, rtol=1e-12)
    targets = backend.asarray(np.array(without(TARGETS.tolist(), nan)))
    np.testing.assert_allclose(
        backend.asnumpy(ridge_probe(z, targets, 1e-2).coef), ridge_probe(Z[KEPT], TARGETS[KEPT], 1e-2).coef, rtol=1e-11
    )
