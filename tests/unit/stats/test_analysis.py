import numpy as np
import pytest

from tierwise.errors import DataError
from tierwise.stats.analysis import analyze, block_matrix
from tierwise.stats.tables import tabulate
from tierwise.tables import write_tables

RNG = np.random.default_rng(3)
NOISE = RNG.normal(size=40)
GROUPS = {"a_1": NOISE, "b": NOISE + 0.2, "c": NOISE + RNG.normal(0, 0.01, 40)}
BLOCKS = {name: [str(i) for i in range(40)] for name in GROUPS}


def test_blocks_show_a_difference_that_noise_between_blocks_hides():
    analysis = analyze(GROUPS, BLOCKS)
    assert analysis.pairs[0].p_holm > 0.05
    assert analysis.block_pairs[0].p_holm < 1e-6
    assert analysis.block_pairs[0].cliffs_delta == -1.0
    assert [test.test for test in analysis.omnibus] == ["kruskal-wallis", "friedman"]


def test_blocks_that_lack_a_group_are_left_out_and_repeats_count_by_their_median():
    groups = {"a": np.array([1.0, 2.0, 9.0, 4.0]), "b": np.array([1.0, 2.0, 3.0])}
    blocks = {"a": ["x", "y", "y", "z"], "b": ["x", "y", "w"]}
    values, left_out, repeated = block_matrix(groups, blocks)
    np.testing.assert_array_equal(values, [[1.0, 1.0], [5.5, 2.0]])
    assert (left_out, repeated) == (2, True)


def test_blocks_that_do_not_meet_are_refused():
    groups = {"a": np.array([1.0, 2.0]), "b": np.array([1.0, 2.0])}
    with pytest.raises(DataError, match=r"0 of 4 blocks have a sample of each of the 2 groups"):
        analyze(groups, {"a": ["1", "2"], "b": ["3", "4"]})


def test_pairs_say_whether_they_are_shown_to_be_within_3_percent():
    groups = {name: np.exp(0.2 * values) for name, values in GROUPS.items()}
    pairs = {(pair.a, pair.b): pair for pair in analyze(groups, BLOCKS).paired}
    assert pairs["a_1", "c"].within_margin
    assert not pairs["a_1", "b"].within_margin
    assert pairs["a_1", "b"].ratio == pytest.approx(np.exp(-0.04))
    assert pairs["a_1", "b"].method == "exact"


def test_accuracy_of_0_and_1_is_tested_without_a_ratio():
    right = {"I": np.array([1.0] * 30 + [0.0] * 10), "Q": np.array([1.0] * 20 + [0.0] * 20)}
    blocks = {name: [str(i) for i in range(40)] for name in right}
    (pair,) = analyze(right, blocks).paired
    assert (pair.zeros, pair.ties, pair.method, pair.ratio) == (30, True, "exact", None)
    assert pair.p_raw == pytest.approx(2 / 2**10)


def test_a_single_group_is_summarized_and_nothing_compared():
    analysis = analyze({"a": NOISE})
    assert analysis.omnibus == analysis.pairs == ()
    assert "nothing to compare" in analysis.notes[-1]


def test_tables_have_the_columns_that_others_read(tmp_path):
    tables = tabulate(analyze(GROUPS, BLOCKS), ["op"], [("a_1",), ("b",), ("c",)])
    paths = write_tables(tables, tmp_path / "new" / "folder", "csv")
    heads = {path.name: path.read_text().split("\n")[0] for path in paths}
    pairs = "a,b,p_raw,log10_p_raw,p_holm,p_bonferroni,cliffs_delta,magnitude"
    assert heads == {
        "summary.csv": "op,n,min,max,median,mean,std,std_ddof1,p95,shapiro_w,shapiro_p",
        "omnibus.csv": "test,k,n,statistic,p,log10_p",
        "pairwise.csv": pairs,
        "pairwise_blocks.csv": pairs,
        "paired.csv": "a,b,p_raw,log10_p_raw,p_holm,method,zeros,ties,ratio,ratio_low,ratio_high,"
        "within_margin",
        "intervals.csv": "op,median,low,high",
    }


def test_latex_escapes_what_latex_reads(tmp_path):
    tables = tabulate(analyze(GROUPS), ["op"], [("a_1",), ("50%",), ("c",)])
    text = tables[0].latex()
    assert r"a\_1 & 40" in text
    assert r"50\% & 40" in text
    assert r"\begin{tabular}{lrrrrrrrrrr}" in text


def test_numbers_that_json_lacks_become_nothing():
    analysis = analyze({"a": np.array([1.0, 1.0]), "b": np.array([2.0, 2.0])})
    tables = tabulate(analysis, ["op"], [("a",), ("b",)])
    assert tables[2].records()[0]["log10_p_raw"] is None
    assert tables[0].records()[0]["shapiro_p"] is None
