from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from auditwire.collectors import InMemoryCollector
from auditwire.collectors.kafka import KafkaCollector
from auditwire.emitter import AuditEmitter
from auditwire.errors import SinkError
from auditwire.integrations.logging import AuditHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.testing import EmbeddedBroker


@pytest.fixture
def memory() -> InMemoryCollector:
    return InMemoryCollector()


@pytest.fixture
def audit(memory: InMemoryCollector) -> AuditEmitter:
    return AuditEmitter(memory, session_id="s-1")


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of the test's own, below the root."""
    logger = logging.getLogger(f"app.{uuid4().hex}")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = list(logger.handlers)
    yield logger
    for handler in [h for h in logger.handlers if h not in before]:
        logger.removeHandler(handler)


def test_a_record_with_an_audit_field_is_an_event(
    log: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector
) -> None:
    log.addHandler(AuditHandler(audit))
    log.info("sent %d mails", 3, extra={"audit": {"event_type": "skill_used", "skill_name": "mail"}})
    (event,) = memory.get_events()
    told = event.to_dict()
    assert (told["event_type"], told["skill_name"], told["session_id"]) == ("skill_used", "mail", "s-1")
    assert told["metadata"] == {
        "log.logger": log.name,
        "log.level": "INFO",
        "log.message": "sent 3 mails",
    }


def test_the_events_time_is_the_records(
    log: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector
) -> None:
    handler = AuditHandler(audit)
    record = log.makeRecord(log.name, logging.INFO, "f", 1, "m", (), None, extra={"audit": True})
    record.created = 1_800_000_000.25
    handler.handle(record)
    assert memory.get_events()[0].timestamp_us == 1_800_000_000_250_000


def test_other_records_pass_it_by(
    log: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector
) -> None:
    log.addHandler(AuditHandler(audit))
    log.error("no audit record")
    log.error("nor this", extra={"audit": False})
    assert memory.get_events() == []


def test_level_and_filters_hold(log: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector) -> None:
    handler = AuditHandler(audit, logging.WARNING)
    handler.addFilter(lambda record: "skip" not in record.getMessage())
    log.addHandler(handler)
    for level, message in ((logging.INFO, "low"), (logging.ERROR, "skip"), (logging.ERROR, "taken")):
        log.log(level, message, extra={"audit": True})
    assert [event.metadata["log.message"] for event in memory.get_events()] == ["taken"]


@pytest.mark.parametrize("name", ["auditwire", "auditwire.librdkafka"])
def test_auditwires_own_records_are_never_events(
    root: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector, name: str
) -> None:
    root.addHandler(AuditHandler(audit))
    logging.getLogger(name).error("ours", extra={"audit": True})
    assert memory.get_events() == []


def test_a_refused_event_is_logged_and_not_audited_again(
    root: logging.Logger, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    class Full:
        emitted = 0

        def emit(self, event: object) -> None:
            self.emitted += 1
            # an audit field in what the library itself logs, as a worst case
            logging.getLogger("auditwire").error("refused", extra={"audit": True})
            raise SinkError("full")

        def flush(self) -> None: ...

    full = Full()
    audit = AuditEmitter(full)
    root.addHandler(AuditHandler(audit))
    log.info("once", extra={"audit": True})
    assert (full.emitted, audit.refused) == (1, 1)
    assert "audit events refused" in caplog.text


@pytest.mark.parametrize(
    ("message", "arguments", "extra"),
    [
        ("a field that is no event", (), {"audit": 7}),
        ("a time that is none", (), {"audit": {"timestamp": "soon"}}),
        ("too few %s %s", ("arguments",), {"audit": True}),
    ],
)
def test_a_wrong_record_is_reported_as_logging_does_it_and_never_raises(
    log: logging.Logger,
    audit: AuditEmitter,
    capsys: pytest.CaptureFixture[str],
    message: str,
    arguments: tuple[object, ...],
    extra: dict[str, Any],
) -> None:
    log.propagate = False  # pytest's own handler raises what a test logged wrongly
    log.addHandler(AuditHandler(audit))
    log.info(message, *arguments, extra=extra)
    assert "--- Logging error ---" in capsys.readouterr().err


def test_an_emitter_that_raises_does_not_reach_the_agent(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        def emit(self, event: object) -> None:
            raise SinkError("full")

        def flush(self) -> None: ...

    log.addHandler(AuditHandler(AuditEmitter(Full(), on_error="raise")))
    log.info("x", extra={"audit": True})
    assert "SinkError: full" in capsys.readouterr().err


def test_a_thread_that_waits_in_the_emitter_holds_up_no_other(log: logging.Logger) -> None:
    waiting, room = threading.Event(), threading.Event()

    class Slow:
        def emit(self, event: Any) -> None:
            if event.metadata["log.message"] == "slow":
                waiting.set()
                assert room.wait(60)
            else:
                room.set()

        def flush(self) -> None: ...

    log.addHandler(AuditHandler(AuditEmitter(Slow())))
    thread = threading.Thread(target=lambda: log.info("slow", extra={"audit": True}))
    thread.start()
    assert waiting.wait(60)
    log.info("quick", extra={"audit": True})  # with a lock around emit this would wait for ever
    thread.join(60)
    assert not thread.is_alive()


def test_a_filter_may_put_another_record_in_its_place(audit: AuditEmitter, memory: InMemoryCollector) -> None:
    handler = AuditHandler(audit)

    class Other(logging.Filter):
        def filter(self, record: logging.LogRecord) -> Any:
            return logging.makeLogRecord({"name": "other", "levelno": logging.INFO, "audit": True})

    handler.addFilter(Other())
    handler.filter = lambda record: Other().filter(record)  # type: ignore[method-assign] # as from 3.12 on
    handler.handle(logging.makeLogRecord({"name": "first"}))
    assert memory.get_events()[0].to_dict()["custom_type"] == "other"


def test_records_may_come_through_a_queue(
    log: logging.Logger, audit: AuditEmitter, memory: InMemoryCollector
) -> None:
    waiting: queue.Queue[Any] = queue.Queue()
    log.addHandler(logging.handlers.QueueHandler(waiting))
    listener = logging.handlers.QueueListener(waiting, AuditHandler(audit))
    listener.start()
    log.info("sent %d mails", 3, extra={"audit": {"event_type": "skill_used"}})
    listener.stop()
    assert memory.get_events()[0].metadata["log.message"] == "sent 3 mails"


def test_everything_an_application_logs_through_the_root_reaches_the_broker(
    root: logging.Logger, log: logging.Logger, audit_broker: EmbeddedBroker
) -> None:
    with KafkaCollector(audit_broker.bootstrap_servers, create_topics=False) as collector:
        root.addHandler(AuditHandler(AuditEmitter(collector, session_id="s-1")))
        for number in range(100):
            log.info("step %d", number, extra={"audit": {"event_type": "error", "error_type": "kind"}})
        collector.flush(30)
        health = collector.health()
    assert (health.accepted, health.delivered, health.lost) == (100, 100, {})
