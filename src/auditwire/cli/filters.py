"""Which records a command is asked for: the options that ``tail``, ``show`` and ``replay`` share.

A command takes the options it has use for, each None by default, and hands them to :meth:`Filters.parse`. Of
one option several may be given: a record that has one of the values is shown. Different options narrow each
other::

    def tail(since: Since = None, types: Types = None, where: Where = None) -> None:
        filters = Filters.parse(since=since, types=types, where=where)
        with Reader(..., **filters.reader_arguments()) as reader:
            for record in reader:
                if filters.matches(record):
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditwire.cli.conditions import field_names, parse_condition
from auditwire.cli.times import FORMS, time_us
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from auditwire.cli.conditions import Condition
    from auditwire.reading import Record

__all__ = [
    "Agents",
    "Filters",
    "Sessions",
    "Severities",
    "Since",
    "Streams",
    "Turns",
    "Types",
    "Until",
    "Where",
    "known_types",
]

SEVERITIES = ("info", "warning", "error")


def complete_types(incomplete: str) -> list[str]:
    """Event types, for the shell."""
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no events

    return sorted(name for name in ALL_TYPES if name.startswith(incomplete.replace("-", "_")))


def complete_severities(incomplete: str) -> list[str]:
    """Severities, for the shell."""
    return [name for name in SEVERITIES if name.startswith(incomplete)]


def complete_fields(incomplete: str) -> list[str]:
    """Fields that a condition may name, for the shell."""
    return [name for name in field_names() if name.startswith(incomplete)]


Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help=f"Only what lies at or after it: {FORMS}."),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Only what lies before it; in the forms of --since."),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option("--session", "-s", metavar="ID", help="Only events of this session; several may be given."),
]
Turns = Annotated[
    list[str] | None,
    typer.Option("--turn", metavar="ID", help="Only events of this turn; several may be given."),
]
Agents = Annotated[
    list[str] | None,
    typer.Option("--agent", "-a", metavar="ID", help="Only events of this agent; several may be given."),
]
Streams = Annotated[
    list[str] | None,
    typer.Option("--stream", metavar="ID", help="Only records of this stream; several may be given."),
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        "-t",
        metavar="TYPE",
        help="Only events of this type, such as error; several may be given.",
        autocompletion=complete_types,
    ),
]
Severities = Annotated[
    list[str] | None,
    typer.Option(
        "--severity",
        metavar="LEVEL",
        help="Only events of this severity: info, warning or error; several may be given.",
        autocompletion=complete_severities,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="'FIELD OP VALUE'",
        help="Only records whose field compares so: = != < <= > >= ~ !~ (regular expression); of several all "
        "must hold. metadata.NAME looks into the metadata.",
        autocompletion=complete_fields,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What the options ask for, parsed and checked. Immutable; for any thread.

    Attributes:
        since_ms: Kafka timestamps at or after it, milliseconds since the Unix epoch; None for no bound.
        until_ms: Kafka timestamps before it; None for no bound.
        sessions: Session ids, one of which it must have; None for any. The same for the next ones.
        turns: Turn ids.
        agents: Agent ids.
        streams: Stream ids.
        types: Event types.
        severities: Severities.
        where: Conditions that must all hold: what the reader cannot look at itself.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    sessions: frozenset[str] | None = None
    turns: frozenset[str] | None = None
    agents: frozenset[str] | None = None
    streams: frozenset[str] | None = None
    types: frozenset[str] | None = None
    severities: frozenset[str] | None = None
    where: tuple[Condition, ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        since: str | None = None,
        until: str | None = None,
        sessions: Sequence[str] | None = None,
        turns: Sequence[str] | None = None,
        agents: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        severities: Sequence[str] | None = None,
        where: Sequence[str] | None = None,
        now_us: int | None = None,
    ) -> Filters:
        """The filters that the options' texts say. None and an empty list ask for nothing.

        A range is rounded outwards to milliseconds, which is how exactly Kafka knows a time.

        Args:
            since: As :mod:`auditwire.cli.times` says, with the next one.
            until: After ``since``.
            sessions: Ids, with the next ones; not empty.
            turns: See ``sessions``.
            agents: See ``sessions``.
            streams: See ``sessions``.
            types: Event types, control types included.
            severities: ``info``, ``warning``, ``error``.
            where: As :mod:`auditwire.cli.conditions` says.
            now_us: The time that ``2h`` counts from; the machine's by default.

        Raises:
            ConfigurationError: A text cannot be understood; the message names the option and what was meant.
        """
        now = time.time_ns() // 1_000 if now_us is None else now_us
        start = None if since is None else time_us(since, "--since", now_us=now)
        end = None if until is None else time_us(until, "--until", now_us=now)
        if start is not None and end is not None and start >= end:
            raise ConfigurationError(
                "--until", f"{until} does not lie after --since {since}: nothing can be there"
            )
        return cls(
            since_ms=None if start is None else start // 1_000,
            until_ms=None if end is None else -(-end // 1_000),
            sessions=_ids("--session", sessions),
            turns=_ids("--turn", turns),
            agents=_ids("--agent", agents),
            streams=_ids("--stream", streams),
            types=known_types(types),
            severities=_severities(severities),
            where=tuple(parse_condition(text, now_us=now) for text in where or ()),
        )

    def reader_arguments(self) -> dict[str, Any]:
        """Keywords for :class:`~auditwire.reading.Reader`: all but ``where``, and only what was asked for."""
        given = {
            "since": self.since_ms,
            "until": self.until_ms,
            "session_id": self.sessions,
            "turn_id": self.turns,
            "agent_id": self.agents,
            "stream_id": self.streams,
            "types": self.types,
            "severity": self.severities,
        }
        return {name: value for name, value in given.items() if value is not None}

    def matches(self, record: Record) -> bool:
        """Whether the record is asked for, by all the filters: also where no reader has looked at them.

        A record that has no Kafka timestamp lies in any range.
        """
        event, at = record.event, record.timestamp_ms
        return (
            (self.since_ms is None or at < 0 or at >= self.since_ms)
            and (self.until_ms is None or at < self.until_ms)
            and (self.sessions is None or event.session_id in self.sessions)
            and (self.turns is None or event.turn_id in self.turns)
            and (self.agents is None or event.agent_id in self.agents)
            and (self.streams is None or record.stream_id in self.streams)
            and (self.types is None or event.event_type in self.types)
            and (self.severities is None or event.severity in self.severities)
            and all(condition.matches(record) for condition in self.where)
        )


def known_types(types: Sequence[str] | None) -> frozenset[str] | None:
    """The event types, checked; None for none.

    Raises:
        ConfigurationError: One is no event type.
    """
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no events

    for name in types or ():
        if name not in ALL_TYPES:
            several = [part.strip() for part in name.split(",")]
            if len(several) > 1 and all(part in ALL_TYPES for part in several):
                hint = f"give it several times: {' '.join(f'--type {part}' for part in several)}"
            else:
                hint = _near(name, ALL_TYPES)
            raise ConfigurationError("--type", f"{name} is no event type; {hint}")
    return frozenset(types) if types else None


def _severities(severities: Sequence[str] | None) -> frozenset[str] | None:
    for name in severities or ():
        if name not in SEVERITIES:
            raise ConfigurationError(
                "--severity", f"{name} is no severity; {_near(name.lower(), SEVERITIES, cutoff=0.4)}"
            )
    return frozenset(severities) if severities else None


def _near(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, 1, cutoff)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"


def _ids(option: str, ids: Collection[str] | None) -> frozenset[str] | None:
    if ids and not all(ids):
        raise ConfigurationError(option, "it is empty; is a variable of the shell not set?")
    return frozenset(ids) if ids else None
