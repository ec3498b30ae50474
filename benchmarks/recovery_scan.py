"""How fast a journal on disk is read back after a crash: ``python -m benchmarks.recovery_scan``.

::

    python -m benchmarks.recovery_scan [--directory DIR] [--mebibytes 64] [--rounds 5] [--json]

Real segments of 16 MiB are written for each size of record, synced and read back from the page cache: what is
measured is the reading, not the disk. All variants of one size run in every round, each round beginning with
another one. A figure is the median of the rounds with its quartiles, in MB/s: 10**6 bytes of records in a
second of this process's CPU time, so that what else the machine does counts little.

================== ==========================================================================================
scan               a `StreamReader` with checksums, as the forwarder and an adopter read: plain reads
scan mapped        the same from a mapping, checksums included
live               a `StreamReader` without checksums, as the own sender reads
recover            `recover`: record by record, as after damage
damaged            the same with one record in 1,000 damaged, which are searched around
================== ==========================================================================================
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditwire.ids import uuid7
from auditwire.journal.base import Draft, Record
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.reader import StreamReader
from auditwire.journal.recovery import recover
from auditwire.journal.segment import Segment, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.directory import StreamDirectory

SIZES = (200, 450, 1000, 4000)
"""Bytes of a record on disk."""

SEGMENT = 16 << 20
DAMAGED = 1000
"""One record in so many is damaged for the last variant."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the rounds, MB/s."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        lower, median, upper = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        return cls(median, lower, upper)

    def __str__(self) -> str:
        return f"{self.median:5.0f} ({self.lower:.0f} to {self.upper:.0f})"


@dataclass(frozen=True)
class Figures:
    """What was measured: size of a record -> variant -> MB/s."""

    rounds: int
    mebibytes: int
    speeds: dict[int, dict[str, Spread]]
    load_average: float
    python: str


class Written:
    """A stream of records of one size, and a copy of it with damage."""

    def __init__(self, folder: str, size: int, mebibytes: int) -> None:
        self.journal = JournalPath(REAL, folder)
        self.size = size
        self.whole = self._write(mebibytes)
        self.damaged = self.journal.open_stream(uuid7())
        shutil.copytree(self.whole.path, self.damaged.path)
        self.count, self.bytes = self._measure()
        self._damage()

    def _write(self, mebibytes: int) -> StreamDirectory:
        directory = self.journal.create_stream(uuid7(), {"benchmark": "recovery_scan"})
        template = Draft("turn_start", "audit.turn-start", b"session-0123456789", 0, uuid7(), None, b"", b"")
        room = self.size - 8 - len(pack(template, 1 << 20, bytes(8)))
        draft = template._replace(head=b"h" * min(60, room), tail=os.urandom(max(0, room - 60)))
        sequence = 0
        for number in range(max(1, (mebibytes << 20) // SEGMENT)):
            segment = Segment.create(
                REAL,
                directory.segment_path(number),
                stream_id=directory.stream_id,
                number=number,
                first_sequence=sequence,
                info={},
                size=SEGMENT,
            )
            offset = segment.start
            while segment.fits(offset, self.size):
                offset = segment.store(offset, pack(draft, sequence, bytes(8)))
                sequence += 1
            segment.seal(offset)
            segment.sync()
            segment.close()
        return directory

    def _measure(self) -> tuple[int, int]:
        count = size = 0
        for segment in self.segments(self.whole, mapped=True):
            for found in recover(segment, segment.start, segment.first_sequence):
                assert isinstance(found, Record), found  # noqa: S101 - nothing is damaged yet
                count += 1
                size += found.size
        return count, size

    def _damage(self) -> None:
        for segment in self.segments(self.damaged, mapped=True):
            offset, number = segment.start, segment.first_sequence
            with Path(segment.path).open("r+b") as file:
                while records := segment.take(offset, number, DAMAGED, verify=False)[0]:
                    file.seek((records[-1].position & 0xFFFF_FFFF) + 40)
                    file.write(b"\xff" * 8)
                    file.flush()
                    number += len(records)
                    offset += sum(record.size for record in records)

    @staticmethod
    def segments(directory: StreamDirectory, *, mapped: bool) -> list[Segment]:
        return [
            Segment.open(REAL, directory.segment_path(number), mapped=mapped)
            for number in directory.segments()
        ]


def scan(written: Written) -> int:
    """As a forwarder reads."""
    return _read(written, verify=True)


def live(written: Written) -> int:
    """As the own sender reads."""
    return _read(written, verify=False)


def _read(written: Written, *, verify: bool) -> int:
    reader = StreamReader(REAL, written.whole, verify=verify, live=lambda: False, moves=False)
    count = 0
    while not reader.at_end:
        count += len(reader.take(512))
    reader.close()
    return count


def scan_mapped(written: Written) -> int:
    """From a mapping, with checksums."""
    count = 0
    for segment in written.segments(written.whole, mapped=True):
        offset = segment.start
        while True:
            records, offset = segment.take(offset, count, 512, verify=True)
            if not records:
                break
            count += len(records)
        segment.close()
    return count


def recover_whole(written: Written) -> int:
    """Record by record."""
    return _recover(written, written.whole)


def recover_damaged(written: Written) -> int:
    """Around damage; what is damaged counts as read."""
    return _recover(written, written.damaged)


def _recover(written: Written, directory: StreamDirectory) -> int:
    count = 0
    for segment in written.segments(directory, mapped=False):
        count += sum(1 for _ in recover(segment, segment.start, segment.first_sequence))
        segment.close()
    return count


VARIANTS: dict[str, Callable[[Written], int]] = {
    "scan": scan,
    "scan mapped": scan_mapped,
    "live": live,
    "recover": recover_whole,
    "damaged": recover_damaged,
}


def measure(directory: str | None, mebibytes: int, rounds: int) -> Figures:
    """Write, and read back with every variant in every round."""
    speeds = {}
    for size in SIZES:
        folder = tempfile.mkdtemp(prefix="recovery-scan-", dir=directory)
        try:
            speeds[size] = _measure(Written(folder, size, mebibytes), rounds)
        finally:
            shutil.rmtree(folder)
    return Figures(
        rounds=rounds,
        mebibytes=mebibytes,
        speeds=speeds,
        load_average=os.getloadavg()[0],
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


def _measure(written: Written, rounds: int) -> dict[str, Spread]:
    names = list(VARIANTS)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turned = number % len(names)
        for name in names[turned:] + names[:turned]:
            gc.collect()
            start = time.process_time()
            count = VARIANTS[name](written)
            taken[name].append(written.bytes / (time.process_time() - start) / 1e6)
            if count != written.count:
                raise AssertionError(f"{name} read {count} of {written.count} records")
    return {name: Spread.of(values) for name, values in taken.items()}


def table(figures: Figures) -> str:
    """For people."""
    lines = [
        f"{figures.mebibytes} MiB of segments for each size, {figures.rounds} rounds, {figures.python}",
        f"load average {figures.load_average:.1f}",
        "MB/s of CPU time, median (quartiles)",
        "",
        f"{'bytes a record':<14}" + "".join(f"  {name:<19}" for name in VARIANTS),
    ]
    for size, speeds in figures.speeds.items():
        lines.append(f"{size:<14}" + "".join(f"  {speeds[name]!s:<19}" for name in VARIANTS))
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery_scan", description=__doc__)
    parser.add_argument("--directory", help="where to write; the default is the system's for temporary files")
    parser.add_argument("--mebibytes", type=int, default=64, help="of segments for each size of record")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = measure(options.directory, options.mebibytes, options.rounds)
    sys.stdout.write((json.dumps(asdict(figures)) if options.json else table(figures)) + "\n")


if __name__ == "__main__":
    main()
