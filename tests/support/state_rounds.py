"""A state through several checks, without a broker: what is read is given as records."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditwire.verification.facts import FactWriter
from auditwire.verification.memory import Memory
from auditwire.verification.outcome import TrailReport
from auditwire.verification.runs import stream_ids
from auditwire.verification.state import State
from auditwire.verification.worker import Judging, judge_with_carry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.reading import Record
    from auditwire.verification.horizon import Horizon
    from auditwire.verification.report import StreamReport


@dataclass(frozen=True)
class Checked:
    """What a check came to.

    Attributes:
        reports: The reports that were handed out.
        out: What was counted.
        given: The streams of which something was taken from the state.
        forgotten: How many known streams retention has removed.
    """

    reports: list[StreamReport]
    out: TrailReport
    given: list[str]
    forgotten: int

    @property
    def verdicts(self) -> dict[str, str]:
        return {report.stream_id: report.verdict for report in self.reports}


class StateRounds:
    """Checks one after the other; the first reads everything, the others read on.

    Args:
        path: The state's file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(
        self,
        records: Iterable[Record],
        *,
        uncounted: Iterable[Record] = (),
        incremental: bool = True,
        horizon: Horizon | None = None,
        settled: bool = False,
        sealed: bool = False,
        changed_only: bool = False,
    ) -> Checked:
        """Read these records too, and remember what came of it.

        Args:
            records: Those that are new.
            uncounted: Further ones, above the first ends.
            incremental: False: the records are all that there are.
            horizon: As for ``judge``.
            settled: As for ``judge``.
            sealed: As for ``verify_trail``.
            changed_only: As for ``verify_trail``.
        """
        out = TrailReport(prefix="audit", sealed=sealed)
        with State(self.path, prefix="audit") as state, tempfile.TemporaryDirectory() as name:
            memory = Memory(
                state, incremental=incremental and not state.is_new, settings=f"settled={settled}"
            )
            if not incremental:
                state.begin_anew()
            with FactWriter(Path(name)) as writer:
                for record in records:
                    writer.add_record(record)
                for record in uncounted:
                    writer.add_record(record, counted=False)
            new = writer.close()
            with FactWriter(Path(name)) as writer:
                memory.give(writer, new)
            how = Judging(settled=settled, horizon=horizon, carry=True)
            judged = judge_with_carry([*new, *writer.close()], how, known=memory.knows)
            reports = list(memory.reports(judged, out, changed_only=changed_only))
            for report in reports:
                out.add(report)
            given = sorted(stream_ids(writer.close()))
            state.commit(1, judged_as=memory.judged_as)
        return Checked(reports, out, given, memory.forgotten)
