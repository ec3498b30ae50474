"""HTML that cannot be broken by what it shows: every text is escaped unless it was made here.

:func:`element` takes texts and :class:`Html`. A text is escaped; what is not printable in it (control
characters, marks that turn the reading direction, lone surrogates) becomes visible as an escape. Only what
these functions return is :class:`Html`, and goes in as it is.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Html", "element", "joined", "said", "visible"]

_VOID = frozenset({"br", "input"})


class Html(str):
    """Markup made here. Joining or formatting one with other texts gives a plain text again."""

    __slots__ = ()


def visible(text: str, keep: str = "") -> str:
    """The text with what is not printable as an escape, except the characters to keep."""
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def element(tag: str, *children: Html | str | None, **attributes: str | float | bool | None) -> Html:
    """An element.

    Args:
        tag: Its name; ours, never from an event.
        children: Texts are escaped. None is left out.
        attributes: ``class_`` is ``class``, ``aria_label`` is ``aria-label``. True is an attribute without a
            value; None and False leave it out.
    """
    opening = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        opening.append(key if value is True else f'{key}="{escape(visible(str(value)))}"')
    if tag in _VOID:
        return Html(f"<{' '.join(opening)}>")
    inner = "".join(
        child if isinstance(child, Html) else escape(visible(child), quote=False)
        for child in children
        if child is not None
    )
    return Html(f"<{' '.join(opening)}>{inner}</{tag}>")


def joined(parts: Iterable[Html | None]) -> Html:
    """Elements one after the other; None is left out."""
    return Html("".join(part for part in parts if part is not None))


def said(text: str, most: int, class_: str | None = None) -> Html | None:
    """A text from an event on one line, kept apart from its neighbours' reading direction; None when empty.

    Args:
        text: The text.
        most: Characters that are shown; of a longer one it is said how long it is.
        class_: Of the element.
    """
    if not text:
        return None
    cut = len(text) > most
    short = " ".join(text[:most].split())
    if not cut:
        return element("bdi", short, class_=class_)
    note = element("span", f" … {len(text):,} characters", class_="cut")
    return element("bdi", short, note, class_=class_)
