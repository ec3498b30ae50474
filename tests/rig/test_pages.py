"""A page keeps its words when a command's output in it is renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.pages import put

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (
    "# Title\n\n<!-- make a -->\nold\n<!-- end -->\n\nwords\n\n<!-- make b -->\nother\n<!-- end -->\nlast\n"
)


def test_what_stands_between_the_marks_is_replaced_as_often_as_one_likes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    for _ in range(2):
        put(page, "make a", "| new |\n")
        assert page.read_text() == PAGE.replace("\nold\n", "\n\n| new |\n\n")


def test_a_file_without_the_marks_becomes_the_text(tmp_path: Path) -> None:
    for before in (None, "old", "<!-- make a -->\nno end"):
        page = tmp_path / "page.md"
        if before is not None:
            page.write_text(before)
        put(page, "make a", "new")
        assert page.read_text() == "new\n"
