"""The command line: in come arguments, ``AUDITWIRE_*`` variables and a file, out go lines and a status.

One module for each command (``demo``, ``tail``, ``topics``); ``app`` puts them together and turns errors into
one line on stderr and an exit status; ``connection`` is where a broker's settings come from, ``lines`` how an
event reads in a terminal, ``output`` the only place that writes to stdout.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDS = ("typer", "rich")


def main() -> None:
    """The console script ``auditwire``; ends with SystemExit."""
    try:
        from auditwire.cli.app import run  # noqa: PLC0415 - typer and rich are an extra

        raise SystemExit(run())
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDS:
            raise
        from auditwire.errors import MissingExtraError  # noqa: PLC0415 - only on the way out

        print(f"auditwire: {MissingExtraError('the command line', 'cli')}", file=sys.stderr)  # noqa: T201 - no rich
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # before run() could see it
        raise SystemExit(130) from None
