"""`tierwise analyze` against scikit-posthocs, statsmodels and SciPy, which other people wrote.

What they say is in `tests/golden/group_statistics`, made by `tests/golden/group_statistics.py`.
"""

import csv
import json
from pathlib import Path

import pytest

from tierwise.cli.analyze import command

GOLDEN = Path(__file__).parents[2] / "golden" / "group_statistics"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))


def analyzed(folder, name, **options):
    """The tables that the command writes, as records by table name."""
    command(GOLDEN / name, value="seconds", out=folder, format="csv", **options)
    tables = {}
    for path in folder.iterdir():
        with path.open(newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    return tables


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return analyzed(tmp_path_factory.mktemp("out"), "samples.csv", group="tier,operator")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return analyzed(folder, "blocks.csv", group="operator", block="image")


def check_pairs(records, expected, *columns):
    assert [(r["a"], r["b"]) for r in records] == [(e["a"], e["b"]) for e in expected]
    for record, wanted in zip(records, expected, strict=True):
        for column in columns:
            assert float(record[column]) == pytest.approx(wanted[column], rel=1e-9), record


def test_summaries_of_unequal_groups_with_ties(samples):
    wanted = EXPECTED["samples"]["summary"]
    assert [f"{r['tier']}/{r['operator']}" for r in samples["summary"]] == [
        one["group"] for one in wanted
    ]
    for record, one in zip(samples["summary"], wanted, strict=True):
        for name, value in one.items():
            if name != "group":
                assert float(record[name]) == pytest.approx(value, rel=1e-9), (one["group"], name)


def test_kruskal_wallis_and_friedman_with_ties(samples, blocks):
    tests = {record["test"]: record for record in samples["omnibus"] + blocks["omnibus"][1:]}
    for test, wanted in (
        (tests["kruskal-wallis"], EXPECTED["samples"]["kruskal"]),
        (tests["friedman"], EXPECTED["blocks"]["friedman"]),
    ):
        assert float(test["statistic"]) == pytest.approx(wanted["statistic"], rel=1e-12)
        assert float(test["p"]) == pytest.approx(wanted["p"], rel=1e-9)


def test_conover_cliffs_delta_holm_and_bonferroni(samples):
    check_pairs(
        samples["pairwise"],
        EXPECTED["samples"]["pairwise"],
        "p_raw", "p_holm", "p_bonferroni", "cliffs_delta",
    )  # fmt: skip


def test_conover_after_friedman(blocks):
    check_pairs(
        blocks["pairwise_blocks"],
        EXPECTED["blocks"]["pairwise_blocks"],
        "p_raw", "p_holm", "p_bonferroni",
    )  # fmt: skip


def test_wilcoxon_is_exact_with_ties_and_pairs_without_a_difference(blocks):
    wanted = EXPECTED["blocks"]["paired"]
    check_pairs(blocks["paired"], wanted, "p_raw", "p_holm")
    for record, one in zip(blocks["paired"], wanted, strict=True):
        assert record["method"] == "exact"
        assert int(record["zeros"]) == one["zeros"]
    assert {"yes"} == {r["ties"] for r in blocks["paired"] if (r["a"], r["b"]) == ("I", "Q")}


def test_equivalence_is_claimed_where_both_one_sided_tests_claim_it(blocks):
    within = {(r["a"], r["b"]): r["within_margin"] == "yes" for r in blocks["paired"]}
    for one in EXPECTED["blocks"]["paired"]:
        # By signs it is the same test; by means of log ratios, one that assumes their shape.
        assert within[one["a"], one["b"]] == (one["tost_by_signs_p"] <= 0.05)
        assert within[one["a"], one["b"]] == (one["tost_by_t_p"] <= 0.05)
    assert within["I", "same"]
