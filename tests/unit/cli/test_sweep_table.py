import re
from dataclasses import replace
from io import StringIO

from rich.console import Console

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.cli.verdict_table import verdict_view
from tierwise.measure.outcome import StopReason
from tierwise.operators.strategy import Operator
from tierwise.recommend.verdict import recommend
from tierwise.store.results import TrialResult, TrialState
from tierwise.testing.results import made_up_results
from tierwise.tiers.topology import LinkShape, Topology

RATES = ("1Mbit", "10Mbit", "50Mbit", "1Gbit")
RESULTS = made_up_results(blocks=8, edge_cloud=RATES, operators=(Operator.P, Operator.I))


def shown(results, width=80):
    """What a terminal of so many columns shows: its lines."""
    console = Console(width=width, no_color=True, file=StringIO())
    console.print(verdict_view(recommend(results), width=width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def rows(lines):
    """The lines of conditions: of those that wrap the first ones."""
    return [line for line in lines if re.match(r" *\d+ [MG]bit/s ", line)]


def marks(lines, blocks):
    """What stands beside the number of blocks."""
    found = [re.search(rf" {blocks}  ([ab]?!?)(?: |$)", line) for line in rows(lines)]
    return [one.group(1) for one in found]


def stopped(results, *reasons):
    """As if each condition had ended for its own reason."""
    measured = {
        condition: replace(of, stopped=reason.value)
        for (condition, of), reason in zip(results.measured.items(), reasons, strict=True)
    }
    return replace(results, measured=measured)


def test_a_line_a_condition_has_what_differs_and_the_rest_is_said_once():
    for width in (80, 120):
        lines = shown(RESULTS, width)
        assert lines[0] == "mobile-edge 200 Mbit/s, rtt 2 ms; edge-cloud rtt 8 ms"
        assert lines[1].split()[:2] == ["edge-cloud", "recommended"]
        assert [line.split()[:2] for line in rows(lines)] == [
            ["1", "Mbit/s"], ["10", "Mbit/s"], ["50", "Mbit/s"], ["1", "Gbit/s"],
        ]  # fmt: skip


def test_in_sixty_columns_what_is_tied_is_named_too():
    assert {a.id for verdict in recommend(RESULTS).verdicts for a in verdict.tied} == {"cloud/I"}
    lines = shown(RESULTS, 60)
    assert lines[1].endswith("tied with")
    assert sum(line.endswith(" cloud/I") for line in rows(lines)) == 3


def test_a_link_to_a_real_machine_is_said_to_be_real():
    mobile, edge, cloud = RESULTS.topology.tiers
    real = Topology((replace(mobile, url="http://a"), edge, cloud))
    as_it_is = {
        old: real.condition({**old.shapes, "mobile-edge": LinkShape()})
        for old in RESULTS.conditions
    }
    trials = tuple(replace(t, condition=as_it_is[t.condition]) for t in RESULTS.trials)
    lines = shown(
        replace(RESULTS, topology=real, conditions=tuple(as_it_is.values()), trials=trials)
    )
    assert lines[0] == "mobile-edge real network; edge-cloud rtt 8 ms"


def test_why_measuring_stopped_is_said_once_where_it_is_the_same():
    text = " ".join(shown(RESULTS))
    assert "No more blocks, because all that the study asks for are measured." in text
    assert "too few samples: p95 needs 90" in text


def test_why_measuring_stopped_is_told_for_every_condition_where_it_differs():
    budget, apart = StopReason.BUDGET, StopReason.TOLD_APART
    lines = shown(stopped(RESULTS, apart, budget, apart, budget))
    assert marks(lines, 8) == ["a", "b", "a", "b"]
    assert f"a  no more blocks, because {apart.value}." in " ".join(lines)
    assert f"b  no more blocks, because {budget.value}." in " ".join(lines)


def test_disturbed_blocks_and_late_requests_are_told():
    results = made_up_results(blocks=20, edge_cloud=RATES, operators=(Operator.P, Operator.I))
    assert marks(shown(results), 20) == ["!"] * 4
    assert "!  8 of all 80 blocks were disturbed" in " ".join(shown(results))
    measured = {
        condition: replace(
            of,
            plan={**of.plan, "arrivals_per_s": 5.0},
            blocks=tuple(replace(b, late=b.requests // 2 * share) for b in of.blocks),
        )
        for share, (condition, of) in enumerate(list(results.measured.items())[:2])
    }
    text = " ".join(shown(replace(results, measured=measured)))
    assert "Requests sent late: 0.0% to 50.0%." in text


def unmeasured(results, state, *numbers):
    """As if the run had not come to some of the conditions."""
    left = [results.conditions[number] for number in numbers]
    trials = tuple(
        TrialResult(t.strategy, t.condition, state, predicted_s=(0.9, 1.0, 1.1))
        if t.condition in left
        else t
        for t in results.trials
    )
    measured = {c: of for c, of in results.measured.items() if c not in left}
    return replace(results, trials=trials, measured=measured)


def test_a_condition_that_is_not_measured_yet_is_not_one_that_nothing_meets():
    for state in (TrialState.PENDING, TrialState.PREDICTED):
        lines = shown(unmeasured(RESULTS, state, 1, 3))
        assert ["not measured yet" in line for line in rows(lines)] == [False, True, False, True]
        text = " ".join(" ".join(lines).split())
        assert "none meets it" not in text
        assert "2 of 4 network conditions are not measured yet." in text
        assert "to none" not in text
    nothing = unmeasured(RESULTS, TrialState.PREDICTED, 0, 1, 2, 3)
    assert "Nothing was measured, so nothing is recommended." in " ".join(shown(nothing))


def test_what_to_beware_of_is_told_once_a_kind():
    warnings = [
        ResultWarning(WarningKind.DISTURBED, condition.id, "5 of 8 blocks.", "Close others.")
        for condition in RESULTS.conditions[:3]
    ]
    warnings.append(ResultWarning(WarningKind.CPU_OFF, "edge", "0.3 of 0.5.", "Close others."))
    text = " ".join(shown(replace(RESULTS, warnings=tuple(warnings))))
    assert "Beware: disturbed blocks (3 of 4 networks)" in text
    assert "Beware: cpu emulation off (edge)" in text
