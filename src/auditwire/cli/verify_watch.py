"""``auditwire verify --watch``: rounds of checks, told on stdout, over HTTP and in a file."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from auditwire.cli.output import remark
from auditwire.cli.verify_metrics import page, write_page
from auditwire.cli.verify_text import round_line, stream_lines
from auditwire.delivery.status_server import StatusServer
from auditwire.verification import verify_trail
from auditwire.verification.watch import Numbers, Watch

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from auditwire.cli.output import Output
    from auditwire.verification.outcome import Standing, TrailReport
    from auditwire.verification.report import StreamReport
    from auditwire.verification.watch import Round

__all__ = ["Watching"]

_SHOWN = 1_000
"""Streams at fault that are known to have been shown: what comes up after so many is counted only."""


class Watching:
    """A watch that is told of.

    Args:
        stack: Ends the server.
        bootstrap: The brokers.
        arguments: Those of ``verify_trail``.
        output: Where rounds and faults are printed.
        metrics: Where to answer over HTTP; None: nowhere.
        metrics_file: Where to keep the metrics; None: nowhere.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(
        self,
        stack: ExitStack,
        bootstrap: str,
        arguments: dict[str, Any],
        output: Output,
        metrics: str | None,
        metrics_file: Path | None,
    ) -> None:
        self._bootstrap = bootstrap
        self._arguments = arguments
        self._output = output
        self._metrics_file = metrics_file
        self._prefix: str = arguments["prefix"]
        self._shown: dict[str, int] = {}
        self._faulty: list[StreamReport] = []
        self._watch: Watch | None = None
        if metrics is not None:
            server = StatusServer(metrics, live=lambda: True, health=self._health, metrics=self._page)
            stack.callback(server.close)
            server.start()
            remark(f"answering at {server.url}")

    def run(self, every: float, *, fail_fast: bool) -> int:
        """Check until a signal comes, or the first fault with ``fail_fast``; the last round's exit status."""
        self._watch = Watch(self._check, every=every, on_round=self._on_round)
        last = self._watch.run(fail_fast=fail_fast)
        return 0 if last.report is None else last.report.exit_status

    # -- one round ------------------------------------------------------------------------------------------

    def _check(self) -> TrailReport:
        self._faulty.clear()
        return verify_trail(self._bootstrap, **self._arguments, changed_only=True, on_report=self._on_report)

    def _on_report(self, report: StreamReport, standing: Standing) -> None:
        if standing == "fault" and len(self._faulty) < _SHOWN:
            self._faulty.append(report)

    def _on_round(self, made: Round) -> None:
        told = made.to_dict()
        if made.report is not None:
            told["faulty"] = [report.to_dict() for report in self._faulty if self._is_news(report)]
        self._output.json({"object": "round", **told})
        at = datetime.fromtimestamp(made.began).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        self._output.print(round_line(made, at))
        if made.report is not None:
            for report in self._faulty:
                if self._is_news(report):
                    for line in stream_lines(report):
                        self._output.print(line)
                    self._shown[report.stream_id] = report.faults_total
        if self._metrics_file is not None:
            write_page(self._metrics_file, self._page())

    def _is_news(self, report: StreamReport) -> bool:
        """True when the stream was not shown with as many faults."""
        return self._shown.get(report.stream_id, 0) < report.faults_total

    # -- other threads --------------------------------------------------------------------------------------

    def _page(self) -> str:
        numbers = Numbers() if self._watch is None else self._watch.numbers
        return page(numbers, prefix=self._prefix, now=time.time())

    def _health(self) -> tuple[bool, dict[str, Any]]:
        """Whether rounds can be made and find no fault."""
        if self._watch is None:
            return True, {"prefix": self._prefix, "rounds": 0}
        numbers = self._watch.numbers
        well = numbers.broker_up and not numbers.streams["fault"]
        return well or not numbers.rounds, {
            "prefix": self._prefix,
            "rounds": sum(numbers.rounds.values()),
            "up": numbers.broker_up,
            "streams": dict(numbers.streams),
            "last_success": numbers.last_success,
            "last_completed": numbers.last_completed,
        }
