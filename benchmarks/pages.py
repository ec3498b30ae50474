"""Puts what a benchmark printed into a page, between two comments that name it.

::

    <!-- begin: emit -->
    ...
    <!-- end: emit -->

So the words around the figures are written by hand, and the figures by the command alone.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

__all__ = ["add_options", "image", "publish", "write"]


def add_options(parser: ArgumentParser) -> None:
    """The broker to measure against, and where the figures go: the same for every benchmark of a page."""
    parser.add_argument("--broker", choices=("mock", "rig"), default="mock", help="which one (default: mock)")
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="a broker of yours; topics are made, and stay"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put what is printed into that page too"
    )


def publish(options: Namespace, name: str, text: str, found: Any) -> None:
    """Print the figures, and put them into the page that the options name.

    Args:
        options: Parsed, with what `add_options` adds.
        name: The page's section.
        text: The figures for people.
        found: The figures, a dataclass.
    """
    if options.markdown is not None:
        write(options.markdown, {name: text})
    sys.stdout.write(json.dumps(asdict(found)) + "\n" if options.json else text + "\n")


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
