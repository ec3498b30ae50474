from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from auditwire.errors import SinkError
from auditwire.replaying.files import replace_json

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_made_for_its_owner_alone_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_json(path, {"n": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    replace_json(path, {"n": 2}, indent=1)
    assert json.loads(path.read_text()) == {"n": 2}
    assert path.stat().st_ino != before
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_what_stood_there_stays_when_the_new_content_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_json(path, {"n": 1})
    with pytest.raises(TypeError):
        replace_json(path, {"n": object()})
    assert json.loads(path.read_text()) == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


def test_a_directory_that_is_gone_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"gone/state could not be written: No such file") as caught:
        replace_json(tmp_path / "gone" / "state", {})
    assert caught.value.retriable
