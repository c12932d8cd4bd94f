"""The page on the authors' numbers: its table is that of the measurements, which are made again on small sizes."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("bench.reproduction")
pytest.importorskip("mpmath")

from bench import reproduction

BOUNDS = {
    **{"1e-08": 1e-7, "functions": 1e-8, "tr": 1e-6, "mu at 0.1": 1e-6, "mu at 1": 1e-6, "mu at 10": 1e-6},
    **{"mu at 100": 1e-5, "loss": 1e-5, "errors of the probe": 1e-3, "noisy, squared error": 1e-7},
    **{"interpolation, squared error": 1e-7, "by their formula": 1e-8},
}
"""Differences that are not of rounding alone: a dense inverse, eigenvalues that nearly meet, or float32."""

ERRORS = json.loads(reproduction.RESULTS.read_text(encoding="utf-8"))["errors"]


@pytest.mark.parametrize("name", reproduction.ROWS)
def test_a_row_on_a_small_size(name):
    if name == "networks":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    found = reproduction.ROWS[name].measure("small")
    assert found.keys() == ERRORS[name].keys()
    for key, value in found.items():
        bound = next((b for end, b in BOUNDS.items() if key.endswith(end)), 1e-10)
        assert value < bound, key
        assert ERRORS[name][key] < 100 * bound, key


def test_the_table_of_the_page():
    text = reproduction.PAGE.read_text(encoding="utf-8")
    assert reproduction.page_with(text, ERRORS) == text, "python -m bench.reproduction writes it"
    assert text.count("| ssl_interplay/") + text.count("| active_ssl/") + text.count("| samples_for_") == len(ERRORS)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (3.2e-13, "4e-13"), (9.5e-10, "1e-09"), (1e-12, "1e-12"), (2e-16, "2e-16")]
)
def test_errors_are_rounded_up(value, words):
    assert reproduction.rounded(value) == words


def test_the_pictures_and_links_of_the_page():
    text = reproduction.PAGE.read_text(encoding="utf-8")
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (Path(reproduction.PAGE).parent / picture).exists()
