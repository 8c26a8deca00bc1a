"""gRPC, spoken by Triton's own client."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.integration.serving.conftest import running_agent

from tierwise.serving.stage import NextHop, StageSpec
from tierwise.serving.timing import TIMING

grpc = pytest.importorskip("tritonclient.grpc", reason="pip install 'tierwise[dev]'")
pytestmark = pytest.mark.xdist_group("serving")
X = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)


@pytest.fixture(scope="module")
def agent(tmp_path_factory, head_model):
    folder = tmp_path_factory.mktemp("remote-calls")
    arguments = ("--model", f"affine={head_model}", "--grpc", "127.0.0.1:0")
    with running_agent(folder, *arguments) as running:
        yield running


@pytest.fixture
def triton(agent):
    with grpc.InferenceServerClient(agent.told["grpc"]) as client:
        yield client


def _input(array, name="x"):
    tensor = grpc.InferInput(name, list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    return tensor


def test_health_metadata_and_configuration(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("affine")
    assert not triton.is_model_ready("nothing")
    server = triton.get_server_metadata()
    assert server.name == "tierwise"
    assert "statistics" in server.extensions
    metadata = triton.get_model_metadata("affine", "1", as_json=True)
    assert metadata["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": ["1", "3", "-1", "-1"]}
    ]
    config = triton.get_model_config("affine").config
    assert config.max_batch_size == 0
    assert config.input[0].data_type == 11
    assert list(config.output[0].dims) == [1, 3, -1, -1]


def test_inference_large_and_small(triton):
    for array in (X, np.ones((1, 3, 1500, 1500), np.float32)):
        result = triton.infer("affine", [_input(array)], request_id="17")
        np.testing.assert_array_equal(result.as_numpy("mid"), 2 * array + 1)
        assert result.get_response().id == "17"
    wanted = [grpc.InferRequestedOutput("mid")]
    result = triton.infer("affine", [_input(X)], outputs=wanted)
    np.testing.assert_array_equal(result.as_numpy("mid"), 2 * X + 1)


def test_errors_have_their_code_and_reason(triton):
    with pytest.raises(grpc.InferenceServerException, match="no model 'nothing'") as caught:
        triton.infer("nothing", [_input(X)])
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(grpc.InferenceServerException, match="the model takes") as caught:
        triton.infer("affine", [_input(X[:, :2])])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_statistics_are_those_of_http_too(triton, agent):
    def count():
        (entry,) = triton.get_inference_statistics("affine").model_stats
        assert entry.inference_stats.success.count == entry.inference_count
        return entry.inference_count

    before = count()
    triton.infer("affine", [_input(X)])
    with agent.client() as client:
        client.infer("affine", {"x": X})
    assert count() == before + 2


def test_a_chain_that_begins_with_grpc(triton, agent, edge, head_model, tail_model):
    with edge.client() as client:
        client.load(StageSpec(name="tail", artifact=client.put_artifact(tail_model)))
    with agent.client() as client:
        sha256 = client.put_artifact(head_model)
    hop = NextHop(url=edge.url, model="tail", tier="edge")
    stage = StageSpec(name="head", artifact=sha256, next=hop)
    triton.load_model("head", config=stage.to_json())
    assert "head" in {model.name for model in triton.get_model_repository_index().models}
    result = triton.infer("head", [_input(X)])
    np.testing.assert_allclose(result.as_numpy("y"), 10 * (2 * X + 1) - 3, rtol=1e-6)
    assert not result.get_response().parameters
    timed = triton.infer("head", [_input(X)], parameters={TIMING: True}).get_response()
    accounts = json.loads(timed.parameters[TIMING].string_param)
    assert [account["tier"] for account in accounts] == ["edge", "edge"]
    triton.unload_model("head")
    assert not triton.is_model_ready("head")
    with pytest.raises(grpc.InferenceServerException, match="'config' is not a stage"):
        triton.load_model("head", config="{}")


def test_a_token_is_asked_for(start_agent, head_model, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123")
    agent = start_agent(
        "--model", f"m={head_model}", "--grpc", "127.0.0.1:0", "--token-file", str(token)
    )
    with grpc.InferenceServerClient(agent.told["grpc"]) as client:
        assert client.is_server_live()
        with pytest.raises(grpc.InferenceServerException, match="token") as caught:
            client.infer("m", [_input(X)])
        assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
        for call in (
            client.get_server_metadata,
            client.get_model_repository_index,
            lambda: client.get_model_metadata("m"),
            lambda: client.get_model_config("m"),
            lambda: client.get_inference_statistics("m"),
            lambda: client.is_model_ready("m"),
            lambda: client.load_model("m"),
            lambda: client.unload_model("m"),
        ):
            with pytest.raises(grpc.InferenceServerException, match="token") as caught:
                call()
            assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
        headers = {"authorization": "Bearer 0123456789abcdef0123"}
        assert client.is_model_ready("m", headers=headers)
        result = client.infer("m", [_input(X)], headers=headers)
        np.testing.assert_array_equal(result.as_numpy("mid"), 2 * X + 1)


def test_without_grpcio_the_extra_is_named(tmp_path):
    # An import that fails, as it does where the package isn't installed.
    program = (
        "import sys; sys.modules['grpc'] = None\n"
        "from tierwise.cli.app import main\n"
        f"sys.argv = ['tierwise', 'serve', '--listen', '127.0.0.1:0', '--cache', {str(tmp_path)!r},"
        " '--grpc', '127.0.0.1:0']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert "pip install 'tierwise[grpc]'" in done.stderr
