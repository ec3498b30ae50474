"""What the embedded broker can answer, and by doubles what it cannot; test_cli.py asks a real one."""

from __future__ import annotations

import json
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli import cluster
from auditwire.cli.app import run
from auditwire.cli.connection import Connection
from auditwire.cli.topics import _duration
from auditwire.events import ALL_TYPES

if TYPE_CHECKING:
    from auditwire.testing import EmbeddedBroker


pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def here(audit_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setattr(cluster, "_DESCRIBE_SECONDS", 1.0)
    return audit_broker.bootstrap_servers


@pytest.fixture
def creations(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Stands for the broker's answers: all topics are made, except those that are put in here."""
    answers: dict[str, str | None] = {}

    def create(_admin: object, names: list[str], _settings: object) -> dict[str, str | None]:
        return {name: answers.get(name) for name in names}

    monkeypatch.setattr("auditwire.delivery.topics.create_topics", create)
    return answers


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_topics_of_the_prefix_are_listed_with_their_counts(
    here: str, trail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AuditEmitter(KafkaCollector(here, prefix=trail, create_topics=False)) as audit:
        for _ in range(3):
            audit.emit_error("E")
    assert run(["topics", "list", "--prefix", trail, "--json"]) == 0
    found = {line["topic"]: line for line in lines(capsys)}
    assert {line["event_type"] for line in found.values()} == set(ALL_TYPES)
    assert found[f"{trail}.error"] == {
        "topic": f"{trail}.error",
        "event_type": "error",
        "partitions": 2,
        "replication": 1,
        "retention_ms": None,
        "cleanup_policy": None,
        "records": 3,
    }
    assert (found[f"{trail}.checkpoint"]["records"], found[f"{trail}.turn-end"]["records"]) == (2, 0)


def test_people_get_a_table_and_a_remark_on_what_is_not_known(
    here: str, trail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["topics", "list", "--prefix", trail]) == 0
    captured = capsys.readouterr()
    header, *rows = captured.out.splitlines()
    assert header.split() == ["topic", "partitions", "replication", "records", "retention", "cleanup"]
    assert len(rows) == len(ALL_TYPES)
    assert rows[0].split() == [f"{trail}.agent-switch", "2", "1", "0", "?", "?"]
    assert captured.err == "auditwire: the broker does not describe its topics' settings\n"


def test_no_topics_are_no_failure_and_said(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "list", "--prefix", "nothing"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        f"auditwire: no audit topics with the prefix nothing on {here}\n",
    )


def test_settings_are_shown_where_the_broker_tells_them(
    here: str, trail: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"retention.ms": "34560000000", "cleanup.policy": "delete"}
    monkeypatch.setattr(cluster, "_settings", lambda _, topics: dict.fromkeys(topics, told))
    assert run(["topics", "list", "--prefix", trail]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[-3:] == ["400", "days", "delete"]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (None, "?"),
        (-1, "for ever"),
        (3_600_000, "1.0 h"),
        (86_400_000, "1 days"),
        (34_560_000_000, "400 days"),
    ],
)
def test_retention_reads_in_days(milliseconds: int | None, said: str) -> None:
    assert _duration(milliseconds) == said


def test_a_dry_run_makes_nothing_and_says_what_it_would(
    here: str, audit_broker: EmbeddedBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    audit_broker.create_topics(["dry.error"], partitions=6)
    assert run(["topics", "create", "--prefix", "dry", "--dry-run", "--json", "--retention-days", "30"]) == 0
    found = {line["topic"]: line for line in lines(capsys)}
    assert len(found) == len(ALL_TYPES)
    assert found["dry.error"] == {
        "topic": "dry.error",
        "status": "exists",
        "reason": None,
        "partitions": 6,
        "replication": None,
        "config": None,
    }
    assert found["dry.turn-start"]["status"] == "would create"
    assert found["dry.turn-start"]["config"]["retention.ms"] == "2592000000"
    assert run(["topics", "list", "--prefix", "dry", "--json"]) == 0
    assert [line["topic"] for line in lines(capsys)] == ["dry.error"]


def test_created_topics_are_shown_with_their_shape(
    here: str, creations: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["topics", "create", "--prefix", "new", "--partitions", "3", "--replication", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ["new.turn-start", "created", "3", "1", "400", "days"]
    assert captured.err == ""


def test_a_refused_topic_is_named_with_the_reason_and_fails(
    here: str, creations: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    creations["new.error"] = "TOPIC_AUTHORIZATION_FAILED: no"
    assert run(["topics", "create", "--prefix", "new"]) == 1
    captured = capsys.readouterr()
    assert ["new.error", "refused"] in [line.split() for line in captured.out.splitlines()]
    assert captured.err == "auditwire: new.error was refused: TOPIC_AUTHORIZATION_FAILED: no\n"


def test_topics_with_another_number_of_partitions_are_left_and_named(
    here: str, trail: str, creations: dict[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["topics", "create", "--prefix", trail]) == 0
    captured = capsys.readouterr()
    assert [f"{trail}.error", "exists", "2"] in [line.split() for line in captured.out.splitlines()]
    assert "other than 6 cannot be joined by partition" in captured.err
    assert f"{trail}.error has 2" in captured.err


def test_a_broker_that_is_not_there_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.6)
    assert run(["topics", "list", "-b", "127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("auditwire: no broker answered at 127.0.0.1:1 within 0.6 s")


def answered(value: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(value) if isinstance(value, Exception) else future.set_result(value)
    return future


def test_settings_are_taken_from_what_is_described_and_the_rest_left_out() -> None:
    def describe_configs(wanted: list[Any], **_: object) -> dict[Any, Future[Any]]:
        good, bad = wanted
        refused = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
        entries = {"retention.ms": SimpleNamespace(value="1")}
        return {good: answered(entries), bad: answered(refused)}

    admin: Any = SimpleNamespace(describe_configs=describe_configs)
    assert cluster._settings(admin, {"a": None, "b": None}) == {"a": {"retention.ms": "1"}}


def offset_answers(monkeypatch: pytest.MonkeyPatch, here: str, trail: str, code: int, failures: int) -> None:
    """Makes the broker answer the first so many questions for offsets with an error."""
    admin = Connection(here, trail, {}).admin()
    asked: list[int] = []

    def list_offsets(wanted: dict[Any, Any], **options: Any) -> dict[Any, Future[Any]]:
        asked.append(len(wanted))
        if len(asked) > failures:
            return admin.list_offsets(wanted, **options)
        return {place: answered(KafkaException(KafkaError(code))) for place in wanted}

    double = SimpleNamespace(
        list_topics=admin.list_topics, describe_configs=lambda *_, **__: {}, list_offsets=list_offsets
    )
    monkeypatch.setattr(Connection, "admin", lambda _: double)


def test_offsets_that_are_refused_are_an_error(
    here: str, trail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offset_answers(monkeypatch, here, trail, KafkaError.TOPIC_AUTHORIZATION_FAILED, failures=1)
    assert run(["topics", "list", "--prefix", trail]) == 1
    assert f"does not tell the offsets of {trail}.agent-switch" in capsys.readouterr().err


def test_a_topic_without_a_leader_yet_is_asked_again(
    here: str, trail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offset_answers(monkeypatch, here, trail, KafkaError.NOT_LEADER_FOR_PARTITION, failures=2)
    assert run(["topics", "list", "--prefix", trail, "--json"]) == 0
    assert len(lines(capsys)) == len(ALL_TYPES)


def test_a_topic_that_stays_without_a_leader_is_an_error(
    here: str, trail: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    offset_answers(monkeypatch, here, trail, KafkaError.LEADER_NOT_AVAILABLE, failures=1000)
    assert run(["topics", "list", "--prefix", trail]) == 1
    assert "LEADER_NOT_AVAILABLE" in capsys.readouterr().err
