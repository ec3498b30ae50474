"""What happens to an event that is too large: its longest values are cut until it fits.

In come the values of a record whose body would exceed :data:`MAX_BODY`, out come shorter ones. One level is
found such that everything fits when each value is cut to it: short values stay whole, only the longest lose.
Strings are cut between characters, arrays between items (the item at the cut is cut itself). A value of the
metadata that is no string is replaced by the beginning of its JSON text. What was cut is told in
``metadata["auditwire.truncated"]``: field, or ``metadata.<key>`` -> length in characters and SHA-256 of the
whole; of an array or another value than a string, of its compact JSON text.

``event_id`` and ``session_id`` are never longer than :data:`MAX_ID`, whatever else there is.

When more than 50 values would have to be cut, the metadata is cut as a whole: values to one level, and keys
from the end on when the keys alone are too many. It is then told as one, under ``metadata``, with the number
of ``keys`` and how many were ``kept``.
"""

from __future__ import annotations

from typing import Any

from auditwire.jsonable import json_line
from auditwire.wire.notes import COERCED, MAX_NOTED, TRUNCATED, add_notes, measured, name_of

__all__ = ["MAX_BODY", "MAX_ID", "ROOM", "ids_fit", "shorten", "surely_too_large"]

MAX_BODY = 900 * 1024
"""Bytes of the largest Avro body: Kafka's default limit of 1 MiB, less framing, key, headers and batch."""

ROOM = MAX_BODY - 10
"""Bytes that head and tail may have together: less the longest sequence."""

MAX_ID = 16 * 1024
"""Bytes of the longest ``event_id`` and ``session_id``: they stand a second time in header and key."""

_IDS = ("event_id", "session_id")
_FIELD_BYTES = 16  # of a field beside its text: union index, length, block count, numbers; 11 at most
_OTHERS_BYTES = 256  # event_type, stream_id, sequence, the braces of the metadata and the name of our notes
_SHORT = 64  # bytes of text from which on its length takes more than one byte
_LENGTH_BYTES = 5  # of a text's length at most
_ENTRY_BYTES = 2  # of an entry of the metadata beside key and value: colon and comma
_NOTE_BYTES = 1_500  # of telling about one cut value: its name twice, 670 at most each, and the note
_LEAST = 48  # bytes that an entry of the metadata is not cut below: then rather fewer entries
_OWN_NOTES = 200_000  # bytes of our notes that are left alone; more than that did not come from us


def ids_fit(row: dict[str, Any]) -> bool:
    """True when the ids are short enough to stand a second time beside the body."""
    return all(len(text) <= MAX_ID // 4 or len(text.encode("utf-8")) <= MAX_ID for text in _ids(row).values())


def _ids(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in _IDS if row[name] is not None}


def surely_too_large(row: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """True when the characters alone say so, and hundreds of megabytes of JSON need not be made first."""
    texts = [v for values in (row, metadata) for v in values.values() if isinstance(v, str)]
    return sum(map(len, texts)) > MAX_BODY


def shorten(row: dict[str, Any], metadata: dict[str, Any], *, keep_arrays: bool = False) -> list[str]:
    """Cuts the longest values, in place, and adds the note to the metadata.

    Args:
        row: The fields of the record, without ``metadata``, ``event_type``, ``stream_id`` and ``sequence``.
        metadata: The metadata, as JSON can express it.
        keep_arrays: True where a shorter array would be a wrong statement: in control records.

    Returns:
        The names of the fields that were cut; ``metadata`` for anything in it.
    """
    return _Cutter(row, metadata, keep_arrays=keep_arrays).cut()


class _Cutter:
    """One event's values with their sizes in bytes."""

    def __init__(self, row: dict[str, Any], metadata: dict[str, Any], *, keep_arrays: bool) -> None:
        self.row = row
        self.metadata = metadata
        self.notes: dict[str, Any] = {}
        self.own = {
            k: metadata.pop(k)
            for k in (COERCED, TRUNCATED)
            if k in metadata and _json_size(metadata[k]) < _OWN_NOTES
        }
        arrays = {k: sum(map(_item_size, v)) for k, v in row.items() if isinstance(v, list)}
        self.long_ids = [k for k, v in _ids(row).items() if len(v.encode("utf-8")) > MAX_ID]
        for name in self.long_ids:
            self._cut_field(name, MAX_ID)
        self.fields = {k: len(v.encode("utf-8")) for k, v in row.items() if isinstance(v, str)}
        self.room = MAX_BODY - _OTHERS_BYTES - _FIELD_BYTES * len(row) - _json_size(self.own)
        if keep_arrays:
            self.room -= sum(arrays.values())
        else:
            self.fields.update(arrays)
        self.entries = {k: _json_size(k) + _json_size(v) + _ENTRY_BYTES for k, v in metadata.items()}

    def cut(self) -> list[str]:
        sizes = [*self.fields.values(), *self.entries.values()]
        level = _level(sizes, self.room - _NOTE_BYTES * min(sum(s > _LEAST for s in sizes), MAX_NOTED))
        if level >= _LEAST and sum(s > level for s in sizes) <= MAX_NOTED:
            self._cut_entries(level)
        else:
            everything = sum(self.entries.values())
            level = _level(
                [*self.fields.values(), everything], self.room - _NOTE_BYTES * (len(self.fields) + 1)
            )
            if everything > level:
                self._cut_metadata(level)
        in_metadata = len(self.notes) > len(self.long_ids)
        cut = [name for name, size in self.fields.items() if size > level]
        for name in cut:
            self._cut_field(name, level)
        self.metadata.update(self.own)
        add_notes(self.metadata, TRUNCATED, self.notes)
        cut += [name for name in self.long_ids if name not in cut]
        return [*cut, "metadata"] if in_metadata else cut

    def _cut_field(self, name: str, level: int) -> None:
        value = self.row[name]
        if isinstance(value, str):
            self.notes.setdefault(name, measured(value))  # an id may have been cut already
            self.row[name] = _cut_text(value, level)
        else:
            self.notes[name] = {**measured(json_line(value)), "items": len(value)}
            self.row[name] = _cut_items(value, level)

    def _cut_entries(self, level: int) -> None:
        """Cuts the long values of the metadata, and tells of each one."""
        for key in [k for k, size in self.entries.items() if size > level]:
            value = self.metadata.pop(key)
            text = value if isinstance(value, str) else json_line(value)
            name = name_of(key)
            self.notes[f"metadata.{name}"] = measured(text)
            # a key that is itself too long goes by its name in the notes
            shown = key if _json_size(key) <= level // 2 else name
            self.metadata[shown] = _cut_json(text, level - _ENTRY_BYTES - _json_size(shown))

    def _cut_metadata(self, limit: int) -> None:
        """Cuts the values of the metadata to one level, and leaves keys out when they alone are too many."""
        self.notes["metadata"] = {**measured(json_line(self.metadata)), "keys": len(self.metadata)}
        level = max(_level(list(self.entries.values()), limit), _LEAST)
        kept: dict[str, Any] = {}
        for key, value in self.metadata.items():
            size = self.entries[key]
            if size > level:
                text = value if isinstance(value, str) else json_line(value)
                short = _cut_json(text, level - _ENTRY_BYTES - _json_size(key))
                size = _json_size(key) + _json_size(short) + _ENTRY_BYTES
            else:
                short = value
            if size <= min(level, limit):
                limit -= size
                kept[key] = short
        self.notes["metadata"]["kept"] = len(kept)
        self.metadata.clear()
        self.metadata.update(kept)


def _level(sizes: list[int], room: int) -> int:
    """The size to which all must be cut for their sum to fit; the largest one when nothing must be cut."""
    left = max(room, 0)
    for done, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - done)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def _json_size(value: Any) -> int:
    """Bytes of the value's JSON text; of one that is too large in any case, a lower bound."""
    if isinstance(value, str) and len(value) > MAX_BODY:
        return len(value)
    text = json_line(value)
    return len(text) if text.isascii() or len(text) > MAX_BODY else len(text.encode("utf-8"))


def _item_size(item: str) -> int:
    """Bytes of an array's item: its length as an Avro long, and its text."""
    size = len(item.encode("utf-8"))
    return size + (1 if size < _SHORT else _LENGTH_BYTES)


def _cut_text(text: str, limit: int) -> str:
    """The beginning of the text whose UTF-8 has no more than ``limit`` bytes."""
    return text[:limit].encode("utf-8")[:limit].decode("utf-8", "ignore")


def _cut_json(text: str, limit: int) -> str:
    """The beginning of the text whose JSON, quotes included, has no more than ``limit`` bytes."""
    low, high = 0, min(len(text), max(limit - 2, 0))
    while low < high:
        middle = (low + high + 1) // 2
        if _json_size(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _cut_items(items: list[str], limit: int) -> list[str]:
    """The first items, the last of them cut, that have no more than ``limit`` bytes; all have more."""
    kept: list[str] = []
    while (size := _item_size(items[len(kept)])) <= limit:
        limit -= size
        kept.append(items[len(kept)])
    if limit > _LENGTH_BYTES:
        kept.append(_cut_text(items[len(kept)], limit - _LENGTH_BYTES))
    return kept
