"""The way of records onto other topics: value, key, headers and timestamp as they were read.

Every record's delivery report is counted: ``settle`` returns when all of them have come, and raises when one
says that its record was refused. Nothing is tried again here: librdkafka does that for whatever may pass, and
what it reports is for good.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from auditwire.delivery.client import librdkafka_log
from auditwire.delivery.settings import named_setting, producer_config
from auditwire.errors import BrokerError, ConfigurationError
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.reading import Record
    from auditwire.replaying.target import Topics

__all__ = ["KafkaCopy"]

_SLICE = 0.25
"""Seconds of the longest wait inside the client."""

_POLL_RECORDS = 128
"""Reports are served after so many records; more wait in the client's queue."""

_ANY_PARTITION = -1


class KafkaCopy:
    """Copies records onto the topics ``<prefix>.<type>``. For one thread.

    A record goes to the partition with the number that it had, when the two topics have equally many; else to
    that of its key, as Kafka's clients for the JVM would send it.

    Args:
        bootstrap_servers: ``host:port``, several with commas.
        config: librdkafka's other properties.
        prefix: Of the topics.
        topics: What is known of them.
        sources: Topic that is read -> its partitions.
        timeout: Seconds without any acknowledgement, while some are waited for, after which it gives up.
        hurried: Seconds that it gives up after instead; None while there is no hurry. Asked while it waits.
        known: What ``settle`` said in an earlier run: its count is gone on with.
        clock: Seconds, monotonic.
        now_ms: The time, Unix milliseconds.
        make_producer: Makes the producer; tests give another.

    Attributes:
        untimed: Records without a Kafka timestamp, of all runs: the copy has the time of its writing.

    Raises:
        ConfigurationError: A setting would break a promise, or librdkafka refuses it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        config: Mapping[str, Any],
        *,
        prefix: str,
        topics: Topics,
        sources: Mapping[str, int],
        timeout: float,
        hurried: Callable[[], float | None] = lambda: None,
        known: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        make_producer: Callable[..., Any] = Producer,
    ) -> None:
        self.untimed = 0 if known is None else int(known["untimed"])
        self._address = bootstrap_servers
        self._prefix = prefix
        self._topics = topics
        self._sources = sources
        self._timeout = timeout
        self._hurried = hurried
        self._clock = clock
        now = now_ms()
        self._oldest_ms = {name: now - kept for name, kept in topics.retention_ms.items()}
        self._before = 0 if known is None else int(known["acknowledged"])
        self._sent = 0
        self._acknowledged = 0
        self._refusal = ""
        self._last_error = ""
        self._producer = self._make(config, make_producer)

    def _make(self, config: Mapping[str, Any], make_producer: Callable[..., Any]) -> Any:
        user = {"client.id": "auditwire-replay", **config}
        settings, callbacks = producer_config(self._address, user)
        settings["error_cb"] = self._on_error
        try:
            return make_producer(settings, logger=callbacks.get("logger", librdkafka_log))
        except KafkaException as error:
            text = error.args[0].str()
            raise ConfigurationError(named_setting(text, settings), text.strip()) from error

    # -- writing --------------------------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Hand one record to the client; waits while its queue is full.

        Raises:
            BrokerError: An earlier record was refused, or nothing was acknowledged for too long.
            ConfigurationError: The topic's retention would remove the record.
        """
        topic = topic_name(self._prefix, record.event.event_type)
        timestamp = record.timestamp_ms
        more: dict[str, Any] = {}
        if timestamp > 0:
            if timestamp < self._oldest_ms.get(topic, 0):
                raise self._too_old(topic, timestamp)
            more["timestamp"] = timestamp
        else:  # to the client, 0 is now
            self.untimed += 1
        if record.headers:
            more["headers"] = record.headers
        if self._topics.partitions[topic] == self._sources.get(record.topic):
            more["partition"] = record.partition
        while True:
            try:
                self._producer.produce(topic, record.value, record.key, on_delivery=self._on_delivery, **more)
                break
            except BufferError:
                self._serve("poll")
                self._wait(self._sent - self._acknowledged - 1)
            except KafkaException as error:
                raise BrokerError(f"{self._address}: topic {topic}: {error.args[0].str()}") from error
        self._sent += 1
        if not self._sent % _POLL_RECORDS:
            self._serve("poll", 0)

    def settle(self) -> dict[str, Any]:
        """Return when every record is acknowledged: how many are, and how many ``untimed``; of all runs.

        Raises:
            BrokerError: One was refused, or nothing was acknowledged for too long.
        """
        self._wait(0)
        return {"acknowledged": self._before + self._acknowledged, "untimed": self.untimed}

    finish = settle

    def close(self) -> None:
        """Let go of the client; what is not acknowledged may or may not arrive."""
        self._producer.purge()
        with suppress(KafkaException):
            self._producer.poll(0)

    # -- waiting --------------------------------------------------------------------------------------------

    def _wait(self, waiting: int) -> None:
        """Until no more than so many records are without a report."""
        last, since = self._acknowledged, self._clock()
        while self._sent - self._acknowledged > max(0, waiting):
            self._serve("flush" if waiting <= 0 else "poll")
            now = self._clock()
            if self._acknowledged > last:
                last, since = self._acknowledged, now
                continue
            patience = self._hurried()
            patience = self._timeout if patience is None else min(patience, self._timeout)
            if now - since >= patience:
                raise BrokerError(
                    f"{self._address} has acknowledged nothing for {patience:g} s, and "
                    f"{self._sent - self._acknowledged:,} records wait"
                    + (f": {self._last_error}" if self._last_error else "")
                )

    def _serve(self, method: str, seconds: float = _SLICE) -> None:
        """Let the client call back, for so long at most."""
        try:
            getattr(self._producer, method)(seconds)
        except KafkaException as error:  # of the client itself, such as a refused producer id
            self._on_error(error.args[0])
        if self._refusal:
            raise BrokerError(f"{self._address}: {self._refusal}")

    def _too_old(self, topic: str, timestamp: int) -> ConfigurationError:
        when = datetime.fromtimestamp(max(0, timestamp) / 1_000, timezone.utc).isoformat(timespec="seconds")
        days = self._topics.retention_ms[topic] / 86_400_000
        return ConfigurationError(
            "--to-prefix",
            f"topic {topic} keeps records for {days:g} days, and one of {when} would be removed at once: "
            "raise its retention.ms, have topics made with more --retention-days, or begin later (--since)",
        )

    # -- called by the client -------------------------------------------------------------------------------

    def _on_delivery(self, error: Any, message: Any) -> None:
        if error is None:
            self._acknowledged += 1
        elif not self._refusal:
            self._refusal = f"topic {message.topic()} refused a record: {error.str()} ({error.name()})"

    def _on_error(self, error: Any) -> None:
        self._last_error = error.str()
        if error.fatal() and not self._refusal:
            self._refusal = f"the client cannot go on: {error.str()}"
