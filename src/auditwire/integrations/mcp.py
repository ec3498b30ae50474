"""MCP tool servers: in come the requests of clients, out go the audit events of the tool calls among them.

::

    server = MCPServer("files", middleware=[AuditMiddleware(audit)])

For the low-level server: ``server.middleware.append(AuditMiddleware(audit))``.

====================================== ======================================================================
request ``tools/call``                 events
====================================== ======================================================================
arrives                                ``tool_call_attempt``
returns a result                       ``tool_call_complete``
returns a result that is an error      ``tool_call_failure`` of the type ``tool_error``
asks the client for input              ``tool_call_complete`` with the status "input_required"
raises, is cancelled                   ``tool_call_failure`` with the exception's class
any other request or notification      none
====================================== ======================================================================

====================================== ======================================================================
of the request                         field
====================================== ======================================================================
name, arguments                        tool_name, arguments; rendered and redacted as the emitter does
structured content, else the texts     result
session of streamable HTTP             session_id; else the emitter's
subject of the access token            principal_id, with the principal_type "user"
its client, where it has no subject    principal_id, with the principal_type "service"
name of the client                     agent_id, where neither middleware nor emitter has one
name and version of the client         metadata ``mcp.client.name``, ``mcp.client.version``
protocol, id of the request            metadata ``mcp.protocol.version``, ``jsonrpc.request.id``
====================================== ======================================================================

The name of the client is what it says of itself; only the access token is proven. Whatever the tool emits,
by any emitter, belongs to the call, its session and its principal. Each call has a ``tool_call_id`` of its
own, for the ids of requests are unique in one connection only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditwire.context import current_scope
from auditwire.errors import MissingExtraError
from auditwire.integrations.blocks import guarded_block
from auditwire.refusals import RefusalLog

try:
    from mcp.server.auth.middleware.auth_context import get_access_token
    from mcp.server.context import ServerMiddleware
except ImportError as error:
    raise MissingExtraError("the middleware for MCP servers (mcp 2 or later)", "mcp") from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from auditwire.calls import ToolCall
    from auditwire.context import Binding
    from auditwire.emitter import AuditEmitter

__all__ = ["AuditMiddleware"]

_SESSION_HEADER = "mcp-session-id"


class AuditMiddleware(ServerMiddleware[Any]):
    """Makes audit events of the tool calls that an MCP server is asked for. One serves any number of clients.

    A server goes on when the audit trail fails; what fails here is counted and logged once a minute.

    Args:
        audit: Where the events go.
        agent_id: The agent on whose account the calls are; the emitter's, else the client's name, when left
            out.

    Raises:
        MissingExtraError: ``mcp`` 2 or later is not installed; by the import of this module.
    """

    def __init__(self, audit: AuditEmitter, *, agent_id: str | None = None) -> None:
        self._audit = audit
        self._agent_id = agent_id
        self._failures = RefusalLog("audit events of an MCP server that could not be made")

    @property
    def failures(self) -> int:
        """How often something failed here: a refusal of an emitter that raises, or an odd request."""
        return self._failures.total

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Hand the request on; before and after, tell of it if it is a tool call."""
        if ctx.method != "tools/call" or ctx.request_id is None:
            return await call_next(ctx)
        try:
            binding, call = self._told_of(ctx)
        except Exception as error:  # noqa: BLE001 - of whatever kind; the client gets its answer
            self._failures.add(self, error)
            return await call_next(ctx)
        with binding, guarded_block(call, self._failures):
            result = await call_next(ctx)
            try:
                _judge(call, result)
            except Exception as error:  # noqa: BLE001 - as above
                self._failures.add(call, error)
            return result

    def _told_of(self, ctx: ServerRequestContext[Any, Any]) -> tuple[Binding, ToolCall]:
        params: Mapping[str, Any] = ctx.params or {}
        client = ctx.session.client_params
        name = "" if client is None else client.client_info.name
        agent = self._agent_id or self._audit.agent_for(None, current_scope()) or name or None
        metadata = {
            "mcp.protocol.version": ctx.protocol_version,
            "jsonrpc.request.id": ctx.request_id,
        }
        if client is not None:
            metadata["mcp.client.name"] = name
            metadata["mcp.client.version"] = client.client_info.version
        binding = self._audit.bind(session_id=_session(ctx.request), **_principal())
        call = self._audit.tool_call(
            str(params.get("name", "")), params.get("arguments", ""), agent_id=agent, metadata=metadata
        )
        return binding, call


def _session(request: Any) -> str | None:
    """The session of streamable HTTP; other transports have none."""
    headers = getattr(request, "headers", None)
    return None if headers is None else headers.get(_SESSION_HEADER)


def _principal() -> dict[str, str]:
    token = get_access_token()
    if token is None:
        return {}
    if token.subject:
        return {"principal_id": token.subject, "principal_type": "user"}
    return {"principal_id": token.client_id, "principal_type": "service"}


def _judge(call: ToolCall, result: HandlerResult) -> None:
    """What the result says, as the model of the SDK or as the dictionary of the wire."""
    if result is None:
        return
    wire = result if isinstance(result, dict) else result.model_dump(by_alias=True, exclude_none=True)
    texts = "\n".join(
        part["text"]
        for part in wire.get("content", ())
        if isinstance(part, dict) and part.get("type") == "text"
    )
    if wire.get("isError") is True:
        call.failed("tool_error", texts)
    elif wire.get("resultType") == "input_required":
        call.status = "input_required"
    else:
        structured = wire.get("structuredContent")
        call.result = texts or wire.get("content", "") if structured is None else structured
