"""The consumer's settings: our defaults, the user's wishes, and what may not be wished.

Everything that librdkafka knows can be set under its own name and wins over the defaults, except what the
reader's promises rest on: that is refused, with the reason.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["DEFAULTS", "consumer_config", "fetch_sizes", "guarded"]

log = logging.getLogger("auditwire")

librdkafka_log = logging.getLogger("auditwire.librdkafka")
# without any handler, Python's logging would print the client's lines on stderr
librdkafka_log.addHandler(logging.NullHandler())

DEFAULTS: Mapping[str, Any] = {
    "client.id": "auditwire-reader",
    "group.id": "auditwire-reader",  # librdkafka demands one; it is never joined
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "check.crcs": True,
    "fetch.error.backoff.ms": 100,
    # before the first attempt to connect to a broker again; doubled each time. Half of it is also how long
    # librdkafka rests between two looks for a broker to ask: with 250 ms the first answer to any client came
    # 140 ms after it was made, with librdkafka's own 100 ms after 60 ms, with this after 20 ms
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 2_000,
    # of the one queue that all partitions share
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 4_096,
    # how long a full queue is left alone: with librdkafka's 1,000 ms it runs dry in the meantime, and 20,000
    # records took 3 s instead of 0.3 s
    "fetch.queue.backoff.ms": 10,
}

GROUPED: Mapping[str, Any] = {
    **DEFAULTS,
    "enable.partition.eof": False,
    "enable.auto.commit": True,
    # offsets are stored when the caller has finished with a record, and committed from there
    "enable.auto.offset.store": False,
    "partition.assignment.strategy": "cooperative-sticky",
}
"""Of a consumer that joins a group."""

_LEAST_FETCH = 16 * 1024
_MOST_FETCH = 1_048_576  # librdkafka's own default

_OFF = ("false", "f", "0", "no")
_ON = ("true", "t", "1", "yes")
_EARLIEST = ("earliest", "smallest", "beginning")

_RULES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "enable.auto.commit": (_OFF, "must stay false: a reader joins no group and commits nothing"),
    "enable.partition.eof": (
        _ON,
        "must stay true: the reader knows by it that a partition is read to its end",
    ),
    "auto.offset.reset": (
        _EARLIEST,
        "must stay earliest: otherwise records would be skipped when retention overtakes the reader",
    ),
    "allow.auto.create.topics": (_OFF, "must stay false: a reader creates no topics"),
    "on_commit": ((), "nothing is committed: there is nothing to call back for"),
}

_GROUP_RULES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "enable.auto.offset.store": (
        _OFF,
        "must stay false: a record would be committed before it is processed",
    ),
    "allow.auto.create.topics": _RULES["allow.auto.create.topics"],
}

_GUARDED = ("error_cb", "stats_cb", "throttle_cb")


def fetch_sizes(memory: int, topics: int) -> dict[str, Any]:
    """How much to fetch at once, so that a reader of many partitions can keep them abreast.

    A reader that merges partitions has at least one fetched piece of each in memory. Kafka's sizes count
    compressed bytes, and a trail shrinks to a tenth: a piece of each partition takes about half of the memory
    when it is unpacked.

    Args:
        memory: Bytes that may wait in the reader.
        topics: Topics to be read, of six partitions each.
    """
    piece = memory // (16 * 6 * max(1, topics))
    return {
        "max.partition.fetch.bytes": min(max(piece, _LEAST_FETCH), _MOST_FETCH),
        "fetch.max.bytes": max(memory // 16, _MOST_FETCH),
    }


def consumer_config(
    bootstrap_servers: str | None,
    config: Mapping[str, Any] | None,
    *,
    group_id: str | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], logging.Logger, Callable[[Any], None] | None]:
    """The configuration of a consumer, the logger for librdkafka's lines, and the user's ``error_cb``.

    Args:
        bootstrap_servers: Where the brokers are; may stand in ``config`` instead.
        config: The user's wishes.
        group_id: The consumer group that is joined; None joins none.
        sizes: Further defaults, which depend on what is read.

    Raises:
        ConfigurationError: A setting would break a promise, or no broker is named.
    """
    user = {name: value for name, value in (config or {}).items() if value is not None}
    for name, (accepted, why) in (_RULES if group_id is None else _GROUP_RULES).items():
        if name in user and str(user[name]).strip().lower() not in accepted:
            raise ConfigurationError(name, f"{user[name]!r} is refused: {why}")
    logger = user.pop("logger", librdkafka_log)
    if not isinstance(logger, logging.Logger):
        raise ConfigurationError("logger", "a logging.Logger is expected")
    for name in _GUARDED:
        if name in user:
            if not callable(user[name]):
                raise ConfigurationError(name, "a callable is expected")
            user[name] = guarded(name, user[name])
    error_cb = user.pop("error_cb", None)
    if group_id is not None and user.setdefault("group.id", group_id) != group_id:
        raise ConfigurationError("group_id", f"contradicts config['group.id'] ({user['group.id']!r})")
    merged = {**(DEFAULTS if group_id is None else GROUPED), **(sizes or {}), **user}
    known = merged.pop("metadata.broker.list", None) or merged.get("bootstrap.servers")
    if bootstrap_servers and known and known != bootstrap_servers:
        raise ConfigurationError(
            "bootstrap_servers", f"contradicts config['bootstrap.servers'] ({known!r}): give one of them"
        )
    if not (bootstrap_servers or known):
        raise ConfigurationError("bootstrap_servers", "name a broker, for example 'localhost:9092'")
    merged["bootstrap.servers"] = bootstrap_servers or known
    return merged, logger, error_cb


def guarded(name: str, callback: Callable[[Any], None]) -> Callable[[Any], None]:
    """The user's callback, its exceptions logged: out of the client they would take messages with them."""

    def call(argument: Any) -> None:
        try:
            callback(argument)
        except Exception:
            log.exception("%s of the reader's config raised", name)

    return call
