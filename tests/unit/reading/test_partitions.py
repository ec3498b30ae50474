from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import OFFSET_END, TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Producer
from faulty_cluster import CUT, FETCH, FIND_COORDINATOR, LIST_OFFSETS, FaultyCluster, faulty_cluster

from auditwire.errors import BrokerError
from auditwire.events import TurnStartEvent
from auditwire.reading import Reader
from auditwire.reading.partitions import Partitions
from auditwire.wire import frame_single_object
from support.stream_builder import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON = 10.0
TURNS = "audit.turn-start"
FORBIDDEN = KafkaError.TOPIC_AUTHORIZATION_FAILED

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


@pytest.fixture
def cluster() -> Iterator[FaultyCluster]:
    with faulty_cluster() as cluster:
        cluster.create([TURNS], 2)
        yield cluster


def produce(cluster: FaultyCluster, *numbers: int) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers}, logger=QUIET)
    for sequence in numbers:
        record = record_of(TurnStartEvent(), sequence)
        producer.produce(TURNS, frame_single_object(record.fingerprint, record.body), partition=0)
    assert producer.flush(SOON) == 0


def reader(cluster: FaultyCluster, **options: Any) -> Reader:
    config = {"fetch.wait.max.ms": 20, "logger": QUIET, **options.pop("config", {})}
    return Reader(cluster.bootstrap_servers, **{"timeout": SOON, **options}, config=config)


def test_a_topic_that_may_not_be_described_is_named(cluster: FaultyCluster) -> None:
    cluster.refuse(TURNS, FORBIDDEN)
    with pytest.raises(BrokerError, match=rf"topic {TURNS} may not be read: .*Describe and Read"):
        reader(cluster)


def test_a_topic_whose_ends_may_not_be_asked_for_is_named(cluster: FaultyCluster) -> None:
    cluster.answer(LIST_OFFSETS, FORBIDDEN)
    with pytest.raises(BrokerError, match=f"topic {TURNS} may not be read"):
        reader(cluster)


@pytest.mark.parametrize("follow", [False, True])
def test_a_topic_that_may_be_described_but_not_read_is_named(cluster: FaultyCluster, *, follow: bool) -> None:
    produce(cluster, 0)
    cluster.answer(FETCH, FORBIDDEN)
    with reader(cluster, follow=follow) as r, pytest.raises(BrokerError, match=f"topic {TURNS} may not be"):
        next(r)


def test_no_permission_for_the_group_is_needed(
    cluster: FaultyCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "auditwire")
    cluster.answer(FIND_COORDINATOR, KafkaError.GROUP_AUTHORIZATION_FAILED)
    produce(cluster, 0)
    with reader(cluster, follow=True) as r:
        assert next(r).sequence == 0
        deadline = time.monotonic() + SOON
        while "FindCoordinator" not in caplog.text:  # librdkafka asks in its own time
            assert time.monotonic() < deadline
            assert r.poll(0.05) is None
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_ends_that_cannot_be_found_out_in_time_are_an_error(cluster: FaultyCluster) -> None:
    cluster.answer(LIST_OFFSETS, KafkaError.KAFKA_STORAGE_ERROR)
    with pytest.raises(BrokerError, match="could not find the beginnings of the partitions"):
        reader(cluster, timeout=1.0)


def test_ends_that_can_be_found_out_later_are_waited_for(cluster: FaultyCluster) -> None:
    produce(cluster, 0)
    cluster.answer(LIST_OFFSETS, KafkaError.KAFKA_STORAGE_ERROR, count=2)
    with reader(cluster) as r:
        assert [record.sequence for record in r] == [0]


def test_a_broker_that_gives_nothing_while_it_is_read_is_an_error_in_time(cluster: FaultyCluster) -> None:
    produce(cluster, 0)
    cluster.answer(FETCH, CUT)
    errors: list[KafkaError] = []
    with reader(cluster, timeout=1.0, config={"error_cb": errors.append}) as r:
        began = time.monotonic()
        with pytest.raises(
            BrokerError, match=rf"nothing came for 1 s, and 1 partitions, {TURNS} \[0\] among"
        ):
            next(r)
        assert 0.9 < time.monotonic() - began < SOON


def test_a_reader_that_follows_waits_for_a_lost_broker(cluster: FaultyCluster) -> None:
    produce(cluster, 0)
    errors: list[KafkaError] = []
    with reader(cluster, follow=True, refresh=0.05, timeout=0.5, config={"error_cb": errors.append}) as r:
        assert next(r).sequence == 0
        cluster.down()
        began = time.monotonic()
        while not errors or time.monotonic() - began < 1.0:  # longer than its timeout
            assert time.monotonic() - began < SOON
            assert r.poll(0.05) is None
        cluster.up()
        produce(cluster, 1)
        deadline = time.monotonic() + SOON
        while (record := r.poll(0.05)) is None:
            assert time.monotonic() < deadline
        assert record.sequence == 1
    assert {error.code() for error in errors} & {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}


def test_a_header_whose_name_is_no_text_costs_the_headers_and_not_the_reader(cluster: FaultyCluster) -> None:
    """So often that Python specialises the call: what the client leaves behind must not come out later."""
    for sequence in range(40):
        record = record_of(TurnStartEvent(), sequence)
        value = frame_single_object(record.fingerprint, record.body)
        cluster.produce(TURNS, value, b"\xff\xfe" if sequence % 2 else b"fine")
    with reader(cluster) as r:
        assert [record.headers for record in r] == [[("fine", b"x")], []] * 20
        assert r.undecodable == Counter(headers=20)


def poll_until(reader: Reader, *, reachable: bool) -> None:
    deadline = time.monotonic() + SOON
    while (reader.unreachable is None) is not reachable:
        assert time.monotonic() < deadline
        assert reader.poll(0.05) is None


def test_the_broker_is_said_to_be_out_of_reach_until_it_gives_a_sign_of_life(cluster: FaultyCluster) -> None:
    produce(cluster, 0)
    with reader(cluster, follow=True, refresh=0.05) as r:
        assert next(r).sequence == 0
        poll_until(r, reachable=True)
        cluster.down()
        poll_until(r, reachable=False)
        assert r.unreachable
        cluster.up()
        poll_until(r, reachable=True)


# -- bounds -------------------------------------------------------------------------------------------------


def partitions(cluster: FaultyCluster, **options: Any) -> Partitions:
    config = {"fetch.wait.max.ms": 20, "logger": QUIET}
    return Partitions(cluster.bootstrap_servers, config, wanted=[TURNS], timeout=SOON, **options)


def offsets(of: Partitions) -> list[int]:
    """The offsets of all messages to the ends."""
    found: list[int] = []
    while not of.finished:
        found += [message.offset() for message in of.fetch(0.1)]
    return found


def test_partitions_say_where_they_begin_end_and_are(cluster: FaultyCluster) -> None:
    produce(cluster, 0, 1, 2)
    with contextlib.closing(partitions(cluster)) as p:
        assert p.topics == {TURNS}
        assert p.starts == p.log_starts == p.positions == {(TURNS, 0): 0, (TURNS, 1): 0}
        assert p.ends == {(TURNS, 0): 3, (TURNS, 1): 0}
        assert (p.unfinished, p.at_end((TURNS, 0)), p.at_end((TURNS, 1))) == (1, False, True)
        assert offsets(p) == [0, 1, 2]
        assert p.positions == p.ends
        assert (p.unfinished, p.skipped) == (0, 0)


def test_reading_can_begin_anywhere_and_with_some_partitions_alone(cluster: FaultyCluster) -> None:
    produce(cluster, 0, 1, 2)
    with contextlib.closing(partitions(cluster, starts={(TURNS, 0): 1, ("other", 0): 5})) as p:
        assert p.starts == {(TURNS, 0): 1, (TURNS, 1): 0}
        assert offsets(p) == [1, 2]
    with contextlib.closing(partitions(cluster, only=[(TURNS, 1)])) as p:
        assert p.finished
        assert p.starts == {(TURNS, 1): 0}
    with contextlib.closing(partitions(cluster, only=[(TURNS, 0)])) as p:
        assert offsets(p) == [0, 1, 2]


def test_reading_goes_on_to_new_ends_when_it_is_asked_to(cluster: FaultyCluster) -> None:
    produce(cluster, 0, 1)
    with contextlib.closing(partitions(cluster)) as p:
        produce(cluster, 2)
        assert offsets(p) == [0, 1]
        p.extend()
        assert p.ends == {(TURNS, 0): 3, (TURNS, 1): 0}
        assert offsets(p) == [2]
        p.extend()
        assert p.finished


def test_reading_that_is_not_done_yet_goes_on_to_new_ends_too(cluster: FaultyCluster) -> None:
    produce(cluster, 0, 1)
    with contextlib.closing(partitions(cluster)) as p:
        produce(cluster, 2)
        p.extend()
        assert offsets(p) == [0, 1, 2]


def test_an_extension_takes_in_topics_that_are_new(cluster: FaultyCluster) -> None:
    config = {"fetch.wait.max.ms": 20, "logger": QUIET}
    with contextlib.closing(
        Partitions(cluster.bootstrap_servers, config, wanted=[TURNS, "audit.turn-end"], timeout=SOON)
    ) as p:
        assert p.finished
        cluster.create(["audit.turn-end"], 1)
        record = record_of(TurnStartEvent(), 0)
        cluster.produce("audit.turn-end", frame_single_object(record.fingerprint, record.body), b"x")
        p.extend()
        assert offsets(p) == [0]
        assert p.topics == {TURNS, "audit.turn-end"}


def test_what_is_fetched_of_a_paused_partition_comes_once_and_when_it_is_resumed(
    cluster: FaultyCluster,
) -> None:
    produce(cluster, *range(300))
    place = (TURNS, 0)
    with contextlib.closing(partitions(cluster)) as p:
        p.batch = 20
        found: list[int] = []
        while not p.finished:
            found += [message.offset() for message in p.fetch(0.1)]
            p.pause([place, ("other", 0)])
            assert p.fetch(0) == []
            p.resume([place, ("other", 0)])
        p.pause([place])
        p.resume([place])
    assert found == list(range(300))


def test_a_partition_that_is_followed_is_at_its_end_as_far_as_the_broker_said(cluster: FaultyCluster) -> None:
    place = (TURNS, 0)
    produce(cluster, 0, 1)
    with contextlib.closing(partitions(cluster, follow=True)) as p:
        assert not p.at_end(place)
        assert p.at_end((TURNS, 1)), "as the ends at the beginning say"
        deadline = time.monotonic() + SOON
        while not p.at_end(place):
            assert time.monotonic() < deadline
            p.fetch(0.05)
        assert p.positions[place] == 2


# -- errors that the mock cluster does not make -------------------------------------------------------------


class Fetched:
    """What is asked of the client's Message, which cannot be constructed in its older versions."""

    def __init__(self, topic: str | None, offset: int, error: KafkaError | None = None) -> None:
        self.topic = lambda: topic
        self.partition = lambda: 0
        self.offset = lambda: offset
        self.error = lambda: error
        self.timestamp = lambda: (TIMESTAMP_NOT_AVAILABLE, 0)
        self.key = self.value = self.headers = lambda: None

    def __len__(self) -> int:
        return 0


class Given:
    """Partitions that are given what the client could give."""

    def __init__(self, cluster: FaultyCluster, *, follow: bool) -> None:
        self.undecodable: Counter[str] = Counter()
        self.partitions = Partitions(
            cluster.bootstrap_servers,
            {"logger": QUIET},
            wanted=[TURNS],
            must_exist=False,
            from_beginning=True,
            follow=follow,
            timeout=SOON,
            refresh=5.0,
            undecodable=self.undecodable,
        )

    def message(self, offset: int, error: KafkaError | None = None) -> list[int]:
        """Give a message of partition 0; the offsets that come out."""
        return self.batch(Fetched(TURNS, offset, error))

    def batch(self, *messages: Fetched) -> list[int]:
        vars(self.partitions)["_consume"] = lambda wait: [*messages]  # and what the broker has, stays there
        return [message.offset() for message in self.partitions.fetch(0)]

    def error(self, *arguments: Any, topic: str | None = TURNS, **options: Any) -> None:
        assert self.batch(Fetched(topic, 0, KafkaError(*arguments, **options))) == []


@pytest.fixture
def give(cluster: FaultyCluster) -> Iterator[Callable[..., Given]]:
    with contextlib.ExitStack() as closing:

        def make(*, follow: bool) -> Given:
            given = Given(cluster, follow=follow)
            closing.callback(given.partitions.close)
            return given

        yield make


def test_a_batch_that_the_client_cannot_read_is_counted_and_logged(
    cluster: FaultyCluster, give: Callable[..., Given], caplog: pytest.LogCaptureFixture
) -> None:
    given = give(follow=False)
    given.error(KafkaError._BAD_MSG, "failed CRC32C check")
    assert given.undecodable == Counter(corrupt=1)
    assert [r.getMessage() for r in caplog.records] == [
        f"{cluster.bootstrap_servers}: reading {TURNS}: failed CRC32C check"
    ]


def test_an_error_that_repeats_itself_is_logged_once(
    cluster: FaultyCluster, give: Callable[..., Given], caplog: pytest.LogCaptureFixture
) -> None:
    given = give(follow=True)
    for _ in range(3):
        given.error(KafkaError.LEADER_NOT_AVAILABLE, "no leader", topic=None)
    assert len(caplog.records) == 1


def test_a_topic_that_vanishes_is_an_error_unless_it_is_followed(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    give(follow=True).error(KafkaError._UNKNOWN_TOPIC, "gone")
    with pytest.raises(BrokerError, match=f"topic {TURNS} vanished while it was read: gone"):
        give(follow=False).error(KafkaError._UNKNOWN_TOPIC, "gone")


def test_a_fatal_error_ends_also_a_reader_that_follows(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    with pytest.raises(BrokerError, match="the client cannot go on: fenced"):
        give(follow=True).error(KafkaError._FENCED, "fenced", fatal=True)


def test_offsets_without_messages_at_the_end_do_not_keep_a_partition_open(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    """A transaction's markers, and what compaction took away, have offsets and are no messages."""
    produce(cluster, 0, 1, 2)
    given = give(follow=False)
    end = KafkaError(KafkaError._PARTITION_EOF)
    assert given.message(1) == [1]
    assert given.message(2, error=end) == []
    too_early = given.partitions.finished
    assert not too_early, "a replica that lags behind ends earlier"
    assert given.message(3, error=end) == []
    assert given.partitions.finished
    assert given.message(3) == [], "was on its way already"


def test_an_error_beside_messages_is_raised_when_they_were_handed_out(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    produce(cluster, 0, 1, 2)
    given = give(follow=False)
    refused = KafkaError(FORBIDDEN, "refused")
    assert given.batch(Fetched(TURNS, 0), Fetched(TURNS, 0, refused), Fetched(TURNS, 1)) == [0, 1]
    for _ in range(2):  # and what comes beside it again is kept too
        with pytest.raises(BrokerError, match="may not be read"):
            given.batch(Fetched(TURNS, 2, refused))


def test_messages_that_came_before_are_not_handed_out_again(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    produce(cluster, 0, 1, 2)
    given = give(follow=True)
    assert given.batch(Fetched(TURNS, 0), Fetched(TURNS, 1)) == [0, 1]
    assert given.batch(Fetched(TURNS, 1)) == []
    assert given.batch(Fetched(TURNS, 1), Fetched(TURNS, 2)) == [2]


def test_a_message_that_comes_while_something_else_is_asked_is_kept(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    produce(cluster, 0)
    given = give(follow=True)
    client = given.partitions._client
    cluster.answer(LIST_OFFSETS, KafkaError.KAFKA_STORAGE_ERROR)
    deadline = time.monotonic() + SOON
    while not client.kept:
        assert time.monotonic() < deadline
        with pytest.raises(KafkaException):
            client.ask_offsets([(TURNS, 0)], OFFSET_END, 1.0)
        client.serve()
    assert [message.offset() for message in given.partitions.fetch(SOON)] == [0]


def test_a_message_beyond_the_end_finishes_the_partition_and_is_not_given(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    produce(cluster, 0, 1, 2)
    given = give(follow=False)
    assert given.message(5) == []
    assert given.partitions.finished


def test_ends_that_one_partition_refuses_are_asked_for_again(
    cluster: FaultyCluster, give: Callable[..., Given]
) -> None:
    given = give(follow=True)
    with pytest.raises(KafkaException, match="Unknown partition"):
        given.partitions._client.ask_offsets({(TURNS, 0), (TURNS, 99)}, OFFSET_END, 1.0)
