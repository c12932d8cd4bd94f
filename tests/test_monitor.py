"""The monitor of a network: its numbers against fits of the same features, and that training does not feel it."""

import copy
import gc
import importlib.util
import json
import logging
import pickle
import re
import sys
import types
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import diagnostics, pretrain, risk
from sslcore.features import Identity

from .comparators import assert_close

torch = pytest.importorskip("torch")
ours = pytest.importorskip("sslcore.torch")
Monitor = ours.Monitor


def batches(count, n=40, d=5, m=2, seed=0):
    """Batches (n, m, d) of views."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(2.0, 0.3, d)
    found = rng.normal(size=(count, n, 1, d)) * scale + 0.3 * rng.normal(size=(count, n, m, d))
    return torch.from_numpy(found.astype(np.float32))


def network(d=5, r=7, k=3, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(d, r), torch.nn.Tanh()), torch.nn.Linear(r, k)


def watched(encoder, head, data, **options):
    """A monitor that looks at everything, after these batches (n, m, d)."""
    options = {"every": 1, "report_every": len(data), "log": None} | options
    monitor = Monitor(encoder, head, n_views=data.shape[2], **options)
    for batch in data:
        encoder(batch.transpose(0, 1).flatten(0, 1))
    return monitor


def test_the_numbers_are_those_of_fits():
    encoder, head = network()
    data = batches(4, m=3)
    found = watched(encoder, head, data, beta=1.5, reg=2e-3, samples=30).reports[0]
    with torch.no_grad():
        phi = encoder(data[:, :30].flatten(0, 1).double().float()).double()
        psi = phi @ head.weight.double().T
    assert (found.n, found.n_features, found.n_components, found.batch) == (120, 7, 3, 4)
    rep = pretrain(phi, Identity(), 3, reg=2e-3, beta=1.5, center=True)
    assert_close(found.minimum, rep.risk, tol=1e-5)
    assert found.n_active == rep.n_active
    centred = (psi - psi.mean(dim=(0, 1))).numpy()
    weight = float((head.weight.detach().double() ** 2).sum())
    assert_close(found.risk, risk.vicreg(centred, beta=1.5 * 3 / 2) + 2 * 2e-3 * weight, tol=1e-5)
    for name in ("rankme", "lidar"):
        assert_close(getattr(found, name), getattr(diagnostics, name)(phi), tol=1e-4)
    assert_close(found.alpha, diagnostics.alpha_req(phi), tol=1e-4)
    # without a penalty the best map of the outputs is a fit to them
    free = watched(encoder, head, data, beta=1.5, reg=1e-10, samples=30).reports[0]
    assert_close(free.recombined, pretrain(psi, Identity(), 3, reg=1e-10, beta=1.5, center=True).risk, tol=1e-4)
    assert found.risk >= found.recombined >= found.minimum


def test_the_closed_form_head_reaches_the_minimum():
    encoder, _ = network()
    data = batches(3)
    with torch.no_grad():
        phi = encoder(data.flatten(0, 1))
    head = ours.linear_layer(pretrain(phi, Identity(), 3, reg=1e-2, center=True))
    found = watched(encoder, head, data, reg=1e-2).reports[0]
    assert_close(found.risk, found.minimum, tol=1e-5)
    assert_close(found.recombined, found.minimum, tol=1e-5)
    assert found.verdict == "no collapse"


def test_views_in_any_order():
    encoder, head = network()
    data = batches(6)
    expected = watched(encoder, head, data, every=2, samples=8).reports[0]
    assert expected.n == 24
    monitors = [Monitor(None, head, every=2, samples=8, report_every=6, log=None)]
    for batch in data:
        monitors[0].update(encoder(batch))
    for views, shaped in (
        ("interleaved", lambda x: [x.flatten(0, 1)]),
        ("separate", lambda x: [x[:, 0], x[:, 1]]),
        ("concatenated", lambda x: [x]),  # (n, m, r) out of the encoder itself
    ):
        twin = copy.deepcopy(encoder)
        monitors.append(Monitor(twin, head, views=views, every=2, samples=8, report_every=6, log=None))
        for batch in data:
            for part in shaped(batch):
                twin(part)
    for monitor in monitors:
        (found,) = monitor.reports
        assert found.batch == 6
        for name in ("n", "risk", "minimum", "lidar"):
            assert_close(float(getattr(found, name)), float(getattr(expected, name)), tol=1e-5)


def trained(watch):
    """A network with everything that could be disturbed, after some steps."""
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    encoder = torch.nn.Sequential(
        torch.nn.Linear(5, 9), torch.nn.BatchNorm1d(9), torch.nn.Dropout(0.2), torch.nn.ReLU()
    )
    head = torch.nn.Linear(9, 3)
    monitor = Monitor(encoder, head, every=1, report_every=2, samples=16, log=None) if watch else None
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 1e-2)
    for batch in batches(5):
        z = head(encoder(batch.transpose(0, 1).flatten(0, 1))).unflatten(0, (2, -1)).transpose(0, 1)
        optimizer.zero_grad()
        ours.vicreg(z).backward()
        optimizer.step()
    state = [*encoder.state_dict().values(), *head.state_dict().values()]
    grads = [p.grad for p in (*encoder.parameters(), *head.parameters())]
    modes = [module.training for module in (*encoder.modules(), *head.modules())]
    random = [torch.get_rng_state(), torch.from_numpy(np.random.get_state()[1].astype(np.int64))]  # noqa: NPY002
    assert monitor is None or len(monitor.reports) == 2
    return state + grads + random, modes


def test_training_does_not_feel_it():
    (plain, modes), (seen, same_modes) = trained(False), trained(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert modes == same_modes


def test_nothing_is_kept_alive():
    encoder, head = network()
    outputs = []
    encoder[1].register_forward_hook(lambda module, inputs, output: outputs.append(weakref.ref(output)))
    monitor = watched(encoder, head, batches(2), views="separate", report_every=9)
    gone, enabled = weakref.ref(encoder), gc.isenabled()
    gc.disable()
    try:
        assert [ref() for ref in outputs] == [None, None]
        del encoder, head
        assert gone() is None
    finally:
        if enabled:
            gc.enable()
    assert monitor.report().risk is None  # the head is gone


def test_what_is_not_watched():
    encoder, head = network()
    monitor = Monitor(encoder, head, every=1, log=None)
    x = batches(1)[0].transpose(0, 1).flatten(0, 1)
    encoder.eval()(x)
    encoder.train()
    copy.deepcopy(encoder)(x)
    pickle.loads(pickle.dumps(encoder))(x)
    torch.func.vmap(encoder)(batches(1))
    copied = copy.deepcopy(encoder).to("meta")
    Monitor(copied, log=None)
    copied(x.to("meta"))
    monitor.close()
    encoder(x)
    with pytest.raises(ValueError, match="no batch was looked at"):
        monitor.report()
    monitor.watch()
    monitor.watch()
    encoder(x)
    assert monitor.report().n == 40


def test_mixed_precision_and_what_is_not_finite(caplog):
    encoder, head = network()
    x = batches(1)[0].transpose(0, 1).flatten(0, 1)
    monitor = Monitor(encoder, head, every=1, report_every=3, log=logging.getLogger("training"))
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(x).dtype == torch.bfloat16
        encoder(x * torch.inf)
    with caplog.at_level(logging.INFO, "training"):
        encoder(x)
        for _ in range(3):
            encoder(x * torch.nan)
    assert (monitor.reports[0].n, monitor.reports[0].not_finite) == (80, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "not finite in 1 batches" in caplog.text
    assert "not finite in any batch" in caplog.text
    assert len(monitor.reports) == 1


def test_a_head_that_has_diverged():
    encoder, head = network()
    with torch.no_grad():
        head.weight[1, 2] = torch.nan
    found = watched(encoder, head, batches(2)).reports[0]
    assert (found.verdict, found.risk, found.recombined) == ("total collapse", None, None)
    assert "the head's weights are not finite" in str(found)
    assert found.minimum < 3.0


def features_of(data, **options):
    """A report on features themselves."""
    monitor = Monitor(None, n_components=2, every=1, log=None, **options)
    for batch in data:
        monitor.update(batch)
    return monitor.report()


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(torch.float32, e) for e in (-120, -70, 0, 70, 120)]
    + [(torch.float64, e) for e in (-660, -120, -70, 0, 70, 120, 500)],
)
def test_the_scale_of_features_does_not_matter(dtype, exponent):
    """Ranks and the minimum are ratios; squares of most of these features would vanish or overflow."""
    torch.manual_seed(0)
    data, head = batches(3, d=4).to(dtype), torch.nn.Linear(4, 2, bias=False).to(torch.float64)
    plain = features_of(data)
    seen = features_of(data * 2.0**exponent)
    for name in ("verdict", "n", "n_active", "minimum", "rankme", "alpha", "lidar", "not_finite"):
        assert getattr(seen, name) == getattr(plain, name)
    assert (plain.verdict, plain.not_finite) == ("no collapse", 0)
    assert seen.reg == np.ldexp(plain.reg, 2 * exponent)
    # a head that undoes the scale has the same outputs, and so the same risk
    monitors = [Monitor(None, head, every=1, log=None, reg=1e-9) for _ in range(2)]
    monitors[0].update(data[0])
    before = monitors[0].report()
    with torch.no_grad():
        head.weight *= 2.0**-exponent
    found = Monitor(None, head, every=1, log=None)
    found.update(data[0] * 2.0**exponent)
    found = found.report()
    assert_close(found.risk, before.risk, tol=1e-3)  # which has another penalty
    assert f"outputs of the head: 2 of 2 directions alive, RankMe {rank_of(before)}" in str(found)


@pytest.mark.parametrize("exponent", [-1000, -340, -300, 0, 300])
@pytest.mark.parametrize("reg", [1e-3, 1e-300, 1e300])
def test_the_penalty_of_a_head_is_that_of_its_weights(exponent, reg):
    """Whatever the scale of the features, in whose unit float64 may not hold reg."""
    torch.manual_seed(0)
    z, head = batches(1, d=4)[0].double(), torch.nn.Linear(4, 2, bias=False).double()
    with torch.no_grad():
        head.weight *= 2.0 ** min(0, -exponent)  # no output is too large to be squared
    monitor = Monitor(None, head, every=1, log=None, reg=reg)
    monitor.update(z * 2.0**exponent)
    found, weight = monitor.report(), head.weight.detach().numpy()
    outputs = ((z * 2.0**exponent).numpy()) @ weight.T
    norm = float((weight**2).sum())
    expected = risk.vicreg(outputs - outputs.mean(axis=(0, 1)), beta=2.0) + 2 * reg * norm
    assert_close(found.risk, expected, tol=1e-12)
    assert found.reg == reg
    assert found.risk >= found.recombined >= found.minimum
    if reg * 2.0 ** (-2 * max(exponent, -500)) > 1e3:  # beside which no variance counts
        assert (found.recombined, found.minimum, found.n_active) == (2.0, 2.0, 0)


@pytest.mark.filterwarnings("error")
def test_a_head_that_sees_but_a_tiny_feature():
    """Its outputs' variance, 1e-300, is divided by, and the penalty is far above it."""
    z = batches(1, d=4)[0].double() * torch.tensor([1.0, 1e-150, 1.0, 1.0], dtype=torch.float64)
    head = torch.nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        head.weight[:] = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    monitor = Monitor(None, head, every=1, log=None, reg=1e300)
    monitor.update(z)
    found = monitor.report()
    assert (found.risk, found.recombined, found.minimum) == (2e300, 1.0, 1.0)


def rank_of(report):
    return re.search(r"outputs of the head: .*RankMe ([0-9.]+)", str(report)).group(1)


@pytest.mark.parametrize(("dtype", "large"), [
    (torch.float32, 1e20), (torch.float32, 1e38), (torch.float64, 1e100), (torch.float64, 1e160),
])  # fmt: skip
def test_large_features(dtype, large):
    """Of features that have grown within one report, the sums are those of both."""
    data = batches(2).to(dtype)
    grown = data[1] / data[1].abs().max() * large
    found, alone = features_of([data[0], grown]), features_of([data[0] * 0, grown])
    assert (found.n, found.not_finite) == (80, 0)
    for name in ("minimum", "rankme", "lidar"):
        assert_close(getattr(found, name), getattr(alone, name), tol=1e-6)
    monitor = Monitor(None, n_components=2, every=1, log=None)
    monitor.update(data[0])
    for factor in (1.0, 2.0**30):  # the larger are in another unit
        with pytest.raises(ValueError, match="coordinates like those before"):
            monitor.update(data[0, :, :, :3] * factor)
    monitor.update(data[0])


@pytest.mark.parametrize(("dtype", "mean", "hidden"), [
    (torch.float32, 1e6, False), (torch.float32, 2e7, True), (torch.float64, 1e8, False), (torch.float64, 1e16, True),
    (torch.bfloat16, 10.0, False), (torch.bfloat16, 300.0, True),
])  # fmt: skip
def test_spread_is_beside_the_rounding_of_the_values(dtype, mean, hidden):
    """A deviation of 1 is alive where it is more than one unit in the last place of the mean."""
    data = torch.randn(5, 100, 2, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data[:, :, 1] = data[:, :, 0] + 0.1 * data[:, :, 1]
    found = features_of((data + mean).to(dtype))
    assert found.verdict == ("total collapse" if hidden else "no collapse")
    assert ("may be rounding" in str(found)) == hidden
    assert (found.rankme > 12) == (not hidden)


def test_a_minimum_that_was_not_found(monkeypatch):
    def fails(*args, **kwargs):
        raise ValueError("no convergence")

    monkeypatch.setattr(sslcore.Moments, "solve", fails)
    encoder, head = network()
    for found in (watched(encoder, head, batches(2)).reports[0], watched(encoder, None, batches(2)).reports[0]):
        assert (found.verdict, found.n_active) == ("no collapse", 0)
        assert np.isnan(found.minimum)
        assert "no convergence" in str(found)
        assert "active at the minimum" not in str(found)


def test_words_of_a_collapse(capsys):
    data = batches(2)
    encoder, head = network()
    fine = watched(encoder, head, data, log=print).reports[0]
    assert "no collapse" in capsys.readouterr().out
    assert fine.as_dict() == json.loads(json.dumps(fine.as_dict()))
    assert fine.metrics()["sslcore/risk"] == fine.risk
    with torch.no_grad():
        head.weight[1:] = head.weight[0]
    one = watched(encoder, head, data).reports[0]
    assert one.verdict == "partial collapse"
    assert "1 of 3 directions alive" in str(one)
    with torch.no_grad():
        head.weight.zero_()
    dead = watched(encoder, head, data).reports[0]
    assert (dead.verdict, dead.recombined) == ("total collapse", 3.0)
    monitor = Monitor(None, n_components=2, every=1, report_every=1, log=None)
    spread = torch.randn(400, 2, 1, generator=torch.Generator().manual_seed(0))
    monitor.update(torch.cat([torch.roll(spread, i, 0) for i in range(6)], dim=2))
    monitor.update(torch.cat([spread] * 6, dim=2) + 1e-3 * torch.cat([torch.roll(spread, i, 0) for i in range(6)], 2))
    assert monitor.reports[1].verdict == "partial collapse"
    assert "has fallen by more than half" in str(monitor.reports[1])
    monitor.update(torch.ones(5, 2, 6))
    last = monitor.reports[-1]
    assert (last.verdict, last.minimum, last.n_active, last.rankme) == ("total collapse", 2.0, 0, 0.0)
    assert "5 samples are few for 6 features" in str(last)


def test_more_outputs_than_features():
    encoder, head = network(r=4, k=9)
    found = watched(encoder, head, batches(3)).reports[0]
    assert found.n_components == 9
    assert found.risk >= found.recombined - 1e-9 >= found.minimum - 2e-9 >= 5.0 - 3e-9  # at most 4 of 9 can live
    assert found.n_active <= 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"encoder": "resnet"}, TypeError, r"encoder must be a torch\.nn\.Module"),
        ({"head": torch.nn.ReLU()}, TypeError, r"head must be a torch\.nn\.Linear"),
        ({"head": torch.nn.Linear(7, 3), "n_components": 4}, ValueError, "n_components is that of the head, 3"),
        ({"n_components": 0}, ValueError, "n_components"),
        ({"views": "mixed"}, ValueError, "views must be one of"),
        ({"n_views": 1}, ValueError, "n_views"),
        ({"every": 0}, ValueError, "every"),
        ({"samples": 1}, ValueError, "samples"),
        ({"report_every": 0.5}, TypeError, "report_every"),
        ({"beta": -1.0}, ValueError, "beta"),
        ({"reg": 0.0}, ValueError, "reg must be a finite number > 0"),
        ({"log": "training.log"}, TypeError, "log must be"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        Monitor(**({"encoder": None} | options))


def test_bad_outputs():
    class Returns(torch.nn.Module):
        def forward(self, x):
            return x

    def seen(output, **options):
        module = Returns()
        Monitor(module, **({"every": 1, "log": None} | options))
        module(output)

    for output, options, error, message in (
        ((1, 2), {}, TypeError, "must be a tensor, found tuple"),
        (torch.ones(2, 3, 4, 5), {}, ValueError, "pooled or flattened"),
        (torch.ones(5, 3), {}, ValueError, "5 rows, no multiple of n_views = 2"),
        (torch.ones(6, 3, dtype=torch.int64), {}, TypeError, "floating point"),
        (torch.ones(5, 1, 3), {}, ValueError, "at least 2 views"),
        (torch.ones(6, 3), {"head": torch.nn.Linear(4, 2)}, ValueError, "the head takes 4 features"),
    ):
        with pytest.raises(error, match=message):
            seen(output, **options)
    module = Returns()
    Monitor(module, views="separate", every=1, log=None)
    module(torch.ones(5, 3))
    with pytest.raises(ValueError, match="view 2 with 4 rows"):
        module(torch.ones(4, 3))
    begun = Returns()
    monitor = Monitor(begun, views="separate", every=1, report_every=9, log=None)
    with pytest.raises(TypeError, match="floating point"):
        begun(torch.ones(5, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="view 2 with 5 rows"):
        begun(torch.ones(5, 3))
    begun(torch.ones(5, 3))
    monitor.watch()  # the other view of that batch never comes
    begun(torch.ones(4, 3))
    begun(torch.ones(4, 3))
    assert monitor.report().n == 4
    alone = Monitor(None, every=1, log=None)
    alone.update(torch.ones(1, 2, 3))
    with pytest.raises(ValueError, match="found 1 sample since the last report, expected at least 2"):
        alone.report()
    with pytest.raises(TypeError, match="features must be a tensor"):
        Monitor(None).update(np.ones((5, 2, 3)))


class Trainer:
    """What a callback asks of Lightning's trainer."""

    global_step = 7

    def __init__(self):
        self.loggers, self.told = [self], []

    def log_metrics(self, metrics, step):
        self.told.append((metrics, step))


def test_the_callback_for_lightning(monkeypatch):
    encoder, head = network()
    monitor = Monitor(encoder, head, every=1, report_every=1, log=None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    with pytest.raises(ImportError, match="pip install lightning"):
        monitor.callback()
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.SimpleNamespace(Callback=object))
    callback, trainer = monitor.callback(), Trainer()
    monitor.close()
    callback.on_fit_start(trainer, None)
    for batch in batches(2):
        encoder(batch.flatten(0, 1))
        callback.on_train_batch_end(trainer, None, {}, batch, 0)
    callback.on_fit_end(trainer, None)
    encoder(batches(1)[0].flatten(0, 1))
    assert len(monitor.reports) == 2
    assert [told[0] for told in trainer.told] == [found.metrics() for found in monitor.reports]
    another = monitor.callback()  # of a second fit: it tells nothing twice
    another.on_train_batch_end(trainer, None, {}, None, 0)
    assert len(trainer.told) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs Lightning")
def test_lightning_itself(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning import pytorch as lightning

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = network()

        def training_step(self, batch, index):
            z = self.head(self.encoder(batch[0].transpose(0, 1).flatten(0, 1)))
            return ours.vicreg(z.unflatten(0, (2, -1)).transpose(0, 1))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-2)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    model = Model()
    monitor = Monitor(model.encoder, model.head, every=1, report_every=2, log=None)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(batches(1, n=64)[0]), batch_size=16)
    lightning.Trainer(
        max_epochs=1, callbacks=[monitor.callback()], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    ).fit(model, data)  # fmt: skip
    assert [found.n for found in monitor.reports] == [32, 32]
    assert sslcore.torch.Monitor is Monitor


def test_the_page_on_networks(capsys):
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)), {})
    assert capsys.readouterr().out.count("no collapse") == 3  # two reports, and the fit
