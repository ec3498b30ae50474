"""``auditwire forward`` and ``auditwire journal drain`` against the embedded broker."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, JournalCollector
from auditwire.cli import cluster, forwarding
from auditwire.cli.app import run
from auditwire.delivery import forwarder
from auditwire.events import ErrorEvent
from auditwire.journal.filesystem import REAL
from auditwire.journal.inspection import look
from auditwire.journal.layout import JournalPath
from auditwire.journal.target import Target
from auditwire.reading import Reader
from support.journal_files import JournalFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Capsys = pytest.CaptureFixture[str]
MAIN = "from auditwire.cli import main; main()"
NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOURNAL", "METRICS", "HEALTH_FILE", "SERVICE", "CREATE_TOPICS", "JOURNAL_BYTES"):
        monkeypatch.delenv(f"AUDITWIRE_{name}", raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return JournalFiles(tmp_path / "journal")


def streams(path: Path) -> list[str]:
    return JournalPath(REAL, str(path)).streams()


def messages(broker: EmbeddedBroker, prefix: str) -> list[str]:
    """What the errors on the topics say, in order."""
    with Reader(broker.bootstrap_servers, prefix=prefix, types=["error"], follow=False) as reader:
        return sorted(record.event.to_dict()["error_message"] for record in reader)


def target(broker: EmbeddedBroker, prefix: str) -> Target:
    return Target.of(broker.bootstrap_servers, prefix)


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


# -- forward --once -----------------------------------------------------------------------------------------


def test_what_a_dead_process_left_is_delivered_and_nothing_is_left(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    first = files.stream(target=target(audit_broker, trail)).errors(30).end()
    second = files.stream(target=Target("", trail)).errors(20).end()
    arguments = [
        "forward",
        str(files.path),
        "-b",
        audit_broker.bootstrap_servers,
        "--prefix",
        trail,
        "--once",
    ]
    assert run(arguments) == 0
    assert messages(audit_broker, trail) == sorted(f"number {n}" for n in [*range(30), *range(20)])
    assert streams(files.path) == []
    said = capsys.readouterr().err
    for stream in (first, second):
        assert f"stream {stream.stream_id}" in said


def test_what_a_living_process_has_written_is_delivered(
    tmp_path: Path, audit_broker: EmbeddedBroker, trail: str
) -> None:
    with AuditEmitter(JournalCollector(tmp_path, prefix=trail)) as audit:
        for number in range(50):
            audit.emit_error("E", f"number {number}")
        arguments = ["forward", str(tmp_path), "-b", audit_broker.bootstrap_servers, "--prefix", trail]
        assert run([*arguments, "--once"]) == 0
        assert len(messages(audit_broker, trail)) == 50
        assert look(JournalPath(REAL, str(tmp_path))).streams[0].pending_records == 0
    assert run([*arguments, "--once"]) == 0
    assert streams(tmp_path) == [], "the closed stream is delivered to its end and removed"
    assert len(messages(audit_broker, trail)) == 50


def test_streams_for_others_are_left_alone_unless_any_is_wanted(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str
) -> None:
    other = files.stream(target=Target("elsewhere:9092", trail)).errors(5).end()
    arguments = [
        "forward",
        str(files.path),
        "-b",
        audit_broker.bootstrap_servers,
        "--prefix",
        trail,
        "--once",
    ]
    assert run(arguments) == 0, "it is somebody else's, and nothing of ours is left"
    assert streams(files.path) == [other.stream_id]
    assert messages(audit_broker, trail) == []
    assert run([*arguments, "--any-target"]) == 0
    assert len(messages(audit_broker, trail)) == 5
    assert streams(files.path) == []


def test_without_a_broker_it_ends_when_nothing_moves_and_says_what_is_left(
    files: JournalFiles, capsys: Capsys
) -> None:
    stream = files.stream(target=Target(NOBODY, "audit"), service="planner").errors(3).end()
    assert run(["forward", str(files.path), "-b", NOBODY, "--once", "--timeout", "0.5"]) == 3
    said = capsys.readouterr().err
    assert "auditwire: nothing could be delivered for 0.5 s\n" in said
    assert f"auditwire: left: 3 records of stream {stream.stream_id} (planner)\n" in said


def test_the_environment_says_what_the_options_say(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(3).end()
    monkeypatch.setenv("AUDITWIRE_JOURNAL", str(files.path))
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", audit_broker.bootstrap_servers)
    monkeypatch.setenv("AUDITWIRE_PREFIX", trail)
    monkeypatch.setenv("AUDITWIRE_JOURNAL_BYTES", "64MiB")
    monkeypatch.setenv("AUDITWIRE_CREATE_TOPICS", "no")
    assert run(["forward", "--once"]) == 0
    assert len(messages(audit_broker, trail)) == 3


# -- wrong settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "no broker is named"),
        (["-b", NOBODY, "--metrics", "nonsense"], "is no HOST:PORT"),
        (["-b", NOBODY, "--journal-bytes", "much"], "--journal-bytes: 'much' is not a number of bytes"),
        (["-b", NOBODY, "--journal-bytes", "-5"], "--journal-bytes"),
        (["-b", NOBODY, "--prefix", "a b"], "cannot begin a topic's name"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    files: JournalFiles, capsys: Capsys, options: list[str], complaint: str
) -> None:
    assert run(["forward", str(files.path), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert streams(files.path) == []


def test_a_property_that_librdkafka_refuses_leaves_no_stream_behind(
    files: JournalFiles, tmp_path: Path, capsys: Capsys
) -> None:
    config = tmp_path / "client.properties"
    config.write_text("acks=1\n")
    assert run(["forward", str(files.path), "-b", NOBODY, "--config", str(config)]) == 2
    config.write_text("no.such.property=1\n")
    assert run(["forward", str(files.path), "-b", NOBODY, "--config", str(config)]) == 2
    assert "no.such.property" in capsys.readouterr().err
    assert streams(files.path) == []


def test_a_path_that_is_a_file_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "file").write_text("")
    assert run(["forward", str(tmp_path / "file"), "-b", NOBODY]) == 2
    assert "cannot be a journal" in capsys.readouterr().err


# -- as a service -------------------------------------------------------------------------------------------


class Service:
    """``auditwire forward`` in a process of its own."""

    def __init__(self, path: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "forward", str(path), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("AUDITWIRE_")},
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                **environment,
            },
        )
        self.lines: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self.process.stderr or ():
            self.lines.append(line.rstrip("\n"))

    def said(self, text: str) -> bool:
        return any(text in line for line in list(self.lines))

    @property
    def url(self) -> str:
        wait_for(lambda: self.said("answering at "), "an address")
        (url,) = (match[1] for line in self.lines if (match := re.search(r"answering at (\S+)", line)))
        return url

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.status()

    def status(self) -> int:
        status = self.process.wait(60)
        self._listener.join(10)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join(10)
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture
def service(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str
) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(*options: str, broker: str = "", **environment: str) -> Service:
        address = broker or audit_broker.bootstrap_servers
        one = Service(files.path, "-b", address, "--prefix", trail, *options, **environment)
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()


def asked(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_everything_is_delivered(
    service: Callable[..., Service],
    files: JournalFiles,
    audit_broker: EmbeddedBroker,
    trail: str,
    number: signal.Signals,
) -> None:
    one = service("--metrics", "0")
    url = one.url
    with AuditEmitter(JournalCollector(files.path, prefix=trail)) as audit:
        for i in range(100):
            audit.emit_error("E", f"number {i}")
        audit.flush()
        # as soon as its stream is seen; what is there by then is delivered before the end
        wait_for(lambda: one.said("for its owner"), "the stream's delivery")
        assert one.end(number) == 0
    assert len(messages(audit_broker, trail)) == 100
    assert one.said("ending: what is there is delivered, for at most 60 s")
    with pytest.raises(urllib.error.URLError):
        asked(url)


def test_an_agent_that_goes_on_writing_does_not_keep_it_from_its_end(
    service: Callable[..., Service], files: JournalFiles, audit_broker: EmbeddedBroker, trail: str
) -> None:
    ended = threading.Event()

    def go_on(audit: AuditEmitter) -> None:
        while not ended.is_set():
            audit.emit_error("E", "again")
            time.sleep(0.0005)

    with AuditEmitter(JournalCollector(files.path, prefix=trail)) as audit:
        one = service("--timeout", "3600")
        writer = threading.Thread(target=go_on, args=(audit,))
        writer.start()
        try:
            wait_for(lambda: one.said("for its owner"), "the stream's delivery")
            assert one.end() in {0, 3}, "3 when something was written meanwhile"
        finally:
            ended.set()
            writer.join()
    assert len(messages(audit_broker, trail)) > 0


def test_it_is_asked_how_it_is(
    service: Callable[..., Service],
    files: JournalFiles,
    audit_broker: EmbeddedBroker,
    trail: str,
    tmp_path: Path,
) -> None:
    health_file = tmp_path / "health.json"
    files.stream(target=target(audit_broker, trail)).errors(10).end()
    one = service("--metrics", "127.0.0.1:0", "--health-file", str(health_file))
    url = one.url

    def health() -> dict[str, Any]:
        status, body = asked(f"{url}/health")
        assert status == 200
        told: dict[str, Any] = json.loads(body)
        return told

    wait_for(lambda: health()["adopted"] == 1, "the delivery of the orphan")
    told = health()
    assert (told["delivered"], told["pending_records"], told["state"]) == (10, 0, "ok")
    assert told["path"] == str(files.path)
    assert asked(f"{url}/live") == (200, b"live\n")
    status, page = asked(f"{url}/metrics")
    assert status == 200
    assert b"\nauditwire_events_delivered_total 10.0\n" in page
    assert b'auditwire_state{state="ok"} 1.0' in page
    wait_for(health_file.exists, "the health in a file")
    assert json.loads(health_file.read_text())["live"] is True
    assert health_file.stat().st_mode & 0o777 == 0o644
    assert one.end() == 0
    assert not health_file.exists(), "an old health must not look like one of now"


def test_what_cannot_be_delivered_is_left_on_disk_within_the_time(
    service: Callable[..., Service], files: JournalFiles, trail: str
) -> None:
    stream = files.stream(target=Target(NOBODY, trail)).errors(5).end()
    one = service("--timeout", "0.5", "--metrics", "0", broker=NOBODY)
    assert one.url
    wait_for(lambda: one.said(stream.stream_id), "the stream's adoption")
    assert one.end() == 3
    assert one.said(f"left: 5 records of stream {stream.stream_id} (support-bot)")


def test_a_second_signal_ends_it_at_once(
    service: Callable[..., Service], files: JournalFiles, trail: str
) -> None:
    stream = files.stream(target=Target(NOBODY, trail)).errors(5).end()
    one = service("--timeout", "3600", broker=NOBODY)
    wait_for(lambda: one.said(stream.stream_id), "the stream's adoption")
    one.process.terminate()
    wait_for(lambda: one.said("ending: what is there is delivered"), "the first signal's effect")
    assert one.end(signal.SIGINT) == 3


def test_systemd_hears_that_it_is_ready_alive_and_ending(
    service: Callable[..., Service], files: JournalFiles, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        one = service(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")

        def heard(wanted: str) -> str:
            while wanted not in (told := manager.recv(4096).decode()):
                continue
            return told

        assert manager.recv(4096).decode() == f"READY=1\nSTATUS=forwarding {files.path}"
        heard("WATCHDOG=1")
        assert "ok: 0 events delivered" in heard("STATUS=ok")
        one.process.terminate()
        assert heard("STOPPING=1") == "STOPPING=1\nSTATUS=delivering what is there"
        assert one.status() == 0


def test_two_forwarders_deliver_each_record_once(
    service: Callable[..., Service], files: JournalFiles, audit_broker: EmbeddedBroker, trail: str
) -> None:
    for _ in range(6):
        files.stream(target=target(audit_broker, trail)).errors(50).end()
    both = [service("--once"), service("--once")]
    assert [one.status() for one in both] == [0, 0]
    assert len(messages(audit_broker, trail)) == 300
    assert streams(files.path) == []
    with Reader(audit_broker.bootstrap_servers, prefix=trail, types=["error"], follow=False) as reader:
        places = [(record.stream_id, record.sequence) for record in reader]
    assert len(set(places)) == 300


def test_a_state_that_changes_is_said_in_a_line_and_to_probes(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "STALLED_SECONDS", 0.1)
    monkeypatch.setattr(forwarding, "_TELL_SECONDS", 0.1)
    files.stream(target=Target(NOBODY, "audit")).errors(5).end()
    arguments = ["forward", str(files.path), "-b", NOBODY, "--once", "--timeout", "4", "--metrics", "0"]
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(run(arguments)))
    thread.start()
    said = ""

    def heard(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return text in said

    wait_for(lambda: heard("failing: 0 events delivered, "), "the line")
    found = re.search(r"answering at (\S+)", said)
    assert found is not None
    assert asked(f"{found[1]}/health")[0] == 503
    assert asked(f"{found[1]}/live")[0] == 200, "a broker that is away is no reason to restart"
    thread.join(60)
    assert statuses == [3]


# -- drain --------------------------------------------------------------------------------------------------


def drained(capsys: Capsys, path: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    status = run(["journal", "drain", str(path), "--json", *options])
    captured = capsys.readouterr()
    return status, json.loads(captured.out), captured.err


@pytest.fixture
def there(audit_broker: EmbeddedBroker, trail: str) -> list[str]:
    return ["-b", audit_broker.bootstrap_servers, "--prefix", trail]


def test_a_journal_that_is_not_there_cannot_be_drained(
    tmp_path: Path, there: list[str], capsys: Capsys
) -> None:
    assert run(["journal", "drain", str(tmp_path / "none"), *there]) == 4
    assert "there is no journal" in capsys.readouterr().err


def test_an_empty_journal_is_drained_and_no_stream_is_begun(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    status, told, err = drained(capsys, files.path, *there)
    assert (status, told["delivered"], told["streams"], told["left"], err) == (0, 0, 0, [], "")
    with Reader(audit_broker.bootstrap_servers, prefix=trail, follow=False) as reader:
        assert list(reader) == []


def test_orphans_are_drained(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    for _ in range(3):
        files.stream(target=target(audit_broker, trail)).errors(7).end()
    status, told, _ = drained(capsys, files.path, *there)
    assert (status, told["delivered"], told["streams"], told["left"]) == (0, 21, 3, [])
    assert len(messages(audit_broker, trail)) == 21
    assert streams(files.path) == []


def test_people_are_told_in_a_line(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(7).end()
    assert run(["journal", "drain", str(files.path), *there]) == 0
    assert capsys.readouterr().out == "7 events of 1 stream delivered, nothing is left\n"


def test_the_streams_of_living_processes_are_left_to_them(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(7).end()
    alive = files.stream(target=target(audit_broker, trail)).errors(2)
    served = files.stream(target=target(audit_broker, trail), service="").errors(1).serve().end()
    status, told, err = drained(capsys, files.path, *there)
    assert (status, told["delivered"], told["left"]) == (3, 7, [alive.stream_id, served.stream_id])
    assert f"left: 1 record of stream {served.stream_id}, which another process delivers" in err
    assert f"left: 2 records of stream {alive.stream_id} (support-bot), whose process lives" in err
    assert alive.directory.take_owner() is None


def test_where_all_live_nothing_is_begun(files: JournalFiles, there: list[str], capsys: Capsys) -> None:
    alive = files.stream().errors(2)
    status, told, _ = drained(capsys, files.path, *there)
    assert (status, told["left"], streams(files.path)) == (3, [alive.stream_id], [alive.stream_id])


def test_streams_for_others_are_drained_only_when_that_is_wanted(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    other = files.stream(target=Target("elsewhere:9092", "other")).errors(4).end()
    audit_broker.create_topics(prefix="other", partitions=1)
    status, told, err = drained(capsys, files.path, *there)
    assert (status, told["delivered"], told["left"]) == (3, 0, [other.stream_id])
    assert other.stream_id in err
    status, told, _ = drained(capsys, files.path, *there, "--any-target")
    assert (status, told["delivered"]) == (0, 4)
    assert len(messages(audit_broker, "other")) == 4


def test_without_a_broker_nothing_is_begun_and_all_is_left(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    stream = files.stream(target=Target(NOBODY, "audit")).errors(4).end()
    status, told, err = drained(capsys, files.path, "-b", NOBODY)
    assert (status, told["left"], streams(files.path)) == (3, [stream.stream_id], [stream.stream_id])
    assert "no broker answered" in err


def test_a_record_that_is_refused_for_good_is_kept_and_status_1(
    files: JournalFiles,
    there: list[str],
    audit_broker: EmbeddedBroker,
    trail: str,
    tmp_path: Path,
    capsys: Capsys,
) -> None:
    config = tmp_path / "small.properties"
    config.write_text("message.max.bytes=4000\n")
    stream = files.stream(target=target(audit_broker, trail)).errors(2)
    stream.write(ErrorEvent(error_message="x" * 5000)).errors(2).end()
    status, told, err = drained(capsys, files.path, *there, "--config", str(config))
    assert (status, told["quarantined"], told["left"]) == (1, 1, [])
    assert "records were withheld" in err
    assert len(messages(audit_broker, trail)) == 4
    (kept,) = look(files.journal).withheld
    assert (kept.stream_id, kept.sequence, kept.topic) == (stream.stream_id, 2, f"{trail}.error")


def test_damage_is_passed_over_and_status_1(
    files: JournalFiles, there: list[str], audit_broker: EmbeddedBroker, trail: str, capsys: Capsys
) -> None:
    stream = files.stream(target=target(audit_broker, trail)).errors(5).end()
    stream.damage("00000000.seg", stream.end_of("00000000.seg") // 2, b"\xff" * 8)
    status, told, _ = drained(capsys, files.path, *there)
    assert (status, told["unreadable"], told["left"]) == (1, 1, [])
    assert len(messages(audit_broker, trail)) == 4


def test_a_terminal_gets_a_bar_of_what_is_drained(
    files: JournalFiles,
    there: list[str],
    audit_broker: EmbeddedBroker,
    trail: str,
    capsys: Capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(5).end()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(forwarding, "_TICK", 0.01)
    assert run(["journal", "drain", str(files.path), *there]) == 0
    assert "delivering" in capsys.readouterr().err


# -- seams --------------------------------------------------------------------------------------------------


def test_signals_are_left_as_they_were(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str, there: list[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert run(["forward", str(files.path), *there, "--once"]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_signals_are_taken_from_a_queue_and_interrupt_nothing(
    files: JournalFiles, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(forwarding, "_TELL_SECONDS", 0.1)
    stream = files.stream(target=Target(NOBODY, "audit")).errors(5)
    stream.write(ErrorEvent(), file="parked/00000000.seg").end()
    stream.directory.write_state({"parked": {"audit.error": {"reason": "no"}}})
    files.stream(target=Target(NOBODY, "audit"), service="").errors(1).serve().end()
    files.stream(target=Target(NOBODY, "audit")).errors(1).serve()
    said = ""

    def heard(text: str) -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return text in said

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")

        def interrupt() -> None:
            wait_for(lambda: heard(f"stream {stream.stream_id} (support-bot) is delivered"), "the adoption")
            assert manager.recv(4096).startswith(b"READY=1\n")
            while manager.recv(4096) != b"WATCHDOG=1":
                continue
            os.kill(os.getpid(), signal.SIGTERM)
            wait_for(lambda: heard("ending: what is there is delivered, for at most 3600 s"), "the first")
            os.kill(os.getpid(), signal.SIGINT)
            done.set()

        done = threading.Event()
        thread = threading.Thread(target=interrupt)
        thread.start()
        status = run(["forward", str(files.path), "-b", NOBODY, "--timeout", "3600"])
        thread.join(60)
    assert done.is_set()
    assert status == 3
    assert heard(f"left: 5 records of stream {stream.stream_id} (support-bot), waiting for audit.error\n")
    left = re.findall(r"left: .* of stream (\S+)", said)
    assert len(left) == 2, "what others deliver is in good hands; the forwarder's own stream is left, too"


def test_it_may_run_in_another_thread(
    files: JournalFiles, audit_broker: EmbeddedBroker, trail: str, there: list[str]
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(5).end()
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(run(["forward", str(files.path), *there, "--once"]))
    )
    thread.start()
    thread.join(60)
    assert statuses == [0]


def test_a_health_file_that_cannot_be_written_stops_nothing(
    files: JournalFiles,
    there: list[str],
    audit_broker: EmbeddedBroker,
    trail: str,
    tmp_path: Path,
    capsys: Capsys,
) -> None:
    files.stream(target=target(audit_broker, trail)).errors(5).end()
    missing = str(tmp_path / "none" / "health.json")
    assert run(["forward", str(files.path), *there, "--once", "--health-file", missing]) == 0
    assert "the health could not be written" in capsys.readouterr().err
