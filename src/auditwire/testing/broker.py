"""A broker for tests and for trying things out, without Java or a container."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.events import ALL_TYPES
from auditwire.wire.headers import topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["EmbeddedBroker"]

START_SECONDS = 30.0
"""It takes 0.1 s; on a busy machine that is short of memory, many times that."""

_STOP_SECONDS = 10.0
_PARTITIONS_MOST = 1000
_BROKERS_MOST = 10


class EmbeddedBroker:
    """librdkafka's mock cluster in a process of its own: it speaks Kafka's protocol, and keeps all in memory.

    ::

        with EmbeddedBroker() as broker:
            collector = KafkaCollector(broker.bootstrap_servers, create_topics=False)

    Any Kafka client on this machine can use it. It ends with the ``with`` block, with :meth:`stop`, and at
    the latest with the process that started it, however that ends.

    What it is not:

    * It keeps **5 MB of a partition** and drops the oldest records beyond that. It says so on stderr when it
      begins to, counts them in :attr:`dropped`, and :meth:`stop` issues a ``RuntimeWarning``.
    * ``CreateTopics`` is not there: an AdminClient's request times out. The audit topics are made when it
      starts, others by :meth:`create_topics`; a producer with ``allow.auto.create.topics``, which a
      KafkaCollector does not set, gets a topic of four partitions at its first use.
    * No ACLs, TLS, SASL, retention, compaction or topic configuration; ``offsetsForTimes`` answers -1.
    * The port is chosen by the system, and another one by each start.

    Not for use by several threads at once. A forked child can use the address; stopping is its parent's.

    Args:
        partitions: Of each topic that is made: 6, as a KafkaCollector makes them on a real broker.
        brokers: How many brokers there are: 1. Topics have one replica in any case.
        prefix: The audit topics with this prefix are made at the start: ``audit``. None makes none.

    Raises:
        ConfigurationError: ``partitions`` or ``brokers`` is no such number.
    """

    def __init__(self, *, partitions: int = 6, brokers: int = 1, prefix: str | None = "audit") -> None:
        _check("partitions", partitions, _PARTITIONS_MOST)
        _check("brokers", brokers, _BROKERS_MOST)
        self._partitions = partitions
        self._brokers = brokers
        self._prefix = prefix
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        self._address = ""
        self._dropped: dict[str, int] = {}

    @property
    def bootstrap_servers(self) -> str:
        """``host:port``, as Kafka clients take it.

        Raises:
            AuditwireError: The broker was not started, or is stopped.
        """
        if self._process is None:
            raise AuditwireError(
                "the embedded broker is not running: call start(), or use it in a with block"
            )
        return self._address

    @property
    def running(self) -> bool:
        """True between ``start`` and ``stop``, unless its process has died."""
        return self._process is not None and self._process.poll() is None

    @property
    def dropped(self) -> int:
        """Records dropped so far because a partition held more than 5 MB; after ``stop`` the last count."""
        if self.running:
            self._dropped = self._ask({"dropped": True})["dropped"]
        return sum(self._dropped.values())

    def start(self) -> Self:
        """Start the process and make the audit topics; does nothing when it is running.

        Raises:
            AuditwireError: The process did not come up; the message says why.
        """
        if self.running:
            return self
        self._owner = os.getpid()
        self._dropped = {}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this package
            [sys.executable, "-m", "auditwire.testing._mock_cluster", str(self._brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            # what this process can import, the other has to: pytest's pythonpath is not in the environment
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            # Ctrl-C is for this process to handle; the other ends when its standard input does
            start_new_session=True,
        )
        try:
            self._address = self._read(START_SECONDS)["bootstrap_servers"]
            if self._prefix is not None:
                self.create_topics()
        except BaseException:
            self._end()
            raise
        return self

    def create_topics(
        self,
        names: str | Iterable[str] | None = None,
        *,
        prefix: str | None = None,
        partitions: int | None = None,
    ) -> list[str]:
        """Make topics; those that exist are left as they are.

        Args:
            names: The topics, or the one; by default the audit topics of all event types.
            prefix: Of the audit topics, when no names are given; the broker's own by default.
            partitions: Of each topic; the broker's own by default.

        Returns:
            The names.

        Raises:
            ConfigurationError: ``partitions`` is no such number.
            AuditwireError: The broker is not running, or refused a topic.
        """
        if partitions is None:
            partitions = self._partitions
        _check("partitions", partitions, _PARTITIONS_MOST)  # librdkafka would end the process over it
        if names is None:
            start = prefix or self._prefix or "audit"
            names = [topic_name(start, event_type) for event_type in ALL_TYPES]
        wanted = [names] if isinstance(names, str) else list(names)
        self._ask({"create": wanted, "partitions": partitions})
        return wanted

    def stop(self) -> None:
        """End the broker and forget its records; does nothing when it is stopped, or in a forked child.

        Warns:
            RuntimeWarning: It had dropped records.
        """
        self._stop(stacklevel=3)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(stacklevel=3)

    def __repr__(self) -> str:
        return f"<EmbeddedBroker {self._address if self.running else 'stopped'}>"

    # -- the process ----------------------------------------------------------------------------------------

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.stdin is None:
            raise AuditwireError(
                "the embedded broker is not running: call start(), or use it in a with block"
            )
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise AuditwireError(f"the embedded broker's process has died: {error}") from error
        return self._read(_STOP_SECONDS)

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next answer. A pipe has no time limit, so the process gets one: killed, it ends its output."""
        process = self._process
        assert process is not None  # noqa: S101 - for the type checker; who calls has started it
        assert process.stdout is not None  # noqa: S101 - as above
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            status = process.wait()
            raise AuditwireError(
                f"the embedded broker's process ended with status {status} "
                f"(-9: it had said nothing for {seconds:g} s); what it wrote on stderr says why"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise AuditwireError(f"the embedded broker: {answer['error']}")
        return answer

    def _stop(self, stacklevel: int) -> None:
        if self._process is None or self._owner != os.getpid():
            return
        # a process that died, or does not answer, has nothing to count any more
        with contextlib.suppress(AuditwireError):
            _ = self.dropped
        self._end()
        if self._dropped:
            topics = ", ".join(f"{topic} ({count})" for topic, count in self._dropped.items())
            warnings.warn(
                f"the embedded broker keeps 5 MB of a partition and dropped the oldest records of {topics}",
                RuntimeWarning,
                stacklevel=stacklevel,
            )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in filter(None, (process.stdin, process.stdout)):
            with contextlib.suppress(OSError):  # what was not written to a process that died
                pipe.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check(key: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ConfigurationError(key, f"{value} is not between 1 and {most}")
