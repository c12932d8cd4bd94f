"""
A collapse has more than one face
=================================

Four embeddings of the same images, from anywhere, and what ``collapse_report`` says of them. RankMe, the effective
number of dimensions, misses the constant one, whose rounding noise has full rank: the report looks at sizes too.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore

rng = np.random.default_rng(0)
x, _ = sslcore.datasets.digits()
healthy = x[:500] @ rng.normal(size=(64, 16)) / 8
embeddings = {
    "healthy": healthy,
    "one direction": healthy[:, :1] @ rng.normal(size=(1, 16)) + 1e-3 * rng.normal(size=(500, 16)),
    "constant": np.ones((500, 16)) + 1e-9 * rng.normal(size=(500, 16)),
    "copies": np.repeat(healthy[:, :4], 4, axis=1),
}
unit = sslcore.diagnostics.collapse_report(healthy).spectrum[0]
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, z), style in zip(embeddings.items(), ("-", "--", ":", "-."), strict=True):
    report = sslcore.diagnostics.collapse_report(z)
    print(f"{name}: {report.verdict}. {report.sentences[0]}")
    variances = np.maximum(report.spectrum / unit, 1e-22)
    axes.semilogy(np.arange(1, 17), variances, style, marker=".", label=f"{name}: RankMe {report.rankme:.1f}")
axes.set(xlabel="principal direction", ylabel="variance, of the healthy one's first", ylim=(1e-22, 10))
axes.legend()
