"""The price of watching a network: training steps of a small ResNet with `sslcore.torch.Monitor` and without.

Twins take turns, step by step, on the same batches; after the last their parameters must be equal to the last bit, the
risk must have fallen, and the numbers of the last report must be those of the same features, computed from the array.
One twin is watched at every batch.  Hooks before and after that of the monitor take the time of each look and of each
report where they happen, beside a network that trains: their mean a step is a look over `EVERY` and a report over
`REPORT_EVERY`, the defaults.  Times are medians on the clock.
"""

from __future__ import annotations

import time
from statistics import mean, median
from typing import Any

import numpy as np
import scipy.linalg

from .report import Row, require

LIMIT = 0.01
EVERY, REPORT_EVERY = 10, 500
WIDTH, COMPONENTS = 16, 8
RATE, WARM_UP = 2e-3, 5
REG = 1e-3


def resnet(torch: Any, blocks: int, seed: int = 0) -> tuple[Any, Any]:
    """Make a residual network of three stages for images of 32 x 32 pixels, and a linear head."""
    torch.manual_seed(seed)
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[name-defined,misc]
        """Two convolutions beside a shortcut."""

        def __init__(self, channels: int, out: int) -> None:
            super().__init__()
            stride = out // channels
            self.body = nn.Sequential(
                nn.Conv2d(channels, out, 3, stride, 1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
                nn.Conv2d(out, out, 3, 1, 1, bias=False),
                nn.BatchNorm2d(out),
            )
            self.short = nn.Identity() if stride == 1 else nn.Conv2d(channels, out, 1, stride, bias=False)

        def forward(self, x: Any) -> Any:
            """Add both, rectified."""
            return nn.functional.relu(self.body(x) + self.short(x))

    layers = [nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    channels = WIDTH
    for out in (WIDTH, 2 * WIDTH, 4 * WIDTH):
        for _ in range(blocks):
            layers.append(Block(channels, out))
            channels = out
    for layer in nn.Sequential(*layers).modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(channels, COMPONENTS)


class Twin:
    """A network that trains, and what its steps take."""

    def __init__(self, torch: Any, blocks: int) -> None:
        self.torch = torch
        self.encoder, self.head = resnet(torch, blocks)
        self.parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, RATE)
        self.warming = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.1, total_iters=WARM_UP)
        self.steps: list[float] = []
        self.risks: list[float] = []

    def step(self, batch: Any) -> None:
        """Train on a batch, the first view of all images and then the second."""
        from sslcore.torch import vicreg

        start = time.perf_counter()
        z = self.head(self.encoder(batch)).unflatten(0, (2, -1)).transpose(0, 1)
        risk = vicreg(z - z.mean(dim=(0, 1)), unbiased=True)
        self.optimizer.zero_grad()
        risk.backward()
        self.optimizer.step()
        self.steps.append(time.perf_counter() - start)
        self.warming.step()
        self.risks.append(float(risk.detach()))


class Watched(Twin):
    """The twin that is watched at every batch; ``hooks`` are the times of the monitor in each step."""

    def __init__(self, torch: Any, blocks: int, images: int, report_every: int) -> None:
        from sslcore.torch import Monitor

        super().__init__(torch, blocks)
        self.hooks: list[float] = []
        self.features: list[Any] = []  # float64 copies of those that one report is of
        started = [0.0]

        def before(module: Any, inputs: Any, output: Any) -> None:
            if len(self.hooks) % report_every == 0:
                self.features.clear()
            self.features.append(output.detach().double().numpy().reshape(2, images, -1).swapaxes(0, 1))
            started[0] = time.perf_counter()

        def after(module: Any, inputs: Any, output: Any) -> None:
            self.hooks.append(time.perf_counter() - started[0])

        self.encoder.register_forward_hook(before)
        self.monitor = Monitor(
            self.encoder, self.head, every=1, samples=images, report_every=report_every, reg=REG, log=None
        )
        self.encoder.register_forward_hook(after)

    def expected(self, weight: np.ndarray) -> dict[str, float]:
        """Return what the last report must say, from the features themselves; ``weight`` is that of the head then."""
        phi = np.concatenate(self.features)
        flat = phi.reshape(-1, phi.shape[2]) - phi.mean(axis=(0, 1))
        total = flat.T @ flat / len(flat)
        half = (phi[:, 0] - phi[:, 1]) / 2
        inside = half.T @ half / len(half)
        invariance = 2 * inside  # over the two distinct views
        cost = weight @ (invariance + REG * np.eye(len(total))) @ weight.T
        risk = 2 * np.trace(cost) + ((weight @ total @ weight.T - np.eye(len(weight))) ** 2).sum()
        gamma = scipy.linalg.eigh(invariance + REG * np.eye(len(total)), total, eigvals_only=True)[: len(weight)]
        singular = np.linalg.svd(flat, compute_uv=False)
        within = inside + 1e-4 * np.trace(total) / len(total) * np.eye(len(total))
        between = scipy.linalg.eigh(total - inside, within, eigvals_only=True)
        return {
            "risk": float(risk),
            "minimum": float(len(weight) - (np.clip(1 - gamma, 0, None) ** 2).sum()),
            "rankme": perplexity(singular),
            "lidar": perplexity(between[between > 0]),
        }


def perplexity(values: np.ndarray) -> float:
    """Return the exponential of the entropy of positive numbers, divided by their sum."""
    p = values / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def images_of(torch: Any, n: int, generator: Any) -> Any:
    """Draw two views (2 n, 3, 32, 32) of smooth random images: noise, and a brightness for each."""
    coarse = torch.randn(n, 3, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")
    views = []
    for _ in range(2):
        light = 0.3 * torch.randn(n, 1, 1, 1, generator=generator)
        views.append(image + light + 0.3 * torch.randn(image.shape, generator=generator))
    return torch.cat(views)


def run(quick: bool = False) -> dict[str, Any]:
    """Time a ResNet of 20 layers (64 features), 128 images a step."""
    try:
        import torch
    except ImportError:
        print("  not timed: it needs PyTorch")
        return {"rows": []}
    steps, images, blocks, report_every = (20, 32, 1, 5) if quick else (40, 64, 3, 5)
    watched, plain = Watched(torch, blocks, images, report_every), Twin(torch, blocks)
    generator = torch.Generator().manual_seed(1)
    weight = np.zeros(0)
    for turn in range(WARM_UP + steps):
        batch = images_of(torch, images, generator)
        weight = watched.head.weight.detach().double().numpy().copy()
        for twin in (watched, plain)[:: 1 if turn % 2 else -1]:
            twin.step(batch)
    same = all(
        torch.equal(a, b)
        for one, other in ((watched.encoder, plain.encoder), (watched.head, plain.head))
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
    require("parameters of the twins that differ", float(not same), 0.0)
    fallen = mean(plain.risks[-WARM_UP:]) / mean(plain.risks[:WARM_UP])
    require("risk of the last steps over that of the first", fallen, 0.9)
    report = watched.monitor.reports[-1]
    for name, value in watched.expected(weight).items():
        require(f"{name} of the last report", abs(getattr(report, name) / value - 1), 1e-4)

    step = median(plain.steps[WARM_UP:])
    ratio = median(a / b for a, b in zip(watched.steps[WARM_UP:], plain.steps[WARM_UP:], strict=True))
    hooks = watched.hooks[WARM_UP:]
    reporting = [spent for turn, spent in enumerate(hooks, WARM_UP + 1) if turn % report_every == 0]
    look = median(spent for turn, spent in enumerate(hooks, WARM_UP + 1) if turn % report_every)
    told = median(reporting) - look
    share = (look / EVERY + told / REPORT_EVERY) / step
    always = (look + told / report_every) / step
    print(f"  risk {mean(plain.risks[:WARM_UP]):.3g} at first, {mean(plain.risks[-WARM_UP:]):.3g} at last")
    print(
        f"  step {step * 1e3:.0f} ms; a look {look * 1e3:.2f} ms, a report {told * 1e3:.1f} ms: {share:.3%} of a step"
    )
    print(f"  a look at every batch, a report every {report_every}: {always:.2%}; watched step over plain {ratio:.3f}")
    row = Row(
        f"watching a ResNet of 20 layers that trains, {2 * images} images a step: one batch of {EVERY} looked at, a "
        f"report every {REPORT_EVERY}",
        f"at most {LIMIT:.0%} of a step",
        f"{share:.2%} ({look * 1e3:.1f} ms a look, {told * 1e3:.0f} ms a report, {step * 1e3:.0f} ms a step)",
        f"{always:.1%} with a look at every batch and a report every {report_every}",
        share <= LIMIT,
    )
    return {
        "share": share,
        "always": always,
        "ratio": ratio,
        "seconds": {"plain": plain.steps, "watched": watched.steps, "monitor": watched.hooks},
        "look": look,
        "report": told,
        "step": step,
        "risks": plain.risks,
        "rows": [row],
    }
