"""What would have to give where no strategy meets the requirement."""

from tierwise.recommend.recommendation import Assessment, ConditionVerdict, Limit, Miss
from tierwise.recommend.requirement import Requirement


def needed_changes(requirement: Requirement, verdict: ConditionVerdict) -> tuple[str, ...]:
    """What would have to give: for each limit, the strategy that misses only it, by the least."""
    candidates = [a for a in verdict.strategies if a.measured and not a.unsuited]
    sentences = []
    for limit in Limit:
        alone = [a for a in candidates if [m.limit for m in a.misses] == [limit]]
        known = [a for a in alone if a.misses[0].value is not None]
        if known:
            nearest = min(known, key=lambda a: a.misses[0].excess)
            sentences.append(_must_give(requirement, nearest, nearest.misses[0]))
    unknown = [a for a in candidates if a.misses and a.meets is None]
    if unknown:
        sentences.append(f"{unknown[0].id} might meet it, but {unknown[0].misses[0].why}.")
    if not sentences and candidates:
        closest = min(candidates, key=lambda a: sum(m.excess for m in a.misses))
        missed = " and ".join(
            f"{m.limit.value} {m.figure(m.value)} of {m.figure(m.allowed)}"
            if m.value is not None
            else f"{m.limit.value}: {m.why}"
            for m in closest.misses
        )
        sentences.append(f"The closest, {closest.id}, misses it in more than one way: {missed}.")
    return tuple(sentences)


def _must_give(requirement: Requirement, nearest: Assessment, miss: Miss) -> str:
    assert miss.value is not None
    needs, allowed = miss.figure(miss.value), miss.figure(miss.allowed)
    if miss.limit is Limit.LATENCY:
        return (
            f"With p{requirement.percentile:g} at {needs} instead of {allowed}, {nearest.id} would."
        )
    if miss.limit is Limit.LOSS:
        return f"With a loss of {needs} instead of {allowed}, {nearest.id} would."
    return f"With {needs} of memory on a tier instead of {allowed}, {nearest.id} would."
