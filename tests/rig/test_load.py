"""The process that faults are judged by counts what it says it counts, and outlives nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from auditwire.reading import Reader
from rig.broker import until
from rig.load import Load, LoadError
from rig.tally import Tally

if TYPE_CHECKING:
    from rig.broker import Broker


def read(broker: Broker, prefix: str) -> Tally:
    tally = Tally()
    with Reader(prefix=prefix, config=broker.client()) as reader:
        for record in reader:
            tally.add(record)
    return tally


def test_what_it_counted_is_what_is_on_the_broker(broker: Broker, prefix: str, tmp_path: Path) -> None:
    with Load(tmp_path, broker.client(), prefix, rate=500) as load:
        until(lambda: min(load.counts.accepted) > 100, 30, "both threads emit")
        assert load.flush(30) > 0
        health = load.close(30)
    counts = load.counts
    assert counts.total == health["accepted"] == health["delivered"] == sum(counts.accepted)
    assert counts.stall_ms > 0
    tally = read(broker, prefix)
    assert (tally.delivered, tally.duplicates, tally.doubled) == (counts.total, 0, 0)
    assert (tally.lost([load]), tally.gaps()) == ([], 0)


def test_a_type_that_is_held_is_not_emitted_until_it_is_let_go(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    def turn_ends() -> int:
        with Reader(prefix=prefix, config=broker.client(), types={"turn_end"}) as reader:
            return sum(1 for _ in reader)

    with Load(tmp_path, broker.client(), prefix, rate=500) as load:
        until(lambda: load.counts.total > 100, 30, "events are accepted")
        load.hold("turn_end")
        load.flush(30)
        held, before = turn_ends(), load.counts.total
        until(lambda: load.counts.total > before + 100, 30, "events of other types are accepted")
        load.flush(30)
        assert turn_ends() == held > 0
        load.hold()
        before = load.counts.total
        until(lambda: load.counts.total > before + 100, 30, "events are accepted")
        load.flush(30)
        assert turn_ends() > held


def test_the_counts_of_a_killed_process_stay(broker: Broker, prefix: str, tmp_path: Path) -> None:
    with Load(tmp_path, broker.client(), prefix) as load:
        until(lambda: load.health()["delivered"] > 100, 30, "events are delivered")
        load.kill()
        in_flight = len(load.counts.accepted)  # accepted, but not counted in time
        assert 100 < read(broker, prefix).delivered <= load.counts.total + in_flight


def test_what_is_refused_is_counted_and_no_number_is_left_out(tmp_path: Path) -> None:
    nowhere = {"bootstrap.servers": "127.0.0.1:1"}
    with Load(
        tmp_path, nowhere, "nowhere", rate=20_000, journal_bytes=2 << 20, on_full="drop_newest"
    ) as load:
        until(lambda: load.counts.refused > 100, 30, "the journal is full")
        accepted = load.health()["accepted"]
        assert load.counts.total == accepted
        with pytest.raises(LoadError, match="flush: FlushTimeout"):
            load.flush(0.1)


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(LoadError, match=r"(?s)start: the process has ended \(1\).*acks"),
        Load(tmp_path, {"bootstrap.servers": "127.0.0.1:1", "acks": 0}, "nowhere"),
    ):
        pass


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from rig.load import Load\n"
        "with Load(Path(sys.argv[2]), {'bootstrap.servers': '127.0.0.1:1'}, 'nowhere') as load:\n"
        "    print(load.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script, tests, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    until(lambda: gone(pid), 30, "the process has ended")


def gone(pid: int) -> bool:
    """Ended; a zombie whom nobody waits for has ended, too."""
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
