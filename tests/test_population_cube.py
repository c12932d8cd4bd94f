"""The hypercube against its oracles: the file of values, and T and K as dense matrices from the law itself."""

import collections
import functools
import itertools
import json
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore.augmentations import (
    BitFlip,
    Compose,
    Crop,
    Cutout,
    GaussianNoise,
    Mixture,
    Resample,
    Reversal,
    Shift,
    SignFlip,
)
from sslcore.kernels import (
    NNGP,
    NTK,
    ArcCosine,
    Convolutional,
    Exponential,
    Function,
    Gaussian,
    L1Exponential,
    Linear,
    Matern,
    Polynomial,
    Precomputed,
    Profile,
    registry,
)
from sslcore.population import (
    CutBlockWarning,
    Hypercube,
    Lines,
    PopulationSpectrum,
    SubsetClass,
    crop_eigenvalue_by_diameter,
)
from sslcore.population.cube_augmentations import eigenvalues
from sslcore.population.cube_classes import class_lines
from sslcore.population.cube_sets import Orbits, Sets, count_cyclic, count_frequency, count_linear, members

from . import naive

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())


def subset(key):
    return tuple(int(i) for i in re.findall(r"\d+", key))


def quietly(function, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return function(*arguments, **keywords)


# ---------------------------------------------------------------- the file of values


@pytest.mark.parametrize(("d", "width"), [(12, 8), (8, 5)])
def test_crops_of_the_page(d, width):
    cube, table = Hypercube(d), ORACLES["A"][f"crop_d{d}_w{width}"]
    sets = [subset(key) for key in table]
    space = Sets(d, sets)
    assert space.windows(width, True).tolist() == [v["Nwin"] for v in table.values()]
    for name, found in {
        "A": eigenvalues(Crop(width), space),
        "T": cube.augmentation_eigenvalues(Crop(width), sets),
        "T_lin": cube.augmentation_eigenvalues(Crop(width, cyclic=False), sets),
        "naive_T": [crop_eigenvalue_by_diameter(d, width, s) for s in sets],
    }.items():
        np.testing.assert_allclose(found, [v[name] for v in table.values()], rtol=1e-11, atol=0)


def test_flips_masks_and_shifts_of_the_page():
    a = ORACLES["A"]
    prefixes = [tuple(range(h)) for h in range(9)]
    for law, key in ((BitFlip(0.1), "flip_p0.1_T_by_h"), (Resample(0.3), "mask_p0.3_T_by_h")):
        np.testing.assert_allclose(Hypercube(9).augmentation_eigenvalues(law, prefixes), a[key], rtol=2e-11)
    for d in (8, 10, 12):
        orbits = Orbits(d)
        sizes, counts = np.unique(orbits.periods[orbits.index == 0], return_counts=True)
        found = dict(zip(map(str, sizes.tolist()), counts.tolist(), strict=True))
        assert found == a[f"orbits_d{d}_size_to_count"]
    near = Shift([1 / 3, 1 / 3, 0, 0, 0, 0, 0, 1 / 3])
    lines = Hypercube(8).lines(near, Gaussian(1.0), 1)
    of_one = lines.augmentation[[i for i, (s, _) in enumerate(lines.labels) if s == (0,)]]
    np.testing.assert_allclose(of_one, a["trans_pm1_d8_T_by_omega"], atol=1e-12)
    rounded, counts = np.unique(np.round(lines.augmentation, 10), return_counts=True)
    expected = {float(k): v for k, v in a["trans_pm1_d8_spectrum_mult"].items()}
    assert dict(zip(rounded.tolist(), counts.tolist(), strict=True)) == expected


def notebook(bias):
    """The kernel of the authors' notebook, of which no class of ours is one."""

    def function(x, y):
        s = bias + x @ y.T / x.shape[1]
        top = bias + 1.0
        for _ in range(2):
            u = np.clip(s / top, -1, 1)
            s = bias + (np.sqrt(1 - u * u) + u * (np.pi - np.arccos(u))) / np.pi / 2
            top = bias + 0.5
        return s

    return Function(function)


DOT = {
    "laplaceL2_d12_ell3.0": Exponential(3.0),
    "kappa1_d12_nu_h": ArcCosine(1) * (1 / 12),
    "nngp2_He_d12_nu_h": NNGP(2),
    "ntk1_He_d12_nu_h": NTK(1),
    "ntk2_He_d12_nu_h": NTK(2),
    "ntk3_He_d12_nu_h": NTK(3),
    "exp2_d12_nu_h": math.exp(2) * Gaussian(math.sqrt(6)),
    "notebook_L2_d12_nu_h": notebook(0.0),
    "notebook_L2_bias1_d12_nu_h": notebook(1.0),
    "kappa1_d64_nu_h": NNGP(1),
    "ntk2_He_d64_nu_h": NTK(2),
}


def test_kernels_of_the_page():
    assert set(DOT) == set(ORACLES["B_dot"])
    for key, expected in ORACLES["B_dot"].items():
        d = int(re.search(r"_d(\d+)", key)[1])
        found = Hypercube(d).kernel_eigenvalues(DOT[key])[:9]
        # the callables know their values to 1e-16 f(1) only
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=3e-17 if "notebook" in key else 0)


@pytest.mark.parametrize("key", [key for key in ORACLES["C"] if key.startswith("cropflip")])
def test_spectra_of_the_page(key):
    lam, beta = (float(x) for x in re.search(r"lam([\d.e-]+)_beta([\d.]+)_", key).groups())
    cube, law, expected = Hypercube(8), Compose(Crop(5), BitFlip(0.1)), ORACLES["C"][key]
    spectrum = quietly(cube.spectrum, law, NTK(2), reg=lam, beta=beta, n_components=8)
    np.testing.assert_allclose(spectrum.eigenvalues, expected["l"], rtol=1e-11)
    assert list(spectrum.labels) == [subset(s) for s in expected["S"]]
    assert spectrum.minimum_risk() == pytest.approx(expected["min_risk"], rel=1e-11)
    assert cube.minimum_risk(law, NTK(2), 8, reg=lam, beta=beta) == spectrum.minimum_risk()
    assert spectrum.cuts_block
    every = cube.spectrum(law, NTK(2), reg=lam, beta=beta, n_components=256)
    assert every.n_active == expected["n_pos"]


def test_blocks_and_targets_of_the_page():
    page = ORACLES["I"]
    ends = page["sorted_block_ends_d8_w5_p.1_ntk2_lam1e-4"]
    law = Compose(Crop(5), BitFlip(0.1))
    spectrum = Hypercube(8).spectrum(law, NTK(2), reg=1e-4, n_components=ends[-1]["k"])
    assert spectrum.block_ends == tuple(e["k"] for e in ends)
    found = [spectrum.eigenvalues[e["k"] - 1] for e in ends]
    np.testing.assert_allclose(found, [e["l"] for e in ends], rtol=1e-11)
    first = Hypercube(8).spectrum(law, NTK(2), reg=1e-4, n_components=9)
    target = {(): 0.3, (0, 1): math.sqrt(0.3125)} | {(i,): math.sqrt(1 / 8) for i in range(8)}
    assert first.effective_dimension(0.01) == pytest.approx(page["deff_gamma0.01_k9"], rel=1e-11)
    assert first.projection_error(target) == pytest.approx(page["proj_err_sq"], rel=1e-12)
    assert first.ridge_risk(target, 0.01) == pytest.approx(page["pop_ridge_risk_gamma0.01"], rel=1e-11)
    table = {}
    for mask in range(256):
        s = members(mask)
        key = str((int(Sets(8, [s]).windows(5, True)[0]), len(s)))
        table[key] = table.get(key, 0) + 1
    assert table == ORACLES["C"]["mult_d8_w5_by_(Nwin,h)"]


def test_interplay_of_the_page():
    """d = 12 has two regimes with the exact counts, d = 16 the three of the picture."""
    sets = [(0, 5), (0, 2, 4), (0, 1, 2, 3)]
    for d, name in ((12, "notebook_family_He_nngp2_d12_w8"), (16, "notebook_family_He_nngp2_d16_w8")):
        page, cube = ORACLES["I"][name], Hypercube(d)
        np.testing.assert_allclose(cube.augmentation_eigenvalues(Crop(8), sets), page["T"], rtol=1e-11)
        np.testing.assert_allclose(cube.kernel_eigenvalues(NNGP(2), sets), page["K"], rtol=1e-11)
    sixteen = Hypercube(16).crossings(Crop(8), NNGP(2), labels=[set(s) for s in sets])
    assert [c.reg for c in sixteen] == pytest.approx(sorted(page["cross"]), rel=1e-11)
    assert [(c.before, c.after) for c in sixteen] == [((0, 1, 2, 3), (0, 2, 4)), ((0, 2, 4), (0, 5))]
    twelve = Hypercube(12).crossings(Crop(8), NNGP(2), labels=sets)
    assert [(c.before, c.after) for c in twelve] == [((0, 1, 2, 3), (0, 5))]
    assert twelve[0].reg == pytest.approx(ORACLES["C2"]["d12_w8_He_nngp2_lambda_star_{4->2}"], rel=1e-10)
    half = Hypercube(12).crossings(Crop(8), 0.5 * NNGP(2), labels=sets)
    assert half[0].reg == pytest.approx(ORACLES["C2"]["d12_w8_notebook_scale_exact_crossing"], rel=1e-10)
    table = ORACLES["C"]["notebook_ntk_interplay"]
    for key, values in table.items():
        cube = Hypercube(12)
        assert cube.augmentation_eigenvalues(Crop(8), [subset(key)])[0] == pytest.approx(values["true_cyc_T"])
        assert crop_eigenvalue_by_diameter(12, 8, subset(key)) == pytest.approx(values["nb_eigT"])
        assert cube.kernel_eigenvalues(NNGP(2), [subset(key)])[0] == pytest.approx(values["He_nngp2_eigK"], rel=1e-11)
        assert cube.kernel_eigenvalues(0.5 * NNGP(2), [subset(key)])[0] == pytest.approx(values["nb_eigK"], rel=1e-11)
    naive_t = [crop_eigenvalue_by_diameter(12, 8, s) for s in sets]
    kappa = Hypercube(12).kernel_eigenvalues(0.5 * NNGP(2), sets)
    crossings = [(naive_t[j] - naive_t[i]) / (1 / kappa[j] - 1 / kappa[i]) for i, j in ((1, 2), (0, 1))]
    assert crossings == pytest.approx(ORACLES["C2"]["d12_w8_notebook_naive_crossings"], rel=1e-10)


# ---------------------------------------------------------------- dense matrices

PARITIES = [
    BitFlip(0.15),
    BitFlip(0.8),
    Resample(0.4),
    Crop(3),
    Crop(4),
    Crop(3, cyclic=False),
    SignFlip(0.3),
    Compose(Crop(4), BitFlip(0.1), SignFlip(0.9), Resample(0.2), Crop(3)),
    Mixture([0.2, 0.5, 0.3], [BitFlip(0.9), Crop(3), Compose(Resample(0.1), Crop(4, cyclic=False))]),
]
MOVING = [
    Shift([0.5, 0.3, 0.0, 0.2]),
    Compose(Shift([0.1, 0.9]), Crop(3), BitFlip(0.1)),
    Mixture([0.4, 0.6], [Shift([0, 0.5, 0.5]), Compose(Crop(4), Shift([0.2, 0.8]))]),
    Reversal(0.3),
    Compose(Crop(3, cyclic=False), Shift([0.6, 0.3, 0.1])),
    Compose(Shift([0.6, 0.1, 0.3]), Crop(3, cyclic=False), Reversal(0.2)),
    Mixture([0.5, 0.5], [Compose(Reversal(1), BitFlip(0.1)), Shift([0.7, 0, 0.3])]),
]
REGULAR = [Gaussian(1.3), NTK(2), 0.5 * L1Exponential(2.0) + Exponential(2.0)]


@functools.cache
def kernel_matrix(kernel, d):
    """K / 2^d on all points, by the oracle of Gram matrices."""
    return np.asarray(naive.gram(kernel, naive.cube_points(d)), float) / 2**d


def network(kernel, u):
    """NNGP and NTK by THEORY 5.1, in the precision of u."""

    def kappa0(r):
        return (mpmath.pi - mpmath.acos(r)) / mpmath.pi

    def kappa1(r):
        return (mpmath.sqrt(1 - r * r) + r * (mpmath.pi - mpmath.acos(r))) / mpmath.pi

    half, bias = mpmath.mpf(kernel.weight_variance) / 2, mpmath.mpf(kernel.bias_variance)
    sigma, diagonal = bias + half * u, bias + half
    theta = sigma
    for _ in range(kernel.depth):
        rho = sigma / diagonal
        sigma, theta = bias + half * diagonal * kappa1(rho), theta * half * kappa0(rho)
        theta, diagonal = theta + sigma, bias + half * diagonal
    return theta if type(kernel).__name__ == "NTK" else sigma


@pytest.mark.parametrize("law", PARITIES, ids=repr)
@pytest.mark.parametrize("d", [4, 6])
def test_parities_diagonalise_the_law(law, d):
    cube = Hypercube(d)
    a = naive.cube_law(law, d)
    np.testing.assert_allclose(a.sum(axis=1), 1.0)
    chi = naive.parities(d, [members(mask) for mask in range(2**d)])
    t = cube.augmentation_eigenvalues(law)
    np.testing.assert_allclose(chi.T @ (a.T @ a) @ chi / 2**d, np.diag(t), atol=1e-14)
    lines = cube.lines(law, NTK(2), 1)
    np.testing.assert_array_equal(lines.augmentation, t)
    assert [lines.labels[i] for i in range(len(lines))] == [members(mask) for mask in range(2**d)]


@pytest.mark.parametrize("law", [PARITIES[-2], PARITIES[-1], *MOVING], ids=repr)
@pytest.mark.parametrize("d", [4, 5])
def test_whole_spectrum_against_dense_eigenvalues(law, d):
    """(1 - beta) I + beta A* A - lambda K^-1, built from the law and from the Gram matrix."""
    cube, a = Hypercube(d), naive.cube_law(law, d)
    for kernel in REGULAR[:1] if d == 4 else REGULAR:
        matrix = 0.3 * np.eye(2**d) + 0.7 * a.T @ a - 1e-3 * np.linalg.inv(kernel_matrix(kernel, d))
        expected = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
        found = cube.spectrum(law, kernel, reg=1e-3, beta=0.7, n_components=2**d)
        assert found.block_ends[-1] == 2**d
        np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-11, atol=1e-12)


def test_ten_dimensions_against_the_dense_law():
    law = Compose(Crop(7), BitFlip(0.05))
    a = naive.cube_law(law, 10)
    sets = [members(m) for m in np.random.default_rng(0).choice(2**10, 12, replace=False).tolist()]
    chi = naive.parities(10, sets)
    t = Hypercube(10).augmentation_eigenvalues(law, sets)
    np.testing.assert_allclose(a.T @ (a @ chi), chi * t, atol=1e-14)


def test_fourier_functions_of_orbits():
    """The label (S, j) names the function sum_t exp(-2 pi i j t / r) chi_(S + t)."""
    d, law = 6, Compose(Shift([0.2, 0.5, 0.0, 0.3]), Crop(4), BitFlip(0.1))
    a = naive.cube_law(law, d)
    lines = Hypercube(d).lines(law, Gaussian(1.0), 1)
    assert len(set(lines.labels)) == 2**d
    for i in range(0, 2**d, 3):
        s, j = lines.labels[i]
        orbit = [s]
        while (moved := tuple(sorted((c + 1) % d for c in orbit[-1]))) != s:
            orbit.append(moved)
        psi = naive.parities(d, orbit) @ np.exp(-2j * np.pi * j * np.arange(len(orbit)) / len(orbit))
        np.testing.assert_allclose(a.T @ (a @ psi), lines.augmentation[i] * psi, atol=1e-13)


# ---------------------------------------------------------------- kernels


def exact_eigenvalues(profile, d, sizes):
    """nu_h by the sum over distances, in mpmath with digits to spare."""
    with mpmath.workdps(40 + d):
        f = [profile(mpmath.mpf(1) - mpmath.mpf(2 * j) / d) for j in range(d + 1)]
        out = []
        for h in sizes:
            krawtchouk = [
                sum((-1) ** i * math.comb(j, i) * math.comb(d - j, h - i) for i in range(min(h, j) + 1))
                for j in range(d + 1)
            ]
            total = mpmath.fsum(math.comb(d, j) * f[j] * krawtchouk[j] for j in range(d + 1))
            out.append(total / mpmath.mpf(2) ** d / math.comb(d, h))
        return out


LARGE = {  # kernel: profile of u in mpmath, d = 64, and what is allowed
    NTK(3): (lambda u: network(NTK(3), u), 1e-12),
    NNGP(2): (lambda u: network(NNGP(2), u), 1e-11),
    NTK(2, 1.5, 0.1): (lambda u: network(NTK(2, 1.5, 0.1), u), 1e-12),
    NNGP(1): (lambda u: network(NNGP(1), u), 1e-12),
    Exponential(3.0): (lambda u: mpmath.exp(-mpmath.sqrt(128 * (1 - u)) / 3), 1e-12),
    Matern(1.5, 5.0): (
        lambda u: (1 + mpmath.sqrt(3 * 128 * (1 - u)) / 5) * mpmath.exp(-mpmath.sqrt(3 * 128 * (1 - u)) / 5),
        1e-11,
    ),
    L1Exponential(4.0): (lambda u: mpmath.exp(-16 * (1 - u)), 1e-12),
    Gaussian(5.0) * Gaussian(7.0) * L1Exponential(9.0): (
        lambda u: mpmath.exp(-64 * (1 - u) * (mpmath.mpf(1) / 25 + mpmath.mpf(1) / 49 + mpmath.mpf(1) / 9)),
        1e-12,
    ),
    NTK(1) * Polynomial(2, 1.0) + 2.0 * Linear(): (
        lambda u: network(NTK(1), u) * (64 * u + 1) ** 2 + 128 * u,
        1e-12,
    ),
    ArcCosine(0): (lambda u: (mpmath.pi - mpmath.acos(u)) / mpmath.pi, 1e-12),
    ArcCosine(2): (
        lambda u: 64**2 * (3 * mpmath.sqrt(1 - u * u) * u + (mpmath.pi - mpmath.acos(u)) * (1 + 2 * u * u)) / mpmath.pi,
        1e-11,
    ),
}


@pytest.mark.parametrize("kernel", LARGE, ids=repr)
def test_relative_accuracy_for_large_sets(kernel):
    """float64's sum over distances loses everything by h = 30; these do not."""
    profile, tolerance = LARGE[kernel]
    sizes = (0, 1, 2, 3, 20, 31, 50, 64)
    found = Hypercube(64).kernel_eigenvalues(kernel)
    for h, expected in zip(sizes, exact_eigenvalues(profile, 64, sizes), strict=True):
        if abs(expected) < mpmath.mpf(10) ** -80:
            assert found[h] == 0.0, "a structural zero"
        else:
            assert abs(found[h] - expected) <= tolerance * abs(expected), h


def test_what_the_plain_sum_would_lose():
    """The documented loss of float64: 1e-6 of the value near h = 20 for ReLU kernels at d = 64."""
    d = 64
    u = 1 - 2 * np.arange(d + 1) / d
    f = (np.sqrt(1 - u * u) + u * (np.pi - np.arccos(u))) / np.pi
    krawtchouk = [sum((-1) ** i * math.comb(j, i) * math.comb(d - j, 24 - i) for i in range(25)) for j in range(d + 1)]
    counts = [math.comb(d, j) for j in range(d + 1)]
    plain = float(sum(c * v * k for c, v, k in zip(counts, f, krawtchouk, strict=True))) / 2**d / math.comb(d, 24)
    exact = float(exact_eigenvalues(lambda x: network(NNGP(1), x), d, [24])[0])
    assert abs(plain - exact) > 1e-7 * exact
    assert abs(Hypercube(d).kernel_eigenvalues(ArcCosine(1))[24] / d - exact) < 1e-12 * exact


@given(
    st.integers(1, 7),
    st.sampled_from([k for k in sorted(registry) if registry[k].__module__ == Gaussian.__module__]),
    st.integers(0, 3),
)
def test_every_declared_kernel_against_its_gram_matrix(d, name, seed):
    """nu_h = <chi_S, K chi_S> for the registry's kernels with random parameters, and their combinations."""
    rng = np.random.default_rng(seed)
    scale = float(rng.uniform(0.7, 4))
    fields = {"scale": scale, "nu": [0.5, 1.5, 2.5][seed % 3], "degree": seed + 1, "offset": scale, "order": seed % 3}
    fields |= {"depth": seed + 1, "weight_variance": 1 + scale / 3, "bias_variance": 0.1 * seed, "fan_in": scale}
    kind = registry[name]
    try:
        kernel = kind(**{f: fields[f] for f in kind.__dataclass_fields__ if f in fields})
    except (KeyError, TypeError, ValueError):
        return
    for k in (kernel, 0.5 * kernel + Gaussian(2.0), kernel * Polynomial(2, 1.0)):
        rows = sorted({0, seed % 2**d, 2**d - 1})
        gram = np.asarray(naive.gram(k, naive.cube_points(d)[rows], naive.cube_points(d)), float) / 2**d
        chi = naive.parities(d, [tuple(range(h)) for h in range(d + 1)])
        found = Hypercube(d).kernel_eigenvalues(k)
        np.testing.assert_allclose(gram @ chi, chi[rows] * found, atol=1e-13 * gram.max() * 2**d)
        assert (found >= 0).all()


def test_structural_zeros_are_exact():
    assert (Hypercube(30).kernel_eigenvalues(NTK(1))[3::2] == 0).all()
    assert (Hypercube(30).kernel_eigenvalues(ArcCosine(0))[2::2] == 0).all()
    assert (Hypercube(30).kernel_eigenvalues(Linear())[[0, *range(2, 31)]] == 0).all()
    assert np.flatnonzero(Hypercube(9).kernel_eigenvalues(Polynomial(3, 0.0))).tolist() == [1, 3]
    spectrum = Hypercube(6).spectrum(BitFlip(0.1), NTK(1), reg=1e-9, n_components=64)
    assert (spectrum.eigenvalues == -math.inf).sum() == math.comb(6, 3) + math.comb(6, 5)


def test_callables_are_found_out_by_enumeration():
    d = 7
    hamming = Function(lambda x, y: 1.0 / (1.0 + ((x[:, None] - y[None]) ** 2).sum(axis=2)))
    gram = hamming(naive.cube_points(d)) / 2**d
    chi = naive.parities(d, [tuple(range(h)) for h in range(d + 1)])
    np.testing.assert_allclose(gram @ chi, chi * Hypercube(d).kernel_eigenvalues(hamming), atol=1e-15)
    weights = np.arange(1.0, d + 1)
    product = Function(lambda x, y: np.exp((x * weights / 40) @ y.T))  # of x y, not of its sum: parities still
    sets = [(0,), (6,), (1, 2), (0, 3, 6)]
    chi = naive.parities(d, sets)
    found = Hypercube(d).kernel_eigenvalues(product, sets)
    np.testing.assert_allclose(product(naive.cube_points(d)) @ chi / 2**d, chi * found, atol=1e-14)
    with pytest.raises(ValueError, match="not a function of the Hamming distance; give the sets"):
        Hypercube(d).kernel_eigenvalues(product)
    with pytest.raises(ValueError, match="not invariant under shifts"):
        Hypercube(d).spectrum(Shift([0.5, 0.5]), product, reg=0.1, n_components=2)
    with pytest.raises(ValueError, match="several eigenvalues on an orbit"):
        Hypercube(d).spectrum(Reversal(0.5), product, reg=0.1, n_components=2)


@pytest.mark.parametrize("pooling", [None, "global", (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("law", [Compose(Crop(4), BitFlip(0.1)), Compose(Shift([0.5, 0.5]), Crop(3))], ids=repr)
def test_convolutional_kernels_against_dense_matrices(pooling, law):
    """The whole spectrum of 0.7 T + 5 K, a matrix in which a wrong pairing of eigenvalues shows; the eigenfunctions."""
    d, kernel = 6, Convolutional(NTK(2), 3, pooling)
    a, matrix = naive.cube_law(law, d), kernel(naive.cube_points(d)) / 2**d
    lines = Hypercube(d).lines(law, kernel, 1)
    dense = 0.7 * a.T @ a + 5.0 * matrix
    np.testing.assert_allclose(
        np.sort(0.7 * lines.augmentation + 5.0 * lines.kernel), np.linalg.eigvalsh(dense), atol=1e-13
    )
    f = quietly(Hypercube(d).eigenfunctions, law, kernel, reg=1e-4, n_components=6)
    values = f(naive.cube_points(d))
    np.testing.assert_allclose(matrix @ values, values * f.spectrum.kernel, atol=1e-13)
    np.testing.assert_allclose(a.T @ (a @ values), values * f.spectrum.augmentation, atol=1e-13)


def test_convolutional_kernels_of_the_page():
    page = ORACLES["B_conv"]["conv_ntk1_d12_q4"]
    kernel = Convolutional(NTK(1), 4)
    np.testing.assert_allclose(Hypercube(4).kernel_eigenvalues(NTK(1)), page["patch_nu_h"], rtol=2e-11)
    sets = [subset(key) for key in page["K_on_chiS"]]
    np.testing.assert_allclose(
        Hypercube(12).kernel_eigenvalues(kernel, sets), [*page["K_on_chiS"].values()], rtol=2e-11
    )
    both = 0.5 * kernel + NTK(2)
    expected = 0.5 * Hypercube(40).kernel_eigenvalues(kernel, sets) + Hypercube(40).kernel_eigenvalues(NTK(2), sets)
    np.testing.assert_allclose(Hypercube(40).kernel_eigenvalues(both, sets), expected, rtol=1e-14)
    by_classes = quietly(Hypercube(40).spectrum, Compose(Crop(4), BitFlip(0.1)), both, reg=1e-6, n_components=100)
    by_sets = Hypercube(40).select(Compose(Crop(4), BitFlip(0.1)), both, [(), (0,), (0, 1), (0, 2)])
    values = by_sets.values(1e-6, 1.0)
    np.testing.assert_allclose(by_classes.eigenvalues[[0, 1, 41, 81]], values, rtol=1e-12)


def test_patches_with_a_base_of_no_closed_form():
    """Unpooled they are functions of x y still, and found out by enumeration."""
    base = Function(lambda x, y: np.exp((x * np.array([0.1, 0.2, 0.4])) @ y.T))
    kernel, sets = Convolutional(base, 3), [(), (0,), (0, 1), (1, 3, 5), (2, 3, 4)]
    chi = naive.parities(6, sets)
    found = Hypercube(6).kernel_eigenvalues(kernel, sets)
    np.testing.assert_allclose(kernel(naive.cube_points(6)) @ chi / 64, chi * found, atol=1e-14)
    with pytest.raises(ValueError, match="not known to be a function"):
        Hypercube(6).spectrum(BitFlip(0.1), Convolutional(base, 3, "global"), reg=0.1, n_components=2)


def test_convolutional_kernels_refused():
    law, pooled = BitFlip(0.1), Convolutional(NTK(1), 3, "global")
    with pytest.raises(ValueError, match="patch of a convolutional kernel must be at most d = 2"):
        Hypercube(2).spectrum(law, pooled, reg=0.1, n_components=1)
    with pytest.raises(ValueError, match="filter must have at most d = 3"):
        Hypercube(3).spectrum(law, Convolutional(NTK(1), 3, [0.2] * 5), reg=0.1, n_components=1)
    for other in (Crop(3, cyclic=False), Reversal(0.2)):
        with pytest.raises(ValueError, match=r"pools.*do not commute"):
            Hypercube(5).spectrum(other, pooled, reg=0.1, n_components=1)
    with pytest.raises(ValueError, match=r"pools.*up to d = 24 only"):
        Hypercube(30).spectrum(law, pooled, reg=0.1, n_components=1)
    with pytest.raises(ValueError, match="not a function of the Hamming distance; give the sets"):
        Hypercube(5).kernel_eigenvalues(pooled)
    with pytest.raises(ValueError, match="have 2: they are enumerated"):
        Hypercube(30).spectrum(Crop(4), Convolutional(NTK(1), 3), reg=0.1, n_components=1)


# ---------------------------------------------------------------- classes


def test_counts_of_windows_against_enumeration():
    for d in (1, 2, 5, 7):
        for width in range(1, d + 1):
            for cyclic, count in ((True, count_cyclic), (False, count_linear)):
                found = {}
                for size in range(d + 1):
                    for s in itertools.combinations(range(d), size):
                        key = size, naive.windows_containing(s, d, width, cyclic)
                        found[key] = found.get(key, 0) + 1
                for size in range(d + 1):
                    for windows in range(d + 1 if cyclic else d - width + 2):
                        assert count(d, width, size, windows) == found.get((size, windows), 0)


def test_counts_of_frequencies_against_orbits():
    for d in (1, 2, 6, 8, 9):
        orbits = Orbits(d)
        for width in {1, d // 2 + 1, d - 1, d} - {0}:
            windows = orbits.windows(width, True).tolist()
            keys = zip(orbits.sizes.tolist(), windows, orbits.frequency.tolist(), strict=True)
            found = collections.Counter(keys)
            for size, windows, w in itertools.product(range(d + 1), range(d + 1), range(d)):
                assert count_frequency(d, d - width, size, windows, w) == found[size, windows, w]


SHIFTED = Mixture([0.6, 0.4], [Compose(Shift([0.5, 0.4, 0.1]), Crop(3), BitFlip(0.1)), Compose(SignFlip(0.9), Crop(3))])


@pytest.mark.parametrize("law", [SHIFTED, Compose(Shift([0.5, 0.25, 0.25]), BitFlip(0.05))], ids=repr)
@pytest.mark.parametrize("k", [1, 7, 40, 129])
def test_classes_with_shifts_agree_with_enumeration(law, k):
    every = quietly(Hypercube(8).spectrum, law, NTK(2), reg=1e-3, n_components=k)
    for hint in (1e-3, None):
        lines = class_lines(8, law, NTK(2), k, hint, 1.0)
        found = quietly(PopulationSpectrum.of, lines, k, reg=1e-3, beta=1.0)
        np.testing.assert_allclose(found.eigenvalues, every.eigenvalues, atol=1e-13)
        if hint:
            assert found.block_ends == every.block_ends
    assert len(class_lines(8, law, NTK(2), 1, 1e-3, 1.0)) < 20


@settings(max_examples=10)
@given(
    st.integers(2, 8),
    st.data(),
    st.booleans(),
    st.sampled_from([0.0, 1e-4, 1e-2]),
    st.sampled_from([0.5, 1.0]),
)
def test_classes_agree_with_enumeration(d, data, cyclic, reg, beta):
    width, k = data.draw(st.integers(1, d)), data.draw(st.integers(1, 2 ** (d - 1)))
    law = Mixture([0.7, 0.3], [Compose(Crop(width, cyclic), BitFlip(0.1)), SignFlip(0.8)])
    cube = Hypercube(d)
    every = quietly(cube.spectrum, law, NTK(2), reg=reg, beta=beta, n_components=k)
    for hint in (reg, None):
        lines = class_lines(d, law, NTK(2), k, hint, beta)
        found = quietly(PopulationSpectrum.of, lines, k, reg=reg, beta=beta)
        np.testing.assert_allclose(found.eigenvalues, every.eigenvalues, atol=1e-13)
        if hint is None:  # lines that tie with the last may be left out then
            continue
        assert found.block_ends == every.block_ends
        for label, s in zip(found.labels, every.labels, strict=True):
            if not found.cuts_block and len(set(found.eigenvalues)) == len(set(found.labels)):
                windows = Sets(d, [s]).windows(width, cyclic)[0]
                assert label == SubsetClass(len(s), None if width == d else windows)


@pytest.mark.parametrize("k", [2, 19, 22])
def test_classes_where_t_falls_while_kappa_grows(k):
    """Flips nearly certain, mixed with crops: t falls with the windows of odd sets, a patch kernel's kappa grows."""
    law, kernel = Mixture([0.5, 0.5], [BitFlip(0.95), Crop(4)]), Convolutional(NTK(2), 4) + 0.01 * NTK(2)
    lines = class_lines(7, law, kernel, k, None, 1.0)
    for reg in (0.0, *np.geomspace(1e-6, 1e-1, 40)):
        found = quietly(PopulationSpectrum.of, lines, k, reg=reg, beta=1.0)
        every = quietly(Hypercube(7).spectrum, law, kernel, reg=reg, n_components=k)
        np.testing.assert_allclose(found.eigenvalues, every.eigenvalues, rtol=1e-12)


def test_crossings_by_classes_agree_with_enumeration():
    law, k = Compose(Crop(6), BitFlip(0.05)), 150
    lines = class_lines(9, law, NNGP(2), k, None, 1.0)

    class Classes(Hypercube):
        def lines(self, *_, **__):
            return lines

    found, expected = Classes(9).crossings(law, NNGP(2), k), Hypercube(9).crossings(law, NNGP(2), k)
    assert [c.reg for c in found] == pytest.approx([c.reg for c in expected], rel=1e-12)
    assert len(found) == 7


def test_a_thousand_dimensions():
    law = Compose(Crop(400), BitFlip(0.1))
    spectrum = Hypercube(1000).spectrum(law, NTK(3), reg=1e-9, n_components=1001)
    assert spectrum.block_ends == (1, 1001)
    assert spectrum.labels[1] == SubsetClass(1, 400)
    t, kappa = (0.4 * 0.8) ** 2, Hypercube(1000).kernel_eigenvalues(NTK(3))[1]
    assert spectrum.eigenvalues[-1] == pytest.approx(t - 1e-9 / kappa, rel=1e-12)
    more = quietly(Hypercube(1000).spectrum, law, NTK(3), reg=1e-9, n_components=1002)
    assert more.labels[-1] == SubsetClass(2, 399)
    assert more.block_ends[-1] == 2001
    pair = Hypercube(1000).crossings(law, NTK(3), labels=[{0}, {0, 1}, {5, 6, 7}], n_components=3)
    assert [(c.before, c.after) for c in pair] == []  # t and kappa have the same order: nothing crosses


# ---------------------------------------------------------------- bad input


def test_bad_input():
    cube = Hypercube(8)
    for d in (0, -1, 10_001):
        with pytest.raises(ValueError, match="d must be at least 1"):
            Hypercube(d)
    with pytest.raises(TypeError, match="d must be an integer"):
        Hypercube(2.0)
    for law, message in [
        (Crop(9), "width of a crop must be at most d = 8"),
        (Shift([0.1] * 10), "law of Shift must have at most d = 8"),
        (GaussianNoise(0.1), "its views leave the cube"),
        (Cutout((2, 4), 1), "fills with a constant, so that views are not uniform"),
        (Compose(BitFlip(0.1), Cutout((2, 4), 1)), "fills with a constant"),
    ]:
        with pytest.raises(ValueError, match=message):
            cube.spectrum(law, Gaussian(1.0), reg=0.1, n_components=2)
    with pytest.raises(TypeError, match="augmentation must be one of"):
        cube.spectrum(0.1, Gaussian(1.0), reg=0.1, n_components=2)
    with pytest.raises(TypeError, match="or a callable was expected"):
        cube.spectrum(BitFlip(0.1), 3.0, reg=0.1, n_components=2)
    with pytest.raises(TypeError, match="a kernel is needed, unless lambda = 0"):
        cube.spectrum(BitFlip(0.1), None, reg=0.1, n_components=2)
    with pytest.raises(TypeError, match="a kernel is needed"):
        cube.crossings(BitFlip(0.1), None)
    assert cube.spectrum(BitFlip(0.1), None, reg=0.0, n_components=9).eigenvalues[-1] == pytest.approx(0.64)
    linear_in_w = Function(lambda x, y: (x @ np.arange(8.0))[:, None] * (y @ np.arange(8.0)))
    for kernel, message in (
        (Precomputed(), "function of the Hamming"),
        (linear_in_w, "function of the product of its"),
    ):
        with pytest.raises(ValueError, match=message):
            cube.kernel_eigenvalues(kernel)
    with pytest.raises(ValueError, match=r"up to d = 24 only \(d = 25 here\)"):
        Hypercube(25).kernel_eigenvalues(lambda x, y: x @ y.T)
    with pytest.raises(sslcore.NotPositiveSemidefiniteError, match="eigenvalue -1"):
        cube.kernel_eigenvalues(lambda x, y: -(x @ y.T) / 8 * 8)
    with pytest.raises(ValueError, match="parities are not eigenfunctions"):
        cube.augmentation_eigenvalues(Reversal(0.5))
    for sets, error, message in [
        ([{0, 8}], ValueError, "at most 7"),
        ([(0, 0)], ValueError, "each coordinate once"),
        ([3], TypeError, "a set of coordinates was expected"),
        ([(0.5,)], TypeError, "set of coordinates"),
    ]:
        with pytest.raises(error, match=message):
            cube.augmentation_eigenvalues(BitFlip(0.1), sets)
    with pytest.raises(ValueError, match="enumerated up to d = 24"):
        Hypercube(25).augmentation_eigenvalues(BitFlip(0.1))
    for law, message in [
        (Reversal(0.5), "reversed parities"),
        (Compose(Crop(3), Crop(4)), "have 2: they are enumerated"),
    ]:
        with pytest.raises(ValueError, match=message):
            Hypercube(30).spectrum(law, Gaussian(3.0), reg=0.1, n_components=2)
    with pytest.raises(ValueError, match="up to d = 20 only"):
        Hypercube(22).spectrum(Reversal(0.5), Gaussian(3.0), reg=0.1, n_components=2)
    with pytest.raises(ValueError, match="n_components must be at most 256"):
        cube.spectrum(BitFlip(0.1), Gaussian(1.0), reg=0.1, n_components=257)
    with pytest.warns(CutBlockWarning, match=r"components 2 to 9 .*\(2,\) and 7 more"):
        cube.spectrum(BitFlip(0.1), Gaussian(1.0), reg=0.0, n_components=4)


@pytest.mark.parametrize("formula", ["real(1) / t", "sqrt(real(1) - t)", "exp(t * t * t)"])
def test_a_formula_without_values_on_the_cube(formula):
    """A pole at equal points, or elsewhere no value: no eigenvalues, and no warnings."""

    @dataclass(frozen=True)
    class _Own(Profile):
        pair = "sqdist"
        expression: str

        @property
        def formula(self):
            return self.expression

    with pytest.raises(ValueError, match="on the cube are not finite"):
        Hypercube(9).kernel_eigenvalues(_Own(formula))


def test_a_profile_that_is_no_power_series():
    """A declared kernel with a negative coefficient is not positive semi-definite; one of no known name works."""

    @dataclass(frozen=True)
    class Cauchy(Profile):
        pair = "sqdist"
        formula = "real(1) / (real(1) + t)"

    @dataclass(frozen=True)
    class Wrong(Profile):
        pair = "dot"
        formula = "real(1) - t * t"

    @dataclass(frozen=True)
    class Even(
        Profile
    ):  # u^2 - u^4/4 and a constant: fine for d = 5, where the parities of 4 have a positive eigenvalue
        pair = "sqdist"
        u = "(real(1) - t / real(10))"
        formula = f"real(1) + {u} * {u} * (real(1) - real(0.25) * {u} * {u} * (real(1) - real(0.9) * {u} * {u}))"

    try:
        found = Hypercube(5).kernel_eigenvalues(Even())
        expected = exact_eigenvalues(lambda u: 1 + u**2 - u**4 / 4 + mpmath.mpf("0.225") * u**6, 5, range(6))
        np.testing.assert_allclose(found, [float(e) for e in expected], atol=1e-15)
        assert (found[1::2] == 0).all()
        gram = 1 / (1 + ((naive.cube_points(6)[:, None] - naive.cube_points(6)) ** 2).sum(axis=2)) / 64
        chi = naive.parities(6, [tuple(range(h)) for h in range(7)])
        np.testing.assert_allclose(gram @ chi, chi * Hypercube(6).kernel_eigenvalues(Cauchy()), atol=1e-15)
        with pytest.raises(sslcore.NotPositiveSemidefiniteError):
            Hypercube(6).kernel_eigenvalues(Wrong())
    finally:
        registry.pop("Cauchy")
        registry.pop("Wrong")
        registry.pop("Even")


def test_lines_can_be_shared(tmp_path):
    """Lines of 2^d functions hold one array of ones for all multiplicities, and names that are made when asked for."""
    lines = Hypercube(16).lines(BitFlip(0.1), Gaussian(1.0), 1)
    assert isinstance(lines, Lines)
    assert lines.multiplicity.strides == (0,)
    assert lines.total == 2**16
