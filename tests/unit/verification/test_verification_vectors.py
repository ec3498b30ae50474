"""The test vectors of docs/verification.md: what their sources give, and what this library says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.stream import type_key, unpack_entry
from auditwire.verification import FactWriter, Horizon, check_streams, judge
from auditwire.wire import decode, envelope, headers, schema_for, source, topic_name, traceparent
from support.stored import Stored, as_record

if TYPE_CHECKING:
    from auditwire.verification import StreamReport

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "verification.json").read_text(encoding="ascii"))
PAGE = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
RULES = re.findall(r"^\*\*(V-\d+) ", PAGE, re.MULTILINE)
CASES = [*VECTORS["events"], *VECTORS["values"], *VECTORS["trails"]]


def named(case: dict[str, Any]) -> str:
    return str(case.get("name") or case["type"])


def raw(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def stored(name: str) -> Stored:
    said = VECTORS["messages"][name]
    return Stored(
        topic=said["topic"],
        partition=said["partition"],
        offset=said["offset"],
        timestamp_ms=said["timestamp_ms"],
        key=raw(said["key"]),
        headers=[(header, raw(value)) for header, value in said["headers"]],
        value=raw(said["value"]),
    )


def types_of_topics(trail: dict[str, Any]) -> dict[str, str]:
    given = trail.get("topics", {})
    return {given.get(name) or topic_name(VECTORS["prefix"], name): name for name in ALL_TYPES}


def reason_of(value: bytes | None, event_type: str | None) -> str | None:
    """Why a value is no record; None: it is one."""
    try:
        decode(value, event_type=event_type)
    except DecodingError as error:
        return error.reason
    return None


def expected(stream: dict[str, Any]) -> dict[str, Any]:
    return {**VECTORS["defaults"], **stream}


def comparable(report: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Those fields of a report that the vectors have, faults as kinds and sequences."""
    out = {name: report[name] for name in names}
    out["faults"] = sorted({(fault["kind"], fault["sequence"]) for fault in report["faults"]})
    out["faults"] = [list(fault) for fault in out["faults"]]
    return out


# -- the file -----------------------------------------------------------------------------------------------


def test_the_file_is_what_its_sources_give_byte_for_byte() -> None:
    script = FOLDER / "generate_verification.py"
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
    assert reason_of(value, types_of_topics({}).get(case["topic"])) == case["reason"]


# -- trails -------------------------------------------------------------------------------------------------


class Fetched:
    """A message as the client gives it."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored.value or b"")

    def value(self) -> bytes | None:
        return self._stored.value

    def key(self) -> bytes | None:
        return self._stored.key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._stored.headers or None

    def topic(self) -> str:
        return self._stored.topic

    def partition(self) -> int:
        return self._stored.partition

    def offset(self) -> int:
        return self._stored.offset

    def timestamp(self) -> tuple[int, int]:
        created, none = 1, 0
        return created if self._stored.timestamp_ms >= 0 else none, self._stored.timestamp_ms


def assert_as_expected(trail: dict[str, Any], reports: list[StreamReport]) -> None:
    reports = sorted(reports, key=lambda report: report.stream_id)
    wanted = [expected(stream) for stream in trail["streams"]]
    assert [report.stream_id for report in reports] == [stream["stream_id"] for stream in wanted]
    assert [
        comparable(report.to_dict(), names) for report, names in zip(reports, wanted, strict=True)
    ] == wanted


@pytest.mark.parametrize("trail", VECTORS["trails"], ids=named)
def test_a_trail_has_these_reports(trail: dict[str, Any], tmp_path: Path) -> None:
    types, ends, problems = types_of_topics(trail), trail.get("first_ends", {}), Counter[str]()
    with FactWriter(tmp_path, topics=trail.get("topics")) as writer:
        for message in map(stored, trail["records"]):
            reason = reason_of(message.value, types.get(message.topic))
            if reason is None:
                end = ends.get(f"{message.topic}/{message.partition}")
                found = envelope(message.value, event_type=types.get(message.topic))
                writer.add(Fetched(message), found, counted=end is None or message.offset < end)
            else:
                problems[reason] += 1
        runs = writer.close()
    assert problems == Counter(trail.get("undecodable", {}))
    horizon = Horizon(trail["horizon_ms"]) if "horizon_ms" in trail else None
    assert_as_expected(trail, list(judge(runs, settled=trail.get("settled", False), horizon=horizon)))


@pytest.mark.parametrize(
    "trail", [t for t in VECTORS["trails"] if not {"horizon_ms", "first_ends"} & t.keys()], ids=named
)
def test_records_that_a_program_holds_have_these_reports(trail: dict[str, Any]) -> None:
    types = types_of_topics(trail)
    records = [
        as_record(message)
        for message in map(stored, trail["records"])
        if reason_of(message.value, types.get(message.topic)) is None
    ]
    reports = check_streams(records, topics=trail.get("topics"), settled=trail.get("settled", False))
    assert_as_expected(trail, reports)
