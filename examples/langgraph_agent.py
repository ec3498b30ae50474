"""A LangGraph agent: its turns, tool calls and model calls are audited by one callback handler.

::

    python examples/langgraph_agent.py [HOST:PORT]

The model answers by a script, so that the example needs no key and no network; put a real one in its place.
Needs ``pip install 'auditwire[langchain]' langgraph``.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import trail
from auditwire import AuditEmitter, KafkaCollector
from auditwire.integrations.langchain import AuditCallbackHandler

SCRIPT = [
    AIMessage(
        "",
        tool_calls=[
            ToolCall(name="find_order", args={"customer": "c-17"}, id="call-1"),
            ToolCall(name="track_parcel", args={"parcel": "p-4"}, id="call-2"),
        ],
        usage_metadata={"input_tokens": 212, "output_tokens": 31, "total_tokens": 243},
        response_metadata={"model_name": "scripted-1", "finish_reason": "tool_calls"},
    ),
    AIMessage(
        "Your parcel is in Bremen and arrives tomorrow.",
        usage_metadata={"input_tokens": 260, "output_tokens": 12, "total_tokens": 272},
        response_metadata={"model_name": "scripted-1", "finish_reason": "stop"},
    ),
]


@tool
def find_order(customer: str) -> str:
    """The customer's latest order."""
    return f"order 88 of {customer}, parcel p-4"


@tool
def track_parcel(parcel: str) -> str:
    """Where a parcel is."""
    return f"{parcel}: Bremen"


def build() -> Any:
    """The agent: a model and its tools in a loop, until the model calls no more tools."""
    model = GenericFakeChatModel(messages=iter(SCRIPT))

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([find_order, track_parcel]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile(name="parcel-agent")


def main(arguments: list[str] | None = None) -> int:
    """Ask the agent once, and show the trail."""
    options = trail.options(__doc__).parse_args(arguments)
    session = f"chat-{uuid4().hex[:6]}"
    with trail.broker(options.bootstrap) as bootstrap:
        with AuditEmitter(KafkaCollector(bootstrap, service="langgraph-agent")) as audit:
            # one handler for the whole program; the thread id becomes the session id
            handler = AuditCallbackHandler(audit)
            answer = build().invoke(
                {"messages": [("user", "Where is my parcel?")]},
                {"callbacks": [handler], "configurable": {"thread_id": session}},
            )
        print(answer["messages"][-1].content)
        return 0 if trail.show(bootstrap, {session}) else 1


if __name__ == "__main__":
    sys.exit(main())
