from __future__ import annotations

import operator
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire import events as ev
from auditwire.cli.conditions import field_names, parse_condition
from auditwire.cli.lines import record_dict
from auditwire.errors import ConfigurationError
from auditwire.events import ALL_TYPES
from support.stream_builder import record_of

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_790_000_000_000_000
METADATA = {
    "user": "bob",
    "attempt": "10",
    "score": 2.5,
    "ok": True,
    "none": None,
    "a.b": {"c.d": "deep"},
    "list": [1, "x"],
    "empty": [],
    "object": {"k": "v"},
}
COMPLETE = ev.ToolCallCompleteEvent(
    session_id="007",
    turn_id="",
    agent_id="planner",
    tool_name="search",
    duration_ms=120.0,
    result_preview="it's 5 > 3",
    metadata=METADATA,
    timestamp_us=NOW - 7_200_000_000,
)
SKILL = ev.SkillAuthoredEvent(unique_tools=["read", "write"], confirmed_by_user=True)


def holds(text: str, event: ev.AuditEvent = COMPLETE, sequence: int = 41) -> bool:
    return parse_condition(text, now_us=NOW).matches(record_of(event, sequence))


@pytest.mark.parametrize(
    "text",
    [
        "tool_name=search",
        " tool_name = search ",
        "tool_name='search'",
        'tool_name = "search"',
        "tool_name!=read",
        "tool_name~^sea",
        "tool_name ~ 'r.h$'",
        "tool_name!~read",
        "tool_name>=search",
        "tool_name<t",
        "session_id=007",
        "event_type=tool_call_complete",
        "result_preview=it's 5 > 3",
        "result_preview='it's 5 > 3'",
        "result_preview~5 > 3",
        # numbers
        "duration_ms=120",
        "duration_ms='120'",
        "duration_ms=1.2e2",
        "duration_ms>99",
        "duration_ms<=120.0",
        "duration_ms!=119",
        "duration_ms~^12",
        "sequence=41",
        "sequence='41'",
        "sequence<100",
        "partition>=0",
        "offset=141",
        "metadata.attempt>9",
        "metadata.attempt<'9'",
        "metadata.attempt=10",
        "metadata.user>5",
        "metadata.score>2",
        # behind dots
        "metadata.user=bob",
        "metadata.a.b.c.d=deep",
        'metadata.a.b={"c.d":"deep"}',
        "metadata.object.k=v",
        "metadata~bob",
        "metadata.ok=true",
        "metadata.ok=TRUE",
        # a list: one of its items
        "metadata.list=x",
        "metadata.list=1",
        "metadata.list>0",
        "metadata.list!=y",
        "metadata.empty=",
        # what is not there
        "turn_id=",
        "principal_id=",
        "error_type=",
        "error_type!=E",
        "metadata.none=",
        "metadata.nothing.here=",
        "metadata.user.name=",
        "agent_id!=",
        # where it stands
        "topic=audit.tool-call-complete",
        "stream_id~^0192",
        # its time
        "timestamp>3h",
        "timestamp<1h",
        "timestamp=2h",
        "timestamp~^2026-",
        "timestamp>='2026-01-01'",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "tool_name=Search",
        "tool_name!=search",
        "tool_name~^ea",
        "tool_name!~search",
        "session_id=7",
        "duration_ms>120",
        "duration_ms!=120.0",
        "duration_ms='119'",
        "sequence>41",
        "metadata.attempt>'9'",
        "metadata.attempt=10.0",
        "metadata.ok=false",
        "metadata.ok=1",
        "metadata.list!=x",
        "metadata.list!~x",
        "metadata.list=[1,x]",
        "metadata.empty>0",
        "metadata.none<5",
        "error_type<Z",
        "turn_id<Z",
        "error_type~E",
        "timestamp>1h",
    ],
)
def test_a_condition_that_does_not_hold(text: str) -> None:
    assert not holds(text)


def test_truth_values_and_lists_of_the_events_own() -> None:
    assert holds("confirmed_by_user=true", SKILL)
    assert not holds("confirmed_by_user=false", SKILL)
    assert holds("unique_tools=write", SKILL)
    assert not holds("unique_tools!=write", SKILL)


def test_a_custom_events_payload_is_looked_into() -> None:
    event = ev.CustomEvent(custom_type="words", payload='{"words": 12, "by": {"day": "monday"}}')
    assert holds("payload.words>3", event)
    assert holds("payload.by.day=monday", event)
    assert holds("custom_type=words", event)
    assert holds("payload~monday", event)
    for text in ("no json", '{"words":', "[1]", '{"a":' * 100_000):
        assert holds("payload.words=", ev.CustomEvent(payload=text))


def test_a_quarantines_own_topic_has_the_name_that_json_gives_it() -> None:
    event = ev.QuarantineEvent(topic="audit.error")
    assert holds("quarantined_topic=audit.error", event)
    assert holds("topic=audit.quarantine", event)


def test_numbers_that_a_float_cannot_tell_apart_are_told_apart() -> None:
    assert not holds("metadata.n=9007199254740993", ev.ErrorEvent(metadata={"n": 9007199254740992}))
    assert holds("metadata.n<9007199254740993", ev.ErrorEvent(metadata={"n": 9007199254740992}))


@pytest.mark.parametrize("event_type", sorted(ALL_TYPES))
def test_every_field_of_json_can_be_named(event_type: str) -> None:
    record = record_of(ALL_TYPES[event_type](), 0)
    shown = record_dict(record)
    assert shown.keys() <= set(field_names())
    for name, value in shown.items():
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            assert parse_condition(
                f"{name}='{value}'" if isinstance(value, str) else f"{name}={value}"
            ).matches(record)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tool_name",
            "'tool_name' is no condition; write FIELD OP VALUE, such as tool_name=search, and quote",
        ),
        ("", "is no condition"),
        ("=x", "is no condition"),
        ("tool_name is x", "is no condition"),
        ("tool_nam=x", "no record has a field tool_nam; did you mean tool_name?"),
        ("tool=x", "did you mean tool_name?"),
        ("session=x", "did you mean session_id?"),
        ("type=x", "did you mean event_type?"),
        ("zzz=x", "no record has a field zzz; --json shows the names; metadata.NAME looks into"),
        ("duration_ms.x=1", "duration_ms is a number: there is nothing behind a dot in it"),
        ("duration_ms>long", "duration_ms is a number, and 'long' is none"),
        ("sequence>", "what > compares with is missing"),
        ("confirmed_by_user=1", "confirmed_by_user is true or false, and not '1'"),
        ("tool_name==x", "there is no operator ==; write =;"),
        ("tool_name=~x", "there is no operator =~; write ~;"),
        ("tool_name~=x", "there is no operator ~=; write ~;"),
        ("tool_name<>x", "there is no operator <>; write !=;"),
        ("sequence=>4", "there is no operator =>; write >=;"),
        ("sequence>>4", "there is no operator >>; a value that begins so is put in quotes"),
        ("tool_name='x", "the quote is not closed"),
        ("tool_name='", "the quote is not closed"),
        ("tool_name~(", "'(' is no regular expression: "),
        ("timestamp>soon", "--where timestamp: 'soon' is no time; write 2h"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_condition(text)
    assert str(caught.value).startswith("--where")
    assert said in str(caught.value)


def test_a_value_that_begins_with_an_operator_is_taken_in_quotes() -> None:
    assert holds("tool_name='=x'", ev.ToolCallAttemptEvent(tool_name="=x"))


VALUES = st.text(st.characters(codec="utf-8"), max_size=20)
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@given(VALUES, VALUES.filter(bool), st.sampled_from(sorted(ORDERS)), st.sampled_from(["'", '"']))
def test_quoted_text_compares_as_text(found: str, value: str, op: str, quote: str) -> None:
    expected = ORDERS[op](found, value) and (bool(found) or op in ("=", "!="))
    condition = parse_condition(f"tool_name {op} {quote}{value}{quote}")
    assert (condition.path, condition.op, condition.value) == ("tool_name", op, value)
    assert condition.matches(record_of(ev.ToolCallAttemptEvent(tool_name=found), 0)) == expected


@given(
    st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(sorted(ORDERS)),
)
def test_numbers_compare_as_numbers(found: float, value: float, op: str) -> None:
    event = ev.ErrorEvent(metadata={"n": found})
    assert holds(f"metadata.n{op}{value}", event) == ORDERS[op](found, value)


@given(VALUES)
def test_a_regular_expression_is_searched_for(text: str) -> None:
    found = holds(f"tool_name ~ '{re.escape(text)}'", ev.ToolCallAttemptEvent(tool_name=f"a{text}b"))
    assert found


@given(
    st.text(max_size=30) | st.from_regex(r"(metadata\.)?[a-z_.]{1,9} ?[=!<>~]{1,2} ?.{0,9}", fullmatch=True)
)
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    with suppress(ConfigurationError):
        parse_condition(text).matches(record_of(COMPLETE, 0))
