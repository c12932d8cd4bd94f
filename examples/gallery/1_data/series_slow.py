"""
The slowest function of fast signals is the hidden process
==========================================================

Positive pairs are points of a series ten steps apart; nothing is augmented. The first component is the slowest
function of the signals (TICA, and slow feature analysis), here a jump between two states that no single channel
shows.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.features import Identity
from sslcore.positives import TimeLag

rng = np.random.default_rng(0)
n = 4000
state = np.where(np.cumsum(rng.random(n) < 0.004) % 2, 1.0, -1.0)
fast = np.sin(np.arange(n)[:, None] * [0.31, 0.73, 1.1]) + 0.3 * rng.normal(size=(n, 3))
x = np.column_stack([0.4 * state, fast]) @ rng.normal(size=(4, 6)) + 0.1 * rng.normal(size=(n, 6))

rep = sslcore.pretrain(x, Identity(), 3, reg=0, center=True, positives=TimeLag(10))
z = rep(x)
print("timescales, in steps:", rep.timescales(10).round(1))

fig, (above, below) = plt.subplots(2, 1, figsize=(8, 4), sharex=True, layout="constrained")
above.plot(x[:1500, :3], lw=0.5)
above.set(ylabel="three of six channels")
sign = np.sign(np.corrcoef(z[:, 0], state)[0, 1])
below.plot(sign * z[:1500, 0], lw=0.6, label="first component")
below.plot(state[:1500], "k", lw=1.2, label="hidden state")
below.set(xlabel="time", ylabel="value")
below.legend(loc="upper right")
