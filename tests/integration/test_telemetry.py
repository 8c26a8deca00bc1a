"""What the libraries that Tierwise stands on would tell others stays here."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SCRIPT = """
import sys
from pathlib import Path
from tierwise.runtime.session import open_session
open_session(Path(sys.argv[1])).close()
"""


def test_onnx_runtime_reports_no_model(tmp_path: Path):
    """What it is going to send, and who sends it, it would first write into the user's cache."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "secret", [x], [y])
    model = tmp_path / "secret.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), model)
    home = tmp_path / "home"
    home.mkdir()
    # None of the test's own variables: on a CI service ONNX Runtime reports nothing anyway.
    subprocess.run(
        [sys.executable, "-c", SCRIPT, model],
        env={"PATH": os.defpath, "HOME": str(home)},
        check=True,
        timeout=60,
    )
    assert not [path for path in home.rglob("*") if path.is_file()]
