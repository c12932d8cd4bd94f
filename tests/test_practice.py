"""Real data with few labels: the benchmark judges rightly, and its file is of today's sets."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
practice = pytest.importorskip("bench.practice", reason="benchmarks are not part of an installation")
plain = pytest.importorskip("bench.report").plain
RESULTS = ROOT / "bench" / "results" / "practice.json"


def measured():
    return json.loads(RESULTS.read_text(encoding="utf-8"))["results"][0]


def result(name, each, difference, error, probe="ridge"):
    rivals = {"raw": 0.5, "PCA 8": 0.6}
    found = {"set": name, "probe": probe, "labels_a_class": each, "ours": 0.6 + difference, "best": "PCA 8"}
    return found | {"rivals": rivals, "difference": difference, "standard_error": error}


def test_measured_are_the_sets_and_halves_of_today():
    found = measured()["compared"]
    assert set(practice.SETS) <= {r["set"] for r in found}
    assert all(r["role"] == practice.role(r["set"]) for r in found)
    for r in found:
        assert r["best"] == max(r["rivals"], key=r["rivals"].get)
        assert r["difference"] == pytest.approx(r["ours"] - r["rivals"][r["best"]], abs=1e-12)


def test_every_set_is_compared_or_said_to_be_left_out():
    content = measured()
    there, skipped = {r["set"] for r in content["compared"]}, set(content["skipped"])
    assert there | skipped == set(practice.SETS) | set(practice.FRESH)
    assert not there & skipped
    assert set(content["measured"]) == there
    again = plain(practice.result_of(content["compared"], content["measured"], content["skipped"]))
    assert again == {name: content[name] for name in again}


def test_sets_measured_again_replace_their_rows():
    def of(name, difference):
        return [result(name, each, difference, 0.01) | {"role": "of another day"} for each in (5, 10)]

    old = {
        "compared": of("wine", 0.1) + of("OSULeaf", 0.2),
        "measured": {"wine": "1st", "OSULeaf": "1st"},
        "skipped": {"digits": "none", "GunPoint": "none"},
    }
    found = practice.merged(old, of("digits", 0.3) + of("wine", -0.1), {"digits": "2nd", "wine": "2nd"}, {})
    told = [(r["set"], r["labels_a_class"], r["difference"]) for r in found["compared"]]
    assert told == [(n, e, d) for n, d in (("digits", 0.3), ("wine", -0.1), ("OSULeaf", 0.2)) for e in (5, 10)]
    assert found["compared"][-1]["role"] == practice.role("OSULeaf")
    assert found["measured"] == {"digits": "2nd", "wine": "2nd", "OSULeaf": "1st"}
    assert (found["skipped"]["GunPoint"], found["skipped"]["ArrowHead"]) == ("none", "not run")
    assert found["scores"] == {"chosen on": -10.0, "judged": 3.0}


def test_halves_are_those_of_the_hashes():
    names = sorted(practice.SETS)
    ranks = [
        sum(hashlib.sha256(b.encode()).digest() < hashlib.sha256(a.encode()).digest() for b in names) for a in names
    ]
    assert set(practice.SETTLED) == {a for a, rank in zip(names, ranks, strict=True) if rank < 4}


def test_the_verdict_over_the_eight():
    above, level, below, fresh = "digits", "wine", "GunPoint", "ArrowHead"
    differences = {above: (0.05, 0.03), level: (0.05, -0.001), below: (0.05, -0.02), fresh: (-0.1, -0.1)}
    found = [
        result(name, each, d, 0.01) for name, two in differences.items() for each, d in zip((5, 10), two, strict=True)
    ]
    found += [result(above, 1, -0.5, 0.01), result(above, 5, -0.5, 0.01, probe="nearest")]
    *rows, verdict = practice.rows_of(found)
    assert [row.met for row in rows] == [True, True, False, False]
    assert verdict.measured == (
        "above on 1 (digits) of 3, below on 1 (GunPoint); of the judges above on 1 (digits) of 2, below on 1 (GunPoint)"
    )
    assert verdict.met is False
    five = list(practice.SETS)[:5]
    assert practice.rows_of([result(name, each, 0.1, 0.01) for name in five for each in (5, 10)])[-1].met is True
    assert "chosen" in practice.role("wine")
    assert practice.role("ImageSegments") == practice.role("wine")
    assert practice.role("ArrowHead") == "judges"
    # of the first, 3 and 3 points; of the second 3 and -0.1; of the third 3 and -2
    assert practice.score(found, [above, level, below]) == pytest.approx((6 + 2.9 + 1) / 6)


def test_a_representation_is_judged_by_all_draws():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    z = np.eye(3)[y] + 0.01 * rng.normal(size=(60, 3))
    for probe in ("ridge", "nearest"):
        assert practice.accuracies(z, y, 5, 7, probe).tolist() == [1.0] * 7
        chance = practice.accuracies(rng.normal(size=(60, 3)), y, 5, 7, probe)
        assert 0.2 < chance.mean() < 0.5
    for labelled in practice.draws(y, 5, 3):
        assert np.bincount(y[labelled]).tolist() == [5, 5, 5]


def test_rivals_are_principal_components():
    x = np.random.default_rng(0).normal(size=(50, 20)) * np.arange(1, 21)
    found = practice.rivals(x)
    assert {name: z.shape[1] for name, z in found.items()} == {
        "raw": 20, "PCA 8": 8, "PCA 16": 16, "kernel PCA 8": 8, "kernel PCA 16": 16
    }  # fmt: skip
    values = np.linalg.eigvalsh(np.cov(x, rowvar=False, bias=True))[::-1]
    np.testing.assert_allclose(found["PCA 16"].var(axis=0), values[:16], rtol=1e-10)
    z = found["kernel PCA 16"]
    np.testing.assert_allclose(z.T @ z, np.diag(np.diag(z.T @ z)), atol=1e-9)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)
