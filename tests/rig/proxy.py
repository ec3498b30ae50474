"""A TCP proxy in front of a broker that slows, cuts, resets or swallows what passes through it.

Kafka's clients leave the address that they were given for the one that the broker advertises, so the broker
needs a listener that advertises the proxy's address: `KafkaNode(..., proxy=...)` has one.

    healthy       bytes pass both ways
    slow          each piece of bytes passes after a delay, in order: latency, not loss
    cut           open connections end (FIN), new ones are accepted and ended at once
    reset         open connections end with RST, time and again; new ones pass until the next time
    black hole    bytes vanish, connections stay open, new ones are accepted and nothing answers

What a black hole swallowed cannot be given back: its connections are reset when it ends, as a firewall does
that has forgotten them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from rig.broker import BrokerError, ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

State = Literal["healthy", "slow", "cut", "reset", "black hole"]

RESET_EVERY = 0.4
"""Seconds between two resets: long enough for a client to connect and to have requests on their way."""

ANSWER = 10.0
"""Seconds that the proxy's thread may take to do what it was told."""

RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """One listening port on the loopback and the address behind it; runs in a thread of its own.

    The port is taken at construction, so that a broker can advertise it before it has started.

    Attributes:
        port: Where it listens; below the ephemeral range.
        target: (host, port) of what is behind it; None ends every connection at once.
    """

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.state: State = "healthy"
        self.delay = 0.0
        self.halves: set[Half] = set()
        self._socket = listening()
        self.port: int = self._socket.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(lambda: None)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and the thread. May be called twice, and without a start."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        self._socket.close()
        self.loop.close()

    # -- faults ---------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Let bytes pass again."""
        self._call(lambda: self._become("healthy"))

    def slow(self, delay: float) -> None:
        """Let everything take `delay` seconds longer in each direction."""
        self._call(lambda: self._become("slow", delay))

    def cut(self) -> None:
        """End all connections, and each new one at once."""
        self._call(lambda: self._become("cut"))

    def reset(self) -> None:
        """Reset all connections now and every RESET_EVERY seconds."""
        self._call(lambda: self._become("reset"))

    def swallow(self) -> None:
        """Be a black hole."""
        self._call(lambda: self._become("black hole"))

    # -- in the proxy's thread ------------------------------------------------------------------------------

    def _call(self, function: Callable[[], None]) -> None:
        """Returns when the function has run in the proxy's thread."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.loop.call_soon_threadsafe(run)
        if not done.wait(ANSWER):
            raise BrokerError(f"the proxy on port {self.port} does not answer")

    def _run(self) -> None:
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Half(self, None), sock=self._socket)
        )
        self.loop.run_forever()
        server.close()
        self.loop.run_until_complete(self._ended())

    async def _ended(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:  # connections that are being made
            task.cancel()
        while self.halves:
            self._end_all(abort=True)
            await asyncio.sleep(0)

    def _become(self, state: State, delay: float = 0.0) -> None:
        before, self.state, self.delay = self.state, state, delay
        if state == "cut":
            self._end_all(abort=False)
        elif state == "reset":
            self._reset()
        elif before == "black hole":
            self._end_all(abort=True)

    def _reset(self) -> None:
        if self.state == "reset":
            self._end_all(abort=True)
            self.loop.call_later(RESET_EVERY, self._reset)

    def _end_all(self, *, abort: bool) -> None:
        for half in tuple(self.halves):
            half.end(abort=abort)


class Half(asyncio.Protocol):
    """One side of a connection through the proxy: what it hears goes to its peer.

    Args:
        proxy: Whose state decides what becomes of the bytes.
        peer: The other side; None makes this the client's side, which connects to the target.
    """

    def __init__(self, proxy: Proxy, peer: Half | None) -> None:
        self._proxy = proxy
        self._peer = peer
        self._transport: Any = None
        self._early = b""  # what came before there was a peer
        self._delayed: deque[bytes] = deque()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._proxy.halves.add(self)
        if self._peer is not None:
            self._peer.meet(self)
        elif self._proxy.state == "cut" or self._proxy.target is None:
            self.end(abort=False)
        elif self._proxy.state != "black hole":
            self._connecting = self._proxy.loop.create_task(self._connect(*self._proxy.target))

    async def _connect(self, host: str, port: int) -> None:
        try:
            await self._proxy.loop.create_connection(lambda: Half(self._proxy, self), host, port)
        except OSError:
            self.end(abort=True)  # nobody listens behind the proxy: as if nobody did in front of it

    def meet(self, peer: Half) -> None:
        """The connection to the target is there."""
        self._peer = peer
        if self._transport.is_closing():
            peer.end(abort=False)
        elif self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if self._proxy.state == "black hole":
            return
        if self._peer is None:
            self._early += data
        elif self._proxy.delay or self._delayed:
            # one timer for each piece, and each takes the oldest: none overtakes another
            self._delayed.append(data)
            self._proxy.loop.call_later(self._proxy.delay, self._pass_on_oldest)
        else:
            self._peer.write(data)

    def _pass_on_oldest(self) -> None:
        data = self._delayed.popleft()
        if self._peer is not None and self._proxy.state != "black hole":
            self._peer.write(data)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause(paused=True)

    def resume_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause(paused=False)

    def pause(self, *, paused: bool) -> None:
        """Stop hearing while the other side cannot take more."""
        if not self._transport.is_closing():
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.halves.discard(self)
        if self._peer is not None:
            self._peer.end(abort=exc is not None)

    def end(self, *, abort: bool) -> None:
        """Close this side; with RST instead of FIN where `abort` says so."""
        if abort:
            with contextlib.suppress(OSError):  # it has ended already
                raw = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.close()


def listening() -> socket.socket:
    """A socket on a port of the loopback that no outgoing connection can take; see `rig.broker.ports`."""
    for port in ports():
        found = socket.socket()
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", port))
        except OSError:
            found.close()
        else:
            return found
    raise BrokerError("ten ports in a row were taken")
