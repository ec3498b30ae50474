"""Checks streams of records for completeness: whether anything is missing, changed, added or out of place.

In come records, out comes a :class:`StreamReport` for each stream: :func:`verify_trail` reads the topics of a
trail; :func:`check_streams` takes records that a program holds; a :class:`FactWriter` and :func:`judge` take
as many as there are. Importing this package loads no Kafka client; the first use of ``verify_trail`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.verification.facts import FactWriter
from auditwire.verification.horizon import Horizon
from auditwire.verification.judging import judge
from auditwire.verification.outcome import ExitStatus, Standing, TrailFault, TrailReport
from auditwire.verification.report import Fault, FaultKind, StreamReport, Verdict
from auditwire.verification.verify import check_streams

if TYPE_CHECKING:
    from auditwire.verification.trail import Stage, verify_trail

__all__ = [
    "ExitStatus",
    "FactWriter",
    "Fault",
    "FaultKind",
    "Horizon",
    "Stage",
    "Standing",
    "StreamReport",
    "TrailFault",
    "TrailReport",
    "Verdict",
    "check_streams",
    "judge",
    "verify_trail",
]

_LAZY = frozenset({"Stage", "verify_trail"})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from auditwire.verification import trail  # noqa: PLC0415 - loads confluent_kafka

        value = globals()[name] = getattr(trail, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
