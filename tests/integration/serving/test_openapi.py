"""Schemathesis, over the OpenAPI description that an agent gives of itself.

Its pytest plugin would come into every test of ours, so it runs in an environment of its own.
"""

import subprocess

import pytest
from tests.foreign_environment import environment
from tests.integration.serving.conftest import running_agent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("schemathesis")]
TOKEN = "0123456789abcdef0123"
# What the schema allows and the agent must refuse all the same, because no schema can say it:
# tensors that aren't the model's, a stage that isn't one, bytes without the hash in their path.
CONFIG = """
seed = 0
[parameters]
"path.model" = "affine"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404"]
[[operations]]
include-path = ["/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer",
    "/v2/repository/models/{model}/load", "/tierwise/v1/artifacts/{sha256}"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "413"]
[[operations]]
include-path = "/v2/repository/models/{model}/unload"
parameters = { "path.model" = "gone" }
"""


def test_the_agent_does_what_its_openapi_says(tmp_path, head_model):
    program = environment("schemathesis", "schemathesis==4.32.5") / "bin" / "schemathesis"
    token, config = tmp_path / "token", tmp_path / "schemathesis.toml"
    token.write_text(TOKEN)
    config.write_text(CONFIG)
    arguments = ("--model", f"affine={head_model}", "--token-file", str(token))
    with running_agent(tmp_path, *arguments) as agent:
        done = subprocess.run(
            [program, "--config-file", str(config), "run", f"{agent.url}/openapi.json",
             "-H", f"Authorization: Bearer {TOKEN}", "--max-examples", "40",
             "--request-timeout", "5", "--no-color"],
            capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Operations:       20 selected / 20 total" in done.stdout
        with agent.client(token=TOKEN) as client:
            assert [entry["name"] for entry in client.index()] == ["affine"]
        assert not any("Traceback" in line for line in agent.errors)
