"""The risks as losses of PyTorch, and heads as its layers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslcore import features, pretrain, risk
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

from .comparators import assert_close, assert_same_subspace
from .strategies import seeds

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
losses = pytest.importorskip("sslcore.torch")

# of PyTorch about itself
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

LOSSES = {
    "vicreg": (losses.vicreg, risk.vicreg, {"beta": 0.3}),
    "vicreg unbiased": (losses.vicreg, risk.vicreg, {"beta": 0.3, "unbiased": True}),
    "spectral": (losses.spectral_contrastive, risk.spectral_contrastive, {}),
    "spectral unbiased": (losses.spectral_contrastive, risk.spectral_contrastive, {"unbiased": True}),
    "hinge": (
        losses.vicreg_hinge,
        risk.vicreg_hinge,
        {"similarity": 2.0, "variance": 3.0, "covariance": 0.7, "target_std": 1.5, "eps": 1e-3},
    ),
    "twins": (losses.barlow_twins, risk.barlow_twins, {"redundancy": 0.1, "eps": 1e-3}),
}


def values(n=6, m=3, k=4, seed=0, dtype=torch.float64, grad=True):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.standard_normal((n, m, k)), dtype=dtype, requires_grad=grad)


def test_every_risk_is_a_loss():
    named = {name for name in losses.__all__ if name.islower()} - {"linear_layer", "all_reduce"}
    assert named == {n for n in risk.__all__ if n.islower()} - {"equivalent_parameters"}
    assert {function.__name__ for function, _, _ in LOSSES.values()} == named


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("m", [2, 3])
def test_gradcheck(name, m):
    """Numerical derivatives of the value, through PyTorch's own checker; also behind other operations."""
    loss, _, options = LOSSES[name]
    z = values(5, m, 3)
    assert torch.autograd.gradcheck(lambda z: loss(z, **options), (z,))
    assert torch.autograd.gradcheck(lambda z: 2.0 * loss(z.tanh() * 1.5, **options) ** 2 + z.sum(), (z,))


@given(
    name=st.sampled_from(sorted(LOSSES)),
    shape=st.tuples(st.integers(2, 8), st.integers(2, 4), st.integers(1, 5)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    layout=st.sampled_from(["C", "transposed", "strided", "expanded"]),
    seed=seeds,
)
@settings(max_examples=40)
def test_values_and_gradients_are_those_of_the_risk(name, shape, dtype, layout, seed):
    """Any layout; the loss has the dtype of z, and scales with the slope of what follows."""
    loss, function, options = LOSSES[name]
    z = values(*shape, seed=seed, dtype=dtype, grad=False)
    if layout == "transposed":
        z = z.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    elif layout == "strided":
        z = torch.stack([z, z], dim=-1).flatten(2)[..., ::2]
    elif layout == "expanded":
        z = z[:, :1].expand(shape)
    z.requires_grad_()
    value, gradient = function(z.detach().numpy(), return_grad=True, **options)
    found = loss(z, **options)
    assert found.shape == ()
    assert found.dtype == dtype
    assert found.item() == dtype_of(dtype).type(value)
    (3.0 * found).backward()
    assert_close(z.grad.numpy(), 3.0 * gradient, tol=4 * float(np.finfo(dtype_of(dtype)).eps))


def dtype_of(dtype):
    return np.dtype(str(dtype).removeprefix("torch."))


def test_no_gradient_is_computed_that_nobody_wants(monkeypatch):
    asked = []
    monkeypatch.setattr(risk, "vicreg", lambda z, *options, return_grad: asked.append(return_grad) or 0.5)
    z = values()
    assert not losses.vicreg(z.detach()).requires_grad
    with torch.no_grad():
        assert losses.vicreg(z).item() == 0.5
    assert asked == [False, False]


def test_second_derivatives_are_refused():
    """Also where they would be taken for zero: a penalty on the gradient."""
    z = values()
    (gradient,) = torch.autograd.grad(losses.vicreg(z), z, create_graph=True)
    for wanted in (gradient.sum(), (gradient**2).sum() + losses.vicreg(z)):
        with pytest.raises(NotImplementedError, match=r"second derivatives .* do without create_graph=True"):
            wanted.backward()
    assert_close(gradient.detach().numpy(), risk.vicreg(z.detach().numpy(), return_grad=True)[1], tol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_transformations_of_torch_func(name):
    """Gradients and tangents of one, of a batch, forwards and backwards: the gradient of the risk."""
    loss, function, options = LOSSES[name]
    z = values(grad=False)
    batch = torch.stack([z, 2 * z, -z])
    rights = torch.stack([torch.from_numpy(function(one.numpy(), return_grad=True, **options)[1]) for one in batch])

    def one(z):
        return loss(z, **options)

    def same(found, right):
        assert_close(found.numpy(), right.numpy(), tol=1e-13)

    tangent = values(seed=1, grad=False)
    same(torch.func.grad(one)(z), rights[0])
    same(torch.func.jacrev(one)(z), rights[0])
    same(torch.func.jacfwd(one)(z), rights[0])
    same(torch.func.vmap(torch.func.grad(one))(batch), rights)
    same(torch.func.vmap(one, in_dims=1)(batch.movedim(0, 1)), torch.stack([one(z) for z in batch]))
    same(torch.func.grad(lambda batch: torch.func.vmap(one)(batch).sum())(batch), rights)
    for f, at, by, slope in (
        (one, z, tangent, rights[0]),
        (torch.func.vmap(one), batch, tangent.expand(3, -1, -1, -1), rights),
    ):
        value, change = torch.func.jvp(f, (at,), (by,))
        same(value, f(at))
        same(change, (slope * by).flatten(-3).sum(-1))
    assert torch.autograd.gradcheck(one, (z.requires_grad_(),), check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("transform", ["hessian", "grad of grad", "forward over autograd"])
def test_second_derivatives_by_torch_func_are_refused(transform):
    z = values(grad=False)

    def slope(z):
        z = z.clone().requires_grad_() if not z.requires_grad else z
        return torch.autograd.grad(losses.vicreg(z), z)[0]

    calls = {
        "hessian": lambda: torch.func.hessian(losses.vicreg)(z),
        "grad of grad": lambda: torch.func.grad(lambda z: torch.func.grad(losses.vicreg)(z).sum())(z),
        "forward over autograd": lambda: forward_over(slope, z),
    }
    with pytest.raises(NotImplementedError, match="second derivatives"):
        calls[transform]()


def forward_over(slope, z):
    with torch.autograd.forward_ad.dual_level():
        return slope(torch.autograd.forward_ad.make_dual(z, torch.ones_like(z)))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_compiler_sees_one_operator(name, backend):
    """No break in the graph, the same numbers, any batch size, with gradients and without."""
    loss, _, options = LOSSES[name]

    def after_a_network(z):
        return 2.0 * loss(z.tanh(), **options)

    torch._dynamo.reset()
    compiled = torch.compile(after_a_network, backend=backend, fullgraph=True, dynamic=True)
    for n in (5, 6):
        z, same = values(n), values(n)
        found, right = compiled(z), after_a_network(same)
        found.backward()
        right.backward()
        assert_close(found.item(), right.item(), tol=1e-14)
        assert_close(z.grad.numpy(), same.grad.numpy(), tol=1e-13)
        assert_close(compiled(z.detach()).item(), right.item(), tol=1e-14)
    torch._dynamo.reset()


def test_compiled_programs_of_other_kinds():
    """torch.func inside of the compiler, a program that is exported, and activations that are made again."""
    torch._dynamo.reset()
    z = values(grad=False)
    right = torch.from_numpy(risk.vicreg(z.numpy(), return_grad=True)[1])
    for transform in (torch.func.grad, torch.func.jacfwd, torch.func.hessian):  # refused, but never wrong
        with pytest.raises(Exception, match=r"FX node|custom_function_call"):
            torch.compile(transform(losses.vicreg), backend="eager", fullgraph=True)(z)

    class Module(torch.nn.Module):
        def forward(self, z):
            return losses.vicreg(z)

    assert torch.export.export(Module(), (z,)).module()(z).item() == losses.vicreg(z).item()
    z.requires_grad_()
    torch.utils.checkpoint.checkpoint(losses.vicreg, z, use_reentrant=False).backward()
    assert_close(z.grad.numpy(), right.numpy(), tol=1e-13)
    with pytest.raises(Exception, match="at least 2 views"):  # the errors are those of the risk
        torch.compile(losses.vicreg, backend="eager", fullgraph=True)(values(3, 1, 2))
    torch._dynamo.reset()


@pytest.mark.parametrize("name", LOSSES)
def test_negated_tensors(name):
    """The bit that PyTorch keeps in place of the product is heeded, and differentiated."""
    loss, _, options = LOSSES[name]
    leaf = values()
    negative = torch.complex(leaf, leaf).conj().imag
    assert negative.is_neg()
    found = loss(negative, **options)
    found.backward()
    same = values()
    right = loss(-1.0 * same, **options)
    right.backward()
    assert_close(found.item(), right.item(), tol=1e-14)
    assert_close(leaf.grad.numpy(), same.grad.numpy(), tol=1e-13)


def test_options_are_checked_before_the_operator():
    for wrong, error in (({"beta": "1"}, TypeError), ({"beta": -1.0}, ValueError), ({"unbiased": 1}, TypeError)):
        with pytest.raises(error, match="must be"):
            losses.vicreg(values(), **wrong)
    with pytest.raises(ValueError, match="eps must be a finite number > 0"):
        losses.barlow_twins(values(), eps=0)
    with pytest.raises(ValueError, match="variance must be"):
        losses.vicreg_hinge(values(), variance=math.nan)


def test_a_graph_is_used_once_or_kept():
    z = values()
    loss = losses.vicreg(z)
    loss.backward(retain_graph=True)
    first = z.grad.clone()
    loss.backward()
    assert torch.equal(z.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_z_that_changes_in_place_is_noticed():
    """What PyTorch says of its own operations, it says of ours."""
    leaf = values()
    z = leaf * 1.0
    loss = losses.vicreg(z)
    with torch.no_grad():
        z.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_training_a_network_lowers_the_risk():
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    views = torch.from_numpy(GaussianNoise(0.3).views(x, 2, seed=0))
    network = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-2)
    risks = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = losses.vicreg(network(views))
        loss.backward()
        optimizer.step()
        risks.append(loss.item())
    assert risks[-1] < 0.6 * risks[0]


@pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (np.zeros((3, 2, 1)), TypeError, "z must be a torch.Tensor, found ndarray; for arrays use sslcore.risk"),
        (
            lambda: torch.zeros(3, 2, 1, dtype=torch.float16),
            TypeError,
            r"float32 or float64, found torch.float16.*z.float",
        ),
        (lambda: torch.zeros(3, 2, 1, dtype=torch.bfloat16), TypeError, "found torch.bfloat16"),
        (lambda: torch.zeros(3, 2, 1, dtype=torch.int64), TypeError, "found torch.int64"),
        (
            lambda: torch.zeros(3, 2, 1).to_sparse(),
            TypeError,
            r"z is a torch.Tensor that has the layout torch.sparse_coo; hand over z.to_dense\(\)",
        ),
        (lambda: torch.zeros(3, 2, 1, device="meta"), TypeError, r"has no memory \(on the device meta\)"),
        (lambda: torch._efficientzerotensor((3, 2, 1)), TypeError, "has no memory"),
        (lambda: torch.zeros(3, 2, 1, dtype=torch.complex64), TypeError, "found torch.complex64"),
        (lambda: torch.zeros(3, 2), ValueError, r"z must have 3 dimensions \(n, m, k\), found shape \(3, 2\)"),
        (lambda: torch.zeros(3, 1, 2), ValueError, "at least 2 views"),
        (lambda: torch.tensor([[[math.nan], [0.0]]]), ValueError, r"z must be finite, found nan at index \(0, 0, 0\)"),
        (lambda: torch.full((2, 2, 1), 1e30), OverflowError, "too large"),
    ],
)
def test_bad_tensors(z, error, message):
    z = z() if callable(z) else z
    with pytest.raises(error, match=message):
        losses.vicreg(z if isinstance(z, np.ndarray) or not z.dtype.is_floating_point else z.requires_grad_())


# ---------------------------------------------------------------- heads


def noisy(n=60, m=2, d=6, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d)) @ np.diag(np.linspace(0.3, 2.0, d))
    return GaussianNoise(0.3).views(x, m, seed=seed)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_linear_layer(center, dtype):
    views = noisy().astype(dtype)
    rep = pretrain(torch.from_numpy(views), features.Identity(), 4, reg=1e-2, center=center)
    layer = losses.linear_layer(rep, dtype=torch.from_numpy(views).dtype)
    assert isinstance(layer, torch.nn.Linear)
    assert layer.weight.requires_grad
    assert_close(
        layer(torch.from_numpy(views)).detach().numpy(), rep(views), tol=1e-12 if dtype == np.float64 else 1e-5
    )
    assert losses.linear_layer(rep).bias.dtype == torch.float32  # as of any layer
    assert losses.linear_layer(rep, device="meta").weight.device.type == "meta"
    before = rep.linear_head()[0].copy()
    with torch.no_grad():
        layer.weight.zero_()
    assert np.array_equal(rep.linear_head()[0], before)  # the layer has memory of its own


def test_linear_layer_of_other_models():
    """It takes the model's features; a kernel has none that are finite."""
    views = noisy()
    model = features.Nystrom(Gaussian(2.0), 12, seed=0)
    rep = pretrain(views, model, 3, reg=1e-2)
    phi = torch.from_numpy(rep.model(views[:, 0]))
    assert_close(losses.linear_layer(rep, dtype=phi.dtype)(phi).detach().numpy(), rep(views[:, 0]), tol=1e-10)
    with pytest.raises(TypeError, match="no finite linear head"):
        losses.linear_layer(pretrain(views, Gaussian(1.0), 2, reg=1e-2))
    with pytest.raises(TypeError, match=r"must be what sslcore.pretrain returns, found ndarray"):
        losses.linear_layer(np.ones((2, 2)))


def test_the_page_on_pytorch_goes_from_features_to_a_loaded_head():
    text = (Path(__file__).parents[1] / "docs" / "pytorch.md").read_text(encoding="utf-8")
    code = text.partition("<!-- torch example -->\n```python\n")[2].partition("```")[0]
    assert len(code.strip().splitlines()) <= 12
    names = {}
    exec(code, names)
    z = names["network"](names["views"])
    assert z.shape == (1000, 4, 16)
    assert_close(z.detach().numpy(), names["rep"](names["features"]).numpy(), tol=1e-4)


# ---------------------------------------------------------------- the coefficients of deep learning


def deep_loss(z, similarity, variance, covariance):
    """In PyTorch's operations, from the docstring of equivalent_parameters."""
    n, m, k = z.shape
    total = 0.0
    for a in range(m):
        for b in range(m):
            if a != b:
                total = total + similarity * ((z[:, a] - z[:, b]) ** 2).sum() / n / (m * (m - 1))
    centred = (z - z.mean(dim=(0, 1))).reshape(n * m, k)
    c = centred.T @ centred / (n * m)
    diagonal = torch.diagonal(c)
    return total + 2 / k * (variance * ((1 - diagonal) ** 2).sum() + covariance * ((c**2).sum() - (diagonal**2).sum()))


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("covariance", [5.0, 12.0])
def test_equivalent_parameters(m, covariance):
    """The closed form attains the minimum that a quasi-Newton method finds from anywhere, to all digits."""
    similarity, variance, decay, k = 4.0, 5.0, 0.06, 3
    views = noisy(40, m, 5)
    phi = torch.from_numpy(views)
    beta, reg = risk.equivalent_parameters(similarity, variance, covariance, decay, n_components=k)
    rep = pretrain(views, features.Identity(), k, reg=reg, beta=beta, center=True)
    assert rep.n_active == k

    def loss(weight, bias):
        return deep_loss(phi @ weight.T + bias, similarity, variance, covariance) + decay / 2 * (weight**2).sum()

    layer = losses.linear_layer(rep, dtype=phi.dtype)
    minimum = loss(layer.weight, layer.bias)
    minimum.backward()
    assert float(layer.weight.grad.abs().max()) < 1e-7  # stationary
    assert minimum.item() == pytest.approx(2 * variance / k * rep.risk, rel=1e-9)
    torch.manual_seed(0)
    weight = torch.randn(k, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(k, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=2000, tolerance_grad=1e-10, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = loss(weight, bias)
        value.backward()
        return value

    optimizer.step(closure)
    assert loss(weight, bias).item() == pytest.approx(minimum.item(), rel=1e-9)
    assert_same_subspace(weight.detach().numpy().T, layer.weight.detach().numpy().T, tol=1e-4)
    sgd = torch.nn.Parameter(weight.detach().clone())  # the penalty is what weight_decay= does
    sgd.grad = torch.zeros_like(sgd)
    torch.optim.SGD([sgd], lr=1.0, weight_decay=decay).step()
    assert_close(sgd.detach().numpy(), weight.detach().numpy() * (1 - decay), tol=1e-14)
