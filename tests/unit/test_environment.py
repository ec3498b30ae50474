from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import auditwire
from auditwire.collectors.journal import JournalCollector
from auditwire.collectors.journals import DiskJournals
from auditwire.collectors.kafka import KafkaCollector
from auditwire.config import SETTINGS
from auditwire.environment import from_env
from auditwire.errors import ConfigurationError, FlushTimeout, SinkError
from auditwire.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auditwire.emitter import AuditEmitter
    from auditwire.testing import EmbeddedBroker

NOBODY = "127.0.0.1:1"
SERVERS = {"AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY}


def kafka_from(environ: Mapping[str, str]) -> tuple[AuditEmitter, Any]:
    """An emitter and its collector, closed at once: what it was made of can still be looked at."""
    audit = from_env(environ)
    assert isinstance(audit.collector, KafkaCollector)
    with suppress(FlushTimeout):
        audit.collector.close(0)
    return audit, audit.collector


@pytest.mark.parametrize("name", ["", "kafka"])
def test_a_broker_is_enough_for_kafka(audit_broker: EmbeddedBroker, name: str) -> None:
    prefix = f"env-{uuid4().hex[:8]}"
    audit_broker.create_topics(prefix=prefix)
    environ = {
        "AUDITWIRE_COLLECTOR": name,
        "AUDITWIRE_BOOTSTRAP_SERVERS": audit_broker.bootstrap_servers,
        "AUDITWIRE_PREFIX": prefix,
        "AUDITWIRE_SERVICE": "support-bot",
        "AUDITWIRE_SERVICE_VERSION": "1.2",
        "AUDITWIRE_ENVIRONMENT": "staging",
        "AUDITWIRE_SESSION_ID": "s-1",
        "AUDITWIRE_AGENT_ID": "planner",
        "AUDITWIRE_PRINCIPAL_ID": "ada",
        "AUDITWIRE_PRINCIPAL_TYPE": "user",
        "AUDITWIRE_TENANT_ID": "acme",
        "AUDITWIRE_PREVIEW_CHARS": "5",
        "AUDITWIRE_CREATE_TOPICS": "0",
        "AUDITWIRE_DIGESTS": "sha256",
        "AUDITWIRE_ON_ERROR": "raise",
    }
    with from_env(environ) as audit:
        audit.emit_turn_start(prompt="Where is my parcel?")
    with Reader(audit_broker.bootstrap_servers, prefix=prefix, from_beginning=True, follow=False) as reader:
        records = list(reader)
    events = {record.event.event_type: record.event for record in records}
    turn = events["turn_start"].to_dict()
    expected = {
        "session_id": "s-1",
        "agent_id": "planner",
        "principal_id": "ada",
        "principal_type": "user",
        "tenant_id": "acme",
        "prompt_preview": "Where",
        "prompt_digest": f"sha256:{sha256(b'Where is my parcel?').hexdigest()}",
    }
    assert {name: turn[name] for name in expected} == expected
    resource = json.loads(events["checkpoint"].to_dict()["resource"])
    assert resource["service.name"] == "support-bot"
    assert resource["service.version"] == "1.2"
    assert resource["deployment.environment.name"] == "staging"
    assert f"/auditwire/support-bot/{records[0].stream_id}" in repr(records[0].headers)


def test_the_rest_of_a_kafka_collectors_settings_arrive() -> None:
    _, collector = kafka_from(
        {
            "AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY,
            "AUDITWIRE_HEADERS": "none",
            "AUDITWIRE_JOURNAL_BYTES": "3MiB",
            "AUDITWIRE_ON_FULL": "drop_newest",
            "AUDITWIRE_FULL_TIMEOUT": "0.5",
            "AUDITWIRE_EXIT_TIMEOUT": "1.5",
            "AUDITWIRE_CREATE_TOPICS": "false",
        }
    )
    assert collector.health().capacity_bytes == 3 << 20
    assert collector.exit_timeout == 1.5
    journals = collector._journals
    assert (collector._headers, journals.on_full, journals.full_timeout) == ("none", "drop_newest", 0.5)
    assert collector._topic_settings is None


def test_a_journal_on_disk_is_used_where_a_directory_is_named(tmp_path: Path) -> None:
    _, collector = kafka_from(
        {
            "AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY,
            "AUDITWIRE_JOURNAL": str(tmp_path / "journal"),
            "AUDITWIRE_JOURNAL_BYTES": "9MiB",
            "AUDITWIRE_SYNC": "always",
            "AUDITWIRE_EXIT_TIMEOUT": "0",
        }
    )
    assert collector.durable
    assert isinstance(collector._journals, DiskJournals)
    assert (collector._journals.capacity, collector._journals.sync) == (9 << 20, "always")
    assert (tmp_path / "journal" / collector.stream_id / "stream.json").exists()


@pytest.mark.parametrize("chosen", [{}, {"AUDITWIRE_COLLECTOR": "journal"}])
def test_a_journal_without_a_broker_is_for_another_process_to_forward(
    tmp_path: Path, chosen: dict[str, str]
) -> None:
    given = {"AUDITWIRE_JOURNAL": str(tmp_path), "AUDITWIRE_PREFIX": "trail", "AUDITWIRE_SERVICE": "bot"}
    with from_env({**given, **chosen}) as audit:
        collector = audit.collector
        assert isinstance(collector, JournalCollector)
        audit.emit_turn_start(prompt="hello")
        info = json.loads((tmp_path / collector.stream_id / "stream.json").read_text())
    assert info["target"] == {"bootstrap": "", "prefix": "trail"}
    assert info["service"] == "bot"


def test_a_journal_that_is_chosen_has_to_be_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_env({"AUDITWIRE_COLLECTOR": "journal"})
    assert caught.value.key == "AUDITWIRE_JOURNAL"


def test_a_wrong_setting_of_a_journal_is_told_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        from_env({"AUDITWIRE_JOURNAL": str(tmp_path / "file")})
    assert caught.value.key == "AUDITWIRE_JOURNAL"


def test_a_file_of_properties_may_name_the_broker(tmp_path: Path) -> None:
    path = tmp_path / "client.properties"
    path.write_text(f"bootstrap.servers={NOBODY}\nlinger.ms=17\n")
    _, collector = kafka_from({"AUDITWIRE_CONFIG": str(path)})
    assert collector._config["bootstrap.servers"] == NOBODY
    assert collector._config["linger.ms"] == "17"


@pytest.mark.parametrize("name", ["bootstrap.servers", "metadata.broker.list"])
def test_the_variable_wins_over_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "client.properties"
    path.write_text(f"{name}=file:1\n")
    _, collector = kafka_from({"AUDITWIRE_CONFIG": str(path), "AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY})
    assert collector._config["bootstrap.servers"] == NOBODY


def test_a_path_is_enough_for_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with from_env({"AUDITWIRE_JSONL_PATH": str(path), "AUDITWIRE_SESSION_ID": "s-1"}) as audit:
        audit.emit_error("kind")
    assert json.loads(path.read_text())["session_id"] == "s-1"


def test_a_hyphen_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with from_env({"AUDITWIRE_COLLECTOR": "jsonl", "AUDITWIRE_JSONL_PATH": "-"}) as audit:
        audit.emit_error("kind")
    assert json.loads(capsys.readouterr().out)["error_type"] == "kind"


@pytest.mark.parametrize(("name", "kind"), [("memory", "InMemoryCollector"), ("null", "NullCollector")])
def test_a_collector_without_a_place_is_asked_for_by_name(name: str, kind: str) -> None:
    audit = from_env({"AUDITWIRE_COLLECTOR": name, "AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY})
    assert type(audit.collector).__name__ == kind


def test_what_is_disabled_looks_at_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    wrong = {setting.variable: "\0 wrong" for setting in SETTINGS}
    with caplog.at_level(logging.WARNING, "auditwire"):
        audit = from_env({**wrong, "AUDITWIRE_UNKNOWN": "1", "AUDITWIRE_DISABLED": "1"})
    assert type(audit.collector).__name__ == "NullCollector"
    assert caplog.records == []
    audit.emit_error("goes nowhere")
    assert audit.refused == 0


@pytest.mark.parametrize("disabled", [{}, {"AUDITWIRE_DISABLED": "0"}])
def test_an_environment_that_says_nothing_is_an_error_that_says_what_to_set(
    disabled: dict[str, str],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_env({"PATH": "/bin", "AUDITWIRE_PREFIX": "audit", **disabled})
    assert caught.value.key == "AUDITWIRE_COLLECTOR"
    for name in ("AUDITWIRE_BOOTSTRAP_SERVERS", "AUDITWIRE_JSONL_PATH", "AUDITWIRE_DISABLED=1"):
        assert name in str(caught.value)


def test_two_places_without_a_choice_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"^AUDITWIRE_COLLECTOR: .* say which, kafka or jsonl"):
        from_env({"AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY, "AUDITWIRE_JSONL_PATH": "x"})


@pytest.mark.parametrize(
    ("environ", "key", "says"),
    [
        ({"AUDITWIRE_COLLECTOR": "kafka"}, "AUDITWIRE_BOOTSTRAP_SERVERS", "name a broker"),
        ({"AUDITWIRE_COLLECTOR": "jsonl"}, "AUDITWIRE_JSONL_PATH", "name the file"),
        ({"AUDITWIRE_JSONL_PATH": "/"}, "AUDITWIRE_JSONL_PATH", "directory"),
        ({**SERVERS, "AUDITWIRE_PREFIX": "a b"}, "AUDITWIRE_PREFIX", "cannot begin a topic's name"),
        ({**SERVERS, "AUDITWIRE_JOURNAL_BYTES": "1MiB"}, "AUDITWIRE_JOURNAL_BYTES", "at least 2097152"),
        ({**SERVERS, "AUDITWIRE_CONFIG": "/no/such"}, "AUDITWIRE_CONFIG", "/no/such cannot be read"),
        ({**SERVERS, "AUDITWIRE_ON_ERROR": "ignore"}, "AUDITWIRE_ON_ERROR", "log or raise"),
    ],
)
def test_what_a_collector_refuses_is_named_by_its_variable(
    environ: dict[str, str], key: str, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_env(environ)
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("acks=1", "acks: '1' is refused: only acks=all"),
        ("security.protocol=NONSENSE", "security.protocol: "),
        ("no.such.property=1", "no.such.property"),
    ],
)
def test_what_a_property_breaks_is_named_by_variable_file_and_property(
    tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "client.properties"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        from_env({"AUDITWIRE_BOOTSTRAP_SERVERS": NOBODY, "AUDITWIRE_CONFIG": str(path)})
    assert caught.value.key == "AUDITWIRE_CONFIG"
    assert str(caught.value).startswith(f"AUDITWIRE_CONFIG: {path}: ")
    assert says in str(caught.value)


def test_an_error_that_no_variable_made_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*args: object, **kwargs: object) -> None:
        raise ConfigurationError("somewhere", "is wrong")

    monkeypatch.setattr(KafkaCollector, "__init__", damaged)
    with pytest.raises(ConfigurationError, match=r"^somewhere: is wrong$"):
        from_env(SERVERS)


def test_a_file_that_cannot_be_opened_is_the_sinks_error() -> None:
    with pytest.raises(SinkError, match="/dev/full/audit"):
        from_env({"AUDITWIRE_JSONL_PATH": "/dev/full/audit"})


def test_an_unknown_variable_is_a_warning_that_names_what_is_like_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "auditwire"):
        from_env({"AUDITWIRE_COLLECTOR": "null", "AUDITWIRE_PREFX": "x", "AUDITWIRE_QQQQ": "y"})
    assert [record.getMessage() for record in caplog.records] == [
        "the variable AUDITWIRE_PREFX is set, and nothing reads it; did you mean AUDITWIRE_PREFIX?",
        "the variable AUDITWIRE_QQQQ is set, and nothing reads it",
    ]


def test_the_processs_own_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AUDITWIRE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUDITWIRE_COLLECTOR", "memory")
    monkeypatch.setenv("AUDITWIRE_SESSION_ID", "s-1")
    assert auditwire.from_env().session_id == "s-1"


def test_from_env_loads_no_kafka_client_unless_it_is_asked_for_kafka() -> None:
    script = (
        "import sys, auditwire; auditwire.from_env({'AUDITWIRE_COLLECTOR': 'memory'}); "
        "print(*(m for m in sys.modules if m in ('confluent_kafka', 'fastavro')))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
