from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.errors import ConfigurationError, SinkError
from auditwire.shipping import Mark, State, load_state, save_state

if TYPE_CHECKING:
    from pathlib import Path

STATE = State("/var/log/audit.jsonl", 1, 2, 300, 4, "ab" * 32, Mark.of(b"x" * 300))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, STATE, 0)
    assert load_state(path) == STATE
    assert json.loads(path.read_text())["saved"] == "1970-01-01T00:00:00.000000+00:00"


def test_a_file_that_is_not_there_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state") is None


def test_a_state_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for _ in range(2):
        save_state(tmp_path / "state", STATE, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_state_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    save_state(path, STATE, 0)

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SinkError, match=r"could not be written to .*state: No space left on device"):
        save_state(path, State("/other", 1, 2, 3, 4, "ab" * 32, Mark.of(b"xyz")), 0)
    assert load_state(path) == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_an_interrupt_while_it_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    save_state(path, STATE, 0)

    def interrupted(_fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, State("/other", 1, 2, 3, 4, "ab" * 32, Mark.of(b"xyz")), 0)
    assert load_state(path) == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"offset": -1},
        {"offset": "300"},
        {"line": True},
        {"chain": "ab"},
        {"chain": "zz" * 32},
        {"chain": None},
        {"mark": {"length": 2_000, "sha256": "ab" * 32}},
        {"mark": {"length": 1}},
        {"mark": []},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_and_named(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "state"
    save_state(path, STATE, 0)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigurationError, match=r"--state: .* is no state of auditwire ship") as raised:
        load_state(path)
    assert raised.value.key == "--state"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b'{"version":'])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(ConfigurationError, match="is no state of auditwire ship"):
        load_state(tmp_path / "state")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_state(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_state(tmp_path / "bytes")
