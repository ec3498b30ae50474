"""What a tool call as a block costs beside the two bare emits: ``python -m benchmarks.pairing``.

::

    python -m benchmarks.pairing [--rounds 40] [--calls 5000] [--json]

The collector is a ``NullCollector``: what is measured is the caller's side alone. All variants run in every
round, each round beginning with another one, so that a change of the machine's speed meets all of them; a
ratio is taken within a round. What is printed for each variant:

================== ==========================================================================================
time               microseconds for a call, both events: the median of the rounds, and their quartiles
ratio              to the bare emits of the same round: the median of the rounds, and their quartiles
================== ==========================================================================================
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from auditwire import AuditEmitter, NullCollector

if TYPE_CHECKING:
    from collections.abc import Callable

ARGUMENTS = '{"query": "weather in Trondheim tomorrow", "limit": 10, "language": "en"}'
RESULT = "Cloudy with some rain, 4 to 7 degrees, wind from the west. " * 3
BARE = "two emits"


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the rounds."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        lower, median, upper = statistics.quantiles(values, n=4)
        return cls(median, lower, upper)

    def __str__(self) -> str:
        return f"{self.median:6.2f} ({self.lower:.2f} to {self.upper:.2f})"


@dataclass(frozen=True)
class Figures:
    """What was measured; times in microseconds for a call, ratios to the bare emits of the same round."""

    rounds: int
    calls: int
    times_us: dict[str, Spread]
    ratios: dict[str, Spread]
    load_average: float
    python: str


def bare(audit: AuditEmitter, calls: int) -> None:
    """As an agent would without blocks, which costs it the two events and nothing else."""
    for _ in range(calls):
        audit.emit_tool_call_attempt("weather.search", ARGUMENTS, turn_id="0123456789ab")
        audit.emit_tool_call_complete("weather.search", "success", 12.5, RESULT, turn_id="0123456789ab")


def paired_by_hand(audit: AuditEmitter, calls: int) -> None:
    """The same with what the block adds: an id for both, the duration, and the failure."""
    for number in range(calls):
        call_id, began = f"{number:012x}", time.monotonic_ns()
        audit.emit_tool_call_attempt(
            "weather.search", ARGUMENTS, turn_id="0123456789ab", tool_call_id=call_id
        )
        try:
            result = RESULT
        except BaseException as error:
            audit.emit_tool_call_failure(
                "weather.search", type(error).__name__, str(error), tool_call_id=call_id
            )
            raise
        duration = (time.monotonic_ns() - began) / 1e6
        audit.emit_tool_call_complete(
            "weather.search", "success", duration, result, turn_id="0123456789ab", tool_call_id=call_id
        )


def bare_in_a_turn(audit: AuditEmitter, calls: int) -> None:
    """The two emits where there is a context to read, as there is around every block."""
    with audit.turn():
        bare(audit, calls)


def block(audit: AuditEmitter, calls: int) -> None:
    """``with audit.tool_call()`` in a turn, which it takes from the context."""
    with audit.turn():
        for _ in range(calls):
            with audit.tool_call("weather.search", ARGUMENTS) as call:
                call.result = RESULT


def decorated(audit: AuditEmitter, calls: int) -> None:
    """``@audit.tool``, which also renders the arguments from the call."""

    @audit.tool(name="weather.search")
    def search(query: str, limit: int, language: str) -> str:  # noqa: ARG001 - they are what is rendered
        return RESULT

    with audit.turn():
        for _ in range(calls):
            search("weather in Trondheim tomorrow", 10, "en")


VARIANTS: dict[str, Callable[[AuditEmitter, int], None]] = {
    BARE: bare,
    "two emits in a turn": bare_in_a_turn,
    "paired by hand": paired_by_hand,
    "with tool_call()": block,
    "@tool": decorated,
}


def measure(rounds: int, calls: int) -> Figures:
    """Run all variants, round by round."""
    audit = AuditEmitter(NullCollector(), session_id="s-1", agent_id="planner", on_error="raise")
    for variant in VARIANTS.values():  # warm up
        variant(audit, calls)
    names = list(VARIANTS)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turned = number % len(names)
        for name in names[turned:] + names[:turned]:
            gc.collect()
            start = time.perf_counter()
            VARIANTS[name](audit, calls)
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return Figures(
        rounds=rounds,
        calls=calls,
        times_us={name: Spread.of(taken) for name, taken in times.items()},
        ratios={
            name: Spread.of([own / base for own, base in zip(taken, times[BARE], strict=True)])
            for name, taken in times.items()
        },
        load_average=os.getloadavg()[0],
        python=platform.python_version(),
    )


def report(figures: Figures) -> str:
    """The figures for people."""
    f = figures
    width = max(map(len, f.times_us))
    head = f"{f.rounds} rounds of {f.calls:,} calls, Python {f.python}, load average {f.load_average:.1f}"
    rows = [
        f"{name:<{width}}  {f.times_us[name]!s:<26} us/call   {f.ratios[name]} times {BARE}"
        for name in f.times_us
    ]
    return "\n".join([head, *rows])


def main(arguments: list[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pairing", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--calls", type=int, default=5000, help="in a round, of each variant (default: 5000)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(arguments)
    if options.rounds < 2 or options.calls < 1:  # noqa: PLR2004 - quartiles need two
        parser.error("--rounds is 2 or more, --calls 1 or more")
    figures = measure(options.rounds, options.calls)
    print(json.dumps(asdict(figures)) if options.json else report(figures))  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
