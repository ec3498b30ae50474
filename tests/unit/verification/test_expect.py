from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.errors import ConfigurationError
from auditwire.verification.expect import read_expected, unseen

if TYPE_CHECKING:
    from pathlib import Path


def test_services_stand_one_a_line_and_comments_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text(
        "# those of the shop\nplanner\n\n  search agent \ncheckout # pays\nplanner\nc#-tools\n", "utf-8"
    )
    assert read_expected(file) == ("planner", "search agent", "checkout", "c#-tools")


def test_the_mark_that_windows_editors_write_first_belongs_to_no_name(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_bytes(b"\xef\xbb\xbfplanner\r\nsearch\r\n")
    assert read_expected(file) == ("planner", "search")


@pytest.mark.parametrize("content", ["", "\n \n", "# planner\n"])
def test_a_file_without_a_service_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "services"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"--expect: .*services names no service: write one a line"):
        read_expected(file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--expect: .*services cannot be read: .*No such file"):
        read_expected(tmp_path / "services")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_bytes(b"planner\n\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*codec"):
        read_expected(file)


def test_what_is_unseen_keeps_the_order_in_which_it_is_expected() -> None:
    assert unseen(["d", "a", "c", "b"], {"a", "x"}) == ["d", "c", "b"]
    assert unseen(["a"], ["a"]) == []
