"""A real tier whose certificate signs itself, and that lets in only who shows one of its own."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.certificates import certificate

from tierwise.store.read import read_results
from tierwise.store.results import TrialState

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machine")]
TOKEN = "a-token-of-the-clouds-own"
LINES = """\
tiers:
  mobile: {cpus: 0.5, memory: 1GiB}
  cloud: {cpus: 1.0}
links: {mobile-cloud: {bandwidth: [20Mbit, 100Mbit], rtt: 2ms}}
operators:
  use: [I, Q, E, P, QEP]
"""
MUTUAL = "ca: cloud.pem, client_cert: study.pem, client_key: study.key"


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real tiers over TLS; gives their addresses and the folder with certificates and keys."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    for name in ("cloud", "study", "mobile", "stranger"):
        certificate(folder, name)
    allowed = (folder / "study.pem").read_text() + (folder / "mobile.pem").read_text()
    (folder / "allowed.pem").write_text(allowed)
    with contextlib.ExitStack() as stack:

        def start(tier, *options):
            agent = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tierwise", "--verbose", "serve", "--tier", tier,
                     "--listen", "127.0.0.1:0", "--token-file", folder / "token",
                     "--cache", folder / f"cache-{tier}", *options],
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context((folder / f"{tier}.log").open("w")),
                    text=True,
                )
            )  # fmt: skip
            stack.callback(agent.terminate)
            return json.loads(agent.stdout.readline())["listening"]

        cloud = start(
            "cloud", "--tls-cert", folder / "cloud.pem", "--tls-key", folder / "cloud.key",
            "--tls-client-ca", folder / "allowed.pem",
        )  # fmt: skip
        # It has its own certificate, and learns from the study whose to trust.
        mobile = start("mobile", "--next-cert", folder / "mobile.pem",
                       "--next-key", folder / "mobile.key")  # fmt: skip
        yield {"cloud": cloud, "mobile": mobile, "folder": folder}


def write(subject: Path, real, mobile: str, cloud: str) -> Path:
    """The study of ``subject`` on other tiers, its certificates beside it."""
    text = subject.read_text()
    assert LINES in text
    tiers = f"tiers:\n  mobile: {{{mobile}}}\n  cloud: {{{cloud}}}\nlinks: {{mobile-cloud: {{}}}}\n"
    text = text.replace(
        LINES, f"{tiers}operators:\n  use: [I, P]\n  partition: {{cut: 0.5, max_loss: 100}}\n"
    )
    subject.write_text(text.replace("samples: 6", "samples: 3"))
    for file in ("cloud.pem", "study.pem", "study.key", "stranger.pem", "stranger.key"):
        (subject.parent / file).write_bytes((real["folder"] / file).read_bytes())
    return subject


def run(study: Path, out: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", "--verbose", "run", study, "-o", out],
        env={**os.environ, "CLOUD_TOKEN": TOKEN}, capture_output=True, text=True, check=False,
        timeout=300, cwd=study.parent.parent,
    )  # fmt: skip


@pytest.mark.parametrize("mobile", ["cpus: 0.5", "url: '{}', token_env: CLOUD_TOKEN"])
def test_the_study_and_the_tier_before_show_certificates(subject, tmp_path, real, mobile):
    study = write(
        subject, real, mobile.format(real["mobile"]),
        f"url: '{real['cloud']}', token_env: CLOUD_TOKEN, {MUTUAL}",
    )  # fmt: skip
    done = run(study, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "out")
    assert {trial.strategy.id.split("@")[0] for trial in results.trials} == {
        "mobile/I", "cloud/I", "mobile-cloud/P",
    }  # fmt: skip
    for trial in results.trials:
        assert trial.state is TrialState.MEASURED, (trial.strategy.id, trial.reason)
    private = (real["folder"] / "study.key").read_text().splitlines()[1]
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    logs = [real["folder"] / f"{tier}.log" for tier in ("cloud", "mobile")]
    for secret in (private, TOKEN):
        assert secret not in done.stdout + done.stderr
        for file in (*written, *logs):
            assert secret.encode() not in file.read_bytes(), file


STRANGER = "ca: cloud.pem, client_cert: stranger.pem, client_key: stranger.key"
SHOW = "a study file's `client_cert` and `client_key`"


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ("token_env: CLOUD_TOKEN", "not trusted (self-signed certificate). Next: Name the file"),
        ("token_env: CLOUD_TOKEN, ca: stranger.pem", "a study file's `ca` of the tier"),
        ("token_env: CLOUD_TOKEN, ca: cloud.pem", SHOW),
        (f"token_env: CLOUD_TOKEN, {STRANGER}", SHOW),
        (MUTUAL, "(401): Send the agent's token: 'Authorization: Bearer TOKEN'. Next: Give the"),
    ],
)
def test_who_is_not_let_in_is_told_what_to_write_before_anything_is_built(
    subject, tmp_path, real, tls, message
):
    study = write(subject, real, "cpus: 0.5", f"url: '{real['cloud']}', {tls}")
    done = run(study, tmp_path / "out")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert message in said
    assert "Tier cloud: " in said
    assert not any((tmp_path / "out" / "artefacts").glob("*"))


def test_an_address_without_https_is_told_so(subject, tmp_path, real):
    url = real["cloud"].replace("https", "http")
    done = run(write(subject, real, "cpus: 0.5", f"url: '{url}'"), tmp_path / "out")
    assert done.returncode == 3
    assert "Then write https:// in its url" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("ca: nowhere.pem", "Tier 'cloud': The authority"),
        (MUTUAL.replace("study.key", "stranger.key"), "the key belongs to another certificate"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(subject, tmp_path, real, files, message):
    study = write(subject, real, "cpus: 0.5", f"url: '{real['cloud']}', {files}")
    done = run(study, tmp_path / "out")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
