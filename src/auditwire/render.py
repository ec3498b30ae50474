"""Objects to previews: the one place where what an agent passes becomes text.

In comes any object, out come the text that an event shows and the length of the full text. The order is
fixed: render, measure, truncate. Redaction and digests of the full text belong between render and measure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["preview"]


def preview(
    value: Any, limit: int, on_failure: Callable[[Any, Exception], object] | None = None
) -> tuple[str, int]:
    """The first ``limit`` characters of the value's text, and the full text's length in characters.

    Text is taken as it is, without a copy beyond the slice; None is the empty text; anything else is
    ``str()``.

    Args:
        value: Any object.
        limit: How many characters (code points) to keep, 0 or more.
        on_failure: Called with the value and the error when rendering raises. The text is then
            ``<unprintable TypeName>``: an agent's object must not be able to stop the agent by its
            ``__str__``.
    """
    if type(value) is not str:
        value = _render(value, on_failure)
    return value[:limit], len(value)


def _render(value: Any, on_failure: Callable[[Any, Exception], object] | None) -> str:
    if value is None:
        return ""
    try:
        # a subclass of str is its own text, whatever its __str__ says; the result is an exact str either way
        return str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except Exception as error:  # noqa: BLE001 - a foreign __str__ can raise anything
        if on_failure is not None:
            on_failure(value, error)
        return f"<unprintable {type(value).__name__}>"
