from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.events import ALL_TYPES
from auditwire.testing import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(prefix=None) as broker:
        yield broker


def producer(broker: EmbeddedBroker, **config: Any) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0, **config})


def partitions(broker: EmbeddedBroker) -> dict[str, int]:
    topics = producer(broker).list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_of(broker: EmbeddedBroker) -> int:
    assert broker._process is not None
    return broker._process.pid


def overfill(broker: EmbeddedBroker, topic: str) -> None:
    """Twice of what a partition keeps."""
    client = producer(broker)
    for _ in range(100):
        client.produce(topic, b"x" * 100_000, partition=0)
        client.flush(10)  # a batch each: the oldest are dropped by the batch


def test_the_audit_topics_are_there_from_the_start() -> None:
    with EmbeddedBroker() as broker:
        assert partitions(broker) == {f"audit.{name.replace('_', '-')}": 6 for name in ALL_TYPES}


def test_prefix_and_partitions_can_be_chosen() -> None:
    with EmbeddedBroker(prefix="trail", partitions=2) as broker:
        assert set(partitions(broker).items()) >= {("trail.turn-start", 2), ("trail.checkpoint", 2)}


def test_topics_can_be_made_later_and_again(shared: EmbeddedBroker) -> None:
    assert shared.create_topics(["one", "two"], partitions=3) == ["one", "two"]
    assert shared.create_topics(["two", "three"]) == ["two", "three"]
    assert shared.create_topics("four") == ["four"]
    found = partitions(shared)
    assert (found["one"], found["two"], found["three"], found["four"]) == (3, 3, 6, 6)


def test_the_audit_topics_of_another_prefix_can_be_made(shared: EmbeddedBroker) -> None:
    names = shared.create_topics(prefix="other")
    assert "other.turn-start" in names
    assert set(names) <= partitions(shared).keys()


@pytest.mark.parametrize("number", [-1, 0, 1001])
def test_an_impossible_number_of_partitions_is_refused(shared: EmbeddedBroker, number: int) -> None:
    with pytest.raises(ConfigurationError, match=r"partitions: .* is not between 1 and 1000"):
        shared.create_topics(["bad"], partitions=number)
    assert "bad" not in partitions(shared)


def test_a_producer_that_creates_no_topics_finds_none_that_was_not_made(shared: EmbeddedBroker) -> None:
    reports: list[str] = []
    client = producer(shared, **{"topic.metadata.propagation.max.ms": 200, "allow.auto.create.topics": False})
    client.produce("never.made", b"x", on_delivery=lambda error, _: reports.append(str(error)))
    client.flush(10)
    assert ["UNKNOWN_TOPIC_OR_PART" in report for report in reports] == [True]


def test_several_brokers_have_an_address_each() -> None:
    with EmbeddedBroker(brokers=3, prefix=None) as broker:
        assert len(set(broker.bootstrap_servers.split(","))) == 3
        assert len(producer(broker).list_topics(timeout=10).brokers) == 3


def test_dropped_records_are_counted_and_warned_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    broker = EmbeddedBroker(prefix=None).start()
    broker.create_topics(["big", "small"])
    assert broker.dropped == 0
    overfill(broker, "big")
    dropped = broker.dropped
    assert 40 < dropped < 60
    with pytest.warns(RuntimeWarning, match=rf"dropped the oldest records of big \({dropped}\)") as caught:
        broker.stop()
    assert caught[0].filename == __file__
    assert broker.dropped == dropped
    said = capfd.readouterr().err
    assert said.count("oldest records of topic big; use a real broker") == 1
    assert "small" not in said


def test_leaving_the_block_warns_at_the_block_of_the_caller() -> None:
    with pytest.warns(RuntimeWarning) as caught, EmbeddedBroker(prefix=None) as broker:  # noqa: PT031 - one act
        broker.create_topics(["big"])
        overfill(broker, "big")
    assert caught[0].filename == __file__


def test_a_stopped_broker_can_be_started_again_and_has_forgotten_all() -> None:
    broker = EmbeddedBroker(prefix=None)
    with broker:
        broker.create_topics(["one"])
    assert not broker.running
    with broker:
        assert partitions(broker) == {}


def test_start_and_stop_may_be_called_twice() -> None:
    broker = EmbeddedBroker(prefix=None).start()
    address = broker.bootstrap_servers
    assert broker.start().bootstrap_servers == address
    broker.stop()
    broker.stop()
    assert repr(broker) == "<EmbeddedBroker stopped>"


def test_what_needs_a_running_broker_says_so() -> None:
    broker = EmbeddedBroker()
    for call in (lambda: broker.bootstrap_servers, broker.create_topics):
        with pytest.raises(AuditwireError, match="is not running: call start"):
            call()
    assert broker.dropped == 0


@pytest.mark.parametrize(
    "options", [{"partitions": 0}, {"partitions": 1001}, {"brokers": 0}, {"brokers": 11}]
)
def test_impossible_numbers_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="is not between 1 and") as caught:
        EmbeddedBroker(**options)  # type: ignore[arg-type]
    assert caught.value.key in options


def test_a_broker_whose_process_died_says_so_and_can_be_stopped() -> None:
    broker = EmbeddedBroker(prefix=None).start()
    assert repr(broker) == f"<EmbeddedBroker {broker.bootstrap_servers}>"
    os.kill(pid_of(broker), signal.SIGKILL)
    until(lambda: not broker.running)
    with pytest.raises(AuditwireError, match=r"has died|ended with status -9"):
        broker.create_topics(["one"])
    broker.stop()


def test_a_process_that_cannot_start_is_reported_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    broker = EmbeddedBroker()
    with pytest.raises(AuditwireError, match="ended with status 1"):
        broker.start()
    assert not broker.running


def test_the_process_says_itself_why_it_cannot_serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho '{"error": "no more sockets"}'\n""")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(AuditwireError, match="the embedded broker: no more sockets"):
        EmbeddedBroker().start()


def test_a_process_that_says_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = EmbeddedBroker(prefix=None).start()
    pid = pid_of(broker)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("auditwire.testing.broker._STOP_SECONDS", 0.2)
    with pytest.raises(AuditwireError, match="ended with status -9"):
        broker.create_topics(["one"])
    broker.stop()
    assert not alive(pid)


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = EmbeddedBroker(prefix=None).start()
    pid = pid_of(broker)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("auditwire.testing.broker._STOP_SECONDS", 0.2)
    broker._end()
    assert not alive(pid)
    broker._end()


PARENT = """
    import os, sys, time
    from auditwire.testing import EmbeddedBroker

    broker = EmbeddedBroker(prefix=None).start()
    {before}
    print(broker._process.pid, flush=True)
    {then}
"""


def parent(then: str, before: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(PARENT).format(then=then, before=before)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "before",
    ["", "os.fork() or (time.sleep(20), os._exit(0))"],
    ids=["", "though a forked child holds the pipe"],
)
def test_the_broker_ends_when_its_parent_is_killed(before: str) -> None:
    process = parent("time.sleep(60)", before)
    assert process.stdout is not None
    broker = int(process.stdout.readline())
    assert alive(broker)
    process.kill()
    process.wait()
    until(lambda: not alive(broker))
    process.stdout.close()


def test_the_broker_ends_with_an_interpreter_that_never_stopped_it() -> None:
    process = parent("pass")
    assert process.stdout is not None
    broker = int(process.stdout.readline())
    assert process.wait(20) == 0
    until(lambda: not alive(broker))
    process.stdout.close()


def test_a_forked_child_leaves_its_parents_broker_alone() -> None:
    then = (
        "child = os.fork() or (broker.stop(), os._exit(0)); os.waitpid(child, 0); "
        "print(broker.create_topics(['still there']))"
    )
    process = parent(then)
    out, _ = process.communicate(timeout=30)
    assert out.splitlines()[1:] == ["['still there']"]


def test_ctrl_c_in_the_terminal_is_left_to_the_parent() -> None:
    with EmbeddedBroker(prefix=None) as broker:
        assert os.getpgid(pid_of(broker)) != os.getpgrp()
