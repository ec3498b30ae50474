"""Kafka in containers, for the contract of the image apache/kafka:4.x.

testcontainers has no class for that image (its KafkaContainer writes another vendor's scripts), so these are
written against DockerContainer. The public image and the offline stand-in run the same way.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from docker.errors import APIError, NotFound
from testcontainers.core.container import DockerContainer
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
from rig.engine import OWNER_LABEL, owner
from rig.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from typing_extensions import Self

SECRETS = "/etc/kafka/secrets"
PROXIED_PORT = 9094


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
        proxy: For a further listener that is reached through it alone, `proxied`; runs as long as the node.
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
        proxy: Proxy | None = None,
    ) -> None:
        self.image = image
        self.node_id = node_id
        self._settings = dict(settings or {})
        self._security = security
        self._secrets = secrets
        self._voters = dict(voters or {node_id: "localhost"})
        self._network = network
        self._heap = heap
        self.proxy = proxy
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
        if self.proxy is not None:
            self.proxy.__enter__()
        choice = ports()
        for port, behind in zip(choice, choice, strict=False):
            self.bootstrap = f"{self._host}:{port}"
            self._container = self._configure(port)
            if self.proxy is not None:
                publish(self._container, PROXIED_PORT, behind)
                self.proxy.target = ("127.0.0.1", behind)
            try:
                self._container.start()
            except APIError as e:
                self._remove()
                if not any(s in str(e) for s in ("port is already allocated", "address already in use")):
                    raise
            else:
                return
        raise BrokerError("all ports that were tried are taken")

    @property
    def proxied(self) -> str:
        """host:port of the listener behind the proxy, which needs neither TLS nor a user."""
        if self.proxy is None:
            raise BrokerError("this broker was made without a proxy")
        return f"127.0.0.1:{self.proxy.port}"

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
        if self.proxy is not None:
            settings["listeners"] += f",PROXIED://:{PROXIED_PORT}"
            settings["advertised.listeners"] += f",PROXIED://{self.proxied}"
        settings["log.dirs"] = "/tmp/kraft-combined-logs"
        settings.update(self._settings)
        env = {environment_name(key): value for key, value in settings.items()}
        container = DockerContainer(
            self.image, env={**env, "CLUSTER_ID": CLUSTER_ID, "KAFKA_HEAP_OPTS": self._heap}
        )
        container.with_kwargs(labels={OWNER_LABEL: owner()})
        publish(container, 9092, port)
        if self._secrets:
            container.with_volume_mapping(str(self._secrets), SECRETS, "ro")
        if self._network:
            container.with_network(self._network).with_network_aliases(internal)
        return container

    def stop(self) -> None:
        self._remove()
        if self.proxy is not None:
            self.proxy.close()

    def _remove(self) -> None:
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
        self.start_again_without_waiting()
        self.wait_ready()

    def start_again_without_waiting(self) -> None:
        """For several nodes of a cluster that are down: none is ready before a majority runs."""
        self._wrapped.start()

    def pause(self) -> None:
        self._wrapped.pause()

    def unpause(self) -> None:
        self._wrapped.unpause()

    def disconnect(self) -> None:
        """Takes the node of a cluster off its network: neither the others nor clients reach it."""
        self._network_of_cluster.disconnect(self._wrapped)

    def connect(self) -> None:
        """After disconnect."""
        self._network_of_cluster.connect(self._wrapped, aliases=[self._voters[self.node_id]])

    @property
    def _network_of_cluster(self) -> Any:
        if self._network is None:
            raise BrokerError("only a node of a cluster can be disconnected")
        return self._wrapped.client.networks.get(self._network.id)


class KafkaCluster:
    """Three nodes on a network of their own: three copies, two of them in sync for an acknowledgement.

    Args:
        image: As for a node.
        settings: As for a node; all have the same.
        security: As for a node.
        secrets: As for a node.
        proxied: Gives each node a proxy of its own, and a listener behind it.
    """

    def __init__(
        self,
        image: str,
        *,
        settings: Mapping[str, str] | None = None,
        security: str = "PLAINTEXT",
        secrets: Path | None = None,
        proxied: bool = False,
    ) -> None:
        hosts = {i: f"kafka{i}" for i in (1, 2, 3)}
        self._network = Network(docker_network_kw={"labels": {OWNER_LABEL: owner()}})
        self.nodes = {
            i: KafkaNode(
                image,
                settings=settings,
                security=security,
                secrets=secrets,
                node_id=i,
                voters=hosts,
                network=self._network,
                heap="-Xms128m -Xmx256m",
                proxy=Proxy() if proxied else None,
            )
            for i in hosts
        }

    @property
    def proxies(self) -> list[Proxy]:
        return [node.proxy for node in self.nodes.values() if node.proxy is not None]

    @property
    def proxied(self) -> str:
        """The addresses behind the proxies."""
        return ",".join(node.proxied for node in self.nodes.values())

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
        self._network.remove()


def publish(container: DockerContainer, inside: int, outside: int) -> None:
    """On the loopback only; testcontainers passes the pair on to docker-py, whose type says port numbers."""
    container.ports[f"{inside}/tcp"] = ("127.0.0.1", outside)  # type: ignore[assignment]


def environment_name(key: str) -> str:
    """How the image takes a property: `log.dirs` is KAFKA_LOG_DIRS, `-` is `___` and `_` is `__`."""
    return "KAFKA_" + key.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def decode(output: bytes | None) -> str:
    return (output or b"").decode(errors="surrogateescape")
