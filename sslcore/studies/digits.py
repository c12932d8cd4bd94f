"""The main job, ``sslcore digits``: real handwritten digits, a representation learnt without labels, then a few labels.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import datasets
from ..arrays import Array, as_seed
from ..augmentations import Affine, Augmentation, Compose, GaussianNoise, Views
from ..features import Nystrom
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..fitting.search import AutoReg
from ..fitting.summary import certificate_line, model_line, risk_line, spectrum_line
from ..kernels import Gaussian, Kernel
from ..probing import LearningCurves, ridge_probe
from ..solvers.selection import Selection
from ._digits_choice import Choice, choice, curves
from ._registry import Registered, Run

__all__ = [
    "STEPS",
    "STUDY",
    "Settings",
    "Study",
    "choose_reg",
    "kernel_pca",
    "label_draws",
    "planar_map",
    "probe_accuracy",
    "study",
]

STEPS = ("choosing reg", "pretraining", "kernel PCA", "probes", "map")
"""Steps of `study`, each of which it reports as it begins it."""

MOVES = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
KERNEL = Gaussian(2.0)


@dataclass(frozen=True)
class Settings:
    """Settings of the study: what it computes.

    The defaults were chosen among about 90, by the accuracy of probes fitted and tested within the first 899 images.
    But for reg: that is chosen on all images without any label, by the risk on a quarter of them (`choose_reg`).
    Kernel PCA was not searched for: it has the same kernel, number of components and probe.  The command has no option
    to tune any of this.

    Attributes
    ----------
    augmentation : Augmentation
        Law of the views.
    n_views : int
        m, views of each image.
    kernel : Kernel
    n_components : int
        k, for kernel PCA too.
    beta : float
        As for `sslcore.pretrain`, unbiased and centred.
    regs : tuple of float
        From which the one of least held-out risk is taken.
    search_features : int
        Nystrom features, at most as many as images, that stand for the kernel in that search.
    n_labels : tuple of int
        Numbers of labelled images in all, multiples of the number of classes.
    n_draws : int
        Draws of the labelled images.
    probe_regs : tuple of float
        Penalties from which each probe takes that of least leave-one-out error, on its labelled images alone.
    """

    augmentation: Augmentation = MOVES
    n_views: int = 4
    kernel: Kernel = KERNEL
    n_components: int = 32
    beta: float = 4.0
    regs: tuple[float, ...] = (1e-2, 1e-3, 3e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
    search_features: int = 768
    n_labels: tuple[int, ...] = (10, 20, 50, 100, 200)
    n_draws: int = 20
    probe_regs: tuple[float, ...] = tuple(float(10 ** (i / 2)) for i in range(-8, 3))


@dataclass(frozen=True, eq=False)
class Study:
    """Results of the study, with its settings.

    Attributes
    ----------
    settings : Settings
    seed : int
    views : Views
        The training views, made again when asked for.
    representation : Representation
    selection : Selection
        How reg was chosen.
    labels : array (n,)
        The digits, used by the probes and the colours only.
    accuracy : dict of arrays (len(n_labels), n_draws)
        Of ``"sslcore"``, ``"kernel_pca"`` and ``"raw"``, on the images that were not labelled.
    map : array (n, 2)
        The embedding of the images in the plane.
    seconds : dict
        Of each of `STEPS`.
    choice : Choice, optional
        Held-out risk beside the error of probes over reg, for the study.
    curves : LearningCurves, optional
        Errors over the numbers of images without and with labels, for the study.
    """

    settings: Settings
    seed: int
    views: Views
    representation: Representation
    selection: Selection
    labels: Array
    accuracy: dict[str, Array]
    map: Array
    seconds: dict[str, float]
    choice: Choice | None = None
    curves: LearningCurves | None = None

    def mean_accuracy(self) -> dict[str, Array]:
        """Return the means over the draws, for each number of labels."""
        return {name: values.mean(axis=1) for name, values in self.accuracy.items()}

    def standard_error(self) -> dict[str, Array]:
        """Return the standard errors of these means."""
        root = self.settings.n_draws**0.5
        return {name: values.std(axis=1, ddof=1) / root for name, values in self.accuracy.items()}

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        rep, settings = self.representation, self.settings
        found = rep.as_dict()
        return {name: found[name] for name in ("eigenvalues", "n_active", "risk", "certificate")} | {
            "selection": self.selection.as_dict(),
            "labels": settings.n_labels,
            "accuracy": self.mean_accuracy(),
            "standard_error": self.standard_error(),
            "settings": {
                "augmentation": repr(settings.augmentation),
                "n_views": settings.n_views,
                "kernel": repr(settings.kernel),
                "n_components": settings.n_components,
                "reg": rep.reg,
                "search_features": settings.search_features,
                "beta": settings.beta,
                "unbiased": rep.unbiased,
                "center": rep.center,
                "n_draws": settings.n_draws,
                "probe_regs": settings.probe_regs,
                "seed": self.seed,
            },
            "seconds_by_step": self.seconds,
            "bytes": rep.certificate.bytes,
            **({} if self.choice is None else {"choice": self.choice.as_dict()}),
            **({} if self.curves is None else {"learning_curves": self.curves.as_dict()}),
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        rep, settings, certificate = self.representation, self.settings, self.representation.certificate
        n, m, d = self.views.shape
        mu = [f"{value:6.3f}" for value in rep.eigenvalues]
        rows = ["            " + " ".join(mu[i : i + 8]) for i in range(0, len(mu), 8)]
        mean, error, chosen = self.mean_accuracy(), self.standard_error(), self.selection
        more = chosen.risk - float(np.nanmin(chosen.risks))
        slack = f" (to {more:.1g}; of such the largest)" if more > 0 else ""

        def accuracies(name: str) -> str:
            return "".join(f"{a:8.3f} ({e:.3f})" for a, e in zip(mean[name], error[name], strict=True))

        return "\n".join(
            [
                f"data        {n:,} digits of {d} pixels; {m} views of each = {n * m:,} views; no labels",
                f"views       {settings.augmentation}, seed {self.seed}",
                model_line(rep, settings.kernel, reg=False),
                "            (chosen among about 90 settings, by probes within the first 899 images)",
                f"reg         {rep.reg:g}: without labels, of least risk{slack} on {chosen.n_held_out} images held out "
                f"from {min(settings.search_features, n)} features:",
                "     reg    " + "".join(f"{reg:>8.0e}" for reg in chosen.regs),
                "    risk    " + "".join(f"{risk:>8.2f}" for risk in chosen.risks),
                f"            (on the images not held out {chosen.risk - chosen.gap:.2f}: a generalisation gap of "
                f"{chosen.gap:.2f})",
                "",
                spectrum_line(rep),
                *rows,
                f"{risk_line(rep)} (all components collapsed: {rep.n_components})",
                f"{certificate_line(certificate)} (tolerance {certificate.tolerance:.0e}), orthonormality "
                f"{certificate.orthonormality:.0e},",
                f"            gap after the last {certificate.eigengap:.3f}, condition {certificate.condition:.1e}, "
                f"jitter {certificate.jitter:g}",
                "",
                f"accuracy of a ridge probe on the images not labelled, mean (standard error) of {settings.n_draws} "
                "draws, as many of each digit:",
                "labelled    " + "".join(f"{count:>8}        " for count in settings.n_labels).rstrip(),
                "sslcore     " + accuracies("sslcore"),
                "kernel PCA  " + accuracies("kernel_pca"),
                "raw pixels  " + accuracies("raw"),
                "",
                "seconds     " + ", ".join(f"{name} {value:.1f}" for name, value in self.seconds.items()),
                f"memory      {certificate.bytes / 1e6:.0f} MB planned for the fit",
                *self._more(),
            ]
        )

    def _more(self) -> list[str]:
        """Return the lines of what the study measures beyond the command."""
        lines = []
        if self.choice is not None:
            found = self.choice.as_dict()
            lines += ["", f"reg, risk on images held out, and error of a probe with {found['n_labels']} labels:"]
            names = ("reg", "risk", "risk_standard_error", "error", "error_standard_error")
            lines += [
                f"{reg:<12.0e}{risk:.3f} ({se:.3f})    {error:.4f} ({other:.4f})"
                for reg, risk, se, error, other in zip(*(found[name] for name in names), strict=True)
            ]
        if self.curves is not None:
            lines += ["", self.curves.summary()]
        return lines

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        choice = ""
        if self.choice is not None:
            found, (more, se) = self.choice.as_dict(), self.choice.price()
            choice = (
                f" Without labels reg {found['reg_by_risk']:g} was chosen, with them {found['reg_by_labels']:g} would "
                f"be: {more:.4f} +- {se:.4f} less error with {found['n_labels']} labels."
            )
        mean, error = self.mean_accuracy(), self.standard_error()

        def accuracies(name: str) -> str:
            return ", ".join(f"{a:.3f} +- {e:.3f}" for a, e in zip(mean[name], error[name], strict=True))

        counts = ", ".join(map(str, self.settings.n_labels))
        return (
            f"The paper: augmentations in place of labels make representations from which few labels are enough. "
            f"Measured with {counts} labelled digits, accuracy {accuracies('sslcore')}; kernel PCA, the same kernel "
            f"without augmentations, {accuracies('kernel_pca')}.{choice}"
        )


def study(
    images: Array,
    labels: Array,
    seed: int = 0,
    settings: Settings | None = None,
    begin: Callable[[str], Any] = lambda step: None,
) -> Study:
    """Pretrain on all images without their labels, then probe with few labels, beside kernel PCA and raw pixels.

    Parameters
    ----------
    images : array (n, d)
    labels : array (n,)
    seed : int
        Of the views, the draws of labelled images and the map.
    settings : Settings, optional
    begin : callable
        Called with each of `STEPS` as it begins.

    Returns
    -------
    Study

    Notes
    -----
    BLAS and OpenMP are held to one thread during the probes and the map, in the whole process: the command is alone in
    its process; do not call this while other threads compute.
    """
    from threadpoolctl import threadpool_limits  # comes with scikit-learn, as the digits do

    settings = settings or Settings()
    seed = as_seed(seed)
    draws = [label_draws(labels, count, settings.n_draws, seed) for count in settings.n_labels]  # checks them
    marks = []

    def enter(step: str) -> None:
        marks.append(time.perf_counter())
        begin(step)

    enter("choosing reg")
    views = Views(images, settings.augmentation, settings.n_views, seed)
    selection = choose_reg(views, settings)
    enter("pretraining")
    representation = pretrain(
        views, settings.kernel, settings.n_components, reg=selection.reg, beta=settings.beta, center=True
    )
    inputs = {"sslcore": representation(images)}
    enter("kernel PCA")
    inputs["kernel_pca"] = kernel_pca(images, settings.kernel, settings.n_components)
    inputs["raw"] = images
    # Hundreds of tiny problems: two threads gain little on an idle machine, and wait for each other on a busy one.
    with threadpool_limits(1):
        enter("probes")
        accuracy = {
            name: np.array(
                [[probe_accuracy(z, labels, draw, settings.probe_regs) for draw in group] for group in draws]
            )
            for name, z in inputs.items()
        }
        enter("map")
        points = planar_map(inputs["sslcore"], seed)
    marks.append(time.perf_counter())
    seconds = dict(zip(STEPS, np.diff(marks).tolist(), strict=True))
    return Study(settings, seed, views, representation, selection, labels, accuracy, points, seconds)


def choose_reg(views: Views, settings: Settings) -> Selection:
    """Choose the reg of least risk on a quarter of the images, held out; no label is looked at.

    For Nystrom features in place of the kernel, which are faster and have their minimum at the same reg.
    """
    features = Nystrom(settings.kernel, min(settings.search_features, len(views)))
    search = AutoReg(settings.regs, n_folds=1)
    rep = pretrain(views, features, settings.n_components, reg=search, beta=settings.beta, center=True)
    assert rep.selection is not None
    return rep.selection


def label_draws(labels: Array, n_labels: int, n_draws: int, seed: int) -> list[Array]:
    """Draw ``n_draws`` lists of images to label: indices, as many of each class, without replacement.

    A draw of fewer labels is a part of the same draw of more: curves over the number of labels are less noisy.
    """
    classes = np.unique(labels)
    each, rest = divmod(n_labels, len(classes))
    if rest or not each:
        raise ValueError(f"n_labels must be a positive multiple of the {len(classes)} classes, found {n_labels}")
    members = [np.flatnonzero(labels == c) for c in classes]
    if n_draws < 2 or each >= min(map(len, members)):
        raise ValueError(f"{n_labels} labels and {n_draws} draws leave nothing to average over, or to test on")
    draws = []
    for draw in range(n_draws):
        rng = np.random.default_rng((seed, draw))
        draws.append(np.concatenate([rng.permutation(group)[:each] for group in members]))
    return draws


def probe_accuracy(z: Array, labels: Array, labelled: Array, regs: tuple[float, ...]) -> float:
    """Return the accuracy on all other images of a ridge probe fitted to the ``labelled`` ones."""
    probe = ridge_probe(z[labelled], labels[labelled], regs)
    others = np.delete(np.arange(len(z)), labelled)
    return probe.score(z[others], labels[others])


def kernel_pca(x: Array, kernel: Kernel, n_components: int) -> Array:
    """Return kernel principal components (n, k) of x (n, d), scaled and centred as scikit-learn's `KernelPCA` does.

    With beta = 0 the unit eigenfunctions f_i are those of the covariance operator, ||f_i||_H^2 = 1 / kappa_i with its
    eigenvalue kappa_i, so the component of variance kappa_i is f_i / ||f_i||_H, whatever reg.
    """
    rep = pretrain(x[:, None], kernel, n_components, reg=1e-6, beta=0.0, center=True)
    out: Array = rep.transform(x, scale="norm")
    return out


def planar_map(z: Array, seed: int) -> Array:
    """Map the embedding (n, k) to the plane, (n, 2), by t-SNE: for the eye only, no number is computed from it."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(z) - 1) / 3)
    out: Array = TSNE(2, init="pca", perplexity=perplexity, max_iter=350, random_state=seed % 2**32).fit_transform(z)
    return out


def _digits(run: Run) -> Study:
    """Run on the images of scikit-learn, with 20 draws of labels, or 100."""
    images, labels = datasets.digits()
    n_draws = 100 if run.full else 20
    found = study(images, labels, run.seed, settings=Settings(n_draws=n_draws), begin=run.begin)
    run.begin("errors over reg")
    at = choice(found, images, label_draws(labels, 100, n_draws, run.seed))
    run.begin("learning curves")
    sizes = (20, 50) if run.full else (4, 10)
    return replace(found, choice=at, curves=curves(found, images, sizes, run.seed, run.cells("curves")))


STUDY = Registered(
    "real handwritten digits: a representation learnt without labels, reg chosen without any, then probes with few",
    run=_digits,
    seconds={
        "choosing reg": 2.5,
        "pretraining": 3.5,
        "kernel PCA": 0.3,
        "probes": 0.3,
        "map": 2.7,
        "errors over reg": 4.0,
        "learning curves": 6.0,
    },
    pictures={"": "digits_figure", "-choice": "choice_figure"},
)
