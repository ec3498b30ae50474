"""One contract in five places: class, schema, emitter method, topic and documentation say the same."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from auditwire import AuditEmitter
from auditwire._version import __version__
from auditwire.events import ALL_TYPES, CONTROL_TYPES, EVENT_TYPES, AuditEvent, iso_from_us
from auditwire.wire import FastavroEncoder, join_body, schema_for, topic_name

ROOT = Path(__file__).parents[2]
AVRO = ROOT / "avro"
ENVELOPE: list[tuple[str, Any]] = [
    ("event_id", "string"),
    ("event_type", "string"),
    ("timestamp", {"type": "long", "logicalType": "timestamp-micros"}),
    ("session_id", ["null", "string"]),
    ("turn_id", ["null", "string"]),
    ("agent_id", ["null", "string"]),
    ("principal_id", ["null", "string"]),
    ("principal_type", ["null", "string"]),
    ("tenant_id", ["null", "string"]),
    ("severity", "string"),
    ("metadata", "string"),
    ("trace_id", ["null", "string"]),
    ("span_id", ["null", "string"]),
    ("stream_id", "string"),
    ("sequence", "long"),
]
AVRO_TYPES: dict[str, Any] = {
    "str": "string",
    "int": "long",
    "float": "double",
    "bool": "boolean",
    "list[str]": {"type": "array", "items": "string"},
    "str | None": ["null", "string"],
}
RELEASES = sorted(path.name for path in (AVRO / "archive").iterdir())


def raw_schema(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return schema


def own_fields(cls: type[AuditEvent]) -> list[dataclasses.Field[Any]]:
    return list(dataclasses.fields(cls))[len(dataclasses.fields(AuditEvent)) :]


# -- schema = class ------------------------------------------------------------------------------------------


def test_there_is_a_schema_for_each_class_and_no_other() -> None:
    assert {path.stem for path in AVRO.glob("*.avsc")} == set(ALL_TYPES)


@pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=lambda cls: cls.event_type)
def test_a_schema_is_the_envelope_and_the_fields_of_its_class(cls: type[AuditEvent]) -> None:
    schema = raw_schema(AVRO / f"{cls.event_type}.avsc")
    assert (schema["type"], schema["namespace"], schema["name"]) == ("record", "auditwire", cls.__name__)
    found = [(field["name"], field["type"]) for field in schema["fields"]]
    assert found == ENVELOPE + [(f.name, AVRO_TYPES[str(f.type)]) for f in own_fields(cls)]


@pytest.mark.parametrize("event_type", ALL_TYPES)
def test_every_field_says_what_it_means_and_only_nullable_ones_have_a_default(event_type: str) -> None:
    schema = raw_schema(AVRO / f"{event_type}.avsc")
    assert schema["doc"].endswith(".")
    for field in schema["fields"]:
        assert field["doc"].endswith(".")
        assert len(field["doc"]) > 15
        assert set(field) == {"name", "type", "doc"} | (
            {"default"} if isinstance(field["type"], list) else set()
        )
        assert field.get("default") is None


@pytest.mark.parametrize("event_type", ALL_TYPES)
def test_a_field_that_is_a_measure_says_its_unit(event_type: str) -> None:
    units = {
        "timestamp": "microseconds",
        "duration_ms": "milliseconds",
        "size": "bytes",
        "first_lost_us": "microseconds",
        "last_lost_us": "microseconds",
        "input_tokens": "tokens",
        "output_tokens": "tokens",
    }
    for field in raw_schema(AVRO / f"{event_type}.avsc")["fields"]:
        unit = units.get(field["name"], "characters" if field["name"].endswith("_length") else "")
        assert unit in field["doc"]


@pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=lambda cls: cls.event_type)
def test_a_class_keeps_the_names_that_the_design_gives_it(cls: type[AuditEvent]) -> None:
    assert cls.event_type == re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Event")).lower()


# -- fingerprints and archive --------------------------------------------------------------------------------


def fingerprints_of(path: Path) -> dict[str, str]:
    canonical = fastavro.schema.to_parsing_canonical_form(raw_schema(path))
    return {
        "crc64": fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"),
        "sha256": fastavro.schema.fingerprint(canonical, "SHA-256"),
    }


def test_the_recorded_fingerprints_are_those_of_the_schemas() -> None:
    recorded = json.loads((AVRO / "fingerprints.json").read_text("utf-8"))
    assert list(recorded) == list(ALL_TYPES)
    for event_type, versions in recorded.items():
        assert versions, event_type
        for version, prints in versions.items():
            assert prints == fingerprints_of(AVRO / "archive" / version / f"{event_type}.avsc")
        assert list(versions.values())[-1] == fingerprints_of(AVRO / f"{event_type}.avsc")


def test_no_two_schemas_have_the_same_fingerprint() -> None:
    assert len({schema_for(event_type).fingerprint for event_type in ALL_TYPES}) == len(ALL_TYPES)


def test_this_release_is_archived_as_it_is() -> None:
    assert __version__ in RELEASES
    archive = AVRO / "archive" / __version__
    assert {path.name for path in archive.iterdir()} == {path.name for path in AVRO.glob("*.avsc")}
    for path in archive.iterdir():
        assert path.read_bytes() == (AVRO / path.name).read_bytes()


@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_wrote_is_read_with_the_current_schemas(release: str) -> None:
    for path in (AVRO / "archive" / release).iterdir():
        cls = ALL_TYPES[path.stem]
        old, new = raw_schema(path), raw_schema(AVRO / path.name)
        # fields are only added, at the end, with a default
        assert [(f["name"], f["type"]) for f in old["fields"]] == [
            (f["name"], f["type"]) for f in new["fields"][: len(old["fields"])]
        ]
        assert all("default" in f for f in new["fields"][len(old["fields"]) :])
        row = sample_row(cls)
        body = BytesIO()
        fastavro.schemaless_writer(body, old, row)
        body.seek(0)
        read: Any = fastavro.schemaless_reader(body, old, new)
        assert list(read) == [f["name"] for f in new["fields"]]
        timestamp = read.pop("timestamp")
        assert timestamp.isoformat(timespec="microseconds") == iso_from_us(row.pop("timestamp"))
        assert {name: read[name] for name in row if name in read} == row


def sample_row(cls: type[AuditEvent]) -> dict[str, Any]:
    values: dict[str, Any] = {"str": "text", "int": 7, "float": 1.5, "bool": True, "list[str]": ["a", "b"]}
    own = {f.name: values[str(f.type).removesuffix(" | None")] for f in own_fields(cls)}
    event = cls(session_id="s", **own)
    row: dict[str, Any] = {name: getattr(event, name, None) for name, _ in ENVELOPE}
    return {**row, **own, "timestamp": event.timestamp_us, "metadata": "{}", "stream_id": "st", "sequence": 3}


@pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=lambda cls: cls.event_type)
def test_a_general_avro_library_reads_our_bytes_with_the_file(cls: type[AuditEvent]) -> None:
    event = cls(agent_id="a")
    head, tail = FastavroEncoder().encode(event, "st")
    body = BytesIO(join_body(head, 9, tail))
    row: Any = fastavro.schemaless_reader(body, raw_schema(AVRO / f"{cls.event_type}.avsc"), None)
    assert body.read() == b""
    assert (row["event_id"], row["event_type"], row["agent_id"]) == (event.event_id, cls.event_type, "a")
    assert (row["stream_id"], row["sequence"]) == ("st", 9)
    assert row["timestamp"].isoformat(timespec="microseconds") == event.timestamp


# -- emitter -------------------------------------------------------------------------------------------------

# The public contract, literally: names, order and defaults.
SIGNATURES = {
    "emit_turn_start": '(agent_id=None, turn_id=None, prompt="")',
    "emit_turn_end": '(agent_id=None, turn_id=None, content="", fc_count=0)',
    "emit_tool_call_attempt": '(tool_name, args="", agent_id=None, turn_id=None)',
    "emit_tool_call_complete": (
        '(tool_name, status="success", duration_ms=0.0, result="", agent_id=None, turn_id=None)'
    ),
    "emit_tool_call_failure": '(tool_name, error_type="", error_msg="", agent_id=None, turn_id=None)',
    "emit_tool_policy_decision": '(tool_name, agent_id=None, action="", source="", turn_id=None)',
    "emit_tool_loop_warning": (
        '(tool_name, pattern="", severity="warning", count=0, agent_id=None, turn_id=None)'
    ),
    "emit_tool_loop_block": '(tool_name, pattern="", count=0, agent_id=None, turn_id=None)',
    "emit_sandbox_decision": (
        '(tool_name, context="", reason="", backend_type="", agent_id=None, turn_id=None)'
    ),
    "emit_hook_mutation": '(hook_name, tool_name="", agent_id=None, field="", turn_id=None)',
    "emit_error": '(error_type="", error_msg="", context="", agent_id=None, turn_id=None)',
    "emit_agent_switch": '(from_agent, to_agent, reason="", agent_id=None, turn_id=None)',
    "emit_skill_used": (
        '(skill_name, version="", outcome="unknown", duration_ms=0.0, triggered_automatically=True,'
        " agent_id=None, turn_id=None)"
    ),
    "emit_skill_authored": (
        '(skill_name, version="", source_path="", tool_count=0, unique_tools=None, confirmed_by_user=False,'
        " agent_id=None, turn_id=None)"
    ),
    "emit_skill_feedback": (
        '(skill_name, rating="neutral", reason="", source="user", agent_id=None, turn_id=None)'
    ),
    "emit_model_call": (
        '(model, provider="", operation="chat", status="success", duration_ms=0.0, input_tokens=0,'
        ' output_tokens=0, finish_reason="", error_type="", agent_id=None, turn_id=None)'
    ),
    "emit_approval": (
        '(tool_name, decision="", approver_id="", approver_type="user", reason="", agent_id=None,'
        " turn_id=None)"
    ),
}


def parameters(signature: str) -> list[tuple[str, Any]]:
    """Names and defaults of a signature in its literal form."""
    scope: dict[str, Any] = {}
    exec(f"def f{signature}: ...", scope)  # the literals above
    return [(p.name, p.default) for p in inspect.signature(scope["f"]).parameters.values()]


def test_there_is_an_emitter_method_for_each_event_type_and_no_other() -> None:
    methods = {name for name in dir(AuditEmitter) if name.startswith("emit_")}
    wanted = {f"emit_{event_type}" for event_type in EVENT_TYPES if event_type != "custom"}
    assert methods == wanted | {"emit_loop_warning"}
    assert set(SIGNATURES) == wanted
    assert callable(AuditEmitter.emit)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_method_has_the_parameters_of_the_public_contract(name: str) -> None:
    found = list(inspect.signature(getattr(AuditEmitter, name)).parameters.values())[1:]
    positional = [p for p in found if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert [(p.name, p.default) for p in positional] == parameters(SIGNATURES[name])
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in positional)
    assert all(p.default is not p.empty for p in found if p not in positional)


def test_the_short_name_of_the_loop_warning_is_the_same_method() -> None:
    assert inspect.signature(AuditEmitter.emit_loop_warning) == inspect.signature(
        AuditEmitter.emit_tool_loop_warning
    )


# -- documentation -------------------------------------------------------------------------------------------

DOCS = (ROOT / "docs" / "events.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without code marks."""
    section = DOCS.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("heading", "types"), [("Events of agents", EVENT_TYPES), ("Control records", CONTROL_TYPES)]
)
def test_the_documentation_has_a_row_for_each_type(heading: str, types: dict[str, type[AuditEvent]]) -> None:
    found = rows(heading)
    assert [row[0] for row in found] == list(types)
    for event_type, class_name, method, topic, severity, fields in found:
        cls = types[event_type]
        assert class_name == cls.__name__
        assert topic == topic_name("audit", event_type)
        assert severity == cls().severity
        assert fields == ", ".join(f.name for f in own_fields(cls))
        if event_type in CONTROL_TYPES:
            assert method == "—"
        elif event_type == "custom":
            assert method == "emit"
        else:
            assert method == f"emit_{event_type}"
            assert hasattr(AuditEmitter, method)


def test_the_documentation_has_the_envelope_in_its_order() -> None:
    assert [row[0] for row in rows("Envelope")] == [name for name, _ in ENVELOPE]


@pytest.mark.parametrize("event_type", ALL_TYPES)
def test_the_documentation_says_of_each_field_what_its_schema_says(event_type: str) -> None:
    section = DOCS.split(f"\n### {event_type}\n", 1)[1].split("\n#", 1)[0]
    schema = raw_schema(AVRO / f"{event_type}.avsc")
    assert schema["doc"] in section
    for field in schema["fields"][len(ENVELOPE) :]:
        assert f"| `{field['name']}` | {shown(field['type'])} | {field['doc']} |" in section


def shown(avro_type: Any) -> str:
    if isinstance(avro_type, list):
        return f"{avro_type[1]} or null"
    return "array of string" if isinstance(avro_type, dict) else str(avro_type)
