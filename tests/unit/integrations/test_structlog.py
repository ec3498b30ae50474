from __future__ import annotations

import logging
from typing import Any

import pytest

from auditwire.collectors import InMemoryCollector
from auditwire.emitter import AuditEmitter
from auditwire.integrations.logging import AuditHandler
from auditwire.integrations.structlog import AuditProcessor

structlog = pytest.importorskip("structlog")


@pytest.fixture
def memory() -> InMemoryCollector:
    return InMemoryCollector()


@pytest.fixture
def audit(memory: InMemoryCollector) -> AuditEmitter:
    return AuditEmitter(memory, session_id="s-1")


@pytest.fixture
def entries() -> list[Any]:
    return []


def logger_with(processor: AuditProcessor, entries: list[Any], *before: Any) -> Any:
    def keep(logger: Any, method_name: str, event_dict: Any) -> Any:
        entries.append(dict(event_dict))
        raise structlog.DropEvent

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[*before, processor, keep])


def test_an_entry_with_an_audit_key_is_an_event_and_goes_on_without_it(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any]
) -> None:
    log = logger_with(AuditProcessor(audit), entries)
    log.info("sent mails", count=3, audit={"event_type": "skill_used", "skill_name": "mail"})
    (event,) = memory.get_events()
    told = event.to_dict()
    assert (told["event_type"], told["skill_name"], told["session_id"]) == ("skill_used", "mail", "s-1")
    assert told["metadata"] == {
        "log.logger": "structlog",
        "log.level": "INFO",
        "log.message": "sent mails",
    }
    assert entries == [{"event": "sent mails", "count": 3}]


def test_other_entries_go_on_as_they_are(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any]
) -> None:
    log = logger_with(AuditProcessor(audit), entries)
    log.info("no audit entry", count=3)
    log.info("nor this", audit=False)
    assert memory.get_events() == []
    assert entries == [{"event": "no audit entry", "count": 3}, {"event": "nor this"}]


def test_a_key_of_another_name_may_be_chosen(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any]
) -> None:
    log = logger_with(AuditProcessor(audit, key="trail"), entries)
    log.info("x", trail=True, audit="not looked at")
    assert len(memory.get_events()) == 1
    assert entries == [{"event": "x", "audit": "not looked at"}]


@pytest.mark.parametrize(
    ("method", "severity"),
    [
        ("debug", "info"),
        ("msg", "info"),
        ("warning", "warning"),
        ("error", "error"),
        ("exception", "error"),
        ("fatal", "error"),
    ],
)
def test_a_custom_events_severity_follows_from_the_method(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any], method: str, severity: str
) -> None:
    log = logger_with(AuditProcessor(audit), entries)
    getattr(log, method)("x", audit=True)
    assert memory.get_events()[0].severity == severity


def test_the_loggers_name_is_structlogs_or_that_of_standard_logging(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any]
) -> None:
    named = structlog.wrap_logger(
        logging.getLogger("app.tools"),
        processors=[AuditProcessor(audit), structlog.stdlib.render_to_log_kwargs],
    )
    named.warning("x", audit=True)
    logger_with(AuditProcessor(audit), entries).info("x", logger="mine", audit=True)
    assert [event.to_dict()["custom_type"] for event in memory.get_events()] == ["app.tools", "mine"]


def test_behind_it_a_handler_makes_no_second_event(audit: AuditEmitter, memory: InMemoryCollector) -> None:
    target = logging.getLogger("app.both")
    handler = AuditHandler(audit)
    target.addHandler(handler)
    try:
        log = structlog.wrap_logger(
            target, processors=[AuditProcessor(audit), structlog.stdlib.render_to_log_kwargs]
        )
        log.warning("x", audit={"event_type": "error"})
    finally:
        target.removeHandler(handler)
    assert len(memory.get_events()) == 1


def test_what_auditwire_logs_is_never_an_event(
    audit: AuditEmitter, memory: InMemoryCollector, entries: list[Any]
) -> None:
    log = logger_with(AuditProcessor(audit), entries)
    log.error("x", logger="auditwire", audit=True)
    assert memory.get_events() == []
    assert entries == [{"event": "x", "logger": "auditwire"}]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_wrong_entry_is_counted_and_logged_and_never_raises(
    audit: AuditEmitter, entries: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    processor = AuditProcessor(audit)
    log = logger_with(processor, entries)
    log.info("x", audit=7)
    log.info("x", audit={"timestamp": "soon"})
    log.info(Unprintable(), audit=True)
    assert processor.failed == 3
    assert "structlog entries that could not be made audit events: 1" in caplog.text
    assert [sorted(entry) for entry in entries] == [["event"]] * 3
