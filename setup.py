"""Build entry point; everything is declared in pyproject.toml but the CUDA sources compiled ahead of time.

Where ``nvcc`` is found (in PATH, or below CUDA_HOME or CUDA_PATH), a build compiles the sources of the GPU backend for
the usual devices, which spares the first call on a machine some seconds.  Nothing needs it: without ``nvcc``, or with
``SSLCORE_PREBUILT=0`` in the environment, CuPy compiles them when they are first used.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
BACKEND = Path("sslcore/backends/cupy_gpu")


def load_sources() -> Any:
    """The module that knows the sources, without the package around it, which needs NumPy and CuPy."""
    spec = importlib.util.spec_from_file_location("sources", ROOT / BACKEND / "sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def find_nvcc() -> str | None:
    """The compiler, unless it is not wanted."""
    if os.environ.get("SSLCORE_PREBUILT") == "0":
        return None
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    return shutil.which("nvcc") or shutil.which("nvcc", path=os.pathsep.join(f"{home}/bin" for home in homes))


def profiles() -> list[tuple[str, str]]:
    """What `sslcore.kernels.constant_profiles` gives, read from the source: a build has no NumPy to import it with."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "sslcore" / "kernels").glob("*.py")]
    found: set[tuple[str, str]] = set()
    for kernel in (node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)):
        values = {}
        for line in kernel.body:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
            values[getattr(target, "id", "")] = getattr(line, "value", None)
        pair, one, several = (values.get(name) for name in ("pair", "formula", "_formulas"))
        if not isinstance(pair, ast.Constant) or pair.value == "angle":
            continue
        if isinstance(one, ast.Constant):
            found.add((pair.value, one.value))
        elif isinstance(several, ast.Dict):
            found.update((pair.value, formula) for formula in ast.literal_eval(several).values())
    return sorted(found)


class BuildWithCuda(build_py):
    """`build_py`, then the CUDA sources if there is a compiler."""

    def run(self) -> None:
        """Build."""
        super().run()
        nvcc = find_nvcc()
        if nvcc is not None and not getattr(self, "editable_mode", False):
            compile_all(nvcc, Path(self.build_lib) / BACKEND / "prebuilt")


def compile_all(nvcc: str, folder: Path) -> None:
    """Compile every source for every device that this compiler knows; a failure is reported, and does no harm."""
    sources = load_sources()
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True)
    known = [a for a in sources.ARCHITECTURES if f"sm_{a}" in listed.stdout.split()]
    if listed.returncode or not known:
        print(f"{nvcc} knows none of the devices {sources.ARCHITECTURES}: CUDA sources are compiled when first used")
        return
    shutil.rmtree(folder, ignore_errors=True)  # what an earlier build has left
    folder.mkdir(parents=True)
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in known]

    def compile_one(variant: tuple[Any, ...]) -> None:
        name, target = variant[0], folder / sources.fatbin_name(*variant)
        source = str(ROOT / BACKEND / "cuda" / f"{name}.cu")
        # -ftz=true is what CuPy compiles with
        command = [nvcc, "-fatbin", "-ftz=true", *targets, *sources.options(*variant), source]
        result = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True)
        if result.returncode:
            print(f"{name}.cu was not compiled ahead of time: {result.stderr.strip()}")
            target.unlink(missing_ok=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a compiler
        list(pool.map(compile_one, sources.variants(profiles())))
    sources.write_manifest(folder, known)


setup(cmdclass={"build_py": BuildWithCuda})
