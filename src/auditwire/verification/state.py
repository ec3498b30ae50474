"""What a check remembers for the next one: a SQLite file.

Whoever can delete a topic, or the end of one, leaves nothing behind that a check of the topic alone could
miss. A check that remembers how far it has seen each stream can. Keep the file where those who administer
the brokers cannot write.

An incremental check judges a stream again when it has new facts, or one that it depends on has. The others
are counted as they were judged. Of a stream at fault, nothing is carried: its report is repeated, so that a
fault is not forgotten with the records that showed it.

A check holds the file's write lock from its beginning to its end, and writes in one transaction: afterwards
the file has the old content or the new one, also when the power goes. Two checks cannot share a state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.verification.state_file import open_locked, reading, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["LARGE", "KnownPartition", "KnownStream", "State", "Summary", "Totals"]

LARGE = (1 << 32) - 1
"""Numbers in the table ``judged`` end here: SQLite adds up in 64 bits, and refuses a sum that is larger."""

_PAGE = 1_000
_STREAMS = "SELECT stream_id, last_sequence, digest, closed, last_ms, service FROM streams"
_ID = "stream_id"
_DUE = "(SELECT stream_id FROM due)"
_LEAST = "min(CASE WHEN verdict = 'open' AND {0} >= 0 THEN {0} END)"

_DEPENDING = f"INSERT OR IGNORE INTO due SELECT stream_id FROM depends WHERE other IN {_DUE}"  # noqa: S608 - ours
_UNSETTLED = "INSERT OR IGNORE INTO due SELECT stream_id FROM judged WHERE unsettled"
_AT_FAULT = "DELETE FROM due WHERE stream_id IN (SELECT stream_id FROM judged WHERE standing = 'fault')"
_NEEDED = """
WITH RECURSIVE needed (stream_id) AS (
    SELECT stream_id FROM due
    UNION SELECT depends.other FROM depends JOIN needed ON depends.stream_id = needed.stream_id
) INSERT OR IGNORE INTO due SELECT stream_id FROM needed
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


@dataclass(frozen=True, slots=True)
class Summary:
    """What is counted of a stream; the fields are those of the table ``judged``."""

    stream_id: str
    verdict: str
    standing: str
    sealed: str
    apart: bool
    unsettled: bool
    service: str | None
    records: int
    duplicates: int
    checkpoints: int
    withheld: int
    removed: int
    first_ms: int
    last_ms: int
    report: str


class Totals(NamedTuple):
    """What streams of one verdict and one standing come to; ``oldest_ms`` and ``silent_ms``: of open ones."""

    verdict: str
    standing: str
    streams: int
    records: int
    duplicates: int
    checkpoints: int
    withheld: int
    removed: int
    oldest_ms: int | None
    silent_ms: int | None


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
        judged_as: By which version and settings its streams were judged; None: none were.

    Raises:
        ConfigurationError: The file is not a state, is damaged, belongs to another trail or another version,
            cannot be opened, or another check has it. It is left as it is.
        SinkError: The disk is full.
    """

    def __init__(self, path: Path, *, prefix: str) -> None:
        self.path = path
        self._database = open_locked(path, prefix=prefix)
        found = self._database.execute("SELECT cluster, saved_us, judged_as FROM trail").fetchone()
        self.cluster: str | None = found[0]
        self.saved_us: int = found[1]
        self.judged_as: str | None = found[2]

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
        return map(_known, self._paged(f"{_STREAMS} WHERE true"))

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

    def uncarried(self) -> int:
        """How many streams were seen, and lack what it takes to go on."""
        with self._reading():
            found = self._database.execute(
                "SELECT count(*) FROM streams LEFT JOIN judged USING (stream_id) "
                "LEFT JOIN carried USING (stream_id) "
                "WHERE standing IS NULL OR (standing != 'fault' AND facts IS NULL)"
            )
            return int(found.fetchone()[0])

    # -- what is judged again -------------------------------------------------------------------------------

    def select(self, renewed: Iterable[str] | None) -> None:
        """Choose the streams that are judged again; those at fault never are.

        Args:
            renewed: The streams of which there are new facts: those that depend on one are chosen too, those
                that are not settled, and those without whose facts a chosen one cannot be judged. None: all
                streams are chosen.
        """
        with self._writing():
            one = self._database.execute
            one("CREATE TEMP TABLE due (stream_id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID")
            if renewed is None:
                one("INSERT INTO due SELECT stream_id FROM carried")
            else:
                self._database.executemany(
                    "INSERT OR IGNORE INTO due VALUES (?)", ((stream_id,) for stream_id in renewed)
                )
                one(_DEPENDING)
                one(_UNSETTLED)
                one(_AT_FAULT)  # nor what they would need
                one(_NEEDED)
            one(_AT_FAULT)

    def is_due(self, stream_id: str) -> bool:
        """Whether a stream was chosen."""
        with self._reading():
            found = self._database.execute("SELECT 1 FROM due WHERE stream_id = ?", (stream_id,))
            return found.fetchone() is not None

    def carried(self) -> Iterator[tuple[str, bytes]]:
        """What is carried of each chosen stream. What was passed may be written meanwhile."""
        found = self._paged("SELECT stream_id, facts FROM carried JOIN due USING (stream_id) WHERE true")
        return ((stream_id, facts) for stream_id, facts in found)

    def reports(self, *, apart: bool) -> Iterator[str]:
        """The reports of the streams that were not chosen, as JSON, in the order of the ids.

        Args:
            apart: True leaves out what ``totals`` sums up.
        """
        which = f"apart >= {int(apart)} AND stream_id NOT IN {_DUE}"
        return (text for _, text in self._paged(f"SELECT stream_id, report FROM judged WHERE {which}"))  # noqa: S608 - ours

    def totals(self, *, sealed: bool) -> list[Totals]:
        """What the streams come to that were not chosen, but for those that are told apart.

        Args:
            sealed: Whether only what the last checkpoints list is asked for.
        """
        by = "verdict, sealed" if sealed else "verdict, standing"
        names = ("records", "duplicates", "checkpoints", "withheld", "removed")
        sums = ", ".join(f"sum({name})" for name in names)
        least = f"{_LEAST.format('first_ms')}, {_LEAST.format('last_ms')}"
        with self._reading():
            found = self._database.execute(
                f"SELECT {by}, count(*), {sums}, {least} FROM judged "  # noqa: S608 - names of ours
                f"WHERE NOT apart AND stream_id NOT IN {_DUE} GROUP BY {by}"
            )
            return [Totals(*row) for row in found]

    def services(self) -> set[str]:
        """The services of the streams that were not chosen."""
        with self._reading():
            found = self._database.execute(
                f"SELECT DISTINCT service FROM judged WHERE service IS NOT NULL AND stream_id NOT IN {_DUE}"  # noqa: S608 - ours
            )
            return {service for (service,) in found}

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
            for table in ("streams", "carried", "judged", "depends"):
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
        with self._writing():
            if facts is None:
                self._database.execute("DELETE FROM carried WHERE stream_id = ?", (stream_id,))
            else:
                self._database.execute("REPLACE INTO carried VALUES (?, ?)", (stream_id, facts))

    def keep(self, summary: Summary, depends: Iterable[str]) -> None:
        """Keep how a stream was judged.

        Args:
            summary: What is counted of it, and its report.
            depends: The streams whose records its report says something of.
        """
        with self._writing():
            values = [getattr(summary, name) for name in Summary.__slots__]
            marks = ", ".join("?" * len(values))
            self._database.execute(f"REPLACE INTO judged VALUES ({marks})", values)  # noqa: S608 - as many as columns
            self._database.execute("DELETE FROM depends WHERE stream_id = ?", (summary.stream_id,))
            self._database.executemany(
                "INSERT INTO depends VALUES (?, ?)", [(summary.stream_id, other) for other in depends]
            )

    def begin_anew(self) -> None:
        """Forget what incremental checks need: everything is read again. The streams stay known."""
        with self._writing():
            for table in ("carried", "judged", "depends", "partitions", "undecodable"):
                self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def commit(self, now_us: int, *, judged_as: str, cluster: str | None = None) -> None:
        """Make what was said lasting, and let go of the lock: the state is of no more use.

        Args:
            now_us: When the check ended, microseconds since the Unix epoch.
            judged_as: By which version and settings it judged.
            cluster: The cluster's id; None leaves what is known.

        Raises:
            SinkError: It could not be written; the file is as it was.
        """
        with self._writing():
            self._database.execute(
                "UPDATE trail SET saved_us = ?, cluster = coalesce(?, cluster), judged_as = ?",
                (max(now_us, 1), cluster, judged_as),
            )
            self._database.execute("COMMIT")
        self.saved_us, self.judged_as = max(now_us, 1), judged_as
        self.cluster = cluster or self.cluster

    # -- inside ---------------------------------------------------------------------------------------------

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.path)

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self.path)

    def _paged(self, select: str) -> Iterator[tuple[Any, ...]]:
        """The rows in the order of the stream ids, which stand first in them; no cursor is left open.

        Args:
            select: The question, to which a condition can be added.
        """
        after, paging = "", f"{select} AND stream_id > ? ORDER BY stream_id LIMIT {_PAGE}"
        while True:
            with self._reading():
                page = self._database.execute(paging, (after,)).fetchall()
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1][0]


def _known(row: tuple[Any, ...]) -> KnownStream:
    stream_id, last, digest, closed, last_ms, service = row
    return KnownStream(stream_id, last, digest, bool(closed), last_ms, service)
