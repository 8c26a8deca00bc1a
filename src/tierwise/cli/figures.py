"""A strategy's name and figures as cells of a terminal's tables."""

from collections.abc import Iterable, Sequence

from tierwise.recommend.recommendation import Assessment


def what(assessment: Assessment) -> str:
    """Operator, with what tells it from others of a front: ``"QE-20%"``."""
    strategy = assessment.trial.strategy
    return strategy.operator.value + strategy.variant.removeprefix(strategy.operator.variant.value)


def decimals(seconds: Sequence[float]) -> int:
    """Enough digits for the smallest to show three."""
    smallest_ms = min(seconds, default=1.0) * 1e3
    return 2 if smallest_ms < 10 else 1 if smallest_ms < 100 else 0


def figures(assessment: Assessment, digits: int, mark: str = "") -> Iterable[str]:
    """Median and p95 in milliseconds, quality and loss; ``mark``: before a measured median."""
    latency, quality = assessment.latency, assessment.quality
    if latency is None:
        yield from ("·", "·")
    else:
        prefix = mark if latency.measured else "~"
        yield f"{prefix}{latency.p50_s * 1e3:.{digits}f}"
        yield "·" if latency.p95_s is None else f"{latency.p95_s * 1e3:.{digits}f}"
    if quality is None:
        yield from ("·", "·")
    else:
        yield f"{quality.value:.1f}"
        yield "0" if abs(quality.loss) < 0.05 else f"{quality.loss:.1f}"
