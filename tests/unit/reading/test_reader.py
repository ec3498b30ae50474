from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from mock_topics import QUIET, SOON, Topics, eventually, sequences, value_of

from auditwire.errors import BrokerError, ConfigurationError, DecodingError
from auditwire.events import ALL_TYPES, TurnEndEvent, TurnStartEvent
from auditwire.reading import Message, Reader
from auditwire.testing import EmbeddedBroker
from auditwire.verification import check_streams
from auditwire.wire import frame_confluent, frame_single_object, schema_for
from rig import certs
from support.stream_builder import STREAM, StreamBuilder, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


FINGERPRINT = schema_for("turn_start").fingerprint


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(prefix=None) as broker:
        yield broker


@pytest.fixture
def topics(server: EmbeddedBroker, request: pytest.FixtureRequest) -> Topics:
    return Topics(server, f"t{abs(hash(request.node.name))}")


# -- reading to the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["single-object", "confluent"])
def test_every_type_comes_back_as_it_was_written_in_either_framing(topics: Topics, framing: str) -> None:
    topics.make(*ALL_TYPES, partitions=1)
    written = [
        record_of(cls(session_id="s1", metadata={"n": n}), n, framing=framing)
        for n, cls in enumerate(ALL_TYPES.values())
    ]
    topics.write(*written)
    read = topics.read()
    assert len(read) == len(ALL_TYPES)
    for before, after in zip(written, read, strict=True):
        assert (after.event, after.digest, after.body) == (before.event, before.digest, before.body)
        assert (after.stream_id, after.sequence, after.framing) == (STREAM, before.sequence, framing)
        assert (after.key, after.headers, after.timestamp_ms) == (
            before.key,
            before.headers,
            before.timestamp_ms,
        )
        assert (after.topic, after.partition, after.offset) == (
            topics.name(before.event.event_type),
            0,
            0,
        )
        assert after.type_key == before.type_key


def test_a_stream_that_was_read_back_is_complete(topics: Topics) -> None:
    stream = StreamBuilder().turns(20).checkpoint().turns(5).close()
    topics.make("turn_start", "checkpoint", partitions=3)
    topics.write(*stream.records)
    (report,) = check_streams(topics.read())
    assert (report.verdict, report.records) == ("complete", stream.next)


def test_a_reader_stops_at_the_ends_that_there_were_when_it_was_made(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0), value_of(1))
    with topics.reader() as reader:
        topics.produce("turn_start", value_of(2))
        at_first = reader.finished
        assert not at_first
        assert sequences(list(reader)) == [0, 1]
        assert reader.finished
        assert reader.poll(SOON) is None
        assert reader.topics == [topics.name("turn_start")]


def test_where_there_is_no_topic_there_is_nothing_to_read(topics: Topics) -> None:
    with topics.reader() as reader:
        assert reader.finished
        assert list(reader) == []
        assert reader.topics == []


def test_a_topic_without_messages_is_read_at_once(topics: Topics) -> None:
    topics.make("turn_start", partitions=6)
    with topics.reader() as reader:
        assert reader.finished
        assert reader.topics == [topics.name("turn_start")]


def test_more_records_than_one_fetch_holds_come_in_the_order_of_their_partition(topics: Topics) -> None:
    topics.make("turn_start")
    topics.produce("turn_start", *(value_of(n, preview="x" * 200) for n in range(3_000)))
    with topics.reader() as reader:
        assert [record.sequence for record in reader] == list(range(3_000))


def test_a_reader_can_be_closed_twice_and_gives_nothing_afterwards(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0))
    reader = topics.reader()
    reader.close()
    reader.close()
    assert reader.finished
    assert list(reader) == []
    assert reader.poll() is None


def test_poll_without_time_returns_at_once_when_nothing_is_there(topics: Topics) -> None:
    topics.make("turn_start")
    with topics.reader(follow=True) as reader:
        began = time.monotonic()
        assert reader.poll(0) is None
        assert time.monotonic() - began < 1.0


# -- what is asked for --------------------------------------------------------------------------------------


def test_only_the_wanted_types_are_read(topics: Topics) -> None:
    topics.make("turn_start", "turn_end")
    topics.write(record_of(TurnStartEvent(), 0))
    topics.write(record_of(TurnEndEvent(), 1))
    with topics.reader(types={"turn_end"}) as reader:
        assert reader.topics == [topics.name("turn_end")]
        assert [record.event.event_type for record in reader] == ["turn_end"]
    assert sequences(topics.read(types="turn_start")) == [0]


def test_only_the_wanted_session_is_yielded(topics: Topics) -> None:
    topics.make("turn_start")
    topics.produce("turn_start", value_of(0, "a"), value_of(1, "b"), value_of(2), value_of(3, "a"))
    assert sequences(topics.read(session_id="a")) == [0, 3]


def test_topics_that_the_collector_was_given_are_read_in_place_of_the_prefixs(topics: Topics) -> None:
    topics.make("turn_start", "turn_end", "my_turns")
    topics.produce("turn_start", value_of(0))
    topics.produce("my_turns", value_of(1))
    topics.write(record_of(TurnEndEvent(), 2))
    assert sequences(topics.read(topics={"turn_start": topics.name("my_turns")})) == [1, 2]


def test_topics_given_by_name_are_read_and_no_others(topics: Topics) -> None:
    topics.make("turn_start", "my_turns")
    topics.produce("turn_start", value_of(0))
    topics.produce("my_turns", value_of(1))
    assert sequences(topics.read(topics=[topics.name("my_turns")])) == [1]
    assert sequences(topics.read(topics=topics.name("turn_start"))) == [0]
    assert topics.read(topics=[topics.name("my_turns")], types=["turn_end"]) == []


@pytest.mark.parametrize("frame", [partial(frame_confluent, 7), partial(frame_single_object, FINGERPRINT)])
def test_a_record_on_the_topic_of_another_type_is_handed_out_as_what_it_is_and_counted(
    topics: Topics, frame: Callable[[bytes], bytes]
) -> None:
    moved, kept = record_of(TurnStartEvent(session_id="s1"), 0), record_of(TurnEndEvent(), 1)
    topics.make("turn_end").produce("turn_end", frame(moved.body))
    topics.write(kept)
    for chosen in ({}, {"session_id": ["s1"]}):  # all, and by the way on which filters look at records
        with topics.reader(**chosen) as reader:
            first, *others = reader
            assert (first.event, first.topic) == (moved.event, topics.name("turn_end"))
            assert (first.stream_id, first.sequence, first.misplaced) == (STREAM, 0, True)
            assert [record.misplaced for record in others] == ([] if chosen else [False])
            assert (reader.misplaced, reader.undecodable) == (1, Counter())
    with topics.reader() as reader:
        read = [reader.poll(), reader.poll()]
        assert [record is not None and record.misplaced for record in read] == [True, False]
        assert reader.misplaced == 1
    with topics.reader(types=["turn_end"]) as reader:  # what is not handed out is not counted
        assert sequences(list(reader)) == [1]
        assert reader.misplaced == 0


def test_nothing_is_misplaced_on_a_topic_that_several_types_share(topics: Topics) -> None:
    topics.make("all")
    shared = {"turn_start": topics.name("all"), "turn_end": topics.name("all")}
    records = [record_of(TurnStartEvent(), 0), record_of(TurnEndEvent(), 1)]
    topics.produce("all", *(frame_confluent(7, record.body) for record in records))
    for types in (None, ["turn_start", "turn_end"]):
        with topics.reader(topics=shared, types=types) as reader:
            assert sequences(list(reader)) == [0, 1]
            assert (reader.misplaced, reader.undecodable) == (0, Counter())


@pytest.mark.parametrize(
    ("options", "key", "words"),
    [
        ({"types": ["turn_strat"]}, "types", "turn_strat is no event type; known are agent_switch"),
        ({"types": []}, "types", "nothing is no event type"),
        ({"topics": []}, "topics", "name a topic"),
        ({"topics": {"turn_strat": "x"}}, "topics", "turn_strat is no event type"),
        ({"from_beginning": False}, "from_beginning", "reads nothing unless follow"),
        ({"config": {"enable.auto.commit": True}}, "enable.auto.commit", "commits nothing"),
        ({"config": {"no.such.property": 1}}, "no.such.property", "No such configuration property"),
        ({"config": {"fetch.wait.max.ms": "soon"}}, "fetch.wait.max.ms", "Invalid value"),
        (
            {"config": {"ssl.ca.location": "/no/file", "security.protocol": "ssl"}},
            "ssl.ca.location",
            "failed",
        ),
        ({"config": {"oauth_cb": "x"}}, "oauth_cb", "callable"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    topics: Topics, options: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        topics.reader(**options)
    assert caught.value.key == key


# -- following ----------------------------------------------------------------------------------------------


def test_a_reader_that_follows_gives_what_comes_after_what_is_there(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0))
    with topics.reader(follow=True) as reader:
        assert sequences(eventually(reader, lambda got: len(got) == 1)) == [0]
        topics.produce("turn_start", value_of(1))
        assert sequences(eventually(reader, lambda got: len(got) == 1)) == [1]
        assert not reader.finished


def test_a_reader_can_begin_at_the_end(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0), value_of(1))
    with topics.reader(follow=True, from_beginning=False) as reader:
        topics.produce("turn_start", value_of(2))
        assert sequences(eventually(reader, lambda got: len(got) == 1)) == [2]


def test_a_topic_that_appears_later_is_read_from_its_beginning(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0))
    with topics.reader(follow=True, from_beginning=False, refresh=0.05) as reader:
        assert reader.topics == [topics.name("turn_start")]
        topics.make("turn_end").write(record_of(TurnEndEvent(), 1))
        assert sequences(eventually(reader, lambda got: len(got) == 1)) == [1]
        assert reader.topics == [topics.name("turn_end"), topics.name("turn_start")]


def test_a_topic_given_by_name_may_come_later_to_a_reader_that_follows(topics: Topics) -> None:
    with topics.reader(follow=True, refresh=0.05, topics=[topics.name("turn_start")]) as reader:
        assert reader.topics == []
        topics.make("turn_start").produce("turn_start", value_of(0))
        assert sequences(eventually(reader, lambda got: len(got) == 1)) == [0]


def test_stop_from_another_thread_ends_the_iteration(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0))
    with topics.reader(follow=True) as reader:
        assert next(reader).sequence == 0
        thread = threading.Timer(0.1, reader.stop)
        thread.start()
        began = time.monotonic()
        assert list(reader) == []
        assert time.monotonic() - began < SOON
        thread.join()
        assert reader.finished


# -- what is no record --------------------------------------------------------------------------------------


def test_messages_that_are_no_records_are_counted_by_reason_and_do_not_stop_the_reader(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    good = value_of(0)
    topics.make("turn_start").produce(
        "turn_start", None, b"", b'{"json":1}', good[:30], good + b"!", b"\xc3\x01" + bytes(8), good
    )
    got: list[tuple[Message, str]] = []
    with topics.reader(on_undecodable=lambda m, e: got.append((m, e.reason))) as reader:
        assert sequences(list(reader)) == [0]
        assert reader.undecodable == Counter(
            tombstone=1, foreign=2, truncated=1, trailing_bytes=1, unknown_fingerprint=1
        )
    assert [(message.offset, reason) for message, reason in got] == [
        (0, "tombstone"),
        (1, "foreign"),
        (2, "foreign"),
        (3, "truncated"),
        (4, "trailing_bytes"),
        (5, "unknown_fingerprint"),
    ]
    assert got[2][0].value == b'{"json":1}'
    assert (got[0][0].topic, got[0][0].value) == (topics.name("turn_start"), None)
    counts = "foreign 2, tombstone 1, truncated 1, trailing_bytes 1, unknown_fingerprint 1"
    logged = [record.getMessage() for record in caplog.records if record.name == "auditwire"]
    assert logged == [f"6 messages could not be decoded: {counts}"]


def test_what_on_undecodable_raises_comes_out_and_the_rest_can_still_be_read(topics: Topics) -> None:
    topics.make("turn_start").produce("turn_start", value_of(0), b"?", value_of(1))

    def refuse(_message: Message, error: DecodingError) -> None:
        raise error

    with topics.reader(on_undecodable=refuse) as reader:
        assert next(reader).sequence == 0
        with pytest.raises(DecodingError):
            next(reader)
        assert sequences(list(reader)) == [1]


def test_damaged_and_random_bytes_are_all_accounted_for(topics: Topics) -> None:
    rng = random.Random(7)
    good = value_of(0, "s", "text")
    values = [rng.randbytes(rng.randrange(60)) for _ in range(200)]
    for _ in range(300):
        damaged = bytearray(good)
        damaged[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        values.append(bytes(damaged))
    topics.make("turn_start").produce("turn_start", *values)
    with topics.reader() as reader:
        assert len(list(reader)) + reader.duplicates + sum(reader.undecodable.values()) == 500
        assert reader.undecodable["foreign"] > 100


def test_a_header_without_value_and_a_message_without_key_are_read(topics: Topics) -> None:
    topics.make("turn_start")
    producer = Producer({"bootstrap.servers": topics.bootstrap}, logger=QUIET)
    producer.produce(topics.name("turn_start"), value_of(0), headers=[("a", None), ("a", b"\xff")])
    assert producer.flush(SOON) == 0
    (record,) = topics.read()
    assert (record.key, record.headers) == (None, [("a", None), ("a", b"\xff")])
    out = record.to_dict()
    assert json.loads(json.dumps(out)) == out
    assert (out["key"], out["headers"]) == (None, [["a", None], ["a", r"\xff"]])
    assert out["event"] == record.event.to_dict()


# -- the broker ---------------------------------------------------------------------------------------------


def test_an_unreachable_broker_is_an_error_with_its_address_and_the_clients_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    with pytest.raises(
        BrokerError, match=r"^127\.0\.0\.1:1: could not list the topics: .*Connection refused"
    ):
        Reader("127.0.0.1:1", timeout=0.3)
    assert time.monotonic() - began < SOON
    assert capfd.readouterr().err == "", "librdkafka's lines go to a logger"


def test_a_broker_that_cannot_be_trusted_is_not_waited_for(tmp_path: Path) -> None:
    secrets = certs.make(tmp_path / "certs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(secrets / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the listener's end
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = {"security.protocol": "ssl", "ssl.ca.location": str(secrets / "other-ca.pem")}
        began = time.monotonic()
        with pytest.raises(BrokerError, match="certificate verify failed"):
            Reader(address, timeout=60, config=config)
        assert time.monotonic() - began < SOON
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(SOON)


def test_a_topic_given_by_name_has_to_exist(topics: Topics) -> None:
    topics.make("turn_start")
    with pytest.raises(BrokerError, match=f"topic {topics.prefix}.nowhere does not exist"):
        topics.reader(topics=[topics.name("turn_start"), topics.name("nowhere")])


def test_the_kafka_client_is_loaded_when_a_reader_is_made_and_not_before() -> None:
    script = "import sys, auditwire.reading; print('confluent_kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
