"""
Which pairs to ask about: those next to what is known
=====================================================

Positive pairs can be bought: somebody is shown ten points and says which of them are of a class. A yes makes pairs that
are alike (1 in the matrix T), a no pairs that are not (-1); what is not known is 0. Ten points that the fit so far
gives to the class, the choice in the code of the paper's authors, are no better here than ten at random: where the fit
knows little it is wrong. The ten nearest to known points of the class tell the most pairs, and need the fewest
questions. Errors are those of least squares on the functions, as theirs: what a probe with many labels would have.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.kernels import Exponential
from sslcore.positives import Operator
from sslcore.probing import ridge_probe

N, CLASSES, STEPS, DRAWS = 160, 4, 31, 4


def circles(n, rng):
    """Points of four circles of radius 1 to 4, and the number of the circle: the class."""
    label, angle = rng.integers(0, CLASSES, n), 2 * np.pi * rng.random(n)
    return (1 + label[:, None]) * np.stack([np.cos(angle), np.sin(angle)], axis=1), label


def ask(choice, seed):
    """Errors on new points and shares of known pairs, before each of the questions."""
    rng = np.random.default_rng(seed)
    (x, label), (new, new_label) = circles(N, rng), circles(1000, rng)
    alike = np.where(label[:, None] == label, 1.0, -1.0)  # the truth, which questions disclose
    t = np.eye(N)
    known, asked = np.zeros(N, bool), np.zeros((N, CLASSES), bool)
    known[[np.argmax(label == c) for c in range(CLASSES)]] = True  # one point of each class to begin with
    errors, shares = [], []
    for _ in range(STEPS):
        rep = sslcore.pretrain(x, Exponential(0.2), 5, reg=1e-3 / N, positives=Operator(t))
        probe = ridge_probe(rep.transform(x[known], scale="unit"), label[known])
        z = rep.transform(new, scale="unit")
        best = ridge_probe(z, np.eye(CLASSES)[new_label], 0.0, fit_intercept=False).predict(z)
        errors.append((best.argmax(axis=1) != new_label).mean())
        shares.append((t != 0).mean())
        c = asked.sum(axis=0).argmin()  # the class that was asked about least
        candidates = np.flatnonzero(~known & ~asked[:, c])
        ten = rng.permutation(candidates)[:10]
        if choice == "believed":
            believed = candidates[probe.predict(rep.transform(x[candidates], scale="unit")) == c]
            ten = rng.permutation(believed if len(believed) >= 10 else candidates)[:10]
        elif choice == "nearest":
            distances = np.linalg.norm(x[candidates, None] - x[known & (label == c)], axis=2).min(axis=1)
            ten = candidates[distances.argsort()[:10]]
        yes, no = ten[label[ten] == c], ten[label[ten] != c]
        known[yes] = True
        t[np.ix_(known, known)] = alike[np.ix_(known, known)]
        inside = np.flatnonzero(known & (label == c))
        t[np.ix_(inside, no)] = t[np.ix_(no, inside)] = -1.0
        asked[known], asked[ten, c] = True, True
    return errors, shares


fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
names = {"random": "at random", "believed": "that the fit gives to the class", "nearest": "next to known ones of it"}
for (choice, name), mark in zip(names.items(), ("s:", "^--", "o-"), strict=True):
    for panel, values in zip(axes, np.array([ask(choice, seed) for seed in range(DRAWS)]).swapaxes(0, 1), strict=True):
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / DRAWS**0.5
        (line,) = panel.plot(mean, mark, markersize=4, markevery=3, label=name)
        panel.fill_between(range(STEPS), mean - error, mean + error, alpha=0.2, linewidth=0, color=line.get_color())
axes[0].set(xlabel="questions", ylabel="error of a linear probe", title=f"mean of {DRAWS} draws ± its standard error")
axes[1].set(xlabel="questions", ylabel="share of all pairs", title="pairs that are known")
axes[1].legend(title="ten points", alignment="left")
