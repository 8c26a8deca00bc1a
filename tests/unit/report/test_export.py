import csv
import sys
from dataclasses import replace

import numpy as np
import pytest

from tierwise.errors import MissingExtra, UserError
from tierwise.operators.strategy import Operator
from tierwise.report.export import export
from tierwise.testing.results import made_up_results

RESULTS = made_up_results(blocks=7, operators=(Operator.I, Operator.P), does_not_fit=["mobile/I"])


def test_every_sample_is_exported_with_a_breakdown_that_adds_up(tmp_path):
    samples, trials, blocks, scores = export(RESULTS, tmp_path / "out")
    with samples.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 7
    for row in rows:
        parts = [
            float(value) for name, value in row.items() if "@" in name and value
        ]  # fmt: skip
        assert sum(parts) == pytest.approx(float(row["latency_s"]))
    measured = next(t for t in RESULTS.trials if t.strategy.id == "edge/I")
    exported = [float(row["latency_s"]) for row in rows if row["strategy"] == "edge/I"]
    assert np.array_equal(exported, measured.latency_s)
    with trials.open() as file:
        states = {row["strategy"]: row["state"] for row in csv.DictReader(file)}
    assert states["mobile/I"] == "does not fit"
    assert len(scores.read_text().splitlines()) == 1 + 360
    with blocks.open() as file:
        told = list(csv.DictReader(file))
    assert len(told) == 7
    assert {row["disturbed"] for row in told} == {""}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "samples.csv", "trials.csv", "blocks.csv", "scores.csv",
    }  # fmt: skip


def test_disturbed_blocks_are_exported_with_the_reason(tmp_path):
    *_, blocks, _ = export(made_up_results(blocks=20), tmp_path)
    with blocks.open() as file:
        told = {row["block"]: row["disturbed"] for row in csv.DictReader(file)}
    why = "5.0% of CPU time was stolen by other virtual machines"
    assert {number: reason for number, reason in told.items() if reason} == {"9": why, "19": why}


def told_late(results):
    """As if requests had been due at set moments, and one in block 3 had been sent late."""
    condition, measured = next(iter(results.measured.items()))
    blocks = tuple(replace(one, late=int(one.number == 3)) for one in measured.blocks)
    return replace(results, measured={condition: replace(measured, blocks=blocks)})


def test_every_figure_of_a_result_is_in_its_tables(tmp_path):
    results = told_late(made_up_results(blocks=20))
    paths = export(results, tmp_path)
    rows = {}
    for path in paths:
        with path.open() as file:
            rows[path.stem] = list(csv.DictReader(file))
    trial = next(t for t in results.trials if t.strategy.cuts)
    own = [row for row in rows["samples"] if row["strategy"] == trial.strategy.id]
    assert np.array_equal([float(row["energy_j"]) for row in own], trial.energy_j)
    assert [int(row["block"]) for row in own] == trial.block.tolist()
    assert [int(row["input_index"]) for row in own] == trial.input_index.tolist()
    (told,) = (row for row in rows["trials"] if row["strategy"] == trial.strategy.id)
    for tier, size in trial.memory_bytes.items():
        assert int(told[f"memory_bytes@{tier}"]) == size
    for link, size in trial.wire_bytes.items():
        assert int(told[f"wire_bytes@{link}"]) == size
    for tier in trial.cold_start.load_s:
        assert float(told[f"cold_load_s@{tier}"]) == trial.cold_start.tier_s(tier)[0]
    assert float(told["cold_first_request_s"]) == trial.cold_start.first_s
    (measured,) = results.measured.values()
    assert [float(row["steal"]) for row in rows["blocks"]] == [
        block.machine.steal for block in measured.blocks
    ]
    assert [int(row["late"]) for row in rows["blocks"]] == [0, 0, 0, 1] + [0] * 16
    assert {int(row["requests"]) for row in rows["blocks"]} == {len(results.trials)}


def test_parquet_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tierwise\[parquet\]'"):
        export(RESULTS, tmp_path, "parquet")
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_what_the_csv_holds(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'parquet' is not installed")
    samples, *_ = export(RESULTS, tmp_path, "parquet")
    table = parquet.read_table(samples)
    assert table.num_rows == 5 * 7
    latencies = np.concatenate([t.latency_s for t in RESULTS.trials])
    assert np.array_equal(table["latency_s"].to_numpy(), latencies)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no export to 'xlsx'.*csv, parquet"):
        export(RESULTS, tmp_path, "xlsx")
