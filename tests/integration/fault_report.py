"""The table of faults at the end of the run: what was accepted, delivered and lost, and what it cost.

A plug-in that `test_outage` and `test_chaos` name. `--fault-table FILE` writes it as Markdown, too: into a
page that has `<!-- make chaos -->` where it belongs, or into a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from emit_support import FaultRow

from rig.pages import put

if TYPE_CHECKING:
    from collections.abc import Callable


TITLES = [
    "fault",
    "accepted",
    "refused",
    "delivered",
    "lost",
    "duplicates",
    "stall ms",
    "lasted s",
    "recovery s",
]

ROWS = pytest.StashKey[list[FaultRow]]()


@pytest.fixture
def fault_table(pytestconfig: pytest.Config) -> Callable[[FaultRow], None]:
    """Takes a row for the table at the end of the run."""
    return pytestconfig.stash.setdefault(ROWS, []).append


def text(rows: list[FaultRow]) -> str:
    """The table for people, numbers to the right."""
    table = [TITLES, *(row.cells() for row in rows)]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(TITLES))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in table
    )


def markdown(rows: list[FaultRow]) -> str:
    """The table for a page."""
    rule = ["-"] + ["-:"] * (len(TITLES) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [TITLES, rule, *(row.cells() for row in rows)])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(text(rows))
    if file := config.getoption("fault_table"):
        put(Path(file), "make chaos", markdown(rows))
        terminalreporter.write_line(f"written to {file}")
