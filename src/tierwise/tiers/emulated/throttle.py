"""CPU shares that are no whole cores: the tier's core is taken from it as soon as it is overdrawn.

One process for each core on which such tiers run, pinned to that core like the tiers. It looks at
the tiers' CPU clocks, which count nanoseconds, every few hundred microseconds. Who has used more
than the share pays at once: either this process keeps the core busy itself, which nobody of lower
priority can prevent (*occupy*), or the tier's processes are stopped and continued by signals
(*stop*). Late wake-ups only move the debt, they don't forgive it.

The looks must come from the same core: from another one each stop takes an interrupt, and the
process goes on meanwhile. And the kernel's own quota cannot do it: its smallest allowance is 1 ms,
it is taken back at the scheduler's tick (4 ms at 250 Hz), and each idle moment grants a new one.
docs/design.md, Decisions, has the figures of all three.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import (
    THROTTLE_PRIORITY,
    cpu_seconds,
    preempt_on_wake,
    wake_on_time,
    wants_core,
)

# heuristic: a tier that was idle is not asked whether it wants the core before a hold that ends
# sooner: the states of some dozen threads are read for it.
_WORTH_ASKING_S = 0.0005
# Time between two questions in one hold: each goes through the caches of whom it holds. heuristic.
_ASK_AGAIN_S = 0.001
# Time between two looks at a tier that computes: short at first, so that short work meets its
# share, and then this part of how long it computes already, because each look costs the tier some
# of its cache: a prototype that always looked after 0.25 ms took 4-5% of a convolution's work per
# CPU second, one after 1 ms nothing.
_LOOK_S = 0.00025
_LONGEST_LOOK_S = 0.001
_LOOK_PART = 0.02
# A tier that computes nothing is looked at less often; what it then overdraws is paid back. Each
# look takes time from others on the core: with 80 of the short ones instead of 2 behind every few
# lines that an idle agent runs, a whole core's tier beside two with shares had 0.93 of its time.
_IDLE_LOOK_S = 0.001
_IDLE_AFTER_S = 0.0005
# Whoever used less than this part of the time since the last look was waiting for something, and
# a core that is kept busy then would only hold up another tier. heuristic.
_COMPUTING = 0.8
# What a tier may owe without being held back at once, in CPU seconds. heuristic: a look's worth.
_MOST_OWED_S = 0.001
# What a tier gets back of a hold that was too long, in CPU seconds, while it goes on computing.
# heuristic: a process without rights may be let in a tick (4 ms at 250 Hz) too late.
_MOST_MADE_GOOD_S = 0.002
# The longest that a core is kept busy before messages are read again. heuristic.
_LONGEST_HOLD_S = 0.005


@dataclass
class Share:
    """What a tier may use and has used.

    Attributes:
        cpus: Allowed CPU seconds per second.
        pids: Its processes.
        may_stop: Whether its processes may be stopped from here: of all the cores it runs on, from
            one only.
    """

    cpus: float
    pids: list[int] = field(default_factory=list)
    may_stop: bool = True
    stopped: bool = False
    _used_s: dict[int, float] = field(default_factory=dict)
    _balance_s: float = 0.0
    _looked: float = 0.0
    _busy: float = 0.0
    _began: float = 0.0
    _computing: bool = False
    _waits: bool = False
    _rested: bool = False

    def watch(self, pids: Sequence[int]) -> None:
        """Take ``pids`` for the tier's processes; whoever is no longer among them runs freely."""
        self.go_on()
        self.pids = list(pids)

    def look(self, now: float, *, held: bool = False) -> None:
        """Bring the account up to date; ``held``: since the last look its core was taken."""
        spent_s, elapsed_s = self._spend(), now - self._looked
        free = not (held or self.stopped)
        if self._rested:
            # It began in between, and has computed since: nothing is saved up while idle, or short
            # work would run at full speed.
            rest_s = max(0.0, elapsed_s - spent_s)
            self._balance_s = min(0.0, self._balance_s + self.cpus * rest_s)
            earned_s = self.cpus * (elapsed_s - rest_s)
            self._began = now - spent_s
        else:
            earned_s = self.cpus * elapsed_s
        # What a hold took too long is made good as long as it computes.
        most_s = max(0.0, self._balance_s if spent_s > 0 else 0.0) if free else _MOST_MADE_GOOD_S
        self._balance_s = min(most_s, self._balance_s + earned_s - spent_s)
        # Asked once after it computed, and then as long as the answer is yes: on a machine busy
        # with other work it may get no time at all, and frequent looks would only cost more of it.
        seen = self._waits or self._busy == self._looked > 0
        self._waits = spent_s == 0 and free and seen and self.wants_core()
        self._rested = spent_s == 0 and free and not self._waits
        if not self._looked or self._rested:
            self._began = now
        # Who was held goes on computing, or it would not be looked at again for a while.
        if spent_s > 0 or held:
            self._busy = now
        self._computing = spent_s >= _COMPUTING * elapsed_s
        self._looked = now

    def busy_at(self, now: float) -> bool:
        """Whether it computed a moment ago."""
        return self.stopped or now - self._busy < _IDLE_LOOK_S

    @property
    def idle(self) -> bool:
        """Whether it has not computed for a while."""
        return not self.stopped and self._looked - self._busy >= _IDLE_AFTER_S

    def wants_core(self) -> bool:
        """Whether it would compute if it got the core: it does, waits for it, or is stopped."""
        return self.stopped or any(map(wants_core, self.pids))

    @property
    def must_pay(self) -> bool:
        """Whether it should be held back now."""
        owed_s = -self._balance_s
        return owed_s > _MOST_OWED_S or (owed_s > 0 and (self._computing or self.stopped))

    def paid_at(self) -> float:
        """When the debt is paid if it computes nothing until then.

        A tier with several cores is held back on each by another process, at about the same time.
        """
        return self._looked - self._balance_s / self.cpus

    def next_look(self) -> float:
        """When to look again, if it is not held back."""
        if self.idle:
            return self._looked + _IDLE_LOOK_S
        computing_s = self._looked - self._began
        return self._looked + min(_LONGEST_LOOK_S, max(_LOOK_S, _LOOK_PART * computing_s))

    def stop(self) -> None:
        """Stop its processes."""
        if not self.stopped:
            self._signal(signal.SIGSTOP)
            self.stopped = True

    def go_on(self) -> None:
        """Let its processes go on."""
        if self.stopped:
            self._signal(signal.SIGCONT)
            self.stopped = False

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


def run(control: Channel, core: int, *, occupy: bool) -> None:
    """Keep every tier that has its share on ``core`` within it until ``control`` is closed.

    A message ``{"shares": {tier: {"cpus": float, "may_stop": bool, "pids": [int]}}}`` replaces
    what was before. ``occupy`` takes real-time priority.
    """
    os.sched_setaffinity(0, {core})
    wake_on_time(THROTTLE_PRIORITY if occupy else None)
    if not occupy:
        preempt_on_wake()
    shares: dict[str, Share] = {}
    due: dict[str, float] = {}
    while True:
        now = time.monotonic()
        for tier, share in shares.items():
            if due[tier] <= now:
                others = [other for name, other in shares.items() if name != tier]
                due[tier] = keep(share, others, now, occupy=occupy)
        if shares and all(share.idle for share in shares.values()):
            _doze(control, [pid for share in shares.values() for pid in share.pids])
            due = dict.fromkeys(shares, 0.0)
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


def _doze(control: Channel, pids: Sequence[int]) -> None:
    """Return as soon as one of ``pids`` computes or is gone, or a message has come.

    A look at all tiers of the core in as few lines as it goes: most looks find nothing.
    """
    poller = select.poll()
    poller.register(control, select.POLLIN)
    patience_ms = _IDLE_LOOK_S * 1000 if pids else None
    try:
        before = list(map(cpu_seconds, pids))
        while not poller.poll(patience_ms):
            if list(map(cpu_seconds, pids)) != before:
                return
    except OSError:  # a process is gone: the next look finds out which
        return


def keep(share: Share, others: Iterable[Share], now: float, *, occupy: bool) -> float:
    """Look at one tier and hold it back if it must be; returns when to look again."""
    share.look(now)
    if not share.must_pay:
        share.go_on()
        return share.next_look()
    # A core that is kept busy is taken from everyone on it, a stopped process from itself alone.
    beside = tuple(others) if share.may_stop else ()
    until = min(share.paid_at(), now + _LONGEST_HOLD_S)
    ask_at = now
    while occupy and not share.stopped:
        moment = time.monotonic()
        if moment >= until:
            share.look(time.monotonic(), held=True)
            return share.next_look()
        if moment < ask_at:
            continue
        worth_it = until - moment > _WORTH_ASKING_S
        if any(other.wants_core() for other in beside if worth_it or other.busy_at(now)):
            break
        ask_at = time.monotonic() + _ASK_AGAIN_S
    share.stop()
    return share.paid_at()


def _update(shares: dict[str, Share], wanted: Mapping[str, Mapping[str, object]]) -> None:
    for tier, what in wanted.items():
        share = shares.setdefault(tier, Share(cpus=1.0))
        cpus, pids = what["cpus"], what["pids"]
        if not isinstance(cpus, float) or not isinstance(pids, list):
            raise TypeError(f"a share of {cpus!r} for processes {pids!r}")
        share.cpus, share.may_stop = cpus, bool(what["may_stop"])
        share.watch(pids)
