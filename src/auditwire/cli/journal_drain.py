"""``auditwire journal drain``: delivers what dead processes left in a journal, and ends."""

from __future__ import annotations

from typing import Annotated

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.journal_path import (
    DAMAGED,
    OK,
    WAITING,
    AnyTarget,
    CreateTopics,
    PathName,
    count_text,
    readable,
    the_journal,
)
from auditwire.cli.output import Output, remark

__all__ = ["EPILOG", "drain"]

EPILOG = """\b
Examples:
  auditwire journal drain /var/lib/agent/audit -b localhost:9092
  auditwire journal drain /mnt/old-host/audit -b localhost:9092 --any-target
"""


def drain(
    path: PathName,
    bootstrap: Bootstrap = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.0,
            metavar="SECONDS",
            help="End when nothing could be delivered for so long.",
        ),
    ] = 30.0,
    any_target: AnyTarget = False,
    create_topics: CreateTopics = True,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as a JSON object.")] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Deliver what processes that have ended left in a journal, and end.

    Streams of living processes are left to them. Exits with 0 when everything that lies there is delivered, 3
    when something is left, 1 when a record was withheld or something could not be read, and 4 when there is
    no journal.
    """
    from auditwire.cli.cluster import metadata  # noqa: PLC0415 - loads the Kafka client
    from auditwire.cli.forwarding import Settings, forwarding, left_of  # noqa: PLC0415 - as above
    from auditwire.errors import BrokerError  # noqa: PLC0415 - as above
    from auditwire.journal.inspection import look  # noqa: PLC0415 - as above

    where = connection(bootstrap, prefix, config)
    output = Output(as_json=as_json)
    with readable():
        journal = the_journal(path)
        before = look(journal)
    delivered = adopted = 0
    if any(stream.owner_alive is False for stream in before.streams):
        settings = Settings(
            where,
            path,
            service="auditwire-journal-drain",
            any_target=any_target,
            create_topics=create_topics,
            serve_live=False,
        )
        try:
            metadata(where.admin(), where)  # else a stream of our own would be left beside the others
        except BrokerError as error:
            remark(str(error), style="red")
        else:
            pending = sum(stream.pending_records for stream in before.streams)
            with forwarding(settings, total=pending) as run:
                run.serve(once=True, timeout=timeout)
            delivered, adopted = run.health.delivered, run.health.adopted
    after = look(journal)
    left = left_of(after)
    harm = len(after.withheld) - len(before.withheld) + len(after.unread) - len(before.unread)
    code = DAMAGED if harm > 0 else WAITING if left else OK
    output.json(
        {
            "path": after.path,
            "status": code,
            "delivered": delivered,
            "streams": adopted,
            "left": [stream.stream_id for stream in after.streams if stream.pending_records or stream.parked],
            "quarantined": len(after.withheld) - len(before.withheld),
            "unreadable": len(after.unread) - len(before.unread),
        }
    )
    output.print(
        f"{count_text(delivered, 'event')} of {count_text(adopted, 'stream')} delivered"
        + (", nothing is left" if not left else "")
    )
    for line in left:
        remark(line, style="yellow")
    if harm > 0:
        remark("records were withheld or could not be read: see auditwire journal status", style="red")
    raise typer.Exit(code)
