"""What the cluster says of the trail's topics: their ids, and whether one is compacted.

Neither is needed to check the records. A principal that may describe and read the topics can ask for the ids;
the settings need DescribeConfigs too, and where it is refused the report says what is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
    AdminClient,
    ConfigResource,
    ResourceType,
)

from auditwire.reading.settings import consumer_config

if TYPE_CHECKING:
    from collections.abc import Collection

    from auditwire.verification.gathering import Source

__all__ = ["Told", "ask"]

_SECONDS = 10.0
_MOCK = "mockCluster"  # how the cluster ids of librdkafka's mock begin: it knows none of the questions


@dataclass(slots=True)
class Told:
    """What the cluster said.

    Attributes:
        cluster: Its id; None when it does not tell.
        ids: Topic -> its id, of those that it told.
        compacted: The topics whose ``cleanup.policy`` compacts: the broker removes records of such a topic
            when a later one has the same key.
        notes: What it did not tell, as sentences.
    """

    cluster: str | None = None
    ids: dict[str, str] = field(default_factory=dict)
    compacted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def ask(source: Source, topics: Collection[str]) -> Told:
    """Ask about topics that exist. What is refused or not answered becomes a note, never an error.

    Raises:
        ConfigurationError: A setting is refused.
    """
    out = Told()
    settings, logger, _ = consumer_config(source.bootstrap_servers, source.config)
    # a consumer's properties are none of an administrative client's: it logs that it leaves them out
    admin = AdminClient({**settings, "client.id": f"{settings['client.id']}-admin"}, logger=logger)
    try:
        out.cluster = admin.list_topics(timeout=_SECONDS).cluster_id
    except KafkaException as error:
        out.notes.append(f"the topics' ids and settings are not known: {_words(error)}")
        return out
    if topics and not str(out.cluster).startswith(_MOCK):
        _ask_ids(admin, topics, out)
        _ask_settings(admin, topics, out)
    return out


def _ask_ids(admin: AdminClient, topics: Collection[str], out: Told) -> None:
    try:
        asked = admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=_SECONDS)
    except KafkaException:  # an old client or broker: offsets and digests tell as well
        return
    for name, future in asked.items():
        try:
            out.ids[name] = str(future.result().topic_id)
        except KafkaException:  # noqa: PERF203 - a few dozen
            continue


def _ask_settings(admin: AdminClient, topics: Collection[str], out: Told) -> None:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in sorted(topics)]
    refused: dict[str, Any] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=_SECONDS).items():
        try:
            policy = future.result()["cleanup.policy"].value
        except KafkaException as error:
            refused[resource.name] = error
            continue
        if "compact" in policy.split(","):
            out.compacted.append(resource.name)
    if refused:
        name, why = next(iter(refused.items()))
        out.notes.append(
            f"whether {len(refused)} topics are compacted is not known: {name}: {_words(why)}; the "
            "principal needs the operation DescribeConfigs on them"
        )


def _words(error: KafkaException) -> str:
    return str(error.args[0].str())
