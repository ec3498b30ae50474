"""The pytest plug-in: in comes a test that names a fixture, out come captured events or a running broker.

pytest finds it by its entry point; nothing has to be configured. A test that names neither fixture pays for
nothing: the broker starts with the first test that asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.testing.broker import EmbeddedBroker
    from auditwire.testing.capture import CapturedEvents

__all__ = ["audit_broker", "audit_events"]


@pytest.fixture
def audit_events() -> Iterator[CapturedEvents]:
    """An emitter that keeps its events in memory: give ``audit_events.emitter`` to the code under test."""
    from auditwire.testing.capture import capture_events  # noqa: PLC0415 - only for the tests that ask for it

    with capture_events() as captured:
        yield captured


@pytest.fixture(scope="session")
def audit_broker() -> Iterator[EmbeddedBroker]:
    """One :class:`~auditwire.testing.EmbeddedBroker` for the whole run, started by the first test that asks.

    Its audit topics have the prefix ``audit``; ``audit_broker.create_topics()`` makes others.
    """
    from auditwire.testing.broker import EmbeddedBroker  # noqa: PLC0415 - only for the tests that ask for it

    with EmbeddedBroker() as broker:
        yield broker
