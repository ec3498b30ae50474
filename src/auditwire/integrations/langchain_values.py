"""What LangChain passes to callbacks: in come its states, messages and answers, out come plain values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from auditwire.integrations.runs import count_of, first_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.outputs import LLMResult

__all__ = [
    "answer_of",
    "hand_off_of",
    "is_control_flow",
    "name_of",
    "question_of",
    "session_of",
    "told_by",
]


def name_of(serialized: Mapping[str, Any] | None, kwargs: Mapping[str, Any]) -> str:
    """The name of what runs: the run's, the tool's, else its class."""
    given = serialized or {}
    path = given.get("id")
    return first_text(
        kwargs.get("name"), given.get("name"), path[-1] if isinstance(path, list) and path else ""
    )


def session_of(metadata: Mapping[str, Any]) -> str | None:
    """The session, by the names that LangSmith gives it too."""
    for key in ("session_id", "thread_id"):
        if metadata.get(key) is not None:
            return str(metadata[key])
    return None


def _last_message(state: Any, alone: str) -> Any:
    """The last message of a state or of a list; what stands under ``alone``; else the value itself."""
    if isinstance(state, dict):
        state = state["messages"] if "messages" in state else state.get(alone, state)
    else:
        state = getattr(state, "messages", state)
    if not isinstance(state, list) or not state:
        return state
    last = state[-1]
    if isinstance(last, (tuple, list)) and len(last) == 2 and isinstance(last[1], str):  # noqa: PLR2004
        return last[1]  # a message as (role, text), which LangChain takes too
    return last


def question_of(inputs: Any) -> Any:
    """What a chain or graph is asked; messages are rendered by their content."""
    return _last_message(inputs, "input")


def answer_of(outputs: Any) -> Any:
    """What a chain or graph answers."""
    return _last_message(outputs, "output")


def hand_off_of(output: Any) -> str:
    """The agent that a tool hands over to, by LangGraph's ``Command``; empty where it does not."""
    types = sys.modules.get("langgraph.types")  # who has not imported it has no Command
    if types is None:
        return ""
    for item in output if isinstance(output, list) else [output]:
        if isinstance(item, types.Command):
            return first_text(item.goto, getattr(item.goto, "node", None))
    return ""


def is_control_flow(error: BaseException) -> bool:
    """Whether LangGraph raises it to interrupt a graph or to leave one, which is no failure."""
    errors = sys.modules.get("langgraph.errors")
    return errors is not None and isinstance(error, errors.GraphBubbleUp)


def told_by(response: LLMResult | None) -> tuple[Mapping[str, Any], tuple[int, int], str]:
    """What the model's answer says of itself: its metadata, tokens in and out, and why it stopped."""
    if response is None:
        return {}, (0, 0), ""
    generation: Any = response.generations[0][0] if response.generations and response.generations[0] else None
    message = getattr(generation, "message", None)
    info: Mapping[str, Any] = getattr(generation, "generation_info", None) or {}
    whole: Mapping[str, Any] = response.llm_output or {}
    told: Mapping[str, Any] = {**whole, **(getattr(message, "response_metadata", None) or {})}
    usage = getattr(message, "usage_metadata", None) or whole.get("token_usage") or whole.get("usage") or {}
    tokens = (
        count_of(usage.get("input_tokens", usage.get("prompt_tokens"))),
        count_of(usage.get("output_tokens", usage.get("completion_tokens"))),
    )
    reason = first_text(
        told.get("finish_reason"),
        told.get("stop_reason"),
        info.get("finish_reason"),
        info.get("stop_reason"),
    )
    return told, tokens, reason
