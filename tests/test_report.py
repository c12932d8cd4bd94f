"""``sslcore report``: one page with everything in it, and nothing of the data's that a browser would run."""

import dataclasses
import html.parser
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import diagnostics, pretrain
from sslcore.augmentations import GaussianNoise
from sslcore.cli.main import main
from sslcore.features import Identity
from sslcore.kernels import Exponential

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("polars")

EVIL = "<script>alert(1)</script>$x_{$&"


class Balanced(html.parser.HTMLParser):
    """Reads a page, and refuses tags that do not close each other."""

    single = ("meta", "img", "br", "!doctype")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.single:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(path):
    page = Balanced()
    text = Path(path).read_text(encoding="utf-8")
    page.feed(text)
    assert not page.open
    assert "script" not in page.seen
    # nothing is loaded from elsewhere: data in the page, or its own parts
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    return text, page


@pytest.fixture
def moons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = sslcore.datasets.half_moons(60, seed=0)
    rep = pretrain(GaussianNoise(0.1).views(x, 2, seed=0), Exponential(0.5), 4, reg=1e-3, center=True)
    rep.notes["columns"] = ["x", "<y>"]
    rep.save("m.npz")
    rows = [f"{a},{b},{EVIL if a > 0 else 'plain'}" for a, b in x.tolist()]
    Path("d.csv").write_text("\n".join(["x,<y>,kind", *rows]) + "\n")
    return x, rep


def test_a_page_of_a_table(moons, capsys):
    x, rep = moons
    assert main(["report", "m.npz", "d.csv", "--color", "kind", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == "d-report.html"
    z = rep(x)
    assert found["verdict"] == diagnostics.collapse_report(z).verdict == "no collapse"
    numbers = found["diagnostics"]
    assert set(numbers) == {
        "effective_rank", "rankme", "alpha_req", "cluster_learnability", "intrinsic_dimension"
    }  # fmt: skip
    assert numbers["rankme"] == pytest.approx(diagnostics.rankme(z))
    assert numbers["intrinsic_dimension"] == pytest.approx(diagnostics.intrinsic_dimension(z))
    spectrum = np.linalg.eigvalsh(np.cov(z.T, bias=True))
    p = spectrum / spectrum.sum()
    assert numbers["effective_rank"] == pytest.approx(float(np.exp(-(p * np.log(p)).sum())))
    text, page = read("d-report.html")
    assert "svg" in page.seen
    assert "Exponential(scale=0.5)" in text
    assert "x, &lt;y&gt;" in text
    for sentence in diagnostics.collapse_report(z).sentences:
        assert sentence.split(" (")[0] in text
    assert rep.certificate.algorithm in text
    for row in (1, 4):
        assert f"{rep.eigenvalues[row - 1]:.4g}" in text
    assert "(scale risk), coloured by kind." in text
    assert found["scale"] == "risk"
    assert "LiDAR" not in text


def test_views_and_many_points(moons, capsys):
    """Views bring LiDAR; of many points the figure is an image."""
    x, rep = moons
    views = GaussianNoise(0.1).views(np.repeat(x, 30, axis=0), 3, seed=1)
    np.save("v.npy", views)
    np.save("y.npy", np.arange(len(views)) % 3)
    assert main(["report", "m.npz", "v.npy", "--color", "y.npy", "--out", "v.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["diagnostics"]["lidar"] == pytest.approx(diagnostics.lidar(rep(views)))
    text, page = read("v.html")
    assert "svg" not in page.seen
    assert "data:image/png;base64," in text
    assert "1,800 samples, 3 views of each, 2 coordinates" in text


def test_a_collapsed_model(moons, capsys):
    x, _ = moons
    dead = pretrain(GaussianNoise(0.1).views(x, 2, seed=0), Identity(), 2, reg=50.0, center=True)
    dead.save("dead.npz")
    np.save("x.npy", x)
    assert main(["report", "dead.npz", "x.npy"]) == 0
    assert "total collapse" in capsys.readouterr().out
    text, _ = read("x-report.html")
    assert '<strong class="bad">total collapse</strong>' in text


def test_a_page_is_whole_or_not_there(moons, capsys, monkeypatch):
    def refused(*argv):
        assert main(["report", *argv]) == 2
        return capsys.readouterr().err

    assert "--out must end in .html" in refused("m.npz", "d.csv", "--color", "kind", "--out", "a.pdf")
    assert "column" in refused("m.npz", "d.csv", "--color", "nothing")
    np.save("short.npy", np.arange(7))
    assert "60 samples, short.npy has 7 colours" in refused("m.npz", "d.csv", "--drop", "kind", "--color", "short.npy")
    Path("d-report.html").write_text("before")
    np.save("bad.npy", np.ones((4, 3)))
    assert "3 coordinates" in refused("m.npz", "bad.npy", "--out", "d-report.html")
    assert Path("d-report.html").read_text() == "before"
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "reports need Jinja: pip install '.[cli]'" in refused("m.npz", "d.csv", "--color", "kind")
    assert not re.findall(r"tmp", " ".join(path.name for path in Path().iterdir()))


def test_a_figure_that_cannot_be_drawn(moons, capsys, monkeypatch):
    from sslcore.studies import figures

    def broken(*values):
        raise RuntimeError("no fonts <here>")

    monkeypatch.setattr(figures, "map_figure", broken)
    assert main(["report", "m.npz", "d.csv", "--color", "kind"]) == 1
    assert "no fonts" in capsys.readouterr().err
    text, _ = read("d-report.html")
    assert "no fonts &lt;here&gt;" in text


def test_fit_with_colours(moons, capsys):
    """The column is no coordinate; the figure is of the kind asked for."""
    argv = ["fit", "d.csv", "--color", "kind", "--augment", "gaussian-noise:0.1", "--reg", "1e-3", "--components", "3"]
    assert main([*argv, "--format", "svg", "--out", "c"]) == 0
    assert Path("c-figure.svg").read_bytes().startswith(b"<?xml")
    assert sslcore.load("c-model.npz").notes["columns"] == ["x", "<y>"]
    capsys.readouterr()
    assert main([*argv, "--color", "nothing", "--out", "e"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_coordinates_may_be_the_colours(moons, capsys):
    assert main(["report", "m.npz", "d.csv", "--color", "x", "--drop", "kind"]) == 0
    assert "coloured by x" in read("d-report.html")[0]


def test_colours_have_the_decimal_sign_that_is_told(moons):
    """Of 1,125 nothing else tells whether it is a little more than one."""
    np.save("x.npy", moons[0])
    Path("c.csv").write_text("z;w\n" + "".join(f"{i % 9 + 1},125;1,000\n" for i in range(60)))
    shown = []
    from sslcore.cli.commands import report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            report, "_pictured", lambda rep, z, color: shown.append(color) or {"svg": "", "png": "", "failed": ""}
        )
        assert main(["report", "m.npz", "x.npy", "--color", "c.csv:z", "--decimal", ","]) == 0
    assert shown[0].dtype.kind == "f"
    assert shown[0].tolist() == [i % 9 + 1.125 for i in range(60)]


def test_settings_tell_of_columns_and_standardisation(moons, capsys):
    from sslcore.defaults import Standardization
    from sslcore.io.encoding import Encoding

    x, rep = moons
    encoded = dataclasses.replace(rep, table=Encoding(["x", "<y>"], id="name"), notes={})
    encoded.standardized_by(Standardization.of(x)).save("s.npz")
    rows = [f"n{i},{a},{b}" for i, (a, b) in enumerate(x.tolist())]
    Path("s.csv").write_text("\n".join(["name,x,<y>", *rows]) + "\n")
    assert main(["report", "s.npz", "s.csv"]) == 0
    text, _ = read("s-report.html")
    assert "<tr><th>columns</th><td>x, &lt;y&gt;</td></tr>" in text
    assert "<tr><th>standardised</th><td>Standardization(2 columns" in text


def test_neighbours_are_of_all_parts_of_the_file(moons, capsys, monkeypatch):
    from sslcore.cli.commands import report

    x, rep = moons
    monkeypatch.setattr(report, "NEIGHBOURS_OF", 40)
    assert main(["report", "m.npz", "d.csv", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["diagnostics"]
    assert numbers["intrinsic_dimension"] == pytest.approx(diagnostics.intrinsic_dimension(rep(x)[::2]))
    assert "by two neighbours; of 30 of the samples" in read("d-report.html")[0]
