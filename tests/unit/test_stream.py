from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from auditwire.events import CheckpointEvent
from auditwire.stream import (
    CHECKPOINT_RECORDS,
    CHECKPOINT_SECONDS,
    HEARTBEAT_SECONDS,
    MAX_ENTRIES,
    MAX_TYPES,
    Ledger,
    entries_of,
    pack_entry,
    type_key,
    unpack_entry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

TURN = "turn_start:00112233aabbccdd"
TOOL = "tool_call_attempt:ffeeddccbbaa9988"
CHECKPOINT = "checkpoint:0123456789abcdef"


def digest_of(value: object) -> bytes:
    return hashlib.sha256(repr(value).encode()).digest()


def opened(*, now: float = 0.0) -> Ledger:
    """A ledger whose opening checkpoint was appended and hashed at ``now``."""
    ledger = Ledger(trail="audit", previous=["p"], parent_stream="parent")
    ledger.listed(ledger.checkpoint("open", acknowledged=0), now)
    ledger.add(0, CHECKPOINT, digest_of(0), now)
    return ledger


def fill(ledger: Ledger, types: Iterable[str], now: float) -> None:
    for name in types:
        sequence = ledger.next_sequence
        ledger.add(sequence, name, digest_of(sequence), now)


# -- entries ------------------------------------------------------------------------------------------------


@given(st.integers(0, 255), st.binary(min_size=32, max_size=32))
def test_an_entry_is_44_url_safe_characters_that_give_back_index_and_digest(
    index: int, digest: bytes
) -> None:
    text = pack_entry(index, digest)
    assert len(text) == 44
    assert set(text).isdisjoint("+/=")
    assert unpack_entry(text) == (index, digest)


def test_an_entry_is_the_index_byte_and_the_digest_in_base64url() -> None:
    assert pack_entry(251, bytes([0xEF]) * 32) == "--_v" + "7-_v" * 10
    assert pack_entry(0, bytes(32)) == "A" * 44


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 43,
        "A" * 45,
        "A" * 43 + "=",
        "A" * 43 + "+",
        "A" * 43 + "/",
        "A" * 43 + " ",
        "A" * 44 + "\n",
        "A" * 43 + "\u00e9",
        "A" * 43 + "\u0661",
    ],
)
def test_what_is_no_entry_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not an entry"):
        unpack_entry(text)


@given(st.text(max_size=60))
def test_any_text_is_an_entry_with_one_spelling_or_a_value_error(text: str) -> None:
    try:
        index, digest = unpack_entry(text)
    except ValueError:
        return
    assert pack_entry(index, digest) == text


@given(st.text("ABCZabcz0189-_", min_size=44, max_size=44))
def test_each_text_of_44_base64url_characters_is_the_one_spelling_of_an_entry(text: str) -> None:
    assert pack_entry(*unpack_entry(text)) == text


@pytest.mark.parametrize("index", [-1, 256])
def test_a_type_index_that_one_byte_cannot_hold_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="range"):
        pack_entry(index, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_digest_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes, not {length}"):
        pack_entry(0, bytes(length))


def test_a_type_key_names_the_type_and_the_fingerprint_as_it_stands_on_the_wire() -> None:
    assert type_key("turn_start", bytes.fromhex("00112233aabbccdd")) == TURN


def test_the_entries_of_a_checkpoint_are_numbered_from_its_first_sequence() -> None:
    one, two = digest_of(1), digest_of(2)
    listing = CheckpointEvent(
        first_sequence=7, entries=[pack_entry(1, one), pack_entry(0, two)], types=[TURN, TOOL]
    )
    assert list(entries_of(listing)) == [(7, TOOL, one), (8, TURN, two)]


def test_an_entry_that_points_beyond_the_types_is_named() -> None:
    listing = CheckpointEvent(first_sequence=7, entries=[pack_entry(1, bytes(32))], types=[TURN])
    with pytest.raises(ValueError, match="sequence 7 points to type 1 of 1"):
        list(entries_of(listing))


# -- the ledger's clock -------------------------------------------------------------------------------------


def test_a_new_ledger_asks_for_the_opening_checkpoint_and_nothing_else() -> None:
    ledger = Ledger(trail="audit")
    assert ledger.due(0.0) == "open"
    assert ledger.next_due(0.0) == 0.0
    ledger.checkpoint("open", acknowledged=0)
    assert ledger.due(1e9) == "open", "looking is not listing"


def test_the_opening_checkpoint_lists_nothing_and_says_whose_stream_it_is() -> None:
    ledger = Ledger(trail="t", resource='{"service.name":"s"}', previous=["p"], parent_stream="parent")
    event = ledger.checkpoint("open", acknowledged=0)
    assert (event.reason, event.trail, event.resource) == ("open", "t", '{"service.name":"s"}')
    assert (event.first_sequence, event.entries, event.types, event.acknowledged) == (0, [], [], 0)
    assert (event.previous, event.parent_stream) == (["p"], "parent")
    assert (event.key_id, event.next_key, event.signature) == (None, None, None)


def test_later_checkpoints_name_neither_earlier_streams_nor_the_parent() -> None:
    ledger = opened()
    event = ledger.checkpoint("interval", acknowledged=1)
    assert (event.previous, event.parent_stream, event.acknowledged) == ([], None, 1)


def test_a_refused_opening_checkpoint_is_made_again_with_all_it_says() -> None:
    ledger = Ledger(trail="t", previous=["p"], parent_stream="parent")
    first, second = (ledger.checkpoint("open", acknowledged=0) for _ in range(2))
    assert first.event_id != second.event_id
    assert (second.previous, second.parent_stream) == (["p"], "parent")


def test_ten_seconds_after_the_first_unlisted_record_a_checkpoint_is_due() -> None:
    ledger = opened()
    fill(ledger, [TURN], 5.0)
    fill(ledger, [TURN], 9.0)
    assert ledger.due(14.5) is None
    assert ledger.next_due(14.5) == 0.5
    assert ledger.due(5.0 + CHECKPOINT_SECONDS) == "interval"
    assert ledger.next_due(100.0) == 0.0


def test_the_thousandth_unlisted_record_makes_a_checkpoint_due_at_once() -> None:
    ledger = opened()
    fill(ledger, [TURN] * (CHECKPOINT_RECORDS - 2), 0.0)
    assert ledger.due(0.0) is None
    fill(ledger, [TURN], 0.0)
    assert ledger.unlisted == CHECKPOINT_RECORDS
    assert ledger.due(0.0) == "interval"


def test_a_checkpoint_alone_calls_for_a_heartbeat_only() -> None:
    ledger = opened(now=3.0)
    assert ledger.next_due(4.0) == HEARTBEAT_SECONDS - 1.0
    assert ledger.due(3.0 + HEARTBEAT_SECONDS - 0.01) is None
    assert ledger.due(3.0 + HEARTBEAT_SECONDS) == "heartbeat"


def test_an_idle_stream_writes_one_heartbeat_a_minute_that_lists_the_one_before() -> None:
    ledger = opened()
    written = []
    for second in range(601):
        if reason := ledger.due(float(second)):
            event = ledger.checkpoint(reason, acknowledged=0)
            written.append((second, reason, len(event.entries)))
            ledger.listed(event, float(second))
            fill(ledger, [CHECKPOINT], float(second))
    assert written == [(60 * n, "heartbeat", 1) for n in range(1, 11)]


def test_a_record_within_the_minute_waits_for_its_interval_and_not_for_the_heartbeat() -> None:
    ledger = opened()
    fill(ledger, [TURN], 55.0)
    assert ledger.due(HEARTBEAT_SECONDS) is None
    assert ledger.due(55.0 + CHECKPOINT_SECONDS) == "interval"


def test_a_checkpoint_that_found_no_room_stays_due_and_loses_nothing() -> None:
    ledger = opened()
    fill(ledger, [TURN], 0.0)
    refused = ledger.checkpoint("interval", acknowledged=0)
    fill(ledger, [TOOL], 11.0)
    assert ledger.due(11.0) == "interval"
    event = ledger.checkpoint("interval", acknowledged=0)
    assert event.entries[: len(refused.entries)] == refused.entries
    assert [(n, t) for n, t, _ in entries_of(event)] == [(0, CHECKPOINT), (1, TURN), (2, TOOL)]


def test_records_added_while_a_checkpoint_was_appended_keep_their_own_time() -> None:
    ledger = opened()
    event = ledger.checkpoint("interval", acknowledged=0)
    fill(ledger, [CHECKPOINT, TURN, TURN], 4.0)
    ledger.listed(event, 6.0)
    assert ledger.unlisted == 3
    assert ledger.next_due(6.0) == 4.0 + CHECKPOINT_SECONDS - 6.0


def test_more_records_than_one_checkpoint_holds_make_the_next_one_due_at_once() -> None:
    ledger = opened()
    fill(ledger, [TURN] * (MAX_ENTRIES + 4), 0.0)
    event = ledger.checkpoint("interval", acknowledged=0)
    assert len(event.entries) == MAX_ENTRIES
    ledger.listed(event, 0.0)
    assert ledger.unlisted == 5
    assert ledger.due(0.0) == "interval"


def test_more_types_than_one_checkpoint_holds_make_the_next_one_due_at_once() -> None:
    ledger = opened()
    fill(ledger, [f"t{n}:00" for n in range(MAX_TYPES)], 0.0)
    event = ledger.checkpoint("interval", acknowledged=0)
    assert len(event.entries) == len(event.types) == MAX_TYPES
    ledger.listed(event, 0.0)
    assert ledger.due(0.0) == "interval"
    rest = ledger.checkpoint("interval", acknowledged=0)
    assert (rest.first_sequence, rest.types) == (MAX_TYPES, [f"t{MAX_TYPES - 1}:00"])


def test_a_full_list_of_types_takes_more_records_of_these_types() -> None:
    ledger = opened()
    fill(ledger, [f"t{n % (MAX_TYPES - 1)}:00" for n in range(2 * MAX_TYPES)], 0.0)
    event = ledger.checkpoint("interval", acknowledged=0)
    assert (len(event.types), len(event.entries)) == (MAX_TYPES, 2 * MAX_TYPES + 1)


def test_a_checkpoint_of_the_largest_size_stays_below_a_quarter_megabyte() -> None:
    ledger = opened()
    names = [f"{'x' * 40}{n:03}:0123456789abcdef" for n in range(MAX_TYPES)]
    fill(ledger, itertools.islice(itertools.cycle(names), MAX_ENTRIES), 0.0)
    assert len(ledger.checkpoint("interval", acknowledged=0).to_json()) < 256_000


def test_close_is_written_as_interval_until_one_checkpoint_holds_all_that_is_left() -> None:
    ledger = opened()
    fill(ledger, [TURN] * (2 * MAX_ENTRIES), 0.0)
    reasons = []
    while True:
        event = ledger.checkpoint("close", acknowledged=0)
        reasons.append(event.reason)
        ledger.listed(event, 0.0)
        if event.reason == "close":
            break
        fill(ledger, [CHECKPOINT], 0.0)
    assert reasons == ["interval", "interval", "close"]
    assert ledger.unlisted == 0


# -- misuse -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", [0, 2, -1])
def test_a_sequence_that_does_not_follow_is_refused_and_changes_nothing(sequence: int) -> None:
    ledger = opened()
    with pytest.raises(ValueError, match="1 is next"):
        ledger.add(sequence, TURN, bytes(32), 0.0)
    assert (ledger.unlisted, ledger.next_sequence) == (1, 1)


def test_the_same_checkpoint_is_not_listed_twice() -> None:
    ledger = opened()
    fill(ledger, [TURN], 0.0)
    event = ledger.checkpoint("interval", acknowledged=0)
    ledger.listed(event, 0.0)
    fill(ledger, [CHECKPOINT, TURN], 0.0)
    with pytest.raises(ValueError, match="2 records from sequence 0 on does not fit: 2 from 2 on"):
        ledger.listed(event, 0.0)
    assert ledger.unlisted == 2


def test_a_checkpoint_of_records_that_were_never_added_is_not_listed() -> None:
    ledger = opened()
    event = ledger.checkpoint("interval", acknowledged=0)
    event.entries += event.entries
    with pytest.raises(ValueError, match="does not fit"):
        ledger.listed(event, 0.0)
    assert ledger.unlisted == 1


# -- a model ------------------------------------------------------------------------------------------------


class Stream(RuleBasedStateMachine):
    """A journal as a list; the sender hashes it some records at a time; checkpoints find room or do not."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(trail="audit")
        self.journal: list[tuple[str, CheckpointEvent | None]] = []
        self.hashed = 0
        self.now = 100.0
        self._checkpoint("open", fits=True)

    def _checkpoint(self, reason: str, *, fits: bool) -> str:
        assert reason in {"open", "interval", "heartbeat", "close"}
        event = self.ledger.checkpoint(reason, acknowledged=self.hashed)  # type: ignore[arg-type]
        if fits:
            self.journal.append((CHECKPOINT, event))
            self.ledger.listed(event, self.now)
        return event.reason

    def _checkpoints(self) -> list[tuple[int, CheckpointEvent]]:
        return [(n, event) for n, (_, event) in enumerate(self.journal) if event is not None]

    @rule(count=st.integers(1, 2_500), types=st.sampled_from([1, 2, 5, 255, 256, 300]))
    def emit(self, count: int, types: int) -> None:
        self.journal += [(f"t{n % types}:00", None) for n in range(count)]

    @rule(count=st.integers(1, 3_000))
    def hash_some(self, count: int) -> None:
        for sequence in range(self.hashed, min(self.hashed + count, len(self.journal))):
            self.ledger.add(sequence, self.journal[sequence][0], digest_of(sequence), self.now)
            self.hashed += 1

    @rule(quarters=st.integers(0, 400))
    def wait(self, quarters: int) -> None:
        self.now += quarters / 4  # exact in binary, so that limits are met to the bit

    @rule()
    def wait_as_long_as_the_ledger_says(self) -> None:
        seconds = self.ledger.next_due(self.now)
        assert 0.0 <= seconds <= HEARTBEAT_SECONDS
        if seconds > 0:
            self.now += seconds - 0.25
            assert self.ledger.due(self.now) is None
            self.now += 0.25
        assert self.ledger.due(self.now) is not None

    @rule(fits=st.booleans())
    def write_when_due(self, fits: bool) -> None:
        reason = self.ledger.due(self.now)
        assert (reason is not None) == (self.ledger.next_due(self.now) == 0.0)
        if reason is not None:
            self._checkpoint(reason, fits=fits)

    @precondition(lambda self: self.hashed == len(self.journal))
    @rule()
    def an_unlisted_record_is_never_forgotten_by_the_clock(self) -> None:
        listed = sum(len(event.entries) for _, event in self._checkpoints())
        if any(event is None for _, event in self.journal[listed:]):
            assert self.ledger.next_due(self.now) <= CHECKPOINT_SECONDS

    def teardown(self) -> None:
        reason = ""
        while reason != "close":
            self.hash_some(len(self.journal))
            reason = self._checkpoint("close", fits=True)
        listed = 0
        for sequence, event in self._checkpoints():
            assert event.first_sequence == listed, "each continues where the one before ended"
            assert len(event.entries) <= MAX_ENTRIES
            for number, name, digest in entries_of(event):
                assert (name, digest) == (self.journal[number][0], digest_of(number))
                listed += 1
            assert listed <= sequence, "nothing lists itself or what comes after it"
        assert listed == len(self.journal) - 1, "everything but the closing checkpoint is listed once"
        assert self.ledger.unlisted == 0


TestStream = Stream.TestCase
TestStream.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
