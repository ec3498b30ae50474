"""What a KafkaCollector may be given: arguments in, checked values or a ConfigurationError out."""

from __future__ import annotations

import platform
import socket
from typing import TYPE_CHECKING, Any

from auditwire.delivery.topics import TopicSettings
from auditwire.errors import ConfigurationError
from auditwire.events import ALL_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "JOURNAL_BYTES",
    "LEAST_JOURNAL_BYTES",
    "check_choice",
    "check_seconds",
    "check_topics",
    "checked_capacity",
    "resource_of",
    "topic_settings_of",
]

JOURNAL_BYTES = 64 << 20
"""Room in the memory journal by default."""

LEAST_JOURNAL_BYTES = 2 << 20
"""Below this the largest event would not fit beside another."""


def check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(key, f"{value!r} is none of {', '.join(map(repr, choices))}")


def checked_capacity(value: Any) -> int:
    if value is None:
        return JOURNAL_BYTES
    if not isinstance(value, int) or value < LEAST_JOURNAL_BYTES:
        raise ConfigurationError("journal_bytes", f"at least {LEAST_JOURNAL_BYTES}, not {value!r}")
    return value


def check_seconds(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ConfigurationError(key, f"{value!r} is no number of seconds")


_TOPIC_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_TOPIC_LENGTH = 249


def check_topics(prefix: str, topics: Mapping[str, str] | None) -> None:
    longest = max(map(len, ALL_TYPES))
    if not prefix or not set(prefix) <= _TOPIC_CHARACTERS or len(prefix) + 1 + longest > _TOPIC_LENGTH:
        raise ConfigurationError("prefix", f"{prefix!r} cannot begin a topic's name (letters, digits, . _ -)")
    for event_type, topic in (topics or {}).items():
        if event_type not in ALL_TYPES:
            known = ", ".join(ALL_TYPES)
            raise ConfigurationError(f"topics[{event_type!r}]", f"no such event type; there are {known}")
        if topic in {"", ".", ".."} or not set(topic) <= _TOPIC_CHARACTERS or len(topic) > _TOPIC_LENGTH:
            raise ConfigurationError(f"topics[{event_type!r}]", f"{topic!r} is no topic's name")


def topic_settings_of(create_topics: bool | TopicSettings) -> TopicSettings | None:
    if isinstance(create_topics, TopicSettings):
        return create_topics
    if not isinstance(create_topics, bool):
        raise ConfigurationError("create_topics", f"{create_topics!r} is no bool and no TopicSettings")
    return TopicSettings() if create_topics else None


def resource_of(service: str, version: str | None, environment: str | None) -> dict[str, Any]:
    resource: dict[str, Any] = {"service.name": service}
    if version:
        resource["service.version"] = version
    if environment:
        resource["deployment.environment.name"] = environment
    resource["host.name"] = socket.gethostname()
    resource["process.runtime.version"] = platform.python_version()
    return resource
