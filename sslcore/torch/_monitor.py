"""A monitor of a network that trains: a hook that accumulates second moments of its features."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..arrays import check_choice, check_integer, check_scalar, with_values, within_torch_func
from ..features import Identity
from ..fitting.moments import Moments
from ._monitor_report import MonitorReport, Seen, Watched, reported

__all__ = ["Monitor"]

LAYOUTS = ("concatenated", "interleaved", "separate")

HEADROOM = 20
"""Powers of 2 by which features may exceed the unit of their moments: their fourth powers are far from overflow."""


class Monitor:
    """Watch the features of a network while it trains: collapse, and how far its head is from the best one.

    A forward hook on the encoder takes, of every ``every``-th batch in training mode, the features of a few samples at
    their views, and adds them to second moments (`sslcore.Moments`).  After ``report_every`` batches these tell the
    head's risk beside the exact minimum over all linear heads on the same features, RankMe, alpha-ReQ, LiDAR, and how
    many components can be active; then they begin anew.  Training is not touched: the same gradients, random numbers
    and modes, no tensor is kept.

    Parameters
    ----------
    encoder : torch.nn.Module or None
        Whose output is features (N, r), or (n, m, r) of m views of n samples.  Of a compiled network, what
        ``torch.compile`` returned.  None: hand features to `update` yourself.
    head : torch.nn.Linear, optional
        The last layer, psi = W phi + b, whose input is the encoder's output; of an MLP let ``encoder`` be all but its
        last layer.  Watched as it is at the time of a report.
    n_components : int, optional
        k, without a head (with one, that of its outputs); by default the width of the features, at most 32.
    views : {"concatenated", "interleaved", "separate"}
        How outputs (N, r) hold views: the first view of all samples, then the second, as ``torch.cat([a, b])`` has
        them; the views of a sample one after the other; or the encoder is called once for each view.
    n_views : int
        m, the views of each sample.
    every : int
        Of so many batches one is looked at.
    samples : int
        Of it, so many samples, the first ones; batches are drawn at random anyway.
    report_every : int
        Batches between two reports.
    beta : float
        Weight of the invariance in the risk.
    reg : float, optional
        Weight lambda > 0 of the head's ||W||^2 (`sslcore.risk.equivalent_parameters` translates weight decay); by
        default 1e-4 of the mean variance of a feature.
    log : callable, logging.Logger or None
        Gets each report as a string; a logger gets a warning where something has collapsed.

    Attributes
    ----------
    reports : list of MonitorReport
        All so far.

    Raises
    ------
    TypeError, ValueError
        Also at the first batch that is watched: an output that is no tensor of real numbers with the dimensions above,
        a number of rows that is no multiple of the views, a head of another width.

    Notes
    -----
    The cost of a batch that is looked at is that of samples m r^2 products, that of a report some r^3; both are on the
    host, where 16 r^2 bytes are kept.  Features on a device are copied (the few that are looked at).  Each process of a
    distributed training watches its own samples.  A copy of the encoder (`copy.deepcopy`, a pickle) is not watched.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> _ = torch.manual_seed(0)
    >>> encoder = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU())
    >>> head = torch.nn.Linear(16, 4)
    >>> monitor = sslcore.torch.Monitor(encoder, head, every=1, report_every=20, log=None)
    >>> for _ in range(20):
    ...     x = torch.randn(64, 8)  # a batch, two views of each sample
    ...     z = head(encoder(torch.cat([x + 0.1 * torch.randn(64, 8) for _ in range(2)])))
    >>> report = monitor.reports[-1]
    >>> report.n, report.n_active, report.risk >= report.recombined >= report.minimum
    (1280, 4, True)
    """

    def __init__(
        self,
        encoder: torch.nn.Module | None,
        head: torch.nn.Linear | None = None,
        *,
        n_components: int | None = None,
        views: str = "concatenated",
        n_views: int = 2,
        every: int = 10,
        samples: int = 128,
        report_every: int = 500,
        beta: float = 1.0,
        reg: float | None = None,
        log: Callable[[str], Any] | logging.Logger | None = print,
    ) -> None:
        if encoder is not None and not isinstance(encoder, torch.nn.Module):
            raise TypeError(f"encoder must be a torch.nn.Module or None, found {type(encoder).__name__}")
        if head is not None and not isinstance(head, torch.nn.Linear):
            raise TypeError(
                f"head must be a torch.nn.Linear, found {type(head).__name__}; of an MLP give the last layer, and as "
                f"encoder all before it"
            )
        if log is not None and not callable(log) and not isinstance(log, logging.Logger):
            raise TypeError(f"log must be a function of a string, a logging.Logger or None, found {log!r}")
        if head is not None and n_components not in (None, head.out_features):
            raise ValueError(f"n_components is that of the head, {head.out_features}, found {n_components!r}")
        self._k = None if n_components is None else check_integer(n_components, "n_components", minimum=1)
        self._views = check_choice(views, "views", LAYOUTS)
        self._m = check_integer(n_views, "n_views", minimum=2)
        self._every = check_integer(every, "every", minimum=1)
        self._samples = check_integer(samples, "samples", minimum=2)
        self._report_every = check_integer(report_every, "report_every", minimum=1)
        self._beta = check_scalar(beta, "beta", minimum=0.0)
        self._reg = None if reg is None else check_scalar(reg, "reg", minimum=0.0, strict=True)
        self._log = log
        # the encoder holds the monitor, by its hook, and not the other way round
        self._encoder = None if encoder is None else weakref.ref(encoder)
        self._head = None if head is None else weakref.ref(head)
        self.reports: list[MonitorReport] = []
        self._batches = self._calls = 0
        self._handle: Any = None
        self._begin()
        self.watch()

    def _begin(self) -> None:
        self._moments, self._not_finite = Moments(Identity(), backend="numba"), 0
        self._unit: int | None = None  # features are added in units of 2^unit: no square vanishes or overflows
        self._epsilon = 0.0  # their relative rounding
        self._pending: list[np.ndarray] = []

    def watch(self) -> None:
        """Put the hook onto the encoder, where it is already unless `close` has taken it away."""
        encoder = None if self._encoder is None else self._encoder()
        self._calls, self._pending = 0, []  # of a batch whose other views never came
        if encoder is not None and self._handle is None:
            self._handle = encoder.register_forward_hook(_Watch(self))

    def close(self) -> None:
        """Take the hook away; reports stay, and `report` tells what was seen since the last."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def update(self, features: torch.Tensor) -> None:
        """Take a batch of features (n, m, r), m views of each of n samples: for those who use no hook."""
        if not isinstance(features, torch.Tensor) or features.ndim != 3:
            raise TypeError(f"features must be a tensor (n, m, r), found {_shown(features)}")
        self._take(features)

    def report(self) -> MonitorReport:
        """Tell what was seen since the last report, now; what was seen stays.

        Raises
        ------
        ValueError
            Fewer than two samples were seen.
        """
        if self._moments.n == 1:
            raise ValueError("found 1 sample since the last report, expected at least 2")
        if self._moments.n < 1:
            why = f": features were not finite in {self._not_finite} batches" if self._not_finite else ""
            raise ValueError(f"no batch was looked at since the last report{why}")
        return self._found()

    def _found(self) -> MonitorReport:
        head = None if self._head is None else self._head()
        weight = None if head is None else head.weight.detach().to("cpu", torch.float64).numpy()
        highest = max((old.rankme for old in self.reports), default=0.0)
        seen = Seen(self._moments, self._unit or 0, self._epsilon)
        watched = Watched(self._batches, seen, weight, self._not_finite, highest)
        return reported(watched, self._k, self._beta, self._reg)

    def callback(self) -> Any:
        """Make a callback for the trainer of Lightning, which gives the numbers of each report to its loggers.

        Returns
        -------
        lightning.pytorch.Callback
            Which watches while ``fit`` runs.

        Raises
        ------
        ImportError
            Lightning is not installed.
        """
        base = _lightning().Callback
        monitor = self

        class MonitorCallback(base):  # type: ignore[valid-type,misc]
            """Watches while a fit runs."""

            told = len(monitor.reports)

            def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
                """Begin."""
                monitor.watch()

            def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
                """Hand new numbers on."""
                for found in monitor.reports[self.told :]:
                    for logger in trainer.loggers:
                        logger.log_metrics(found.metrics(), step=trainer.global_step)
                self.told = len(monitor.reports)

            def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
                """End."""
                monitor.close()

        return MonitorCallback()

    # ---------------------------------------------------------------- what is seen

    def _see(self, output: Any) -> None:
        """Take what the encoder has returned."""
        if not isinstance(output, torch.Tensor):
            raise TypeError(
                f"the encoder's output must be a tensor, found {type(output).__name__}; watch the module whose output "
                f"the features are, or hand them to update"
            )
        if output.ndim == 3:
            self._take(output)
        elif output.ndim != 2:
            raise ValueError(
                f"the encoder's output must be (N, r) or (n, m, r), found {_shown(output)}; feature maps must be "
                f"pooled or flattened before"
            )
        elif self._views == "separate":
            self._take_one(output)
        elif len(output) % self._m:
            raise ValueError(
                f"the encoder's output has {len(output)} rows, no multiple of n_views = {self._m}; set n_views, or "
                f"views='separate' if it is called for each view"
            )
        elif self._views == "concatenated":
            self._take(output.detach().unflatten(0, (self._m, -1)).transpose(0, 1))
        else:
            self._take(output.detach().unflatten(0, (-1, self._m)))

    def _take_one(self, output: torch.Tensor) -> None:
        """Take one view of a batch; the last view completes it."""
        place = self._calls % self._m
        self._calls += 1
        if self._batches % self._every == 0:
            part = self._on_host(output)
            if place and (not self._pending or part.shape != self._pending[0].shape):
                self._calls = 0
                raise ValueError(
                    f"the encoder was called for view {place + 1} with {len(output)} rows, and for the first with "
                    f"others; views='separate' expects {self._m} calls with the same samples one after the other"
                )
            self._pending = [*self._pending[:place], part.copy()]
        if place == self._m - 1:
            if self._pending:
                self._add(np.stack(self._pending, axis=1))
            self._pending = []
            self._count()

    def _take(self, features: torch.Tensor) -> None:
        """Take a batch (n, m, r)."""
        if self._batches % self._every == 0:
            if features.shape[1] < 2:
                raise ValueError(f"features must be of at least 2 views of each sample, found {_shown(features)}")
            self._add(self._on_host(features))
        self._count()

    def _on_host(self, features: torch.Tensor) -> np.ndarray:
        """Return the features of the first samples."""
        part = features.detach()[: self._samples]
        if not part.is_floating_point():
            raise TypeError(f"features must be real numbers in floating point, found {_shown(features)}")
        with_values(part, "features")
        self._epsilon = max(self._epsilon, torch.finfo(part.dtype).eps)
        wide = torch.float64 if part.dtype == torch.float64 else torch.float32
        found: np.ndarray = part.to("cpu", wide).numpy()
        return found

    def _add(self, z: np.ndarray) -> None:
        """Add features (n, m, r) to the moments, if they are finite."""
        head = None if self._head is None else self._head()
        if head is not None and head.in_features != z.shape[2]:
            raise ValueError(f"the head takes {head.in_features} features, the encoder's output has {z.shape[2]}")
        if not np.isfinite(z).all():
            self._not_finite += 1
            return
        largest = float(np.abs(z).max(initial=0.0))
        exponent = math.frexp(largest)[1]
        if largest and (self._unit is None or exponent > self._unit + HEADROOM):
            if self._unit is not None:
                sums = self._moments._total().scaled(self._unit - exponent)
                self._moments = Moments.of_sums(
                    Identity(), len(sums.mean), sums, (), epsilon=self._epsilon, backend="numba", from_host=False
                )
            self._unit = exponent
        self._moments.update(np.ldexp(z, -(self._unit or 0)))

    def _count(self) -> None:
        """Count a batch; report where it is time to."""
        self._batches += 1
        if self._batches % self._report_every:
            return
        if self._moments.n >= 2:
            found = self._found()
            self.reports.append(found)
            self._tell(str(found), found.verdict != "no collapse" or found.not_finite > 0)
        elif self._not_finite:
            self._tell(f"batch {self._batches}: features were not finite in any batch that was looked at", True)
        self._begin()

    def _tell(self, text: str, warn: bool) -> None:
        if isinstance(self._log, logging.Logger):
            self._log.log(logging.WARNING if warn else logging.INFO, text)
        elif self._log is not None:
            self._log(text)


class _Watch:
    """The hook; a copy of it, which comes with a copy of the encoder, does nothing."""

    def __init__(self, monitor: Monitor | None = None) -> None:
        self.monitor = monitor

    def __call__(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        if self.monitor is None or not module.training or torch.compiler.is_compiling():
            return
        if isinstance(output, torch.Tensor) and (output.is_meta or within_torch_func(output)):
            return  # shapes are asked for, not values
        with torch.no_grad():
            self.monitor._see(output)

    def __deepcopy__(self, memo: Any) -> _Watch:
        return _Watch()

    def __reduce__(self) -> Any:
        return _Watch, ()


def _shown(value: Any) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _lightning() -> Any:
    """Import Lightning, under either of its names."""
    import importlib

    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("a callback for Lightning needs it: pip install lightning")
