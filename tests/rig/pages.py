"""Puts what a command printed into a page of the documentation, where the page has marks for it.

A page says `<!-- make chaos -->` and, further down, `<!-- end -->`, each on a line of its own: what stands
between them is replaced, and the rest of the page is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

END = "<!-- end -->"


def put(page: Path, command: str, text: str) -> None:
    """Between the marks of `command` where the page has them; a file without them becomes the text."""
    begin = f"<!-- {command} -->"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    before, mark, rest = old.partition(f"{begin}\n")
    _, end, after = rest.partition(END)
    new = f"{before}{mark}\n{text.strip()}\n\n{end}{after}" if mark and end else f"{text.strip()}\n"
    page.write_text(new, encoding="utf-8")
