"""Where the recommendation changes along a sweep of bandwidths."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from tierwise.recommend.recommendation import ConditionVerdict, Switch
from tierwise.tiers.topology import NetworkCondition
from tierwise.units import format_duration


def find_switches(verdicts: Sequence[ConditionVerdict]) -> tuple[Switch, ...]:
    """Neighbouring bandwidths of one link, the others alike, between which the choice differs.

    A change between strategies that are tied at both bandwidths is none.
    """
    found = []
    links = verdicts[0].condition.shapes if verdicts else ()
    for link in links:
        for elsewhere, line in _lines(verdicts, link).items():
            for lower, higher in pairwise(line):
                if _differs(lower, higher):
                    found.append(
                        Switch(
                            link,
                            _rate(lower.condition, link),
                            _rate(higher.condition, link),
                            lower.recommended,
                            higher.recommended,
                            elsewhere,
                        )
                    )
    return tuple(found)


def _lines(verdicts: Sequence[ConditionVerdict], link: str) -> dict[str, list[ConditionVerdict]]:
    """Verdicts that differ in the bandwidth of ``link`` only, by rising bandwidth.

    The key says in words what tells a line from the others; empty where there is one.
    """
    lines: dict[NetworkCondition, list[ConditionVerdict]] = defaultdict(list)
    for verdict in verdicts:
        lines[verdict.condition.at_rate(link, None)].append(verdict)
    ordered = [
        (key, sorted(line, key=lambda v: _rate(v.condition, link))) for key, line in lines.items()
    ]
    if len(ordered) == 1:
        return {"": ordered[0][1]}
    return {_elsewhere(key, link): line for key, line in ordered}


def _elsewhere(key: NetworkCondition, link: str) -> str:
    others = [f"{name} {shape}" for name, shape in key.shapes.items() if name != link]
    rtt_s = key.shapes[link].rtt_s
    return "; ".join([*others, f"rtt {format_duration(rtt_s)}"] if rtt_s else others)


def _rate(condition: NetworkCondition, link: str) -> float:
    rate = condition.shapes[link].bandwidth_bit_per_s
    return float("inf") if rate is None else rate


def _differs(lower: ConditionVerdict, higher: ConditionVerdict) -> bool:
    if lower.recommended == higher.recommended:
        return False
    if any(one.recommended is None and one.waiting for one in (lower, higher)):
        return False
    tied_low = {a.id for a in lower.strategies if a.tied_with_best}
    tied_high = {a.id for a in higher.strategies if a.tied_with_best}
    return not {lower.recommended, higher.recommended} <= (tied_low & tied_high)
