from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.cli.times import time_us
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_790_000_000_123_456
S = 1_000_000
H = 3_600 * S
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone that is half an hour off and has no summer time."""
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def us(*parts: int, zone: timezone = timezone.utc) -> int:
    return (datetime(*parts, tzinfo=zone) - EPOCH) // timedelta(microseconds=1)  # type: ignore[misc,arg-type] # the numbers


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", 90 * S),
        ("2h", 2 * H),
        ("3d", 72 * H),
        ("1w", 168 * H),
        ("250ms", 250_000),
        ("15m", 900 * S),
        ("15min", 900 * S),
        ("1h30m", 90 * 60 * S),
        ("1.5h", 90 * 60 * S),
        ("1h 30m 10s", 5_410 * S),
        ("2 hours", 2 * H),
        ("2 HOURS ago", 2 * H),
        ("  1 day ago ", 24 * H),
        ("0s", 0),
    ],
)
def test_a_duration_counts_back_from_now(text: str, ago: int) -> None:
    assert time_us(text, "--since", now_us=NOW) == NOW - ago


def test_a_duration_longer_than_time_has_run_is_the_beginning() -> None:
    assert time_us("999999999999d", "--since", now_us=NOW) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767225600", 1_767_225_600 * S),
        ("1767225600.25", 1_767_225_600 * S + 250_000),
        ("1767225600123", 1_767_225_600 * S + 123_000),
        ("1767225600123.5", 1_767_225_600 * S + 123_500),
        ("0", 0),
        ("100000000", 100_000_000 * S),
        ("99999999999", 99_999_999_999 * S),
        ("100000000000", 100_000_000 * S),
        ("99999999999999", 99_999_999_999_999_000),
    ],
)
def test_a_bare_number_is_unix_time_in_seconds_or_milliseconds(text: str, expected: int) -> None:
    assert time_us(text, "--since") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10:30Z", us(2026, 3, 1, 10, 30)),
        ("2026-03-01t10:30:15z", us(2026, 3, 1, 10, 30, 15)),
        ("2026-03-01 10:30:15.5 Z", us(2026, 3, 1, 10, 30, 15, 500_000)),
        ("2026-03-01T10:30:15,123456789Z", us(2026, 3, 1, 10, 30, 15, 123_456)),
        ("2026-03-01T10:30+02:00", us(2026, 3, 1, 8, 30)),
        ("2026-03-01T10:30-0230", us(2026, 3, 1, 13, 0)),
        ("2026-03-01T10:30+02", us(2026, 3, 1, 8, 30)),
    ],
)
def test_an_iso_time_with_a_zone_is_of_that_zone(text: str, expected: int) -> None:
    assert time_us(text, "--since") == expected


@pytest.mark.usefixtures("in_india")
def test_a_time_without_a_zone_is_of_this_machines() -> None:
    assert time_us("2026-03-01", "--since") == us(2026, 2, 28, 18, 30)
    assert time_us("2026-03-01T10:30", "--since") == us(2026, 3, 1, 5, 0)


@pytest.mark.usefixtures("in_india")
def test_a_clock_time_is_of_today_where_this_machine_stands() -> None:
    late = us(2026, 3, 1, 20, 0)  # the second of March already
    assert time_us("10:30", "--since", now_us=late) == us(2026, 3, 2, 5, 0)
    assert time_us("9:05:07", "--since", now_us=late) == us(2026, 3, 2, 3, 35, 7)


def test_now_is_the_machines_clock_by_default() -> None:
    before = time.time_ns() // 1_000
    assert before - H <= time_us("1h", "--since") <= time.time_ns() // 1_000 - H


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2025", "2025s for so many seconds ago, or a date with its dashes"),
        ("20260301", "2026-03-01"),
        ("1767225600123456", "give Unix time in seconds or milliseconds"),
        ("3 months", "write days, such as 30d"),
        ("1y", "write days, such as 30d"),
        ("2x", "'2x' is no time; write 2h"),
        ("yesterday", "'yesterday' is no time; write 2h"),
        ("", "'' is no time"),
        ("2h-", "'2h-' is no time"),
        ("-2h", "'-2h' is no time"),
        ("2026-13-01", "is no time that exists: month must be in 1..12"),
        ("2026-02-30T00:00Z", "is no time that exists: day"),
        ("25:00", "is no time that exists: hour must be in 0..23"),
        ("0000-01-01", "is no time that exists: year 0"),
        ("2026-03-01T10:30+99:00", "is no time that exists: offset must be"),
        ("٢h", "is no time"),
    ],
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        time_us(text, "--until", now_us=NOW)
    assert caught.value.key == "--until"
    assert said in str(caught.value)


@given(st.integers(86_400, 253_402_200_000), st.integers(0, 999_999), st.integers(-1439, 1439))
def test_what_isoformat_writes_is_read_back(seconds: int, micros: int, minutes: int) -> None:
    moment = EPOCH + timedelta(seconds=seconds, microseconds=micros)
    moment = moment.astimezone(timezone(timedelta(minutes=minutes)))
    expected = seconds * S + micros
    assert time_us(moment.isoformat(), "--since") == expected
    assert time_us(moment.isoformat(" "), "--since") == expected


@given(st.text(max_size=30) | st.from_regex(r"[0-9.:TZ+hdmsw -]{0,30}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(ConfigurationError):
        assert time_us(text, "--since", now_us=NOW) >= 0
