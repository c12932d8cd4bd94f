"""What a build carries: the CUDA sources, and binaries where there is a compiler; and which of them is used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import kernels
from sslcore.augmentations import GaussianNoise
from sslcore.backends import get_backend
from sslcore.kernels import Gaussian

from .comparators import assert_close
from .cuda_on_host import launcher, standin
from .cuda_on_host.compiler import has_compiler
from .cuda_on_host.package import sources
from .cuda_on_host.standin import cuda
from .examples import declared

ROOT = Path(sslcore.__file__).parents[1]
CUDA = "sslcore/backends/cupy_gpu"

# Takes nvcc's arguments and packs the source for the host's RawModule; what it does besides is in its environment
NVCC = """#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
if arguments == ["--list-gpu-code"]:
    print(os.environ.get("FAKE_CODES", "sm_75 sm_80 sm_90 sm_100 sm_120").replace(" ", chr(10)))
    sys.exit()
(source,) = [a for a in arguments if a.endswith(".cu")]
if os.environ.get("FAKE_FAILURE", "none") in source:
    sys.exit("error: it is Monday")
known = [int(a.partition("code=sm_")[2]) for a in arguments if a.startswith("-gencode=arch=compute_")]
options = [a for a in arguments if a.startswith(("-D", "-std=", "--fmad=", "-ftz="))]
target = Path(arguments[arguments.index("-o") + 1])
assert len(known) + len(options) + 4 == len(arguments) and arguments[0] == "-fatbin", arguments
content = dict(code=Path(source).read_text(), options=options, architectures=known)
target.write_bytes({magic!r} + json.dumps(content).encode())
"""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """What is in version control, without what builds and tests leave."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "sslcore", folder / "sslcore", ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="session")
def nvcc(tmp_path_factory):
    """A folder with a compiler of this name."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "nvcc"
    script.write_text(NVCC.format(python=sys.executable, magic=launcher._FATBIN), encoding="utf-8")
    script.chmod(0o755)
    return folder


def build(checkout, target, path, **environment):
    """`setup.py build_py`, which every way of building calls: offline, without isolation; with this PATH.

    There is no NumPy, as in the environment that pip makes for a build.
    """
    (target.parent / "without").mkdir(exist_ok=True)
    (target.parent / "without" / "numpy.py").write_text("raise ImportError", encoding="utf-8")
    environment["PYTHONPATH"] = str(target.parent / "without")
    kept = {k: v for k, v in os.environ.items() if k not in ("CUDA_HOME", "CUDA_PATH", "SSLCORE_PREBUILT")}
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(target)],
        cwd=checkout,
        env={**kept, "PATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return target / CUDA / "prebuilt", result.stdout


@pytest.fixture(scope="session")
def prebuilt(checkout, nvcc, tmp_path_factory):
    """Binaries for all three architectures."""
    return build(checkout, tmp_path_factory.mktemp("built") / "lib", nvcc)[0]


# ---------------------------------------------------------------- builds


def test_a_wheel_carries_sources_and_types(checkout, tmp_path):
    """Without a compiler: every module, every .cu, py.typed, and a sslcore that is imported from there."""
    script = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    environment = {**os.environ, "PATH": str(tmp_path), "SSLCORE_PREBUILT": "1"}
    for name in ("CUDA_HOME", "CUDA_PATH"):
        environment.pop(name, None)
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(tmp_path / made.stdout.split()[-1]) as wheel:
        names = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
        (metadata,) = [wheel.read(n).decode() for n in wheel.namelist() if n.endswith("/METADATA")]
        wheel.extractall(tmp_path / "installed")
    carried = {p.relative_to(checkout).as_posix() for p in (checkout / "sslcore").rglob("*") if p.is_file()}
    assert names == carried
    assert {f"{CUDA}/cuda/{name}.cu" for name in sources.NAMES} | {"sslcore/py.typed"} <= names
    for extra in ("cuda12", "cuda13", "torch"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "Requires-Dist: cupy-cuda13x[ctk]>=14" in metadata
    code = "import sslcore, sslcore.kernels as k; print(sslcore.__file__, k.Linear()([[2.0]]))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    used = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert used.stdout.strip() == f"{tmp_path}/installed/sslcore/__init__.py [[4.]]", used.stderr


def test_binaries_of_every_source_for_every_architecture(prebuilt, monkeypatch):
    """As many as the loader asks for: each source and dtype, sources with a profile once for each formula."""
    monkeypatch.setattr(kernels, "registry", declared(kernels))  # other tests declare kernels of their own
    found = {p.name for p in prebuilt.glob("*.fatbin")}
    wanted = {sources.fatbin_name(*variant) for variant in sources.variants(kernels.constant_profiles())}
    assert found == wanted
    tiles = [tile for pair, _ in kernels.constant_profiles() for tile in sources.TILES[pair]]
    assert len(found) == 2 * (len(sources.NAMES) - 1 + len(tiles))
    for variant in (("views", "float32", None, None), ("gram", "float64", Gaussian(1.0).formula, "squares")):
        code, options = launcher.unpacked(str(prebuilt / sources.fatbin_name(*variant)))
        assert code == sources.text(variant[0])
        assert options == ("-ftz=true", *sources.options(*variant))
        for capability, served in (
            (70, False),
            (75, False),
            (80, True),
            (89, True),
            (90, True),
            (103, True),
            (120, False),
        ):
            assert (sources.find_prebuilt(prebuilt, *variant, capability) is not None) == served


def test_compilers_that_are_old_or_fail_or_are_not_wanted(checkout, nvcc, tmp_path):
    """A build never fails for the lack of a binary."""
    folder, text = build(checkout, tmp_path / "unwanted", nvcc, SSLCORE_PREBUILT="0")
    assert not folder.exists()
    folder, text = build(checkout, tmp_path / "ancient", nvcc, FAKE_CODES="sm_35 sm_50")
    assert not folder.exists()
    assert "knows none of the devices" in text
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(nvcc, home / "bin")
    settings = {"CUDA_HOME": str(home), "FAKE_FAILURE": "risk", "FAKE_CODES": "sm_80"}
    folder, text = build(checkout, tmp_path / "failing", tmp_path, **settings)
    assert "risk.cu was not compiled ahead of time: error: it is Monday" in text
    assert sources.find_prebuilt(folder, "risk", "float64", None, None, 80) is None
    assert sources.find_prebuilt(folder, "dense", "float64", None, None, 80) is not None
    assert sources.find_prebuilt(folder, "dense", "float64", None, None, 90) is None


# ---------------------------------------------------------------- which is used


@pytest.fixture
def hosted(monkeypatch):
    """CuPy on the host, and a loader that has loaded nothing; gives the modules that it makes."""
    if not has_compiler():
        pytest.skip("CUDA code on the host is compiled by g++")
    with standin.installed() as cupy:
        backend = get_backend(backend="cupy")
        loader = sys.modules[f"{backend.__name__}.loader"]
        made = []

        class Recorded(launcher.RawModule):
            def __init__(self, **options):
                super().__init__(**options)
                made.append("binary" if "path" in options else "source")

        monkeypatch.setattr(cupy, "RawModule", Recorded)
        for function in (loader.kernel, loader._module):
            function.cache_clear()
        yield cupy, loader, made
        for function in (loader.kernel, loader._module):
            function.cache_clear()


X = np.random.default_rng(0).standard_normal((9, 5))


def check(cupy):
    """A product of each of two sources."""
    assert_close(cupy.asnumpy(Gaussian(1.0)(cupy.asarray(X))), Gaussian(1.0)(X), tol=1e-13)
    noise = GaussianNoise(0.1)
    assert np.array_equal(cupy.asnumpy(noise.views(cupy.asarray(X), 2, seed=0)), noise.views(X, 2, seed=0))


@pytest.mark.parametrize("capability", ["80", "86", "90", "100", "103"])
def test_binaries_are_used_where_they_serve(hosted, prebuilt, monkeypatch, capability):
    cupy, loader, made = hosted
    monkeypatch.setattr(loader.sources, "PREBUILT", prebuilt)
    monkeypatch.setattr(cuda.Device, "capability", capability)
    check(cupy)
    assert set(made) == {"binary"}
    made.clear()
    (2.0 * kernels.Polynomial(3))(cupy.asarray(X))  # whose formula has its degree in it
    assert "source" in made


def test_the_first_call_compiles_where_there_are_none(hosted, tmp_path, prebuilt, monkeypatch):
    cupy, loader, made = hosted
    monkeypatch.setattr(loader.sources, "PREBUILT", tmp_path)
    check(cupy)
    assert set(made) == {"source"}
    loader._module.cache_clear()
    loader.kernel.cache_clear()
    made.clear()
    monkeypatch.setattr(loader.sources, "PREBUILT", prebuilt)
    monkeypatch.setattr(cuda.Device, "capability", "120")
    check(cupy)
    assert set(made) == {"source"}


def test_binaries_of_other_sources_are_not_used(hosted, prebuilt, monkeypatch):
    """A source that has changed since the build has another name."""
    cupy, loader, made = hosted
    monkeypatch.setattr(loader.sources, "PREBUILT", prebuilt)
    text = loader.sources.text
    monkeypatch.setattr(loader.sources, "text", lambda name: text(name) + "// changed\n")
    check(cupy)
    assert set(made) == {"source"}


def damage_a_byte(path, manifest):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_a_byte, r"gram-float64-\w+.fatbin is not as it was built"),
        (lambda path, manifest: path.write_bytes(path.read_bytes()[:100]), "is not as it was built"),
        (lambda path, manifest: path.write_bytes(b""), "is not as it was built"),
        (lambda path, manifest: manifest.unlink(), r"manifest.json cannot be read \(FileNotFoundError"),
        (lambda path, manifest: manifest.write_bytes(b"\xff\xfe"), r"manifest.json cannot be read \(UnicodeDecode"),
        (lambda path, manifest: manifest.write_text("[80]"), r"manifest.json cannot be read \(TypeError"),
        (
            lambda path, manifest: manifest.write_text('{"architectures": [80], "sha256": {}}'),
            r"cannot be read \(KeyErr",
        ),
    ],
)
def test_damaged_binaries_are_not_given_to_the_driver(hosted, prebuilt, tmp_path, monkeypatch, damage, message):
    cupy, loader, made = hosted
    shutil.copytree(prebuilt, tmp_path / "prebuilt")
    monkeypatch.setattr(loader.sources, "PREBUILT", tmp_path / "prebuilt")
    path = tmp_path / "prebuilt" / sources.fatbin_name("gram", "float64", Gaussian(1.0).formula, "squares")
    damage(path, tmp_path / "prebuilt" / "manifest.json")
    with pytest.warns(RuntimeWarning, match=f"compiled ahead of time cannot be used.*{message}.*reinstall"):
        found = Gaussian(1.0)(cupy.asarray(X))
    assert_close(cupy.asnumpy(found), Gaussian(1.0)(X), tol=1e-13)
    assert made == ["source"]


def test_binaries_that_the_driver_refuses(hosted, prebuilt, tmp_path, monkeypatch):
    """Made by a compiler that is newer than the driver, say."""
    cupy, loader, made = hosted
    shutil.copytree(prebuilt, tmp_path / "prebuilt")
    for path in (tmp_path / "prebuilt").glob("gram-*"):
        path.write_bytes(b"of next year")
    sources.write_manifest(tmp_path / "prebuilt", (80, 90))
    monkeypatch.setattr(loader.sources, "PREBUILT", tmp_path / "prebuilt")
    with pytest.warns(RuntimeWarning, match=r"INVALID_IMAGE.*SSLCORE_PREBUILT=0 .* if nvcc is newer than the driver"):
        found = Gaussian(1.0)(cupy.asarray(X))
    assert_close(cupy.asnumpy(found), Gaussian(1.0)(X), tol=1e-13)
    assert made == ["binary", "source"]
