"""What spans of the OpenAI Agents SDK say: in come their data and errors, out come plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.integrations.runs import count_of, first_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Told", "message_of", "told_by"]


class Told(NamedTuple):
    """What is known of a model's answer."""

    model: str
    input_tokens: int
    output_tokens: int
    finish_reason: str
    text: str


def told_by(data: Any) -> Told:
    """What a generation or response span says of the model's answer."""
    response = getattr(data, "response", None)
    usage = getattr(data, "usage", None) or {}
    spent = getattr(response, "usage", None)
    details = getattr(response, "incomplete_details", None)
    return Told(
        model=first_text(getattr(response, "model", None), getattr(data, "model", None)),
        input_tokens=count_of(getattr(spent, "input_tokens", usage.get("input_tokens"))),
        output_tokens=count_of(getattr(spent, "output_tokens", usage.get("output_tokens"))),
        finish_reason=first_text(getattr(details, "reason", None), getattr(response, "status", None)),
        text=first_text(getattr(response, "output_text", None), _last_content(getattr(data, "output", None))),
    )


def _last_content(output: Any) -> Any:
    last = output[-1] if isinstance(output, (list, tuple)) and output else None
    return last.get("content") if isinstance(last, dict) else None


def message_of(error: Mapping[str, Any]) -> str:
    """An error's text; the SDK keeps the cause, where it may show it, in ``data``."""
    details = error.get("data") or {}
    return ": ".join(text for text in (error.get("message"), details.get("error")) if isinstance(text, str))
