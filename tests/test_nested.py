"""Fits to the first n samples, all from one factor: each against a fit of its own."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sslcore import Views, pretrain, tunables
from sslcore.augmentations import GaussianNoise
from sslcore.backends import get_backend
from sslcore.datasets import half_moons
from sslcore.errors import CertificateError, MemoryBudgetError, NotPositiveSemidefiniteError
from sslcore.fitting import problem as problems
from sslcore.fitting.nested import _runs, nested_fits
from sslcore.kernels import Exponential, Gaussian, Precomputed
from sslcore.solvers.rounded import RoundedKernel

from .comparators import assert_close
from .strategies import seeds
from .test_features import noisy, normal

SIZES = [4, 9, 10, 25]


def assert_separate_fits(views, kernel, sizes, backend, *, k=4, reg_times_n=0.05, **options):
    there = backend.asarray(views)
    fits = nested_fits(there, kernel, k, sizes, reg_times_n=reg_times_n, **options)
    assert [fit.n for fit in fits] == sizes
    x = backend.asarray(normal((7, views.shape[2]), 5).astype(views.dtype))
    single = views.dtype == np.float32
    for fit in fits:
        rep, alone = fit.representation, pretrain(there[: fit.n], kernel, k, reg=fit.reg, **options)
        assert fit.reg == pytest.approx(reg_times_n / (fit.n * views.shape[1]), rel=1e-14)
        for name in ("gamma", "invariance", "norms"):
            assert_close(getattr(rep, name), getattr(alone, name), tol=1e-3 if single else 1e-9)
        for name in ("coefficients", "intercept", "values", "centres"):
            found, wanted = (backend.asnumpy(getattr(r, name)) for r in (rep, alone))
            assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
            assert_close(found, wanted, tol=1e-2 if single else 1e-7, scale=max(1.0, float(abs(wanted).max())))
        assert_close(backend.asnumpy(rep(x)), backend.asnumpy(alone(x)), tol=1e-2 if single else 1e-7, scale=1.0)
        assert fit.certificate.worst <= fit.certificate.tolerance
        assert fit.certificate.rank == alone.certificate.rank
        assert fit.certificate.condition == pytest.approx(alone.certificate.condition, rel=1e-2 if single else 1e-6)
        scale = (1e-2 if single else 1e-4) * float(alone.gamma.max())
        assert fit.certificate.eigengap == pytest.approx(alone.certificate.eigengap, abs=scale)
        for name in ("eigenvalues", "gamma", "coefficients", "intercept"):
            assert (getattr(fit, name) == getattr(rep, name)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_every_size_is_a_separate_fit(beta, center, unbiased, dtype, backend):
    views = noisy(25, 3, 2).astype(dtype)
    options = {"beta": beta, "center": center, "unbiased": unbiased}
    assert_separate_fits(views, Exponential(1.0), SIZES, backend, **options)


@pytest.fixture
def two_runs(monkeypatch):
    """Cut any two sizes or more into two runs."""
    monkeypatch.setattr(tunables, "NESTED_LEAST_SIZES", 2)
    monkeypatch.setattr(tunables, "NESTED_LEAST_SAMPLES", 5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("center", [False, True])
def test_two_runs(center, dtype, backend, two_runs):
    views = noisy(25, 3, 2).astype(dtype)
    assert [len(run) for run in _runs(SIZES, 3)] == [1, 3]
    assert_separate_fits(views, Exponential(1.0), SIZES, backend, center=center)


@pytest.fixture
def low_images(monkeypatch, two_runs):
    """Steps in float32 for any size; the sizes that took some, and a number to add to their images."""
    monkeypatch.setattr(tunables, "NESTED_ROUNDED_VIEWS", 0)
    original, seen = RoundedKernel._rounded, {"sizes": [], "amiss": 0.0}

    def rounded(operator, v):
        image = original(operator, v)
        if v.shape[1] > 2:  # else it is measured what they are worth
            seen["sizes"].append(operator.n)
            image += seen["amiss"] * normal(image.shape, len(seen["sizes"]))
        return image

    monkeypatch.setattr(RoundedKernel, "_rounded", rounded)
    return seen


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("m", [2, 3])
def test_steps_in_float32(m, center, low_images):
    views, sizes = noisy(400, m, 2), [150, 250, 330, 400]
    fits = nested_fits(views, Exponential(1.0), 4, sizes, reg_times_n=0.1, center=center)
    assert set(low_images["sizes"]) == set(sizes)
    for fit in fits:
        alone = pretrain(views[: fit.n], Exponential(1.0), 4, reg=fit.reg, center=center)
        assert_close(fit.gamma, alone.gamma, tol=1e-11)
        scale = float(np.abs(alone.values).max())
        assert_close(fit.representation.values, alone.values, tol=3e-7, scale=scale)
        assert fit.certificate.worst <= 0.3 * fit.certificate.tolerance


def test_steps_in_float32_that_are_worse_than_was_measured(low_images):
    """The certificate refuses what they lead to, and the size is solved in float64."""
    low_images["amiss"] = 1e-4
    views = noisy(300, 2, 2)
    for fit in nested_fits(views, Exponential(1.0), 4, [200, 300], reg_times_n=0.1):
        assert fit.n in low_images["sizes"]
        assert_close(fit.gamma, pretrain(views[: fit.n], Exponential(1.0), 4, reg=fit.reg).gamma, tol=1e-11)


@pytest.mark.parametrize("size", [1e32, 1e-37, 1e-44, 1e-60, 1e-200])
def test_values_beyond_float32(size, low_images):
    """A warning is an error: what vanished in float32 was divided by."""
    views, kernel = noisy(60, 2, 2), size * Exponential(1.0)
    small, large = nested_fits(views, kernel, 3, [40, 60], reg_times_n=0.1 * size)
    assert not low_images["sizes"]
    for fit in (small, large):
        assert_close(fit.gamma, pretrain(views[: fit.n], kernel, 3, reg=fit.reg).gamma, tol=1e-9)


def test_runs_are_cut_where_they_cost_the_same():
    sizes = list(range(100, 1001, 50))
    first, second = _runs(sizes, 2)
    assert first + second == sizes[::-1]
    cost = [sum(n**2 + 200**2 for n in run) for run in (first, second)]
    assert cost[1] < cost[0] + first[-1] ** 2 + 200**2
    assert cost[0] < cost[1] + first[-1] ** 2 + 200**2
    assert _runs(sizes[:10], 2) == [sizes[:10][::-1]]  # few
    assert _runs(sizes, 5) == [sizes[::-1]]  # large


def test_the_same_bits_on_any_number_of_threads(monkeypatch):
    views, found = noisy(300, 2, 3), []
    sizes = list(range(60, 301, 15))
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        fits = nested_fits(views, Exponential(1.0), 4, sizes, reg_times_n=0.1)
        found.append([(fit.n, fit.coefficients.tobytes(), fit.gamma.tobytes()) for fit in fits])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (40, 1, 33), (300, 200, 9), (90, 700, 17), (300, 1100, 57)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_alone(shape, dtype, backend):
    primitives, (n, inner, k) = backend.primitives, shape
    a, b, out = (normal(s, i).astype(dtype) for i, s in enumerate([(n, inner), (inner, k), (n, k)]))
    tol = 1e-12 if dtype == np.float64 else 1e-4
    for order in "CF":
        there, other, old = (backend.xp.asarray(x, order=o) for x, o in ((a, order), (b, "F"), (out, "F")))
        assert_close(backend.asnumpy(primitives.matmul_alone(there, other)), a @ b, tol=tol, scale=inner)
        found = primitives.matmul_alone(there, other, out=old.copy(order="F"), alpha=-2.0, beta=0.5)
        assert_close(backend.asnumpy(found), 0.5 * out - 2.0 * (a @ b), tol=tol, scale=inner)
    assert primitives.matmul_alone(backend.asarray(a[:, :0]), backend.asarray(b[:0])).shape == (n, k)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_leading_blocks_alone(dtype):
    """Parts of larger matrices are read where they lie, and nothing beside them."""
    primitives, n, tol = get_backend(), 90, 1e-12 if dtype == np.float64 else 1e-4
    whole = np.full((n + 7, n + 7), np.nan, dtype)
    whole[:n, :n] = part = normal((n, n), 0) + 20 * np.eye(n)
    part, b = part.astype(dtype).astype(float), np.asfortranarray(normal((n, 30), 1).astype(dtype))
    for block in (np.ascontiguousarray(whole)[:n, :n], np.asfortranarray(whole)[:n, :n]):
        assert_close(primitives.matmul_alone(block, b), part @ b, tol=tol, dtype=dtype, scale=n)
        assert_close(primitives.matmul_alone(block.T, b), part.T @ b, tol=tol, dtype=dtype, scale=n)
        assert_close(primitives.matmul_alone(block[:, :1], b[:1]), part[:, :1] @ b[:1], tol=tol, dtype=dtype, scale=n)
    lower, upper = np.tril(part, -1), np.triu(part)
    found = primitives.symmetric_product_alone(block, block.diagonal().copy(), b)
    assert_close(found, (lower + lower.T + np.diag(part.diagonal())) @ b, tol=tol, dtype=dtype, scale=n)
    found = primitives.cholesky_solve_alone(block, b.copy(order="F"))
    assert_close(found, np.linalg.solve(upper.T @ upper, b), tol=tol, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_solutions_alone(dtype, backend):
    a, b = normal((30, 30), 0), normal((30, 4), 1)
    upper = np.linalg.cholesky(a @ a.T + 30 * np.eye(30)).T
    factor, right = (backend.xp.asarray(x.astype(dtype), order="F") for x in (upper + np.tril(a, -1), b))
    found = backend.asnumpy(backend.primitives.cholesky_solve_alone(factor, right))
    wanted = np.linalg.solve(upper.T @ upper, b).astype(dtype)
    assert_close(found, wanted, tol=1e-13 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("n", [1, 64, 65, 300])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_symmetric_products_alone(n, dtype, backend):
    """The strict lower triangle and the diagonal are read, and nothing is changed."""
    a, diagonal, b = (normal(shape, i).astype(dtype) for i, shape in enumerate([(n, n), (n,), (n, 7)]))
    there, other = (backend.xp.asarray(x, order="F") for x in (a, b))
    found = backend.primitives.symmetric_product_alone(there, backend.asarray(diagonal), other)
    lower = np.tril(a, -1).astype(float)
    wanted = (lower + lower.T + np.diag(diagonal.astype(float))) @ b
    assert_close(backend.asnumpy(found), wanted.astype(dtype), tol=1e-13 if dtype == np.float64 else 1e-5, scale=n)
    assert np.array_equal(backend.asnumpy(there), a)
    assert backend.primitives.symmetric_product_alone(there, backend.asarray(diagonal), other[:, :0]).shape == (n, 0)


def test_no_threads_of_blas_beside_other_tasks(monkeypatch, two_runs):
    """All products of sizes that are solved side by side are those for that, the Cholesky factor being known."""
    primitives = get_backend()
    alone, at_work = primitives.side_by_side, []

    def marked(task, count):
        at_work.append(1)
        alone(task, count)
        at_work.clear()

    monkeypatch.setattr(primitives, "side_by_side", marked)
    for name in ("matmul", "cholesky_solve", "symmetric_product", "orthonormalize"):
        original = getattr(primitives, name)

        def refused(*args, original=original, **options):
            assert not at_work
            return original(*args, **options)

        monkeypatch.setattr(primitives, name, refused)
    nested_fits(noisy(700, 2, 2), Exponential(1.0), 3, [500, 600, 700], reg_times_n=0.1)
    assert not at_work


def test_tasks_side_by_side(backend):
    done = []
    backend.primitives.side_by_side(done.append, 5)
    assert sorted(done) == list(range(5))
    with pytest.raises(ZeroDivisionError):
        backend.primitives.side_by_side(lambda i: 1 // (i - 1), 3)


@example(seed=1, m=2, sizes={3, 9, 11}, k=1)  # an invariance of 2e-4, to nine of its own digits
@given(seed=seeds, m=st.integers(2, 4), sizes=st.sets(st.integers(3, 30), min_size=1, max_size=5), k=st.integers(1, 6))
def test_any_sizes(seed, m, sizes, k, backend):
    assert_separate_fits(noisy(33, m, 2, seed), Gaussian(1.0) + 0.1 * Exponential(0.5), sorted(sizes), backend, k=k)


def test_one_gram_matrix_and_one_factor(monkeypatch, backend):
    counts = {"gram": 0, "cholesky": 0}
    primitives, rotated_gram = backend.primitives, problems.rotated_gram
    cholesky = primitives.cholesky

    def counted(name, function):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    monkeypatch.setattr(problems, "rotated_gram", counted("gram", rotated_gram))
    monkeypatch.setattr(primitives, "cholesky", counted("cholesky", cholesky))
    nested_fits(backend.asarray(noisy(25, 2, 3)), Exponential(1.0), 3, SIZES, reg_times_n=0.1)
    assert counts == {"gram": 1, "cholesky": 1}


def test_a_shifted_factor(monkeypatch, backend):
    """The shift, here without need, is the same for all sizes: beside the trace of the smaller it is larger."""
    primitives, views = backend.primitives, backend.asarray(noisy(20, 2, 2))
    cholesky, calls = primitives.cholesky, []

    def fails_once(a):
        calls.append(cholesky(a) and bool(calls))
        return calls[-1]

    monkeypatch.setattr(primitives, "cholesky", fails_once)
    small, large = nested_fits(views, Exponential(1.0), 3, [10, 20], reg_times_n=1e-3)
    assert large.certificate.jitter > 0
    assert small.certificate.jitter == pytest.approx(2 * large.certificate.jitter)
    for fit in (small, large):
        assert_close(fit.gamma, pretrain(views[: fit.n], Exponential(1.0), 3, reg=fit.reg).gamma, tol=1e-9)


def test_views_that_are_made_and_later_samples():
    made = Views(normal((30, 3)), GaussianNoise(0.3), 2, seed=0)
    wanted = nested_fits(np.asarray(made)[:20], Exponential(1.0), 3, [6, 20], reg_times_n=0.1)
    for found, expected in zip(nested_fits(made, Exponential(1.0), 3, [6, 20], reg_times_n=0.1), wanted, strict=True):
        assert_close(found.gamma, expected.gamma, tol=1e-12)
        assert_close(found.coefficients, expected.coefficients, tol=1e-9)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"sizes": [5, 5]}, ValueError, "increasing, each once, found 5 before 5"),
        ({"sizes": [6, 5]}, ValueError, "found 6 before 5; sort them"),
        ({"sizes": []}, ValueError, "must not be empty"),
        ({"sizes": [5, 11]}, ValueError, "at most the number of samples, 10, found 11"),
        ({"sizes": [0, 5]}, ValueError, "each of sizes must be at least 1"),
        ({"sizes": [2.5]}, TypeError, "each of sizes must be an integer"),
        ({"sizes": 5}, TypeError, "sequence of integers, found 5"),
        ({"sizes": [1, 5]}, ValueError, "views of the smallest size, 2, found 3"),
        ({"reg_times_n": 0.0}, ValueError, "reg_times_n must be a finite number > 0"),
        ({"reg_times_n": "auto"}, TypeError, "reg_times_n must be a real number"),
        ({"kernel": Precomputed()}, ValueError, "found Precomputed"),
        ({"kernel": 3}, TypeError, "kernel"),
        ({"views": noisy(10, 1, 2)}, ValueError, "2 or more views"),
        ({"views": noisy(10, 2, 2)[0]}, ValueError, "3 dimensions"),
        ({"memory": 1000}, MemoryBudgetError, "budget"),
        ({"kernel": lambda x, y: -np.exp(-((x[:, None] - y) ** 2).sum(2))}, NotPositiveSemidefiniteError, "eigenvalue"),
    ],
)
def test_refused(changes, error, match):
    arguments = {"views": noisy(10, 2, 2), "kernel": Exponential(1.0), "n_components": 3, "sizes": [5, 10]}
    options = {"reg_times_n": 0.1} | changes
    for name in arguments:
        arguments[name] = options.pop(name, arguments[name])
    with pytest.raises(error, match=match):
        nested_fits(*arguments.values(), **options)


def test_refused_sizes_are_named():
    views = GaussianNoise(0.1).views(half_moons(200, seed=0), 2, seed=0)
    with pytest.raises(CertificateError, match="at 200 samples: component") as caught:
        nested_fits(views, Gaussian(1.0), 5, [100, 200], reg_times_n=4e-13)
    assert caught.value.certificate.worst > caught.value.certificate.tolerance


@pytest.mark.parametrize("sizes", [[100, 200], [50, 60, 70, 180, 190, 200]])
def test_of_two_runs_the_largest_size_is_refused(sizes, two_runs):
    views = GaussianNoise(0.1).views(half_moons(200, seed=0), 2, seed=0)
    with pytest.raises(CertificateError, match="at 200 samples: component"):
        nested_fits(views, Gaussian(1.0), 5, sizes, reg_times_n=4e-13)
