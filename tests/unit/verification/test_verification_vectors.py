"""The test vectors of docs/verification.md: what their sources give, and what this library says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.stream import type_key, unpack_entry
from auditwire.verification import check_streams
from auditwire.wire import decode, headers, schema_for, source, topic_name, traceparent
from support.stored import Stored, as_record
from support.verification_vectors import (
    FILE,
    VECTORS,
    comparable,
    expected,
    judged,
    reason_of,
    stored,
)

if TYPE_CHECKING:
    from auditwire.verification import StreamReport

PAGE = (Path(__file__).parents[3] / "docs" / "verification.md").read_text(encoding="utf-8")
RULES = re.findall(r"^\*\*(V-\d+) ", PAGE, re.MULTILINE)
CASES = [*VECTORS["events"], *VECTORS["values"], *VECTORS["trails"]]


def named(case: dict[str, Any]) -> str:
    return str(case.get("name") or case["type"])


# -- the file -----------------------------------------------------------------------------------------------


def test_the_file_is_what_its_sources_give_byte_for_byte() -> None:
    script = FILE.with_name("generate_verification.py")
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_rules_of_the_page_are_numbered_without_a_hole() -> None:
    assert [f"V-{number}" for number in range(1, len(RULES) + 1)] == RULES
    mentioned = {int(number) for number in re.findall(r"V-(\d+)", PAGE)}
    assert mentioned == set(range(1, len(RULES) + 1))


def test_each_rule_of_the_page_is_held_by_a_vector_and_no_vector_names_another() -> None:
    held = {rule for case in CASES for rule in case["rules"]}
    assert held == set(RULES)


def test_the_vectors_have_names_of_their_own() -> None:
    for kind in ("values", "trails"):
        names = [case["name"] for case in VECTORS[kind]]
        assert sorted(set(names)) == sorted(names)


# -- events and values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["single_object", "confluent"])
@pytest.mark.parametrize("case", VECTORS["events"], ids=named)
def test_an_event_has_these_bytes_digest_and_place(case: dict[str, Any], framing: str) -> None:
    found = decode(bytes.fromhex(case[framing]), event_type=case["fields"]["event_type"])
    event, fields = found.event, case["fields"]
    own = {"timestamp": event.timestamp_us, "stream_id": found.stream_id, "sequence": found.sequence}
    own["metadata"] = json.dumps(event.metadata, separators=(",", ":"))
    assert {name: own[name] if name in own else getattr(event, name) for name in fields} == fields
    assert list(fields) == [field.name for field in schema_for(event.event_type).fields]
    assert found.body.hex() == case["body"]
    assert type_key(event.event_type, found.fingerprint) == case["type"]
    record = as_record(
        Stored(topic="", partition=0, offset=0, timestamp_ms=-1, key=None, value=bytes.fromhex(case[framing]))
    )
    assert record.digest.hex() == case["digest"]
    assert unpack_entry(case["entry_with_index_3"]) == (3, record.digest)
    assert case["topic"] == topic_name("audit", event.event_type)
    trace = traceparent(event.trace_id, event.span_id)
    around = headers(event.event_id, event.event_type, source("my service", found.stream_id), trace)
    assert [(name, value.encode()) for name, value in case["headers"]] == around
    assert case["key"] == (event.session_id or found.stream_id)


def test_the_last_event_is_a_checkpoint_that_lists_the_others() -> None:
    *others, last = VECTORS["events"]
    listed = [unpack_entry(entry) for entry in last["fields"]["entries"]]
    assert [(last["fields"]["types"][index], digest.hex()) for index, digest in listed] == [
        (case["type"], case["digest"]) for case in others
    ]


@pytest.mark.parametrize("case", VECTORS["values"], ids=named)
def test_a_value_is_no_record_for_this_reason(case: dict[str, Any]) -> None:
    value = None if case["value"] is None else bytes.fromhex(case["value"])
    assert reason_of(value) == case["reason"]


# -- trails -------------------------------------------------------------------------------------------------


def assert_as_expected(reports: list[StreamReport], trail: dict[str, Any]) -> None:
    assert [comparable(report) for report in reports] == [expected(stream) for stream in trail["streams"]]


@pytest.mark.parametrize("trail", VECTORS["trails"], ids=named)
def test_a_trail_has_these_reports_and_this_exit_status(trail: dict[str, Any], tmp_path: Path) -> None:
    outcome, reports = judged(trail, tmp_path)
    assert_as_expected(reports, trail)
    assert dict(outcome.undecodable) == trail.get("undecodable", {})
    assert outcome.exit_status == trail["exit_status"]


@pytest.mark.parametrize(
    "trail", [t for t in VECTORS["trails"] if not {"horizon_ms", "first_ends"} & t.keys()], ids=named
)
def test_records_that_a_program_holds_have_these_reports(trail: dict[str, Any]) -> None:
    records = [
        as_record(message) for message in map(stored, trail["records"]) if reason_of(message.value) is None
    ]
    reports = check_streams(records, topics=trail.get("topics"), settled=trail.get("settled", False))
    assert_as_expected(reports, trail)
