"""Events to Kafka: accepted by a journal on the caller's thread, delivered by one background thread.

::

    emit -> draft -> journal          the caller's thread; no lock, no network
                        |
                     sender -> producer -> topics        the background thread

``emit`` returns when the journal has the event. Until then the event is the caller's, from then on it is the
collector's: it is delivered, or it is counted, named and logged why not.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from auditwire.collectors.arguments import check_choice, check_seconds
from auditwire.collectors.journals import DiskJournals, MemoryJournals, check_memory_only, open_ledger
from auditwire.collectors.kafka_arguments import checked_capacity, topic_settings_of
from auditwire.collectors.streaming import Stream, StreamingCollector
from auditwire.delivery.adoption import Adoption
from auditwire.delivery.client import Client
from auditwire.delivery.metrics import plain
from auditwire.delivery.partitioner import PARTITIONERS
from auditwire.delivery.sender import Sender
from auditwire.delivery.settings import producer_config
from auditwire.delivery.topics import Directory, TopicSettings
from auditwire.errors import AuditwireError, FlushTimeout
from auditwire.journal.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.delivery.health import Health
    from auditwire.journal import Journal
    from auditwire.journal.drafter import Drafter
    from auditwire.journal.notes import Notes
    from auditwire.journal.syncing import SyncMode

__all__ = ["KafkaCollector"]


class _Stream(Stream[Sender]):
    """A stream with the client that its sender produces with."""

    __slots__ = ("client",)

    def __init__(
        self, drafter: Drafter, journal: Journal, notes: Notes, worker: Sender, client: Client
    ) -> None:
        super().__init__(drafter, journal, notes, worker)
        self.client = client


class KafkaCollector(StreamingCollector[Sender]):
    """Sends every event to its type's own topic.

    Safe for any number of threads, for signal handlers and finalisers; after a fork the child has a stream of
    its own. Construction reaches no broker: it returns at once when none is there.

    Args:
        bootstrap_servers: ``host:port``, several with commas. May stand in ``config`` instead.
        config: librdkafka's settings under their own names. They win over the defaults; what would break the
            delivery promises is refused. ``error_cb``, ``stats_cb``, ``throttle_cb``, ``oauth_cb``,
            ``on_delivery`` and ``logger`` are called after the collector's own.
        prefix: Topics are ``<prefix>.<event-type-with-dashes>``; ``audit``.
        topics: Event type -> topic, where another name is wanted.
        service: The service's name, in checkpoints (``service.name``) and headers; ``unknown_service``.
        service_version: Its version, for the checkpoints.
        environment: The deployment environment, for the checkpoints: ``production``.
        source: The ``ce_source`` header; ``/auditwire/<service>/<stream_id>``.
        headers: ``"cloudevents"``, or ``"none"`` for records without headers.
        create_topics: True makes missing topics as :class:`TopicSettings` has them; False never makes any; a
            ``TopicSettings`` of your own makes them so.
        journal: A directory on a local disk: what is accepted survives the process, and is delivered by the
            next collector on this path, or by ``auditwire forward``. Made when there is none; any number of
            processes share one. None, in memory: what is not acknowledged is lost with the process.
        journal_bytes: Room for what waits. In memory 64 MiB, at least 2 MiB; each record counts its bytes and
            400 more. On disk 1 GiB for the whole path, at least 8 MiB.
        sync: When the journal is synchronised with the disk, so that it survives a loss of power:
            ``"interval"``, every 200 ms; ``"always"``, before ``emit`` returns; ``"never"``.
        journal_group: Name or number of a group that may read and write the journal too, for a forwarder that
            runs as another user.
        journal_on_network: Take a directory on a network file system, where no promise of this holds.
        on_full: When there is no room: ``"block"`` waits up to ``full_timeout`` seconds, once until room
            comes back, and never on a thread with a running event loop; ``"drop_newest"`` refuses at once.
            Either way a refused event raises JournalFull and is written down as lost.
        full_timeout: Seconds; 5.0.
        exit_timeout: Seconds that the interpreter's exit may wait for a collector that was not closed; 10.0.

    Raises:
        ConfigurationError: A setting is wrong, or the journal's directory cannot be used; ``key`` names it.
        SchemaError: The installation's schemas are missing or damaged.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        prefix: str = "audit",
        topics: Mapping[str, str] | None = None,
        service: str | None = None,
        service_version: str | None = None,
        environment: str | None = None,
        source: str | None = None,
        headers: Literal["cloudevents", "none"] = "cloudevents",
        create_topics: bool | TopicSettings = True,
        journal: str | os.PathLike[str] | None = None,
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
        self._config, self._callbacks = producer_config(bootstrap_servers, config)
        self._topic_settings = topic_settings_of(create_topics)
        self._journals: MemoryJournals | DiskJournals
        self._adoption: Adoption | None
        if journal is None:
            check_memory_only(sync=sync, journal_group=journal_group, journal_on_network=journal_on_network)
            self._journals = MemoryJournals(checked_capacity(journal_bytes), on_full, full_timeout)
            self._adoption = None
        else:
            self._journals = disk = DiskJournals(
                journal,
                Target.of(self._config["bootstrap.servers"], prefix),
                capacity=journal_bytes,
                on_full=on_full,
                full_timeout=full_timeout,
                sync=sync,
                group=journal_group,
                on_network=journal_on_network,
            )
            self._adoption = Adoption(disk.path, disk.target)
        super().__init__(exit_timeout)

    def _open(self, parent: str | None) -> _Stream:
        drafter, notes, source = self._draft()
        client = Client(self._config, self._callbacks, time.monotonic)
        directory = Directory(client.list_topics, client.admin, self._topic_settings)
        journal = self._journals.open(drafter.stream_id, service=self._service, source=source)
        sender = Sender(
            journal,
            client,
            directory,
            open_ledger(self._prefix, self._resource, drafter.stream_id, parent, journal.previous),
            drafter,
            notes,
            hash_key=PARTITIONERS[self._config["partitioner"]],
            source=source,
            capacity=self._journals.capacity,
            adoption=self._adoption,
        )
        sender.open()
        return _Stream(drafter, journal, notes, sender, client)

    def after_fork(self) -> None:
        """In the child: see :mod:`auditwire.forksafe`."""
        if self._stream.pid != -1:
            self._stream.worker.after_fork()
        super().after_fork()

    # -- the collector ----------------------------------------------------------------------------------

    def flush(self, timeout: float = 30.0) -> None:
        """Return when the broker has acknowledged everything accepted before the call.

        Args:
            timeout: Seconds.

        Raises:
            FlushTimeout: That was not reached in time; how many records wait, and which topics are parked.
        """
        stream = self._current()
        if stream.pid != os.getpid():
            return  # closed in a child that emitted nothing
        deadline = time.monotonic() + timeout
        if threading.current_thread() is stream.thread:
            raise AuditwireError("flush was called by a callback on the sender's thread: it would never end")
        if not self._reached(stream, stream.journal.barrier(), deadline):
            raise self._flush_timeout(stream, timeout)

    def health(self) -> Health:
        """What came in, what went out, what waits, and what went wrong."""
        health = self._current().worker.health()
        return replace(health, state="closed") if self._closed else health

    def metrics(self) -> dict[str, Any]:
        """``health()`` as numbers, as :data:`auditwire.delivery.metrics.METRICS` names them."""
        return plain(self.health())

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Use these from the next authentication on, after a password was changed."""
        self._config.update({"sasl.username": username, "sasl.password": password})
        stream = self._current()
        if stream.pid != os.getpid():
            return  # closed in a child that emitted nothing
        assert isinstance(stream, _Stream)  # noqa: S101 - as opened above
        stream.client.set_sasl_credentials(username, password)
        stream.worker.retry_now()

    def _flush_timeout(self, stream: Stream[Sender], timeout: float) -> FlushTimeout:
        pending, parked, durable = stream.worker.pending, stream.worker.parked, stream.journal.durable
        where = "safe on disk" if durable else "in memory only"
        message = f"{pending} records were not acknowledged within {timeout:g} s; they are {where}"
        return FlushTimeout(f"{message}{self.obstacle()}", pending=pending, durable=durable, parked=parked)

    def obstacle(self) -> str:
        """What is known of why records wait, as sentences to end a message with; empty when nothing is."""
        worker = self._stream.worker
        if worker.parked:
            waiting = "; ".join(f"{topic}: {reason}" for topic, reason in sorted(worker.parked.items()))
            return f". Parked topics: {waiting}"
        last_error = worker.health().last_error
        return f". Last error: {last_error}" if last_error else ""

    def __repr__(self) -> str:
        return f"<KafkaCollector {self._config['bootstrap.servers']} prefix={self._prefix!r}>"
