"""What the library itself writes into an event's metadata about what it did to the event.

=============================== =========================================================================
``auditwire.coerced``           field -> the first 1,000 characters of the text of what did not fit
``auditwire.truncated``         field -> ``{"length": characters, "digest": "sha256:<hex>"}`` of the whole
``auditwire.unknown_fields``    field -> value, of fields that the event's class has and its schema has not
=============================== =========================================================================
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

__all__ = [
    "COERCED",
    "MAX_NOTED",
    "TRUNCATED",
    "UNKNOWN_FIELDS",
    "add_notes",
    "measured",
    "name_of",
]

COERCED = "auditwire.coerced"
TRUNCATED = "auditwire.truncated"
UNKNOWN_FIELDS = "auditwire.unknown_fields"

MAX_NOTED = 50
"""Cut values that are noted one by one; when there are more, the metadata is noted as a whole."""

_NAME_CHARACTERS = 100
_CHUNK = 1 << 20


def add_notes(metadata: dict[str, Any], key: str, notes: dict[str, Any]) -> None:
    """Adds to the notes that are there already, as in an event that is sent a second time.

    The dictionary of notes is made anew, so that the caller's own is not changed.
    """
    old = metadata.get(key)
    if isinstance(old, dict):
        notes = {**old, **notes}
    elif old is not None:
        notes = {key: old, **notes}
    metadata[key] = notes


def measured(text: str) -> dict[str, Any]:
    """Length in characters, and SHA-256 of the UTF-8 text. The text holds no lone surrogate."""
    digest = sha256()
    for start in range(0, len(text), _CHUNK):  # 100 MB of text need not be there twice
        digest.update(text[start : start + _CHUNK].encode("utf-8"))
    return {"length": len(text), "digest": f"sha256:{digest.hexdigest()}"}


def name_of(key: str) -> str:
    """The name of a metadata value in the notes: its key, or the beginning and the digest of a long one."""
    if len(key) <= _NAME_CHARACTERS:
        return key
    return f"{key[:_NAME_CHARACTERS]}… {sha256(key.encode('utf-8')).hexdigest()}"
