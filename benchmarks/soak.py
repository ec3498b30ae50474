"""Half an hour of events while a broker is broken at random: is anything lost, does anything grow?

::

    python -m benchmarks.soak [--minutes 30] [--rate 2000] [--seed N] [--markdown FILE]

A process of its own (``tests/rig/load.py``) emits from two threads through a ``KafkaCollector`` with a
journal on disk, to a broker in a container, through a proxy. Every 10 to 30 s the broker is frozen, or killed
with -9 and started again, or the proxy cuts, resets, delays or swallows what passes, for 3 to 15 s; the seed,
which is printed, makes the same faults again. Before that each fault comes once, one of them until all that
is bounded is full. Every 10 s the process is looked at:

============ ============================================================================================
memory       its anonymous memory (``/proc/<pid>/smaps_rollup``): pages of mapped files are the kernel's
descriptors  its open file descriptors
threads      its threads
journal      bytes on disk under the journal path
pending      records that wait for an acknowledgement
============ ============================================================================================

At the end everything is read back and counted, one bit for each record. The exit code is 1 when an accepted
event is not there, when an event was refused, or when memory, descriptors or threads are not flat: the median
of the last third of the samples is held against that of the middle third. The first third is the allocator's:
faults that come close together grow its arenas, and it keeps them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from auditwire.reading import Reader

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

# the next ones need the path above
from rig import tiers  # type: ignore[import-not-found, attr-defined, unused-ignore]
from rig.broker import until  # type: ignore[import-not-found, unused-ignore]
from rig.load import Load  # type: ignore[import-not-found, unused-ignore]
from rig.pages import put  # type: ignore[import-not-found, unused-ignore]
from rig.tally import Tally  # type: ignore[import-not-found, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rig.container import KafkaNode  # type: ignore[import-not-found, unused-ignore]

SAMPLE_SECONDS = 10.0
PAUSE_SECONDS = (10.0, 30.0)
FAULT_SECONDS = (3.0, 15.0)
DRAIN_SECONDS = 300.0
REHEARSAL_SECONDS = 4.0
FULL = 60_000
"""Records that wait in the rehearsal: beyond what the sender and librdkafka hold in memory together.

Memory that is bounded is used once, and the allocator keeps it: what grows after that is a leak."""

SLACK: dict[str, tuple[float, float]] = {
    "memory": (0.05, 4.0),
    "descriptors": (0.0, 3.0),
    "threads": (0.0, 1.0),
}
"""What counts as flat: the part of the middle third's median, or the number, that the last may be above it.

A fault may be under way when a sample is taken: connections, and their descriptors, come and go with it."""


@dataclass(frozen=True)
class Sample:
    """How the process was at one moment.

    Attributes:
        minute: Since the beginning.
        memory: MiB of anonymous memory.
        descriptors: Open file descriptors.
        threads: Threads.
        journal: MiB on disk.
        pending: Records that wait.
    """

    minute: float
    memory: float
    descriptors: int
    threads: int
    journal: float
    pending: int


@dataclass(frozen=True)
class Slope:
    """Whether one figure is flat.

    Attributes:
        name: Of the figure.
        middle: The median of the middle third of the samples.
        last: The median of the last third.
        flat: Whether the last is not above the middle by more than the slack.
    """

    name: str
    middle: float
    last: float
    flat: bool


@dataclass
class Soak:
    """What a run found.

    Attributes:
        seed: Of the faults.
        rate: Events per second that were asked for.
        minutes: How long events were emitted.
        broker: What it was.
        faults: Fault -> how often.
        samples: In the order of time.
        accepted: Calls of emit that returned.
        refused: Calls of emit that raised.
        delivered: Different events on the broker.
        lost: Identities of events that were accepted and are not there.
        duplicates: Records that are there once more.
        gaps: Sequences below the stream's last one that have no record.
        stall_ms: The longest call of emit.
        recovery: Seconds from the last fault's end, or the last event, until all was acknowledged.
        health: The collector's last.
    """

    seed: int
    rate: float
    minutes: float
    broker: str
    faults: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    accepted: int = 0
    refused: int = 0
    delivered: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: int = 0
    gaps: int = 0
    stall_ms: float = 0.0
    recovery: float = 0.0
    health: dict[str, Any] = field(default_factory=dict)

    @property
    def slopes(self) -> list[Slope]:
        """One for each figure that has to be flat."""
        return [slope(name, [getattr(sample, name) for sample in self.samples]) for name in SLACK]

    @property
    def good(self) -> bool:
        """True when nothing was lost and nothing grows."""
        return (
            not (self.lost or self.refused or self.gaps)
            and self.delivered == self.accepted
            and all(slope.flat for slope in self.slopes)
        )


def slope(name: str, values: Sequence[float]) -> Slope:
    """Compare the medians of the middle and the last third."""
    third = max(1, len(values) // 3)
    middle = statistics.median(values[-2 * third : -third] or values)
    last = statistics.median(values[-third:])
    part, number = SLACK[name]
    return Slope(name, middle, last, last <= middle + max(middle * part, number))


# -- faults -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def frozen(node: KafkaNode) -> Iterator[None]:
    """Connections stay open and nothing answers."""
    node.pause()
    try:
        yield
    finally:
        node.unpause()


@contextlib.contextmanager
def killed(node: KafkaNode) -> Iterator[None]:
    """Connections are reset, then refused, until the broker is there again."""
    node.kill()
    try:
        yield
    finally:
        node.start_again()


def proxied(begin: Callable[[Any], None]) -> Callable[[KafkaNode], contextlib.AbstractContextManager[None]]:
    """A fault of the network."""

    @contextlib.contextmanager
    def hold(node: KafkaNode) -> Iterator[None]:
        begin(node.proxy)
        try:
            yield
        finally:
            begin_healthy(node)

    return hold


def begin_healthy(node: KafkaNode) -> None:
    """Let everything pass again."""
    if node.proxy is not None:
        node.proxy.heal()


FAULTS: dict[str, Callable[[KafkaNode], contextlib.AbstractContextManager[None]]] = {
    "frozen": frozen,
    "killed with -9": killed,
    "cut": proxied(lambda proxy: proxy.cut()),
    "reset": proxied(lambda proxy: proxy.reset()),
    "latency": proxied(lambda proxy: proxy.slow(0.2)),
    "black hole": proxied(lambda proxy: proxy.swallow()),
}


def rehearse(node: KafkaNode, load: Load) -> None:
    """Let each fault come once, and let everything that is bounded be full once."""
    for name, hold in FAULTS.items():
        with hold(node):
            if name == "frozen":
                until(lambda: load.health()["pending_records"] > FULL, 300.0, f"{FULL} records wait")
            else:
                time.sleep(REHEARSAL_SECONDS)
        load.flush(DRAIN_SECONDS)


def break_for(
    node: KafkaNode, end: float, chance: random.Random, say: Callable[[str], None]
) -> dict[str, int]:
    """Faults and pauses until the time is over; returns how often each fault was."""
    count = dict.fromkeys(FAULTS, 0)
    begun = time.monotonic()
    while True:
        pause, name, seconds = (
            chance.uniform(*PAUSE_SECONDS),
            chance.choice([*FAULTS]),
            chance.uniform(*FAULT_SECONDS),
        )
        if time.monotonic() + pause + seconds > end:
            time.sleep(max(0.0, end - time.monotonic()))
            return count
        time.sleep(pause)
        say(f"{(time.monotonic() - begun) / 60:5.1f} min: {name} for {seconds:.0f} s")
        with FAULTS[name](node):
            time.sleep(seconds)
        count[name] += 1


# -- watching ---------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Samples a process until it is told to stop; what goes wrong meanwhile comes out of ``stop``."""

    def __init__(self, load: Load, journal: Path) -> None:
        super().__init__(name="watch")
        self.samples: list[Sample] = []
        self._load = load
        self._journal = journal
        self._ending = threading.Event()
        self._begun = time.monotonic()
        self._error: Exception | None = None

    def run(self) -> None:
        """Sample every ten seconds."""
        try:
            while not self._ending.wait(SAMPLE_SECONDS):
                self.samples.append(self._sample())
        except Exception as error:  # noqa: BLE001 - raised by stop(), on the thread that waits for it
            self._error = error

    def _sample(self) -> Sample:
        process = Path("/proc") / str(self._load.process.pid)
        return Sample(
            minute=(time.monotonic() - self._begun) / 60,
            memory=kib(process / "smaps_rollup", "Anonymous:") / 1024,
            descriptors=len(os.listdir(process / "fd")),  # noqa: PTH208 - names are all that is needed
            threads=kib(process / "status", "Threads:"),
            journal=allocated(self._journal) / (1 << 20),
            pending=self._load.health()["pending_records"],
        )

    def stop(self) -> None:
        """End it.

        Raises:
            Exception: What ended it before.
        """
        self._ending.set()
        self.join()
        if self._error is not None:
            raise self._error


def kib(file: Path, title: str) -> int:
    """The number behind a title in one of the kernel's tables."""
    lines = file.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(title))


def allocated(folder: Path) -> int:
    """Bytes on disk of all files below a folder, some of which may vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH116, PTH118 - a walk's paths
    return total


# -- the run ----------------------------------------------------------------------------------------------


def run(node: KafkaNode, soak: Soak, folder: Path, say: Callable[[str], None]) -> None:
    """Emit, break, drain, read back; fills ``soak`` in."""
    prefix = f"soak-{uuid4().hex[:8]}"
    journal = folder / "journal"
    config = {"bootstrap.servers": node.proxied}
    with Load(folder, config, prefix, rate=soak.rate, journal=str(journal)) as load:
        say("rehearsal")
        rehearse(node, load)
        watch = Watch(load, journal)
        watch.start()
        try:
            end = time.monotonic() + soak.minutes * 60
            soak.faults = break_for(node, end, random.Random(soak.seed), say)  # noqa: S311 - faults, no secrets
        finally:
            watch.stop()
        start = time.monotonic()
        load.flush(DRAIN_SECONDS)
        soak.recovery = time.monotonic() - start
        soak.health = load.close(DRAIN_SECONDS)
        counts = load.counts
        soak.samples = watch.samples
        soak.accepted, soak.refused, soak.stall_ms = counts.total, counts.refused, counts.stall_ms
        say(f"{soak.accepted:,} events accepted: reading them back")
        tally = Tally()
        with Reader(node.bootstrap, prefix=prefix) as reader:
            for record in reader:
                tally.add(record)
        soak.lost = tally.lost([load])
    soak.delivered, soak.duplicates, soak.gaps = tally.delivered, tally.duplicates, tally.gaps()


def table(rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; the first row has the titles."""
    titles, *rest = [
        [
            f"{cell:,.1f}" if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)
            for cell in row
        ]
        for row in rows
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (titles, ["-:"] * len(titles), *rest))


def report(soak: Soak) -> str:
    """The run in Markdown."""
    broken = ", ".join(f"{name} {count} times" for name, count in soak.faults.items() if count) or "none"
    counted = [
        ("accepted", "refused", "delivered", "lost", "duplicates", "gaps", "stall ms", "recovery s"),
        (
            soak.accepted,
            soak.refused,
            soak.delivered,
            len(soak.lost),
            soak.duplicates,
            soak.gaps,
            soak.stall_ms,
            soak.recovery,
        ),
    ]
    slopes = [
        ("figure", "middle third", "last third", "flat"),
        *((s.name, s.middle, s.last, "yes" if s.flat else "**no**") for s in soak.slopes),
    ]
    titles = ("minute", "memory MiB", "descriptors", "threads", "journal MiB", "pending")
    every = max(1, len(soak.samples) // 30)
    samples = [titles, *(tuple(asdict(sample).values()) for sample in soak.samples[::every])]
    return "\n".join(
        (
            f"{soak.minutes:g} minutes at {soak.rate:,.0f} events/s, seed {soak.seed}; {soak.broker}.\n",
            f"Python {platform.python_version()}; faults: {broken}.\n",
            table(counted),
            table(slopes),
            table(samples),
            f"Verdict: {'nothing lost, nothing grows' if soak.good else 'FAILED'}.",
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="how long events are emitted (default: 30)"
    )
    parser.add_argument("--rate", type=float, default=2_000.0, help="events per second (default: 2000)")
    parser.add_argument(
        "--seed", type=int, help="the faults of an earlier run again (default: others each time)"
    )
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="put the report into a page or a file")
    options = parser.parse_args(arguments)
    if options.minutes < 1 or options.rate < 1:
        parser.error("--minutes and --rate are 1 or more")
    # a cancelled job ends as Ctrl-C does: the broker and the process that emits are removed
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command

    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    tier = tiers.ContainerTier(os.environ, say)
    soak = Soak(
        seed=seed, rate=options.rate, minutes=options.minutes, broker=f"Kafka in a container ({tier.detail})"
    )
    say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="auditwire-soak-") as folder, tier.proxied() as node:
        run(node, soak, Path(folder), say)
    text = report(soak)
    print(text)  # noqa: T201 - a command's output
    if options.markdown:
        put(options.markdown, "make soak", text)
    return 0 if soak.good else 1


if __name__ == "__main__":
    sys.exit(main())
