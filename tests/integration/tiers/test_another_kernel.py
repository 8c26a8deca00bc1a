"""Kernels that have more, or less, than this machine's: User-Mode Linux.

Many machines (those of CI among them) give version 2 of control groups no controllers and have no
netem. A whole kernel that runs as a process (on Debian `apt-get install user-mode-linux`) has both,
and does without the modules that it isn't given. It boots from this machine's own files, read-only,
and runs this folder's tests with this interpreter.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNEL = shutil.which("linux.uml")
MODULES = {
    "veth": "drivers/net/veth", "tbf": "net/sched/sch_tbf", "netem": "net/sched/sch_netem",
}  # fmt: skip
TESTS = (
    "test_tiers.py::test_a_memory_limit_kills_and_says_so[auto]",
    "test_tiers.py::test_a_quota_and_a_memory_limit_hold_both",
    "test_tiers.py::test_tiers_start_from_a_group_with_processes_in_it",
    "test_tiers.py::test_when_the_keeper_is_killed_too_the_next_start_removes_what_is_left",
    "test_links.py::test_jitter_and_loss_by_netem[root]",
)
# Its first process: file systems, modules, loopback, tests, and off (LINUX_REBOOT_CMD_POWER_OFF).
INIT = """\
#!{python}
import ctypes, fcntl, os, socket, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(kind, where):
    if libc.mount(b"none", where.encode(), kind.encode(), 0, None):
        print("cannot mount", where, os.strerror(ctypes.get_errno()), flush=True)
mount("proc", "/proc"), mount("sysfs", "/sys"), mount("tmpfs", "/run")
mount("cgroup2", "/sys/fs/cgroup")
for module in {modules}:
    with open(module, "rb") as file:
        libc.syscall(313, file.fileno(), b"", 0)  # finit_module, on x86-64
with socket.socket() as any_socket:  # SIOCSIFFLAGS: up and running
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
os.mkdir("/run/tmp")
environment = {{"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": "/run/tmp",
               "TMPDIR": "/run/tmp", "PYTHONDONTWRITEBYTECODE": "1", **{more}}}
done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
    "no:xdist", "--tb=short", "--basetemp=/run/tmp/p", *{tests}], cwd={cwd!r}, env=environment,
    stdin=subprocess.DEVNULL)
print("TESTS ENDED WITH", done.returncode, flush=True)
libc.reboot(0x4321FEDC)
"""


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        KERNEL is None or platform.machine() != "x86_64" or os.geteuid() != 0,
        reason="needs root and linux.uml; on Debian: apt-get install user-mode-linux",
    ),
]


def test_version_2_and_netem_do_what_they_are_asked_for(tmp_path):
    run(tmp_path, TESTS)


@pytest.mark.parametrize("lacks", ["veth", "tbf"])
def test_what_a_kernel_lacks_is_done_without(tmp_path, lacks):
    name = "test_rights.py::test_what_the_kernel_lacks_makes_relays_and_is_named"
    run(tmp_path, [name], lacks, "cgroup_disable=memory")


def run(folder, tests, lacks=None, *options):
    """Boot the kernel with ``options`` and all modules but ``lacks``, and have ``tests`` pass."""
    modules = sorted((Path(KERNEL).parents[1] / "lib" / "uml" / "modules").glob("*/kernel"))
    given = [path for name, path in MODULES.items() if name != lacks]
    init = folder / "init.py"
    init.write_text(
        INIT.format(
            python=sys.executable,
            modules=[str(modules[-1] / f"{path}.ko") for path in given],
            tests=[str(HERE / name) for name in tests],
            cwd=str(HERE.parents[2]),
            more={} if lacks is None else {"TIERWISE_TEST_LACKS": lacks},
        )
    )
    init.chmod(0o755)
    command = [
        KERNEL, "mem=1500M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet",
        f"uml_dir={folder}", "con=null", "con0=null,fd:1", *options,
    ]  # fmt: skip
    kernel = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # its processes are ours
    )
    try:
        said = kernel.communicate(timeout=240)[0].decode("utf-8", "replace")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()
    if "TESTS ENDED WITH" not in said:
        pytest.skip(f"User-Mode Linux does not run here: {said[-500:]}")
    assert "TESTS ENDED WITH 0" in said, said[-5000:]
    assert f"{len(tests)} passed" in said, said[-5000:]
