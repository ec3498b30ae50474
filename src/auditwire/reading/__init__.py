"""Reads records back from Kafka.

In come Kafka messages, out come :class:`Record` objects. The Kafka client is imported when the first
:class:`Reader` is made, not before.
"""

from auditwire.reading.pacing import paced
from auditwire.reading.reader import Reader
from auditwire.reading.record import Gap, Message, Progress, Record

__all__ = ["Gap", "Message", "Progress", "Reader", "Record", "paced"]
