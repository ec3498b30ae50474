"""Kafka as a local Java process, from the same jars as the offline image."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rig.broker import (
    CLUSTER_ID,
    START_TIMEOUT,
    Broker,
    BrokerError,
    node_settings,
    ports,
    tool_arguments,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

ASSEMBLE = Path(__file__).parent / "image" / "kafka" / "dist.sh"
CACHE = Path(__file__).parents[2] / ".cache" / "rig"
OLDEST_JAVA = 17


class JvmBroker(Broker):
    """One broker and controller, its data in a temporary folder.

    Args:
        dist: What `distribution` returned.
        settings: Kafka's properties, over those of `node_settings`.
        security: The protocol of the client listener.
    """

    tier: ClassVar[str] = "jvm"
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"create_topics", "retention", "kafka_tools", "faults", "acls"}
    )

    def __init__(
        self, dist: Path, *, settings: Mapping[str, str] | None = None, security: str = "PLAINTEXT"
    ) -> None:
        self._dist = dist
        self._settings = dict(settings or {})
        self._security = security
        self._host = "localhost" if "SSL" in security else "127.0.0.1"
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        if self._folder is not None:
            return self
        self._folder = Path(tempfile.mkdtemp(prefix="auditwire-test-kafka-"))
        choice = ports()
        for client, controller, internal in zip(choice, choice, choice, strict=False):
            self._configure(client, controller, internal)
            try:
                self.start_again()
            except BrokerError as e:
                if "Address already in use" not in str(e):
                    raise
                self._end(signal.SIGKILL)
            else:
                return self
        raise BrokerError("all ports that were tried are taken")

    def _configure(self, client: int, controller: int, internal: int) -> None:
        self.bootstrap = f"{self._host}:{client}"
        self._internal = f"127.0.0.1:{internal}"
        settings = node_settings(
            node_id=1,
            voters={1: f"127.0.0.1:{controller}"},
            listeners=f"CLIENT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller},INTERNAL://{self._internal}",
            advertised=f"CLIENT://{self.bootstrap},INTERNAL://{self._internal}",
            security=self._security,
        )
        settings["log.dirs"] = str(self._path("data"))
        settings.update(self._settings)
        self._path("server.properties").write_text(
            "".join(f"{key}={value}\n" for key, value in settings.items())
        )
        shutil.rmtree(self._path("data"), ignore_errors=True)
        self._run(
            "kafka-storage.sh", ["format", "-t", CLUSTER_ID, "-c", str(self._path("server.properties"))], 60
        )

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise BrokerError("the broker has not been started")
        return self._folder / name

    def start_again(self) -> None:
        log = self._path("server.log")
        earlier = log.stat().st_size if log.exists() else 0
        command = [str(self._dist / "bin" / "kafka-server-start.sh"), str(self._path("server.properties"))]
        if shutil.which("setpriv"):  # a test run that is killed takes its broker along
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "KAFKA_HEAP_OPTS": "-Xms128m -Xmx384m"},
                start_new_session=True,  # Ctrl-C is for the tests; they end the broker
            )
        self._process = process

        def logged() -> bytes:
            return log.read_bytes()[earlier:]

        with contextlib.suppress(TimeoutError):
            until(
                lambda: process.poll() is not None or b"Kafka Server started" in logged(), START_TIMEOUT, ""
            )
            if process.poll() is None:
                return
        raise BrokerError(f"the broker is not ready (exit {process.poll()}):\n{logged()[-6000:].decode()}")

    def stop(self) -> None:
        self._end(signal.SIGKILL)
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def tool(self, name: str, *args: str, timeout: float = 60) -> str:
        return self._run(name, tool_arguments(name, args, self._internal), timeout)

    def _run(self, name: str, args: list[str], timeout: float) -> str:
        try:
            done = subprocess.run(
                [str(self._dist / "bin" / name), *args],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as e:
            raise BrokerError(f"{name} {' '.join(args)}: not done in {timeout} s") from e
        if done.returncode:
            raise BrokerError(f"{name} {' '.join(args)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def shut_down(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def unpause(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise BrokerError("the broker does not run")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


def distribution() -> Path:
    """Kafka's jars and scripts in one folder, fetched once.

    Raises:
        BrokerError: No Java of a version that Kafka runs on, no Maven, or Maven failed.
    """
    if shutil.which("java") is None:
        raise BrokerError("no java")
    version = subprocess.run(
        ["java", "-version"], check=False, capture_output=True, text=True, timeout=30
    ).stderr
    found = re.search(r'version "(\d+)', version)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise BrokerError(f"java is older than {OLDEST_JAVA}")
    if shutil.which("mvn") is None:
        raise BrokerError("no mvn")
    done = subprocess.run(
        [str(ASSEMBLE), str(CACHE)], check=False, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise BrokerError(f"Kafka's jars cannot be had: {(done.stdout + done.stderr)[-1000:]}")
    return Path(done.stdout.strip())
