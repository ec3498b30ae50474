"""``auditwire schemas``: what is made of the Avro schemas that are installed with the package."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from auditwire.cli.filters import complete_types
from auditwire.errors import ConfigurationError, SchemaError

if TYPE_CHECKING:
    from auditwire.wire import Schema

__all__ = ["app"]

app = typer.Typer(help="Look at what is made of the Avro schemas.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def complete_versions(incomplete: str) -> list[str]:
    """Releases that brought a schema, for the shell."""
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no events
    from auditwire.wire import schema_versions  # noqa: PLC0415 - as above

    found = {schema.version for event_type in ALL_TYPES for schema in schema_versions(event_type)}
    return sorted(version for version in found if version.startswith(incomplete))


CODEGEN_EPILOG = """\b
Examples:
  auditwire schemas codegen tool_call_complete
  auditwire schemas codegen turn-start --decoder | less
  auditwire schemas codegen turn_start --version 0.1.0 > turn_start.py
"""


@app.command("codegen", epilog=CODEGEN_EPILOG)
def codegen(
    event_type: Annotated[
        str,
        typer.Argument(metavar="TYPE", autocompletion=complete_types, help="An event type: turn_start."),
    ],
    decoder: Annotated[
        bool, typer.Option("--decoder", help="What reads records, instead of what writes them.")
    ] = False,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            autocompletion=complete_versions,
            show_default="the current one",
            help="The release that brought the schema.",
        ),
    ] = None,
) -> None:
    """Print the Python source that encodes or decodes events of a type, as this process would compile it.

    It is made from the schema when the first event of the type is encoded or decoded, and is nowhere on disk.
    AUDITWIRE_CODEC=fastavro has a process do without it. Exits with 1 when none can be made of the schema:
    the Avro library writes its events then, and a slower decoder reads them.
    """
    from auditwire.wire import Inexpressible, decoder_source, encoder_source  # noqa: PLC0415 - as above

    schema = _schema(event_type, version)
    try:
        source = decoder_source(schema) if decoder else encoder_source(schema)
    except Inexpressible as why:
        raise SchemaError(f"no source is made of {schema.event_type} {schema.version}: {why}") from why
    typer.echo(source, nl=False)


def _schema(event_type: str, version: str | None) -> Schema:
    """The schema that was asked for; a type as a topic names it, with dashes, is taken too."""
    from auditwire.events import ALL_TYPES  # noqa: PLC0415 - --help needs no events
    from auditwire.wire import schema_versions  # noqa: PLC0415 - as above

    name = event_type.replace("-", "_")
    if name not in ALL_TYPES:
        near = get_close_matches(name, ALL_TYPES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(ALL_TYPES)}"
        raise ConfigurationError("TYPE", f"{event_type} is no event type; {hint}")
    versions = {schema.version: schema for schema in schema_versions(name)}
    if version is None:
        return next(iter(versions.values()))
    if version not in versions:
        raise ConfigurationError(
            "--version", f"no schema of {name} came with {version}; there is {', '.join(versions)}"
        )
    return versions[version]
