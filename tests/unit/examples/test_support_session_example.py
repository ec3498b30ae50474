"""examples/support_session.py: the same session on every run, and both its streams complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from example_support import run, trail_of

from auditwire.sessions import Session, SessionBuilder
from auditwire.testing import EmbeddedBroker
from support.told import script

if TYPE_CHECKING:
    from collections.abc import Iterator


def told(broker: EmbeddedBroker) -> Session:
    builder = SessionBuilder(script().SESSION)
    for record in trail_of(broker).records:
        builder.add(record)
    session = builder.build()
    assert session is not None
    return session


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """One that nobody else writes to."""
    with EmbeddedBroker() as broker:
        yield broker


def test_it_leaves_two_complete_streams_and_says_how_to_look_at_them(embedded: EmbeddedBroker) -> None:
    printed = run("support_session.py", embedded.bootstrap_servers)
    assert printed.startswith(f"auditwire show support-4711 -b {embedded.bootstrap_servers} --html ")
    assert [(report.service, report.verdict) for report in trail_of(embedded).reports] == [
        ("support-desk", "complete"),
        ("payments", "complete"),
    ]


def test_another_run_brings_the_same_events_which_are_told_once(embedded: EmbeddedBroker) -> None:
    run("support_session.py", embedded.bootstrap_servers)
    once = told(embedded)
    run("support_session.py", embedded.bootstrap_servers)
    twice = told(embedded)
    assert (once.repeated, twice.repeated, len(twice.streams)) == (0, 56, 4)
    assert [entry.event for entry in once.entries] == [entry.event for entry in twice.entries]
