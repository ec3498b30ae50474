"""What a run of ``benchmarks.emit`` found: kept as JSON, as ratios, and held against what is wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from benchmarks.process import Run
from benchmarks.rounds import ratios, spread
from benchmarks.variants import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.pairing import Spread

__all__ = ["GOALS", "Goal", "Result", "caller", "total"]


def total(run: Run) -> float:
    """CPU of all threads and processes, microseconds an event."""
    return run.total_us


def caller(run: Run) -> float:
    """CPU of the threads that emit, microseconds an event."""
    return run.caller_us


@dataclass(frozen=True)
class Goal:
    """A ratio of two variants that is to be reached.

    Attributes:
        title: For people.
        of: The variant that is divided.
        to: By this one, in the same round.
        value: What of both.
        gate: The bound: at most, or at least.
        aim: What would be better.
        at_least: Whether more is better.
    """

    title: str
    of: str
    to: str
    value: Callable[[Run], float]
    gate: float
    aim: float
    at_least: bool = False

    def met(self, ratio: float, bound: float) -> bool:
        """Whether a ratio keeps to a bound."""
        return ratio >= bound if self.at_least else ratio <= bound


GOALS = (
    Goal("journal in memory / floor", "memory", FLOOR, total, 2.2, 1.7),
    Goal("journal on disk / floor", "disk", FLOOR, total, 2.5, 2.0),
    Goal("no headers / floor (which has them)", "headerless", FLOOR, total, 1.6, 1.2),
    Goal("by hand / journal in memory", "handwritten", "memory", total, 2.5, 3.0, at_least=True),
    Goal("AvroSerializer / journal in memory", "serializer", "memory", total, 4.0, 5.0, at_least=True),
    Goal("OpenTelemetry logs / journal in memory", "otel", "memory", total, 3.0, 4.0, at_least=True),
    Goal("caller's CPU: journal in memory / floor", "memory", FLOOR, caller, 1.0, 0.7),
)


@dataclass(frozen=True)
class Result:
    """A run.

    Attributes:
        rounds: Each round's figures by variant.
        missing: Variant -> the package that is not installed.
        machine: What it ran on.
        broker: What it wrote to.
        events: Of a round, for a variant with the whole share.
        value_bytes: Mean size of a record's value.
    """

    rounds: list[dict[str, Run]]
    missing: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str | float] = field(default_factory=dict)
    broker: str = ""
    events: int = 0
    value_bytes: float = 0.0

    @property
    def names(self) -> list[str]:
        """What was measured, in the order of the table."""
        return list(self.rounds[0])

    def spread(self, name: str, value: Callable[[Run], float]) -> Spread:
        """A figure of a variant over the rounds."""
        return spread([value(one[name]) for one in self.rounds])

    def ratio(self, of: str, to: str, value: Callable[[Run], float] = total) -> Spread | None:
        """A figure of one variant to that of another, round by round; None when one was not measured."""
        return ratios(self.rounds, of, to, value, value)

    def to_json(self) -> str:
        """One object; each round's figures are in it, so that other questions can be asked later."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Result:
        """What :meth:`to_json` made.

        Raises:
            ValueError: It is something else.
        """
        try:
            found = json.loads(text)
            found["rounds"] = [{name: Run(**run) for name, run in one.items()} for one in found["rounds"]]
            result = cls(**found)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"this is no result of benchmarks.emit: {error!r}") from error
        if not result.rounds or not result.rounds[0]:
            raise ValueError("this result of benchmarks.emit has no round")
        return result
