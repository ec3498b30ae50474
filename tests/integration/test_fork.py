"""Processes that fork: every process has a stream of its own, and each delivers what it accepted."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from emit_support import Trail, assert_complete, read_all, run_script

from auditwire.events import CheckpointEvent

if TYPE_CHECKING:
    from pathlib import Path

    from emit_support import Ended

    from rig.broker import Broker

METHODS = ("fork", "spawn", "forkserver")

PROLOGUE = """
import json, multiprocessing, os, sys, threading, time
from auditwire import AuditEmitter, CollectorClosed, KafkaCollector

def make(exit_timeout=25, **options):  # CI does much beside
    config = {"reconnect.backoff.max.ms": 500}
    return AuditEmitter(
        KafkaCollector(
            sys.argv[1], prefix=sys.argv[2], config=config, exit_timeout=exit_timeout, **options
        ),
        session_id="s", on_error="raise",
    )

def emit(audit, count, agent):
    for number in range(count):
        audit.emit_turn_start(agent_id=agent, turn_id=str(number))
"""


def run(body: str, broker: Broker, prefix: str, path: Path, *args: str) -> tuple[Ended, Trail]:
    ended = run_script(PROLOGUE + body, broker.bootstrap, prefix, *args, path=path)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err, ended.err
    assert "lost" not in ended.err, ended.err
    return ended, read_all(broker.bootstrap, prefix)


def streams(trail: Trail) -> dict[str, set[str | None]]:
    """Stream -> the agents whose events are in it."""
    found: dict[str, set[str | None]] = {report.stream_id: set() for report in trail.reports}
    for record in trail.events:
        found[record.stream_id].add(record.event.agent_id)
    return found


def counts(trail: Trail) -> dict[str | None, int]:
    """Agent -> different events."""
    return dict(Counter(record.event.agent_id for record in trail.unique.values()))


def parents(trail: Trail) -> dict[str, str | None]:
    """Stream -> the parent's stream, as its opening checkpoint says."""
    return {
        r.stream_id: r.event.parent_stream
        for r in trail.records
        if isinstance(r.event, CheckpointEvent) and r.event.reason == "open"
    }


def assert_all_complete(trail: Trail) -> None:
    for report in trail.reports:
        assert_complete(report)


@pytest.mark.parametrize("method", METHODS)
def test_children_of_multiprocessing_deliver_without_a_close(
    broker: Broker, prefix: str, tmp_path: Path, method: str
) -> None:
    _, trail = run(
        """
def child(agent):
    emit(make(), 200, agent)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[3])
    audit = make()
    emit(audit, 200, "parent")
    children = [multiprocessing.Process(target=child, args=(f"child-{n}",)) for n in range(3)]
    [c.start() for c in children]
    emit(audit, 200, "parent")
    [c.join() for c in children]
    emit(audit, 200, "parent")
""",
        broker,
        prefix,
        tmp_path,
        method,
    )
    assert counts(trail) == {"parent": 600, "child-0": 200, "child-1": 200, "child-2": 200}
    assert all(len(agents) == 1 for agents in streams(trail).values())
    assert len(trail.reports) == 4
    assert_all_complete(trail)


@pytest.mark.parametrize("method", METHODS)
def test_children_deliver_through_a_collector_that_their_module_made(
    broker: Broker, prefix: str, tmp_path: Path, method: str
) -> None:
    """The usual way: one emitter as a global of the program. A spawned child makes it when it imports it."""
    _, trail = run(
        """
audit = make()

def child(agent):
    emit(audit, 200, agent)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[3])
    children = [multiprocessing.Process(target=child, args=(f"child-{n}",)) for n in range(3)]
    [c.start() for c in children]
    emit(audit, 200, "parent")
    [c.join() for c in children]
""",
        broker,
        prefix,
        tmp_path,
        method,
    )
    assert counts(trail) == {"parent": 200, "child-0": 200, "child-1": 200, "child-2": 200}
    assert_all_complete(trail)


def test_a_forked_child_has_a_stream_of_its_own_that_names_its_parents(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    ended, trail = run(
        """
audit = make()
emit(audit, 100, "parent")

def grandchild():
    emit(audit, 100, "grandchild")

def child():
    emit(audit, 100, "child")
    process = context.Process(target=grandchild)
    process.start()
    process.join()
    emit(audit, 100, "child")

context = multiprocessing.get_context("fork")
process = context.Process(target=child)
process.start()
process.join()
emit(audit, 100, "parent")
print(json.dumps(audit.collector.stream_id))
""",
        broker,
        prefix,
        tmp_path,
    )
    assert counts(trail) == {"parent": 200, "child": 200, "grandchild": 100}
    assert_all_complete(trail)
    stream_of = {agents.pop(): stream for stream, agents in streams(trail).items()}
    assert stream_of["parent"] == ended.said
    assert parents(trail) == {
        stream_of["parent"]: None,
        stream_of["child"]: stream_of["parent"],
        stream_of["grandchild"]: stream_of["child"],
    }


def test_a_child_that_emits_nothing_has_no_stream(broker: Broker, prefix: str, tmp_path: Path) -> None:
    _, trail = run(
        """
audit = make()
emit(audit, 100, "parent")
for end in (sys.exit, os._exit):
    pid = os.fork()
    if pid == 0:
        end(0)
    os.waitpid(pid, 0)
process = multiprocessing.get_context("fork").Process(target=int)
process.start()
process.join()
emit(audit, 100, "parent")
""",
        broker,
        prefix,
        tmp_path,
    )
    assert counts(trail) == {"parent": 200}
    assert len(trail.reports) == 1
    assert_all_complete(trail)


def test_children_that_end_by_os_exit_cost_the_parent_nothing(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    _, trail = run(
        """
audit = make()
emit(audit, 100, "parent")
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        emit(audit, 100, "child")
        os._exit(0)
    emit(audit, 100, "parent")
    os.waitpid(pid, 0)
""",
        broker,
        prefix,
        tmp_path,
    )
    assert counts(trail)["parent"] == 600
    (parent,) = [stream for stream, parent in parents(trail).items() if parent is None]
    assert_complete(trail.report(parent))
    for report in trail.reports:  # what the children lost was never on the broker: open, and not a fault
        assert [fault for fault in report.faults if fault.kind != "missing"] == []


def test_forking_while_many_threads_emit_and_flush_harms_nobody(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    ended, trail = run(
        """
audit = make()
stop = threading.Event()
emitted = [0] * 4

def busy(number):
    while not stop.is_set():
        emit(audit, 10, f"parent-{number}")
        emitted[number] += 10
        if number == 0:
            audit.flush(20)

threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
[t.start() for t in threads]
pids = []
for n in range(20):
    pid = os.fork()
    if pid == 0:
        emit(audit, 50, f"child-{n}")
        if n % 2:
            audit.flush(20)
        sys.exit(0)
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 20
stop.set()
[t.join() for t in threads]
print(json.dumps(emitted))
""",
        broker,
        prefix,
        tmp_path,
    )
    children = {f"child-{n}": 50 for n in range(20)}
    assert counts(trail) == {**children, **{f"parent-{n}": count for n, count in enumerate(ended.said)}}
    assert len(trail.reports) == 21
    assert_all_complete(trail)


def test_pools_of_processes_deliver_what_their_workers_emitted(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    _, trail = run(
        """
from concurrent.futures import ProcessPoolExecutor

audit = make()

def work(number):
    emit(audit, 50, f"{kind}")

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    kind = "executor"
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(work, range(6)))
    kind = "pool"
    pool = context.Pool(2)
    pool.map(work, range(6))
    pool.close()
    pool.join()
""",
        broker,
        prefix,
        tmp_path,
    )
    assert counts(trail) == {"executor": 300, "pool": 300}
    assert_all_complete(trail)


def test_a_child_may_close_what_it_inherited_and_the_parent_goes_on(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    ended, trail = run(
        """
audit = make()
emit(audit, 100, "parent")
pid = os.fork()
if pid == 0:
    emit(audit, 100, "child")
    audit.close()
    try:
        emit(audit, 1, "child")
    except CollectorClosed:
        os._exit(0)
    os._exit(1)
status = os.waitpid(pid, 0)[1]
pid = os.fork()
if pid == 0:
    audit.close()  # without having emitted anything
    try:
        emit(audit, 1, "child")
    except CollectorClosed:
        os._exit(0)
    os._exit(2)
status += os.waitpid(pid, 0)[1]
emit(audit, 100, "parent")
print(status)
""",
        broker,
        prefix,
        tmp_path,
    )
    assert ended.said == 0
    assert counts(trail) == {"parent": 200, "child": 100}
    assert_all_complete(trail)


def test_a_collector_that_was_closed_before_the_fork_stays_closed_in_the_child(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    ended, trail = run(
        """
audit = make()
emit(audit, 100, "parent")
audit.close()
pid = os.fork()
if pid == 0:
    try:
        emit(audit, 1, "child")
    except CollectorClosed:
        os._exit(0)
    os._exit(1)
print(os.waitpid(pid, 0)[1])
""",
        broker,
        prefix,
        tmp_path,
    )
    assert ended.said == 0
    assert counts(trail) == {"parent": 100}


@pytest.mark.parametrize("method", METHODS)
def test_a_child_says_once_what_it_lost_when_no_broker_was_there(tmp_path: Path, method: str) -> None:
    ended = run_script(
        PROLOGUE
        + """
def child():
    emit(make(exit_timeout=0.5), 10, "child")

if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[3]).Process(target=child)
    process.start()
    process.join()
""",
        "127.0.0.1:9",
        "nowhere",
        method,
        path=tmp_path,
    )
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if line.startswith("auditwire: ")]
    assert re.match(r"auditwire: 1[12] records of ", line)  # with a closing checkpoint or without
    assert ended.seconds < 8
