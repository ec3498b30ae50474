"""Standard logging: a JSON formatter (python-json-logger), and a handler that produces."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pythonjsonlogger.json import JsonFormatter

from benchmarks.variants.base import ProducerVariant, headers_of
from benchmarks.workload import AGENT

if TYPE_CHECKING:
    from benchmarks.variants.base import Job

__all__ = ["JsonLogging"]


class _Handler(logging.Handler):
    def __init__(self, variant: JsonLogging) -> None:
        super().__init__()
        self._variant = variant

    def emit(self, record: logging.LogRecord) -> None:
        """Produce the line; the key is the session's."""
        told: Any = record
        self._variant.produce(
            self._variant.topics[record.msg],
            self.format(record).encode(),
            told.session_id.encode(),
            headers_of(told.event_id, record.msg, self._variant.source),
        )


class JsonLogging(ProducerVariant):
    """See the module."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._stream = str(uuid4())
        self.source = f"/auditwire/benchmark/{self._stream}".encode()
        self._numbers = itertools.count()
        handler = _Handler(self)
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._logger = logging.getLogger("benchmark.audit")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(handler)

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """See the base class."""
        self._logger.info(
            event_type,
            extra={
                "event_id": str(uuid4()),
                "session_id": session,
                "agent_id": AGENT,
                "severity": "info",
                "stream_id": self._stream,
                "sequence": next(self._numbers),
                **fields,
            },
        )
