from __future__ import annotations

import errno
import io
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bombardment import bombarded

from auditwire.collectors.linestream import LineStream
from auditwire.errors import CollectorClosed, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable


class Hooked(io.StringIO):
    """Calls a function inside each write, as a signal handler would; may refuse writes."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: Callable[[], object] | None = None
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.inside:
            call, self.inside = self.inside, None
            call()
        if self.error:
            raise self.error
        return written


def test_lines_are_written_and_flushed_at_once() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    lines = LineStream(stream)
    lines.append('"é"\n')
    assert raw.getvalue().decode() == '"é"\n'
    lines.append('"b"\n')
    assert raw.getvalue().decode() == '"é"\n"b"\n'


@pytest.mark.parametrize(
    ("encoding", "escaped"), [("ascii", True), ("latin-1", True), ("utf-8", False), ("utf-16", False)]
)
def test_a_stream_that_cannot_hold_every_character_gets_escapes(encoding: str, escaped: bool) -> None:
    raw = io.BytesIO()
    text = "é日\U0001f600"
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    LineStream(stream).append(f'"{text}"\n')
    written = raw.getvalue().decode(encoding)
    assert json.loads(written) == text
    assert ("\\u00e9" in written) is escaped


def test_an_encoding_that_nobody_knows_gets_escapes() -> None:
    class Odd(io.StringIO):
        encoding = "no-such-codec"

    stream = Odd()
    LineStream(stream).append('"é"\n')
    assert stream.getvalue() == '"\\u00e9"\n'


def test_closing_leaves_the_stream_open_and_takes_no_more() -> None:
    stream = io.StringIO()
    lines = LineStream(stream)
    lines.close()
    lines.close()
    with pytest.raises(CollectorClosed):
        lines.append("1\n")
    assert not stream.closed


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(), ValueError("closed file")]
)
def test_a_refusal_is_a_sink_error_and_the_next_line_starts_on_a_new_one(error: Exception) -> None:
    stream = Hooked()
    lines = LineStream(stream)
    stream.error = error
    with pytest.raises(SinkError, match="Hooked refused the event") as caught:
        lines.append("1\n")
    assert caught.value.__cause__ is error
    stream.error = None
    stream.truncate(1)  # half of the line had been taken
    stream.seek(1)
    lines.append("2\n")
    lines.append("3\n")
    assert stream.getvalue() == "1\n2\n3\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_the_refusal_of_a_named_stream_tells_its_name() -> None:
    stream = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it raises, as writing does
    with pytest.raises(SinkError, match=r"/dev/full refused the event: .* No space left"):
        LineStream(stream).append("1\n")
    with pytest.raises(OSError, match="No space left"):
        stream.close()


def test_a_line_inside_another_of_the_same_thread_follows_it() -> None:
    stream = Hooked()
    lines = LineStream(stream)
    stream.inside = lambda: lines.append("inner\n")
    lines.append("outer\n")
    assert stream.getvalue() == "outer\ninner\n"


def test_a_line_inside_one_that_fails_is_written_all_the_same() -> None:
    stream = Hooked()
    lines = LineStream(stream)

    def inside() -> None:
        lines.append("inner\n")
        raise KeyboardInterrupt

    stream.inside = inside
    with pytest.raises(KeyboardInterrupt):
        lines.append("outer\n")
    assert stream.getvalue() == "outer\n\ninner\n"


def test_a_line_that_waits_is_tried_again_until_it_is_written() -> None:
    stream = Hooked()
    lines = LineStream(stream)

    def inside() -> None:
        lines.append("inner\n")
        stream.error = OSError(errno.ENOSPC, "full")

    stream.inside = inside
    with pytest.raises(SinkError):
        lines.append("outer\n")
    with pytest.raises(SinkError):
        lines.flush()
    stream.error = None
    stream.truncate(0)
    stream.seek(0)
    lines.flush()
    assert stream.getvalue() == "\ninner\n"


def test_lines_that_can_never_be_written_are_told_by_close() -> None:
    stream = Hooked()
    lines = LineStream(stream)

    def inside() -> None:
        lines.append("inner\n")
        stream.error = OSError(errno.ENOSPC, "full")

    stream.inside = inside
    with pytest.raises(SinkError):
        lines.append("outer\n")
    with pytest.raises(SinkError, match=r"^1 events could not be written"):
        lines.close()
    lines.close()


def test_a_flush_inside_a_write_does_not_say_that_all_is_done() -> None:
    stream = Hooked()
    lines = LineStream(stream)
    said: list[str] = []

    def inside() -> None:
        lines.flush()  # nothing of what was emitted before it waits
        lines.append("inner\n")
        with pytest.raises(SinkError) as caught:
            lines.flush()
        said.append(str(caught.value))

    stream.inside = inside
    lines.append("outer\n")
    assert said == ["1 events wait for the write that this call interrupted"]
    assert stream.getvalue() == "outer\ninner\n"


def test_closing_inside_a_write_lets_what_waits_follow() -> None:
    stream = Hooked()
    lines = LineStream(stream)

    def inside() -> None:
        lines.append("inner\n")
        lines.close()

    stream.inside = inside
    lines.append("outer\n")
    assert stream.getvalue() == "outer\ninner\n"
    with pytest.raises(CollectorClosed):
        lines.append("late\n")


def test_threads_write_whole_lines() -> None:
    class InPieces(io.StringIO):
        """Mixes up what two threads write at the same time."""

        def write(self, text: str) -> int:
            for character in text:
                super().write(character)
            return len(text)

    stream = InPieces()
    lines = LineStream(stream)

    def work(number: int) -> None:
        for n in range(300):
            lines.append(f'"{number}-{n}"\n')

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert sorted(written) == sorted(f"{number}-{n}" for number in range(8) for n in range(300))


def test_a_signal_handler_may_write_inside_a_write(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    handled = written = 0

    def handle() -> None:
        nonlocal handled
        lines.append(f'"signal {handled}"\n')
        handled += 1

    with path.open("w", encoding="utf-8") as stream:
        lines = LineStream(stream)
        with bombarded(handle) as order:
            while handled < 500:
                order()
                lines.append(f'"loop {written}"\n')
                written += 1
        lines.close()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(found) == sorted(
        [f"loop {n}" for n in range(written)] + [f"signal {n}" for n in range(handled)]
    )


def test_a_forked_child_leaves_what_waits_to_its_parent() -> None:
    stream = Hooked()
    lines = LineStream(stream)

    def inside() -> None:
        lines.append("inner\n")
        lines.after_fork()

    stream.inside = inside
    lines.append("outer\n")
    assert stream.getvalue() == "outer\n"


def test_a_forked_child_does_not_find_the_lock_taken() -> None:
    stream = io.StringIO()
    lines = LineStream(stream)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lines._lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    lines.after_fork()
    lines.append("1\n")
    done.set()
    thread.join()
    assert stream.getvalue() == "1\n"
