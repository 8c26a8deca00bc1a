"""The study's published numbers, recomputed; they stay outside the project."""

import csv
import gzip
import math
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tierwise.stats.cliffs_delta import cliffs_delta
from tierwise.stats.conover import conover
from tierwise.stats.corrections import bonferroni, holm
from tierwise.stats.kruskal import kruskal_wallis, pool_ranks
from tierwise.stats.summary import summarize

PAPER = Path(__file__).parents[4] / "shared" / "paper"
MAGNITUDES = {"N": "negligible", "S": "small", "M": "medium", "L": "large"}

pytestmark = pytest.mark.skipif(
    not PAPER.is_dir(), reason="the study's raw data is not here (../shared/paper)"
)


def rows(name):
    opener = gzip.open if name.endswith(".gz") else open
    with opener(PAPER / name, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def latencies():
    groups = defaultdict(list)
    for row in rows("latencies.csv.gz"):
        groups[row["tier"], row["subject"], row["operator"]].append(float(row["seconds"]))
    return {key: np.array(values) for key, values in groups.items()}


@pytest.fixture(scope="module")
def families(latencies):
    """Every family of groups that the study compares: its names and its samples."""
    return {
        (row["family"], row["subject"]): {
            name: latencies[name.split("/")[0], row["subject"], name.split("/")[1]]
            for name in row["groups"].split("; ")
        }
        for row in rows("kruskal.csv")
    }


def test_every_summary_equals_the_reference(latencies):
    reference = rows("latency_summary.csv")
    assert len(reference) == 36
    for row in reference:
        summary = summarize(latencies[row["tier"], row["subject"], row["operator"]])
        assert summary.n == int(row["n"])
        for figure in ("min", "max", "median", "mean", "std", "std_ddof1", "p95"):
            assert getattr(summary, figure) == pytest.approx(float(row[figure]), abs=1e-9), row
        assert summary.shapiro_w == pytest.approx(float(row["shapiro_w"]), rel=1e-9)
        assert summary.shapiro_p == pytest.approx(float(row["shapiro_p"]), rel=1e-6)


def test_every_kruskal_wallis_equals_the_reference(families):
    for row in rows("kruskal.csv"):
        result = kruskal_wallis(pool_ranks(list(families[row["family"], row["subject"]].values())))
        assert result.statistic == pytest.approx(float(row["H"]), rel=1e-12)
        assert result.log10_p == pytest.approx(float(row["log10p"]), abs=1e-6)
        assert result.p == pytest.approx(float(row["p"]), rel=1e-6)


def test_every_pair_equals_the_reference(families):
    reference = {
        (row["family"], row["subject"], row["group_a"], row["group_b"]): row
        for row in rows("pairwise.csv")
    }
    checked = 0
    for (family, subject), groups in families.items():
        pairs = conover(pool_ranks(list(groups.values())))
        p = np.array([pair.p for pair in pairs])
        names = combinations(groups, 2)
        for (a, b), pair, p_holm, p_bonferroni in zip(
            names, pairs, holm(p), bonferroni(p), strict=True
        ):
            row = reference.get((family, subject, a, b))
            if row is None:
                continue
            checked += 1
            effect = cliffs_delta(groups[a], groups[b])
            assert effect.delta == pytest.approx(float(row["cliffs_delta"]), rel=1e-14, abs=1e-16)
            assert effect.magnitude.value == MAGNITUDES[row["magnitude"]]
            if math.isfinite(float(row["conover_log10p"])):
                assert pair.log10_p == pytest.approx(float(row["conover_log10p"]), abs=1e-6)
            assert pair.p == pytest.approx(float(row["conover_p"]), rel=1e-6, abs=1e-300)
            assert p_holm == pytest.approx(float(row["conover_p_holm"]), rel=1e-6, abs=1e-300)
            assert p_bonferroni == pytest.approx(
                float(row["conover_p_bonferroni"]), rel=1e-6, abs=1e-300
            )
    assert checked == len(reference)
