"""A forwarder at work: put together, watched, ended by a signal or when nothing is left.

Signals are put into a queue, which a handler may do at any byte code, and taken out by the main thread; no
exception of a handler ever cuts through the delivery.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from auditwire.cli.journal_path import age_text, count_text
from auditwire.cli.output import remark
from auditwire.cli.progress import Bar
from auditwire.collectors.arguments import resource_of
from auditwire.collectors.journals import DiskJournals, open_ledger
from auditwire.delivery.adoption import Adoption
from auditwire.delivery.client import Client
from auditwire.delivery.exposition import exposition, families
from auditwire.delivery.forwarder import AnyTarget, Forwarder
from auditwire.delivery.metrics import Observed
from auditwire.delivery.service_manager import ServiceManager
from auditwire.delivery.settings import producer_config
from auditwire.delivery.status_server import StatusServer
from auditwire.delivery.topics import TopicSettings
from auditwire.ids import uuid7
from auditwire.journal.disk import DEFAULT_CAPACITY
from auditwire.journal.drafter import Drafter
from auditwire.journal.filesystem import REAL
from auditwire.journal.inspection import look
from auditwire.journal.notes import Notes
from auditwire.journal.target import Target
from auditwire.journal.trees import json_text, unlink, write_text
from auditwire.wire import new_encoder
from auditwire.wire import source as source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from auditwire.cli.connection import Connection
    from auditwire.delivery.health import Health
    from auditwire.journal.inspection import JournalStatus, StreamStatus

__all__ = ["Run", "Settings", "forwarding", "left_of"]

_TICK = 0.25
"""Seconds between two looks at the forwarder."""

_TELL_SECONDS = 5.0
"""How often the health is written to its file, and systemd told what is going on."""

_CLOSE_SECONDS = 5.0
"""What the end itself may take, beyond the time for what is to be delivered."""

_LOOK_SECONDS = 1.0
"""How soon a stream that was begun is served."""

_ROOM = 32 << 20
"""Bytes beyond the agents' bound: a path that is full of orphans still has room for what is said of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a forwarder is to do.

    Attributes:
        where: The brokers, the prefix, librdkafka's properties.
        path: The journal path.
        service: Whose its own stream is.
        any_target: Deliver streams for other brokers and prefixes, too.
        create_topics: Whether missing topics are made.
        serve_live: Whether streams of living owners that leave delivery to others are delivered.
        capacity: Bytes that the collectors on the path are bounded by; None for their default.
    """

    where: Connection
    path: str
    service: str
    any_target: bool
    create_topics: bool
    serve_live: bool = True
    capacity: int | None = None


@contextmanager
def forwarding(
    settings: Settings,
    *,
    metrics: str | None = None,
    health_file: Path | None = None,
    total: int | None = None,
) -> Iterator[Run]:
    """A forwarder that was started; it is ended when the block is left, however that happens.

    Args:
        settings: What it is to do.
        metrics: Where to answer probes.
        health_file: Where to keep the health.
        total: Records to be delivered, for a progress bar.

    Raises:
        ConfigurationError: A setting is wrong, or the directory cannot be used.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(_signals())
        stack.enter_context(_information_as_lines())
        run = Run(stack, settings, signals, metrics, health_file, total)
        try:
            yield run
        finally:
            run.end()


class Run:
    """See `forwarding`.

    Attributes:
        health: How the forwarder was when it was last looked at.
        left: What is left on the path when it has ended, a line each.
    """

    def __init__(
        self,
        stack: ExitStack,
        settings: Settings,
        signals: SimpleQueue[int],
        metrics: str | None,
        health_file: Path | None,
        total: int | None,
    ) -> None:
        self.left: list[str] = []
        self._signals = signals
        self._health_file = None if health_file is None else str(health_file.absolute())
        self._tell_at = 0.0
        self._alive_at = 0.0
        self._manager = ServiceManager()
        self._bar = None if total is None else Bar(stack, "delivering", total, "records")
        server = None
        if metrics is not None:  # before a stream is begun: it may be refused
            server = self._server(metrics)
            stack.callback(server.close)
        self._journals, self._target, self._forwarder = _put_together(settings)
        self._observed = Observed(self._forwarder)
        self.health = self._forwarder.health()
        self._state = self.health.state
        if server is not None:
            server.start()
            remark(f"answering at {server.url}")
        self._forwarder.start()
        self._manager.ready(f"forwarding {self._journals.path.path}")

    def _server(self, address: str) -> StatusServer:
        return StatusServer(
            address,
            live=lambda: self._forwarder.live,
            health=self._told,
            metrics=lambda: exposition(families(self._observed)),
        )

    def serve(self, *, once: bool, timeout: float) -> None:
        """Deliver until a signal comes; with ``once`` also until nothing is left, or nothing moves.

        Args:
            once: End by itself.
            timeout: Seconds to go on after a signal, and with ``once`` without progress.
        """
        done = (lambda: self._forwarder.caught_up) if once else _never
        if self._until(done, still=timeout if once else None):
            remark(f"ending: what is there is delivered, for at most {timeout:g} s")
            self._manager.stopping("delivering what is there")
            # what comes now waits for the next forwarder: a busy agent must not keep this one
            ends = {stream.stream_id: stream.next_sequence for stream in look(self._journals.path).streams}
            deadline = time.monotonic() + timeout
            if self._until(lambda: self._forwarder.reached(ends), deadline=deadline):
                self._forwarder.close(time.monotonic())
        self.end()
        # what others deliver now is in good hands
        self.left = left_of(look(self._journals.path), self._target, served=False)

    def end(self) -> None:
        """End the forwarder, in a few seconds."""
        self._forwarder.close(time.monotonic() + _CLOSE_SECONDS)
        self._forwarder.join(2 * _CLOSE_SECONDS)
        self.health = self._forwarder.health()
        if self._health_file is not None:
            unlink(REAL, self._health_file)

    def _until(
        self, done: Callable[[], bool], *, still: float | None = None, deadline: float | None = None
    ) -> bool:
        """Look after the forwarder until it is done; True when a signal came first."""
        moved, moved_at = self._forwarder.moved, time.monotonic()
        while True:
            try:
                self._signals.get(timeout=_TICK)
            except Empty:
                pass
            else:
                return True
            now = time.monotonic()
            self._tick(now)
            if done() or (deadline is not None and now >= deadline):
                return False
            if self._forwarder.moved != moved:
                moved, moved_at = self._forwarder.moved, now
            if still is not None and now - moved_at >= still:
                remark(f"nothing could be delivered for {still:g} s", style="yellow")
                return False

    # -- telling ----------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        watchdog = self._manager.watchdog_seconds
        if watchdog is not None and now >= self._alive_at and self._forwarder.live:
            self._alive_at = now + watchdog
            self._manager.alive()
        if self._bar is not None:
            health = self._forwarder.health()
            self._bar.show(health.delivered)
        if now < self._tell_at:
            return
        self._tell_at = now + _TELL_SECONDS
        self.health = health = self._forwarder.health()
        if health.state != self._state:
            self._state = health.state
            remark(_sentence(health), style="green" if health.state == "ok" else "yellow")
        self._manager.status(_sentence(health))
        if self._health_file is not None:
            try:
                write_text(REAL, self._health_file, json_text(self._told()[1]), 0o644)
            except OSError as error:
                remark(f"the health could not be written: {error}", style="yellow")

    def _told(self) -> tuple[bool, dict[str, Any]]:
        """For probes: whether all is well, and all there is to say."""
        health = self._forwarder.health()
        told = {
            "at": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "path": self._journals.path.path,
            "live": self._forwarder.live,
            **health.to_dict(),
        }
        return health.state != "failing", told


def _never() -> bool:
    return False


def _put_together(settings: Settings) -> tuple[DiskJournals, Target, Forwarder]:
    where = settings.where
    config, callbacks = producer_config(where.bootstrap, where.config)
    client = Client(config, callbacks, time.monotonic)  # what may be refused is, before a stream is begun
    own_target = Target.of(where.bootstrap, where.prefix)
    target = AnyTarget(own_target.bootstrap, own_target.prefix) if settings.any_target else own_target
    capacity = DEFAULT_CAPACITY if settings.capacity is None else settings.capacity
    journals = DiskJournals(settings.path, own_target, capacity=capacity + _ROOM)
    stream_id = uuid7()
    notes = Notes()
    source = source_of(settings.service, stream_id)
    journal = journals.open(stream_id, service=settings.service, source=source)
    encoder = new_encoder(on_coerced=notes.coerced, on_truncated=notes.truncated)
    resource = resource_of(settings.service, None, None)
    forwarder = Forwarder(
        client,
        journal,
        Drafter(stream_id, encoder, where.prefix),
        open_ledger(where.prefix, resource, stream_id, None, journal.previous),
        notes,
        Adoption(journals.path, target, serve_live=settings.serve_live, look_seconds=_LOOK_SECONDS),
        partitioner=config["partitioner"],
        source=source,
        topics=TopicSettings() if settings.create_topics else None,
        capacity=capacity,
    )
    return journals, target, forwarder


def left_of(status: JournalStatus, target: Target | None = None, *, served: bool = True) -> list[str]:
    """What lies on a journal path and is not delivered, a line for each stream.

    Args:
        status: The path.
        target: Whose streams are looked at; None for all.
        served: Those that somebody delivers now are left too.
    """
    return [
        _left(stream)
        for stream in status.streams
        if (stream.pending_records or stream.parked)
        and (target is None or stream.target is None or target.accepts(stream.target))
        and (served or not stream.served)
    ]


def _left(stream: StreamStatus) -> str:
    text = f"left: {count_text(stream.pending_records, 'record')} of stream {stream.stream_id}"
    if stream.service:
        text += f" ({stream.service})"
    if stream.owner_alive:
        text += ", whose process lives"
    elif stream.served:
        text += ", which another process delivers"
    if stream.parked:
        text += f", waiting for {', '.join(parked.topic for parked in stream.parked)}"
    return text


def _sentence(health: Health) -> str:
    """How a forwarder is, in a line."""
    text = f"{health.state}: {count_text(health.delivered, 'event')} delivered"
    if health.pending_records:
        text += f", {count_text(health.pending_records, 'record')} pending"
        text += f" for {age_text(health.oldest_seconds)}"
    for topic, reason in health.parked.items():
        text += f"; {topic} takes none ({reason})"
    if health.state == "failing" and health.last_error:
        text += f"; {health.last_error}"
    return text


# -- the process --------------------------------------------------------------------------------------------


@contextmanager
def _signals() -> Iterator[SimpleQueue[int]]:
    """SIGTERM and SIGINT as they come. ``SimpleQueue.put`` may be called inside of its own ``get``."""
    queue: SimpleQueue[int] = SimpleQueue()

    def put(number: int, _frame: FrameType | None) -> None:
        queue.put(number)

    if threading.current_thread() is not threading.main_thread():
        yield queue
        return
    before = {number: signal.signal(number, put) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield queue
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _InfoLines(logging.Handler):
    """What the library says of its work; warnings have a handler of their own."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO and record.name == "auditwire":
            remark(record.getMessage())


@contextmanager
def _information_as_lines() -> Iterator[None]:
    logger = logging.getLogger("auditwire")
    handler, level = _InfoLines(logging.INFO), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
