"""Which broker the tests run against: the first of the tiers below that works.

1. bootstrap: the cluster at AUDITWIRE_TEST_BOOTSTRAP.
2. container: AUDITWIRE_TEST_KAFKA_IMAGE (apache/kafka:4.3.1) where the engine has it or can pull it, else an
   offline stand-in built from this machine's JDK and Maven Central's jars.
3. jvm: the same jars as a local process.
4. mock: librdkafka's mock cluster. It makes no topics on request, has no ACLs and cannot be restarted.

AUDITWIRE_TEST_TIER names one of them: no other is tried then, and what needs a broker fails without it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rig.broker import Broker, BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from rig.container import KafkaCluster, KafkaNode
    from rig.secure import SecureKafka

BOOTSTRAP = "AUDITWIRE_TEST_BOOTSTRAP"
IMAGE = "AUDITWIRE_TEST_KAFKA_IMAGE"
FORCED = "AUDITWIRE_TEST_TIER"


class Tier:
    """A kind of broker that this machine has.

    Attributes:
        name: bootstrap, container, jvm or mock.
        detail: What exactly it is, for people.
        capabilities: What its brokers have; see CAPABILITIES.
    """

    name: ClassVar[str]
    detail: str
    capabilities: frozenset[str]

    def broker(self) -> Broker:
        """A broker of its own, not yet started."""
        raise NotImplementedError

    def secure(self, secrets: Path) -> SecureKafka:
        """One with TLS, users and ACLs, not yet started; `secrets` was filled by `certs.make`."""
        raise NotImplementedError

    def cluster(self) -> KafkaCluster:
        """Three brokers, not yet started."""
        raise NotImplementedError

    def proxied(self) -> KafkaNode:
        """A broker of its own, not yet started, that is reached through a proxy as well."""
        raise NotImplementedError

    def secure_cluster(self, secrets: Path) -> KafkaCluster:
        """Three brokers with TLS, users and ACLs, and proxies to a listener that has none of it."""
        raise NotImplementedError


class BootstrapTier(Tier):
    name = "bootstrap"

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._address = environ.get(BOOTSTRAP, "")
        if not self._address:
            raise BrokerError(f"{BOOTSTRAP} is not set")
        self.detail = self._address
        self.capabilities = ForeignBroker.capabilities

    def broker(self) -> Broker:
        return ForeignBroker(self._address)


class ForeignBroker(Broker):
    """A cluster that others run: nothing is started, stopped or broken there."""

    tier: ClassVar[str] = "bootstrap"
    capabilities: ClassVar[frozenset[str]] = frozenset({"create_topics", "retention"})

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> Self:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            AdminClient(self.client()).list_topics(timeout=10)
        except KafkaException as e:
            raise BrokerError(f"{self.bootstrap} does not answer: {e}") from e
        return self

    def stop(self) -> None:
        """Not ours to end."""

    def remove_topics(self, prefix: str) -> None:
        """What a test run made there, it removes."""
        from confluent_kafka.admin import AdminClient

        admin = AdminClient(self.client())
        topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
        if topics:
            for future in admin.delete_topics(topics).values():
                future.result(30)


class ContainerTier(Tier):
    name = "container"

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        # imported here: a second, and a library that the other tiers do without
        from rig import container, engine

        wanted = environ.get(IMAGE) or engine.KAFKA_IMAGE
        client = engine.engine()
        try:
            engine.remove_leftovers(client)
            self._image = engine.find_image(client, wanted, say)
        finally:
            client.client.close()
        self.detail = self._image
        if self._image != wanted:
            self.detail += f", offline stand-in for {wanted}"
        self.capabilities = container.KafkaNode.capabilities

    def broker(self) -> Broker:
        from rig.container import KafkaNode

        return KafkaNode(self._image)

    def secure(self, secrets: Path) -> SecureKafka:
        from rig.container import SECRETS, KafkaNode
        from rig.secure import SECURITY, SecureKafka, settings

        node = KafkaNode(self._image, settings=settings(SECRETS), security=SECURITY, secrets=secrets)
        return SecureKafka(node, secrets)

    def cluster(self) -> KafkaCluster:
        from rig.container import KafkaCluster

        return KafkaCluster(self._image)

    def proxied(self) -> KafkaNode:
        from rig.container import KafkaNode
        from rig.proxy import Proxy

        return KafkaNode(self._image, proxy=Proxy())

    def secure_cluster(self, secrets: Path) -> KafkaCluster:
        from rig.container import SECRETS, KafkaCluster
        from rig.secure import SECURITY, settings

        return KafkaCluster(
            self._image, settings=settings(SECRETS), security=SECURITY, secrets=secrets, proxied=True
        )


class JvmTier(Tier):
    name = "jvm"

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        from rig import jvm

        self._dist = jvm.distribution()
        self.detail = "Kafka as a local process"
        self.capabilities = jvm.JvmBroker.capabilities

    def broker(self) -> Broker:
        from rig.jvm import JvmBroker

        return JvmBroker(self._dist)

    def secure(self, secrets: Path) -> SecureKafka:
        from rig.jvm import JvmBroker
        from rig.secure import SECURITY, SecureKafka, settings

        return SecureKafka(JvmBroker(self._dist, settings=settings(str(secrets)), security=SECURITY), secrets)


class MockTier(Tier):
    name = "mock"

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.detail = "librdkafka's mock cluster"
        self.capabilities = MockBroker.capabilities

    def broker(self) -> Broker:
        return MockBroker()


class MockBroker(Broker):
    """librdkafka's mock cluster in a process of its own. Nobody can create topics there but that process."""

    tier: ClassVar[str] = "mock"
    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._embedded: Any = None

    def start(self) -> Self:
        if self._embedded is None:
            from auditwire.testing import EmbeddedBroker

            self._embedded = EmbeddedBroker()
            self.bootstrap = self._embedded.__enter__().bootstrap_servers
        return self

    def create_topics(self, prefix: str) -> None:
        """Make the audit topics of a test, as a real broker would at their first use."""
        self._embedded.create_topics(prefix=prefix)

    def stop(self) -> None:
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            embedded.__exit__(None, None, None)


TIERS: tuple[Callable[[Mapping[str, str], Callable[[str], None]], Tier], ...] = (
    BootstrapTier,
    ContainerTier,
    JvmTier,
    MockTier,
)
NAMES = ("bootstrap", "container", "jvm", "mock")


@dataclass
class Choice:
    """What was found, or why nothing was.

    Attributes:
        tier: None when the forced tier, or every tier, cannot be had.
        broker: The run's shared broker, started.
        why: A reason for each tier that was tried in vain.
    """

    tier: Tier | None = None
    broker: Broker | None = None
    why: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        reasons = "; ".join(self.why)
        if self.tier is None:
            return f"none ({reasons})"
        return f"{self.tier.name} ({self.tier.detail}{'; ' if reasons else ''}{reasons})"


def choose(environ: Mapping[str, str] = os.environ, say: Callable[[str], None] = lambda _: None) -> Choice:
    """Starts a broker of the first tier that works; the caller stops it.

    Args:
        environ: Where BOOTSTRAP, IMAGE and FORCED are looked up.
        say: Called before what takes long.
    """
    choice = Choice()
    forced = environ.get(FORCED)
    if forced and forced not in NAMES:
        choice.why.append(f"{FORCED}={forced} is none of {', '.join(NAMES)}")
        return choice
    for name, make in zip(NAMES, TIERS, strict=True):
        if forced not in (None, "", name) or (
            name == "bootstrap" and not forced and BOOTSTRAP not in environ
        ):
            continue
        try:
            tier = make(environ, say)
            choice.broker = tier.broker().__enter__()
        except Exception as e:  # noqa: BLE001  whatever is wrong with a tier, the next one may work; it is reported
            choice.why.append(f"{FORCED}={name}: {e}" if forced else f"not {name}: {e}")
        else:
            choice.tier = tier
            return choice
        if name == "bootstrap":  # who names a cluster wants no other
            return choice
    return choice
