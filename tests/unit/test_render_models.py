# pydantic is a value here and not a module: whether it is installed must not change what mypy says
# mypy: disable-error-code="misc, name-defined, untyped-decorator"
from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tracemalloc
from collections import UserDict
from typing import Any

import pytest

from auditwire.render_bounds import MAX_DEPTH, MAX_VALUES
from auditwire.render_models import dump, is_model, weight
from auditwire.render_text import TextWalk

pydantic = pytest.importorskip("pydantic", reason="models are tested against the real pydantic")


class Account(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    name: str
    password: pydantic.SecretStr = pydantic.SecretStr("hush")
    pin: str = pydantic.Field(default="hush", exclude=True)
    card: str = "1234 hush"
    anything: Any = None

    @pydantic.field_serializer("card")
    def last_digits(self, card: str) -> str:
        return card[:4]


class Root(pydantic.RootModel[Any]):
    pass


class Fields:
    user: str
    password: pydantic.SecretStr
    pin: str = pydantic.Field(default="hush", exclude=True)


Login: Any = pydantic.dataclasses.dataclass(Fields)


def walked(value: Any) -> tuple[str, int, int, list[Any]]:
    failures: list[Any] = []
    walk = TextWalk(lambda value, error: failures.append((type(value).__name__, error)))
    return walk.text(value), walk.items_left_out, walk.chars_left_out, failures


def text(value: Any) -> str:
    found, items, chars, failures = walked(value)
    assert (items, chars, failures) == (0, 0, [])
    assert "hush" not in found
    return found


ADA = '{"name":"Ada","password":"**********","card":"1234","anything":null}'


def test_a_model_is_its_own_json_with_secrets_masked() -> None:
    account = Account(name="Ada")
    assert text(account) == ADA == account.model_dump_json()


def test_models_in_structures_and_structures_in_models_are_masked_too() -> None:
    @dataclasses.dataclass
    class Job:
        owner: Any

    assert text([Account(name="Ada")]) == f"[{ADA}]"
    assert text({"job": Job(Account(name="Ada"))}) == f'{{"job":{{"owner":{ADA}}}}}'
    nested = Account(name="Bob", anything={"deep": [Account(name="Ada"), pydantic.SecretStr("hush")]})
    assert json.loads(text(nested))["anything"] == {"deep": [json.loads(ADA), "**********"]}
    assert text(Root([Account(name="Ada")])) == f"[{ADA}]"
    assert text(Login("Ada", pydantic.SecretStr("hush"))) == '{"user":"Ada","password":"**********"}'


def test_what_pydantic_has_no_json_for_is_rendered_as_anywhere_else() -> None:
    tensor = type("Tensor", (), {"__module__": "torch", "shape": (2,), "dtype": "f4"})()
    found = json.loads(text(Account(name="Ada", anything=[tensor, UserDict(a=1), ValueError("v")])))
    assert found["anything"] == ["<torch.Tensor shape=(2,) dtype=f4>", '{"a":1}', "ValueError: v"]


def test_a_field_that_does_not_fit_its_type_gives_no_warning() -> None:
    account: Any = Account(name="Ada")
    account.name = 7
    assert json.loads(text(account))["name"] == 7  # pytest is set to raise what is warned


@pytest.mark.parametrize(
    "large",
    [
        "x" * 2_000_000,
        b"x" * 2_000_000,
        list(range(20_000)),
        dict.fromkeys(range(6_000)),
        [["x" * 600_000], {"y": "x" * 600_000}],
        1 << 4_000_000,
    ],
    ids=["str", "bytes", "list", "dict", "nested", "int"],
)
def test_a_field_that_is_too_large_is_left_out_and_counted(large: Any) -> None:
    account = Account(name="Ada", anything=large)
    tracemalloc.start()
    try:
        found, items, _, failures = walked(account)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == ADA.replace('"anything":null', '"...":"<1 more items>"')
    assert (items, failures) == (1, [])
    assert peak < 1_000_000


def test_a_field_that_would_be_consumed_is_left_out() -> None:
    numbers = iter([1, 2, 3])
    found, items, _, _ = walked(Account(name="Ada", anything={"stream": numbers}))
    assert json.loads(found)["..."] == "<1 more items>"
    assert items == 1
    assert list(numbers) == [1, 2, 3]


def test_a_model_of_which_nothing_fits_is_not_dumped() -> None:
    assert walked(Root(list(range(20_000)))) == ('{"...":"<1 more items>"}', 1, 0, [])


def test_a_cyclic_and_a_deep_model_are_left_out_where_they_are() -> None:
    ring = Account(name="Ada")
    ring.anything = {"again": ring}
    assert json.loads(walked(ring)[0])["..."] == "<1 more items>"
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert json.loads(walked(Account(name="Ada", anything=deep))[0])["..."] == "<1 more items>"


def test_a_cycle_through_a_foreign_object_ends() -> None:
    box: UserDict[str, Any] = UserDict()
    box["account"] = Account(name="Ada", anything=box)
    found, _, _, failures = walked(box)
    assert "<cyclic UserDict>" in found
    assert failures == []


def test_a_model_whose_serializer_raises_is_named_and_nothing_of_it_is_shown() -> None:
    class Broken(pydantic.BaseModel):
        a: str = "hush"

        @pydantic.field_serializer("a")
        def fail(self, a: str) -> str:
            raise ValueError("no")

    found, _, _, failures = walked(Broken())
    assert found == "<unprintable Broken>"
    assert [name for name, _ in failures] == ["Broken"]
    assert walked([1, Broken()])[0] == '[1,"<unprintable Broken>"]'


def test_a_model_that_does_not_dump_to_an_object_is_counted_without_a_mark() -> None:
    class Flat(pydantic.BaseModel):
        a: Any = None
        b: int = 1

        @pydantic.model_serializer
        def flat(self) -> str:
            return "flat"

    assert walked(Flat(a="x" * 2_000_000)) == ('"flat"', 1, 0, [])


def test_anything_that_dumps_itself_is_a_model() -> None:
    class Slots:
        __slots__ = ()

        def model_dump_json(self) -> str:
            return '{"own":1}'

    class Old:
        """As pydantic before it took a fallback."""

        def __init__(self) -> None:
            self.a, self.b = 1, "x" * 2_000_000

        def model_dump_json(self, exclude: set[str] | None = None) -> str:
            assert exclude == {"b"}
            return '{"a":1}'

    assert is_model(Slots)
    assert not is_model(dict)
    assert text(Slots()) == '{"own":1}'
    assert walked(Old()) == ('{"a":1,"...":"<1 more items>"}', 1, 0, [])


def test_what_is_dumped_counts_for_the_bounds_of_the_whole() -> None:
    accounts = [Account(name="Ada", anything=list(range(1_000))) for _ in range(20)]
    found, items, _, _ = walked(accounts)
    parsed = json.loads(found)
    assert sum(len(one.get("anything", ())) for one in parsed if isinstance(one, dict)) <= MAX_VALUES
    assert items > 0


def test_the_weight_is_values_and_characters_or_none_for_too_much() -> None:
    assert weight("abc", 10, 10) == (1, 3)
    assert weight({"a": [1, 2]}, 10, 10) == (5, 1)
    assert weight([1, 2, 3], 3, 10) is None
    assert weight("abc", 10, 2) is None
    assert weight(iter(()), 10, 10) is None
    assert weight(Login("u", pydantic.SecretStr("x")), 10, 10) is not None


def test_a_dump_says_what_is_in_it() -> None:
    dumped = dump(Account(name="Ada", anything=iter(())), 100, 1_000, str)
    assert dumped.fields_left_out == 1
    assert 0 < dumped.values < 100


def test_pydantic_is_never_imported_by_us() -> None:
    code = (
        "import sys\nfrom auditwire.render import Renderer\n"
        "class M:\n    def model_dump_json(self): return '{}'\n"
        "assert Renderer(9).preview([M(), object(), {}])[0] == '[{},\"<obj'\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'pydantic', 'numpy', 'pandas', 'attrs'})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
