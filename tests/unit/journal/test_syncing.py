from __future__ import annotations

import contextlib
import errno
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest
from writing import Stream, shrink

from auditwire.journal.layout import JournalPath
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import Segment
from auditwire.journal.syncing import Syncer
from support.simulated_fs import SimulatedFileSystem, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def survivors(stream: Stream, fs: SimulatedFileSystem) -> set[str]:
    """The events that an adopter reads after a power loss."""
    path = JournalPath(fs, stream.path.path)
    if stream.stream_id not in path.streams():
        return set()
    reader = StreamReader(fs, path.open_stream(stream.stream_id), live=lambda: False)
    found: list[str] = []
    while not reader.at_end:
        found += [record.event_id for record in reader.take(1 << 20)]
    reader.close()
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synchronised_survives_a_power_loss(seed: int) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    pick = random.Random(seed)
    confirmed: set[str] = set()
    for number in range(60):
        answer = stream.append(f"e-{number}", pick.randrange(900))
        if pick.random() < 0.4:
            assert isinstance(answer, int)
            assert syncer.through(answer)
            confirmed = set(stream.answers)
    assert confirmed <= survivors(stream, fs.crash(pick))


def test_what_enters_a_segment_while_it_is_synchronised_is_synchronised_before_it_is_let_go() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer)
    stream.append("e-0")
    segment = stream.writer.segments[0]
    real = segment._file

    class Entering:
        """Others append, and the segment is left, when its bytes were gathered for the disk."""

        def sync(self) -> None:
            real.sync()
            segment._file = real
            stream.append("e-1")
            stream.fill()
            stream.append("e-2")
            assert stream.writer.tail_number == 1

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    segment._file = Entering()  # type: ignore[assignment]
    assert syncer.sync()
    assert syncer.sync()
    assert set(stream.answers) <= survivors(stream, fs.crash(random.Random(1)))
    assert synced(syncer) == stream.writer.next_sequence


def test_threads_that_come_together_share_one_synchronisation() -> None:
    gate = threading.Event()

    class Gated(SimulatedFileSystem):
        syncs = 0

        def enter(self, operation: str, *paths: str) -> None:
            super().enter(operation, *paths)
            if operation == "sync" and paths[0].endswith(".seg"):
                self.syncs += 1
                if self.syncs == 1:
                    assert gate.wait(60)

    fs = Gated()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    confirmed: list[str] = []

    def emit(name: str) -> None:
        answer = stream.append(name)
        assert isinstance(answer, int)
        assert syncer.through(answer)
        confirmed.append(name)

    leader = threading.Thread(target=emit, args=("leader",))
    leader.start()
    until(lambda: fs.syncs == 1)
    others = [threading.Thread(target=emit, args=(f"e-{n}",)) for n in range(8)]
    for thread in others:
        thread.start()
    until(lambda: stream.writer.next_sequence == 9)
    until(lambda: len(syncer._turns._row) == 9)
    gate.set()
    for thread in (leader, *others):
        thread.join(60)
    assert len(confirmed) == 9
    assert fs.syncs <= 4
    assert set(confirmed) <= survivors(stream, fs.crash(random.Random(2)))


@pytest.mark.parametrize("operation", ["sync", "sync_directory"])
@pytest.mark.parametrize("seed", range(5))
def test_after_an_error_everything_is_written_anew_into_another_segment(operation: str, seed: int) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    for number in range(3):
        stream.append(f"e-{number}")
    fs.fail(operation, errno.EIO, "/journal/*")
    assert syncer.through(2)
    assert problem(syncer) is None
    assert stream.writer.tail_number == 1
    assert sorted(stream.writer.segments) == [1]
    stream.append("e-3")
    stream.check()
    assert {"e-0", "e-1", "e-2"} <= survivors(stream, fs.crash(random.Random(seed)))


def test_a_second_synchronisation_that_succeeds_is_not_trusted_when_writing_anew_was_impossible() -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always", monotonic=clock)
    stream.append("e-0")
    fs.fail("sync", errno.EIO, "*.seg")
    full = fs.fail("reserve", errno.ENOSPC, "*.seg", times=None)
    assert not syncer.through(0)
    assert full.hits
    assert problem(syncer) is not None
    for _ in range(3):
        clock.now += 60
        assert not syncer.through(0)
        assert synced(syncer) == 0
    fs.heal()
    clock.now += 60
    assert syncer.through(0)
    assert problem(syncer) is None
    assert survivors(stream, fs.crash(random.Random(3))) == {"e-0"}


def test_while_the_disk_refuses_for_good_segments_are_made_ever_more_seldom() -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always", monotonic=clock)
    fs.fail("sync", errno.EIO, "*.seg", times=None)
    for number in range(1000):
        stream.append(f"e-{number}", 1)
        assert not syncer.through(number)
        clock.now += 0.01
    assert synced(syncer) == 0
    assert "EIO" in str(problem(syncer)) or "Input/output" in str(problem(syncer))
    written_anew = [n for n in stream.numbers() if n not in stream.writer.segments]
    assert len(written_anew) < 20
    stream.check()
    fs.heal()
    clock.now += 60
    assert syncer.sync()
    assert len(survivors(stream, fs.crash(random.Random(4)))) == 1000


def test_a_success_beside_another_thread_that_failed_is_not_trusted() -> None:
    """The kernel tells one of two callers of the same failure."""
    failing = threading.Event()
    go_on = threading.Event()

    class TellsOne(SimulatedFileSystem):
        calls = 0

        def enter(self, operation: str, *paths: str) -> None:
            if operation == "sync" and paths[0].endswith("00000000.seg"):
                self.calls += 1
                if self.calls == 1:
                    try:
                        self.fail("sync", errno.EIO, "*00000000.seg")
                        super().enter(operation, *paths)
                    finally:
                        failing.set()
            super().enter(operation, *paths)

    fs = TellsOne()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    stream.append("e-0")
    anew = syncer._write_anew
    first = threading.current_thread()

    def late(problem: str) -> bool:
        if threading.current_thread() is not first:
            assert go_on.wait(60)
        return anew(problem)

    syncer._write_anew = late  # type: ignore[method-assign]

    def through() -> None:
        with contextlib.suppress(Stopped):  # its machine has lost its power
            syncer.through(0)

    other = threading.Thread(target=through)
    other.start()
    assert failing.wait(60)
    assert syncer.through(0)  # it waits for a while, calls fdatasync itself, and that succeeds
    assert stream.writer.tail_number == 1
    survived = survivors(stream, fs.crash(random.Random(5)))
    go_on.set()
    other.join(60)
    assert survived == {"e-0"}


def test_after_an_exception_in_the_middle_a_success_is_not_trusted() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    stream.append("e-0")
    fs.interrupt(after=1)  # the directory; then the segment
    with pytest.raises(Stopped):
        syncer.sync()
    fs.interrupt(None)
    assert syncer.sync()
    assert stream.writer.tail_number == 1
    stream.check()


def test_a_handlers_timeout_in_a_synchronisation_goes_to_whom_it_is_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always")
    stream.append("e-0")

    def time_out(segment: Segment) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "sync", time_out)
        with pytest.raises(TimeoutError):
            syncer.sync()
    assert problem(syncer) is None
    assert syncer.sync()


@pytest.mark.parametrize("trouble", ["vanished", "read-only", "inodes"])
def test_a_disk_that_takes_no_file_is_told_and_recovered_from(trouble: str) -> None:
    fs = SimulatedFileSystem()
    clock = Clock()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, "always", monotonic=clock)
    stream.append("e-0")
    fs.fail("sync", errno.EIO, "*.seg")
    if trouble == "read-only":
        fs.read_only = True
    elif trouble == "inodes":
        fs.disk.inodes = 1
    else:
        fs.fail("create", errno.ENOENT, "*.seg", times=None)
    assert not syncer.sync()
    assert problem(syncer)
    assert stream.problem()
    fs.read_only = False
    fs.disk.inodes = None
    fs.heal()
    clock.now += 60
    assert syncer.sync()
    assert problem(syncer) is None
    assert stream.problem() is None
    stream.check()


def problem(syncer: Syncer) -> str | None:
    return syncer.problem


def synced(syncer: Syncer) -> int:
    return syncer.synced


def run(syncer: Syncer) -> threading.Thread:
    thread = threading.Thread(target=syncer.run, daemon=True)
    thread.start()
    return thread


def test_the_thread_sleeps_until_something_is_appended_and_ends_when_closed() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, interval=0.001)
    naps: list[float] = []
    nap = syncer._nap

    def counted(seconds: float) -> None:
        naps.append(seconds)
        nap(seconds)

    syncer._nap = counted  # type: ignore[method-assign]
    thread = run(syncer)
    until(lambda: syncer.idle)
    stream.append("e-0")
    assert syncer.idle
    assert synced(syncer) == 0
    syncer.wake()
    until(lambda: syncer.synced == 1)
    until(lambda: syncer.idle)
    assert naps == [60.0, 0.001, 60.0]
    syncer.close()
    thread.join(60)
    assert not thread.is_alive()


def test_the_thread_does_nothing_in_the_mode_never() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    stream.append("e-0")
    syncer = Syncer(fs, stream.writer, "never")
    thread = run(syncer)
    until(lambda: syncer.idle)
    syncer.close()
    thread.join(60)
    assert not any(operation == "sync" and path.endswith(".seg") for operation, path in fs.log)


def test_the_thread_outlives_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, interval=0.001)
    stream.append("e-0")
    broken = True

    def sync(segment: Segment, real: Callable[[Segment], None] = Segment.sync) -> None:
        if broken:
            raise RuntimeError("unforeseen")
        real(segment)

    monkeypatch.setattr(Segment, "sync", sync)
    thread = run(syncer)
    until(lambda: syncer.problem == "RuntimeError: unforeseen")
    broken = False
    until(lambda: syncer.synced == 1)
    assert problem(syncer) is None
    syncer.close()
    thread.join(60)


def test_appending_goes_on_while_a_synchronisation_takes_its_time() -> None:
    entered = threading.Event()
    gate = threading.Event()

    class Gated(SimulatedFileSystem):
        def enter(self, operation: str, *paths: str) -> None:
            super().enter(operation, *paths)
            if operation == "sync" and paths[0].endswith(".seg"):
                entered.set()
                assert gate.wait(60)

    fs = Gated()
    stream = Stream(fs)
    syncer = Syncer(fs, stream.writer, interval=0.001)
    stream.append("e-0")
    thread = run(syncer)
    assert entered.wait(60)
    for number in range(1, 100):
        stream.append(f"e-{number}")
    assert synced(syncer) == 0
    gate.set()
    until(lambda: syncer.synced == 100)
    syncer.close()
    thread.join(60)
    assert not thread.is_alive()


def test_nothing_is_to_be_synchronised_before_there_is_anything() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    assert Syncer(fs, stream.writer).sync()
