"""Laws of positive pairs: what they are on points, and fits with them against dense algebra on the range of K."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import sslcore
from sslcore import positives
from sslcore.kernels import Exponential, Gaussian, Linear, Precomputed
from sslcore.positives import Groups, Labels, Neighbors, Operator, Pairs, TimeLag, _operator

from . import naive
from .comparators import assert_close


def points(n, seed=0, d=2):
    return np.random.default_rng(seed).standard_normal((n, d))


def ring(n):
    return Pairs(np.arange(n), (np.arange(n) + 1) % n)


@st.composite
def graphs(draw):
    """Random graphs: not connected, with pairs of points with themselves, repeated edges and points in no pair."""
    n = draw(st.integers(4, 14))
    count = draw(st.integers(1, 24))
    place = st.integers(0, n - 1)
    i, j = (np.array(draw(st.lists(place, min_size=count, max_size=count))) for _ in range(2))
    weight = np.array(draw(st.lists(st.sampled_from([0.1, 1.0, 3.0]), min_size=count, max_size=count)))
    return n, i, j, weight


def compare(rep, expected, k, tol=1e-8):
    """Eigenvalues, and the split of each."""
    assert_close(rep.eigenvalues, expected[:k], tol=tol)
    split = 1 - rep.beta * rep.invariance - rep.reg * rep.norms
    assert_close(split, rep.eigenvalues, tol=tol)


@given(graphs(), st.sampled_from([0.0, 0.7, 1.0, 1.5]), st.booleans(), st.integers(0, 100))
def test_pairs_are_solved_as_dense_algebra_does(graph, beta, center, seed):
    n, i, j, weight = graph
    x, kernel, reg = points(n, seed), Exponential(0.7), 1e-2
    joint = naive.joint_law(i, j, weight, n)
    operator, p = naive.pairs_operator(joint)
    there = p > 0
    size = int(there.sum())
    law = Pairs(i, j, weight).law(x)
    assert_close(law.measure, p, tol=1e-14)
    assert_close(law.on_support().operator(), operator, tol=1e-14)
    assert_close(law.on_support().complement(), np.eye(size) - operator, tol=1e-14, scale=1.0)
    k = min(3, size - center)
    if k == 0:
        return
    rep = sslcore.pretrain(x, kernel, k, reg=reg, beta=beta, center=center, positives=Pairs(i, j, weight))
    mu, vectors = naive.pretrain_paired(
        naive.gram(kernel, x[there]), operator, p[there], reg=reg, beta=beta, center=center
    )
    compare(rep, mu, k)
    # the functions: their values at the points in pairs span the same space, where k cuts no block
    if k < len(mu) and mu[k - 1] - mu[k] > 1e-3:
        f = np.sqrt(p[there])[:, None] * rep.transform(x[there], scale="unit")
        assert_close(f @ f.T, vectors[:, :k] @ vectors[:, :k].T, tol=1e-6)
    assert_close(rep.embedding, rep(x), tol=1e-9)  # at points in no pair too
    assert (rep.coefficients[~there] == 0).all()


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 1.4])
@pytest.mark.parametrize("measured", [False, True])
def test_any_operator_is_solved_as_dense_algebra_does(backend, beta, center, measured):
    """Signed, with eigenvalues above 1, and constants that are not invariant."""
    n, k, reg, rng = 20, 5, 1e-2, np.random.default_rng(1)
    x, kernel = points(n), Exponential(0.7)
    symmetric = rng.standard_normal((n, n))
    symmetric = 0.8 * (symmetric + symmetric.T) / math.sqrt(n)
    p = rng.uniform(0.5, 2, n) if measured else np.ones(n)
    p /= p.sum()
    T = symmetric / np.sqrt(p)[:, None] * np.sqrt(p)
    mu, vectors = naive.pretrain_paired(naive.gram(kernel, x), symmetric, p, reg=reg, beta=beta, center=center)
    law = Operator(T, measure=p if measured else None)
    rep = sslcore.pretrain(backend.asarray(x), kernel, k, reg=reg, beta=beta, center=center, positives=law)
    compare(rep, mu, k)
    f = np.sqrt(p)[:, None] * backend.asnumpy(rep.transform(backend.asarray(x), scale="unit"))
    assert_close(f @ f.T, vectors[:, :k] @ vectors[:, :k].T, tol=1e-6)
    if center:
        assert np.abs(np.sqrt(p) @ f).max() < 1e-10
    assert rep.certificate.worst < 1e-8
    assert rep.n_active == min(k, int((mu > 0).sum()))
    assert rep.risk == pytest.approx(k - (np.clip(mu[:k], 0, None) ** 2).sum(), rel=1e-9)


def test_a_path_has_the_fits_of_a_law():
    x, law = points(25), 0.5 * ring(25) + 0.5 * Operator(2 * ring(25).law(np.zeros((25, 1))).operator())
    path = sslcore.pretrain_path(x, Exponential(1.0), 3, regs=[1e-3, 1e-1], betas=[0.5, 1.0], positives=law)
    for i, j in itertools.product(range(2), range(2)):
        rep = path.at(i, j)
        alone = sslcore.pretrain(x, Exponential(1.0), 3, reg=rep.reg, beta=rep.beta, positives=law)
        assert_close(rep.eigenvalues, alone.eigenvalues, tol=1e-8)
        assert rep.positives == alone.positives
    assert path.at(0).centres is path.at(1).centres


def test_an_operator_all_of_whose_components_collapse():
    x = points(12)
    rep = sslcore.pretrain(x, Gaussian(1.0), 3, reg=1e-2, positives=Operator(-np.eye(12)))
    assert rep.n_active == 0
    assert rep.risk == 3
    assert (rep.eigenvalues < -1).all()


def test_what_rounding_hides_is_compared_with_the_largest_eigenvalue():
    """1/g is uncertain by a half: of an operator below 1 nothing is active, of one below 4 (4.4 shifted) it may be."""
    x = points(12, d=1)
    reg = 32 * np.finfo(float).eps * float((x**2).mean())
    for factor in (1.0, 4.0):
        numbers = {"reg": reg, "positives": Operator(factor * np.eye(12))}
        if factor == 1:
            assert sslcore.pretrain(x, Linear(), 2, **numbers).certificate.rank == 1
        else:
            with pytest.raises(sslcore.CertificateError, match=r"component 1 cannot be told .* 1/\(4\.4 - mu\)"):
                sslcore.pretrain(x, Linear(), 2, **numbers)


def test_sparse_and_dense_matrices_are_one(tmp_path):
    x = points(15)
    law = ring(15).law(x)
    dense = law.operator()
    reps = [
        sslcore.pretrain(x, Exponential(1.0), 4, reg=1e-2, positives=given)
        for given in (Operator(dense), Operator(sparse.csr_array(dense)), Operator(sparse.coo_matrix(dense)), ring(15))
    ]
    for rep in reps[1:]:
        assert_close(rep.eigenvalues, reps[0].eigenvalues, tol=1e-10)
    path = tmp_path / "rep.sslcore"
    reps[0].save(path)
    loaded = sslcore.load(path)
    assert loaded.positives == reps[0].positives
    assert loaded.tau == reps[0].tau
    assert (loaded(x) == reps[0](x)).all()
    assert "a matrix on 15 points, 1 part" in loaded.summary()


def test_large_eigenvalues_are_saved_and_loaded(tmp_path):
    """gamma = 1 - mu is negative there."""
    x = points(15)
    rep = sslcore.pretrain(x, Exponential(1.0), 4, reg=1e-2, positives=Operator(50 * ring(15).law(x).operator()))
    assert rep.eigenvalues[0] > 40
    rep.save(tmp_path / "rep.sslcore")
    assert (sslcore.load(tmp_path / "rep.sslcore").gamma == rep.gamma).all()


# ---------------------------------------------------------------- laws


def test_groups_are_what_groups_say():
    x, g = points(24), np.random.default_rng(0).integers(0, 8, 24)
    for unbiased in (True, False):
        numbers = {"reg": 1e-3, "unbiased": unbiased}
        ours = sslcore.pretrain(x, Exponential(1.0), 4, positives=Groups(g), **numbers)
        same = sslcore.pretrain(x, Exponential(1.0), 4, groups=g, **numbers)
        assert (ours.gamma == same.gamma).all()
        assert (ours.coefficients == same.coefficients).all()
        mixed = sslcore.pretrain(x, Exponential(1.0), 4, positives=1.0 * Groups(g), **numbers)
        assert_close(mixed.gamma, same.gamma, tol=1e-10)  # by edges and another factorisation: not the same bits


def test_labels_weigh_pairs_or_classes():
    x, y = np.zeros((7, 1)), [0, 0, 1, 1, 1, -1, 2]
    pairs = list(itertools.chain(itertools.combinations([0, 1], 2), itertools.combinations([2, 3, 4], 2)))
    for by, weights in (("pair", [1] * 4), ("class", [1 / 2, *[1 / 6] * 3])):
        expected = naive.joint_law(*zip(*pairs, strict=True), weights, 7)
        law = Labels(y, by=by).law(x)
        assert_close(law.measure, expected.sum(axis=1), tol=1e-14)
        kept = expected.sum(axis=1) > 0
        assert_close(law.on_support().operator(), naive.pairs_operator(expected)[0], tol=1e-14)
        assert law.n_parts == 2
        assert kept.sum() == 5
    words = Labels(["a", "a", "b", "b", "b", None, "c"]).law(x)
    assert (words.measure == Labels(y).law(x).measure).all()


def test_neighbours_are_the_nearest():
    x = points(30, d=3)
    distance = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distance, np.inf)
    i, j = np.repeat(np.arange(30), 4), np.argsort(distance, axis=1)[:, :4].ravel()
    law = Neighbors(4).law(x)
    assert_close(law.operator(), naive.pairs_operator(naive.joint_law(i, j, np.ones(120), 30))[0], tol=1e-14)
    equal = Neighbors(2).law(np.zeros((9, 2)))  # more equal points than neighbours: no point with itself
    assert (equal.measure > 0).all()
    assert (equal.first < equal.second).all()


def test_time_lags_keep_to_their_trajectory():
    law = TimeLag(2, boundaries=[4, 1, 5]).law(np.zeros((10, 1)))
    assert [*zip(law.first, law.second, strict=True)] == [(0, 2), (1, 3), (5, 7), (6, 8), (7, 9)]
    assert law.n_parts == 4
    assert law.measure[4] == 0


@given(
    steps=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9), min_size=1, max_size=4),
    begin=st.sampled_from([-5, 0, 2**53 - 30]),
    lag=st.integers(1, 4),
)
def test_pairs_by_times(steps, begin, lag):
    lengths = [len(each) for each in steps]
    times = np.concatenate([begin + np.cumsum(each) for each in steps])
    expected = naive.pairs_apart(times.tolist(), lengths, lag)
    law = TimeLag(lag, lengths, times)
    x = np.zeros((len(times), 1))
    if not expected:
        with pytest.raises(ValueError, match=f"no two times of a trajectory are lag = {lag} apart"):
            law.law(x)
        return
    found = law.law(x)
    assert [*zip(found.first.tolist(), found.second.tolist(), strict=True)] == expected
    assert_close(found.weight, np.full(len(expected), 1 / len(expected)), tol=1e-14)
    assert found.in_time


@pytest.mark.parametrize("model", [Exponential(1.0), sslcore.features.Identity()])
def test_times_leave_no_pair_across_missing_rows(model):
    """Fits to what is left of a trajectory are those to the pairs of which both rows are left."""
    x, kept = points(30), np.delete(np.arange(30), [4, 5, 11, 19, 20, 26])
    numbers = {"reg": 1e-2, "center": True}
    rep = sslcore.pretrain(x[kept], model, 2, positives=TimeLag(2, times=kept), **numbers)
    both = [i for i in kept if i + 2 in kept]
    pairs = Pairs(np.searchsorted(kept, both), np.searchsorted(kept, np.array(both) + 2))
    assert_close(rep.gamma, sslcore.pretrain(x[kept], model, 2, positives=pairs, **numbers).gamma)
    rows = sslcore.pretrain(x[kept], model, 2, positives=TimeLag(2), **numbers)
    assert np.abs(rep.gamma - rows.gamma).max() > 1e-3


def test_mixtures_draw_from_each_law():
    x, y, g = points(9), [0, 0, 0, 1, 1, 1, -1, -1, -1], [0, 1, 2, 0, 1, 2, 3, 3, 4]
    mixed = (0.7 * Labels(y) + 0.3 * Groups(g)).law(x)
    parts = [
        np.diag(law.measure) ** 0.5 @ law.operator() @ np.diag(law.measure) ** 0.5
        for law in (Labels(y).law(x), Groups(g).law(x))
    ]
    joint = 0.7 * parts[0] + 0.3 * parts[1]
    assert_close(joint.sum(), 1.0, tol=1e-14)
    assert_close(mixed.measure, joint.sum(axis=1), tol=1e-14)
    assert_close(mixed.operator(), naive.pairs_operator(joint)[0], tol=1e-14)
    only = (2 * (Labels(y) + 0 * Groups(g))).law(x)
    assert_close(only.measure, Labels(y).law(x).measure, tol=1e-14)


@pytest.mark.parametrize("size", [1e-320, 1e308])
def test_only_ratios_of_weights_matter(size):
    """Their sums overflow, or have few digits left."""
    x, classes = points(6), [0, 0, 1, 1, 2, 2]
    expected = (TimeLag(1) + Labels(classes)).law(x)
    law = (size * TimeLag(1) + size * Labels(classes)).law(x)
    assert_close(law.weight, expected.weight, tol=1e-14)
    assert_close(law.total, expected.total, tol=1e-14)
    measure = Operator(np.eye(6), measure=np.arange(1.0, 7.0) * 2.0**1021).law(x).measure
    assert_close(measure, np.arange(1.0, 7.0) / 21, tol=1e-14)


def test_operators_add_to_laws_of_their_measure():
    x, T = points(8), np.diag(np.arange(8.0))
    total = (0.5 * ring(8) + -2 * Operator(T)).law(x)
    assert_close(total.operator(), 0.5 * ring(8).law(x).operator() - 2 * T, tol=1e-14)
    with pytest.raises(ValueError, match="must have its measure"):
        (Pairs([0], [1]) + Operator(T)).law(x)


def test_sums_quotients_and_differences():
    """``sum`` begins at 0; weights are divided as numbers are, and differences have weights < 0."""
    x, T, lag, labels = np.zeros((8, 1)), np.diag(np.arange(8.0)), TimeLag(1), Labels([0, 1] * 4)
    for law, terms in (
        (sum([lag, 2 * labels]), [(1.0, lag), (2.0, labels)]),
        (sum([lag]), [(1.0, lag)]),
        (lag / 2, [(0.5, lag)]),
        ((lag + 3 * labels) / 4.0, [(0.25, lag), (0.75, labels)]),
        (lag - labels / 5, [(1.0, lag), (-0.2, labels)]),
        (-lag, [(-1.0, lag)]),
    ):
        assert list(law._terms()) == terms
    assert_close((sum([lag, labels]) / 3).law(x).operator(), (lag + labels).law(x).operator(), tol=1e-14)
    assert_close((Operator(T) / 2 - 3 * Operator(T)).law(x).operator(), -2.5 * T, tol=1e-14)
    with pytest.raises(ValueError, match="only an Operator may be subtracted"):
        (lag - labels).law(x)
    with pytest.raises(ZeroDivisionError, match="what a law is divided by must not be 0"):
        lag / 0
    with pytest.raises(TypeError, match="what a law is divided by must be a real number, found 'a'"):
        lag / "a"
    for wrong in (lambda: 0.0 + lag, lambda: 1 + lag, lambda: lag + 0, lambda: lag / lag, lambda: 1 / lag):
        with pytest.raises(TypeError, match="unsupported operand"):
            wrong()


def test_every_law_is_registered_and_written():
    assert set(positives.registry) == set(positives.__all__) - {"Law", "Positives", "registry"}
    assert (
        repr(0.7 * TimeLag(3) + Neighbors(2))
        == "0.7 * TimeLag(lag=3, boundaries=None, times=None) + Neighbors(n_neighbors=2)"
    )
    assert repr(Operator(np.eye(5))) == "Operator(T: (5, 5) float64, measure=None)"


def test_parts_that_do_not_touch_have_mu_1_each():
    i = np.array([0, 1, 3, 4, 6])
    rep = sslcore.pretrain(points(8), Exponential(1.0), 4, reg=1e-9, positives=Pairs(i, i + 1))
    assert (rep.gamma[:3] < 1e-6).all()
    assert rep.gamma[3] > 1e-2
    assert "5 edges between 8 points in 3 parts" in rep.positives


def test_precomputed_matrices_and_points_in_no_pair():
    x, kernel = points(10), Exponential(1.0)
    law = Pairs([0, 1, 2, 5], [1, 2, 3, 6])
    rep = sslcore.pretrain(x, kernel, 3, reg=1e-2, positives=law)
    given = sslcore.pretrain(kernel(x, x), Precomputed(), 3, reg=1e-2, positives=law)
    assert_close(given.embedding, rep.embedding, tol=1e-9)


def test_float32():
    x = points(40).astype(np.float32)
    rep = sslcore.pretrain(x, Gaussian(1.0), 3, reg=1e-2, positives=Neighbors(3))
    double = sslcore.pretrain(x.astype(float), Gaussian(1.0), 3, reg=1e-2, positives=Neighbors(3))
    assert rep.coefficients.dtype == np.float32
    assert_close(rep.gamma, double.gamma, tol=1e-4)


def test_the_budget_is_kept():
    x = points(300)
    with pytest.raises(sslcore.MemoryBudgetError, match="use fewer points"):
        sslcore.pretrain(x, Gaussian(1.0), 3, reg=1e-2, positives=Neighbors(3), memory="1MB")


# ---------------------------------------------------------------- bad input

X = points(6)
G = Gaussian(1.0)
BAD = {
    "negative length": (
        lambda: TimeLag(1, boundaries=[3, -1]),
        "boundaries must be lengths of trajectories, integers from 0 on, found -1",
    ),
    "negative index": (lambda: Pairs([0, -1], [1, 2]), "indices of points, integers from 0 on, found -1"),
    "fraction": (lambda: Pairs([0.5], [1]), "found 0.5"),
    "out of range": (lambda: Pairs([0], [6]).law(X), "indices of the 6 points, 0 to 5, found 6 at place 0"),
    "beyond int64": (lambda: Pairs(np.array([2**63], np.uint64), [1]), "from 0 on, found 9.22337e"),
    "lengths": (lambda: Pairs([0], [1, 2]), "one entry for each pair, found 1 and 2"),
    "no pairs": (lambda: Pairs([], []), "i"),
    "negative weight": (lambda: Pairs([0], [1], [-1.0]), ">= 0 and not all 0, found -1.0"),
    "zero weights": (lambda: Pairs([0, 1], [1, 2], [0, 0]), "found zeros only"),
    "NaN weight": (lambda: Pairs([0], [1], [math.nan]), "weight"),
    "not symmetric": (lambda: Operator([[0, 1], [2, 0]]), r"entry \(0, 1\) is 1, entry \(1, 0\) is 2"),
    "not square": (lambda: Operator(np.ones((2, 3))), r"square matrix \(N, N\), found shape \(2, 3\)"),
    "NaN": (lambda: Operator([[math.nan]]), "T"),
    "sparse, not symmetric": (lambda: Operator(sparse.csr_array([[0, 1], [2, 0]])), r"entry \(0, 1\) is 1"),
    "measure": (lambda: Operator(np.eye(2), measure=[1, 0]), "measure must be positive, found 0.0"),
    "uneven measure": (lambda: Operator(np.eye(2), measure=[1e300, 1e-300]), r"found 1e-300 at 1;"),
    "measure's length": (lambda: Operator(np.eye(2), measure=[1, 1, 1]), "one entry for each row of T, 2, found 3"),
    "size of T": (lambda: Operator(np.eye(2)).law(X), "one row for each of the 6 points, found 2"),
    "long lag": (lambda: TimeLag(3, [3, 3]).law(X), "the longest has 3 points"),
    "boundaries": (lambda: TimeLag(1, [3, 4]).law(X), "lengths with the sum 6"),
    "lag": (lambda: TimeLag(0), "lag must be"),
    "times of other points": (lambda: TimeLag(1, times=range(5)).law(X), "one entry for each of the 6 points, found 5"),
    "missing times": (lambda: TimeLag(1, times=[0, 1, math.nan]), r"times must be finite, found nan at index \(2,\)"),
    "times between integers": (
        lambda: TimeLag(1, times=[0, 0.5, 1]),
        r"times must be integers, .* found 0.5 at place 1; count from the first in the step",
    ),
    "times in nanoseconds": (lambda: TimeLag(1, times=[1.7e18, 1.7e18 + 1e3]), r"at most 2\^53 in size, found 1.7"),
    "integers that float64 rounds": (
        lambda: TimeLag(1, times=np.array([2**53 - 1, 2**53 + 1])),
        r"at most 2\^53 in size, found 9007199254740993 at place 1",
    ),
    "integers that float64 rounds, without a sign": (
        lambda: TimeLag(1, times=np.array([2**53, 2**53 + 1], np.uint64)),
        "found 9007199254740993 at place 1",
    ),
    "integers that float64 rounds, below 0": (lambda: TimeLag(1, times=[-(2**53) - 1, 0]), "found -9007199254740993"),
    "unsorted times": (
        lambda: TimeLag(1, times=[0, 2, 3, 1, 4, 5]).law(X),
        "found 1 after 3 at place 3; sort the rows by them, or say where trajectories end with boundaries=",
    ),
    "equal times": (lambda: TimeLag(1, [2, 4], [5, 6, 0, 1, 1, 2]).law(X), "found 1 after 1 at place 4"),
    "times that the lag misses": (
        lambda: TimeLag(3, times=[0, 10, 20, 30, 40, 50]).law(X),
        "no two times of a trajectory are lag = 3 apart",
    ),
    "a lag beyond all integers": (lambda: TimeLag(10**30, times=range(6)).law(X), "no two times of a trajectory"),
    "times of a stream": (
        lambda: sslcore.stream.moments([X], sslcore.features.Identity(), positives=TimeLag(1, times=range(6))),
        "a stream counts rows, and takes no times=",
    ),
    "neighbours": (lambda: Neighbors(6).law(X), "less than the number of points, 6, found 6"),
    "all different": (lambda: Labels(range(6)).law(X), "no two points have the same label"),
    "all missing": (lambda: Labels([-1] * 6), "all of them missing"),
    "labels": (lambda: Labels([0, 0]).law(X), "one label for each of the 6 points, found 2"),
    "groups": (lambda: Groups([0, 0]).law(X), "each of the 6 points, found 2"),
    "negative share": (lambda: (TimeLag(1) + -1 * Labels([0, 0, 1, 1, 2, 2])).law(X), "weights of laws of pairs"),
    "views": (lambda: sslcore.pretrain(np.zeros((3, 2, 2)), G, 1, reg=1, positives=TimeLag(1)), r"points \(N, d\)"),
    "with groups": (lambda: sslcore.pretrain(X, G, 1, reg=1, positives=TimeLag(1), groups=[0] * 6), "or groups="),
    "with weights": (
        lambda: sslcore.pretrain(X, G, 1, reg=1, positives=TimeLag(1), sample_weight=[1] * 6),
        "or sample_weight=",
    ),
    "auto with a matrix": (
        lambda: sslcore.pretrain(X, G, 1, reg="auto", positives=Operator(np.eye(6))),
        "of an Operator nothing says how pairs",
    ),
    "auto of few points": (
        lambda: sslcore.pretrain(X[:3], G, 1, reg="auto", positives=TimeLag(1)),
        "at least 4 points",
    ),
    "auto whose lag is longer than what is held out": (
        lambda: sslcore.pretrain(points(40), G, 1, reg="auto", positives=TimeLag(20)),
        "no pair is within one of them",
    ),
    "moments with groups": (
        lambda: sslcore.Moments(sslcore.features.Identity()).update(X, positives=TimeLag(1), groups=[0] * 6),
        "not both",
    ),
    "neighbours too far": (lambda: Neighbors(1).law(np.array([[1e200], [-1e200], [3e200]])), "overflow: rescale x"),
    "large entries": (lambda: Operator(np.diag([1e308, 1.0])), r"at most 1e\+30 in size, found 1e\+308"),
    "large sparse entries": (lambda: Operator(sparse.csr_array([[-1e308]])), r"in size, found 1e\+308"),
    "many components": (lambda: sslcore.pretrain(X, G, 3, reg=1, positives=Pairs([0], [1])), "points in pairs, 2"),
    "neighbours of a matrix": (
        lambda: sslcore.pretrain(X @ X.T, Precomputed(), 1, reg=1, positives=TimeLag(1) + Neighbors(2)),
        r"neighbours of its rows are not those of the points: .* Pairs\(law.first",
    ),
    "constant data": (lambda: sslcore.pretrain(0 * X, G, 1, reg=1, positives=TimeLag(1)), "the data are constant"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    make, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        make()


def test_a_sparse_operator_is_made_dense_where_there_is_room(monkeypatch):
    x = np.zeros((200_000, 1))
    many = Operator(sparse.eye(200_000))
    monkeypatch.setattr(_operator, "free_memory", lambda: 10**9)
    with pytest.raises(sslcore.MemoryBudgetError, match=r"needs 320 GB of memory, and 1 GB are free .* take Pairs\(i"):
        many.law(x)
    assert (Operator(sparse.eye(6)).law(X).matrix == np.eye(6)).all()


def test_edges_lie_between_points_of_positive_measure():
    law = Pairs([0, 1, 2], [1, 2, 3], [1.0, 5e-324, 5e-324]).law(X)
    assert (law.first.tolist(), law.second.tolist()) == ([0], [1])
    twice = Pairs([0, 1, 1], [1, 2, 2], [1.0, 5e-324, 5e-324]).law(X)
    assert twice.measure[2] == 0
    assert twice.second.tolist() == [1]


def test_wrong_kinds():
    with pytest.raises(TypeError, match=r"law of sslcore\.positives"):
        sslcore.pretrain(X, G, 1, reg=1, positives=[0, 1])
    for law in (Operator(np.eye(6)), 2.0 * Operator(np.eye(6))):
        with pytest.raises(TypeError, match="features take laws of pairs"):
            sslcore.pretrain(X, sslcore.features.Identity(), 1, reg=1, positives=law)
        with pytest.raises(TypeError, match="features take laws of pairs"):
            sslcore.Moments(sslcore.features.Identity()).update(X, positives=law)
    with pytest.raises(TypeError, match="found dtype complex128"):
        Operator(sparse.csr_array(1j * np.eye(6)))
    with pytest.raises(TypeError):
        TimeLag(1) + 3
    with pytest.raises(TypeError):
        TimeLag(1) * TimeLag(1)
