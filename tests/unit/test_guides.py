"""The guides' Python code, run from the first block of a page to its last, against a real protocol."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from auditwire.reading import Reader
from auditwire.testing import EmbeddedBroker
from auditwire.verification import check_streams

DOCS = Path(__file__).parents[2] / "docs"

# what the reader of a page is supposed to have: the tools and the agent that the page is about
TOOLS = """
def track(parcel):
    return "Lyon"


def transfer(amount):
    return amount
"""
AGENT = """
def refund_agent(audit, amount):
    with audit.turn(prompt=f"refund {amount}") as turn, audit.tool_call("refund", {"amount": amount}) as call:
        if amount > 100:
            call.denied("limit")
        else:
            call.result = amount
"""
USE_CALLBACKS = """
from auditwire.testing import capture_events

with capture_events() as captured:
    callbacks = Callbacks(captured.emitter)
    callbacks.on_run_start("r", "go")
    callbacks.on_tool_start("t1", "r", "search", {"q": 1})
    callbacks.on_tool_start("t2", "r", "search", {"q": 2})
    callbacks.on_end("t2", error=ValueError("no"))
    callbacks.on_end("t1", output="found")
    callbacks.on_end("r", output="done")
    callbacks.on_end("r", output="again")
assert captured.types == [
    "turn_start", "tool_call_attempt", "tool_call_attempt", "tool_call_failure", "tool_call_complete",
    "turn_end",
]
assert len({event.turn_id for event in captured}) == 1
assert captured[-1].function_calls_count == 2
"""


def blocks(page: str) -> str:
    """The page's Python code. A block that is part of a list is indented with it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no Python"
    return "\n\n".join(found)


def run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUDITWIRE_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("index.md", {"turn_start": 1, "tool_call_attempt": 1, "tool_call_complete": 1, "turn_end": 1}),
        (
            "guides/instrument.md",
            {
                "turn_start": 3,
                "turn_end": 3,
                "tool_call_attempt": 4,
                "tool_call_complete": 4,
                "tool_policy_decision": 1,
                "sandbox_decision": 1,
                "approval": 1,
                "model_call": 1,
                "tool_loop_warning": 1,
                "agent_switch": 1,
                "cache_miss": 1,
            },
        ),
        ("guides/errors.md", {"tool_call_attempt": 1, "tool_call_complete": 1}),
    ],
)
def test_the_code_of_a_page_leaves_its_events_on_the_broker(page: str, expected: dict[str, int]) -> None:
    with EmbeddedBroker() as broker:
        run("-c", TOOLS + blocks(page).replace("localhost:9092", broker.bootstrap_servers))
        with Reader(broker.bootstrap_servers) as reader:
            records = list(reader)
    # a custom event goes by the name that its class gave it
    types = [
        getattr(r.event, "custom_type", None) or r.event.event_type
        for r in records
        if r.event.event_type != "checkpoint"
    ]
    assert {kind: types.count(kind) for kind in types} == expected
    assert {report.verdict for report in check_streams(records, settled=True)} == {"complete"}


def test_the_callbacks_of_the_guide_pair_what_a_framework_tells_them() -> None:
    run("-c", blocks("guides/framework.md") + USE_CALLBACKS)


def test_the_tests_of_the_guide_pass(tmp_path: Path) -> None:
    path = tmp_path / "test_from_the_guide.py"
    path.write_text(AGENT + blocks("guides/test.md"), encoding="utf-8")
    printed = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(path))
    assert "2 passed" in printed
