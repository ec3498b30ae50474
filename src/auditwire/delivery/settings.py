"""The producer's settings: our defaults, the user's wishes, and what may not be wished.

Everything that librdkafka knows can be set under its own name and wins over the defaults, except what the
delivery promises rest on: that is refused, with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from auditwire.config import redact
from auditwire.delivery.partitioner import PARTITIONERS
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CALLBACKS", "DEFAULTS", "client_config", "named_setting", "producer_config"]

DEFAULTS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "max.in.flight.requests.per.connection": 5,
    "message.timeout.ms": 0,  # the journal is the bound, not a timer that gives up
    "linger.ms": 5,
    "compression.type": "zstd",
    "queue.buffering.max.messages": 20_000,
    "queue.buffering.max.kbytes": 32_768,  # 1 GiB by default
    "partitioner": "murmur2_random",
    "allow.auto.create.topics": False,
    "topic.metadata.propagation.max.ms": 5_000,  # only topics seen in the metadata are produced to
    "client.id": "auditwire",
}

CALLBACKS = ("error_cb", "stats_cb", "oauth_cb", "throttle_cb", "on_delivery", "logger")
"""The user's own, called after ours and guarded."""

_TRUE = {"true", "t", "1", "yes"}


def _is(value: Any, *accepted: Any) -> bool:
    return value in accepted or str(value).strip().lower() in {str(a).lower() for a in accepted}


def _at_most_five(value: Any) -> bool:
    try:
        return 1 <= int(value) <= 5  # noqa: PLR2004 - the number in the message below
    except (TypeError, ValueError):
        return False


_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (
        ("acks", "request.required.acks"),
        lambda v: _is(v, "all", -1),
        "only acks=all: with less, an acknowledged event can vanish when a broker fails",
    ),
    (
        ("enable.idempotence",),
        lambda v: v is True or str(v).strip().lower() in _TRUE,
        "must stay true: without it a retry writes an event twice or out of order",
    ),
    (
        ("max.in.flight.requests.per.connection", "max.in.flight"),
        _at_most_five,
        "1 to 5: above that the idempotent producer cannot keep the order",
    ),
    (
        ("message.timeout.ms", "delivery.timeout.ms"),
        lambda v: _is(v, 0),
        "must stay 0: a timeout would give up on events while the broker is away; the journal is the bound",
    ),
    (
        ("delivery.report.only.error",),
        lambda v: _is(v, False, "f", 0, "no"),
        "must stay false: events leave the journal by their delivery reports",
    ),
    (
        ("transactional.id",),
        lambda v: v in (None, ""),
        "transactions are not used: an aborted one would take accepted events with it",
    ),
    (
        ("retries", "message.send.max.retries"),
        lambda v: str(v).isdigit() and int(v) >= 2147483647,  # noqa: PLR2004 - the default, and the largest
        "must stay at its default: a broker that is away for long would exhaust them",
    ),
    (
        ("partitioner",),
        lambda v: v in PARTITIONERS,
        f"one of {', '.join(PARTITIONERS)}: the sender computes partitions itself",
    ),
    (
        ("dr_cb", "dr_msg_cb"),
        lambda v: v is None,
        "use on_delivery, which is called after auditwire's own accounting",
    ),
)


def producer_config(
    bootstrap_servers: str | None, config: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Librdkafka's configuration for the producer, and the user's callbacks beside it.

    Raises:
        ConfigurationError: A setting would break a promise, or no broker is named.
    """
    if config is not None and not isinstance(config, Mapping):
        raise ConfigurationError("config", f"a mapping of librdkafka's settings is expected, not {config!r}")
    user = dict(config or {})
    callbacks = {name: user.pop(name) for name in CALLBACKS if user.get(name) is not None}
    _check(user, callbacks)
    merged = {**DEFAULTS, **user}
    for names, _, _ in _RULES:  # two spellings of one property: ours goes where the user's stands
        spelled = [name for name in names if name in user]
        if spelled:
            for name in names:
                if name not in spelled:
                    merged.pop(name, None)
    _set_bootstrap(merged, bootstrap_servers)
    return merged, callbacks


def _check(user: Mapping[str, Any], callbacks: Mapping[str, Any]) -> None:
    for name, callback in callbacks.items():
        if name == "logger":
            if not isinstance(callback, logging.Logger):
                raise ConfigurationError("logger", "a logging.Logger is expected")
        elif not callable(callback):
            raise ConfigurationError(name, "a callable is expected")
    for names, accepts, why in _RULES:
        for name in names:
            if name in user and not accepts(user[name]):
                raise ConfigurationError(name, f"{redact(name, user[name])!r} is refused: {why}")


def client_config(producer: Mapping[str, Any]) -> dict[str, Any]:
    """The connection's part of a producer's configuration, for an admin client of the same cluster."""
    prefixes = ("ssl.", "sasl.", "security.", "socket.", "broker.", "metadata.broker", "bootstrap.", "test.")
    names = ("client.id", "debug", "log_level", "enabled_sasl_mechanisms", "client.dns.lookup", "api.version")
    return {k: v for k, v in producer.items() if k.startswith(prefixes + names)}


def _set_bootstrap(config: dict[str, Any], bootstrap_servers: str | None) -> None:
    known = config.get("bootstrap.servers") or config.get("metadata.broker.list")
    if bootstrap_servers:
        if known and known != bootstrap_servers:
            raise ConfigurationError(
                "bootstrap_servers", f"contradicts config['bootstrap.servers'] ({known!r}): give one of them"
            )
        config["bootstrap.servers"] = bootstrap_servers
        config.pop("metadata.broker.list", None)
    elif not known:
        raise ConfigurationError("bootstrap_servers", "name a broker, for example 'localhost:9092'")


_ALIASES = {
    "acks": "request.required.acks",
    "bootstrap.servers": "metadata.broker.list",
    "compression.type": "compression.codec",
    "delivery.timeout.ms": "message.timeout.ms",
    "linger.ms": "queue.buffering.max.ms",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "retries": "message.send.max.retries",
    "sasl.mechanism": "sasl.mechanisms",
}
"""What librdkafka calls in its messages what users know by another name."""

_TELLING = 4


def named_setting(message: str, config: Mapping[str, Any]) -> str:
    """The setting that librdkafka complains of: by its name there, else by its value; else ``config``."""
    by_name = [key for key in config if key in message or _ALIASES.get(key, key) in message]
    by_value = [
        key
        for key, value in config.items()
        if isinstance(value, str) and len(value) >= _TELLING and value in message
    ]
    return max(by_name or by_value or ["config"], key=len)
