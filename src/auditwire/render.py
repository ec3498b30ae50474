"""Objects to previews: the one place where what an agent passes becomes text.

In comes any object; out come the text that an event shows, the length of the full text and, where digests are
switched on, its digest. The order is fixed: render, redact, measure and digest, truncate. So nothing that
redaction takes out is measured, hashed or shown, and nothing that truncation takes off escapes redaction.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, Literal

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.render_digest import DigestKey, digester
from auditwire.render_text import TextWalk

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REDACTION_FAILED", "RENDERED", "DigestKey", "Renderer"]

REDACTION_FAILED = "<redaction failed>"
"""What stands for a text whose redaction raised."""

RENDERED = "auditwire.rendered"
"""The key of an event's metadata that says how much of an object its text does not hold."""


class Renderer:
    """Makes previews. Immutable and thread-safe.

    Args:
        limit: How many characters (code points) of a text to keep, 0 or more.
        digests: None, ``"sha256"`` or a :class:`DigestKey`; see :mod:`auditwire.render_digest`.
        redact: Is given each full text, returns what may be kept of it. What it raises, or returns that is no
            text, is never a reason to show the text: ``<redaction failed>`` stands in its place.
        on_unprintable: Called with a value and the error when rendering raises; where there is a ``redact``,
            with an error that holds no part of the value's text.
        on_redaction_failure: Called with the value and an error that holds no part of the text.

    Raises:
        ConfigurationError: ``digests`` or ``redact`` is none of these.
    """

    __slots__ = ("_digest", "_is_plain", "_limit", "_on_redaction_failure", "_on_unprintable", "_redact")

    def __init__(
        self,
        limit: int,
        *,
        digests: Literal["sha256"] | DigestKey | None = None,
        redact: Callable[[str], str] | None = None,
        on_unprintable: Callable[[Any, Exception], object] | None = None,
        on_redaction_failure: Callable[[Any, Exception], object] | None = None,
    ) -> None:
        if redact is not None and not callable(redact):
            raise ConfigurationError("redact", f"{redact!r} is neither None nor a function of a text")
        self._limit = limit
        self._digest = digester(digests)
        self._redact = redact
        self._is_plain = digests is None and redact is None
        if redact is not None and on_unprintable is not None:
            report = on_unprintable

            def on_unprintable(value: Any, error: Exception) -> object:
                return report(value, AuditwireError(f"rendering {_without_message(error)}"))

        self._on_unprintable = on_unprintable
        self._on_redaction_failure = on_redaction_failure

    def preview(self, value: Any, metadata: dict[str, Any] | None = None) -> tuple[str, int, str | None]:
        """The beginning of the value's text, the full text's length in characters, and its digest.

        Text is taken as it is, without a copy beyond the slice; None is the empty text; for anything else,
        and the bounds of it, see :mod:`auditwire.render_text`.

        Args:
            value: Any object.
            metadata: The event's own; gets an entry ``auditwire.rendered`` when the rendered text does not
                hold all of the object: ``{"items_left_out": 990000, "characters_left_out": 0}``.

        Returns:
            At most ``limit`` characters; the length; None or the digest. Where redaction failed the length is
            that of ``<redaction failed>`` and there is no digest.
        """
        text = value if type(value) is str else self._render(value, metadata)
        if self._is_plain:
            return text[: self._limit], len(text), None
        if self._redact is not None:
            redacted = self._redacted(value, text)
            if redacted is None:
                return REDACTION_FAILED[: self._limit], len(REDACTION_FAILED), None
            text = redacted
        return text[: self._limit], len(text), None if self._digest is None else self._digest(text)

    def _redacted(self, value: Any, text: str) -> str | None:
        try:
            redacted = self._redact(text)  # type: ignore[misc]  # the caller looked
            if isinstance(redacted, str):
                return str.__str__(redacted)
            problem = f"returned {type(redacted).__name__} instead of a text"
        except Exception as error:  # noqa: BLE001 - a user's function can raise anything
            problem = _without_message(error)
        if self._on_redaction_failure is not None:
            self._on_redaction_failure(value, AuditwireError(f"redact {problem}"))
        return None

    def _render(self, value: Any, metadata: dict[str, Any] | None) -> str:
        if value is None:
            return ""
        walk = TextWalk(self._on_unprintable)
        text = walk.text(value)
        if metadata is not None and (walk.items_left_out or walk.chars_left_out):
            metadata[RENDERED] = {
                "items_left_out": walk.items_left_out,
                "characters_left_out": walk.chars_left_out,
            }
        return text


def _without_message(error: Exception) -> str:
    """What was raised and where. Its message and its traceback can quote what redaction is to take out."""
    [*_, (frame, line)] = traceback.walk_tb(error.__traceback__)
    code = frame.f_code
    return f"raised {type(error).__name__} in {code.co_name}, {code.co_filename}:{line}"
