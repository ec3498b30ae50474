from __future__ import annotations

import array
from typing import Any

import pytest

from auditwire.render_foreign import (
    MASK,
    fields_of,
    has,
    is_numpy_scalar,
    qualified_name,
    stored,
    without_addresses,
)
from auditwire.render_text import TextWalk


def text(value: Any) -> str:
    failures: list[Any] = []
    found = TextWalk(lambda value, error: failures.append((value, error))).text(value)
    assert not failures
    return found


def a_class(module: str, name: str, *bases: type, **members: Any) -> type:
    return type(name, bases, {"__module__": module, **members})


def never(*_: object) -> Any:
    raise AssertionError("evaluated")


# -- arrays, tensors, data frames --------------------------------------------------------------------


Tensor = a_class("torch", "Tensor", shape=(2, 3), dtype="float32", __repr__=never, __len__=never)
Frame = a_class(
    "polars.dataframe.frame", "DataFrame", shape=(10, 2), columns=["a"], __repr__=never, __iter__=never
)
Unknown = a_class("dask.dataframe", "DataFrame", shape=(None, 3), ndim=2, __repr__=never)
Wide = a_class("my.arrays", "Wide", shape=range(1_000), dtype="x" * 500, __repr__=never)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Tensor(), "<torch.Tensor shape=(2, 3) dtype=float32>"),
        (Frame(), "<polars.DataFrame shape=(10, 2)>"),
        (Unknown(), "<dask.DataFrame shape=(?, 3)>"),
        (Wide(), f"<my.Wide shape={tuple(range(16))} dtype={'x' * 80}>"),
        (array.array("d", [1.0] * 1_000), "<array.array length=1000 typecode=d>"),
    ],
)
def test_arrays_are_told_by_type_shape_and_dtype(value: object, expected: str) -> None:
    assert text(value) == expected
    assert text({"data": value}) == f'{{"data":"{expected}"}}'


def test_an_array_without_a_readable_shape_is_a_failure_and_nothing_more() -> None:
    failures: list[Any] = []
    value = a_class("x", "Broken", shape=property(never), dtype=1)()
    found = TextWalk(lambda value, _: failures.append(value)).text([value])
    assert (found, failures) == ('["<unprintable Broken>"]', [value])


def test_a_shape_alone_does_not_make_an_array() -> None:
    circle = a_class("drawing", "Circle", shape="round", __repr__=lambda _: "a circle")
    assert text(circle()) == "a circle"


def test_real_numpy_arrays_are_never_rendered_whole_and_scalars_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    assert text(np.zeros((1_000, 1_000))) == "<numpy.ndarray shape=(1000, 1000) dtype=float64>"
    assert text(np.zeros(())) == "<numpy.ndarray shape=() dtype=float64>"
    value = {"i": np.int64(5), "f": np.float32(0.5), "b": np.True_, "s": np.str_("x"), "a": np.arange(3)}
    assert text(value) == ('{"i":5,"f":0.5,"b":true,"s":"x","a":"<numpy.ndarray shape=(3,) dtype=int64>"}')
    assert text(np.datetime64("2026-01-02")) == "2026-01-02"
    assert text(np.longdouble(1.5)) == "1.5"
    assert text(np.ma.masked_array([1, 2])) == "<numpy.MaskedArray shape=(2,) dtype=int64>"


def test_real_data_frames_are_never_rendered_whole() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"dtype": range(10), "shape": range(10)})
    assert text(frame) == "<pandas.DataFrame shape=(10, 2)>"
    assert text(frame["dtype"]) == "<pandas.Series shape=(10,) dtype=int64>"
    assert text(frame.index) == "<pandas.RangeIndex shape=(10,) dtype=int64>"
    assert text([pd.Timestamp("2026-01-02"), pd.NaT, pd.NA]) == '["2026-01-02T00:00:00","NaT","<NA>"]'
    assert text(frame.itertuples()) == "<map>" or text(frame.itertuples()).startswith("<")


# -- what is lazy, what is secret --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("django.db.models.query", "QuerySet"),
        ("duckdb.duckdb", "DuckDBPyRelation"),
        ("_duckdb", "DuckDBPyRelation"),
    ],
)
def test_a_query_is_not_run_to_be_shown(module: str, name: str) -> None:
    query = a_class(
        module,
        name,
        __repr__=never,
        __iter__=never,
        __len__=never,
        shape=property(never),
        columns=property(never),
    )
    mine = a_class("shop.models", "Orders", query)
    assert text(query()) == f"<{module.partition('.')[0]}.{name}>"
    assert text(mine()) == "<shop.Orders>"


def test_a_secret_is_masked_and_never_asked_for() -> None:
    secret = a_class("vault", "Secret", get_secret_value=never, __str__=never, __repr__=never, __iter__=never)
    assert text(secret()) == MASK
    assert text([secret(), {secret(): 1}]) == f'["{MASK}",{{"{MASK}":1}}]'


def test_a_secret_mapping_or_dataclass_is_a_secret() -> None:
    from collections import UserDict
    from dataclasses import dataclass

    @dataclass
    class Token:
        value: str

        def get_secret_value(self) -> str:
            return self.value

    class Vault(UserDict[str, str]):
        def get_secret_value(self) -> str:
            return ""

    assert text(Token("hush")) == MASK
    assert text([Vault(a="hush")]) == f'["{MASK}"]'


# -- facts about types -------------------------------------------------------------------------------


def test_names_are_those_of_the_class_whatever_its_metaclass_says() -> None:
    class Lying(type):
        __name__ = property(never)
        __mro__ = property(never)

        def __getattr__(cls, name: str) -> Any:
            never()

    class Told(metaclass=Lying):
        """A class whose metaclass says otherwise."""

    assert qualified_name(Told) == "test_render_foreign.Told"
    assert not has(Told, "model_dump_json")
    assert not is_numpy_scalar(Told)
    assert qualified_name(int) == "int"
    assert qualified_name(a_class("", "Odd")) == "Odd"
    assert qualified_name(type("Odder", (), {"__module__": 7})) == "Odder"


def test_only_what_an_instance_holds_itself_is_stored() -> None:
    class Held:
        content = property(never)

        def __init__(self) -> None:
            self.own = 1

        def __getattr__(self, name: str) -> Any:
            never()

    assert stored(Held()) == {"own": 1}
    assert stored(Held) is None
    assert stored(object()) is None


def test_attrs_classes_have_fields_too() -> None:
    attrs = pytest.importorskip("attrs")
    point = attrs.make_class("P", {"x": attrs.field(), "token": attrs.field(repr=False)}, slots=True)(
        1, "hush"
    )
    assert text(point) == f'{{"x":1,"token":"{MASK}"}}'


def test_attrs_fields_are_read_as_attrs_describes_them() -> None:
    class Attribute:
        def __init__(self, name: str, shown: Any) -> None:
            self.name, self.repr = name, shown

    class Defined:
        __attrs_attrs__ = (
            Attribute("x", True),
            Attribute("card", lambda v: v[-4:]),
            Attribute("unset", True),
        )

        def __init__(self) -> None:
            self.x, self.card = 1, "1234567890"

    fields = fields_of(Defined())
    assert fields is not None
    assert list(fields) == [("x", 1), ("card", MASK)]
    assert fields_of(7) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<function f at 0x7f00aB>", "<function f>"),
        ("<A object at 0x1> and <B at 0x2>", "<A object> and <B>"),
        ("read at 0x7f00", "read at 0x7f00"),
        ("nothing", "nothing"),
    ],
)
def test_addresses_are_taken_out_where_a_repr_puts_them(given: str, expected: str) -> None:
    assert without_addresses(given) == expected
