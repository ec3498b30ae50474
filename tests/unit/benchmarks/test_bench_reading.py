"""The ways of reading back read the same trail, and the table compares them with the peer of their round."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import reading
from benchmarks.readers import PEER, SHOW, VARIANTS, consumer, load, ours
from confluent_kafka import Consumer, Message, Producer

from auditwire import AuditEmitter, KafkaCollector
from auditwire.testing import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = {
    "AvroDeserializer": "authlib",
    "pyruhvro": "pyruhvro",
    "replay to Arrow": "pyarrow",
    "replay to Parquet": "pyarrow",
}


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as started:
        yield started


@pytest.fixture(scope="module")
def written(embedded: EmbeddedBroker) -> str:
    """A prefix with 2 turns of 2 events, and with whatever the library added."""
    with KafkaCollector(embedded.bootstrap_servers, create_topics=False) as collector:
        audit = AuditEmitter(collector, session_id="s-1", agent_id="planner", on_error="raise")
        for number in range(2):
            with audit.turn(prompt=f"question {number}"):
                pass
        collector.flush()
    return "audit"


def produce(embedded: EmbeddedBroker, topic: str, value: bytes) -> None:
    embedded.create_topics([topic])
    producer = Producer({"bootstrap.servers": embedded.bootstrap_servers})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != SHOW])
def test_a_variant_reads_every_record_or_names_the_package_it_lacks(
    embedded: EmbeddedBroker, written: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = len(list(ours.records_of(embedded.bootstrap_servers, written)))
    reading.work(name, embedded.bootstrap_servers, written, VARIANTS[name].arguments)
    figures = told(capsys)
    if "missing" in figures:
        assert name in PACKAGES
        assert not figures["missing"].startswith(("benchmarks", "auditwire"))
    else:
        assert records >= 4
        assert figures["count"] == records
        assert figures["seconds"] > 0
        assert figures["cpu"] > 0
        assert figures["peak_mib"] > 1


def test_the_consumer_hands_out_every_value_of_the_prefix_and_no_other(
    embedded: EmbeddedBroker, written: str
) -> None:
    produce(embedded, "auditor.turn-start", b"not of this prefix")
    values = [value for chunk in consumer.values_of(embedded.bootstrap_servers, written) for value in chunk]
    records = ours.records_of(embedded.bootstrap_servers, written)
    assert Counter(values) == Counter(record.value for record in records)


def test_the_consumer_says_when_records_do_not_come(
    embedded: EmbeddedBroker, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Consumer):
        def consume(self, *_: object) -> list[Message]:
            return []

    monkeypatch.setattr(consumer, "SILENCE_SECONDS", 0.0)
    monkeypatch.setattr("benchmarks.readers.consumer.Consumer", Silent)
    with pytest.raises(TimeoutError, match=f"records of {written} did not come"):
        list(consumer.values_of(embedded.bootstrap_servers, written))


def test_a_replay_that_could_not_read_a_record_has_no_figures(embedded: EmbeddedBroker) -> None:
    produce(embedded, "spoilt.turn-start", b"no record of ours")
    with pytest.raises(SystemExit, match="undecodable Counter"):
        ours.replay(embedded.bootstrap_servers, "spoilt", ())


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_reader_whose_package_is_not_installed_is_said_to_be_missing(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = f"benchmarks.readers.{VARIANTS[name].where.partition(':')[0]}"
    gone = (module, package, "confluent_kafka.schema_registry")
    for known in [known for known in sys.modules if known.startswith(gone)]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, package, None)
    reading.work(name, "127.0.0.1:1", "audit", ())
    missing = told(capsys)["missing"].partition(".")[0]
    assert missing in {package, "pyarrow"}  # which pyruhvro's module asks for first


def test_every_reader_can_be_loaded_or_names_a_package_that_it_needs() -> None:
    missing: dict[str, str] = {}
    for name in VARIANTS:
        try:
            assert callable(load(name))
        except ModuleNotFoundError as error:  # noqa: PERF203 - ten times
            missing[name] = error.name or ""
    assert set(missing) <= set(PACKAGES)
    assert not [name for name in missing.values() if name.startswith(("benchmarks", "auditwire")) or not name]


def answers(monkeypatch: pytest.MonkeyPatch, counts: dict[str, int]) -> list[str]:
    """Has the processes say these counts; what is asked for is recorded. 0 is a missing package."""
    asked: list[str] = []

    def in_process(name: str, *_: str) -> str:
        asked.append(name)
        if name == reading.WRITE:
            return "session-000001 1 2"
        if not counts.get(name, 100):
            return json.dumps({"missing": "somepackage"})
        seconds = 1.0 if name == PEER else 0.5
        return json.dumps({"count": counts.get(name, 100), "seconds": seconds, "cpu": 1.0, "peak_mib": 9.0})

    monkeypatch.setattr(reading, "in_process", in_process)
    return asked


def test_what_is_missing_is_left_out_from_then_on_and_said_below_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = answers(monkeypatch, {"pyruhvro": 0, SHOW: 7})
    assert reading.main(["--rounds", "3", "--bootstrap", "127.0.0.1:1"]) == 0
    asked = Counter(recorded)
    assert asked.pop(reading.WRITE) == 1
    assert asked.pop("pyruhvro") == 1
    assert asked == dict.fromkeys(set(VARIANTS) - {"pyruhvro"}, 3)
    text = capsys.readouterr().out
    assert "| replay | 200 | 2.00 | 2.00-2.00 |" in text
    assert "| pyruhvro |" not in text
    assert text.endswith("\n\npyruhvro: not measured, somepackage is not installed\n")


def test_the_result_as_json_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, {"AvroDeserializer": 0})
    assert reading.main(["--rounds", "1", "--bootstrap", "127.0.0.1:1", "--json"]) == 0
    found = told(capsys)
    assert found["missing"] == {"AvroDeserializer": "somepackage"}
    assert set(found["runs"]) == set(VARIANTS) - {"AvroDeserializer"}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in (SHOW, PEER)])
def test_variants_that_read_different_numbers_of_records_have_no_table(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, {name: 99})
    assert reading.main(["--rounds", "1", "--bootstrap", "127.0.0.1:1"]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert "did not read the same number of records" in told.err
