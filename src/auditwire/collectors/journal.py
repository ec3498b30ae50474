"""Events to a journal on disk, and nothing of Kafka in this process: ``auditwire forward`` delivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from auditwire.collectors.arguments import check_choice, check_seconds
from auditwire.collectors.journals import DiskJournals, open_ledger
from auditwire.collectors.streaming import Stream, StreamingCollector
from auditwire.delivery.health import Health
from auditwire.delivery.metrics import plain
from auditwire.errors import FlushTimeout
from auditwire.journal.disk import DiskJournal
from auditwire.journal.scribe import Scribe
from auditwire.journal.target import Target

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from auditwire.delivery.health import State
    from auditwire.journal.syncing import SyncMode

__all__ = ["JournalCollector"]


class JournalCollector(StreamingCollector[Scribe]):
    """Writes every event to a journal on disk; another process on the same machine delivers it.

    For programs that shall hold no Kafka credentials, or no Kafka client: ``auditwire forward PATH`` (or a
    :class:`KafkaCollector` with the same ``journal``, once this process has ended) sends what lies there.
    Numbering, digests and checkpoints are this process's own: what the one who delivers leaves out or changes
    shows, unless the checkpoints, which are unsigned, are rewritten too. Threads, forks and the end of the
    process are as with :class:`KafkaCollector`.

    Args:
        path: The journal's directory, on a local disk; made when there is none.
        prefix: Topics are ``<prefix>.<event-type-with-dashes>``; ``audit``.
        topics: Event type -> topic, where another name is wanted.
        service: The service's name, in checkpoints (``service.name``) and headers; ``unknown_service``.
        service_version: Its version, for the checkpoints.
        environment: The deployment environment, for the checkpoints: ``production``.
        source: The ``ce_source`` header; ``/auditwire/<service>/<stream_id>``.
        headers: ``"cloudevents"``, or ``"none"`` for records without headers.
        journal_bytes: Room for what waits, of all streams on the path together; 1 GiB, at least 8 MiB.
        sync: When the journal is synchronised with the disk: ``"interval"``, every 200 ms; ``"always"``,
            before ``emit`` returns; ``"never"``.
        journal_group: Name or number of a group that may read and write the journal too, for a forwarder that
            runs as another user.
        journal_on_network: Take a directory on a network file system, where no promise of this holds.
        on_full: When there is no room: ``"block"`` waits up to ``full_timeout`` seconds, once until room
            comes back, and never on a thread with a running event loop; ``"drop_newest"`` refuses at once.
            Either way a refused event raises JournalFull and is written down as lost.
        full_timeout: Seconds; 5.0.
        exit_timeout: Seconds that the interpreter's exit may wait for a collector that was not closed; 10.0.

    Raises:
        ConfigurationError: A setting is wrong, or the directory cannot be used; ``key`` names it.
        SchemaError: The installation's schemas are missing or damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "audit",
        topics: Mapping[str, str] | None = None,
        service: str | None = None,
        service_version: str | None = None,
        environment: str | None = None,
        source: str | None = None,
        headers: Literal["cloudevents", "none"] = "cloudevents",
        journal_bytes: int | None = None,
        sync: SyncMode = "interval",
        journal_group: str | int | None = None,
        journal_on_network: bool = False,
        on_full: Literal["block", "drop_newest"] = "block",
        full_timeout: float = 5.0,
        exit_timeout: float = 10.0,
    ) -> None:
        check_seconds("full_timeout", full_timeout)
        check_seconds("exit_timeout", exit_timeout)
        check_choice("on_full", on_full, ("block", "drop_newest"))
        self._describe(
            prefix=prefix,
            topics=topics,
            service=service,
            service_version=service_version,
            environment=environment,
            source=source,
            headers=headers,
        )
        self._journals = DiskJournals(
            path,
            Target("", prefix),  # whoever delivers knows the brokers
            capacity=journal_bytes,
            on_full=on_full,
            full_timeout=full_timeout,
            sync=sync,
            group=journal_group,
            on_network=journal_on_network,
            sends=False,
        )
        super().__init__(exit_timeout)

    def _open(self, parent: str | None) -> Stream[Scribe]:
        drafter, notes, source = self._draft()
        journal = self._journals.open(drafter.stream_id, service=self._service, source=source)
        ledger = open_ledger(self._prefix, self._resource, drafter.stream_id, parent, journal.previous)
        scribe = Scribe(journal, drafter, ledger, notes)
        scribe.open()
        return Stream(drafter, journal, notes, scribe)

    # -- the collector ----------------------------------------------------------------------------------

    def flush(self, timeout: float = 30.0) -> None:  # noqa: ARG002 - a synchronisation cannot be broken off
        """Return when everything accepted before the call survives a loss of power.

        Args:
            timeout: Not used: how long a disk takes is not ours to say.

        Raises:
            FlushTimeout: The disk refuses; the records are in the operating system's memory.
        """
        stream = self._current()
        if not stream.journal.sync():  # type: ignore[attr-defined] # a DiskJournal, as opened above
            raise self._flush_timeout(stream, 0.0)

    def health(self) -> Health:
        """What came in, what waits for another process to deliver it, and what went wrong.

        ``delivered`` is what the delivering process has told in the stream's cursor, control records taken
        off: never too many. What only that process knows (parked topics, records withheld, the age of what
        waits, latency) is empty here; ``auditwire journal status`` and its own health have it.
        """
        stream = self._current()
        journal, scribe = stream.journal, stream.worker
        assert isinstance(journal, DiskJournal)  # noqa: S101 - as opened above
        accepted, done, control = journal.next_sequence, scribe.acknowledged(), scribe.written
        lost, coerced, truncated = stream.notes.totals()
        state: State = "degraded" if lost or truncated else "ok"
        if journal.problem:
            state = "failing"
        if self._closed or scribe.finished:
            state = "closed"
        return Health(
            state=state,
            stream_id=stream.drafter.stream_id,
            accepted=max(0, accepted - control),
            delivered=max(0, done - control),
            control=control,
            pending_records=max(0, accepted - done),
            pending_bytes=journal.pending_bytes,
            capacity_bytes=self._journals.capacity,
            oldest_seconds=0.0,
            lost=lost,
            coerced=coerced,
            truncated=truncated,
            journal_problem=journal.problem or "",
            journal_used_bytes=journal.budget.used,
            unsynced_records=journal.unsynced,
        )

    def metrics(self) -> dict[str, Any]:
        """``health()`` as numbers, as :data:`auditwire.delivery.metrics.METRICS` names them."""
        return plain(self.health())

    def obstacle(self) -> str:
        """As of the other collectors: the journal's problem with its disk."""
        problem = self._stream.journal.problem  # type: ignore[attr-defined]
        return f": {problem}" if problem else ""

    def _flush_timeout(self, stream: Stream[Scribe], timeout: float) -> FlushTimeout:  # noqa: ARG002 - as there
        pending = stream.worker.pending
        return FlushTimeout(
            f"{pending} records could not be synchronised with the disk{self.obstacle()}",
            pending=pending,
            durable=False,
        )

    def __repr__(self) -> str:
        return f"<JournalCollector {self._journals.path.path} prefix={self._prefix!r}>"
