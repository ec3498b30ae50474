"""The emitter that the environment describes.

In come ``AUDITWIRE_*`` variables, out comes an emitter with its collector. The variables and what they take
stand in :data:`auditwire.config.SETTINGS`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from auditwire.collectors.jsonl import JSONLSinkCollector
from auditwire.collectors.memory import InMemoryCollector
from auditwire.collectors.null import NullCollector
from auditwire.config import SETTINGS, read_properties, read_setting, unknown_variables
from auditwire.emitter import AuditEmitter
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from auditwire.collectors.base import AuditCollector

__all__ = ["from_env"]

logger = logging.getLogger("auditwire")

_BROKERS = ("bootstrap.servers", "metadata.broker.list")
_DISABLED = SETTINGS[0]
_VARIABLES = {setting.parameter: setting.variable for setting in SETTINGS}


def from_env(environ: Mapping[str, str] | None = None) -> AuditEmitter:
    """Build the emitter that the environment describes.

    ::

        with auditwire.from_env() as audit:
            ...

    ``AUDITWIRE_BOOTSTRAP_SERVERS=broker:9092`` is enough for Kafka, ``AUDITWIRE_JSONL_PATH=audit.jsonl`` for
    a file, ``AUDITWIRE_JOURNAL=directory`` for a journal that another process forwards,
    ``AUDITWIRE_DISABLED=1`` for nothing at all. Where nothing says where events go, that is an error:
    a service that was deployed without its settings must not look audited. All variables:
    ``docs/guides/configure.md``.

    A variable that begins with ``AUDITWIRE_`` and that nothing reads is logged as a warning, with the names
    that are most like it.

    Args:
        environ: Read instead of ``os.environ``.

    Returns:
        The emitter. Close it: that closes its collector.

    Raises:
        ConfigurationError: A value is wrong, or one that is needed is missing; ``key`` is the variable.
        SinkError: The file of ``AUDITWIRE_JSONL_PATH`` cannot be opened.
        SchemaError: The installation's schemas are missing or damaged.
    """
    environ = os.environ if environ is None else environ
    if read_setting(_DISABLED, environ):
        logger.info("AUDITWIRE_DISABLED is set: audit events go nowhere")
        return AuditEmitter(NullCollector())
    for name, near in unknown_variables(environ).items():
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        logger.warning("the variable %s is set, and nothing reads it%s", name, hint)
    values = {setting.parameter: read_setting(setting, environ) for setting in SETTINGS}
    if values["codec"] is not None:
        from auditwire.wire import use_codec  # noqa: PLC0415 - not needed elsewhere

        use_codec(values["codec"])
    collector = _collector(values)
    logger.info("audit events go to %r", collector)
    return AuditEmitter(collector, **_given("emitter", values))


def _given(takes: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given; for the others the defaults of whatever takes them hold."""
    names = [setting.parameter for setting in SETTINGS if setting.takes == takes]
    return {name: values[name] for name in names if values[name] is not None}


def _collector(values: dict[str, Any]) -> AuditCollector:
    path: Path | None = values["config"]
    properties: dict[str, str] = {} if path is None else read_properties(path, "AUDITWIRE_CONFIG")
    chosen = values["collector"] or _described(values, properties)
    if chosen == "kafka":
        return _kafka(values, properties)
    if chosen == "jsonl":
        return _jsonl(values["jsonl_path"])
    if chosen == "journal":
        return _journal(values)
    return InMemoryCollector() if chosen == "memory" else NullCollector()


def _described(values: Mapping[str, Any], properties: Mapping[str, str]) -> str:
    """The collector that is meant where ``AUDITWIRE_COLLECTOR`` is not set."""
    kafka = values["bootstrap_servers"] or any(properties.get(name) for name in _BROKERS)
    if kafka and values["jsonl_path"]:
        raise ConfigurationError(
            "AUDITWIRE_COLLECTOR", "a broker and AUDITWIRE_JSONL_PATH are both set: say which, kafka or jsonl"
        )
    if kafka:
        return "kafka"
    if values["jsonl_path"]:
        return "jsonl"
    if values["journal"]:
        return "journal"
    raise ConfigurationError(
        "AUDITWIRE_COLLECTOR",
        "nothing says where audit events go: set AUDITWIRE_BOOTSTRAP_SERVERS=host:port for Kafka, "
        "AUDITWIRE_JSONL_PATH=file for JSON lines, AUDITWIRE_JOURNAL=directory for a journal that another "
        "process forwards, or AUDITWIRE_DISABLED=1 for no audit trail",
    )


def _jsonl(path: str | None) -> AuditCollector:
    if path is None:
        raise ConfigurationError(
            "AUDITWIRE_JSONL_PATH", "AUDITWIRE_COLLECTOR is jsonl: name the file, or - for standard output"
        )
    try:
        return JSONLSinkCollector(sys.stdout if path == "-" else path)
    except ConfigurationError as error:
        raise ConfigurationError("AUDITWIRE_JSONL_PATH", _message(error)) from error


def _journal(values: Mapping[str, Any]) -> AuditCollector:
    from auditwire.collectors.journal import JournalCollector  # noqa: PLC0415 - not needed elsewhere

    given = _given("kafka", values)
    path = given.pop("journal", None)
    if path is None:
        raise ConfigurationError("AUDITWIRE_JOURNAL", "AUDITWIRE_COLLECTOR is journal: name the directory")
    for name in ("bootstrap_servers", "config", "create_topics"):  # whoever delivers knows
        given.pop(name, None)
    try:
        return JournalCollector(path, **given)
    except ConfigurationError as error:
        raise _renamed(error, None, {}) from error


def _kafka(values: Mapping[str, Any], properties: dict[str, str]) -> AuditCollector:
    from auditwire.collectors.kafka import KafkaCollector  # noqa: PLC0415 - loads confluent_kafka

    arguments = {**_given("kafka", values), "config": properties}
    if values["bootstrap_servers"]:  # the variable wins over the file, as on the command line
        for name in _BROKERS:
            properties.pop(name, None)
    try:
        return KafkaCollector(**arguments)
    except ConfigurationError as error:
        raise _renamed(error, values["config"], properties) from error


def _renamed(error: ConfigurationError, path: Path | None, properties: Mapping[str, str]) -> Exception:
    """The same error, by the name of the variable instead of the argument or property."""
    if path is not None and error.key in {"config", *properties}:
        return ConfigurationError("AUDITWIRE_CONFIG", f"{path}: {error}")
    variable = _VARIABLES.get(error.key.replace(".", "_"))  # bootstrap.servers is librdkafka's name for ours
    return error if variable is None else ConfigurationError(variable, _message(error))


def _message(error: ConfigurationError) -> str:
    return str(error).removeprefix(f"{error.key}: ")
