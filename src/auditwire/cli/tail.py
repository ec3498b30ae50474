"""``auditwire tail``: follows a trail's topics, an event a line."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from auditwire.cli.connection import ANSWER_SECONDS, Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.lines import Lines, record_dict
from auditwire.cli.output import Output
from auditwire.errors import ConfigurationError

__all__ = ["tail"]

_SLICE = 0.25
_NEW_TOPICS_SECONDS = 2.0

EPILOG = """\b
Examples:
  auditwire tail -b localhost:9092
  auditwire tail -b localhost:9092 --from-beginning --type tool_call_failure --type error
  auditwire tail -b localhost:9092 --session s-1 --no-follow --json | jq -r .tool_name
"""


def _known(types: list[str] | None) -> list[str] | None:
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no events

    for name in types or ():
        if name not in ALL_TYPES:
            near = get_close_matches(name, ALL_TYPES, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(ALL_TYPES))}"
            raise ConfigurationError("--type", f"{name} is no event type; {hint}")
    return types or None


def tail(
    bootstrap: Bootstrap = None,
    session: Annotated[
        str | None, typer.Option("--session", "-s", metavar="ID", help="Only events of this session.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            metavar="TYPE",
            help="Only events of this type, such as error; may be given several times.",
        ),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest record, not with what comes now.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--no-follow", help="Wait for more; or end at the current end, from the beginning."
        ),
    ] = True,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="End after this many events.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object a line: the event, stream_id, sequence, topic, offset."),
    ] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Show events as they arrive on the broker; topics that appear later are taken in.

    Events of one partition come in their order; across partitions they come as they arrive. Messages that are
    no events are counted and said on stderr at the end.
    """
    from auditwire.reading import Reader  # noqa: PLC0415 - --help needs no codec

    where = connection(bootstrap, prefix, config)
    output = Output(as_json=as_json)
    lines = Lines(output.width, session=session is None)
    with Reader(
        where.bootstrap,
        prefix=where.prefix,
        config=where.config,
        types=_known(types),
        session_id=session,
        from_beginning=from_beginning or not follow,
        follow=follow,
        timeout=ANSWER_SECONDS,
        refresh=_NEW_TOPICS_SECONDS,
    ) as reader:
        if output.live:
            output.print(lines.header())
            output.print(lines.rule())
        shown = 0
        while not reader.finished and shown != limit:
            record = reader.poll(_SLICE)
            if record is not None:
                output.json(record_dict(record))
                output.print(lines.row(record.event))
                shown += 1
