"""Every CUDA source compiles for the lowest and the newest architecture, without warnings or spills, and the kernels
for the one in between too; and the test can fail."""

from __future__ import annotations

import os
import re

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


LOWEST, NEWEST = nvrtc.ARCHITECTURES[0], nvrtc.ARCHITECTURES[-1]
SHOWN = {tile: formula for formula, tile in PROFILES}
"""A formula for each way to form a pair value: the others are compiled once, for the lowest architecture."""


def compile_profile(name, architecture, dtype, *profile):
    options = sources.options(name, dtype, *profile)
    return nvrtc.compile_source(sources.text(name), architecture, options, name=f"{name}.cu")


PAIRS = [(name, architecture) for name in sources.NAMES for architecture in (LOWEST, NEWEST)] + [("gram", "sm_90")]
"""The architectures in between take the same branches: for them the source of the kernels alone is compiled."""


@pytest.mark.parametrize(("name", "architecture"), PAIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sources(name, architecture, dtype):
    for profile in [(f, t) for t, f in SHOWN.items()] if sources.PROFILE in sources.text(name) else [()]:
        compiled = compile_profile(name, architecture, dtype, *profile)
        assert compiled.cubin.startswith(b"\x7fELF")
        assert len(compiled.kernels) == sources.text(name).count("__global__")
        for kernel in compiled.kernels:
            assert kernel.shared_bytes <= 48 << 10
            assert kernel.registers * 256 <= 65536  # a block of 256 threads fits


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("formula", "tile"), [(f, t) for f, t in PROFILES if SHOWN[t] != f])
def test_profiles_of_the_kernels(formula, tile, dtype):
    compile_profile("gram", LOWEST, dtype, formula, tile)


def test_every_branch_is_compiled():
    """The architectures in between are on the same side of each that a source asks for as one that is compiled."""
    code = "".join(map(sources.text, sources.NAMES))
    bounds = re.findall(r"__CUDA_ARCH__ (?:<|>=) (\d+)", code)
    assert len(bounds) == code.count("__CUDA_ARCH__") > 0
    sides = {name: [int(name[3:]) * 10 >= int(bound) for bound in bounds] for name in nvrtc.ARCHITECTURES}
    assert all(side in (sides[LOWEST], sides[NEWEST]) for side in sides.values())


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
