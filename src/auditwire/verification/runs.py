"""Runs: files of facts, sorted by stream, that are merged when streams are judged.

A run is what a :class:`~auditwire.verification.facts.FactWriter` had in memory when that was full. It is
written once, from the beginning to the end, and only read afterwards, by several processes if need be. It is
a scratch file of one check: nothing in it is synced, and no other version reads it.

====================== =============================================================================
bytes                  meaning
====================== =============================================================================
8                      ``AWFACTS`` and the format's number, 1
for each stream, in    rows, 76 bytes each, sorted; then claims, sorted, each with its length before it
the order of the keys  (4 bytes)
for each stream, in    index: key (16), where its rows begin (8), how many there are (8), bytes of its
the order of the keys  claims (8)
rest                   names: JSON object with ``topics`` and ``types`` (hex of the code -> text) and
                       ``sessions`` (true: sessions were asked for)
last 32                where the index begins (8), how many streams it has (8), bytes of the names (8),
                       ``AWFACTS`` and the format's number, 1
====================== =============================================================================

Numbers are big-endian; :mod:`auditwire.verification.layout` has rows, claims, keys and codes.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from heapq import merge
from itertools import groupby, islice, pairwise
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from auditwire.verification.layout import KEY_BYTES, ROW_BYTES, SEQUENCE, Kind, Names, is_hashed, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Group", "Run", "RunWriter", "Runs", "has_records", "merged_claims", "merged_rows", "stream_ids"]

_MAGIC = b"AWFACTS\x01"
_INDEX = Struct(">16sQQQ")
_TRAILER = Struct(">QQQ8s")
_LENGTH = Struct(">I")
_INDEX_READ = 1_024 * _INDEX.size
_CLAIMS_READ = 1 << 18
_ROWS_READ = 1 << 16  # rows of all sources together that are held while they are merged: about 8 MB
_FIRST_CLAIMS = 2  # of a stream that was carried: perhaps its name, then CARRIED
_LEAST_ROWS = 128  # of one source
_key = itemgetter(0)


class Group(NamedTuple):
    """The facts of one stream in one run."""

    key: bytes
    start: int
    rows: int
    claims: int
    run: Run

    def read_rows(self, count: int) -> Iterator[list[bytes]]:
        """Its rows, some at a time.

        Args:
            count: How many at a time.
        """
        end = self.start + self.rows * ROW_BYTES
        for at in range(self.start, end, count * ROW_BYTES):
            data = self.run.read(at, min(count * ROW_BYTES, end - at))
            yield [data[i : i + ROW_BYTES] for i in range(0, len(data), ROW_BYTES)]

    def read_claims(self) -> Iterator[bytes]:
        """Its claims, in order."""
        at = self.start + self.rows * ROW_BYTES
        end = at + self.claims
        data, done = b"", 0
        while at < end or done < len(data):
            if len(data) - done >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(data, done)
                done += _LENGTH.size
                if len(data) - done >= length:
                    yield data[done : done + length]
                    done += length
                    continue
                done -= _LENGTH.size
            else:
                length = 0
            more = min(max(_CLAIMS_READ, length), end - at)
            if not more:
                raise ValueError("a run of facts is damaged: a claim goes on behind its stream")
            data, done = data[done:] + self.run.read(at, more), 0
            at += more


class RunWriter:
    """Writes a run. Streams have to come in the order of their keys, rows and claims sorted.

    Args:
        path: The file; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=1 << 20)
        self._file.write(_MAGIC)
        self._at = len(_MAGIC)
        self._index: list[bytes] = []

    def write(self, key: bytes, rows: Iterable[Sequence[bytes]], claims: Iterable[bytes]) -> None:
        """Add a stream.

        Args:
            key: Its key.
            rows: Its rows, in pieces.
            claims: Its claims.
        """
        start, count, size = self._at, 0, 0
        for piece in rows:
            self._file.write(b"".join(piece))
            count += len(piece)
        for claim in claims:
            self._file.write(_LENGTH.pack(len(claim)))
            self._file.write(claim)
            size += _LENGTH.size + len(claim)
        self._at = start + count * ROW_BYTES + size
        self._index.append(_INDEX.pack(key, start, count, size))

    def close(self, names: Names, *, sessions: bool) -> None:
        """Write index and names; the run is whole then."""
        texts = json.dumps(
            {
                "topics": {code.hex(): text for code, text in names.topics.items()},
                "types": {code.hex(): text for code, text in names.types.items()},
                "sessions": sessions,
            }
        ).encode("ascii")
        with self._file as file:
            file.writelines(self._index)
            file.write(texts)
            file.write(_TRAILER.pack(self._at, len(self._index), len(texts), _MAGIC))

    def discard(self) -> None:
        """Close and remove what was written."""
        self._file.close()
        self.path.unlink()


class Run:
    """A run that is read.

    Args:
        path: The file.

    Attributes:
        names: What the codes in its rows stand for.
        sessions: True when sessions were asked for.

    Raises:
        ValueError: The file is no whole run.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        try:
            size = self._file.seek(0, os.SEEK_END)
            if size < len(_MAGIC) + _TRAILER.size:
                raise ValueError(f"{path} is no run of facts, or is cut off")  # noqa: TRY301 - as below
            trailer = self.read(size - _TRAILER.size, _TRAILER.size)
            self._index_at, self._streams, names, magic = _TRAILER.unpack(trailer)
            if magic != _MAGIC:
                raise ValueError(f"{path} is no run of facts, or is cut off")  # noqa: TRY301 - the descriptor
            texts = json.loads(self.read(size - _TRAILER.size - names, names))
        except BaseException:
            self.close()
            raise
        self.sessions: bool = texts["sessions"]
        self.names = Names(
            *({bytes.fromhex(code): text for code, text in texts[what].items()} for what in Names._fields)
        )

    def close(self) -> None:
        self._file.close()

    def read(self, at: int, length: int) -> bytes:
        """These bytes of the file; it has them."""
        self._file.seek(at)
        data = self._file.read(length)
        while len(data) < length:  # one read gives at most 2 GiB
            more = self._file.read(length - len(data))
            if not more:
                raise ValueError("a run of facts was cut off while it was read")
            data += more
        return data

    def groups(self) -> Iterator[Group]:
        """The streams in it, in the order of their keys."""
        end = self._index_at + self._streams * _INDEX.size
        for at in range(self._index_at, end, _INDEX_READ):
            for key, start, rows, claims in _INDEX.iter_unpack(self.read(at, min(_INDEX_READ, end - at))):
                yield Group(key, start, rows, claims, self)

    def group(self, key: bytes) -> Group | None:
        """The facts of one stream; None when it has none. Searches the index by halves."""
        low, high = 0, self._streams
        while low < high:
            middle = (low + high) // 2
            at = self._index_at + middle * _INDEX.size
            if self.read(at, KEY_BYTES) < key:
                low = middle + 1
            else:
                high = middle
        if low < self._streams:
            at = self._index_at + low * _INDEX.size
            found, start, rows, claims = _INDEX.unpack(self.read(at, _INDEX.size))
            if found == key:
                return Group(key, start, rows, claims, self)
        return None


class Runs:
    """All runs of a check, as one. A context manager.

    Args:
        paths: The files.

    Attributes:
        names: What the codes in their rows stand for.
        sessions: True when sessions were asked for.

    Raises:
        ValueError: A file is no whole run.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.names = Names({}, {})
        self.sessions = False
        self._runs: list[Run] = []
        try:
            for path in paths:
                run = Run(path)
                self._runs.append(run)
                self.names.add(run.names)
                self.sessions |= run.sessions
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for run in self._runs:
            run.close()
        self._runs.clear()

    def streams(self) -> Iterator[tuple[bytes, list[Group]]]:
        """Each stream's key and its facts in the runs that have some, in the order of the keys."""
        one = [run.groups() for run in self._runs]
        for key, groups in groupby(merge(*one, key=_key), _key):
            yield key, list(groups)

    def groups_of(self, key: bytes) -> list[Group]:
        """The facts of one stream."""
        return [group for run in self._runs if (group := run.group(key)) is not None]


def stream_ids(paths: Iterable[Path]) -> Iterator[str]:
    """The streams that runs have facts of, in the order of the keys.

    Raises:
        ValueError: A file is no whole run.
    """
    with Runs(paths) as runs:
        for key, groups in runs.streams():
            if is_hashed(key):  # the name comes before all other claims
                yield next(merged_claims(groups))[1:].decode("utf-8", "surrogatepass")
            else:
                yield text_of(key)


def has_records(groups: Iterable[Group]) -> bool:
    """True when a stream has a record, be it that only an earlier check has read it."""
    return any(
        group.rows or any(claim[0] == Kind.CARRIED for claim in islice(group.read_claims(), _FIRST_CLAIMS))
        for group in groups
    )


def merged_rows(groups: Sequence[Group]) -> Iterator[list[bytes]]:
    """The rows of a stream in order, in lists.

    Sorting beats a heap here: Python's sort finds the sorted pieces and merges them in C.
    """
    groups = [group for group in groups if group.rows]
    count = max(_ROWS_READ // max(len(groups), 1), _LEAST_ROWS)
    if len(groups) == 1:
        yield from groups[0].read_rows(count)
        return
    sources = [group.read_rows(count) for group in groups]
    held: list[list[bytes]] = [[] for _ in sources]
    open_ = set(range(len(sources)))  # those that hold rows, or may have more
    while True:
        for number in list(open_):
            if not held[number]:
                more = next(sources[number], None)
                if more is None:
                    open_.discard(number)
                else:
                    held[number] = more
        if not open_:
            return
        # what a source has not read yet lies behind what it holds: up to here nothing can come in between
        limit = min(held[number][-1] for number in open_)
        rows = []
        for number, part in enumerate(held):
            end = bisect_right(part, limit)
            rows += part[:end]
            held[number] = part[end:]
        rows.sort()
        yield rows


def merged_claims(groups: Sequence[Group]) -> Iterator[bytes]:
    """The claims of a stream in order, each once."""
    sources = [group.read_claims() for group in groups if group.claims]
    claims = sources[0] if len(sources) == 1 else merge(*sources)
    for claim, _ in groupby(claims):
        yield claim


def sequences_in(rows: Iterable[Sequence[bytes]]) -> Iterator[tuple[int, int]]:
    """The ranges of sequences, first and last, that rows in order have."""
    first = last = -1
    for piece in rows:
        numbers = [int.from_bytes(row[SEQUENCE], "big") for row in piece]
        if first < 0:
            first = last = numbers[0]
        if numbers[-1] - last <= len(numbers) and all(b - a <= 1 for a, b in pairwise([last, *numbers])):
            last = numbers[-1]
            continue
        for number in numbers:
            if number - last > 1:
                yield first, last
                first = number
            last = number
    if first >= 0:
        yield first, last
