"""The tail of a chain in somebody else's server: MLServer and KServe's, from the package index.

Each lives in an environment of its own (``tests/foreign_environment.py``).
"""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.foreign_environment import KSERVE, environment
from tests.integration.serving.conftest import end_process

from tierwise.errors import TierFault
from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import parts

pytestmark = [pytest.mark.slow, pytest.mark.foreign, pytest.mark.xdist_group("mlserver")]
REQUIREMENTS = ("mlserver==1.7.1", "onnxruntime==1.22.1")
RUNTIME = """
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxTail(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        feeds = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        (y,) = self.session.run(["y"], feeds)
        outputs = [NumpyCodec.encode_output("y", y)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""

# KServe's own server listens on every address; here on loopback only.
KSERVE_PROGRAM = """
import sys
import onnxruntime
import uvicorn
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid

configure = uvicorn.Config.__init__
def on_loopback(self, *arguments, **options):
    configure(self, *arguments, **{**options, "host": "127.0.0.1"})
uvicorn.Config.__init__ = on_loopback


class OnnxTail(Model):
    def load(self):
        self.session = onnxruntime.InferenceSession(sys.argv[1])
        self.ready = True
        return True

    async def predict(self, payload, headers=None, response_headers=None):
        feeds = {each.name: each.as_numpy() for each in payload.inputs}
        (y,) = self.session.run(["y"], feeds)
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=BINARY)
        return InferResponse(payload.id or generate_uuid(), self.name, [output])


BINARY = sys.argv[2] == "binary"
model = OnnxTail("tail")
model.load()
ModelServer(http_port=0, enable_grpc=False).start([model])
"""


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory, tail_model) -> Iterator[str]:
    """The address of an MLServer that serves the tail."""
    python = environment("foreign-server", *REQUIREMENTS) / "bin" / "python"
    folder = tmp_path_factory.mktemp("mlserver")
    (folder / "onnx_tail.py").write_text(RUNTIME)
    settings = {
        "host": "127.0.0.1", "http_port": 0, "grpc_port": 0, "metrics_endpoint": None,
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "tail",
        "implementation": "onnx_tail.OnnxTail",
        "parameters": {"uri": str(tail_model)},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    with _listening([str(python), "-m", "mlserver.cli.main", "start", str(folder)], folder) as url:
        yield url


@pytest.fixture(scope="module", params=["JSON", "binary"])
def kserve(request, tmp_path_factory, tail_model) -> Iterator[tuple[str, bool]]:
    """The address of a KServe server that serves the tail, and whether it answers in binary."""
    python = environment("kserve", *KSERVE) / "bin" / "python"
    folder = tmp_path_factory.mktemp("kserve")
    program = [str(python), "-c", KSERVE_PROGRAM, str(tail_model), request.param]
    with _listening(program, folder) as url:
        yield url, request.param == "binary"


@contextmanager
def _listening(command: list[str], folder: Path) -> Iterator[str]:
    """Run a server until the block ends; gives the address that uvicorn says."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    )
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"Uvicorn running on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail(f"The server ended: {''.join(said)}")
        rest = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
        rest.start()
        yield found[1]
    finally:
        end_process(process)
    rest.join(10)
    process.stdout.close()


def _load(mobile, head_model, url: str, **hop) -> None:
    following = NextHop(url=url, model="tail", tier="edge", tierwise=False, **hop)
    with mobile.client() as client:
        client.load(
            StageSpec(name="abroad", artifact=client.put_artifact(head_model), next=following)
        )


X = np.linspace(-2, 2, 3 * 5 * 7, dtype=np.float32).reshape(1, 3, 5, 7)


def test_the_tail_runs_in_mlserver(mobile, mlserver, head_model):
    _load(mobile, head_model, mlserver)
    with mobile.client() as client:
        for _ in range(3):
            reply = client.infer("abroad", {"x": X})
            np.testing.assert_allclose(reply.outputs["y"], 10 * (2 * X + 1) - 3, rtol=1e-5)
    assert [(hop.tier, hop.server_s is None) for hop in reply.hops] == [
        ("mobile", False),
        ("edge", True),
    ]
    found = parts(reply, ("mobile", "edge"))
    assert sum(found.values()) == pytest.approx(reply.total_s, abs=1e-12)
    assert found["unknown@edge"] > 0


def test_the_tail_runs_in_kserve(mobile, kserve, head_model):
    url, binary = kserve
    _load(mobile, head_model, url, binary=binary)
    with mobile.client() as client:
        for _ in range(3):
            reply = client.infer("abroad", {"x": X})
            np.testing.assert_allclose(reply.outputs["y"], 10 * (2 * X + 1) - 3, rtol=1e-5)
    assert [hop.server_s is None for hop in reply.hops] == [False, True]
    assert parts(reply, ("mobile", "edge"))["unknown@edge"] > 0


def test_binary_tensors_that_the_server_does_not_take_are_a_named_failure(
    mobile, mlserver, head_model
):
    _load(mobile, head_model, mlserver, binary=True)
    with mobile.client() as client, pytest.raises(TierFault, match=r"edge answered (4\d\d|500)"):
        client.infer("abroad", {"x": X})


def test_what_json_cannot_carry_is_refused(mobile, mlserver, head_model):
    _load(mobile, head_model, mlserver)
    with mobile.client() as client, pytest.raises(TierFault, match=r"400.*NaN or infinity"):
        client.infer("abroad", {"x": np.full((1, 3, 1, 1), np.nan, np.float32)})
