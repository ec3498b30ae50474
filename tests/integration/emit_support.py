"""What the integration tests of the emit path share: collectors on a test broker, and what arrived there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire import KafkaCollector
from auditwire.events import CONTROL_TYPES
from auditwire.reading import Reader, check_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.reading import Record, StreamReport

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
