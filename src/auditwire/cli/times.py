"""Times as people write them on a command line: in comes text, out come milliseconds since the Unix epoch.

======================================= ================================================================
text                                    meaning
======================================= ================================================================
``90s`` ``15min`` ``2h`` ``1h30m``      so long ago; also ``ms``, ``d``, ``w``, and the units' English names
``10:30`` ``10:30:15``                  today, in the zone of this machine
``2026-03-01`` ``2026-03-01T10:30``     in the zone of this machine; seconds and a fraction may follow
``2026-03-01T10:30Z`` ``...+02:00``     in the zone that it names
``1767225600`` ``1767225600.5``         Unix time in seconds
``1767225600000``                       Unix time in milliseconds
======================================= ================================================================
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone

from auditwire.errors import ConfigurationError

__all__ = ["FORMS", "time_us"]

FORMS = "2h, 10:30, 2026-03-01T10:30, 2026-03-01T10:30Z, or Unix seconds or milliseconds"
"""The forms in short, for help texts and errors."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

_LEAST_SECONDS = 100_000_000
"""1973. A smaller number is a year, or a date without its dashes, rather than Unix time."""

_LEAST_MILLISECONDS = 100_000_000_000
_MOST_MILLISECONDS = 100_000_000_000_000

_UNITS_US = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_NAMES = {
    "ms": ("ms", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
_UNIT_OF = {name: unit for unit, names in _NAMES.items() for name in names}
_UNEQUAL = ("mo", "month", "months", "y", "year", "years")

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,9})?", re.ASCII)
_PART = re.compile(r"(\d{1,18})(?:\.(\d{1,9}))?\s*([a-z]+)\s*", re.ASCII)
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?", re.ASCII)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:\s?([Zz]|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


def time_us(text: str, option: str, *, now_us: int | None = None) -> int:
    """The time that the text says, microseconds since the Unix epoch; never before it.

    Args:
        text: In one of the forms above; spaces around it and ``ago`` behind a duration do not matter.
        option: Whose value it is: the error names it.
        now_us: The time that durations and clock times count from; the machine's by default.

    Raises:
        ConfigurationError: It has none of the forms, or is no time that exists.
    """
    words = text.strip()
    now = time.time_ns() // 1_000 if now_us is None else now_us
    found = _unix(words, option)
    if found is None:
        found = _ago(words, now, option)
    if found is None:
        found = _of_calendar(words, now, option)
    if found is None:
        raise ConfigurationError(option, f"{text!r} is no time; write {FORMS}")
    return max(0, found)


def _unix(words: str, option: str) -> int | None:
    if not _NUMBER.fullmatch(words):
        return None
    whole, _, fraction = words.partition(".")
    number = int(whole)
    if number >= _MOST_MILLISECONDS:
        raise ConfigurationError(
            option,
            f"{words} would be {number // 1_000} s since 1970; give Unix time in seconds or milliseconds",
        )
    if number >= _LEAST_MILLISECONDS:
        return number * 1_000 + _fraction_us(fraction, 1_000)
    if number >= _LEAST_SECONDS or not number:
        return number * 1_000_000 + _fraction_us(fraction, 1_000_000)
    raise ConfigurationError(
        option,
        f"{words} as Unix seconds lies in {_EPOCH.year + number // 31_556_952}; "
        f"write {words}s for so many seconds ago, or a date with its dashes, such as 2026-03-01",
    )


def _fraction_us(digits: str, unit_us: int) -> int:
    return int(digits.ljust(9, "0")[:9]) * unit_us // 1_000_000_000 if digits else 0


def _ago(words: str, now: int, option: str) -> int | None:
    rest = words.lower().removesuffix("ago").rstrip()
    total = 0
    while part := _PART.match(rest):
        whole, fraction, name = part.groups()
        if name in _UNEQUAL:
            raise ConfigurationError(
                option, f"{words}: months and years differ in length; write days, such as 30d"
            )
        if name not in _UNIT_OF:
            return None
        unit_us = _UNITS_US[_UNIT_OF[name]]
        total += int(whole) * unit_us + _fraction_us(fraction, unit_us)
        rest = rest[part.end() :]
        if not rest:
            return now - total
    return None


def _of_calendar(words: str, now: int, option: str) -> int | None:
    try:
        if clock := _CLOCK.fullmatch(words):
            hour, minute, second = (int(group or 0) for group in clock.groups())
            today = (_EPOCH + timedelta(microseconds=now)).astimezone()
            naive = datetime(today.year, today.month, today.day, hour, minute, second)  # noqa: DTZ001 - local
            return _since_epoch(naive)
        if iso := _ISO.fullmatch(words):
            *date, fraction, zone = iso.groups()
            year, month, day, hour, minute, second = (int(group or 0) for group in date)
            micros = _fraction_us(fraction or "", 1_000_000)
            return _since_epoch(datetime(year, month, day, hour, minute, second, micros, _zone(zone)))
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(option, f"{words} is no time that exists: {error}") from error
    return None


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in "Zz":
        return timezone.utc
    minutes = int(text[1:3]) * 60 + int(text[3:].lstrip(":") or 0)
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _since_epoch(time: datetime) -> int:
    """Microseconds; a time without a zone is in the machine's."""
    return (time.astimezone() - _EPOCH) // _MICROSECOND
