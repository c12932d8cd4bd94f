"""Two modalities: fits to pairs against dense algebra, canonical correlations, files, searches, and bad input."""

import dataclasses
import itertools
import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore.backends import device_of, get_backend
from sslcore.features import Identity, Nystrom
from sslcore.fitting import bimodal
from sslcore.fitting.codec import write_values
from sslcore.fitting.modalities import KernelPairProblem
from sslcore.fitting.pairs import as_training_data
from sslcore.fitting.search import make_folds
from sslcore.kernels import Exponential, Gaussian, Linear, Polynomial, Precomputed
from sslcore.selection import AutoReg
from sslcore.solvers.objective import Objective

from . import naive
from .comparators import assert_close
from .test_certificate import PAIRS, REGS

BOTH = Gaussian(1.0), Gaussian(2.0)
LINEAR = Identity(), Identity()
WHAT = "kernels", "features"


def pairs(n=20, seed=0, d=(3, 4)):
    """Points of two modalities that share two coordinates, one of them bent."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 2))
    x = np.hstack([z, rng.standard_normal((n, d[0] - 2))])
    y = np.hstack([np.sin(z), rng.standard_normal((n, d[1] - 2))])
    return x, y


LANDMARKS = Nystrom(Gaussian(1.0), pairs(9)[1])


def vectors(rep, weight):
    """Unit vectors P^(1/2) (f, g) of the functions at the training pairs."""
    p = np.asarray(weight) / np.sum(weight)
    root = np.sqrt(p / 2)[:, None]
    return np.concatenate([root * rep.first.values, root * rep.second.values])


# ---------------------------------------------------------------- against dense algebra


@given(
    st.sampled_from([0.0, 0.7, 1.0, 1.5]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(1.0, 1.0), (1e4, 1.0), (1e-4, 1.0)]),
    st.integers(2, 20),
    st.integers(0, 100),
)
def test_kernels_are_solved_as_dense_algebra_does(beta, unbiased, center, weighted, scales, n, seed):
    x, y = pairs(n, seed)
    kernels = [scale * kernel for scale, kernel in zip(scales, BOTH, strict=True)]
    weight = np.random.default_rng(seed).uniform(0.3, 3.0, n) if weighted else np.ones(n)
    reg, k = 1e-2 * max(scales), min(3, 2 * n - 2)
    rep = sslcore.pretrain(
        (x, y), tuple(kernels), k, reg=reg, beta=beta, unbiased=unbiased, center=center, sample_weight=weight
    )
    grams = [naive.gram(kernel, part) for kernel, part in zip(BOTH, (x, y), strict=True)]
    grams = [scale * gram for scale, gram in zip(scales, grams, strict=True)]
    mu, v = naive.two_modalities(*grams, weight, reg=reg, beta=beta, unbiased=unbiased, center=center)
    present = rep.certificate.rank
    scale = 1.0 + float(np.abs(mu[:present]).max())
    assert_close(rep.eigenvalues[:present], mu[:present], tol=1e-8, scale=scale)
    assert_close(
        1 - rep.beta * rep.invariance[:present] - reg * rep.norms[:present],
        mu[:present],
        tol=1e-8,
        scale=scale,
    )
    if present == k and k < len(mu) and mu[k - 1] - mu[k] > 1e-3 * scale:
        found = vectors(rep, weight)
        assert_close(found @ found.T, v[:, :k] @ v[:, :k].T, tol=1e-6)
    size = max(float(np.abs(side.values).max()) for side in (rep.first, rep.second))
    for side, part in ((rep.first, x), (rep.second, y)):
        assert_close(side.transform(part, scale="unit"), side.values, tol=1e-7, scale=size)
        if center:  # an intercept for each modality
            mean = (weight / weight.sum()) @ side.values
            assert_close(mean, np.zeros(k), tol=1e-8, scale=size)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("models", ["kernels", "features"])
def test_both_backends(backend, models, center):
    x, y = pairs(24)
    model = BOTH if models == "kernels" else (Identity(), Nystrom(Gaussian(1.0), y[:8]))
    host = sslcore.pretrain((x, y), model, 3, reg=1e-2, center=center)
    there = tuple(map(backend.asarray, (x, y)))
    rep = sslcore.pretrain(there, model, 3, reg=1e-2, center=center)
    assert_close(rep.gamma, host.gamma, tol=1e-9)
    for ours, values in zip(rep(there), host((x, y)), strict=True):
        assert_close(backend.asnumpy(ours), values, tol=1e-7)
    assert_close(backend.asnumpy(rep.embedding[1]), host.embedding[1], tol=1e-7)
    # NumPy's arrays taken there come back
    taken = sslcore.pretrain((x, y), model, 3, reg=1e-2, center=center, backend=backend.name)
    assert device_of(taken.first.coefficients) == "numba"
    assert_close(taken.gamma, host.gamma, tol=1e-9)


@pytest.mark.parametrize(("beta", "center", "weighted"), [(1.0, True, True), (0.7, False, False), (0.0, True, False)])
def test_without_the_matrices(backend, beta, center, weighted):
    x, y = (backend.asarray(part) for part in pairs(30))
    weight = np.linspace(1.0, 2.0, 30) if weighted else None
    options = {"reg": 1e-2, "beta": beta, "center": center, "sample_weight": weight}
    expected = sslcore.pretrain((x, y), BOTH, 3, solver="dense", **options)
    found = sslcore.pretrain((x, y), BOTH, 3, solver="matrix-free", **options)
    assert "matrix-free" in found.certificate.algorithm
    assert_close(found.gamma, expected.gamma, tol=1e-9)
    assert_close(found.invariance, expected.invariance, tol=1e-7)  # its residuals are held to no more
    for one, other in zip(found((x[:5], y[5:10])), expected((x[:5], y[5:10])), strict=True):
        one, other = backend.asnumpy(one), backend.asnumpy(other)
        assert_close(one @ one.T, other @ other.T, tol=1e-6)
    for side, name in ((found.first, "x"), (found.second, "y")):
        assert_close(backend.asnumpy(side.embedding), backend.asnumpy(side(x if name == "x" else y)), tol=1e-6)


def test_progress_without_the_matrices():
    told = []
    options = {"reg": 1e-2, "solver": "matrix-free"}
    found = sslcore.pretrain(pairs(30), BOTH, 3, progress=lambda *where: told.append(where), **options)
    done = [where[0] for where in told]
    assert done == [*range(1, done[-1] + 1), done[-1]]
    assert told[-1][3]["outer"] == found.certificate.iterations
    assert np.array_equal(found.gamma, sslcore.pretrain(pairs(30), BOTH, 3, **options).gamma)


@pytest.mark.parametrize(
    ("model", "solver", "found"),
    [
        (LINEAR, "matrix-free", "features"),
        (LINEAR, "dense", "features"),
        ((Precomputed(), BOTH[1]), "matrix-free", "Precomputed"),
        ((BOTH[0], Precomputed()), "matrix-free", "Precomputed"),
        (Identity(), "matrix-free", "features"),
        (LINEAR[0], "dense", "features"),
        (Precomputed(), "matrix-free", "Precomputed"),
    ],
)
def test_a_solver_that_no_fit_takes_has_no_plan(model, solver, found):
    parts = model if isinstance(model, tuple) else (model,)
    widths = tuple(100 // len(parts) if isinstance(part, Precomputed) else 3 for part in parts)
    d = widths if isinstance(model, tuple) else widths[0]
    with pytest.raises(ValueError, match=f"is for kernels, found {found}.*leave solver alone"):
        sslcore.plan(50, 2, d, model, 2, solver=solver)
    assert sslcore.plan(50, 2, d, model, 2).bytes > 0


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
def test_a_search_and_a_path_without_the_matrices():
    x, y = pairs(24)
    options = {"reg": AutoReg(regs=(1e-1, 1e-2), n_folds=3), "center": True}
    found, expected = (sslcore.pretrain((x, y), BOTH, 2, solver=name, **options) for name in ("matrix-free", "dense"))
    assert_close(found.selection.risks, expected.selection.risks, tol=1e-7)
    found, expected = (
        sslcore.pretrain_path((x, y), BOTH, 2, regs=[1e-2, 1e-1], center=True, solver=name)
        for name in ("matrix-free", "dense")
    )
    assert_close(found.eigenvalues, expected.eigenvalues, tol=1e-8)


def test_float32():
    x, y = (part.astype(np.float32) for part in pairs(40))
    rep = sslcore.pretrain((x, y), BOTH, 3, reg=1e-2, center=True)
    assert rep.first.values.dtype == rep((x, y))[1].dtype == np.float32
    exact = sslcore.pretrain((x.astype(float), y.astype(float)), BOTH, 3, reg=1e-2, center=True)
    assert_close(rep.eigenvalues, exact.eigenvalues, tol=1e-4)


@pytest.mark.parametrize("center", [False, True])
def test_matrices_are_kernels(center):
    x, y = pairs()
    grams = tuple(kernel(part) for kernel, part in zip(BOTH, (x, y), strict=True))
    rep = sslcore.pretrain((x, y), BOTH, 3, reg=1e-2, center=center)
    given_both = sslcore.pretrain(grams, (Precomputed(), Precomputed()), 3, reg=1e-2, center=center)
    given_one = sslcore.pretrain((grams[0], y), (Precomputed(), BOTH[1]), 3, reg=1e-2, center=center)
    own = sslcore.pretrain((x, y), (lambda a, b: a @ b.T, Linear()), 3, reg=1e-2, center=center)
    linear = sslcore.pretrain((x, y), (Linear(), Linear()), 3, reg=1e-2, center=center)
    for other, same in ((given_both, rep), (given_one, rep), (own, linear)):
        assert_close(other.gamma, same.gamma, tol=1e-9)
    new = pairs(5, seed=3)[0]
    assert_close(given_one.transform((BOTH[0](new, x), None)), rep.transform((new, None)), tol=1e-7)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_features_are_linear_kernels(center, unbiased, beta):
    x, y = pairs(30)
    weight = np.linspace(1.0, 2.0, 30)
    numbers = {"reg": 1e-2, "beta": beta, "unbiased": unbiased, "center": center, "sample_weight": weight}
    features = sslcore.pretrain((x + 3.0, y), (Identity(), Identity()), 3, **numbers)
    kernels = sslcore.pretrain((x + 3.0, y), (Linear(), Linear()), 3, **numbers)
    assert_close(features.gamma, kernels.gamma, tol=1e-9)
    assert_close(features.norms, kernels.norms, tol=1e-7)
    signs = np.sign((features.first.embedding * kernels.first.embedding).sum(axis=0))
    for ours, theirs in zip(features.embedding, kernels.embedding, strict=True):
        assert_close(ours * signs, theirs, tol=1e-6)
    weights, intercept = features.second.linear_head()
    assert_close(y @ weights.T + intercept, features.embedding[1], tol=1e-10)


def test_one_pass_by_blocks_and_from_a_memory_map(tmp_path, monkeypatch):
    from sslcore.fitting import modalities

    x, y = pairs(50)
    whole = sslcore.pretrain((x, y), (Identity(), Identity()), 2, reg=1e-3, center=True)
    monkeypatch.setattr(modalities, "fitting_rows", lambda *_: 7)
    maps = []
    for name, part in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", part)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    blocks = sslcore.pretrain(tuple(maps), (Identity(), Identity()), 2, reg=1e-3, center=True)
    assert_close(blocks.gamma, whole.gamma, tol=1e-11)


def test_the_risk_is_that_of_the_embedding():
    """The minimum is the risk of psi with its norm: biased VICReg at 2 beta, since T is of distinct views."""
    x, y = pairs(25)
    for model, beta in ((BOTH, 1.0), ((Identity(), Identity()), 0.6)):
        rep = sslcore.pretrain((x, y), model, 3, reg=1e-2, beta=beta)
        z = np.stack(rep.embedding, axis=1)
        norm = (np.maximum(rep.eigenvalues, 0) * rep.norms).sum()
        assert_close(np.array(sslcore.risk.vicreg(z, 2 * beta) + 2 * rep.reg * norm), np.array(rep.risk), tol=1e-9)


# ---------------------------------------------------------------- canonical correlations


def test_linear_cca():
    x, y = pairs(60)
    rep = sslcore.pretrain((x, y), (Identity(), Identity()), 3, reg=0, center=True)
    assert_close(rep.canonical_correlations(), naive.linear_cca(x, y), tol=1e-10)
    assert_close(rep.canonical_correlations(), rep.eigenvalues, tol=1e-12)
    biased = sslcore.pretrain((x, y), (Identity(), Identity()), 3, reg=0, center=True, unbiased=False, beta=0.5)
    assert_close(biased.canonical_correlations(), rep.canonical_correlations(), tol=1e-10)
    measured = [np.corrcoef(rep.first(x)[:, i], rep.second(y)[:, i])[0, 1] for i in range(3)]
    assert_close(np.array(measured), rep.canonical_correlations(), tol=1e-10)
    scikit = pytest.importorskip("sklearn.cross_decomposition")
    u, v = scikit.CCA(3, tol=1e-12, max_iter=10_000).fit_transform(x, y)
    theirs = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(3)]
    assert_close(rep.canonical_correlations(), np.array(theirs), tol=1e-6)


@pytest.mark.parametrize("beta", [0.6, 1.0])
@pytest.mark.parametrize("unbiased", [False, True])
def test_each_component_is_a_pair_of_kernel_cca(beta, unbiased):
    """Of that with its own kappa = 2 reg / (mu - 1 + beta'), beta' = beta, or half of it: one of its correlations."""
    x, y = pairs(30)
    rep = sslcore.pretrain((x, y), BOTH, 4, reg=1e-3, beta=beta, unbiased=unbiased, center=True)
    weight = beta if unbiased else beta / 2
    for i, rho in enumerate(rep.canonical_correlations()):
        kappa = 2 * rep.reg / (rep.eigenvalues[i] - 1 + weight)
        assert_close(rho, naive.kernel_cca(BOTH[0](x), BOTH[1](y), len(x) * kappa)[i], tol=1e-8)


def test_without_pairs_there_are_none():
    rep = sslcore.pretrain(pairs(), BOTH, 2, reg=1e-2, beta=0)
    with pytest.raises(ValueError, match="at beta = 0 the pairs play no part"):
        rep.canonical_correlations()


# ---------------------------------------------------------------- paths, searches, files


@pytest.mark.parametrize("model", [BOTH, (Identity(), Identity())], ids=["kernels", "features"])
def test_a_path_has_the_fits(model):
    x, y = pairs(30)
    path = sslcore.pretrain_path((x, y), model, 3, regs=[1e-3, 1e-2, 0.1], betas=[0.5, 1.0], center=True)
    for (i, reg), (j, beta) in itertools.product(enumerate(path.regs), enumerate(path.betas)):
        alone = sslcore.pretrain((x, y), model, 3, reg=reg, beta=beta, center=True)
        assert_close(path.at(i, j).gamma, alone.gamma, tol=1e-8)
        assert_close(path.at(i, j)((x, None)), alone((x, None)), tol=1e-5)
        assert path.at(i, j).center
    assert set(path.regimes.flat) <= {"augmentation", "interplay", "architecture"}
    assert "Gaussian" in path.summary() or "Identity" in path.summary()


@pytest.mark.parametrize("model", [BOTH, (Identity(), LANDMARKS)], ids=["kernels", "features"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
def test_a_search_holds_pairs_out(model, weighted):
    x, y = pairs(24)
    weight = np.linspace(1.0, 2.0, 24) if weighted else None
    search = AutoReg(regs=(1e-1, 1e-2, 1e-3), n_folds=3)
    rep = sslcore.pretrain((x, y), model, 2, reg=search, center=True, sample_weight=weight)
    part = make_folds(np.full(24, 2), search, False).part
    for i, reg in enumerate(rep.selection.regs):
        risks = []
        for f in range(3):
            kept, held = part != f, part == f
            own = None if weight is None else weight[kept]
            fit = sslcore.pretrain((x[kept], y[kept]), model, 2, reg=float(reg), center=True, sample_weight=own)
            z = np.stack(fit((x[held], y[held])), axis=1).reshape(-1, 2)
            theirs = np.repeat(np.ones(24) if weight is None else weight, 2).reshape(24, 2)[held].ravel()
            risks.append(naive.held_out_risk(z, np.repeat(np.arange(held.sum()), 2), theirs, 1.0))
        assert_close(rep.selection.risks[i], np.mean(risks), tol=1e-7)
    assert rep.reg == rep.selection.regs[np.argmin(rep.selection.risks)]
    assert rep.summary().count("reg") > 1


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
def test_a_search_with_matrices_is_that_with_their_kernels(given):
    x, y = pairs(24)
    search = AutoReg(regs=(1e-1, 1e-2, 1e-3), n_folds=3)
    expected = sslcore.pretrain((x, y), BOTH, 2, reg=search, center=True)
    data = tuple(kernel(part) if g else part for kernel, part, g in zip(BOTH, (x, y), given, strict=True))
    models = tuple(Precomputed() if g else kernel for kernel, g in zip(BOTH, given, strict=True))
    found = sslcore.pretrain(data, models, 2, reg=search, center=True)
    assert_close(found.selection.risks, expected.selection.risks, tol=1e-10)
    assert_close(found.gamma, expected.gamma, tol=1e-10)


@pytest.mark.parametrize("model", [BOTH, LINEAR], ids=WHAT)
def test_a_report_looks_at_both_modalities(model):
    """As of the members of a pair as two views; and a modality that has collapsed alone is said."""
    x, y = pairs(30)
    rep = sslcore.pretrain((x, y), model, 3, reg=1e-3, center=True)
    both = np.stack(rep.embedding, axis=1)
    report = sslcore.diagnostics.collapse_report(rep)
    assert report.n_active == rep.n_active
    assert "between the members of a pair" in str(report)
    assert_close(sslcore.diagnostics.rankme(rep), sslcore.diagnostics.rankme(both), tol=1e-12)
    unit = np.stack([part / rep._scale() for part in rep.embedding], axis=1)
    assert_close(sslcore.diagnostics.invariance(rep), sslcore.diagnostics.invariance(unit), tol=1e-9)
    flat = dataclasses.replace(
        rep, second=dataclasses.replace(rep.second, values=0 * both[:, 1] + np.arange(30)[:, None], training=None)
    )
    assert sslcore.diagnostics.collapse_report(flat).verdict == "partial collapse"


def same(first, second):
    """Refuse unless two representations have the same numbers and functions."""
    assert (first.gamma == second.gamma).all()
    assert (first.reg, first.beta, first.unbiased, first.center) == (
        second.reg,
        second.beta,
        second.unbiased,
        second.center,
    )
    assert repr(first.model) == repr(second.model)
    x, y = pairs(7, seed=5)
    for a, b in zip(first((x, y)), second((x, y)), strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("model", [BOTH, (Identity(), Nystrom(Gaussian(1.0), 8))], ids=["kernels", "features"])
@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
def test_files(tmp_path, model):
    rep = sslcore.pretrain(pairs(), model, 2, reg=AutoReg(regs=(1e-1, 1e-2), n_folds=2), center=True)
    rep = dataclasses.replace(rep, notes={"made of": "pairs"})
    rep.save(tmp_path / "pairs")
    loaded = sslcore.load(tmp_path / "pairs")
    same(loaded, rep)
    assert loaded.notes == rep.notes
    assert loaded.selection.reg == rep.selection.reg
    assert loaded.certificate.as_dict() == rep.certificate.as_dict()
    same(sslcore.BimodalRepresentation.load(tmp_path / "pairs"), rep)
    rep.first.save(tmp_path / "side")
    x, _ = pairs(7, seed=5)
    assert (sslcore.load(tmp_path / "side")(x) == rep((x, None))).all()
    with pytest.raises(ValueError, match="holds no representation"):
        sslcore.Representation.load(tmp_path / "pairs")


def content_of(rep):
    """What a file holds."""
    shared = {name: getattr(rep, name) for name in (*bimodal._SHARED, "selection", "notes")}
    return shared | {side: {name: getattr(getattr(rep, side), name) for name in bimodal._OWN} for side in SIDES}


SIDES = "first", "second"


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.pop("gamma"),
        lambda c: c.update(more=1),
        lambda c: c.update(first=[1, 2]),
        lambda c: c["second"].pop("intercept"),
        lambda c: c["second"].update(model=Identity(), n_coordinates=4, centres=None, values=None),
        lambda c: c["first"].update(centres=c["first"]["centres"][1:]),
        lambda c: c["first"].update(coefficients=np.full_like(c["first"]["coefficients"], np.nan)),
        lambda c: c.update(gamma=c["gamma"][::-1] * 1e3),
        lambda c: c.update(certificate=None),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    content = content_of(sslcore.pretrain(pairs(), BOTH, 2, reg=1e-2))
    write_values(tmp_path / "good", "modalities", content)
    assert sslcore.load(tmp_path / "good").n_components == 2
    damage(content)
    write_values(tmp_path / "bad", "modalities", content)
    with pytest.raises(ValueError, match="bad holds no"):
        sslcore.load(tmp_path / "bad")


def test_flipped_bytes_are_refused_or_nothing(tmp_path):
    rep = sslcore.pretrain(pairs(), BOTH, 2, reg=1e-2)
    rep.save(tmp_path / "whole")
    whole, rng = (tmp_path / "whole").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        (tmp_path / "changed").write_bytes(bytes(changed))
        try:
            same(sslcore.load(tmp_path / "changed"), rep)
        except ValueError:
            refused += 1
    assert refused > 50


def test_what_it_says():
    rep = sslcore.pretrain(pairs(), BOTH, 2, reg=1e-2)
    assert "positive pairs of two modalities" in rep.summary()
    assert "two modalities, contrast Cholesky" in rep.summary(brief=True)
    assert repr(rep).startswith("BimodalRepresentation(2 components, 2 active")
    assert rep.as_dict()["certificate"]["rank"] == 2
    assert rep.to("numba").first is rep.first
    assert "first" in rep.first.summary()


# ---------------------------------------------------------------- memory


def test_the_plan_bounds_the_memory():
    x, y = pairs(700)
    for model in (BOTH, (Identity(), Identity())):
        data = as_training_data((x, y), model, None, None, None, Objective(3, 1e-3, 1.0, True, True))
        problem = sslcore.fitting.posing.pose(model, data, Objective(3, 1e-3, 1.0, True, True), get_backend(x), 10**9)
        sslcore.pretrain((x, y), model, 3, reg=1e-3, center=True)  # compile
        tracemalloc.start()
        sslcore.pretrain((x, y), model, 3, reg=1e-3, center=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= problem.plan.bytes <= 3 * peak + 3e6, (peak, problem.plan.bytes)


def planned_bytes(x, y, model, **numbers):
    objective = Objective(3, 1e-3, 1.0, True, True)
    data = as_training_data((x, y), model, None, None, None, objective)
    return sslcore.fitting.posing.pose(model, data, objective, get_backend(x), 10**10, **numbers).plan.bytes


@pytest.mark.filterwarnings("ignore::sslcore.errors.SelectionWarning")
@pytest.mark.parametrize(("n", "d", "model", "count"), [(400, 3, BOTH, 20), (20_000, 50, LINEAR, 2)], ids=WHAT)
def test_the_plan_bounds_the_memory_of_a_search(n, d, model, count):
    """One fold at a time, and a few values of reg at a time."""
    x, y = pairs(n, d=(d, d))
    y = y + np.random.default_rng(0).standard_normal(y.shape)
    planned = planned_bytes(x, y, model, n_folds=3)
    search = AutoReg(regs=tuple(np.logspace(-3, 0, count)), n_folds=3)
    sslcore.pretrain((x[:200], y[:200]), model, 3, reg=search, center=True)  # compile
    tracemalloc.start()
    sslcore.pretrain((x, y), model, 3, reg=search, center=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= planned <= 3 * peak + 3e6, (peak, planned)


def test_a_search_of_features_copies_the_pairs_of_a_fold():
    x, y = pairs(20_000)
    assert planned_bytes(x, y, LINEAR, n_folds=3) > planned_bytes(x, y, LINEAR) + x.nbytes + y.nbytes


def test_a_budget_is_kept():
    x, y = pairs(300)
    with pytest.raises(sslcore.MemoryBudgetError, match="use fewer pairs, or features of both modalities"):
        sslcore.pretrain((x, y), BOTH, 2, reg=1e-2, memory="1MB")
    with pytest.raises(sslcore.MemoryBudgetError, match="this features fit"):
        sslcore.pretrain((x, y), (Identity(), Identity()), 2, reg=1e-2, memory="10kB")


# ---------------------------------------------------------------- bad input

X, Y = pairs()


@pytest.mark.parametrize(
    ("pair", "model", "more", "error", "message"),
    [
        ((X, Y[:-1]), BOTH, {}, ValueError, "must be as many, found 20 and 19"),
        ((X, Y), Gaussian(1.0), {}, TypeError, "need a model each"),
        ((X, Y), (Gaussian(1.0),), {}, TypeError, "need two models, .* found 1"),
        ((X, Y), (Gaussian(1.0), Identity()), {}, TypeError, "two kernels or two features"),
        ((X, Y), (Gaussian(1.0), "linear"), {}, TypeError, "kernel"),
        ((X, None), BOTH, {}, TypeError, "found None"),
        ((X, Y, X), BOTH, {}, TypeError, "found a tuple of 3"),
        (X, BOTH, {}, TypeError, "found ndarray"),
        ((X, Y[:, 0]), BOTH, {}, ValueError, "y must have 2 dimensions"),
        ((X, Y), BOTH, {"positives": sslcore.positives.TimeLag(1)}, ValueError, "leave positives= out"),
        ((X, Y), BOTH, {"groups": np.arange(20)}, ValueError, "leave groups= out"),
        ((X, Y), LINEAR, {"solver": "dense"}, ValueError, "is for kernels, found features"),
        ((X @ X.T, Y), (Precomputed(), BOTH[1]), {"solver": "matrix-free"}, ValueError, "found Precomputed, whose"),
        ((X, np.where(Y > 1, np.nan, Y)), BOTH, {}, ValueError, "y must be finite, found nan"),
        ((X, np.where(Y > 1, np.inf, Y)), (Identity(), Identity()), {}, ValueError, "y must be finite, found inf"),
        ((X, np.ones_like(Y)), BOTH, {}, ValueError, "y is constant"),
        ((X, np.ones_like(Y)), (Identity(), Identity()), {"center": True}, ValueError, "second modality are constant"),
        ((X, Y), BOTH, {"n_components": 41}, ValueError, "at most the number of points of both modalities, 40"),
        ((X, Y), (Identity(), Identity()), {"n_components": 8}, ValueError, "at most the number of features of both"),
        ((X, Y), BOTH, {"reg": 0.0}, ValueError, "reg must be"),
        ((X, Y), BOTH, {"sample_weight": np.ones(40)}, ValueError, "sample_weight must have shape"),
        ((X, Y), BOTH, {"sample_weight": np.zeros(20)}, ValueError, "sample_weight must be positive"),
        ((X, Y), (Precomputed(), BOTH[1]), {}, ValueError, "x must be the Gram matrix of its n = 20 points"),
        ((X, Y), (BOTH[0], lambda a, b: -(a @ b.T)), {}, sslcore.NotPositiveSemidefiniteError, "of modality y"),
        ((X, Y + 1e9), (BOTH[0], Linear()), {"center": True}, ValueError, "of modality y: .*subtract their mean"),
        ((X, Y * 1e200), (BOTH[0], Linear()), {}, ValueError, "of modality y: .*overflow"),
        ((X[:3], Y[:3]), BOTH, {"reg": "auto"}, ValueError, "at least 4"),
        ((X, sslcore.Views(Y, sslcore.augmentations.GaussianNoise(1.0), 2, 0)), BOTH, {}, TypeError, "found Views"),
    ],
)
def test_what_is_refused(pair, model, more, error, message):
    options = {"n_components": 2, "reg": 1e-2} | more
    with pytest.raises(error, match=message):
        sslcore.pretrain(pair, model, **options)


@pytest.mark.parametrize("pair", [X, (X,), (None, None), [X, Y], (X, Y, X)])
def test_a_pair_is_a_tuple(pair):
    rep = sslcore.pretrain((X, Y), (Linear(), Linear()), 2, reg=1e-2)
    with pytest.raises(TypeError, match=r"hand over the modalities as \(x, y\)"):
        rep.transform(pair)
    with pytest.raises(ValueError, match="coordinates"):
        rep.transform((Y, None))


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("kernels", [(Gaussian(1.0), Exponential(0.3)), (Linear(), Gaussian(5.0))], ids=repr)
def test_at_the_edge_of_rounding_fits_are_right_or_refused(kernels, reg):
    """In 70 digits, with one modality much heavier than the other: points that know which one they are of."""
    x, y = pairs(7, d=(3, 3))
    x = x * 1e3
    tagged = [[float(tag), *row] for pair in zip(x, y, strict=True) for tag, row in enumerate(pair)]
    first, second = (PAIRS[type(kernel)](kernel) for kernel in kernels)

    def pair(a, b):
        if a[0] != b[0]:
            return mpmath.mpf(0)
        return first(a[1:], b[1:]) if a[0] == 0 else second(a[1:], b[1:])

    try:
        rep = sslcore.pretrain((x, y), kernels, 3, reg=reg)
    except sslcore.CertificateError:
        assert reg < 1e-3
        return
    numbers = {"reg": reg, "beta": 1.0, "unbiased": True, "center": False}
    gamma, invariance, norms, _ = naive.pretrain_exactly(pair, tagged, np.repeat(np.arange(7), 2), [], 3, **numbers)
    tol, rank = rep.certificate.tolerance, rep.certificate.rank
    assert (gamma[rank:3] > 1).all()
    assert (np.abs(rep.gamma / gamma[:3] - 1)[:rank] <= 3 * tol).all()
    assert (np.abs(rep.norms / norms[:3] - 1)[:rank] <= 3 * tol**0.5).all()
    assert (np.abs(rep.invariance - invariance[:3])[:rank] <= 3 * tol * gamma[:rank]).all()


@pytest.mark.parametrize("reg", [1e-6, 1e-9])
@pytest.mark.parametrize("first", [Gaussian(20.0), Polynomial(2, 30.0)], ids=repr)
def test_functions_have_their_values_at_small_reg(first, reg):
    """The kernel is nearly constant, and coefficients of sum 0 to rounding would take that up 1 / reg times."""
    x, y = pairs(40)
    rep = sslcore.pretrain((x, y), (first, Exponential(5.0)), 3, reg=reg, center=True)
    for side, part in ((rep.first, x), (rep.second, y)):
        assert_close(side.transform(part, scale="unit"), side.values, tol=1e-7)


@pytest.mark.parametrize("scale", [5.0, 10.0])
def test_rounding_is_estimated_of_what_was_centred(scale):
    """Nearly constant kernels lose digits when they are centred, of which residuals know nothing."""
    x, y = (part.astype(np.float32) for part in pairs(60))
    kernels = Gaussian(scale), Gaussian(scale)
    exact = sslcore.pretrain((x.astype(float), y.astype(float)), kernels, 3, reg=1e-3, center=True)
    rep = sslcore.pretrain((x, y), kernels, 3, reg=1e-3, center=True)
    errors = np.abs(rep.gamma / exact.gamma - 1)
    certificate = rep.certificate
    assert (errors <= certificate.rounding_errors).all(), (errors, certificate.rounding_errors)
    assert (certificate.rounding_errors <= certificate.tolerance).all()


def test_what_is_solved_is_a_problem_of_pairs():
    """A plan of the kernels takes two squares, and less time than both modalities as one."""
    data = as_training_data((X, Y), BOTH, None, None, None, Objective(3, 1e-2, 1.0, True, False))
    problem = KernelPairProblem(BOTH, data, Objective(3, 1e-2, 1.0, True, False), get_backend(X), 10**9)
    assert problem.plan.flops > 0
    assert problem.plan.algorithm == "exact"
