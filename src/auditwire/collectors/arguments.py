"""What any collector that writes a stream may be given: arguments in, a ConfigurationError out.

Nothing here loads a Kafka client.
"""

from __future__ import annotations

import platform
import socket
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError
from auditwire.events import ALL_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_choice", "check_seconds", "check_topics", "resource_of"]


def check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(key, f"{value!r} is none of {', '.join(map(repr, choices))}")


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


def resource_of(service: str, version: str | None, environment: str | None) -> dict[str, Any]:
    resource: dict[str, Any] = {"service.name": service}
    if version:
        resource["service.version"] = version
    if environment:
        resource["deployment.environment.name"] = environment
    resource["host.name"] = socket.gethostname()
    resource["process.runtime.version"] = platform.python_version()
    return resource
