from __future__ import annotations

from auditwire.delivery.backlog import Hold
from auditwire.delivery.lanes import (
    FIRST_RECORDS,
    FORGOTTEN_SECONDS,
    MAX_BYTES,
    MAX_RECORDS,
    NARROW_SECONDS,
    SILENCE_SECONDS,
    Chunk,
    Lane,
)
from auditwire.journal import Record


def record(sequence: int, size: int = 500) -> Record:
    return Record(
        sequence, "error", "audit.error", b"k", 0, "id", None, b"body%d" % sequence, size, b"12345678"
    )


def send(lane: Lane, *records: Record, now: float = 0.0) -> Chunk:
    chunk = Chunk(lane, 1, alone=not lane.unacked)
    chunk.records.extend(records)
    chunk.size = sum(r.size for r in records)
    lane.sent(chunk, now)
    return chunk


def known() -> Lane:
    """A lane whose first record was acknowledged."""
    lane = Lane("t", 0, Hold())
    lane.settled(send(lane, record(0)), 0.0)
    return lane


def test_the_first_record_of_a_producer_goes_alone_until_it_is_acknowledged() -> None:
    lane = Lane("t", 0, Hold())
    assert lane.room(0.0) == (1, MAX_BYTES)
    refused = send(lane, record(0))
    assert lane.room(0.0) == (0, 0)
    refused.failures[b"body0"] = 6
    lane.settled(refused, 0.0)
    lane.put_back(refused, refused.records)
    assert lane.room(0.0)[0] == 1
    lane.settled(send(lane, record(0)), 0.0)
    assert lane.room(0.0)[0] == FIRST_RECORDS
    lane.forget_sent()
    assert lane.room(0.0)[0] == 1


def test_a_broker_that_may_have_forgotten_the_producer_gets_one_record_first() -> None:
    lane = known()
    assert lane.room(FORGOTTEN_SECONDS)[0] == FIRST_RECORDS
    assert lane.room(FORGOTTEN_SECONDS + 1)[0] == 1


def test_the_window_opens_as_acknowledgements_come() -> None:
    lane = known()
    seen = []
    for _ in range(6):
        room = lane.room(0.0)[0]
        seen.append(room)
        lane.settled(send(lane, *map(record, range(room))), 0.0)
    assert seen == [FIRST_RECORDS, 256, 512, 1_024, MAX_RECORDS, MAX_RECORDS]


def test_unacknowledged_bytes_close_it_but_one_record_always_goes() -> None:
    lane = known()
    assert lane.room(0.0)[1] == MAX_BYTES
    send(lane, record(0, MAX_BYTES))
    assert lane.room(0.0) == (0, 0)


def test_a_silent_partition_gets_no_more_until_it_answers() -> None:
    lane = known()
    chunk = send(lane, record(0), now=5.0)
    assert lane.room(5.0 + SILENCE_SECONDS)[0] > 0
    assert lane.room(5.1 + SILENCE_SECONDS) == (0, 0)
    lane.settled(chunk, 60.0)
    assert lane.room(60.0)[0] > 0


def test_a_narrow_lane_sends_one_chunk_at_a_time_until_its_time_is_over() -> None:
    lane = known()
    lane.narrow_to(1_000, 0.0)
    assert lane.room(0.0) == (MAX_RECORDS, 1_000)
    chunk = send(lane, record(0))
    assert lane.room(0.0) == (0, 0)
    lane.settled(chunk, 1.0)
    assert lane.narrow == 1_000
    lane.settled(send(lane, record(1)), NARROW_SECONDS + 1)
    assert lane.narrow is None


def test_a_failed_chunk_opens_nothing() -> None:
    lane = known()
    chunk = send(lane, record(0))
    chunk.failures[b"body0"] = 10
    lane.settled(chunk, 0.0)
    assert lane.window == FIRST_RECORDS
    assert lane.unacked == lane.unacked_bytes == 0


def test_a_lane_rests_after_an_error() -> None:
    lane = Lane("t", 0, Hold())
    lane.not_before = 3.0
    assert lane.room(2.9) == (0, 0)
    assert lane.room(3.0)[0] > 0


def test_with_a_new_producer_what_arrived_is_told_from_what_goes_again() -> None:
    lane = Lane("t", 0, Hold())
    first = send(lane, record(0), record(1), record(2))
    second = send(lane, record(3), record(4))
    first.reported = 2
    second.reported = 1
    second.failures[b"body4"] = 1
    arrived, again = lane.forget_sent()
    assert [r.sequence for r in arrived] == [0, 1]
    assert again == 3
    assert (lane.unacked, lane.unacked_bytes, lane.chunks) == (0, 0, set())
    assert not lane.idle
    assert lane.room(0.0)[0] > 0
    assert [r.sequence for r in lane.backlog.front] == [2, 3, 4]


def test_what_goes_again_stands_before_everything_else() -> None:
    lane = Lane("t", 0, Hold())
    lane.backlog.append(record(9))
    chunk = send(lane, record(1), record(2))
    lane.settled(chunk, 0.0)
    lane.put_back(chunk, chunk.records)
    lane.room(0.0)
    assert [r.sequence for r in lane.backlog.front] == [1, 2, 9]


def test_what_goes_again_keeps_its_order_and_waits_for_what_was_produced_behind_it() -> None:
    lane = Lane("t", 0, Hold())
    chunks = [send(lane, record(n), record(n + 1)) for n in (0, 2, 4)]
    for chunk in (chunks[0], chunks[2]):
        lane.settled(chunk, 0.0)
        lane.put_back(chunk, chunk.records)
        assert lane.room(0.0) == (0, 0)
    lane.settled(chunks[1], 0.0)
    lane.put_back(chunks[1], chunks[1].records)
    assert lane.room(0.0)[0] > 0
    assert [r.sequence for r in lane.backlog.front] == [0, 1, 2, 3, 4, 5]


def test_everything_that_waits_can_be_taken_out() -> None:
    lane = Lane("t", 0, Hold())
    lane.backlog.append(record(9))
    chunk = send(lane, record(1))
    lane.settled(chunk, 0.0)
    lane.put_back(chunk, chunk.records)
    (items,) = lane.drain().values()
    assert [r.sequence for r in items] == [1, 9]
    assert lane.idle
