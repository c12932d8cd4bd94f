"""
A stream from disk that was killed ends with the same numbers
=============================================================

Features in many files are read once, in memory that does not grow with them. With a checkpoint a run that was stopped
goes on where it was. Here the stream is broken off on purpose after half of the blocks; the same call then ends with
the numbers of a run that was never stopped.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.features import Identity

folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
scales = np.linspace(0.3, 2, 16)
for i in range(8):
    samples = rng.normal(size=(5000, 1, 16)) * scales
    np.save(folder / f"z-{i}.npy", (samples + rng.normal(size=(5000, 2, 16))).astype(np.float32))
files = sorted(folder.glob("z-*.npy"))


class Stopped(Exception):
    """Stands for a kill."""


def broken(paths):
    """Yield the first half of the blocks, and stop."""
    for path in paths[:4]:
        yield np.load(path)
    raise Stopped


# %%
# The same checkpoint, for the stream that breaks off and for the one that goes on.

checkpoint = folder / "checkpoint"
try:
    sslcore.stream.moments(broken(files), Identity(), checkpoint=checkpoint, every=0)
except Stopped:
    print("stopped after half of the files")
resumed = sslcore.stream.moments((np.load(path) for path in files), Identity(), checkpoint=checkpoint)
whole = sslcore.stream.moments([str(path) for path in files], Identity())

after, never = (moments.solve(12, reg=1e-3, center=True) for moments in (resumed, whole))
print("largest difference of eigenvalues:", abs(after.eigenvalues - never.eigenvalues).max())

fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
index = np.arange(1, 13)
axes.plot(index, never.eigenvalues, "o", ms=9, mfc="none", label="never stopped")
axes.plot(index, after.eigenvalues, "x", label="stopped, and resumed")
truth = np.sort(scales**2 / (1 + scales**2))[::-1][:12]
axes.plot(index, truth, "k:", label="population")
axes.set(xlabel="component", ylabel="eigenvalue mu")
axes.legend()
