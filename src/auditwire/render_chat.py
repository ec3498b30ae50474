"""Chat messages by what they say.

In come the messages that model clients and frameworks exchange (dicts with ``role`` and ``content``, objects
with ``content``), out comes the content. A message is only taken by its content when the rest of it but
describes it (role, name, ids, token counts): one with tool calls, an error mark, or fields that no chat
message has, is rendered whole, as any structure.
"""

from __future__ import annotations

import sys
from typing import Any

from auditwire.render_bounds import MAX_VALUES
from auditwire.render_foreign import fields_of, has, is_record, stored
from auditwire.render_models import is_model, weight

__all__ = ["NO_MESSAGE", "message_content", "part_text"]

NO_MESSAGE: Any = object()
"""What :func:`message_content` returns for anything that is no message; None is a message without content."""

# What describes a message and is not its content, by the names of OpenAI, Anthropic, LangChain and others.
_DESCRIBES = frozenset({
    "additional_kwargs", "annotations", "content", "created_at", "example", "id", "index", "kind", "model",
    "name", "part_kind", "response_metadata", "result_type", "role", "status", "stop_reason", "stop_sequence",
    "timestamp", "tool_call_id", "type", "usage", "usage_metadata",
})  # fmt: skip
_DESCRIBES_PART = frozenset({"annotations", "cache_control", "citations", "id", "logprobs", "text", "type"})
_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_FIELDS = 40  # no message has as many; a dictionary with more is data


def message_content(value: Any) -> Any:
    """The content of a chat message: text, a list of parts, or None; :data:`NO_MESSAGE` for anything else."""
    fields = _fields(value)
    if fields is None or "content" not in fields or not _may_be_content(fields["content"]):
        return NO_MESSAGE
    content, kind = fields["content"], type(value)
    plain = not (issubclass(kind, dict) or is_record(kind) or is_model(kind))
    if content is None or issubclass(kind, dict):
        # so much of other data has a field of that name
        role = fields.get("role") if issubclass(kind, dict) else fields.get("role", fields.get("type"))
        if not isinstance(role, str):
            return NO_MESSAGE
    if plain:
        return content  # there is no other text of it that says as much
    if not _nothing_else(fields, _DESCRIBES):
        return NO_MESSAGE
    return _dumped_content(value, content) if has(kind, "model_dump") else content


def part_text(part: Any) -> str | None:
    """The text of a part of a message's content, or None where the part is more than a text."""
    if issubclass(type(part), str):
        return str.__str__(part)
    fields = _fields(part)
    if fields is None or fields.get("type") not in _TEXT_TYPES or not _nothing_else(fields, _DESCRIBES_PART):
        return None
    text = fields.get("text")
    return str.__str__(text) if issubclass(type(text), str) else None


def _may_be_content(content: Any) -> bool:
    return content is None or issubclass(type(content), (str, list, tuple))


def _dumped_content(value: Any, content: Any) -> Any:
    """The content as the model itself gives it away: it may be excluded, or have a serializer."""
    if weight(content, MAX_VALUES, sys.maxsize) is None:
        return NO_MESSAGE
    content = value.model_dump(mode="json", include={"content"}, warnings=False).get("content", NO_MESSAGE)
    return content if _may_be_content(content) else NO_MESSAGE


def _fields(value: Any) -> dict[Any, Any] | None:
    kind = type(value)
    if issubclass(kind, dict):
        fields: dict[Any, Any] | None = value
    elif is_record(kind):
        fields = dict(fields_of(value) or ())
    else:
        fields = stored(value)
    return fields if fields is not None and dict.__len__(fields) <= _FIELDS else None


def _nothing_else(fields: dict[Any, Any], known: frozenset[str]) -> bool:
    return all(name in known or _is_empty(value) for name, value in dict.items(fields))


def _is_empty(value: Any) -> bool:
    # by type, because a foreign __bool__ or __len__ can do anything
    return value is None or value is False or (type(value) in (str, list, tuple, dict, set) and not value)
