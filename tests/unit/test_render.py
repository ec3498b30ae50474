from __future__ import annotations

import hashlib
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.render import REDACTION_FAILED, Renderer


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


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# -- render, measure, truncate -----------------------------------------------------------------------


@given(text=st.text(), limit=st.integers(0, 300))
def test_text_keeps_its_first_characters_and_its_full_length(text: str, limit: int) -> None:
    assert Renderer(limit).preview(text) == (text[:limit], len(text), None)


def test_none_is_the_empty_text() -> None:
    assert Renderer(200).preview(None) == ("", 0, None)


@pytest.mark.parametrize("value", [0, False, 1.5, b"bytes"])
def test_anything_else_is_rendered_before_it_is_measured(value: object) -> None:
    assert Renderer(3).preview(value) == (str(value)[:3], len(str(value)), None)


def test_a_subclass_of_str_is_its_own_text_whatever_it_says_of_itself() -> None:
    text, length, _ = Renderer(3).preview(Shouting("quiet"))
    assert (text, length) == ("qui", 5)
    assert type(text) is str


@pytest.mark.parametrize("value", [Unprintable(), NoText()])
def test_a_rendering_that_raises_is_reported_and_named(value: object) -> None:
    failures: list[tuple[object, Exception]] = []
    renderer = Renderer(200, on_unprintable=lambda value, error: failures.append((value, error)))
    text, length, _ = renderer.preview(value)
    assert text == f"<unprintable {type(value).__name__}>"
    assert length == len(text)
    [(reported, error)] = failures
    assert reported is value
    assert isinstance(error, (ValueError, TypeError))


def test_a_rendering_that_raises_needs_no_callback() -> None:
    assert Renderer(5).preview(Unprintable()) == ("<unpr", 25, None)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(stop: type[BaseException]) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise stop

    with pytest.raises(stop):
        Renderer(200).preview(Interrupted())


def test_lone_surrogates_are_left_for_the_encoder() -> None:
    assert Renderer(2).preview("a\ud800b") == ("a\ud800", 3, None)


def test_a_text_of_100_mb_is_not_copied() -> None:
    text = "x" * 100_000_000
    tracemalloc.start()
    try:
        assert Renderer(200).preview(text) == ("x" * 200, 100_000_000, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000


# -- digests -----------------------------------------------------------------------------------------


@given(text=st.text(st.characters(exclude_categories=["Cs"])), limit=st.integers(0, 10))
def test_a_digest_is_that_of_the_full_text(text: str, limit: int) -> None:
    shown, length, digest = Renderer(limit, digests="sha256").preview(text)
    assert text.startswith(shown)
    assert (length, digest) == (len(text), sha256(text))


def test_a_digest_is_that_of_the_text_which_an_object_is_rendered_to() -> None:
    assert Renderer(1, digests="sha256").preview(12345) == ("1", 5, sha256("12345"))


# -- redaction ---------------------------------------------------------------------------------------


def test_redaction_comes_before_measuring_hashing_and_truncating() -> None:
    renderer = Renderer(8, digests="sha256", redact=lambda text: re.sub(r"\d{4,}", "[number]", text))
    # cut first, the number would have been three digits long and no number of four
    assert renderer.preview("card 12345678") == ("card [nu", 13, sha256("card [number]"))


def test_redaction_sees_the_whole_rendered_text_once() -> None:
    seen: list[str] = []

    def look(text: str) -> str:
        seen.append(text)
        return text

    renderer = Renderer(2, digests="sha256", redact=look)
    for value in ("hello", 12345, None):
        renderer.preview(value)
    assert seen == ["hello", "12345", ""]


def test_a_redacted_text_is_an_exact_str() -> None:
    text, length, _ = Renderer(9, redact=Shouting).preview("quiet")
    assert (text, length) == ("quiet", 5)
    assert type(text) is str


def raising(text: str) -> str:
    raise ValueError(f"cannot handle {text}")


def recursing(text: str) -> str:
    return recursing(text)


@pytest.mark.parametrize(
    ("redact", "told"),
    [
        (raising, "redact raised ValueError in raising, "),
        (recursing, "redact raised RecursionError in recursing, "),
        (lambda text: text.encode(), "redact returned bytes instead of a text"),
        (lambda text: None, "redact returned NoneType instead of a text"),
        (len, "redact returned int instead of a text"),
    ],
)
@pytest.mark.parametrize("digests", [None, "sha256"])
def test_a_redaction_that_fails_never_shows_the_text(redact: Any, told: str, digests: Any) -> None:
    failures: list[tuple[Any, Exception]] = []
    renderer = Renderer(
        200,
        digests=digests,
        redact=redact,
        on_redaction_failure=lambda value, error: failures.append((value, error)),
    )
    assert renderer.preview("my secret") == (REDACTION_FAILED, len(REDACTION_FAILED), None)
    [(value, error)] = failures
    assert value == "my secret"
    assert isinstance(error, AuditwireError)
    assert str(error).startswith(told)
    assert "my secret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None, "a traceback of the cause would quote the text"


def test_a_redaction_that_fails_needs_no_callback_and_is_cut_as_any_text() -> None:
    assert Renderer(4, redact=raising).preview("my secret") == ("<red", len(REDACTION_FAILED), None)


def test_an_error_of_code_without_python_lines_says_where_it_was_called() -> None:
    failures: list[Exception] = []
    renderer = Renderer(9, redact=int, on_redaction_failure=lambda _, e: failures.append(e))  # type: ignore[arg-type]
    renderer.preview("my secret")
    assert re.fullmatch(r"redact raised ValueError in _redacted, .*render\.py:\d+", str(failures[0]))


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {"a": [v]}])
def test_where_texts_are_redacted_a_failing_rendering_tells_none_either(wrap: Any) -> None:
    class Quoting:
        def __str__(self) -> str:
            raise ValueError("my secret")

    failures: list[tuple[Any, Exception]] = []
    value = Quoting()
    Renderer(200, redact=str, on_unprintable=lambda *failure: failures.append(failure)).preview(wrap(value))
    [(reported, error)] = failures
    assert reported is value
    assert str(error).startswith("rendering raised ValueError in __str__, ")
    assert isinstance(error, AuditwireError)
    assert "my secret" not in str(error)
    assert Renderer(200, redact=str).preview(value)[0] == "<unprintable Quoting>"


def test_an_interruption_of_a_redaction_passes_through() -> None:
    def interrupted(text: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Renderer(200, redact=interrupted).preview("x")


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("digests", ["md5", "SHA256", "", True, b"key", 1])
def test_other_digests_are_refused(digests: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Renderer(200, digests=digests)
    assert caught.value.key == "digests"


@pytest.mark.parametrize("redact", ["mask", True, re.compile("x"), ()])
def test_a_redact_that_is_no_function_is_refused(redact: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"redact: .* is neither None nor a function") as caught:
        Renderer(200, redact=redact)
    assert caught.value.key == "redact"
