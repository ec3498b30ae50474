"""The outage table at the end of the run: what was accepted, delivered and lost.

A plug-in that `test_outage` names.
"""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import TYPE_CHECKING

import pytest
from emit_support import OutageRow

if TYPE_CHECKING:
    from collections.abc import Callable


ROWS = pytest.StashKey[list[OutageRow]]()


@pytest.fixture
def outage_table(pytestconfig: pytest.Config) -> Callable[[OutageRow], None]:
    """Takes a row for the table at the end of the run."""
    return pytestconfig.stash.setdefault(ROWS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("outages")
    names = [field.name for field in fields(OutageRow)]
    terminalreporter.write_line(f"{names[0]:<44}" + "".join(f"{name:>11}" for name in names[1:]))
    for row in rows:
        outage, *numbers, away = astuple(row)
        terminalreporter.write_line(
            f"{outage:<44}" + "".join(f"{number:>11,}" for number in numbers) + f"{away:>11.1f}"
        )
