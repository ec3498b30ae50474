"""Standard logging: in come log records, out go audit events for those that have an ``audit`` field.

What becomes of the field stands in :mod:`auditwire.integrations.log_events`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from auditwire.integrations.log_events import event_of, is_own

if TYPE_CHECKING:
    from auditwire.emitter_base import EmitterBase

__all__ = ["AuditHandler"]


class AuditHandler(logging.Handler):
    """Makes audit events of log records that have an ``audit`` field; other records pass it by.

    ::

        logging.getLogger().addHandler(AuditHandler(audit))
        ...
        log.info("sent %d mails", n, extra={"audit": {"event_type": "skill_used", "skill_name": "mail"}})

    Records of the loggers ``auditwire`` and below are never made events. What goes wrong with a record is
    reported as logging does it (``handleError``: on stderr) and never reaches the code that logged. No lock
    is held around the emitter, so that a thread that waits for room in the journal holds up no other.

    The emitter stays open when logging shuts down: whoever made it closes it.

    Args:
        audit: Where the events go. Its identities, and those of the context, are filled in.
        level: Records below are passed by; every record is looked at when left out.
    """

    def __init__(self, audit: EmitterBase, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._audit = audit

    def handle(self, record: logging.LogRecord) -> Any:
        """As in :class:`logging.Handler`, without its lock: emitters are safe for threads.

        With it, a record of the sender's own thread would wait for a thread that waits for the sender.
        """
        passed: Any = self.filter(record)  # from 3.12 on it may be another record
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Emit the record's event, if it has one."""
        audit = getattr(record, "audit", None)
        if audit is None or is_own(record.name):
            return
        try:
            event = event_of(
                audit,
                logger=record.name,
                level=record.levelno,
                message=record.getMessage(),
                timestamp_us=int(record.created * 1_000_000),
            )
            if event is not None:
                self._audit.emit(event)
        except Exception:  # noqa: BLE001 - whatever it is, it is logging's to report and not the agent's
            self.handleError(record)
