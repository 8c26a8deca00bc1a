"""What was made ready for a request before it came, and then another one comes."""

import socket

import numpy as np
import pytest

from tierwise.serving.agent import AgentOptions, _application
from tierwise.serving.decoding import decode_outputs
from tierwise.serving.encoding import encode_request
from tierwise.serving.http_head import HEADER_LENGTH, HttpRequest, HttpResponse, json_length
from tierwise.serving.messages import WireTensor

TALL, WIDE = np.ones((1, 3, 8, 2), np.float32), np.zeros((1, 3, 2, 8), np.float32)


@pytest.fixture
def application(tmp_path, head_model):
    application = _application(
        AgentOptions("edge", cache=tmp_path / "cache", models={"affine": head_model})
    )
    yield application
    application.close(timeout_s=5.0)


def body_of(array: np.ndarray) -> tuple[bytes, dict[str, str]]:
    buffers, headers = encode_request([WireTensor("x", array)])
    return b"".join(map(bytes, buffers)), {name.lower(): value for name, value in headers}


def ask(application, expected: np.ndarray, came: np.ndarray, between=lambda: None) -> HttpResponse:
    """Make ready for one body, and let another come."""
    thought, headers = body_of(expected)
    body, _ = body_of(came)
    assert len(body) == len(thought)
    room = memoryview(bytearray(len(body)))
    room[:] = thought
    request = HttpRequest("POST", "/v2/models/affine/infer", headers, room, present=len(room))
    near, far = socket.socketpair()
    with near, far:
        answer = application.expect(request, near)
        between()
        request.body[:] = body
        return answer()


def outputs(response: HttpResponse) -> np.ndarray:
    assert response.status == 200, bytes(response.body[0])
    body = b"".join(map(bytes, response.body))
    length = json_length({HEADER_LENGTH: response.headers["Inference-Header-Content-Length"]})
    return decode_outputs(body, length)[0].outputs[0].array


def test_the_data_that_came_is_what_is_computed(application):
    np.testing.assert_array_equal(outputs(ask(application, TALL, 5 * TALL)), 11 * TALL)


def test_another_shape_of_the_same_size_is_read_anew(application):
    np.testing.assert_array_equal(outputs(ask(application, TALL, WIDE)), 2 * WIDE + 1)


def test_a_model_that_was_loaded_meanwhile_is_the_one_that_answers(application, tail_model):
    repository = application.service.repository

    def replace() -> None:
        repository.unload("affine")
        repository.load_file("affine", tail_model, ("CPUExecutionProvider",))

    response = ask(application, TALL, TALL, replace)
    assert response.status == 400  # it takes `mid`, not `x`
    assert b"its inputs: mid" in bytes(response.body[0])


def test_a_model_that_was_unloaded_meanwhile_is_not_found(application):
    response = ask(application, TALL, TALL, lambda: application.service.unload("affine"))
    assert response.status == 404
