"""What a reader is asked for: topics, types, sessions and the like, and a span of time; checked, compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from auditwire.errors import ConfigurationError
from auditwire.event_base import us_from_time
from auditwire.events import ALL_TYPES
from auditwire.wire import event_type_of, topic_name

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

__all__ = ["TimeLike", "Wanted", "event_types", "known_types", "milliseconds"]

TimeLike = datetime | str | int
"""A time: an aware datetime, ISO-8601 text with an offset, or milliseconds since the Unix epoch."""


class Fields(Protocol):
    """What a filter looks at: an event, or a record's envelope."""

    session_id: str | None
    turn_id: str | None
    agent_id: str | None
    severity: str


class Wanted:
    """Which records are handed out. An instance without any filter says so with ``everything``.

    Args:
        types: Event types, checked; None takes all. So for the next ones.
        session_id: Sessions.
        turn_id: Turns.
        agent_id: Agents.
        stream_id: Streams.
        severity: Severities.

    Raises:
        ConfigurationError: A collection is empty.
    """

    def __init__(
        self,
        *,
        types: frozenset[str] | None = None,
        session_id: str | Iterable[str] | None = None,
        turn_id: str | Iterable[str] | None = None,
        agent_id: str | Iterable[str] | None = None,
        stream_id: str | Iterable[str] | None = None,
        severity: str | Iterable[str] | None = None,
    ) -> None:
        self.types = types
        self.sessions = _chosen("session_id", session_id)
        self.turns = _chosen("turn_id", turn_id)
        self.agents = _chosen("agent_id", agent_id)
        self.streams = _chosen("stream_id", stream_id)
        self.severities = _chosen("severity", severity)
        parts = (types, self.sessions, self.turns, self.agents, self.streams, self.severities)
        self.everything = all(part is None for part in parts)

    def matches(self, event_type: str, stream_id: str, fields: AuditEvent | Fields) -> bool:
        """Whether a record is handed out.

        Args:
            event_type: Its type.
            stream_id: Its stream.
            fields: Its event, or its envelope.
        """
        return (
            (self.types is None or event_type in self.types)
            and (self.sessions is None or fields.session_id in self.sessions)
            and (self.turns is None or fields.turn_id in self.turns)
            and (self.agents is None or fields.agent_id in self.agents)
            and (self.streams is None or stream_id in self.streams)
            and (self.severities is None or fields.severity in self.severities)
        )


def _chosen(name: str, given: str | Iterable[str] | None) -> frozenset[str] | None:
    if given is None:
        return None
    chosen = frozenset([given] if isinstance(given, str) else given)
    if not chosen:
        raise ConfigurationError(name, "is an empty collection: leave it out to take all")
    return chosen


def known_types(types: str | Iterable[str] | None) -> frozenset[str] | None:
    """The event types that were asked for, None for all.

    Raises:
        ConfigurationError: One is no event type, or there is none.
    """
    if types is None:
        return None
    chosen = frozenset([types] if isinstance(types, str) else types)
    unknown = sorted(chosen.difference(ALL_TYPES))
    if unknown or not chosen:
        raise ConfigurationError(
            "types",
            f"{', '.join(unknown) or 'nothing'} is no event type; known are {', '.join(sorted(ALL_TYPES))}",
        )
    return chosen


def event_types(
    prefix: str, topics: Mapping[str, str] | Iterable[str] | None, types: frozenset[str] | None
) -> dict[str, str | None]:
    """The topics to read, each with its events' type; None where the name tells none, or there are several.

    Raises:
        ConfigurationError: No topic is named, or a type is none.
    """
    if topics is not None and not isinstance(topics, Mapping):
        names = [topics] if isinstance(topics, str) else list(topics)
        if not names:
            raise ConfigurationError("topics", "name a topic, or leave it out to read all of the prefix")
        return {name: _known(event_type_of(prefix, name)) for name in names}
    chosen = types or ALL_TYPES.keys()
    renamed = topics or {}
    unknown = sorted(renamed.keys() - ALL_TYPES.keys())
    if unknown:
        raise ConfigurationError("topics", f"{', '.join(unknown)} is no event type")
    topic_of = {name: renamed.get(name) or topic_name(prefix, name) for name in ALL_TYPES}
    sharing = Counter(topic_of.values())
    return {topic_of[name]: name if sharing[topic_of[name]] == 1 else None for name in sorted(chosen)}


def _known(event_type: str | None) -> str | None:
    return event_type if event_type in ALL_TYPES else None


def milliseconds(key: str, value: TimeLike | None) -> int | None:
    """A time as milliseconds since the Unix epoch, rounded up to the next whole one; None stays None.

    Args:
        key: The parameter's name, for the error.
        value: The time.

    Raises:
        ConfigurationError: It is no time, or one without an offset, which would depend on the machine.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, datetime)):
        raise ConfigurationError(key, f"{value!r} is no time")
    if isinstance(value, int):
        return value
    try:
        moment = value if isinstance(value, datetime) else _parsed(value)
    except ValueError as error:
        raise ConfigurationError(key, f"{value!r} is no ISO-8601 time: {error}") from error
    if moment.tzinfo is None:
        raise ConfigurationError(key, f"{value} has no offset from UTC: add one, such as +00:00 or Z")
    return -(-us_from_time(moment) // 1_000)


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "Zz" else text)  # 3.10 knows no Z
