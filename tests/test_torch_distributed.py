"""Moments of several processes of PyTorch: all get the sums over all, with the same bits."""

import contextlib
import json
import subprocess
import textwrap

import numpy as np
import pytest

import sslcore
from sslcore.features import Identity

from .children import started
from .comparators import assert_close

pytest.importorskip("torch", reason="PyTorch is not installed")

RNG = np.random.default_rng(5)
VIEWS = RNG.normal(size=(203, 1, 4)) * [3, 2, 1, 1] + RNG.normal(size=(203, 2, 4)) + 5.0

PROCESS = """
    import json, sys
    import numpy as np, torch
    import sslcore, sslcore.torch
    from sslcore import tunables
    from sslcore.features import Identity, Nystrom, RandomFourier
    from sslcore.kernels import Gaussian

    folder, rank = sys.argv[1], int(sys.argv[2])
    tunables.STREAM_LEAF_VIEWS = 16
    store = torch.distributed.FileStore(folder + "/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    views = np.load(folder + "/views.npy")
    mine = views[:120] if rank == 0 else views[120:]
    features = {
        "identity": Identity(),
        "nystrom": Nystrom(Gaussian(3.0), views[:6, 0]),
        "fourier": RandomFourier(Gaussian(3.0), 8, seed=3),
    }
    told = {}

    def kept(name, moments):
        reduced = sslcore.torch.all_reduce(moments)
        reduced.save(f"{folder}/{name}-{rank}")

    for name, model in features.items():
        kept(name, sslcore.Moments(model).update(mine))
    kept("stream", sslcore.stream.moments(mine, Identity()))
    weight = np.linspace(1.0, 2.0, 2 * len(mine)).reshape(len(mine), 2)
    kept("weights", sslcore.Moments(Identity()).update(mine, sample_weight=weight if rank else None))
    empty = sslcore.Moments(Identity())
    kept("empty", empty if rank == 0 else sslcore.Moments(Identity()).update(mine))

    def refused(name, moments):
        try:
            sslcore.torch.all_reduce(moments)
        except (TypeError, ValueError) as error:
            told[name] = f"{type(error).__name__}: {error}"

    def plain(x, y):
        return 1.0 + x @ y.T

    def within():
        return lambda x, y: 1.0 + x @ y.T

    refused("nothing", sslcore.Moments(Identity()))
    refused("features", sslcore.Moments(features["nystrom" if rank else "identity"]).update(mine))
    refused("width", sslcore.Moments(Identity()).update(mine[:, :, : 3 + rank]))
    refused("landmarks", sslcore.Moments(Nystrom(plain, views[rank : rank + 6, 0])).update(mine))
    refused("lambda", sslcore.Moments(Nystrom(within(), views[:6, 0])).update(mine) if rank else empty)
    refused("no moments", [] if rank else empty)
    told["function"] = sslcore.torch.all_reduce(sslcore.Moments(Nystrom(plain, views[:6, 0])).update(mine)).n
    torch.distributed.destroy_process_group()
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """A folder of what two processes have saved, and what both were told."""
    folder = tmp_path_factory.mktemp("distributed")
    np.save(folder / "views.npy", VIEWS)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(started("-c", textwrap.dedent(PROCESS), str(folder), str(rank), **pipes, text=True))
            for rank in range(2)
        ]
        ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    return folder, [json.loads(out) for out, _ in ends]


@pytest.mark.parametrize("name", ["identity", "nystrom", "fourier", "stream", "weights", "empty"])
def test_both_processes_have_the_same_bits(reduced, name):
    folder, _ = reduced
    assert (folder / f"{name}-0").read_bytes() == (folder / f"{name}-1").read_bytes()


@pytest.mark.parametrize("name", ["identity", "nystrom", "fourier", "stream"])
def test_the_sums_are_those_of_all_views(reduced, name):
    found = sslcore.load(reduced[0] / f"{name}-0")
    whole = sslcore.Moments(found.features).update(VIEWS)
    assert (found.n, found.n_views) == (203, 406)
    assert_close(found.solve(3, reg=1e-2, center=True).gamma, whole.solve(3, reg=1e-2, center=True).gamma, tol=1e-10)
    if name == "stream":
        assert len(found._held) == 3
        assert found.solve(3, reg="auto").selection.n_held_out == sum(part.n for part in found._held)


def test_it_is_merge_in_the_order_of_the_ranks(reduced):
    folder, _ = reduced
    weight = np.linspace(1.0, 2.0, 166).reshape(83, 2)
    merged = sslcore.Moments(Identity()).update(VIEWS[:120])
    merged.merge(sslcore.Moments(Identity()).update(VIEWS[120:], sample_weight=weight))
    found = sslcore.load(folder / "weights-1")
    for name in ("mean", "between", "within", "unbiased"):
        assert_close(getattr(found._sums, name), getattr(merged._sums, name), tol=1e-13)
    assert sslcore.load(folder / "empty-0").n == 83


def test_all_are_told_what_is_wrong(reduced):
    first, second = reduced[1]
    assert first == second
    assert first["nothing"].startswith("ValueError: the moments are empty on all processes")
    other = "ValueError: the moments of rank 1 are of other features than those of rank 0"
    assert (first["features"], first["landmarks"]) == (other, other)
    assert first["width"] == "ValueError: the moments of rank 1 are of 4 coordinates, those of rank 0 of 3"
    beginning = "TypeError: the moments of rank 1 cannot be sent: "
    assert first["lambda"].startswith(beginning + "a kernel that is a function cannot be compared between processes")
    assert first["function"] == 203
    assert first["no moments"] == beginning + "Moments were expected, found list"


def test_without_processes_it_says_what_to_do():
    import sslcore.torch as ours

    with pytest.raises(RuntimeError, match=r"call torch.distributed.init_process_group first"):
        ours.all_reduce(sslcore.Moments(Identity()))
    with pytest.raises(TypeError, match="Moments were expected, found list"):
        ours.all_reduce([])


def test_what_a_single_process_gets_is_changed_without_its_own(tmp_path):
    """They may share arrays, which nobody writes to."""
    import torch

    from sslcore.torch import all_reduce

    moments = sslcore.Moments(Identity()).update(VIEWS)
    before = moments.solve(3, reg=1e-2)
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        reduced = all_reduce(moments)
    finally:
        torch.distributed.destroy_process_group()
    assert np.array_equal(reduced.solve(3, reg=1e-2).coefficients, before.coefficients)
    reduced.update(2.0 * VIEWS).merge(sslcore.Moments(Identity()).update(VIEWS[:9]))
    assert (moments.n, reduced.n) == (203, 415)
    assert np.array_equal(moments.solve(3, reg=1e-2).coefficients, before.coefficients)
