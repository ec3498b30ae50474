"""Writes ``verification.json``, the test vectors of ``docs/verification.md``.

Run it without arguments to write the file anew, with ``--check`` to compare. Ids and times are fixed, so the
same sources give the same bytes. What is expected of each trail is written down by hand, from the rules of
the document: no verdict in the file was computed by a verifier.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vector_statements as statements
import vector_trails as trails
from vector_cases import Base
from vector_values import events, values

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = Path(__file__).with_name("verification.json")
ABOUT = (
    "Test vectors of docs/verification.md. 'events': a body and what is made of it, bytes as hex. 'values': "
    "values that are no records, and why (null: it is one). 'trails': what was read, by names of 'messages' "
    "(bytes as base64), and what a verifier has to say of it; what an expected stream leaves out is as in "
    "'defaults'. Faults are kinds and sequences, each pair once, in order of the kinds."
)
DEFAULTS: dict[str, Any] = {
    "absent_streams": [],
    "antedated": [],
    "awaited": [],
    "closed": False,
    "declared_lost": 0,
    "duplicates": 0,
    "machine_restarted": False,
    "missing": [],
    "recovered_to": -1,
    "recoveries": 0,
    "removed": [],
    "unaccounted": [],
    "unproven": [],
    "unreadable": [],
    "withheld": [],
}


def text() -> str:
    """The whole file: one line for each event, value, message and trail."""
    base = Base()
    for group in (
        trails.untouched,
        trails.tampered,
        trails.absent,
        trails.checkpoints,
        statements.said_by_the_producer,
        statements.recovered,
        statements.damaged_journals,
        statements.contradicted,
        statements.named,
        trails.placed,
        trails.read,
        trails.removed,
    ):
        group(base)

    def block(items: Iterable[str]) -> str:
        return ",\n".join(items)

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=True)

    used = {name for trail in base.trails.out for name in trail["records"]}
    messages = {name: m for name, m in base.messages.named.items() if name in used}
    return (
        f'{{"about": {line(ABOUT)},\n"defaults": {line(DEFAULTS)},\n"prefix": "audit",\n"events": [\n'
        + block(line(event) for event in events())
        + '\n],\n"values": [\n'
        + block(line(value) for value in values())
        + '\n],\n"messages": {\n'
        + block(f"{line(name)}: {line(message.to_json())}" for name, message in messages.items())
        + '\n},\n"trails": [\n'
        + block(line(trail) for trail in base.trails.out)
        + "\n]}\n"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(
            0 if FILE.read_text(encoding="ascii") == text() else f"{FILE.name} is not what the sources give"
        )
    FILE.write_text(text(), encoding="ascii")
