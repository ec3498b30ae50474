"""aiokafka on an event loop, with the same fastavro values, acks, idempotence, compression and linger."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from auditwire.wire import topic_name
from benchmarks.variants.base import PRODUCER, NotDeliveredError, Variant, headers_of
from benchmarks.variants.handwritten import record_of, value_of
from benchmarks.workload import EVENT_TYPES, own_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from benchmarks.variants.base import Job

__all__ = ["AioKafka", "LoopVariant"]


class LoopVariant(Variant):
    """A client that lives on an event loop, which turns while it is emitted and waited for."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.loop = asyncio.new_event_loop()
        self.sessions = [job.sessions_of(thread) for thread in range(job.threads)]
        self._stream = str(uuid4())
        self._source = f"/auditwire/benchmark/{self._stream}".encode()
        self._numbers = itertools.count()
        self._futures: list[Awaitable[Any]] = []
        self._done = 0
        self.loop.run_until_complete(self.open())

    async def open(self) -> None:
        """Connect."""
        raise NotImplementedError

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, Any]]
    ) -> Awaitable[Any]:
        """Hand a record over; what is returned is done when the broker has it."""
        raise NotImplementedError

    async def shut(self) -> None:
        """Disconnect."""
        raise NotImplementedError

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        self.loop.run_until_complete(self._emit(count, self.sessions[thread]))

    async def _emit(self, count: int, sessions: list[str]) -> None:
        # as workload.emit_fields, with an await at each event
        turn, session = "", sessions[0]
        for number in range(count):
            step = number % 4
            if step == 0:
                session = sessions[number // 4 % len(sessions)]
                turn = uuid4().hex[:12]
            event_type = EVENT_TYPES[step]
            record = record_of(
                session, event_type, own_fields(event_type, turn), self._stream, next(self._numbers)
            )
            value = value_of(event_type, record)
            headers = headers_of(record["event_id"], event_type, self._source)
            topic = topic_name(self.job.prefix, event_type)
            self._futures.append(await self.send(topic, value, session.encode(), headers))

    def finish(self) -> None:
        """See the base class."""
        self.loop.run_until_complete(self._finish())

    async def _finish(self) -> None:
        waiting, self._futures = self._futures, []
        for answer in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise NotDeliveredError(f"a record failed: {answer}") from answer
            self._done += 1

    def acknowledged(self) -> int:
        """See the base class."""
        return self._done

    def close(self) -> None:
        """See the base class."""
        self.loop.run_until_complete(self.shut())
        self.loop.close()


class AioKafka(LoopVariant):
    """See the module."""

    async def open(self) -> None:
        """See the base class."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self.job.bootstrap,
            acks=PRODUCER["acks"],
            enable_idempotence=PRODUCER["enable.idempotence"],
            compression_type=PRODUCER["compression.type"],
            linger_ms=PRODUCER["linger.ms"],
        )
        await self._producer.start()

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, Any]]
    ) -> Awaitable[Any]:
        """See the base class."""
        found: Awaitable[Any] = await self._producer.send(topic, value, key, headers=headers)
        return found

    async def shut(self) -> None:
        """See the base class."""
        await self._producer.stop()
