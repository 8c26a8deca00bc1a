"""Small processes that the keeper forks: each ends with the keeper, whatever happens to it."""

import os
import signal
import socket
import traceback
from collections.abc import Callable, Sequence

from tierwise.tiers.emulated.channel import Channel
from tierwise.tiers.emulated.linux import die_with_parent


def start_worker(
    work: Callable[[Channel], None], descriptors: Sequence[int] = ()
) -> tuple[int, Channel]:
    """Fork a process that runs ``work``; returns its pid and the channel to it.

    The process keeps ``descriptors`` and the standard streams only. The caller must be
    single-threaded. ``work`` returns when its channel is closed.
    """
    ours, theirs = socket.socketpair()
    parent, pid = os.getpid(), os.fork()
    if pid:
        theirs.close()
        return pid, Channel(ours)
    code = 1
    try:
        die_with_parent(parent)
        _close_all_but({0, 1, 2, theirs.fileno(), *descriptors})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work(Channel(theirs))
        code = 0
    except BrokenPipeError:
        code = 0  # the keeper was killed while this worked: nobody is left to be told
    except BaseException:  # noqa: BLE001  the last stop of a forked process: say why, then end
        traceback.print_exc()
    finally:
        os._exit(code)


def stop_worker(pid: int, channel: Channel) -> None:
    """End a worker and wait for it."""
    channel.close()
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _close_all_but(kept: set[int]) -> None:
    highest = os.sysconf("SC_OPEN_MAX")
    previous = -1
    for descriptor in sorted(kept):
        if previous + 1 < descriptor:  # an empty range would be all there are
            os.closerange(previous + 1, descriptor)
        previous = descriptor
    os.closerange(previous + 1, highest if highest > 0 else 65536)
