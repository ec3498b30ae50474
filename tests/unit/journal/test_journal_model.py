"""The disk journal as a whole, against a model: processes that emit, die, lose power, and are adopted.

The model knows what was accepted, what the journal called synchronised, and what was done with. What ought to
be readable is found without the journal's own reader: `copies` looks for the bytes of each accepted record in
the files.
"""

from __future__ import annotations

import contextlib
import errno
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID
from zlib import crc32

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from auditwire.errors import JournalFull
from auditwire.journal.base import Draft, Record
from auditwire.journal.cursor import Cursor
from auditwire.journal.disk import DiskJournal
from auditwire.journal.layout import JournalPath
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import HEADER, HEADER_SIZE, MAGIC, VERSION, pack
from auditwire.wire import join_body, schema_for
from support.simulated_fs import SimulatedFileSystem, Stopped

if TYPE_CHECKING:
    from auditwire.journal.locks import Lock
    from auditwire.journal.syncing import SyncMode

PATH = "/journal"
CAPACITY = 8 << 20  # segments of 1 MiB, which a few large records fill
FINGERPRINT = schema_for("turn_start").fingerprint
EVERYTHING = 1 << 30
SIZES = st.lists(st.sampled_from([0, 40, 400, 5_000, 70_000, 300_000, 500_000]), min_size=1, max_size=8)
WAYS = [*["bit", "word", "sequence", "page"] * 2, "header", "newer", "cut", "remove", "double", "foreign"]
"""To damage a stream's segments."""


def draft_of(number: int, size: int, pattern: str, key: str) -> Draft:
    """A draft that no other is equal to, with a body of about this size.

    Args:
        number: Which one.
        size: Bytes behind the sequence.
        pattern: ``zeros``; ``random``; or ``records``: what a search might take for records.
        key: The Kafka key.
    """
    if pattern == "zeros":
        tail = bytes(size)
    elif pattern == "random":
        tail = random.Random(number).randbytes(size)
    else:
        # well-formed, with numbers that may be the next ones, and the checksum of a segment without a salt
        tail = b""
        for sequence in range(min(64, 1 + size // 100)):
            payload = pack(draft_of(number, 8, "random", key), sequence, FINGERPRINT)
            record = (crc32(payload) << 32 | len(payload)).to_bytes(8, "little") + payload
            tail += record.ljust(-(-len(record) // 8) * 8, b"\0")
    return Draft(
        "turn_start",
        "audit.turn-start",
        key.encode(),
        1_700_000_000_000_000 + number,
        f"event-{number}",
        b"00-" + b"a" * 52 if number % 3 == 0 else None,
        b"head" * (number % 4),
        tail,
    )


def content_of(record: Record) -> tuple[object, ...]:
    """All of a record that was there before the journal had it."""
    return record[:8] + record[9:10]


@dataclass(repr=False, eq=False)
class Stream:
    """What the model knows of one stream.

    Attributes:
        drafts: Accepted, by sequence.
        doubtful: A draft whose append did not return: it may be there, as the next one.
        synced: Records that the journal called synchronised.
        safe: Every record below this sequence, and not below ``done``, has to be in the files.
        done: Every record below is delivered and listed, as the journal was told.
        low: Every record below is delivered, as the journal was told.
        cursor_damaged: The cursor was removed or changed.
        tampered: Bytes were changed: nothing has to be in the files any more, but what is has to be found.
        removed: The directory was removed.
        sync_failed: A synchronisation failed while it was written.
        reader: Of the adopter.
        locks: Of the adopter.
        records: What the adopter read.
        due: What the adopter has to read.
        seen: What was read to the end before, by sequence.
    """

    stream_id: str
    drafts: list[Draft] = field(default_factory=list)
    doubtful: Draft | None = None
    synced: int = 0
    safe: int = 0
    done: int = 0
    low: int = 0
    cursor_damaged: bool = False
    alive: bool = True
    powered: bool = True
    tampered: bool = False
    removed: bool = False
    sync_failed: bool = False
    reader: StreamReader | None = None
    locks: list[Lock] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    due: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"<{self.stream_id[-4:]}, {len(self.drafts)} records>"

    @property
    def folder(self) -> str:
        return f"{PATH}/{self.stream_id}"

    def payload(self, sequence: int) -> bytes:
        return pack(self.draft(sequence), sequence, FINGERPRINT)

    def draft(self, sequence: int) -> Draft:
        if sequence == len(self.drafts) and self.doubtful is not None:
            return self.doubtful
        return self.drafts[sequence]

    @property
    def possible(self) -> range:
        return range(len(self.drafts) + (self.doubtful is not None))

    def expected(self, sequence: int) -> tuple[object, ...]:
        draft = self.draft(sequence)
        body = join_body(draft.head, sequence, draft.tail)
        return (sequence, *draft[:2], *draft[2:6], body, FINGERPRINT)


def copies(stream: Stream, files: dict[str, bytes], oldest: int = 0) -> dict[int, list[tuple[str, int]]]:
    """Sequence -> path and offset of each whole copy, in the segments from the oldest one on."""
    found: dict[int, list[tuple[str, int]]] = {}
    for path, data in files.items():
        name = path.rpartition("/")[2]
        if not name.endswith(".seg") or len(data) < HEADER_SIZE:
            continue
        magic, version, _, number, stream_id, _, _, salt, length, _ = HEADER.unpack(data[: HEADER.size])
        info = data[HEADER_SIZE : HEADER_SIZE + length]
        checksum = int.from_bytes(data[HEADER.size : HEADER_SIZE], "little")
        ours = (MAGIC, VERSION, int(name[:-4]), UUID(stream.stream_id).bytes)
        if (
            (magic, version, number, stream_id) != ours
            or crc32(info, crc32(data[: HEADER.size])) != checksum
            or number < oldest
        ):
            continue
        for sequence in stream.possible:
            payload = stream.payload(sequence)
            word = (crc32(payload, salt) << 32 | len(payload)).to_bytes(8, "little")
            offset = data.find(word + payload)
            if offset >= 0:
                found.setdefault(sequence, []).append((path, offset))
    return found


class JournalMachine(RuleBasedStateMachine):
    """One journal path, and one emitting process after another; what each one leaves is adopted."""

    def __init__(self) -> None:
        super().__init__()
        self.fs = SimulatedFileSystem()
        self.now = 0.0
        self.number = 0
        self.journal: DiskJournal | None = None
        self.stream: Stream | None = None
        self.streams: dict[str, Stream] = {}
        self.read_live: list[Record] = []
        self.mode: SyncMode = "interval"

    # -- the emitting process ---------------------------------------------------------------------------

    @initialize(mapped=st.booleans())
    def begin(self, *, mapped: bool) -> None:
        self.mapped = mapped
        self._prepare()

    def _prepare(self) -> None:
        if not self.mapped:
            self.fs.fail("map", errno.ENODEV, "*.seg", times=None)

    @precondition(lambda self: self.journal is None)
    @rule(mode=st.sampled_from(["interval", "always"]), sizes=SIZES)
    def open(self, mode: SyncMode, sizes: list[int]) -> None:
        path = JournalPath(self.fs, PATH)
        assert path.sweep() == []
        self.number += 1
        stream = Stream(f"01920000-0000-7000-8000-{self.number:012x}")
        self.journal = DiskJournal(
            path,
            stream.stream_id,
            {"stream": stream.stream_id},
            capacity=CAPACITY,
            on_full="drop_newest",
            sync=mode,
            monotonic=lambda: self.now,
        )
        self.mode, self.read_live = mode, []
        self.stream = self.streams[stream.stream_id] = stream
        self._append(draft_of(0, 30, "random", "open"), control=True)
        self._append_all(sizes)

    def _append(self, draft: Draft, *, control: bool = False) -> bool:
        """Whether it was accepted."""
        assert self.journal is not None
        assert self.stream is not None
        self.stream.doubtful = draft
        if control or not self.stream.drafts:  # record 0 is a control record
            accepted = self.journal.append_control(draft)
            assert accepted in {None, len(self.stream.drafts)}
            written = accepted is not None
        else:
            try:
                self.journal.append(draft)
                written = True
            except JournalFull:
                written = False
        self.stream.doubtful = None
        if written:
            self.stream.drafts.append(draft)
        return written

    @precondition(lambda self: self.journal is not None)
    @rule(
        sizes=SIZES,
        pattern=st.sampled_from(["zeros", "random", "records"]),
        key=st.sampled_from(["", "s1", "é" * 40]),
        control=st.booleans(),
    )
    def append(self, sizes: list[int], pattern: str, key: str, *, control: bool) -> None:
        assert self.journal is not None
        assert self.stream is not None
        for size in sizes:
            self.number += 1
            awaited = self.mode == "always" and not control and bool(self.stream.drafts)
            accepted = self._append(draft_of(self.number, size, pattern, key), control=control)
            if accepted and awaited and not self.stream.sync_failed:
                assert self.journal.unsynced == 0

    def _append_all(self, sizes: list[int]) -> None:
        for size in sizes:
            self.number += 1
            self._append(draft_of(self.number, size, "random", "s1"))

    @precondition(lambda self: self.journal is not None)
    @rule()
    def sync(self) -> None:
        assert self.journal is not None
        if self.journal.sync():
            assert self.journal.unsynced == 0
        else:
            assert self.stream is not None
            assert self.stream.sync_failed

    @precondition(lambda self: self.journal is not None)
    @rule(limit=st.sampled_from([1, 3, EVERYTHING]))
    def take(self, limit: int) -> None:
        """What was accepted is read at once, by whoever looks, and in order."""
        assert self.journal is not None
        assert self.stream is not None
        waiting = len(self.stream.drafts) - len(self.read_live)
        records = self.journal.take(limit)
        assert bool(records) == bool(waiting)
        assert len(records) <= limit
        while limit == EVERYTHING and len(records) < waiting:
            more = self.journal.take(limit)
            assert more
            records += more
        for record in records:
            assert content_of(record) == self.stream.expected(len(self.read_live))
            self.read_live.append(record)

    @precondition(lambda self: self.read_live)
    @rule(data=st.data())
    def read_again(self, data: st.DataObject) -> None:
        assert self.journal is not None
        assert self.stream is not None
        recent = self.read_live[self.stream.done :]
        if recent:
            record = data.draw(st.sampled_from(recent))
            assert content_of(self.journal.read(record.position)) == content_of(record)

    @precondition(lambda self: self.read_live)
    @rule(data=st.data(), everything=st.booleans(), seed=st.one_of(st.none(), st.integers(0, 1 << 16)))
    def advance(self, data: st.DataObject, *, everything: bool, seed: int | None) -> None:
        """What was delivered and listed may go; sometimes the power fails just then."""
        assert self.journal is not None
        assert self.stream is not None
        low = listed = len(self.read_live)
        if not everything:
            low = data.draw(st.integers(self.stream.done, len(self.read_live)), label="low")
            listed = data.draw(st.integers(self.stream.done, low), label="listed")
        self.stream.done = max(self.stream.done, min(low, listed))
        self.stream.low = max(self.stream.low, low)
        self.journal.advance(low, listed)
        if seed is not None:
            self.crash(seed)

    # -- what goes wrong --------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 1 << 16))
    def write_back(self, seed: int) -> None:
        self.fs.write_back(random.Random(seed))

    @precondition(lambda self: self.journal is not None)
    @rule(number=st.sampled_from([errno.EIO, errno.ENOSPC]))
    def fail_a_sync(self, number: int) -> None:
        assert self.stream is not None
        self.stream.sync_failed = True
        self.fs.fail("sync", number, "*.seg")

    @precondition(lambda self: self.journal is not None)
    @rule(
        sizes=st.lists(st.sampled_from([40, 3_000, 5_000]), min_size=3, max_size=8),
        seed=st.integers(0, 1 << 16),
    )
    def lose_pages_and_power(self, sizes: list[int], seed: int) -> None:
        """The medium loses what it was given; it is written anew, synchronised, and then the power fails."""
        assert self.journal is not None
        self.journal.sync()
        self._append_all(sizes)
        self.fail_a_sync(errno.EIO)
        self.sync()
        self._append_all(sizes[:1])
        self.sync()
        self.crash(seed)

    @rule(operation=st.sampled_from(["reserve", "create", "write"]))
    def fill_the_disk(self, operation: str) -> None:
        self.fs.fail(operation, errno.ENOSPC, "*.seg", times=2)

    @rule(seconds=st.sampled_from([0.3, 10.0]))
    def heal(self, seconds: float = 0.3) -> None:
        self.now += seconds
        self.fs.heal()
        self._prepare()

    @precondition(lambda self: self.journal is not None)
    @rule()
    def kill(self) -> None:
        self._note_synced()
        self._die(self.fs.kill())

    @precondition(lambda self: self.journal is not None or self._orphans(adopted=True))
    @rule(seed=st.integers(0, 1 << 16))
    def crash(self, seed: int) -> None:
        self._note_synced()
        for stream in self.streams.values():
            if stream.powered:  # what survived the first loss of power is on the disk
                stream.safe = min(stream.safe, stream.synced)
                stream.seen = {number for number in stream.seen if number < stream.synced}
        self._die(self.fs.crash(random.Random(seed)), powered=False)

    @precondition(lambda self: self.journal is not None)
    @rule(
        after=st.integers(0, 12),
        size=st.sampled_from([400, 300_000, 700_000]),
        seed=st.one_of(st.none(), st.integers(0, 1 << 16)),
    )
    def die_within(self, after: int, size: int, seed: int | None) -> None:
        """The process is killed, or the power lost, between two calls to the operating system."""
        assert self.journal is not None
        assert self.stream is not None
        self.fs.interrupt(after)
        with contextlib.suppress(Stopped):
            for _ in range(4):
                self.number += 1
                self._append(draft_of(self.number, size, "random", "s1"))
                self.journal.sync()
                self.read_live += self.journal.take(EVERYTHING)
                self.stream.low = max(self.stream.low, len(self.read_live))
                self.journal.advance(len(self.read_live), self.stream.done)
        if seed is None:
            self.kill()
        else:
            self.crash(seed)

    def _note_synced(self) -> None:
        if self.journal is not None and self.stream is not None and self.stream.drafts:
            self.stream.synced = max(self.stream.synced, self.journal.next_sequence - self.journal.unsynced)

    def _die(self, successor: SimulatedFileSystem, *, powered: bool = True) -> None:
        if self.stream is not None:
            self.stream.safe = len(self.stream.drafts) if powered else self.stream.synced
        for stream in self.streams.values():
            stream.alive = False
            stream.powered &= powered
            stream.reader, stream.locks = None, []
        self.journal = self.stream = None
        self.read_live = []
        self.fs = successor
        self._prepare()

    # -- whoever comes after ----------------------------------------------------------------------------

    def _orphans(self, *, adopted: bool) -> list[Stream]:
        return [
            stream
            for stream in self.streams.values()
            # without a record there may be no directory: the path was full
            if stream.drafts
            and not (stream.alive or stream.removed)
            and (stream.reader is not None) is adopted
        ]

    def _pick(self, data: st.DataObject, *, adopted: bool) -> Stream:
        names = [stream.stream_id for stream in self._orphans(adopted=adopted)]
        return self.streams[data.draw(st.sampled_from(names))]

    @precondition(lambda self: self._orphans(adopted=False))
    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        self._adopt(self._pick(data, adopted=False))

    def _adopt(self, stream: Stream) -> None:
        directory = JournalPath(self.fs, PATH).open_stream(stream.stream_id)
        locks = [directory.take_owner(), directory.take_sender()]
        stream.locks = [lock for lock in locks if lock is not None]
        assert len(stream.locks) == 2
        assert (directory.take_owner(), directory.take_sender()) == (None, None)
        cursor = Cursor.open(self.fs, directory.cursor_path, writable=False)
        position = cursor.read()
        cursor.close()
        if position is not None:
            assert position.low <= stream.low, "a cursor says what was told, or less"
            assert min(position.low, position.listed) <= stream.done
        stream.due = set(copies(stream, self.fs.files(stream.folder), position.segment if position else 0))
        if not stream.tampered:
            assert stream.due.issuperset(range(stream.done, stream.safe)), "the files lost what was promised"
            assert stream.due.issuperset(n for n in stream.seen if n >= stream.done)
        stream.reader = StreamReader(self.fs, directory, live=lambda: False, restarted=not stream.powered)
        stream.records = []

    @precondition(lambda self: self._orphans(adopted=False))
    @rule(data=st.data(), seed=st.one_of(st.none(), st.integers(0, 1 << 16)))
    def adopt_and_remove(self, data: st.DataObject, seed: int | None) -> None:
        """The whole way of an orphan; sometimes the power fails as soon as it is removed."""
        stream = self._pick(data, adopted=False)
        self._adopt(stream)
        self._finish(stream)
        self._remove(stream)
        if seed is not None:
            self.crash(seed)

    @precondition(lambda self: self._orphans(adopted=True))
    @rule(data=st.data(), limit=st.sampled_from([1, 2, 7]))
    def read_some(self, data: st.DataObject, limit: int) -> None:
        stream = self._pick(data, adopted=True)
        assert stream.reader is not None
        records = stream.reader.take(limit)
        assert len(records) <= limit
        assert records or stream.reader.at_end
        stream.records += records

    @precondition(lambda self: self._orphans(adopted=True))
    @rule(data=st.data())
    def deliver_some(self, data: st.DataObject) -> None:
        stream = self._pick(data, adopted=True)
        assert stream.reader is not None
        low = data.draw(st.integers(stream.reader.low, max(stream.reader.low, stream.reader.next_sequence)))
        stream.done = max(stream.done, low)
        stream.low = max(stream.low, low)
        stream.reader.advance(low, low)

    @precondition(lambda self: self._orphans(adopted=True))
    @rule(data=st.data(), remove=st.booleans())
    def read_the_rest(self, data: st.DataObject, *, remove: bool) -> None:
        stream = self._pick(data, adopted=True)
        self._finish(stream)
        if remove:
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        JournalPath(self.fs, PATH).open_stream(stream.stream_id).remove()
        stream.removed = True

    def _finish(self, stream: Stream) -> None:
        """Read to the end, and compare with the model."""
        reader = stream.reader
        assert reader is not None
        low = min(reader.low, reader.listed)
        while not reader.at_end:
            stream.records += reader.take(EVERYTHING)
        numbers = [record.sequence for record in stream.records]
        assert numbers == sorted(set(numbers)), "sequences rise"
        for record in stream.records:
            assert record.sequence in stream.possible, "nothing is read that was never appended"
            assert content_of(record) == stream.expected(record.sequence)
            if record.sequence >= stream.done:  # the segments of the others may be removed
                assert content_of(reader.read(record.position)) == content_of(record)
        missed = stream.due - set(numbers)
        assert not missed, f"what is whole is read, whatever was damaged beside it: {sorted(missed)}"
        gone = [n for first, last in reader.gaps for n in range(first, last + 1)]
        assert max(Counter(gone + numbers).values(), default=1) == 1, "a gap is no record, and named once"
        if numbers:
            named = {*gone, *numbers}
            assert named.issuperset(range(max(low, numbers[0]), numbers[-1])), "what is gone is named"
        if not (stream.tampered or stream.cursor_damaged):
            assert all(n >= min(stream.done, stream.synced) for n in gone), "what is done with is not missed"
        if not stream.tampered and stream.powered:
            assert reader.gaps == []
            assert reader.unreadable == [], "a kill loses nothing"
        for damage in reader.unreadable:
            assert damage.start < damage.end
            assert not any(
                record.position >> 32 == damage.segment
                and (record.position & 0xFFFF_FFFF) < damage.end
                and damage.start < (record.position & 0xFFFF_FFFF) + record.size
                for record in stream.records
            ), "what is unreadable is no record"
        stream.seen = set(numbers)
        reader.close()
        for lock in stream.locks:
            lock.release()
        stream.reader, stream.locks = None, []

    # -- damage -----------------------------------------------------------------------------------------

    @precondition(lambda self: self._orphans(adopted=False))
    @rule(
        data=st.data(),
        ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=3),
        seed=st.integers(0, 1 << 16),
    )
    def damage(self, data: st.DataObject, ways: list[str], seed: int) -> None:
        stream = self._pick(data, adopted=False)
        self.heal()
        rng = random.Random(seed)
        for way in ways:
            whole = copies(stream, self.fs.files(stream.folder))
            places = [place for found in whole.values() for place in found]
            if places:
                stream.tampered = True
                self._damage(stream, way, *rng.choice(sorted(places)), rng)
        self.fs.sync()

    def _damage(self, stream: Stream, way: str, path: str, at: int, rng: random.Random) -> None:
        """Change something at a record, or something of its segment."""
        content = self.fs.content(path)
        length = int.from_bytes(content[at : at + 4], "little")
        inside = at + rng.randrange(8 + length)
        page = inside & ~4095
        paths = [name for name in self.fs.files(stream.folder) if name.endswith(".seg")]
        if way == "bit":
            self.fs.corrupt(path, inside, bytes([content[inside] ^ 1 << rng.randrange(8)]))
        elif way == "word":
            words = [bytes(8), b"\xff" * 8, rng.randbytes(8), rng.randbytes(4)]
            self.fs.corrupt(path, at, rng.choice(words))
        elif way == "sequence":
            self.fs.corrupt(path, at + 8, rng.randbytes(8))
        elif way == "page":
            self.fs.corrupt(path, page, rng.choice([b"\0", b"\xff"]) * len(content[page : page + 4096]))
        elif way == "header":
            self.fs.corrupt(path, rng.randrange(64), rng.randbytes(1))
        elif way == "newer":
            self.fs.corrupt(path, 8, (2).to_bytes(2, "little"))
        elif way == "cut":
            self.fs.cut(path, inside)
        elif way == "remove":
            self.fs.unlink(path)
        else:
            number = max(int(name[-12:-4]) for name in paths) + rng.randint(1, 2)
            file = self.fs.open(f"{stream.folder}/{number:08d}.seg", create=True, exclusive=True)
            file.write(0, content if way == "double" else rng.randbytes(5_000))
            file.close()

    @precondition(lambda self: self._orphans(adopted=False))
    @rule(data=st.data(), way=st.sampled_from(["remove", "one slot", "all"]), seed=st.integers(0, 1 << 16))
    def damage_the_cursor(self, data: st.DataObject, way: str, seed: int) -> None:
        """Nothing is lost by it: the whole backlog that is retained is read."""
        stream = self._pick(data, adopted=False)
        path = f"{stream.folder}/cursor"
        if not self.fs.exists(path):
            return
        rng = random.Random(seed)
        stream.cursor_damaged = True
        if way == "remove":
            self.fs.unlink(path)
            self.fs.sync()
        elif way == "one slot":
            self.fs.corrupt(
                path, rng.choice([0, 4096]) + rng.randrange(rng.choice([36, 64])), rng.randbytes(3)
            )
        else:
            self.fs.corrupt(path, 0, rng.randbytes(4096 + 64))

    # -- always -----------------------------------------------------------------------------------------

    @invariant()
    def streams_are_there_until_they_are_removed(self) -> None:
        if not self.fs.exists(PATH):
            assert not any(stream.safe for stream in self.streams.values())
            return
        there = JournalPath(self.fs, PATH).streams()
        gone = {s.stream_id for s in self.streams.values() if s.removed}
        assert not gone & set(there), "a removed stream came back"
        for stream in self.streams.values():
            assert stream.removed or stream.stream_id in there or not stream.safe

    def teardown(self) -> None:
        """Whatever is left is adopted and read."""
        self.kill()
        for stream in self._orphans(adopted=False):
            self._adopt(stream)
            self._finish(stream)


def test_the_journal_keeps_its_promises_whatever_happens_to_it() -> None:
    run_state_machine_as_test(
        JournalMachine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None)
    )
