import contextlib
import json
import subprocess
import sys

import numpy as np
import pytest

from tierwise.deploy.write import write_deployment
from tierwise.recommend.verdict import recommend
from tierwise.runtime.session import SessionOptions, open_session
from tierwise.serving.client import AgentClient

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def serving(folder, tier, token):
    """The agent of a tier, started as the deployment's README says, on a free port."""
    command = [
        sys.executable, "-m", "tierwise", "serve", "--tier", tier, "--listen", "127.0.0.1:0",
        "--token-file", str(token), "--cache", str(folder / tier / "segments"),
        "--stage", str(folder / tier / "stage.json"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())["listening"]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_a_deployment_started_from_its_files_answers_as_the_whole_model(
    deployable, tmp_path, monkeypatch, capsys
):
    results, artefacts, cut = deployable
    answer = recommend(results)
    token = tmp_path / "token"
    token.write_text("a-token-of-the-test-with-32-chars")
    strategy = f"edge-cloud/P@{cut}"

    def written(name, url):
        folder = tmp_path / name
        write_deployment(
            answer, artefacts, folder, to="files", strategy_id=strategy, urls={"cloud": url}
        )
        return folder

    # The far tier's files do not depend on its address, which is known when it runs.
    with serving(written("far", "http://127.0.0.1:1"), "cloud", token) as cloud:
        folder = written("near", cloud)
        with serving(folder, "edge", token) as edge:
            whole = artefacts.path(results.variants["I"].sha256)
            session = open_session(whole, SessionOptions())
            (port,) = session.inputs
            shape = [size or 1 for size in port.shape]
            x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
            client = AgentClient(edge, token=token.read_text())
            reply = client.infer(strategy.replace("/", "~"), {port.name: x})
            client.close()
            for name, expected in session.run({port.name: x}).items():
                np.testing.assert_allclose(reply.outputs[name], expected, rtol=1e-4, atol=1e-5)
            assert [hop.tier for hop in reply.hops] == ["edge", "cloud"]
            monkeypatch.chdir(tmp_path)
            np.savez("inputs.npz", **{port.name: x})
            _, _, program = (folder / "README.md").read_text().partition("```python\n")
            exec(program.partition("```")[0].replace("http://HOST:8080", edge))
            assert f"'{next(iter(reply.outputs))}': array(" in capsys.readouterr().out


def test_a_segment_that_was_changed_is_not_served(deployable, tmp_path):
    results, artefacts, _ = deployable
    write_deployment(recommend(results), artefacts, tmp_path / "d", to="files")
    (segment,) = (tmp_path / "d" / "edge" / "segments").iterdir()
    segment.write_bytes(segment.read_bytes() + b"\0")
    command = [
        sys.executable, "-m", "tierwise", "serve", "--listen", "127.0.0.1:0",
        "--cache", str(segment.parent), "--stage", str(tmp_path / "d" / "edge" / "stage.json"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "its content was changed" in " ".join(done.stderr.split())
