"""What the trails of the test vectors have in common: how one is written down, and where most begin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vector_messages import SPAN, TRACE, A, B, Messages, Stream

from auditwire.events import ToolCallAttemptEvent, ToolCallCompleteEvent, TurnEndEvent, TurnStartEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def expect(
    stream_id: str,
    verdict: str,
    records: int,
    *,
    to: int,
    sealed: int,
    ack: int,
    faults: Iterable[tuple[str, int]] = (),
    **more: Any,
) -> dict[str, Any]:
    """What is expected of a stream; what is left out is zero, false or empty.

    Args:
        stream_id: The stream.
        verdict: Its verdict.
        records: Sequences that have a record.
        to: The highest of them.
        sealed: ``sealed_to``.
        ack: ``acknowledged``.
        faults: Kind and sequence, each pair once.
        more: Other fields of the report.
    """
    return {
        "stream_id": stream_id,
        "verdict": verdict,
        "records": records,
        "last_sequence": to,
        "sealed_to": sealed,
        "acknowledged": ack,
        "faults": sorted([kind, number] for kind, number in faults),
        **more,
    }


def whole(stream: Stream, **more: Any) -> dict[str, Any]:
    """What is expected of a stream that is closed and of which nothing is wrong."""
    end = stream.next - 1
    said = {"to": end, "sealed": end - 1, "ack": end, "closed": True}
    return expect(stream.stream_id, "complete", stream.next, **{**said, **more})


class Trails:
    """The trails of the file."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.out: list[dict[str, Any]] = []

    def case(
        self,
        name: str,
        rules: str,
        records: Sequence[str],
        *streams: dict[str, Any],
        status: int | None = None,
        **more: Any,
    ) -> None:
        """One trail.

        Args:
            name: What was done to it; "the same" stands for that of the trail before it.
            rules: The rules that it holds, separated by spaces.
            records: Names of messages, in the order in which they are read.
            streams: What is expected of each stream, in the order of their ids.
            status: The exit status; None follows from the verdicts.
            more: ``settled``, ``sealed``, ``topics``, ``first_ends``, ``compacted``, ``undecodable``,
                ``horizon_ms``.
        """
        if name.startswith("the same"):
            name = f"{self.out[-1]['name'].partition(';')[0]}; {name}"
        verdicts = {stream["verdict"] for stream in streams}
        if status is None:
            status = 1 if "fault" in verdicts else 3 if "open" in verdicts else 0
        case = {"name": name, "rules": [f"V-{number}" for number in rules.split()], **more}
        self.out.append({**case, "records": list(records), "exit_status": status, "streams": list(streams)})


class Base:
    """What the trails are made of; ``a`` is a closed stream that most of them begin with.

    ========== ========================================
    0          opening checkpoint
    1, 2, 3    turn_start, attempt with a trace, complete
    4          checkpoint of 0 to 3, acknowledged 4
    5, 6       turn_start without session, turn_end
    7          closing checkpoint of 4 to 6
    ========== ========================================

    ``f`` is a stream whose process was killed: 0 opening, 1 to 3, 4 checkpoint of 0 to 3, 5 to 8.
    """

    def __init__(self) -> None:
        self.messages = messages = Messages()
        self.trails = Trails(messages)
        self.a = Stream(messages, "a")
        self.a.add(TurnStartEvent(session_id="s1", turn_id="t1", agent_id="planner", prompt_preview="hi"))
        self.a.add(ToolCallAttemptEvent(session_id="s1", tool_name="search", trace_id=TRACE, span_id=SPAN))
        self.a.add(ToolCallCompleteEvent(session_id="s1", tool_name="search", duration_ms=1.5))
        self.a.checkpoint().add(TurnStartEvent(prompt_preview="again")).add(TurnEndEvent(session_id="s2"))
        self.a.close()
        self.f = Stream(messages, "f").turns(3).checkpoint().turns(4)
        self.w = Stream(messages, "w", B).adopt(self.f, (4, 8), last=8).close()
        messages.edited("a3-edited", "a3", result_preview="nothing to see")
        messages.edited("f6-edited", "f6", prompt_preview="nothing to see")
        messages.put(
            "foreign", replace(messages.named["a1"], value=b'{"event":1}', offset=9_000, key=None, headers=())
        )
        messages.put(
            "damaged",
            replace(messages.named["a1"], value=(messages.named["a1"].value or b"")[:40], offset=9_001),
        )

    def of_a(self, verdict: str = "fault", records: int = 8, **more: Any) -> dict[str, Any]:
        """What is expected of ``a`` when its checkpoints are there."""
        return expect(A, verdict, records, **{"to": 7, "sealed": 6, "ack": 7, "closed": True, **more})

    def of_f(self, verdict: str = "open", records: int = 9, **more: Any) -> dict[str, Any]:
        """What is expected of ``f`` when its checkpoint is there and one recovery record speaks of it."""
        said = {"to": 8, "sealed": 3, "ack": 4, "recoveries": 1, "recovered_to": 8}
        return expect(A, verdict, records, **{**said, **more})
