"""Figures in pages: what the command prints stands between the comments that name it."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.pages import image, write

ROOT = Path(__file__).parents[3]


def test_sections_are_replaced_and_the_words_around_them_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter\n", encoding="utf-8")
    for _ in range(2):  # the second time too
        write(page, {"a": "new\n", "b": "elsewhere"})
    text = page.read_text(encoding="utf-8")
    assert text == "before\n<!-- begin: a -->\n\nnew\n\n<!-- end: a -->\nafter\n"


def test_a_page_without_sections_becomes_the_first(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write(page, {"a": "all of it", "b": "a part"})
    assert page.read_text(encoding="utf-8") == "all of it\n"


def test_a_section_that_is_not_closed_is_none(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin: a -->\n<!-- begin: b -->\n<!-- end: b -->\n", encoding="utf-8")
    write(page, {"a": "one", "b": "two"})
    assert "one" not in page.read_text(encoding="utf-8")
    assert "two" in page.read_text(encoding="utf-8")


def test_a_picture_is_named_as_the_page_sees_it() -> None:
    assert image(Path("README.md"), Path("docs/speed.svg"), "cost") == "![cost](docs/speed.svg)\n\n"
    assert image(Path("docs/speed.md"), Path("docs/speed.svg"), "cost") == "![cost](speed.svg)\n\n"
    assert image(Path("README.md"), None, "cost") == ""


@pytest.mark.parametrize(
    ("page", "name"),
    [("README.md", "emit-short")]
    + [("docs/guides/speed.md", name) for name in ("emit", "parts", "latency", "scaling", "idle")],
)
def test_the_pages_have_the_sections_that_the_commands_fill(page: str, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count(f"<!-- begin: {name} -->") == text.count(f"<!-- end: {name} -->") == 1
    assert text.index(f"<!-- begin: {name} -->") < text.index(f"<!-- end: {name} -->")
