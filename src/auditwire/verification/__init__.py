"""Checks streams of records for completeness: whether anything is missing, changed, added or out of place.

In come records, out comes a :class:`StreamReport` for each stream: :func:`check_streams` takes records that a
program holds; a :class:`FactWriter` and :func:`judge` take as many as a broker has.
"""

from auditwire.verification.facts import FactWriter
from auditwire.verification.horizon import Horizon
from auditwire.verification.judging import judge
from auditwire.verification.report import Fault, FaultKind, StreamReport, Verdict
from auditwire.verification.verify import check_streams

__all__ = [
    "FactWriter",
    "Fault",
    "FaultKind",
    "Horizon",
    "StreamReport",
    "Verdict",
    "check_streams",
    "judge",
]
