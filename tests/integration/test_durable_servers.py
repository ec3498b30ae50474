"""Real servers that fork, spawn, kill and replace workers around a collector with a disk journal."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest
from durable_support import Site, agents, assert_all_delivered, parents
from emit_support import until

from auditwire.events import CheckpointEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emit_support import Trail
    from typing_extensions import Self

    from rig.broker import Broker

EVENTS = 20
"""Emitted for each request."""

APPLICATION = """
import os
from auditwire import KafkaCollector
from auditwire.events import TurnStartEvent

audit = KafkaCollector(
    os.environ["TEST_BOOTSTRAP"],
    prefix=os.environ["TEST_PREFIX"],
    journal=os.environ["TEST_JOURNAL"],
    exit_timeout=25,  # a server gives a worker 30 s; a machine that does much else needs more than our 10
)
accepted = os.open(os.environ["TEST_ACCEPTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def work():
    for number in range(20):
        event = TurnStartEvent(agent_id=str(os.getpid()), turn_id=str(number), session_id="s")
        audit.emit(event)
        os.write(accepted, event.event_id.encode() + b"\\n")
    return str(os.getpid()).encode()

def wsgi(environ, start_response):
    body = work()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if os.environ["TEST_CLOSES"] == "True":
            await audit.aclose(20)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = work()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


class Server:
    """A server process with workers, asked over a socket file.

    Attributes:
        answered: The process ids of all workers that answered, in the order in which they first did.
    """

    def __init__(self, site: Site, folder: Path, *arguments: str, closes: bool = False) -> None:
        (site.path / "application.py").write_text(textwrap.dedent(APPLICATION))
        self.socket = str(folder / "s")
        self.answered: list[int] = []
        self._log = (site.path / "log").open("w+")
        bootstrap, prefix, journal, accepted = site.arguments
        self.process = subprocess.Popen(
            [sys.executable, "-m", *[argument.replace("SOCKET", self.socket) for argument in arguments]],
            cwd=site.path,
            env={
                **os.environ,
                "HOME": str(folder),  # where gunicorn puts what it needs
                "PYTHONPATH": os.pathsep.join(
                    [str(site.path), *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
                "TEST_BOOTSTRAP": bootstrap,
                "TEST_PREFIX": prefix,
                "TEST_JOURNAL": journal,
                "TEST_ACCEPTED": accepted,
                "TEST_CLOSES": str(closes),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self) -> bool:
        """One request; False when nobody answered it to its end."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("localhost", timeout=20)
            connection.sock = socket.socket(socket.AF_UNIX)
            try:
                connection.sock.settimeout(20)
                connection.sock.connect(self.socket)
                connection.request("GET", "/")
                response = connection.getresponse()
                assert response.status == 200, self.log
                pid = int(response.read())
            finally:
                connection.close()
            if pid not in self.answered:
                self.answered.append(pid)
            return True
        return False

    def ask_until(self, condition: Callable[[], bool], what: str) -> None:
        """Requests from several clients at once, until the condition holds."""
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                self.ask()

        clients = [threading.Thread(target=client) for _ in range(4)]
        for thread in clients:
            thread.start()
        try:
            until(lambda: condition() or self.process.poll() is not None, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log}") from None
        finally:
            stop.set()
            for thread in clients:
                thread.join()
        assert self.process.poll() is None, self.log

    def end(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)
        self._log.close()


@pytest.fixture
def site(broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(broker, prefix, tmp_path)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For a socket file, whose whole name may have 107 characters."""
    return tmp_path_factory.mktemp("s")


def pids(trail: Trail) -> dict[str, int]:
    """Stream -> process, as its opening checkpoint says."""
    return {
        record.stream_id: json.loads(record.event.resource)["process.pid"]
        for record in trail.records
        if isinstance(record.event, CheckpointEvent) and record.event.reason == "open"
    }


def assert_one_stream_a_worker(site: Site, server: Server, trail: Trail, others: set[int]) -> None:
    """Each worker that answered has one stream with its own events only; ``others`` have one without any."""
    assert_all_delivered(site, trail, unsaid=EVENTS)
    of_process = pids(trail)
    assert sorted(of_process.values()) == sorted({*server.answered} | others)
    for stream, counted in agents(trail).items():
        process = of_process[stream]
        assert counted.keys() == (set() if process in others else {str(process)})
        assert process in others or sum(counted.values()) >= EVENTS


@pytest.mark.parametrize("worker", ["sync", "gthread"])
@pytest.mark.parametrize("preload", [False, True], ids=["each worker loads", "preload"])
def test_gunicorns_workers_deliver_though_one_is_killed_and_all_are_ended(
    site: Site, folder: Path, worker: str, preload: bool
) -> None:
    arguments = ["gunicorn", "application:wsgi", "--bind", "unix:SOCKET", "--workers", "3", "-k", worker]
    if preload:
        arguments.append("--preload")
    with Server(site, folder, *arguments) as server:
        server.ask_until(lambda: len(server.answered) == 3, "three workers answer")
        killed = server.answered[1]
        os.kill(killed, signal.SIGKILL)
        server.ask_until(lambda: len(server.answered) == 4, "the one that replaces the killed one answers")
        server.process.send_signal(signal.SIGHUP)  # with --preload, other workers with the same application
        server.ask_until(lambda: len(server.answered) == 7, "those after the reload answer")
        assert server.end() == 0
        master = server.process.pid
        assert "Traceback" not in server.log, server.log
        assert "auditwire:" not in server.log, server.log
    recovering = site.recover()
    trail = site.trail()
    assert_one_stream_a_worker(site, server, trail, {os.getpid()} | ({master} if preload else set()))
    of_process = pids(trail)
    # whoever was ended in order has closed its stream itself
    verdicts = {of_process[report.stream_id]: report.verdict for report in trail.reports}
    assert {pid: verdict for pid, verdict in verdicts.items() if pid != killed} == dict.fromkeys(
        set(of_process.values()) - {killed}, "complete"
    )
    stream_of = {pid: stream for stream, pid in of_process.items()}
    parent = {stream: found for stream, found in parents(trail).items() if stream != recovering}
    if preload:
        assert parent == {
            stream: None if stream == stream_of[master] else stream_of[master] for stream in parent
        }
    else:
        assert set(parent.values()) == {None}


@pytest.mark.parametrize("closes", [True, False], ids=["closed at shutdown", "not closed"])
def test_uvicorns_workers_deliver_though_one_is_killed_and_all_are_ended(
    site: Site, folder: Path, closes: bool
) -> None:
    arguments = ["uvicorn", "application:asgi", "--uds", "SOCKET", "--workers", "2", "--lifespan", "on"]
    with Server(site, folder, *arguments, closes=closes) as server:
        server.ask_until(lambda: len(server.answered) == 2, "two workers answer")
        os.kill(server.answered[0], signal.SIGKILL)
        server.ask_until(lambda: len(server.answered) == 3, "the one that replaces the killed one answers")
        server.end()
        assert "Traceback" not in server.log
        killed = server.answered[0]
    site.recover()
    trail = site.trail()
    assert_one_stream_a_worker(site, server, trail, {os.getpid()})
    if closes:
        of_process = pids(trail)
        assert {r.verdict for r in trail.reports if of_process[r.stream_id] != killed} == {"complete"}
