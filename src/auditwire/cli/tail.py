"""``auditwire tail``: follows a trail's topics, its turns as a tree, or an event a line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from auditwire.cli.connection import ANSWER_SECONDS, Bootstrap, ConfigFile, Connection, Prefix, connection
from auditwire.cli.filters import (
    Agents,
    Filters,
    Sessions,
    Severities,
    Since,
    Streams,
    Turns,
    Types,
    Until,
    Where,
)
from auditwire.cli.live import BrokerWatch, nobody_reads
from auditwire.cli.output import ClosedPipe, Output, remark
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from auditwire.cli.tail_view import TailView
    from auditwire.reading import Reader

__all__ = ["tail"]

_SLICE = 0.25
_NEW_TOPICS_SECONDS = 2.0
_CONFIG = {"fetch.wait.max.ms": 100}
"""Milliseconds after which a broker says that a partition has nothing new. An event is shown when the others
are known to have none before it: with librdkafka's 500, so long is what one would wait for."""

_TURNS = {"turn_start", "turn_end"}

EPILOG = """\b
Examples:
  auditwire tail -b localhost:9092
  auditwire tail -b localhost:9092 --since 2h --agent planner
  auditwire tail -b localhost:9092 --from-beginning --type tool_call_failure --type error
  auditwire tail -b localhost:9092 --since 1d --where 'duration_ms>500' --where tool_name=search
  auditwire tail -b localhost:9092 --session s-1 --no-follow --json | jq -r .tool_name
"""


def tail(
    bootstrap: Bootstrap = None,
    sessions: Sessions = None,
    turns: Turns = None,
    agents: Agents = None,
    types: Types = None,
    severities: Severities = None,
    streams: Streams = None,
    where: Where = None,
    since: Since = None,
    until: Until = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest record, not with what comes now.")
    ] = False,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--no-follow",
            "-f",
            help="Wait for more; or end at the current end, from the beginning.",
            show_default="follow, but not with --until",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="End after this many events.")
    ] = None,
    tree: Annotated[
        bool | None,
        typer.Option(
            "--tree/--flat",
            help="Turns as a tree, or each event as a line of the same columns.",
            show_default="a tree on a terminal, unless --type, --severity or --where takes turns apart",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object a line: the event, stream_id, sequence, topic, offset."),
    ] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Show events as they arrive on the broker; topics that appear later are taken in.

    The events of a stream come in its order, and streams by time. After 30 s without a record that should
    have come, a line says what is missing; if it comes later still, it is marked as late. When the broker
    goes away, tail waits and goes on where it was. Messages that are no events are counted and said on stderr
    at the end.

    Exits with 0 at the end, 1 when no broker answers or a topic may not be read, 130 on Ctrl-C.
    """
    from auditwire.cli.tail_view import TailView  # noqa: PLC0415 - --help needs no events
    from auditwire.reading import Reader  # noqa: PLC0415 - --help needs no codec

    filters = Filters.parse(
        since=since,
        until=until,
        sessions=sessions,
        turns=turns,
        agents=agents,
        streams=streams,
        types=types,
        severities=severities,
        where=where,
    )
    if follow and until is not None:
        raise ConfigurationError("--until", "a range has an end: leave out --follow")
    if tree is not None and as_json:
        raise ConfigurationError("--tree" if tree else "--flat", "lines for people are not --json")
    following = until is None if follow is None else follow
    broker = connection(bootstrap, prefix, config)
    output = Output(as_json=as_json)
    view = TailView(
        output,
        tree=output.live and _whole_turns(filters) if tree is None else tree,
        session=filters.sessions is None or len(filters.sessions) > 1,
    )
    with Reader(
        broker.bootstrap,
        prefix=broker.prefix,
        config={**_CONFIG, **broker.config} if following else broker.config,
        from_beginning=from_beginning or since is not None or not following,
        follow=following,
        timeout=ANSWER_SECONDS,
        refresh=_NEW_TOPICS_SECONDS,
        on_gap=view.gap,
        **filters.reader_arguments(),
    ) as reader:
        view.begin()
        if output.live and following:
            _say_what_is_followed(reader, broker)
        shown = _run(reader, view, filters, limit)
        if not shown:
            remark(f"nothing to show of {broker.prefix}.* on {broker.bootstrap}")


def _run(reader: Reader, view: TailView, filters: Filters, limit: int | None) -> int:
    """Show what the reader finds, to its end or the limit; how many records that were."""
    watch = BrokerWatch(lambda: reader.unreachable)
    shown = 0
    while not reader.finished and shown != limit:
        record = reader.poll(_SLICE)
        watch.look()
        if record is not None and filters.matches(record):
            view.show(record)
            shown += 1
        elif nobody_reads(sys.stdout):
            raise ClosedPipe
    return shown


def _whole_turns(filters: Filters) -> bool:
    """Whether turns are shown with all that is in them."""
    return not (
        filters.where
        or (filters.types is not None and not filters.types >= _TURNS)
        or (filters.severities is not None and "info" not in filters.severities)
    )


def _say_what_is_followed(reader: Reader, broker: Connection) -> None:
    count = len(reader.topics)
    if count:
        what = f"following {count} topics {broker.prefix}.* on {broker.bootstrap}"
    else:
        what = f"there are no topics {broker.prefix}.* on {broker.bootstrap} yet: waiting for them"
    remark(f"{what}; Ctrl-C ends it")
