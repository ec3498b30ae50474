"""The file of a state: made, opened and locked, and refused where it is none.

In comes a path, out comes a database whose write lock is held; :mod:`auditwire.verification.state` reads and
writes it.

The file (``application_id`` 0x41775653, "AwVS"; ``user_version`` 2):

=============== ============== ===========================================================================
table           column         meaning
=============== ============== ===========================================================================
``trail``       prefix         the topics' prefix; one row
                cluster        the cluster's id; null where the broker does not tell
                saved_us       when the last check ended, microseconds since the Unix epoch; 0: none has yet
                judged_as      by which version and settings its streams were judged; null: none were
``streams``     stream_id      key
                last_sequence  the highest sequence that was there
                digest         SHA-256 of that record's body, 32 bytes
                closed         1: it has a closing checkpoint
                last_ms        the latest time of an event of it, milliseconds since the Unix epoch
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
``judged``      stream_id      key
                verdict        as in the report, with the next: ``service``, ``records``, ``duplicates``,
                               ``checkpoints``
                standing       what the stream counts for; see :mod:`auditwire.verification.outcome`
                sealed         the same where only what the last checkpoint lists is asked for
                apart          1: its report is read by every check, since it is at fault, or one of the
                               numbers is too large for a sum
                unsettled      1: records of it may still come, or what was said of it counts from the next
                               check on
                service        ``service.name``; null when no checkpoint told
                records        or 2^32 - 1 where it is more, as in the next four
                duplicates     ..
                checkpoints    ..
                withheld       how many sequences
                removed        how many sequences
                first_ms       the first event's time, milliseconds since the Unix epoch; -1: no record
                last_ms        the latest time of an event, or -1
                report         the report as JSON, without what is as in one of which nothing is known
``depends``     stream_id      key: a stream whose report says something of the records of
                other          key: this one, which it names, or whose statement on it has holes
=============== ============== ===========================================================================
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from auditwire.errors import ConfigurationError, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DIGEST_BYTES", "VERSION", "open_locked", "reading", "writing"]

VERSION = 2
DIGEST_BYTES = 32
_APPLICATION_ID = 0x41775653
_MAGIC = b"SQLite format 3\0"
_FULL = (
    "full"  # SQLITE_FULL, whose text is "database or disk is full"; its number is known from Python 3.11 on
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

_TABLES = """
CREATE TABLE trail (
    prefix TEXT NOT NULL, cluster TEXT, saved_us INTEGER NOT NULL, judged_as TEXT
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
CREATE TABLE judged (
    stream_id TEXT NOT NULL PRIMARY KEY, verdict TEXT NOT NULL, standing TEXT NOT NULL, sealed TEXT NOT NULL,
    apart INTEGER NOT NULL, unsettled INTEGER NOT NULL, service TEXT,
    records INTEGER NOT NULL, duplicates INTEGER NOT NULL, checkpoints INTEGER NOT NULL,
    withheld INTEGER NOT NULL, removed INTEGER NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, report TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE depends (
    stream_id TEXT NOT NULL, other TEXT NOT NULL, PRIMARY KEY (stream_id, other)
) WITHOUT ROWID;
CREATE INDEX unsettled ON judged (stream_id) WHERE unsettled;
CREATE INDEX depends_on ON depends (other, stream_id);
"""


def open_locked(path: Path, *, prefix: str) -> sqlite3.Connection:
    """The file's database, in a transaction that writes; the file is made where there is none.

    Args:
        path: The file.
        prefix: The trail's prefix.

    Raises:
        ConfigurationError: The file is not a state, is damaged, belongs to another trail or another version,
            cannot be opened, or another check has it. It is left as it is.
        SinkError: The disk is full.
    """
    with reading(path):
        if not path.exists():
            _make(path, prefix)
        _refuse_foreign(path)
        database = _connect(path)
        try:
            _begin(path, database)
            _refuse_damaged(path, database, prefix)
        except BaseException:
            database.close()
            raise
        return database


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what cannot be read with the file's name; making the file, and large questions, need room too."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _FULL in str(error):
            raise _unwritten(path, error) from error
        raise _refused(
            path, f"cannot be read ({error}): if it is damaged, restore a copy, or remove it to begin anew"
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _unwritten(path, error.strerror) from error
        raise _refused(path, f"cannot be opened: {error.strerror}") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what cannot be written with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _unwritten(path, error) from error


def _make(path: Path, prefix: str) -> None:
    """Make the file under another name first: under its own it is never seen half made."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.unlink(missing_ok=True)
    try:
        with closing(_connect(beside)) as database:
            database.executescript(
                f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID}; "
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
            database.execute("INSERT INTO trail VALUES (?, NULL, 0, NULL)", (prefix,))
        beside.chmod(0o600)
        try:
            path.hardlink_to(beside)  # unlike a rename, it replaces nothing
        except FileExistsError:
            return  # another check has made one at the same time
    finally:
        beside.unlink(missing_ok=True)


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if not start:
        raise _refused(path, "is empty; remove it to begin anew")
    if start != _MAGIC:
        raise _refused(path, "is no state of auditwire verify: name another file")


def _begin(path: Path, database: sqlite3.Connection) -> None:
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise _refused(
                path, "is in use by another check: wait for its end, or name another file"
            ) from None
        raise


def _refuse_damaged(path: Path, database: sqlite3.Connection, prefix: str) -> None:
    one = database.execute
    application, version = (
        one(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION_ID:
        raise _refused(path, "is a SQLite database, and no state of auditwire verify: name another file")
    if version != VERSION:
        raise _refused(
            path, f"has version {version}, and this auditwire reads version {VERSION}: name another file"
        )
    found = one("PRAGMA quick_check(1)").fetchone()[0]
    rows = one("SELECT prefix FROM trail").fetchall()
    (bad,) = one(
        "SELECT count(*) FROM streams WHERE length(digest) != ? OR typeof(last_sequence) != 'integer'",
        (DIGEST_BYTES,),
    ).fetchone()
    if found != "ok" or len(rows) != 1 or bad:
        raise _refused(path, f"is damaged ({found if found != 'ok' else 'its rows make no sense'})")
    if rows[0][0] != prefix:
        raise _refused(
            path, f"belongs to the trail {rows[0][0]}, not to {prefix}: each has a state of its own"
        )


def _refused(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError("state", f"{path} {why}")


def _unwritten(path: Path, why: object) -> SinkError:
    return SinkError(f"the state could not be written to {path}: {why}; it is as it was")


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where we say so
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        # the directory is synced too: a rollback journal that came back after a power cut would undo a commit
        database.execute("PRAGMA synchronous = EXTRA")
    except BaseException:  # looks at the file: a damaged one is found here already
        database.close()
        raise
    return database
