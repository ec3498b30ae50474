"""A process that emits at a rate, and the handle on it: what faults are judged by.

`python -m rig.load` is the process, `Load` starts it. It takes one command a line on its standard input and
answers each with one line, both JSON; at the end of its input it exits at once, so that it does not outlive
whoever started it.

It counts what it has emitted in a file that it maps: so it is known of a killed process, too, what emit had
accepted. Each event carries its identity in `turn_id`, "life:thread:number", and each thread numbers its
accepted events from 0 without gaps: what is missing on the broker has a name.

    counters, little-endian, one row of 64 bytes for each thread
     0  u64  accepted: calls of emit that returned
     8  u64  refused: calls of emit that raised
    16  u64  the longest call, in nanoseconds
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from auditwire import KafkaCollector

ROW = 64
FIELD = struct.Struct("<Q")
TICK = 0.005
"""Seconds between two bursts of a thread."""

PROMPT = "What is the weather in Trondheim going to be tomorrow, and is it worth taking the boat out?"
ARGUMENTS = json.dumps({"query": "weather in Trondheim tomorrow", "limit": 10, "language": "en"})
RESULT = "Cloudy with some rain, 4 to 7 degrees, wind from the west. " * 3
TYPES = ("turn_start", "tool_call_attempt", "tool_call_complete", "turn_end")


# -- the handle -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """What one process has emitted so far.

    Attributes:
        accepted: By thread.
        refused: All threads together.
        stall_ms: The longest call of emit.
    """

    accepted: tuple[int, ...]
    refused: int
    stall_ms: float

    @property
    def total(self) -> int:
        return sum(self.accepted)


class LoadError(RuntimeError):
    """The process ended, did not answer, or answered with an error; the message ends with its log."""


class Load:
    """One emitting process; leaving the block kills it.

    Args:
        folder: For its counters and its standard error.
        config: librdkafka's settings, the brokers among them.
        prefix: The topics' prefix.
        life: Tells processes apart that write the same topics; part of each event's identity.
        rate: Events per second, all threads together.
        threads: How many emit.
        options: Further arguments of KafkaCollector; JSON's types.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        prefix: str,
        *,
        life: str = "a",
        rate: float = 1_500,
        threads: int = 2,
        **options: Any,
    ) -> None:
        self.life = life
        self._threads = threads
        self._counters = folder / f"{life}.counters"
        self._counters.write_bytes(bytes(ROW * threads))
        self._stderr = folder / f"{life}.stderr"
        self._command = {
            "config": dict(config),
            "prefix": prefix,
            "life": life,
            "rate": rate,
            "threads": threads,
            "counters": str(self._counters),
            "options": options,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rig.load"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                bufsize=0,
                cwd=Path(__file__).parents[1],
                start_new_session=True,  # Ctrl-C is for whoever started it; it ends with its input
            )
        try:
            self._answer(self._say(self._command), 30)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LoadError("the load has not been started")
        return self._process

    @property
    def counts(self) -> Counts:
        """Now, or of the moment when the process ended."""
        data = self._counters.read_bytes()
        rows = [[FIELD.unpack_from(data, at + i * 8)[0] for i in range(3)] for at in range(0, len(data), ROW)]
        return Counts(
            accepted=tuple(row[0] for row in rows),
            refused=sum(row[1] for row in rows),
            stall_ms=max(row[2] for row in rows) / 1e6,
        )

    def health(self) -> dict[str, Any]:
        """The collector's, as a dictionary."""
        return self._ask("health")

    def flush(self, timeout: float) -> float:
        """Seconds until all that was accepted before is acknowledged.

        Raises:
            LoadError: That took longer than `timeout`; the message is the collector's.
        """
        return float(self._ask("flush", timeout, timeout=timeout)["seconds"])

    def hold(self, *types: str) -> None:
        """Emit none of these types from now on; without types, all again. Returns when it is so."""
        self._ask("hold", types=types)

    def login(self, user: str, password: str) -> None:
        """As KafkaCollector.set_sasl_credentials."""
        self._ask("login", user=user, password=password)

    def close(self, timeout: float) -> dict[str, Any]:
        """End the threads, close the collector and return its last health.

        Raises:
            LoadError: Not all was delivered within `timeout`.
        """
        return self._ask("close", timeout, timeout=timeout)

    def kill(self) -> None:
        """SIGKILL; the counters stay. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _ask(self, command: str, longer: float = 0.0, **arguments: Any) -> dict[str, Any]:
        return self._answer(self._say({"do": command, **arguments}), 30 + longer)

    def _say(self, line: Mapping[str, Any]) -> str:
        pipe = self.process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the answer will say so
            pipe.write(json.dumps(line).encode() + b"\n")
        return str(line.get("do", "start"))

    def _answer(self, asked: str, timeout: float) -> dict[str, Any]:
        pipe = self.process.stdout
        assert pipe is not None
        line, end = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise self._error(f"{asked}: no answer within {timeout:g} s")
            piece = pipe.read(65536)
            if not piece:
                raise self._error(f"{asked}: the process has ended ({self.process.wait(10)})")
            line += piece
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._error(f"{asked}: {answer['error']}")
        return answer

    def _error(self, message: str) -> LoadError:
        return LoadError(f"{message}\n{self._stderr.read_text(errors='replace')[-4000:]}".strip())


# -- the process ------------------------------------------------------------------------------------------


class Emitting:
    """Threads that emit at a rate and count what became of it.

    Args:
        kafka: Where to.
        life: The first part of each event's identity.
        rate: Events per second of all threads together.
        counters: The mapped file, a row for each thread.
    """

    def __init__(self, kafka: KafkaCollector, life: str, rate: float, counters: mmap.mmap) -> None:
        self._kafka = kafka
        self._life = life
        self._counters = counters
        number = len(counters) // ROW
        self._rate = rate / number
        self._ending = threading.Event()
        self._held: frozenset[str] = frozenset()
        self._seen: list[frozenset[str] | None] = [None] * number
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(number)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def hold(self, types: frozenset[str]) -> None:
        """Returns when no thread emits these any more."""
        self._held = types
        while any(seen is not types for seen in self._seen):
            time.sleep(TICK)

    def _run(self, thread: int) -> None:
        from auditwire.errors import AuditwireError

        accepted = refused = slowest = 0
        due = time.monotonic()
        while not self._ending.wait(TICK):
            held = self._seen[thread] = self._held
            types = [name for name in TYPES if name not in held]
            now = time.monotonic()
            due = max(due, now - 1)  # after a stall, a second's worth is caught up, not more
            while due <= now:
                due += 1 / self._rate
                event = event_of(types[accepted % len(types)], f"{self._life}:{thread}:{accepted}", accepted)
                start = time.perf_counter_ns()
                try:
                    self._kafka.emit(event)
                except AuditwireError:
                    refused += 1
                    FIELD.pack_into(self._counters, thread * ROW + 8, refused)
                else:
                    accepted += 1
                    FIELD.pack_into(self._counters, thread * ROW, accepted)
                slowest = max(slowest, time.perf_counter_ns() - start)
                FIELD.pack_into(self._counters, thread * ROW + 16, slowest)


def event_of(kind: str, identity: str, number: int) -> Any:
    """About 450 bytes on the average, as an agent's events are."""
    from auditwire.events import (
        ToolCallAttemptEvent,
        ToolCallCompleteEvent,
        TurnEndEvent,
        TurnStartEvent,
    )

    common: dict[str, Any] = {
        "session_id": f"session-{number // 40 % 50}",
        "agent_id": "planner",
        "turn_id": identity,
    }
    if kind == "turn_start":
        return TurnStartEvent(prompt_preview=PROMPT, prompt_length=len(PROMPT), **common)
    if kind == "tool_call_attempt":
        return ToolCallAttemptEvent(tool_name="weather.search", arguments_preview=ARGUMENTS, **common)
    if kind == "tool_call_complete":
        return ToolCallCompleteEvent(tool_name="weather.search", result_preview=RESULT, **common)
    return TurnEndEvent(content_preview=RESULT, content_length=len(RESULT), **common)


def main() -> None:
    from auditwire import KafkaCollector
    from auditwire.errors import AuditwireError

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by command, by its input or by SIGKILL
    given = json.loads(sys.stdin.readline())
    with Path(given["counters"]).open("r+b") as file:
        counters = mmap.mmap(file.fileno(), 0)
    kafka = KafkaCollector(config=given["config"], prefix=given["prefix"], **given["options"])
    emitting = Emitting(kafka, given["life"], given["rate"], counters)
    emitting.start()
    say({"stream_id": kafka.stream_id})
    for line in sys.stdin:
        try:
            say(done(json.loads(line), kafka, emitting))
        except AuditwireError as error:  # noqa: PERF203 - one of a few commands
            say({"error": f"{type(error).__name__}: {error}"})
    os._exit(0)  # whoever started it is gone, or wants no more of it


def say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def done(command: dict[str, Any], kafka: KafkaCollector, emitting: Emitting) -> dict[str, Any]:
    """Do one command."""
    what = command.pop("do")
    if what == "hold":
        emitting.hold(frozenset(command["types"]))
    elif what == "login":
        kafka.set_sasl_credentials(command["user"], command["password"])
    elif what == "flush":
        start = time.monotonic()
        kafka.flush(command["timeout"])
        return {"seconds": time.monotonic() - start}
    elif what == "close":
        emitting.stop()
        kafka.close(command["timeout"])
    return kafka.health().to_dict()


if __name__ == "__main__":
    main()
