from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from auditwire.errors import SinkError
from auditwire.events import ErrorEvent
from auditwire.refusals import LOG_INTERVAL, RefusalLog

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> RefusalLog:
    return RefusalLog("audit events refused", clock)


@pytest.fixture
def handler() -> Iterator[logging.Logger]:
    logger = logging.getLogger("auditwire")
    before = list(logger.handlers)
    yield logger
    logger.handlers = before


def test_the_first_is_logged_at_once_with_the_event_and_the_error(
    log: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    event = ErrorEvent()
    log.add(event, SinkError("disk full"))
    [record] = caplog.records
    assert record.name == "auditwire"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"audit events refused: 1; the last: error {event.event_id}: SinkError: disk full"
    )
    assert record.exc_info is None, "an error of our own says all there is to say"


def test_a_foreign_error_is_logged_with_its_traceback(
    log: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.add(ErrorEvent(), ZeroDivisionError("bug"))
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_line_is_written_once_a_minute_at_most_and_tells_how_many_it_stands_for(
    log: RefusalLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        log.add(ErrorEvent(), SinkError("full"))
    clock.now += LOG_INTERVAL - 0.001
    log.add(ErrorEvent(), SinkError("full"))
    assert len(caplog.records) == 1
    clock.now += 0.001
    log.add(ErrorEvent(), SinkError("full"))
    assert len(caplog.records) == 2
    assert caplog.records[1].getMessage().startswith("audit events refused: 11;")
    assert log.total == 12


def test_the_rest_is_told_at_the_end_and_only_once(log: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    log.report_rest()
    assert not caplog.records, "nothing to tell"
    for _ in range(5):
        log.add(ErrorEvent(), SinkError("full"))
    log.report_rest()
    log.report_rest()
    assert [record.getMessage() for record in caplog.records][1:] == [
        "audit events refused: 4 since the last line"
    ]


def test_what_is_no_event_is_named_by_its_class(log: RefusalLog, caplog: pytest.LogCaptureFixture) -> None:
    log.add(3, ValueError("x"))
    assert "the last: int: ValueError: x" in caplog.text


def test_an_object_that_cannot_be_named_is_counted_all_the_same(log: RefusalLog) -> None:
    class Mute:
        @property
        def event_type(self) -> str:
            raise RuntimeError

    log.add(Mute(), SinkError("full"))
    assert log.total == 1


def test_a_log_handler_that_raises_does_not_reach_the_caller(
    log: RefusalLog, handler: logging.Logger
) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("log server away")

    handler.addHandler(Broken())
    log.add(ErrorEvent(), SinkError("full"))
    assert log.total == 1


def test_a_log_handler_may_itself_add_to_the_log(log: RefusalLog, handler: logging.Logger) -> None:
    class Auditing(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            log.add(ErrorEvent(), SinkError("full again"))
            return True

    handler.addHandler(Auditing())
    log.add(ErrorEvent(), SinkError("full"))
    assert log.total == 2


def test_a_signal_handler_may_add_inside_an_add(caplog: pytest.LogCaptureFixture) -> None:
    inside = False

    def clock() -> float:  # stands for a handler: it is called in the middle of add
        nonlocal inside
        if not inside:
            inside = True
            entered.add(ErrorEvent(), SinkError("inner"))
        return 0.0

    entered = RefusalLog("audit events refused", clock)
    entered.add(ErrorEvent(), SinkError("outer"))
    assert entered.total == 2
    entered.report_rest()
    assert sum("inner" in record.getMessage() for record in caplog.records) == 1


def test_every_occurrence_of_every_thread_is_counted(
    log: RefusalLog, caplog: pytest.LogCaptureFixture
) -> None:
    def add() -> None:
        for _ in range(5_000):
            log.add(None, SinkError("full"))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.total == 40_000
    assert len(caplog.records) == 1


def test_a_forked_child_does_not_find_the_lock_taken(log: RefusalLog) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with log._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    log.after_fork()  # this thread stands for the child: the lock's holder is another
    log.add(None, SinkError("full"))
    assert log.total == 1
    done.set()
    thread.join()
