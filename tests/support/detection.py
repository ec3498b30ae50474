"""What a check says of a trail that was tampered with, and the table of it for the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.mutations import MUTATIONS, Expected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.verification import StreamReport
    from auditwire.verification.outcome import TrailReport

__all__ = ["disagreement", "found_in", "table"]

_FIELDS = ("absent_streams", "awaited", "withheld", "antedated", "duplicates")


def found_in(reports: Iterable[StreamReport]) -> set[str]:
    """The kinds of fault in the reports, and the fields of them that name something."""
    found: set[str] = set()
    for report in reports:
        found.update(fault.kind for fault in report.faults)
        found.update(name for name in _FIELDS if getattr(report, name))
    return found


def disagreement(expected: Expected, reports: list[StreamReport], outcome: TrailReport) -> str:
    """What a check said otherwise than expected; empty when nothing."""
    found = found_in(reports)
    if outcome.exit_status != expected.status:
        return f"exit status {outcome.exit_status}, not {expected.status}; found {sorted(found)}"
    if expected.seen is not None and expected.seen not in found:
        return f"{expected.seen} is not among {sorted(found)}"
    if expected.seen is None and found:
        return f"nothing was to be found, and {sorted(found)} was"
    return ""


def table() -> str:
    """The documentation's table."""
    lines = [
        "| what was done | verify | with `--state` from before | why |",
        "|-|-|-|-|",
    ]
    lines += [f"| {m.name} | {_cell(m.alone)} | {_cell(m.with_state)} | {m.why} |" for m in MUTATIONS]
    return "\n".join(lines) + "\n"


def _cell(expected: Expected) -> str:
    if expected.status == 0:
        return "0, not seen" if expected.seen is None else f"0, `{expected.seen}`"
    return f"{expected.status}, `{expected.seen}`" if expected.seen else f"{expected.status}"
