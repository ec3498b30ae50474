"""Sessions as people look at them: turns, the tool calls in them, and what else happened.

In come the records of one session (:class:`SessionBuilder`), out comes a :class:`Session`: a tree of turns,
tool calls with their outcomes, and single events, with totals and with what needs attention; and, given the
reports of a check of its streams, a :class:`Trail`: what is known of the completeness of all that.

Nothing here reads from Kafka or writes to a terminal.
"""

from auditwire.sessions.builder import SessionBuilder
from auditwire.sessions.findings import Finding
from auditwire.sessions.model import Entry, Item, Moment, Session, StreamShare, ToolCall, Turn
from auditwire.sessions.totals import Totals
from auditwire.sessions.trail import StreamStanding, Trail, judge_trail

__all__ = [
    "Entry",
    "Finding",
    "Item",
    "Moment",
    "Session",
    "SessionBuilder",
    "StreamShare",
    "StreamStanding",
    "ToolCall",
    "Totals",
    "Trail",
    "Turn",
    "judge_trail",
]
