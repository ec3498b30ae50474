"""Which broker, topics and librdkafka properties: from options, the environment and a properties file.

The first that says it wins:

=================== ============== ================================ ==========================
what                option         variable                         ``--config`` file
=================== ============== ================================ ==========================
broker              --bootstrap    ``AUDITWIRE_BOOTSTRAP_SERVERS``  ``bootstrap.servers``
prefix of topics    --prefix       ``AUDITWIRE_PREFIX``             (``audit`` by default)
properties file     --config       ``AUDITWIRE_CONFIG``
=================== ============== ================================ ==========================

The file has librdkafka's own properties, one ``key=value`` a line; ``#`` begins a comment line. What it says
of passwords is shown nowhere.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditwire.cli.output import hide
from auditwire.config import is_secret, read_properties
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

__all__ = ["Bootstrap", "ConfigFile", "Connection", "Prefix", "connection"]

ANSWER_SECONDS = 10.0
"""How long a command waits for a broker before it says that there is none."""

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap",
        "-b",
        metavar="HOST:PORT",
        envvar="AUDITWIRE_BOOTSTRAP_SERVERS",
        help="The broker, several with commas.",
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        "--prefix", metavar="TEXT", envvar="AUDITWIRE_PREFIX", help="The topics are PREFIX.turn-start ..."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        envvar="AUDITWIRE_CONFIG",
        help="librdkafka properties: one key=value a line (security.protocol, sasl.password, ...).",
    ),
]

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a trail.

    Attributes:
        bootstrap: ``host:port``, several with commas.
        prefix: The topics' prefix.
        config: librdkafka's other properties; not shown, there are passwords among them.
    """

    bootstrap: str
    prefix: str
    config: dict[str, Any] = field(repr=False)

    def admin(self) -> AdminClient:
        """A client for administrative requests.

        Raises:
            ConfigurationError: librdkafka refuses a property.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415 - 60 ms that --help does not pay
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - as above

        from auditwire.delivery.settings import client_config  # noqa: PLC0415 - as above

        logger = logging.getLogger("auditwire.librdkafka")
        logger.addHandler(logging.NullHandler())  # nothing raw on stderr
        settings = client_config(
            {**self.config, "bootstrap.servers": self.bootstrap, "client.id": "auditwire-cli"}
        )
        try:
            return AdminClient(settings, logger=logger)
        except KafkaException as error:
            raise ConfigurationError("--config", f"librdkafka refuses it: {error.args[0].str()}") from error


def connection(bootstrap: str | None, prefix: str, config: Path | None) -> Connection:
    """The settings as the options, the environment and the file give them.

    Raises:
        ConfigurationError: No broker is named, the prefix cannot begin a topic's name, or the file is wrong.
    """
    properties = {} if config is None else read_properties(config, "--config")
    for name, value in properties.items():
        if is_secret(name):
            hide(value)
    named = properties.pop("bootstrap.servers", None) or properties.pop("metadata.broker.list", None)
    servers = bootstrap or named
    if not servers:
        raise ConfigurationError(
            "--bootstrap",
            "no broker is named: give it here, in AUDITWIRE_BOOTSTRAP_SERVERS, or as bootstrap.servers in "
            "the --config file",
        )
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            "--prefix", f"{prefix!r} cannot begin a topic's name: letters, digits, . _ -"
        )
    return Connection(servers, prefix, dict(properties))
