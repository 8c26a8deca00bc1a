"""The same study against emulated tiers, real ones, and both: agents that somebody else started."""

import contextlib
import json
import subprocess
import sys

import pytest

from tierwise.errors import TierwiseError
from tierwise.store.read import read_results
from tierwise.store.results import TrialState
from tierwise.study.run import run_study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
TOKEN = "a-token-of-the-clouds-own"
TIERS = """\
tiers:
  mobile: {cpus: 0.5, memory: 1GiB}
  cloud: {cpus: 1.0}
links: {mobile-cloud: {bandwidth: [20Mbit, 100Mbit], rtt: 2ms}}
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Starts agents as a person would on another machine; gives their addresses."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    with contextlib.ExitStack() as stack:

        def start(tier):
            agent = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tierwise", "--quiet", "serve", "--tier", tier,
                     "--listen", "127.0.0.1:0", "--token-file", str(folder / "token"),
                     "--cache", str(folder / f"cache-{tier}")],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )  # fmt: skip
            stack.callback(agent.terminate)
            return json.loads(agent.stdout.readline())["listening"]

        yield {tier: start(tier) for tier in ("mobile", "cloud")}


def on(subject, tiers):
    """The study of ``subject`` on other tiers: all else stays."""
    text = subject.read_text()
    assert TIERS in text
    text = text.replace(TIERS, tiers).replace("[I, Q, E, P, QEP]", "[I, Q, P]")
    text = text.replace("quality:", "  partition: {cut: 0.5, max_loss: 100}\nquality:")
    subject.write_text(text)
    return subject


def check(folder, conditions):
    """I and Q on both tiers, P over both, under every condition: all measured, nothing faulty."""
    results = read_results(folder)
    assert len(results.trials) == conditions * 5
    for trial in results.trials:
        assert trial.state is TrialState.MEASURED, (trial.strategy.id, trial.reason)
        assert trial.block.size == 6
    split = next(trial for trial in results.trials if trial.strategy.cuts)
    assert split.parts_s.keys() >= {"compute@mobile", "compute@cloud", "transfer@mobile-cloud"}
    assert TOKEN not in (folder / "tierwise.db").read_bytes().decode("latin-1")
    return results


def test_with_one_real_tier(subject, tmp_path, real, monkeypatch):
    monkeypatch.setenv("CLOUD_TOKEN", TOKEN)
    tiers = f"""\
tiers:
  mobile: {{cpus: 0.5, memory: 1GiB}}
  cloud: {{url: "{real["cloud"]}", token_env: CLOUD_TOKEN}}
links: {{mobile-cloud: {{}}}}
"""
    run_study(on(subject, tiers), tmp_path / "out")
    results = check(tmp_path / "out", 1)
    environment = results.environment
    assert environment["cpu@cloud"] == environment["memory@cloud"] == "a real machine"
    assert environment["links"] == "user-space relay"
    assert environment["real tiers"] == "cloud"
    assert results.conditions[0].id == "mobile-cloud=real network"
    assert "nodes and encodings" in environment["profiles"]
    # Recipes were timed here for the emulated tier, and on the agent for the real one.
    notes = " ".join(results.variants["Q"].notes)
    assert all(tier in notes for tier in real), notes


def test_with_real_tiers_only(subject, tmp_path, real, monkeypatch):
    monkeypatch.setenv("A_TOKEN", TOKEN)
    tiers = "tiers:\n" + "".join(
        f'  {tier}: {{url: "{url}", token_env: A_TOKEN}}\n' for tier, url in real.items()
    )
    run_study(on(subject, tiers + "links: {mobile-cloud: {}}\n"), tmp_path / "out")
    results = check(tmp_path / "out", 1)
    assert results.environment["links"] == "real, not shaped"
    assert results.probes == ()


def test_the_same_file_emulated(subject, tmp_path):
    run_study(on(subject, TIERS), tmp_path / "out")
    check(tmp_path / "out", 2)


def test_a_real_tier_that_is_gone_is_named(subject, tmp_path, monkeypatch):
    monkeypatch.setenv("CLOUD_TOKEN", TOKEN)
    tiers = """\
tiers:
  mobile: {url: "http://127.0.0.1:9"}
  cloud: {url: "http://127.0.0.1:9", token_env: CLOUD_TOKEN}
links: {mobile-cloud: {}}
"""
    with pytest.raises(TierwiseError, match=r"127\.0\.0\.1:9") as fault:
        run_study(on(subject, tiers), tmp_path / "out")
    assert TOKEN not in str(fault.value)
    assert not any((tmp_path / "out" / "artefacts").glob("*")), "built for a tier that is gone"
