"""Reads records back from Kafka.

In come Kafka messages, out come :class:`Record` objects. :class:`Reader` reads a range or live, in the order
of the streams; :class:`GroupReader` shares the work with others. The Kafka client is imported when the first
of them is made, not before.

========== ==================================================================================================
client     the consumer: its errors, and questions about topics and offsets
settings   its properties
partitions partitions that are assigned and read within bounds
membership partitions that a consumer group assigns
ordering   messages of all partitions by their timestamps
lookahead  messages that are waited for before their time
sequencing records of each stream by their numbers
flow       from messages to records in order
position   where a reader is, to go on later
wanted     what is asked for: topics, filters, times
record     what is handed out
pacing     records at the pace at which they happened
reader     the public readers: this one and ``group``
========== ==================================================================================================
"""

from auditwire.reading.group import GroupReader
from auditwire.reading.pacing import paced
from auditwire.reading.reader import Reader
from auditwire.reading.record import Gap, Message, Progress, Record

__all__ = ["Gap", "GroupReader", "Message", "Progress", "Reader", "Record", "paced"]
