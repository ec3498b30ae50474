from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.errors import ConfigurationError
from auditwire.replaying.state import State, load_state, save_state
from auditwire.replaying.tally import Tally
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from pathlib import Path


def state() -> State:
    tally = Tally()
    for record in StreamBuilder().turns(3).records:
        tally.add(record)
    return State(
        job={"source": {"prefix": "audit"}},
        began_us=1_700_000_000_000_000,
        position={"version": 1, "offsets": {"audit.error": {"0": 7}}},
        output={"bytes": 10, "mark": "ab"},
        tally=tally.to_dict(),
        runs=3,
        crashes=1,
        status="running",
        saved_us=1_700_000_001_000_000,
    )


def test_a_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = state()
    save_state(tmp_path / "state", saved)
    assert load_state(tmp_path / "state") == saved


def test_a_state_of_a_replay_that_has_not_begun_comes_back_too(tmp_path: Path) -> None:
    new = State(job={}, began_us=0)
    save_state(tmp_path / "state", new)
    assert load_state(tmp_path / "state") == new


def test_no_file_and_an_empty_one_are_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None
    (tmp_path / "state").touch()
    assert load_state(tmp_path / "state") is None


def test_a_directory_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--resume: .+ cannot be read"):
        load_state(tmp_path)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("format", "auditwire ship state"),
        ("version", 2),
        ("status", "over"),
        ("status", []),
        ("runs", -1),
        ("began_us", "yesterday"),
        ("job", 7),
        ("position", 7),
        ("output", None),
        ("tally", {}),
        ("tally", None),
    ],
)
def test_what_is_no_state_is_refused_and_named(tmp_path: Path, member: str, value: Any) -> None:
    path = tmp_path / "state"
    save_state(path, state())
    path.write_text(json.dumps({**json.loads(path.read_text()), member: value}))
    with pytest.raises(ConfigurationError, match="is no state of auditwire replay"):
        load_state(path)


@pytest.mark.parametrize("text", ["{", "[]", "7", '"x"', "{}", "[" * 100_000])
def test_other_json_and_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").write_text(text)
    with pytest.raises(ConfigurationError, match="is no state of auditwire replay"):
        load_state(tmp_path / "state")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_state(tmp_path / "state")
