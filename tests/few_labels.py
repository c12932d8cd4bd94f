"""Probes of few labels, drawn at random."""

from __future__ import annotations

import numpy as np

from sslcore.probing import ridge_probe


def few_labels(z, labels, draws=100):
    """The accuracy of a ridge probe on all rows but five of each class, for each draw of these."""
    rng, found = np.random.default_rng(1), []
    for _ in range(draws):
        chosen = np.concatenate([rng.choice(np.flatnonzero(labels == c), 5, replace=False) for c in np.unique(labels)])
        rest = np.setdiff1d(np.arange(len(labels)), chosen)
        probe = ridge_probe(z[chosen], labels[chosen])
        found.append((probe.predict(z[rest]) == labels[rest]).mean())
    return np.array(found)
