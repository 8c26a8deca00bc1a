"""The clients that other people use, against a real agent."""

import asyncio

import numpy as np
import pytest

from tierwise.serving.stage import StageSpec

http = pytest.importorskip("tritonclient.http", reason="pip install 'tierwise[dev]'")
aio = pytest.importorskip("tritonclient.http.aio", reason="pip install 'tierwise[dev]'")

pytestmark = pytest.mark.xdist_group("serving")
X = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)


@pytest.fixture
def triton(edge):
    client = http.InferenceServerClient(edge.url.removeprefix("http://"))
    yield client
    client.close()


def _input(module, array, *, binary=True):
    tensor = module.InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def test_health_and_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("affine")
    assert not triton.is_model_ready("nothing")
    assert triton.get_server_metadata()["name"] == "tierwise"
    metadata = triton.get_model_metadata("affine", "1")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 3, -1, -1]}]
    assert metadata["outputs"] == [{"name": "mid", "datatype": "FP32", "shape": [1, 3, -1, -1]}]
    config = triton.get_model_config("affine")
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert config["max_batch_size"] == 0


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("wanted_binary", [True, False])
def test_inference_in_binary_and_json(triton, sent_binary, wanted_binary):
    result = triton.infer(
        "affine",
        [_input(http, X, binary=sent_binary)],
        outputs=[http.InferRequestedOutput("mid", binary_data=wanted_binary)],
        request_id="17",
    )
    np.testing.assert_array_equal(result.as_numpy("mid"), 2 * X + 1)
    assert result.get_response()["id"] == "17"


def test_outputs_that_are_not_named_come_all(triton):
    result = triton.infer("affine", [_input(http, X)])
    np.testing.assert_array_equal(result.as_numpy("mid"), 2 * X + 1)


def test_asynchronous_requests_over_several_connections(edge):
    client = http.InferenceServerClient(edge.url.removeprefix("http://"), concurrency=4)
    pending = [client.async_infer("affine", [_input(http, X + i)]) for i in range(20)]
    for i, request in enumerate(pending):
        np.testing.assert_array_equal(request.get_result().as_numpy("mid"), 2 * (X + i) + 1)
    client.close()


def test_errors_have_their_reason(triton):
    with pytest.raises(http.InferenceServerException, match="There is no model 'nothing'"):
        triton.infer("nothing", [_input(http, X)])
    with pytest.raises(http.InferenceServerException, match=r"the model takes \[1, 3, -1, -1\]"):
        triton.infer("affine", [_input(http, X[:, :2])])


def test_statistics_count_requests(triton):
    def count():
        statistics = triton.get_inference_statistics("affine")["model_stats"][0]
        assert (
            statistics["inference_stats"]["compute_infer"]["count"]
            == (statistics["inference_count"])
        )
        return statistics["inference_count"]

    before = count()
    triton.infer("affine", [_input(http, X)])
    assert count() == before + 1


def test_load_index_unload(triton, edge, head_model):
    with edge.client() as client:
        sha256 = client.put_artifact(head_model)
    triton.load_model("other", config=StageSpec(name="other", artifact=sha256).to_json())
    assert "other" in {entry["name"] for entry in triton.get_model_repository_index()}
    triton.unload_model("other")
    assert not triton.is_model_ready("other")


def test_the_aio_client(edge):
    async def main():
        client = aio.InferenceServerClient(edge.url.removeprefix("http://"))
        try:
            assert await client.is_server_ready()
            results = await asyncio.gather(
                *(client.infer("affine", [_input(aio, X + i)]) for i in range(10))
            )
            for i, result in enumerate(results):
                np.testing.assert_array_equal(result.as_numpy("mid"), 2 * (X + i) + 1)
        finally:
            await client.close()

    asyncio.run(main())
