"""``sslcore fit``: from a file of samples or views to a model, an embedding, a report and a figure."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import Report, UsageError, add_drop, add_progress, check_outputs, columns_of, progress

if TYPE_CHECKING:
    from ..representation import Representation
    from ..tables import Table

EXACT_UP_TO = 6000
"""Views up to which the model by default is a kernel's exact solution; beyond, Nystrom features of it."""


def declare(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Report]:
    """Learn a representation of the data in a file, without labels.

    FILE holds samples, one a row (.csv, .npy, .npz), of which --augment makes views; or views made elsewhere, an array
    (samples, views, coordinates).  The exact minimiser of the regularised VICReg risk over the functions of a kernel,
    or of features, is written to PREFIX-model.npz (for `sslcore transform` and `sslcore probe`, or sslcore.load in
    Python), its values at the data to PREFIX-embedding.npy, what was found to PREFIX-report.txt and a picture to
    PREFIX-figure.png: all four, or none.
    """
    parser.add_argument(
        "file", metavar="FILE", help="data; FILE:NAME chooses columns of a .csv, or an array of an .npz"
    )
    parser.add_argument(
        "--augment",
        action="append",
        metavar="LAW",
        help="how views are made, such as gaussian-noise:0.1; several, with + or by repeating the option, follow each "
        "other",
    )
    parser.add_argument("--views", type=int, metavar="M", help="views of each sample (default: 2)")
    parser.add_argument(
        "--kernel",
        metavar="KERNEL",
        help="such as gaussian:2 or 'exponential:0.2+0.1*linear' (default: exponential, at half the median distance of "
        "the data)",
    )
    parser.add_argument(
        "--features",
        metavar="MAP",
        help=f"in place of the kernel's exact solution, such as nystrom:1024, or identity for data that are features "
        f"already (default: nystrom:1024 if there are over {EXACT_UP_TO:,} views)",
    )
    parser.add_argument("--components", type=int, default=8, metavar="K", help="dimensions (default: %(default)s)")
    parser.add_argument(
        "--reg", type=float, default=1e-3, metavar="LAMBDA", help="weight of the norm (default: %(default)s)"
    )
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the invariance (default: %(default)s)")
    parser.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="covariance in place of second moments (default: yes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of views and landmarks (default: %(default)s)")
    add_drop(parser)
    parser.add_argument("--out", metavar="PREFIX", help="of the four files (default: the name of FILE, in this folder)")
    parser.add_argument("--memory", metavar="SIZE", help="refuse what needs more, such as 8GB (default: what is free)")
    parser.add_argument("--backend", choices=("numba", "cupy"), help="where to compute (default: numba, the CPU)")
    parser.add_argument("--figure", action=argparse.BooleanOptionalAction, default=True, help="draw it (default: yes)")
    add_progress(parser)
    parser.set_defaults(forms=_forms)

    def run(args: argparse.Namespace) -> Report:
        started = time.perf_counter()
        from ..grammar import parse_augmentation, parse_features, parse_kernel
        from ..tables import parse_source, read_points

        source = parse_source(args.file)
        augmentation = parse_augmentation("+".join(args.augment)) if args.augment else None
        kernel = parse_kernel(args.kernel) if args.kernel else None
        if args.features:  # with any kernel: that of the data is not known yet
            _check_features(args)
        prefix = source.path.stem if args.out is None else args.out
        outputs = {what: Path(f"{prefix}-{what}{suffix}") for what, suffix in OUTPUTS.items()}
        if args.figure:
            from .. import plotting  # noqa: F401  (or it says what is missing, before the work)
        else:
            del outputs["figure"]
        check_outputs(outputs, [source.path])

        steps = {"reading": 0.2 + source.size() / 20e6, "fit": 3.0, "embedding": 0.5, "writing": 1.5}
        with progress(args.progress, steps) as begin:
            begin("reading")
            table = read_points(source, args.drop)
            views = _views(table, augmentation, args)
            if kernel is None and args.features != "identity":
                kernel = _default_kernel(table.values)
            if args.features:
                model: Any = parse_features(args.features, kernel, args.seed)
            else:
                model = kernel
                if args.kernel is None and views.shape[0] * views.shape[1] > EXACT_UP_TO:
                    model = parse_features("nystrom:1024", kernel, args.seed)
            begin.expect("fit", _expected(views, model, args))
            begin("fit")
            from ..pretraining import pretrain

            rep = pretrain(
                views,
                model,
                args.components,
                reg=args.reg,
                beta=args.beta,
                center=args.center,
                memory=args.memory,
                backend=args.backend,
            )
            begin("embedding")
            z = rep.transform(table.values, backend=args.backend)
            begin("writing")
            document = {
                "file": str(source),
                "columns": table.columns,
                "n": views.shape[0],
                "n_views": views.shape[1],
                "n_coordinates": views.shape[2],
                "augmentation": None if augmentation is None else repr(augmentation),
                "model": repr(model),
                "n_components": rep.n_components,
                "reg": rep.reg,
                "beta": rep.beta,
                "unbiased": rep.unbiased,
                "center": rep.center,
                "seed": args.seed,
                "eigenvalues": rep.eigenvalues,
                "invariance": rep.invariance,
                "norms": rep.norms,
                "n_active": rep.n_active,
                "risk": rep.risk,
                "certificate": rep.certificate.as_dict(),
                "outputs": {what: str(path) for what, path in outputs.items()},
            }
            text = _text(document, rep)
            _write(outputs, rep, z, table.values, text)
        document["seconds"] = time.perf_counter() - started
        files = ", ".join(map(str, outputs.values()))
        return Report(document, f"{text}\n\n{document['seconds']:.1f} s in all; written: {files}")

    return run


OUTPUTS = {"model": ".npz", "embedding": ".npy", "report": ".txt", "figure": ".png"}


def _forms() -> str:
    """What can be written for the options; asked for by ``--help`` only, since it imports what there is."""
    from ..grammar import augmentation_forms, feature_forms, kernel_forms

    def block(title: str, forms: list[str]) -> str:
        return f"{title}\n" + "\n".join(f"  {form}" for form in forms)

    return "\n\n".join(
        [
            block("kernels (capitals: a value is needed; k+k, k*k and 2*k are kernels too):", kernel_forms()),
            block("augmentations (a+b: one after the other; shapes are written 8x8 or 32x32x3):", augmentation_forms()),
            block("features (of --kernel):", feature_forms()),
        ]
    )


def _check_features(args: argparse.Namespace) -> None:
    from ..features import Identity
    from ..grammar import parse_features, parse_kernel
    from ..kernels import Exponential

    kernel = parse_kernel(args.kernel) if args.kernel else Exponential(1.0)
    if isinstance(parse_features(args.features, kernel, args.seed), Identity) and args.kernel:
        raise UsageError("identity features have no kernel: leave out --kernel, or choose other features")


def _views(table: Table, augmentation: Any, args: argparse.Namespace) -> Any:
    """Views to be made of samples, or those that the file has."""
    from ..augmentations import Views

    x = table.values
    if x.ndim == 3:
        if augmentation is not None or args.views is not None:
            raise UsageError(
                f"{table.source} holds {x.shape[1]} views of each sample already (shape {x.shape}): leave out "
                f"--augment and --views"
            )
        return x
    if augmentation is None:
        raise UsageError(
            f"{table.source} holds samples (shape {x.shape}), not views: add --augment, such as "
            f"--augment gaussian-noise:0.1 (`sslcore fit --help` lists all), or give an array (samples, views, "
            f"coordinates)"
        )
    return Views(x, augmentation, 2 if args.views is None else args.views, args.seed)


def _default_kernel(x: Any) -> Any:
    """The exponential kernel, whose scale matters least, at half the median distance between at most 1,000 points."""
    import numpy as np
    from scipy.spatial.distance import pdist

    from ..kernels import Exponential

    points = np.asarray(x[:: max(1, len(x) // 1000)], dtype=float)
    points = points.reshape(-1, points.shape[-1])[:: max(1, points.size // points.shape[-1] // 1000)]
    distance = float(np.median(pdist(points))) if len(points) > 1 else 0.0
    if not 0 < distance < np.inf:
        raise ValueError("the data are constant, or not finite: there is nothing to represent")
    return Exponential(float(f"{distance / 2:.3g}"))


def _expected(views: Any, model: Any, args: argparse.Namespace) -> float:
    """Seconds that the fit is likely to take; refuses what is too large or makes no sense before it begins."""
    from ..budget import plan

    n, m, d = views.shape
    planned = plan(n, m, d, model, args.components, views.dtype, args.memory)
    return 0.5 + planned.flops / 3e10


def _write(outputs: dict[str, Path], rep: Representation, z: Any, x: Any, text: str) -> None:
    from ..files import replacing_all
    from ..tables import write_npy

    with replacing_all(*outputs.values()) as names:
        parts = dict(zip(outputs, names, strict=True))
        rep.save(parts["model"])
        write_npy(parts["embedding"], z)
        parts["report"].write_text(text + "\n", encoding="utf-8")
        if "figure" in parts:
            from .. import plotting

            plotting.save_png(plotting.fit_figure(rep, x, z), parts["figure"])


def _text(document: dict[str, Any], rep: Representation) -> str:
    certificate = rep.certificate
    n, m, d = document["n"], document["n_views"], document["n_coordinates"]
    made = document["augmentation"]
    k, active = rep.n_components, rep.n_active
    state = (
        "all components active (mu > 0)"
        if active == k
        else f"{active} of {k} components active (mu > 0), the others are zero: reg is too large for them"
    )
    rows = ["             mu      invariance  norm"]
    rows += [
        f"{i + 1:>10}  {mu:7.4f}   {a:8.2e}  {b:8.2e}"
        for i, (mu, a, b) in enumerate(zip(rep.eigenvalues, rep.invariance, rep.norms, strict=True))
    ]
    return "\n".join(
        [
            f"data        {document['file']}: {n:,} samples of {d} coordinates{columns_of(document['columns'])}; "
            "no labels",
            f"views       {m} of each = {n * m:,}, "
            + ("made elsewhere" if made is None else f"{made}, seed {document['seed']}"),
            f"model       {document['model']}, {k} components, reg {rep.reg:g}, beta {rep.beta:g}, unbiased, "
            f"{'centred' if rep.center else 'not centred'}",
            "",
            f"spectrum    {state}; mu = 1 - beta * invariance - reg * norm",
            *rows,
            f"risk        {rep.risk:.6f} at the minimum, reg term included (all components collapsed: {k})",
            f"certificate {certificate.algorithm}; worst residual {certificate.worst:.0e} (tolerance "
            f"{certificate.tolerance:.0e}), gap after the last {certificate.eigengap:.2g}",
        ]
    )
