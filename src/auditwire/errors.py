"""Every error that auditwire raises, in one tree.

::

    AuditwireError
    ├── ConfigurationError    a setting is wrong, missing or contradicts a promise (also a ValueError)
    ├── MissingExtraError     a feature's optional packages are not installed (also an ImportError)
    ├── SchemaError           a schema is missing from the installation or damaged
    ├── EncodingError         an event could not be turned into bytes
    ├── DecodingError         bytes could not be turned into an event
    ├── JournalFull           there is no room for another event           retriable
    ├── CollectorClosed       the collector was closed before this event
    ├── FlushTimeout          not everything was acknowledged in time      retriable
    ├── SinkError             a file or stream refused an event            retriable
    ├── CollectorGroupError   one or more collectors of a composite failed
    └── BrokerError           the broker could not be reached or refused   retriable

``retriable`` says whether the same call may succeed later without anybody changing anything in the code or
the settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AuditwireError",
    "BrokerError",
    "CollectorClosed",
    "CollectorGroupError",
    "ConfigurationError",
    "DecodingError",
    "EncodingError",
    "FlushTimeout",
    "JournalFull",
    "MissingExtraError",
    "SchemaError",
    "SinkError",
]


class AuditwireError(Exception):
    """Base of all errors of this package. All of them can be copied and pickled, to cross process pools.

    Attributes:
        retriable: Whether the same call may succeed later without anybody changing anything.
    """

    retriable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the class with ``args``, which are the message alone
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigurationError(AuditwireError, ValueError):
    """A setting is wrong, missing or contradicts a promise.

    Attributes:
        key: The setting's name as the user wrote it: a parameter, an ``AUDITWIRE_*`` variable or a librdkafka
            property.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


class MissingExtraError(AuditwireError, ImportError):
    """A feature's optional packages are not installed. The message holds the pip command that does it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs optional packages: pip install 'auditwire[{extra}]'")
        self.extra = extra


class SchemaError(AuditwireError):
    """A schema is missing from the installation, damaged, or differs from the recorded fingerprint."""


class EncodingError(AuditwireError):
    """An event could not be turned into bytes."""


class DecodingError(AuditwireError):
    """Bytes could not be turned into an event: foreign, truncated, or of an unknown schema.

    Attributes:
        reason: A short, stable word for counters: ``tombstone``, ``foreign``, ``unknown_fingerprint``,
            ``truncated``, ``trailing_bytes``, ``oversized`` or ``malformed``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class JournalFull(AuditwireError):  # noqa: N818 - a state of the journal, as queue.Full is of a queue
    """There is no room for another event; the event was refused and counted as lost.

    Room comes back when the broker acknowledges what is pending.
    """

    retriable = True


class CollectorClosed(AuditwireError):  # noqa: N818 - reads as what happened
    """The collector was closed before this event; the event was refused."""


class FlushTimeout(AuditwireError, TimeoutError):  # noqa: N818 - as TimeoutError's other kin
    """Not everything accepted before the call was acknowledged in time. Nothing is lost by this error itself.

    Attributes:
        pending: How many records were not acknowledged.
        durable: True when they are safe on disk and survive the process.
        parked: Topic -> reason, for topics whose records wait until somebody mends the topic.
    """

    retriable = True

    def __init__(
        self,
        message: str,
        *,
        pending: int,
        durable: bool = False,
        parked: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.pending = pending
        self.durable = durable
        self.parked = dict(parked or {})


class SinkError(AuditwireError):
    """A file or stream refused an event: disk full, or an input/output error."""

    retriable = True


class CollectorGroupError(AuditwireError):
    """One or more collectors of a composite failed; every one was called.

    ``retriable`` is true when all of the errors are.

    Attributes:
        exceptions: What they raised, in the order of the collectors.
    """

    def __init__(self, exceptions: Sequence[BaseException]) -> None:
        self.exceptions = tuple(exceptions)
        self.retriable = all(getattr(error, "retriable", False) for error in self.exceptions)
        causes = "; ".join(f"{type(error).__name__}: {_text(error)}" for error in self.exceptions)
        noun = "collector" if len(self.exceptions) == 1 else "collectors"
        super().__init__(f"{len(self.exceptions)} {noun} failed: {causes}")


class BrokerError(AuditwireError):
    """The broker could not be reached, or refused a request of an administrative or reading call."""

    retriable = True


def _rebuild(cls: type[AuditwireError], args: tuple[Any, ...], state: dict[str, Any]) -> AuditwireError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a foreign __str__ can raise anything, and must not hide the errors
        return "<unprintable>"
