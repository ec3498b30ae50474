"""The broker's process, run in this one: its commands, its warnings and its end."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaException, Producer

from auditwire.testing import _mock_cluster
from auditwire.testing._mock_cluster import MockCluster, MockClusterError, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


class Served:
    """`serve` in a thread, with the ends of its pipes."""

    def __init__(self, look: float = 0.02) -> None:
        self._commands, self._to = _pipe()
        self._from, self._answers = _pipe()
        self.errors = Lines()
        self.thread = threading.Thread(
            target=serve, args=(1, self._commands, self._answers, self.errors, look), daemon=True
        )
        self.thread.start()
        self.address: str = self.answer()["bootstrap_servers"]

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._from.readline())
        return answer

    def ask(self, **command: Any) -> dict[str, Any]:
        self._to.write(json.dumps(command) + "\n")
        self._to.flush()
        return self.answer()

    def end(self) -> None:
        self._to.close()
        self.thread.join(20)
        for end in (self._commands, self._from, self._answers):
            end.close()


class Lines(io.StringIO):
    """What is written, and an event set by the first line."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def flush(self) -> None:
        self.written.set()


def _pipe() -> tuple[IO[str], IO[str]]:
    read, write = os.pipe()
    return os.fdopen(read, encoding="utf-8"), os.fdopen(write, "w", encoding="utf-8")


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.end()
    assert not served.thread.is_alive()


def fill(address: str, topic: str, megabytes: int) -> None:
    client = Producer({"bootstrap.servers": address, "log_level": 0})
    for _ in range(megabytes * 2):
        client.produce(topic, b"x" * 500_000, partition=0)
        client.flush(10)


def test_topics_are_made_once(served: Served) -> None:
    assert served.ask(create=["one", "two"], partitions=2) == {"created": 2}
    assert served.ask(create=["one", "three"], partitions=2) == {"created": 1}


def test_an_error_is_an_answer_like_others(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(cluster: MockCluster, topics: list[str], partitions: int) -> int:
        raise MockClusterError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(MockCluster, "create", refuse)
        assert served.ask(create=["one"], partitions=1) == {"error": "refused"}
    assert served.ask(create=["one"], partitions=1) == {"created": 1}


def test_a_topic_that_the_cluster_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MockCluster(1)
    with monkeypatch.context() as patch:
        patch.setattr(cluster._library, "rd_kafka_mock_topic_create", lambda *_: 17)
        with pytest.raises(MockClusterError, match="'bad' was refused with error 17"):
            cluster.create(["bad"], 1)
    cluster.close()


def test_nothing_is_dropped_without_topics_and_from_topics_that_have_room(served: Served) -> None:
    assert served.ask(dropped=True) == {"dropped": {}}
    served.ask(create=["one"], partitions=1)
    fill(served.address, "one", 2)
    assert served.ask(dropped=True) == {"dropped": {}}


def test_dropped_records_are_counted_and_said_once_without_being_asked(served: Served) -> None:
    served.ask(create=["one"], partitions=1)
    fill(served.address, "one", 12)
    assert served.errors.written.wait(20)
    counted = served.ask(dropped=True)["dropped"]["one"]
    assert 10 <= counted <= 20
    fill(served.address, "one", 2)
    assert served.ask(dropped=True)["dropped"]["one"] == counted + 4
    assert served.errors.getvalue().count("has dropped the oldest records of topic one") == 1


def test_what_was_dropped_since_the_last_look_is_said_at_the_end() -> None:
    served = Served(look=60)
    served.ask(create=["one"], partitions=1)
    fill(served.address, "one", 12)
    served.end()
    assert "topic one" in served.errors.getvalue()


def test_a_cluster_that_is_too_busy_to_be_looked_at_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    looked = threading.Event()

    def dropped(_: MockCluster) -> dict[str, int]:
        seen.append("look")
        if len(seen) == 1:
            raise KafkaException("busy")
        looked.set()
        return {}

    monkeypatch.setattr(MockCluster, "dropped", dropped)
    served = Served()
    assert looked.wait(20)
    served.end()
    assert served.errors.getvalue() == ""


def test_it_ends_when_it_has_another_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    monkeypatch.setattr(os, "getppid", lambda: -1)
    served.thread.join(20)
    assert not served.thread.is_alive()
    served.end()


@pytest.mark.parametrize(
    ("function", "message"),
    [("rd_kafka_new", "made no client"), ("rd_kafka_mock_cluster_new", "made no mock cluster of 1 brokers")],
)
def test_what_librdkafka_cannot_make_is_named(
    monkeypatch: pytest.MonkeyPatch, function: str, message: str
) -> None:
    # both happen when the machine is out of memory or file descriptors, and not at will
    library = _mock_cluster._library()
    setattr(library, function, lambda *_: None)
    monkeypatch.setattr(_mock_cluster, "_library", lambda: library)
    with pytest.raises(MockClusterError, match=message):
        MockCluster(1)


def test_a_client_without_the_mock_interface_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import _ctypes  # any extension module that has no librdkafka behind it

    monkeypatch.setattr(_mock_cluster, "_EXTENSION", _ctypes.__file__)
    with pytest.raises(MockClusterError, match="install confluent-kafka from its wheel"):
        MockCluster(1)


class Exited(Exception):  # noqa: N818 - stands for the end of the process
    pass


def run_main(monkeypatch: pytest.MonkeyPatch, brokers: str, stdout: IO[str]) -> None:
    def leave(status: int) -> None:
        assert status == 0
        raise Exited

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["_mock_cluster", brokers])
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"create": ["one"], "partitions": 1}\n'))
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(Exited):
        _mock_cluster.main()


def test_the_process_answers_on_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    run_main(monkeypatch, "2", out)
    address, created = map(json.loads, out.getvalue().splitlines())
    assert address["bootstrap_servers"].count(":") == 2
    assert created == {"created": 1}


def test_the_process_reports_why_it_could_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MockClusterError("no")

    monkeypatch.setattr(_mock_cluster, "serve", fail)
    out = io.StringIO()
    run_main(monkeypatch, "1", out)
    assert json.loads(out.getvalue()) == {"error": "no"}


def test_the_process_ends_in_silence_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    run_main(monkeypatch, "1", Gone())
