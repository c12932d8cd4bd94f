"""Every CUDA source compiles for every architecture, without warnings or spills; and the test can fail."""

from __future__ import annotations

import os

import pytest

from sslcore.kernels import Profile

from ..examples import kernel_examples
from . import nvrtc
from .package import sources

PROFILES = sorted(
    {(k.formula, tile) for k in kernel_examples() if isinstance(k, Profile) for tile in sources.TILES.get(k.pair, ())}
)


@pytest.fixture(autouse=True)
def needs_nvrtc():
    if not nvrtc.has_nvrtc():
        reason = "CUDA sources are compiled by NVRTC: pip install nvidia-cuda-nvrtc-cu12"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sources.NAMES)
def test_sources(name, dtype, architecture):
    # a formula for each way to form a pair value
    profiles = {tile: formula for formula, tile in PROFILES}
    for profile in [(f, t) for t, f in profiles.items()] if sources.PROFILE in sources.text(name) else [()]:
        options = sources.options(name, dtype, *profile)
        compiled = nvrtc.compile_source(sources.text(name), architecture, options, name=f"{name}.cu")
        assert compiled.cubin.startswith(b"\x7fELF")
        assert len(compiled.kernels) == sources.text(name).count("__global__")
        for kernel in compiled.kernels:
            assert kernel.shared_bytes <= 48 << 10
            assert kernel.registers * 256 <= 65536  # a block of 256 threads fits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("formula", "tile"), PROFILES)
def test_profiles_of_the_kernels(formula, tile, dtype):
    nvrtc.compile_source(sources.text("gram"), "sm_80", sources.options("gram", dtype, formula, tile), name="gram.cu")


def test_all_sources_are_listed():
    assert sorted(p.stem for p in sources.FOLDER.glob("*.cu")) == sorted(sources.NAMES)
    assert [f"sm_{a}" for a in sources.ARCHITECTURES] == list(nvrtc.ARCHITECTURES)


def test_errors_are_reported_with_their_line():
    with pytest.raises(nvrtc.NvrtcError, match=r'bad.cu\(2\): error: identifier "y" is undefined'):
        nvrtc.compile_source('extern "C" __global__ void f(float* x) {\n    x[0] = y;\n}', "sm_80", name="bad.cu")


def test_warnings_are_errors():
    with pytest.raises(nvrtc.NvrtcError, match="declared but never referenced"):
        nvrtc.compile_source('extern "C" __global__ void f(float* x) { int unused; x[0] = 1; }', "sm_90")


SPILLING = """
extern "C" __global__ void __launch_bounds__(1024) f(const double* x, double* out, int n) {
    double kept[64];
    for (int k = 0; k < 64; ++k) kept[k] = x[threadIdx.x + 1024 * k];
    for (int r = 0; r < n; ++r)
        for (int k = 0; k < 64; ++k) kept[k] = kept[k] * kept[(k + 1) % 64] + x[r];
    double total = 0;
    for (int k = 0; k < 64; ++k) total += kept[k];
    out[threadIdx.x] = total;
}
"""


def test_spills_are_errors():
    with pytest.raises(nvrtc.NvrtcError, match="spills registers"):
        nvrtc.compile_source(SPILLING, "sm_80")
    (kernel,) = nvrtc.compile_source(SPILLING, "sm_80", allow_spills=True).kernels
    assert kernel.name == "f"
    assert kernel.spilled_bytes > 0


def test_names_of_templates():
    source = "template <class T> __global__ void f(T* x) { x[0] = T(1); }"
    compiled = nvrtc.compile_source(source, "sm_100", names=("f<float>", "f<double>"))
    assert sorted(k.name for k in compiled.kernels) == ["_Z1fIdEvPT_", "_Z1fIfEvPT_"]
    with pytest.raises(nvrtc.NvrtcError, match="error"):
        nvrtc.compile_source(source, "sm_100", names=("g<float>",))
