"""Run benchmarks, print the table, write JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path

from .report import behind, machine, plain, table

BENCHMARKS = {  # name: module and function
    "exact": ("exact", "run"),
    "exact_large": ("exact", "run_large"),
    "matrix_free": ("matrix_free", "run"),
    "matrix_free_large": ("matrix_free", "run_large"),
    "gram": ("gram", "run"),
    "kernels": ("kernels", "run"),
    "features": ("features", "run"),
    "fields": ("fields", "run"),
    "path": ("path", "run"),
    "nested": ("nested", "run"),
    "pairs": ("pairs", "run"),
    "pairs_large": ("pairs", "run_large"),
    "search": ("search", "run"),
    "risk": ("risk", "run"),
    "stream": ("stream", "run"),
    "stream_large": ("stream_large", "run"),
    "leaves": ("leaves", "run"),
    "dask": ("dask", "run"),
    "prefix_probes": ("probes", "run"),
    "product": ("product", "run"),
    "transform": ("transform", "run"),
    "plans": ("plans", "run"),
    "tiny": ("small", "run_tiny"),
    "import": ("small", "run_import"),
    "views": ("views", "run"),
    "laws": ("views", "run_laws"),
    "walsh": ("population", "run_walsh"),
    "cube": ("population", "run_cube"),
    "population_risk": ("population", "run_risk"),
    "monitor": ("monitor", "run"),
    "practice": ("practice", "run"),
    "wine": ("wine", "run"),
}
ON_A_GPU = {
    "gpu_gram": ("gpu", "run_gram"),
    "gpu_exact": ("gpu", "run_exact"),
    "gpu_features": ("gpu", "run_features"),
    "gpu_risk": ("gpu", "run_risk"),
}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"of {', '.join(BENCHMARKS)} (default: all of these), or of {', '.join(ON_A_GPU)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, few runs: a test of the benchmarks")
    parser.add_argument("--output", type=Path, help="JSON file; default: bench/results/<names, or all>.json")
    arguments = parser.parse_args()
    every = BENCHMARKS | ON_A_GPU
    unknown = [name for name in arguments.names if name not in every]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(every)}")
    names = arguments.names or list(BENCHMARKS)
    described = machine()
    print(json.dumps(described, indent=1))
    if described["load_average"][0] > described["cores"] / 4:
        print("WARNING: the machine is busy; times below are those of a busy machine")
    if older := behind(described):
        print(f"WARNING: BLAS runs code for {older[0]} beside AVX-512: OPENBLAS_CORETYPE=SkylakeX changes that")
    results, rows = [], []
    for name in names:
        module, function = every[name]
        print(f"{name}", flush=True)
        started = time.perf_counter()
        result = getattr(importlib.import_module(f"bench.{module}"), function)(quick=arguments.quick)
        results.append({"name": name, **plain(result), "took": round(time.perf_counter() - started, 1)})
        rows += result["rows"]
    label = "-".join(arguments.names) or "all"
    output = (
        arguments.output or Path(__file__).parent / "results" / f"{label}{'-quick' if arguments.quick else ''}.json"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": described, "quick": arguments.quick, "results": results}, indent=1) + "\n")
    print(f"\n{table(rows)}\n\nwritten to {output}")


if __name__ == "__main__":
    main()
