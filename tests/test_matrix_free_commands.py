"""`sslcore fit` and `sslcore path` without the kernel matrix: their options, and what is kept of them."""

import json

import numpy as np
import pytest

import sslcore
from sslcore.cli.commands.progress import Progress
from sslcore.cli.main import main
from sslcore.kernels import Exponential
from sslcore.solvers.matrix_free import MatrixFreeKernel

from .test_features import noisy
from .test_stream_commands import run

VIEWS = noisy(150, 2, 2)
KERNEL = ("--kernel", "exponential:0.5", "--components", 4)
FIT = ("fit", "views.npy", *KERNEL, "--reg", 0.001, "--no-figure")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("views.npy", VIEWS)
    return tmp_path


def interrupted(monkeypatch, products, *arguments):
    """Run a command until as many products are done, and there Ctrl-C."""
    times_kernel, left = MatrixFreeKernel.times_kernel, products

    def stop(self, v, **how):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return times_kernel(self, v, **how)

    with monkeypatch.context() as patch:
        patch.setattr(MatrixFreeKernel, "times_kernel", stop)
        return main([*map(str, arguments)])


def test_a_fit_that_was_interrupted_goes_on(folder, monkeypatch, capsys):
    expected = sslcore.pretrain(VIEWS, Exponential(0.5), 4, reg=0.001, center=True, solver="matrix-free")
    command = (*FIT, "--solver", "matrix-free", "--checkpoint", "ck")
    assert interrupted(monkeypatch, 25, *command) == 130
    assert {path.name for path in folder.iterdir()} == {"ck", "views.npy"}
    capsys.readouterr()
    found = json.loads(run(capsys, *command, "--json"))
    assert not (folder / "ck").exists()
    assert found["plan"]["algorithm"] == "matrix-free"
    assert found["checkpoint"] == "ck"
    rep = sslcore.load("views-model.npz")
    assert rep.gamma.tobytes() == expected.gamma.tobytes()
    assert rep.certificate.algorithm.startswith("matrix-free")
    assert "certificate matrix-free: conjugate gradients" in (folder / "views-report.txt").read_text()


def test_the_matrix_has_no_checkpoint(folder, capsys):
    found = json.loads(run(capsys, *FIT, "--checkpoint", "ck", "--json"))
    assert found["plan"]["algorithm"] == "exact"
    assert not (folder / "ck").exists()
    assert "checkpoint= is for fits without" in run(
        capsys, *FIT, "--checkpoint", "ck", "--solver", "dense", "--overwrite", status=2
    )


def test_progress_tells_solver_and_residual(monkeypatch, capsys):
    told, advance = [], Progress.advance
    monkeypatch.setattr(Progress, "advance", lambda self, *how: told.append(how) or advance(self, *how))
    assert main([*map(str, FIT), "--solver", "matrix-free", "--progress"]) == 0
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("solver ")]
    assert said.startswith("solver      without the kernel matrix: up to 0.0")
    assert "products with the kernel, " in said
    assert said.endswith("seconds expected")
    fractions, words = zip(*told, strict=True)
    assert fractions[-1] == 1.0
    assert words[0] == ""
    assert words[-1].startswith(", residual ")
    assert len(set(words)) > 3


def test_a_path_that_was_interrupted_goes_on(folder, monkeypatch, capsys):
    arguments = ("path", "views.npy", *KERNEL, "--regs", "1e-3,1e-2,1e-1")
    command = (*arguments, "--solver", "matrix-free", "--checkpoint", "ck")
    assert interrupted(monkeypatch, 60, *command) == 130
    assert {path.name for path in folder.iterdir()} == {"ck", "views.npy"}
    capsys.readouterr()
    found = json.loads(run(capsys, *command, "--json"))
    assert {path.name for path in folder.iterdir()} == {"views-path.png", "views.npy"}
    dense = json.loads(run(capsys, *arguments, "--json"))
    assert (found["plan"]["algorithm"], dense["plan"]["algorithm"]) == ("matrix-free", "exact")
    np.testing.assert_allclose(found["eigenvalues"], dense["eigenvalues"], rtol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "views.npy", "--features", "identity", "--solver", "dense"), "--solver dense is for a kernel: leave"),
        (("path", "views.npy", "--features", "identity", "--solver", "dense"), "--solver dense is for a kernel: leave"),
        (("fit", "views*.npy", "--features", "identity", "--solver", "dense"), "is for a kernel, and a stream is of"),
        (("fit", "views.npy", "--solver", "sparse"), "invalid choice: 'sparse'"),
        (("fit", "views.npy", "--checkpoint", "ck"), "--checkpoint is for a kernel without its matrix, and of over"),
        (("path", "views.npy", *KERNEL, "--out", "p.png", "--checkpoint", "p.png"), "would replace the input"),
        ((*FIT, "--solver", "matrix-free", "--checkpoint", "none/ck"), "cannot write none/ck"),
        ((*FIT, "--solver", "matrix-free", "--memory", "1kB"), "this matrix-free fit needs"),
    ],
)
def test_what_is_refused(folder, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 100)
    assert words in run(capsys, *arguments, status=2)
    assert {path.name for path in folder.iterdir()} == {"views.npy"}
