"""The study of networks: its loss against sums over pairs, its kernel against wide networks, small runs."""

import sys

import numpy as np
import pytest

import sslcore
from sslcore import datasets, kernels
from sslcore.cli.main import main
from sslcore.studies import networks
from sslcore.studies._registry import Run, plus_minus
from sslcore.studies.downstream import OPERATORS

from .comparators import assert_close

SMALL = {"seed": 5, "n": 25, "n_points": 90}

# of PyTorch about itself
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def torch():
    """PyTorch with one thread, as in workers: several would wait for each other longer than these products take."""
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    threads = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(threads)


def test_without_pytorch_it_is_said_what_to_install(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"the study networks trains with PyTorch: pip install '\.\[torch\]'"):
        networks.study(10, 1, (1e-3,), n=10, n_points=20)
    assert main(["study", "networks", "--out", str(tmp_path / "a")]) == 2
    assert "pip install '.[torch]'" in capsys.readouterr().err


def test_the_losses(torch):
    """k MSE over pairs of views + k^2 MSE of the covariance: all pairs; published, different views, N - 1 below it."""
    rng = np.random.default_rng(0)
    n, m, k = 6, 4, 3
    z = rng.standard_normal((n, m, k)) + 2.0
    for operator, first, below in (("true", 0, 0), ("published", 1, 1)):
        covariance = np.cov(z.reshape(-1, k).T, ddof=below)
        pairs = [((sample[a] - sample[a - b]) ** 2).mean() for sample in z for a in range(m) for b in range(first, m)]
        loss = k * np.mean(pairs) + k**2 * ((covariance - np.eye(k)) ** 2).mean()
        assert networks.loss(torch.tensor(z), operator).item() == pytest.approx(loss, rel=1e-13)


def test_the_network_of_the_paper(torch):
    net = networks.network(3)
    names = [type(part).__name__ for part in net]
    assert names == ["Linear", "LayerNorm", "ReLU"] * 2 + ["Linear"]
    assert [tuple(p.shape) for p in net.parameters()][::2] == [(200, 8), (200,), (200, 200), (200,), (20, 200)]
    state = torch.random.get_rng_state()
    again, other = networks.network(3), networks.network(4)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(net[0].weight, again[0].weight)
    assert not torch.equal(net[0].weight, other[0].weight)


def test_the_kernel_is_that_of_wide_networks(torch):
    """Inner products of the last hidden layer: their error is of order width^(-1/2)."""
    x = datasets.sphere(12, 8, seed=0)
    exact = networks.KERNEL(networks.with_bias(x), networks.with_bias(x))
    step = kernels.ArcCosine(1)
    twice = step.profile(step.profile((1 + x @ x.T) / 2, width=9, squared_norm=1.0), width=9, squared_norm=1.0)
    assert_close(exact, twice, tol=1e-12)
    width = 4000
    found = np.zeros_like(exact)
    for seed in range(4):
        with torch.no_grad():
            phi = networks.network(seed, width)[:-1](torch.tensor(x, dtype=torch.float32)).double().numpy()
        found += 2 * phi @ phi.T / width / 4
    assert np.abs(found - exact).max() < 0.03
    assert np.abs(found - kernels.NNGP(1, fan_in=1.0)(networks.with_bias(x), networks.with_bias(x))).max() > 0.1


def test_views_that_come_twice_have_twice_the_weight():
    x = datasets.sphere(15, 8, seed=2)
    made = networks.views(x)
    assert made.shape == (15, 11, 8)
    for place, shift in enumerate(range(-5, 6)):
        np.testing.assert_array_equal(made[:, place], np.roll(x, shift, axis=1))
    settings = SMALL | {"n": 15, "n_points": 60, "regs": [1e-5, 1e-3]}
    found = networks.closed_form(settings, 1)
    x, y, _ = networks._drawn(settings, 1)
    for i, reg in enumerate(settings["regs"]):
        for o, operator in enumerate(OPERATORS):  # different views of the 11: the unbiased T
            rep = sslcore.pretrain(
                networks.with_bias(networks.views(x[:15])),
                networks.KERNEL,
                20,
                reg=reg,
                unbiased=operator == "published",
                center=True,
            )
            assert found["active"][o, i] == rep.n_active
            phi = rep.transform(networks.with_bias(x), scale="unit")[:, : rep.n_active]
            assert_close(found["errors"][o, :, i], networks.probe(phi, y, 15), tol=1e-6)


def test_no_lambda_serves_the_second_target_with_the_published_operator():
    """The share t of each character of degree 1: that of the shift law, below 1 / 11 but for the invariant one."""
    law = np.bincount(np.mod(np.arange(-5, 6), 8), minlength=8) / 11
    t = np.abs(np.fft.fft(law)) ** 2
    assert t[0] == pytest.approx(1.0)
    assert (t[1:] < 1 / 11).all()


def test_training_is_gradient_descent_with_momentum(torch):
    """Against the update written out, v <- .9 v + gradient, and the same from the same seed."""
    settings = SMALL | {"n": 80, "n_points": 160, "epochs": 20, "width": 48, "operator": "true"}
    found = networks.training(settings, 0)
    assert found["errors"].shape == (2, 3)
    x, y, seed = networks._drawn(settings, 0)
    net = networks.network(seed, 48)
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    batch = torch.tensor(networks.views(x[:80]), dtype=torch.float32)
    for epoch in range(21):
        z = net(batch)
        away = (z - z.mean(dim=(0, 1))).reshape(-1, 20)
        value = 2 * (z - z.mean(dim=1, keepdim=True)).square().sum(dim=2).mean()
        value = value + (away.T @ away / len(away) - torch.eye(20)).square().sum()
        if epoch % 10 == 0:
            assert found["losses"][epoch // 10] == pytest.approx(value.item(), rel=1e-4)
        slopes = torch.autograd.grad(value, list(net.parameters()))
        if epoch == 20:
            break
        with torch.no_grad():
            for p, v, slope in zip(net.parameters(), velocity, slopes, strict=True):
                v.mul_(0.9).add_(slope)
                p.sub_(1e-3 * v)
    phi = net(torch.tensor(x, dtype=torch.float32)).detach().double().numpy()
    assert_close(found["errors"][:, -1], networks.probe(phi, y, 80), tol=1e-2)
    np.testing.assert_array_equal(networks.training(settings, 0)["errors"], found["errors"])


def test_the_network_is_applied_to_each_view_once(torch, monkeypatch):
    """Of the 11 views 8 differ; the loss is that of all 11, as the test above says."""
    seen, made = [], networks.network

    def watched(seed, width):
        net = made(seed, width)
        net.register_forward_pre_hook(lambda part, given: seen.append(given[0].reshape(-1, 8).numpy()))
        return net

    monkeypatch.setattr(networks, "network", watched)
    networks.training(SMALL | {"epochs": 1, "width": 16, "operator": "true"}, 0)
    batch, points, again = seen  # the probe is evaluated at epoch 0
    np.testing.assert_array_equal(batch, again)
    assert len(points) == SMALL["n_points"]
    every = networks.views(points[: SMALL["n"]]).reshape(-1, 8)
    assert len(batch) == 8 * SMALL["n"]
    np.testing.assert_array_equal(np.unique(batch, axis=0), np.unique(every, axis=0))


@pytest.fixture(scope="module")
def found(torch):
    return networks.study(60, 3, (1e-6, 1e-4, 1e-2), n=40, n_points=140, width=24, run=Run(seed=2))


def test_a_small_study(found):
    assert found.epochs.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert (found.losses[-1] < found.losses[0]).all()
    assert found.trained.std(axis=2).min() > 0  # each repetition has its own draws
    assert (np.diff(found.active, axis=1) <= 0).all()
    assert (found.active[list(OPERATORS).index("published")] <= found.active[list(OPERATORS).index("true")]).all()
    assert found.n == (40, 100)


def test_words_and_picture(found):
    pytest.importorskip("matplotlib")
    from sslcore.plotting import panels
    from sslcore.studies.figures import networks as figures

    verdict = found.verdict()
    assert "\n" not in verdict
    best = found.best("trained", 0)
    assert f"least {plus_minus(found.trained[0, best])} at {found.epochs[best]};" in verdict
    assert f"{found.mean('trained')[0, -1]:.4f}" in found.table()
    assert f"{found.mean('published')[1, 0]:.4f}" in found.table()
    assert f"{plus_minus(found.published[1, found.best('published', 1)])} at its best lambda" in verdict
    assert found.document()["errors"]["invariant"]["best_reg"] == found.regs[found.best("exact", 0)]
    drawn = figures.figure(found)
    assert len(drawn.axes) == 2
    assert panels.png(drawn)[:4] == b"\x89PNG"
