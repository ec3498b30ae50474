"""Docstrings are read in editors and by `help()`; here their reST becomes Markdown for the site.

In comes each documented object, out goes the same with roles as links, ``::`` blocks as code blocks, and
simple tables as Markdown tables. A Griffe extension; mkdocs.yml names this file.
"""  # noqa: INP001 - loaded by its path

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any, cast

from griffe import Alias, Extension, Module, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`(~?)([^`]+)`")
_RULE = re.compile(r"^=+(?: +=+)+$")


class ReST(Extension):
    """Rewrites a package's docstrings once all of it is known, so that short names find what they mean."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Griffe calls this when it has read a package."""
        _rewrite(pkg)


def _rewrite(obj: Object) -> None:
    if obj.docstring is not None:
        text = _tables(_blocks(obj.docstring.value))
        obj.docstring.value = _ROLE.sub(lambda role: _link(obj, role), text)
    for member in obj.members.values():
        if not member.is_alias:
            _rewrite(cast("Object", member))


def _link(obj: Object, role: re.Match[str]) -> str:
    short, target = role[1], role[2]
    name = target.rsplit(".", 1)[-1] if short else target
    # optional: what has no page stays a name
    return f'<autoref optional identifier="{_path(obj, target)}"><code>{name}</code></autoref>'


def _path(obj: Object, name: str) -> str:
    """The whole path of a name as it is used in this object's docstring."""
    head, _, rest = name.partition(".")
    scope: Object | None = obj
    while scope is not None:
        if head in scope.members:
            member = scope.members[head]
            path = member.target_path if isinstance(member, Alias) else member.path
            return f"{path}.{rest}" if rest else path
        scope = scope.parent
    return name


def _blocks(text: str) -> str:
    """A paragraph that ends with ``::`` and the indented block after it, as a fenced block."""
    out: list[str] = []
    lines = text.split("\n")
    while lines:
        line = lines.pop(0)
        if not line.rstrip().endswith("::"):
            out.append(line)
            continue
        margin = len(line) - len(line.lstrip())
        if line.strip() != "::":
            out.append(line.rstrip()[:-1])
        block: list[str] = []
        while lines and (not lines[0].strip() or len(lines[0]) - len(lines[0].lstrip()) > margin):
            block.append(lines.pop(0))
        while block and not block[0].strip():
            block.pop(0)
        while block and not block[-1].strip():
            block.pop()
        code = textwrap.dedent("\n".join(block))
        fenced = [f"```{_language(code)}", *code.split("\n"), "```"]
        out += ["", *(" " * margin + part for part in fenced), ""]
    return "\n".join(out)


def _language(code: str) -> str:
    try:
        ast.parse(code)
    except SyntaxError:
        return "text"
    return "python"


def _tables(text: str) -> str:
    """A simple table as a Markdown one. A line whose first column is empty goes on with the row above."""
    out: list[str] = []
    lines = text.split("\n")
    while lines:
        line = lines.pop(0)
        if not _RULE.match(line.strip()):
            out.append(line)
            continue
        rows: list[list[str]] = []
        starts = [match.start() for match in re.finditer(r"=+", line)]
        ends = [*starts[1:], None]
        header = False
        while lines:
            row = lines.pop(0)
            if _RULE.match(row.strip()):
                # the second rule ends a table without a header, the third one that has one
                if lines and lines[0].strip() and not header:
                    header = True
                    continue
                break
            cells = [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]
            if rows and not cells[0]:
                rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
            else:
                rows.append(cells)
        if not header:
            rows.insert(0, [""] * len(starts))
        rows.insert(1, ["-"] * len(starts))
        pad = " " * starts[0]
        out += [
            "",
            *(f"{pad}| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in rows),
            "",
        ]
    return "\n".join(out)
