"""Puts what a benchmark printed into a page, between two comments that name it.

::

    <!-- begin: emit -->
    ...
    <!-- end: emit -->

So the words around the figures are written by hand, and the figures by the command alone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["image", "write"]


def write(path: Path, sections: Mapping[str, str]) -> None:
    """Replace those of the sections that the page has; a page that has none of them becomes the first one.

    Args:
        path: The page; it need not exist.
        sections: Name -> Markdown.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    found = False
    for name, text in sections.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        head, opened, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if opened and closed:
            page = f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}"
            found = True
    path.write_text(page if found else next(iter(sections.values())).strip() + "\n", encoding="utf-8")


def image(page: Path, picture: Path | None, title: str) -> str:
    """The picture as Markdown, as seen from the page; "" when there is none."""
    if picture is None:
        return ""
    return f"![{title}]({os.path.relpath(picture, page.parent)})\n\n"
