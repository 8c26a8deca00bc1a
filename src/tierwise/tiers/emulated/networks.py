"""The network between emulated tiers: the kernel's where we may, user space where not."""

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, Protocol
from urllib.parse import urlsplit

from tierwise.errors import EnvironmentFault
from tierwise.tiers.emulated.channel import Message
from tierwise.tiers.emulated.linux import (
    IS_LINUX,
    forks_prompt,
    inside,
    new_network_namespace,
    new_user_namespace,
)
from tierwise.tiers.emulated.packets import PacketPort
from tierwise.tiers.emulated.relay import Relay, Route, paths
from tierwise.tiers.emulated.workers import start_worker, stop_worker
from tierwise.tiers.topology import LinkShape

_Way = Literal["root", "userns", "userspace"]
Backend = _Way | Literal["auto"]
_AGENT_PORT = 8080  # of a private namespace: nobody else is there


class Network(Protocol):
    """What the keeper needs of either."""

    backend: str

    def namespace(self, tier: str) -> int | None:
        """Descriptor of the tier's network namespace, if it has one."""

    def listen(self, tier: str) -> str:
        """``HOST:PORT`` on which the tier's agent is told to listen."""

    def aim(self, tier: str, listening: str) -> None:
        """The tier's agent is reached at URL ``listening`` from its own tier."""

    def relays(self) -> dict[str, str]:
        """``HOST:PORT`` to use instead of the agent's own, by ``"source>target"``."""

    def probe_address(self, link: str, far: str, port: int) -> tuple[str, int]:
        """Where to reach ``port`` of tier ``far`` from the tier before it, across ``link``."""

    def new_socket(self, tier: str) -> socket.socket:
        """An unconnected TCP socket of the tier."""

    def shape(self, shapes: Mapping[str, LinkShape]) -> None:
        """Reshape the named links in place."""

    def set_cut(self, link: str, *, cut: bool) -> None:
        """Stop everything on the link, or let it go on."""

    def dropped_packets(self) -> dict[str, int]:
        """Packets that each link lost so far, though nobody asked for loss."""

    def close(self) -> None:
        """Remove it all."""


class NamespaceNetwork:
    """A network namespace for each tier."""

    def __init__(self, tiers: Sequence[str], rights: str) -> None:
        """Make it; ``rights`` says by which right, for the record."""
        # pyroute2 is Linux only and takes half a second to import: not for user-space links.
        from tierwise.tiers.emulated import kernel_links  # noqa: PLC0415

        self._tiers = tuple(tiers)
        self._address = kernel_links.address
        self._links = kernel_links.KernelLinks(tiers)
        self.backend = f"network namespaces ({rights}), {self._links.backend}"

    def namespace(self, tier: str) -> int:
        """See :class:`Network`."""
        return self._links.namespaces[self._tiers.index(tier)]

    def listen(self, tier: str) -> str:
        """See :class:`Network`."""
        return f"{self._address(self._tiers.index(tier))}:{_AGENT_PORT}"

    def aim(self, tier: str, listening: str) -> None:
        """Nothing to do: every tier reaches every other at its own address."""

    def relays(self) -> dict[str, str]:
        """None are needed."""
        return {}

    def probe_address(self, link: str, far: str, port: int) -> tuple[str, int]:  # noqa: ARG002
        """See :class:`Network`."""
        return self._address(self._tiers.index(far)), port

    def new_socket(self, tier: str) -> socket.socket:
        """See :class:`Network`."""
        with inside(self.namespace(tier)):
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def shape(self, shapes: Mapping[str, LinkShape]) -> None:
        """See :class:`Network`."""
        self._links.shape(shapes)

    def set_cut(self, link: str, *, cut: bool) -> None:
        """See :class:`Network`."""
        self._links.set_cut(link, cut=cut)

    def dropped_packets(self) -> dict[str, int]:
        """See :class:`Network`."""
        return self._links.dropped_packets()

    def close(self) -> None:
        """See :class:`Network`."""
        self._links.close()


class UserSpaceNetwork:
    """All tiers on this machine's loopback; a relay process between them."""

    def __init__(self, tiers: Sequence[str], links: Sequence[str], why: str = "") -> None:
        """Start the relay for the paths between ``tiers`` that only cross ``links``.

        ``why`` there are no namespaces instead, where somebody may want to know, for the record.
        """
        self.backend = "user-space relay" + (f" (no namespaces: {why})" if why else "")
        self._ports = dict.fromkeys(tiers, 0)
        self._links = tuple(links)
        between = {
            pair: path
            for pair, path in paths(tiers).items()
            if all(link in links for link, _ in path)
        }
        self._pairs = tuple(between)
        routes = [Route(_listener(), path) for path in between.values()]
        probes = [Route(_listener(), ((link, "forth"),)) for link in links]
        self._relay_ports = dict(zip(self._pairs, map(_port, routes), strict=True))
        self._probe_ports = dict(zip(links, map(_port, probes), strict=True))
        every = [*routes, *probes]
        self._pid, self._control = start_worker(
            lambda control: Relay(control, every, links).run(),
            [route.listener.fileno() for route in every],
        )
        for route in every:
            route.listener.close()

    def namespace(self, tier: str) -> None:
        """See :class:`Network`."""

    def listen(self, tier: str) -> str:
        """See :class:`Network`; after a restart the port stays the same."""
        return f"127.0.0.1:{self._ports[tier]}"

    def aim(self, tier: str, listening: str) -> None:
        """See :class:`Network`."""
        address = urlsplit(listening)
        self._ports[tier] = address.port or 80
        targets = {
            str(index): [address.hostname, address.port]
            for index, (_, target) in enumerate(self._pairs)
            if target == tier
        }
        self._tell({"targets": targets})

    def relays(self) -> dict[str, str]:
        """See :class:`Network`."""
        return {f"{a}>{b}": f"127.0.0.1:{port}" for (a, b), port in self._relay_ports.items()}

    def probe_address(self, link: str, far: str, port: int) -> tuple[str, int]:  # noqa: ARG002
        """See :class:`Network`: each link has a relay of its own for probes."""
        index = len(self._pairs) + self._links.index(link)
        self._tell({"targets": {str(index): ["127.0.0.1", port]}})
        return "127.0.0.1", self._probe_ports[link]

    def new_socket(self, tier: str) -> socket.socket:  # noqa: ARG002
        """See :class:`Network`."""
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def shape(self, shapes: Mapping[str, LinkShape]) -> None:
        """See :class:`Network`."""
        for name, shape in shapes.items():
            if shape.uneven:
                raise EnvironmentFault(
                    f"Link {name} asks for jitter or loss, and links in user space have neither.",
                    hint="Run as root, or where user namespaces are allowed, on a kernel with "
                    "netem; or leave jitter and loss out.",
                    link=name,
                )
        told = {
            name: {"bandwidth_bit_per_s": shape.bandwidth_bit_per_s, "rtt_s": shape.rtt_s}
            for name, shape in shapes.items()
        }
        self._tell({"shapes": told})

    def set_cut(self, link: str, *, cut: bool) -> None:
        """See :class:`Network`."""
        self._tell({"cut": {link: cut}})

    def dropped_packets(self) -> dict[str, int]:
        """None: streams have no packets."""
        return dict.fromkeys(self._links, 0)

    def close(self) -> None:
        """See :class:`Network`."""
        stop_worker(self._pid, self._control)

    def _tell(self, message: Message) -> None:
        try:
            self._control.send(message)
            self._control.receive()
        except (OSError, EOFError) as error:
            raise EnvironmentFault(
                "The relay that stands for the links died.",
                hint="Run again; what is finished is kept.",
            ) from error


def make_network(tiers: Sequence[str], links: Sequence[str], backend: Backend) -> Network:
    """The best network that ``backend`` allows and this machine can do.

    Raises:
        EnvironmentFault: a back end was asked for by name and cannot be had.
    """
    way, reasons = _way(backend)
    try:
        if way == "root":
            return NamespaceNetwork(tiers, "root")
        if way == "userns":
            with forks_prompt():
                new_user_namespace()
                return NamespaceNetwork(tiers, "user namespace")
    except OSError as error:  # tried with fewer tiers just before
        raise EnvironmentFault(
            f"Links by {way!r} cannot be made here for {len(tiers)} tiers: {_in_words(error)}.",
            hint="Write `measure: {backend: userspace}`, which works everywhere.",
        ) from error
    # the last one: what a user without rights can change
    return UserSpaceNetwork(tiers, links, reasons[-1] if reasons else "")


def require_backend(backend: Backend) -> None:
    """Raise :class:`EnvironmentFault` where links cannot be made by ``backend`` here."""
    _way(backend)


def require_shape(near: str, far: str, shape: LinkShape, backend: Backend) -> None:
    """Raise :class:`EnvironmentFault` where no link between two tiers can have ``shape`` here.

    Tried with a link that is gone again.
    """
    why = _in_a_child(partial(_try_shape, near, far, shape, backend))
    if why is not None:
        message, _, hint = why.partition("\n")
        raise EnvironmentFault(message, hint=hint or None)


def _try_shape(near: str, far: str, shape: LinkShape, backend: Backend) -> str | None:
    link = f"{near}-{far}"
    try:
        network = make_network((near, far), (link,), backend)
        try:
            network.shape({link: shape})
        finally:
            network.close()
    except EnvironmentFault as fault:
        return f"{fault.message}\n{fault.hint or ''}"
    return None


def _way(backend: Backend) -> tuple[_Way, list[str]]:
    """How links are made, and why not by the ways before it."""
    reasons: list[str] = []
    for way, trial in _TRIALS.items():
        if backend in {"auto", way}:
            reason = _in_a_child(trial) if IS_LINUX else "only Linux has them"
            if reason is None:
                return way, reasons
            reasons.append(reason)
    if backend in {"auto", "userspace"}:
        return "userspace", reasons
    raise EnvironmentFault(
        f"Links by {backend!r} cannot be made here: {'; '.join(reasons)}.",
        hint="Leave `measure: {backend: ...}` out, or write userspace, which works everywhere.",
    )


def _in_a_child(trial: Callable[[], str | None]) -> str | None:
    """What ``trial`` says, in a process of its own: none can leave a user namespace again."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(theirs, (trial() or "").encode())
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    with os.fdopen(ours, encoding="utf-8") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return said or (None if status == 0 else f"the trial ended with status {status}")


def _try_user_namespace() -> str | None:
    try:
        new_user_namespace()
    except OSError as error:
        return _in_words(error)
    return _try_namespace()


def _try_namespace() -> str | None:
    try:
        # First what needs no import, as most who may not make links may not do this.
        with inside(new_network_namespace()):
            PacketPort("lo", "lo").close()
        # Then all of it: any one of what links are made of may be missing from a kernel.
        NamespaceNetwork(("near", "far"), "").close()
    except OSError as error:
        return _in_words(error)
    return None


_TRIALS: dict[_Way, Callable[[], str | None]] = {
    "root": _try_namespace,
    "userns": _try_user_namespace,
}


def _in_words(error: OSError) -> str:
    """Short, and with the name of what would have to be allowed."""
    if error.errno == errno.ENOSPC:  # which speaks of disks
        return "no more allowed, see user.max_user_namespaces"
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _port(route: Route) -> int:
    port: int = route.listener.getsockname()[1]
    return port
