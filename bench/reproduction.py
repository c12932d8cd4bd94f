"""The numbers of the authors' code beside ours: ``python -m bench.reproduction`` measures, and writes the page's table.

Each row computes one quantity twice on the same data: by the published formulas in plain dense linear algebra, written
down here from the paper and from the facts of its scripts (T and lambda as they count them), and by our call.  No line
of the authors' code is here: it is licensed CC BY-NC.  The errors go to bench/results/reproduction.json, and from there
to docs/reproduction.md between two marks; with names of rows, these alone are measured again.
tests/test_reproduction.py measures the rows on small sizes.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.spatial

import sslcore
from sslcore import datasets, diagnostics, kernels, population, positives
from sslcore.augmentations import Crop, GaussianNoise
from sslcore.features import Nystrom
from sslcore.probing import ridge_probe

from .reproduction_curves import (
    Errors,
    contours,
    dense,
    label_curves,
    label_parts,
    relative,
    sphere_printed,
    trained_networks,
)

RESULTS = Path(__file__).parent / "results" / "reproduction.json"
PAGE = Path(__file__).parents[1] / "docs" / "reproduction.md"
MARKS = ("<!-- the table of python -m bench.reproduction -->", "<!-- end of the table -->")


@dataclass(frozen=True)
class Row:
    """One quantity of the authors' repository.

    Attributes
    ----------
    quantity, source, call : str
        What it is, in which of their files, and which call of ours gives it.
    measure : callable
        From the size ("small" or "full") to the errors by name.
    """

    quantity: str
    source: str
    call: str
    measure: Callable[[str], Errors]


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference of functions (n, k) up to signs, relative to their largest value."""
    signs = np.sign((ours * theirs).sum(axis=0))
    return float(np.abs(ours * signs - theirs).max() / np.abs(theirs).max())


# ---------------------------------------------------------------- half-moons


def half_moons(size: str) -> Errors:
    """Pretraining and downstream errors, lambda_ref = 1e-3, T_ref = kron(I, ones(2, 2))."""
    n = 60 if size == "small" else 500
    views = np.asarray(GaussianNoise(0.1).views(datasets.half_moons(n, seed=0), 2, seed=1))
    flat = views.reshape(2 * n, 2)
    kernel = kernels.Exponential(0.2)
    gram = np.exp(-scipy.spatial.distance.cdist(flat, flat) / 0.2)
    values, _, solved = dense(np.kron(np.eye(n), np.ones((2, 2))), gram, 1e-3, 5)
    rep = sslcore.pretrain(views, kernel, 5, reg=1e-3 / (2 * 2 * n), unbiased=False)

    new, test = datasets.half_moons(400, seed=2), datasets.half_moons(500, seed=3)
    chosen = datasets.half_moons_probabilities(new)
    labels = (np.random.default_rng(4).random((400, 1)) > chosen.cumsum(axis=1)).sum(axis=1)
    target = datasets.half_moons_probabilities(test)

    def errors(z: np.ndarray, fit: Callable[..., np.ndarray]) -> tuple[float, float]:
        answer = fit(z[:400], np.eye(4)[labels], z[400:])
        best = target.max(axis=1) - target[np.arange(500), answer.argmax(axis=1)]
        return float(((answer - target) ** 2).sum(axis=1).mean()), float(best.mean())

    places = np.concatenate([new, test])
    published = np.exp(-scipy.spatial.distance.cdist(places, flat) / 0.2) @ solved * np.sqrt(2 * n)
    ours = rep.transform(places, scale="unit")
    one = errors(published, lambda z, y, at: at @ scipy.linalg.lstsq(z, y)[0])
    two = errors(ours, lambda z, y, at: ridge_probe(z, y, 0.0, fit_intercept=False).predict(at))
    return {
        "mu": float(np.abs(rep.eigenvalues - values / 2).max()),
        "functions": apart(ours, published),
        "squared error": relative(two[0], one[0]),
        "excess 0-1 error": abs(two[1] - one[1]),
    }


def capacity(size: str) -> Errors:
    """Costs at lambda_ref = 1e-10 and 1e-20, beside 60 digits: float64 has no digits of K^-1 there."""
    import mpmath

    n = 5 if size == "small" else 12
    views = np.asarray(GaussianNoise(0.1).views(datasets.half_moons(n, seed=0), 2, seed=1))
    flat = views.reshape(2 * n, 2)
    found: Errors = {}
    with mpmath.workdps(60):
        gram = mpmath.matrix(2 * n, 2 * n)
        for i, a in enumerate(flat.tolist()):
            for j, b in enumerate(flat.tolist()):
                square = sum((mpmath.mpf(s) - mpmath.mpf(t)) ** 2 for s, t in zip(a, b, strict=True))
                gram[i, j] = mpmath.exp(-square / mpmath.mpf("0.1"))
        scaled = gram / (2 * n)
        inverse = scaled**-1
        for lambda_ref in (1e-10, 1e-20):
            whole = -mpmath.mpf(lambda_ref) * inverse
            for i in range(2 * n):
                for j in (i, i ^ 1):
                    whole[i, j] += 1
            values = mpmath.eigsy((whole + whole.T) / 2, eigvals_only=True)
            gamma = [float(1 - v / 2) for v in sorted(values, reverse=True)[:5]]
            rep = sslcore.pretrain(views, kernels.Gaussian(0.05**0.5), 5, reg=lambda_ref / 2, unbiased=False)
            found[f"1 - mu at {lambda_ref:.0e}"] = relative(rep.gamma, gamma)
    return found


# ---------------------------------------------------------------- downstream trade-off


def trade_off(size: str) -> Errors:
    """Curves of the invariant and the other target: T_ref = kron(ones - I, I), K + 1e-4 I, 20 lambdas, 10 penalties."""
    n, rest = (60, 100) if size == "small" else (300, 1700)
    lambdas = np.logspace(-2, 1.2, 20)[:: 6 if size == "small" else 1]
    penalties = np.logspace(-5, 0, 10)
    x = datasets.sphere(n + rest, 8, seed=0)
    views = np.stack([np.roll(x[:n], shift, axis=1) for shift in (0, 1, -1)], axis=1)
    targets = [np.mean([x[:, a] for a in (0, 1, 7)], axis=0) * 6, np.mean([_third(x[:, a]) for a in range(8)], axis=0)]

    smooth = kernels.Polynomial(1, 1.0) * kernels.ArcCosine(1)
    flat = np.concatenate([views[:, j] for j in range(3)])  # view-major, as theirs
    gram = _kernel(flat, flat) + 1e-4 * np.eye(3 * n)
    t_ref = np.kron(np.ones((3, 3)) - np.eye(3), np.eye(n))
    worst = {"mu": 0.0, "errors": 0.0}
    for lambda_ref in lambdas:
        values, _, solved = dense(t_ref, gram, lambda_ref, 20)
        published = _kernel(x, flat) @ solved[:, values > 0]
        reg = lambda_ref / (2 * 3 * n)
        rep = sslcore.pretrain(views, smooth + kernels.Nugget(1e-4), 20, reg=reg)
        ours = smooth(x, rep.centres) @ rep.coefficients[:, : rep.n_active] / np.sqrt(3 * n)
        worst["mu"] = max(worst["mu"], float(np.abs(rep.eigenvalues - values / 2).max()))
        for y in targets:
            curves = []
            for z, own in ((published, False), (ours, True)):
                curves.append([_probe_error(z, y, n, r, own) for r in penalties])
            worst["errors"] = max(worst["errors"], relative(curves[1], curves[0]))
    return worst


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u = np.clip(x @ y.T, -1.0, 1.0)
    return (1 + u) * (np.sqrt(1 - u * u) + u * (np.pi - np.arccos(u))) / np.pi


def _third(t: np.ndarray) -> np.ndarray:
    """Return the Gegenbauer polynomial of degree 3 and index 3: C_3 = 4 a (a+1) ((a+2) 2 t^3 - 3 t) / 6, a = 3."""
    a = 3.0
    return 2 * a * (a + 1) * (2 * (a + 2) * t**3 - 3 * t) / 3


def _probe_error(z: np.ndarray, y: np.ndarray, n: int, r: float, own: bool) -> float:
    """Return the error of the probe with the matrix phi^T phi + n r I, relative to the target's mean square."""
    if own:
        answer = ridge_probe(z[:n], y[:n], r, fit_intercept=False).predict(z[n:])
    else:
        phi = z[:n]
        answer = z[n:] @ np.linalg.solve(phi.T @ phi + n * r * np.eye(phi.shape[1]), phi.T @ y[:n])
    return float(np.mean((answer - y[n:]) ** 2) / np.mean(y[n:] ** 2))


# ---------------------------------------------------------------- interplay


def toy_lines(size: str) -> Errors:
    """Crossings 1 and 2 of the three lines, and the picture of T, K and T_lambda on a grid of modes."""
    t, kappa = population.Eigenvalues([0.9, 0.75, 0.5]), population.Eigenvalues([1 / 0.4, 1 / 0.25, 1 / 0.125])
    crossings = population.Modes(3).crossings(t, kappa)
    modes = [(w, h) for h in range(1, 9) for w in range(1, 16)]
    image = population.Modes(modes).lines(
        population.Eigenvalues({(w, h): np.exp(-0.005 * w * w - 0.01 * h * h) for w, h in modes}),
        population.Eigenvalues({(w, h): h / 7 for w, h in modes}),
        len(modes),
    )
    w, h = np.array(modes).T
    published = np.exp(-0.005 * w * w - 0.01 * h * h) - 0.1 * 7 / h
    return {
        "crossings": relative([c.reg for c in crossings], [1.0, 2.0]),
        "images": float(np.abs(np.maximum(image.values(0.1, 1.0), 0) - np.maximum(published, 0)).max()),
    }


def cube(size: str) -> Errors:
    """Eigenvalues of the depth-2 network kernel by enumeration of the cube, d = 12; crops by enumeration of windows."""
    d = 10 if size == "small" else 12
    sets = [(0, 5), (0, 2, 4), (0, 1, 2, 3)]
    heads = np.array([[1.0 if n >> i & 1 == 0 else -1.0 for i in range(d)] for n in range(2**d)])
    u = heads.mean(axis=1)

    def layer(rho: np.ndarray) -> np.ndarray:
        rho = np.clip(rho, -1.0, 1.0)
        return (np.sqrt(1 - rho * rho) + rho * (np.pi - np.arccos(rho))) / np.pi

    published = [float((layer(layer(u)) * heads[:, list(s)].prod(axis=1)).mean()) for s in sets]
    space = population.Hypercube(d)
    width = 8
    count = [sum(all((i - start) % d < width for i in s) for start in range(d)) for s in sets]
    quoted = [((width + 1 - span) / d) ** 2 for span in (6, 5, 4)]
    return {
        "K": relative(space.kernel_eigenvalues(kernels.NNGP(2), sets), published),
        "T, windows counted": relative(space.augmentation_eigenvalues(Crop(width), sets), (np.array(count) / d) ** 2),
        "T, by the diameter": relative([population.crop_eigenvalue_by_diameter(d, width, s) for s in sets], quoted),
    }


# ---------------------------------------------------------------- T given as a matrix


def sphere(size: str) -> Errors:
    """Costs on a grid of the sphere, T of smoothed shifts, at each lambda_ref > 0, beside 60 digits."""
    import mpmath

    side = 3 if size == "small" else 5
    longitude, latitude = np.meshgrid(
        np.linspace(0, 2 * np.pi, side, endpoint=False), (np.arange(side) + 0.5) / side * np.pi
    )
    x = np.stack(
        [np.sin(latitude) * np.cos(longitude), np.sin(latitude) * np.sin(longitude), np.cos(latitude)], axis=-1
    ).reshape(-1, 3)
    t = sum(
        np.exp(-5 * scipy.spatial.distance.cdist(np.roll(x, a, 1), np.roll(x, b, 1), "sqeuclidean"))
        for a in range(3)
        for b in range(3)
    )
    t = (t + t.T) / 18
    n, worst = len(x), 0.0
    gram = kernels.Gaussian(2.5**0.5)
    with mpmath.workdps(60):
        exact = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                pairs = zip(x[i].tolist(), x[j].tolist(), strict=True)
                square = sum((mpmath.mpf(p) - mpmath.mpf(q)) ** 2 for p, q in pairs)
                exact[i, j] = mpmath.exp(-square / 5)
        inverse = exact**-1
        for lambda_ref in (0.1, 1.0, 10.0, 100.0):
            whole = mpmath.matrix(t.tolist()) - lambda_ref * inverse
            values = mpmath.eigsy((whole + whole.T) / 2, eigvals_only=True)
            mu = [float(v) for v in sorted(values, reverse=True)[:4]]
            rep = sslcore.pretrain(x, gram, 4, reg=lambda_ref / n, positives=positives.Operator(t))
            worst = max(worst, relative(rep.eigenvalues, mu))
    return {"mu": worst}


def label_graph(size: str) -> Errors:
    """Pairs inside unequal classes, with pairs that are missing and pairs that are wrong."""
    n = 60 if size == "small" else 300
    rng = np.random.default_rng(0)
    x = datasets.half_moons(n, seed=0)
    labels = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    known = labels.copy()
    wrong = rng.permutation(n)[: n // 10]
    known[wrong] = rng.integers(0, 4, len(wrong))
    joint = (known[:, None] == known).astype(float)
    missing = np.triu(rng.random((n, n)) < 0.3, 1)
    joint[missing | missing.T] = 0.0
    kernel = kernels.Exponential(0.2)
    gram = np.exp(-scipy.spatial.distance.cdist(x, x) / 0.2)
    values, vectors, _ = dense(joint, gram, 1e-3, 5)  # their T: the matrix of known pairs itself
    rep = sslcore.pretrain(x, kernel, 5, reg=1e-3 / n, positives=positives.Operator(joint))
    return {
        "mu": relative(rep.eigenvalues, values),
        "functions": apart(rep.transform(x, scale="unit"), vectors * np.sqrt(n)),
    }


# ---------------------------------------------------------------- kernel ridge regression


def kernel_ridge(size: str) -> Errors:
    """Kernel ridge regression (K + n lambda I)^-1 y, by features of all points and the ridge probe."""
    n = 100 if size == "small" else 1000
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 1))
    y = np.abs(x[:, 0]) + 0.01 * rng.standard_normal(n)
    at = np.linspace(-1, 1, 500)[:, None]
    found: Errors = {}
    for name, kernel in (("Gaussian", kernels.Gaussian(0.1 / 2**0.5)), ("exponential", kernels.Exponential(0.1))):
        features = Nystrom(kernel, x)
        for lam in (1e-2, 1e-5, 1e-8):
            plain = kernel(at, x) @ scipy.linalg.solve(kernel(x) + n * lam * np.eye(n), y, assume_a="pos")
            ours = ridge_probe(features(x), y, lam, fit_intercept=False).predict(features(at))
            found[f"{name}, lambda {lam:.0e}"] = float(np.abs(ours - plain).max() / np.abs(plain).max())
    return found


def effective_dimension(size: str) -> Errors:
    """tr K (K + lambda)^-1, and of its square, on points of the interval, over scales and lambdas of the picture."""
    n = 150 if size == "small" else 1000
    x = np.linspace(-1, 1, n)[:, None]
    worst = {1: 0.0, 2: 0.0}
    for scale in np.logspace(np.log10(0.05), np.log10(5), 4):
        kernel = kernels.Gaussian(scale / 2**0.5)
        published = scipy.linalg.eigvalsh(np.exp(-scipy.spatial.distance.cdist(x, x, "sqeuclidean") / scale**2) / n)
        phi = Nystrom(kernel, x)(x)
        ours = scipy.linalg.eigvalsh(phi.T @ phi / n)
        for lam in np.logspace(-8, 0, 5):
            for power, largest in worst.items():
                one = float(((published / (published + lam)) ** power).sum())
                worst[power] = max(largest, relative(diagnostics.effective_dimension(ours, lam, power=power), one))
    return {"tr": worst[1], "of squares, tr": worst[2]}


ROWS = {
    "half_moons": Row(
        "half-moons: pretraining, and errors of a least-squares probe against the class probabilities",
        "ssl_interplay/controlled_rates_calculation.py, controlled_setup.ipynb",
        "`pretrain(views, Exponential(0.2), 5, reg=lambda_ref / (2 N), unbiased=False)`, "
        '`ridge_probe(rep.transform(x, scale="unit"), one_hot, 0, fit_intercept=False)`',
        half_moons,
    ),
    "contours": Row(
        "half-moons: contours of squared and excess 0-1 error over 6 x 8 sizes from 30 to 1,000",
        "ssl_interplay/controlled_rates_calculation.py, controlled_results_display.ipynb",
        "`learning_curves(half_moons, Exponential(0.2), 5, target=half_moons_probabilities, "
        'kind="probabilities", ...)`; '
        "50 x 100 sizes: `sslcore study halfmoons --full`",
        contours,
    ),
    "capacity": Row(
        "too small a lambda, 1e-10 and 1e-20",
        "ssl_interplay/capacity_issue.ipynb",
        "the same with `Gaussian(0.05 ** 0.5)` and `reg=lambda_ref / 2`; `sslcore study capacity`",
        capacity,
    ),
    "trade_off": Row(
        "downstream trade-off: two targets over 20 lambdas and 10 penalties",
        "ssl_interplay/downstream_trade_off.ipynb",
        "`pretrain(views, Polynomial(1, 1.0) * ArcCosine(1) + Nugget(1e-4), 20, reg=lambda_ref / (2 N))`, "
        "`ridge_probe`; the smooth part of the kernel at the raw points",
        trade_off,
    ),
    "networks": Row(
        "networks trained by gradients: 50 epochs of a full batch of 3,300 views, width 200, in float32",
        "ssl_interplay/nn_downstream_trade_off.ipynb",
        '`sslcore.torch.vicreg` as `studies.networks.loss(z, "published")` calls it; theirs by hand, in float64',
        trained_networks,
    ),
    "toy_lines": Row(
        "interplay: three commuting lines; images of T, K and T_lambda",
        "ssl_interplay/figures/interplay.ipynb, eigval.ipynb",
        "`population.Modes(3).crossings(Eigenvalues(t), Eigenvalues(kappa))`, `.lines(...).values(reg, beta)`; "
        "`sslcore study interplay`",
        toy_lines,
    ),
    "cube": Row(
        "interplay on the cube: eigenvalues of the network kernel and of crops",
        "ssl_interplay/ntk_interplay.ipynb",
        "`Hypercube(d).kernel_eigenvalues(NNGP(2), sets)` (their kernel is half of it), "
        "`.augmentation_eigenvalues(Crop(8), sets)`, `crop_eigenvalue_by_diameter`",
        cube,
    ),
    "sphere": Row(
        "eigenfunctions on the sphere, T of smoothed shifts given as a matrix",
        "ssl_interplay/sphere_minimal.ipynb",
        "`pretrain(x, Gaussian(2.5 ** 0.5), 8, reg=lambda_ref / N, positives=positives.Operator(T))`",
        sphere,
    ),
    "sphere_printed": Row(
        "the same on the grid of 50 x 50, beside what the notebook printed (at 100: dense algebra on the range of K)",
        "ssl_interplay/sphere_minimal.ipynb",
        "the same, k = 8; `sslcore study sphere --full`",
        sphere_printed,
    ),
    "label_graph": Row(
        "label graphs with unequal classes, missing and noisy pairs",
        "active_ssl/*.ipynb",
        "`pretrain(x, Exponential(0.2), 5, reg=lambda_ref / N, positives=positives.Operator(T))`",
        label_graph,
    ),
    "label_curves": Row(
        "curves of test errors: interpolation between the graphs of views and labels, missing and noisy pairs, queries",
        "active_ssl/interpolation.ipynb, missing_entries.ipynb, noise.ipynb, contrastive.ipynb, active.ipynb",
        "the same at each T, then `ridge_probe(z, one_hot, 0, fit_intercept=False)`",
        label_curves,
    ),
    "label_parts": Row(
        "connected components of a label graph with missing pairs, of 20 shares",
        "active_ssl/missing_entries.ipynb",
        "`positives.Operator(T).law(x).n_parts`",
        label_parts,
    ),
    "kernel_ridge": Row(
        "kernel ridge regression (curves over n, sigma and lambda)",
        "samples_for_smoothness/rates_experiments.py",
        "`ridge_probe(phi(x), y, lambda, fit_intercept=False)`, `phi = Nystrom(Gaussian(sigma / 2 ** 0.5), x)`",
        kernel_ridge,
    ),
    "effective_dimension": Row(
        "effective dimension, and that of squares, over sigma and lambda",
        "samples_for_smoothness/plots/effective_dimension.py",
        "`diagnostics.effective_dimension(eigenvalues, lambda)`, of the squares with `power=2`",
        effective_dimension,
    ),
}


def table(results: dict[str, Errors]) -> str:
    """Write the rows with the measured errors, each rounded up to one digit."""
    lines = ["| quantity | their file | our call | largest difference |", "|---|---|---|---|"]
    for name, row in ROWS.items():
        errors = "; ".join(f"{key} {rounded(value)}" for key, value in results[name].items())
        lines.append(f"| {row.quantity} | {row.source} | {row.call} | {errors} |")
    return "\n".join(lines)


def rounded(value: float) -> str:
    """Write a bound of one digit: 3.2e-13 is 4e-13."""
    if value == 0:
        return "0"
    power = int(np.floor(np.log10(value)))
    digit = int(np.ceil(value / 10.0**power * (1 - 1e-9)))
    return f"{digit}e{power:+03d}" if digit < 10 else f"1e{power + 1:+03d}"


def page_with(text: str, results: dict[str, Errors]) -> str:
    """Return the page with the table of these results between its marks."""
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}"


def main(names: Sequence[str] = ()) -> None:
    """Measure all rows, or those of these names beside what is kept of the others, and write the table."""
    results: dict[str, Errors] = json.loads(RESULTS.read_text(encoding="utf-8"))["errors"] if names else {}
    for name, row in ROWS.items():
        if name in (names or ROWS):
            results[name] = row.measure("full")
            print(name, {key: rounded(value) for key, value in results[name].items()}, flush=True)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"sslcore": sslcore.__version__, **versions, "errors": results}, indent=1) + "\n")
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
