"""What somebody gets who is not root, or has one right more than others."""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.integration.unprivileged import unprivileged

from tierwise.errors import EnvironmentFault
from tierwise.tiers import emulated
from tierwise.tiers.emulated.linux import IS_LINUX, LINKS_PRIORITY, THROTTLE_PRIORITY
from tierwise.tiers.topology import Tier, Topology

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not IS_LINUX, reason="namespaces and priorities are Linux's"),
]

REFUSED = """
import sys
from tierwise.errors import EnvironmentFault
from tierwise.tiers import emulated
from tierwise.tiers.topology import Tier, Topology
try:
    emulated.start(Topology((Tier("mobile"),)), lambda *_: [sys.executable], backend="root")
except EnvironmentFault as fault:
    print(fault)
"""


def test_a_back_end_that_cannot_be_had_is_refused_with_the_one_that_can():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        command = unprivileged([sys.executable, "-c", REFUSED], Path(name))
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    assert re.search(r"'root' cannot be made here.*userspace", said), said


def test_without_the_right_to_packet_sockets_root_is_told_what_is_missing():
    """As in many a container."""
    if os.geteuid() != 0:
        pytest.skip("asks for root with one right less")
    fewer = ["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"]
    command = [*fewer, sys.executable, "-c", REFUSED]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    if "cannot be made here: unshare: " in said:
        pytest.skip(f"asks for root with all other rights: {said}")
    assert "cannot be made here: packet sockets: Operation not permitted." in said


PROMPT = """
import json, os, sys
from pathlib import Path
from tierwise.tiers import emulated
from tierwise.tiers.topology import Tier, Topology

def family(pid):
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from family(child)

chain = Topology((Tier("mobile", cpus=0.5), Tier("edge", cpus=1.0)))
with emulated.start(chain, lambda _, listen: [sys.executable, sys.argv[1], listen]) as running:
    prompt = [
        os.sched_getparam(pid).sched_priority
        for pid in family(os.getpid())
        if os.sched_getscheduler(pid) == os.SCHED_FIFO
    ]
    print(json.dumps({**running.record, "prompt": sorted(prompt)}))
"""


def test_whoever_may_have_real_time_priority_has_it_without_being_root(lab):
    """Also a link's process, which lives in a user namespace, where that right counts no more."""
    if os.geteuid() != 0:
        pytest.skip("only root can give the right to others")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        command = [sys.executable, "-c", PROMPT, str(lab.agent)]
        said = subprocess.run(
            unprivileged(command, Path(name), rights=("sys_nice",)),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    assert said.returncode == 0, said.stderr
    record = json.loads(said.stdout)
    if "user namespace" not in record["links"]:
        pytest.skip(f"no user namespaces here: {record['links']}")
    assert "kept busy by real-time priority" in record["cpu@mobile"]
    # who keeps the share, and the link's process
    assert record["prompt"] == [THROTTLE_PRIORITY, LINKS_PRIORITY]


def test_a_relay_says_why_there_are_no_namespaces(lab):
    """Of a user who may make no more of them: in a namespace with a limit of its own."""
    if os.geteuid() != 0:
        pytest.skip("asks for a user who is not the one of the tests")
    limit = "cd /proc/sys/user && echo 0 >max_net_namespaces && echo 0 >max_user_namespaces"
    limited = ["unshare", "--user", "--map-root-user", "sh", "-c", limit + ' && exec "$@"', "sh"]
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        command = [*limited, sys.executable, "-c", PROMPT, str(lab.agent)]
        said = subprocess.run(
            unprivileged(command, Path(name)), capture_output=True, text=True, check=False, cwd="/"
        )
    if "unshare failed" in said.stderr:
        pytest.skip(f"no user namespaces here: {said.stderr}")
    assert said.returncode == 0, said.stderr
    links = json.loads(said.stdout)["links"]
    why = "no more allowed, see user.max_user_namespaces"
    assert links == f"user-space relay (no namespaces: {why})"


def test_what_the_kernel_lacks_makes_relays_and_is_named(lab):
    """On a kernel that was made so: test_another_kernel.py runs one."""
    lacks = os.environ.get("TIERWISE_TEST_LACKS")
    if lacks is None:
        pytest.skip("this kernel lacks nothing")
    tiers = Topology((Tier("mobile", memory_bytes=400 * 2**20), Tier("edge")))
    with lab.start(tiers) as running:
        links = running.record["links"]
        assert links.startswith(f"user-space relay (no namespaces: {lacks}: "), links
        memory = running.record["memory@mobile"]
        assert memory.endswith("(no control group: the kernel offers no memory controller)")
        with lab.dial(running, "mobile", "edge") as connection:
            lab.echo_s(connection)
    with pytest.raises(EnvironmentFault, match=f"'root' cannot be made here: {lacks}: "):
        emulated.start(tiers, lab.command(), backend="root")


# linux/seccomp.h and filter.h: load a word, jump if equal, return. A rule is an error and the words
# that get it: at 0 the call's number (x86-64's), at 16, 24 and 32 its first three arguments.
SANDBOX = """
import ctypes, struct
def refuse(*rules):
    steps = []
    for error, *words in rules:
        rule = [step for at, value in words for step in ((0x20, 0, 0, at), (0x15, 0, 0, value))]
        rule.append((0x06, 0, 0, 0x00050000 | error))
        steps += [(code, yes, len(rule) - 1 - at if code == 0x15 else no, value)
                  for at, (code, yes, no, value) in enumerate(rule)]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
refuse({rules})
"""


def record_in_sandbox(lab, rules):
    """What runs where calls are refused with an error by number and arguments."""
    if platform.machine() != "x86_64":
        pytest.skip("the filter is for x86-64")
    program = SANDBOX.replace("{rules}", rules) + PROMPT
    command = [sys.executable, "-c", program, str(lab.agent)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert said.returncode == 0, said.stderr
    assert "Traceback" not in said.stderr
    return json.loads(said.stdout)


def test_a_sandbox_without_priorities_and_timer_slack_has_links_and_shares(lab):
    """As gVisor and the like: no sched_setscheduler(2), and prctl(2) knows no timer slack."""
    record = record_in_sandbox(lab, "(38, (0, 144)), (22, (0, 157), (16, 29))")
    assert "by signals" in record["cpu@mobile"]
    assert record["prompt"] == []


def test_a_kernel_whose_packet_sockets_have_no_rings_has_relays(lab):
    if os.geteuid() != 0:
        pytest.skip("asks for root, who else would have namespaces")
    record = record_in_sandbox(lab, "(92, (0, 54), (24, 263), (32, 5))")  # setsockopt(2)
    if "no more allowed" in record["links"]:
        pytest.skip(f"even root has no namespaces here: {record['links']}")
    why = "a ring of 32 MiB for packets: Protocol not available"
    assert record["links"] == f"user-space relay (no namespaces: {why})"


def test_where_no_cores_can_be_chosen_shares_are_not_kept_and_the_record_says_so(lab):
    record = record_in_sandbox(lab, "(1, (0, 203))")  # sched_setaffinity(2)
    assert record["cpu@mobile"] == "not limited (no cores can be chosen: Operation not permitted)"
    assert "kept awake" not in record
