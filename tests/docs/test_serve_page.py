"""The programs of the page about serving run as they are written, against real agents."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tierwise.serving.client import AgentClient

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "serve.md").read_text("utf-8")


def code_with(word):
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if word in c]
    return code


def command_with(word):
    (line,) = [line for line in PAGE.splitlines() if line.startswith("$ ") and word in line]
    return line.removeprefix("$ ").split()[1:]


@contextlib.contextmanager
def served(*words):
    """``tierwise serve`` as the page has it, on a free port; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tierwise", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        yield json.loads(process.stdout.readline())["listening"]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def on_a_free_port(words):
    return [re.sub(r"^127\.0\.0\.1:\d+$", "127.0.0.1:0", word) for word in words]


def test_the_model_that_doubles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # the command leaves the cache where it is
    exec(code_with("double.onnx"), {})
    with served(*on_a_free_port(command_with("double=double.onnx"))) as url, AgentClient(url) as a:
        reply = a.infer("double", {"x": np.array([1, 2, 3], np.float32)})
    assert reply.outputs["y"].tolist() == [2, 4, 6]


@pytest.mark.slow
def test_two_stages_for_programs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for word in ("zoo export", "tierwise partition"):
        subprocess.run([sys.executable, "-m", "tierwise", *command_with(word)], check=True)
    edge, mobile = (on_a_free_port(command_with(f"--cache {t}-files")) for t in ("edge", "mobile"))
    code = code_with("NextHop(")
    with served(*edge) as edge_url, served(*mobile) as mobile_url:
        code = code.replace("http://127.0.0.1:8081", edge_url)
        exec(code.replace("http://127.0.0.1:8080", mobile_url), {})
    said = capsys.readouterr().out
    assert said.startswith("8\n")
    assert "'transfer@mobile-edge'" in said
