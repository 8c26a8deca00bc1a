"""CPU shares below one core: the tier's processes are stopped as soon as they used their share.

The kernel's own quota cannot do it for short work: its smallest allowance is 1 ms, it is taken
back at the scheduler's tick (4 ms at 250 Hz), and each idle moment grants a new one, so 5 ms of
work at a share of 0.25 ran at 0.38 to 0.40 (docs/design.md, Decisions). Here the CPU clock of
the processes, which counts nanoseconds, is read every few hundred microseconds; who is overdrawn
gets SIGSTOP until the debt is paid. Late wake-ups only move the debt, they don't forgive it.
"""

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import cpu_seconds, wake_on_time

# Time between two looks at a tier that computes. A prototype of this loop, with 0.2, 0.4 and 0.8 ms
# at shares of 0.25 and 0.5: 5 ms of work ran at 0.25/0.48, 0.25/0.49 and 0.28/0.51 of a core's
# speed, and the loop took 18%, 10% and 5% of the other core. This loop gets less: docs/design.md.
_LOOK_S = 0.00025
# A tier that computes nothing is looked at less often; what it then overdraws is paid back.
_IDLE_LOOK_S = 0.001
_IDLE_AFTER_S = 0.02
# What a tier may save up while idle: next to nothing, or short work would run at full speed.
_SAVED_S = 0.0001


@dataclass
class Share:
    """What a tier may use and has used.

    Attributes:
        cpus: Allowed CPU seconds per second.
        pids: Its processes.
    """

    cpus: float
    pids: list[int] = field(default_factory=list)
    _used_s: dict[int, float] = field(default_factory=dict)
    _balance_s: float = 0.0
    _looked: float = 0.0
    _busy: float = 0.0
    _stopped: bool = False

    def watch(self, pids: Sequence[int]) -> None:
        """Take ``pids`` for the tier's processes; whoever is no longer among them runs freely."""
        if self._stopped:
            self._signal(signal.SIGCONT)
            self._stopped = False
        self.pids = list(pids)

    def look(self, now: float) -> float:
        """Stop or continue the processes as their share demands; returns when to look again."""
        spent_s = self._spend()
        self._balance_s = min(
            _SAVED_S, self._balance_s + self.cpus * (now - self._looked) - spent_s
        )
        self._looked = now
        if spent_s > 0:
            self._busy = now
        overdrawn = self._balance_s <= 0
        if overdrawn != self._stopped:
            self._signal(signal.SIGSTOP if overdrawn else signal.SIGCONT)
            self._stopped = overdrawn
        if overdrawn:
            return now - self._balance_s / self.cpus + 1e-5
        return now + (_LOOK_S if now - self._busy < _IDLE_AFTER_S else _IDLE_LOOK_S)

    def _spend(self) -> float:
        spent_s = 0.0
        for pid in tuple(self.pids):
            try:
                used_s = cpu_seconds(pid)
            except OSError:  # the process is gone
                self.pids.remove(pid)
                continue
            spent_s += used_s - self._used_s.get(pid, used_s)
            self._used_s[pid] = used_s
        return spent_s

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def run(control: Channel) -> None:
    """Keep every tier within its share until ``control`` is closed.

    A message ``{"shares": {tier: {"cpus": float, "pids": [int]}}}`` replaces what was before.
    """
    wake_on_time()
    shares: dict[str, Share] = {}
    due: dict[str, float] = {}
    while True:
        now = time.monotonic()
        for tier, share in shares.items():
            if due[tier] <= now:
                due[tier] = share.look(now)
        wake = min((due[tier] for tier, share in shares.items() if share.pids), default=None)
        timeout = None if wake is None else max(0.0, wake - time.monotonic())
        if not select.select([control], [], [], timeout)[0]:
            continue
        try:
            message, _ = control.receive()
        except EOFError:
            for share in shares.values():
                share.watch(())
            return
        _update(shares, message["shares"])
        due = dict.fromkeys(shares, 0.0)
        control.send({})


def _update(shares: dict[str, Share], wanted: Mapping[str, Mapping[str, object]]) -> None:
    for tier, what in wanted.items():
        share = shares.setdefault(tier, Share(cpus=1.0))
        cpus, pids = what["cpus"], what["pids"]
        if not isinstance(cpus, float) or not isinstance(pids, list):
            raise TypeError(f"a share of {cpus!r} for processes {pids!r}")
        share.cpus = cpus
        share.watch(pids)
