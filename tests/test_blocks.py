"""Every block of Python on the pages is run by a test: here, or where this file says."""

import re
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.features import Identity, Nystrom
from sslcore.fitting.plan import features_plan
from sslcore.fitting.search import most_folds
from sslcore.fitting.sizes import Sizes
from sslcore.kernels import Gaussian
from sslcore.population.sphere_operators import Operator
from sslcore.selection import AutoReg

ROOT = Path(__file__).parents[1]
if not (ROOT / "docs").exists():
    pytest.skip("the pages are not part of an installation", allow_module_level=True)

ELSEWHERE = {
    "docs/features.md": (None, ("test_diagnostics.py",)),
    "docs/fields.md": (None, ("test_fields.py",)),
    "docs/format.md": (1, ("test_saved.py",)),
    "docs/gallery.md": (None, ("test_pages.py",)),
    "docs/guide.md": (2, ("test_curves.py", "test_pages.py")),
    "docs/images.md": (2, ("test_warps.py",)),
    "docs/networks.md": (None, ("test_monitor.py",)),
    "docs/pytorch.md": (1, ("test_torch.py",)),
    "docs/scale.md": (None, ("test_pages.py",)),
    "docs/series.md": (2, ("test_warps.py",)),
    "docs/tables.md": (None, ("test_wine.py",)),
}
"""The number of blocks on a page that tests of its own run, None where they run all, and which tests."""


def pages():
    """Paths of all pages with blocks of Python, and the blocks."""
    found = {}
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/**/*.md")]):
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```\{?(?:code-block\} )?py(?:thon|con)?\}?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if blocks:
            found[path.relative_to(ROOT).as_posix()] = blocks
    return found


BLOCKS = pages()
HERE = [page for page in BLOCKS if page not in ELSEWHERE]


def run(page, **names):
    """Run all blocks of a page, one after the other, and return what they have made."""
    for number, block in enumerate(BLOCKS[page]):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("page", ELSEWHERE)
def test_tests_of_their_own_run_as_many_blocks(page):
    number, tests = ELSEWHERE[page]
    assert number in (None, len(BLOCKS[page])), "a test must run the new block; then say so in this file"
    for test in tests:
        assert f'"{Path(page).name}"' in (ROOT / "tests" / test).read_text(encoding="utf-8")


def test_the_other_pages_are_run_below():
    assert HERE == ["README.md", "docs/index.md", "docs/questions.md", "docs/theory/population.md"]


def test_the_readme(capsys):
    pytest.importorskip("sklearn")
    names = run("README.md")
    assert names["rep"].n_components == 5
    assert names["search"].best_params_ == {"kernel": Gaussian(1.0), "reg": 1e-2}
    assert names["search"].cv_results_["mean_test_score"].max() > -2
    assert "components are active" in capsys.readouterr().out


def test_the_start_page(capsys):
    names = run("docs/index.md")
    assert (names["rep"].n_active, names["rep"].selection is not None) == (5, True)
    shown = re.search(r"```text\n(no collapse.*?)```", (ROOT / "docs" / "index.md").read_text("utf-8"), re.DOTALL)[1]
    assert capsys.readouterr().out == shown


def test_the_questions():
    views = np.random.default_rng(0).normal(size=(400, 1, 40)) + np.random.default_rng(1).normal(size=(400, 2, 40))
    rep = run("docs/questions.md", sslcore=sslcore, views=views)["rep"]
    assert rep.n_components == 32


def test_the_numbers_on_memory():
    """Of the page of questions, and each is what a plan says, to its two digits."""
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    kernel = Gaussian(1.0)
    dense, free = (
        sslcore.plan(30_000, 2, 784, kernel, 16, solver=s, memory="100GB").bytes / 1e9 for s in ("dense", "matrix-free")
    )
    landmarks = sslcore.plan(30_000, 2, 784, Nystrom(kernel, 1024), 16, memory="100GB").bytes / 1e9
    for words, planned in (
        (r"\| a kernel, with its matrix \| ([\d.]+) GB", dense),
        (r"chosen by itself where memory is short\) \| ([\d.]+) GB", free),
        (r"\| `Nystrom\(kernel, 1024\)` features \| ([\d.]+) GB", landmarks),
    ):
        said = re.search(words, text)[1]
        assert float(said) == pytest.approx(planned, rel=0.05, abs=0.05), words


def test_the_memory_of_a_head_on_embeddings():
    """Of the page of questions: the views in float64, and what a fit and its search take beside them."""
    text = " ".join((ROOT / "docs" / "questions.md").read_text(encoding="utf-8").split())
    said, of_views = re.search(r"and ([\d.]+) GB beside the views themselves \(([\d.]+) GB in float64\)", text).groups()
    assert of_views == f"{50_000 * 2 * 768 * 8 / 1e9:.1f}"
    searched = Sizes(50_000, 100_000, 768, 32, n_folds=most_folds(AutoReg()))
    assert said == f"{features_plan(searched, 768, Identity()).bytes / 1e9:.1f}"


def test_the_page_of_populations_has_every_law_of_the_sphere():
    with pytest.raises(TypeError, match="have closed forms") as error:
        Operator.of(GaussianNoise(0.1), 3)
    names = re.search(r"on the sphere, (.*) have", str(error.value))[1].replace(" and ", ", ").split(", ")
    text = (ROOT / "docs" / "theory" / "population.md").read_text(encoding="utf-8")
    sphere = text.partition("## The sphere")[2].partition("\n## ")[0]
    assert len(names) == 7
    assert [name for name in names if name not in ("Compose", "Mixture") and f".{name}`" not in sphere] == []


def test_populations():
    names = run("docs/theory/population.md")
    s, cube, law = names["s"], names["cube"], names["law"]
    assert [f"{mu:.4f}" for mu in s.eigenvalues[[0, 1, 17]]] == ["1.0000", "0.2023", "0.1237"]
    assert list(s.labels[17:19]) == [(0, 1), (1, 2)]
    assert list(s.block_ends) == [1, 17, 33]
    crossed = cube.crossings(names["Crop"](8), names["NNGP"](2), labels=[{0, 5}, {0, 2, 4}, {0, 1, 2, 3}])
    assert {f"{crossing.reg:.3e}" for crossing in crossed} >= {"3.405e-07", "1.373e-06"}
    far = names["Hypercube"](1000).minimum_risk(
        names["Compose"](names["Crop"](400), names["BitFlip"](0.05)), names["NTK"](3), 1001, reg=1e-9
    )
    assert f"{far:.3f}" == "983.204"
    assert cube.risk(np.ones((2**16, 1)), law) >= 0
