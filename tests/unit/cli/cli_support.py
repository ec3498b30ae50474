"""Fixtures of the command line's tests; a plug-in, so that there is one conftest.py only."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from auditwire.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.testing import EmbeddedBroker


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the machine's, and no passwords of the test before."""
    for name in ("BOOTSTRAP_SERVERS", "PREFIX", "CONFIG", "DEBUG"):
        monkeypatch.delenv(f"AUDITWIRE_{name}", raising=False)
    monkeypatch.setattr(output, "_secrets", set())


@pytest.fixture
def trail(audit_broker: EmbeddedBroker) -> str:
    """A prefix of the test's own, with its topics made."""
    prefix = f"test-{uuid4().hex[:8]}"
    audit_broker.create_topics(prefix=prefix, partitions=2)
    return prefix


@pytest.fixture
def silent_broker() -> Iterator[socket.socket]:
    """Something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server
