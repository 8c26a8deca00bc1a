"""A link's process that gets no core in the middle of a block: what it loses is told."""

import os
import signal
import socket
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tierwise.caveats import WarningKind
from tierwise.cli.verdict_table import verdict_view
from tierwise.progress import Silent
from tierwise.recommend.verdict import recommend
from tierwise.study.deployment import Deployment
from tierwise.study.run import run_study
from tierwise.tiers.emulated import kernel_links
from tierwise.tiers.emulated.linux import LINKS_PRIORITY, inside

pytestmark = [pytest.mark.slow, pytest.mark.netns, pytest.mark.xdist_group("machine")]


class Said(Silent):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def flood(running):
    """More packets than there is room for, from the first tier, while the link's process stands."""
    threads = Path(f"/proc/{running._keeper.pid}/task").glob("*/children")
    workers = [int(pid) for thread in threads for pid in thread.read_text().split()]
    (line,) = (pid for pid in workers if os.sched_getparam(pid).sched_priority == LINKS_PRIORITY)
    namespace = os.open(f"/proc/{running._status('mobile')['pid']}/ns/net", os.O_RDONLY)
    with inside(namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    os.close(namespace)
    os.kill(line, signal.SIGSTOP)
    with sender:
        for _ in range(20_000):
            sender.sendto(b"!", (kernel_links.address(1), 9))
    os.kill(line, signal.SIGCONT)


def test_the_run_the_record_and_the_verdict_say_so(split_and_whole, tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("enters the namespace of a tier, which is root's")
    flooded, send = [], Deployment.send

    def send_and_flood(deployment, strategy, payload):
        if not flooded and "namespaces (root)" not in deployment.running.record["links"]:
            pytest.skip(f"no namespaces here: {deployment.running.record['links']}")
        if not flooded and deployment.running._shapes["mobile-cloud"].bandwidth_bit_per_s:
            flooded.append(strategy)
            flood(deployment.running)
        return send(deployment, strategy, payload)

    monkeypatch.setattr(Deployment, "send", send_and_flood)
    said = Said()
    results = run_study(split_and_whole, tmp_path / "out", progress=said)
    (warning,) = (w for w in results.warnings if w.kind is WarningKind.PACKETS_LOST)
    assert warning.subject == results.conditions[0].id
    assert warning.evidence.startswith("Packets were lost (3")
    assert f"{warning.subject}: {warning.evidence}" in said.lines
    console = Console(width=200, no_color=True, file=StringIO())
    console.print(verdict_view(recommend(results), width=200))
    assert "packets lost: Packets were lost (3" in " ".join(console.file.getvalue().split())
