"""The proxy does to a connection what its faults say, and lets the next one pass when it is healed."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest

from rig.broker import until
from rig.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = bytes(range(256)) * 20_000


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """In front of a server that says what it hears."""
    with Server(("127.0.0.1", 0), Echo) as echo:
        threading.Thread(target=echo.serve_forever, args=(0.01,)).start()
        with Proxy(("127.0.0.1", echo.server_address[1])) as proxy:
            yield proxy
        echo.shutdown()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 10)


def said(connection: socket.socket, data: bytes) -> bytes:
    """What comes back, whole."""
    threading.Thread(target=connection.sendall, args=(data,)).start()
    heard = b""
    while len(heard) < len(data):
        piece = connection.recv(65536)
        assert piece
        heard += piece
    return heard


def test_bytes_pass_whole_and_in_order(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, LARGE) == LARGE


def test_a_slow_connection_takes_longer_and_keeps_the_order(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        proxy.slow(0.1)
        start = time.monotonic()
        assert said(connection, LARGE) == LARGE
        assert time.monotonic() - start >= 0.2
        threading.Timer(0.02, proxy.heal).start()
        assert said(connection, LARGE) == LARGE


def test_a_cut_ends_what_is_open_and_what_is_tried(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"before") == b"before"
        proxy.cut()
        assert connection.recv(1) == b""
    with connect(proxy) as connection:
        assert connection.recv(1) == b""
    proxy.heal()
    with connect(proxy) as connection:
        assert said(connection, b"after") == b"after"


def test_a_reset_comes_again_and_again(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"before") == b"before"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    for _ in range(2):
        with connect(proxy) as connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
    proxy.heal()
    with connect(proxy) as connection:
        assert said(connection, b"after") == b"after"


def test_a_black_hole_says_nothing_and_resets_at_its_end(proxy: Proxy) -> None:
    with connect(proxy) as old:
        assert said(old, b"before") == b"before"
        proxy.swallow()
        with connect(proxy) as new:
            for connection in (old, new):
                connection.sendall(b"lost")
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(10)
            proxy.heal()
            for connection in (old, new):
                with pytest.raises(ConnectionResetError):
                    connection.recv(1)
    with connect(proxy) as connection:
        assert said(connection, b"after") == b"after"


def test_a_target_that_is_away_resets_and_a_proxy_without_one_ends_connections() -> None:
    with Proxy() as proxy:
        with connect(proxy) as connection:
            assert connection.recv(1) == b""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            proxy.target = nobody.getsockname()
            with connect(proxy) as connection, pytest.raises(ConnectionResetError):
                connection.recv(1)


def test_the_end_of_the_client_reaches_the_server(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"x") == b"x"
        assert len(proxy.halves) == 2
    until(lambda: not proxy.halves, 10, "both sides have ended")


def test_closing_ends_everything_and_may_be_repeated(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert said(connection, b"x") == b"x"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    proxy.close()
    Proxy().close()
