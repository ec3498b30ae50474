"""Tells probes and Prometheus how a forwarder is: HTTP on a thread of its own, from the standard library.

============ ================================================================================================
path         answer
============ ================================================================================================
``/live``    200 while the process makes progress, whether a broker is there or not; 503 when it hangs
``/health``  200 with the health as a JSON object; 503 with the same where it says that something is wrong
``/metrics`` 200 with Prometheus' text format
============ ================================================================================================

Only GET and HEAD, one request a connection, a few at a time; it reads no body and believes no header. There
is no authentication: it listens on the loopback address unless it is told another one.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from auditwire.delivery.exposition import CONTENT_TYPE
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["StatusServer", "address_of"]

log = logging.getLogger("auditwire")

_LOOPBACK = "127.0.0.1"
_SECONDS = 5.0
"""How long a client may take to ask and to listen."""

_AT_ONCE = 16
_LAST_PORT = 65_535
_PORT_DIGITS = 5


def address_of(text: str) -> tuple[str, int]:
    """``host:port``, ``[v6]:port``, or a port on the loopback address; port 0 is any free one.

    Raises:
        ConfigurationError: It is none; ``key`` is ``--metrics``.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigurationError("--metrics", f"{text!r}: write an IPv6 address as [address]:port")
    if not (port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS and int(port) <= _LAST_PORT):
        raise ConfigurationError("--metrics", f"{text!r} is no HOST:PORT, such as 127.0.0.1:9464")
    return host or _LOOPBACK, int(port)


class StatusServer:
    """See the module. The callables are called on threads of the server's.

    Args:
        address: As `address_of` reads it.
        live: Gives whether the process makes progress.
        health: Gives whether all is well, and what to say.
        metrics: Gives the page for Prometheus.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(
        self,
        address: str,
        *,
        live: Callable[[], bool],
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
        metrics: Callable[[], str],
    ) -> None:
        host, port = address_of(address)
        pages = {"/live": _live(live), "/health": _told(health), "/metrics": _page(metrics)}
        try:
            self._server = _Server(host, port, pages)
        except OSError as error:
            raise ConfigurationError("--metrics", f"cannot listen on {address}: {error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="auditwire-status", daemon=True
        )

    @property
    def url(self) -> str:
        """``http://host:port``, with the port that was found free."""
        host, port = self._server.server_address[:2]
        host = host if isinstance(host, str) else host.decode()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more; requests that are under way are cut off with the process."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


_Answer = tuple[int, str, bytes]


def _live(live: Callable[[], bool]) -> Callable[[], _Answer]:
    def answer() -> _Answer:
        if live():
            return HTTPStatus.OK, "text/plain", b"live\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"no progress\n"

    return answer


def _told(health: Callable[[], tuple[bool, Mapping[str, Any]]]) -> Callable[[], _Answer]:
    def answer() -> _Answer:
        well, said = health()
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return (
            status,
            "application/json",
            json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n",
        )

    return answer


def _page(metrics: Callable[[], str]) -> Callable[[], _Answer]:
    return lambda: (HTTPStatus.OK, CONTENT_TYPE, metrics().encode("utf-8", "replace"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _AT_ONCE

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], _Answer]]) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own asks the name service who this host is, and may wait

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):  # the others have a few seconds; a probe asks again
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base has it
        log.debug("a status request from %s failed: %s", client_address, sys.exc_info()[1])


class _Handler(BaseHTTPRequestHandler):
    timeout = _SECONDS
    server: _Server
    server_version = "auditwire"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            status, kind, content = page()
        except Exception:
            log.exception("the status could not be told")
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        log.debug("status request: %s", format % args)
