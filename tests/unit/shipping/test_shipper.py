from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.delivery.health import Health
from auditwire.errors import EncodingError, FlushTimeout
from auditwire.shipping import Counts, FileSource, Shipper, load_state
from auditwire.shipping import shipper as module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditwire.events import AuditEvent
    from auditwire.shipping import State

AT = "2026-01-31T10:00:00.000000+00:00"


class Stop(Exception):  # noqa: N818 - not an error: the test has seen enough
    """Ends a run that follows."""


@dataclass
class Target:
    """A collector whose broker does what the test says."""

    events: list[AuditEvent] = field(default_factory=list)
    acknowledged: int = 0
    away: bool = False
    pending_bytes: int = 0
    flushes: int = 0
    refuse: str = ""
    parked: dict[str, str] = field(default_factory=dict)

    def emit(self, event: AuditEvent) -> None:
        if event.event_type == self.refuse:
            raise EncodingError("nothing left that may be cut")
        self.events.append(event)

    def flush(self, timeout: float) -> None:
        self.flushes += 1
        if self.away:
            raise FlushTimeout(f"not within {timeout:g} s", pending=len(self.events) - self.acknowledged)
        self.acknowledged = len(self.events)

    def health(self) -> Health:
        waiting = len(self.events) - self.acknowledged
        return Health(
            "ok",
            "s",
            accepted=len(self.events),
            delivered=self.acknowledged,
            control=0,
            pending_records=waiting,
            pending_bytes=self.pending_bytes,
            capacity_bytes=100,
            oldest_seconds=0.0,
            parked=self.parked,
        )


@dataclass
class Rejects:
    content: bytes = b""
    written: bytes = b""

    def write(self, data: bytes, /) -> None:
        self.content += data

    def flush(self) -> None:
        self.written = self.content


class Bench:
    """A shipper on a file, with all that is around it; waiting passes the time, and does what is planned."""

    def __init__(
        self, path: Path, *, follow: bool = False, state: State | None = None, **options: Any
    ) -> None:
        self.now = 0.0
        self.bad: list[tuple[int, str]] = []
        self.warnings: list[str] = []
        self.target: Target = options.pop("target", None) or Target()
        self.rejects = Rejects()
        self.waits: list[Callable[[], object]] = []
        self.source = FileSource(
            path, follow=follow, state=state, warn=self.warnings.append, clock=lambda: self.now
        )
        self.shipper = Shipper(
            self.source,
            self.target,
            bad_line=lambda number, why: self.bad.append((number, why)),
            warn=self.warnings.append,
            rejects=self.rejects,
            clock=lambda: self.now,
            wait=self.wait,
            **options,
        )

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.waits:
            self.waits.pop(0)()
        elif self.source.follow:
            raise Stop

    def run(self) -> Bench:
        if self.source.follow:
            with pytest.raises(Stop):
                self.shipper.run()
        else:
            self.shipper.run()
        return self

    @property
    def ids(self) -> list[str]:
        return [event.event_id for event in self.target.events]

    @property
    def counts(self) -> Counts:
        return self.shipper.counts


def line(name: str | None, event_type: str = "error", **fields: Any) -> bytes:
    identity = {} if name is None else {"event_id": name}
    return json.dumps({"event_type": event_type, "timestamp": AT, **identity, **fields}).encode() + b"\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


# -- lines --------------------------------------------------------------------------------------------------


def test_every_kind_of_line_is_counted(log: Path) -> None:
    content = (
        b"\xef\xbb\xbf" + line("a") + b"\n" + line(None).replace(b"\n", b"\r\n") + b"  \t\r\n"
        + line("c", "checkpoint") + line("d", "deploy") + b"what?\n" + b"\0\0" + line("e")
        + b'{"event_type":"error","event_id":"f"}'
    )  # fmt: skip
    log.write_bytes(content)
    bench = Bench(log).run()
    assert [event_id for event_id in bench.ids if len(event_id) == 1] == ["a", "d", "e", "f"]
    assert bench.counts == Counts(
        bytes=len(content), lines=9, blank=2, events=5, custom=1, derived_ids=1, untimed=1, control=1,
        rejected=Counter(not_json=1),
    )  # fmt: skip
    assert bench.bad == [(7, "no JSON: Expecting value at character 1")]
    assert bench.rejects.content == b"what?\n"


def test_a_line_that_is_too_long_is_rejected_whole_and_the_next_one_shipped(log: Path) -> None:
    long = b'{"event_type":"' + b"x" * 300 + b'"}\n'
    log.write_bytes(line("a") + long + line("b"))
    bench = Bench(log, limit=200).run()
    assert bench.ids == ["a", "b"]
    assert bench.bad == [(2, f"{len(long) - 1} bytes; the most is 200")]
    assert bench.rejects.content == long


def test_what_the_collector_cannot_encode_is_a_bad_line(log: Path) -> None:
    log.write_bytes(line("a", "turn_start") + line("b"))
    bench = Bench(log, target=Target(refuse="turn_start")).run()
    assert bench.ids == ["b"]
    assert bench.bad == [(1, "nothing left that may be cut")]
    assert (bench.counts.events, bench.counts.rejected) == (1, {"refused": 1})


def test_bad_lines_need_no_file_to_go_to(log: Path) -> None:
    log.write_bytes(b"what?\n")
    bench = Bench(log)
    bench.shipper._rejects = None
    bench.run()
    bench.shipper.commit(1.0)
    assert bench.counts.rejected == {"not_json": 1}


def test_a_last_line_without_line_break_is_tried(log: Path) -> None:
    log.write_bytes(line("a") + line("b")[:-1])
    assert Bench(log).run().ids == ["a", "b"]
    log.write_bytes(line("a") + line("b")[:-2])
    bench = Bench(log).run()
    assert bench.ids == ["a"]
    assert [number for number, _ in bench.bad] == [2]


# -- ids ----------------------------------------------------------------------------------------------------


@given(kinds=st.lists(st.sampled_from(["named", "nameless", "bad", "blank", "control"]), max_size=12))
def test_shipped_again_renamed_with_other_line_ends_or_more_behind_the_ids_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    texts = {"bad": b"what?\n", "blank": b"\n", "control": line("c", "loss"), "nameless": line(None)}
    content = b"".join(texts.get(kind) or line(f"n-{n}") for n, kind in enumerate(kinds))
    (folder / "one").write_bytes(content)
    (folder / "two").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n\r\n") + line(None))
    ids = Bench(folder / "one").run().ids
    assert len(set(ids)) == len(ids) == sum(kind in ("named", "nameless") for kind in kinds)
    assert Bench(folder / "one").run().ids == ids
    assert Bench(folder / "two").run().ids[: len(ids)] == ids


# -- the state ----------------------------------------------------------------------------------------------


@given(
    lines=st.lists(st.sampled_from([line(None), line("x"), b"bad\n", b"\n", line("c", "loss")]), max_size=8),
    first=st.integers(0, 600),
    ended=st.booleans(),
)
def test_two_runs_ship_what_one_run_ships(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], first: int, ended: bool
) -> None:
    """The file grows between them, at any byte: a half line is told as bad, and tried again when whole."""
    folder = tmp_path_factory.mktemp("state")
    content = b"".join(lines)[: None if ended else -1]
    (folder / "whole").write_bytes(content)
    whole = Bench(folder / "whole").run()

    log, state = folder / "grows", folder / "state"
    log.write_bytes(content[:first])
    one = Bench(log, state_path=state).run()
    one.shipper.commit(1.0)
    append(log, content[first:])
    two = Bench(log, state=load_state(state), state_path=state).run()
    assert one.ids + two.ids == whole.ids
    assert set(whole.bad) <= set(one.bad + two.bad)


def test_only_what_is_acknowledged_is_remembered(log: Path, tmp_path: Path) -> None:
    log.write_bytes(line("a"))
    bench = Bench(log, state_path=tmp_path / "state", target=Target(away=True)).run()
    with pytest.raises(FlushTimeout):
        bench.shipper.commit(1.0)
    assert load_state(tmp_path / "state") is None
    bench.target.away = False
    bench.shipper.commit(1.0)
    state = load_state(tmp_path / "state")
    assert state is not None
    assert (state.offset, state.line) == (log.stat().st_size, 1)


def test_rejected_lines_are_on_the_disk_before_the_state_passes_them(log: Path, tmp_path: Path) -> None:
    log.write_bytes(b"what?\n")
    bench = Bench(log, state_path=tmp_path / "state").run()
    assert bench.rejects.written == b""
    bench.shipper.commit(1.0)
    assert bench.rejects.written == b"what?\n"


def test_an_interrupt_between_two_lines_leaves_the_state_at_the_first(log: Path, tmp_path: Path) -> None:
    log.write_bytes(line("a") + line(None) + line("c"))

    class Interrupted(Target):
        def emit(self, event: AuditEvent) -> None:
            super().emit(event)
            if len(self.events) == 2:
                raise KeyboardInterrupt

    bench = Bench(log, state_path=tmp_path / "state", target=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    bench.shipper.commit(1.0)
    state = load_state(tmp_path / "state")
    assert state is not None
    assert state.line == 1
    again = Bench(log, state=state).run()
    assert again.ids[0] == bench.ids[1]  # sent again, and the same to whoever counts ids
    assert len(again.ids) == 2


def test_the_state_is_written_now_and_then_while_lines_come(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.shipping.source.CHUNK", 100)
    log.write_bytes(line("a") * 50)
    bench = Bench(log, state_path=tmp_path / "state")

    def second() -> None:
        bench.now += 1.0

    bench.shipper._progress = second
    bench.run()
    chunks = -(-log.stat().st_size // 100)
    assert bench.target.flushes == chunks // 5
    assert load_state(tmp_path / "state") is not None


# -- following ----------------------------------------------------------------------------------------------


def test_a_half_line_waits_for_its_end(log: Path) -> None:
    text = line("a")
    log.write_bytes(text[:10])
    bench = Bench(log, follow=True)
    bench.waits = [lambda: append(log, text[10:20]), lambda: append(log, text[20:])]
    bench.run()
    assert (bench.ids, bench.bad) == (["a"], [])


def test_while_nothing_comes_the_state_is_written_once(log: Path, tmp_path: Path) -> None:
    log.write_bytes(line("a"))
    bench = Bench(log, follow=True, state_path=tmp_path / "state")
    bench.waits = [lambda: None] * 40
    bench.run()
    assert bench.target.flushes == 1
    state = load_state(tmp_path / "state")
    assert state is not None
    assert state.offset == log.stat().st_size


def test_a_state_that_cannot_be_reached_is_tried_again_and_warned_of_once_a_minute(
    log: Path, tmp_path: Path
) -> None:
    log.write_bytes(line("a"))
    target = Target(away=True)
    bench = Bench(log, follow=True, state_path=tmp_path / "state", target=target)
    bench.waits = [lambda: None] * 500  # 125 s
    bench.run()
    assert target.flushes > 50
    assert bench.warnings == ["not within 10 s. The state waits for them"] * 2
    assert load_state(tmp_path / "state") is None


def test_after_a_rotation_the_new_file_is_a_log_of_its_own(log: Path) -> None:
    log.write_bytes(line(None) + line("half")[:-3])

    def rotate() -> None:
        log.rename(log.with_name("audit.jsonl.1"))
        log.write_bytes(line(None))

    bench = Bench(log, follow=True)
    bench.waits = [rotate, *[lambda: None] * 12]
    bench.run()
    assert [number for number, _ in bench.bad] == [2]  # nobody writes its end any more
    assert len(bench.ids) == 2
    assert (
        bench.ids[0] == bench.ids[1]
    )  # the same first line of the same content: one event to who counts ids
    assert bench.warnings == []


def test_a_half_line_goes_on_in_the_copy_of_a_truncated_file(log: Path) -> None:
    text = line("b")
    log.write_bytes(line("a") + text[:5])

    def copy_and_truncate() -> None:
        log.with_name("audit.jsonl.1").write_bytes(log.read_bytes() + text[5:])
        log.write_bytes(line("c"))

    bench = Bench(log, follow=True)
    bench.waits = [copy_and_truncate, *[lambda: None] * 12]
    bench.run()
    assert (bench.ids, bench.bad, bench.warnings) == (["a", "b", "c"], [], [])


# -- back-pressure ------------------------------------------------------------------------------------------


def test_reading_waits_while_more_than_half_of_the_journal_is_full(log: Path) -> None:
    log.write_bytes(line("a"))
    target = Target(pending_bytes=51)
    bench = Bench(log, target=target)
    shown: list[float] = []
    bench.shipper._progress = lambda: shown.append(bench.now)

    def less() -> None:
        target.pending_bytes = 50

    bench.waits = [lambda: None, lambda: None, less]
    bench.run()
    assert bench.now == pytest.approx(3 * module.ROOM_SECONDS)
    assert len(shown) > 3


def test_a_broker_that_acknowledges_nothing_ends_it_and_the_reason_is_told(log: Path) -> None:
    log.write_bytes(line("a"))
    parked = {"audit.error": "TOPIC_AUTHORIZATION_FAILED"}
    bench = Bench(log, target=Target(pending_bytes=51, parked=parked), timeout=7.0)
    with pytest.raises(FlushTimeout, match=r"nothing for 7 s, 1 records wait: audit\.error: TOPIC") as raised:
        bench.run()
    assert (raised.value.pending, raised.value.parked) == (1, parked)
    assert bench.now == pytest.approx(7.0, abs=0.1)


def test_as_long_as_something_is_acknowledged_it_goes_on(log: Path) -> None:
    log.write_bytes(line("a") * 100)
    target = Target(pending_bytes=51)
    bench = Bench(log, target=target, timeout=1.0)

    def one() -> None:
        target.acknowledged += 1

    def last() -> None:
        target.pending_bytes = 0

    steps: list[Callable[[], object]] = [*[lambda: None] * 40, one]
    bench.waits = [*steps * 5, last]
    bench.run()
    assert bench.counts.events == 100


def test_one_that_follows_waits_for_ever_and_warns_once_a_minute(log: Path) -> None:
    log.write_bytes(line("a"))
    target = Target(pending_bytes=51)
    bench = Bench(log, follow=True, target=target, timeout=1.0)
    bench.waits = [lambda: None] * (round(130 / module.ROOM_SECONDS))
    bench.run()
    said = "the broker has acknowledged nothing for 1 s, 1 records wait: no error was reported"
    assert bench.warnings == [said] * 2


def test_the_journals_half_is_more_than_a_chunk_of_the_shortest_lines() -> None:
    """Or the collector would have to refuse an event, which would be written down as a loss."""
    from auditwire.cli.ship import _JOURNAL_BYTES
    from auditwire.journal.drafter import Drafter
    from auditwire.shipping import MAX_LINE, parse
    from auditwire.shipping.source import CHUNK
    from auditwire.wire import MAX_BODY, FastavroEncoder

    shortest = b'{"event_type":"x"}'
    parsed = parse(shortest, lambda: "i" * 36, lambda: 1_770_000_000_000_000)
    assert parsed.event is not None
    size = Drafter("s" * 36, FastavroEncoder(), "audit").draft(parsed.event).size
    assert (CHUNK // (len(shortest) + 1) + 1) * size + MAX_BODY < _JOURNAL_BYTES // 2
    assert MAX_LINE > CHUNK


def test_a_state_is_not_written_again_when_nothing_was_added(log: Path, tmp_path: Path) -> None:
    log.write_bytes(line("a"))
    path = tmp_path / "state"
    bench = Bench(log, state_path=path).run()
    bench.shipper.commit(1.0)
    path.unlink()
    bench.shipper.commit(1.0)
    assert not path.exists()
    known = bench.source.state(log.stat().st_size, 1, bench.shipper._chain.value)
    assert known is not None
    assert replace(known, line=1) == known
