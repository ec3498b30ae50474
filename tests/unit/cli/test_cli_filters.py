from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire import events as ev
from auditwire.cli.filters import (
    Filters,
    complete_fields,
    complete_severities,
    complete_types,
    known_types,
)
from auditwire.errors import ConfigurationError
from auditwire.events import ALL_TYPES
from support.stream_builder import STREAM, record_of

NOW = 1_790_000_000_123_456
HOUR = 3_600_000
EVENT = ev.ToolCallFailureEvent(
    session_id="s-1", turn_id="t-1", agent_id="a-1", tool_name="search", timestamp_us=NOW
)
RECORD = record_of(EVENT, 3)


def test_no_option_asks_for_everything() -> None:
    for filters in (Filters.parse(), Filters.parse(sessions=[], types=[], severities=[], where=[])):
        assert filters == Filters()
        assert filters.reader_arguments() == {}
        assert filters.matches(RECORD)


def test_the_reader_gets_what_was_asked_for_under_its_own_names() -> None:
    filters = Filters.parse(
        since="2h",
        until="1h",
        sessions=["s-1", "s-2"],
        turns=["t"],
        agents=["a"],
        streams=["x"],
        types=["error", "checkpoint"],
        severities=["warning"],
        where=["tool_name=search"],
        now_us=NOW,
    )
    assert filters.reader_arguments() == {
        "since": NOW // 1_000 - 2 * HOUR,
        "until": NOW // 1_000 - HOUR + 1,
        "session_id": {"s-1", "s-2"},
        "turn_id": {"t"},
        "agent_id": {"a"},
        "stream_id": {"x"},
        "types": {"error", "checkpoint"},
        "severity": {"warning"},
    }
    assert [condition.path for condition in filters.where] == ["tool_name"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sessions": ["s-2", "s-1"]}, True),
        ({"sessions": ["s-2"]}, False),
        ({"turns": ["t-1"]}, True),
        ({"turns": ["t"]}, False),
        ({"agents": ["a-1"]}, True),
        ({"agents": ["a"]}, False),
        ({"streams": [STREAM]}, True),
        ({"streams": ["other"]}, False),
        ({"types": ["error", "tool_call_failure"]}, True),
        ({"types": ["error"]}, False),
        ({"severities": ["error"]}, True),
        ({"severities": ["info", "warning"]}, False),
        ({"where": ["tool_name=search", "sequence=3"]}, True),
        ({"where": ["tool_name=search", "sequence=4"]}, False),
        ({"since": "0s"}, True),
        ({"since": "1790000000124"}, False),
        ({"until": "0s"}, True),
        ({"until": "1790000000123"}, False),
        ({"until": "1790000000124"}, True),
        ({"sessions": ["s-1"], "types": ["error"]}, False),
    ],
)
def test_options_narrow_each_other_and_values_of_one_widen_it(
    options: dict[str, Any], expected: bool
) -> None:
    assert Filters.parse(**options, now_us=NOW).matches(record_of(EVENT, 3)) == expected


def test_a_record_without_a_kafka_timestamp_lies_in_any_range() -> None:
    record = record_of(EVENT, 3)
    record.timestamp_ms = -1
    assert Filters.parse(since="2h", until="1h", now_us=NOW).matches(record)


@given(st.integers(10**15, 2 * 10**15), st.integers(1, 10**15), st.integers(-(10**15), 2 * 10**15))
def test_a_range_is_rounded_so_that_nothing_asked_for_is_left_out(
    start: int, length: int, shift: int
) -> None:
    moment = max(start + shift, 0)
    filters = Filters.parse(since=ev.iso_from_us(start), until=ev.iso_from_us(start + length))
    if start <= moment < start + length:
        assert filters.matches(record_of(ev.ErrorEvent(timestamp_us=moment), 0))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"since": "soon"}, "--since: 'soon' is no time"),
        ({"until": "2025"}, "--until: 2025 as Unix seconds"),
        ({"since": "1h", "until": "2h"}, "--until: 2h does not lie after --since 1h: nothing can be there"),
        ({"since": "1h", "until": "1h"}, "--until: 1h does not lie after --since 1h"),
        ({"sessions": ["s-1", ""]}, "--session: it is empty; is a variable of the shell not set?"),
        ({"turns": [""]}, "--turn: it is empty"),
        ({"agents": [""]}, "--agent: it is empty"),
        ({"streams": [""]}, "--stream: it is empty"),
        ({"types": ["eror"]}, "--type: eror is no event type; did you mean error?"),
        ({"types": ["tool-call-failure"]}, "did you mean tool_call_failure?"),
        ({"types": ["error,turn_end"]}, "give it several times: --type error --type turn_end"),
        ({"types": ["error,zzz"]}, "error,zzz is no event type; "),
        ({"types": ["zzz"]}, "known are agent_switch, approval, "),
        ({"severities": ["warn"]}, "--severity: warn is no severity; did you mean warning?"),
        ({"severities": ["ERR"]}, "did you mean error?"),
        ({"severities": ["x"]}, "known are error, info, warning"),
        ({"where": ["tool_name"]}, "--where: 'tool_name' is no condition"),
    ],
)
def test_what_cannot_be_understood_names_the_option_and_what_was_meant(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Filters.parse(**options, now_us=NOW)
    assert said in str(caught.value)


def test_now_is_the_machines_clock_by_default() -> None:
    now = Filters.parse(since="1h").since_ms
    later = Filters.parse(since="1h").since_ms
    assert now is not None
    assert later is not None
    assert 1_700_000_000_000 < now <= later


def test_the_types_are_checked_alone_too() -> None:
    assert known_types(None) is None
    assert known_types(["loss"]) == frozenset(["loss"])


def test_the_shell_completes_types_severities_and_fields() -> None:
    assert complete_types("tool_call") == ["tool_call_attempt", "tool_call_complete", "tool_call_failure"]
    assert complete_types("tool-call-f") == ["tool_call_failure"]
    assert complete_types("") == sorted(ALL_TYPES)
    assert complete_severities("w") == ["warning"]
    assert complete_fields("tool_n") == ["tool_name"]
