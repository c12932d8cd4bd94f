"""The pages under docs/: commands that are run, messages that are raised, a reference that is current."""

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import runpy
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import datasets, pretrain
from sslcore.augmentations import Affine, GaussianNoise
from sslcore.cli import main as cli
from sslcore.features import Identity
from sslcore.io import tables
from sslcore.kernels import Exponential, Gaussian
from sslcore.probing import ridge_probe
from sslcore.studies import _registry

DOCS = Path(__file__).parents[1] / "docs"
if not DOCS.exists():
    pytest.skip("the pages are not part of an installation", allow_module_level=True)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


# ---------------------------------------------------------------- the gallery

QUICK = {
    "halfmoons": ["--samples", "60", "--views", "2"],
    "path": ["--regs", "1e-3:1:3"],
    "convergence": ["--n", "20", "40", "--repetitions", "1"],
}
"""Options that make a command of the gallery quick; the digits are cut to the first 300."""


def test_the_commands_of_the_gallery(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    images, labels = (part[:300] for part in datasets.digits())
    monkeypatch.setattr(datasets, "digits", lambda: (images, labels))
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    ran, studied = [], set()
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", page, flags=re.DOTALL):
        if language == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            program, command, *argv = shlex.split(line)
            assert program == "sslcore"
            if command == "study":  # takes a minute: tests of its own run it in a small size
                studied |= {f"study-{argv[0]}{end}.png" for end in _registry.registered(argv[0]).pictures}
                continue
            assert cli.main([command, *argv, *QUICK.get(command, [])]) == 0, line
            ran.append(command)
    assert capsys.readouterr().err == ""
    assert {"digits", "halfmoons", "fit", "transform", "probe"} <= set(ran)
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)
    assert len(pictures) >= 3
    for picture in pictures:
        if picture in studied:
            assert 20_000 < (DOCS / picture).stat().st_size <= 200_000
            continue
        assert (tmp_path / picture).stat().st_size > 20_000, "made by no command above"
        shown, made = ((folder / picture).read_bytes() for folder in (DOCS, tmp_path))
        size = [struct.unpack(">II", data[16:24]) for data in (shown, made)]
        assert abs(size[0][0] - size[1][0]) <= 60, f"docs/{picture} is not what the command makes now"
        assert len(shown) < 400_000


# ---------------------------------------------------------------- the guide


def test_the_kernel_of_the_guide():
    guide = (DOCS / "guide.md").read_text(encoding="utf-8")
    (code,) = blocks(guide[guide.index("## A kernel of your own") :], "python")
    exec(code, {"__name__": __name__})


def views(n=30, d=2, **kwargs):
    return np.random.default_rng(0).normal(size=(n, 2, d))


def command(*argv):
    """What a command says, on stdout or stderr."""

    def run():
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            cli.main(list(argv))
        raise RuntimeError(out.getvalue() + err.getvalue())

    return run


def shrinking():
    np.save("v.npy", views(2000))
    array = np.load("v.npy", mmap_mode="r")
    os.truncate("v.npy", 500)
    pretrain(array, Identity(), 1, reg=0.1)


def read(name, content):
    def run():
        content(name) if callable(content) else Path(name).write_bytes(content)
        tables.read_points(tables.parse_source(name))

    return run


def unseen():
    Path("a.csv").write_text("x,w\n1,a\n2,b\n")
    Path("b.csv").write_text("x,w\n1,c\n")
    encoding = sslcore.tables.read("a.csv", categories="one-hot").encoding
    sslcore.tables.read("b.csv", encoding=encoding)


def nan():
    x = views()
    x[17, 0, 1] = np.nan
    pretrain(x, Identity(), 1, reg=0.1)


WAYS = {
    "components active (mu > 0), the others are zero": command("fit", "v.npy", "--reg", "9", "--no-figure"),
    "of memory, the budget is": lambda: sslcore.plan(10**6, 2, 3, Gaussian(1.0), 4, memory="8GB"),
    "reg is below what the rounding of the kernel matrix allows": lambda: pretrain(
        GaussianNoise(0.1).views(datasets.half_moons(200, seed=0), 2, seed=0), Gaussian(1.0), 5, reg=1e-15
    ),
    "not positive semi-definite": lambda: pretrain(
        views(), lambda x, y: -np.exp(-(((x[:, None] - y) ** 2).sum(2))), 2, reg=1e-3
    ),
    "at least one sample must have 2 or more views": lambda: pretrain(views()[:, :1], Identity(), 1, reg=0.1),
    "the data are constant": lambda: pretrain(np.zeros((4, 2, 2)), Gaussian(1.0), 1, reg=0.1),
    "must be finite, found nan": nan,
    "n_components must be at most": lambda: pretrain(views(), Gaussian(1.0), 61, reg=0.1),
    "takes samples of 64 coordinates": lambda: Affine((8, 8)).views(np.zeros((3, 2)), 2, seed=0),
    "has shrunk from": shrinking,
    "is not what its name says": read("a.csv", b"\x89PNG\r\n\x1a\n"),
    "holds Python objects, which are never read": read(
        "a.npy", lambda name: np.save(name, np.array([[None]]), allow_pickle=True)
    ),
    "not a number; correct it, or leave the column out": read("a.csv", b"x,y\n1,a\n"),
    "have no value: --missing mean": read("a.csv", b"x,y\n1,\n,2\n"),
    "which was not there when the model was fitted": unseen,
    "cells, the header has": read("a.csv", b"x,y\n1\n"),
    "the model m.npz was fitted to": command("transform", "m.npz", "wide.npy"),
    "samples, y.npy has": command("probe", "m.npz", "x.npy", "y.npy"),
    "y must hold at least 2 classes": command("probe", "m.npz", "x.npy", "one.npy"),
    "the group of view 2 is missing": lambda: pretrain(
        np.zeros((4, 2)), Gaussian(1.0), 1, reg=0.1, groups=[0, 0, np.nan, 1]
    ),
    "labels of the kind of the fit": lambda: ridge_probe(np.eye(4), [0, 1, 0, 1], 0.1).score(np.eye(4), list("abab")),
    "cannot write": command("transform", "m.npz", "x.npy", "--out", "missing/z.npy"),
}
"""What makes each message of the guide appear."""


def test_the_guide_names_these_messages():
    page = (DOCS / "guide.md").read_text(encoding="utf-8")
    table = page.split("## What can go wrong")[1]
    assert re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE) == list(WAYS)


@pytest.mark.parametrize("message", WAYS)
def test_the_messages_of_the_guide_are_said(tmp_path, monkeypatch, message):
    monkeypatch.chdir(tmp_path)
    np.save("v.npy", views())
    np.save("x.npy", views()[:, 0])
    np.save("wide.npy", np.zeros((3, 5)))
    np.save("y.npy", np.arange(29))
    np.save("one.npy", np.zeros(30, int))
    pretrain(views(), Exponential(1.0), 2, reg=0.1).save("m.npz")
    with pytest.raises((ValueError, TypeError, ArithmeticError, MemoryError, RuntimeError)) as caught:
        WAYS[message]()
    assert message in " ".join(str(caught.value).split())


# ---------------------------------------------------------------- the reference


@pytest.fixture(scope="module")
def reference():
    return runpy.run_path(str(DOCS / "_ext" / "reference.py"))


def test_the_reference_has_a_page_for_every_public_name_and_command(tmp_path, reference):
    """A name that two modules hand on has one page; each module's page leads to all of its names."""
    reference["write"](tmp_path)
    places = {path.stem for path in tmp_path.iterdir()}
    for module, names in reference["public"]().items():
        page = (tmp_path / f"{module}.rst").read_text(encoding="utf-8")
        for name in names:
            assert {f"{module}.{name}", f"sslcore.{name}"} & places
            assert re.search(rf"^   (sslcore\.)?{name}$", page, flags=re.MULTILINE)
    assert {f"command-{name}" for name in cli.COMMANDS} <= places
    assert ".. option:: --reg" in (tmp_path / "command-fit.rst").read_text(encoding="utf-8")
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
    assert not re.search(r"0x[0-9a-f]{6}|site-packages|/home/|\b20\d\d-\d\d-\d\d\b", pages)


def test_pages_of_the_reference_are_written_once(tmp_path, reference):
    reference["write"](tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "sslcore.gone.rst").write_text("a name that is no more")
    (tmp_path / "sslcore.load.rst").write_text("of another version")
    reference["write"](tmp_path)
    assert {path for path in tmp_path.iterdir() if times.get(path) != path.stat().st_mtime_ns} == {
        tmp_path / "sslcore.load.rst"
    }
    assert "autofunction:: sslcore.load" in (tmp_path / "sslcore.load.rst").read_text(encoding="utf-8")


def test_a_class_has_its_own_members_and_those_of_private_bases(reference):
    assert {"transform", "linear_head", "save", "risk", "n_active"} <= set(reference["members"](sslcore.Representation))
    assert "rows" not in reference["members"](Gaussian)  # the methods of every kernel are on the page of `Kernel`
    assert "rows" in reference["members"](sslcore.kernels.Kernel)


def test_pages_and_reference_lead_to_each_other(tmp_path, reference):
    """What a page of the site names is public, and the page of that name leads back."""
    known = {f"{module}.{name}" for module, names in reference["public"]().items() for name in names}
    told = reference["_told"]()
    missing = {
        name for name in told if name not in known | set(reference["public"]()) | {"sslcore.torch", "sslcore.dask"}
    }
    assert not {name for name in missing if not name.startswith(("sslcore.torch.", "sslcore.dask."))}  # extras
    reference["write"](tmp_path)
    page = (tmp_path / "sslcore.risk.vicreg.rst").read_text(encoding="utf-8")
    assert ":doc:`/theory/risks`" in page
    assert ":py:obj:`~sslcore.risk.barlow_twins`" in page


def test_each_script_of_the_gallery_has_a_title_and_a_picture():
    """Building the site runs them; a title is what Sphinx makes a page of."""
    scripts = sorted((DOCS.parent / "examples" / "gallery").glob("*/*.py"))
    assert len(scripts) >= 24
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        title, rule, blank = text.split("\n")[1:4]
        assert (len(title), set(rule), blank) == (len(rule), {"="}, ""), script.name
        assert "plt.subplots(" in text or "plt.figure(" in text, script.name


def test_names_in_docstrings_lead_somewhere(reference):
    """What the build of the site finds, found without it: a name in single backticks that has no entry there."""
    places, texts = {}, {}  # a name that two modules hand on has its entry at the first
    for module, names in reference["public"]().items():
        room = importlib.import_module(module)
        texts[module] = room.__doc__ or ""
        for name in names:
            value = getattr(room, name)
            place = places.setdefault(value, f"{module}.{name}")
            texts[place] = inspect.getdoc(value) or ""
            for member in reference["members"](value) if inspect.isclass(value) else ():
                texts[f"{place}.{member}"] = inspect.getdoc(getattr(value, member)) or ""
    known = set(texts) | {f"{place}.{field}" for value, place in places.items() for field in fields_of(value)}
    named = re.compile(r"(?<!`)`~?(sslcore\.[\w.]+)`(?!`)")
    optional = re.compile(r"sslcore\.(torch|dask)\b")  # where these are not installed
    missing = {
        (place, name)
        for place, text in texts.items()
        for name in named.findall(text)
        if name not in known and not optional.match(name)
    }
    assert not missing


def fields_of(value):
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []


@pytest.mark.parametrize("kind", ["func", "class", "obj", "mod", "meth", "attr"])
@pytest.mark.parametrize("name", ["sslcore.foo", "sslcore.gram.foo", "sslcore.kernels.Gaussia", "sslcore.solvers.foo"])
def test_a_name_that_is_not_there_fails_the_build(kind, name):
    """As CONTRIBUTING says of names that begin with sslcore: the site's settings let none of them pass."""
    tree = ast.parse((DOCS / "conf.py").read_text(encoding="utf-8"))
    values = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
              if isinstance(target, ast.Name)}  # fmt: skip
    assert ast.literal_eval(values["nitpicky"]) is True
    ignored = ast.literal_eval(values["nitpick_ignore_regex"])
    assert any(re.fullmatch(what, f"py:{kind}") and re.fullmatch(pattern, "numpy.ndarray") for what, pattern in ignored)
    assert not any(re.fullmatch(what, f"py:{kind}") and re.fullmatch(pattern, name) for what, pattern in ignored)


def test_bars_are_text_outside_of_code(reference):
    lines = ["||x|| of (n, *shape), ``a | b`` and `c|d`::", "", "    x |= y", "", "|S|", ">>> a | b"]
    reference["bars"](None, "function", "f", None, None, lines)
    assert lines == [r"\|\|x\|\| of (n, \*shape), ``a | b`` and `c|d`::", "", "    x |= y", "", r"\|S\|", ">>> a | b"]


# ---------------------------------------------------------------- scale


def test_the_code_of_the_page_on_scale(tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    threadpoolctl = pytest.importorskip("threadpoolctl")
    code = "\n".join(blocks((DOCS / "scale.md").read_text(encoding="utf-8"), "python"))
    with threadpoolctl.threadpool_limits(1, user_api="blas"):  # as the page asks of streams to be compared
        exec(code, {})


# ---------------------------------------------------------------- theory

RESULTS = re.compile(
    r"Crossing|Regime|Lines|SubsetClass|risk_of_moments|ProbabilityErrors|RidgeProbe|KNNProbe|LearningCurves"
    r"|EquivalentParameters|MonitorReport|Stage|Choice|as_kernel|check_formula|constant_profiles|Views"
)
"""What functions of the theory return, which their own pages explain, and what declarations are made of."""


def test_all_that_is_computed_is_told_by_a_page_of_the_theory(reference):
    """So that the page of a function leads to its formula, and the formula to the function."""
    told = reference["_told"]()
    rooms = ("kernels", "augmentations", "features", "positives", "risk", "diagnostics", "population", "probing")
    names = [f"sslcore.{room}.{name}" for room in rooms for name in reference["public"]()[f"sslcore.{room}"]]
    assert len(names) > 90
    missing = [name for name in names if not any(page.startswith("theory/") for page in told.get(name, ()))]
    assert [name for name in missing if not RESULTS.fullmatch(name.rpartition(".")[2])] == []
