"""Wrong settings: a ConfigurationError that names the key, and nothing left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import ConfigurationError, KafkaCollector

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "127.0.0.1:9"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("no.such.property", "1"),
        ("linger.ms", "soon"),
        ("linger.ms", -1),
        ("compression.type", "best"),
        ("acks", 1),
        ("request.required.acks", "0"),
        ("enable.idempotence", False),
        ("max.in.flight", 6),
        ("message.timeout.ms", 30_000),
        ("delivery.timeout.ms", 30_000),
        ("delivery.report.only.error", True),
        ("transactional.id", "t"),
        ("retries", 3),
        ("partitioner", "random"),
        ("dr_cb", print),
        ("on_delivery", "no callable"),
        ("error_cb", 3),
        ("logger", "no logger"),
        ("security.protocol", "quantum"),
        ("sasl.mechanism", "NONE-SUCH"),
        ("ssl.ca.location", "/no/such/file.pem"),
    ],
)
def test_a_wrong_property_is_named(key: str, value: Any, capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    protocol = {}
    if key.startswith("sasl."):
        protocol = {"security.protocol": "SASL_SSL"}
    elif key.startswith("ssl."):
        protocol = {"security.protocol": "SSL"}
    with pytest.raises(ConfigurationError) as caught:
        KafkaCollector(NOWHERE, config={**protocol, key: value})
    assert caught.value.key == key
    assert str(caught.value).startswith(f"{key}: ")
    assert threading.active_count() == threads
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("bootstrap_servers", {"bootstrap_servers": None}),
        ("bootstrap_servers", {"bootstrap_servers": ""}),
        ("bootstrap_servers", {"config": {"bootstrap.servers": "elsewhere:9092"}}),
        ("prefix", {"prefix": ""}),
        ("prefix", {"prefix": "a b"}),
        ("prefix", {"prefix": "x" * 240}),
        ("prefix", {"prefix": "é"}),
        ("topics['nope']", {"topics": {"nope": "t"}}),
        ("topics['turn_start']", {"topics": {"turn_start": "a/b"}}),
        ("topics['turn_start']", {"topics": {"turn_start": "."}}),
        ("headers", {"headers": "all"}),
        ("on_full", {"on_full": "drop_oldest"}),
        ("journal_bytes", {"journal_bytes": 1_000}),
        ("journal_bytes", {"journal_bytes": "many"}),
        ("full_timeout", {"full_timeout": -1}),
        ("full_timeout", {"full_timeout": "long"}),
        ("exit_timeout", {"exit_timeout": -1}),
        ("exit_timeout", {"exit_timeout": None}),
        ("journal", {"journal": __file__}),
        ("sync", {"journal": "journal", "sync": "sometimes"}),
        ("journal_bytes", {"journal": "journal", "journal_bytes": 1}),
        ("create_topics", {"create_topics": 6}),
        ("config", {"config": ["linger.ms"]}),
    ],
)
def test_a_wrong_argument_is_named(key: str, options: dict[str, Any]) -> None:
    threads = threading.active_count()
    with pytest.raises(ConfigurationError) as caught:
        KafkaCollector(**{"bootstrap_servers": NOWHERE, **options})
    assert caught.value.key == key
    assert threading.active_count() == threads


@pytest.mark.parametrize("key", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret"])
def test_a_secret_is_never_shown(key: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    config = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "NONE-SUCH",
        "ssl.key.location": str(tmp_path / "key.pem"),
        "ssl.certificate.location": str(tmp_path / "key.pem"),
        key: "hunter2-secret",
    }
    with pytest.raises(ConfigurationError) as caught:
        KafkaCollector(NOWHERE, config=config)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__dict__)
