from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.config import is_secret, read_properties, redact
from auditwire.errors import ConfigurationError


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
