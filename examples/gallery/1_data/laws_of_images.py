"""
Look at the views: each law of images forgets something else
============================================================

Views are made by laws: random maps whose parameters are drawn anew for each view. Look at them before a fit. What the
views change, the representation forgets: take those that you would not notice, or would not care about.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from sslcore.augmentations import Affine, Blur, ColorJitter, Cutout, GaussianNoise, HorizontalFlip, ResizedCrop

flower = load_sample_image("flower.jpg")[40:360:5, 180:500:5] / 255  # 64 x 64, three colours
shape = flower.shape
laws = {
    "Affine": Affine(shape, rotation=20.0, zoom=1.2, shift=4.0),
    "ResizedCrop": ResizedCrop(shape, smallest=0.3),
    "HorizontalFlip": HorizontalFlip(shape),
    "ColorJitter": ColorJitter(shape),
    "Blur": Blur(shape, 2.0),
    "Cutout": Cutout(shape, 16),
    "GaussianNoise": GaussianNoise(0.1),
}
fig, panels = plt.subplots(len(laws), 7, figsize=(7, 7.4), layout="constrained")
for row, (name, law) in zip(panels, laws.items(), strict=True):
    views = law.views(flower.reshape(1, -1), 6, seed=0)[0]
    for axes, image in zip(row, [flower, *views], strict=True):
        axes.imshow(np.clip(image.reshape(shape), 0, 1))
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
panels[0, 0].set_title("sample")
panels[0, 1].set_title("six views", loc="left")
