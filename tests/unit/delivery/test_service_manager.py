from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from auditwire.delivery.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().splitlines()


def test_a_manager_is_told_what_happens(manager: socket.socket) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname()})
    service.ready("serving\n2 streams")
    assert told(manager) == ["READY=1", "STATUS=serving 2 streams"]
    service.status("3 streams \ud800")
    assert told(manager) == ["STATUS=3 streams ?"]
    service.alive()
    assert told(manager) == ["WATCHDOG=1"]
    service.stopping("draining")
    assert told(manager) == ["STOPPING=1", "STATUS=draining"]


def test_an_abstract_name_is_understood() -> None:
    name = f"auditwire-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(30)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert told(listening) == ["WATCHDOG=1"]


@pytest.mark.parametrize("name", ["", "vsock:2:1", "relative", "/no/such/socket", "/with\0zero"])
def test_where_no_manager_is_nothing_happens(name: str) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": name})
    service.ready("x")
    service.alive()


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_bites(
    settings: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager({"NOTIFY_SOCKET": "/s", **settings}).watchdog_seconds == seconds


def test_without_a_socket_there_is_no_watchdog() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "30000000"}).watchdog_seconds is None
