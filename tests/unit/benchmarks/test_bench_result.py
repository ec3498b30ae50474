"""What a run found: kept, set in proportion, shown."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from benchmarks import emit
from benchmarks.process import Run
from benchmarks.result import GOALS, Goal, Result, caller, total
from benchmarks.rounds import rounds, spread, turned
from benchmarks.tables import aligned, bars, compared, markdown
from benchmarks.variants import VARIANTS

RUN = Run(
    events=1_000,
    cpu_us=5.0,
    other_cpu_us=0.0,
    caller_us=2.0,
    emitted_per_s=100_000.0,
    per_s=90_000.0,
    peak_mib=50.0,
    added_mib=5.0,
)


def a_run(cpu_us: float, caller_us: float = 2.0, other_cpu_us: float = 0.0) -> Run:
    return replace(RUN, cpu_us=cpu_us, caller_us=caller_us, other_cpu_us=other_cpu_us)


def a_result(**cpu: list[float]) -> Result:
    count = len(next(iter(cpu.values())))
    return Result(
        [{name: a_run(values[n]) for name, values in cpu.items()} for n in range(count)],
        machine={"python": "3.11.7", "load_average": 0.5},
        broker="a broker",
        events=1_000,
        value_bytes=388.0,
    )


def test_a_ratio_is_taken_within_a_round_and_not_of_medians() -> None:
    # the machine is twice and four times as slow in the later rounds
    result = a_result(floor=[5.0, 10.0, 20.0], memory=[10.0, 20.0, 40.0])
    ratio = result.ratio("memory", "floor")
    assert ratio is not None
    assert (ratio.lower, ratio.median, ratio.upper) == (2.0, 2.0, 2.0)


def test_the_total_is_that_of_both_processes() -> None:
    result = Result([{"floor": a_run(5.0), "forwarder": a_run(6.0, other_cpu_us=4.0)}])
    ratio = result.ratio("forwarder", "floor", total)
    assert ratio is not None
    assert ratio.median == 2.0


def test_there_is_no_ratio_to_what_was_not_measured() -> None:
    assert a_result(floor=[5.0]).ratio("memory", "floor") is None


def test_a_result_comes_back_from_its_json() -> None:
    result = replace(a_result(floor=[5.0, 6.0], memory=[9.0, 10.0]), missing={"faststream": "faststream"})
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rounds": []}', '{"rounds": [{"floor": {"cpu": 1}}]}'])
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one too
        Result.from_json(text)


def test_goals_say_whether_gate_and_aim_are_met() -> None:
    at_most = Goal("", "memory", "floor", total, 2.2, 1.7)
    at_least = Goal("", "handwritten", "memory", total, 2.5, 3.0, at_least=True)
    assert at_most.met(2.2, at_most.gate)
    assert not at_most.met(2.3, at_most.gate)
    assert at_least.met(2.5, at_least.gate)
    assert not at_least.met(2.4, at_least.gate)


@pytest.mark.parametrize(("cpu", "said"), [(8.0, "aim"), (10.0, "gate"), (12.0, "no")])
def test_the_table_says_of_a_goal_what_is_reached(cpu: float, said: str) -> None:
    text = markdown(a_result(floor=[5.0, 5.0], memory=[cpu, cpu]))
    line = next(line for line in text.splitlines() if line.startswith("| journal in memory / floor"))
    assert [cell.strip() for cell in line.split("|")][5] == said


def test_goals_of_variants_that_were_not_measured_are_left_out() -> None:
    text = markdown(a_result(floor=[5.0], memory=[9.0]))
    assert sum(goal.title in text for goal in GOALS) == 2


def test_the_table_says_what_is_not_installed() -> None:
    text = markdown(replace(a_result(floor=[5.0]), missing={"faststream": "faststream"}))
    assert "Not measured: FastStream (confluent) + fastavro: faststream is not installed." in text


def test_a_comparison_sets_the_ratios_in_proportion_and_says_when_they_are_clearly_apart() -> None:
    then = a_result(floor=[5.0] * 4, memory=[10.0, 10.1, 10.2, 10.3], disk=[12.0] * 4)
    now = a_result(floor=[10.0] * 4, memory=[30.0, 30.1, 30.2, 30.3], disk=[24.0] * 4)
    lines = compared(now, then).splitlines()
    memory = [cell.strip() for cell in lines[2].split("|")]
    disk = [cell.strip() for cell in lines[3].split("|")]
    assert (memory[4], memory[5]) == ("1.49", "quartiles apart")
    assert (disk[4], disk[5]) == ("1.00", "")


def test_results_without_a_floor_cannot_be_compared_and_it_is_said() -> None:
    assert "no variant in common" in compared(a_result(memory=[9.0]), a_result(memory=[9.0]))


def test_the_picture_is_well_formed_and_has_a_bar_for_each_variant_the_cheapest_first() -> None:
    result = a_result(floor=[5.0, 5.0], handwritten=[25.0, 26.0], memory=[9.0, 10.0])
    root = ET.fromstring(bars(result))
    space = {"svg": "http://www.w3.org/2000/svg"}
    drawn = root.findall("svg:rect", space)
    assert [one.get("class") for one in drawn] == ["floor", "ours", "peer"]
    widths = [float(one.get("width", "0")) for one in drawn]
    assert widths == sorted(widths)
    assert "prefers-color-scheme: dark" in bars(result)


def test_every_title_has_room_beside_the_bars() -> None:
    # 350 units of the picture, at no more than 7 for a character of its font
    assert max(len(entry.title) for entry in VARIANTS.values()) <= 48


def test_tables_are_aligned_in_a_terminal() -> None:
    lines = aligned(["", "n"], [["a", "1"], ["long name", "1,000"]]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_one_round_has_no_quartiles_but_a_figure() -> None:
    assert spread([3.0]).median == 3.0
    assert (spread([1.0, 3.0]).lower, spread([1.0, 3.0]).upper) == (1.5, 2.5)


def test_each_round_begins_with_another_variant() -> None:
    assert [turned(["a", "b", "c"], n)[0] for n in range(4)] == ["a", "b", "c", "a"]


def test_what_cannot_be_measured_is_left_out_of_all_rounds_and_named() -> None:
    asked: list[str] = []

    def measure(name: str) -> float:
        asked.append(name)
        if name == "b":
            raise LookupError("package")
        return 1.0

    done, missing = rounds(3, ["a", "b"], measure, lambda _: None)
    assert done == [{"a": 1.0}] * 3
    assert missing == {"b": "package"}
    assert asked.count("b") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--variants", "floor,nothing"], "no variant nothing"),
        (["--rounds", "0"], "--rounds"),
        (["--events", "10"], "--events"),
        (["--broker", "localhost:9092"], "--bootstrap"),
        (["--compare", "/nowhere"], "--compare /nowhere"),
    ],
)
def test_the_command_refuses_what_it_cannot_do_before_it_measures(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        emit.main(arguments)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_the_callers_cost_is_the_emitting_threads() -> None:
    assert caller(a_run(5.0, caller_us=1.5)) == 1.5
