"""The producer in use, and everything librdkafka calls back.

A callback must not raise: confluent-kafka carries the exception out of ``poll`` or ``flush``, past the other
reports. So every callback, the user's own included, is guarded: counted, logged with its traceback, done.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from auditwire.config import is_secret
from auditwire.delivery.settings import client_config, named_setting
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Client", "Throttle"]

log = logging.getLogger("auditwire")
librdkafka_log = logging.getLogger("auditwire.librdkafka")

_AFTERMATH = {
    KafkaError._FATAL,  # noqa: SLF001 - librdkafka's local codes
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
}
"""These only say that there was another error before, which is the one to show."""

LOG_SECONDS = 60.0
"""The same complaint is logged once in so many seconds."""


class Throttle:
    """Says a thing once a minute, however often it happens. For one thread."""

    __slots__ = ("_said", "_seconds")

    def __init__(self, seconds: float = LOG_SECONDS) -> None:
        self._said: dict[Any, float] = {}
        self._seconds = seconds

    def may(self, key: Any, now: float) -> bool:
        """True when this was not said within the last minute."""
        last = self._said.get(key)
        if last is not None and now - last < self._seconds:
            return False
        self._said[key] = now
        return True


class _OnceAMinute(logging.Filter):
    """librdkafka repeats itself at every attempt to connect; one line of a kind in a minute is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is shown. Its first argument is librdkafka's facility, such as FAIL."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        return self._throttle.may((record.levelno, arguments[:1]), time.monotonic())


librdkafka_log.addFilter(_OnceAMinute())
# Without this, a program that configured no logging would see these lines on stderr. What matters of them is
# said in our own words by the logger "auditwire".
librdkafka_log.addHandler(logging.NullHandler())


class Client:
    """Makes producers of one configuration, one after the other. For the sender's thread.

    Args:
        config: librdkafka's settings, as ``producer_config`` merged them.
        callbacks: The user's own callbacks.
        monotonic: The clock, in seconds.
        make_producer: Makes the producer; tests give another.
        make_admin: Makes an admin client.

    Raises:
        ConfigurationError: librdkafka refuses a setting; the message holds its words.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        callbacks: Mapping[str, Callable[..., Any]],
        monotonic: Callable[[], float],
        make_producer: Callable[..., Any] = Producer,
        make_admin: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self._config = dict(config)
        self._callbacks = dict(callbacks)
        self._monotonic = monotonic
        self._make_producer = make_producer
        self._make_admin = make_admin
        self._throttle = Throttle()
        self.faults = 0
        self.last_error = ""
        self.fatal: str | None = None
        """Set when librdkafka said that the producer is of no more use."""
        self.made = 0
        """Producers made so far."""
        self.generation = 0
        """Grows with each producer made or dropped; reports of an older one are nobody's."""
        self.on_delivery: Callable[[Any, Any], None] | None = self._guarded("on_delivery")
        self.producer: Any = self._new()

    def _new(self) -> Any:
        config: dict[str, Any] = {**self._config, "error_cb": self._on_error}
        for name in ("stats_cb", "throttle_cb"):
            if name in self._callbacks:
                config[name] = self._guarded(name)
        if "oauth_cb" in self._callbacks:
            # its exceptions are librdkafka's to report as a failed token, through error_cb
            config["oauth_cb"] = self._callbacks["oauth_cb"]
        try:
            producer = self._make_producer(config, logger=self._callbacks.get("logger", librdkafka_log))
        except KafkaException as error:
            raise self._configuration_error(error.args[0]) from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError("config", str(error)) from error
        self.generation += 1
        self.made += 1
        self.fatal = None
        return producer

    def _configuration_error(self, error: KafkaError) -> ConfigurationError:
        text = error.str()
        key = named_setting(text, self._config)
        secret = self._config.get(key)
        if secret and is_secret(key):
            text = text.replace(str(secret), "***")
        return ConfigurationError(key, text.strip())

    def renew(self) -> None:
        """Leave the producer behind and begin another.

        Raises:
            ConfigurationError: librdkafka refuses now what it took before, for example a certificate that is
            gone.
        """
        self.abandon()
        self.producer = self._new()

    def abandon(self) -> None:
        """Drop the producer without waiting: ``close`` and ``__exit__`` flush without a bound."""
        old, self.producer = self.producer, None
        if old is not None:
            self.generation += 1  # the reports of the purge below are nobody's any more
            try:
                old.purge()
                old.poll(0)
            except Exception:  # noqa: BLE001 - it is dropped either way; fault() logs
                self.fault("a producer could not be purged")

    def admin(self) -> Any:
        """A new admin client for the same cluster."""
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - only who creates topics pays for it

        make = self._make_admin or (lambda config: AdminClient(config, logger=librdkafka_log))
        config = {**client_config(self._config), "error_cb": self._on_error}
        if "oauth_cb" in self._callbacks:
            config["oauth_cb"] = self._callbacks["oauth_cb"]
        return make(config)

    def list_topics(self, topic: str, timeout: float) -> Any:
        """Cluster metadata with this topic, from the producer in use."""
        return self.producer.list_topics(topic, timeout)

    def poll(self, timeout: float) -> None:
        """Serve librdkafka's events for at most ``timeout`` seconds."""
        self._serve("poll", timeout)

    def flush(self, timeout: float) -> None:
        """``producer.flush``: what lingers goes out now; waits at most ``timeout`` seconds."""
        self._serve("flush", timeout)

    def _serve(self, method: str, timeout: float) -> None:
        if self.producer is None:
            return
        try:
            getattr(self.producer, method)(timeout)
        except KafkaException as error:  # an error of the client itself, such as a refused producer id
            self.note(error.args[0])
            if error.args[0].fatal():
                self.fail(error.args[0])

    def fail(self, error: KafkaError) -> None:
        """The producer is of no more use. The first error is the cause, later ones only say so again."""
        self.fatal = self.fatal or str(error)

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """New credentials for this producer and later ones; taken at the next authentication."""
        self._config.update({"sasl.username": username, "sasl.password": password})
        if self.producer is not None:
            self.producer.set_sasl_credentials(username, password)

    # -- what went wrong --------------------------------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        self.note(error)
        if error.fatal():
            self.fail(error)
        user = self._callbacks.get("error_cb")
        if user is not None:
            self._guard(user, error)

    def note(self, error: KafkaError, topic: str | None = None) -> None:
        """Remember and log an error of broker or client, the same one once a minute."""
        where = f" (topic {topic})" if topic else ""
        text = f"{error.name()}: {error.str()}{where}"
        if error.code() not in _AFTERMATH or not self.last_error:
            self.last_error = text
        if self._throttle.may((error.code(), topic), self._monotonic()):
            log.warning("%s; what is accepted stays in the journal", text)

    def fault(self, what: str) -> None:
        """Count and log the exception that is being handled, with its traceback."""
        self.faults += 1
        self.last_error = what
        if self._throttle.may(what, self._monotonic()):
            log.error("%s", what, exc_info=sys.exc_info())

    def _guard(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            callback(*args)
        except Exception:  # noqa: BLE001 - see the module; fault() logs
            self.fault(f"the callback {getattr(callback, '__name__', callback)!r} raised")

    def _guarded(self, name: str) -> Callable[..., None] | None:
        callback = self._callbacks.get(name)
        if callback is None:
            return None

        def guarded(*args: Any) -> None:
            self._guard(callback, *args)

        return guarded
