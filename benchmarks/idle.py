"""What it costs to be there: ``python -m benchmarks.idle`` (``make bench-idle``).

::

    python -m benchmarks.idle [--rounds 15] [--standing 5] [--seconds 5] [--top 12]
                              [--broker mock|rig | --bootstrap HOST:PORT] [--json] [--markdown FILE]

================ ============================================================================================
import           milliseconds of wall-clock time and CPU of a new interpreter that imports it, beside one that
                 imports nothing; each round starts all of them, beginning with another one
slowest imports  the modules of ``import auditwire`` with the most time of their own, by ``-X importtime``
standing         a connected KafkaCollector after its first records, beside a bare Producer with the same
                 settings: threads, resident memory, and CPU while nothing is emitted; each in a process of
                 its own that imports nothing else
================ ============================================================================================
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.pages import add_options, publish
from benchmarks.rounds import broker, machine, progress, rounds, spread
from benchmarks.tables import aligned

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.pairing import Spread

__all__ = ["Idle", "Imported", "Standing", "measure", "report", "slowest"]

NOTHING = "python"
IMPORTS = {
    NOTHING: "pass",
    "import auditwire": "import auditwire",
    "KafkaCollector": "from auditwire import KafkaCollector",
    "confluent_kafka": "import confluent_kafka",
}
STANDING = {"producer": "bare Producer", "collector": "KafkaCollector"}
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")


@dataclass(frozen=True)
class Imported:
    """An interpreter's life, milliseconds."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Standing:
    """A process that does nothing: threads, MiB, percent of a core."""

    threads: int
    resident_mib: float
    idle_percent: float


@dataclass(frozen=True)
class Idle:
    """What was measured; times and memory of each round, and the slowest imports in microseconds."""

    imports: list[dict[str, Imported]]
    slowest: list[tuple[str, int]]
    standing: list[dict[str, Standing]]
    machine: dict[str, str | float]

    def above(self, name: str, value: Callable[[Imported], float]) -> Spread:
        """What an import takes beyond the bare interpreter of the same round."""
        return spread([value(one[name]) - value(one[NOTHING]) for one in self.imports])

    def more(self, value: Callable[[Standing], float]) -> Spread:
        """What a collector has beyond the bare Producer of the same round."""
        return spread([value(one["collector"]) - value(one["producer"]) for one in self.standing])


def measure(where: str, count: int, standing: int, seconds: float, top: int) -> Idle:
    """Run the rounds."""
    before = machine()
    imports, _ = rounds(count + 1, list(IMPORTS), _import, progress)  # one to fill the caches
    with broker(where) as place:

        def stand(name: str) -> Standing:
            command = [name, place.bootstrap, place.prefix, str(seconds)]
            done = subprocess.run(  # noqa: S603 - this interpreter, this package
                [sys.executable, "-m", "benchmarks.standing", *command],
                stdout=subprocess.PIPE,
                check=True,
                env=_environment(),
            )
            return Standing(**json.loads(done.stdout))

        stood, _ = rounds(standing, list(STANDING), stand, progress)
    return Idle(imports[1:], slowest(_import_times(), top), stood, before)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _import(name: str) -> Imported:
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", IMPORTS[name]], env=_environment())  # noqa: S603 - constants above
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{IMPORTS[name]!r} ended with status {process.returncode}")
    return Imported(wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def _import_times() -> str:
    command = [sys.executable, "-X", "importtime", "-c", "import auditwire"]
    done = subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", check=True, env=_environment())  # noqa: S603 - as above
    return done.stderr


def slowest(told: str, top: int) -> list[tuple[str, int]]:
    """The modules with the most time of their own in what ``-X importtime`` wrote, microseconds."""
    own = [(name, int(taken)) for taken, _, name in _LINE.findall(told)]
    return sorted(own, key=lambda one: -one[1])[:top]


def report(idle: Idle) -> str:
    """The tables, Markdown."""
    imports = [
        [
            name,
            f"{spread([one[name].wall_ms for one in idle.imports]).median:.1f}",
            f"{spread([one[name].cpu_ms for one in idle.imports]).median:.1f}",
            "" if name == NOTHING else _of(idle.above(name, lambda one: one.wall_ms)),
            "" if name == NOTHING else _of(idle.above(name, lambda one: one.cpu_ms)),
        ]
        for name in IMPORTS
    ]
    standing = [
        [
            title,
            f"{spread([float(one[name].threads) for one in idle.standing]).median:.0f}",
            _of(spread([one[name].resident_mib for one in idle.standing])),
            _of(spread([one[name].idle_percent for one in idle.standing]), 3),
        ]
        for name, title in STANDING.items()
    ]
    more = [
        "the one above the other",
        f"{idle.more(lambda one: one.threads).median:.0f}",
        _of(idle.more(lambda one: one.resident_mib)),
        _of(idle.more(lambda one: one.idle_percent), 3),
    ]
    m = idle.machine
    head = (
        f"{len(idle.imports)} rounds of imports, {len(idle.standing)} of standing; "
        f"Python {m.get('python')}, librdkafka {m.get('librdkafka')}, {m.get('cores')} cores, "
        f"load average before {m.get('load_average', 0.0):.1f}."
    )
    return "\n\n".join(
        [
            head,
            aligned(["", "wall ms", "CPU ms", "wall above python", "CPU above python"], imports),
            aligned(["slowest imports of auditwire", "µs"], [[n, f"{us:,}"] for n, us in idle.slowest]),
            aligned(["", "threads", "resident MiB", "idle CPU, % of a core"], [*standing, more]),
        ]
    )


def _of(found: Spread, digits: int = 1) -> str:
    return f"{found.median:.{digits}f} ({found.lower:.{digits}f} to {found.upper:.{digits}f})"


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.idle", description="What it costs to be there."
    )
    parser.add_argument("--rounds", type=int, default=15, help="of imports (default: 15)")
    parser.add_argument("--standing", type=int, default=5, help="rounds of standing processes (default: 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each stands (default: 5)")
    parser.add_argument("--top", type=int, default=12, help="how many of the slowest imports (default: 12)")
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.standing < 1 or options.seconds <= 0 or options.top < 0:
        parser.error("--rounds and --standing are 1 or more, --seconds above 0, --top 0 or more")
    where = options.bootstrap or options.broker
    idle = measure(where, options.rounds, options.standing, options.seconds, options.top)
    publish(options, "idle", report(idle), idle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
