"""The best linear head on the features of a network, in closed form, beside the same head trained by gradients.

A small network is trained without labels on augmented digits (scikit-learn's 1,797 images), with a risk of sslcore as
its loss.  Then its projection head is thrown away and replaced in two ways, on the features before it: by the minimiser
in closed form, and by stochastic gradient descent on the same objective.  The closed form is a `torch.nn.Linear`.

    python examples/deep_features.py [--epochs 30] [--head-epochs 300] [--samples 1797]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import sslcore
import sslcore.torch
from sslcore.augmentations import Affine, Compose, GaussianNoise

N_FEATURES, N_COMPONENTS = 128, 16
BETA, REG = 1.0, 1e-4


def train_network(x: np.ndarray, augmentation: sslcore.augmentations.Augmentation, epochs: int) -> torch.nn.Module:
    """An encoder that has seen fresh views of every image in each epoch, and no label."""
    encoder = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 256), torch.nn.ReLU(), torch.nn.Linear(256, N_FEATURES), torch.nn.ReLU()
    )
    projector = torch.nn.Linear(N_FEATURES, N_COMPONENTS)
    optimizer = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=1e-3)
    for epoch in range(epochs):
        views = torch.from_numpy(augmentation.views(x, 2, seed=epoch))
        for batch in torch.randperm(len(x)).split(256):
            optimizer.zero_grad()
            loss = sslcore.torch.vicreg(projector(encoder(views[batch])), beta=BETA, unbiased=True)
            loss.backward()
            optimizer.step()
    return encoder.eval().requires_grad_(False)


def objective(z: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What the closed form minimises: the risk on all pairs of different views, centred, and the penalty."""
    m = z.shape[1]
    centred = z - z.mean(dim=(0, 1))
    return sslcore.torch.vicreg(centred, beta=BETA * m / (m - 1)) + 2 * REG * (weight**2).sum()


def train_head(features: torch.Tensor, epochs: int) -> torch.nn.Linear:
    """The head by stochastic gradients, with momentum and a decaying step, on standardised features."""
    scale = features.std(dim=(0, 1)).clamp_min(1e-3)
    head = torch.nn.Linear(features.shape[-1], N_COMPONENTS, dtype=features.dtype)
    optimizer = torch.optim.SGD(head.parameters(), lr=2e-2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(features)).split(256):
            optimizer.zero_grad()
            loss = objective(head(features[batch] / scale), head.weight / scale)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        head.weight /= scale
    return head


def run(samples: int = 1797, epochs: int = 30, head_epochs: int = 300, seed: int = 0) -> dict[str, float]:
    """Everything, with what it found."""
    torch.manual_seed(seed)
    digits = sslcore.datasets.digits()
    x, labels = digits[0][:samples].astype(np.float32), digits[1][:samples]
    augmentation = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
    start = time.perf_counter()
    encoder = train_network(x, augmentation, epochs)
    print(f"network     {len(x)} digits, {epochs} epochs without labels, {time.perf_counter() - start:.1f} s")

    views = torch.from_numpy(augmentation.views(x, 4, seed=10**6))
    features = encoder(views).double()  # (n, m, r)

    start = time.perf_counter()
    rep = sslcore.pretrain(features, sslcore.features.Identity(), N_COMPONENTS, reg=REG, beta=BETA, center=True)
    layer = sslcore.torch.linear_layer(rep, dtype=features.dtype)  # a torch.nn.Linear
    seconds = time.perf_counter() - start

    start = time.perf_counter()
    trained = train_head(features, head_epochs)
    seconds_trained = time.perf_counter() - start

    with torch.no_grad():
        network = torch.nn.Sequential(encoder, sslcore.torch.linear_layer(rep))  # images in, representation out
        difference = float((network(views[:, 0]) - rep(features[:, 0])).abs().max())
        found: dict[str, float] = {"minimum": rep.risk, "difference": difference}
        half = len(x) // 2
        for name, head, time_taken in (("closed form", layer, seconds), ("SGD", trained, seconds_trained)):
            risk = objective(head(features), head.weight).item()
            z = head(encoder(torch.from_numpy(x)).double())
            probe = sslcore.probing.ridge_probe(z[:half], labels[:half], [1e-4, 1e-3, 1e-2])
            accuracy = probe.score(z[half:], labels[half:])
            found |= {name: risk, f"{name} seconds": time_taken, f"{name} accuracy": accuracy}
            print(f"{name:<11} risk {risk:.6f}, {time_taken:.2f} s, probe on the other half {accuracy:.3f}")
    print(f"minimum     risk {rep.risk:.6f}; {rep.n_active} of {N_COMPONENTS} components active")
    print(f"loaded      {layer}; the network's outputs differ from the representation's by {difference:.1e}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1797)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--head-epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    run(**vars(parser.parse_args()))
