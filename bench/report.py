"""Machine, results and tables."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["Row", "behind", "machine", "plain", "require", "table"]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``met`` is None where there is no target."""

    work: str
    to_reach: str
    measured: str
    limit: str
    met: bool | None = None


def table(rows: list[Row]) -> str:
    """Markdown: work, to reach, measured, limit."""
    lines = ["| work | to reach | measured | limit |", "|---|---|---|---|"]
    for row in rows:
        missed = " (**missed**)" if row.met is False else ""
        lines.append(f"| {row.work} | {row.to_reach} | {row.measured}{missed} | {row.limit} |")
    return "\n".join(lines)


def require(what: str, error: float, limit: float) -> float:
    """Print an error and stop if it is too large: nothing wrong is timed."""
    print(f"  check: {what}: {error:.1e} (limit {limit:.0e})", flush=True)
    if not error <= limit:
        raise AssertionError(f"{what}: {error:.3g} exceeds {limit:.3g}")
    return float(error)


def machine() -> dict[str, Any]:
    """Processor, memory, versions and the code path that each BLAS has chosen."""
    import psutil
    import scipy.linalg  # noqa: F401  (so that its BLAS is loaded and listed)
    from threadpoolctl import threadpool_info

    packages = ("numpy", "scipy", "numba", "scikit-learn", "sslcore")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": os.getloadavg(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "blas": [
            {key: pool.get(key) for key in ("prefix", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
        ],
    }


def behind(described: dict[str, Any]) -> list[str]:
    """Name the code paths without AVX-512 that a BLAS of this `machine` has chosen on a processor that has it."""
    import llvmlite.binding

    if not llvmlite.binding.get_host_cpu_features().get("avx512f"):
        return []
    chosen = {pool["architecture"] for pool in described["blas"]}
    return sorted(chosen & {"Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott"})


def _version(package: str) -> str | None:
    """None for what is not installed: sslcore may run from its sources, and scikit-learn is optional."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Name, family and model: virtual machines often hide the first."""
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return platform.processor()
    found = {key.strip(): value.strip() for key, value in fields.items()}
    name = found.get("model name", platform.processor())
    return f"{name} (family {found.get('cpu family')}, model {found.get('model')})"


def plain(value: Any) -> Any:
    """Dataclasses and NumPy scalars as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
