"""auditwire's own ways to the broker."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire import AuditEmitter, JournalCollector, KafkaCollector
from benchmarks.variants.base import FINISH_SECONDS, NotDeliveredError, Variant
from benchmarks.workload import AGENT, emit_blocks, emit_events

if TYPE_CHECKING:
    from benchmarks.variants.base import Job

__all__ = ["Blocks", "Disk", "Forwarded", "Headerless", "Memory", "emitters"]

SERVICE = "benchmark"


def emitters(collector: Any, job: Job) -> list[list[AuditEmitter]]:
    """For each thread its sessions' emitters."""
    audit = AuditEmitter(collector, agent_id=AGENT, on_error="raise", preview_chars=max(job.size or 0, 200))
    return [[audit.for_session(session) for session in job.sessions_of(n)] for n in range(job.threads)]


class Memory(Variant):
    """A KafkaCollector whose journal is in memory."""

    def __init__(self, job: Job, **settings: Any) -> None:
        super().__init__(job)
        self.collector = KafkaCollector(
            job.bootstrap,
            prefix=job.prefix,
            service=SERVICE,
            create_topics=False,
            full_timeout=FINISH_SECONDS,
            **settings,
        )
        self.audits = emitters(self.collector, job)

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        emit_events(self.audits[thread], count, self.job.size)

    def finish(self) -> None:
        """See the base class."""
        self.collector.flush(FINISH_SECONDS)

    def acknowledged(self) -> int:
        """See the base class."""
        health = self.collector.health()
        if health.lost or health.coerced or health.truncated or health.quarantined or health.resent:
            raise NotDeliveredError(f"not what was to be measured: {health}")
        return health.delivered

    def close(self) -> None:
        """See the base class."""
        self.collector.close(FINISH_SECONDS)


class Disk(Memory):
    """A KafkaCollector with ``journal=PATH``, synchronised every 200 ms."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, journal=Path(job.path) / "journal")


class Headerless(Memory):
    """A KafkaCollector with ``headers="none"``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job, headers="none")


class Blocks(Memory):
    """The same events by ``with audit.turn()`` and ``with audit.tool_call()``."""

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class; a count that is no multiple of four is rounded down."""
        emit_blocks(self.audits[thread], count)


class Forwarded(Variant):
    """A JournalCollector in this process, and ``auditwire forward`` in another one."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        path = Path(job.path) / "journal"
        self.collector = JournalCollector(
            path, prefix=job.prefix, service=SERVICE, full_timeout=FINISH_SECONDS
        )
        self.audits = emitters(self.collector, job)
        command = ["forward", str(path), "-b", job.bootstrap, "--prefix", job.prefix, "--no-create-topics"]
        self._forwarder = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-c", "from auditwire.cli import main; main()", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(Path(job.path) / "forwarder").open("wb"),
        )

    def emit(self, count: int, thread: int = 0) -> None:
        """See the base class."""
        emit_events(self.audits[thread], count, self.job.size)

    def finish(self) -> None:
        """When the forwarder's word is in the journal that all is delivered; looked for every 10 ms."""
        deadline = time.monotonic() + FINISH_SECONDS
        while self.collector.health().pending_records:
            if time.monotonic() > deadline or self._forwarder.poll() is not None:
                said = (Path(self.job.path) / "forwarder").read_text(encoding="utf-8", errors="replace")
                raise NotDeliveredError(f"the forwarder did not deliver all: {said.strip()}")
            time.sleep(0.01)

    def acknowledged(self) -> int:
        """See the base class."""
        return self.collector.health().delivered

    def other_cpu(self) -> float:
        """The forwarder's CPU clock (``clock_getcpuclockid(3)``)."""
        clock = (~self._forwarder.pid << 3) | 2
        return time.clock_gettime(clock)

    def close(self) -> None:
        """See the base class."""
        self.collector.close(FINISH_SECONDS)
        self._forwarder.terminate()
        self._forwarder.wait()
