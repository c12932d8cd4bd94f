"""The price of watching a network: training steps of a small ResNet with `sslcore.torch.Monitor` and without.

Twins take turns, step by step, on the same batches; after the last their parameters must be equal to the last bit.  The
work of the monitor is little beside the noise of a step, so it is timed by itself too: what it adds to a step in the
mean is its time for a batch that is looked at, over ``every``, and for a report, over ``report_every``.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from .report import Row, require

LIMIT = 0.01
EVERY, REPORT_EVERY = 10, 500


def resnet(torch: Any, width: int, blocks: int, seed: int = 0) -> tuple[Any, Any]:
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

    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for out in (width, 2 * width, 4 * width):
        for _ in range(blocks):
            layers.append(Block(channels, out))
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(channels, 32)


def run(quick: bool = False) -> dict[str, Any]:
    """Time a ResNet of 20 layers (64 features), 128 images a step."""
    try:
        import torch
    except ImportError:
        print("  not timed: it needs PyTorch")
        return {"rows": []}
    from sslcore.torch import Monitor, vicreg

    pairs, images = (3, 8) if quick else (12, 64)
    networks = [resnet(torch, 16, 1 if quick else 3) for _ in range(2)]
    optimizers = [torch.optim.SGD([*e.parameters(), *h.parameters()], 0.05, 0.9) for e, h in networks]
    Monitor(*networks[0], every=EVERY, report_every=REPORT_EVERY, samples=128, log=None)
    generator = torch.Generator().manual_seed(1)
    spent: dict[str, list[float]] = {"watched": [], "plain": []}

    def step(which: int) -> None:
        (encoder, head), optimizer = networks[which], optimizers[which]
        z = head(encoder(batch)).unflatten(0, (2, -1)).transpose(0, 1)
        optimizer.zero_grad()
        vicreg(z - z.mean(dim=(0, 1))).backward()
        optimizer.step()

    for turn in range(-1, pairs):
        image = torch.rand(images, 3, 32, 32, generator=generator)
        batch = torch.cat([image + 0.1 * torch.randn(image.shape, generator=generator) for _ in range(2)])
        for name, which in (("watched", 0), ("plain", 1))[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            step(which)
            if turn >= 0:
                spent[name].append(time.process_time() - start)
    same = all(
        torch.equal(a, b)
        for first, second in zip(*networks, strict=True)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    require("parameters of the twins that differ", float(not same), 0.0)

    with torch.no_grad():
        features = networks[0][0].eval()(batch).unflatten(0, (2, -1)).transpose(0, 1)
    alone = Monitor(None, networks[0][1], every=1, report_every=10**9, samples=128, log=None)
    alone.update(features)
    looks, reports = [], []
    for _ in range(5 if quick else 50):
        start = time.process_time()
        alone.update(features)
        looks.append(time.process_time() - start)
    for _ in range(2 if quick else 9):
        start = time.process_time()
        found = alone.report()
        reports.append(time.process_time() - start)
    require("minimum above the head's risk", max(0.0, found.minimum - (found.risk or 0.0)), 1e-9)
    plain, watched, look, report = (median(t) for t in (spent["plain"], spent["watched"], looks, reports))
    share = (look / EVERY + report / REPORT_EVERY) / plain
    print(f"  step {plain * 1e3:.0f} ms, watched {watched * 1e3:.0f} ms (medians of {pairs}, processor time)")
    print(f"  a batch that is looked at {look * 1e3:.2f} ms, a report {report * 1e3:.1f} ms: {share:.3%} of a step")
    row = Row(
        f"watching a ResNet of 20 layers, {2 * images} images a step: one batch of {EVERY} looked at, a report every "
        f"{REPORT_EVERY}",
        f"at most {LIMIT:.0%} of a step",
        f"{share:.3%} ({look * 1e3:.1f} ms and {report * 1e3:.0f} ms beside {plain * 1e3:.0f} ms)",
        f"{watched / plain:.3f} times, step against step",
        share <= LIMIT,
    )
    return {"share": share, "seconds": spent, "look": look, "report": report, "rows": [row]}
