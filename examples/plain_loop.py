"""An agent without a framework: a loop that calls one tool after the other.

::

    python examples/plain_loop.py [HOST:PORT]

The plan is fixed, so that the example needs no model; the tools are real. Two calls succeed, one fails, one
is denied, and the agent goes on after each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import trail
from auditwire import AuditEmitter, KafkaCollector

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


def list_files(pattern: str) -> list[str]:
    return sorted(path.name for path in HERE.glob(pattern))


def count_lines(name: str) -> int:
    return len((HERE / name).read_text(encoding="utf-8").splitlines())


TOOLS: dict[str, Callable[..., Any]] = {"list_files": list_files, "count_lines": count_lines}


PLAN: list[tuple[str, dict[str, str]]] = [  # what a model would decide, one step after the other
    ("list_files", {"pattern": "*.py"}),
    ("count_lines", {"name": Path(__file__).name}),
    ("count_lines", {"name": "not-there.py"}),
    ("delete_file", {"name": "trail.py"}),
]


def answer(audit: AuditEmitter, question: str) -> str:
    """One turn of the agent."""
    # turn_start now, turn_end when the block is left, however it is left
    with audit.turn(prompt=question, agent_id="planner") as turn:
        found: list[str] = []
        for tool_name, arguments in PLAN:
            # the try stands around the block: the trail gets the failure, and then the agent does
            try:
                with audit.tool_call(tool_name, arguments) as call:
                    if tool_name not in TOOLS:
                        # the call completes with the status "denied": somebody tried, and nothing ran
                        call.denied("allowed tools")
                        continue
                    # any object will do: it is rendered to JSON, measured and cut
                    call.result = TOOLS[tool_name](**arguments)
                    found.append(f"{tool_name}: {call.result}")
            except OSError as error:
                found.append(f"{tool_name} failed: {error.strerror}")
        turn.content = "; ".join(found)
        return turn.content


def main() -> int:
    options = trail.options(__doc__).parse_args()
    session = f"loop-{uuid4().hex[:5]}"
    with trail.broker(options.bootstrap) as bootstrap:
        collector = KafkaCollector(bootstrap, service="plain-loop")
        # leaving this block delivers what is left and writes the closing checkpoint
        with AuditEmitter(collector, session) as audit:
            print(answer(audit, "How long is this example?"))
        health = collector.health()
        print(f"{health.accepted} accepted, {health.delivered} acknowledged")
        return 0 if trail.show(bootstrap, {session}) else 1


if __name__ == "__main__":
    sys.exit(main())
