"""What every variant of ``benchmarks.emit`` writes: turns of four events, about as large as an agent's are.

==================== ========================================================================================
``turn_start``       a prompt of 200 characters
``tool_call_attempt`` arguments of 150 characters
``tool_call_complete`` a result of 200 characters
``turn_end``         an answer of 200 characters
==================== ========================================================================================

The Avro bodies of these have about 400 bytes. Where a size is given, every event is a
``tool_call_complete`` whose body has about so many bytes.

A variant of ours is driven through :class:`~auditwire.AuditEmitter`, any other one through a function that
takes session, event type and the type's own fields; both get the same texts.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire import AuditEmitter

    Send = Callable[[str, str, dict[str, Any]], object]
    """Session, event type, and the type's own fields with ``turn_id``."""

__all__ = [
    "AGENT",
    "ANSWER",
    "ARGUMENTS",
    "EVENT_TYPES",
    "PROMPT",
    "RESULT",
    "TOOL",
    "emit_blocks",
    "emit_events",
    "emit_fields",
    "own_fields",
    "session_ids",
    "text_of",
]

EVENT_TYPES = ("turn_start", "tool_call_attempt", "tool_call_complete", "turn_end")
AGENT = "planner"
TOOL = "weather.search"

PROMPT = ("What is the weather in Trondheim going to be tomorrow, and do I need a coat for the walk? " * 3)[
    :200
]
ARGUMENTS = json.dumps(
    {
        "query": "weather in Trondheim tomorrow, hour by hour",
        "limit": 10,
        "language": "en",
        "units": "metric",
        "fields": ["temperature", "wind", "rain"],
    }
)
RESULT = ("Cloudy with some rain, 4 to 7 degrees, wind from the west. " * 4)[:200]
ANSWER = ("Take a coat: it is going to rain now and then, with 4 to 7 degrees and wind from the west. " * 3)[
    :200
]

_AROUND = 210
"""Bytes of a ``tool_call_complete``'s body beside the result."""


def session_ids(count: int) -> list[str]:
    """So many ids of 36 characters, the same in every run."""
    return [f"0192f0c4-8a5b-7c3d-9e21-{number:012x}" for number in range(count)]


def text_of(size: int | None) -> str:
    """The result that makes a ``tool_call_complete``'s body about so many bytes large."""
    if size is None:
        return RESULT
    text = RESULT * (size // len(RESULT) + 1)
    return text[: max(size - _AROUND, 0)]


def emit_events(audits: Sequence[AuditEmitter], count: int, size: int | None = None) -> None:
    """Through emitters, one for each session; a turn stays in its session."""
    if size is not None:
        text = text_of(size)
        for number in range(count):
            audits[number % len(audits)].emit_tool_call_complete(
                TOOL, "success", 12.5, text, turn_id="0123456789ab"
            )
        return
    turn, audit = "", audits[0]
    for number in range(count):
        step = number % 4
        if step == 0:
            audit = audits[number // 4 % len(audits)]
            turn = audit.emit_turn_start(prompt=PROMPT)
        elif step == 1:
            audit.emit_tool_call_attempt(TOOL, ARGUMENTS, turn_id=turn)
        elif step == 2:  # noqa: PLR2004 - the third of four
            audit.emit_tool_call_complete(TOOL, "success", 12.5, RESULT, turn_id=turn)
        else:
            audit.emit_turn_end(turn_id=turn, content=ANSWER, fc_count=1)


def emit_blocks(audits: Sequence[AuditEmitter], count: int) -> None:
    """The same as ``with turn()`` around ``with tool_call()``: four events in two blocks."""
    for number in range(count // 4):
        audit = audits[number % len(audits)]
        with audit.turn(prompt=PROMPT) as turn:
            with audit.tool_call(TOOL, ARGUMENTS) as call:
                call.result = RESULT
            turn.content = ANSWER


def own_fields(event_type: str, turn: str, size: int | None = None) -> dict[str, Any]:
    """What one would write down by hand of such an event: the turn, and the type's own fields."""
    if event_type == "turn_start":
        return {
            "turn_id": turn,
            "prompt_preview": PROMPT,
            "prompt_length": len(PROMPT),
            "prompt_digest": None,
            "parent_turn_id": None,
            "parent_agent_id": None,
        }
    if event_type == "tool_call_attempt":
        return {
            "turn_id": turn,
            "tool_name": TOOL,
            "arguments_preview": ARGUMENTS,
            "arguments_length": len(ARGUMENTS),
            "arguments_digest": None,
            "tool_call_id": None,
        }
    if event_type == "tool_call_complete":
        text = RESULT if size is None else text_of(size)
        return {
            "turn_id": turn,
            "tool_name": TOOL,
            "status": "success",
            "duration_ms": 12.5,
            "result_preview": text,
            "result_length": len(text),
            "result_digest": None,
            "tool_call_id": None,
        }
    return {
        "turn_id": turn,
        "content_preview": ANSWER,
        "content_length": len(ANSWER),
        "content_digest": None,
        "function_calls_count": 1,
    }


def emit_fields(send: Send, sessions: Sequence[str], count: int, size: int | None = None) -> None:
    """Through a function of a peer, as :func:`emit_events`."""
    if size is not None:
        for number in range(count):
            fields = own_fields("tool_call_complete", "0123456789ab", size)
            send(sessions[number % len(sessions)], "tool_call_complete", fields)
        return
    turn, session = "", sessions[0]
    for number in range(count):
        step = number % 4
        if step == 0:
            session = sessions[number // 4 % len(sessions)]
            turn = uuid4().hex[:12]
        send(session, EVENT_TYPES[step], own_fields(EVENT_TYPES[step], turn))


def resident_mib(path: str = "/proc/self/status") -> tuple[float, float]:
    """Resident memory of a process, and its peak since the last :func:`forget_peak`; MiB."""
    found = {"VmRSS": 0.0, "VmHWM": 0.0}
    with open(path, encoding="ascii") as lines:  # noqa: PTH123 - a line of the kernel's
        for line in lines:
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) / 1024
    return found["VmRSS"], found["VmHWM"]


def forget_peak() -> None:
    """Begin the peak anew (``proc(5)``, ``clear_refs``); where that is not allowed it goes on as it is."""
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"5")
    except OSError:
        pass
    finally:
        os.close(descriptor)
