"""
Look at the views: each law of series forgets something else
============================================================

One series of a single channel, and five views of it by each law for series: noise, another gain, a gain that drifts,
time that runs faster and slower, a window stretched to the full length. The first two are drawn at three times their
default strength, or they would hardly be seen.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.augmentations import Jitter, MagnitudeWarp, Scaling, TimeWarp, Window

time = np.linspace(0, 1, 128)
series = (np.sin(2 * np.pi * (2 * time + 4 * time**2)) * np.exp(-2 * time))[None, None]  # (n, channels, time)
laws = [Jitter(0.15), Scaling(0.3), MagnitudeWarp(), TimeWarp(), Window()]

fig, panels = plt.subplots(len(laws), 1, figsize=(7, 7), sharex=True, layout="constrained")
for axes, law in zip(panels, laws, strict=True):
    views = law.views(series, 5, seed=0)[0].reshape(5, -1)
    axes.plot(time, views.T, lw=0.8)
    axes.plot(time, series[0, 0], "k", lw=1.6)
    axes.set(title=type(law).__name__, yticks=[])
panels[-1].set_xlabel("time (black: the sample)")
