"""FastStream's Kafka broker on confluent-kafka, with the same fastavro values, without waiting for each."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from faststream.confluent import KafkaBroker

from benchmarks.variants.aio import LoopVariant
from benchmarks.variants.base import PRODUCER

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["FastStreamed"]

_BY_ARGUMENT = ("acks", "enable.idempotence", "linger.ms", "compression.type", "partitioner")


class FastStreamed(LoopVariant):
    """See the module."""

    async def open(self) -> None:
        """See the base class."""
        rest: Any = {key: value for key, value in PRODUCER.items() if key not in _BY_ARGUMENT}
        # its queue has librdkafka's own size: publish() raises when it is full
        del rest["queue.buffering.max.messages"], rest["queue.buffering.max.kbytes"]
        self._broker = KafkaBroker(
            self.job.bootstrap,
            acks=PRODUCER["acks"],
            enable_idempotence=PRODUCER["enable.idempotence"],
            linger_ms=PRODUCER["linger.ms"],
            compression_type=PRODUCER["compression.type"],
            partitioner=PRODUCER["partitioner"],
            config=rest,
            logger=logging.getLogger("benchmark"),
            log_level=logging.WARNING,
        )
        await self._broker.start()

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, Any]]
    ) -> Awaitable[Any]:
        """See the base class."""
        texts = {name: text.decode() for name, text in headers}
        found: Awaitable[Any] = await self._broker.publish(
            value, topic, key=key, headers=texts, no_confirm=True
        )
        return found

    async def shut(self) -> None:
        """See the base class."""
        await self._broker.stop()
