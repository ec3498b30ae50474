"""The guard against steps back counts real instructions: slow, for valgrind runs two dozen times slower."""

from __future__ import annotations

import shutil

import pytest
from benchmarks import guard

pytestmark = pytest.mark.skipif(
    shutil.which("valgrind") is None, reason="valgrind is not installed, which counts instructions"
)


def test_a_deliberate_step_back_fails_and_what_is_installed_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = {work: guard.instructions(work) for work in ("ours", "step back", "reference")}
    monkeypatch.setattr(guard, "instructions", counted.get)  # each is counted once: it takes seconds
    assert guard.main(["--rounds", "0"]) == 0
    assert ": ok" in capsys.readouterr().out
    assert guard.main(["--rounds", "0", "--step-back"]) == 1
    assert "A STEP BACK" in capsys.readouterr().out


def test_a_run_that_fails_is_no_count() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        guard.instructions("nothing")
