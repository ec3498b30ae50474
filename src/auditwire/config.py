"""Settings from outside the program: a file of librdkafka's properties.

In come paths, out come dictionaries; what is wrong is a :class:`~auditwire.errors.ConfigurationError` that
names the place and never shows what may be a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_secret", "read_properties", "redact"]

_SECRET_WORDS = ("password", "secret", "jaas", "key.pem", "token", "credentials", "sasl.oauthbearer.config")


def is_secret(name: str) -> bool:
    """Whether the property of this name holds what must not be shown: a password, key or token."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def redact(name: str, value: Any) -> Any:
    """The value as it may be shown: passwords, keys and tokens are not."""
    return "***" if is_secret(name) else value


def read_properties(path: Path, key: str) -> dict[str, str]:
    """Librdkafka's properties as they stand in a file, one ``key=value`` a line; ``#`` begins a comment line.

    Args:
        path: The file; UTF-8, with or without a byte order mark.
        key: The option or variable that named the file, for the error.

    Raises:
        ConfigurationError: The file cannot be read, or a line is wrong; file and line number are named, the
            line itself is not: it may hold a password.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigurationError(key, f"{path} cannot be read: {why}") from error
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name or any(character.isspace() for character in name):
            raise ConfigurationError(key, f"{path}, line {number}: expected key=value")
        if name in found:
            raise ConfigurationError(key, f"{path}, line {number}: {name} is set above already")
        found[name] = value
    return found
