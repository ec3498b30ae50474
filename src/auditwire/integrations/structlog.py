"""structlog: in come event dictionaries, out go audit events for those that have an ``audit`` key.

What becomes of the key stands in :mod:`auditwire.integrations.log_events`. structlog itself is not imported:
a processor is any callable.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from auditwire.events import now_us
from auditwire.integrations.log_events import event_of, is_own
from auditwire.refusals import RefusalLog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from auditwire.emitter_base import EmitterBase

__all__ = ["AuditProcessor"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "err": logging.ERROR,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
"""structlog's method names."""


class AuditProcessor:
    """A structlog processor that makes audit events of entries that have an ``audit`` key.

    ::

        structlog.configure(processors=[AuditProcessor(audit), *structlog.get_config()["processors"]])
        ...
        log.info("sent mails", count=n, audit={"event_type": "skill_used", "skill_name": "mail"})

    Put it behind what filters entries, and before what renders them. The key is taken out, so that it is
    rendered nowhere, and a :class:`~auditwire.integrations.logging.AuditHandler` behind makes no second
    event. An entry whose key is no event is counted and logged, at most once a minute, by the logger
    ``auditwire``; it never reaches the code that logged.

    Args:
        audit: Where the events go. Its identities, and those of the context, are filled in.
        key: The key's name.
    """

    def __init__(self, audit: EmitterBase, key: str = "audit") -> None:
        self._audit = audit
        self._key = key
        self._failures = RefusalLog("structlog entries that could not be made audit events")

    @property
    def failed(self) -> int:
        """How many entries could not be made events."""
        return self._failures.total

    def __call__(
        self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Emit the entry's event, if it has one; the entry without its key goes on."""
        audit = event_dict.pop(self._key, None)
        if audit is None:
            return event_dict
        try:
            name = event_dict.get("logger") or getattr(logger, "name", None) or "structlog"
            if not is_own(name):
                self._emit(audit, str(name), method_name, str(event_dict.get("event", "")))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the agent's; it is counted
            self._failures.add(audit, error)
        return event_dict

    def _emit(self, audit: object, name: str, method_name: str, message: str) -> None:
        level = _LEVELS.get(method_name, logging.INFO)
        event = event_of(audit, logger=name, level=level, message=message, timestamp_us=now_us())
        if event is not None:
            self._audit.emit(event)
