"""What tests of an audited agent need: in comes the agent's code, out come captured events, or a broker.

* :func:`capture_events` gives an emitter whose events are kept in memory, for assertions.
* :class:`EmbeddedBroker` runs a broker in a process of its own, without Java or a container.
* ``auditwire.testing.plugin`` offers both to pytest, as the fixtures ``audit_events`` and ``audit_broker``.

Nothing is imported before it is used: pytest loads the plug-in of every installed package in every run, and
the Kafka client alone would cost 60 ms of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditwire.testing.broker import EmbeddedBroker
    from auditwire.testing.capture import CapturedEvents, capture_events

__all__ = ["CapturedEvents", "EmbeddedBroker", "capture_events"]

_HOMES = {
    "CapturedEvents": "auditwire.testing.capture",
    "EmbeddedBroker": "auditwire.testing.broker",
    "capture_events": "auditwire.testing.capture",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(home), name)
