"""The processes that share a check, driven without and with a broker."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import Pipe
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import AuditwireError, BrokerError, ConfigurationError
from auditwire.verification.facts import FactWriter
from auditwire.verification.gathering import Source
from auditwire.verification.processes import Workers, shared_out
from auditwire.verification.worker import Judging, judge_with_carry, serve
from support.stream_builder import StreamBuilder

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = Source(bootstrap_servers="127.0.0.1:1", prefix="audit", timeout=0.5)
STREAMS = [f"01920000-0000-7000-8000-00000000000{number}" for number in range(1, 8)]


def facts(directory: Path) -> list[Path]:
    """Of seven streams that are complete; of one of them a record is missing."""
    with FactWriter(directory) as writer:
        for stream in STREAMS:
            built = StreamBuilder(stream).turns(5).close()
            for record in built.without(3) if stream == STREAMS[4] else built.records:
                writer.add_record(record)
        return writer.close()


# -- who reads what -----------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), st.integers(0, 10**9)),
    st.integers(1, 6),
)
def test_each_partition_is_in_one_part_and_no_part_is_far_larger_than_another(
    sizes: dict[tuple[str, int], int], count: int
) -> None:
    parts = shared_out(sizes, count)
    assert len(parts) == count
    assert sum(len(part) for part in parts) == len(sizes)
    assert set().union(*parts) == sizes.keys()
    loads = [sum(sizes[place] + 1 for place in part) for part in parts]
    assert max(loads) - min(loads) <= max([size + 1 for size in sizes.values()], default=0)


# -- judging in several processes ---------------------------------------------------------------------------


def test_processes_judge_as_one_does_and_in_the_same_order(tmp_path: Path) -> None:
    runs = facts(tmp_path)
    expected = [judged.report for judged in judge_with_carry(runs, Judging())]
    with Workers(NOWHERE, 3, tmp_path) as workers:
        found = [judged.report for judged in workers.judge(runs, Judging())]
    assert found == expected
    assert [report and report.stream_id for report in found] == STREAMS
    assert [report and report.verdict for report in found].count("fault") == 1


def test_a_process_that_is_killed_is_an_error_and_no_result(tmp_path: Path) -> None:
    runs = facts(tmp_path)
    with Workers(NOWHERE, 2, tmp_path) as workers:
        os.kill(workers._processes[1].pid, signal.SIGKILL)
        workers._processes[1].wait(30)
        with pytest.raises(AuditwireError, match="a process of the check ended by signal SIGKILL: its part"):
            list(workers.judge(runs, Judging()))


def test_a_process_that_is_killed_while_it_reads_is_an_error(tmp_path: Path) -> None:
    patient = Source(bootstrap_servers="127.0.0.1:1", prefix="audit", timeout=600.0)
    with Workers(patient, 2, tmp_path) as workers:
        killer = threading.Timer(0.5, os.kill, (workers._processes[0].pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(AuditwireError, match="ended by signal SIGKILL"):
            workers.gather([[("t", 0)], [("t", 1)]], known={}, on_progress=lambda _done, _total: None)
        killer.join()
    assert [process.returncode for process in workers._processes] == [-signal.SIGKILL, -signal.SIGTERM]


def test_what_a_process_is_refused_comes_out_as_it_was_raised(tmp_path: Path) -> None:
    with (
        Workers(NOWHERE, 2, tmp_path) as workers,
        pytest.raises(BrokerError, match=r"127\.0\.0\.1:1: could not list the topics"),
    ):
        workers.gather([[], []], known={}, on_progress=lambda _done, _total: None)


def test_settings_that_cannot_be_given_to_another_process_are_refused(tmp_path: Path) -> None:
    source = Source(bootstrap_servers="h:1", prefix="audit", config={"error_cb": lambda _error: None})
    with pytest.raises(ConfigurationError, match="jobs: the settings cannot be given to other processes"):
        Workers(source, 2, tmp_path)


def test_the_processes_end_with_the_block(tmp_path: Path) -> None:
    with Workers(NOWHERE, 2, tmp_path) as workers:
        processes = workers._processes
        assert all(process.poll() is None for process in processes)
    assert all(process.poll() is not None for process in processes)


def test_processes_end_when_the_one_that_started_them_is_gone(tmp_path: Path) -> None:
    workers = Workers(NOWHERE, 2, tmp_path)
    for pipe in workers._pipes:
        pipe.close()
    assert [process.wait(30) for process in workers._processes] == [0, 0]
    workers.close()


# -- what a process does ------------------------------------------------------------------------------------


class Served:
    """A worker on a thread, and the other end of its pipe."""

    def __init__(self, directory: Path, source: Source = NOWHERE) -> None:
        self.pipe, theirs = Pipe()
        self._thread = threading.Thread(target=serve, args=(theirs,))
        self._thread.start()
        self.pipe.send((source, directory))

    def ask(self, *order: Any) -> None:
        self.pipe.send(order)

    def hear(self) -> Any:
        assert self.pipe.poll(30)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_worker_sends_reports_in_batches_and_says_when_it_is_done(tmp_path: Path) -> None:
    runs = facts(tmp_path)
    served = Served(tmp_path)
    served.ask("judge", runs, Judging(), (0, 1))
    what, streams = served.hear()
    assert (what, len(streams)) == ("streams", len(STREAMS))
    assert served.hear() == ("judged",)
    served.end()


def test_a_worker_tells_of_an_error_and_waits_for_the_next_order(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.ask("judge", [tmp_path / "none"], Judging(), (0, 1))
    what, error = served.hear()
    assert (what, type(error)) == ("failed", FileNotFoundError)
    served.ask("gather", [], {})
    what, error = served.hear()
    assert (what, type(error)) == ("failed", BrokerError)
    served.end()


def test_a_worker_whose_listener_is_gone_in_the_middle_ends(tmp_path: Path) -> None:
    many = tmp_path / "facts"
    many.mkdir()
    with FactWriter(many) as writer:
        for number in range(300):
            for record in StreamBuilder(f"01920000-0000-7000-8000-{number:012d}").turns(1).records:
                writer.add_record(record)
        runs = writer.close()
    served = Served(tmp_path)
    served.ask("judge", runs, Judging(), (0, 1))
    assert served.hear()[0] == "streams"
    served.end()
