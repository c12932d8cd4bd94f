"""What looks at the built site finds what is wrong with it (CI builds the site and looks)."""

import re
import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "_ext" / "checked.py"
if not SCRIPT.exists():
    pytest.skip("the site is not part of an installation", allow_module_level=True)
checked = runpy.run_path(str(SCRIPT))

PAGE = """<html><head><title>Kernels</title><link rel="stylesheet" href="style.css"></head>
<body><a href="#main">skip</a><article id="main"><h1>Kernels</h1>
<p>A kernel is a function of two points, and here are some words more, which everyone can read.</p>
<p>See <a href="other.html#there">the other page</a>, <a href="https://example.org/">elsewhere</a>.</p>
<img src="picture.png" alt="Two moons"></article><script src="search.js"></script></body></html>"""


@pytest.fixture
def site(tmp_path):
    for name in ("style.css", "search.js", "picture.png"):
        (tmp_path / name).write_text("")
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "other.html").write_text(
        PAGE.replace("other.html#there", "index.html").replace("<h1>", '<h1 id="there">')
    )
    return tmp_path


def test_nothing_is_wrong(site):
    assert checked["faults"](site) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("<title>Kernels</title>", "<title> </title>", "no title"),
        ("<h1>Kernels</h1>", "<h2>Kernels</h2>", "0 headings of the first level"),
        ("<h1>Kernels</h1>", "<h1>Kernels</h1><h1>Again</h1>", "2 headings of the first level"),
        ("A kernel is a function of two points, and here are some words more, which everyone can read.", "", "only"),
        ("other.html#there", "", "a link to nothing"),
        ("other.html#there", "gone.html", "the link gone.html leads to no file"),
        ("other.html#there", "other.html#nowhere", "the link other.html#nowhere leads to no place on its page"),
        ("#main", "#elsewhere", "the link #elsewhere leads to no place"),
        ("picture.png", "gone.png", "no picture gone.png"),
        ("Two moons", "", "has no words"),
        ("style.css", "gone.css", "loads gone.css"),
        ("search.js", "https://example.org/search.js", "loads https://example.org/search.js"),
    ],
)
def test_each_fault_is_found(site, old, new, fault):
    text = (site / "index.html").read_text()
    assert old in text
    (site / "index.html").write_text(text.replace(old, new))
    (found,) = checked["faults"](site)
    assert found.startswith("index.html: ")
    assert fault in found


def test_no_site_is_no_success(tmp_path):
    assert checked["faults"](tmp_path) == [f"no pages in {tmp_path}"]


def test_an_index_stands_beside_its_letter():
    """And the bounds of a sum stay below and above it."""
    aside = runpy.run_path(str(SCRIPT.with_name("accents.py")))["with_indices_aside"]
    math = '<math xmlns="http://www.w3.org/1998/Math/MathML">{}</math>'
    mean = '<munderover><mi>z</mi><mi>i</mi><mo stretchy="false">\u02c9</mo></munderover>'
    total = "<munderover><mo>\u2211</mo><mi>i</mi><mi>n</mi></munderover>"
    letter = '<msub><mover accent="true"><mi>z</mi><mo stretchy="false">\u02c9</mo></mover><mi>i</mi></msub>'
    assert aside(math.format(mean + total)) == math.format(letter + total)
    assert aside(math.format("<mtext>a&nbsp;b</mtext><mo>&lt;</mo>")) == math.format(
        "<mtext>a\u00a0b</mtext><mo>&lt;</mo>"
    )


# ---------------------------------------------------------------- pages that are no part of the site

ROOT = SCRIPT.parents[2]


def anchors(text):
    """Names of the headings of a page, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", "bench/results/README.md"]
)
def test_their_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
