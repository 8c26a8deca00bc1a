import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tierwise.errors import EnvironmentFault
from tierwise.tiers import emulated
from tierwise.tiers.topology import LinkShape, NetworkCondition, Tier, Topology


class Lab:
    """What the tests of this folder do again and again."""

    agent = Path(__file__).with_name("echo_agent.py")
    chain = Topology((Tier("mobile"), Tier("edge"), Tier("cloud")))
    pair = Topology((Tier("mobile"), Tier("edge")))

    def command(self, *more):
        return lambda _, listen: [sys.executable, str(self.agent), listen, *more]

    def start(self, topology, *more, **options):
        """Start echo agents; where a right is missing, skip, but not where CI has root."""
        try:
            return emulated.start(topology, self.command(*more), **options)
        except EnvironmentFault as fault:
            must = os.environ.get("CI") == "true" and os.geteuid() == 0
            if must or "cannot be made here" not in str(fault):
                raise
            pytest.skip(str(fault))

    def condition(self, topology, bandwidth_bit_per_s=None, rtt_s=0.0, **more):
        shape = LinkShape(bandwidth_bit_per_s, rtt_s, **more)
        return NetworkCondition({link.name: shape for link in topology.links})

    def dial(self, running, source, target, timeout_s=10.0):
        address = urlsplit(running.url(source, target))
        return running.dial(source, address.hostname, address.port, timeout_s)

    def echo_s(self, connection, size=1):
        """Seconds until ``size`` bytes (few: nobody reads while they are sent) are back."""
        started = time.perf_counter()
        connection.sendall(bytes(size))
        left = size
        while left:
            received = len(connection.recv(left))
            assert received, "closed"
            left -= received
        return time.perf_counter() - started


@pytest.fixture(scope="session")
def lab():
    return Lab()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("root", marks=[pytest.mark.netns, pytest.mark.xdist_group("tiers-root")]),
        pytest.param(
            "userns",
            marks=[pytest.mark.netns, pytest.mark.slow, pytest.mark.xdist_group("tiers-user")],
        ),
        pytest.param("userspace", marks=pytest.mark.xdist_group("tiers-space")),
    ],
)
def running(request, lab):
    """Three tiers without limits, links made by each back end in turn."""
    with lab.start(lab.chain, backend=request.param) as started:
        yield started
