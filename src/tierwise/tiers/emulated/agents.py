"""The agents' processes: started inside their limits, listened to, stopped."""

import json
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from tierwise.tiers.emulated.cgroups import Group
from tierwise.tiers.emulated.linux import IS_LINUX, die_with_parent, enter

_LAST_LINES = 40
# How long an agent may take to finish what it does before it is killed. heuristic.
_GRACE_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What a tier may use, as the study says."""

    name: str
    cpus: float | None
    memory_bytes: int | None


@dataclass
class Setup:
    """How a tier's limits are kept.

    Attributes:
        cpu_backend: In words.
        memory_backend: In words.
        cores: Where its processes may run.
        joins: Called in the new process before the agent begins.
        memory: The group that limits memory, if one does.
        groups: All groups to remove in the end.
        throttle: How the share is kept by a process of ours, if it is.
        watched: Whether the memory limit is kept by looking at the process.
    """

    cpu_backend: str
    memory_backend: str
    cores: tuple[int, ...] = ()
    joins: tuple[Callable[[], None], ...] = ()
    memory: Group | None = None
    groups: tuple[Group, ...] = ()
    throttle: Literal["occupy", "signals"] | None = None
    watched: bool = False

    def pin(self) -> None:
        """Have the calling process run on the tier's cores only."""
        if self.cores:
            os.sched_setaffinity(0, self.cores)

    def enter(self) -> None:
        """Move the calling process into the tier's limits."""
        self.pin()
        for join in self.joins:
            join()


@dataclass
class Agent:
    """One tier's process, or what is left of it."""

    limits: Limits
    setup: Setup
    namespace: int | None = None
    listening: str | None = None
    pipes: dict[int, bytes] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _said: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    _watched_kill: bool = False
    _peak_bytes: int | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id, if it runs."""
        return self._process.pid if self._process and self.alive else None

    @property
    def watched(self) -> bool:
        """Whether its memory must be looked at."""
        return self.setup.watched and self.alive

    @property
    def oom_killed(self) -> bool:
        """Whether the memory limit killed it since its start."""
        return self._watched_kill or (self.setup.memory is not None and self.setup.memory.killed)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Most resident memory since its start (``VmHWM``); the last known once it is dead."""
        if self.pid is not None:
            self._peak_bytes = _status_bytes(self.pid, "VmHWM") or self._peak_bytes
        return self._peak_bytes

    def start(self, argv: Sequence[str]) -> None:
        """Start the process; its ready line sets :attr:`listening`."""
        self.stop()
        self.listening, self._watched_kill, self._peak_bytes = None, False, None
        self._said.clear()
        if self.setup.memory:
            self.setup.memory.forget_kills()
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            # The keeper has one thread, so a function may run between fork and exec.
            preexec_fn=partial(self._become_tier, os.getpid()),  # noqa: PLW1509
        )
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.pipes[pipe.fileno()] = b""

    def read(self, pipe: int) -> None:
        """Take what the agent wrote."""
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return
        if not data:
            # Ended, and with it what it held most; the process may still be about to end.
            del self.pipes[pipe]
            return
        lines = (self.pipes[pipe] + data).split(b"\n")
        self.pipes[pipe] = lines.pop()[-65536:]
        for line in lines:
            text = line.decode("utf-8", "replace")
            self._said.append(text)
            if self.listening is None:
                self.listening = _ready_address(text)

    def last_words(self) -> str:
        """The end of what the agent printed, and how it ended."""
        for pipe in tuple(self.pipes):
            self.read(pipe)
        lines = [*self._said, *(rest.decode("utf-8", "replace") for rest in self.pipes.values())]
        code = self._process.poll() if self._process else None
        if code is not None:
            lines.append(
                f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            )
        return "\n".join(line for line in lines if line)

    def watch_memory(self) -> None:
        """Kill the process if it holds more than its limit and nothing else would."""
        if not self.watched or self.pid is None or self.limits.memory_bytes is None:
            return
        held = _status_bytes(self.pid, "VmRSS")
        if held is not None and held > self.limits.memory_bytes:
            self._peak_bytes = held
            self._watched_kill = True
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the process, kindly at first; idempotent."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._peak_bytes = self.peak_memory_bytes
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        _kill_session(process.pid)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                self.pipes.pop(pipe.fileno() if not pipe.closed else -1, None)
                pipe.close()
        self._process = None

    def remove_groups(self) -> None:
        """Remove the tier's control groups."""
        for group in self.setup.groups:
            group.remove()

    def _become_tier(self, keeper: int) -> None:
        try:
            die_with_parent(keeper)
            self.setup.enter()
            if self.namespace is not None:
                enter(self.namespace)
        except OSError as error:
            # subprocess would keep the reason to itself; this way they are its last words.
            os.write(2, f"It cannot be put into its tier: {error}\n".encode())
            os._exit(1)


def _kill_session(leader: int) -> None:
    """End what the agent started and left behind."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _ready_address(line: str) -> str | None:
    try:
        said = json.loads(line)
    except ValueError:
        return None
    address = said.get("listening") if isinstance(said, dict) else None
    return address if isinstance(address, str) else None


def _status_bytes(pid: int, key: str) -> int | None:
    if not IS_LINUX:
        return None
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in status.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
