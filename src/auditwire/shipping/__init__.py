"""Audit logs that exist already: lines of JSON come in, events go out to a collector.

============ ================================================================================================
module       what it does
============ ================================================================================================
lines        bytes in pieces of any size -> numbered lines, in bounded memory
identity     a line's place in its log -> an event id that is the same each time the log is shipped
parsing      a line -> an event, or why it is none
source       a file, its rotations and a stream -> bytes, in the order in which they were written
state        how far a log is shipped, in a file that is replaced whole
shipper      all of it together: reads, hands over, waits for acknowledgements, keeps count
============ ================================================================================================

Whoever has a collector can use it; ``auditwire ship`` is its command.
"""

from auditwire.shipping.identity import Chain, derived_id
from auditwire.shipping.lines import MAX_LINE, Line, Splitter
from auditwire.shipping.parsing import BadLine, Parsed, parse
from auditwire.shipping.shipper import Counts, Shipper
from auditwire.shipping.source import FileSource, Source, StreamSource
from auditwire.shipping.state import Mark, State, load_state, save_state

__all__ = [
    "MAX_LINE",
    "BadLine",
    "Chain",
    "Counts",
    "FileSource",
    "Line",
    "Mark",
    "Parsed",
    "Shipper",
    "Source",
    "Splitter",
    "State",
    "StreamSource",
    "derived_id",
    "load_state",
    "parse",
    "save_state",
]
