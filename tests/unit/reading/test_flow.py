"""The flow over simulated partitions: whatever lies where, it never waits for what it paused itself."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import TurnStartEvent
from auditwire.reading import Gap, Record
from auditwire.reading.flow import Flow
from auditwire.reading.position import Position
from auditwire.reading.wanted import Wanted
from support.stored import ClientView, Stored, stored
from support.stream_builder import OPENED_US, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from auditwire.reading.record import Place

TOPIC = "audit.turn-start"
OPENED_MS = OPENED_US // 1_000
STREAMS = [f"01920000-0000-7000-8000-00000000000{n}" for n in range(4)]
SIZE = 1_200  # about what a message counts for while it waits; twice that when it waits for a number
VALUES = {
    (stream, n): stored(record_of(TurnStartEvent(timestamp_us=OPENED_US), n, stream)).value
    for stream in STREAMS
    for n in range(150)
}


class Simulated:
    """What ``Flow`` uses of ``Partitions``: a fetch brings ``most`` messages at most, by chance."""

    def __init__(
        self,
        logs: Mapping[Place, Sequence[Stored]],
        chance: random.Random,
        most: int,
        *,
        follow: bool,
        starts: Mapping[Place, int] | None = None,
    ) -> None:
        self._logs = logs
        self._follow = follow
        self._chance = chance
        self._most = most
        self._paused: set[Place] = set()
        self.batch = 500
        self.log_starts = dict.fromkeys(logs, 0)
        self.starts = self.log_starts | dict(starts or {})
        self.positions = dict(self.starts)

    @property
    def unread(self) -> list[Place]:
        return [place for place, log in self._logs.items() if self.positions[place] < len(log)]

    @property
    def unfinished(self) -> int:
        return len(self._logs if self._follow else self.unread)

    @property
    def finished(self) -> bool:
        return not (self._follow or self.unread)

    def at_end(self, place: Place) -> bool:
        return self.positions[place] >= len(self._logs[place])

    def pause(self, places: Iterable[Place]) -> None:
        self._paused.update(places)

    def resume(self, places: Iterable[Place]) -> None:
        self._paused.difference_update(places)

    def fetch_runs(self, wait: float) -> list[tuple[Place, list[Any]]]:
        if not self.unread:
            return []
        readable = [place for place in self.unread if place not in self._paused]
        assert readable, f"waits {wait} s for partitions that are all paused: {sorted(self._paused)}"
        place = self._chance.choice(readable)
        first = self.positions[place]
        count = self._chance.randint(1, min(self.batch, self._most))
        run = [ClientView(message) for message in self._logs[place][first : first + count]]
        self.positions[place] += len(run)
        return [(place, run)]


def flow_over(
    partitions: Simulated, memory: int, *, follow: bool = False, position: Position | None = None
) -> Flow:
    return Flow(
        partitions,  # type: ignore[arg-type] # stands for it
        event_types={TOPIC: "turn_start"},
        wanted=Wanted(),
        judge=True,
        since_ms=None,
        until_ms=None,
        from_beginning=True,
        follow=follow,
        gap_seconds=600.0,
        memory=memory,
        tell_duplicates=False,
        undecodable=Counter(),
        position=position,
    )


def read(partitions: Simulated, memory: int, *, follow: bool) -> list[Record | Gap]:
    """What comes out, up to the end or, in a flow that follows, until nothing is left to be fetched."""
    flow = flow_over(partitions, memory, follow=follow)
    out: list[Record | Gap] = []
    for _ in range(20_000):
        if flow.finished or (follow and not (partitions.unread or flow.waiting)):
            return out
        flow.advance(0.0)
        while flow.ready:
            out.append(flow.ready.popleft())
    raise AssertionError(f"not finished, with {len(out)} records handed out")


def read_in_turns(
    logs: Mapping[Place, Sequence[Stored]], chance: random.Random, memory: int
) -> list[Record | Gap]:
    """What comes out of readers that go on where another was, each after a few records."""
    out: list[Record | Gap] = []
    position: Position | None = None
    for turn in range(2_000):  # each longer: what waits for its number is fetched again in each
        starts = None if position is None else position.starts
        partitions = Simulated(logs, chance, chance.choice((1, 10, 100)), follow=False, starts=starts)
        flow = flow_over(partitions, memory, position=position)
        for _ in range(chance.randrange(1, 12 + turn)):
            if flow.finished and not flow.ready:
                return out
            flow.advance(0.0)
            out += [flow.ready.popleft() for _ in range(chance.randint(0, len(flow.ready)))]
        position = Position.parse("start", json.loads(json.dumps(flow.position().to_dict())))
    raise AssertionError(f"not finished, with {len(out)} records handed out")


def written(
    chance: random.Random, *, partitions: int, streams: int, gone: float
) -> dict[Place, list[Stored]]:
    """Streams in pieces that lie here and there, some written a long time later; some gone, some twice."""
    sent: list[tuple[float, int, Place, str, int]] = []
    for stream in STREAMS[:streams]:
        place, late = (TOPIC, chance.randrange(partitions)), 0
        for n in range(chance.randint(1, 150)):
            if chance.random() < 0.05:
                place = TOPIC, chance.randrange(partitions)
                late = chance.choice((0, 0, 0, 100, 1_000))
            for again in (0, 200)[: 1 + (chance.random() < 0.02)]:
                if chance.random() >= gone:
                    when = n + late + again
                    sent.append((when + chance.random(), when * 10, place, stream, n))
    logs: dict[Place, list[Stored]] = defaultdict(list)
    for _, ms, place, stream, n in sorted(sent):
        message = Stored(
            topic=TOPIC,
            partition=place[1],
            offset=len(logs[place]),
            timestamp_ms=OPENED_MS + ms,
            key=b"s",
            value=VALUES[stream, n],
        )
        logs[place].append(message)
    return logs


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("memory", [10, 30, 100, 100_000])
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), partitions=st.integers(2, 5), streams=st.integers(1, 4))
def test_whatever_lies_where_all_of_it_is_handed_out_once_and_each_stream_in_order(
    memory: int, follow: bool, seed: int, partitions: int, streams: int
) -> None:
    chance = random.Random(seed)
    # a flow that follows waits for what is gone
    logs = written(chance, partitions=partitions, streams=streams, gone=0.0 if follow else 0.02)
    simulated = Simulated(logs, chance, chance.choice((1, 10, 100)), follow=follow)
    out = read(simulated, memory * SIZE, follow=follow)
    each_once_and_in_order(logs, out)
    if memory == 100_000:
        assert not any(item.late for item in out if isinstance(item, Record))
        assert {item.reason for item in out if isinstance(item, Gap)} <= {"end"}


@pytest.mark.parametrize("memory", [30, 100_000])
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32), partitions=st.integers(1, 5), streams=st.integers(1, 4))
def test_readers_that_take_turns_hand_out_as_much_as_one(
    memory: int, seed: int, partitions: int, streams: int
) -> None:
    chance = random.Random(seed)
    logs = written(chance, partitions=partitions, streams=streams, gone=0.02)
    each_once_and_in_order(logs, read_in_turns(logs, chance, memory * SIZE))


def each_once_and_in_order(logs: Mapping[Place, Sequence[Stored]], out: Sequence[Record | Gap]) -> None:
    records = [item for item in out if isinstance(item, Record)]
    came = Counter((record.stream_id, record.sequence) for record in records)
    assert came == Counter({number_of(message): 1 for log in logs.values() for message in log})
    for stream in STREAMS:
        rising = [r.sequence for r in records if r.stream_id == stream and not r.late]
        assert rising == sorted(rising)


def number_of(message: Stored) -> tuple[str, int]:
    return NUMBERS[message.value]


NUMBERS = {value: number for number, value in VALUES.items()}
