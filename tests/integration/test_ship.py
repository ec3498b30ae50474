"""``auditwire ship`` on a real broker: followed, killed, interrupted, piped, and with the broker away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from emit_support import Ends, assert_complete, read_all, until

from auditwire import AuditEmitter, JSONLSinkCollector
from auditwire.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.broker import Broker

pytestmark = pytest.mark.needs("create_topics")

COMMAND = [sys.executable, "-c", "from auditwire.cli import main; main()"]


def environment(broker: Broker, prefix: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "AUDITWIRE_BOOTSTRAP_SERVERS": broker.bootstrap,
        "AUDITWIRE_PREFIX": prefix,
    }


@contextmanager
def shipping(broker: Broker, prefix: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which is killed at the end if it has not ended."""
    process = subprocess.Popen(
        [*COMMAND, "ship", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(broker, prefix),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def write(path: Path, first: int, last: int, *, named: bool = False) -> None:
    """Lines of the numbers from first to last, without the last, at the end of the file."""
    with path.open("a") as file:
        for number in range(first, last):
            line = {"event_type": "error", "timestamp": "2026-01-31T10:00:00Z", "error_type": str(number)}
            file.write(json.dumps({**line, "event_id": f"e-{number}"} if named else line) + "\n")


def arrived(broker: Broker, prefix: str) -> dict[str, list[str]]:
    """What was written -> the ids that it has on the broker, each once."""
    found: dict[str, list[str]] = {}
    for record in read_all(broker.bootstrap, prefix).events:
        ids = found.setdefault(record.event.error_type, [])  # type: ignore[attr-defined] # all are errors
        if record.event.event_id not in ids:
            ids.append(record.event.event_id)
    return found


def count(broker: Broker, prefix: str) -> int:
    return Ends({"bootstrap.servers": broker.bootstrap}, prefix).total()


def test_a_log_that_is_rotated_both_ways_while_it_is_followed_arrives_whole(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    log, state = tmp_path / "audit.jsonl", tmp_path / "state"
    write(log, 0, 500)
    with shipping(broker, prefix, str(log), "--follow", "--state", str(state), "--json") as process:
        until(lambda: count(broker, prefix) == 500, "the first lines")
        log.rename(tmp_path / "audit.jsonl.1")
        write(tmp_path / "audit.jsonl.1", 500, 600)  # by a writer that has not noticed yet
        write(log, 600, 700)
        until(lambda: count(broker, prefix) == 700, "the lines after the renaming")
        write(log, 700, 800)
        (tmp_path / "audit.jsonl.0").write_bytes(log.read_bytes())
        os.truncate(log, 0)
        write(log, 800, 900)
        until(lambda: count(broker, prefix) == 900, "the lines after the truncation")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    said = json.loads(out)
    assert (said["events"], said["acknowledged"]) == (900, 900)
    assert json.loads(state.read_text())["line"] == 100
    assert Counter(map(len, arrived(broker, prefix).values())) == {1: 900}
    (report,) = read_all(broker.bootstrap, prefix).reports
    assert_complete(report)


def test_killed_at_any_moment_and_started_again_every_line_arrives_and_has_one_id(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    log, state = tmp_path / "audit.jsonl", tmp_path / "state"
    write(log, 0, 60_000)
    arguments = [str(log), "--state", str(state)]
    for reached in (1, 20_000):
        with shipping(broker, prefix, *arguments) as process:
            before = count(broker, prefix)
            until(lambda reached=reached, before=before: count(broker, prefix) > before + reached, "lines")  # type: ignore[misc] # mypy infers no lambda with defaults
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    with shipping(broker, prefix, *arguments) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    found = arrived(broker, prefix)
    assert Counter(map(len, found.values())) == {1: 60_000}
    assert found.keys() == {str(number) for number in range(60_000)}


def test_what_one_trail_holds_is_piped_into_another(broker: Broker, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditEmitter(JSONLSinkCollector(path), "s-1", agent_id="planner") as audit:
        for number in range(200):
            audit.emit_error("E", str(number), turn_id=str(number))
    source, target = f"{prefix}-one", f"{prefix}-two"
    assert run(["ship", str(path), "-b", broker.bootstrap, "--prefix", source]) == 0
    tail = subprocess.run(
        [*COMMAND, "tail", "--no-follow", "--json"],
        env=environment(broker, source),
        capture_output=True,
        check=True,
    )
    ended = subprocess.run(
        [*COMMAND, "ship", "-", "--json"],
        env=environment(broker, target),
        input=tail.stdout,
        capture_output=True,
        check=True,
    )
    said = json.loads(ended.stdout)
    assert (said["events"], said["control_records"], said["derived_ids"]) == (200, 2, 0)
    one, two = (
        {record.event.event_id: record.event for record in read_all(broker.bootstrap, name).events}
        for name in (source, target)
    )
    assert one == two
    assert len(one) == 200


def test_lines_piped_in_are_shipped_as_they_come(broker: Broker, prefix: str) -> None:
    """Not only when the pipe is closed: ``tail --json | ship -`` is a bridge."""
    with subprocess.Popen(
        [*COMMAND, "ship", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(broker, prefix),
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write('{"event_type": "error", "event_id": "e"}\n')
            process.stdin.flush()
            until(lambda: count(broker, prefix) == 1, "the line")
            process.stdin.close()
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.needs("faults")
def test_a_broker_that_goes_away_is_waited_for_and_nothing_is_refused(
    faulty_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    write(log, 0, 60_000)  # more than the journal holds
    with shipping(faulty_broker, prefix, str(log), "--timeout", "120", "--json") as process:
        until(lambda: count(faulty_broker, prefix) > 1_000, "the first lines")
        faulty_broker.kill()
        back = threading.Timer(3.0, faulty_broker.start_again)
        back.start()
        try:
            out, _ = process.communicate(timeout=150)
        finally:
            back.join()
    said = json.loads(out)
    assert (process.returncode, said["events"], said["acknowledged"]) == (0, 60_000, 60_000)
    assert Counter(map(len, arrived(faulty_broker, prefix).values())) == {1: 60_000}
    assert not read_all(faulty_broker.bootstrap, prefix).of_type("loss")


@pytest.mark.needs("faults")
def test_a_broker_that_stays_away_ends_it_and_the_next_run_ships_the_rest(
    faulty_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    log, state = tmp_path / "audit.jsonl", tmp_path / "state"
    write(log, 0, 100, named=True)
    arguments = ["ship", str(log), "--prefix", prefix, "-b", faulty_broker.bootstrap, "--state", str(state)]
    assert run(arguments) == 0
    write(log, 100, 150, named=True)
    faulty_broker.kill()
    with shipping(faulty_broker, prefix, str(log), "--state", str(state), "--timeout", "2") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.startswith("50 events of 50 lines shipped, 0 acknowledged")
    assert "were not acknowledged within 2 s" in err
    faulty_broker.start_again()
    assert run(arguments) == 0
    assert arrived(faulty_broker, prefix) == {str(number): [f"e-{number}"] for number in range(150)}
