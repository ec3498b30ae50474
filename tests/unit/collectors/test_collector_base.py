from __future__ import annotations

import asyncio
from typing import Any

import pytest

from auditwire import collectors
from auditwire.collectors.base import AuditCollector, Managed, close_collector, flush_collector


class TakesNone:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def emit(self, event: object) -> None: ...

    def flush(self) -> None:
        self.calls.append("flush")


class TakesKeyword(TakesNone):
    def flush(self, *, timeout: float = 30.0) -> None:
        self.calls.append(timeout)


class TakesAnything(TakesNone):
    def flush(self, **settings: Any) -> None:
        self.calls.append(settings.get("timeout"))


class TakesByPositionOnly(TakesNone):
    def flush(self, timeout: float = 30.0, /) -> None:
        self.calls.append("flush")


@pytest.mark.parametrize(
    ("collector", "without", "given"),
    [
        (TakesNone(), "flush", "flush"),
        (TakesKeyword(), 30.0, 1.5),
        (TakesAnything(), None, 1.5),
        (TakesByPositionOnly(), "flush", "flush"),
    ],
)
def test_a_timeout_is_handed_on_where_it_can_be(collector: TakesNone, without: object, given: object) -> None:
    flush_collector(collector)
    flush_collector(collector, 1.5)
    assert collector.calls == [without, given]


def test_a_flush_without_a_readable_signature_is_called_without_a_timeout() -> None:
    class Opaque(TakesNone):
        flush = type("Flush", (), {"__signature__": "none", "__call__": lambda self: None})()

    flush_collector(Opaque(), 1.5)


def test_closing_what_cannot_be_closed_does_nothing() -> None:
    close_collector(TakesNone())


@pytest.mark.parametrize("cls", [collectors.InMemoryCollector, collectors.NullCollector, TakesNone])
def test_a_collector_is_recognised_by_its_methods(cls: type) -> None:
    assert isinstance(cls(), AuditCollector)
    assert not isinstance(object(), AuditCollector)


class Closing(Managed):
    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self.error = error

    def close(self) -> None:
        self.closed += 1
        if self.error:
            raise self.error


def test_with_closes_also_when_the_block_raises() -> None:
    closing = Closing()
    with pytest.raises(ZeroDivisionError), closing:
        raise ZeroDivisionError
    assert closing.closed == 1


def test_an_error_of_close_is_raised_by_with() -> None:
    with pytest.raises(OSError, match="late"), Closing(OSError("late")):
        pass


def test_an_error_of_the_block_goes_before_that_of_close(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), Closing(OSError("late")):
        raise ZeroDivisionError
    assert "late" in caplog.text


def test_async_with_closes_as_with_does(caplog: pytest.LogCaptureFixture) -> None:
    async def run(closing: Closing, error: Exception | None = None) -> int:
        async with closing:
            if error:
                raise error
        return closing.closed

    assert asyncio.run(run(Closing())) == 1
    with pytest.raises(OSError, match="late"):
        asyncio.run(run(Closing(OSError("late"))))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(run(Closing(OSError("later")), ZeroDivisionError()))
    assert "later" in caplog.text


def test_what_has_nothing_to_release_closes_all_the_same() -> None:
    with Managed() as managed:
        pass
    managed.close()
