from __future__ import annotations

import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from auditwire.delivery import status_server
from auditwire.delivery.status_server import StatusServer, address_of
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Told:
    """What the server asks."""

    def __init__(self) -> None:
        self.well = True
        self.alive = True
        self.said: Mapping[str, Any] = {"state": "ok", "service": "\ud800"}
        self.metrics: Callable[[], str] = lambda: "auditwire_up 1\n"

    def server(self, address: str) -> StatusServer:
        return StatusServer(address, live=self.live, health=self.health, metrics=self.page)

    def live(self) -> bool:
        return self.alive

    def page(self) -> str:
        return self.metrics()

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        return self.well, self.said


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def server(told: Told) -> Iterator[StatusServer]:
    server = told.server("127.0.0.1:0")
    server.start()
    yield server
    server.close()


def ask(server: StatusServer, path: str, method: str = "GET") -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9464", ("::1", 9464)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_without_a_host_is_the_loopback_address(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "localhost:", "localhost:65536", "h:-1", "::1:9464", "h:9464x", "h:٣", "h:000000"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--metrics"):
        address_of(text)


def test_an_address_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="cannot listen on"):
            Told().server(address)


def test_a_health_that_is_well_is_200_and_json(server: StatusServer, told: Told) -> None:
    status, headers, body = ask(server, "/health?verbose")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"state": "ok", "service": "?"}


def test_a_health_that_is_not_is_503_and_says_why(server: StatusServer, told: Told) -> None:
    told.well, told.said = False, {"state": "failing"}
    status, _, body = ask(server, "/health")
    assert (status, json.loads(body)) == (503, {"state": "failing"})


def test_a_process_that_hangs_is_503_whatever_its_health(server: StatusServer, told: Told) -> None:
    assert ask(server, "/live")[::2] == (200, b"live\n")
    told.alive = False
    assert ask(server, "/live")[::2] == (503, b"no progress\n")
    assert ask(server, "/health")[0] == 200


def test_metrics_are_prometheus_text(server: StatusServer) -> None:
    status, headers, body = ask(server, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body == b"auditwire_up 1\n"


def test_head_gives_the_headers_only(server: StatusServer) -> None:
    status, headers, body = ask(server, "/metrics", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "15", b"")


@pytest.mark.parametrize(("path", "method", "status"), [("/", "GET", 404), ("/health", "POST", 501)])
def test_anything_else_is_refused(server: StatusServer, path: str, method: str, status: int) -> None:
    assert ask(server, path, method)[0] == status


def test_what_fails_is_500_and_the_next_one_is_answered(server: StatusServer, told: Told) -> None:
    def fail() -> str:
        raise RuntimeError

    told.metrics, good = fail, told.metrics
    assert ask(server, "/metrics")[0] == 500
    told.metrics = good
    assert ask(server, "/metrics")[0] == 200


def test_who_goes_away_or_says_nonsense_harms_nobody(server: StatusServer) -> None:
    address = urlsplit(server.url)
    assert address.hostname
    assert address.port
    for nonsense in (b"", b"\xff\xfe\r\n\r\n", b"GET " + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection((address.hostname, address.port), timeout=30) as client:
            client.sendall(nonsense)
    assert ask(server, "/health")[0] == 200


def test_no_more_are_served_at_once_than_there_is_room_for(server: StatusServer, told: Told) -> None:
    asked, answer = threading.Semaphore(0), threading.Event()

    def wait() -> str:
        asked.release()
        assert answer.wait(60)
        return ""

    told.metrics = wait
    statuses: list[int] = []
    waiting = [
        threading.Thread(target=lambda: statuses.append(ask(server, "/metrics")[0]))
        for _ in range(status_server._AT_ONCE)
    ]
    for thread in waiting:
        thread.start()
    for _ in waiting:
        assert asked.acquire(timeout=60)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(server, "/health")
    answer.set()
    for thread in waiting:
        thread.join(60)
    assert statuses == [200] * status_server._AT_ONCE


def test_an_ipv6_address_is_listened_on(told: Told) -> None:
    try:
        server = told.server("[::1]:0")
    except ConfigurationError:
        pytest.skip("no IPv6 here")
    server.start()
    assert server.url.startswith("http://[::1]:")
    assert ask(server, "/health")[0] == 200
    server.close()


def test_a_server_that_was_not_started_can_be_closed() -> None:
    Told().server("127.0.0.1:0").close()
