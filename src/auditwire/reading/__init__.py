"""Reads records back from Kafka, and checks whether a stream of them is complete.

In come Kafka messages, out come :class:`Record` objects (``reader``), and from records a
:class:`StreamReport` for each stream, which says what is missing, changed or added (``verify``). The Kafka
client is imported when the first :class:`Reader` is made, not before.
"""

from auditwire.reading.reader import Reader
from auditwire.reading.record import Message, Record
from auditwire.reading.report import Fault, FaultKind, StreamReport, Verdict
from auditwire.reading.verify import check_streams

__all__ = ["Fault", "FaultKind", "Message", "Reader", "Record", "StreamReport", "Verdict", "check_streams"]
