from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.cli.connection import connection
from auditwire.cli.output import without_secrets
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    return tmp_path / "client.properties"


def test_a_bad_line_is_named_by_option_file_and_number(properties: Path) -> None:
    properties.write_text("sasl.username=me\nsasl.password hunter2\n")
    with pytest.raises(ConfigurationError) as caught:
        connection("h:1", "audit", properties)
    assert str(caught.value) == f"--config: {properties}, line 2: expected key=value"


@pytest.mark.parametrize("key", ["sasl.password", "sasl.oauthbearer.client.secret", "ssl.key.pem"])
def test_secret_values_are_hidden_from_now_on(properties: Path, key: str) -> None:
    properties.write_text(f"{key}=hunter2\nsasl.username=me\n")
    connection("h:1", "audit", properties)
    assert without_secrets("me: hunter2 is wrong") == "me: *** is wrong"


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
