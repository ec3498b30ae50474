"""What an error of the broker or the client means for the records it hit.

librdkafka's own ``fatal()`` and ``retriable()`` are False for refusals of every kind, so codes decide.
What is in no table parks the topic: the records stay, the reason is shown, and it is tried again.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fault", "classify"]


class Fault(Enum):
    """What is to be done about an error."""

    RETRY = "retry"
    """Produce the record again; nothing is known to be wrong with it."""
    TOO_LARGE = "too_large"
    """The batch was too large; only what fails alone is to blame."""
    POISON = "poison"
    """The broker refuses the record for what it is; only what fails alone is to blame."""
    PARK = "park"
    """The topic cannot take records until somebody mends it, or until it exists."""
    FATAL = "fatal"
    """The producer is of no more use; another one begins at the low-water mark."""


_FAULTS: Mapping[int, Fault] = {
    KafkaError.MSG_SIZE_TOO_LARGE: Fault.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: Fault.TOO_LARGE,
    KafkaError.INVALID_RECORD: Fault.POISON,
    KafkaError.INVALID_MSG: Fault.RETRY,
    KafkaError.NOT_LEADER_FOR_PARTITION: Fault.RETRY,
    KafkaError.LEADER_NOT_AVAILABLE: Fault.RETRY,
    KafkaError.NOT_ENOUGH_REPLICAS: Fault.RETRY,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Fault.RETRY,
    KafkaError.REQUEST_TIMED_OUT: Fault.RETRY,
    KafkaError.NETWORK_EXCEPTION: Fault.RETRY,
    KafkaError._MSG_TIMED_OUT: Fault.RETRY,  # noqa: SLF001 - librdkafka's local codes
    KafkaError._TRANSPORT: Fault.RETRY,  # noqa: SLF001
    KafkaError._TIMED_OUT: Fault.RETRY,  # noqa: SLF001
    KafkaError._PURGE_QUEUE: Fault.RETRY,  # noqa: SLF001
    KafkaError._PURGE_INFLIGHT: Fault.RETRY,  # noqa: SLF001
    KafkaError._QUEUE_FULL: Fault.RETRY,  # noqa: SLF001
    KafkaError._FATAL: Fault.FATAL,  # noqa: SLF001
    KafkaError._FENCED: Fault.FATAL,  # noqa: SLF001
    KafkaError._STATE: Fault.FATAL,  # noqa: SLF001
    KafkaError._DESTROY: Fault.FATAL,  # noqa: SLF001
    KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER: Fault.FATAL,
    KafkaError.INVALID_PRODUCER_EPOCH: Fault.FATAL,
    KafkaError.UNKNOWN_PRODUCER_ID: Fault.FATAL,
}


def classify(error: KafkaError) -> Fault:
    """What to do about an error of a delivery report, or one that ``produce`` raised."""
    if error.fatal():
        return Fault.FATAL
    return _FAULTS.get(error.code(), Fault.PARK)
