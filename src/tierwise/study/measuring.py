"""Measure a study's trials on running tiers, condition by condition, every block committed."""

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tierwise.caveats import WarningKind
from tierwise.errors import TierFault
from tierwise.operators.strategy import Strategy
from tierwise.progress import SILENT, Progress
from tierwise.store.results import TrialState
from tierwise.store.write import StudyStore
from tierwise.study.caveats import crowded_caveats
from tierwise.study.conditions import Measuring
from tierwise.study.deployment import Deployment
from tierwise.study.environment import describe_environment
from tierwise.study.file import StudyFile
from tierwise.study.fitting import Fitter, Fitting
from tierwise.study.job import MeasureJob
from tierwise.study.request_shares import request_shares
from tierwise.study.rounds import measure_chosen, measured_aim, measured_key
from tierwise.study.starting import measure_starts
from tierwise.tiers.emulated import start
from tierwise.tiers.remote import connect
from tierwise.tiers.running import RunningTopology
from tierwise.tiers.topology import Tier, Topology
from tierwise.units import format_bytes


def measure_study(job: MeasureJob, store: StudyStore, progress: Progress = SILENT) -> None:
    """Measure whatever of ``job`` is not in ``store`` yet.

    Raises:
        EnvironmentFault: this machine cannot run the tiers.
        TierFault: an agent cannot be started, or started again.
        DiskFull: no space is left; finished blocks stay.
    """
    left = unmeasured(job.study, len(job.conditions), store)
    if not left:
        return
    with ExitStack() as stack:
        running, too_small = stack.enter_context(_running(job, progress))
        for strategy in job.segments:
            if reason := "; ".join(too_small[t] for t in strategy.tiers if t in too_small):
                _finish(job, store, strategy, TrialState.DOES_NOT_FIT, reason=reason, numbers=left)
        strategies = [s for s in job.segments if not set(s.tiers) & set(too_small)]
        deployment = stack.enter_context(_closing(running, job))
        record = {"requests": job.study.measure.scenario, **running.record}
        store.set_environment(describe_environment(job.topology, record))
        running.shape(None)
        fitting = Fitter(deployment, job.segments, job.variants, job.data, job.study.task).fit_all(
            strategies, progress
        )
        _keep_fitting(job, store, fitting, left)
        measured = [
            s for s in strategies if s not in fitting.does_not_fit and s not in fitting.failed
        ]
        if not measured:
            for number in left:
                store.set_facts({measured_key(number): measured_aim(job.study)})
            return
        if fitting.crowded:
            deployment = _make_room(job, stack, fitting.crowded, measured, progress)
            store.set_environment(describe_environment(job.topology, deployment.running.record))
            crowded = [tier for tier in job.topology.tiers if tier.name in fitting.crowded]
            # Added, not replaced: what an earlier run measured so stays.
            store.set_warnings((), crowded_caveats(crowded))
        if not job.study.measure.every:
            measure_chosen(Measuring(job, store, deployment, progress), tuple(measured), left)
        else:
            measure_starts(deployment, measured, job.data, store, progress)
            measuring = Measuring(job, store, deployment, progress)
            for number in left:
                measuring.condition(number, measured)
                store.set_facts({measured_key(number): measured_aim(job.study)})
    shares, off = request_shares(store.results())
    store.add_probes(shares)
    store.set_warnings([WarningKind.SHARE_OFF], off)


def unmeasured(study: StudyFile, conditions: int, store: StudyStore) -> list[int]:
    """Numbers of the conditions that do not have all their samples yet."""
    return [n for n in range(conditions) if store.fact(measured_key(n)) != measured_aim(study)]


@contextmanager
def _closing(running: RunningTopology, job: MeasureJob) -> Iterator[Deployment]:
    deployment = Deployment(running, job.data, job.study.task)
    try:
        yield deployment
    finally:
        deployment.close()


@contextmanager
def _running(
    job: MeasureJob, progress: Progress, roomy: frozenset[str] = frozenset()
) -> Iterator[tuple[RunningTopology, dict[str, str]]]:
    """The tiers, and why some of them cannot even hold an agent.

    A tier whose limit is too small for the agent itself runs without the limit, because other
    tiers' requests may start there; nothing is measured on it. Tiers in ``roomy`` run without.
    """
    if not any(tier.emulated for tier in job.topology.tiers):
        with connect(job.topology) as remote:
            yield remote, {}
        return
    secret = secrets.token_urlsafe(24)
    topology = Topology(
        tuple(
            replace(
                tier,
                token=secret if tier.emulated else tier.token,
                memory_bytes=None if tier.name in roomy else tier.memory_bytes,
            )
            for tier in job.topology.tiers
        )
    )
    with TemporaryDirectory(prefix="tierwise-") as folder:
        token_file = Path(folder) / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(secret)
        starting = partial(
            start,
            command=partial(agent_command, token_file=token_file, folder=Path(folder)),
            backend=job.study.measure.backend,
            progress=progress,
        )
        running, too_small = _start_all(topology, starting)
        with running:
            yield running, too_small


def _start_all(
    topology: Topology, start_tiers: Callable[[Topology], RunningTopology]
) -> tuple[RunningTopology, dict[str, str]]:
    """Start the tiers, without their limit those that cannot hold an agent; and which these are.

    Raises:
        TierFault: an agent does not start for another reason.
    """
    too_small: dict[str, str] = {}
    while True:
        try:
            return start_tiers(topology), too_small
        except TierFault as fault:
            name = str(getattr(fault, "tier", ""))
            if not getattr(fault, "oom", False) or name in too_small:
                raise
            limit = topology.tier(name).memory_bytes or 0
            too_small[name] = f"{name}: an empty agent needs more than {format_bytes(limit)}"
            topology = Topology(
                tuple(
                    replace(t, memory_bytes=None) if t.name == name else t for t in topology.tiers
                )
            )


def agent_command(tier: Tier, listen: str, token_file: Path, folder: Path) -> list[str]:
    """The command line of an emulated tier's agent; each has a cache of its own."""
    return [
        sys.executable, "-m", "tierwise", "--quiet", "serve",
        "--tier", tier.name,
        "--listen", listen,
        "--threads", str(tier.threads),
        "--token-file", str(token_file),
        "--cache", str(folder / f"cache-{tier.name}"),
        # All of it is loaded, and goes with the study's tiers.
        "--cache-size", "none",
    ]  # fmt: skip


def _make_room(
    job: MeasureJob,
    stack: ExitStack,
    crowded: set[str],
    measured: Sequence[Strategy],
    progress: Progress,
) -> Deployment:
    """Tiers that hold each strategy but not all at once: measure without their limit.

    Blocks are interleaved over all strategies, so all of them are loaded at the same time, which
    no deployment does. That each fits on its own was just shown, with the limit.
    """
    progress.say(
        f"{', '.join(sorted(crowded))}: every strategy fits alone, but not all at once; "
        "measured without the memory limit."
    )
    stack.pop_all().close()
    running, _ = stack.enter_context(_running(job, progress, frozenset(crowded)))
    deployment = stack.enter_context(_closing(running, job))
    running.shape(None)
    for strategy in measured:
        deployment.load(strategy, job.segments[strategy])
    return deployment


def _finish(
    job: MeasureJob,
    store: StudyStore,
    strategy: Strategy,
    state: TrialState,
    *,
    reason: str,
    numbers: Sequence[int],
) -> None:
    """Store what became of a strategy under the conditions that are not measured yet."""
    for number in numbers:
        store.finish_trial(strategy, job.conditions[number], state, reason=reason)


def _keep_fitting(
    job: MeasureJob, store: StudyStore, fitting: Fitting, numbers: Sequence[int]
) -> None:
    for strategy, reason in fitting.does_not_fit.items():
        _finish(job, store, strategy, TrialState.DOES_NOT_FIT, reason=reason, numbers=numbers)
    for strategy, reason in fitting.failed.items():
        _finish(job, store, strategy, TrialState.FAILED, reason=reason, numbers=numbers)
    for strategy, memory_bytes in fitting.memory_bytes.items():
        store.set_memory(strategy, memory_bytes)
    store.set_warnings([WarningKind.OUTPUT_DIFFERS], fitting.caveats)
