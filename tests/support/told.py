"""Sessions for tests: records made of events, and the session that ``examples/support_session.py`` plays."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire import AuditEmitter, InMemoryCollector
from auditwire.events import ALL_TYPES, event_from_dict
from auditwire.sessions import SessionBuilder
from support.stream_builder import STREAM, StreamBuilder, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from auditwire.events import AuditEvent
    from auditwire.reading import Record
    from auditwire.sessions import Session

__all__ = ["ID", "OTHER_STREAM", "SECOND_US", "records_of", "script", "session_of", "support_streams"]

ID = "s-1"
SECOND_US = 1_000_000
OTHER_STREAM = "01920000-0000-7000-8000-000000000002"
_EXAMPLES = Path(__file__).parents[2] / "examples"


def records_of(events: Iterable[AuditEvent], stream_id: str = STREAM) -> list[Record]:
    """The events of session ``s-1`` as records, numbered from 1, a second after each other."""
    records = []
    for number, event in enumerate(events, 1):
        event.timestamp_us = number * SECOND_US
        event.session_id = event.session_id or ID
        records.append(record_of(event, number, stream_id))
    return records


def session_of(*events: AuditEvent) -> Session:
    """The session of these events."""
    builder = SessionBuilder(ID)
    for record in records_of(events):
        builder.add(record)
    session = builder.build()
    assert session is not None
    return session


@cache
def script() -> ModuleType:
    """The example as a module; it imports its neighbour, as it does when it is run."""
    spec = importlib.util.spec_from_file_location("support_session", _EXAMPLES / "support_session.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(_EXAMPLES))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(_EXAMPLES))
    return module


def support_streams() -> tuple[StreamBuilder, StreamBuilder]:
    """The two streams of the example's session, of the desk and of payments; both are closed."""
    who: dict[str, Any] = {
        "principal_id": "dana@example.org",
        "principal_type": "user",
        "tenant_id": "acme-shop",
    }
    collectors = InMemoryCollector(), InMemoryCollector()
    script().play(*(AuditEmitter(collector, script().SESSION, **who) for collector in collectors))
    streams = StreamBuilder(STREAM), StreamBuilder(OTHER_STREAM)
    for stream, collector in zip(streams, collectors, strict=True):
        for event in collector.get_events():
            stream.now_us = event.timestamp_us  # the builder gives its own time to what it adds
            stream.add(event if event.event_type in ALL_TYPES else event_from_dict(event.to_dict()))
        stream.close()
    return streams
