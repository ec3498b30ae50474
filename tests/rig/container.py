"""Kafka in containers, for the contract of the image apache/kafka:4.x.

testcontainers has no class for that image (its KafkaContainer writes another vendor's scripts), so these are
written against DockerContainer. The public image and the offline stand-in run the same way.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.network import Network

from rig.broker import (
    CAPABILITIES,
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
    from collections.abc import Callable, Mapping

    from testcontainers.core.docker_client import DockerClient as Engine
    from typing_extensions import Self

KAFKA_IMAGE = "apache/kafka:4.3.1"
OFFLINE_IMAGE = "auditwire-test-kafka:4.3.1"
SECRETS = "/etc/kafka/secrets"
BUILD = Path(__file__).parent / "image" / "build.sh"
CACHE = Path(__file__).parents[2] / ".cache" / "rig"
OWNER_LABEL = "auditwire.test.owner"

# Its image may not be available, and the fixtures remove what they start; what a killed run left behind is
# removed by the next one (remove_leftovers).
testcontainers_config.ryuk_disabled = True


class KafkaNode(Broker):
    """One broker and controller in a container.

    The host port is chosen here and fixed for the container's whole life: Docker gives a random published
    port anew at every start, and a broker started again would advertise a dead one.

    Args:
        image: What follows the contract of apache/kafka:4.x.
        settings: Kafka's properties, over those of `node_settings`.
        security: The protocol of the client listener.
        secrets: A folder mounted read-only at SECRETS.
        node_id: Unique in its cluster.
        voters: Host names by node id, for a cluster; their network is `network`.
        network: Where the nodes of a cluster find each other by name.
        heap: JVM options; -Xmx below 256m is too little.
    """

    tier: ClassVar[str] = "container"
    capabilities: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)

    def __init__(
        self,
        image: str,
        *,
        settings: Mapping[str, str] | None = None,
        security: str = "PLAINTEXT",
        secrets: Path | None = None,
        node_id: int = 1,
        voters: Mapping[int, str] | None = None,
        network: Network | None = None,
        heap: str = "-Xms128m -Xmx384m",
    ) -> None:
        self.image = image
        self.node_id = node_id
        self._settings = dict(settings or {})
        self._security = security
        self._secrets = secrets
        self._voters = dict(voters or {node_id: "localhost"})
        self._network = network
        self._heap = heap
        # a certificate is for a name, the others need not look one up
        self._host = "localhost" if "SSL" in security else "127.0.0.1"
        self._container: DockerContainer | None = None

    def start(self) -> Self:
        if self._container is None:
            self.start_without_waiting()
            self.wait_ready()
        return self

    def start_without_waiting(self) -> None:
        """For the nodes of a cluster: none is ready before a majority runs."""
        for port in ports():
            self.bootstrap = f"{self._host}:{port}"
            self._container = self._configure(port)
            try:
                self._container.start()
            except APIError as e:
                self.stop()
                if not any(s in str(e) for s in ("port is already allocated", "address already in use")):
                    raise
            else:
                return
        raise BrokerError("ten ports in a row were taken")

    def _configure(self, port: int) -> DockerContainer:
        # a single node needs these two only inside: nobody else can reach the plaintext listeners
        inside = "" if self._network else "127.0.0.1"
        internal = self._voters[self.node_id]
        settings = node_settings(
            node_id=self.node_id,
            voters={i: f"{host}:9093" for i, host in self._voters.items()},
            listeners=f"CLIENT://:9092,CONTROLLER://{inside}:9093,INTERNAL://{inside}:19092",
            advertised=f"CLIENT://{self._host}:{port},INTERNAL://{internal}:19092",
            security=self._security,
        )
        settings["log.dirs"] = "/tmp/kraft-combined-logs"
        settings.update(self._settings)
        env = {environment_name(key): value for key, value in settings.items()}
        container = DockerContainer(
            self.image, env={**env, "CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": self._heap}
        )
        container.with_kwargs(labels={OWNER_LABEL: owner()})
        # loopback only; testcontainers passes the pair on to docker-py though its type says port numbers
        container.ports["9092/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]
        if self._secrets:
            container.with_volume_mapping(str(self._secrets), SECRETS, "ro")
        if self._network:
            container.with_network(self._network).with_network_aliases(internal)
        return container

    def stop(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            with contextlib.suppress(NotFound):
                container.stop()

    @property
    def _wrapped(self) -> Any:
        if self._container is None:
            raise BrokerError("the broker has not been started")
        return self._container.get_wrapped_container()

    def wait_ready(self) -> None:
        """Until this start, not an earlier one, has logged that the server has started.

        Raises:
            BrokerError: The container exited, or START_TIMEOUT passed.
        """
        container = self._wrapped
        container.reload()
        # Docker writes nanoseconds, which fromisoformat does not take
        since = datetime.fromisoformat(
            container.attrs["State"]["StartedAt"][:26].rstrip("Z") + "+00:00"
        ).timestamp()

        def settled() -> bool:
            container.reload()
            return container.status == "exited" or b"Kafka Server started" in container.logs(since=since)

        with contextlib.suppress(TimeoutError):
            until(settled, START_TIMEOUT, "broker ready")
            if container.status != "exited":
                return
        log = container.logs(tail=40).decode(errors="replace")
        raise BrokerError(f"broker {self.node_id} is not ready ({container.status}):\n{log}")

    def tool(self, name: str, *args: str, timeout: float = 60) -> str:
        command = tool_arguments(name, args, "localhost:19092")
        # `timeout` inside: the tool ends even when nobody waits for it any more
        code, (out, err) = self._wrapped.exec_run(
            ["timeout", str(timeout), f"/opt/kafka/bin/{name}", *command],
            demux=True,
            # the heap meant for the broker is too much for a tool
            environment={"KAFKA_HEAP_OPTS": "-Xmx256m"},
        )
        if code:
            raise BrokerError(f"{name} {' '.join(args)}: exit {code}\n{decode(out)}{decode(err)}")
        return decode(out)

    def kill(self) -> None:
        self._wrapped.kill()
        self._wrapped.wait(timeout=30)

    def shut_down(self) -> None:
        self._wrapped.stop(timeout=30)

    def start_again(self) -> None:
        self._wrapped.start()
        self.wait_ready()

    def pause(self) -> None:
        self._wrapped.pause()

    def unpause(self) -> None:
        self._wrapped.unpause()


class KafkaCluster:
    """Three nodes on a network of their own: three copies, two of them in sync for an acknowledgement."""

    def __init__(self, image: str) -> None:
        hosts = {i: f"kafka{i}" for i in (1, 2, 3)}
        self._network = Network()
        self.nodes = {
            i: KafkaNode(image, node_id=i, voters=hosts, network=self._network, heap="-Xms128m -Xmx256m")
            for i in hosts
        }

    @property
    def bootstrap(self) -> str:
        return ",".join(node.bootstrap for node in self.nodes.values())

    def client(self, **conf: Any) -> dict[str, Any]:
        """librdkafka's settings that reach all nodes, with `conf` over them."""
        return {"bootstrap.servers": self.bootstrap, **conf}

    def __enter__(self) -> Self:
        try:
            self._network.create()
            for node in self.nodes.values():
                node.start_without_waiting()
            for node in self.nodes.values():
                node.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.stop()
        if self._network.id is not None:
            self._network.remove()


def environment_name(key: str) -> str:
    """How the image takes a property: `log.dirs` is KAFKA_LOG_DIRS, `-` is `___` and `_` is `__`."""
    return "KAFKA_" + key.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def decode(output: bytes | None) -> str:
    return (output or b"").decode(errors="surrogateescape")


# -- the engine and its images --


def engine() -> Engine:
    """A client of the container engine.

    Raises:
        BrokerError: None answers.
    """
    with warnings.catch_warnings():
        # docker-py leaves the socket open on which nobody answered
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return DockerClient(timeout=60)
        except DockerException as e:
            reason = first_line(e)
        gc.collect()
    raise BrokerError(f"no container engine: {reason}")


def find_image(client: Engine, wanted: str, say: Callable[[str], None]) -> str:
    """The wanted image, or the offline stand-in: whichever is here, else can be pulled, else can be built.

    Raises:
        BrokerError: None of it; the message says why.
    """
    if present(client, wanted):
        return wanted
    if run_build("current", "kafka", OFFLINE_IMAGE).returncode == 0:
        return OFFLINE_IMAGE
    say(f"pulling {wanted}")
    try:
        pull(client, wanted)
    except (DockerException, requests.RequestException, BrokerError) as e:
        say(f"{wanted} cannot be pulled ({first_line(e)}): building {OFFLINE_IMAGE}, about a minute")
    else:
        return wanted
    missing = [program for program in ("docker", "jlink", "mvn") if shutil.which(program) is None]
    if missing:
        raise BrokerError(f"{wanted} cannot be pulled, nor a stand-in be built without {', '.join(missing)}")
    build = run_build("kafka", OFFLINE_IMAGE, str(CACHE))
    if build.returncode:
        raise BrokerError(f"{OFFLINE_IMAGE} cannot be built:\n{build.stderr[-2000:]}")
    return OFFLINE_IMAGE


def run_build(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BUILD), *args], check=False, capture_output=True, text=True, timeout=900)


def present(client: Engine, image: str) -> bool:
    try:
        client.client.images.get(image)
    except ImageNotFound:
        return False
    return True


def pull(client: Engine, image: str, silence: float = 15) -> None:
    """Pulls; gives up after `silence` seconds without progress, where docker-py waits without bound.

    Raises:
        BrokerError: The registry refused.
        requests.RequestException: No progress.
    """
    api = client.client.api
    name, _, tag = image.partition(":")
    address = f"{api.base_url}/v{api.api_version}/images/create"
    with api.post(
        address, params={"fromImage": name, "tag": tag or "latest"}, stream=True, timeout=silence
    ) as answer:
        if not answer.ok:
            raise BrokerError(answer.json()["message"])
        for line in answer.iter_lines():
            if b'"error"' in line:
                raise BrokerError(decode(line))


def owner() -> str:
    """This process, as a label: its id, and the namespace in which the id means something."""
    return f"{Path('/proc/self/ns/pid').readlink()}:{os.getpid()}"


def remove_leftovers(client: Engine) -> None:
    """Removes the containers of test runs that were killed before they could do so themselves."""
    namespace = owner().rpartition(":")[0]
    for container in client.client.containers.list(all=True, filters={"label": OWNER_LABEL}):
        theirs, _, pid = container.labels[OWNER_LABEL].rpartition(":")
        if theirs == namespace and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
