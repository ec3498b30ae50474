from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.errors import AuditwireError, BrokerError, ConfigurationError, SinkError
from auditwire.verification.outcome import TrailReport
from auditwire.verification.report import Fault, StreamReport, Verdict
from auditwire.verification.watch import RESULTS, Numbers, Round, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable


def found(*verdicts: Verdict, messages: int = 10, **values: Any) -> TrailReport:
    out = TrailReport(prefix="audit", messages=messages, **values)
    for number, verdict in enumerate(verdicts):
        report = StreamReport(stream_id=f"s{number}", verdict=verdict, records=1, first_timestamp_ms=7)
        if verdict == "fault":
            report.add_fault(Fault(kind="missing", sequence=number, message="gone"))
            report.counts["missing"] = 4
        out.add(report)
    return out


class Rounds:
    """A watch over checks that come to what is given; the clocks go on by a second at each look."""

    def __init__(self, comes_to: Iterable[TrailReport | Exception], *, every: float = 0.0) -> None:
        self.made: list[Round] = []
        self.numbers: list[Numbers] = []
        self._left = list(comes_to)
        self._now = 1_000.0
        self.watch = Watch(
            self._check, every=every, on_round=self._on_round, clock=self._tick, monotonic=self._tick
        )

    def _tick(self) -> float:
        self._now += 1.0
        return self._now

    def _check(self) -> TrailReport:
        outcome = self._left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _on_round(self, made: Round) -> None:
        self.made.append(made)
        self.numbers.append(self.watch.numbers)
        if not self._left:
            self.watch.stop()


def watched(*comes_to: TrailReport | Exception) -> Rounds:
    rounds = Rounds(comes_to)
    rounds.watch.run()
    return rounds


def test_each_check_is_a_round_with_its_result() -> None:
    rounds = watched(found("complete"), found("open"), found("fault"), found(), BrokerError("no broker"))
    assert [(made.number, made.result) for made in rounds.made] == [
        (1, "complete"),
        (2, "open"),
        (3, "fault"),
        (4, "nothing"),
        (5, "failed"),
    ]
    assert rounds.watch.numbers.rounds == dict.fromkeys(RESULTS, 1)


def test_a_broker_that_is_away_ends_no_watch_and_is_told() -> None:
    rounds = watched(BrokerError("no broker"), found("complete"), SinkError("disk full"), found("complete"))
    assert [made.reason for made in rounds.made] == ["no broker", None, "disk full", None]
    assert [made.report is None for made in rounds.made] == [True, False, True, False]
    assert [numbers.broker_up for numbers in rounds.numbers] == [False, True, False, True]
    completed = [numbers.last_completed for numbers in rounds.numbers]
    assert completed[0] == 0.0
    assert 0.0 < completed[1] == completed[2] < completed[3]


def test_success_is_a_round_without_fault_that_had_something_to_check() -> None:
    rounds = watched(found("open"), found("fault"), found(), found("complete"))
    success = [numbers.last_success for numbers in rounds.numbers]
    completed = [numbers.last_completed for numbers in rounds.numbers]
    assert success[0] == success[1] == success[2] == completed[0]
    assert success[3] == completed[3]


def test_a_fault_that_stays_is_counted_once_and_another_one_again() -> None:
    rounds = watched(
        found("fault"), found("fault"), BrokerError("away"), found("fault", "fault"), found("complete")
    )
    assert [numbers.faults["missing"] for numbers in rounds.numbers] == [1, 1, 1, 2, 2]
    assert [numbers.missing for numbers in rounds.numbers] == [4, 4, 4, 8, 0]
    assert [numbers.streams["fault"] for numbers in rounds.numbers] == [1, 1, 1, 2, 0]


def test_messages_add_up_and_the_last_rounds_are_how_far_it_was_behind() -> None:
    rounds = watched(found("open", messages=100), found("open", messages=3))
    assert [(numbers.records, numbers.lag) for numbers in rounds.numbers] == [(100, 100), (103, 3)]
    assert rounds.watch.numbers.oldest_open_ms == 7


def test_a_setting_that_is_wrong_from_the_beginning_comes_out() -> None:
    with pytest.raises(ConfigurationError, match="--state: is damaged"):
        watched(ConfigurationError("--state", "is damaged"))


def test_a_state_that_somebody_else_has_for_a_while_fails_a_round() -> None:
    rounds = watched(found("complete"), ConfigurationError("--state", "is in use"), found("complete"))
    assert [made.result for made in rounds.made] == ["complete", "failed", "complete"]


def test_an_error_that_is_not_ours_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        watched(found("complete"), ZeroDivisionError())


def test_the_first_fault_can_be_the_end() -> None:
    rounds = Rounds([found("complete"), AuditwireError("a process died"), found("fault"), found("complete")])
    last = rounds.watch.run(fail_fast=True)
    assert (last.number, last.result) == (3, "fault")
    assert len(rounds.made) == 3


def test_a_stop_from_another_thread_ends_the_wait_for_the_next_round() -> None:
    began = threading.Event()
    watch = Watch(lambda: found("complete"), every=3_600.0, on_round=lambda _made: began.set())
    thread = threading.Thread(target=watch.run)
    thread.start()
    assert began.wait(30)
    watch.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_the_next_round_waits_for_what_is_left_of_the_time() -> None:
    waited = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return self.is_set()

    rounds = Rounds([found("complete"), found("complete")], every=60.0)
    rounds.watch._stop = Stop()
    rounds.watch.run()
    # each look at a clock is a second later, and the fourth from a round's beginning is before the wait
    assert waited == [56.0, 56.0]


def test_a_round_is_json_with_the_reports_members_among_its_own() -> None:
    rounds = watched(found("fault"), BrokerError("away"))
    told, failed = (json.loads(json.dumps(made.to_dict())) for made in rounds.made)
    assert (told["round"], told["result"], told["reason"], told["exit_status"]) == (1, "fault", None, 1)
    assert (told["verdicts"], told["faults"], told["missing"]) == ({"fault": 1}, {"missing": 1}, 4)
    assert failed.keys() == {"round", "began", "seconds", "result", "reason"}
    assert (failed["result"], failed["reason"]) == ("failed", "away")


def test_the_numbers_that_are_given_are_a_copy() -> None:
    rounds = watched(found("fault"))
    numbers = rounds.watch.numbers
    numbers.faults["missing"] = 99
    numbers.rounds.clear()
    assert rounds.watch.numbers.faults == {"missing": 1}
    assert rounds.watch.numbers.rounds == {"fault": 1}
