"""Whether an event has become dearer, for CI: ``python -m benchmarks.guard`` (``make bench-guard``).

Neither part is a measurement of time:

instructions
    What the calling thread executes for an event (its making, encoding and append to the journal), counted by
    ``valgrind``, as a multiple of what uuid4, a dictionary, fastavro and a list of headers take. Two runs of
    one interpreter agree to a thousandth. Left out, and said to be, where valgrind is not installed.

ratio
    CPU of the whole way, all threads, as a multiple of the floor's (``benchmarks.emit``), in interleaved
    rounds. It fails only when median and lower quartile are both beyond a bound that is far above the
    usual: noise moves one of them, not both.

::

    python -m benchmarks.guard [--rounds 7] [--events 8000] [--step-back] [--json]

``--step-back`` encodes every event twice, and so shows that the guard fails. The exit code is 1 when it does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from auditwire import AuditEmitter
from auditwire.wire import FastavroEncoder
from benchmarks.control import QueueOnly
from benchmarks.workload import AGENT, emit_events, emit_fields, session_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire.events import AuditEvent
    from benchmarks.pairing import Spread

__all__ = ["Finding", "instructions", "judge_instructions", "judge_ratio"]

INSTRUCTIONS_MOST = 0.36 if sys.version_info >= (3, 11) else 0.67
"""Of ours to the reference's, a fifth above what it is: 0.29 to 0.30 from Python 3.11 on, and 0.56 with 3.10,
which does not specialise byte codes."""

RATIO_MOST = 5.0
"""Of the whole way's CPU to the floor's. About half of it on a quiet machine; on one whose cores others want,
the threads of an emit cost each other more, and the floor has only one that works in Python."""

EVENTS = 2_000
WARM_UP = 200
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


@dataclass(frozen=True)
class Finding:
    """What one part found.

    Attributes:
        part: ``instructions`` or ``ratio``.
        value: The ratio that was found.
        bound: What it may be at most.
        failed: Whether that is a step back.
        says: For people.
    """

    part: str
    value: float
    bound: float
    failed: bool
    says: str


class Twice(QueueOnly):
    """The deliberate step back: a general codec works at each event beside ours."""

    def __init__(self) -> None:
        self._again = FastavroEncoder()
        super().__init__()

    def emit(self, event: AuditEvent) -> None:
        """Encode it once more."""
        self._again.encode(event, "")
        super().emit(event)


# -- instructions -----------------------------------------------------------------------------------------


def _emit(make: Callable[[], QueueOnly], count: int) -> None:
    with make() as collector:
        audits = [
            AuditEmitter(collector, session_id=session, agent_id=AGENT, on_error="raise")
            for session in session_ids(1)
        ]
        emit_events(audits, WARM_UP + count)


def _reference(count: int) -> None:
    from benchmarks.variants.base import headers_of  # noqa: PLC0415 - loads the Kafka client
    from benchmarks.variants.handwritten import record_of, value_of  # noqa: PLC0415 - as above

    stream = str(uuid4())
    made: list[object] = []

    def send(session: str, event_type: str, fields: dict[str, object]) -> None:
        record = record_of(session, event_type, fields, stream, 100_000)
        headers = headers_of(record["event_id"], event_type, b"/auditwire/benchmark")
        made.append((session.encode(), value_of(event_type, record), headers))

    emit_fields(send, session_ids(1), WARM_UP + count)


WORK: dict[str, Callable[[int], None]] = {
    "ours": lambda count: _emit(QueueOnly, count),
    "step back": lambda count: _emit(Twice, count),
    "reference": _reference,
}


def instructions(work: str) -> float:
    """Instructions for an event: a run with many, less a run with none.

    Raises:
        RuntimeError: valgrind could not run it, or said nothing that is known.
    """
    with ThreadPoolExecutor(2) as pool:
        none, many = pool.map(lambda count: _counted(work, count), (0, EVENTS))
    return (many - none) / EVENTS


def _counted(work: str, count: int) -> int:
    done = subprocess.run(  # noqa: S603 - this interpreter, this package
        [*VALGRIND, sys.executable, "-m", "benchmarks.guard", "--work", work, str(count)],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        # what depends on hashes would differ from run to run
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    found = _COUNTED.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"valgrind ended with status {done.returncode}: {done.stderr[-2_000:]}")
    return int(found[1].replace(",", ""))


def judge_instructions(ours: float, reference: float, bound: float = INSTRUCTIONS_MOST) -> Finding:
    """Of so many instructions for an event to so many."""
    value = ours / reference
    says = f"{ours:,.0f} instructions an event, {value:.3f} times the reference's {reference:,.0f}"
    return Finding("instructions", value, bound, value > bound, says)


# -- ratio ------------------------------------------------------------------------------------------------


def judge_ratio(ratio: Spread, bound: float = RATIO_MOST) -> Finding:
    """Of the whole way's CPU to the floor's."""
    failed = ratio.median > bound and ratio.lower > bound
    return Finding("ratio", ratio.median, bound, failed, f"{ratio} times the floor's CPU")


def _ratio(rounds: int, events: int) -> Finding:
    from benchmarks.emit import measure  # noqa: PLC0415 - loads the Kafka client

    found = measure("mock", ["floor", "memory"], rounds, events).ratio("memory", "floor")
    assert found is not None  # noqa: S101 - both need nothing that could be missing
    return judge_ratio(found)


# -- the command ------------------------------------------------------------------------------------------


def report(findings: Sequence[Finding]) -> str:
    """The findings for people."""
    lines = [
        f"{one.part:<13} {one.says}; at most {one.bound:g}: {'A STEP BACK' if one.failed else 'ok'}"
        for one in findings
    ]
    if all(one.part != "instructions" for one in findings):
        lines.append("instructions  not counted: valgrind is not installed (apt-get install valgrind)")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=7, help="of the ratio; 0 leaves it out (default: 7)")
    parser.add_argument("--events", type=int, default=8_000, help="in a round (default: 8000)")
    parser.add_argument("--step-back", action="store_true", help="show that it fails: encode twice")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON array")
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        WORK[options.work[0]](int(options.work[1]))
        return 0
    if options.rounds < 0 or options.events < 1:
        parser.error("--rounds is 0 or more, --events 1 or more")
    findings = []
    if shutil.which(VALGRIND[0]):
        ours = instructions("step back" if options.step_back else "ours")
        findings.append(judge_instructions(ours, instructions("reference")))
    if options.rounds:
        findings.append(_ratio(options.rounds, options.events))
    found = [dataclasses.asdict(one) for one in findings]
    print(json.dumps(found) if options.json else report(findings))  # noqa: T201 - a command's output
    return int(any(one.failed for one in findings))


if __name__ == "__main__":
    sys.exit(main())
