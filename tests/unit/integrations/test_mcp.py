"""AuditMiddleware: tool calls of real MCP clients on real MCP servers, over the in-memory transport."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="needs mcp 2 or later (pip install 'auditwire[mcp]')")

import anyio
import anyio.lowlevel
from mcp import types
from mcp.client import Client
from mcp.server import Server
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from starlette.requests import Request

from auditwire import AuditEmitter, InMemoryCollector, MissingExtraError, SinkError
from auditwire.integrations.mcp import AuditMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.fixture
def kept() -> InMemoryCollector:
    return InMemoryCollector()


@pytest.fixture
def audit(kept: InMemoryCollector) -> AuditEmitter:
    return AuditEmitter(kept, session_id="fallback", on_error="raise")


def server_of(audit: AuditEmitter, **options: Any) -> MCPServer:
    server = MCPServer("files", middleware=[AuditMiddleware(audit, **options)], log_level="CRITICAL")

    def read(path: str) -> str:
        audit.emit_skill_used("inside")
        return f"content of {path}"

    async def fail(kind: str) -> str:
        if kind == "told":
            raise ToolError("no such file")
        raise OSError("disk gone")

    def count(names: list[str]) -> dict[str, int]:
        return {"count": len(names)}

    async def refuse() -> str:
        raise MCPError(code=-32000, message="not now")

    async def wait() -> str:
        await anyio.sleep_forever()
        return ""

    for tool in (read, fail, count, refuse, wait):
        server.tool()(tool)
    return server


def talk(server: Any, conversation: Callable[[Client], Awaitable[object]], **options: Any) -> None:
    async def main() -> None:
        client_info = types.Implementation(name="robot", version="1.2")
        with anyio.fail_after(20):
            async with Client(server, client_info=client_info, **options) as client:
                await conversation(client)

    anyio.run(main)


def kinds(kept: InMemoryCollector) -> list[str]:
    return [event.event_type for event in kept.get_events()]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_call_is_an_attempt_and_a_completion(
    audit: AuditEmitter, kept: InMemoryCollector, mode: str
) -> None:
    async def conversation(client: Client) -> None:
        await client.list_tools()
        result = await client.call_tool("read", {"path": "/a"})
        assert result.is_error is False

    talk(server_of(audit), conversation, mode=mode)
    attempt, inside, complete = events = kept.get_events()
    assert kinds(kept) == ["tool_call_attempt", "skill_used", "tool_call_complete"]
    (attempted, _, completed) = (event.to_dict() for event in events)
    assert attempted["tool_name"] == completed["tool_name"] == "read"
    assert attempted["arguments_preview"] == '{"path":"/a"}'
    assert "content of /a" in completed["result_preview"]
    assert completed["status"] == "success"
    assert completed["duration_ms"] >= 0
    assert attempted["tool_call_id"] == completed["tool_call_id"]
    assert {event.session_id for event in events} == {"fallback"}
    assert attempt.agent_id == inside.agent_id == complete.agent_id == "robot"
    assert attempt.metadata["mcp.client.name"] == "robot"
    assert attempt.metadata["mcp.client.version"] == "1.2"
    assert attempt.metadata["mcp.protocol.version"]
    assert attempt.metadata["jsonrpc.request.id"] is not None


def test_a_structured_result_is_shown_as_such(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    talk(server_of(audit), lambda client: client.call_tool("count", {"names": ["a", "b"]}))
    assert kept.get_events()[-1].to_dict()["result_preview"] == '{"count":2}'


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("fail", {"kind": "told"}, "no such file"),
        ("fail", {"kind": "raised"}, "Error executing tool fail"),
        ("fail", {"wrong": 1}, "kind"),
    ],
)
def test_a_result_that_is_an_error_is_a_failure(
    audit: AuditEmitter, kept: InMemoryCollector, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async def conversation(client: Client) -> None:
        result = await client.call_tool(tool, arguments)
        assert result.is_error is True

    talk(server_of(audit), conversation)
    failure = kept.get_events()[-1].to_dict()
    assert kinds(kept) == ["tool_call_attempt", "tool_call_failure"]
    assert failure["error_type"] == "tool_error"
    assert told in failure["error_message"]
    assert failure["metadata"]["duration_ms"] >= 0


def test_a_call_that_is_refused_as_a_request_is_a_failure(
    audit: AuditEmitter, kept: InMemoryCollector
) -> None:
    async def conversation(client: Client) -> None:
        with pytest.raises(MCPError, match="not now"):
            await client.call_tool("refuse", {})

    talk(server_of(audit), conversation)
    failure = kept.get_events()[-1].to_dict()
    assert (failure["error_type"], failure["error_message"]) == ("MCPError", "not now")


def test_a_call_that_the_client_gives_up_is_a_failure(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    async def conversation(client: Client) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "wait", {})
            while kinds(kept) != ["tool_call_attempt"]:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        while len(kept) < 2:
            await anyio.lowlevel.checkpoint()

    talk(server_of(audit), conversation, mode="legacy")
    failure = kept.get_events()[-1].to_dict()
    assert (failure["event_type"], failure["error_type"]) == ("tool_call_failure", "CancelledError")


def test_calls_at_the_same_time_keep_their_own_ids(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    async def conversation(client: Client) -> None:
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(client.call_tool, "read", {"path": f"/{number}"})

    talk(server_of(audit), conversation)
    calls: dict[str, list[str]] = {}
    for event in kept.get_events():
        shown = event.to_dict()
        if "tool_call_id" in shown:
            calls.setdefault(shown["tool_call_id"], []).append(event.event_type)
    assert list(calls.values()) == [["tool_call_attempt", "tool_call_complete"]] * 30


def test_the_middlewares_agent_goes_before_the_emitters_and_that_before_the_clients(
    kept: InMemoryCollector,
) -> None:
    for options, emitter in (
        ({"agent_id": "given"}, AuditEmitter(kept, agent_id="emitter")),
        ({}, AuditEmitter(kept, agent_id="emitter")),
    ):
        talk(server_of(emitter, **options), lambda client: client.call_tool("count", {"names": []}))
    assert [event.agent_id for event in kept.get_events()] == ["given", "given", "emitter", "emitter"]


async def call(audit: AuditEmitter, result: Any, *, request: Any = None, **context: Any) -> AuditMiddleware:
    """One request through the middleware alone, for what no in-memory transport brings along."""

    class Session:
        client_params = None

    async def call_next(ctx: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    middleware = AuditMiddleware(audit)
    options = {"method": "tools/call", "request_id": 1, "params": {"name": "t"}, **context}
    session: Any = Session()
    ctx: ServerRequestContext[Any, Any] = ServerRequestContext(
        session=session, lifespan_context={}, protocol_version="2025-11-25", request=request, **options
    )
    if isinstance(result, Exception):
        with pytest.raises(type(result)):
            await middleware(ctx, call_next)
    else:
        assert await middleware(ctx, call_next) is result
    return middleware


def test_the_session_of_streamable_http_is_the_session(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    request = Request({"type": "http", "headers": [(b"mcp-session-id", b"http-1")]})
    anyio.run(lambda: call(audit, {"content": []}, request=request))
    assert {event.session_id for event in kept.get_events()} == {"http-1"}


@pytest.mark.parametrize(
    ("subject", "principal"), [("alice", ("alice", "user")), (None, ("app-7", "service"))]
)
def test_the_access_token_names_the_principal(
    audit: AuditEmitter, kept: InMemoryCollector, subject: str | None, principal: tuple[str, str]
) -> None:
    token = AccessToken(token="t", client_id="app-7", scopes=[], subject=subject)

    async def main() -> None:
        auth_context_var.set(AuthenticatedUser(token))
        await call(audit, types.CallToolResult(content=[]))

    anyio.run(main)
    assert {(e.principal_id, e.principal_type) for e in kept.get_events()} == {principal}


@pytest.mark.parametrize(
    ("result", "kind", "shown"),
    [
        ({"isError": True, "content": [{"type": "text", "text": "no"}]}, "tool_call_failure", "no"),
        ({"content": [{"type": "text", "text": "yes"}]}, "tool_call_complete", "yes"),
        (
            {"content": [{"type": "image", "data": "x"}]},
            "tool_call_complete",
            '[{"type":"image","data":"x"}]',
        ),
        (None, "tool_call_complete", ""),
    ],
)
def test_results_of_low_level_handlers_are_understood(
    audit: AuditEmitter, kept: InMemoryCollector, result: Any, kind: str, shown: str
) -> None:
    anyio.run(lambda: call(audit, result))
    told = kept.get_events()[-1].to_dict()
    assert told["event_type"] == kind
    assert told.get("result_preview", told.get("error_message")) == shown


def test_a_call_that_asks_for_input_says_so(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    anyio.run(lambda: call(audit, types.InputRequiredResult(request_state="s")))
    assert kept.get_events()[-1].to_dict()["status"] == "input_required"


def test_other_requests_and_notifications_are_no_events(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    anyio.run(lambda: call(audit, {}, method="ping"))
    anyio.run(lambda: call(audit, None, request_id=None))
    assert kept.get_events() == []


def test_it_serves_a_low_level_server(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    async def on_call(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(type="text", text=f"ran {params.name}")])

    async def on_list(ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    server: Server[Any] = Server("low", on_call_tool=on_call, on_list_tools=on_list)
    server.middleware.append(AuditMiddleware(audit))
    talk(server, lambda client: client.call_tool("x", {}))
    assert kept.get_events()[-1].to_dict()["result_preview"] == "ran x"


class Refusing(InMemoryCollector):
    def emit(self, event: Any) -> None:
        raise SinkError("no room")


def test_a_collector_that_refuses_does_not_keep_the_answer_from_the_client() -> None:
    audit = AuditEmitter(Refusing(), on_error="raise")
    middleware = AuditMiddleware(audit)
    server = MCPServer("files", middleware=[middleware], log_level="CRITICAL")
    server.add_tool(lambda: "fine", name="read")

    async def conversation(client: Client) -> None:
        result = await client.call_tool("read", {})
        assert result.is_error is False

    talk(server, conversation)
    assert middleware.failures == 2
    assert audit.refused == 2


@pytest.mark.parametrize("broken", ["params", "result"])
def test_what_cannot_be_understood_is_counted_and_goes_on(audit: AuditEmitter, broken: str) -> None:
    class Odd(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise ValueError("odd")

    odd = Odd(name="t")
    context: dict[str, Any] = {"params": odd} if broken == "params" else {}
    middlewares = []

    async def main() -> None:
        middlewares.append(await call(audit, odd if broken == "result" else {}, **context))

    anyio.run(main)
    assert middlewares[0].failures == 1


def test_an_exception_of_the_server_goes_on(audit: AuditEmitter, kept: InMemoryCollector) -> None:
    anyio.run(lambda: call(audit, KeyError("x")))
    assert kinds(kept) == ["tool_call_attempt", "tool_call_failure"]


def test_without_mcp_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.context", None)
    monkeypatch.delitem(sys.modules, "auditwire.integrations.mcp")
    with pytest.raises(MissingExtraError, match=r"auditwire\[mcp\]"):
        importlib.import_module("auditwire.integrations.mcp")
