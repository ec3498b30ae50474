"""Trails on a broker, written by the collectors, and what ``auditwire verify`` says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli.app import run
from auditwire.events import ErrorEvent
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for

if TYPE_CHECKING:
    import pytest

CUT_OFF = b"\xc3\x01" + schema_for("error").fingerprint + b"\x48"
"""A value that says it is a record, and ends in its first field."""


class Trail:
    """A trail of a test's own.

    Args:
        bootstrap: The broker.
        prefix: Of its topics.
        create_topics: Whether they are made when they are needed.
    """

    def __init__(self, bootstrap: str, prefix: str, *, create_topics: bool = False) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self._create_topics = create_topics

    def collector(self, service: str = "planner") -> KafkaCollector:
        return KafkaCollector(
            self.bootstrap, prefix=self.prefix, create_topics=self._create_topics, service=service
        )

    def write(self, service: str = "planner", session: str = "s-1", *, events: int = 10) -> str:
        """A stream that is closed; its id."""
        collector = self.collector(service)
        with AuditEmitter(collector, session) as audit:
            for _ in range(events):
                audit.emit_turn_start(prompt="hello")
        return collector.stream_id

    def produce(self, topic: str, value: bytes | None, **arguments: Any) -> None:
        client = Producer({"bootstrap.servers": self.bootstrap})
        client.produce(f"{self.prefix}.{topic}", value, **arguments)
        assert client.flush(20) == 0

    def forge(self, stream_id: str, sequence: int) -> None:
        """A record that nobody of that stream has written."""
        head, tail = FastavroEncoder().encode(ErrorEvent(), stream_id)
        body = join_body(head, sequence, tail)
        self.produce("error", frame_single_object(schema_for("error").fingerprint, body))


def told(
    capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The streams and the trail, as JSON."""
    found = run(["verify", "--json", *arguments])
    captured = capsys.readouterr()
    assert found == status, captured
    *streams, trail = (json.loads(line) for line in captured.out.splitlines())
    assert {stream["object"] for stream in streams} <= {"stream"}
    assert (trail["object"], trail["exit_status"]) == ("trail", status)
    return streams, trail
