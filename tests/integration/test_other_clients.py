"""What was written is read by clients that know nothing of auditwire: keys, headers, times, every field."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from emit_support import collector

from auditwire import AuditEmitter, CompositeCollector, InMemoryCollector
from auditwire.events import ALL_TYPES, AuditEvent, TurnStartEvent
from auditwire.wire import schema_for

if TYPE_CHECKING:
    from rig.broker import Broker

AVRO = Path(__file__).parents[2] / "avro"

READER = '''
"""Reads a trail with aiokafka and fastavro and the schema files; prints a JSON object a line."""
import asyncio, io, json, pathlib, re, sys
import aiokafka, fastavro

bootstrap, prefix, avro, count = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
schemas = {}
for event_type, versions in json.loads((avro / "fingerprints.json").read_text()).items():
    current = list(versions.values())[-1]
    text = (avro / f"{event_type}.avsc").read_text()
    schemas[bytes.fromhex(current["crc64"])] = fastavro.parse_schema(json.loads(text))

async def main():
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest",
                                         enable_auto_commit=False, group_id=prefix + "-aiokafka")
    consumer.subscribe(pattern="^" + re.escape(prefix) + r"\\..*")
    await consumer.start()
    try:
        for _ in range(count):
            message = await asyncio.wait_for(consumer.getone(), 30)
            assert message.value[:2] == bytes([0xC3, 0x01]), "single-object encoding"
            body = io.BytesIO(message.value[10:])
            fields = fastavro.schemaless_reader(body, schemas[message.value[2:10]], None)
            assert not body.read(), "the schema names all bytes"
            print(json.dumps({"topic": message.topic, "key": (message.key or b"").decode(), "fields": fields,
                              "time": message.timestamp,
                              "headers": {k: v.decode() for k, v in message.headers}}, default=str))
    finally:
        await consumer.stop()

asyncio.run(main())
assert "auditwire" not in sys.modules
'''


def emit_one_of_each(audit: AuditEmitter) -> None:
    """An agent's turn with all that may happen in it, in a script that is not only ASCII."""
    with audit.turn(prompt="résumé of 漢字 🎈", agent_id="planner"):
        with audit.tool_call("search", args={"q": "nobel"}) as call:
            call.result = {"hits": 3}
        with pytest.raises(RuntimeError), audit.tool_call("shell", args={"cmd": "make"}):
            raise RuntimeError("no rule")
        audit.emit_error("Timeout", "30 s")


@pytest.fixture
def written(broker: Broker, prefix: str) -> list[AuditEvent]:
    """The events of a closed collector's trail, checkpoints left out."""
    memory = InMemoryCollector()
    with collector(broker, prefix) as kafka:
        emit_one_of_each(AuditEmitter(CompositeCollector([kafka, memory]), session_id="s-1"))
    return memory.get_events()


def test_aiokafka_and_fastavro_decode_every_field_with_the_schema_files_alone(
    broker: Broker, prefix: str, written: list[AuditEvent], tmp_path: Path
) -> None:
    pytest.importorskip("aiokafka")
    script = tmp_path / "reader.py"
    script.write_text(READER, encoding="utf-8")
    count = len(written) + 2  # and the checkpoints that open and close the stream
    done = subprocess.run(
        [sys.executable, "-I", str(script), broker.bootstrap, prefix, str(AVRO), str(count)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["fields"]["event_id"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert len(rows) == count
    for event in written:
        row = rows[event.event_id]
        assert plain(row["fields"]) == {**event.to_dict(), "metadata": event.metadata}
        assert row["key"] == event.session_id
        assert row["time"] == event.timestamp_us // 1_000
        assert row["headers"]["ce_id"] == event.event_id
        assert row["headers"]["ce_type"] == f"auditwire.{event.event_type}"
    sequences = sorted(row["fields"]["sequence"] for row in rows.values())
    assert sequences == list(range(count))


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Avro's fields as an event's `to_dict` has them."""
    out = {name: value for name, value in fields.items() if name not in {"stream_id", "sequence"}}
    out["timestamp"] = datetime.fromisoformat(out["timestamp"]).isoformat(timespec="microseconds")
    out["metadata"] = json.loads(out["metadata"])
    return out


def test_kcat_prints_key_headers_time_and_the_bytes_of_the_value(broker: Broker, prefix: str) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        pytest.skip("kcat is not installed")
    event = TurnStartEvent(session_id="s-1", prompt_preview="hello")
    with collector(broker, prefix) as kafka:
        kafka.emit(event)
    form = "%k|%T|%h|%S|%s|end"
    done = subprocess.run(
        [kcat, "-C", "-q", "-e", "-b", broker.bootstrap, "-t", f"{prefix}.turn-start", "-f", form],
        capture_output=True,
        timeout=60,
        check=True,
    )
    found = re.fullmatch(rb"([^|]*)\|(\d+)\|([^|]*)\|(\d+)\|(.*)\|end", done.stdout, re.DOTALL)
    assert found is not None, done.stdout
    key, time, headers, size, value = found.groups()
    assert key == b"s-1"
    assert int(time) == event.timestamp_us // 1_000
    assert f"ce_id={event.event_id}".encode() in headers
    assert int(size) == len(value)
    assert value[:10] == b"\xc3\x01" + schema_for("turn_start").fingerprint


@pytest.mark.needs("kafka_tools")
def test_kafkas_console_consumer_finds_all_topics_of_a_trail_by_a_pattern(
    broker: Broker, prefix: str, written: list[AuditEvent]
) -> None:
    printed = broker.tool(
        "kafka-console-consumer.sh",
        *("--include", rf"{re.escape(prefix)}\..*", "--from-beginning"),
        *("--max-messages", str(len(written) + 2), "--timeout-ms", "30000"),
        *("--formatter-property=print.headers=true", "--formatter-property=print.value=false"),
    )
    types = [re.search(r"ce_type:auditwire\.(\w+)", line) for line in printed.splitlines()]
    assert sorted(found[1] for found in types if found) == sorted(
        [*(event.event_type for event in written), "checkpoint", "checkpoint"]
    )
    assert {event.event_type for event in written} <= ALL_TYPES.keys()
