"""Processes with a disk journal, however they split and end: what emit returned for reaches the broker."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from durable_support import PROLOGUE, Site, agents, assert_all_delivered, by_agent, parents
from emit_support import start_script, until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from rig.broker import Broker

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def site(broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(broker, prefix, tmp_path)


@pytest.fixture
def faulty_site(faulty_broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(faulty_broker, prefix, tmp_path)


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a program says."""
    assert process.stdout is not None
    found = process.stdout.readline()
    if not found:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return found.strip()


# -- ends that give the interpreter a chance ---------------------------------------------------------------

ORDERLY: dict[str, tuple[str, int, int]] = {
    "the script returns": ("emit(audit, 2000, 'a')", 0, 2000),
    "sys.exit": ("emit(audit, 2000, 'a')\nsys.exit(3)", 3, 2000),
    "an unhandled exception": ("emit(audit, 2000, 'a')\nraise RuntimeError('unhandled')", 1, 2000),
    "closed": ("emit(audit, 500, 'a')\naudit.close()", 0, 500),
    "nobody holds the collector": ("emit(audit, 500, 'a')\ndel audit\nimport gc\ngc.collect()", 0, 500),
    "a thread that goes on after the script": (
        (
            "def later():\n"
            "    threading.main_thread().join()\n"
            "    emit(audit, 500, 'a')\n"
            "threading.Thread(target=later).start()\n"
            "emit(audit, 500, 'a')"
        ),
        0,
        1000,
    ),
    "a pool of threads that nobody shut down": (
        (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "pool = ThreadPoolExecutor(4)\n"
            "for _ in range(8):\n"
            "    pool.submit(emit, audit, 100, 'a')"
        ),
        0,
        800,
    ),
    "an exit handler that emits": (
        "import atexit\natexit.register(emit, audit, 100, 'a')\nemit(audit, 100, 'a')",
        0,
        200,
    ),
    "an exit handler that makes a collector": (
        (
            "import atexit\n"
            "def handler():\n"
            "    own = make()\n"
            "    emit(own, 50, 'a')\n"
            "    own.flush(10)\n"
            "    emit(own, 50, 'a')\n"
            "atexit.register(handler)\n"
            "emit(audit, 100, 'a')"
        ),
        0,
        200,
    ),
    "two collectors on one path": ("other = make()\nemit(other, 300, 'a')\nemit(audit, 300, 'a')", 0, 600),
    "SIGINT": ("emit(audit, 500, 'a')\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)", -2, 500),
    "SIGTERM that raises SystemExit, as servers do": (
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "emit(audit, 500, 'a')\n"
            "os.kill(os.getpid(), signal.SIGTERM)\n"
            "time.sleep(20)"
        ),
        0,
        500,
    ),
    "an event loop that is left without a close": (
        (
            "import asyncio\n"
            "async def main():\n"
            "    async def one(n):\n"
            "        emit(audit, 50, 'a')\n"
            "        await asyncio.sleep(0)\n"
            "        emit(audit, 50, 'a')\n"
            "    await asyncio.gather(*map(one, range(10)))\n"
            "    await audit.aflush(20)\n"
            "    emit(audit, 50, 'a')\n"
            "asyncio.run(main())"
        ),
        0,
        1050,
    ),
    "an event loop that closes": (
        (
            "import asyncio\n"
            "async def main():\n"
            "    emit(audit, 500, 'a')\n"
            "    await audit.aclose(20)\n"
            "asyncio.run(main())"
        ),
        0,
        500,
    ),
}


@pytest.mark.parametrize("ending", ORDERLY)
def test_an_orderly_end_delivers_everything_and_leaves_nothing_on_the_disk(site: Site, ending: str) -> None:
    body, code, count = ORDERLY[ending]
    ended = site.run("audit = make()\n" + body)
    assert ended.code == code, ended.err
    assert "auditwire:" not in ended.err
    assert ended.seconds < 15
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {"a": count}
    assert {report.verdict for report in trail.reports} == {"complete"}
    assert_all_delivered(site, trail)


# -- ends that do not --------------------------------------------------------------------------------------

ABRUPT: dict[str, tuple[str, int]] = {
    "os._exit": ("emit(audit, 500, 'a')\nos._exit(0)", 0),
    "SIGTERM without a handler": (
        "emit(audit, 500, 'a')\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(20)",
        -signal.SIGTERM,
    ),
    "SIGKILL": ("emit(audit, 500, 'a')\nos.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGSEGV": ("emit(audit, 500, 'a')\nos.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    "os.abort": ("emit(audit, 500, 'a')\nos.abort()", -signal.SIGABRT),
    "execv": ("emit(audit, 500, 'a')\nos.execv(sys.executable, [sys.executable, '-c', ''])", 0),
    "os._exit while other threads emit": (
        (
            "for _ in range(4):\n"
            "    threading.Thread(target=emit, args=(audit, 10**6, 'a'), daemon=True).start()\n"
            "emit(audit, 500, 'a')\n"
            "os._exit(0)"
        ),
        0,
    ),
}


@pytest.mark.parametrize("ending", ABRUPT)
def test_what_was_accepted_before_an_abrupt_end_is_delivered_by_the_next_start(
    site: Site, ending: str
) -> None:
    body, code = ABRUPT[ending]
    ended = site.run("audit = make()\n" + body)
    assert ended.code == code, ended.err
    assert len(site.streams) == 1
    recovering = site.recover()
    trail = site.trail()
    assert_all_delivered(site, trail, unsaid=5)
    assert len(trail.reports) == 2
    assert trail.report(recovering).verdict == "complete"


@pytest.mark.needs("create_topics")
def test_a_sigterm_handler_may_emit_and_close_in_the_middle_of_an_emit(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    for number in range(5):  # at five moments of an emit
        folder = tmp_path / str(number)
        folder.mkdir()
        site = Site(broker, f"{prefix}-{number}", folder)
        process = site.start("""
audit = make()
def handler(*_):
    emit(audit, 10, "handler")
    audit.close(20)
signal.signal(signal.SIGTERM, handler)
print("ready", flush=True)
try:
    emit(audit, 10**7, "main")
except CollectorClosed:
    print("closed")
""")
        assert line(process) == "ready"
        until(lambda: len(site.accepted) > 100 * number, "it emits")  # noqa: B023 - called in this round
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
        assert (process.returncode, out) == (0, "closed\n"), err
        assert site.left == []
        trail = site.trail()
        assert by_agent(trail)["handler"] == 10
        assert_all_delivered(site, trail, unsaid=1)
        assert [report.verdict for report in trail.reports] == ["complete"]


def test_an_exit_with_the_broker_away_is_bounded_and_the_next_start_delivers(faulty_site: Site) -> None:
    site = faulty_site
    process = site.start("""
audit = make(exit_timeout=2.0)
emit(audit, 10, "before")
audit.flush(20)
print("flushed", flush=True)
sys.stdin.readline()
emit(audit, 1000, "during")
""")
    assert line(process) == "flushed"
    site.broker.kill()
    _, err = process.communicate("\n", timeout=20)
    assert process.returncode == 0
    (said,) = [text for text in err.splitlines() if text.startswith("auditwire: ")]
    assert re.search(r"100[0-3] records of .* wait in its journal\. Last error: _", said)
    ended = site.run("emit(make(exit_timeout=1.0), 500, 'next')")  # it finds nobody either
    assert ended.code == 0
    assert ended.seconds < 12
    assert len(site.streams) == 2
    site.broker.start_again()
    site.recover()
    trail = site.trail()
    assert by_agent(trail) == {"before": 10, "during": 1_000, "next": 500}
    assert_all_delivered(site, trail)


def test_closing_with_the_broker_away_says_that_what_waits_is_safe(faulty_site: Site) -> None:
    site = faulty_site
    site.broker.kill()
    ended = site.run("""
from auditwire import FlushTimeout
audit = make()
emit(audit, 200, "a")
try:
    audit.close(1.0)
except FlushTimeout as error:
    print(json.dumps([error.durable, error.pending, str(error)]))
""")
    durable, pending, text = ended.said
    assert durable is True
    assert pending in {201, 202}  # with the closing checkpoint or without
    assert "safe on disk" in text
    site.broker.start_again()
    site.recover()
    trail = site.trail()
    assert by_agent(trail) == {"a": 200}
    assert_all_delivered(site, trail)


# -- forks -------------------------------------------------------------------------------------------------


def test_parents_children_and_grandchildren_have_a_stream_and_a_directory_each(site: Site) -> None:
    ended = site.run("""
audit = make()
emit(audit, 100, "parent")
pid = os.fork()
if pid == 0:
    emit(audit, 100, "child")
    grandchild = os.fork()
    if grandchild == 0:
        emit(audit, 100, "grandchild")
        print(len([n for n in os.listdir(JOURNAL) if n[0] != "." and n != "ended"]), flush=True)
        sys.exit(0)
    os.waitpid(grandchild, 0)
    emit(audit, 100, "child")
    sys.exit(0)
emit(audit, 100, "parent")
assert os.waitpid(pid, 0)[1] == 0
silent = os.fork()
if silent == 0:
    sys.exit(0)
assert os.waitpid(silent, 0)[1] == 0
emit(audit, 100, "parent")
""")
    assert ended.code == 0, ended.err
    assert ended.said == 3
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {"parent": 300, "child": 200, "grandchild": 100}
    assert_all_delivered(site, trail)
    stream_of = {agent: stream for stream, counted in agents(trail).items() for agent in counted}
    assert parents(trail) == {
        stream_of["parent"]: None,
        stream_of["child"]: stream_of["parent"],
        stream_of["grandchild"]: stream_of["child"],
    }
    assert {report.verdict for report in trail.reports} == {"complete"}


@pytest.mark.parametrize("emits", [True, False], ids=["a child that emits", "a silent child"])
def test_a_killed_parents_stream_is_adopted_although_its_child_lives(site: Site, emits: bool) -> None:
    """A child must not keep its parent's locks: nobody could tell whether the parent is dead."""
    process = site.start(
        """
audit = make()
emit(audit, 500, "parent")
pid = os.fork()
if pid == 0:
    if sys.argv[5] == "True":
        emit(audit, 100, "child")
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    if sys.argv[5] == "True":
        emit(audit, 100, "child")
    sys.exit(0)
emit(audit, 500, "parent")
time.sleep(60)
""",
        str(emits),
    )
    child = int(line(process))
    until(lambda: len(site.accepted) == 1_000 + 100 * emits, "both have emitted")
    process.kill()
    with site.collector() as kafka:
        until(lambda: len(site.streams) == 1 + emits, "the parent's stream is delivered")
        os.kill(child, 0)  # it lives
        assert kafka.stream_id in site.streams
        process.communicate("\n", timeout=30)  # the child goes on, and ends: it holds the parent's outputs
        until(lambda: site.streams == [kafka.stream_id], "the child's stream is delivered")
    trail = site.trail()
    assert by_agent(trail) == {"parent": 1_000, "child": 200} if emits else {"parent": 1_000}
    assert_all_delivered(site, trail)


def test_a_child_keeps_no_lock_of_a_stream_that_its_parent_was_adopting(faulty_site: Site) -> None:
    site = faulty_site
    assert site.run("emit(make(), 500, 'first')\nos._exit(0)").code == 0
    site.broker.pause()  # so that the adopter is still at it when it dies
    process = site.start("""
audit = make()
emit(audit, 100, "adopter")
orphan = [name for name in sorted(os.listdir(JOURNAL)) if name != audit.stream_id and name[0] == "0"][0]
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
while not JournalPath(REAL, JOURNAL).open_stream(orphan).sent():
    time.sleep(0.01)
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
print("forked", flush=True)
time.sleep(60)
""")
    assert line(process) == "forked"
    process.kill()
    site.broker.unpause()
    site.recover()
    process.communicate("\n", timeout=20)
    trail = site.trail()
    assert by_agent(trail) == {"first": 500, "adopter": 100}
    assert_all_delivered(site, trail)


def test_forking_while_many_threads_emit_and_flush_harms_nobody(site: Site) -> None:
    ended = site.run("""
audit = make()
stop = threading.Event()

def busy(number):
    while not stop.is_set():
        emit(audit, 10, f"parent-{number}")
        if number == 0:
            audit.flush(20)

threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
[t.start() for t in threads]
pids = []
for n in range(20):
    pid = os.fork()
    if pid == 0:
        emit(audit, 50, f"child-{n}")
        if n % 4 == 1:
            audit.flush(20)
        if n % 4 == 2:
            os._exit(0)
        sys.exit(0)
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 20
stop.set()
[t.join() for t in threads]
""")
    assert ended.code == 0, ended.err
    recovering = site.recover()
    trail = site.trail()
    counted = by_agent(trail)
    assert {agent: counted[agent] for agent in counted if agent and agent.startswith("child")} == {
        f"child-{n}": 50 for n in range(20)
    }
    assert len([report for report in trail.reports if report.stream_id != recovering]) == 21
    assert_all_delivered(site, trail)


@pytest.mark.parametrize("method", METHODS)
def test_children_of_multiprocessing_deliver_through_a_collector_of_their_own(
    site: Site, method: str
) -> None:
    ended = site.run(
        """
def child(agent):
    emit(make(), 200, agent)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[5])
    audit = make()
    emit(audit, 200, "parent")
    children = [multiprocessing.Process(target=child, args=(f"child-{n}",)) for n in range(3)]
    [c.start() for c in children]
    emit(audit, 200, "parent")
    [c.join() for c in children]
    assert [c.exitcode for c in children] == [0, 0, 0]
""",
        method,
    )
    assert ended.code == 0, ended.err
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {"parent": 400, "child-0": 200, "child-1": 200, "child-2": 200}
    assert all(len(found) == 1 for found in agents(trail).values())
    assert_all_delivered(site, trail)


@pytest.mark.parametrize("method", METHODS)
def test_children_deliver_through_a_collector_that_their_module_made(site: Site, method: str) -> None:
    ended = site.run(
        """
audit = make()

def child(agent, how):
    emit(audit, 200, agent)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[5])
    arguments = [("child-0", "returns"), ("child-1", "killed"), ("child-2", "returns")]
    children = [multiprocessing.Process(target=child, args=a) for a in arguments]
    [c.start() for c in children]
    emit(audit, 200, "parent")
    [c.join() for c in children]
    assert [c.exitcode for c in children] == [0, -9, 0]
""",
        method,
    )
    assert ended.code == 0, ended.err
    site.recover()
    trail = site.trail()
    assert by_agent(trail) == {"parent": 200, "child-0": 200, "child-1": 200, "child-2": 200}
    assert_all_delivered(site, trail)


def test_pools_of_processes_deliver_what_their_workers_emitted(site: Site) -> None:
    ended = site.run("""
from concurrent.futures import ProcessPoolExecutor

audit = make()

def work(number):
    emit(audit, 50, kind)

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
    kind = "terminated"
    pool = context.Pool(2)
    pool.map(work, range(6))
    pool.terminate()  # SIGTERM, without a handler
    pool.join()
""")
    assert ended.code == 0, ended.err
    site.recover()
    trail = site.trail()
    assert by_agent(trail) == {"executor": 300, "pool": 300, "terminated": 300}
    assert_all_delivered(site, trail)


def test_several_starts_at_once_deliver_what_was_left_once_and_state_it(site: Site) -> None:
    """Two adopters never send one stream at the same time."""
    for number in range(6):
        assert site.run(f"emit(make(), 300, 'orphan-{number}')\nos._exit(0)").code == 0
    body = (
        PROLOGUE + "audit = make()\nprint('open', flush=True)\nsys.stdin.readline()\nemit(audit, 20, 'later')"
    )
    processes = []
    for number in range(3):
        folder = site.path / str(number)
        folder.mkdir()
        processes.append(start_script(body, *site.arguments, path=folder))
    assert [line(process) for process in processes] == ["open"] * 3
    until(lambda: len(site.streams) == 3, "what was left is delivered")
    for process in processes:
        _, err = process.communicate("\n", timeout=30)
        assert (process.returncode, err) == (0, "")
    assert site.left == []
    trail = site.trail()
    assert by_agent(trail) == {**{f"orphan-{n}": 300 for n in range(6)}, "later": 60}
    assert_all_delivered(site, trail)
    assert len(trail.reports) == 9
