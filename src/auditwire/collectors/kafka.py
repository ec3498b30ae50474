"""Events to Kafka: accepted by a journal on the caller's thread, delivered by one background thread.

::

    emit -> draft -> journal          the caller's thread; no lock, no network
                        |
                     sender -> producer -> topics        the background thread

``emit`` returns when the journal has the event. Until then the event is the caller's, from then on it is the
collector's: it is delivered, or it is counted, named and logged why not.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from auditwire import forksafe
from auditwire.collectors.base import Managed
from auditwire.collectors.kafka_arguments import (
    check_choice,
    check_seconds,
    check_topics,
    checked_capacity,
    resource_of,
    topic_settings_of,
)
from auditwire.collectors.lifetime import register, unregister
from auditwire.delivery.client import Client
from auditwire.delivery.metrics import plain
from auditwire.delivery.partitioner import PARTITIONERS
from auditwire.delivery.sender import Sender
from auditwire.delivery.settings import producer_config
from auditwire.delivery.topics import Directory, TopicSettings
from auditwire.errors import (
    AuditwireError,
    CollectorClosed,
    ConfigurationError,
    EncodingError,
    FlushTimeout,
    JournalFull,
)
from auditwire.events import CONTROL_TYPES, AuditEvent
from auditwire.ids import uuid7
from auditwire.journal import MemoryJournal
from auditwire.journal.drafter import Drafter
from auditwire.journal.notes import Notes
from auditwire.stream import Ledger
from auditwire.wire import FastavroEncoder, all_schemas, as_audit_event
from auditwire.wire import source as source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.delivery.health import Health
    from auditwire.journal import Barrier

__all__ = ["KafkaCollector"]

log = logging.getLogger("auditwire")

_JOIN_SECONDS = 2.0
"""What the sender may need beyond a deadline to leave a call into librdkafka."""


class _Stream:
    """One stream and all that belongs to it. A forked child begins another and never touches its parent's."""

    __slots__ = ("client", "drafter", "journal", "notes", "pid", "ready", "sender", "thread")

    def __init__(
        self, drafter: Drafter, journal: MemoryJournal, client: Client, sender: Sender, notes: Notes
    ) -> None:
        self.notes = notes
        self.drafter = drafter
        self.journal = journal
        self.client = client
        self.sender = sender
        self.thread: threading.Thread | None = None
        self.pid = os.getpid()
        self.ready = False  # set by the first event, taken back by a fork


class KafkaCollector(Managed):
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
        journal: None, in memory: what is not acknowledged is lost with the process. (A journal on disk is not
            in this version.)
        journal_bytes: Room for what waits; 64 MiB, at least 2 MiB. Each record counts its bytes and 400 more.
        on_full: When there is no room: ``"block"`` waits up to ``full_timeout`` seconds, once until room
            comes back, and never on a thread with a running event loop; ``"drop_newest"`` refuses at once.
            Either way a refused event raises JournalFull and is written down as lost.
        full_timeout: Seconds; 5.0.
        exit_timeout: Seconds that the interpreter's exit may wait for a collector that was not closed; 10.0.

    Raises:
        ConfigurationError: A setting is wrong; ``key`` names it.
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
        on_full: Literal["block", "drop_newest"] = "block",
        full_timeout: float = 5.0,
        exit_timeout: float = 10.0,
    ) -> None:
        check_choice("headers", headers, ("cloudevents", "none"))
        check_seconds("full_timeout", full_timeout)
        check_seconds("exit_timeout", exit_timeout)
        check_choice("on_full", on_full, ("block", "drop_newest"))
        if journal is not None:
            raise ConfigurationError("journal", "a journal on disk is not in this version: leave it out")
        self._capacity = checked_capacity(journal_bytes)
        check_topics(prefix, topics)
        self._config, self._callbacks = producer_config(bootstrap_servers, config)
        self._prefix, self._topics = prefix, topics
        self._service = service or "unknown_service"
        self._resource = resource_of(self._service, service_version, environment)
        self._source, self._headers = source, headers
        self._topic_settings = topic_settings_of(create_topics)
        self._on_full: Literal["block", "drop_newest"] = on_full
        self._full_timeout = full_timeout
        self.exit_timeout = exit_timeout
        all_schemas()  # a damaged installation is found now, not at the first event
        self._closed = False
        self._starting = threading.RLock()
        self._stream = self._open(parent=None)
        self._start(self._stream)
        register(self)
        forksafe.register(self)

    # -- streams ----------------------------------------------------------------------------------------

    def _open(self, parent: str | None) -> _Stream:
        stream_id = uuid7()
        notes = Notes()
        encoder = FastavroEncoder(on_coerced=notes.coerced, on_truncated=notes.truncated)
        drafter = Drafter(stream_id, encoder, self._prefix, self._topics)
        journal = MemoryJournal(self._capacity, on_full=self._on_full, full_timeout=self._full_timeout)
        client = Client(self._config, self._callbacks, time.monotonic)
        directory = Directory(client.list_topics, client.admin, self._topic_settings)
        resource = {**self._resource, "service.instance.id": stream_id, "process.pid": os.getpid()}
        ledger = Ledger(
            trail=self._prefix,
            resource=json.dumps(resource, ensure_ascii=False, separators=(",", ":")),
            parent_stream=parent,
        )
        sender = Sender(
            journal,
            client,
            directory,
            ledger,
            drafter,
            notes,
            hash_key=PARTITIONERS[self._config["partitioner"]],
            source=(self._source or source_of(self._service, stream_id)) if self._headers != "none" else None,
            capacity=self._capacity,
        )
        return _Stream(drafter, journal, client, sender, notes)

    def _start(self, stream: _Stream) -> None:
        with self._starting:
            if stream.thread is None:
                thread = threading.Thread(target=stream.sender.run, name="auditwire-sender", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down: the exit runs the sender itself
                    return
                stream.thread = thread

    def _current(self) -> _Stream:
        """This process's stream; after a fork a new one, begun by whoever needs it first."""
        stream = self._stream
        if stream.pid != os.getpid() and not self._closed:
            with self._starting:
                stream = self._stream
                if stream.pid != os.getpid():
                    opened = self._open(parent=stream.drafter.stream_id)
                    if (
                        self._stream.pid != os.getpid()
                    ):  # else a signal handler emitted meanwhile, on this thread
                        self._stream = opened
                    stream = self._stream
                    self._start(stream)
        return stream

    def _first_event(self) -> _Stream:
        """What has to be seen to once in a process, and not before its first event."""
        stream = self._current()
        if self._closed:
            stream.notes.lost("closed")
            raise CollectorClosed("the collector is closed: the event was not accepted")
        register(self)
        stream.ready = True
        return stream

    def after_fork(self) -> None:
        """In the child: leave everything of the parent's alone, for good.

        Destroying the parent's producer here would wait for threads that do not exist; so nothing of it is
        ever collected. The lock may have been held by a thread that does not exist either.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._stream))
        self._starting = threading.RLock()
        self._stream.pid = -1
        self._stream.ready = False

    # -- the collector ----------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str:
        """The stream that this process writes, UUIDv7."""
        return self._current().drafter.stream_id

    def emit(self, event: AuditEvent) -> None:
        """Accept an event: it is in the journal when this returns.

        Raises:
            JournalFull: There is no room; the event is written down as lost.
            CollectorClosed: The collector is closed.
            EncodingError: The object is no event, or cannot be rendered; it is written down as lost.
        """
        stream = self._stream
        if not stream.ready:
            stream = self._first_event()
        try:
            draft = stream.drafter.draft(_emittable(event))
        except Exception as error:
            stream.notes.lost("encoding")
            if isinstance(error, AuditwireError):
                raise
            raise EncodingError(f"the event could not be encoded: {type(error).__name__}: {error}") from error
        try:
            # nothing but our own refusals is caught here: what a signal handler raises behind the append must
            # not be written down as a loss, for the event is accepted
            stream.journal.append(draft)
        except AuditwireError as error:
            stream.notes.lost(_REASONS.get(type(error), "refused"))
            raise

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

    def _reached(self, stream: _Stream, barrier: Barrier, deadline: float) -> bool:
        while not stream.sender.finished:  # in slices: a sender that ended meanwhile releases nobody
            left = deadline - time.monotonic()
            if barrier.wait(min(left, 0.5)):
                return True
            if left <= 0:
                break
        stream.journal.withdraw(barrier)
        return stream.sender.finished and not stream.sender.pending

    async def aflush(self, timeout: float = 30.0) -> None:
        """``flush`` in a worker thread, so that the event loop goes on."""
        await asyncio.to_thread(self.flush, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Deliver what is accepted, write the closing checkpoint, end the background thread. Never hangs.

        Events emitted from now on are refused. A second call does nothing.

        Args:
            timeout: Seconds.

        Raises:
            FlushTimeout: Not everything was acknowledged in time; a memory journal's rest is lost.
        """
        if self._closed:
            return
        stream = self._stream
        if stream.pid != os.getpid():
            self._closed = True  # a child that emitted nothing has no stream to close
            return
        self.begin_close(timeout)
        if threading.current_thread() is stream.thread:
            return  # a callback's wish: the sender, which is calling it, ends as soon as it can
        self.end_close(timeout)
        unregister(self)
        if stream.sender.pending:
            raise self._flush_timeout(stream, timeout)

    async def aclose(self, timeout: float = 10.0) -> None:
        """``close`` in a worker thread, so that the event loop goes on."""
        await asyncio.to_thread(self.close, timeout)

    def begin_close(self, timeout: float) -> None:
        """Ask the sender to finish; returns at once."""
        self._closed = True
        self._stream.sender.close(time.monotonic() + timeout)

    def end_close(self, timeout: float) -> None:
        """Wait for the sender to finish, at most about ``timeout`` seconds."""
        thread = self._stream.thread
        if thread is not None and thread.is_alive():
            thread.join(timeout + _JOIN_SECONDS)
        elif not self._stream.sender.finished:
            self._stream.sender.run()  # its thread could not start, or died with the interpreter: on this one

    def abandoned(self) -> int | None:
        """Records accepted and never acknowledged; None when there is no stream in this process."""
        return self._stream.sender.pending if self._stream.pid == os.getpid() else None

    def health(self) -> Health:
        """What came in, what went out, what waits, and what went wrong."""
        health = self._current().sender.health()
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
        stream.client.set_sasl_credentials(username, password)
        stream.sender.retry_now()

    def _flush_timeout(self, stream: _Stream, timeout: float) -> FlushTimeout:
        pending, parked = stream.sender.pending, stream.sender.parked
        message = f"{pending} records were not acknowledged within {timeout:g} s; they are in memory only"
        if parked:
            waiting = "; ".join(f"{topic}: {reason}" for topic, reason in sorted(parked.items()))
            message += f". Parked topics: {waiting}"
        elif stream.client.last_error:
            message += f". Last error: {stream.client.last_error}"
        return FlushTimeout(message, pending=pending, durable=False, parked=parked)

    def __repr__(self) -> str:
        return f"<KafkaCollector {self._config['bootstrap.servers']} prefix={self._prefix!r}>"


_REASONS: Mapping[type[AuditwireError], str] = {
    JournalFull: "journal_full",
    CollectorClosed: "closed",
}


def _emittable(event: object) -> AuditEvent:
    """The event as one of ours; a control record of the caller's would make an honest stream look forged."""
    known = as_audit_event(event)
    if known.event_type in CONTROL_TYPES:
        raise EncodingError(f"{known.event_type} records are written by the library only")
    return known
