"""``auditwire topics``: which audit topics there are, and makes the ones that are missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from auditwire.cli.connection import Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.lines import aligned
from auditwire.cli.output import Output, remark

if TYPE_CHECKING:
    from auditwire.cli.cluster import TopicInfo
    from auditwire.delivery.topics import TopicSettings

__all__ = ["app"]

_MS_A_DAY = 86_400_000
_MS_AN_HOUR = 3_600_000

app = typer.Typer(help="List the audit topics, or create them.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# -- list ---------------------------------------------------------------------------------------------------


@app.command("list", epilog="\b\nExample:\n  auditwire topics list -b localhost:9092")
def list_topics(
    bootstrap: Bootstrap = None, as_json: AsJson = False, prefix: Prefix = "audit", config: ConfigFile = None
) -> None:
    """Show the audit topics under the prefix with their settings and how many records they hold."""
    from auditwire.cli.cluster import audit_topics  # noqa: PLC0415 - --help loads no Kafka client

    where = connection(bootstrap, prefix, config)
    output = Output(as_json=as_json)
    found = audit_topics(where)
    for topic in found:
        output.json(asdict(topic))
    if not found:
        remark(f"no audit topics with the prefix {where.prefix} on {where.bootstrap}")
        return
    names = ("topic", "partitions", "replication", "records", "retention", "cleanup")
    for line in aligned([[Text(name, "dim") for name in names], *map(_info_cells, found)], right=(1, 2, 3)):
        output.print(line)
    if any(topic.cleanup_policy is None for topic in found):
        remark("the broker does not describe its topics' settings")


def _info_cells(topic: TopicInfo) -> list[Text]:
    cells = (
        topic.topic,
        str(topic.partitions),
        str(topic.replication),
        f"{topic.records:,}",
        _duration(topic.retention_ms),
        topic.cleanup_policy or "?",
    )
    return [Text(cell) for cell in cells]


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "?"
    if milliseconds < 0:
        return "for ever"
    if milliseconds < _MS_A_DAY:
        return f"{milliseconds / _MS_AN_HOUR:.1f} h"
    return f"{milliseconds / _MS_A_DAY:.0f} days"


# -- create -------------------------------------------------------------------------------------------------

CREATE_EPILOG = """\b
Examples:
  auditwire topics create -b localhost:9092 --dry-run
  auditwire topics create -b localhost:9092 --retention-days 730
"""


@app.command("create", epilog=CREATE_EPILOG)
def create(
    bootstrap: Bootstrap = None,
    partitions: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of each topic; all alike, so that they can be joined.")
    ] = 6,
    replication: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", show_default="one on each broker, 3 at most", help="Copies of each partition."
        ),
    ] = None,
    retention_days: Annotated[
        int, typer.Option(min=1, metavar="DAYS", help="How long records are kept.")
    ] = 400,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")
    ] = False,
    as_json: AsJson = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Create the topics of all event types; those that exist are left as they are.

    Exits with 1 when a topic was refused; each is named with the reason.
    """
    from auditwire.cli.cluster import metadata  # noqa: PLC0415 - --help loads no Kafka client
    from auditwire.delivery.topics import TopicSettings, create_topics  # noqa: PLC0415 - as above
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - as above
    from auditwire.wire import topic_name  # noqa: PLC0415 - as above

    where = connection(bootstrap, prefix, config)
    output = Output(as_json=as_json)
    settings = TopicSettings(
        partitions=partitions, replication_factor=replication, retention_days=retention_days
    )
    admin = where.admin()
    cluster = metadata(admin, where)
    names = [topic_name(where.prefix, event_type) for event_type in ALL_TYPES]
    there = {name: len(cluster.topics[name].partitions) for name in names if name in cluster.topics}
    missing = [name for name in names if name not in there]
    answers = dict.fromkeys(missing) if dry_run else create_topics(admin, missing, settings)
    plan = _Plan(settings, len(cluster.brokers), there, answers, dry_run=dry_run)
    for name in names:
        output.json(plan.to_dict(name))
    header = [Text(name, "dim") for name in ("topic", "status", "partitions", "replication", "retention")]
    for line in aligned([header, *map(plan.cells, names)], right=(2, 3)):
        output.print(line)
    plan.remarks()
    if plan.refused:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Plan:
    """What was made, or would be, and what was not.

    Attributes:
        settings: How topics are made.
        brokers: How many there are.
        there: Topic that was there before -> its partitions.
        answers: Topic that was not -> None, or why it was refused.
        dry_run: Nothing was made.
    """

    settings: TopicSettings
    brokers: int
    there: dict[str, int]
    answers: dict[str, str | None]
    dry_run: bool

    @property
    def refused(self) -> dict[str, str]:
        return {name: why for name, why in self.answers.items() if why is not None}

    def status(self, name: str) -> str:
        if name in self.there:
            return "exists"
        if name in self.refused:
            return "refused"
        return "would create" if self.dry_run else "created"

    def to_dict(self, name: str) -> dict[str, object]:
        made = name not in self.there and name not in self.refused
        return {
            "topic": name,
            "status": self.status(name),
            "reason": self.refused.get(name),
            "partitions": self.there.get(name, self.settings.partitions if made else None),
            "replication": self.settings.replication(self.brokers) if made else None,
            "config": self.settings.config(self.brokers) if made else None,
        }

    def cells(self, name: str) -> list[Text]:
        status = self.status(name)
        cells = [Text(name), Text(status, _STYLES[status])]
        if status == "exists":
            cells.append(Text(str(self.there[name]), "dim"))
        elif status != "refused":
            cells.append(Text(str(self.settings.partitions)))
            cells.append(Text(str(self.settings.replication(self.brokers))))
            cells.append(Text(f"{self.settings.retention_days} days"))
        return cells

    def remarks(self) -> None:
        """On stderr: what somebody has to look at."""
        wanted = self.settings.partitions
        other = [f"{name} has {count}" for name, count in self.there.items() if count != wanted]
        if other:
            remark(
                "topics that exist are left as they are; those with a number of partitions other than "
                f"{wanted} cannot be joined by partition: {', '.join(other)}",
                style="yellow",
            )
        for name, why in self.refused.items():
            remark(f"{name} was refused: {why}", style="red")


_STYLES = {"created": "green", "would create": "cyan", "exists": "dim", "refused": "red"}
