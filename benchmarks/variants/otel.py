"""OpenTelemetry's logs SDK: records by the batch processor, as OTLP protobuf, one Kafka message a batch.

There is no exporter to Kafka for Python; this one does what the Collector's Kafka exporter does with
``otlp_proto``. The queue is as long as there are events, for the SDK drops the oldest in silence.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from benchmarks.variants.base import FINISH_SECONDS, ProducerVariant
from benchmarks.workload import AGENT, EVENT_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Message
    from opentelemetry.sdk._logs import ReadableLogRecord

    from benchmarks.variants.base import Job

__all__ = ["OpenTelemetry"]

_KEY = b"logs"


class _Exporter(LogRecordExporter):
    def __init__(self, variant: OpenTelemetry) -> None:
        self._variant = variant

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Produce the batch as one message."""
        self._variant.produce_batch(encode_logs(batch).SerializeToString(), len(batch))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002 - the variant flushes
        """Nothing is held here."""
        return True

    def shutdown(self) -> None:
        """The producer is the variant's."""


class OpenTelemetry(ProducerVariant):
    """See the module."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._stream = str(uuid4())
        self._numbers = itertools.count()
        self._records = 0
        self._topic = self.topics[EVENT_TYPES[0]]
        processor = BatchLogRecordProcessor(
            _Exporter(self), max_queue_size=job.events * job.threads + job.warm_up + 512
        )
        self._provider = LoggerProvider(shutdown_on_exit=False)
        self._provider.add_log_record_processor(processor)
        self._logger = self._provider.get_logger("benchmark.audit")

    def produce_batch(self, value: bytes, count: int) -> None:
        """One message that holds so many records; the acknowledgement counts them all."""

        def done(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.on_delivery(error, message)
            else:
                self._records += count

        self.producer.produce(self._topic, value, _KEY, on_delivery=done)
        self.producer.poll(0)

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """See the base class."""
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                event_name=event_type,
                attributes={
                    "event.id": str(uuid4()),
                    "session.id": session,
                    "gen_ai.agent.name": AGENT,
                    "stream.id": self._stream,
                    "sequence": next(self._numbers),
                    **{name: value for name, value in fields.items() if value is not None},
                },
            )
        )

    def finish(self) -> None:
        """See the base class."""
        self._provider.force_flush(int(FINISH_SECONDS * 1_000))
        super().finish()

    def acknowledged(self) -> int:
        """See the base class."""
        return super().acknowledged() + self._records
