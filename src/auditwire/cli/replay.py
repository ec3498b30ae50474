"""``auditwire replay``: a range of a trail written again, as lines of JSON or onto other topics."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Connection, Prefix, connection
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
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EPILOG", "replay"]

EPILOG = """\b
Examples:
  auditwire replay -b localhost:9092 --since 2h --to last-two-hours.jsonl
  auditwire replay -b localhost:9092 --to all.jsonl.gz --resume all.state
  auditwire replay -b localhost:9092 --session s-1 --to - | jq -r .tool_name
  auditwire replay -b prod:9092 --to-bootstrap backup:9092 --manifest copy.json --resume copy.state
  auditwire replay --check copy.json --to-bootstrap backup:9092
  auditwire replay -b localhost:9092 --since 1d --to-prefix rehearsal --speed 10x --max-pause 5
"""

_SPEED = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)x?", re.ASCII)
_STDOUT = "-"


def replay(
    bootstrap: Bootstrap = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FILE", help="Lines of JSON; gzip when it ends in .gz; - is stdout."),
    ] = None,
    to_bootstrap: Annotated[
        str | None,
        typer.Option("--to-bootstrap", metavar="HOST:PORT", help="Copy to this cluster; or to the same."),
    ] = None,
    to_prefix: Annotated[
        str | None,
        typer.Option("--to-prefix", metavar="TEXT", help="Copy to topics of this prefix; or of the same."),
    ] = None,
    to_config: Annotated[
        Path | None,
        typer.Option("--to-config", metavar="FILE", help="As --config, for the cluster that is copied to."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            help="What a copy has to hold, written at the end.",
            show_default="auditwire-replay-PREFIX.json",
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="MANIFEST", help="Copy nothing: compare the copy with its manifest."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="FILE", help="Keep there how far it is, and go on there."),
    ] = None,
    speed: Annotated[
        str,
        typer.Option("--speed", metavar="N", help="1x: as it happened; 10x: ten times as fast; max."),
    ] = "max",
    max_pause: Annotated[
        float | None,
        typer.Option(
            "--max-pause", min=0.0, metavar="SECONDS", help="Cut longer pauses to it; with --speed."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    sessions: Sessions = None,
    turns: Turns = None,
    agents: Agents = None,
    streams: Streams = None,
    types: Types = None,
    severities: Severities = None,
    where: Where = None,
    create_topics: Annotated[
        bool, typer.Option("--create-topics/--no-create-topics", help="Create topics that are not there.")
    ] = True,
    retention_days: Annotated[
        int, typer.Option(min=1, metavar="DAYS", help="How long topics that are made keep records.")
    ] = 400,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, metavar="SECONDS", help="End when a broker is silent for so long."
        ),
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as a JSON object.")] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Write a range of a trail again: to a file, to stdout, or onto the topics of another cluster or prefix.

    Records come in the order of their time, those of a stream in the order of their numbers, up to the ends
    that the topics have at the beginning. Lines are those of tail --json. A copy has the same values, keys,
    headers and timestamps, so that it verifies as its source does; its manifest says what it has to hold.
    Without filters everything is copied.

    Exits with 0 when everything was written, 1 when reading or writing failed or a copy is not as its
    manifest says, 2 for wrong usage, 4 when there was nothing to replay, and 130 or 143 after Ctrl-C or
    SIGTERM. With --resume the next run goes on where this one ended, however it did.
    """
    from auditwire.cli.replay_check import check_copy  # noqa: PLC0415 - --help needs no codec
    from auditwire.cli.replay_run import Job, run_job  # noqa: PLC0415 - as above

    selection = {
        "since": since,
        "until": until,
        "session": sessions,
        "turn": turns,
        "agent": agents,
        "stream": streams,
        "type": types,
        "severity": severities,
        "where": where,
    }
    given = {name: value for name, value in selection.items() if value}
    if check is not None:
        _refuse_beside(
            "--check",
            {"--to": to, "--manifest": manifest, "--resume": resume, **{f"--{name}": True for name in given}},
            "it reads the whole copy and writes nothing",
        )
        raise typer.Exit(
            check_copy(check, bootstrap, prefix, config, to_bootstrap, to_prefix, to_config, timeout, as_json)
        )
    copying = to_bootstrap is not None or to_prefix is not None
    _check_options(to, manifest, resume, max_pause, speed, as_json=as_json, copying=copying)
    source = connection(bootstrap, prefix, config)
    target = target_connection(source, to_bootstrap, to_prefix, to_config) if copying else None

    def filters(now_us: int) -> Filters:
        return Filters.parse(
            since=since,
            until=until,
            sessions=sessions,
            turns=turns,
            agents=agents,
            streams=streams,
            types=types,
            severities=severities,
            where=where,
            now_us=now_us,
        )

    raise typer.Exit(
        run_job(
            Job(
                source=source,
                target=target,
                file=to,
                manifest=None if target is None else manifest or _manifest_path(target.prefix),
                resume=resume,
                speed=_speed(speed),
                max_pause=max_pause,
                selection=given,
                filters=filters,
                create_topics=create_topics,
                retention_days=retention_days,
                timeout=timeout,
            ),
            as_json=as_json,
        )
    )


def target_connection(
    source: Connection, bootstrap: str | None, prefix: str | None, config: Path | None
) -> Connection:
    """Where a copy goes: what is not given is as in the source; of another cluster, ``--config`` is not.

    Raises:
        ConfigurationError: See ``connection``.
    """
    try:
        there = connection(bootstrap or source.bootstrap, prefix or source.prefix, config)
    except ConfigurationError as error:
        _, _, words = str(error).partition(": ")
        raise ConfigurationError(f"--to-{error.key.removeprefix('--')}", words) from error
    if bootstrap is None and config is None:
        return Connection(there.bootstrap, there.prefix, source.config)
    return there


def _manifest_path(prefix: str) -> Path:
    return Path(f"auditwire-replay-{prefix}.json")


def _speed(text: str) -> float:
    """How many times as fast.

    Raises:
        ConfigurationError: It does not say.
    """
    if text.strip().lower() == "max":
        return math.inf
    number = _SPEED.fullmatch(text.strip().lower())
    if number is None or not float(number[1]):
        raise ConfigurationError("--speed", f"{text!r} is no speed: write 1x, 10x, 0.5x or max")
    return float(number[1])


def _check_options(
    to: str | None,
    manifest: Path | None,
    resume: Path | None,
    max_pause: float | None,
    speed: str,
    *,
    as_json: bool,
    copying: bool,
) -> None:
    """What cannot be together.

    Raises:
        ConfigurationError: It is.
    """
    if to is None and not copying:
        raise ConfigurationError(
            "--to",
            "say where to: a file, - for standard output, or --to-bootstrap and --to-prefix for a copy",
        )
    if to is not None:
        if copying:
            raise ConfigurationError("--to", "contradicts --to-bootstrap and --to-prefix: lines, or a copy")
        _refuse_beside("--to", {"--manifest": manifest}, "it describes a copy on Kafka")
    if to == _STDOUT:
        _refuse_beside("--to -", {"--resume": resume}, "a pipe cannot be cut back to what is known")
        _refuse_beside("--to -", {"--json": as_json}, "the lines stand on stdout, the summary on stderr")
    if max_pause is not None and _speed(speed) == math.inf:
        raise ConfigurationError("--max-pause", "there are no pauses without --speed")
    named = {"--to": None if to in (None, _STDOUT) else Path(str(to)), "--resume": resume}
    paths = {
        option: path.resolve()
        for option, path in {**named, "--manifest": manifest}.items()
        if path is not None
    }
    for option, path in paths.items():
        if not path.parent.is_dir():
            raise ConfigurationError(option, f"there is no directory {path.parent}")
        same = [other for other in paths if other != option and paths[other] == path]
        if same:
            raise ConfigurationError(same[0], f"{path} is named for {option} already")


def _refuse_beside(option: str, others: Mapping[str, object], why: str) -> None:
    for other, value in others.items():
        if value:
            raise ConfigurationError(other, f"not with {option}: {why}")
