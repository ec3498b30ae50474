"""Where ``auditwire replay`` writes to: described, so that a state knows it again, and opened for a run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from auditwire.cli.lines import record_dict
from auditwire.cli.output import remark
from auditwire.cli.replay_words import number
from auditwire.errors import ConfigurationError
from auditwire.replaying.copying import KafkaCopy
from auditwire.replaying.lines import FileLines, StreamLines
from auditwire.replaying.target import look, prepare
from auditwire.wire import event_type_of, topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from auditwire.cli.connection import Connection
    from auditwire.reading import Record
    from auditwire.replaying.replay import Output
    from auditwire.replaying.target import Topics

__all__ = ["Destination", "File", "Kafka", "Opening", "Stdout", "copied_topic"]

PARTITIONS = 6
"""Of topics that are made, where the source does not say how many it has."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a place has to know when it is opened.

    Attributes:
        topics: That are read.
        known: What it said of itself last; empty at the first time.
        hurried: Seconds that are left to wait for a broker; None while there is no hurry.
    """

    topics: Sequence[str]
    known: Mapping[str, Any]
    hurried: Callable[[], float | None]


class Destination(Protocol):
    """One of the places below.

    Attributes:
        name: For people.
        described: What a state knows it by, in JSON's types.
        keeps_duplicates: Whether records that stand on the topics twice are written twice.
    """

    name: str
    described: dict[str, Any]
    keeps_duplicates: bool

    def open(self, begin: Opening, /) -> Output:
        """Begin, or go on.

        Raises:
            AuditwireError: It cannot be written to.
        """


def line_of(record: Record) -> bytes:
    """A record as ``tail --json`` prints it, newline included."""
    return (json.dumps(record_dict(record), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def copied_topic(source: Connection, target: Connection, topic: str) -> str:
    """The topic of a copy that has the records of this one."""
    return topic_name(target.prefix, event_type_of(source.prefix, topic) or "")


class Stdout:
    """Standard output.

    Args:
        each: Send every line at once.
    """

    keeps_duplicates = False
    name = "stdout"

    def __init__(self, *, each: bool) -> None:
        self.described: dict[str, Any] = {"file": "-"}
        self._each = each

    def open(self, _begin: Opening, /) -> Output:
        """See :class:`Destination`."""
        return StreamLines(sys.stdout.buffer, line_of, each=self._each)


class File:
    """A file.

    Args:
        path: Where it is, absolute; gzip when it ends in ``.gz``.
        each: Write every line at once.
    """

    keeps_duplicates = False

    def __init__(self, path: Path, *, each: bool) -> None:
        self.name = str(path)
        self.described: dict[str, Any] = {"file": str(path)}
        self._path = path
        self._each = each

    def open(self, begin: Opening, /) -> Output:
        """See :class:`Destination`."""
        compress = self._path.suffix == ".gz"
        return FileLines(self._path, line_of, known=begin.known, compress=compress, each=self._each)


class Kafka:
    """Topics of another prefix, or of another cluster.

    Args:
        source: The trail that is read.
        target: The trail that is written.
        source_id: The id of the cluster that is read; None where it tells none.
        create: Whether missing topics are made.
        retention_days: How long those keep records.
        timeout: Seconds that the broker may be silent.

    Raises:
        ConfigurationError: It is the trail that is read.
        BrokerError: No broker answered.
    """

    keeps_duplicates = True

    def __init__(
        self,
        source: Connection,
        target: Connection,
        source_id: str | None,
        *,
        create: bool,
        retention_days: int,
        timeout: float,
    ) -> None:
        self._source = source
        self._target = target
        self._create = create
        self._retention_days = retention_days
        self._timeout = timeout
        self._admin = target.admin()
        found = look(self._admin, target.bootstrap, timeout)
        if source.prefix == target.prefix and None in (source_id, found.id):
            raise ConfigurationError(
                "--to-prefix",
                f"a cluster does not tell its id, so {target.bootstrap} may be the one that is read: give "
                f"another prefix than {source.prefix}",
            )
        if source.prefix == target.prefix and source_id == found.id:
            raise ConfigurationError(
                "--to-prefix", f"the topics {source.prefix}.* of this cluster are read: give another prefix"
            )
        self.name = f"{target.prefix}.* on {target.bootstrap}"
        self.described: dict[str, Any] = {"cluster_id": found.id, "prefix": target.prefix}

    def open(self, begin: Opening, /) -> Output:
        """See :class:`Destination`. Topics are made for those that are read, with as many partitions."""
        source_admin = self._source.admin()
        sources = look(source_admin, self._source.bootstrap, self._timeout).topics
        wanted = {
            copied_topic(self._source, self._target, name): sources.get(name, PARTITIONS)
            for name in begin.topics
        }
        ready = prepare(
            self._admin,
            self._target.bootstrap,
            wanted,
            create=self._create,
            replication=None,
            retention_days=self._retention_days,
            timeout=self._timeout,
        )
        self._say(ready, begin)
        return KafkaCopy(
            self._target.bootstrap,
            self._target.config,
            prefix=self._target.prefix,
            topics=ready,
            sources=sources,
            timeout=self._timeout,
            hurried=begin.hurried,
            known=begin.known or None,
        )

    def _say(self, ready: Topics, begin: Opening) -> None:
        if ready.made:
            remark(
                f"{number(len(ready.made), 'topic')} made, which keep records for {self._retention_days} days"
            )
        if len(ready.made) < len(begin.topics) and not begin.known:
            remark("topics that were there keep what they hold, beside the copy", style="yellow")
        if not ready.described:
            remark(
                f"{self._target.bootstrap} does not describe its topics' settings: whether they keep "
                "timestamps and old records is not checked",
                style="yellow",
            )
