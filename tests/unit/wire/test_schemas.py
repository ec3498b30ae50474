"""Schemas: found and looked up; what is missing or damaged is named together with the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import pytest

from auditwire.errors import DecodingError, SchemaError
from auditwire.events import ALL_TYPES, TurnStartEvent
from auditwire.wire import (
    FastavroEncoder,
    all_schemas,
    decode,
    decoder,
    frame_confluent,
    frame_single_object,
    join_body,
    schema_by_fingerprint,
    schema_for,
    schema_versions,
    schemas,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
AVRO = Path(__file__).parents[3] / "avro"


def clear() -> None:
    for cached in (schemas._root, schemas._fingerprints, schemas.schema_versions, schemas._by_fingerprint):
        cached.cache_clear()
    decoder._decoders.clear()
    decoder._envelopes.clear()


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the schemas that may be damaged, and is the installed one while the test runs."""
    copy = tmp_path / "avro"
    shutil.copytree(AVRO, copy)
    monkeypatch.setattr(schemas, "_PLACES", (tmp_path / "nowhere", copy))
    clear()
    yield copy
    clear()


def test_a_schema_tells_its_type_name_version_and_fields() -> None:
    schema = schema_for("turn_start")
    assert (schema.event_type, schema.name, schema.version) == (
        "turn_start",
        "auditwire.TurnStartEvent",
        "0.1.0",
    )
    assert [f.name for f in schema.head] == [f.name for f in schema.fields[:14]]
    assert [f.name for f in schema.tail] == [
        "prompt_preview",
        "prompt_length",
        "prompt_digest",
        "parent_turn_id",
        "parent_agent_id",
    ]
    assert schema.fields[3][:3] == ("session_id", "string", True)
    assert json.loads(schema.text)["name"] == "TurnStartEvent"
    assert repr(schema) == f"<Schema turn_start 0.1.0 {schema.fingerprint.hex()}>"


def test_every_type_has_a_schema_and_every_fingerprint_finds_it() -> None:
    assert [s.event_type for s in all_schemas()] == list(ALL_TYPES)
    for schema in all_schemas():
        assert schema_by_fingerprint(schema.fingerprint) is schema
        assert schema_for(schema.event_type) is schema


def test_an_unknown_fingerprint_finds_nothing() -> None:
    assert schema_by_fingerprint(bytes(8)) is None


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(SchemaError, match="no schema for event type 'no_such_type'"):
        schema_for("no_such_type")


def test_a_schema_that_is_missing_is_named_with_the_remedy(installation: Path) -> None:
    (installation / "turn_start.avsc").unlink()
    with pytest.raises(
        SchemaError, match=r"turn_start\.avsc is missing .*pip install --force-reinstall auditwire"
    ):
        schema_for("turn_start")
    assert schema_for("turn_end").event_type == "turn_end"
    with pytest.raises(SchemaError, match=r"turn_start\.avsc"):
        all_schemas()


def test_an_installation_without_schemas_is_named_with_the_remedy(installation: Path) -> None:
    shutil.rmtree(installation)
    with pytest.raises(SchemaError, match=rf"no fingerprints\.json in .* or {installation}; reinstall"):
        schema_for("turn_start")


def test_the_places_are_the_package_and_the_checkout() -> None:
    package = Path(schemas.__file__).parent.parent
    places = list(schemas._PLACES)
    assert places == [package / "avro", AVRO]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw.pop("fields"),
        lambda raw: raw.pop("name"),
        lambda raw: raw["fields"].pop(14),  # sequence
        lambda raw: raw["fields"][0].update(type="bytes"),
        lambda raw: raw["fields"][0].update(type="no_such_type"),
        lambda raw: raw["fields"][0].update(type=["string", "null"]),
        lambda raw: raw["fields"][0].update(type=["null", "string", "long"]),
        lambda raw: raw["fields"][0].update(type={"type": "array", "items": "long"}),
        lambda raw: raw["fields"][0].pop("doc"),
    ],
)
def test_a_schema_outside_of_the_contract_is_called_damaged(installation: Path, damage: Any) -> None:
    path = installation / "turn_start.avsc"
    raw = json.loads(path.read_text("utf-8"))
    damage(raw)
    path.write_text(json.dumps(raw), "utf-8")
    with pytest.raises(SchemaError, match=f"{path} is damaged: .*; reinstall"):
        schema_for("turn_start")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_schema_that_is_no_json_is_called_damaged(installation: Path, content: bytes) -> None:
    (installation / "turn_start.avsc").write_bytes(content)
    with pytest.raises(SchemaError, match=r"turn_start\.avsc is damaged"):
        schema_for("turn_start")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"turn_start": 1}'])
def test_fingerprints_that_are_damaged_are_named(installation: Path, content: bytes) -> None:
    (installation / "fingerprints.json").write_bytes(content)
    with pytest.raises(SchemaError, match=r"fingerprints\.json"):
        schema_for("turn_start")


# -- versions: as if this release had added the last field of turn_start ------------------------------------


@pytest.fixture
def two_versions(installation: Path) -> Path:
    """The installation, with an earlier version of turn_start that has no ``parent_agent_id``."""
    earlier = json.loads((installation / "turn_start.avsc").read_text("utf-8"))
    assert earlier["fields"].pop()["name"] == "parent_agent_id"
    archive = installation / "archive" / "0.0.9"
    archive.mkdir()
    (archive / "turn_start.avsc").write_text(json.dumps(earlier), "utf-8")
    canonical = fastavro.schema.to_parsing_canonical_form(earlier)
    path = installation / "fingerprints.json"
    prints = json.loads(path.read_text("utf-8"))
    prints["turn_start"] = {
        "0.0.8": prints["turn_start"]["0.1.0"],  # differed in a doc only: the same bytes, so one version
        "0.0.9": {
            "crc64": fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"),
            "sha256": fastavro.schema.fingerprint(canonical, "SHA-256"),
        },
        **prints["turn_start"],
    }
    path.write_text(json.dumps(prints), "utf-8")
    return installation


def test_versions_come_with_the_current_one_first(two_versions: Path) -> None:
    current, earlier = schema_versions("turn_start")
    assert (current.version, earlier.version) == ("0.1.0", "0.0.9")
    assert schema_for("turn_start") is current
    assert schema_by_fingerprint(earlier.fingerprint) is earlier


def test_a_record_of_an_earlier_version_is_read_and_gets_the_default(two_versions: Path) -> None:
    event = TurnStartEvent(prompt_preview="p", parent_turn_id="t")
    head, tail = FastavroEncoder().encode(event, STREAM)
    earlier_body = join_body(head, 7, tail[:-1])  # the null of parent_agent_id
    current, earlier = schema_versions("turn_start")
    for value in (frame_single_object(earlier.fingerprint, earlier_body), frame_confluent(3, earlier_body)):
        for _ in range(2):  # the first time the interpreter reads it, then the decoder made from the schema
            decoded = decode(value)
            assert decoded.event == event
            assert decoded.fingerprint == earlier.fingerprint
    assert decode(frame_confluent(3, join_body(head, 7, tail))).fingerprint == current.fingerprint


def test_a_record_of_no_version_is_refused_for_the_current_ones_reason(two_versions: Path) -> None:
    head, tail = FastavroEncoder().encode(TurnStartEvent(), STREAM)
    with pytest.raises(DecodingError) as caught:
        decode(frame_confluent(3, join_body(head, 7, tail + b"\x00")))
    assert caught.value.reason == "trailing_bytes"


def test_an_earlier_schema_that_is_missing_is_named(two_versions: Path) -> None:
    missing = two_versions / "archive" / "0.0.9" / "turn_start.avsc"
    missing.unlink()
    with pytest.raises(SchemaError, match=str(missing)):
        schema_by_fingerprint(bytes(8))
