"""A network trained by gradients on our risk, beside the closed form along lambda: early stopping plays its part.

The points are those of the study `downstream`, on S^7, with shifts by up to 5 places (11 views, of 8 coordinates, so
that three of them come twice: these are computed once).  A multilayer perceptron 8-200-200-20 with layer norm, then a
rectifier, behind each hidden layer, is trained by full-batch gradient descent with momentum; a probe by least squares
of its outputs at the training points is evaluated as it goes on (Cabannes et al. 2023, section 6).

The loss.  All views of a point are there, so that the mean over all m^2 pairs of views is the true T:
E|psi(xi) - psi(xi')|^2 + |C - I|_F^2, `sslcore.torch.vicreg` of the centred outputs.  The authors' is k MSE over pairs
of different views plus k^2 MSE against I of the covariance of the N = n m outputs, with N - 1 below it.  A mean over
entries times their number is a sum, so that this is the same at beta = m / (m - 1), up to N / (N - 1).  It makes a
difference: I - T_published = (m / (m - 1)) (I - T), and whatever has t < 1 / m is not active at any lambda.  That is
every function that these shifts change (t < 0.05), so that no lambda serves the second target.  The networks are
trained on the true T; the closed form has both.

The closed form.  A wide network of this shape at its start, of which the last layer alone is trained, has the kernel
kappa1(kappa1((1 + <x, y>) / 2)) on the unit sphere: PyTorch's weights and biases have the same variance, 1 / (3
fan_in), which makes the first layer's covariance proportional to <x, y> + 1; layer norm divides by what is then the
same for all points; behind the second layer, the bias is left out, which is 1 part to the width, 200, times the mean
square of the activations, 1/2.  So the kernel is not the network's: training moves its hidden layers too, as no
kernel knows.

Pure functions, called by the command line; nothing here prints or draws.  Needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..arrays import Array
from ..fitting.path import pretrain_path
from ..kernels import NNGP
from ..runs import run_cells
from ._registry import Registered, Run, plus_minus
from .downstream import OPERATORS, TARGETS, D

__all__ = ["KERNEL", "REGS", "STUDY", "Study", "closed_form", "loss", "network", "probe", "study", "training", "views"]

N_COMPONENTS, REACH, WIDTH = 20, 5, 200
SHIFTS, PLACES, COUNTS = np.unique(np.mod(np.arange(-REACH, REACH + 1), D), return_inverse=True, return_counts=True)
"""The 8 shifts that differ, the place among them of each of the 11 views, and how many views each of them is."""
RATE, MOMENTUM, STEP = 1e-3, 0.9, 10
"""Of the gradient descent; the probe is evaluated after so many epochs each."""
KERNEL = NNGP(2, fan_in=1.0)
"""Of points (x, 1) / sqrt(2), which are unit vectors: their inner products are (1 + <x, y>) / 2."""
REGS = tuple(float(value) for value in np.logspace(-5.5, -2.5, 9))


@dataclass(frozen=True, eq=False)
class Study:
    """Errors along training and along lambda, with the settings.

    Attributes
    ----------
    epochs : array (E,)
        After which the probe was evaluated; the first is 0.
    trained : array (len(TARGETS), E, repetitions)
        Mean squared error over the test points, relative to the target's mean square there.
    losses : array (E, repetitions)
        The loss at these epochs.
    regs : tuple of float
    exact, published : array (len(TARGETS), len(regs), repetitions)
        The errors of the closed form with the same points; and with T of pairs of different views.
    active : array (len(OPERATORS), len(regs), repetitions)
        How many of its components are active, for the published T and the true one.
    n : tuple of int
        Numbers of training points and of test points.
    """

    epochs: np.ndarray
    trained: np.ndarray
    losses: np.ndarray
    regs: tuple[float, ...]
    exact: np.ndarray
    published: np.ndarray
    active: np.ndarray
    n: tuple[int, int]

    @property
    def repetitions(self) -> int:
        """Number of draws of all points, and of networks."""
        return int(self.trained.shape[2])

    def mean(self, name: str) -> np.ndarray:
        """Return the mean of ``trained``, ``exact`` or ``published`` over repetitions."""
        out: np.ndarray = getattr(self, name).mean(axis=2)
        return out

    def standard_error(self, name: str) -> np.ndarray:
        """Return the standard error of that mean; NaN for a single repetition."""
        values = getattr(self, name)
        if self.repetitions < 2:
            return np.full(values.shape[:2], np.nan)
        out: np.ndarray = values.std(axis=2, ddof=1) / self.repetitions**0.5
        return out

    def best(self, name: str, t: int) -> int:
        """Return the index of the epoch, or of the lambda, of least mean error for a target."""
        return int(self.mean(name)[t].argmin())

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        n, n_test = self.n
        found = {
            target.name: {
                name: {"mean": self.mean(name)[t], "standard_error": self.standard_error(name)[t]}
                for name in ("trained", "exact", "published")
            }
            | {"best_epoch": int(self.epochs[self.best("trained", t)]), "best_reg": self.regs[self.best("exact", t)]}
            for t, target in enumerate(TARGETS)
        }
        return {
            "d": D,
            "views": f"the point and its shifts by up to {REACH}",
            "network": f"{D}-{WIDTH}-{WIDTH}-{N_COMPONENTS}, layer norm and rectifier behind each hidden layer",
            "optimizer": {"rate": RATE, "momentum": MOMENTUM, "batch": "all views"},
            "kernel": f"{KERNEL!r} of (x, 1) / sqrt(2)",
            "n_training": n,
            "n_test": n_test,
            "repetitions": self.repetitions,
            "epochs": self.epochs,
            "loss": self.losses.mean(axis=1),
            "regs": self.regs,
            "active": {name: self.active[o].mean(axis=1) for o, name in enumerate(OPERATORS)},
            "errors": found,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the errors of every repetition."""
        names = ("epochs", "trained", "losses", "exact", "published")
        return {name: getattr(self, name) for name in names}

    def table(self) -> str:
        """Return the results as lines, for people."""
        n, n_test = self.n
        names = "".join(f"{target.name:>24}" for target in TARGETS)
        lines = [
            f"S^{D - 1}, {n} points with {2 * REACH + 1} views each; squared error on {n_test:,} other points over the "
            f"target's mean square,",
            f"mean (standard error) of {self.repetitions} draws; least squares of the outputs at the training points",
            "",
            f"a network {D}-{WIDTH}-{WIDTH}-{N_COMPONENTS}, along training",
            f"{'epoch':<10}{'loss':>10}{names}",
        ]
        shown = sorted({0, *np.unique(np.geomspace(1, len(self.epochs) - 1, 12).astype(int)).tolist()})
        trained, errors = self.mean("trained"), self.standard_error("trained")
        for e in shown:
            row = "".join(f"{f'{trained[t, e]:.4f} ({errors[t, e]:.4f})':>24}" for t in range(len(TARGETS)))
            lines.append(f"{self.epochs[e]:<10}{self.losses[e].mean():>10.3f}{row}")
        for name, operator in (("exact", "true"), ("published", "published")):
            lines += [
                "",
                f"the closed form with the kernel of wide networks, along lambda; T {operator} ({OPERATORS[operator]})",
                f"{'reg':<10}{'active':>10}{names}",
            ]
            mean, errors, active = (
                self.mean(name),
                self.standard_error(name),
                self.active[list(OPERATORS).index(operator)],
            )
            for i, value in enumerate(self.regs):
                row = "".join(f"{f'{mean[t, i]:.4f} ({errors[t, i]:.4f})':>24}" for t in range(len(TARGETS)))
                lines.append(f"{value:<10.1e}{active[i].mean():>10.1f}{row}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        parts = []
        for t, target in enumerate(TARGETS):
            e, i = self.best("trained", t), self.best("exact", t)
            along, across = self.trained[t], self.exact[t]
            parts.append(
                f"{target.name}: network {plus_minus(along[0])} at epoch 0, {plus_minus(along[-1])} at "
                f"{self.epochs[-1]}, least {plus_minus(along[e])} at {self.epochs[e]}; closed form "
                f"{plus_minus(across[-1])} at reg {self.regs[-1]:.1e}, {plus_minus(across[0])} at {self.regs[0]:.1e}, "
                f"least {plus_minus(across[i])} at {self.regs[i]:.1e}"
            )
        least = self.published[1, self.best("published", 1)]
        return (
            f"The paper: early stopping plays the part of lambda, few epochs that of a large one. Measured, relative "
            f"error, {self.repetitions} draws: {'. '.join(parts)}. With the published T, of pairs of different views, "
            f"the closed form has {plus_minus(least)} at its best lambda for the target that is not invariant."
        )


# ---------------------------------------------------------------- the network


def views(x: Array) -> Array:
    """Make the views of each point (n, d): its shifts by -5 to 5; (n, 11, d)."""
    return distinct_views(x)[:, PLACES]


def distinct_views(x: Array) -> Array:
    """Make the views of each point (n, d) that differ, each once: its shifts by 0 to 7; (n, 8, d)."""
    return np.stack([np.roll(x, shift, axis=1) for shift in SHIFTS], axis=1)


def _torch() -> Any:
    """Import PyTorch, or say what to install."""
    try:
        import torch
    except ImportError:
        raise ImportError(
            "the study networks trains with PyTorch: pip install '.[torch]' in sslcore's folder"
        ) from None
    return torch


def network(seed: int, width: int = WIDTH) -> Any:
    """Make the multilayer perceptron as PyTorch begins it; its random state is left as it was.

    Examples
    --------
    >>> import torch
    >>> from sslcore.studies import networks
    >>> networks.network(seed=0)(torch.zeros(5, 8)).shape
    torch.Size([5, 20])
    """
    nn = _torch().nn
    with _torch().random.fork_rng(devices=[]):
        _torch().manual_seed(seed)
        hidden = [part for inputs in (D, width) for part in (nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(width, N_COMPONENTS))


def loss(z: Any, operator: str = "true") -> Any:
    """Return the loss of outputs z (n, m, k), E|psi(xi) - psi(xi')|^2 + |C - I|_F^2 with their centred covariance C.

    "true": pairs are all m^2 of a point's views, and C has N = n m below it; "published": pairs are those of different
    views, and C has N - 1.

    Examples
    --------
    >>> import torch
    >>> from sslcore.studies import networks
    >>> z = torch.tensor([[[3.0], [3.0]], [[1.0], [1.0]]], dtype=torch.float64)
    >>> networks.loss(z).item(), round(networks.loss(z, "published").item(), 12)  # C = 1, C = 4/3
    (0.0, 0.111111111111)
    """
    from ..torch import vicreg

    n, m, _ = z.shape
    away = z - z.mean(dim=(0, 1))
    if operator == "true":
        return vicreg(away)
    more = n * m / (n * m - 1)
    return vicreg(away * more**0.5, beta=m / (m - 1) / more)


def probe(phi: Array, y: Array, n: int) -> np.ndarray:
    """Fit targets y (N, t) to values phi (N, k) at the first n points by least squares without an intercept.

    Returns
    -------
    array (t,)
        The mean squared error over the other points, relative to the target's mean square there.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies.networks import probe
    >>> phi = np.arange(6.0)[:, None]
    >>> probe(phi, np.hstack([2 * phi, phi + 1]), 4).round(3).tolist()
    [0.0, 0.03]
    """
    weights = np.linalg.lstsq(phi[:n], y[:n], rcond=None)[0]
    wrong = ((phi[n:] @ weights - y[n:]) ** 2).mean(axis=0)
    out: np.ndarray = wrong / (y[n:] ** 2).mean(axis=0)
    return out


def training(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Train a network on the points of one draw, and evaluate it as it goes on: a cell of `run_cells`."""
    torch = _torch()
    x, y, seed = _drawn(settings, index)
    n, width = settings["n"], settings["width"]
    batch = torch.tensor(distinct_views(x[:n]), dtype=torch.float32)
    places = torch.tensor(PLACES)
    points = torch.tensor(x, dtype=torch.float32)
    net = network(seed, width)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    errors, losses = [], []
    for epoch in range(settings["epochs"] + 1):
        value = loss(net(batch).index_select(1, places), settings["operator"])
        if epoch % STEP == 0:
            with torch.no_grad():
                errors.append(probe(net(points).double().numpy(), y, n))
            losses.append(value.item())
        if epoch < settings["epochs"]:
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    return {"errors": np.array(errors).T, "losses": np.array(losses)}


# ---------------------------------------------------------------- the closed form


def with_bias(x: Array) -> Array:
    """Return (x, 1) / sqrt(2) for points of the sphere (..., d): what the first layer sees, as unit vectors."""
    out: Array = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1) / 2**0.5
    return out


def closed_form(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Minimise the same risk over the functions of the kernel, at every lambda: a cell of `run_cells`.

    Views that come twice are taken once, with twice the weight.  T over all pairs of the 11 views, at beta = 11/10, is
    the published one.  (The N - 1 of its loss would change reg by 1 part in N.)

    Returns
    -------
    dict
        Errors (len(OPERATORS), len(TARGETS), len(regs)), and numbers of active components (len(OPERATORS), len(regs)).
    """
    x, y, _ = _drawn(settings, index)
    n, regs = settings["n"], settings["regs"]
    m = len(PLACES)
    betas = {"true": 1.0, "published": m / (m - 1)}
    path = pretrain_path(
        with_bias(distinct_views(x[:n])),
        KERNEL,
        N_COMPONENTS,
        regs=regs,
        betas=sorted(betas.values()),
        unbiased=False,
        center=True,
        sample_weight=np.tile(COUNTS / m, (n, 1)),
    )
    centres = path.at(0).centres
    assert centres is not None
    values = KERNEL(with_bias(x), centres)  # once for all lambdas
    shape = (len(OPERATORS), len(TARGETS), len(regs))
    errors, active = np.ones(shape), np.zeros((shape[0], shape[2]), int)
    for o, operator in enumerate(OPERATORS):
        for i in range(len(regs)):
            rep = path.at(i, sorted(betas.values()).index(betas[operator]))
            active[o, i] = rep.n_active
            if rep.n_active:
                functions = values @ rep.coefficients + rep.intercept
                errors[o, :, i] = probe(functions[:, : rep.n_active], y, n)
    return {"errors": errors, "active": active}


def _drawn(settings: dict[str, Any], index: int) -> tuple[Array, Array, int]:
    """Draw the points of a repetition, (N, d); return their targets (N, t), and the seed of the network, too."""
    one, two = np.random.SeedSequence(settings["seed"], spawn_key=(index,)).generate_state(2)
    x = datasets.sphere(settings["n_points"], D, seed=int(one))
    return x, np.stack([target(x) for target in TARGETS], axis=1), int(two)


# ---------------------------------------------------------------- all of it


def study(
    epochs: int = 1500,
    repetitions: int = 4,
    regs: Sequence[float] = REGS,
    n: int = 300,
    n_points: int = 2000,
    width: int = WIDTH,
    run: Run | None = None,
) -> Study:
    """Train networks on n points and evaluate them on the other points, beside the closed form with the same points.

    Parameters
    ----------
    epochs : int
        A multiple of 10, of which each is evaluated.
    repetitions : int
        Draws of points, and of networks.
    regs : sequence of float
    n, n_points : int
        Training points, and all.
    width : int
        Of the hidden layers.
    run : Run, optional
        Told the steps ``"closed form"`` and ``"networks"``; its workers share the repetitions.

    Examples
    --------
    >>> from sslcore.studies import networks
    >>> found = networks.study(20, 2, (1e-3, 1e-2), n=30, n_points=100, width=16)
    >>> found.epochs, found.trained.shape, found.exact.shape
    (array([ 0, 10, 20]), (2, 3, 2), (2, 2, 2))
    """
    run = run or Run()
    version = str(_torch().__version__)
    settings = {"seed": run.seed, "n": n, "n_points": n_points}
    run.begin("closed form")
    kernel = settings | {"regs": [float(value) for value in regs]}
    fits = run_cells(closed_form, range(repetitions), settings=kernel, **run.cells("closed-form"))
    run.begin("networks")
    gradients = settings | {"epochs": epochs, "width": width, "operator": "true", "torch": version}
    nets = run_cells(training, range(repetitions), settings=gradients, **run.cells("networks"))
    exact = {name: np.stack([cell["errors"][o] for cell in fits], axis=2) for o, name in enumerate(OPERATORS)}
    return Study(
        np.arange(0, epochs + 1, STEP),
        np.stack([cell["errors"] for cell in nets], axis=2),
        np.stack([cell["losses"] for cell in nets], axis=1),
        tuple(float(value) for value in regs),
        exact["true"],
        exact["published"],
        np.stack([cell["active"] for cell in fits], axis=2),
        (n, n_points - n),
    )


def _sized(run: Run) -> Study:
    """Train 4 networks for 1,500 epochs, or 100 for 5,000 (hours)."""
    if not run.full:
        return study(run=run)
    return study(5000, 100, np.logspace(-5.5, -2.5, 25).tolist(), run=run)


STUDY = Registered(
    "a network trained on our risk: early stopping plays the part that lambda has in the closed form",
    run=_sized,
    seconds={"closed form": 12.0, "networks": 52.0},
)
