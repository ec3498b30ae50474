"""``auditwire forward``: a service that delivers what other processes write into a journal path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.journal_path import OK, WAITING, AnyTarget, CreateTopics, PathName
from auditwire.cli.output import remark
from auditwire.config import SETTINGS
from auditwire.errors import ConfigurationError

__all__ = ["EPILOG", "forward"]

EPILOG = """\b
Examples:
  auditwire forward /var/lib/audit -b localhost:9092
  auditwire forward /var/lib/audit -b localhost:9092 --metrics 127.0.0.1:9464
  auditwire forward /var/lib/audit -b localhost:9092 --once
"""

MetricsAddress = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="[HOST:]PORT",
        envvar="AUDITWIRE_METRICS",
        help="Answer /live, /health and /metrics over HTTP there; on 127.0.0.1 where no host is given.",
    ),
]
HealthFile = Annotated[
    Path | None,
    typer.Option(
        "--health-file",
        metavar="FILE",
        envvar="AUDITWIRE_HEALTH_FILE",
        help="Keep the health there as JSON while it works, replaced in one step.",
    ),
]
JournalBytes = Annotated[
    str | None,
    typer.Option(
        "--journal-bytes",
        metavar="SIZE",
        envvar="AUDITWIRE_JOURNAL_BYTES",
        show_default="1GiB",
        help="How much the collectors may write there, as they are told it: 512MiB.",
    ),
]


def forward(
    path: PathName,
    bootstrap: Bootstrap = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing is pending.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.0,
            metavar="SECONDS",
            help="How long to go on after SIGTERM or Ctrl-C; with --once, how long without progress.",
        ),
    ] = 60.0,
    metrics: MetricsAddress = None,
    health_file: HealthFile = None,
    journal_bytes: JournalBytes = None,
    any_target: AnyTarget = False,
    service: Annotated[
        str,
        typer.Option(
            "--service",
            metavar="NAME",
            envvar="AUDITWIRE_SERVICE",
            help="Whose the forwarder's own stream is.",
        ),
    ] = "auditwire-forward",
    create_topics: CreateTopics = True,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Deliver what JournalCollectors write into a journal, and what dead processes left there.

    Goes on until SIGTERM or Ctrl-C; then what is there is delivered within --timeout, and what is left waits
    on disk. A second signal ends at once. Tells systemd that it is ready and alive (Type=notify).

    Exits with 0 when nothing is left, 3 when something is.
    """
    from auditwire.cli.forwarding import Settings, forwarding  # noqa: PLC0415 - loads the Kafka client

    where = connection(bootstrap, prefix, config)
    settings = Settings(
        where,
        path,
        service=service,
        any_target=any_target,
        create_topics=create_topics,
        capacity=_size(journal_bytes),
    )
    with forwarding(settings, metrics=metrics, health_file=health_file) as run:
        run.serve(once=once, timeout=timeout)
    for line in run.left:
        remark(line, style="yellow")
    raise typer.Exit(WAITING if run.left else OK)


def _size(text: str | None) -> int | None:
    """A size as the variable takes it.

    Raises:
        ConfigurationError: It is none.
    """
    if text is None:
        return None
    setting = next(one for one in SETTINGS if one.variable == "AUDITWIRE_JOURNAL_BYTES")
    try:
        return int(setting.parse(text))
    except ValueError:
        raise ConfigurationError("--journal-bytes", f"{text!r} is not {setting.accepts}") from None
