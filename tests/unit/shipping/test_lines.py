from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditwire.shipping import Line, Splitter


def split(pieces: list[bytes], limit: int = 1 << 20, **options: int) -> tuple[list[Line], bytes]:
    spilled: list[bytes] = []
    splitter = Splitter(limit=limit, spill=spilled.append, **options)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    last = splitter.finish()
    return [*lines, *([] if last is None else [last])], b"".join(spilled)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(cut, len(data)) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(
    content=st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"x"))),
    ended=st.booleans(),
    cuts=st.lists(st.integers(0, 300)),
    limit=st.integers(1, 20),
)
def test_lines_are_those_of_bytes_split_however_the_bytes_arrive(
    content: list[bytes], ended: bool, cuts: list[int], limit: int
) -> None:
    data = b"\n".join(content) + (b"\n" if ended and content else b"")
    expected = data.split(b"\n")
    lines, spilled = split(pieces_of(data, cuts), limit)
    tail = expected.pop()
    if tail:
        expected.append(tail)
    assert [line.length for line in lines] == [len(text) for text in expected]
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
    assert [line.ended for line in lines] == [True] * (len(expected) - bool(tail)) + [False] * bool(tail)
    for line, text in zip(lines, expected, strict=True):
        assert line.too_long == (len(text) > limit)
        assert line.raw == text[: limit if line.too_long else None]
        assert data[: line.end].removesuffix(b"\n").endswith(text)
    long = [text + b"\n" * line.ended for line, text in zip(lines, expected, strict=True) if line.too_long]
    assert spilled == b"".join(long)


def test_numbers_and_offsets_go_on_from_a_place() -> None:
    lines, _ = split([b"one\ntw", b"o"], offset=100, number=7)
    assert lines == [Line(8, 104, b"one", 3, ended=True), Line(9, 107, b"two", 3, ended=False)]


def test_of_a_line_that_is_too_long_only_the_beginning_is_held() -> None:
    splitter = Splitter(limit=1 << 16)
    for _ in range(1_000):
        assert list(splitter.feed(b"x" * (1 << 16))) == []
        assert sum(map(len, splitter._parts)) <= 1 << 16
    (line,) = splitter.feed(b"\n")
    assert (line.too_long, line.length, line.raw) == (True, 1_000 << 16, b"x" * 4096)
    assert line.end == line.length + 1


def test_nothing_behind_the_last_line_break_is_no_line() -> None:
    assert split([b"a\n"])[0] == [Line(1, 2, b"a", 1, ended=True)]
    assert split([])[0] == []
