"""Emit is interrupted by real signals at random byte codes: each event is accepted whole, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from interrupted_emits import SCENARIOS, collector_to_nobody, read, tool_name_of

from auditwire.collectors.kafka import KafkaCollector
from auditwire.collectors.lifetime import unregister
from auditwire.emitter import AuditEmitter

if TYPE_CHECKING:
    from types import FrameType

SCRIPT = Path(__file__).with_name("interrupted_emits.py")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ten_thousand_signals_leave_whole_events_or_none(scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), scenario], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.stdout == "whole\n", done.stderr


def test_finalisers_and_log_handlers_may_emit_inside_an_emit() -> None:
    collector = collector_to_nobody()
    audit = AuditEmitter(collector, session_id="s", on_error="raise")

    class EmitsWhenCollected:
        def __del__(self) -> None:
            audit.emit_tool_call_attempt("finaliser")

    class EmitsWhenRendered:
        def __str__(self) -> str:
            audit.emit_tool_call_attempt("rendering")
            return "rendered"

    audit.emit_tool_call_attempt("outer", args=EmitsWhenRendered())
    _ = EmitsWhenCollected()
    del _
    assert [tool_name_of(r) for r in read(collector)] == ["rendering", "outer", "finaliser"]
    unregister(collector)  # its first event registered it


def test_a_signal_handler_may_close_while_the_main_thread_emits() -> None:
    collector = KafkaCollector("127.0.0.1:1", exit_timeout=0)
    audit = AuditEmitter(collector, on_error="log")
    closed = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        begin = time.monotonic()
        try:
            collector.close(timeout=0.2)
        except TimeoutError as error:
            closed.append((error, time.monotonic() - begin))

    before = signal.signal(signal.SIGUSR1, on_signal)
    killer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        killer.start()
        while not closed:
            audit.emit_error("x", "y")
    finally:
        killer.join()
        unregister(collector)
        signal.signal(signal.SIGUSR1, before)
    (error, seconds) = closed[0]
    assert "were not acknowledged" in str(error)
    assert seconds < 5
