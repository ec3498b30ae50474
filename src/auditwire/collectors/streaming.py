"""What the collectors share that write a stream: the journal, the background thread, forks and the end.

::

    emit -> draft -> journal          the caller's thread; no lock, no network
                        |
                     worker           the background thread

``emit`` returns when the journal has the event. Until then the event is the caller's, from then on it is the
collector's.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from auditwire import forksafe
from auditwire.collectors.arguments import check_choice, check_topics, resource_of
from auditwire.collectors.base import Managed
from auditwire.collectors.lifetime import register, unregister
from auditwire.errors import AuditwireError, CollectorClosed, EncodingError, FlushTimeout, JournalFull
from auditwire.events import ALL_TYPES, CONTROL_TYPES, AuditEvent
from auditwire.ids import uuid7
from auditwire.journal.drafter import Drafter
from auditwire.journal.notes import Notes
from auditwire.wire import all_schemas, as_audit_event, new_encoder
from auditwire.wire import source as source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.journal import Barrier, Journal

__all__ = ["Stream", "StreamingCollector", "Worker"]

_EMITTABLE = frozenset(cls for event_type, cls in ALL_TYPES.items() if event_type not in CONTROL_TYPES)

_JOIN_SECONDS = 2.0
"""What the worker may need beyond a deadline to leave a call into librdkafka or to the disk."""


class Worker(Protocol):
    """What the background thread does for a stream."""

    finished: bool

    def run(self) -> None:
        """Until closed."""

    def close(self, deadline: float) -> None:
        """End ``run`` when everything is done, or at the deadline (monotonic seconds). From any thread."""

    @property
    def pending(self) -> int:
        """Records that are accepted, and not yet where this collector brings them."""

    @property
    def parked(self) -> dict[str, str]:
        """Topic -> why it takes no records."""

    @property
    def ended(self) -> str | None:
        """``stream:sequence:digest`` when all of the stream is delivered, its closing checkpoint included."""


W = TypeVar("W", bound=Worker)


class Stream(Generic[W]):
    """One stream and all that belongs to it. A forked child begins another and never touches its parent's."""

    __slots__ = ("drafter", "journal", "notes", "pid", "ready", "thread", "worker")

    def __init__(self, drafter: Drafter, journal: Journal, notes: Notes, worker: W) -> None:
        self.drafter = drafter
        self.journal = journal
        self.notes = notes
        self.worker = worker
        self.thread: threading.Thread | None = None
        self.pid = os.getpid()
        self.ready = False  # set by the first event, taken back by a fork

    def run(self) -> None:
        """The background thread: the worker to its end, and then the journal's."""
        self.worker.run()
        self.journal.close(ended=self.worker.ended)


class StreamingCollector(Managed, Generic[W]):
    """See the module. A subclass opens the streams.

    Args:
        exit_timeout: Seconds that the interpreter's exit may wait for a collector that was not closed.
    """

    def _describe(
        self,
        *,
        prefix: str,
        topics: Mapping[str, str] | None,
        service: str | None,
        service_version: str | None,
        environment: str | None,
        source: str | None,
        headers: str,
    ) -> None:
        """What the records of all streams have in common; before anything is opened.

        Raises:
            ConfigurationError: A setting is wrong.
            SchemaError: The installation's schemas are missing or damaged.
        """
        check_choice("headers", headers, ("cloudevents", "none"))
        check_topics(prefix, topics)
        self._prefix, self._topics = prefix, topics
        self._service = service or "unknown_service"
        self._resource = resource_of(self._service, service_version, environment)
        self._source, self._headers = source, headers
        all_schemas()  # a damaged installation is found now, not at the first event

    def __init__(self, exit_timeout: float) -> None:
        self.exit_timeout = exit_timeout
        self._closed = False
        self._starting = threading.RLock()
        self._stream: Stream[W] = self._open(parent=None)
        self._start(self._stream)
        register(self)
        forksafe.register(self)

    # -- streams ----------------------------------------------------------------------------------------

    def _open(self, parent: str | None) -> Stream[W]:
        """A new stream; ``parent`` is the forking process's."""
        raise NotImplementedError

    def _draft(self) -> tuple[Drafter, Notes, str | None]:
        """What drafts a new stream's records, what it notes, and the ``ce_source`` header."""
        stream_id = uuid7()
        notes = Notes()
        encoder = new_encoder(on_coerced=notes.coerced, on_truncated=notes.truncated)
        source = (self._source or source_of(self._service, stream_id)) if self._headers != "none" else None
        return Drafter(stream_id, encoder, self._prefix, self._topics), notes, source

    def _start(self, stream: Stream[W]) -> None:
        with self._starting:
            if stream.thread is None:
                stream.journal.start()
                thread = threading.Thread(target=stream.run, name="auditwire-sender", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down: the exit runs the worker itself
                    return
                stream.thread = thread

    def _current(self) -> Stream[W]:
        """This process's stream; after a fork a new one, begun by whoever needs it first."""
        stream = self._stream
        if stream.pid != os.getpid() and not self._closed:
            with self._starting:
                stream = self._stream
                if stream.pid != os.getpid():
                    opened = self._open(parent=stream.drafter.stream_id)
                    if self._stream.pid != os.getpid():
                        self._stream = opened
                    else:  # a signal handler emitted meanwhile, on this thread
                        opened.journal.close(ended=None)
                    stream = self._stream
                    self._start(stream)
        return stream

    def _first_event(self) -> Stream[W]:
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
        if self._stream.pid != -1:
            self._stream.journal.after_fork()
        self._stream.pid = -1
        self._stream.ready = False

    # -- the collector ----------------------------------------------------------------------------------

    @property
    def stream_id(self) -> str:
        """The stream that this process writes, UUIDv7."""
        return self._current().drafter.stream_id

    @property
    def durable(self) -> bool:
        """Whether what is accepted survives the process."""
        return self._stream.journal.durable

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
            draft = stream.drafter.draft(event if type(event) in _EMITTABLE else _emittable(event))
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
        """Return when everything accepted before the call is where this collector brings it."""
        raise NotImplementedError

    async def aflush(self, timeout: float = 30.0) -> None:
        """``flush`` in a worker thread, so that the event loop goes on."""
        await asyncio.to_thread(self.flush, timeout)

    async def aclose(self, timeout: float = 10.0) -> None:
        """``close`` in a worker thread, so that the event loop goes on."""
        await asyncio.to_thread(self.close, timeout)

    def _reached(self, stream: Stream[W], barrier: Barrier, deadline: float) -> bool:
        """Wait until the worker has released the mark."""
        while not stream.worker.finished:  # in slices: a worker that ended meanwhile releases nobody
            left = deadline - time.monotonic()
            if barrier.wait(min(left, 0.5)):
                return True
            if left <= 0:
                break
        stream.journal.withdraw(barrier)
        return stream.worker.finished and not stream.worker.pending

    def close(self, timeout: float = 10.0) -> None:
        """Bring everything that is accepted where it belongs, write the closing checkpoint, end the thread.

        Never hangs. Events emitted from now on are refused. A second call does nothing.

        Args:
            timeout: Seconds.

        Raises:
            FlushTimeout: Not everything was acknowledged in time. What a journal in memory holds is then
                lost; one on disk keeps it for the next start.
        """
        if self._closed:
            return
        stream = self._stream
        if stream.pid != os.getpid():
            self._closed = True  # a child that emitted nothing has no stream to close
            return
        self.begin_close(timeout)
        if threading.current_thread() is stream.thread:
            return  # a callback's wish: the worker, which is calling it, ends as soon as it can
        self.end_close(timeout)
        unregister(self)
        if stream.worker.pending:
            raise self._flush_timeout(stream, timeout)

    def begin_close(self, timeout: float) -> None:
        """Ask the worker to finish; returns at once."""
        self._closed = True
        self._stream.worker.close(time.monotonic() + timeout)

    def end_close(self, timeout: float) -> None:
        """Wait for the worker to finish, at most about ``timeout`` seconds."""
        stream = self._stream
        if stream.thread is not None and stream.thread.is_alive():
            stream.thread.join(timeout + _JOIN_SECONDS)
        elif not stream.worker.finished:
            stream.run()  # its thread could not start, or died with the interpreter: on this one

    def abandoned(self) -> int | None:
        """Records accepted and never brought where they belong; None without a stream in this process."""
        return self._stream.worker.pending if self._stream.pid == os.getpid() else None

    def obstacle(self) -> str:
        """What is known of why records wait, to end a message with; empty when nothing is."""
        raise NotImplementedError

    def _flush_timeout(self, stream: Stream[W], timeout: float) -> FlushTimeout:
        raise NotImplementedError


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
