"""Everything in the table of detection, done to trails on a real broker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined] # not in its __all__
from emit_support import QUICK, until

from auditwire.events import ALL_TYPES
from auditwire.verification.trail import verify_trail
from auditwire.wire import topic_name
from support.detection import disagreement
from support.mutations import MUTATIONS, OTHER_PREFIX, Expected, Mutation, honest_trail

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auditwire.verification import StreamReport
    from rig.broker import Broker
    from support.stored import Stored

pytestmark = pytest.mark.needs("create_topics")

TRIALS = 3


class Cluster:
    """Topics of one partition each, written by hand and emptied between trials.

    Args:
        bootstrap: The broker.
        prefix: The topics' prefix; those of copies have another in front.
    """

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 0, "enable.idempotence": True}
        )
        names = [topic_name(p, name) for p in (prefix, self.copies) for name in ALL_TYPES]
        new = [NewTopic(name, 1, 1, config={"retention.ms": "-1"}) for name in names]
        for made in self._admin.create_topics(new).values():
            made.result(30)
        self._places = [TopicPartition(name, 0) for name in names]
        until(self._has_leaders, "all partitions have a leader")

    @property
    def copies(self) -> str:
        return f"{OTHER_PREFIX}-{self.prefix}"

    def _has_leaders(self) -> bool:
        try:
            self._ends()
        except KafkaException:  # for a moment after their creation
            return False
        return True

    def _ends(self) -> list[TopicPartition]:
        asked = self._admin.list_offsets(dict.fromkeys(self._places, OffsetSpec.latest()))  # type: ignore[arg-type,no-untyped-call]
        return [TopicPartition(place.topic, 0, end.result(30).offset) for place, end in asked.items()]

    def hold(self, messages: Iterable[Stored]) -> None:
        """Let nothing but these messages be on the topics, in this order."""
        for done in self._admin.delete_records([end for end in self._ends() if end.offset > 0]).values():
            done.result(30)
        failed: list[object] = []
        for message in messages:
            family, _, ending = message.topic.rpartition(".")
            self._producer.produce(
                f"{self.copies if family == OTHER_PREFIX else self.prefix}.{ending}",
                value=message.value,
                key=message.key,
                headers=message.headers,  # type: ignore[arg-type]
                timestamp=message.timestamp_ms,
                partition=0,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert self._producer.flush(30) == 0
        assert failed == []

    def verify(self, expected: Expected, state: Path | None = None, prefix: str | None = None) -> str:
        """What a check says otherwise than expected; empty when nothing."""
        reports: list[StreamReport] = []
        outcome = verify_trail(
            self.bootstrap,
            prefix=prefix or self.prefix,
            config=QUICK,
            state=state,
            on_report=lambda report, _: reports.append(report),
        )
        return disagreement(expected, reports, outcome)


@pytest.fixture(scope="module")
def cluster(broker: Broker) -> Cluster:
    return Cluster(broker.bootstrap, f"detection-{random.randrange(1 << 32):08x}")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_what_is_done_to_a_trail_on_a_broker_is_seen_as_the_table_says(
    cluster: Cluster, mutation: Mutation, tmp_path: Path
) -> None:
    for seed in range(TRIALS):
        rng = random.Random(f"{mutation.name} {seed}")
        trail = honest_trail(rng, linked=mutation.linked)
        state = None
        if mutation.state is not None:
            state = tmp_path / f"state-{seed}"
            cluster.hold(trail.messages)
            assert not cluster.verify(Expected(0), state), f"seed {seed}: the trail is not honest"
        after = mutation.apply(rng, trail)
        cluster.hold(after)
        copied = cluster.copies if {m.topic.startswith(f"{OTHER_PREFIX}.") for m in after} == {True} else None
        wrong = cluster.verify(mutation.alone, prefix=copied)
        assert not wrong, f"seed {seed}, alone: {wrong}"
        if mutation.state is not None:
            wrong = cluster.verify(mutation.state, state)
            assert not wrong, f"seed {seed}, with the state of before: {wrong}"
