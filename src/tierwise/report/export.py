"""A study's raw data as tables for other programs: every sample, trial, block and score."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tierwise.disk import writing
from tierwise.errors import UserError
from tierwise.measure.machine import MachineState
from tierwise.report.export_mlflow import export_mlflow
from tierwise.stats.samples_parquet import open_pyarrow
from tierwise.store.results import StudyResults, TrialResult

_MLFLOW = "mlflow"
Cell = str | int | float | None


@dataclass(frozen=True)
class ExportTable:
    """A table whose rows are made one by one: a study may have millions of samples.

    Attributes:
        name: Of its file.
        columns: Name and type of every column; types are ``str``, ``int`` and ``float``.
        rows: Makes the rows; ``None`` where a sample has no such part.
    """

    name: str
    columns: Mapping[str, type]
    rows: Callable[[], Iterable[Sequence[Cell]]]


def export(results: StudyResults, out: Path, to: str = "csv") -> tuple[Path, ...]:
    """Write samples, trials, blocks and scores into the directory ``out``, or log to MLflow.

    Args:
        results: Of the study.
        out: Made where it is missing.
        to: ``"csv"``, ``"parquet"`` (extra ``parquet``) or ``"mlflow"`` (extra ``mlflow``; see
            :func:`~tierwise.report.export_mlflow.export_mlflow`).

    Returns:
        The files written.

    Raises:
        UserError: The format is not known.
        MissingExtra: ``pyarrow`` or MLflow is not installed.
        DiskFull: No space is left; no half-written file stays.
    """
    if to == _MLFLOW:
        return export_mlflow(results, out)
    if to not in _WRITERS:
        raise UserError(
            f"There is no export to {to!r}.",
            hint=f"Choose --to {', '.join([*_WRITERS, _MLFLOW])}.",
            format=to,
        )
    write = _WRITERS[to]
    written = []
    for table in export_tables(results):
        target = out / f"{table.name}.{to}"
        with writing(target):
            out.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.part")
            try:
                write(table, partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
        written.append(target)
    return tuple(written)


def export_tables(results: StudyResults) -> tuple[ExportTable, ...]:
    """The tables, rows not made yet."""
    parts = sorted({part for trial in results.trials for part in trial.parts_s})
    tiers = results.topology.names
    links = [link.name for link in results.topology.links]
    identity: dict[str, type] = {
        "condition": str, "strategy": str, "operator": str, "variant": str, "tiers": str,
    }  # fmt: skip
    samples = {"block": int, "input_index": int, "latency_s": float}
    return (
        ExportTable(
            "samples",
            identity | samples | {"energy_j": float} | {f"{part}_s": float for part in parts},
            lambda: _samples(results.trials, parts),
        ),
        ExportTable(
            "trials",
            identity
            | {"cuts": str, "encoding": str, "state": str, "reason": str, "n": int}
            | {"predicted_low_s": float, "predicted_s": float, "predicted_high_s": float}
            | {"cold_start_s": float, "cold_first_request_s": float, "cold_second_request_s": float}
            | {f"cold_load_s@{tier}": float for tier in tiers}
            | {f"memory_bytes@{tier}": int for tier in tiers}
            | {f"wire_bytes@{link}": int for link in links},
            lambda: (_trial(trial, tiers, links) for trial in results.trials),
        ),
        ExportTable(
            "blocks",
            {"condition": str, "block": int, "input_index": int, "requests": int, "late": int}
            | {"failures": int, "duration_s": float, "steal": float, "load": float}
            | {"frequency_hz": float, "throttled": int, "energy_j": float, "disturbed": str},
            lambda: _blocks(results),
        ),
        ExportTable(
            "scores",
            {"variant": str, "metric": str, "input": int, "score": float},
            lambda: _scores(results),
        ),
    )


def _identity(trial: TrialResult) -> list[Cell]:
    strategy = trial.strategy
    return [
        trial.condition.id,
        strategy.id,
        strategy.operator.value,
        strategy.variant,
        strategy.placement,
    ]


def _samples(trials: Sequence[TrialResult], parts: Sequence[str]) -> Iterator[Sequence[Cell]]:
    for trial in trials:
        identity = _identity(trial)
        own = [trial.parts_s.get(part) for part in parts]
        for at in range(len(trial.latency_s)):
            yield [
                *identity,
                int(trial.block[at]),
                int(trial.input_index[at]),
                float(trial.latency_s[at]),
                float(trial.energy_j[at]) if trial.energy_j.size else None,
                *(None if seconds is None else float(seconds[at]) for seconds in own),
            ]


def _trial(trial: TrialResult, tiers: Sequence[str], links: Sequence[str]) -> Sequence[Cell]:
    predicted = trial.predicted_s or (None, None, None)
    cuts = " ".join(trial.strategy.cuts)
    cold = trial.cold_start
    loads = {} if cold is None else {tier: cold.tier_s(tier)[0] for tier in cold.load_s}
    return [
        *_identity(trial), cuts, trial.strategy.encoding, trial.state.value, trial.reason,
        len(trial.latency_s), *predicted,
        *((None,) * 3 if cold is None else (cold.total_s, cold.first_s, cold.second_s)),
        *(loads.get(tier) for tier in tiers),
        *(trial.memory_bytes.get(tier) for tier in tiers),
        *(trial.wire_bytes.get(link) for link in links),
    ]  # fmt: skip


def _blocks(results: StudyResults) -> Iterator[Sequence[Cell]]:
    """The machine's condition; ``disturbed`` says why a block should not be trusted, or nothing."""
    for condition, measured in results.measured.items():
        for block in measured.blocks:
            machine = block.machine or MachineState()
            yield [
                condition.id, block.number, block.input_index, block.requests, block.late,
                block.failures, block.duration_s, machine.steal, machine.load,
                machine.frequency_hz, machine.throttled, machine.energy_j,
                "; ".join(block.disturbances),
            ]  # fmt: skip


def _scores(results: StudyResults) -> Iterator[Sequence[Cell]]:
    for variant, figure in results.quality.items():
        for index, score in enumerate(figure.per_input.tolist()):
            yield [variant, figure.metric, index, score]


def _write_csv(table: ExportTable, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows())


def _write_parquet(table: ExportTable, path: Path) -> None:
    arrow, parquet = open_pyarrow()
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, kind in table.columns.items()])
    with parquet.ParquetWriter(path, schema) as writer:
        for chunk in _chunks(table.rows()):
            columns = [
                arrow.array(column, schema.field(at).type)
                for at, column in enumerate(zip(*chunk, strict=True))
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


# heuristic: rows of a Parquet row group, which are in memory at once.
_CHUNK_ROWS = 65_536


def _chunks(rows: Iterable[Sequence[Cell]]) -> Iterator[list[Sequence[Cell]]]:
    chunk: list[Sequence[Cell]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_WRITERS: Mapping[str, Callable[[ExportTable, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
}
