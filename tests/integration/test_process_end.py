"""Processes that end without closing their collector: what was accepted is delivered all the same."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from emit_support import assert_complete, read_all, run_script, start_script

from auditwire.events import CheckpointEvent

if TYPE_CHECKING:
    from pathlib import Path

    from rig.broker import Broker

PROLOGUE = """
import atexit, os, signal, sys, threading, time
from auditwire import AuditEmitter, CollectorClosed, KafkaCollector

def make(exit_timeout=25, **options):  # CI does much beside
    config = {"reconnect.backoff.max.ms": 500}
    return KafkaCollector(
        sys.argv[1], prefix=sys.argv[2], config=config, exit_timeout=exit_timeout, **options
    )

def emit(audit, count):
    for number in range(count):
        audit.emit_turn_start(prompt="p" * 100, turn_id=str(number))

audit = AuditEmitter(make(), session_id="s", on_error="raise")
"""

ENDINGS: dict[str, tuple[str, int, int]] = {
    "the script returns": ("emit(audit, 2000)", 0, 2000),
    "sys.exit": ("emit(audit, 2000)\nsys.exit(3)", 3, 2000),
    "an unhandled exception": ("emit(audit, 2000)\nraise RuntimeError('unhandled')", 1, 2000),
    "an exception inside with": (
        "with audit:\n    emit(audit, 500)\n    raise RuntimeError('unhandled')",
        1,
        500,
    ),
    "nobody holds the collector": ("emit(audit, 500)\ndel audit\nimport gc\ngc.collect()", 0, 500),
    "a thread that goes on after the script": (
        (
            "def later():\n"
            "    threading.main_thread().join()\n"
            "    emit(audit, 500)\n"
            "threading.Thread(target=later).start()\n"
            "emit(audit, 500)"
        ),
        0,
        1000,
    ),
    "a pool of threads that nobody shut down": (
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "pool = ThreadPoolExecutor(4)\n"
            "for _ in range(8):\n"
            "    pool.submit(emit, audit, 100)"
        ),
        0,
        800,
    ),
    "an exit handler that emits": ("atexit.register(emit, audit, 100)\nemit(audit, 100)", 0, 200),
    "an exit handler that makes a collector": (
        (
            "def handler():\n"
            "    own = AuditEmitter(make(), on_error='raise')\n"
            "    emit(own, 50)\n"
            "    own.flush(10)\n"
            "    emit(own, 50)\n"
            "atexit.register(handler)\n"
            "emit(audit, 100)"
        ),
        0,
        200,
    ),
    "two collectors": ("other = AuditEmitter(make())\nemit(other, 300)\nemit(audit, 300)", 0, 600),
    "SIGINT": ("emit(audit, 500)\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)", -2, 500),
    "SIGTERM that raises SystemExit, as servers do": (
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "emit(audit, 500)\n"
            "os.kill(os.getpid(), signal.SIGTERM)\n"
            "time.sleep(20)"
        ),
        0,
        500,
    ),
    "an event from a finaliser of the ending interpreter": (
        (
            "class Late:\n"
            "    def __del__(self):\n"
            "        AuditEmitter(audit.collector).emit_turn_start()\n"
            "late = Late()\n"
            "audit.collector.late = late\n"
            "emit(audit, 100)"
        ),
        0,
        100,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_everything_accepted_is_delivered_however_the_process_ends(
    broker: Broker, prefix: str, tmp_path: Path, ending: str
) -> None:
    body, code, count = ENDINGS[ending]
    ended = run_script(PROLOGUE + body, broker.bootstrap, prefix, path=tmp_path)
    assert ended.code == code, ended.err
    assert "lost" not in ended.err
    assert ended.seconds < 12
    trail = read_all(broker.bootstrap, prefix)
    assert len(trail.unique) == count
    for report in trail.reports:
        assert_complete(report)


@pytest.mark.needs("create_topics")
def test_sigterm_closes_while_the_main_thread_emits_and_nothing_accepted_is_lost(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    for number in range(5):  # at five moments of an emit
        name = f"{prefix}-{number}"
        process = start_script(
            PROLOGUE
            + """
accepted = 0
signal.signal(signal.SIGTERM, lambda *_: audit.close())
print("ready", flush=True)
try:
    while True:
        audit.emit_turn_start(prompt="p" * 100)
        accepted += 1
except CollectorClosed:
    print(accepted)
""",
            broker.bootstrap,
            name,
            path=tmp_path,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0
        assert [line for line in err.splitlines() if "CollectorClosed" not in line] == []
        trail = read_all(broker.bootstrap, name)
        # an emit that the handler interrupted may be accepted though the loop never counted it
        assert int(out) <= len(trail.unique) <= int(out) + 1
        assert_complete(trail.reports[0])


def test_a_signal_handler_may_emit_and_flush_inside_an_emit(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    ended = run_script(
        PROLOGUE
        + """
handled = 0
def handler(*_):
    global handled
    audit.emit_error("signal", "from the handler")
    handled += 1
    if handled % 50 == 0:
        audit.flush(20)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
emitted = 0
while handled < 500:
    audit.emit_turn_start(prompt="p" * 100)
    emitted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(emitted + handled)
""",
        broker.bootstrap,
        prefix,
        path=tmp_path,
    )
    assert (ended.code, ended.err) == (0, "")
    trail = read_all(broker.bootstrap, prefix)
    assert len(trail.unique) == ended.said
    assert_complete(trail.reports[0])


def test_the_stream_of_a_process_that_was_killed_is_not_taken_for_complete(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    process = start_script(
        PROLOGUE + "emit(audit, 1000)\naudit.flush()\nprint('flushed', flush=True)\ntime.sleep(60)",
        broker.bootstrap,
        prefix,
        path=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "flushed\n"
    process.kill()
    process.communicate(timeout=10)
    trail = read_all(broker.bootstrap, prefix)
    (report,) = trail.reports
    assert len(trail.unique) == 1_000
    assert (report.verdict, report.closed, report.faults) == ("open", False, [])


def test_exit_waits_no_longer_than_it_was_told_when_the_broker_went_away(
    faulty_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    process = start_script(
        PROLOGUE.replace("make()", "make(exit_timeout=2.0)")
        + "emit(audit, 10)\naudit.flush()\nprint('flushed', flush=True)\n"
        + "sys.stdin.readline()\nemit(audit, 100)",
        faulty_broker.bootstrap,
        prefix,
        path=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "flushed\n"
    faulty_broker.kill()
    _, err = process.communicate("\n", timeout=15)
    assert process.returncode == 0
    (line,) = [line for line in err.splitlines() if line.startswith("auditwire: ")]
    assert re.match(r"auditwire: 10[01] records of ", line)  # with the closing checkpoint or without
    faulty_broker.start_again()
    trail = read_all(faulty_broker.bootstrap, prefix)
    assert len(trail.unique) == 10
    assert [r.event.reason for r in trail.records if isinstance(r.event, CheckpointEvent)] == ["open"]
