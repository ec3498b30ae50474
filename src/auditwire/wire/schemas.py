"""The Avro schemas of ``avro/``: found, checked and looked up.

In come event types and fingerprints, out come :class:`Schema` objects. Each file is read once, when first
asked for. The files are package data (``auditwire/avro``); in an editable checkout they are found beside
``src``.

::

    avro/<event_type>.avsc                      the current version
    avro/archive/<version>/<event_type>.avsc    every released version
    avro/fingerprints.json                      event type -> version -> {"crc64": hex, "sha256": hex}

A version is named by the release of auditwire that brought it; the current file is the last one listed.
``crc64`` is the CRC-64-AVRO fingerprint as it stands in the header of single-object encoding, little-endian.
Fingerprints are compared and never computed here, because libraries disagree about the canonical form of a
schema that holds a logical type.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from auditwire.errors import SchemaError
from auditwire.events import ALL_TYPES

__all__ = ["Field", "Schema", "all_schemas", "schema_by_fingerprint", "schema_for", "schema_versions"]

_PACKAGE = Path(__file__).parent.parent
_PLACES = (_PACKAGE / "avro", _PACKAGE.parent.parent / "avro")
_FINGERPRINTS = "fingerprints.json"
_REMEDY = "reinstall the package: pip install --force-reinstall auditwire"
_PRIMITIVE = frozenset({"string", "long", "double", "boolean"})
_SEQUENCE = "sequence"


class Field(NamedTuple):
    """One field of a schema.

    Attributes:
        name: The field's name.
        type: ``string``, ``long``, ``double``, ``boolean`` or ``array`` (of strings).
        nullable: True for a union of null and the type.
        doc: Meaning and unit.
    """

    name: str
    type: str
    nullable: bool
    doc: str


class _Prints(NamedTuple):
    """What ``fingerprints.json`` lists of one version."""

    crc64: bytes
    sha256: str


class Schema:
    """One version of one event type's schema. Immutable by convention.

    Attributes:
        event_type: Such as ``turn_start``.
        name: Full name of the record, such as ``auditwire.TurnStartEvent``.
        version: The release of auditwire that brought this version, such as ``0.1.0``.
        fields: All fields in their order on the wire.
        head: The fields before ``sequence``.
        tail: The fields after ``sequence``.
        fingerprint: CRC-64-AVRO, 8 bytes, little-endian, as in the header of single-object encoding.
        sha256: SHA-256 of the parsing canonical form, 64 hex digits.
        text: The file's text.
    """

    __slots__ = (
        "_parsed",
        "event_type",
        "fields",
        "fingerprint",
        "head",
        "name",
        "sha256",
        "tail",
        "text",
        "version",
    )

    def __init__(self, event_type: str, version: str, text: str, fingerprint: bytes, sha256: str) -> None:
        raw = json.loads(text)
        self.event_type = event_type
        self.version = version
        self.text = text
        self.fingerprint = fingerprint
        self.sha256 = sha256
        self._parsed: Any = None
        self.name = f"{raw['namespace']}.{raw['name']}"
        self.fields = tuple(_field(f) for f in raw["fields"])
        cut = [f.name for f in self.fields].index(_SEQUENCE)
        self.head = self.fields[:cut]
        self.tail = self.fields[cut + 1 :]

    @property
    def parsed(self) -> Any:
        """The schema as ``fastavro`` wants it; the library is loaded when this is first asked for.

        It takes 6 MB of memory and 15 ms, which a process that writes by generated code can do without.
        """
        if self._parsed is None:
            import fastavro  # noqa: PLC0415 - see above

            self._parsed = fastavro.parse_schema(json.loads(self.text), {})
        return self._parsed

    def __repr__(self) -> str:
        return f"<Schema {self.event_type} {self.version} {self.fingerprint.hex()}>"


def schema_for(event_type: str) -> Schema:
    """The current schema of an event type.

    Raises:
        SchemaError: There is no such type, or its file is missing from the installation or damaged.
    """
    return schema_versions(event_type)[0]


@cache
def schema_versions(event_type: str) -> tuple[Schema, ...]:
    """All versions of an event type's schema that differ on the wire, the current one first.

    Raises:
        SchemaError: There is no such type, or a file is missing from the installation or damaged.
    """
    known = _fingerprints().get(event_type)
    if not known:
        raise SchemaError(
            f"no schema for event type {event_type!r}: {_root() / _FINGERPRINTS} does not list it; {_REMEDY}"
        )
    newest, *older = reversed(known)
    versions = {known[newest].crc64: _load(event_type, newest, _root() / f"{event_type}.avsc")}
    for version in older:
        if (crc64 := known[version].crc64) not in versions:
            versions[crc64] = _load(event_type, version, _root() / "archive" / version / f"{event_type}.avsc")
    return tuple(versions.values())


def all_schemas() -> tuple[Schema, ...]:
    """The current schema of every event type, in the order of ``auditwire.events``.

    Raises:
        SchemaError: A file is missing from the installation or damaged.
    """
    return tuple(schema_for(event_type) for event_type in ALL_TYPES)


def schema_by_fingerprint(fingerprint: bytes) -> Schema | None:
    """The schema with this CRC-64-AVRO fingerprint (8 bytes, little-endian), archived ones included, or None.

    Raises:
        SchemaError: A file is missing from the installation or damaged.
    """
    return _by_fingerprint().get(fingerprint)


@cache
def _by_fingerprint() -> dict[bytes, Schema]:
    return {s.fingerprint: s for event_type in ALL_TYPES for s in schema_versions(event_type)}


@cache
def _root() -> Path:
    """The folder of the schemas."""
    for place in _PLACES:
        if (place / _FINGERPRINTS).is_file():
            return place
    raise SchemaError(
        f"the schemas are missing: no {_FINGERPRINTS} in {_PLACES[0]} or {_PLACES[1]}; {_REMEDY}"
    )


@cache
def _fingerprints() -> dict[str, dict[str, _Prints]]:
    path = _root() / _FINGERPRINTS
    try:
        listed = json.loads(path.read_text("utf-8"))
        return {
            event_type: {
                version: _Prints(bytes.fromhex(prints["crc64"]), str(prints["sha256"]))
                for version, prints in versions.items()
            }
            for event_type, versions in listed.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise SchemaError(f"{path} is damaged: {type(e).__name__}: {e}; {_REMEDY}") from e


def _load(event_type: str, version: str, path: Path) -> Schema:
    prints = _fingerprints()[event_type][version]
    try:
        return Schema(event_type, version, path.read_text("utf-8"), prints.crc64, prints.sha256)
    except OSError as e:
        raise SchemaError(f"the schema {path} is missing or cannot be read: {e}; {_REMEDY}") from e
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise SchemaError(f"the schema {path} is damaged: {type(e).__name__}: {e}; {_REMEDY}") from e


def _field(raw: dict[str, Any]) -> Field:
    """The field, of the few types that the contract allows."""
    kind, nullable = raw["type"], False
    if isinstance(kind, list):
        null, kind = kind
        nullable = null == "null"
        if not nullable:
            raise ValueError(f"field {raw['name']}: a union is null and one type, null first")
    if kind == {"type": "array", "items": "string"}:
        kind = "array"
    elif kind == {"type": "long", "logicalType": "timestamp-micros"}:
        kind = "long"
    elif kind not in _PRIMITIVE:
        raise ValueError(f"field {raw['name']}: type {kind!r} is not in the contract")
    return Field(raw["name"], kind, nullable, raw["doc"])
