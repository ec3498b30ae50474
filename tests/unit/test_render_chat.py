# pydantic is a value here and not a module: whether it is installed must not change what mypy says
# mypy: disable-error-code="misc, name-defined, untyped-decorator"
from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from auditwire.render_bounds import MAX_CHARS, MAX_VALUES
from auditwire.render_chat import NO_MESSAGE, message_content, part_text
from auditwire.render_text import TextWalk


def text(value: Any) -> str:
    failures: list[Any] = []
    walk = TextWalk(lambda value, error: failures.append((value, error)))
    found = walk.text(value)
    assert (failures, walk.items_left_out, walk.chars_left_out) == ([], 0, 0)
    return found


@dataclasses.dataclass
class Message:
    role: str
    content: Any
    tool_calls: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Slotted:
    __slots__ = ("content", "part_kind")
    content: str
    part_kind: str


@dataclasses.dataclass
class Document:
    owner: str
    content: str


@dataclasses.dataclass
class ToolResult:
    content: list[Any]
    is_error: bool = False
    result_type: str = "complete"


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"role": "user", "content": "hello"}, "hello"),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "assistant", "content": "ok", "refusal": None, "tool_calls": [], "id": "m-1"}, "ok"),
        ({"role": "tool", "tool_call_id": "c-1", "content": "42"}, "42"),
        (Message("user", "hello"), "hello"),
        (Slotted("hello", "user-prompt"), "hello"),
        (SimpleNamespace(role="user", content="hello"), "hello"),
        (SimpleNamespace(content="hello"), "hello"),
        ([{"role": "system", "content": "Be brief."}, Message("user", "hello")], "Be brief.\nhello"),
        (({"role": "user", "content": "hello"},), "hello"),
        ({"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, "a\nb"),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "what is it?"}, IMAGE]},
            f"what is it?\n{json.dumps(IMAGE, separators=(',', ':'))}",
        ),
        (SimpleNamespace(content=[SimpleNamespace(type="text", text="b")], type="ai"), "b"),
        ({"role": "user", "content": []}, ""),
        (ToolResult([SimpleNamespace(type="text", text="out", annotations=None)]), "out"),
    ],
)
def test_a_message_is_what_it_says(value: Any, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        {"content": "no role"},
        {"role": "user"},
        {"role": 7, "content": "x"},
        {"role": "user", "content": 7},
        {"role": "admin", "content": "x", "amount": 5},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c-1", "name": "search"}]},
        {"role": "user", "content": "x", **{f"k{n}": None for n in range(40)}},
        [{"role": "user", "content": "x"}, "a text"],
        [{"role": "user", "content": "x"}, {"role": "user"}],
        {"messages": [{"role": "user", "content": "x"}]},
        [],
    ],
)
def test_anything_else_is_shown_whole(value: Any) -> None:
    assert json.loads(text(value)) == value


def test_nothing_that_a_message_holds_beside_its_content_is_lost() -> None:
    call = Message("assistant", "I will look.", [{"name": "search"}])
    assert json.loads(text(call)) == dataclasses.asdict(call)
    failed = ToolResult(["out"], is_error=True)
    assert json.loads(text(failed)) == dataclasses.asdict(failed)
    assert json.loads(text(Document("Ada", "x"))) == {"owner": "Ada", "content": "x"}
    part = {"type": "text", "text": "x", "hidden": 1}
    assert json.loads(text({"role": "user", "content": [part]})) == part


def test_a_response_whose_content_is_a_download_is_not_read() -> None:
    class Response:
        role = "user"

        @property
        def content(self) -> bytes:
            raise AssertionError("downloaded")

        def __repr__(self) -> str:
            return "<Response [200]>"

    assert text(Response()) == "<Response [200]>"
    assert message_content(type("Described", (), {"content": "of a class"})) is NO_MESSAGE
    assert message_content(SimpleNamespace(content=None)) is NO_MESSAGE
    assert message_content(SimpleNamespace(content=b"bytes", role="user")) is NO_MESSAGE


def test_a_masked_content_stays_masked() -> None:
    @dataclasses.dataclass
    class Whisper:
        role: str
        content: str = dataclasses.field(repr=False)

    assert text(Whisper("user", "hush")) == "**********"


def test_parts_that_are_more_than_text_are_not_texts() -> None:
    assert part_text({"type": "text", "text": 7}) is None
    assert part_text({"type": "thinking", "text": "x"}) is None
    assert part_text(7) is None
    assert part_text("x") == "x"


def test_a_message_of_any_size_is_not_copied_and_a_conversation_is_bounded() -> None:
    large = "x" * (MAX_CHARS + 9)
    assert text({"role": "user", "content": large}) is large
    walk = TextWalk()
    assert walk.text([{"role": "user", "content": large}, {"role": "user", "content": "y"}]).endswith(
        "x<9 more characters>\n<1 more characters>"
    )
    assert walk.chars_left_out == 10
    walk = TextWalk()
    found = walk.text([{"role": "user", "content": str(n)} for n in range(MAX_VALUES + 5)])
    assert found.endswith(f"\n{MAX_VALUES - 1}\n<5 more items>")
    assert walk.items_left_out == 5
    walk = TextWalk()
    found = walk.text({"role": "user", "content": ["p"] * (MAX_VALUES + 5)})
    assert found.endswith("\np\n<5 more items>")
    assert TextWalk(max_values=0).text([{"role": "user", "content": "x"}]) == '["<1 more items>"]'


def test_real_models_of_messages_are_asked_for_their_content() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Said(pydantic.BaseModel):
        content: Any
        type: str = "ai"
        additional_kwargs: Any = None
        response_metadata: Any = pydantic.Field(default_factory=lambda: {"tokens": 7})
        tool_calls: Any = ()

    class Censored(Said):
        @pydantic.field_serializer("content")
        def censor(self, content: str) -> str:
            return content.replace("hush", "***")

    class Excluded(Said):
        content: Any = pydantic.Field(exclude=True)

    class Typed(Said):
        @pydantic.field_serializer("content")
        def count(self, content: str) -> int:
            return len(content)

    assert text(Said(content="hello")) == "hello"
    assert text([Said(content="a"), Said(content=["b", {"type": "text", "text": "c"}])]) == "a\nb\nc"
    assert text(Censored(content="hush!")) == "***!"
    assert "hush" not in text(Excluded(content="hush"))
    assert json.loads(text(Typed(content="four")))["content"] == 4
    assert json.loads(text(Said(content="x", tool_calls=[1])))["tool_calls"] == [1]
    assert '"content"' in text(Said(content=pydantic.SecretStr("hush")))
    stream = iter([1])
    assert "<1 more items>" in TextWalk().text(Said(content=[stream]))
    assert list(stream) == [1]
