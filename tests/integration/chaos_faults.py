"""The faults of `test_chaos`: each is begun, holds while events are emitted, and is ended.

A fault is a context manager over a :class:`Stage`: its block runs while the fault holds. Every fault leaves
the cluster as it found it, also when the test fails.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AclOperation,
    AdminClient,
)
from emit_support import QUICK, SOON, until

from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.reading import Reader
from rig.load import Load
from rig.secure import ADMIN, Users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from typing_extensions import Self

    from auditwire.reading import Record
    from rig.container import KafkaCluster, KafkaNode
    from rig.proxy import Proxy

SETTLED = 90.0
"""Seconds that the cluster may take until every replica is in sync again."""

RIGHTS = (AclOperation.CREATE, AclOperation.WRITE, AclOperation.DESCRIBE)
PASSWORD = "right"


class Stage:
    """A cluster, the user that emits, and the processes that do; leaving the block kills them.

    Attributes:
        cluster: Three brokers with TLS, users and ACLs; a further listener of each is behind a proxy.
        users: Its users and ACLs.
        prefix: The topics' prefix.
        user: Who emits.
        journal: The journal path of all processes.
        loads: The processes that emit or have emitted, the present one last.
        taken: Records of a topic that a fault has deleted since.
    """

    def __init__(self, cluster: KafkaCluster, secrets: Path, prefix: str, folder: Path) -> None:
        self.cluster = cluster
        self.journal = folder / "journal"
        self.loads: list[Load] = []
        self.taken: list[Record] = []
        self._folder = folder
        self._ended = ExitStack()
        self.users = Users(cluster, secrets)
        self.prefix = prefix
        self.user = f"u-{prefix}"
        self.users.add_user(self.user, PASSWORD)
        self.allow()
        # asked of whichever broker is up, at a pace that suits tests
        self.admin = AdminClient({**self.reading, **QUICK, "log_level": 0})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()

    def start(self, *, password: str = PASSWORD, proxied: bool = False) -> None:
        """Start a process that emits, through the proxies or with TLS and a login."""
        if proxied:
            config = {"bootstrap.servers": self.cluster.proxied, **QUICK}
        else:
            config = {**self.users.client(self.user, password), **QUICK}
        life = "abc"[len(self.loads)]
        load = Load(self._folder, config, self.prefix, life=life, journal=str(self.journal))
        self.loads.append(self._ended.enter_context(load))

    @property
    def load(self) -> Load:
        """The process that emits now."""
        return self.loads[-1]

    @property
    def accepted(self) -> int:
        """What emit has accepted in all processes together."""
        return sum(load.counts.total for load in self.loads)

    def streams(self) -> list[str]:
        """The streams in the journal path: what is left of an ended process's goes when all of it is sent."""
        return JournalPath(REAL, str(self.journal)).streams()

    def allow(self) -> None:
        self.users.allow(self.user, f"{self.prefix}.", *RIGHTS, prefix=True)

    @property
    def reading(self) -> dict[str, Any]:
        """librdkafka's settings for whoever may read everything, past the proxies."""
        return self.users.client(*ADMIN, mechanism="PLAIN")

    def topic(self, event_type: str) -> str:
        return f"{self.prefix}.{event_type.replace('_', '-')}"

    def leader(self) -> KafkaNode:
        """The node that leads a partition of a topic that is being written."""
        topic = self.topic("turn_start")
        return self.cluster.nodes[
            self.admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader
        ]

    def settled(self) -> bool:
        """True when all brokers are there and every replica of the topics is in sync."""
        found = self.admin.list_topics(timeout=10)
        topics = [topic for name, topic in found.topics.items() if name.startswith(f"{self.prefix}.")]
        return len(found.brokers) == len(self.cluster.nodes) and all(
            len(partition.isrs) == len(partition.replicas)
            for topic in topics
            for partition in topic.partitions.values()
        )

    def settle(self) -> None:
        until(self.settled, "every replica is in sync", SETTLED)


@dataclass(frozen=True)
class Fault:
    """One line of the table.

    Attributes:
        name: What happens.
        hold: The fault, for as long as its block runs.
        events: How many events are accepted while it holds, at least.
        proxied: The process that emits goes through the proxies.
        password: What it logs in with at first.
        quick: CI runs it, too.
    """

    name: str
    hold: Callable[[Stage], AbstractContextManager[None]]
    events: int = 6_000
    proxied: bool = False
    password: str = PASSWORD
    quick: bool = False


# -- nodes ------------------------------------------------------------------------------------------------


@contextmanager
def leader_killed(stage: Stage) -> Iterator[None]:
    node = stage.leader()
    node.kill()
    try:
        yield
    finally:
        node.start_again()


@contextmanager
def rolling_restart(stage: Stage) -> Iterator[None]:
    for node in stage.cluster.nodes.values():
        node.shut_down()
        node.start_again()
        stage.settle()  # the next one goes only when this one is back in sync, as operators do it
    yield


@contextmanager
def leader_paused(stage: Stage) -> Iterator[None]:
    node = stage.leader()
    node.pause()
    try:
        yield
    finally:
        node.unpause()


@contextmanager
def leader_disconnected(stage: Stage) -> Iterator[None]:
    node = stage.leader()
    node.disconnect()
    try:
        yield
    finally:
        node.connect()


@contextmanager
def two_nodes_down(stage: Stage) -> Iterator[None]:
    """Fewer in sync than an acknowledgement asks for, and no majority of controllers."""
    down = [node for node in stage.cluster.nodes.values() if node is not stage.leader()]
    for node in down:
        node.kill()
    try:
        yield
    finally:
        for node in down:
            node.start_again_without_waiting()
        for node in down:
            node.wait_ready()


@contextmanager
def emitter_killed(stage: Stage) -> Iterator[None]:
    """While two nodes are down, and started again on the same journal before they are back."""
    with two_nodes_down(stage):
        yield
        stage.load.kill()
        stage.start()


# -- the network ------------------------------------------------------------------------------------------


def on_all_proxies(begin: Callable[[Proxy], None]) -> Callable[[Stage], AbstractContextManager[None]]:
    @contextmanager
    def hold(stage: Stage) -> Iterator[None]:
        for proxy in stage.cluster.proxies:
            begin(proxy)
        try:
            yield
        finally:
            for proxy in stage.cluster.proxies:
                proxy.heal()

    return hold


# -- topics, rights, passwords ----------------------------------------------------------------------------


@contextmanager
def topic_deleted(stage: Stage) -> Iterator[None]:
    """What the topic held is read first: whoever deletes a topic deletes its records.

    Its type is not emitted in between, for a record that is acknowledged between the reading and the deletion
    would be deleted unread. It is emitted again while the topic is missing.
    """
    topic = stage.topic("turn_end")
    stage.load.hold("turn_end")
    stage.load.flush(SOON)
    with Reader(topics=[topic], config=stage.reading) as reader:
        stage.taken.extend(reader)
    stage.admin.delete_topics([topic])[topic].result(SOON)
    until(lambda: topic not in stage.admin.list_topics(timeout=10).topics, "the topic is gone")
    stage.load.hold()
    yield


@contextmanager
def acl_revoked(stage: Stage) -> Iterator[None]:
    stage.users.revoke(stage.user)
    try:
        yield
    finally:
        stage.allow()


@contextmanager
def wrong_password(stage: Stage) -> Iterator[None]:
    """From the start on."""
    yield
    stage.load.login(stage.user, PASSWORD)


FAULTS = [
    Fault("leader killed with -9, started again", leader_killed, quick=True),
    Fault("rolling restart of all three nodes", rolling_restart, events=0),
    Fault("leader frozen and released", leader_paused, events=15_000),
    Fault("leader's network disconnected", leader_disconnected, events=15_000),
    Fault("two of three nodes killed: below min ISR", two_nodes_down, events=10_000, quick=True),
    Fault("the same, and the emitter killed with -9", emitter_killed),
    Fault("latency of 200 ms", on_all_proxies(lambda proxy: proxy.slow(0.1)), proxied=True),
    Fault("connections cut, and refused", on_all_proxies(lambda proxy: proxy.cut()), proxied=True),
    Fault(
        "connections reset all the time",
        on_all_proxies(lambda proxy: proxy.reset()),
        proxied=True,
        quick=True,
    ),
    Fault("black hole", on_all_proxies(lambda proxy: proxy.swallow()), events=15_000, proxied=True),
    Fault("topic deleted", topic_deleted, quick=True),
    Fault("ACL revoked and restored", acl_revoked, quick=True),
    Fault("wrong password, then the right one", wrong_password, password="wrong"),
]
