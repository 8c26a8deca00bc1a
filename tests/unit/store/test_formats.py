"""A database of every format that was ever written must stay readable, and can be continued."""

import shutil
from pathlib import Path

import pytest

from tierwise.measure.cold_start import ColdStart
from tierwise.measure.sample import Timing
from tierwise.store.database import FILE_NAME, FORMAT
from tierwise.store.read import read_results
from tierwise.store.results import Chosen, TrialState
from tierwise.store.write import StudyStore

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("format-*.db"))


START = ColdStart({"mobile": (1.0,)}, (Timing(1.0),), (Timing(0.5),))
# The first format that has them.
COLD_STARTS = 2
ENCODINGS = 3
CHOICES = 4


def check(results, version):
    assert results.name == "fixture"
    assert results.topology.names == ("mobile", "cloud")
    assert results.requirement == {"latency": "p50=80ms"}
    assert results.quality["Q"].per_input.tolist() == [1, 0, 1, 1]
    whole, split = results.trials
    assert (whole.strategy.id, split.strategy.id) == ("cloud/I", "mobile-cloud/QP@relu_3")
    assert whole.latency_s.tolist() == [0.5, 0.625]
    assert whole.parts_s["compute@cloud"].tolist() == [0.25, 0.3125]
    assert whole.input_index.tolist() == [3, 4]
    assert whole.memory_bytes == {"cloud": 50_000_000}
    assert (split.state, split.reason) == (TrialState.FAILED, "gave up")
    assert split.wire_bytes == {"mobile-cloud": 1000}
    assert results.probes[0].achieved == 0.49
    if version < COLD_STARTS:
        assert whole.cold_start is None
        assert not whole.energy_j.size
    else:
        assert whole.cold_start.total_s == 0.625
        assert whole.cold_start.tier_s("cloud") == (0.125, 0.375)
        assert whole.energy_j.tolist() == [0.75, 1.75]


def check_boundary(results, version):
    """Older formats knew no encodings, and no quality but that of variants."""
    split = results.trials[1].strategy
    if version < ENCODINGS:
        assert split.encodings == ()
        assert results.quality_of(split) is results.quality["Q"]
    else:
        assert str(split.encodings_at(0)["relu_3"]) == "int8(0.5,3)"
        assert results.quality_of(split).loss == 1.0


def check_choices(results):
    """What decides which trials are measured: from format 4 on."""
    whole, split = results.trials
    assert [t.strategy.id for t in results.profile] == [whole.strategy.id]
    assert results.profile[0].latency_s.tolist() == [0.25]
    assert results.segment_costs[split.strategy.id].compute_shares == (0.25, 0.75)
    assert results.tests(whole.condition) == 8
    assert results.chosen_as(split) is Chosen.CONTENDER
    assert results.chosen_as(whole) is Chosen.BASELINE
    assert whole.predicted_s == (0.25, 0.5, 0.75)


def test_there_is_a_fixture_of_every_format():
    assert [path.stem for path in FIXTURES] == [f"format-{n}" for n in range(1, FORMAT + 1)]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_database_of_any_format_is_read_and_continued(path, tmp_path):
    version = int(path.stem.removeprefix("format-"))
    shutil.copy(path, tmp_path / FILE_NAME)
    check(read_results(tmp_path), version)
    check_boundary(read_results(tmp_path), version)
    if version >= CHOICES:
        check_choices(read_results(tmp_path))
    with StudyStore.open(tmp_path) as store:
        results = store.results()
        check(results, version)
        (condition,) = results.conditions
        blocks = store.blocks(condition)
        assert [block.index for block in blocks] == [0, 1]
        assert blocks[1].failures[0].message == "the agent died"
        assert blocks[1].machine.steal == 0.01
        store.set_cold_start(results.trials[1].strategy, START)
    check(read_results(tmp_path), version)
    assert read_results(tmp_path).trials[1].cold_start == START
