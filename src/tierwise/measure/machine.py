"""The machine's condition over a stretch of time: who else was using it, and how fast it ran.

Read from ``/proc`` and ``/sys`` on Linux. What a machine does not tell is ``None``.
"""

import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# heuristic: at 2% of stolen time a 10 ms request has lost 0.2 ms, the default target width.
_MOST_STEAL = 0.02
# heuristic: with more runnable processes than this per CPU, requests wait for a CPU.
_MOST_LOAD = 1.5
# heuristic: turbo moves a CPU by a few per cent; a loss of more is another machine.
_MOST_SLOWDOWN = 0.1


@dataclass(frozen=True)
class MachineState:
    """What happened to the machine during a block; ``None``: this machine does not tell.

    Attributes:
        steal: Share of CPU time that the hypervisor gave to others, 0 to 1.
        load: Runnable processes, averaged over the last minute, per CPU.
        frequency_hz: Mean frequency of the CPUs at the end.
        throttled: Times that a CPU was slowed down for its temperature.
        energy_j: Energy that the CPU packages used, in joules (RAPL).
    """

    steal: float | None = None
    load: float | None = None
    frequency_hz: float | None = None
    throttled: int | None = None
    energy_j: float | None = None

    def disturbances(self, usual_frequency_hz: float | None = None) -> tuple[str, ...]:
        """Why numbers of this stretch should not be trusted; empty where nothing is known.

        Args:
            usual_frequency_hz: The median over the other blocks, to tell a slow one from.
        """
        found = []
        if self.steal is not None and self.steal > _MOST_STEAL:
            found.append(f"{self.steal:.1%} of CPU time was stolen by other virtual machines")
        if self.load is not None and self.load > _MOST_LOAD:
            found.append(f"load of {self.load:.1f} per CPU")
        if self.throttled:
            found.append(f"CPUs were throttled {self.throttled} times")
        if self.frequency_hz and usual_frequency_hz:
            slowdown = 1.0 - self.frequency_hz / usual_frequency_hz
            if slowdown > _MOST_SLOWDOWN:
                found.append(f"CPUs ran {slowdown:.0%} slower than usual")
        return tuple(found)


def disturbances(states: Sequence[MachineState | None]) -> list[tuple[str, ...]]:
    """Why each of successive blocks should not be trusted, told from all of them."""
    frequencies = [state.frequency_hz for state in states if state and state.frequency_hz]
    usual = statistics.median(frequencies) if frequencies else None
    return [() if state is None else state.disturbances(usual) for state in states]


class EnergyMeter:
    """Called, gives the energy that the CPU packages used since its last call, in joules.

    All of it: of every process, and of idling. The counters (RAPL) move about once a millisecond.
    ``None`` where the machine has none, or does not let this user read them.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Read the counters under ``root``."""
        # Packages only: their domains (core, uncore) are counted in them.
        self._files = [
            path
            for path in sorted((root / "sys/class/powercap").glob("intel-rapl:*/energy_uj"))
            if re.fullmatch(r"intel-rapl:\d+", path.parent.name)
        ]
        self._last_uj = self._read()
        if len(self._last_uj) < len(self._files):
            self._files = []

    @property
    def source(self) -> str:
        """What is read, in words; that nothing can be where there is nothing to read."""
        if not self._files:
            return "not available here: no readable RAPL counters"
        return f"RAPL, {len(self._files)} CPU package{'s' if len(self._files) > 1 else ''}"

    def __call__(self) -> float | None:
        """Joules since the last call."""
        if not self._files:
            return None
        before_uj, after_uj = self._last_uj, self._read()
        self._last_uj = after_uj
        if after_uj.keys() != before_uj.keys():
            return None
        used_uj = 0
        for path, value in after_uj.items():
            step = value - before_uj[path]
            if step < 0:  # the counter wrapped
                step += int(_text(path.with_name("max_energy_range_uj")) or 0)
            used_uj += step
        return used_uj / 1e6

    def _read(self) -> dict[Path, int]:
        return {path: int(text) for path in self._files if (text := _text(path))}


@dataclass(frozen=True)
class _Counters:
    """What only counts up; a stretch's value is the difference of two readings."""

    steal_ticks: int | None
    all_ticks: int | None
    throttled: int | None


class MachineWatch:
    """Called, gives the machine's condition since its last call (or since it was made)."""

    def __init__(self, root: Path = Path("/"), *, kept_awake: int = 0) -> None:
        """Watch the machine whose ``proc`` and ``sys`` are under ``root``.

        ``kept_awake`` processes of idle priority do nothing but keep a core awake: they are in the
        load average and wait for nobody's sake.
        """
        self._proc = root / "proc"
        self._kept_awake = kept_awake
        cpus = root / "sys/devices/system/cpu"
        self._throttle_files = sorted(cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        self._frequency_files = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._energy = EnergyMeter(root)
        self._last = self._read()

    def __call__(self) -> MachineState:
        """The condition since the last call."""
        before, after = self._last, self._read()
        self._last = after
        return MachineState(
            steal=_steal_share(before, after),
            load=self._load(),
            frequency_hz=self._frequency_hz(),
            throttled=None
            if before.throttled is None or after.throttled is None
            else after.throttled - before.throttled,
            energy_j=self._energy(),
        )

    def _read(self) -> _Counters:
        # "cpu  user nice system idle iowait irq softirq steal guest guest_nice", in ticks;
        # guest time is part of user time already (man 5 proc_stat).
        ticks = [
            int(field) for field in (_text(self._proc / "stat") or "").split("\n")[0].split()[1:9]
        ]
        throttled = [int(text) for path in self._throttle_files if (text := _text(path))]
        return _Counters(
            steal_ticks=ticks[7] if len(ticks) == 8 else None,
            all_ticks=sum(ticks) if len(ticks) == 8 else None,
            throttled=sum(throttled) if throttled else None,
        )

    def _load(self) -> float | None:
        text = _text(self._proc / "loadavg")
        if text is None:
            return None
        return max(0.0, float(text.split()[0]) - self._kept_awake) / (os.cpu_count() or 1)

    def _frequency_hz(self) -> float | None:
        khz = [float(text) for path in self._frequency_files if (text := _text(path))]
        if khz:
            return 1e3 * sum(khz) / len(khz)
        # Guests often have no cpufreq, but x86 kernels print what they know.
        cpuinfo = _text(self._proc / "cpuinfo") or ""
        mhz = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo, re.MULTILINE)
        return 1e6 * sum(map(float, mhz)) / len(mhz) if mhz else None


def _steal_share(before: _Counters, after: _Counters) -> float | None:
    if before.steal_ticks is None or before.all_ticks is None:
        return None
    if after.steal_ticks is None or after.all_ticks is None:
        return None
    ticks = after.all_ticks - before.all_ticks
    return (after.steal_ticks - before.steal_ticks) / ticks if ticks > 0 else 0.0


def _text(path: Path) -> str | None:
    """The file's text, or ``None`` where there is none or no right to read it."""
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
