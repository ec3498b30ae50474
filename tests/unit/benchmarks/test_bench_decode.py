"""What reads a value is measured beside fastavro, round by round, and what is not installed is said."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from benchmarks import decode
from benchmarks.decode import Cost, load, measure, ratio, report, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN = {"fastavro", "decode", "envelope", "interpreter"}


def without(monkeypatch: pytest.MonkeyPatch, package: str, module: str) -> None:
    gone = (f"benchmarks.readers.{module}", package, "confluent_kafka.schema_registry")
    for name in [name for name in sys.modules if name.startswith(gone)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_variants_whose_package_is_not_installed_are_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "authlib", "deserializer")
    without(monkeypatch, "pyarrow", "ruhvro")
    found, missing = load()
    assert set(found) == OWN
    assert list(missing) == ["AvroDeserializer", "pyruhvro", "pyruhvro, dicts"]
    assert missing["AvroDeserializer"].startswith("authlib")
    assert missing["pyruhvro"] == missing["pyruhvro, dicts"] == "pyarrow"
    assert decode.main(["--values", "2", "--rounds", "1"]) == 0
    assert "\npyruhvro: not measured, pyarrow is not installed\n" in capsys.readouterr().out


@pytest.mark.parametrize("rich", [False, True])
def test_every_variant_that_is_here_reads_the_values(*, rich: bool) -> None:
    found, missing = load()
    assert set(found) | set(missing) == set(decode.VARIANTS)
    assert set(found) >= OWN
    spent = measure(found, values_of(3, rich=rich), 2)
    assert set(spent) == set(found)
    assert all(len(costs) == 2 and min(costs) >= 0 for costs in spent.values())


def test_variants_read_all_values_once_a_round_after_a_first_one() -> None:
    read: dict[str, list[int]] = {"fastavro": [], "decode": []}

    def counting(name: str) -> Callable[[Sequence[bytes]], object]:
        def count(values: Sequence[bytes]) -> None:
            read[name].append(len(values))

        return count

    measure({name: counting(name) for name in read}, [b"value"] * 5, 3)
    assert read == {"fastavro": [1, 5, 5, 5], "decode": [1, 5, 5, 5]}


def test_a_ratio_is_that_of_the_same_round() -> None:
    spent = {"fastavro": [8.0, 16.0, 40.0], "decode": [4.0, 4.0, 40.0]}
    assert ratio(spent, "fastavro", "decode").median == 2.0
    assert Cost.of(spent["fastavro"]).median / Cost.of(spent["decode"]).median == 4.0


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (4.0, "fastavro / decode: 2.50 (2.50 to 2.50); gate 1.8: met, aim 2.5: met"),
        (5.0, "fastavro / decode: 2.00 (2.00 to 2.00); gate 1.8: met, aim 2.5: not met"),
        (10.0, "fastavro / decode: 1.00 (1.00 to 1.00); gate 1.8: not met, aim 2.5: not met"),
    ],
)
def test_the_report_says_whether_gate_and_aim_are_met(ours: float, told: str) -> None:
    text = report(428, {"fastavro": [10.0, 10.0], "decode": [ours, ours]})
    assert told in text
    assert f"{10 / ours:6.2f} times fastavro's rate" in text


def test_the_command_prints_one_object_with_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode.main(["--values", "5", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["plain"]["microseconds"]) | set(found["missing"]) == set(decode.VARIANTS)
    assert found["rich"]["bytes"] > found["plain"]["bytes"]
    assert found["rich"]["fastavro_to_decode"]["median"] > 0


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--values", "0"]])
def test_the_command_refuses_to_measure_nothing(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        decode.main(wrong)
    assert caught.value.code == 2
