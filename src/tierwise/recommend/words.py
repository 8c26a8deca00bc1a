"""A recommendation in sentences that an engineer would sign."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tierwise.recommend.cautions import cautions
from tierwise.recommend.phrases import listed, slower_by, under
from tierwise.recommend.recommendation import (
    Assessment,
    ConditionVerdict,
    Recommendation,
    Switch,
)
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.shortfall import needed_changes
from tierwise.stats.block_pairs import FEWEST_BLOCKS
from tierwise.stats.equivalence import MARGIN
from tierwise.stats.verdict import Standing
from tierwise.stats.wilcoxon import wilcoxon
from tierwise.store.results import StudyResults
from tierwise.units import format_bandwidth, format_duration

_TEST = "compared by block, Holm"


def whole_text(recommendation: Recommendation) -> str:
    """The verdict under all conditions, the changes along the sweep first."""
    verdicts = recommendation.verdicts
    if len(verdicts) == 1:
        return verdicts[0].text
    return "\n\n".join([sweep_text(recommendation), *(verdict.text for verdict in verdicts)])


def sweep_text(recommendation: Recommendation) -> str:
    """What the sweep says: one choice throughout, or where it changes."""
    verdicts = [v for v in recommendation.verdicts if v.recommended or not v.waiting]
    waiting = len(recommendation.verdicts) - len(verdicts)
    rest = (
        f" {waiting} of {len(recommendation.verdicts)} network conditions are not measured yet."
        if waiting
        else ""
    )
    choices = {verdict.recommended for verdict in verdicts}
    if not choices:
        return "Nothing was measured, so nothing is recommended."
    if choices == {None}:
        return (
            f"No strategy meets the requirement under any of the {len(verdicts)} conditions.{rest}"
        )
    if len(choices) == 1:
        every = "both" if len(verdicts) == 2 else f"all {len(verdicts)}"
        measured = " that are measured" if waiting else ""
        return f"Deploy {next(iter(choices))} under {every} network conditions{measured}.{rest}"
    lines = list(_switches_text(recommendation))
    everywhere = set.intersection(
        *({a.id for a in verdict.strategies if a.tied_with_best} for verdict in verdicts)
    )
    if everywhere:
        one = min(everywhere)
        lines.append(f"{one} is the fastest, or tied with it, under every condition.")
    return " ".join(lines) + rest


def _switches_text(recommendation: Recommendation) -> Iterable[str]:
    """A sentence for each change, however many other shapes of the network it happens under."""
    alike: dict[Switch, list[str]] = {}
    for switch in recommendation.switches:
        alike.setdefault(replace(switch, elsewhere=""), []).append(switch.elsewhere)
    for switch, elsewhere in alike.items():
        others = {v.condition.at_rate(switch.link, None) for v in recommendation.verdicts}
        if len(elsewhere) == 1:
            where = elsewhere[0]
        elif len(elsewhere) == len(others):
            where = "whatever the rest of the network"
        else:
            where = f"{elsewhere[0]}; and {len(elsewhere) - 1} more of {len(others)}"
        yield switch_text(replace(switch, elsewhere=where))


def switch_text(switch: Switch) -> str:
    """``"Between 10 and 50 Mbit/s on edge-cloud the choice changes from A to B."``."""
    below, above = switch.below or "none", switch.above or "none"
    where = f" ({switch.elsewhere})" if switch.elsewhere else ""
    return (
        f"Between {_rate(switch.low_bit_per_s)} and {_rate(switch.high_bit_per_s)} on"
        f" {switch.link}{where} the choice changes from {below} to {above}."
    )


def _rate(bit_per_s: float) -> str:
    return "unlimited" if np.isinf(bit_per_s) else format_bandwidth(bit_per_s)


def condition_text(recommendation: Recommendation, verdict: ConditionVerdict) -> str:
    """The verdict under one condition."""
    choice = verdict.choice
    where = under(verdict.condition)
    if choice is None:
        return " ".join(_nothing_meets(recommendation, verdict, where))
    sentences = [
        _what_and_how_fast(recommendation.requirement, choice, where),
        _what_it_loses(recommendation.results, choice),
        _compared_with(verdict, choice),
        _ties(verdict, choice),
        _what_was_measured(recommendation.results, verdict),
        *cautions(recommendation, verdict, choice),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _what_and_how_fast(requirement: Requirement, choice: Assessment, where: str) -> str:
    latency, strategy = choice.latency, choice.trial.strategy
    assert latency is not None
    title = strategy.operator.title.lower()
    what = "the model as it is" if title == "identity" else title
    asked = ""
    if requirement.percentile not in {None, 50.0, 95.0}:
        value_s = float(np.quantile(choice.trial.latency_s, (requirement.percentile or 0) / 100))
        asked = f", p{requirement.percentile:g} is {format_duration(value_s)}"
    tail = "" if latency.p95_s is None else f" and in {format_duration(latency.p95_s)} at p95"
    place = " and ".join(strategy.tiers)
    crossing = f", {strategy.encoding} between them" if strategy.encoding else ""
    opening = f"Deploy {choice.id} ({what}, on {place}{crossing})"
    network = f"{where[0].upper()}{where[1:]} it" if where else "It"
    return (
        f"{opening}. {network} answers in {format_duration(latency.p50_s)} at the median"
        f" (n={latency.n}, 95% interval {interval(latency.low_s, latency.high_s)}){tail}{asked}."
    )


def interval(low_s: float, high_s: float) -> str:
    """``"10.9 to 11.1 ms"``: one unit, as many digits as tell the ends apart."""
    scale, unit = (1.0, "s") if high_s >= 1 else (1e3, "ms")
    low, high = low_s * scale, high_s * scale
    width = high - low
    decimals = 0 if width >= 10 else 1 if width >= 0.1 else 2
    return f"{low:.{decimals}f} to {high:.{decimals}f} {unit}"


def _what_it_loses(results: StudyResults, choice: Assessment) -> str:
    quality = choice.quality
    if quality is None:
        return "What it loses in quality was not evaluated."
    truth = "" if quality.from_labels else ", with the original's output as the truth"
    measured = f"{quality.metric} {quality.value:.1f} on {quality.n} inputs{truth}"
    if round(quality.loss, 1) == 0:
        return f"It {quality.loss_in_words} ({measured})."
    doubt = _loss_in_doubt(results, choice)
    original = results.quality.get("I")
    before = "" if original is None else f", {original.value:.1f} before"
    return f"It {quality.loss_in_words} ({measured}{before}){doubt}."


def _loss_in_doubt(results: StudyResults, choice: Assessment) -> str:
    """Whether so many inputs could show such a change where there is none."""
    original, quality = results.quality.get("I"), choice.quality
    if original is None or quality is None or original is quality:
        return ""
    if len(original.per_input) != len(quality.per_input) or not len(quality.per_input):
        return ""
    test = wilcoxon(original.per_input, quality.per_input)
    return "" if test.p < 0.05 else f", which {quality.n} inputs cannot tell from no change"


def _compared_with(verdict: ConditionVerdict, choice: Assessment) -> str:
    """Against the model as it is, in the same place or the place where that is fastest."""
    originals = [
        a
        for a in verdict.strategies
        if a.measured and a.trial.strategy.operator.value == "I" and a.id != choice.id
    ]
    if not originals or choice.latency is None:
        return ""
    best = originals[0]
    assert best.latency is not None
    rivals, compared = _rivals(verdict, choice), best.against_best
    is_next = bool(rivals) and rivals[0].id == best.id and not verdict.tied
    if is_next and compared is not None and not compared.beaten_by:
        return ""  # the next sentence compares the very same two
    ratio = best.latency.p50_s / choice.latency.p50_s
    if choice.trial.strategy.operator.value == "I":
        comparison = f"The next best place for it is {best.trial.strategy.placement}"
    else:
        comparison = f"The model as it is does best on {best.trial.strategy.placement}"
    share = f"{ratio:.2f} times as long" if ratio >= 1 else f"{ratio:.0%} of that"
    return f"{comparison}: {format_duration(best.latency.p50_s)}, {share}."


def _ties(verdict: ConditionVerdict, choice: Assessment) -> str:
    rivals = _rivals(verdict, choice)
    if not rivals:
        measured = (
            " that was measured" if any(_only_predicted(a) for a in verdict.strategies) else ""
        )
        return f"No other strategy{measured} meets the requirement."
    if verdict.tied:
        text = _tied_text(verdict, choice)
        if choice.id != verdict.fastest:
            text += f"; it is preferred for being simpler ({_why_simpler(verdict, choice)})"
        return text + "."
    comparison = rivals[0].against_best
    if comparison is None:
        return (
            f"There are too few blocks to tell it from {listed([a.id for a in rivals])}:"
            f" {FEWEST_BLOCKS} are needed."
        )
    if comparison.beaten_by:
        return (
            f"The next one, {rivals[0].id}, is slower than {comparison.beaten_by}, which is not the"
            f" fastest either ({_TEST})."
        )
    little = ", too little to matter" if comparison.standing is Standing.SLIGHTLY_SLOWER else ""
    nearer = [a for a in verdict.strategies[: verdict.strategies.index(rivals[0])] if a.meets]
    measured = " that was measured" if any(_only_predicted(a) for a in nearer) else ""
    slower = slower_by(comparison.ratio.estimate) + little
    operators = [one.trial.strategy.operator.value for one in (rivals[0], choice)]
    plain = " (the model as it is)" if operators[0] == "I" != operators[1] else ""
    next_one = rivals[0].id + plain
    return f"The next one{measured}, {next_one}, {slower} ({_TEST}: p {_p(comparison.p_holm)})."


def _rivals(verdict: ConditionVerdict, choice: Assessment) -> list[Assessment]:
    """What else could have been recommended, the fastest first."""
    return [
        a
        for a in verdict.strategies
        if a.meets and not a.unsuited and a.measured and a.id != choice.id
    ]


def _tied_text(verdict: ConditionVerdict, choice: Assessment) -> str:
    """Which are shown to be as fast, and which only could not be told apart."""
    tied = [a for a in verdict.strategies if a.tied_with_best]
    fastest = verdict.get(verdict.fastest) if verdict.fastest else choice
    compared = {a.id: a.against_best for a in tied if a.against_best is not None}
    equal = [id_ for id_, c in compared.items() if c.standing is Standing.EQUIVALENT]
    open_ = [a.id for a in tied if a.id not in equal and a.id != fastest.id]
    sentences = []
    if equal:
        verb = "is" if len(equal) == 1 else "are"
        sentences.append(f"{listed(equal)} {verb} as fast as {fastest.id}, within {MARGIN:.0%}")
    if open_:
        counts = sorted({compared[id_].blocks for id_ in open_ if id_ in compared})
        blocks = " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))
        sentences.append(
            f"{listed(open_)} cannot be told apart from {fastest.id} in {blocks} blocks ({_TEST})"
        )
    return "; ".join(sentences)


def _what_was_measured(results: StudyResults, verdict: ConditionVerdict) -> str:
    """Where only some strategies were measured: how many, and what the rest is."""
    measured = sum(a.measured for a in verdict.strategies)
    predicted = [a for a in verdict.strategies if _only_predicted(a)]
    if not predicted or not results.rounds.get(verdict.condition):
        return ""
    return (
        f"{measured} of {measured + len(predicted)} strategies were measured here; what is"
        " predicted (~) is not recommended."
    )


def _only_predicted(assessment: Assessment) -> bool:
    return assessment.latency is not None and not assessment.measured


def _why_simpler(verdict: ConditionVerdict, choice: Assessment) -> str:
    assert verdict.fastest is not None
    fastest = verdict.get(verdict.fastest)
    if len(choice.trial.strategy.tiers) < len(fastest.trial.strategy.tiers):
        return "fewer segments"
    if (choice.loss or 0.0) < (fastest.loss or 0.0) - 0.05:
        return "less loss"
    return "fewer operators"


def _p(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def _nothing_meets(
    recommendation: Recommendation, verdict: ConditionVerdict, where: str
) -> Iterable[str]:
    requirement = recommendation.requirement
    place = f" {where}" if where else ""
    if not any(a.measured for a in verdict.strategies):
        yield f"Nothing was measured{place}, so nothing is recommended."
        return
    yield f"No strategy meets the requirement ({requirement}){place}."
    yield from needed_changes(requirement, verdict)
