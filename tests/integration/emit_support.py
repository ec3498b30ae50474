"""What the integration tests of the emit path share: collectors on a test broker, and what arrived there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AdminClient,
    OffsetSpec,
)

from auditwire import KafkaCollector
from auditwire.events import CONTROL_TYPES, EVENT_TYPES
from auditwire.reading import Message, Reader
from auditwire.verification import check_streams
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from auditwire.reading import Record
    from auditwire.verification import StreamReport
    from rig.broker import Broker

SOON = 30.0
"""Seconds within which everything has to happen here that a broker has a part in."""

QUICK: dict[str, Any] = {"reconnect.backoff.max.ms": 500}
"""Settings for tests with broken brokers: librdkafka's own back-off of 10 s would be most of their time."""


def collector(broker: Broker, prefix: str, **options: Any) -> KafkaCollector:
    """A collector on this broker, by default without librdkafka's long back-off."""
    config = {**QUICK, **options.pop("config", {})}
    return KafkaCollector(broker.bootstrap, prefix=prefix, config=config, **options)


def until(condition: Callable[[], bool], what: str, timeout: float = SOON) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: It did not within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Trail:
    """All that stands under a prefix."""

    records: list[Record]
    reports: list[StreamReport]

    @property
    def events(self) -> list[Record]:
        """The records without control records, duplicates included, in the order of stream and sequence."""
        return [r for r in self.records if r.event.event_type not in CONTROL_TYPES]

    @property
    def unique(self) -> dict[tuple[str, int], Record]:
        """Stream and sequence -> record, without control records."""
        return {(r.stream_id, r.sequence): r for r in self.events}

    @property
    def duplicates(self) -> int:
        """How many records stand there once more."""
        return sum(report.duplicates for report in self.reports)

    def of_type(self, event_type: str) -> list[Record]:
        """The records of one type, control types included, in the order of stream and sequence."""
        return [r for r in self.records if r.event.event_type == event_type]

    def report(self, stream_id: str) -> StreamReport:
        """What was found about one stream."""
        return next(r for r in self.reports if r.stream_id == stream_id)


def read_all(
    bootstrap: str,
    prefix: str,
    *,
    settled: bool = True,
    config: Mapping[str, Any] | None = None,
    topics: Mapping[str, str] | None = None,
) -> Trail:
    """Everything under a prefix up to its end now, and the verdict on each stream; nothing may be foreign."""
    with Reader(bootstrap, prefix=prefix, config={**QUICK, **(config or {})}, topics=topics) as reader:
        records = sorted(reader, key=lambda r: (r.stream_id, r.sequence))
        assert not reader.undecodable, reader.undecodable
    return Trail(records, check_streams(records, topics=topics, settled=settled))


def assert_complete(report: StreamReport) -> None:
    """The stream is whole and closed; what is wrong stands in the failure."""
    assert report.verdict == "complete", report.to_dict()


def consume(bootstrap: str, topic: str, timeout: float = SOON) -> list[Message]:
    """Everything on a topic up to its end now, read by a consumer that knows nothing of auditwire."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "log_level": 0})
    messages: list[Message] = []
    try:
        known = consumer.list_topics(topic, timeout).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout)[1] for p in known}
        consumer.assign([TopicPartition(topic, p, 0) for p in known])
        deadline = time.monotonic() + timeout
        while len(messages) < sum(ends.values()):
            for message in consumer.consume(500, 0.2):
                assert message.error() is None, message.error()
                messages.append(
                    Message(
                        topic=topic,
                        partition=int(message.partition() or 0),
                        offset=int(message.offset() or 0),
                        timestamp_ms=message.timestamp()[1],
                        key=message.key(),
                        headers=list(message.headers() or []),  # type: ignore[arg-type] # a list of pairs of text and bytes
                        value=message.value(),
                    )
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}: {len(messages)} of {ends} within {timeout:g} s")
    finally:
        consumer.close()
    return messages


_NOT_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
"""What is said of a partition in the moment of its creation: nothing is on it."""


class Ends:
    """Counts what stands on the topics of a prefix by their end offsets. Control topics are left out."""

    def __init__(self, config: Mapping[str, Any], prefix: str) -> None:
        self._admin = AdminClient({**QUICK, **config, "log_level": 0})
        self._names = [topic_name(prefix, event_type) for event_type in EVENT_TYPES]

    def by_topic(self) -> dict[str, int]:
        """Topic -> records, topics that do not exist left out."""
        found = self._admin.list_topics(timeout=SOON).topics
        asked = {
            TopicPartition(name, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for name in self._names
            if name in found
            for number in found[name].partitions
        }
        counts: Counter[str] = Counter()
        if asked:
            for place, future in self._admin.list_offsets(asked).items():
                try:
                    counts[place.topic] += future.result(SOON).offset
                except KafkaException as error:  # noqa: PERF203 - one of a few partitions
                    if error.args[0].code() not in _NOT_YET:
                        raise
        return dict(counts)

    def total(self) -> int:
        """How many records stand on all of them."""
        return sum(self.by_topic().values())


@dataclass(frozen=True)
class FaultRow:
    """One line of the table.

    Attributes:
        fault: What happened.
        accepted: Calls of emit that returned.
        refused: Calls of emit that raised.
        delivered: Different events that stand on the broker.
        lost: Events that were accepted and do not stand there.
        duplicates: Records that stand there once more; a reader that deduplicates drops them.
        stall_ms: The longest call of emit, in the whole run.
        lasted: Seconds from the fault's beginning to its end.
        recovery: Seconds from its end until all that was accepted until then was acknowledged.
    """

    fault: str
    accepted: int
    refused: int
    delivered: int
    lost: int
    duplicates: int
    stall_ms: float
    lasted: float
    recovery: float

    def cells(self) -> list[str]:
        counts = (self.accepted, self.refused, self.delivered, self.lost, self.duplicates)
        times = (self.stall_ms, self.lasted, self.recovery)
        return [self.fault, *(f"{count:,}" for count in counts), *(f"{number:.1f}" for number in times)]


# -- processes ----------------------------------------------------------------------------------------------


@dataclass
class Ended:
    """A process that has ended.

    Attributes:
        code: Its exit code; negative for a signal.
        out: Its standard output.
        err: Its standard error.
        seconds: How long it ran.
    """

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> Any:
        """The last line of its output, as JSON."""
        return json.loads(self.out.strip().splitlines()[-1])


def start_script(text: str, *args: str, path: Path, python: str = sys.executable) -> subprocess.Popen[str]:
    """Run a script in a process of its own, ``sys.argv[1:]`` being ``args``.

    Args:
        text: The script; dedented.
        args: Its arguments.
        path: A folder to write it to: multiprocessing's children import it from there.
        python: The interpreter.
    """
    file = path / "program.py"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen(
        [python, str(file), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def run_script(text: str, *args: str, path: Path, timeout: float = 60.0) -> Ended:
    """:func:`start_script`, and wait for its end; it is killed when that takes longer than ``timeout``."""
    start = time.monotonic()
    process = start_script(text, *args, path=path)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
    return Ended(process.returncode, out, err, time.monotonic() - start)
