from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.render import preview


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text for you")


class NoText:
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307 - what is tested


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()

    def __len__(self) -> int:
        return 1_000_000


@given(text=st.text(), limit=st.integers(0, 300))
def test_text_keeps_its_first_characters_and_its_full_length(text: str, limit: int) -> None:
    assert preview(text, limit) == (text[:limit], len(text))


def test_none_is_the_empty_text() -> None:
    assert preview(None, 200) == ("", 0)


@pytest.mark.parametrize("value", [0, False, 1.5, {"q": "kafka"}, ["a"], b"bytes", ValueError("x")])
def test_anything_else_is_rendered_before_it_is_measured(value: object) -> None:
    assert preview(value, 3) == (str(value)[:3], len(str(value)))


def test_a_subclass_of_str_is_its_own_text_whatever_it_says_of_itself() -> None:
    text, length = preview(Shouting("quiet"), 3)
    assert (text, length) == ("qui", 5)
    assert type(text) is str


@pytest.mark.parametrize("value", [Unprintable(), NoText()])
def test_a_rendering_that_raises_is_reported_and_named(value: object) -> None:
    failures: list[tuple[object, Exception]] = []
    text, length = preview(value, 200, lambda value, error: failures.append((value, error)))
    assert text == f"<unprintable {type(value).__name__}>"
    assert length == len(text)
    [(reported, error)] = failures
    assert reported is value
    assert isinstance(error, (ValueError, TypeError))


def test_a_rendering_that_raises_needs_no_callback() -> None:
    assert preview(Unprintable(), 5) == ("<unpr", 25)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(stop: type[BaseException]) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise stop

    with pytest.raises(stop):
        preview(Interrupted(), 200)


def test_lone_surrogates_are_left_for_the_encoder() -> None:
    assert preview("a\ud800b", 2) == ("a\ud800", 3)


def test_a_text_of_20_mb_is_not_copied() -> None:
    text = "x" * 20_000_000
    tracemalloc.start()
    try:
        assert preview(text, 200) == ("x" * 200, 20_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000
