"""Packets that a busy machine lost are told once, under the condition that was measured."""

from types import SimpleNamespace

from tierwise.caveats import WarningKind
from tierwise.progress import Progress
from tierwise.study.conditions import Measuring
from tierwise.tiers.topology import LinkShape, NetworkCondition

SLOW, FAST = (NetworkCondition({"a-b": LinkShape(rate), "b-c": LinkShape()}) for rate in (1e6, 1e7))


class Said(Progress):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_losses_are_counted_by_condition_and_told_as_a_warning():
    kept, said = {}, Said()
    store = SimpleNamespace(
        set_warnings=lambda _, warnings: kept.update({w.subject: w for w in warnings})
    )
    counts = {"a-b": 0, "b-c": 0}
    running = SimpleNamespace(dropped_packets=lambda: dict(counts))
    measuring = Measuring(None, store, SimpleNamespace(running=running), said)
    measuring._tell_losses(SLOW)
    assert (kept, said.lines) == ({}, [])
    counts["a-b"] = 7
    measuring._tell_losses(SLOW)
    measuring._tell_losses(FAST)  # nothing was lost under it
    counts.update({"a-b": 10, "b-c": 2})
    measuring._tell_losses(SLOW)  # its next round
    (warning,) = kept.values()
    assert (warning.kind, warning.subject) == (WarningKind.PACKETS_LOST, SLOW.id)
    assert warning.evidence.startswith("Packets were lost (10 on a-b, 2 on b-c) because the")
    assert [line.split(" because")[0] for line in said.lines] == [
        f"{SLOW.id}: Packets were lost (7 on a-b)",
        f"{SLOW.id}: Packets were lost (10 on a-b, 2 on b-c)",
    ]
    counts["a-b"] = 11
    measuring._tell_losses(FAST)
    assert kept[FAST.id].evidence.startswith("Packets were lost (1 on a-b)")
