"""Measured numbers on pages are those of the files that benchmarks write."""

import json
import re
import runpy
from pathlib import Path

import pytest

from sslcore.augmentations import Crop
from sslcore.kernels import NNGP
from sslcore.studies import interplay

ROOT = Path(__file__).parents[1]
if not (ROOT / "bench").exists():
    pytest.skip("benchmarks and pages are not part of an installation", allow_module_level=True)

from bench import pages, studies  # noqa: E402


@pytest.mark.parametrize("name", pages.TABLES)
def test_a_table_is_that_of_the_files(name):
    path, _ = pages.TABLES[name]
    text = path.read_text(encoding="utf-8")
    assert text == pages.with_table(text, name), "run `python -m bench.pages`"


def test_what_missed_and_what_was_measured_beside_other_work_is_said(monkeypatch, tmp_path):
    for path in pages.RESULTS.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "machine" in content:
            content["machine"]["load_average"] = [15.0 if path.stem == "gram" else 0.1] * 3
            for result in content["results"]:
                for row in result["rows"]:
                    row["met"] = path.stem != "exact"
        (tmp_path / path.name).write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    lines = pages.speed().splitlines()
    assert ["(**missed**)" in line for line in lines].index(True) == 2
    assert sum("(**missed**)" in line for line in lines) == 1
    assert [line.startswith("| Gram 8,000") for line in lines] == ["beside other work" in line for line in lines]


def test_the_site_has_the_tables_of_the_files():
    pytest.importorskip("docutils")
    measured = runpy.run_path(str(ROOT / "docs" / "_ext" / "measured.py"))
    paths = sorted(pages.RESULTS.glob("*.json"))
    text = measured["tables"](paths)
    for path in paths:
        for result in json.loads(path.read_text(encoding="utf-8")).get("results", []):
            for row in result["rows"]:
                assert row["measured"].replace("|", "\\|") in text, path.name


def test_each_number_of_a_page_is_in_its_file():
    """What the role ``measured`` looks up as the site is built, without it."""
    asked = [
        (path.name, role)
        for path in sorted((ROOT / "docs").rglob("*.md"))
        for role in re.findall(r"\{measured\}`([^`]+)`", path.read_text(encoding="utf-8"))
    ]
    assert {"index.md", "tables.md"} <= {name for name, _ in asked}
    for _, role in asked:
        name, *keys, form = role.split()
        value = pages.result(name)
        for key in keys:
            value = value[key]
        assert format(value, form)[0].isdigit(), role


def test_the_guide_on_fits_without_the_matrix():
    guide = " ".join((ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split())
    times = pages.result("matrix_free_large")["times"]
    for kind, words in (
        ("exponential(.2)", r"the exponential kernel took (\d+) products and ([\d.]+) minutes"),
        ("Gaussian(.3)", r"the Gaussian (\d+) and ([\d.]+) minutes"),
        ("kernel PCA, exponential(.2)", r"kernel PCA (\d+) and ([\d.]+) minutes"),
    ):
        found = re.search(words, guide)
        minutes = times[kind]["seconds"] / 60
        digits = len(found[2].partition(".")[2])
        assert (int(found[1]), found[2]) == (times[kind]["products"], f"{minutes:.{digits}f}"), kind


def test_products_without_the_matrix_are_said_in_one_way_and_as_measured():
    said = "some 10 (kernel PCA), 30 (smooth kernels) or up to 200"
    pages_of = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("guide.md", "memory.md")]
    assert [" ".join(text.split()).count(said) for text in pages_of] == [2, 1]
    cases = pages.result("matrix_free_large")["times"] | {
        kind: case["matrix-free"] for kind, case in pages.result("matrix_free")["times"].items()
    }
    for kind, case in cases.items():
        low, high = (5, 15) if kind.startswith("kernel PCA") else (20, 40) if kind.startswith("Gauss") else (40, 200)
        assert low <= case["products"] <= high, kind


def test_the_guide_on_what_a_search_costs():
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    said = re.search(r"With a kernel it costs some (\w+(?: to \w+)?) fits", guide).group(1)
    numbers = ["no", "one", "two", "three", "four", "five", "six"]
    ratios = sorted(pages.result("search")[data]["ratio"] for data in ("half-moons", "digits"))
    assert said == " to ".join(dict.fromkeys(numbers[round(ratio)] for ratio in ratios))


def test_the_page_on_scale_on_runs_of_leaves():
    page = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"64 leaves of r = 768 \((\d+) s\) for ([\d,]+) threads, 320 leaves \((\d+) s\) for ([\d,]+), "
        r"5,120 leaves \((\d+) minutes\) for ([\d,]+)\.",
        page,
    ).groups()
    (leaf,) = (case["measured"] for case in pages.result("leaves")["cases"] if case["r"] == 768)
    expected = []
    for n, unit, scheduling in ((64, 1, 0.02), (320, 1, 0.014), (5120, 60, 0.014)):
        expected += [f"{n * leaf / unit:.0f}", pages.rounded(n * leaf / scheduling)]
    assert list(told) == expected


def test_the_nystrom_row_of_leaves_has_its_rate():
    found = pages.result("leaves")
    (row,) = (line for line in pages.leaves().splitlines() if line.startswith("| Nystrom"))
    assert pages.rounded(found["views"] / found["nystrom"]) in row


def test_in_continuous_integration_a_missing_compiler_is_a_failure():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.partition("#")[0].strip() for line in lines].index("export CI=1") < lines.index('eval "$command"')


# ---------------------------------------------------------------- the studies


def of_studies():
    """The sections of the gallery that show a study: the options of its command, and the text below it, by name."""
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    command = re.compile(r"```bash\nsslcore study (\w+)(.*)\n```")
    sections = page.split("\n## ")
    return {found[1]: (found[2], text[found.end() :]) for text in sections if (found := command.search(text))}


def test_each_study_with_numbers_has_a_file():
    assert {path.stem for path in studies.STUDIES.glob("*.json")} == of_studies().keys()


@pytest.mark.parametrize("name", sorted(of_studies()))
def test_the_numbers_of_a_study_are_those_of_its_file(name):
    """Each number of its section is in the file, rounded; each figure that the file has beyond the verdict is told."""
    options, text = of_studies()[name]
    document = json.loads((studies.STUDIES / f"{name}.json").read_text(encoding="utf-8"))
    assert (document["study"], document["full"]) == (name, "--full" in options)
    told, values = list(studies.quoted(text)), studies.known(document)
    assert [written for written, unit in told if not any(studies.matches(written, unit, v) for v in values)] == []
    for figure, value in document["figures"].items():
        if isinstance(value, str):
            assert value in text, figure
        else:
            value = tuple(value) if isinstance(value, list) else (value,)
            assert any(studies.matches(written, unit, value) for written, unit in told), figure


def test_the_crossings_that_the_gallery_has_of_the_command_interplay():
    """They stand above the study of that section, which is of another dimension and has other ones."""
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    told = re.search(r"the two values of reg \(([\d.e-]+) and ([\d.e-]+)\)", page).groups()
    crossings = interplay.study(16, Crop(8), NNGP(2)).crossings
    assert [studies.rounded(c.reg, like) for c, like in zip(crossings, told, strict=True)] == [True, True]


def test_what_another_page_quotes_of_the_study_of_networks():
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"\* \*\*Early stopping beside lambda\*\*.*?\n\* ", page, flags=re.DOTALL)
    told = [written for written, _ in studies.quoted(paragraph) if len(written) > 1]
    assert len(told) == 2
    assert set(told) <= {written for written, _ in studies.quoted(of_studies()["networks"][1])}
