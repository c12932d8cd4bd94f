"""The numbers of docs/gallery.md that come from studies: ``python -m bench.studies FOLDER ...`` keeps them.

Each FOLDER is what ``sslcore study NAME --full --out FOLDER`` has written (the command of the page).  Of its document
docs/studies/NAME.json gets whose results it has, the verdict, and what the page quotes beyond that: a number, one with
its standard error, one with its interval, or a phrase.  tests/test_measured.py holds the page against these files: each
number of a section is in its file, rounded.  (Times are not, which are those of a machine.)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STUDIES = Path(__file__).parents[1] / "docs" / "studies"
IDENTITY = ("study", "full", "seed", "sslcore", "verdict")


def digits(found: dict[str, Any]) -> dict[str, Any]:
    """Return risk and error at the regs that are named, and the ends of the learning curve of the fewest labels."""
    choice, curves = found["choice"], found["learning_curves"]
    risks = sorted(zip(choice["risk"], choice["risk_standard_error"], choice["reg"], strict=True))
    errors = dict(zip(choice["reg"], choice["error"], strict=True))
    few = [[curves[part]["zero_one"][i][0] for part in ("mean", "standard_error")] for i in (0, -1)]
    return {
        "least risk": risks[0][:2],
        "its reg": risks[0][2],
        "next risk": risks[1][0],
        "its reg, next": risks[1][2],
        "error there": errors[choice["reg_by_risk"]],
        "least error": errors[choice["reg_by_labels"]],
        "reg of least error": choice["reg_by_labels"],
        "error with the fewest images": few[0],
        "error with the most": few[1],
    }


def dimension(found: dict[str, Any]) -> dict[str, Any]:
    """Return the least error over the number of components at the smallest reg."""
    return {"error at the smallest reg": min(found["fits"]["error"]["mean"][0])}


def sphere(found: dict[str, Any]) -> dict[str, Any]:
    """Return the printed eigenvalues of functions outside of the RKHS, at the largest weight."""
    printed, outside = found["printed"][-1], found["share_outside_of_the_range"][-1]
    return {f"printed {i}": value for i, value in enumerate(printed) if outside[i] > 0.5}


def rates(found: dict[str, Any]) -> dict[str, Any]:
    """Return the law and its prices of views, and what was measured over it, with intervals of 95 %."""
    limit, m = found["limit"], found["m"]

    def by_law(views: int) -> float:
        each: float = limit["samples"] + limit["views"] / views + limit["pairs"] / (views * (views - 1))
        return each * views

    return {
        "law": f"{limit['samples']:.3g} + {limit['views']:.3g} / m + {limit['pairs']:.3g} / (m (m - 1))",
        **{f"price by the law, m = {views}": by_law(views) / by_law(m[0]) for views in m[1:]},
        **{f"over the law, m = {m[i]}": [found["over_limit"][i][e] for e in ("value", "low", "high")] for i in (0, -1)},
    }


FIGURES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "digits": digits,
    "dimension": dimension,
    "rates": rates,
    "sphere": sphere,
}
"""What pages quote beyond the verdicts."""


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """Return what docs/studies has of a study's document."""
    figures = FIGURES.get(found["study"], lambda _: {})(found)
    return {name: found[name] for name in IDENTITY} | {"figures": figures}


# ---------------------------------------------------------------- numbers in texts

_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_QUOTED = re.compile(
    rf"(?<![\w.])(?P<value>{_NUMBER})"
    rf"(?: \+- (?P<error>{_NUMBER})| \((?P<low>{_NUMBER}) to (?P<high>{_NUMBER})\))?"
    r"(?P<unit> %| points)?(?![\w.]*\d)(?! (?:s|minutes|hours)\b)"
)


def quoted(text: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the measured numbers of a text as they are written, with error or interval, and the unit's size.

    Those are numbers with a decimal point, an exponent or an error; code, addresses and times are left out.
    """
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text).replace(",", "").replace("^-", "^ ")
    for match in _QUOTED.finditer(text):
        numbers = tuple(match[name] for name in ("value", "error", "low", "high") if match[name])
        if len(numbers) > 1 or "." in numbers[0] or "e" in numbers[0]:
            yield numbers, 0.01 if match["unit"] else 1.0


def rounded(value: float, like: str) -> bool:
    """Tell whether a number, written as another is, reads the same.

    >>> rounded(0.36926, "0.369"), rounded(3.4054e-07, "3.405e-7"), rounded(0.36951, "0.369")
    (True, True, False)
    """
    digits, _, exponent = like.partition("e")
    places = len(digits.partition(".")[2])
    return float(format(value, f".{places}{'e' if exponent else 'f'}")) == float(like)


def known(document: dict[str, Any]) -> list[tuple[float, ...]]:
    """List all numbers of a file of docs/studies, each with its error or interval: of the verdict, and the figures."""
    said = [tuple(float(number) * unit for number in numbers) for numbers, unit in quoted(document["verdict"])]
    figures = [value for value in document["figures"].values() if not isinstance(value, str)]
    return said + [tuple(value) if isinstance(value, list) else (value,) for value in figures]


def matches(written: tuple[str, ...], unit: float, value: tuple[float, ...]) -> bool:
    """Tell whether this number is quoted so; one without an error may be quoted of one that has it."""
    some = value[:1] if len(written) == 1 else value
    return len(some) == len(written) and all(rounded(v / unit, w) for v, w in zip(some, written, strict=True))


def main() -> None:
    """Keep the numbers of each folder."""
    STUDIES.mkdir(exist_ok=True)
    for folder in map(Path, sys.argv[1:]):
        for path in sorted(folder.glob("*.json")):
            document = kept(json.loads(path.read_text(encoding="utf-8")))
            text = json.dumps(document, indent=1, allow_nan=False)
            (STUDIES / path.name).write_text(text + "\n", encoding="utf-8")
            print(f"{document['study']}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
