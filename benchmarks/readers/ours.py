"""auditwire's own ways of reading a trail: records, dictionaries, the verdict, and one session."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from auditwire import Reader
from auditwire.cli.app import run
from auditwire.verification.trail import verify_trail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditwire.reading import Record

__all__ = ["records_of", "replay", "replay_to_dicts", "show", "verify"]


def records_of(bootstrap: str, prefix: str) -> Iterator[Record]:
    """The trail's records; it ends the process when one was missing, late or could not be read."""
    with Reader(bootstrap, prefix=prefix) as reader:
        yield from reader
        if reader.gaps or reader.late or reader.undecodable:
            raise SystemExit(f"gaps {reader.gaps}, late {reader.late}, undecodable {reader.undecodable}")


def replay(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """``Reader``, to the end."""
    return sum(1 for _ in records_of(bootstrap, prefix))


def replay_to_dicts(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """The same, and each record's ``to_dict``: place, key, headers and digest too."""
    count = 0
    for record in records_of(bootstrap, prefix):
        record.to_dict()
        count += 1
    return count


def verify(bootstrap: str, prefix: str, rest: Sequence[str]) -> int:
    """``verify_trail`` in that many processes; it ends this one when the trail does not verify."""
    outcome = verify_trail(bootstrap, prefix=prefix, jobs=int(rest[0]))
    if outcome.exit_status:
        raise SystemExit(f"the trail does not verify: {outcome.to_dict()}")
    return outcome.records


def show(bootstrap: str, prefix: str, rest: Sequence[str]) -> int:
    """``auditwire show SESSION --json`` between two moments; how many characters it printed."""
    session, first, last = rest
    common = ["-b", bootstrap, "--prefix", prefix, "--since", first, "--until", last, "--json"]
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as told:
        status = run(["show", session, *common])
        told.seek(0)
        text = told.read()
    if status:
        raise SystemExit(f"show ended with status {status}")
    return len(text)
