from __future__ import annotations

import inspect
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.collectors.kafka import KafkaCollector
from auditwire.collectors.kafka_arguments import JOURNAL_BYTES, LEAST_JOURNAL_BYTES
from auditwire.config import (
    SETTINGS,
    Setting,
    is_secret,
    read_properties,
    read_setting,
    redact,
    settings_table,
    unknown_variables,
)
from auditwire.emitter import AuditEmitter
from auditwire.errors import ConfigurationError
from auditwire.journal.disk import DEFAULT_CAPACITY, MIN_CAPACITY

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "configure.md"


def setting(variable: str) -> Setting:
    return next(s for s in SETTINGS if s.variable == variable)


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def test_a_file_has_properties_comments_and_empty_lines(properties: Path) -> None:
    properties.write_text(
        "# ours\n\n  sasl.username = me \nssl.ca.location=/a=b\nempty=\n", encoding="utf-8-sig"
    )
    assert read_properties(properties, "--config") == {
        "sasl.username": "me",
        "ssl.ca.location": "/a=b",
        "empty": "",
    }


@pytest.mark.parametrize("line", ["just words", "=value", "a key=value", "sasl.password hunter2"])
def test_a_bad_line_is_named_by_file_and_number_and_is_not_shown(properties: Path, line: str) -> None:
    properties.write_text(f"sasl.username=me\n# comment\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_properties(properties, "AUDITWIRE_CONFIG")
    assert str(caught.value) == f"AUDITWIRE_CONFIG: {properties}, line 3: expected key=value"
    assert caught.value.key == "AUDITWIRE_CONFIG"


def test_a_property_that_is_set_twice_is_refused_without_its_value(properties: Path) -> None:
    properties.write_text("sasl.password=one\nsasl.password=two\n")
    with pytest.raises(ConfigurationError, match=r"line 2: sasl\.password is set above already$"):
        read_properties(properties, "--config")


def test_a_file_that_is_not_there_is_named(properties: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"client\.properties cannot be read: No such file"):
        read_properties(properties, "--config")


def test_a_file_that_is_no_text_is_named(properties: Path) -> None:
    properties.write_bytes(b"a=\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"client\.properties cannot be read: it is no UTF-8 text"):
        read_properties(properties, "--config")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z.]{1,12}", fullmatch=True), st.from_regex(r"[!-~]{0,12}", fullmatch=True)
    )
)
def test_what_is_written_line_by_line_is_read_back(found: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        path.write_text("".join(f"{key}={value}\n" for key, value in found.items()))
        assert read_properties(path, "--config") == found


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("sasl.password", True),
        ("ssl.key.password", True),
        ("ssl.keystore.password", True),
        ("ssl.key.pem", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.username", False),
        ("ssl.ca.location", False),
    ],
)
def test_secrets_are_not_shown(name: str, secret: bool) -> None:
    assert is_secret(name) is secret
    assert redact(name, "x") == ("***" if secret else "x")


@pytest.mark.parametrize("each", SETTINGS, ids=lambda s: s.variable)
def test_each_variable_sets_an_argument_and_tells_its_true_default(each: Setting) -> None:
    taker = {"kafka": KafkaCollector, "emitter": AuditEmitter}.get(each.takes)
    if taker is None:
        assert each.takes == "choice"
        return
    default = inspect.signature(taker).parameters[each.parameter].default
    if default is None:
        return  # said in words
    value = read_setting(each, {each.variable: each.default.strip("`")})
    assert (type(value), value) == (type(default), default)


@pytest.mark.parametrize(
    ("taker", "takes", "in_code_only"),
    [
        (KafkaCollector, "kafka", {"self", "topics", "source", "journal_on_network"}),
        (AuditEmitter, "emitter", {"self", "collector", "redact"}),
    ],
)
def test_every_argument_has_a_variable_or_is_for_code_only(
    taker: type, takes: str, in_code_only: set[str]
) -> None:
    arguments = set(inspect.signature(taker.__init__).parameters)  # type: ignore[misc] # of this class
    assert {s.parameter for s in SETTINGS if s.takes == takes} == arguments - in_code_only


def test_the_journals_default_and_least_size_are_as_the_table_says() -> None:
    size = setting("AUDITWIRE_JOURNAL_BYTES")
    in_memory, on_disk = (text.strip("`") for text in size.default.split(", on disk "))
    assert (size.parse(in_memory), size.parse(on_disk)) == (JOURNAL_BYTES, DEFAULT_CAPACITY)
    assert (size.parse("2MiB"), size.parse("8MiB")) == (LEAST_JOURNAL_BYTES, MIN_CAPACITY)
    assert "at least `2MiB`, on disk `8MiB`" in size.accepts


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("3000000", 3_000_000),
        ("3000000B", 3_000_000),
        ("64MiB", 64 << 20),
        ("64 MiB", 64 << 20),
        ("1GiB", 1 << 30),
        ("4096KiB", 4 << 20),
        ("5000kB", 5_000_000),
        ("5MB", 5_000_000),
        ("1GB", 1_000_000_000),
    ],
)
def test_a_size_has_a_unit_or_none(text: str, size: int) -> None:
    assert read_setting(setting("AUDITWIRE_JOURNAL_BYTES"), {"AUDITWIRE_JOURNAL_BYTES": text}) == size


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "Yes", "on", " 1 "])
def test_a_flag_is_on(text: str) -> None:
    assert read_setting(setting("AUDITWIRE_DISABLED"), {"AUDITWIRE_DISABLED": text}) is True


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_a_flag_is_off(text: str) -> None:
    assert read_setting(setting("AUDITWIRE_DISABLED"), {"AUDITWIRE_DISABLED": text}) is False


@pytest.mark.parametrize(
    ("variable", "text", "accepted"),
    [
        ("AUDITWIRE_DISABLED", "maybe", "1, true, yes, on; or 0, false, no, off"),
        ("AUDITWIRE_COLLECTOR", "Kafka", "kafka, jsonl, journal, memory or null"),
        ("AUDITWIRE_HEADERS", "http", "cloudevents or none"),
        ("AUDITWIRE_ON_FULL", "drop", "block or drop_newest"),
        ("AUDITWIRE_ON_ERROR", "ignore", "log or raise"),
        ("AUDITWIRE_PRINCIPAL_TYPE", "robot", "user, service or system"),
        ("AUDITWIRE_JOURNAL_BYTES", "64M", "64MiB"),
        ("AUDITWIRE_JOURNAL_BYTES", "64mib", "64MiB"),
        ("AUDITWIRE_JOURNAL_BYTES", "-1", "a number of bytes"),
        ("AUDITWIRE_JOURNAL_BYTES", "1.5GiB", "a number of bytes"),
        ("AUDITWIRE_FULL_TIMEOUT", "-1", "seconds, 0 or more"),
        ("AUDITWIRE_FULL_TIMEOUT", "nan", "seconds, 0 or more"),
        ("AUDITWIRE_FULL_TIMEOUT", "inf", "seconds, 0 or more"),
        ("AUDITWIRE_EXIT_TIMEOUT", "5s", "seconds, 0 or more"),
        ("AUDITWIRE_PREVIEW_CHARS", "-1", "a whole number, 0 or more"),
        ("AUDITWIRE_PREVIEW_CHARS", "1_0", "a whole number, 0 or more"),
        ("AUDITWIRE_PREVIEW_CHARS", "٣", "a whole number, 0 or more"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_it_takes(variable: str, text: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_setting(setting(variable), {variable: text})
    assert caught.value.key == variable
    assert str(caught.value).startswith(f"{variable}: {text!r} is not accepted; it takes ")
    assert accepted in str(caught.value)


@pytest.mark.parametrize("each", SETTINGS, ids=lambda s: s.variable)
def test_set_to_nothing_is_not_set(each: Setting) -> None:
    assert read_setting(each, {}) is None
    assert read_setting(each, {each.variable: "  "}) is None


def test_the_services_name_falls_back_to_opentelemetrys() -> None:
    service = setting("AUDITWIRE_SERVICE")
    assert read_setting(service, {"OTEL_SERVICE_NAME": "theirs"}) == "theirs"
    assert read_setting(service, {"OTEL_SERVICE_NAME": "theirs", "AUDITWIRE_SERVICE": "ours"}) == "ours"


def test_unknown_variables_are_named_with_what_is_like_them() -> None:
    found = unknown_variables(
        {
            "AUDITWIRE_BOOTSTRAP_SERVER": "x",
            "AUDITWIRE_ZZZ": "x",
            "AUDITWIRE_PREFIX": "x",
            "AUDITWIRE_DEBUG": "1",
            "AUDITWIRE_METRICS": "127.0.0.1:9100",
            "AUDITWIRE_TEST_TIER": "mock",
            "PATH": "x",
        }
    )
    assert list(found) == ["AUDITWIRE_BOOTSTRAP_SERVER", "AUDITWIRE_ZZZ"]
    assert found["AUDITWIRE_BOOTSTRAP_SERVER"][0] == "AUDITWIRE_BOOTSTRAP_SERVERS"
    assert found["AUDITWIRE_ZZZ"] == []


def test_the_guides_table_is_the_codes() -> None:
    assert settings_table() in GUIDE.read_text(), f"write auditwire.config.settings_table() into {GUIDE}"
