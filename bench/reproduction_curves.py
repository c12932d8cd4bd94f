"""Curves and pictures of the authors' code beside ours: rows of `bench.reproduction` that need many fits.

As there: each row computes one thing twice on the same data, by the published formulas in plain dense linear algebra,
written down from the paper and the facts of its scripts, and by our call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.spatial

import sslcore
from sslcore import datasets, kernels, positives
from sslcore.augmentations import GaussianNoise
from sslcore.probing import learning_curves, ridge_probe
from sslcore.studies import networks, sphere
from sslcore.studies.downstream import TARGETS
from sslcore.studies.halfmoons import log_sizes, published_reg

Errors = dict[str, float]


def dense(t: np.ndarray, k: np.ndarray, lambda_ref: float, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first eigenvalues and unit eigenvectors of T_ref - lambda_ref K^-1, and K^-1 times these."""
    inverse = scipy.linalg.inv(k)
    n = len(t)
    values, vectors = scipy.linalg.eigh(
        t - lambda_ref * 0.5 * (inverse + inverse.T), subset_by_index=[n - count, n - 1]
    )
    vectors = vectors[:, ::-1]
    return values[::-1], vectors, scipy.linalg.solve(k, vectors, assume_a="pos")


def relative(ours: Any, theirs: Any) -> float:
    """Return the largest relative difference."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    return float((np.abs(ours - theirs) / np.abs(theirs)).max())


# ---------------------------------------------------------------- contours of the half-moons


def contours(size: str) -> Errors:
    """Squared and excess 0-1 error over both numbers of samples, a fit and a probe at a time on the draws of ours."""
    if size == "small":
        samples, labels, repetitions, n_test = (20, 40), (30, 60), (2, 2), 60
    else:
        samples, labels, repetitions, n_test = log_sizes(6), log_sizes(8), (2, 5), 500
    found = learning_curves(
        datasets.half_moons,
        kernels.Exponential(0.2),
        5,
        target=datasets.half_moons_probabilities,
        kind="probabilities",
        augmentation=GaussianNoise(0.1),
        pretraining_sizes=samples,
        downstream_sizes=labels,
        repetitions=repetitions,
        n_test=n_test,
        reg=published_reg,
        unbiased=False,
        workers=0,
    )
    errors = np.zeros((2, len(samples), len(labels)))
    for r in range(repetitions[0]):
        x, test = (datasets.half_moons(n, _seed(r, key)) for n, key in ((samples[-1], 0), (n_test, 2)))
        views = np.asarray(GaussianNoise(0.1).views(x, 2, seed=_seed(r, 1))).reshape(-1, 2)
        drawn = [_labelled(labels[-1], r, s) for s in range(repetitions[1])]
        for p, n in enumerate(samples):
            gram = _exponential(views[: 2 * n], views[: 2 * n], 0.2)
            solved = dense(np.kron(np.eye(n), np.ones((2, 2))), gram, 1e-3, 5)[2]
            at_test = _exponential(test, views[: 2 * n], 0.2) @ solved
            for new, answers in drawn:
                phi = _exponential(new, views[: 2 * n], 0.2) @ solved
                for j, count in enumerate(labels):
                    weights = scipy.linalg.lstsq(phi[:count], answers[:count])[0]
                    errors[:, p, j] += _both_errors(at_test @ weights, datasets.half_moons_probabilities(test))
    errors /= repetitions[0] * repetitions[1]
    return {
        "squared error": relative(found.mean["squared"], errors[0]),
        "excess 0-1 error": float(np.abs(found.mean["zero_one"] - errors[1]).max()),
    }


def _seed(*key: int) -> int:
    """Return the seed that `learning_curves` documents for one purpose, at its seed 0."""
    return int(np.random.SeedSequence(0, spawn_key=key).generate_state(1, np.uint64)[0])


def _labelled(n: int, repetition: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points, and one label of each from the probabilities of its classes."""
    x = datasets.half_moons(n, _seed(repetition, 3, draw))
    u = np.random.default_rng(_seed(repetition, 4, draw)).uniform(size=(n, 1))
    classes = (datasets.half_moons_probabilities(x).cumsum(axis=1)[:, :3] <= u).sum(axis=1)
    return x, np.eye(4)[classes]


def _both_errors(answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    excess = target.max(axis=1) - target[np.arange(len(target)), answer.argmax(axis=1)]
    return np.array([((answer - target) ** 2).sum(axis=1).mean(), excess.mean()])


def _exponential(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    found: np.ndarray = np.exp(-scipy.spatial.distance.cdist(x, y) / scale)
    return found


# ---------------------------------------------------------------- curves over label graphs


def label_curves(size: str) -> Errors:
    """Test errors along the curves of four notebooks: interpolated graphs, missing pairs, noisy labels, queries."""
    share = 0.2 if size == "small" else 1.0
    found: Errors = {"0-1 error": 0.0}
    for name, curve in CURVES.items():
        rng = np.random.default_rng(0)
        worst = 0.0
        for x, t, scale in curve(rng, share):
            angle, circle = np.modf(np.arange(1000) * 4 / 1000)
            test = (1 + circle[:, None]) * np.stack([np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)], axis=1)
            hot = np.eye(4)[circle.astype(int)]
            plain = _exponential(test, x, scale) @ dense(t, _exponential(x, x, scale), 1e-3, 5)[2]
            rep = sslcore.pretrain(x, kernels.Exponential(scale), 5, reg=1e-3 / len(x), positives=positives.Operator(t))
            z = rep.transform(test, scale="unit")
            ours = ridge_probe(z, hot, 0.0, fit_intercept=False).predict(z)
            theirs = plain @ np.linalg.solve(plain.T @ plain, plain.T @ hot)
            worst = max(worst, relative(((ours - hot) ** 2).mean(), ((theirs - hot) ** 2).mean()))
            wrong = [float((answer.argmax(axis=1) != circle).mean()) for answer in (ours, theirs)]
            found["0-1 error"] = max(found["0-1 error"], abs(wrong[0] - wrong[1]))
        found[f"{name}, squared error"] = worst
    return found


Steps = Iterator[tuple[np.ndarray, np.ndarray, float]]
"""Points, T and the scale of the kernel, along a curve."""


def _circles(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of four circles of radius 1 to 4, and the circles' numbers."""
    circle, angle = rng.integers(0, 4, n), 2 * np.pi * rng.random(n)
    return (1 + circle[:, None]) * np.stack([np.cos(angle), np.sin(angle)], axis=1), circle


def _interpolation(rng: np.random.Generator, share: float) -> Steps:
    """T = (1 - alpha) (pairs of views) + alpha (pairs of the same label), labels at one view of each sample."""
    n = int(200 * share)
    x, circle = _circles(rng, n)
    x = np.repeat(x, 2, axis=0) + 0.1 * rng.standard_normal((2 * n, 2))
    known = np.zeros((2 * n, 4))
    for step, i in enumerate(rng.permutation(n)):
        if step % (n // 10) == 0:
            for alpha in (0.5, 1e-3, 1e-6):
                yield x, (1 - alpha) * np.kron(np.eye(n), np.ones((2, 2))) + alpha * known @ known.T, 1.0
        known[2 * i, circle[i]] = 1.0


def _missing(rng: np.random.Generator, share: float) -> Steps:
    """T = pairs of the same label, each missing with probability p, from 1/2 to 1."""
    n = int(100 * max(share, 0.5))
    x, circle = _circles(rng, n)
    for p in np.linspace(0.5, 1.0, 20)[:: 1 if share == 1 else 6]:
        t = (circle[:, None] == circle).astype(float)
        lost = np.triu(rng.random((n, n)) < p)
        t[lost | lost.T] = 0.0
        yield x, t, 0.2


def label_parts(size: str) -> Errors:
    """Parts of the label graph that do not touch as pairs go missing: of the law, and by walks from point to point."""
    worst = 0
    for x, t, _ in _missing(np.random.default_rng(0), 0.5 if size == "small" else 1.0):
        left, walks = set(range(len(t))), 0
        while left:
            walks, reached = walks + 1, {left.pop()}
            while reached:
                near = set(np.flatnonzero(t[reached.pop()]).tolist()) & left
                left, reached = left - near, reached | near
        worst = max(worst, abs(positives.Operator(t).law(x).n_parts - walks))
    return {"number": float(worst)}


def _noisy(rng: np.random.Generator, share: float) -> Steps:
    """T = 1 for pairs of the same label and -1 for all others, where more and more labels are drawn anew."""
    n = int(300 * share)
    x, circle = _circles(rng, n)
    order, other = rng.permutation(n), rng.integers(0, 4, n)
    for end in range(n // 10, n + 1, n // 10):
        label = circle.copy()
        label[order[:end]] = other[order[:end]]
        yield x, 2.0 * (label[:, None] == label) - 1.0, 0.2


def _queries(rng: np.random.Generator, share: float) -> Steps:
    """T from queries "are these ten points of this class?": 1 for known pairs, -1 for pairs known to differ, I before.

    The class is the one asked least; each answer tells all pairs that follow from it.
    """
    n, rounds = int(300 * share), int(80 * share)
    x, circle = _circles(rng, n)
    truth = 2.0 * (circle[:, None] == circle) - 1.0
    t, known, asked = np.eye(n), np.zeros(n, bool), np.zeros((n, 4), bool)
    known[[int(np.argmax(circle == c)) for c in range(4)]] = True
    for step in range(rounds):
        if step % (rounds // 8) == 0:
            yield x, t.copy(), 0.2
        c = int(asked.sum(axis=0).argmin())
        left = np.flatnonzero(~known & ~asked[:, c])
        some = rng.choice(left, min(10, len(left)), replace=False)
        known[some[circle[some] == c]] = True
        t[np.ix_(known, known)] = truth[np.ix_(known, known)]
        inside, outside = np.flatnonzero(known & (circle == c)), some[circle[some] != c]
        t[np.ix_(inside, outside)] = t[np.ix_(outside, inside)] = -1.0
        asked[known], asked[some, c] = True, True


CURVES = {"interpolation": _interpolation, "missing": _missing, "noisy": _noisy, "queries": _queries}


# ---------------------------------------------------------------- networks


def trained_networks(size: str) -> Errors:
    """Loss and errors of the probe along training, beside forward and backward passes written out in float64.

    The study trains in float32, as the notebook does: differences are of its rounding, and grow along training.
    """
    width, n, n_points, epochs = (24, 30, 100, 20) if size == "small" else (200, 300, 2000, 50)
    settings = {"seed": 0, "n": n, "n_points": n_points, "width": width, "epochs": epochs, "operator": "published"}
    found = networks.training(settings, 0)
    one, two = (int(word) for word in np.random.SeedSequence(0, spawn_key=(0,)).generate_state(2))
    x = datasets.sphere(n_points, 8, seed=one)
    y = np.stack([target(x) for target in TARGETS], axis=1)
    weights = [p.detach().double().numpy() for p in networks.network(two, width).parameters()]
    batch = np.stack([np.roll(x[:n], shift, axis=1) for shift in range(-5, 6)]).reshape(-1, 8)  # view-major, as theirs
    speed = [np.zeros_like(w) for w in weights]
    losses, errors = [], []
    for epoch in range(epochs + 1):
        layers = _forward(batch, weights)
        loss, slope = _published_loss(layers[-1][0].reshape(11, n, -1))
        if epoch % 10 == 0:
            losses.append(loss)
            phi = _forward(x, weights)[-1][0]
            wrong = phi[n:] @ scipy.linalg.lstsq(phi[:n], y[:n])[0] - y[n:]
            errors.append((wrong**2).mean(axis=0) / (y[n:] ** 2).mean(axis=0))
        for w, v, g in zip(weights, speed, _backward(layers, weights, slope.reshape(11 * n, -1)), strict=True):
            v *= 0.9
            v += g
            w -= 1e-3 * v
    return {"loss": relative(found["losses"], losses), "errors of the probe": relative(found["errors"].T, errors)}


def _published_loss(z: np.ndarray) -> tuple[float, np.ndarray]:
    """Return k MSE over pairs of different views + k^2 MSE of the covariance and I, and its gradient in z (m, n, k)."""
    m, n, k = z.shape
    flat = z.reshape(m * n, k)
    away = flat - flat.mean(axis=0)
    off = away.T @ away / (m * n - 1) - np.eye(k)
    pairs = [(a, b) for a in range(m) for b in range(a)]
    near = k * sum(((z[a] - z[b]) ** 2).mean() for a, b in pairs) / len(pairs)
    slope = (4.0 / (m * n - 1) * away @ off).reshape(z.shape)
    for a, b in pairs:
        slope[a] += 2.0 * (z[a] - z[b]) / (n * len(pairs))
        slope[b] -= 2.0 * (z[a] - z[b]) / (n * len(pairs))
    return float(near + k**2 * (off**2).mean()), slope


def _forward(x: np.ndarray, weights: list[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Return what each layer sees, with normalised values and deviations behind the hidden ones; last the outputs."""
    layers: list[tuple[np.ndarray, ...]] = []
    for i in (0, 4):
        w, b, scale, shift = weights[i : i + 4]
        h = x @ w.T + b
        deviation = np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)
        normal = (h - h.mean(axis=1, keepdims=True)) / deviation
        layers.append((x, normal, deviation))
        x = np.maximum(normal * scale + shift, 0.0)
    return [*layers, (x @ weights[8].T + weights[9], x)]


def _backward(layers: list[tuple[np.ndarray, ...]], weights: list[np.ndarray], slope: np.ndarray) -> list[np.ndarray]:
    """Return the gradients of all weights, from that of the outputs."""
    found = [slope.T @ layers[2][1], slope.sum(axis=0)]
    slope = slope @ weights[8]
    for i in (4, 0):
        x, normal, deviation = layers[i // 4]
        scale, shift = weights[i + 2 : i + 4]
        slope = slope * (normal * scale + shift > 0)
        inner = slope * scale
        inner = inner - inner.mean(axis=1, keepdims=True) - normal * (inner * normal).mean(axis=1, keepdims=True)
        inner = inner / deviation
        found = [inner.T @ x, inner.sum(axis=0), (slope * normal).sum(axis=0), slope.sum(axis=0), *found]
        slope = inner @ weights[i]
    return found


# ---------------------------------------------------------------- the sphere as it was printed


def sphere_printed(size: str) -> Errors:
    """Eigenvalues on the grid of the notebook beside those it printed, relative to the largest of each lambda.

    At lambda_ref = 100, where the notebook's pseudo-inverse lets functions outside of the range of K in, those on the
    range are compared, by dense algebra; a small grid, for which nothing was printed, has these at every lambda.
    """
    side = 10 if size == "small" else 50
    x = sphere.grid(side)
    pairs = [(np.roll(x, a, 1), np.roll(x, b, 1)) for a in range(3) for b in range(3)]
    t = sum(np.exp(-5 * scipy.spatial.distance.cdist(a, b, "sqeuclidean")) for a, b in pairs) / 9
    t = (t + t.T) / 2
    heights, basis = scipy.linalg.eigh(np.exp(-scipy.spatial.distance.cdist(x, x, "sqeuclidean") / 5))
    inside = heights > len(x) * np.finfo(float).eps * heights[-1]
    turned = basis[:, inside].T @ t @ basis[:, inside]
    inverse = (basis[:, inside] / heights[inside]) @ basis[:, inside].T
    found: Errors = {"printed and computed by their formula": 0.0}
    for value in (0.1, 1.0, 10.0, 100.0):
        theirs = scipy.linalg.eigvalsh(turned - np.diag(value / heights[inside]))[:-9:-1]
        if size == "full":
            printed = np.array(sphere.PRINTED[sphere.LAMBDA_REFS.index(value)])
            last = len(x) - 1
            mu = scipy.linalg.eigh(t - value * inverse, eigvals_only=True, subset_by_index=[last - 7, last])[::-1]
            name = "printed and computed by their formula"
            found[name] = max(found[name], float(np.abs(mu - printed).max() / mu[0]))
            theirs = printed if value < 100 else theirs
        rep = sslcore.pretrain(x, kernels.Gaussian(2.5**0.5), 8, reg=value / len(x), positives=positives.Operator(t))
        found[f"mu at {value:g}"] = float(np.abs(rep.eigenvalues - theirs).max() / theirs[0])
    return found
