"""Fits on samples of the four domains approach the exact population (``sslcore convergence``)."""

import json

import numpy as np
import pytest

import sslcore
from sslcore import population
from sslcore.cli.main import main
from sslcore.studies import convergence
from sslcore.studies._registry import plus_minus

BLOCKS = {"cube": (1, 7), "sphere": (1, 4, 9), "torus": (1, 5, 9), "gaussian": (1, 2, 3, 4)}


@pytest.mark.parametrize("name", BLOCKS)
def test_settings_end_with_a_block(name):
    setting = convergence.settings(name)
    exact = convergence.Exact.of(setting).spectrum
    assert exact.block_ends == BLOCKS[name]
    assert exact.n_active == setting.n_components


@pytest.mark.parametrize("name", BLOCKS)
def test_errors_fall_at_the_rates_of_the_central_limit_theorem(name):
    """With 7 times the samples, errors of order n^(-1/2) fall to 0.38 and those of order 1/n to 0.14."""
    repetitions = 8 if name == "gaussian" else 3  # on the line single fits scatter most
    study = convergence.study((convergence.settings(name),), n=(64, 448), m=(2,), repetitions=repetitions, seed=1)
    title = study.settings[0].name
    for measure, expected in (("eigenvalues", 0.5), ("eigenspaces", 0.5), ("risk", 1.0)):
        mean = study.mean(title, measure)[0]
        assert mean[1] < mean[0]
        assert study.rates(title, measure)[0] == pytest.approx(expected, abs=0.3 if expected == 0.5 else 0.4)
    assert (study.errors[title]["risk"] > 0).all()  # nothing is below the minimum


def test_more_views_help_up_to_a_limit():
    study = convergence.study((convergence.settings("torus"),), n=(100,), m=(2, 8), repetitions=3)
    few, many = study.mean("torus, d = 2", "risk")[:, 0]
    assert many < few
    assert np.isnan(study.rates("torus, d = 2", "risk")).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_the_comparison_is_that_of_many_fresh_points(name):
    setting = convergence.settings(name)
    views = setting.augmentation.views(setting.sample(120, 3), 2, seed=4)
    rep = sslcore.pretrain(views, setting.kernel, setting.n_components, reg=setting.reg)
    exact = convergence.Exact.of(setting)
    fresh = setting.augmentation.views(setting.sample(30_000, 5), 2, seed=6)
    psi = rep(fresh.reshape(-1, fresh.shape[-1]))
    second = psi.T @ psi / len(psi)
    law, kernel = setting.augmentation, setting.kernel
    numbers = {"reg": setting.reg, "n_components": setting.n_components}
    if name == "gaussian":
        f = setting.domain.eigenfunctions(law, kernel, **numbers)
    else:
        f = convergence._functions(setting.domain, exact.spectrum, law, kernel, numbers)
    values = f(fresh.reshape(-1, fresh.shape[-1]))
    sines, start = [], 0
    for stop in exact.spectrum.block_ends:
        block = slice(start, stop)
        inverse = np.linalg.inv(np.linalg.cholesky(second[block, block]))
        cosines = np.linalg.svd(inverse @ psi[:, block].T @ values[:, block] / len(psi), compute_uv=False)
        sines.append(np.sqrt(1 - cosines.min() ** 2))
        start = stop
    eigenvalue, sine, risk = exact.errors(rep)
    assert sine == pytest.approx(max(sines), abs=0.02)
    assert eigenvalue == np.abs(rep.eigenvalues - exact.spectrum.eigenvalues).max()
    measured = sslcore.risk.vicreg(rep(fresh), unbiased=True)
    active = np.maximum(rep.eigenvalues, 0)
    penalised = measured + 2 * setting.reg * float(active @ rep.norms) - exact.minimum
    assert risk == pytest.approx(penalised, abs=0.06 * rep.n_components**0.5)


def test_a_collapsed_component_spans_nothing():
    setting = convergence.settings("torus")
    views = setting.augmentation.views(setting.sample(40, 0), 2, seed=0)
    rep = sslcore.pretrain(views, setting.kernel, setting.n_components, reg=0.2)
    assert rep.n_active < setting.n_components
    assert convergence.compare(rep, setting)[1] == 1.0


def test_the_study_is_repeatable_and_plain():
    one, two = (
        convergence.study((convergence.settings("cube"),), n=(30,), m=(2,), repetitions=2, seed=5) for _ in range(2)
    )
    np.testing.assert_array_equal(one.errors["cube, d = 6"]["risk"], two.errors["cube, d = 6"]["risk"])
    assert len(np.unique(one.errors["cube, d = 6"]["risk"])) == 2  # repetitions differ
    assert one.document()["domains"][0]["exact_eigenvalues"].shape == (7,)
    assert "rate" in one.table()


def test_the_errors_of_exponents_are_those_over_repetitions():
    """Errors n^-a where a is of the repetition: the same of each domain, so that domains add nothing to the error."""
    settings, n, a = convergence.SETTINGS[:2], np.array([64, 128, 256]), np.array([0.4, 0.5, 0.75])
    law = 3.0 * n[:, None] ** -a
    errors = {s.name: dict.fromkeys(convergence.MEASURES, np.stack([law, 7 * law])) for s in settings}
    made = convergence.Study(settings, tuple(n), (2, 4), errors, {}, 0, 0.0)
    np.testing.assert_allclose(made.exponents("risk"), a, rtol=1e-12)
    assert f"{plus_minus(a)}, {plus_minus(a)} and {plus_minus(a)}." in made.verdict()


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["convergence", "--domains", "torus", "gaussian", "--n", "20", "40", "--m", "2", "--repetitions", "1"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == [20, 40]
    assert [d["domain"] for d in found["domains"]] == ["Torus(d=2)", "Gaussian(d=1, scale=1.0)"]
    assert np.isfinite(found["domains"][0]["errors"]["risk"]["rate"]).all()
    png = (tmp_path / "sslcore-convergence.png").read_bytes()
    assert png[:4] == b"\x89PNG"
    assert len(png) > 20_000


def test_bad_input(capsys, tmp_path):
    for arguments, message in (
        (["--domains", "plane"], "a domain is one of cube, sphere, torus, Gaussian"),
        (["--n", "1"], "n must be at least 2"),
        (["--m", "1"], "m must be at least 2"),
        (["--repetitions", "0"], "repetitions must be at least 1"),
        (["--n", "2", "--domains", "sphere"], "must be at least as many"),
        (["-o", "a.jpg"], "must end in .png, .pdf or .svg"),
    ):
        output = [] if "-o" in arguments else ["-o", str(tmp_path / "a.png")]
        assert main(["convergence", *arguments, *output]) == 2
        assert message in capsys.readouterr().err
    assert isinstance(convergence.SETTINGS[0].domain, population.Hypercube)
