"""A broker with TLS, SASL/SCRAM-SHA-512 and ACLs.

Its client listener takes SCRAM (users made while it runs) and PLAIN (one user, ADMIN, written in the JAAS
line): the public image's set-up cannot put a SCRAM user into the storage, so the first needs another way in.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from rig.broker import Broker
    from rig.container import KafkaCluster

ADMIN = ("admin", "admin-secret")
SECURITY = "SASL_SSL"
ANSWER = 10.0
"""Seconds that the broker may take to answer an administrator's request."""


def settings(secrets: str) -> dict[str, str]:
    """Kafka's properties; `secrets` is where the broker sees the folder that `certs.make` filled."""
    listener = "listener.name.client"
    modules = "org.apache.kafka.common.security"
    name, password = ADMIN
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # ANONYMOUS is the broker to itself, on its loopback listeners
        "super.users": f"User:{name};User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        f"{listener}.plain.sasl.jaas.config": (
            f'{modules}.plain.PlainLoginModule required user_{name}="{password}";'
        ),
        f"{listener}.ssl.keystore.type": "PEM",
        f"{listener}.ssl.keystore.location": f"{secrets}/server.pem",
    }


class Users:
    """Users and ACLs on brokers that were made with `settings` and SECURITY.

    Args:
        kafka: The broker or the cluster.
        secrets: The folder with ca.pem and other-ca.pem, as the clients see it.
    """

    def __init__(self, kafka: Broker | KafkaCluster, secrets: Path) -> None:
        self._kafka = kafka
        self.secrets = secrets

    def client(
        self, user: str, password: str, mechanism: str = "SCRAM-SHA-512", **conf: Any
    ) -> dict[str, Any]:
        """librdkafka's settings for one user, with `conf` over them."""
        return self._kafka.client(
            **{
                "security.protocol": SECURITY,
                "sasl.mechanism": mechanism,
                "sasl.username": user,
                "sasl.password": password,
                "ssl.ca.location": str(self.secrets / "ca.pem"),
                **conf,
            }
        )

    @cached_property
    def admin(self) -> AdminClient:
        """Kept: the pending futures of an AdminClient that is collected fail with _DESTROY."""
        return AdminClient(self.client(*ADMIN, mechanism="PLAIN"))

    def add_user(self, user: str, password: str) -> None:
        """Also changes the password of one who is there; open connections stay."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, credential, password.encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result(ANSWER)

    def allow(
        self,
        user: str,
        name: str,
        *operations: AclOperation,
        kind: ResourceType = ResourceType.TOPIC,
        prefix: bool = False,
    ) -> None:
        """Allows `operations` on the topic (or another `kind`) `name`, or on all that begin with it."""
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        rules = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        for future in self.admin.create_acls(rules).values():
            future.result(ANSWER)

    def revoke(self, user: str) -> int:
        """Takes all ACLs of the user away; returns how many there were."""
        rule = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # any name; the client takes it, its annotation does not
            ResourcePatternType.ANY,
            f"User:{user}",
            None,  # type: ignore[arg-type]  # any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        return sum(len(future.result(ANSWER)) for future in self.admin.delete_acls([rule]).values())


class SecureKafka(Users):
    """One broker with users, certificates and ACLs.

    Attributes:
        node: The broker itself: kill, start_again, tool and the others.
        secrets: The folder with ca.pem and other-ca.pem, as the clients see it.
        bootstrap: The node's.
    """

    def __init__(self, node: Broker, secrets: Path) -> None:
        super().__init__(node, secrets)
        self.node = node

    def __enter__(self) -> Self:
        self.node.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.node.stop()

    @property
    def bootstrap(self) -> str:
        return self.node.bootstrap
