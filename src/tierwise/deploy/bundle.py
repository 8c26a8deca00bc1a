"""What a deployment consists of: the measured segments, and how each tier serves its own."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tierwise.data.postprocess import Postprocess
from tierwise.errors import NotAStudyError, RequirementNotMet, UserError
from tierwise.graph.cuts import find_cut
from tierwise.graph.segments import split
from tierwise.operators.strategy import Strategy
from tierwise.recommend.recommendation import Assessment, Recommendation
from tierwise.runtime.materialise import model_bytes
from tierwise.runtime.prepare import prepare
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.store.artefacts import Artefacts
from tierwise.store.results import StudyResults
from tierwise.tiers.topology import Tier

# Every tier listens here inside its container; the first one is what users reach.
PORT = 8080
# heuristic: a quarter above the peak that was measured, for allocators that round up and inputs
# that were not measured; never beyond what the tier was measured with.
_MEMORY_HEADROOM = 1.25
_MIB = 2**20


@dataclass(frozen=True)
class TierBundle:
    """What one tier gets.

    Attributes:
        tier: As the study had it.
        stage: What it serves.
        segment: The ONNX file of its segment, as it was measured.
        memory_bytes: The most memory its process should get, or ``None`` where none was measured.
    """

    tier: Tier
    stage: StageSpec
    segment: Path
    memory_bytes: int | None


@dataclass(frozen=True)
class Bundle:
    """A strategy ready to deploy.

    Attributes:
        name: Of the study, as a name that Kubernetes and Docker accept.
        assessment: The strategy, with the figures it was chosen for.
        verdict: Why, in words; where another is recommended, that.
        tiers: In the order of the data.
    """

    name: str
    assessment: Assessment
    verdict: str
    tiers: tuple[TierBundle, ...]


def choose(recommendation: Recommendation, strategy_id: str | None) -> Assessment:
    """The recommended strategy of the first condition asked about, or the one with this id.

    Raises:
        RequirementNotMet: Nothing is recommended and no strategy was named.
        UserError: There is no strategy of that name, or it was not measured.
    """
    verdict = recommendation.verdicts[0]
    if strategy_id is None:
        choices = {v.recommended for v in recommendation.verdicts}
        if len(choices) > 1:
            names = ", ".join(str(choice) for choice in sorted(map(str, choices)))
            raise UserError(
                f"The recommendation depends on the network: {names}.",
                hint="Say which to deploy: --strategy ID, or --when LINK=RATE.",
            )
        if verdict.choice is None:
            raise RequirementNotMet(
                f"No strategy meets the requirement ({recommendation.requirement}).",
                hint="`tierwise recommend DIR` says what would have to give; --strategy ID deploys"
                " one all the same.",
            )
        return verdict.choice
    # Under the first condition that it was measured under.
    measured = {
        a.id: a for v in reversed(recommendation.verdicts) for a in v.strategies if a.measured
    }
    if strategy_id in measured:
        return measured[strategy_id]
    known = any(a.id == strategy_id for v in recommendation.verdicts for a in v.strategies)
    raise UserError(
        f"{strategy_id!r} was predicted, not measured: nothing shows that it does what is said."
        if known
        else f"There is no strategy {strategy_id!r} in this study.",
        hint=f"{'Measure it with `measure: all` in the study file, or take' if known else 'Take'}"
        f" one that was measured: {', '.join(measured)}.",
        strategy=strategy_id,
    )


def make_bundle(
    recommendation: Recommendation,
    assessment: Assessment,
    artefacts: Artefacts,
    *,
    preprocess: Mapping[str, Any] | None,
    urls: Mapping[str, str],
) -> Bundle:
    """Collect what ``assessment``'s strategy needs on each of its tiers.

    Args:
        recommendation: Where the assessment comes from.
        assessment: The strategy to deploy.
        artefacts: The study's files; the segments must be those that were measured.
        preprocess: The study file's section, where users send encoded images.
        urls: Under which address each tier is reached from the one before it.

    Raises:
        NotAStudyError: A file of the study is missing or was changed.
    """
    results, trial = recommendation.results, assessment.trial
    strategy = trial.strategy
    segments = _segments(strategy, results.variants[strategy.variant].sha256, artefacts)
    stages = _stages(results, strategy, segments, preprocess=preprocess, urls=urls)
    tiers = []
    for tier_name, segment, stage in zip(strategy.tiers, segments, stages, strict=True):
        tier = results.topology.tier(tier_name)
        limit = _memory_limit(tier, trial.memory_bytes.get(tier_name))
        tiers.append(TierBundle(tier, stage, segment, limit))
    why = _why(recommendation, assessment)
    return Bundle(safe_name(results.name), assessment, why, tuple(tiers))


def _stages(
    results: StudyResults,
    strategy: Strategy,
    segments: Sequence[Path],
    *,
    preprocess: Mapping[str, Any] | None,
    urls: Mapping[str, str],
) -> list[StageSpec]:
    """What each tier serves, the first one first."""
    name = strategy.id.replace("/", "~")
    following: list[NextHop | None] = [
        NextHop(url=urls[target], model=name, tier=target) for _, target in pairwise(strategy.tiers)
    ]
    following.append(None)
    last = len(segments) - 1
    post = Postprocess.ARGMAX if results.task == "segmentation" else Postprocess.NONE
    tiers = [results.topology.tier(tier_name) for tier_name in strategy.tiers]
    return [
        StageSpec(
            name=name,
            artifact=segment.stem,
            preprocess=dict(preprocess) if preprocess and position == 0 else None,
            postprocess=post.value if position == last else Postprocess.NONE.value,
            encodings={name: str(one) for name, one in strategy.encodings_at(position).items()},
            next=following[position],
            threads=tier.threads,
            providers=tier.providers,
        )
        for position, (tier, segment) in enumerate(zip(tiers, segments, strict=True))
    ]


def _why(recommendation: Recommendation, assessment: Assessment) -> str:
    """The verdict; quoted below what was asked for, where that is something else."""
    verdict = recommendation.verdict
    if assessment.id in {one.recommended for one in recommendation.verdicts}:
        return verdict
    quoted = "\n>\n> ".join(verdict.split("\n\n"))
    return f"{assessment.id} was asked for; the study recommends otherwise:\n\n> {quoted}"


def _segments(strategy: Strategy, variant_sha256: str, artefacts: Artefacts) -> tuple[Path, ...]:
    """The segments' files: split again, and by their hash the very files that were measured."""
    whole = artefacts.verify(variant_sha256)
    if not strategy.cuts:
        return (whole,)
    graph = prepare(whole, simplify=False)
    models = split(graph, [find_cut(graph, cut) for cut in strategy.cuts])
    found = []
    for model in models:
        sha256 = hashlib.sha256(model_bytes(model)).hexdigest()
        try:
            found.append(artefacts.verify(sha256))
        except NotAStudyError as error:
            raise NotAStudyError(
                f"The segments of {strategy.id} are not among the study's files, so they cannot be"
                " shown to be those that were measured.",
                hint="Was the study run by another version of Tierwise? Run it again.",
                strategy=strategy.id,
            ) from error
    return tuple(found)


def _memory_limit(tier: Tier, peak_bytes: int | None) -> int | None:
    if peak_bytes is None:
        return tier.memory_bytes
    limit = math.ceil(peak_bytes * _MEMORY_HEADROOM / _MIB) * _MIB
    return limit if tier.memory_bytes is None else min(limit, tier.memory_bytes)


def safe_name(text: str) -> str:
    """``text`` as a DNS label: lower-case letters, digits and hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    parts = [part for part in kept.split("-") if part]
    # 40 characters leave room in the label's 63 for "-" and a tier's name.
    return "-".join(parts)[:40].strip("-") or "study"
