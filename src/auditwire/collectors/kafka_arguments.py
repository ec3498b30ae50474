"""What only a KafkaCollector may be given: arguments in, checked values or a ConfigurationError out."""

from __future__ import annotations

from typing import Any

from auditwire.delivery.topics import TopicSettings
from auditwire.errors import ConfigurationError

__all__ = ["JOURNAL_BYTES", "LEAST_JOURNAL_BYTES", "checked_capacity", "topic_settings_of"]

JOURNAL_BYTES = 64 << 20
"""Room in the memory journal by default."""

LEAST_JOURNAL_BYTES = 2 << 20
"""Below this the largest event would not fit beside another."""


def checked_capacity(value: Any) -> int:
    if value is None:
        return JOURNAL_BYTES
    if not isinstance(value, int) or value < LEAST_JOURNAL_BYTES:
        raise ConfigurationError("journal_bytes", f"at least {LEAST_JOURNAL_BYTES}, not {value!r}")
    return value


def topic_settings_of(create_topics: bool | TopicSettings) -> TopicSettings | None:
    if isinstance(create_topics, TopicSettings):
        return create_topics
    if not isinstance(create_topics, bool):
        raise ConfigurationError("create_topics", f"{create_topics!r} is no bool and no TopicSettings")
    return TopicSettings() if create_topics else None
