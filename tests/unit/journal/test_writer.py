from __future__ import annotations

import errno
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from writing import FIRST, Stream, draft, in_thread, shrink

from auditwire.errors import ConfigurationError, SchemaError
from auditwire.journal import making, writer
from auditwire.journal.budget import Budget
from auditwire.journal.filesystem import REAL
from auditwire.journal.making import Refusal
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import Segment
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.directory import StreamDirectory


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, rotate_seconds=1)


class Moody(Budget):
    """Has no room every third time."""

    asked = 0

    def room_for(self, size: int) -> bool:
        self.asked += 1
        return self.asked % 3 != 0 and super().room_for(size)


def unmapped() -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    fs.fail("map", errno.ENODEV, times=None)
    return fs


# -- many threads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget, Moody])
def test_eight_threads_write_one_stream_without_a_hole(tmp_path: Path, budget: type[Budget]) -> None:
    stream = Stream(REAL, str(tmp_path), budget=budget)
    assert stream.writer.begin() or stream.writer.begin()
    failures: list[BaseException] = []

    def run(number: int) -> None:
        pick = random.Random(number)
        try:
            for count in range(400):
                stream.append(f"{number}-{count}", pick.randrange(400), control=pick.random() < 0.05)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(before)
    assert not failures
    assert len(stream.answers) == 3200
    names = stream.check()
    refused = [name for name, answer in stream.answers.items() if isinstance(answer, Refusal)]
    assert len(names) == 3200 - len(refused)
    assert bool(refused) == (budget is Moody)
    assert stream.writer.tail_number > 50
    for number in range(8):  # each thread's in its own order
        mine = [int(name.split("-")[1]) for name in names if name.startswith(f"{number}-")]
        assert mine == sorted(mine)
    reader = StreamReader(REAL, stream.path.open_stream(stream.stream_id), verify=True, live=lambda: True)
    assert [record.event_id for record in reader.take(1 << 20)] == names
    reader.close()


# -- places -----------------------------------------------------------------------------------------------


def test_the_next_segment_begins_where_the_last_one_was_sealed() -> None:
    stream = Stream(SimulatedFileSystem())
    stream.fill()
    assert stream.writer.tail_number == 0
    sequence = stream.append("first-of-the-next")
    assert stream.writer.tail_number == 1
    assert sorted(stream.writer.segments) == [0, 1]
    assert stream.writer.segments[1].first_sequence == sequence
    assert stream.check()[-1] == "first-of-the-next"


def test_only_control_records_use_the_reserve() -> None:
    stream = Stream(SimulatedFileSystem(), capacity=6 * FIRST)
    while not isinstance(refused := stream.append(f"e-{len(stream.begun)}"), Refusal):
        pass
    assert refused == Refusal("the journal is full", room=True)
    assert not isinstance(stream.append("control", control=True), Refusal)
    assert isinstance(stream.append("not-a-control"), Refusal)
    stream.check()


def test_an_event_larger_than_a_segment_gets_one_of_its_size() -> None:
    stream = Stream(SimulatedFileSystem())
    stream.append("small")
    assert stream.append("large", 20 * FIRST) == 1
    assert stream.append("after") == 2
    assert stream.check() == ["small", "large", "after"]


def test_a_stream_that_describes_itself_at_length_takes_no_event_that_does_not_fit() -> None:
    stream = Stream(SimulatedFileSystem())
    stream.writer._maker._info = {"words": "w" * 3000}
    assert stream.append("e-0") == 0
    stream.append("e-1", 300)
    answer = stream.append("large", 2400)
    assert isinstance(answer, Refusal)
    assert "description" in answer.reason
    stream.check()


def test_what_was_written_is_counted_over_all_segments() -> None:
    stream = Stream(SimulatedFileSystem())
    assert (stream.writer.written, stream.writer.next_sequence, stream.writer.tail_number) == (0, 0, -1)
    for number in range(100):
        stream.append(f"e-{number}", number)
    reader = StreamReader(stream.fs, stream.path.open_stream(stream.stream_id), live=lambda: True)
    assert sum(record.size for record in reader.take(1000)) == stream.writer.written
    before = stream.writer.written
    stream.writer.replace(95)
    assert stream.writer.written == before
    reader.close()


def test_what_is_left_is_unmapped_so_that_its_disk_can_be_used_again() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    for number in range(200):
        stream.append(f"e-{number}", 300)
        for old in sorted(stream.writer.segments)[:-1]:
            stream.writer.segments.pop(old).abandon()
    assert stream.writer.tail_number > 10
    mapped = [inode for inode in fs.disk.contents() if inode.mappings()]
    assert len(mapped) <= 2


# -- refusals ---------------------------------------------------------------------------------------------


def test_a_disk_without_room_refuses_and_takes_again_by_itself() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    stream.fill()
    fs.fail("reserve", errno.ENOSPC, "*.seg", times=None)
    answer = stream.append("refused")
    assert isinstance(answer, Refusal)
    assert answer.room
    assert "No space" in str(stream.problem())
    fs.heal()
    assert not isinstance(stream.append("taken"), Refusal)
    assert stream.problem() is None
    stream.check()


def test_a_file_that_cannot_be_made_is_not_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_RETRY_SECONDS", 0.25)
    now = 0.0
    fs = SimulatedFileSystem()
    stream = Stream(fs, monotonic=lambda: now)
    stream.fill()
    fault = fs.fail("create", errno.ENOSPC, "*.seg", times=None)
    assert stream.room()
    assert isinstance(stream.append("a"), Refusal)
    hits = fault.hits
    assert isinstance(stream.append("b"), Refusal)
    assert fault.hits == hits
    assert not stream.room()
    now = 0.3
    assert stream.room()
    assert isinstance(stream.append("c"), Refusal)
    assert fault.hits > hits


def test_there_is_no_room_until_there_is_enough_for_what_was_refused() -> None:
    stream = Stream(SimulatedFileSystem(), capacity=12 * FIRST)
    stream.append("small")
    assert stream.room()
    assert isinstance(stream.append("large", 20 * FIRST), Refusal)
    assert not stream.room()  # else who waits for room would ask again and again
    stream.budget.capacity = 100 * FIRST
    assert stream.room()
    assert not isinstance(stream.append("large-again", 20 * FIRST), Refusal)


def test_a_directory_that_cannot_be_made_refuses_until_it_can() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    fs.fail("mkdir", errno.ENOSPC, times=2)
    assert not stream.writer.begin()
    assert isinstance(stream.append("a"), Refusal)
    assert stream.problem() is not None
    assert stream.writer.begin()
    assert stream.append("b") == 0
    assert stream.problem() is None


def test_a_directory_is_not_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_RETRY_SECONDS", 0.25)
    fs = SimulatedFileSystem()
    stream = Stream(fs, monotonic=lambda: 0.0)
    fault = fs.fail("mkdir", errno.ENOSPC, times=None)
    assert not stream.writer.begin()
    assert isinstance(stream.append("a"), Refusal)
    assert fault.hits == 1


def test_a_path_that_was_changed_for_good_is_told_to_begin_and_refuses_events() -> None:
    def make_directory() -> StreamDirectory:
        raise ConfigurationError("journal", "it may not be written")

    stream = Stream(SimulatedFileSystem())
    stream.writer._make_directory = make_directory
    with pytest.raises(ConfigurationError):
        stream.writer.begin()
    answer = stream.append("a")
    assert isinstance(answer, Refusal)
    assert "may not be written" in answer.reason
    assert stream.problem() == answer.reason


def test_a_timeout_of_a_signal_handler_is_no_fault_of_the_directory() -> None:
    def make_directory() -> StreamDirectory:
        raise TimeoutError

    stream = Stream(SimulatedFileSystem())
    stream.writer._make_directory = make_directory
    with pytest.raises(TimeoutError):
        stream.writer.begin()
    assert stream.problem() is None


def test_an_event_that_cannot_be_packed_is_refused_and_disturbs_nobody() -> None:
    stream = Stream(SimulatedFileSystem())
    stream.append("before")
    bad = draft("bad")._replace(trace=b"not a traceparent")
    answer = stream.writer.append(bad)
    assert isinstance(answer, Refusal)
    assert not answer.room
    assert "traceparent" in answer.reason
    stream.append("after")
    assert stream.check() == ["before", "after"]


def test_an_event_of_no_known_type_raises_where_it_is_appended() -> None:
    stream = Stream(SimulatedFileSystem())
    with pytest.raises(SchemaError):
        stream.writer.append(draft("bad")._replace(event_type="no_such_type"))
    stream.append("after")
    assert stream.check() == ["after"]


def test_an_entry_that_keeps_failing_does_not_stop_the_others() -> None:
    stream = Stream(SimulatedFileSystem())
    stream.append("before")
    bad = draft("bad")._replace(key=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        stream.writer.append(bad)
    for number in range(2):
        with pytest.raises(TypeError):
            stream.append(f"behind-{number}")
    assert stream.append("after") == 3
    assert stream.check(interrupted=frozenset({"behind-0", "behind-1"})) == [
        "before",
        "behind-0",
        "behind-1",
        "after",
    ]


def test_a_published_record_is_not_refused_however_often_its_appends_are_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Struck(Exception):  # noqa: N818 - as what handlers raise
        pass

    stream = Stream(SimulatedFileSystem())
    stream.append("before")
    inbox = stream.writer._inbox
    store = Segment.store

    def strikes(segment: Segment, offset: int, payload: bytes) -> int:
        store(segment, offset, payload)
        raise Struck

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "store", strikes)
        for number in range(5):
            with pytest.raises(Struck):
                stream.append(f"struck-{number}")
    entry = inbox[0]
    stream.append("after")
    assert not entry.open
    assert entry.refused is None
    assert not isinstance(entry.places[0], Refusal)
    struck = [f"struck-{number}" for number in range(5)]
    assert stream.check(interrupted=frozenset(struck)) == ["before", *struck, "after"]


# -- plain writes -----------------------------------------------------------------------------------------


def test_a_write_that_fails_refuses_its_event_and_leaves_the_segment() -> None:
    fs = unmapped()
    stream = Stream(fs)
    stream.append("before")
    fs.fail("write", errno.EIO, "*00000000.seg", times=1)
    answer = stream.append("refused")
    assert isinstance(answer, Refusal)
    assert stream.problem() == answer.reason
    assert stream.append("after") == 1
    assert stream.writer.tail_number == 1
    assert stream.problem() is None
    assert stream.check() == ["before", "after"]


def test_a_record_that_another_thread_stored_is_not_refused() -> None:
    fs = unmapped()
    stream = Stream(fs)
    stream.append("before")

    def helped() -> None:
        real.__class__.write(real, *held)
        raise OSError(errno.EIO, "told to one only", real.path)

    segment = stream.writer.segments[0]
    real = segment._file
    held: tuple[int, bytes] = (0, b"")

    class Told:
        def write(self, offset: int, data: bytes) -> None:
            nonlocal held
            held = offset, data
            if len(data) == 8:
                helped()
            real.write(offset, data)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    segment._file = Told()  # type: ignore[assignment]
    assert stream.append("stored") == 1
    segment._file = real
    assert stream.append("after") == 2
    assert stream.check() == ["before", "stored", "after"]


def test_a_segment_that_cannot_be_read_refuses() -> None:
    fs = unmapped()
    stream = Stream(fs)
    stream.append("before")
    fs.fail("read", errno.ENOMEM, "*.seg", times=None)
    answer = stream.append("refused")
    assert isinstance(answer, Refusal)
    assert stream.writer.next_sequence in {0, 1}
    fs.heal()
    assert stream.append("after") == 1
    assert stream.check() == ["before", "after"]


def test_an_end_that_cannot_be_written_refuses_what_would_have_come_behind() -> None:
    fs = unmapped()
    stream = Stream(fs)
    stream.fill()
    fs.fail("write", errno.EIO, "*00000000.seg", times=1)
    assert isinstance(stream.append("refused"), Refusal)
    assert not isinstance(stream.append("after"), Refusal)
    assert stream.check()[-1] == "after"


# -- written anew -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_fs", [SimulatedFileSystem, unmapped])
def test_everything_from_a_sequence_on_is_written_anew(make_fs: Callable[[], SimulatedFileSystem]) -> None:
    stream = Stream(make_fs())
    for number in range(60):
        stream.append(f"e-{number}")
    assert stream.writer.tail_number > 1
    assert stream.writer.replace(20) == 60
    newest = stream.writer.segments[stream.writer.tail_number]
    assert newest.first_sequence == 20
    assert stream.append("after") == 60
    names = stream.check()
    assert len(names) == 61
    reader = StreamReader(stream.fs, stream.path.open_stream(stream.stream_id), live=lambda: True)
    assert [record.event_id for record in reader.take(1000)] == names
    reader.close()


def test_writing_anew_twice_writes_each_record_once() -> None:
    stream = Stream(SimulatedFileSystem())
    for number in range(5):
        stream.append(f"e-{number}")
    stream.writer.replace(2)
    stream.append("e-5")
    stream.writer.replace(1)
    newest = stream.writer.segments[stream.writer.tail_number]
    records, _ = newest.take(newest.start, None, 100, verify=True)
    assert [record.sequence for record in records] == [1, 2, 3, 4, 5]
    stream.check()


def test_memory_that_somebody_changed_is_not_written_anew() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    stream.append("e-0")
    fs.corrupt(stream.writer.segments[0].path, stream.writer.segments[0].start + 50, b"?")
    answer = stream.writer.replace(0)
    assert isinstance(answer, Refusal)
    assert "damaged" in answer.reason
    assert stream.append("after") == 1


def test_nothing_to_write_anew_begins_a_segment() -> None:
    stream = Stream(SimulatedFileSystem())
    assert stream.writer.replace(0) == 0
    assert stream.append("e-0") == 0
    assert stream.writer.tail_number == 1
    stream.check()


# -- the end ----------------------------------------------------------------------------------------------


def test_after_the_seal_nothing_but_control_records_is_published() -> None:
    stream = Stream(SimulatedFileSystem())
    stop = False

    def run(number: int) -> None:
        count = 0
        while not stop:
            stream.append(f"{number}-{count}")
            count += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while stream.writer.next_sequence < 50:
            pass
        stream.writer.seal()
        sealed = stream.writer.next_sequence
        assert stream.append("closing", control=True) == sealed
        while not any(isinstance(answer, Refusal) for answer in list(stream.answers.values())):
            pass
    finally:
        stop = True
        for thread in threads:
            thread.join(60)
        sys.setswitchinterval(before)
    names = stream.check()
    assert names[-1] == "closing"
    assert len(names) == sealed + 1
    assert stream.append("late") == Refusal("the collector is closed", room=False)


def test_a_forked_child_never_touches_its_parents_files() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    stream.append("before")
    files = fs.files()
    stream.writer.after_fork()
    answer = stream.append("of the child", control=True)
    assert isinstance(answer, Refusal)
    assert "parent" in answer.reason
    assert isinstance(stream.writer.replace(0), Refusal)
    assert fs.files() == files
    assert not any(inode.mappings() for inode in fs.disk.contents())
    assert stream.writer.next_sequence == 0


def test_a_child_that_was_forked_before_anything_was_written_opens_nothing() -> None:
    fs = SimulatedFileSystem()
    stream = Stream(fs)
    stream.writer.after_fork()
    assert not stream.writer.begin()
    assert isinstance(stream.append("of the child"), Refusal)
    assert stream.directory is None


def test_whoever_waits_for_a_thread_that_makes_a_segment_goes_on_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that makes it may be in a signal handler that waits for the other."""
    monkeypatch.setattr(writer, "_ROTATE_SECONDS", 0.05)
    stream = Stream(SimulatedFileSystem())
    stream.fill()
    create = stream.writer._maker._create
    nested = False

    def create_and_wait(path: str, number: int, first_sequence: int, size: int) -> Segment:
        nonlocal nested
        if not nested:
            nested = True
            in_thread(lambda: stream.append("of the other thread"))
        return create(path, number, first_sequence, size)

    stream.writer._maker._create = create_and_wait  # type: ignore[method-assign]
    stream.append("own")
    assert stream.check()[-2:] == ["own", "of the other thread"]


def test_whoever_waits_finds_the_segment_that_another_thread_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_ROTATE_SECONDS", 60)
    stream = Stream(SimulatedFileSystem())
    stream.fill()
    begun = threading.Event()
    go_on = threading.Event()
    create = stream.writer._maker._create

    def slow(path: str, number: int, first_sequence: int, size: int) -> Segment:
        begun.set()
        assert go_on.wait(60)
        return create(path, number, first_sequence, size)

    stream.writer._maker._create = slow  # type: ignore[method-assign]
    first = threading.Thread(target=stream.append, args=("first",))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(target=stream.append, args=("second",))
    second.start()
    while len(stream.writer._making._row) < 2:
        pass
    go_on.set()
    first.join(60)
    second.join(60)
    assert stream.check()[-2:] == ["first", "second"]
    assert stream.numbers() == [0, 1]


@pytest.mark.parametrize("scenario", ["raise", "time-out", "emit", "wait"])
def test_thousands_of_signals_leave_whole_records_or_none(scenario: str) -> None:
    script = Path(__file__).with_name("interrupted_appends.py")
    done = subprocess.run(
        [sys.executable, str(script), scenario], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.stdout == "whole\n", done.stderr
