"""Short names of strategies, unique within a study."""

from collections import Counter
from collections.abc import Iterable, Mapping

from tierwise.operators.strategy import Strategy


def short_names(strategies: Iterable[Strategy]) -> Mapping[str, str]:
    """By strategy id: ``"mobile-edge QEP"``, with the cut only where it is needed to tell apart."""
    unique = {strategy.id: strategy for strategy in strategies}
    counts = Counter(_short(strategy) for strategy in unique.values())
    return {
        id_: _short(strategy)
        if counts[_short(strategy)] == 1
        else f"{_short(strategy)} @{', '.join(strategy.cuts)}"
        for id_, strategy in unique.items()
    }


def _short(strategy: Strategy) -> str:
    suffix = strategy.variant.removeprefix(strategy.operator.variant.value)
    return f"{strategy.placement} {strategy.operator.value}{suffix}"
