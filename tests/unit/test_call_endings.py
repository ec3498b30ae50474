"""Every way in which a tool call can end, run for real, against the table in docs/guides/instrument.md.

``python tests/unit/test_call_endings.py`` prints the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, InMemoryCollector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "instrument.md"
HEAD = "| how the call ends | events of the call | events of the turn |"
OUTCOMES = {"tool_call_complete", "tool_call_failure"}


class Gone(Exception):  # noqa: N818 - what the table says
    """The tool's own error."""


# -- ways that an agent's process survives ------------------------------------------------------------------


def returns(audit: AuditEmitter) -> None:
    with audit.turn(), audit.tool_call("t") as call:
        call.result = "found"


def raises(audit: AuditEmitter) -> None:
    with contextlib.suppress(Gone), audit.turn(), audit.tool_call("t"):
        raise Gone


def raises_and_the_agent_goes_on(audit: AuditEmitter) -> None:
    with audit.turn(), contextlib.suppress(Gone), audit.tool_call("t"):
        raise Gone


def says_that_it_failed(audit: AuditEmitter) -> None:
    with audit.turn(), audit.tool_call("t") as call:
        call.failed("HTTP 503", "try later")


def is_denied(audit: AuditEmitter) -> None:
    with audit.turn(), audit.tool_call("t") as call:
        call.denied("rules")


def is_cancelled(audit: AuditEmitter) -> None:
    async def agent(begun: asyncio.Event) -> None:
        async with audit.turn(), audit.tool_call("t"):
            begun.set()
            await asyncio.Event().wait()

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(agent(begun))
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())


def times_out_inside_the_turn(audit: AuditEmitter) -> None:
    async def call() -> None:
        async with audit.tool_call("t"):
            await asyncio.Event().wait()

    async def main() -> None:
        async with audit.turn():
            await asyncio.wait_for(call(), 0.01)

    with contextlib.suppress(asyncio.TimeoutError):
        asyncio.run(main())


def numbers(audit: AuditEmitter) -> Callable[[], Generator[int, None, None]]:
    @audit.tool(name="t")
    def tool() -> Generator[int, None, None]:
        yield 1
        yield 2

    return tool


def is_exhausted(audit: AuditEmitter) -> None:
    with audit.turn():
        assert list(numbers(audit)()) == [1, 2]


def is_closed_early(audit: AuditEmitter) -> None:
    with audit.turn():
        generator = numbers(audit)()
        assert next(generator) == 1
        generator.close()


def is_closed_early_and_async(audit: AuditEmitter) -> None:
    @audit.tool(name="t")
    async def tool() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async def main() -> None:
        async with audit.turn():
            generator = tool()
            assert await generator.__anext__() == 1
            await generator.aclose()

    asyncio.run(main())


def is_closed_inside_its_block(audit: AuditEmitter) -> None:
    def agent() -> Generator[int, None, None]:
        with audit.turn(), audit.tool_call("t"):
            yield 1

    generator = agent()
    assert next(generator) == 1
    generator.close()


def is_forgotten(audit: AuditEmitter) -> None:
    with audit.turn():
        generator = numbers(audit)()
        assert next(generator) == 1
        del generator
        gc.collect()


SURVIVED: dict[str, Callable[[AuditEmitter], None]] = {
    "it returns": returns,
    "it raises, and nobody in the turn catches it": raises,
    "it raises, and the agent goes on": raises_and_the_agent_goes_on,
    '`call.failed("HTTP 503")`': says_that_it_failed,
    '`call.denied("rules")`': is_denied,
    "its task is cancelled": is_cancelled,
    "`asyncio.wait_for` around it runs out of time": times_out_inside_the_turn,
    "a generator under `@audit.tool` is exhausted": is_exhausted,
    "a generator under `@audit.tool` is closed early": is_closed_early,
    "an async generator under `@audit.tool` is closed early": is_closed_early_and_async,
    "a generator is closed in the middle of its `with` block": is_closed_inside_its_block,
    "a generator under `@audit.tool` is left behind, and collected": is_forgotten,
}

# -- ways that it does not, each in a process of its own; the file is written event by event ----------------

PROCESS = """
import os, signal, sys, threading
from auditwire import AuditEmitter, JSONLSinkCollector

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
audit = AuditEmitter(JSONLSinkCollector(sys.argv[1]), on_error="raise")
with audit.turn(), audit.tool_call("t"):
    {ending}
"""
WAIT = "threading.Event().wait(60)"
ENDED: dict[str, tuple[str, int]] = {
    "`sys.exit()` in the tool": ("sys.exit(3)", 3),
    "Ctrl-C": (f"os.kill(os.getpid(), signal.SIGINT); {WAIT}", -2),
    "SIGTERM, and the process has no handler for it": (f"os.kill(os.getpid(), signal.SIGTERM); {WAIT}", -15),
    "SIGKILL, power loss, `os._exit()`": (f"os.kill(os.getpid(), signal.SIGKILL); {WAIT}", -9),
}


def events_of(ending: str) -> list[dict[str, Any]]:
    if ending in SURVIVED:
        collector = InMemoryCollector()
        SURVIVED[ending](AuditEmitter(collector, on_error="raise"))
        return [event.to_dict() for event in collector.get_events()]
    body, status = ENDED[ending]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        ended = subprocess.run(
            [sys.executable, "-c", PROCESS.format(ending=body), str(path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == status, ended
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def told(event: dict[str, Any]) -> str:
    """An event as the table has it: its type, and the word that says how it went."""
    word = event.get("status") or event.get("error_type") or event.get("action")
    return f"`{event['event_type']}`" + (f" {word}" if word else "")


def row(ending: str) -> str:
    events = events_of(ending)
    of_call = [told(e) for e in events if e.get("tool_call_id")]
    of_turn = [told(e) for e in events if not e.get("tool_call_id")]
    return f"| {ending} | {', '.join(of_call)} | {', '.join(of_turn)} |"


def documented() -> list[str]:
    """The table's rows."""
    after = GUIDE.read_text(encoding="utf-8").split(HEAD + "\n|-|-|-|\n")[1]
    return after.split("\n\n")[0].splitlines()


@pytest.mark.parametrize("ending", [*SURVIVED, *ENDED])
def test_the_guide_has_the_events_of_every_way_that_a_call_can_end(ending: str) -> None:
    assert row(ending) in documented()


def test_the_guide_has_no_way_that_was_not_run() -> None:
    assert [line.split(" | ")[0].removeprefix("| ") for line in documented()] == [*SURVIVED, *ENDED]


@pytest.mark.parametrize("ending", [*SURVIVED, *list(ENDED)[:2]])
def test_a_process_that_can_still_speak_leaves_one_attempt_and_one_outcome_one_start_and_one_end(
    ending: str,
) -> None:
    types = [event["event_type"] for event in events_of(ending)]
    assert len([kind for kind in types if kind in OUTCOMES]) == 1
    assert [types.count(kind) for kind in ("tool_call_attempt", "turn_start", "turn_end")] == [1, 1, 1]
    assert types.index("tool_call_attempt") < next(n for n, kind in enumerate(types) if kind in OUTCOMES)


if __name__ == "__main__":
    print("\n".join([HEAD, "|-|-|-|", *map(row, [*SURVIVED, *ENDED])]))  # noqa: T201 - the table, for the guide
