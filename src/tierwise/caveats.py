"""What to know before believing a result: stored with it, shown wherever it is shown."""

from dataclasses import dataclass
from enum import Enum


class WarningKind(Enum):
    """Everything that can be wrong with a result without making it worthless.

    The list is closed on purpose: each kind has one advice, shown in the terminal and the report.
    Where there is room for a few only, those that come first here are shown.
    """

    LIKE_GUESSING = "no better than guessing"
    NO_ANSWER = "no answer"
    OUTPUT_DIFFERS = "deployed output differs"
    PACKETS_LOST = "packets lost"
    CPU_OFF = "cpu emulation off"
    SHARE_OFF = "share of requests off"
    LINK_OFF = "link emulation off"
    DISTURBED = "disturbed blocks"
    NOT_SETTLED = "did not settle"
    NO_LABELS = "no labels"
    RANDOM_INPUT = "random input"
    INT8_SLOWER = "int8 slower than fp32"
    NOT_QUANTIZED = "not quantized"
    NO_EXITS = "no early exits"
    QUALITY_GUARD = "nodes left in float"
    FEW_INPUTS = "few inputs"
    BREAKDOWN_OFF = "breakdown does not add up"
    SENT_LATE = "requests sent late"
    NO_MEMORY_LIMIT = "measured without memory limit"
    RETRIED = "blocks measured again"


@dataclass(frozen=True)
class ResultWarning:
    """One thing to know before believing a result.

    Attributes:
        kind: Which of the closed list.
        subject: What it is about: a tier, a link, a strategy id, or ``""`` for the study.
        evidence: The numbers, as a sentence with its full stop.
        advice: What to do about it, with the setting to change.
    """

    kind: WarningKind
    subject: str
    evidence: str
    advice: str
