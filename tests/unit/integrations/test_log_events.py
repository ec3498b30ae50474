from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

import pytest

from auditwire.events import CustomEvent, ErrorEvent, SkillUsedEvent, ToolCallFailureEvent
from auditwire.integrations.log_events import event_of, is_own

AT = 1_800_000_000_000_000


def made(audit: object, **more: Any) -> Any:
    record = {"logger": "app.tools", "level": logging.INFO, "message": "said", "timestamp_us": AT, **more}
    return event_of(audit, **record)


def test_a_mapping_with_an_event_type_is_the_event_of_that_type() -> None:
    event = made({"event_type": "skill_used", "skill_name": "mail", "duration_ms": 1.5, "session_id": "s-1"})
    assert type(event) is SkillUsedEvent
    assert (event.skill_name, event.duration_ms, event.session_id) == ("mail", 1.5, "s-1")
    assert event.timestamp_us == AT
    assert event.metadata == {"log.logger": "app.tools", "log.level": "INFO", "log.message": "said"}


def test_the_mapping_itself_is_left_as_it_is() -> None:
    audit = {"event_type": "error", "metadata": {"a": 1}}
    made(audit)
    assert audit == {"event_type": "error", "metadata": {"a": 1}}


def test_what_the_mapping_says_wins_over_the_record() -> None:
    event = made(
        {
            "event_type": "error",
            "timestamp": "2026-01-02T03:04:05Z",
            "event_id": "mine",
            "metadata": {"log.logger": "mine", "request": 7},
        }
    )
    assert event.timestamp == "2026-01-02T03:04:05.000000+00:00"
    assert event.event_id == "mine"
    assert event.metadata["log.logger"] == "mine"
    assert event.metadata["request"] == 7


@pytest.mark.parametrize("event_type", [{}, {"event_type": "error"}])
def test_the_time_may_be_given_as_microseconds(event_type: dict[str, str]) -> None:
    assert made({"timestamp_us": 5, **event_type}).timestamp_us == 5


def test_unknown_fields_and_metadata_that_is_no_mapping_are_kept() -> None:
    event = made({"event_type": "error", "colour": "red", "metadata": "text"})
    assert event.metadata["auditwire.unknown_fields"] == {"colour": "red"}
    assert event.metadata["metadata"] == "text"


def test_an_unknown_event_type_is_a_custom_event_of_that_type() -> None:
    event = made({"event_type": "deploy", "version": "1.2"})
    assert type(event) is CustomEvent
    assert (event.custom_type, json.loads(event.payload)) == ("deploy", {"version": "1.2"})


@pytest.mark.parametrize("logger", ["app.tools", "error", "checkpoint"])
def test_without_an_event_type_it_is_a_custom_event_of_the_loggers_name(logger: str) -> None:
    event = made({"version": "1.2", "agent_id": "planner", "event_type": None}, logger=logger)
    assert type(event) is CustomEvent
    assert (event.custom_type, event.agent_id) == (logger, "planner")
    assert json.loads(event.payload) == {"version": "1.2"}
    assert event.timestamp_us == AT


@pytest.mark.parametrize("audit", [True, {}])
def test_a_record_that_says_no_more_is_a_custom_event_without_payload(audit: object) -> None:
    event = made(audit)
    assert (type(event), event.custom_type, event.payload) == (CustomEvent, "app.tools", "{}")


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        (logging.DEBUG, "info"),
        (logging.INFO, "info"),
        (logging.WARNING, "warning"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "error"),
    ],
)
def test_a_custom_events_severity_follows_from_the_level(level: int, severity: str) -> None:
    assert made({}, level=level).severity == severity
    assert made({"event_type": "deploy"}, level=level).severity == severity
    assert made({"severity": "info"}, level=level).severity == "info"


def test_a_known_event_keeps_its_types_severity() -> None:
    event = made({"event_type": "tool_call_failure"}, level=logging.INFO)
    assert (type(event), event.severity) == (ToolCallFailureEvent, "error")


def test_an_event_is_itself() -> None:
    event = ErrorEvent(error_type="kind")
    assert made(event) is event


@pytest.mark.parametrize("audit", [None, False])
def test_no_audit_is_no_event(audit: object) -> None:
    assert made(audit) is None


@pytest.mark.parametrize("audit", ["skill_used", 1, ["skill_used"], object()])
def test_what_is_no_mapping_and_no_event_is_a_type_error(audit: object) -> None:
    with pytest.raises(TypeError, match=f"audit is a {type(audit).__name__}"):
        made(audit)


@pytest.mark.parametrize("wrong", [{"event_type": ""}, {"event_type": 7}, {"timestamp": "soon"}])
def test_a_type_or_time_that_is_none_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"event_type|isoformat"):
        made(wrong)


def test_a_time_may_be_a_datetime() -> None:
    at = datetime(2026, 1, 2, tzinfo=timezone.utc)
    assert made({"timestamp": at}).timestamp == "2026-01-02T00:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("auditwire", True),
        ("auditwire.librdkafka", True),
        ("auditwires", False),
        ("app.auditwire", False),
        ("root", False),
        (None, False),
    ],
)
def test_auditwires_own_loggers_are_known(name: object, own: bool) -> None:
    assert is_own(name) is own
