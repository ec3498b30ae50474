"""Every boundary between two byte codes of an append, one after the other: what may strike there, strikes.

What strikes is another append, as in a signal handler or a finaliser; one of another thread, for which the
handler waits; an exception; or the thread sleeps there while others go on. Then what lies in the files is
compared with what every append was told.
"""

from __future__ import annotations

import errno
import gc
import threading
from typing import TYPE_CHECKING, TypeAlias

import pytest
from writing import FIRST, Stream, Strike, in_thread, shrink

from auditwire.journal.making import Refusal
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Unmapped(SimulatedFileSystem):
    """A file system that refuses to map."""

    def __init__(self) -> None:
        super().__init__()
        self.fail("map", errno.ENODEV, times=None)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shrink(monkeypatch)
    yield
    gc.collect()  # each file of a simulated file system is a descriptor, and each of its mappings one more


class Interrupted(BaseException):
    """As Ctrl-C, and gunicorn's SystemExit."""


Setting: TypeAlias = "Callable[[type[SimulatedFileSystem], Stream | None], Stream]"
"""Puts a stream, the one of the boundary before or a new one, into the state in which it is struck."""


def forget_older_segments(stream: Stream) -> None:
    """As a synchronisation does; it closes them too."""
    for number in sorted(stream.writer.segments)[:-1]:
        stream.writer.segments.pop(number).abandon()


def in_the_middle(make_fs: type[SimulatedFileSystem], stream: Stream | None) -> Stream:
    stream = stream or Stream(make_fs())
    forget_older_segments(stream)
    for _ in range(2):
        stream.append(f"before-{len(stream.begun)}")
    return stream


def at_the_end_of_a_segment(make_fs: type[SimulatedFileSystem], stream: Stream | None) -> Stream:
    stream = stream or Stream(make_fs())
    forget_older_segments(stream)
    stream.fill()
    return stream


def behind_an_interrupted_one(make_fs: type[SimulatedFileSystem], stream: Stream | None) -> Stream:
    """An append was interrupted before it was decided, and is still in the queue."""
    stream = in_the_middle(make_fs, stream)

    def interrupt() -> None:
        raise Interrupted

    name = f"queued-{len(stream.begun)}"
    with pytest.raises(Interrupted):
        Strike(60, interrupt).run(lambda: stream.append(name))
    assert stream.writer._inbox
    return stream


def at_the_beginning(make_fs: type[SimulatedFileSystem], stream: Stream | None) -> Stream:
    return Stream(make_fs())


def full(make_fs: type[SimulatedFileSystem], stream: Stream | None) -> Stream:
    if stream is None:
        stream = Stream(make_fs(), capacity=6 * FIRST)
        while not isinstance(stream.append(f"before-{len(stream.begun)}", 600), Refusal):
            pass
    return stream


def append(stream: Stream) -> None:
    stream.append(f"struck-{len(stream.begun)}")


def replace(stream: Stream) -> None:
    stream.writer.replace(stream.writer.next_sequence - 2)


def inner(stream: Stream) -> None:
    stream.append(f"inner-{len(stream.begun)}")


def inner_of_another_thread(stream: Stream) -> None:
    in_thread(lambda: inner(stream))


def two_inner_that_need_a_segment(stream: Stream) -> None:
    for _ in range(2):
        stream.append(f"inner-{len(stream.begun)}", 2400)


def interrupt(stream: Stream) -> None:
    raise Interrupted


def time_out(stream: Stream) -> None:
    raise TimeoutError  # an OSError, as what the file system raises


STRIKES = (inner, inner_of_another_thread, two_inner_that_need_a_segment, interrupt, time_out)


def check(stream: Stream, setting: Setting) -> None:
    """After its last append."""
    stream.check(interrupted=frozenset(stream.begun - stream.answers.keys()))
    if setting is not full:
        refused = {name: a for name, a in stream.answers.items() if isinstance(a, Refusal)}
        assert {a.reason for a in refused.values()} <= {"the journal is being opened"}
        assert not refused or setting is at_the_beginning


def every_boundary(
    make_fs: type[SimulatedFileSystem],
    setting: Setting,
    operation: Callable[[Stream], None],
    strike: Callable[[Stream], None],
) -> None:
    """Strike before each byte code of the operation, or every third, until none is left."""
    stream: Stream | None = None
    at = 0
    step = 1 if strike in {inner, interrupt} and make_fs is SimulatedFileSystem else 3
    while True:
        before, stream = stream, setting(make_fs, stream)
        if before is not None and before is not stream:
            check(before, setting)
        struck = stream
        blow = Strike(at, lambda: strike(struck))  # noqa: B023 - called in this turn
        try:
            blow.run(lambda: operation(struck))  # noqa: B023
        except (Interrupted, TimeoutError):
            assert blow.struck
        answer = stream.append(f"after-{at}")
        assert isinstance(answer, Refusal) == (setting is full)
        assert not stream.writer._inbox
        if not blow.struck:
            break
        at += step
        if at % 60 == 0:
            gc.collect()
    check(stream, setting)
    assert at > 100


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize(
    "setting", [in_the_middle, at_the_end_of_a_segment, behind_an_interrupted_one, at_the_beginning, full]
)
def test_an_append_may_be_struck_anywhere(setting: Setting, strike: Callable[[Stream], None]) -> None:
    every_boundary(SimulatedFileSystem, setting, append, strike)


@pytest.mark.parametrize("strike", STRIKES)
def test_writing_anew_may_be_struck_anywhere(strike: Callable[[Stream], None]) -> None:
    every_boundary(SimulatedFileSystem, in_the_middle, replace, strike)


@pytest.mark.parametrize("strike", [inner, two_inner_that_need_a_segment, interrupt, time_out])
@pytest.mark.parametrize("setting", [in_the_middle, at_the_end_of_a_segment])
def test_an_append_may_be_struck_anywhere_where_nothing_can_be_mapped(
    setting: Setting, strike: Callable[[Stream], None]
) -> None:
    every_boundary(Unmapped, setting, append, strike)


class Sleeper:
    """A thread that appends, and sleeps before its k-th byte code until it is woken."""

    def __init__(self, stream: Stream, at: int, operation: Callable[[Stream], None]) -> None:
        self.asleep = threading.Event()
        self._wake = threading.Event()
        self.blow = Strike(at, self._sleep)
        self._thread = threading.Thread(target=self.blow.run, args=(lambda: operation(stream),))
        self._thread.start()
        while not self.asleep.wait(0.01) and self._thread.is_alive():
            pass

    def _sleep(self) -> None:
        self.asleep.set()
        assert self._wake.wait(60)

    def wake(self) -> None:
        self._wake.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def appends(stream: Stream) -> None:
    inner(stream)


def appends_and_goes_on_twice(stream: Stream) -> None:
    for size in (60, 2400, 2400, 2400):
        stream.append(f"awake-{len(stream.begun)}", size)


def writes_anew(stream: Stream) -> None:
    inner(stream)
    assert not isinstance(stream.writer.replace(max(0, stream.writer.next_sequence - 3)), Refusal)
    inner(stream)


@pytest.mark.parametrize(
    ("operation", "setting", "meanwhile"),
    [
        (append, in_the_middle, appends),
        (append, in_the_middle, appends_and_goes_on_twice),
        (append, in_the_middle, writes_anew),
        (append, at_the_end_of_a_segment, appends_and_goes_on_twice),
        (append, at_the_end_of_a_segment, writes_anew),
        (replace, in_the_middle, appends_and_goes_on_twice),
        (replace, in_the_middle, writes_anew),
    ],
)
def test_a_thread_may_sleep_anywhere_while_others_go_on(
    setting: Setting, operation: Callable[[Stream], None], meanwhile: Callable[[Stream], None]
) -> None:
    stream: Stream | None = None
    at = 0
    while True:
        stream = setting(SimulatedFileSystem, stream)
        sleeper = Sleeper(stream, at, operation)
        meanwhile(stream)
        sleeper.wake()
        inner(stream)
        assert not stream.writer._inbox
        if not sleeper.blow.struck:
            break
        at += 1 if operation is append and meanwhile is not writes_anew else 5
        if at % 60 == 0:
            gc.collect()
    stream.check()
    assert not any(isinstance(answer, Refusal) for answer in stream.answers.values())
    assert at > 100


def test_a_thread_that_slept_does_not_disturb_what_was_closed_since() -> None:
    stream: Stream | None = None
    at = 0
    while True:
        stream = at_the_end_of_a_segment(Unmapped, stream)
        sleeper = Sleeper(stream, at, append)
        appends_and_goes_on_twice(stream)
        forget_older_segments(stream)
        sleeper.wake()
        inner(stream)
        if not sleeper.blow.struck:
            break
        at += 1
    stream.check()
    assert not any(isinstance(answer, Refusal) for answer in stream.answers.values())
    assert stream.writer.problem is None
    assert at > 100
