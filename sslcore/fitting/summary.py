"""The result of a fit or a path in words and plain numbers, for `summary`, `as_dict` and the reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..solvers.certificate import Certificate
    from .path import Path
    from .representation import Representation

__all__ = [
    "as_dict",
    "brief_lines",
    "certificate_line",
    "full_lines",
    "model_line",
    "path_as_dict",
    "path_lines",
    "risk_line",
    "spectrum_line",
]

SHOWN = 8
"""Eigenvalues on one line."""

SHOWN_OF_PATH = 6
"""And on one line of a path."""


def full_lines(rep: Representation, model: Any) -> list[str]:
    """Tell everything that a report needs: model, choice of reg, spectrum as a table, risk, certificate."""
    k = rep.n_components
    state = (
        "all components active (mu > 0)"
        if rep.n_active == k
        else f"{rep.n_active} of {k} components active (mu > 0), the others are zero: reg is too large for them"
    )
    rows = ["             mu      invariance  norm"]
    rows += [
        f"{i + 1:>10}  {mu:7.4f}   {a:8.2e}  {b:8.2e}"
        for i, (mu, a, b) in enumerate(zip(rep.eigenvalues, rep.invariance, rep.norms, strict=True))
    ]
    certificate = rep.certificate
    return [
        model_line(rep, model),
        *([f"            {line}" for line in str(rep.selection).splitlines()] if rep.selection else []),
        "",
        f"spectrum    {state}; mu = 1 - beta * invariance - reg * norm",
        *rows,
        f"{risk_line(rep)} (all components collapsed: {k})",
        f"{certificate_line(certificate)} (tolerance {certificate.tolerance:.0e}), "
        f"gap after the last {certificate.eigengap:.2g}",
    ]


def brief_lines(rep: Representation, model: Any) -> list[str]:
    """Tell the same in four lines."""
    mu = [f"{value:.4f}" for value in rep.eigenvalues[:SHOWN]] + ["..."] * (rep.n_components > SHOWN)
    return [
        model_line(rep, model),
        f"{spectrum_line(rep)} {'  '.join(mu)}",
        risk_line(rep),
        certificate_line(rep.certificate),
    ]


def model_line(rep: Representation, model: Any, *, reg: bool = True) -> str:
    """Name the model and what was asked for; without ``reg`` for reports with a line of its own on it."""
    asked = f"{model}, {rep.n_components} components, {f'reg {rep.reg:g}, ' if reg else ''}beta {rep.beta:g}"
    law = "unbiased" if rep.unbiased else "biased"
    law = law if rep.positives is None else f"positive pairs of {rep.positives}"
    return f"model       {asked}, {law}, {'centred' if rep.center else 'not centred'}"


def spectrum_line(rep: Representation) -> str:
    """Count the active components; the eigenvalues follow."""
    return f"spectrum    {rep.n_active} of {rep.n_components} components active (mu > 0); mu ="


def risk_line(rep: Representation) -> str:
    """Give the penalised risk."""
    return f"risk        {rep.risk:.6f} at the minimum, reg term included"


def certificate_line(certificate: Certificate) -> str:
    """Name the solver and its worst residual."""
    return f"certificate {certificate.algorithm}; worst residual {certificate.worst:.0e}"


def as_dict(rep: Representation) -> dict[str, Any]:
    """Give what was asked for and found as plain numbers and lists."""
    return {
        "reg": rep.reg,
        "beta": rep.beta,
        "unbiased": rep.unbiased,
        "center": rep.center,
        "eigenvalues": rep.eigenvalues.tolist(),
        "invariance": rep.invariance.tolist(),
        "norms": rep.norms.tolist(),
        "n_active": rep.n_active,
        "risk": rep.risk,
        "selection": rep.selection.as_dict() if rep.selection else None,
        "certificate": rep.certificate.as_dict(),
    }


def path_lines(path: Path, model: Any) -> list[str]:
    """Tell of a path the leading eigenvalues and what rules them, as a table for each beta, and the crossings."""
    k = path.eigenvalues.shape[2]
    shown = min(SHOWN_OF_PATH, k)
    header = "       reg  active  " + "  ".join(f"   mu_{i + 1}" for i in range(shown)) + "  ruled by"
    lines = [f"model       {model}, {k} components"]
    for j, beta in enumerate(path.betas):
        lines += ["", f"beta {beta:g}", header]
        for i, reg in enumerate(path.regs):
            mu = "  ".join(f"{value:7.3f}" for value in path.eigenvalues[i, j, :shown])
            lines.append(f"{reg:10.3g}  {path.n_active[i, j]:6}  {mu}  {path.regimes[i, j]}")
    crossings = path.avoided_crossings
    return [
        *lines,
        "",
        "avoided crossings" + ("" if crossings else ": none"),
        *(
            f"  components {c.component + 1} and {c.component + 2}: reg {c.reg:.3g}, beta {c.beta:g}, gap {c.gap:.2g}"
            for c in crossings
        ),
    ]


def path_as_dict(path: Path) -> dict[str, Any]:
    """Give the numbers of a path as plain numbers and lists."""
    return {
        "regs": path.regs.tolist(),
        "betas": path.betas.tolist(),
        "eigenvalues": path.eigenvalues.tolist(),
        "invariance": path.invariance.tolist(),
        "norms": path.norms.tolist(),
        "n_active": path.n_active.tolist(),
        "risk": path.risk.tolist(),
        "position": path.position.tolist(),
        "regimes": path.regimes.tolist(),
        "avoided_crossings": [dict(vars(crossing)) for crossing in path.avoided_crossings],
    }
