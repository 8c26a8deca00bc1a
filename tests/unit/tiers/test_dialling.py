import socket

import pytest

from tierwise.tiers.dialling import dial, dial_with


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.parametrize(
    "make", [dial, lambda host, port: dial_with(socket.socket(), host, port)], ids=["here", "there"]
)
def test_a_connection_blocks_and_sends_at_once(listener, make):
    with make(*listener.getsockname()) as connection:
        assert connection.gettimeout() is None
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_socket_that_cannot_be_connected_is_closed():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    unconnected = socket.socket()
    with pytest.raises(ConnectionRefusedError):
        dial_with(unconnected, *address)
    assert unconnected.fileno() == -1
