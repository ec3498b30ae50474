from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from stream_files import PRINT, STREAM, Stream, event, is_written

from auditwire.journal import parked as module
from auditwire.journal.base import Record
from auditwire.journal.budget import Budget
from auditwire.journal.format import MAX_SEQUENCE, PARKED
from auditwire.journal.parked import FIRST_FILE, LARGER_FILE, ParkedLog
from auditwire.journal.recovery import Unreadable
from auditwire.journal.segment import Segment, SegmentDamaged
from auditwire.wire import join_body
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Sequence

INFO = {"host": "h-1"}


def record(sequence: int, size: int = 0) -> Record:
    draft = event(sequence)
    body = join_body(draft.head, sequence, draft.tail) + bytes(size)
    return Record(sequence, *draft[:6], body, 0, PRINT)


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


def log(stream: Stream, **other: object) -> ParkedLog:
    return ParkedLog(stream.journal, stream.directory, INFO, **other)  # type: ignore[arg-type]


def files(stream: Stream) -> list[str]:
    folder = Path(stream.directory.parked_path)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def park(parked: ParkedLog, sequences: Sequence[int]) -> dict[int, int]:
    return {sequence: parked.append(record(sequence)) for sequence in sequences}


def test_a_copy_is_read_again_by_its_position(stream: Stream) -> None:
    owner = object()
    parked = log(stream, origin=owner)
    positions = park(parked, [9, 3, 7])
    parked.sync()
    for sequence, position in positions.items():
        again = parked.read(position)
        assert is_written(again)
        assert (again.sequence, again.position, again.origin) == (sequence, position, owner)
        assert position & PARKED
        assert again.fingerprint == PRINT
    parked.close()
    assert parked.read(positions[3]).sequence == 3  # opens the file again
    parked.close()
    parked.close()


def test_a_copy_is_read_by_the_reader_of_the_stream_too(stream: Stream) -> None:
    stream.write(0, range(5))
    parked = log(stream)
    positions = park(parked, [1, 2])
    reader = stream.reader()
    assert reader.read(positions[2]).sequence == 2
    assert reader.read(positions[1]).position == positions[1]


def test_a_copy_with_a_number_that_no_stream_reaches_is_damage(stream: Stream) -> None:
    parked = log(stream)
    park(parked, [9, MAX_SEQUENCE + 1])
    parked.close()
    again = log(stream)
    assert [record.sequence for record in again.load()] == [9]
    assert [damage.reason for damage in again.unreadable] == ["sequence"]
    again.close()


def test_copies_can_be_made_of_a_stream_whose_description_has_a_lone_surrogate(stream: Stream) -> None:
    parked = ParkedLog(stream.journal, stream.directory, {"service": "\udce9"})
    assert parked.read(parked.append(record(9))).sequence == 9
    parked.close()


@pytest.mark.parametrize("restarted", [True, False])
def test_a_copy_that_a_killed_process_had_begun_is_damage_only_after_a_restart(
    stream: Stream, restarted: bool
) -> None:
    parked = log(stream)
    position = park(parked, [9])[9]
    end = parked._offset
    parked.close()
    file = Path(stream.directory.parked_path) / files(stream)[0]
    with file.open("r+b") as opened:
        opened.seek(end + 4096)
        opened.write(b"the last bytes of a body")
    again = log(stream)
    assert [(r.sequence, r.position) for r in again.load(restarted=restarted)] == [(9, position)]
    assert [damage.reason for damage in again.unreadable] == (["zeros"] if restarted else [])
    again.close()


def test_nothing_is_made_before_the_first_copy(stream: Stream) -> None:
    parked = log(stream)
    parked.sync()
    assert list(parked.load()) == []
    assert (parked.first_outstanding, parked.size, len(parked)) == (None, 0, 0)
    assert not Path(stream.directory.parked_path).exists()


def test_the_least_copy_that_is_not_done_is_known(stream: Stream) -> None:
    parked = log(stream)
    park(parked, [5, 3, 8])
    assert parked.first_outstanding == 3
    parked.done(8)
    parked.done(3)
    parked.done(4)  # no copy
    assert parked.first_outstanding == 5
    park(parked, [2])
    assert (parked.first_outstanding, len(parked)) == (2, 2)


def test_a_file_goes_when_all_copies_in_it_are_done(stream: Stream) -> None:
    parked = log(stream)
    park(parked, [1, 2])
    parked.sync()
    assert parked.size == FIRST_FILE
    assert files(stream) == ["00000000.seg"]
    parked.done(1)
    assert files(stream) == ["00000000.seg"]
    parked.done(2)
    assert files(stream) == []
    assert (parked.size, parked.first_outstanding, len(parked)) == (0, None, 0)
    position = parked.append(record(4))
    assert files(stream) == ["00000001.seg"]  # no number is used twice
    assert parked.read(position).sequence == 4


def test_the_second_copy_of_a_record_is_done_with_the_first(stream: Stream) -> None:
    parked = log(stream)
    park(parked, [1])
    park(parked, [1, 2])
    parked.done(1)
    assert parked.first_outstanding == 2
    parked.done(2)
    assert files(stream) == []


def test_copies_fill_file_after_file(stream: Stream) -> None:
    parked = log(stream)
    positions = {n: parked.append(record(n, 300_000)) for n in range(10)}
    assert files(stream) == ["00000000.seg", "00000001.seg"]
    assert parked.size == FIRST_FILE + LARGER_FILE
    for sequence, position in positions.items():
        assert parked.read(position).sequence == sequence  # of both, before they are synced
    parked.sync()
    for sequence, position in positions.items():
        assert parked.read(position).sequence == sequence
    for sequence in range(3):
        parked.done(sequence)
    assert files(stream) == ["00000001.seg"]
    with pytest.raises(FileNotFoundError):
        parked.read(positions[0])


def test_copies_that_were_synced_are_read_when_their_file_is_full(stream: Stream) -> None:
    parked = log(stream)
    positions = park(parked, [1])
    parked.sync()
    positions[2] = parked.append(record(2, FIRST_FILE))
    assert [parked.read(position).sequence for position in positions.values()] == [1, 2]


def test_few_files_stay_open(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGER_FILE", FIRST_FILE)
    parked = log(stream)
    positions = [parked.append(record(n, 600_000)) for n in range(8)]
    parked.sync()
    assert len(parked._segments()) == module._OPEN + 1
    assert [parked.read(position).sequence for position in positions] == list(range(8))
    assert len(parked._segments()) == module._OPEN + 1
    parked.abandon()


def test_a_record_larger_than_a_file_gets_a_file_of_its_own(stream: Stream) -> None:
    parked = log(stream)
    position = parked.append(record(1, 3 << 20))
    assert len(parked.read(position).body) > 3 << 20
    assert parked.size > 3 << 20


def test_the_next_process_finds_all_copies(stream: Stream) -> None:
    first = log(stream)
    positions = park(first, [4, 2, 9])
    first.sync()
    first.close()
    second = log(stream)
    loaded = list(second.load())
    assert {r.sequence: r.position for r in loaded} == positions
    assert all(map(is_written, loaded))
    assert (second.first_outstanding, len(second), second.size) == (2, 3, FIRST_FILE)
    more = park(second, [11])
    assert files(stream) == ["00000000.seg", "00000001.seg"]
    assert second.read(more[11]).sequence == 11
    assert second.read(positions[9]).sequence == 9
    for sequence in (4, 2, 9):
        second.done(sequence)
    assert files(stream) == ["00000001.seg"]
    assert list(second.load()) == []  # it has them


def test_what_is_damaged_is_named_and_the_rest_is_loaded(stream: Stream) -> None:
    parked = log(stream)
    positions = park(parked, range(20))
    parked.close()
    path = Path(stream.directory.parked_path) / "00000000.seg"
    raw = bytearray(path.read_bytes())
    start = positions[5] & 0xFFFF_FFFF
    raw[start + 60] ^= 1
    path.write_bytes(raw)
    again = log(stream)
    assert [r.sequence for r in again.load()] == [n for n in range(20) if n != 5]
    assert again.unreadable == [Unreadable(0, start, positions[6] & 0xFFFF_FFFF, "checksum")]
    with pytest.raises(SegmentDamaged):
        again.read(positions[5])


def test_a_file_that_is_no_copy_of_this_stream_is_named_and_left(stream: Stream) -> None:
    parked = log(stream)
    park(parked, [1])
    parked.close()
    folder = Path(stream.directory.parked_path)
    (folder / "00000001.seg").write_bytes((folder / "00000000.seg").read_bytes())
    (folder / "00000002.seg").write_bytes(b"what is this")
    (folder / "2.seg").write_bytes(b"nor this")
    (folder / "notes.txt").write_bytes(b"nor this")
    stream.write(3, range(2))
    Path(stream.path(3)).rename(folder / "00000003.seg")
    again = log(stream)
    assert [r.sequence for r in again.load()] == [1]
    assert [(d.segment, d.reason) for d in again.unreadable] == [
        (1, "number"),
        (2, "truncated"),
        (3, "number"),
    ]
    assert len(files(stream)) == 6


def test_a_copy_that_was_never_published_is_no_damage(stream: Stream) -> None:
    parked = log(stream)
    positions = park(parked, [1, 2])
    parked.close()
    path = Path(stream.directory.parked_path) / "00000000.seg"
    for sequence, left in ((2, [1]), (1, [])):
        raw = bytearray(path.read_bytes())
        place = positions[sequence] & 0xFFFF_FFFF
        raw[place : place + 8] = bytes(8)
        if sequence == 1:
            raw[positions[2] & 0xFFFF_FFFF :] = bytes(len(raw) - (positions[2] & 0xFFFF_FFFF))
        path.write_bytes(raw)
        again = log(stream)
        assert [r.sequence for r in again.load()] == left
        assert again.unreadable == []
    assert files(stream) == []


def test_a_file_of_which_nothing_can_be_read_stays(stream: Stream) -> None:
    parked = log(stream)
    position = park(parked, [1])[1]
    parked.close()
    path = Path(stream.directory.parked_path) / "00000000.seg"
    raw = bytearray(path.read_bytes())
    raw[(position & 0xFFFF_FFFF) + 60] ^= 1
    path.write_bytes(raw)
    again = log(stream)
    assert list(again.load()) == []
    assert len(again.unreadable) == 1
    assert files(stream) == ["00000000.seg"]


def test_files_in_which_nothing_was_written_are_removed(stream: Stream) -> None:
    folder = Path(stream.directory.parked_path)
    folder.mkdir()
    (folder / "00000000.seg").write_bytes(bytes(5000))  # killed while it was made
    Segment.create(
        stream.fs,
        str(folder / "00000001.seg"),
        stream_id=STREAM,
        number=1,
        first_sequence=5,
        info=INFO,
        size=4096,
        parked=True,
    ).close()
    parked = log(stream)
    assert list(parked.load()) == []
    assert files(stream) == []
    assert parked.unreadable == []
    parked.append(record(1))
    assert files(stream) == ["00000002.seg"]


def test_the_bytes_are_counted_in_the_bound(stream: Stream) -> None:
    budget = Budget(stream.journal, FIRST_FILE + (FIRST_FILE >> 1), lambda: 0.0)
    before = budget.used
    parked = log(stream, budget=budget)
    parked.append(record(1))
    assert budget.used == before + FIRST_FILE
    park(parked, range(2, 50))
    with pytest.raises(OSError, match="space") as caught:
        parked.append(record(50, FIRST_FILE))
    assert caught.value.errno == errno.ENOSPC
    assert parked.first_outstanding == 1
    for sequence in range(1, 50):
        parked.done(sequence)
    assert budget.used == before


def test_with_room_for_a_small_file_only_a_small_one_is_made(stream: Stream) -> None:
    budget = Budget(stream.journal, 3 * FIRST_FILE, lambda: 0.0)
    parked = log(stream, budget=budget)
    for sequence in range(4):
        parked.append(record(sequence, 300_000))
    assert parked.size == 2 * FIRST_FILE


def test_copies_that_a_process_before_left_unsynced_are_synced_too(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    fs.sync()
    first = log(stream)
    park(first, [1, 2])
    first.close()
    second = log(stream)
    assert len(list(second.load())) == 2
    second.sync()
    third = log(Stream(Path("/"), fs.crash(random.Random(0))))
    assert [r.sequence for r in third.load()] == [1, 2]
    third.done(1)
    third.done(2)
    third.sync()  # nothing is left of them
    assert third.size == 0


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_file_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    parked = log(stream)
    fs.fail("reserve", number, "*/parked/*", times=1)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is what is looked at
        parked.append(record(1))
    assert caught.value.errno == number
    assert fs.list(stream.directory.parked_path) == []
    assert parked.first_outstanding is None
    parked.append(record(1))
    assert parked.first_outstanding == 1


def test_a_sync_that_failed_is_tried_again(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    parked = log(stream)
    parked.append(record(1))
    fs.fail("sync", errno.EIO, "*/parked/*", times=1)
    with pytest.raises(OSError, match="error"):
        parked.sync()
    assert parked._unsynced
    parked.sync()
    assert not parked._unsynced


def test_a_file_that_cannot_be_removed_is_removed_with_the_next(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    parked = log(stream)
    park(parked, [1])
    fs.fail("unlink", errno.EIO, "*/parked/*", times=1)
    with pytest.raises(OSError, match="error"):
        parked.done(1)
    assert parked.first_outstanding is None
    park(parked, [2])
    parked.done(2)
    assert fs.list(stream.directory.parked_path) == []


class ParkedMachine(RuleBasedStateMachine):
    """Copies that come and go, and processes that come and go, against a dictionary."""

    @initialize()
    def begin(self) -> None:
        self.fs = SimulatedFileSystem()
        self.stream = Stream(Path("/"), self.fs)
        self.fs.sync()
        self.parked = log(self.stream)
        self.positions: dict[int, int] = {}
        self.synced: set[int] = set()

    @rule(sequence=st.integers(0, 60), size=st.sampled_from([0, 10, 30_000, 90_000]))
    def park(self, sequence: int, size: int) -> None:
        if sequence not in self.positions:
            self.positions[sequence] = self.parked.append(record(sequence, size))

    @rule(sequence=st.integers(0, 60))
    def done(self, sequence: int) -> None:
        self.parked.done(sequence)
        self.positions.pop(sequence, None)
        self.synced.discard(sequence)

    @rule()
    def sync(self) -> None:
        self.parked.sync()
        self.synced = set(self.positions)

    @rule()
    def restart(self) -> None:
        self.parked.close()
        self._reopen(self.fs, set(self.positions))

    @rule(seed=st.integers(0, 1 << 30))
    def crash(self, seed: int) -> None:
        self._reopen(self.fs.crash(random.Random(seed)), self.synced)

    def _reopen(self, fs: SimulatedFileSystem, least: set[int]) -> None:
        self.fs = fs
        self.stream = Stream(Path("/"), fs)
        self.parked = log(self.stream)
        loaded = {r.sequence: r.position for r in self.parked.load()}
        assert least <= set(loaded)
        # what was done before may be there again, for that is not written down
        self.positions = loaded
        self.synced &= set(loaded)

    @invariant()
    def all_copies_are_there(self) -> None:
        assert self.parked.first_outstanding == min(self.positions, default=None)
        for sequence, position in self.positions.items():
            assert self.parked.read(position).sequence == sequence


def test_copies_are_there_until_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_FILE", 64 << 10)
    monkeypatch.setattr(module, "LARGER_FILE", 256 << 10)
    run_state_machine_as_test(
        ParkedMachine,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None),
    )
