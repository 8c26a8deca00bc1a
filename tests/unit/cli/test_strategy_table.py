"""The table of strategies at the widths of real terminals: nothing broken, units everywhere."""

from io import StringIO

import pytest
from rich.console import Console

from tierwise.cli.verdict_table import verdict_view
from tierwise.operators.strategy import Operator
from tierwise.recommend.verdict import recommend
from tierwise.testing.results import made_up_results

RESULTS = made_up_results(blocks=12, operators=(Operator.I, Operator.Q, Operator.QP))


def shown(width, results=RESULTS):
    """What a terminal of so many columns shows: its lines."""
    console = Console(width=width, no_color=True, file=StringIO())
    console.print(verdict_view(recommend(results), width=width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_cut_off(width):
    lines = shown(width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


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
