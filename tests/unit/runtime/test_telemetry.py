"""ONNX Runtime keeps to itself what it runs."""

import os
import subprocess
import sys


def test_a_session_leaves_nothing_in_the_home_folder(tmp_path):
    # Where it reports its use, it keeps an identifier of the device and a queue of events there.
    code = (
        "import onnx, tierwise.runtime.session as runtime\n"
        "net = '<ir_version: 8, opset_import: [\"\" : 17]> net (float[1] x) => (float[1] y)'\n"
        "model = onnx.parser.parse_model(net + '{ y = Relu(x) }')\n"
        "runtime.open_session(model.SerializeToString()).close()\n"
    )
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {**os.environ, **own}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(tmp_path.rglob("*"))
