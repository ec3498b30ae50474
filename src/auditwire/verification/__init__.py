"""Checks streams of records for completeness: whether anything is missing, changed, added or out of place.

In come records, out comes a :class:`StreamReport` for each stream.
"""

from auditwire.verification.report import Fault, FaultKind, StreamReport, Verdict
from auditwire.verification.verify import check_streams

__all__ = ["Fault", "FaultKind", "StreamReport", "Verdict", "check_streams"]
