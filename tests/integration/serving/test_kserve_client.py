"""KServe's own client, HTTP and gRPC, against a real agent.

Its dependencies exclude ours (protobuf), so it runs in an environment of its own.
"""

import json
import subprocess

import pytest
from tests.foreign_environment import KSERVE, environment
from tests.integration.serving.conftest import running_agent

pytestmark = pytest.mark.slow
PROGRAM = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, grpc = sys.argv[1:]
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 3, 2, 2)


def request(sent_binary, wanted_binary, name="affine"):
    tensor = InferInput("x", list(X.shape), "FP32")
    tensor.set_data_from_numpy(X, binary_data=sent_binary)
    wanted = RequestedOutput("mid", parameters={"binary_data": wanted_binary})
    return InferRequest(name, [tensor], request_id="17", request_outputs=[wanted])


def check(answer):
    assert answer.id == "17", answer.id
    assert answer.model_name == "affine", answer.model_name
    (output,) = answer.outputs
    assert output.name == "mid", output.name
    np.testing.assert_array_equal(output.as_numpy(), 2 * X + 1)


async def refused(call):
    try:
        await call
    except Exception as error:
        return str(error)
    raise AssertionError("not refused")


async def main():
    told = {}
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await rest.is_server_live(url) is True
    assert await rest.is_server_ready(url) is True
    assert await rest.is_model_ready(url, "affine") is True
    told["rest ready"] = await rest.is_model_ready(url, "nothing")
    for sent in (True, False):
        for wanted in (True, False):
            check(await rest.infer(url, request(sent, wanted), model_name="affine"))
    told["rest"] = await refused(rest.infer(url, request(True, True), model_name="nothing"))
    remote = InferenceGRPCClient(grpc)
    assert await remote.is_server_live() is True
    assert await remote.is_server_ready() is True
    assert await remote.is_model_ready("affine") is True
    for sent in (True, False):
        check(await remote.infer(request(sent, True)))
    told["grpc"] = await refused(remote.infer(request(True, True, "nothing")))
    await remote.close()
    await rest.close()
    print(json.dumps(told))


asyncio.run(main())
"""


def test_kserve_asks_and_infers_over_http_and_grpc(tmp_path, head_model):
    python = environment("kserve", *KSERVE) / "bin" / "python"
    arguments = ("--model", f"affine={head_model}", "--grpc", "127.0.0.1:0")
    with running_agent(tmp_path, *arguments) as agent:
        done = subprocess.run(
            [str(python), "-c", PROGRAM, agent.url, agent.told["grpc"]],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rest ready"] is False
    assert "404" in told["rest"]
    assert "no model 'nothing'" in told["grpc"]
