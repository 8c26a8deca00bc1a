"""An outlook as the JSON that ``tierwise predict --json`` prints."""

import math

from tierwise.predict.crossovers import Crossover
from tierwise.predict.latency import COVERAGE
from tierwise.recommend.as_json import as_json
from tierwise.recommend.outlook import Outlook
from tierwise.recommend.outlook_words import crossover_text


def outlook_json(outlook: Outlook) -> dict[str, object]:
    """Plain values only: what ``recommend --json`` prints, the model, and the crossovers."""
    network = outlook.model.network
    answer = as_json(outlook.recommendation)
    answer.pop("switches")
    verdicts = outlook.recommendation.verdicts
    return answer | {
        "verdict": outlook.verdict,
        "conditions": [
            {"condition": v.condition.id, "predicted": predicted}
            for v, predicted in zip(verdicts, outlook.predicted, strict=True)
        ],
        "crossovers": [crossover_json(one) for one in outlook.crossovers],
        "model": {
            "coverage": COVERAGE,
            "hop_s": network.hop_s,
            "round_trips": network.round_trips,
            "stretch": network.stretch,
            "burst_bytes": network.burst_bytes,
            "network_error": outlook.model.network_error,
            "network_again": outlook.model.network_again,
            "drift_error": outlook.model.drift_error,
            "repeat_error": outlook.model.repeat_error,
            "unseen_error": outlook.model.unseen_error,
        },
    }


def crossover_json(crossover: Crossover) -> dict[str, object]:
    """One crossover; ``null`` where its interval has no upper end."""
    high = crossover.high_bit_per_s
    return {
        "link": crossover.link,
        "bandwidth_bit_per_s": crossover.bandwidth_bit_per_s,
        "low_bit_per_s": crossover.low_bit_per_s,
        "high_bit_per_s": None if math.isinf(high) else high,
        "below": crossover.below,
        "above": crossover.above,
        "elsewhere": {
            name: str(shape)
            for name, shape in crossover.condition.shapes.items()
            if name != crossover.link
        },
        "rtt_s": crossover.condition.shapes[crossover.link].rtt_s,
        "text": crossover_text(crossover),
    }
