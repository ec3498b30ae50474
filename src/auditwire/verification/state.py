"""What a check remembers for the next one: a SQLite file.

Whoever can delete a topic, or the end of one, leaves nothing behind that a check of the topic alone could
miss. A check that remembers how far it has seen each stream can. Keep the file where those who administer
the brokers cannot write.

The file (``application_id`` 0x41775653, "AwVS"; ``user_version`` 1):

=============== ============== ===========================================================================
table           column         meaning
=============== ============== ===========================================================================
``trail``       prefix         the topics' prefix; one row
                cluster        the cluster's id; null where the broker does not tell
                saved_us       when the last check ended, microseconds since the Unix epoch; 0: none has yet
``streams``     stream_id      key
                last_sequence  the highest sequence that was there
                digest         SHA-256 of that record's body, 32 bytes
                closed         1: it has a closing checkpoint
                last_ms        that record's Kafka timestamp, milliseconds since the Unix epoch; -1: none
                service        ``service.name``; null when no checkpoint told
``partitions``  topic          key
                number         key
                topic_id       the topic's id, which a topic made anew under the same name does not have; null
                               where the broker does not tell
                next_offset    everything below it has been read
                last_offset    the last message below it; -1: none was read
                digest         SHA-256 of that message's value; null: none
``carried``     stream_id      key
                facts          what an incremental check needs of the records that it does not read again;
                               none of a stream at fault
``undecodable`` reason         key
                count          messages below the ``next_offset``s that are no records of ours
``faulty``      stream_id      key
                report         the report of a stream at fault as JSON: incremental checks repeat it, so that
                               a fault is not forgotten with the records that showed it
=============== ============== ===========================================================================

A check holds the file's write lock from its beginning to its end, and writes in one transaction: afterwards
the file has the old content or the new one, also when the power goes. Two checks cannot share a state.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["KnownPartition", "KnownStream", "State"]

_APPLICATION_ID = 0x41775653
_VERSION = 1
_MAGIC = b"SQLite format 3\0"
_DIGEST_BYTES = 32
_PAGE = 1_000

_STREAMS = "SELECT stream_id, last_sequence, digest, closed, last_ms, service FROM streams"

_TABLES = """
CREATE TABLE trail (
    prefix TEXT NOT NULL, cluster TEXT, saved_us INTEGER NOT NULL
);
CREATE TABLE streams (
    stream_id TEXT NOT NULL PRIMARY KEY, last_sequence INTEGER NOT NULL, digest BLOB NOT NULL,
    closed INTEGER NOT NULL, last_ms INTEGER NOT NULL, service TEXT
) WITHOUT ROWID;
CREATE TABLE partitions (
    topic TEXT NOT NULL, number INTEGER NOT NULL, topic_id TEXT, next_offset INTEGER NOT NULL,
    last_offset INTEGER NOT NULL, digest BLOB, PRIMARY KEY (topic, number)
) WITHOUT ROWID;
CREATE TABLE carried (stream_id TEXT NOT NULL PRIMARY KEY, facts BLOB NOT NULL);
CREATE TABLE undecodable (reason TEXT NOT NULL PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE faulty (stream_id TEXT NOT NULL PRIMARY KEY, report TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class KnownStream:
    """A stream as a check saw it last; the fields are those of the table ``streams``."""

    stream_id: str
    last_sequence: int
    digest: bytes
    closed: bool
    last_ms: int
    service: str | None = None


@dataclass(frozen=True, slots=True)
class KnownPartition:
    """How far a partition was read; the fields are those of the table ``partitions``."""

    topic_id: str | None
    next_offset: int
    last_offset: int = -1
    digest: bytes | None = None

    @property
    def resume_at(self) -> int:
        """Where the next check begins: at the last record, to look whether it is still the same."""
        return self.next_offset if self.last_offset < 0 else self.last_offset


class State:
    """The file, locked. A context manager; what was not committed is forgotten at its end. For one thread.

    Args:
        path: The file; it is made where there is none. Its directory must be writable.
        prefix: The trail's prefix.

    Attributes:
        path: As given.
        is_new: True when nothing is known from before.
        cluster: The cluster's id at the last check; None when it is not known.
        saved_us: When the last check ended, microseconds since the Unix epoch; 0: none has yet.

    Raises:
        ConfigurationError: The file is not a state, is damaged, belongs to another trail or another version,
            cannot be opened, or another check has it. It is left as it is.
    """

    def __init__(self, path: Path, *, prefix: str) -> None:
        self.path = path
        self.cluster: str | None = None
        self.saved_us = 0
        with self._reading():
            if not path.exists():
                self._make(prefix)
            self._refuse_foreign()
            self._database = _connect(path)
            try:
                self._begin()
                self._refuse_damaged(prefix)
            except BaseException:
                self._database.close()
                raise

    @property
    def is_new(self) -> bool:
        return not self.saved_us

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what was not committed is as if it had not been said."""
        self._database.close()  # an open transaction is rolled back

    # -- what is known --------------------------------------------------------------------------------------

    def streams(self) -> Iterator[KnownStream]:
        """The streams that were seen, in the order of their ids. What was passed may be written meanwhile."""
        return map(_known, self._paged(_STREAMS))

    def stream(self, stream_id: str) -> KnownStream | None:
        """What is known of a stream; None when it was not seen."""
        with self._reading():
            row = self._database.execute(f"{_STREAMS} WHERE stream_id = ?", (stream_id,)).fetchone()
        return None if row is None else _known(row)

    def partitions(self) -> dict[tuple[str, int], KnownPartition]:
        """How far each partition was read."""
        with self._reading():
            return {
                (topic, number): KnownPartition(topic_id, next_offset, last_offset, digest)
                for topic, number, topic_id, next_offset, last_offset, digest in self._database.execute(
                    "SELECT topic, number, topic_id, next_offset, last_offset, digest FROM partitions"
                )
            }

    def undecodable(self) -> Counter[str]:
        """How many messages were no records of ours, by reason."""
        with self._reading():
            return Counter(dict(self._database.execute("SELECT reason, count FROM undecodable")))

    def carried(self) -> Iterator[tuple[str, bytes]]:
        """What is carried of each stream. What was passed may be written meanwhile."""
        return (
            (stream_id, facts) for stream_id, facts in self._paged("SELECT stream_id, facts FROM carried")
        )

    def uncarried(self) -> int:
        """How many streams were seen, are not at fault, and have nothing carried of them."""
        with self._reading():
            found = self._database.execute(
                "SELECT count(*) FROM streams WHERE stream_id NOT IN (SELECT stream_id FROM carried) "
                "AND stream_id NOT IN (SELECT stream_id FROM faulty)"
            )
            return int(found.fetchone()[0])

    def faulty(self) -> dict[str, str]:
        """The reports of the streams at fault, as JSON."""
        with self._reading():
            return dict(self._database.execute("SELECT stream_id, report FROM faulty ORDER BY stream_id"))

    # -- what is to be remembered ---------------------------------------------------------------------------

    def remember(self, stream: KnownStream, *, unless_known: bool = False) -> None:
        """Remember a stream, unless more of it is known already.

        A stream that has shrunk is remembered as it was: otherwise the next check would find nothing wrong.

        Args:
            stream: What was seen.
            unless_known: True leaves a known stream as it is remembered: something is wrong with it.
        """
        with self._writing():
            self._database.execute(
                "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stream_id) DO UPDATE SET "
                "last_sequence = excluded.last_sequence, digest = excluded.digest, "
                "closed = max(closed, excluded.closed), last_ms = excluded.last_ms, "
                "service = coalesce(excluded.service, service) "
                "WHERE excluded.last_sequence > last_sequence AND NOT ?",
                (
                    stream.stream_id,
                    stream.last_sequence,
                    stream.digest,
                    stream.closed,
                    stream.last_ms,
                    stream.service,
                    unless_known,
                ),
            )

    def forget(self, stream_id: str) -> None:
        """Forget a stream: retention has removed it."""
        with self._writing():
            for table in ("streams", "carried", "faulty"):
                self._database.execute(f"DELETE FROM {table} WHERE stream_id = ?", (stream_id,))  # noqa: S608 - names of ours

    def replace_partitions(
        self, partitions: Mapping[tuple[str, int], KnownPartition], undecodable: Mapping[str, int]
    ) -> None:
        """Remember how far the partitions were read, and no others, and what was no record up to there."""
        with self._writing():
            self._database.execute("DELETE FROM partitions")
            self._database.executemany(
                "INSERT INTO partitions VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (*place, known.topic_id, known.next_offset, known.last_offset, known.digest)
                    for place, known in partitions.items()
                ],
            )
            self._database.execute("DELETE FROM undecodable")
            self._database.executemany("INSERT INTO undecodable VALUES (?, ?)", undecodable.items())

    def carry(self, stream_id: str, facts: bytes | None) -> None:
        """Keep what the next incremental check needs of a stream's records; None: it cannot go on."""
        self._put("carried", stream_id, facts)

    def blame(self, stream_id: str, report: str | None) -> None:
        """Keep the report of a stream at fault, as JSON; None: it is not at fault."""
        self._put("faulty", stream_id, report)

    def begin_anew(self) -> None:
        """Forget what incremental checks need: everything is read again. The streams stay known."""
        with self._writing():
            for table in ("carried", "faulty", "partitions", "undecodable"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def commit(self, now_us: int, *, cluster: str | None = None) -> None:
        """Make what was said lasting, and let go of the lock: the state is of no more use.

        Raises:
            SinkError: It could not be written; the file is as it was.
        """
        with self._writing():
            self._database.execute(
                "UPDATE trail SET saved_us = ?, cluster = coalesce(?, cluster)", (max(now_us, 1), cluster)
            )
            self._database.execute("COMMIT")
        self.saved_us = max(now_us, 1)
        self.cluster = cluster or self.cluster

    # -- inside ---------------------------------------------------------------------------------------------

    def _paged(self, select: str) -> Iterator[tuple[Any, ...]]:
        """The rows in the order of the stream ids, which stand first in them; no cursor is left open."""
        after, paging = "", f"{select} WHERE stream_id > ? ORDER BY stream_id LIMIT {_PAGE}"
        while True:
            with self._reading():
                page = self._database.execute(paging, (after,)).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def _put(self, table: str, stream_id: str, value: bytes | str | None) -> None:
        with self._writing():
            if value is None:
                self._database.execute(f"DELETE FROM {table} WHERE stream_id = ?", (stream_id,))  # noqa: S608 - names of ours
            else:
                self._database.execute(f"REPLACE INTO {table} VALUES (?, ?)", (stream_id, value))  # noqa: S608 - as above

    def _make(self, prefix: str) -> None:
        """Make the file under another name first: under its own it is never seen half made."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        beside.unlink(missing_ok=True)
        try:
            with closing(_connect(beside)) as database:
                database.executescript(
                    f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID}; "
                    f"PRAGMA user_version = {_VERSION}; COMMIT;"
                )
                database.execute("INSERT INTO trail VALUES (?, NULL, 0)", (prefix,))
            beside.chmod(0o600)
            try:
                self.path.hardlink_to(beside)  # unlike a rename, it replaces nothing
            except FileExistsError:
                return  # another check has made one at the same time
        finally:
            beside.unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        with self.path.open("rb") as file:
            start = file.read(len(_MAGIC))
        if not start:
            raise self._refused("is empty; remove it to begin anew")
        if start != _MAGIC:
            raise self._refused("is no state of auditwire verify: name another file")

    def _begin(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise self._refused(
                    "is in use by another check: wait for its end, or name another file"
                ) from None
            raise

    def _refuse_damaged(self, prefix: str) -> None:
        one = self._database.execute
        application, version = (
            one(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != _APPLICATION_ID:
            raise self._refused("is a SQLite database, and no state of auditwire verify: name another file")
        if version != _VERSION:
            raise self._refused(
                f"has version {version}, and this auditwire reads version {_VERSION}: name another file"
            )
        found = one("PRAGMA quick_check(1)").fetchone()[0]
        rows = one("SELECT prefix, cluster, saved_us FROM trail").fetchall()
        (bad,) = one(
            "SELECT count(*) FROM streams WHERE length(digest) != ? OR typeof(last_sequence) != 'integer'",
            (_DIGEST_BYTES,),
        ).fetchone()
        if found != "ok" or len(rows) != 1 or bad:
            raise self._refused(f"is damaged ({found if found != 'ok' else 'its rows make no sense'})")
        there, self.cluster, self.saved_us = rows[0]
        if there != prefix:
            raise self._refused(f"belongs to the trail {there}, not to {prefix}: each has a state of its own")

    def _refused(self, why: str) -> ConfigurationError:
        return ConfigurationError("--state", f"{self.path} {why}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise self._refused(
                f"cannot be read ({error}): if it is damaged, restore a copy, or remove it to begin anew"
            ) from error
        except OSError as error:
            raise self._refused(f"cannot be opened: {error.strerror}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise SinkError(
                f"the state could not be written to {self.path}: {error}; it is as it was"
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where we say so
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    # the directory is synced too: a rollback journal that came back after a power cut would undo a commit
    database.execute("PRAGMA synchronous = EXTRA")
    return database


def _known(row: tuple[Any, ...]) -> KnownStream:
    stream_id, last, digest, closed, last_ms, service = row
    return KnownStream(stream_id, last, digest, bool(closed), last_ms, service)
