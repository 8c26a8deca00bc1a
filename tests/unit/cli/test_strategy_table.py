"""The table of strategies at the widths of real terminals: nothing broken, units everywhere."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tierwise.cli.strategy_table import legend, strategy_table
from tierwise.cli.verdict_table import verdict_view
from tierwise.operators.strategy import Operator
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.testing.results import made_up_results

RESULTS = made_up_results(blocks=12, operators=(Operator.I, Operator.Q, Operator.QP))


def shown(width, results=RESULTS):
    """What a terminal of so many columns shows: its lines."""
    console = Console(width=width, no_color=True, file=StringIO())
    console.print(verdict_view(recommend(results), width=width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_cut_off(width):
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


def test_a_narrow_terminal_loses_the_bars_and_nothing_else():
    lines = shown(60)
    [titles] = [number for number, line in enumerate(lines) if line.lstrip().startswith("where")]
    assert lines[titles].split()[-2:] == ["loss", "pts"]
    rows = lines[titles + 1 : titles + 1 + len(recommend(RESULTS).verdicts[0].strategies)]
    assert sum(row.startswith("★") for row in rows) == 1
    assert not any("█" in row for row in rows)


def test_tiers_of_long_names_are_folded_and_figures_stay():
    # As wide as it gets without cuts: a chain over three tiers.
    renamed = "field_gateway-regional_datacentre-continental_cloud"
    recommendation = recommend(RESULTS)
    verdict = recommendation.verdicts[0]
    first = verdict.strategies[0]
    strategy = replace(first.trial.strategy, tiers=tuple(renamed.split("-")))
    long = replace(first, trial=replace(first.trial, strategy=strategy))
    verdict = replace(verdict, strategies=(long, *verdict.strategies[1:]))
    console = Console(width=80, no_color=True, file=StringIO())
    console.print(strategy_table(recommendation, verdict, 80))
    text = console.file.getvalue()
    assert "…" not in text
    for one in verdict.strategies:
        assert f"{one.latency.p50_s * 1e3:.1f}" in text


@pytest.mark.parametrize("requirement", [None, Requirement(max_loss=5.0)])
def test_int8_that_is_no_faster_is_marked_with_and_without_a_requirement(requirement):
    recommendation = recommend(RESULTS, requirement)
    verdict = recommendation.verdicts[0]
    slow = replace(verdict.strategies[-1], unsuited="INT8 is no faster here")
    verdict = replace(verdict, strategies=(*verdict.strategies[:-1], slow))
    console = Console(width=120, no_color=True, file=StringIO())
    console.print(strategy_table(recommendation, verdict, 120))
    rows = console.file.getvalue().splitlines()
    assert rows[-1].count("!") == 1
    assert not any("!" in row for row in rows[:-1])
    assert "! INT8" in legend(replace(recommendation, verdicts=(verdict,)), 120).plain


def test_every_figure_has_its_unit():
    titles = shown(80)[1].split()
    assert " ".join(titles) == "where what p50 ms p95 ms top-1 % loss pts breakdown"


def test_a_wide_terminal_has_the_cuts_too():
    cuts = {cut for trial in RESULTS.trials for cut in trial.strategy.cuts}
    rows = [line for line in shown(120) if "QP@" in line]
    assert rows
    assert all(any(f"QP@{cut}" in line for cut in cuts) for line in rows)
    assert any("QP " in line for line in shown(66))
    assert not any("QP@" in line for line in shown(66))


def test_a_sign_stands_beside_its_meaning():
    for width in (60, 80, 120):
        lines = shown(width)
        for said in ("★ recommended", "◆ Pareto front", "· too few samples", "▒ transfer"):
            assert any(said in line for line in lines), (said, width)


def test_the_recommended_strategy_s_route_is_introduced():
    lines = shown(80)
    [place] = [number for number, line in enumerate(lines) if line.startswith("Route of ")]
    recommended = recommend(RESULTS).verdicts[0].recommended
    assert lines[place].startswith(f"Route of {recommended}:")
    assert "[" in lines[place + 1]
