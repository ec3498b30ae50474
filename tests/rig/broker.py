"""What every test broker offers, whatever runs it, and Kafka's settings for one node."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
START_TIMEOUT = 60.0
"""Seconds that a broker may take to be ready; on two cores it takes 2 to 5."""

CAPABILITIES = {
    "create_topics": "topics are made by an AdminClient",
    "retention": "records are kept, however many (the mock keeps 5 MB of a partition)",
    "kafka_tools": "Kafka's own command-line tools look at the broker",
    "faults": "a broker is killed, frozen, shut down and started again",
    "acls": "users, TLS and ACLs",
    "cluster": "three brokers",
}

# tools that look at files, not at a broker
OFFLINE_TOOLS = {"kafka-dump-log.sh", "kafka-storage.sh"}


class BrokerError(RuntimeError):
    """The broker or one of Kafka's tools did not do what was asked; the message ends with its output."""


class Broker(ABC):
    """One address to produce to and consume from.

    Attributes:
        tier: What runs it: bootstrap, container, jvm or mock.
        capabilities: Which of CAPABILITIES it has; the other methods raise BrokerError.
        bootstrap: host:port, the same for the broker's whole life.
    """

    tier: ClassVar[str]
    capabilities: ClassVar[frozenset[str]]
    bootstrap: str

    def client(self, **conf: Any) -> dict[str, Any]:
        """librdkafka's settings that reach this broker, with `conf` over them."""
        return {"bootstrap.servers": self.bootstrap, **conf}

    def start(self) -> Self:
        """Returns when the broker answers; does nothing when it has been started already.

        Raises:
            BrokerError: It did not within START_TIMEOUT.
        """
        return self

    @abstractmethod
    def stop(self) -> None:
        """Ends the broker and removes what it wrote. May be called twice."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tool(self, name: str, *args: str, timeout: float = 60) -> str:
        """Runs one of Kafka's own tools, e.g. "kafka-get-offsets.sh", and returns its standard output.

        `--bootstrap-server` is added. Bytes that are not UTF-8 come as surrogate escapes:
        `.encode(errors="surrogateescape")` gives them back.

        Raises:
            BrokerError: The tool failed or took longer than `timeout` seconds.
        """
        raise self._lacking("kafka_tools")

    # -- faults: the data and the address survive all of them --
    def kill(self) -> None:
        """SIGKILL: connections are reset, then refused."""
        raise self._lacking("faults")

    def shut_down(self) -> None:
        """SIGTERM: a controlled shutdown."""
        raise self._lacking("faults")

    def start_again(self) -> None:
        """After kill or shut_down; returns when the broker answers."""
        raise self._lacking("faults")

    def pause(self) -> None:
        """The process is frozen: connections stay open and answer nothing."""
        raise self._lacking("faults")

    def unpause(self) -> None:
        raise self._lacking("faults")

    def _lacking(self, capability: str) -> BrokerError:
        return BrokerError(
            f"a broker of tier {self.tier} has no {capability} ({CAPABILITIES[capability]}): "
            f'mark the test with @pytest.mark.needs("{capability}")'
        )


def until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Polls `condition` every 50 ms.

    Raises:
        TimeoutError: It was not true within `timeout` seconds; the message says `what` was awaited.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(0.05)


def ports() -> Iterator[int]:
    """Host ports to try, ten of them.

    Below the kernel's ephemeral range: no outgoing connection can take the port while its broker is down. Two
    runs may still choose the same, so whoever starts a broker takes the next when one is taken.
    """
    return iter(random.sample(range(20000, 32000), 10))


def tool_arguments(name: str, args: tuple[str, ...], bootstrap: str) -> list[str]:
    if name in OFFLINE_TOOLS or "--bootstrap-server" in args:
        return list(args)
    return ["--bootstrap-server", bootstrap, *args]


def node_settings(
    *, node_id: int, voters: Mapping[int, str], listeners: str, advertised: str, security: str
) -> dict[str, str]:
    """Kafka's properties for one broker and controller with the listeners CLIENT, CONTROLLER and INTERNAL.

    CLIENT has a name of its own: the public image reacts to listener names that contain SSL or SASL. There
    may be a further listener PROXIED, with neither TLS nor users.

    Args:
        node_id: One of `voters`.
        voters: Every node's controller address, host:port, by node id.
        listeners: As in server.properties.
        advertised: As in server.properties, without the controller's.
        security: The protocol of CLIENT: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    """
    copies = str(min(len(voters), 3))
    in_sync = str(max(1, min(len(voters), 3) - 1))
    return {
        "node.id": str(node_id),
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{i}@{address}" for i, address in voters.items()),
        "listeners": listeners,
        "advertised.listeners": advertised,
        "listener.security.protocol.map": ",".join(
            (f"CLIENT:{security}", "CONTROLLER:PLAINTEXT", "INTERNAL:PLAINTEXT", "PROXIED:PLAINTEXT")
        ),
        "inter.broker.listener.name": "INTERNAL",
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker is let in again only when its old session has expired, after 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # 128 MB of heap by default: out of memory at once under the small heap of a test
        "log.cleaner.dedupe.buffer.size": "4194304",
    }
