"""Sessions within a budget of memory: real sessions, memory as the test tells it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tierwise.runtime.session import SessionOptions
from tierwise.serving.warm_sessions import WarmSessions, own_limit_bytes, resident_bytes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


class Held:
    """Says that every open session holds 100 bytes."""

    def __init__(self) -> None:
        self.sessions: WarmSessions | None = None

    def __call__(self) -> int:
        return 100 * self.sessions.open_count


def _sessions(model: Path, room_for: int) -> WarmSessions:
    held = Held()
    needed = 2 * model.stat().st_size
    # The limit leaves a tenth; opening one more must fit beside those that stay.
    held.sessions = WarmSessions(int((100 * (room_for - 1) + needed) / 0.9) + 2, held)
    return held.sessions


def test_the_least_recently_used_idle_session_makes_room(model):
    sessions = _sessions(model, room_for=2)
    first, second = (sessions.open(model, SessionOptions()) for _ in range(2))
    first.take()
    first.give_back()
    third = sessions.open(model, SessionOptions())
    assert [warm.session is not None for warm in (first, second, third)] == [True, False, True]
    assert (second.statistics.unloaded, second.statistics.reloaded) == (1, 0)


def test_a_closed_session_is_opened_again_when_it_is_asked_for(model):
    sessions = _sessions(model, room_for=1)
    first = sessions.open(model, SessionOptions())
    second = sessions.open(model, SessionOptions())
    assert first.session is None
    outputs = first.take().run({"x": np.ones(1, np.float32)})
    first.give_back()
    assert outputs["y"].tolist() == [1]
    assert (first.statistics.reloaded, second.statistics.unloaded) == (1, 1)


def test_a_session_that_runs_is_not_closed(model):
    sessions = _sessions(model, room_for=1)
    first = sessions.open(model, SessionOptions())
    first.take()
    second = sessions.open(model, SessionOptions())
    assert first.session is not None
    assert second.session is not None
    first.give_back()


def test_without_a_budget_nothing_is_closed(model):
    sessions = WarmSessions(None)
    opened = [sessions.open(model, SessionOptions()) for _ in range(5)]
    assert sessions.open_count == 5
    sessions.forget(opened[0])
    assert sessions.open_count == 4


def test_the_process_knows_what_it_holds():
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    assert 10e6 < resident_bytes() < 100e9


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "64", "memory.max": "99"}, 64),
        ("0::/gone\n", {"memory.max": "1234"}, 1234),
        ("3:cpu,memory:/t\n", {"memory/t/memory.limit_in_bytes": "777"}, 777),
        ("3:memory:/t\n", {"memory/t/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("5:cpu:/t\n", {}, None),
    ],
)  # fmt: skip
def test_the_least_limit_of_the_own_control_groups_counts(tmp_path, groups, files, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    listed = tmp_path / "groups"
    listed.write_text(groups)
    assert own_limit_bytes(listed, tmp_path) == limit
