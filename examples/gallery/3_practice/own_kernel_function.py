"""
Any function of pairs is a kernel: words that rhyme
===================================================

A kernel may be any function of two arrays of points. Here a point is the number of a word in a list, and the kernel
counts the pairs of letters that two words share; views of a word are the word itself and its plural.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore

words = ["cat", "hat", "bat", "house", "mouse", "blouse", "stone", "bone", "phone", "night", "light", "fight"]
forms = words + [word + "s" for word in words]
letters = [{word[i : i + 2] for i in range(len(word) - 1)} for word in forms]
table = np.array([[len(a & b) / (len(a) * len(b)) ** 0.5 for b in letters] for a in letters])


def shared_pairs(x, y):
    """Share of common pairs of letters; points are numbers of words, (n, 1)."""
    return table[np.ix_(x[:, 0].astype(int), y[:, 0].astype(int))]


views = np.stack([np.arange(12), np.arange(12) + 12], axis=1)[..., None].astype(float)
rep = sslcore.pretrain(views, shared_pairs, 2, reg=1e-2, center=True)
z = rep(views[:, 0])

fig, axes = plt.subplots(figsize=(6, 4.5), layout="constrained")
axes.scatter(*z.T, s=12)
for rhyming in range(0, 12, 3):  # words side by side, below each other at their mean
    place = z[rhyming : rhyming + 3].mean(axis=0)
    axes.annotate("\n".join(words[rhyming : rhyming + 3]), place, (12, 0), textcoords="offset points", va="center")
axes.margins(0.15)
axes.set(xlabel="component 1", ylabel="component 2")
