"""Fits without the kernel matrix that were interrupted: they go on, with the same bits, and refuse what is not theirs.

``SSLCORE_TEST_KILLS`` is how many processes are killed (a third of it here; 100 by default).
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import numpy as np
import pytest

from sslcore import pretrain, pretrain_path, tunables
from sslcore.features import Identity
from sslcore.fitting import checkpoint
from sslcore.fitting.matrix_free import MatrixFreeProblem
from sslcore.io import atomic
from sslcore.kernels import Exponential, Function, Gaussian, Precomputed
from sslcore.positives import TimeLag
from sslcore.selection import AutoReg
from sslcore.solvers.matrix_free import MatrixFreeKernel

from .forked import needs_fork
from .interrupting import interrupted
from .test_features import noisy

KILLS = max(1, int(os.environ.get("SSLCORE_TEST_KILLS", "100")) // 3)
VIEWS = noisy(150, 2, 2)
KERNEL = Exponential(0.5)


@pytest.fixture(autouse=True)
def short_steps(monkeypatch):
    """Many outer steps, with restarts of the basis, and a checkpoint after each."""
    monkeypatch.setattr(tunables, "KRYLOV_BASIS_COLUMNS", (1, 1))
    monkeypatch.setattr(tunables, "MATRIX_FREE_COARSE_VIEWS", 0)
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0)
    monkeypatch.setattr(checkpoint, "PATIENCE", 0)


def fit(views=VIEWS, kernel=KERNEL, k=5, solver="matrix-free", **options):
    return pretrain(views, kernel, k, **{"reg": 1e-3, "solver": solver} | options)


def fields(rep, backend=None):
    """All that has to have the same bits."""
    certificate = rep.certificate
    arrays = (rep.gamma, rep.invariance, rep.coefficients, rep.embedding, rep.intercept)
    numbers = (certificate.algorithm, certificate.iterations, certificate.condition, certificate.worst)
    return [(a if isinstance(a, np.ndarray) else backend.asnumpy(a)).tobytes() for a in arrays], numbers


CASES = [
    {},
    {"beta": 0.0},
    {"center": True, "beta": 0.5, "unbiased": False},
    {"views": VIEWS.astype(np.float32), "reg": 1e-2},
    {"views": VIEWS.reshape(-1, 2), "groups": np.repeat(np.arange(100), 3), "sample_weight": np.arange(1.0, 301.0)},
]


@pytest.mark.parametrize("options", CASES, ids=["plain", "pca", "centred", "single", "weighted"])
def test_a_fit_that_was_interrupted_goes_on_with_the_same_bits(options, tmp_path, monkeypatch, backend):
    options = options | {"views": backend.asarray(options.get("views", VIEWS))}
    expected = fit(**options)
    assert expected.certificate.iterations > 7
    path, found, runs = tmp_path / "ck", None, 0
    while found is None:
        assert runs < 2 or path.exists()  # the first ends before a step
        products = (1, 4, 3, 2) if options.get("beta") == 0 else (5, 30, 26, 14)  # the first steps take 12 each
        found = interrupted(monkeypatch, products[runs % 4], fit, checkpoint=path, **options)
        runs += 1
        assert runs < 20
    assert runs > 2
    assert fields(found, backend) == fields(expected, backend)
    assert not path.exists()


@pytest.mark.filterwarnings("ignore::sslcore.ConvergenceWarning")
def test_steps_in_float32_go_on_with_the_same_bits(tmp_path, monkeypatch):
    """Whether they are of use is known from before."""
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 2)
    for name, options in {"useful": {}, "useless": {"views": VIEWS + 1e8}}.items():
        modes, condition = [], MatrixFreeKernel.corrections
        with monkeypatch.context() as patch:
            patch.setattr(
                MatrixFreeKernel, "corrections", lambda s, *at, c=condition, m=modes: m.append(s.mixed) or c(s, *at)
            )
            expected = fit(**options)
        assert modes == [name == "useful"]
        total = int(expected.certificate.algorithm.split()[-2])
        assert interrupted(monkeypatch, 2 * total // 3, fit, checkpoint=tmp_path / "ck", **options) is None
        assert (tmp_path / "ck").exists()
        assert fields(fit(checkpoint=tmp_path / "ck", **options)) == fields(expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_a_step_began_with_is_kept(error, tmp_path, monkeypatch):
    """At Ctrl-C the step at work is begun again, at other ends what was written last."""
    expected, path, products = fit(), tmp_path / "ck", []
    times_kernel = MatrixFreeKernel.times_kernel
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 3600)
    interrupted(monkeypatch, 40, fit, error, checkpoint=path)
    assert path.exists() == (error is KeyboardInterrupt)
    with monkeypatch.context() as patch:
        patch.setattr(
            MatrixFreeKernel,
            "times_kernel",
            lambda s, v, **how: products.append(v.shape[1]) or times_kernel(s, v, **how),
        )
        assert fields(fit(checkpoint=path)) == fields(expected)
    total = int(expected.certificate.algorithm.split()[-2])
    assert total - 40 <= len(products) <= total - (25 if error is KeyboardInterrupt else 0)


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")  # the grid is short
def test_a_search_is_not_done_again(tmp_path, monkeypatch):
    options = {"reg": AutoReg(regs=(1e-2, 1e-3)), "checkpoint": tmp_path / "ck"}
    expected = fit(**options)
    beginning = MatrixFreeKernel.condition

    def stop(self, reg, beta):
        if self.samples.n_views == VIEWS.shape[0] * VIEWS.shape[1]:
            raise MemoryError
        return beginning(self, reg, beta)

    with monkeypatch.context() as patch:
        patch.setattr(MatrixFreeKernel, "condition", stop)
        with pytest.raises(MemoryError):
            fit(**options)
    monkeypatch.setattr("sslcore.fitting.pretraining.choose", None)
    found = fit(**options)
    assert fields(found) == fields(expected)
    assert found.selection.risks.tobytes() == expected.selection.risks.tobytes()
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- paths

GRID = {"regs": [1e-1, 1e-2, 1e-3], "betas": [0.5, 1.0]}


def path(views=VIEWS, kernel=KERNEL, solver="matrix-free", **options):
    return pretrain_path(views, kernel, 3, **GRID | {"solver": solver} | options)


def numbers(found, backend=None):
    """All that has to have the same bits of a path."""
    arrays = (found.position, found.reg_overlaps, found.beta_overlaps)
    return [a.tobytes() for a in arrays], [fields(rep, backend) for rep in found]


def test_a_path_that_was_interrupted_goes_on_with_the_same_bits(tmp_path, monkeypatch, backend):
    """Points that are done are read again; the one at work goes on at its step."""
    views, place, done, runs, found = backend.asarray(VIEWS), tmp_path / "ck", [], 0, None
    expected = path(views)
    times_kernel, left = MatrixFreeKernel.times_kernel, 0

    def stop(self, v, **how):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return times_kernel(self, v, **how)

    monkeypatch.setattr(MatrixFreeKernel, "times_kernel", stop)
    while found is None:
        left = 60
        with suppress(KeyboardInterrupt):
            found = path(views, checkpoint=place, progress=lambda i, n: done.append((i, n)))
        assert place.exists() == (found is None)
        runs += 1
        assert runs < 20
    assert runs > 3
    assert (1, 6) in done[-6:]  # what was read counts as well
    assert done[-1] == (6, 6)
    assert numbers(found, backend) == numbers(expected, backend)


def test_points_are_kept_at_once(tmp_path, monkeypatch):
    """A process that ends while a point begins has all that were done before."""
    expected, place, solved = path(), tmp_path / "ck", []
    at = MatrixFreeProblem.at

    def ended(self, objective, near):
        solved.append((objective.reg, objective.beta))
        if len(solved) in (4, 8):
            raise MemoryError
        return at(self, objective, near)

    monkeypatch.setattr(MatrixFreeProblem, "at", ended)
    for _ in range(2):
        with pytest.raises(MemoryError):
            path(checkpoint=place)
    assert numbers(path(checkpoint=place)) == numbers(expected)
    assert [beta for _, beta in solved] == [0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert solved[3] == solved[4]
    assert solved[7] == solved[8]


def test_another_path_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "ck"
    monkeypatch.setattr(checkpoint.FitCheckpoint, "remove", lambda self: self._write(None))
    path(checkpoint=place)
    before = place.read_bytes()
    with pytest.raises(ValueError, match=r"ck is the checkpoint of a fit with other settings: points \[\[0.1, 0.5\]"):
        path(checkpoint=place, regs=[1e-1, 1e-2])
    with pytest.raises(ValueError, match=r"with other settings: .*reg None there, 0.001 here"):
        fit(checkpoint=place, k=3)
    content = checkpoint.read_values(place, "fit")[1]
    for harm in (
        {"numbers": np.zeros((9, 2))},
        {"numbers": np.zeros((8, 3))},
        {"certificate": {}},
        {"values": np.zeros((300, 2))},
        {"vectors": np.zeros((3, 299))},
        {"coefficients": np.full((300, 3), np.nan)},
        {"more": np.zeros(3)},
    ):
        harmed = content | {"points": [content["points"][0] | harm, *content["points"][1:]]}
        checkpoint.write_values(place, "fit", harmed)
        with pytest.raises(ValueError, match=r"ck holds no fit that sslcore .* can read"):
            path(checkpoint=place)
    place.write_bytes(before)
    found = path(checkpoint=place)
    assert found.gamma.shape == (3, 2, 3)
    with pytest.raises(ValueError, match="at most 200 points of a path, found 201: divide the path"):
        path(checkpoint=place, regs=np.logspace(-3, 0, 201), betas=[1.0])
    with pytest.raises(ValueError, match="checkpoint= is for fits without the kernel matrix"):
        path(checkpoint=place, solver="dense")


# ---------------------------------------------------------------- killed


SERVER = """
    import json, os, random, signal, sys, time
    import numpy as np
    from sslcore import pretrain, tunables
    from sslcore.fitting import checkpoint
    from sslcore.kernels import Exponential

    folder, kills = sys.argv[1], int(sys.argv[2])
    tunables.KRYLOV_BASIS_COLUMNS, tunables.MATRIX_FREE_COARSE_VIEWS = (1, 1), 0
    checkpoint.EVERY_SECONDS = checkpoint.PATIENCE = 0
    views = np.load(folder + "/views.npy")
    moment, killed, runs, kept = random.Random(0), 0, 0, 0

    def state():
        return os.stat(folder + "/ck").st_mtime_ns if os.path.exists(folder + "/ck") else 0

    def fit(out):
        rep = pretrain(views, Exponential(0.5), 5, reg=1e-3, solver="matrix-free", checkpoint=folder + "/ck")
        rep.save(out)

    fit(folder + "/found-0.npz")  # what is compiled is compiled before the first fork
    begin = time.monotonic()
    fit(folder + "/found-0.npz")
    span = longest = time.monotonic() - begin
    while killed < kills:
        runs += 1
        out = f"{folder}/found-{runs}.npz"
        while not os.path.exists(out):
            child = os.fork()
            if not child:
                try:
                    fit(out)
                finally:
                    os._exit(0)
            if killed < kills:
                written = state()
                time.sleep(moment.uniform(0.0, span))
                os.kill(child, signal.SIGKILL)
                ended = os.waitpid(child, 0)[1] == signal.SIGKILL
                killed, kept = killed + ended, kept + (state() not in (0, written))
                # a busy machine needs longer spans to come further
                span = min(span * (1.3 if state() == written else 1.0 if ended else 0.8), 3 * longest)
            else:
                os.waitpid(child, 0)
    print(json.dumps({"runs": runs, "killed": killed, "kept": kept}))
"""


@needs_fork
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    """A process of one thread forks one after the other, each of which goes on, until one is not killed in time."""
    np.save(tmp_path / "views.npy", VIEWS)
    one = {f"{name}_NUM_THREADS": "1" for name in ("SSLCORE", "NUMBA", "OMP", "OPENBLAS", "MKL")}
    arguments = [sys.executable, "-c", textwrap.dedent(SERVER), str(tmp_path), str(KILLS)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=os.environ | one, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] == KILLS
    assert told["kept"] > KILLS // 6  # it was in the middle
    from sslcore import load

    expected = fields(load(tmp_path / "found-0.npz"))
    for run in range(1, told["runs"] + 1):
        assert fields(load(tmp_path / f"found-{run}.npz")) == expected
    # a kill within a write leaves the file of another name that was to take its place
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".sslcore-")}
    assert left == {"views.npy", *(f"found-{i}.npz" for i in range(run + 1))}


def test_the_terminal_interrupts_it(tmp_path):
    """SIGINT within a product of a process of its own leaves the checkpoint, before its time has come."""
    code = f"""
        import os, signal, threading
        import numpy as np
        from sslcore import pretrain, tunables
        from sslcore.kernels import Exponential
        from sslcore.solvers.matrix_free import MatrixFreeKernel
        times_kernel, left = MatrixFreeKernel.times_kernel, 30
        def times(self, v, **how):
            global left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGINT)
            return times_kernel(self, v, **how)
        MatrixFreeKernel.times_kernel = times
        tunables.KRYLOV_BASIS_COLUMNS, tunables.MATRIX_FREE_COARSE_VIEWS = (1, 1), 0
        views = np.load({str(tmp_path / "views.npy")!r})
        pretrain(views, Exponential(0.5), 5, reg=1e-3, solver="matrix-free", checkpoint={str(tmp_path / "ck")!r})
    """
    np.save(tmp_path / "views.npy", VIEWS)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert "KeyboardInterrupt" in done.stderr
    assert fields(fit(checkpoint=tmp_path / "ck")) == fields(fit())


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A checkpoint of some steps."""
    interrupted(monkeypatch, 40, fit, checkpoint=tmp_path / "ck")
    return tmp_path / "ck"


def refused(path, words, **options):
    """It is refused in one sentence, and the checkpoint stays as it was."""
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words) as caught:
        fit(checkpoint=path, **options)
    assert path.read_bytes() == before
    assert "\n" not in str(caught.value)


def test_another_fit_is_refused(begun, monkeypatch):
    other = VIEWS.copy()
    other[7, 1, 0] += 1e-15
    refused(begun, r"ck is the checkpoint of a fit to other data: points differ; choose another file", views=other)
    refused(begun, "to other data: weights differ", sample_weight=np.arange(1.0, 151.0))
    options = {"views": VIEWS.reshape(-1, 2), "groups": np.repeat(np.arange(100), 3)}
    refused(begun, "to other data: groups differ", **options)
    words = r"a fit with other settings: kernel 'Exponential\(scale=0.5\)' there, 'Gaussian\(scale=0.5\)' here; kernel_"
    refused(begun, words, kernel=Gaussian(0.5))
    refused(begun, "with other settings: reg 0.001 there, 0.01 here; choose another", reg=1e-2)
    refused(begun, r"with other settings: reg 0.001 there, 'AutoReg\(", reg="auto")
    refused(begun, "with other settings: beta 1.0 there, 0.5 here", beta=0.5)
    refused(begun, "with other settings: unbiased True there, False here", unbiased=False)
    refused(begun, "with other settings: center False there, True here", center=True)
    refused(begun, "with other settings: .*n_components 5 there, 4 here", k=4)
    refused(begun, "with other settings: dtype 'float64' there, 'float32' here", views=VIEWS.astype("f4"))
    refused(begun, "with other settings: n_views 300 there, 298 here", views=VIEWS[1:])
    refused(begun, "with other settings: n_coordinates 2 there, 1 here", views=VIEWS[:, :, :1])
    monkeypatch.setattr(tunables, "KRYLOV_BASIS_COLUMNS", (128, 512))
    refused(begun, r"with other settings: basis \[9, 36\] there, \[9, 128\] here")
    monkeypatch.setattr(checkpoint, "versions", lambda: {"numpy": "0"})
    refused(begun, "ck was written by other versions: .*numpy .* there, '0' here")


def test_what_is_no_checkpoint_is_refused(begun):
    good = begun.read_bytes()
    fit(VIEWS[:20], k=2, solver="dense").save(begun)
    refused(begun, "ck holds no fit that sslcore .* can read: it holds 'representation'")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16
    for broken in (good[:-50], good[: len(good) // 2], b"", b"other", flipped):
        begun.write_bytes(broken)
        refused(begun, "ck holds no fit that sslcore .* can read")


@pytest.mark.parametrize(
    "harm",
    [
        {"basis": np.zeros((9, 300))},
        {"basis": np.full((18, 300), np.nan)},
        {"known": np.zeros((9, 8))},
        {"projected": np.zeros((300, 9))},
        {"operator": {}},
        {"width": -1},
        {"steps": "many"},
        {"scale": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_state_that_no_iteration_had_is_refused(begun, harm):
    content = checkpoint.read_values(begun, "fit")[1]
    content["state"] |= harm
    checkpoint.write_values(begun, "fit", content)
    refused(begun, "ck holds no fit that sslcore .* can read")


def test_what_cannot_be_kept_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(MatrixFreeKernel, "__init__", None)
    path = tmp_path / "ck"
    with pytest.raises(TypeError, match=r"needs a kernel that can be told from others, found .*leave checkpoint out"):
        fit(kernel=Function(lambda x, y: x @ y.T), checkpoint=path)
    with pytest.raises(OSError, match=r"cannot write .*none/ck"):
        fit(checkpoint=tmp_path / "none" / "ck")
    with pytest.raises(OSError, match=r"cannot read .*: Is a directory"):
        fit(checkpoint=tmp_path)
    with pytest.raises(TypeError, match="a path was expected"):
        fit(checkpoint=3)
    words = "checkpoint= is for fits without the kernel matrix: leave it out, or use"
    with pytest.raises(ValueError, match=words):
        fit(solver="dense", checkpoint=path)
    with pytest.raises(ValueError, match=words):
        pretrain(VIEWS, Identity(), 2, reg=1e-2, checkpoint=path)
    with pytest.raises(ValueError, match=words):
        pretrain(VIEWS[:, 0], KERNEL, 2, reg=1e-2, positives=TimeLag(1), checkpoint=path)
    with pytest.raises(ValueError, match="found Precomputed, whose"):
        fit(np.eye(300).reshape(150, 2, 300), Precomputed(), checkpoint=path)
    assert os.listdir(tmp_path) == []


def test_the_solver_with_the_matrix_writes_none(tmp_path):
    assert fields(fit(solver=None, checkpoint=tmp_path / "ck")) == fields(fit(solver="dense"))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_costs_a_warning(begun, monkeypatch):
    before, expected = begun.read_bytes(), fit()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    removed = []
    monkeypatch.setattr(checkpoint.FitCheckpoint, "remove", lambda self: removed.append(self.path))
    words = r"could not be written, and the fit goes on; the file is as it was: cannot write .*ck: No space left"
    with pytest.warns(RuntimeWarning, match=words):
        found = fit(checkpoint=begun)
    assert fields(found) == fields(expected)
    assert removed == [str(begun)]
    assert begun.read_bytes() == before


def test_less_memory_costs_the_same_bits_only(begun, monkeypatch):
    expected = fit()
    monkeypatch.setattr(tunables, "PIVOTED_BLOCK_COLUMNS", 48)  # what the factor has grown by
    with pytest.warns(
        RuntimeWarning, match=r"the preconditioner has the rank \d+, and had \d+ when .*but not the same"
    ):
        found = fit(checkpoint=begun)
    assert np.allclose(found.gamma, expected.gamma, rtol=1e-9, atol=0)
