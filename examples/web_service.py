"""An agent behind a web service: many requests in one process, each with its own session and user.

::

    python examples/web_service.py [HOST:PORT]

Starts a small HTTP server, sends it three requests at the same time, and shows the trail. What is said here
about asyncio holds for any framework that runs a request as a task: put ``bind`` into its middleware.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import trail
from auditwire import AuditEmitter, KafkaCollector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SLOW = 30.0  # seconds that the slow tool would take
PATIENCE = 0.5  # seconds that the agent waits for a tool


def make_agent(audit: AuditEmitter) -> Callable[[str], Awaitable[str]]:
    """An agent that looks up a place's weather and its trains at the same time."""

    @audit.tool  # each call of the function is a tool call in the trail
    async def weather(place: str) -> str:
        return f"rain in {place}"

    @audit.tool
    async def trains(place: str) -> str:
        await asyncio.sleep(SLOW if place == "Nowhere" else 0)
        return f"a train to {place} at 12:34"

    async def answer(place: str) -> str:
        async with audit.turn(prompt=f"What about {place}?", agent_id="guide") as turn:
            # tasks copy the context when they are made: both calls belong to this turn
            found = await asyncio.gather(
                weather(place), asyncio.wait_for(trains(place), PATIENCE), return_exceptions=True
            )
            # the call that took too long was cancelled: a failure in the trail, whatever is made of it here
            turn.content = "; ".join(x if isinstance(x, str) else "no answer" for x in found)
            return turn.content

    return answer


def make_handler(
    audit: AuditEmitter,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What the server calls for each connection, in a task of its own."""
    answer = make_agent(audit)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:])}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        # stamps all events below, in this task and those that it starts; a task's context is its own, so
        # nothing leaks into the requests beside it
        with audit.bind(
            session_id=headers["x-session"], principal_id=headers["x-user"], principal_type="user"
        ):
            text = json.dumps({"answer": await answer(body["place"])}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()
        writer.close()

    return handle


async def ask(port: int, session: str, user: str, place: str) -> Any:
    """A client's request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"place": place}).encode()
    head = (
        f"POST /ask HTTP/1.1\r\nX-Session: {session}\r\nX-User: {user}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    response = await reader.read()
    writer.close()
    return json.loads(response.partition(b"\r\n\r\n")[2])["answer"]


async def serve(bootstrap: str, sessions: list[str]) -> None:
    collector = KafkaCollector(bootstrap, service="web-service")
    # one emitter for the whole process: it is thread-safe, and an emit on the event loop waits for nothing;
    # `async with` closes it in a worker thread, so that the loop goes on
    async with AuditEmitter(collector) as audit:
        server = await asyncio.start_server(make_handler(audit), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            people = zip(sessions, ["ann", "bob", "cem"], ["Oslo", "Nowhere", "Lyon"], strict=True)
            for text in await asyncio.gather(*(ask(port, *person) for person in people)):
                print(text)


def main() -> int:
    options = trail.options(__doc__).parse_args()
    run = uuid4().hex[:4]
    sessions = [f"web-{run}-{number}" for number in range(3)]
    with trail.broker(options.bootstrap) as bootstrap:
        asyncio.run(serve(bootstrap, sessions))
        return 0 if trail.show(bootstrap, sessions) else 1


if __name__ == "__main__":
    sys.exit(main())
