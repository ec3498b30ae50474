"""``auditwire journal``: what lies in a journal path, whether it is whole, and what becomes of it.

======= ==================================================================================================
command exits with
======= ==================================================================================================
status  0 nothing waits and nothing is wrong; 3 records wait, or a topic takes none; 1 a record is withheld,
        or something is unreadable or damaged
inspect 0; 1 where something that was to be shown cannot be read
check   0 every byte that was written can be read; 1 damage
drain   0 everything is delivered; 3 something is left; 1 a record was withheld, or something is unreadable
all     2 wrong usage; 4 there is no journal
======= ==================================================================================================

Where two apply, the first of 2, 4, 1, 3 counts.
"""

from __future__ import annotations

import typer

from auditwire.cli import journal_check, journal_drain, journal_inspect, journal_status

__all__ = ["app"]

app = typer.Typer(help="Look into a journal on disk, check it, or deliver it.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("status", epilog=journal_status.EPILOG)(journal_status.status)
app.command("inspect", epilog=journal_inspect.EPILOG)(journal_inspect.inspect)
app.command("check", epilog=journal_check.EPILOG)(journal_check.check)
app.command("drain", epilog=journal_drain.EPILOG)(journal_drain.drain)
