"""The guard fails on a real step back, and on nothing else."""

from __future__ import annotations

import shutil

import pytest
from benchmarks import guard
from benchmarks.control import QueueOnly
from benchmarks.guard import INSTRUCTIONS_MOST, RATIO_MOST, judge_instructions, judge_ratio
from benchmarks.pairing import Spread
from benchmarks.workload import emit_events

from auditwire import AuditEmitter
from auditwire.errors import CollectorClosed, JournalFull


def test_without_valgrind_it_says_that_nothing_was_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert guard.main(["--rounds", "0"]) == 0
    assert "not counted: valgrind is not installed" in capsys.readouterr().out


def test_instructions_are_judged_as_a_multiple_of_the_references() -> None:
    assert not judge_instructions(INSTRUCTIONS_MOST * 1_000, 1_000).failed
    assert judge_instructions(INSTRUCTIONS_MOST * 1_000 + 1, 1_000).failed


@pytest.mark.parametrize(
    ("median", "lower", "failed"),
    [
        (RATIO_MOST - 0.1, RATIO_MOST - 0.2, False),
        (RATIO_MOST + 0.1, RATIO_MOST - 0.1, False),  # noise: a quarter of the rounds says otherwise
        (RATIO_MOST + 0.2, RATIO_MOST + 0.1, True),
    ],
)
def test_a_ratio_fails_only_when_its_lower_quartile_is_beyond_the_bound_too(
    median: float, lower: float, *, failed: bool
) -> None:
    assert judge_ratio(Spread(median, lower, median + 1)).failed is failed


def test_the_whole_way_is_held_against_the_floor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)  # counting is of other tests
    # the judgement is of other tests: one round of so few events says nothing
    guard.main(["--rounds", "1", "--events", "100", "--json"])
    assert '"part": "ratio"' in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rounds", "-1"], ["--events", "0"]])
def test_the_command_refuses_what_is_no_number_of_rounds_or_events(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        guard.main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("work", ["ours", "step back", "reference"])
def test_the_work_that_is_counted_can_be_done_by_itself(work: str) -> None:
    assert guard.main(["--work", work, "8"]) == 0


def test_the_control_accepts_as_a_collector_does_and_nobody_takes_anything() -> None:
    with QueueOnly() as control:
        audit = AuditEmitter(control, session_id="s", on_error="raise")
        emit_events([audit], 40)
        control.flush()
        assert control.accepted == 40
    with pytest.raises(CollectorClosed):
        emit_events([audit], 1)


def test_a_control_that_is_full_refuses() -> None:
    with QueueOnly(capacity=1_000) as control:
        audit = AuditEmitter(control, session_id="s", on_error="raise")
        with pytest.raises(JournalFull):
            emit_events([audit], 40)
