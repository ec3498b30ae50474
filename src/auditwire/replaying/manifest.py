"""What a copy has to hold, as a document beside it; and the comparison of a copy with it.

A file of one JSON object:

============ ==============================================================================================
member       meaning
============ ==============================================================================================
format       ``auditwire replay manifest``
version      1
library      the version of auditwire that wrote it
began,       when the first run began and the last one ended, ISO-8601
ended
source       ``cluster_id`` (null where the cluster tells none) and ``prefix`` of the trail that was read
target       the same of the copy
selection    what was asked for, as it was given: ``since``, ``until``, ``session``, ``where`` ...; empty for
             everything. ``since_ms`` and ``until_ms`` are the times that were understood
records      how many are in the copy, each stream and sequence once
first_,      the oldest and the newest Kafka timestamp of them, Unix milliseconds; null without records
last_timestamp_ms
topics       topic that was read -> ``target``, the topic of the copy, and ``partitions``: number -> the first
             and last offset that was copied, and how many records, duplicates included
streams      stream id -> ``first`` and ``last`` sequence, ``records``, ``digest``: SHA-256 over the records'
             digests in the order of their sequences, as :mod:`auditwire.replaying.tally` specifies; ``late``:
             sequence -> digest of records that are not in it, where there are any
duplicates   records that stood in the source once more, and do so in the copy
left_out     ``undecodable``: reason -> messages that are no records (``headers``: records whose headers could
             not be read, and that were copied without); ``gaps``: numbers that were waited for in vain, the
             first 1,000; ``gap_count``: all of them
untimed      records that had no Kafka timestamp, and have the time of copying
runs         how many runs the copy took
crashes      how many of them ended without having remembered how far they were: what they had written behind
             that stands in the copy twice. That is no fault, and readers drop it
============ ==============================================================================================

The document is not signed: who can replace it can replace the copy. Keep it, or its SHA-256, elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditwire._version import __version__
from auditwire.errors import ConfigurationError
from auditwire.events import iso_from_us
from auditwire.replaying.tally import StreamTally, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from auditwire.reading import Record
    from auditwire.replaying.tally import Tally

__all__ = ["Comparison", "Difference", "Manifest", "load_manifest", "manifest_of"]

_FORMAT, _VERSION = "auditwire replay manifest", 1


def manifest_of(
    tally: Tally,
    *,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    target_topic: Callable[[str], str],
    selection: Mapping[str, Any],
    began_us: int,
    ended_us: int,
    untimed: int,
    runs: int,
    crashes: int,
) -> dict[str, Any]:
    """The document for a copy; see the module.

    Args:
        tally: What was copied.
        source: ``cluster_id`` and ``prefix`` of what was read.
        target: The same of the copy.
        target_topic: Topic that was read -> topic of the copy.
        selection: What was asked for.
        began_us: Unix microseconds.
        ended_us: Unix microseconds.
        untimed: Records whose timestamp could not be kept.
        runs: How many there were.
        crashes: How many of them did not end by themselves.
    """
    counts = tally.to_dict()
    topics = {
        topic: {
            "target": target_topic(topic),
            "partitions": {
                number: {"first_offset": first, "last_offset": last, "records": records}
                for number, (first, last, records) in partitions.items()
            },
        }
        for topic, partitions in counts["places"].items()
    }
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "library": __version__,
        "began": iso_from_us(began_us),
        "ended": iso_from_us(ended_us),
        "source": dict(source),
        "target": dict(target),
        "selection": dict(selection),
        "records": tally.records,
        "first_timestamp_ms": tally.first_ms,
        "last_timestamp_ms": tally.last_ms,
        "topics": topics,
        "streams": counts["streams"],
        "duplicates": tally.duplicates,
        "left_out": {
            "undecodable": counts["undecodable"],
            "gaps": tally.gaps,
            "gap_count": tally.gap_count,
        },
        "untimed": untimed,
        "runs": runs,
        "crashes": crashes,
    }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a comparison needs of the document.

    Attributes:
        prefix: Of the copy's topics.
        records: How many it has.
        first_ms: Their oldest Kafka timestamp; None without records, or without a time.
        streams: Stream id -> its part.
    """

    prefix: str
    records: int
    first_ms: int | None
    streams: dict[str, StreamTally]


def load_manifest(path: Path) -> Manifest:
    """The manifest that stands in the file.

    Raises:
        ConfigurationError: The file cannot be read, or is no manifest.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("--check", f"{path} cannot be read: {error}") from error
    try:
        return _manifest(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            "--check", f"{path} is no manifest of auditwire replay ({type(error).__name__}: {error})"
        ) from error


def _manifest(content: Any) -> Manifest:
    if (content["format"], content["version"]) != (_FORMAT, _VERSION):
        raise ValueError(f"{content['format']!r}, version {content['version']!r}")
    streams = {name: StreamTally.from_dict(stream) for name, stream in content["streams"].items()}
    records, first_ms = whole(content["records"]), content["first_timestamp_ms"]
    if sum(stream.records for stream in streams.values()) != records:
        raise ValueError(f"its streams do not have {records} records together")
    untimed = whole(content["untimed"])
    return Manifest(
        prefix=str(content["target"]["prefix"]),
        records=records,
        first_ms=None if first_ms is None or untimed else whole(first_ms),
        streams=streams,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """A stream of the copy that is not as the manifest says.

    Attributes:
        stream_id: The stream.
        kind: ``missing`` (it has fewer records), ``added`` (more of them within its range), ``changed`` (as
            many, and not the same), ``unordered`` (they came out of order, and cannot be compared).
        expected: Records that it has to have.
        found: Records that it has, within the range of its sequences.
        message: The same, as a sentence.
    """

    stream_id: str
    kind: str
    expected: int
    found: int
    message: str

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Found:
    """What was found of one stream."""

    tally: StreamTally = field(default_factory=StreamTally)
    late: int = 0
    wrong: int = 0


class Comparison:
    """A copy's records against a manifest. For one thread.

    Args:
        manifest: What the copy has to hold.

    Attributes:
        records: Records that the manifest may be about: of one of its streams, within its range.
        others: Other records; whether they belong there is not the manifest's to say.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.records = 0
        self.others = 0
        self._expected = manifest.streams
        self._found: dict[str, _Found] = {}

    def add(self, record: Record) -> None:
        """Take one record of the copy; each number once, a stream's in their order."""
        expected = self._expected.get(record.stream_id)
        if expected is None or not expected.first <= record.sequence <= expected.last:
            self.others += 1
            return
        self.records += 1
        found = self._found.setdefault(record.stream_id, _Found())
        late = expected.late.get(record.sequence)
        if late is None:
            found.tally.add(record.sequence, record.digest)
        else:
            found.late += 1
            found.wrong += late != record.digest

    def differences(self) -> list[Difference]:
        """The streams that are not as they have to be, by id."""
        found = ((name, self._difference(name)) for name in sorted(self._expected))
        return [difference for _, difference in found if difference is not None]

    def _difference(self, name: str) -> Difference | None:
        expected, found = self._expected[name], self._found.get(name) or _Found()
        count = found.tally.records + found.late
        numbers = f"sequences {expected.first} to {expected.last}"
        if count < expected.records:
            kind, words = (
                "missing",
                f"{expected.records - count:,} of {expected.records:,} records are not there",
            )
        elif count > expected.records:
            kind, words = "added", f"{count - expected.records:,} records are there that were not copied"
        elif found.tally.late:
            kind, words = "unordered", f"{len(found.tally.late):,} records came out of order: not compared"
        elif found.wrong or found.tally.digest != expected.digest:
            kind, words = "changed", f"its {count:,} records are not those that were copied"
        else:
            return None
        return Difference(name, kind, expected.records, count, f"stream {name}, {numbers}: {words}")
