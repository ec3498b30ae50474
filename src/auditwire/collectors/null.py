"""Nowhere: for switching the audit trail off without touching the agent's code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.collectors.base import Managed

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

__all__ = ["NullCollector"]


class NullCollector(Managed):
    """Takes every event and keeps none."""

    __slots__ = ()

    def emit(self, event: AuditEvent) -> None:
        """Forget the event."""

    def flush(self) -> None:
        """Nothing to wait for."""
