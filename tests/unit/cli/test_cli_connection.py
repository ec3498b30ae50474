from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.cli.connection import connection, read_properties
from auditwire.cli.output import without_secrets
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def test_a_file_has_properties_comments_and_empty_lines(properties: Path) -> None:
    properties.write_text(
        "# ours\n\n  sasl.username = me \nssl.ca.location=/a=b\nempty=\n", encoding="utf-8-sig"
    )
    assert read_properties(properties) == {"sasl.username": "me", "ssl.ca.location": "/a=b", "empty": ""}


@pytest.mark.parametrize("line", ["just words", "=value", "a key=value", "sasl.password hunter2"])
def test_a_bad_line_is_named_by_file_and_number_and_is_not_shown(properties: Path, line: str) -> None:
    properties.write_text(f"sasl.username=me\n# comment\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_properties(properties)
    assert str(caught.value) == f"--config: {properties}, line 3: expected key=value"


def test_a_property_that_is_set_twice_is_refused_without_its_value(properties: Path) -> None:
    properties.write_text("sasl.password=one\nsasl.password=two\n")
    with pytest.raises(ConfigurationError, match=r"line 2: sasl\.password is set above already$"):
        read_properties(properties)


def test_a_file_that_is_not_there_is_named(properties: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"client\.properties cannot be read: No such file"):
        read_properties(properties)


def test_a_file_that_is_no_text_is_named(properties: Path) -> None:
    properties.write_bytes(b"a=\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"client\.properties cannot be read: it is no UTF-8 text"):
        read_properties(properties)


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "ssl.key.pem",
    ],
)
def test_secret_values_are_hidden_from_now_on(properties: Path, key: str) -> None:
    properties.write_text(f"{key}=hunter2\nsasl.username=me\n")
    read_properties(properties)
    assert without_secrets("me: hunter2 is wrong") == "me: *** is wrong"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z.]{1,12}", fullmatch=True), st.from_regex(r"[!-~]{0,12}", fullmatch=True)
    )
)
def test_what_is_written_line_by_line_is_read_back(found: dict[str, str]) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        path.write_text("".join(f"{key}={value}\n" for key, value in found.items()))
        assert read_properties(path) == found


def test_an_option_wins_over_the_file(properties: Path) -> None:
    properties.write_text("bootstrap.servers=file:1\nsecurity.protocol=SSL\n")
    where = connection("option:1", "audit", properties)
    assert (where.bootstrap, where.config) == ("option:1", {"security.protocol": "SSL"})


@pytest.mark.parametrize("key", ["bootstrap.servers", "metadata.broker.list"])
def test_the_file_may_name_the_broker(properties: Path, key: str) -> None:
    properties.write_text(f"{key}=file:1\n")
    where = connection(None, "audit", properties)
    assert (where.bootstrap, where.config) == ("file:1", {})


def test_a_connection_without_a_broker_names_the_three_places() -> None:
    with pytest.raises(ConfigurationError, match=r"--bootstrap: .*AUDITWIRE_BOOTSTRAP_SERVERS.*--config"):
        connection(None, "audit", None)


@pytest.mark.parametrize("prefix", ["", "a b", "a/b", "ä", "x" * 201])
def test_a_prefix_that_cannot_begin_a_topics_name_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--prefix: "):
        connection("h:1", prefix, None)


def test_a_property_that_librdkafka_refuses_is_a_configuration_error(properties: Path) -> None:
    properties.write_text("security.protocol=NONSENSE\n")
    with pytest.raises(ConfigurationError, match=r"^--config: librdkafka refuses it: .*security.protocol"):
        connection("h:1", "audit", properties).admin()


def test_a_connection_does_not_show_its_properties(properties: Path) -> None:
    properties.write_text("sasl.password=hunter2\n")
    assert "hunter2" not in repr(connection("h:1", "audit", properties))
