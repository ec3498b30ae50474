"""``auditwire tail`` on a real broker: live, within times, and while the broker goes away and comes back."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient
from emit_support import collector

from auditwire import AuditEmitter, KafkaCollector
from auditwire.cli.app import run
from auditwire.delivery.topics import create_topics
from auditwire.events import ALL_TYPES
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from rig.broker import Broker

SECONDS = 60.0
"""How long a line may take to come; it takes milliseconds, and after a broker's restart some seconds."""


class Tail:
    """The command in a process of its own; its lines are there to be asked for as they come."""

    def __init__(self, broker: Broker, prefix: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from auditwire.cli import main; main()", "tail", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "AUDITWIRE_BOOTSTRAP_SERVERS": broker.bootstrap,
                "AUDITWIRE_PREFIX": prefix,
            },
        )
        self._out: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._err: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._listen, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self._process.stdout, self._out), (self._process.stderr, self._err))
        ]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _listen(pipe: Any, lines: queue.SimpleQueue[str]) -> None:
        for line in pipe:
            lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """The next line of stdout."""
        return self._out.get(timeout=SECONDS)

    def said(self) -> str:
        """The next line of stderr."""
        return self._err.get(timeout=SECONDS)

    def events(self, done: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The next lines of ``--json``, until they are what is waited for."""
        found: list[dict[str, Any]] = []
        while not done(found):
            found.append(json.loads(self.line()))
        return found

    def interrupt(self) -> tuple[int, list[str], list[str]]:
        """Ctrl-C: the exit status, and the lines of stdout and stderr that were not asked for."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(SECONDS)
        for thread in self._threads:
            thread.join(SECONDS)
        rest = [[lines.get() for _ in range(lines.qsize())] for lines in (self._out, self._err)]
        return status, rest[0], rest[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(SECONDS)
        for pipe in filter(None, (self._process.stdout, self._process.stderr)):
            pipe.close()


def test_each_line_of_a_turn_is_there_before_the_next_event_is_emitted(broker: Broker, prefix: str) -> None:
    if "create_topics" in broker.capabilities:  # or each event would wait until its topic is looked for
        made = create_topics(AdminClient(broker.client()), [topic_name(prefix, name) for name in ALL_TYPES])
        assert set(made.values()) == {None}
    with (
        Tail(broker, prefix, "--tree", "--from-beginning", "--session", "s") as tail,
        AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), "s", agent_id="planner") as audit,
    ):
        words: list[str] = []

        def show() -> None:
            audit.flush()
            words.append(tail.line()[13:])

        outer = audit.emit_turn_start(turn_id="outer", prompt="plan")
        show()
        audit.emit_tool_call_attempt("search", args="{}", turn_id=outer, tool_call_id="1")
        show()
        audit.emit_agent_switch("planner", "reviewer", turn_id=outer)
        show()
        inner = audit.emit_turn_start("reviewer", "inner", prompt="check")
        show()
        audit.emit_tool_call_complete(
            "search", duration_ms=2.5, result="found", turn_id=outer, tool_call_id="1"
        )
        show()
        audit.emit_error("E", "no", agent_id="reviewer", turn_id=inner)
        show()
        audit.emit_turn_end("reviewer", inner, "checked")
        show()
        audit.emit_turn_end(turn_id=outer, content="planned", fc_count=1)
        show()
        status, out, err = tail.interrupt()
    assert (status, out, err) == (130, [], [])
    assert [line for line in words if " ms ·" not in line and " s ·" not in line] == [
        "┌ planner outer  plan",
        "├ → search  {}",
        "├ · hand-off  planner → reviewer",
        "├─┐ reviewer inner  check",
        "│ ├ · error  E: no",
    ]
    assert words[4] == "├ │ ✓ search  2.5 ms · found"
    assert words[6].startswith("├─┘ reviewer inner  ")
    assert words[6].endswith(" · 0 calls · 1 error · checked")
    assert words[7].startswith("└ planner outer  ")
    assert words[7].endswith(" · 1 call · planned")


def test_the_lines_are_in_the_order_of_the_stream_though_they_come_from_many_topics(
    broker: Broker, prefix: str
) -> None:
    emitted = 300
    with Tail(broker, prefix, "--json", "--from-beginning") as tail:
        with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), "s") as audit:
            for number in range(emitted // 3):
                turn = audit.for_session(f"s-{number % 7}").emit_turn_start()
                audit.emit_tool_call_attempt("x", turn_id=turn)
                audit.emit_turn_end(turn_id=turn)
            audit.flush()
        found = tail.events(lambda events: bool(events) and events[-1].get("reason") == "close")
        assert [event["sequence"] for event in found] == list(range(emitted + 2))
        assert tail.interrupt() == (130, [], [])


@pytest.mark.needs("create_topics")  # the mock knows no offsets for times
def test_times_bound_what_is_shown(broker: Broker, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    times: list[int] = []
    with AuditEmitter(KafkaCollector(broker.bootstrap, prefix=prefix), "s") as audit:
        for name in "abc":
            audit.emit_error(name)
            last = time.time_ns() // 1_000_000
            while time.time_ns() // 1_000_000 <= last:
                pass  # the next event has another millisecond, which is how exactly Kafka knows a time
            times.append(last + 1)

    def shown(*bounds: str) -> list[str]:
        arguments = ["-b", broker.bootstrap, "--prefix", prefix, "--json", "-t", "error", "--no-follow"]
        assert run(["tail", *arguments, *bounds]) == 0
        return [json.loads(line)["error_type"] for line in capsys.readouterr().out.splitlines()]

    assert shown() == ["a", "b", "c"]
    assert shown("--since", str(times[0])) == ["b", "c"]
    assert shown("--until", str(times[1])) == ["a", "b"]
    assert shown("--since", str(times[0]), "--until", str(times[1])) == ["b"]
    assert shown("--since", "1h", "--where", "timestamp<1h") == []


@pytest.mark.parametrize("how", ["kill", "shut_down"])
def test_a_broker_that_goes_and_comes_back_costs_no_line_and_doubles_none(
    faulty_broker: Broker, prefix: str, how: str
) -> None:
    with (
        Tail(faulty_broker, prefix, "--json", "--from-beginning") as tail,
        AuditEmitter(collector(faulty_broker, prefix), "s") as audit,
    ):
        sent = 0

        def emit(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                sent += 1
                audit.emit_tool_call_attempt("x", args=str(sent))

        def arrived(events: list[dict[str, Any]]) -> bool:
            return bool(events) and events[-1].get("arguments_preview") == str(sent)

        emit(500)
        found = tail.events(arrived)
        for _ in range(2):
            getattr(faulty_broker, how)()
            assert tail.said().startswith("auditwire: the broker is away (")
            emit(500)
            faulty_broker.start_again()
            assert tail.said() == "auditwire: the broker is back: reading goes on where it stopped"
            found += tail.events(arrived)
        status, _, err = tail.interrupt()
    assert (status, err) == (130, [])
    assert [event["sequence"] for event in found] == list(range(len(found)))
    shown = [event["arguments_preview"] for event in found if event["event_type"] == "tool_call_attempt"]
    assert shown == [str(number) for number in range(1, sent + 1)]
