"""`Representation.summary` and `as_dict`: the words and numbers that the commands print."""

import json

import numpy as np
import pytest

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.features import Nystrom
from sslcore.kernels import Gaussian

VIEWS = GaussianNoise(0.1).views(sslcore.datasets.half_moons(40, seed=0), 2, seed=0)


def test_the_lines():
    rep = sslcore.pretrain(VIEWS, Gaussian(0.5), 3, reg=1e-3)
    model, empty, spectrum, header, *rows, risk, certificate = rep.summary().splitlines()
    assert model == "model       Gaussian(scale=0.5), 3 components, reg 0.001, beta 1, unbiased, not centred"
    assert empty == ""
    assert spectrum == "spectrum    all components active (mu > 0); mu = 1 - beta * invariance - reg * norm"
    assert header.split() == ["mu", "invariance", "norm"]
    numbers = np.array([row.split() for row in rows], dtype=float)
    assert np.allclose(numbers, np.column_stack([[1, 2, 3], rep.eigenvalues, rep.invariance, rep.norms]), rtol=1e-2)
    assert risk == f"risk        {rep.risk:.6f} at the minimum, reg term included (all components collapsed: 3)"
    assert certificate.startswith("certificate exact: contrast Cholesky; worst residual ")
    assert "(tolerance 1e-06), gap after the last " in certificate
    brief = rep.summary(brief=True).splitlines()
    mu = "  ".join(f"{value:.4f}" for value in rep.eigenvalues)
    assert brief[:2] == [model, f"spectrum    3 of 3 components active (mu > 0); mu = {mu}"]
    assert risk.startswith(brief[2])
    assert certificate.startswith(brief[3])
    assert len(brief) == 4


def test_what_was_asked_for_is_told():
    model = Nystrom(Gaussian(0.5), 20)
    rep = sslcore.pretrain(VIEWS, model, 9, reg="auto", beta=2.0, unbiased=False, center=True)
    lines = rep.summary(model=model).splitlines()
    assert lines[0] == f"model       {model}, 9 components, reg {rep.reg:g}, beta 2, biased, centred"
    assert [line.strip() for line in lines[1:4]] == [line.strip() for line in str(rep.selection).splitlines()[:3]]
    assert rep.summary().splitlines()[0].startswith(f"model       {rep.model}, ")  # as it was fitted
    assert rep.summary(brief=True).splitlines()[1].endswith("  ...")  # eight of nine
    with pytest.raises(TypeError, match="brief"):
        rep.summary(brief="yes")


def test_components_that_collapse():
    rep = sslcore.pretrain(VIEWS, Gaussian(0.5), 3, reg=100.0)
    assert "0 of 3 components active (mu > 0), the others are zero: reg is too large for them" in rep.summary()


@pytest.mark.parametrize("reg", ["auto", 1e-3])
def test_plain_numbers(reg):
    rep = sslcore.pretrain(VIEWS, Nystrom(Gaussian(0.5), 20), 3, reg=reg)
    found = json.loads(json.dumps(rep.as_dict(), allow_nan=False))
    assert found["selection"] == (None if reg != "auto" else rep.selection.as_dict())
    assert found["certificate"] == rep.certificate.as_dict()
    for name in set(found) - {"selection", "certificate"}:
        assert np.array_equal(found[name], getattr(rep, name)), name


def test_a_path_as_lines():
    """One line a point, with its numbers to three digits; at most six eigenvalues; crossings count from 1."""
    path = sslcore.pretrain_path(VIEWS, Nystrom(Gaussian(0.5), 20), 8, regs=[1e-3, 0.1, 10.0], betas=[0.5, 1.0])
    lines = path.summary(model="mine").splitlines()
    assert lines[0] == "model       mine, 8 components"
    assert path.summary().splitlines()[0] == f"model       {path.at(0).model}, 8 components"
    for j, start in ((0, 2), (1, 8)):
        assert lines[start] == f"beta {path.betas[j]:g}"
        header = lines[start + 1].split()
        assert header == ["reg", "active", *(f"mu_{i}" for i in range(1, 7)), "ruled", "by"]
        for i in range(3):
            reg, active, *mu, ruler = lines[start + 2 + i].split()
            assert (float(reg), int(active), ruler) == (path.regs[i], path.n_active[i, j], path.regimes[i, j])
            assert np.allclose([float(value) for value in mu], path.eigenvalues[i, j, :6], atol=6e-4)
    assert lines[14] == "avoided crossings" + ("" if path.avoided_crossings else ": none")
    assert len(lines) == 15 + len(path.avoided_crossings)
    for line, c in zip(lines[15:], path.avoided_crossings, strict=True):
        assert line.startswith(
            f"  components {c.component + 1} and {c.component + 2}: reg {c.reg:.3g}, beta {c.beta:g}, "
        )


def test_plain_numbers_of_a_path():
    path = sslcore.pretrain_path(VIEWS, Gaussian(0.5), 3, regs=np.logspace(-4, 0, 9))
    found = json.loads(json.dumps(path.as_dict(), allow_nan=False))
    assert found["avoided_crossings"] == [vars(crossing) for crossing in path.avoided_crossings]
    for name in set(found) - {"avoided_crossings"}:
        assert np.array_equal(found[name], getattr(path, name)), name
