"""A study's directory as the run writes it: every finished piece of work is one transaction."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tierwise.disk import writing
from tierwise.errors import NotAStudyError
from tierwise.measure.cold_start import ColdStart
from tierwise.measure.outcome import MeasureOutcome
from tierwise.measure.plan import MeasurePlan
from tierwise.measure.sample import Block
from tierwise.operators.strategy import Strategy
from tierwise.store.artefacts import Artefacts
from tierwise.store.blocks import dump_outcome, insert_block, load_blocks, outcome_key
from tierwise.store.choices import (
    insert_profile_block,
    insert_round,
    insert_segment_costs,
    load_profile_blocks,
)
from tierwise.store.codec import (
    dump,
    dump_cold_start,
    dump_condition,
    dump_topology,
)
from tierwise.store.database import FILE_NAME, create_or_open, writing_database
from tierwise.store.folder import clear, foreign_files
from tierwise.store.lock import StudyLock
from tierwise.store.read import results_of
from tierwise.store.results import (
    ProbeFigure,
    QualityFigure,
    ResultWarning,
    Round,
    SegmentCosts,
    StudyResults,
    TrialState,
    VariantRecord,
    WarningKind,
)
from tierwise.store.trials import (
    PlannedTrial,
    insert_trials,
    quality_columns,
    update_predictions,
)
from tierwise.tiers.topology import NetworkCondition, Topology


class StudyStore:
    """A study directory, locked by this process until :meth:`close`."""

    def __init__(self, folder: Path, lock: StudyLock, connection: sqlite3.Connection) -> None:
        """Use :meth:`open`."""
        self.folder = folder
        self.artefacts = Artefacts(folder / "artefacts")
        self._lock = lock
        self._db = connection
        self._path = folder / FILE_NAME

    @classmethod
    def open(cls, folder: Path, *, fresh: bool = False) -> Self:
        """Open or make ``folder``; with ``fresh`` whatever a study left there goes first.

        Raises:
            UserError: another run holds it.
            NotAStudyError: its database is damaged or of a newer format, or the folder
                holds files that are not a study's.
            DiskFull: no space is left.
        """
        if folder.exists() and not folder.is_dir():
            raise NotAStudyError(
                f"{folder} is a file; a study's results are a directory.",
                hint="Choose a new or empty directory with `-o DIR`.",
                path=str(folder),
            )
        foreign = foreign_files(folder)
        if foreign:
            raise NotAStudyError(
                f"{folder} is not a study directory: it holds {foreign[0]!r}"
                f"{' and more' if len(foreign) > 1 else ''}, and no {FILE_NAME}.",
                hint="Choose a new or empty directory with `-o DIR`.",
                path=str(folder),
            )
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        lock = StudyLock(folder)
        try:
            if fresh:
                clear(folder)
            store = cls(folder, lock, create_or_open(folder))
        except BaseException:
            lock.release()
            raise
        try:
            store.artefacts.sweep()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the database and let go of the lock."""
        self._db.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Facts and stages

    def fact(self, key: str) -> str | None:
        """A stored fact of the study, or ``None``."""
        row = self._db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def set_facts(self, facts: Mapping[str, str]) -> None:
        """Store ``facts``, over those with the same keys."""
        with self._transaction():
            self._set_facts(facts)

    def is_done(self, stage: str) -> bool:
        """Whether ``stage`` left its complete results here."""
        return self.fact(f"done:{stage}") is not None

    def set_done(self, stage: str) -> None:
        """Note that ``stage`` is complete."""
        self.set_facts({f"done:{stage}": "yes"})

    def set_study(
        self,
        *,
        name: str,
        model: str,
        task: str,
        topology: Topology,
        conditions: Sequence[NetworkCondition],
        requirement: Mapping[str, str],
        facts: Mapping[str, str],
    ) -> None:
        """Store what the study is; again with the same content changes nothing."""
        with self._transaction():
            self._set_facts(
                {
                    "name": name,
                    "model": model,
                    "task": task,
                    "topology": dump_topology(topology),
                    "requirement": dump(dict(requirement)),
                    **facts,
                }
            )
            self._db.executemany(
                "INSERT INTO conditions VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(number, dump_condition(one)) for number, one in enumerate(conditions)],
            )

    def set_environment(self, environment: Mapping[str, str]) -> None:
        """Store the machine and versions, over what is there."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO environment VALUES (?, ?)", list(environment.items())
            )

    # What stages leave

    def add_variant(self, record: VariantRecord, warnings: Iterable[ResultWarning] = ()) -> None:
        """Store a built variant, whose file is already in :attr:`artefacts`."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO variants VALUES (?, ?, ?, ?, ?)",
                (
                    record.name,
                    record.sha256,
                    record.size_bytes,
                    record.macs,
                    dump(list(record.notes)),
                ),
            )
            self._add_warnings(warnings)

    def add_quality(
        self, variant: str, figure: QualityFigure, warnings: Iterable[ResultWarning] = ()
    ) -> None:
        """Store a variant's quality."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO quality VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (variant, *quality_columns(figure)),
            )
            self._add_warnings(warnings)

    def add_strategy_quality(self, strategy: Strategy, figure: QualityFigure) -> None:
        """Store the quality of a strategy whose boundary changes what crosses it."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO strategy_quality VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (strategy.id, *quality_columns(figure)),
            )

    def set_trials(
        self, trials: Sequence[PlannedTrial], warnings: Iterable[ResultWarning] = ()
    ) -> None:
        """Store the plan's trials and mark the plan done; samples of a former plan go."""
        with self._transaction():
            insert_trials(self._db, trials)
            self._add_warnings(warnings)
            self._set_facts({"done:plan": "yes"})

    def add_block(self, condition: NetworkCondition, block: Block) -> None:
        """Store one finished block: all of its samples, or none where this is interrupted.

        Args:
            condition: The network that the block ran under.
            block: Its samples' trials are strategy ids of the plan.

        Raises:
            sqlite3.IntegrityError: the block is already there, or a trial is not in the plan.
            DiskFull: no space is left; the store stays usable.
        """
        with self._transaction():
            insert_block(self._db, condition, block)

    def blocks(self, condition: NetworkCondition) -> tuple[Block, ...]:
        """The blocks of ``condition`` that are already here, in order, samples in order of time."""
        return load_blocks(self._db, condition)

    def set_outcome(self, number: int, plan: MeasurePlan, outcome: MeasureOutcome) -> None:
        """Store by which plan condition ``number`` was measured, and why that stopped."""
        self.set_facts({outcome_key(number): dump_outcome(plan, outcome)})

    # What decides which trials are measured

    def add_profile_block(self, block: Block) -> None:
        """Store one finished block of the profile: all of its samples, or none."""
        with self._transaction():
            insert_profile_block(self._db, block)

    def profile_blocks(self) -> tuple[Block, ...]:
        """The blocks of the profile that are already here, in order."""
        return load_profile_blocks(self._db)

    def set_segment_costs(self, costs: Mapping[str, SegmentCosts]) -> None:
        """Store what is expected of strategies, by their ids."""
        with self._transaction():
            insert_segment_costs(self._db, costs)

    def add_round(self, condition: NetworkCondition, one: Round) -> None:
        """Store what is to be measured next under ``condition``."""
        with self._transaction():
            insert_round(self._db, condition, one)

    def set_predictions(
        self, predictions: Iterable[tuple[Strategy, NetworkCondition, tuple[float, float, float]]]
    ) -> None:
        """Store ``(low, median, high)`` of trials; those that were pending are predicted now."""
        with self._transaction():
            update_predictions(self._db, predictions)

    def finish_trial(
        self,
        strategy: Strategy,
        condition: NetworkCondition,
        state: TrialState,
        *,
        reason: str = "",
    ) -> None:
        """Store what became of a trial."""
        with self._transaction():
            self._db.execute(
                "UPDATE trials SET state = ?, reason = ? WHERE strategy = ? AND "
                "condition = (SELECT number FROM conditions WHERE shapes = ?)",
                (state.value, reason, strategy.id, dump_condition(condition)),
            )

    def set_memory(self, strategy: Strategy, memory_bytes: Mapping[str, int]) -> None:
        """Store what each tier needs for ``strategy``; the same under every condition."""
        with self._transaction():
            self._db.execute(
                "UPDATE trials SET memory_bytes = ? WHERE strategy = ?",
                (dump(dict(memory_bytes)), strategy.id),
            )

    def set_cold_start(self, strategy: Strategy, cold: ColdStart) -> None:
        """Store how ``strategy`` starts; the same under every condition."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO cold_starts VALUES (?, ?)",
                (strategy.id, dump_cold_start(cold)),
            )

    def cold_started(self) -> frozenset[str]:
        """Ids of the strategies whose cold start is here."""
        return frozenset(row[0] for row in self._db.execute("SELECT strategy FROM cold_starts"))

    def add_probes(self, probes: Sequence[ProbeFigure]) -> None:
        """Store what tiers and links achieved; the newest figure of a kind takes the place."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?, ?)",
                [(p.subject, p.quantity, p.asked, p.achieved, p.backend) for p in probes],
            )

    def set_warnings(self, kinds: Iterable[WarningKind], warnings: Iterable[ResultWarning]) -> None:
        """Replace all warnings of ``kinds`` by ``warnings``."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM warnings WHERE kind = ?", [(kind.value,) for kind in kinds]
            )
            self._add_warnings(warnings)

    def results(self) -> StudyResults:
        """Everything that is here by now."""
        return results_of(self._db, self.folder)

    # Private

    def _set_facts(self, facts: Mapping[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))

    def _add_warnings(self, warnings: Iterable[ResultWarning]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO warnings VALUES (?, ?, ?, ?)",
            [(w.kind.value, w.subject, w.evidence, w.advice) for w in warnings],
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with writing_database(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
