"""The services that must have a stream: a list in a file, and which of them were not seen.

A check finds what is wrong with the streams that are there. A service that never wrote, or whose streams are
all gone, leaves nothing to find; only somebody who knows what runs can miss it.

The file has one ``service.name`` a line, as the collectors were given it. What follows a ``#`` at a line's
beginning or behind a space is a comment; empty lines do not count; the text is UTF-8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["read_expected", "unseen"]

_COMMENT = re.compile(r"(^|\s)#.*")


def read_expected(path: Path) -> tuple[str, ...]:
    """The services that a file names, each once, in the file's order.

    Raises:
        ConfigurationError: The file cannot be read or names no service: a list that was emptied by mistake
            would expect nothing, and find it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--expect", f"{path} cannot be read: {error}") from error
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    names = tuple(dict.fromkeys(name for name in lines if name))
    if not names:
        raise ConfigurationError("--expect", f"{path} names no service: write one a line")
    return names


def unseen(expected: Iterable[str], seen: Iterable[str]) -> list[str]:
    """The expected services that were not seen, in the order in which they are expected."""
    there = set(seen)
    return [name for name in expected if name not in there]
